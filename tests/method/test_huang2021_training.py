"""The four models' losses from a batch, what labels the frames of real clips, and where gradients go."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sed_lab.analysis.huang2021 import frames_of_run
from sed_lab.errors import InputError
from sed_lab.loss import Binary
from sed_lab.method.base import Parts
from sed_lab.method.huang2021 import (
    KEPT_FRAMES,
    WeakSynthetic,
    frame_norm,
    inter_frame_distance,
    middle_frames,
    write_frames,
)
from sed_lab.model.attention_pool import AttentionPool
from sed_lab.types import Batch, Part, Shares
from tests.configured import configured

LogMel = configured("feature/log_mel")
Method = configured("method/huang2021")

FRAMES = 9


def batch_of(clips: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(3)
    real = torch.arange(clips) % 2 == 0
    weak = F.one_hot(torch.arange(clips) // 2 % 2, 3).float()
    strong = (torch.rand(clips, FRAMES, 1, generator=generator) > 0.5) * weak[:, None]
    return Batch(
        strong=strong * ~real[:, None, None],
        weak=weak,
        has_strong=~real,
        has_weak=real,
        synthetic=~real,
        valid_frames=torch.full((clips,), FRAMES),
        index=torch.arange(clips),
        clip_id=[f"clip{i}" for i in range(clips)],
        audio=torch.randn(clips, 2048, generator=generator) * 0.1,
    )


def method_of(**changes: Any) -> WeakSynthetic:
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "ifd": True, "sedb": True, "ifd_weight": 0.7, "norm_weight": 0.3, "sedb_weight": 0.4, "n_projection": 6,
        "ifd_from_epoch": 0, "patience": 2, **changes,
    }  # fmt: skip
    model = given.pop("model", None) or AttentionPool(3, 8, (6, 5), (3, 3), (4, 2))
    feature = LogMel(n_fft=256, win_length=256, hop_length=256, n_mels=8)
    parts = Parts(feature, model, Binary(), ("a", "b", "c"))
    method: WeakSynthetic = Method(parts, functools.partial(torch.optim.Adam, lr=1e-3), **given)
    trainer: Any = SimpleNamespace(current_epoch=3)
    method._trainer = trainer
    logged: dict[str, Any] = {}
    method.log = lambda name, value, **kwargs: logged.update({name: value})  # type: ignore[method-assign]
    method.logged = logged  # type: ignore[assignment]
    return method


def parts(method: WeakSynthetic, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """L_ATP, L_IFD and L_SEDB from their definitions, with the method's own layers."""
    assert method.projection is not None
    assert method.detection is not None
    assert batch.audio is not None
    x = method.model.encode(method.feature(batch.audio))
    g, clip = method.model.pool(x)
    atp = F.binary_cross_entropy_with_logits(clip, batch.weak)
    frame = batch.strong.clone()
    for i in torch.nonzero(batch.has_weak).flatten().tolist():
        for t in range(FRAMES):
            for c in range(3):
                frame[i, t, c] = float(g[i, t, c].sigmoid() >= 0.5 and batch.weak[i, c] == 1)
    z = method.projection(x)
    ifd = inter_frame_distance(z, batch.weak, frame, 0.1, "exact", False)[0] + 0.3 * frame_norm(z)
    strong = batch.has_strong
    sedb = F.binary_cross_entropy_with_logits(method.detection(x)[strong], batch.strong[strong])
    return atp, ifd, sedb


DISTANCE = ("loss_ifd", "loss_norm", "anchors")


@pytest.mark.parametrize(("ifd", "sedb"), [(False, False), (True, False), (False, True), (True, True)])
def test_the_four_models(ifd: bool, sedb: bool) -> None:
    batch, method = batch_of(), method_of(ifd=ifd, sedb=sedb)
    torch.manual_seed(0)
    whole = method_of()
    with torch.no_grad():
        whole.model.attention.weight.normal_()
    method.model.load_state_dict(whole.model.state_dict())
    for name in ("projection", "detection"):
        if getattr(method, name) is not None:
            getattr(method, name).load_state_dict(getattr(whole, name).state_dict())
    atp, pairs, frames = parts(whole, batch)
    expected = atp + 0.7 * ifd * pairs + 0.4 * sedb * frames
    torch.testing.assert_close(method.training_step(Part(batch, Shares()), 0), expected)
    names = {"loss", "train/loss", "train/loss_weak", *(f"train/{name}" for name in DISTANCE if ifd)}
    assert set(method.logged) == names | ({"train/loss_sedb"} if sedb else set())  # type: ignore[arg-type]


def test_the_distance_waits_for_its_epoch() -> None:
    batch = batch_of()
    waiting, without = method_of(ifd_from_epoch=4, sedb=False), method_of(ifd=False, sedb=False)
    without.model.load_state_dict(waiting.model.state_dict())
    torch.testing.assert_close(
        waiting.training_step(Part(batch, Shares()), 0), without.training_step(Part(batch, Shares()), 0)
    )


def test_the_distance_reaches_the_encoder_and_not_the_pseudo_labels() -> None:
    batch, method = batch_of(), method_of(sedb=False)
    assert batch.audio is not None
    x = method.model.encode(method.feature(batch.audio))
    g, _ = method.model.pool(x)
    assert method.projection is not None
    loss, anchors = method._distance(method.projection(x), g, batch, batch.has_weak | batch.has_strong)
    assert anchors > 0
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.model.blocks[0].parameters())
    assert all(p.grad is None for p in method.model.attention.parameters())


def test_only_the_first_branch_predicts() -> None:
    batch, method = batch_of(), method_of()
    other = method_of(ifd=False, sedb=False)
    other.model.load_state_dict(method.model.state_dict())
    for one in (method, other):
        one.eval()
    ours, theirs = (one.predict(batch)["model"] for one in (method, other))
    assert ours.frame is not None
    assert theirs.frame is not None
    assert torch.equal(ours.frame, theirs.frame)
    assert ours.frame.shape == (8, FRAMES, 3)


def test_the_detector_holds_the_first_branch_alone() -> None:
    method, batch = method_of(), batch_of()
    state = method.detector_state()
    assert {name.split(".")[0] for name in state} == {"model"}
    assert {name.split(".")[0] for name in method.state_dict()} == {"model", "projection", "detection"}
    other = method_of()
    other.load_detector_state(state)
    assert (other.projection, other.detection) == (None, None)
    found, expected = (one.eval().predict(batch)["model"].clip for one in (other, method))
    assert found is not None
    assert torch.equal(found, expected)


def test_the_middle_frame_of_those_that_hold_a_class_alone() -> None:
    strong = torch.zeros(2, 7, 3)
    strong[0, 1:6, 0] = 1
    strong[0, 3, 2] = 1  # not alone
    strong[1, 6, 1] = 1
    x = torch.arange(14.0).reshape(2, 7, 1)
    assert {key: value.item() for key, value in middle_frames(x, strong).items()} == {(0, 0): 4.0, (1, 1): 13.0}


def test_kept_frames_are_the_first_of_each_class_and_domain(tmp_path: Path) -> None:
    def vectors(i: int) -> dict[str, np.ndarray]:
        return {"embedding": np.full(2, i, np.float16), "projection": np.full(3, -i, np.float16)}

    frames = {(0, i, i % 2): (i % 3 == 0, vectors(i)) for i in reversed(range(300))}
    write_frames(tmp_path / "embeddings", frames)
    found = frames_of_run(tmp_path)
    assert found is not None
    for label in (0, 1):
        for synthetic in (True, False):
            chosen = (found["event_label"] == label) & (found["synthetic"] == synthetic)
            own = [i for i in range(300) if i % 2 == label and (i % 3 == 0) == synthetic][:KEPT_FRAMES]
            assert found["embedding"][chosen, 1].tolist() == own
            assert found["projection"][chosen, 2].tolist() == [-i for i in own]


@pytest.mark.parametrize("ifd", [False, True])
@torch.no_grad()
def test_a_test_keeps_frames_of_each_space_there_is(ifd: bool) -> None:
    method, batch = method_of(ifd=ifd).eval(), batch_of()
    method.on_test_epoch_start()
    method.test_step(batch, 0, 1)
    assert batch.audio is not None
    x = method.model.encode(method.feature(batch.audio))
    middle = middle_frames(x, batch.strong)
    assert {(1, *key) for key in middle} == set(method._frames)
    for (_, row, label), (synthetic, vectors) in method._frames.items():
        assert synthetic
        expected = {"embedding": middle[row, label]}
        if method.projection is not None:
            expected["projection"] = method.projection(middle[row, label])
        assert set(vectors) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(vectors[name], value.numpy(), rtol=2e-3, atol=1e-3)


@torch.no_grad()
def test_validation_counts_how_right_pseudo_labels_are() -> None:
    method, whole = method_of().eval(), batch_of()
    method.on_validation_epoch_start()
    halves = [slice(0, 3), slice(3, 8)]
    for half in halves:
        one = {name: getattr(whole, name)[half] for name in ("strong", "weak", "has_strong", "has_weak", "audio")}
        method.validation_step(replace(whole, **one), 0)
    assert whole.audio is not None
    g, _ = method.model(method.feature(whole.audio))
    pseudo = ((g.sigmoid() >= 0.5) & (whole.weak[:, None] > 0))[whole.has_strong]
    true = whole.strong[whole.has_strong] > 0
    right = (pseudo & true).sum()
    expected = [[right, pseudo.sum()], [right, true.sum()]]
    torch.testing.assert_close(method._validation_sums[1:], torch.tensor(expected).float())


def test_training_ends_after_its_patience_and_stays_ended_when_resumed() -> None:
    (stop,) = method_of().configure_callbacks()
    assert (stop.monitor, stop.mode, stop.patience) == ("val/objective", "max", 2)
    for waited, ended in ((1, False), (2, True)):
        method = method_of()
        stop.wait_count = waited
        trainer: Any = SimpleNamespace(callbacks=[stop], should_stop=False, global_step=9)
        method._trainer = trainer
        method.on_fit_start()
        assert trainer.should_stop is ended


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match=r"method.form='cheap' is unknown; use exact or mean"):
        method_of(form="cheap")
