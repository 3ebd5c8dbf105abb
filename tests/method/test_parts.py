"""One global batch on one device or on several, in one pass or in several, uneven parts too, has the same gradient: all
methods, real loader. Devices are threads here; `test_gather` has processes and DDP."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sed_lab.clip.batch import CompositionSampler, CorpusLoader
from sed_lab.loss import Binary, WeightedBinary
from sed_lab.method import gather
from sed_lab.method.amiriparian2018 import RareEnsemble
from sed_lab.method.arora2019 import EmbeddingClusters, WeightedDetector
from sed_lab.method.aziz2020 import RowClassifier
from sed_lab.method.base import Parts, SedMethod
from sed_lab.method.park2022 import MeanTeacher
from sed_lab.method.supervised import Supervised
from sed_lab.model.attention_pool import AttentionPool
from sed_lab.model.chunk_net import ChunkNet
from sed_lab.types import Clip, Event, Part
from tests.configured import configured

TimeBalancedFocal = configured("loss/tbfl")
CRNN = configured("model/crnn")
RowCNN = configured("model/embedding_cnn", n_rows=10, n_values=128)
LSTMEncoder = configured("model/clip_lstm")
HUANG = configured("method/huang2021")

CLASSES = ("a", "b", "c")
FRAMES, MELS, HOP = 12, 8, 0.1
CLIPS = {"synthetic": 6, "weak": 5, "unlabelled": 2}
ADAM = functools.partial(torch.optim.Adam, lr=1e-3)


class Made:
    """Random recordings, or embeddings; every strongly labelled clip is about one class only."""

    def __init__(self, name: str, embeddings: bool) -> None:
        rng = np.random.default_rng(len(name))
        shape = (10, 128) if embeddings else (FRAMES * MELS,)
        self.arrays = rng.standard_normal((20, *shape)) * 0.5
        self.clips = []
        for i in range(20):
            label, start = CLASSES[i % 3], 0.1 * float(rng.integers(0, 8))
            path = Path(f"{name}{i}.wav")
            if name == "synthetic":
                event = Event(start, start + 0.3, label)
                clip = Clip(path.stem, path, 1.2, (event,), (label,), synthetic=True, annotated=(label,))
            else:
                clip = Clip(path.stem, path, 1.2, None, (label,) if name == "weak" else None)
            self.clips.append(clip)

    def __len__(self) -> int:
        return len(self.clips)

    def load(self, index: int, epoch: int) -> tuple[Clip, np.ndarray]:
        return self.clips[index], self.arrays[index]


class Frames(nn.Module):
    """A front end in float64 that takes samples for a spectrogram."""

    def mel(self, audio: torch.Tensor) -> torch.Tensor:
        return audio.unflatten(1, (FRAMES, MELS))

    def scale(self, mel: torch.Tensor) -> torch.Tensor:
        return mel

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return self.mel(audio)


def parts_of(model: nn.Module, loss: Any, weighted: bool = False, **given: Any) -> Parts:
    weight = torch.tensor([0.5, 1.0, 2.0]).double() if weighted else None
    return Parts(Frames(), model, loss, CLASSES, weight, **given)


def park() -> SedMethod:
    model = CRNN(3, MELS, (4, 6), ((1, 4), (1, 2)), True, False, 0.0, 0.0, 0.0, 4, 1, 0.1, 1e-3, "classes", 1e-7)
    mixup = {"probability": 0.0, "alpha": 0.2, "labels": "soft"}
    method = MeanTeacher(parts_of(model, TimeBalancedFocal(k=1000), True), ADAM, mixup, 2.0, 0, 0.999, False, True)
    for p in method.teacher.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return method


def supervised() -> SedMethod:
    model = CRNN(3, MELS, (4, 6), ((1, 4), (1, 2)), False, False, 0.0, 0.0, 0.0, 4, 1, 0.1, 1e-3, "frames", 1e-7)
    augment = {"roll": False, "filter_db": 0.0, "filter_points": 2}
    return Supervised(parts_of(model, Binary(), True), ADAM, augment, 0.5, 0.1, True)


def huang(ifd: bool) -> SedMethod:
    model = AttentionPool(3, MELS, (4, 5), (3, 3), (4, 2))
    given = {"ifd_weight": 0.7, "norm_weight": 0.3, "sedb_weight": 0.4, "form": "exact", "n_projection": 6}
    given |= {"ifd_from_epoch": 0, "patience": 2}
    return HUANG(parts_of(model, Binary()), ADAM, ifd, True, **given)


def amiriparian() -> SedMethod:
    model = ChunkNet(MELS, (2, 3), (4, 2), 4, 2, "reverse", 5, 0.0)
    timesteps = {"a": [3, 5], "b": [3], "c": [0]}
    return RareEnsemble(parts_of(model, Binary()), ADAM, timesteps, 0.01, 3, 2, True)


def arora(phase: int | None) -> SedMethod:
    labels = torch.eye(3, dtype=torch.bool)[torch.arange(20) % 3]
    parts = parts_of(LSTMEncoder(MELS, 4, 1.0), WeightedBinary(), True, weak_labels=labels)
    if phase is None:
        return WeightedDetector(parts, ADAM, 1, 1, None)
    method = EmbeddingClusters(parts, ADAM, [1], 1, None, 10.0, 5.0, 0.0, 1, 1, "greedy", [2, 3, 1], False)
    method.progress["phase"] = phase
    method.embedding = torch.randn(method.embedding.shape).double()
    method.cluster = torch.arange(20) % 6
    return method


def aziz(multi_output: bool) -> SedMethod:
    model = RowCNN(10, 128, False, "valid")
    return RowClassifier(parts_of(model, Binary(), True), ADAM, False, multi_output)


PAIRS = functools.partial(huang, True)
METHODS = [
    pytest.param(park, id="park2022"),
    pytest.param(supervised, id="supervised"),
    pytest.param(functools.partial(huang, False), id="huang2021"),
    pytest.param(PAIRS, id="huang2021-pairs"),
    pytest.param(amiriparian, id="amiriparian2018"),
    *(pytest.param(functools.partial(arora, k), id=f"arora2019-{k}") for k in (None, 0, 1, 2, 3)),
    pytest.param(functools.partial(aziz, False), id="aziz2020"),
    pytest.param(functools.partial(aziz, True), id="aziz2020-multi_output"),
]


def made(make: Callable[[], SedMethod]) -> SedMethod:
    """The same method each time, in float64, normalisation in evaluation mode."""
    torch.manual_seed(0)
    method = make().double().eval()
    method.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    optimizer = SimpleNamespace(param_groups=[{"lr": 1e-3}])
    trainer: Any = SimpleNamespace(global_step=4, current_epoch=3, optimizers=[optimizer])
    method._trainer = trainer
    return method


def gradient(method: SedMethod, clips: dict[str, int], rank: int = 0, world: int = 1, passes: int = 1) -> torch.Tensor:
    """The gradient of one device's passes over its parts of a global batch."""
    loader = CorpusLoader({name: Made(name, isinstance(method, RowClassifier)) for name in clips}, CLASSES, FRAMES, HOP)
    sampler = CompositionSampler(dict.fromkeys(clips, 20), clips, 1, "smallest", rank, world, passes)
    for request in list(sampler)[:passes]:
        part = loader[request]
        assert isinstance(part, Part)
        loss = method.training_step(part, 0) / passes
        if loss.requires_grad:
            loss.backward()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in method.parameters() if p.requires_grad]
    return torch.cat([grad.flatten() for grad in grads])


def on_devices(
    make: Callable[[], SedMethod],
    clips: dict[str, int],
    world: int,
    passes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> torch.Tensor:
    """The mean over devices, as DDP takes it, of their gradients; each is a thread."""
    own, meet, sent = threading.local(), threading.Barrier(world, timeout=60), [torch.zeros(0)] * world

    def all_gather(parts: list[torch.Tensor], rows: torch.Tensor) -> None:
        sent[own.rank] = rows
        meet.wait()
        for part, other in zip(parts, sent, strict=True):
            part.copy_(other)
        meet.wait()

    def run(rank: int) -> torch.Tensor:
        own.rank = rank
        return gradient(methods[rank], clips, rank, world, passes)

    monkeypatch.setattr(gather, "devices", lambda: (own.rank, world))
    monkeypatch.setattr(gather.dist, "all_gather", all_gather)
    methods = [made(make) for _ in range(world)]
    with ThreadPoolExecutor(world) as pool:
        return torch.stack(list(pool.map(run, range(world)))).mean(0)


def clips_of(make: Callable[[], SedMethod]) -> dict[str, int]:
    return {name: count for name, count in CLIPS.items() if name in made(make).trains_on}


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize(("world", "passes"), [(2, 1), (3, 1), (1, 2), (1, 4), (2, 2)])
def test_parts_of_a_global_batch_have_the_gradient_of_the_whole(
    make: Callable[[], SedMethod], world: int, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = clips_of(make)
    whole = gradient(made(make), clips)
    assert whole.norm() > 0
    difference = (on_devices(make, clips, world, passes, monkeypatch) - whole).norm() / whole.norm()
    if make is PAIRS and passes > 1:
        assert difference > 1e-3, "a pass knows no other pass's pairs, so the identity counts passes"
    else:
        assert difference <= 1e-9, f"relative difference {difference:.1e}"


@pytest.mark.parametrize("world", [2, 4, 8])
def test_pairs_of_all_devices(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = clips_of(PAIRS)  # 11, on 8 devices one or two each
    whole = gradient(made(PAIRS), clips)
    torch.testing.assert_close(on_devices(PAIRS, clips, world, 1, monkeypatch), whole, rtol=1e-9, atol=1e-12)
