"""A training step of one global batch over 1, 2 and 4 CPU processes with DDP, one thread each, beside equal shares.

Full-size networks, gloo on one machine. More processes than cores share them, so that equal shares are the time of one
process over the number of processes or cores, whichever is smaller; what a step takes beyond that is the exchange and
what each process does whatever its share of the batch (optimiser, teacher, starting of operations).
"""

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from benchmarks.bench_exchange import Stepping
from benchmarks.full_size import PAPERS, Step
from sed_lab.files import read_json, write_json
from sed_lab.run.memory import keep_freed_memory

BATCHES = {"park2022": (4, 4, 8), "huang2021": (4, 4, 0)}  # clips of a step in all, a whole number for each of four
PROCESSES = (1, 2, 4)


def run(repeats: int = 2) -> dict[str, Any]:
    """Seconds of a step, of each number of processes."""
    cores = len(os.sched_getaffinity(0))
    taken = {name: {n: timed(name, n, repeats) for n in PROCESSES} for name in BATCHES}
    rows = []
    for name, by_number in taken.items():
        clips = sum(BATCHES[name])
        for n in PROCESSES[1:]:
            share = by_number[1] / min(n, cores)
            what = f"{name}'s step of {clips} clips over {n} processes of one thread on {cores} cores"
            rows.append({"what": what, "ours": by_number[n], "peer": share, "name": "equal shares", "unit": "s"})
    return {"rows": rows, "seconds": taken}


def timed(name: str, processes: int, repeats: int) -> float:
    """The median seconds of a step."""
    with tempfile.TemporaryDirectory() as folder:
        given = (folder, name, BATCHES[name], processes, repeats)
        torch.multiprocessing.spawn(_process, given, nprocs=processes)
        return median(read_json(Path(folder, "seconds.json")))


def _process(rank: int, folder: str, name: str, clips: tuple[int, ...], processes: int, repeats: int) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=processes)
    strong, weak, unlabelled = (number // processes for number in clips)
    step = Step(replace(PAPERS[name], clips=(strong, weak, unlabelled)), "cpu")
    model = nn.parallel.DistributedDataParallel(Stepping(step))
    seconds = []
    for turn in range(1 + repeats):
        dist.barrier()
        start = time.perf_counter()
        step.optimizer.zero_grad()
        model().backward()
        step.method.on_before_optimizer_step(step.optimizer)
        step.optimizer.step()
        dist.barrier()
        if turn:
            seconds.append(time.perf_counter() - start)
    if rank == 0:
        write_json(Path(folder, "seconds.json"), seconds)
    dist.destroy_process_group()


if __name__ == "__main__":
    print(run())
