"""A training step of Huang et al. 2021, beside PyTorch's own convolutions, without its distance loss, and in bfloat16.

64 clips of 500 frames, 160 dimensions, the paper's network; and the loss alone, with the memory it takes.
"""

from __future__ import annotations

import functools
import resource
import time
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch.nn import functional as F

from benchmarks.assembled import method_of
from benchmarks.sides import processor
from sed_lab.method.huang2021 import inter_frame_distance
from sed_lab.model import attention_pool
from sed_lab.run.fitting import has_bfloat16
from sed_lab.run.memory import keep_freed_memory
from sed_lab.types import Batch, Part, Shares

FRAMES, CLASSES = 500, 10


def work(clips: int, distance: bool, precision: str = "32-true") -> Callable[[], object]:
    """One step, with or without the distance; precision as ``trainer.precision``: 32-true or bf16-mixed."""
    keep_freed_memory()
    words = ("feature=ln_mel", "model=attention_pool", f"method.ifd={str(distance).lower()}")
    method = method_of("huang2021", *words, "method.ifd_from_epoch=0")
    trainer: Any = SimpleNamespace(current_epoch=9)
    method._trainer = trainer
    method.log = method.log_dict = lambda *args, **kwargs: None
    (optimizer,), _ = method.configure_optimizers()
    batch = batch_of(clips)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = method.training_step(Part(batch, Shares()), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def with_torch(clips: int) -> Callable[[], object]:
    """The same step, its convolutions by PyTorch."""
    step = work(clips, distance=True)

    def own(x: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
        return layer(x)

    def plain() -> None:
        with patch.object(attention_pool, "convolve", own):
            step()

    return plain


def batch_of(clips: int) -> Batch:
    """Half real, half synthetic, each of one or two of ten classes, so that many frames are anchors."""
    weak = F.one_hot(torch.arange(clips) % 5, CLASSES).float()
    strong = (torch.rand(clips, FRAMES, 1) > 0.5) * weak[:, None]
    real = torch.arange(clips) % 2 == 0
    return Batch(
        strong=strong * ~real[:, None, None],
        weak=weak,
        has_strong=~real,
        has_weak=real,
        synthetic=~real,
        valid_frames=torch.full((clips,), FRAMES),
        index=torch.arange(clips),
        clip_id=[str(i) for i in range(clips)],
        audio=torch.randn(clips, 441000) * 0.1,
    )


def alone(clips: int) -> dict[str, float]:
    """Seconds of the loss, forward and backward, and the gigabytes it takes beyond its inputs."""
    batch = batch_of(clips)
    z = torch.randn(clips, FRAMES, 160, requires_grad=True)
    frame = (torch.rand(clips, FRAMES, 1) > 0.5) * batch.weak[:, None]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    loss, _ = inter_frame_distance(z, batch.weak, frame, margin=0.1, form="exact", active_only=False)
    loss.backward()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "gb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e9}


MIXED = "bf16-mixed"
SIDES: dict[str, Callable[[int], Callable[[], object]]] = {
    "torch": with_torch,
    "without": functools.partial(work, distance=False),
    "with": functools.partial(work, distance=True),
    MIXED: functools.partial(work, distance=True, precision=MIXED),
}


def run(clips: int = 64, repeats: int = 2, threads: int = 2) -> dict[str, Any]:
    """Seconds of a step, all sides by turns in one process (the first steps fill its memory), and the loss alone."""
    torch.set_num_threads(threads)
    loss = alone(clips)
    steps = {side: make(clips) for side, make in SIDES.items() if side != MIXED or has_bfloat16()}
    taken: dict[str, list[float]] = {side: [] for side in steps}
    for turn in range(1 + repeats):
        for side, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:
                taken[side].append(time.perf_counter() - start)
    seconds = {side: median(each) for side, each in taken.items()}
    ours = seconds["with"]
    what = f"huang2021's step of {clips} clips x {FRAMES} frames x 160, {threads} threads{processor()}"
    whole = {"what": what, "ours": ours, "peer": seconds["torch"], "name": "PyTorch's convolutions", "unit": "s"}
    name = f"huang2021's step with `trainer.precision={MIXED}`"
    mixed = {"what": name, "ours": seconds.get(MIXED), "peer": ours, "name": "float32", "unit": "s", "times": 1.6}
    return {
        "rows": [
            whole | ({} if MIXED in seconds else {"times": 1.6}),
            {"what": "that step", "ours": ours, "peer": seconds["without"], "name": "without its loss", "unit": "s"},
            *([mixed] if MIXED in seconds else []),
            {"what": "its loss alone, forward and backward", "ours": loss["seconds"], "unit": "s"},
            {"what": "the loss's memory beyond the inputs", "ours": loss["gb"], "unit": "GB"},
        ],
        "seconds": taken,
    }
