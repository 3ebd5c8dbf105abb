"""Supervised training against the same training written out; augmentation of what is strongly labelled alone."""

from __future__ import annotations

import copy
import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.loss import Binary
from sed_lab.method.base import Parts
from sed_lab.method.supervised import Supervised, shifted
from sed_lab.types import Batch
from tests.configured import configured, option
from tests.method.test_park2022 import Record as _Record
from tests.method.test_park2022 import feature, fit, pytestmark, trainer

__all__ = ["pytestmark"]  # what it ignores of Lightning's advice

CRNN = configured("model/crnn_plain")
NONE = {"roll": False, "filter_db": 0.0, "filter_points": 2}
SAMPLES = 256 * 47


def crnn() -> Any:
    torch.manual_seed(0)
    sizes = {"filters": (4, 6), "pooling": ((2, 4), (1, 2)), "gru_cells": 4, "dropout": 0.0, "input_dropout": 0.0}
    return CRNN(3, 8, **sizes)


def method(**changes: Any) -> Supervised:
    given: dict[str, Any] = {
        "optimizer": functools.partial(torch.optim.SGD, lr=0.1),
        "augment": NONE,
        "clip_weight": 0.5,
        "warmup_share": 0.25,
        "finer_scores": True,
    }
    return Supervised(Parts(feature(), crnn(), Binary(), ("a", "b", "c")), **{**given, **changes})


def batch(seed: int, strong: int = 3, weak: int = 2) -> Batch:
    torch.manual_seed(seed)
    clips = strong + weak
    has_strong = torch.arange(clips) < strong
    frames = (torch.rand(clips, 24, 3) < 0.2).float() * has_strong[:, None, None]
    labels = torch.where(has_strong[:, None], frames.amax(1), (torch.rand(clips, 3) < 0.5).float())
    return Batch(
        audio=torch.randn(clips, SAMPLES) * 0.1,
        strong=frames,
        weak=labels * ~has_strong[:, None],
        has_strong=has_strong,
        has_weak=~has_strong,
        synthetic=has_strong,
        valid_frames=torch.full((clips,), 24),
        index=torch.arange(clips),
        clip_id=[str(i) for i in range(clips)],
    )


class Record(_Record):
    """Losses and rates alone."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.rate.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_training_is_the_training_written_out(tmp_path: Path) -> None:
    batches, record, own = [batch(seed) for seed in range(4)], Record(), method()
    network = copy.deepcopy(own.network)
    fit(own, batches, trainer(tmp_path, record, max_epochs=2))
    optimizer, front = torch.optim.SGD(network.parameters(), 0.1), feature()
    losses, rates = [], []
    for step, one in enumerate(batches * 2):
        rate = (0.05, 0.1)[step] if step < 2 else 0.1 * (1 + math.cos(math.pi * (step - 2) / 6)) / 2
        optimizer.param_groups[0]["lr"] = rate
        frame, clip = network(front(one.audio))
        loss = F.binary_cross_entropy(frame[:3].sigmoid(), one.strong[:3])
        loss = loss + 0.5 * F.binary_cross_entropy(clip[:3].sigmoid(), one.strong[:3].amax(1))
        loss = loss + 0.5 * F.binary_cross_entropy(clip[3:].sigmoid(), one.weak[3:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        rates.append(rate)
    assert record.rate == pytest.approx(rates)
    assert record.loss == pytest.approx(losses, rel=1e-4)
    for name, got in own.network.state_dict().items():
        torch.testing.assert_close(got, network.state_dict()[name], rtol=1e-3, atol=1e-5)


def test_kept_mel_is_augmented_and_scored_as_audio_is() -> None:
    own = method(augment={**NONE, "roll": True, "filter_db": 6.0})
    heard = batch(0)
    kept = copy.copy(heard)
    kept.audio, kept.feature = None, own.feature.mel(heard.audio)
    torch.manual_seed(5)
    mel, strong = own._augmented(heard)
    torch.manual_seed(5)
    again, labels = own._augmented(kept)
    torch.testing.assert_close(mel, again)
    assert torch.equal(strong, labels)
    assert not torch.equal(strong, heard.strong)
    assert torch.equal(strong[3:], heard.strong[3:])
    own.eval()
    torch.testing.assert_close(own.predict(heard)["model"].frame, own.predict(kept)["model"].frame)


def test_each_frame_takes_the_mean_of_what_covers_it() -> None:
    """Of a network that averages four frames: a triangle over seven, cut off at the beginning."""

    class Mean(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            pooled = F.avg_pool1d(x.transpose(1, 2), 4).transpose(1, 2)
            return pooled.logit(), pooled.mean(1).logit()

    torch.manual_seed(0)
    feature = torch.rand(2, 41, 3).double()
    frame, clip = shifted(Mean(), feature, 4)
    assert frame.shape == (2, 40, 3)
    held = torch.cat([feature, feature[:, -1:].expand(-1, 3, -1)], 1)
    for t in range(40):
        starts = [start for start in range(t - 3, t + 1) if start >= 0]
        naive = torch.stack([held[:, start : start + 4].mean(1) for start in starts if start + 4 <= 44]).mean(0)
        torch.testing.assert_close(frame[:, t], naive)
    each = [held[:, by : by + 40].mean(1) for by in range(4)]
    torch.testing.assert_close(clip, torch.stack(each).mean(0))


def test_fine_scores_lie_where_the_network_s_lie() -> None:
    own, plain = method(), method(finer_scores=False)
    plain.load_state_dict(own.state_dict())
    own.eval(), plain.eval()
    heard = batch(0)
    fine, coarse = own.predict(heard)["model"].frame, plain.predict(heard)["model"].frame
    assert fine is not None
    assert coarse is not None
    assert (own.finer, plain.finer) == (2, 1)
    assert fine.shape[1] == 2 * coarse.shape[1]
    torch.testing.assert_close(fine[:, 0], coarse[:, 0])  # which no other one covers


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"augment": {**NONE, "filter_db": -1.0}}, "decibels are at least 0"),
        ({"augment": {**NONE, "filter_db": 3.0, "filter_points": 1}}, "at least 2 points"),
        ({"warmup_share": 1.0}, "warmup_share=1.0"),
        ({"clip_weight": -1.0}, "clip_weight=-1.0"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        method(**changes)


def test_an_endless_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trainer\.max_epochs=-1"):
        fit(method(), [batch(0)], trainer(tmp_path, max_epochs=-1))


def test_the_shipped_augmentation_is_complete() -> None:
    method(augment=option("method/supervised")["augment"])
