"""Bytes that processes of a training with DDP exchange in a step of each paper's full-size network.

Two CPU processes with one thread each, over gloo, take one step on a few clips of full length: a communication hook
counts the gradients that are reduced over all processes, which do not depend on the clips; what a loss gathers, which
grows with them, is counted a clip of a process. No time is measured: two processes share what one has on this machine.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from benchmarks.full_size import PAPERS, Step
from sed_lab.types import Part, Shares

PROCESSES = 2
CLIPS = {"park2022": (1, 1, 2), "arora2019": (0, 2, 0), "huang2021": (1, 1, 0), "amiriparian2018": (3, 0, 0),
         "aziz2020": (0, 2, 0)}  # fmt: skip


class Stepping(nn.Module):
    """What DDP takes: a forward pass that is the method's training step, as Lightning's strategy makes it."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.method, self.batch = step.method, step.batch

    def forward(self) -> Tensor:
        """The loss."""
        return self.method.training_step(Part(self.batch, Shares()), 0)


def run() -> dict[str, Any]:
    """Megabytes a step, and the parameters that account for them."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_process, (folder,), nprocs=PROCESSES)
        found = json.loads(Path(folder, "found.json").read_text(encoding="utf-8"))
    rows = []
    for name, one in found.items():
        what = f"gradients reduced over all devices, a step of {name}"
        rows.append({"what": what, "ours": one["reduced"] / 1e6, "unit": "MB"})
        if one["gathered_a_clip"]:
            what = f"gathered from all devices, a clip of {name}"
            rows.append({"what": what, "ours": one["gathered_a_clip"] / 1e6, "unit": "MB"})
    return {"rows": rows, "bytes": found}


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES)
    found = {name: exchanged(Step(replace(PAPERS[name], clips=clips), "cpu")) for name, clips in CLIPS.items()}
    if rank == 0:
        Path(folder, "found.json").write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()


def exchanged(step: Step) -> dict[str, float]:
    """Bytes of one process in one step: reduced gradients, buffers sent by the first, rows gathered a clip."""
    counted = {"reduced": 0, "gathered": 0}

    def hook(state: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        counted["reduced"] += bucket.buffer().nbytes
        group = dist.group.WORLD
        assert group is not None
        return allreduce_hook(group, bucket)

    gather: Any = dist.all_gather

    def counting(parts: list[Tensor], own: Tensor) -> None:
        counted["gathered"] += own.nbytes
        gather(parts, own)

    model = nn.parallel.DistributedDataParallel(Stepping(step))
    model.register_comm_hook(None, hook)
    dist.all_gather = counting  # type: ignore[assignment]
    try:
        model().backward()
    finally:
        dist.all_gather = gather
    trained = [p for p in step.method.parameters() if p.requires_grad]
    return {
        "reduced": counted["reduced"],
        "parameters": sum(p.numel() for p in trained),
        "buffers": sum(b.nbytes for b in step.method.buffers()),
        "gathered_a_clip": counted["gathered"] / step.clips,
    }
