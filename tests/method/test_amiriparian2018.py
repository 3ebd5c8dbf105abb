"""Detectors side by side: chunks, losses, ensembles, and when each is kept and stops."""

from __future__ import annotations

import dataclasses
import functools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.loss import Binary
from sed_lab.method.amiriparian2018 import RareEnsemble, chunk_by_chunk, cut, sliding_ensemble
from sed_lab.method.base import Parts
from sed_lab.model.chunk_net import ChunkNet, ContextNet
from sed_lab.types import Batch, Part, Shares
from tests.configured import configured

StandardLogMel = configured("feature/standardised_mel")

CLASSES = ("babycry", "gunshot")
FRAMES = 14


def method_of(**changes: Any) -> RareEnsemble:
    torch.manual_seed(0)
    feature = StandardLogMel(16000, 256, 256, 256, 16, 0.0, 8000.0, 1e-5)
    given: dict[str, Any] = {
        "timesteps": {"babycry": [3, 5], "gunshot": [3]}, "rate_decay": 0.01, "min_epochs": 3, "patience": 2,
        "members": True, **changes,
    }  # fmt: skip
    model = given.pop("model", None) or ChunkNet(16, (2, 3), (4, 2), 4, 2, "reverse", 5, 0.3)
    optimizer = functools.partial(torch.optim.Adam, lr=1e-3)
    method = RareEnsemble(Parts(feature, model, Binary(), CLASSES), optimizer, **given)
    method.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    method.common_draws = lambda: torch.Generator().manual_seed(5)  # type: ignore[method-assign]
    return method


def batch_of(clips: int = 4, annotated: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(3)
    about = F.one_hot(torch.arange(clips) % 2, 2).bool()
    strong = (torch.rand(clips, FRAMES, 1, generator=generator) > 0.5) * about[:, None].float()
    yes = torch.ones(clips, dtype=torch.bool)
    return Batch(
        strong=strong, weak=strong.amax(1), has_strong=yes, has_weak=~yes, synthetic=yes,
        valid_frames=torch.full((clips,), FRAMES), index=torch.arange(clips), clip_id=[f"c{i}" for i in range(clips)],
        audio=torch.randn(clips, 256 * (FRAMES - 1), generator=generator) * 0.1,
        annotated=about if annotated else None,
    )  # fmt: skip


def test_chunks_follow_one_another_from_a_frame_on() -> None:
    x = torch.arange(22).reshape(2, 11)
    assert cut(x, 3, 1).tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [12, 13, 14], [15, 16, 17], [18, 19, 20]]
    assert cut(x, 0) is x


def test_the_loss_is_that_of_each_class_s_own_clips() -> None:
    method, batch = method_of(), batch_of()
    method.eval()  # no dropout, and statistics that do not move
    found = method.training_step(Part(batch, Shares()), 0)
    assert batch.audio is not None
    x = method.feature(batch.audio)
    draws = torch.Generator().manual_seed(5)
    expected = torch.zeros(())
    for name, (label, timesteps) in method.members.items():
        first = int(torch.randint(timesteps, (), generator=draws))
        own = [i for i in range(4) if i % 2 == label]
        parts = [
            (x[i, t : t + timesteps], batch.strong[i, t : t + timesteps, label])
            for i in own
            for t in range(first, FRAMES - timesteps + 1, timesteps)
        ]
        chunks, target = (torch.stack(side) for side in zip(*parts, strict=True))
        expected = expected + F.binary_cross_entropy_with_logits(method.networks[name](chunks), target)
    torch.testing.assert_close(found, expected)


def test_kept_spectrograms_stand_for_the_audio_to_the_last_bit() -> None:
    method, heard = method_of().eval(), batch_of()
    seen = dataclasses.replace(heard, audio=None, feature=method.feature.mel(heard.waveform))
    with torch.no_grad():
        for name, term in method.losses(heard).items():
            assert torch.equal(term.value, method.losses(seen)[name].value)
        for system, prediction in method.predict(heard).items():
            assert torch.equal(prediction.frame, method.predict(seen)[system].frame)  # type: ignore[arg-type]
        sums = []
        for batch in (heard, seen):
            method.on_validation_epoch_start()
            method.validation_step(batch, 0)
            sums.append(method._validation_sums)
    assert torch.equal(*sums)
    assert sums[0].all()


def test_ensembles_are_means_over_chunks_and_over_timesteps() -> None:
    method, batch = method_of(), batch_of()
    method.eval()
    assert method.systems == ("ensemble", "chunks", "t3", "t5")
    assert batch.audio is not None
    with torch.no_grad():
        x, found = method.feature(batch.audio), method.predict(batch)
        for row in range(4):
            label = row % 2
            members = [name for name, member in method.members.items() if member.label == label]
            for system in ("ensemble", "chunks"):
                each = []
                for name in members:
                    timesteps, network = method.members[name].timesteps, method.best[name]
                    whole = sliding_ensemble if system == "ensemble" else chunk_by_chunk
                    each.append(whole(network, x[row], timesteps))
                frame = found[system].frame
                assert frame is not None
                torch.testing.assert_close(frame[row, :, label], torch.stack(each).mean(0))
                assert not frame[row, :, 1 - label].any()  # not what this clip is about
                torch.testing.assert_close(found[system].clip, frame.amax(1))
    assert method_of(members=False).systems == ("ensemble",)


@pytest.mark.parametrize("timesteps", [3, 5, 14, 99])
def test_a_clip_against_loops_over_its_chunks(timesteps: int) -> None:
    network = method_of().best["0_t5"]
    network.eval()
    x = torch.randn(FRAMES, 16)
    size = min(timesteps, FRAMES)
    with torch.no_grad():
        held: list[list[float]] = [[] for _ in range(FRAMES)]
        for first in range(FRAMES - size + 1):
            for place, value in enumerate(network(x[None, first : first + size])[0].sigmoid().tolist()):
                held[first + place].append(value)
        sliding = sliding_ensemble(network, x, timesteps)
        torch.testing.assert_close(sliding, torch.tensor([sum(v) / len(v) for v in held]))
        alone = torch.empty(FRAMES)
        alone[-size:] = network(x[None, -size:])[0].sigmoid()
        for first in range(0, FRAMES - size + 1, size):
            alone[first : first + size] = network(x[None, first : first + size])[0].sigmoid()
        torch.testing.assert_close(chunk_by_chunk(network, x, timesteps), alone)


def test_each_detector_is_kept_at_its_lowest_loss_and_stops_by_itself() -> None:
    method = method_of()
    trainer: Any = SimpleNamespace(
        should_stop=False, current_epoch=0, strategy=SimpleNamespace(reduce=lambda x, **k: x)
    )
    method._trainer = trainer
    logged: dict[str, float] = {}
    method.log = lambda name, value, **kwargs: logged.update({name: value})  # type: ignore[method-assign]
    losses = {"0_t3": [3, 2, 1, 4, 5, 0], "0_t5": [1, 2, 3, 4, 4, 4], "1_t3": [1, 1, 1, 1, 1, 0]}
    kept = []
    for epoch in range(6):
        trainer.current_epoch = epoch
        for parameter in method.networks.parameters():
            parameter.data.fill_(float(epoch))
        method._validation_sums = torch.tensor([[losses[name][epoch], 1.0] for name in method.members])
        method.on_validation_epoch_end()
        kept.append(trainer.should_stop)
    weight = {name: next(network.parameters()).mean().item() for name, network in method.best.items()}
    assert weight == {"0_t3": 2.0, "0_t5": 0.0, "1_t3": 0.0}  # after patience nothing is kept any more
    assert [one["stopped"] for one in method.progress.values()] == [1.0, 1.0, 1.0]
    assert kept == [False, False, False, False, True, True]
    assert logged["val/objective"] == -3.0
    assert {name.split(".")[0] for name in method.detector_state()} == {"feature", "best"}


def test_the_rate_falls_with_the_epochs() -> None:
    _, (schedule,) = method_of().configure_optimizers()
    rates = [schedule.get_last_lr()[0]]
    for _ in range(2):
        schedule.optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    assert rates == pytest.approx([1e-3 / (1 + 0.01 * n) for n in range(3)])


def test_clips_about_every_class_and_networks_of_whole_clips() -> None:
    method = method_of(timesteps={"babycry": [0], "gunshot": [0], "siren": [3]}, model=ContextNet(16, 5, 4, 0.2))
    method.eval()
    found = method.predict(batch_of(annotated=False))
    assert list(found) == ["ensemble", "chunks"]
    frame = found["ensemble"].frame
    assert frame is not None
    assert (frame > 0).all()
    assert math.isfinite(method.training_step(Part(batch_of(annotated=False), Shares()), 0).item())


def test_what_cannot_be_is_refused() -> None:
    for timesteps in ({"babycry": [3]}, {"babycry": [3], "gunshot": [-1]}):
        with pytest.raises(InputError, match=r"method.timesteps=.* needs a list of frame numbers for each of babycry"):
            method_of(timesteps=timesteps)
