"""One DCASE 2021 training step, sed_lab's beside the plain baseline's: time, peak memory, share of the matmul rate.

    python -m benchmarks.bench_step --clips 48 --repeats 5

A step is mel, mixup, student, teacher, losses, backward, moving average and Adam on 48 clips of 10 s that are in memory
before the clock starts. Lightning is on neither side. Both sides are measured with bfloat16 too, where autocast has it
and the processor multiplies it: without, a step takes six times as long as in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.dcase2021 import PlainMeanTeacher
from benchmarks.sides import Work, both, command_line, processor, report
from sed_lab.run.fitting import has_bfloat16

GFLOP_PER_CLIP = 359.1 / 48  # torch's flop counter: mel projection, two forward passes, one backward


def plain(clips: int) -> Callable[[], object]:
    """The plain baseline's step."""
    trainer, quarter = PlainMeanTeacher(), clips // 4
    audio, strong, weak = torch.randn(clips, 160000) * 0.1, torch.rand(quarter, 10, 156), torch.rand(quarter, 10)
    return lambda: trainer.step(audio, strong.round(), weak.round())


def ours(clips: int) -> Callable[[], object]:
    """The same step by sed_lab: MeanTeacher.training_step, backward, teacher, Adam."""
    from benchmarks.assembled import method_of
    from sed_lab.run.memory import keep_freed_memory
    from sed_lab.types import Batch, Part, Shares

    keep_freed_memory()
    method = method_of("dcase2021")
    optimizer = method.make_optimizer([p for p in method.parameters() if p.requires_grad])
    # As much of a trainer as the step asks for.
    trainer: Any = SimpleNamespace(global_step=0, optimizers=[optimizer])
    method._trainer = trainer
    for name in ("log", "log_dict"):
        setattr(method, name, lambda *args, **kwargs: None)
    kind = torch.arange(clips) * 4 // clips
    batch = Batch(
        strong=torch.rand(clips, 156, 10).round(),
        weak=torch.rand(clips, 10).round(),
        has_strong=kind == 0,
        has_weak=kind == 1,
        synthetic=kind == 0,
        valid_frames=torch.full((clips,), 156),
        index=torch.arange(clips),
        clip_id=[str(i) for i in range(clips)],
        audio=torch.randn(clips, 160000) * 0.1,
    )

    def step() -> None:
        loss = method.training_step(Part(batch, Shares()), 0)
        optimizer.zero_grad()
        loss.backward()
        method.on_before_optimizer_step(optimizer)
        optimizer.step()
        trainer.global_step += 1

    return step


def mixed(side: Callable[[int], Callable[[], object]], clips: int) -> Callable[[], object]:
    """A side's step under autocast, as ``trainer.precision=bf16-mixed`` has it."""
    step = side(clips)

    def autocast() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            step()

    return autocast


SIDES: dict[str, Work] = {
    "plain baseline": plain,
    "plain baseline, bf16-mixed": partial(mixed, plain),
    "sed_lab": ours,
    "sed_lab, bf16-mixed": partial(mixed, ours),
}


def run(clips: int = 48, repeats: int = 3, threads: int = 2) -> dict[str, Any]:
    """Seconds and peak memory of a step, both sides."""
    sides = SIDES if has_bfloat16() else {side: SIDES[side] for side in SIDES if "bf16" not in side}
    results = both("bench_step", sides, clips, repeats, threads)
    report(results, clips)
    theirs, mine = results["plain baseline"], results["sed_lab"]
    what, name = f"training step, {clips} clips x 10 s, {threads} threads{processor()}", "plain baseline"
    share = {
        side: GFLOP_PER_CLIP * clips / measured["seconds"] / measured["matmul_gflops"]
        for side, measured in results.items()
    }
    faster, mixed = {"unit": "s", "peer": theirs["seconds"]}, "the step with `trainer.precision=bf16-mixed`"
    rows = [
        {**faster, "what": what, "ours": mine["seconds"], "name": name, "times": 4},
        {"what": "its peak memory", "ours": mine["peak_gb"], "peer": theirs["peak_gb"], "name": name, "unit": "GB",
         "limit": 3.5},
    ]  # fmt: skip
    if "sed_lab, bf16-mixed" in results:
        theirs_mixed, mine_mixed = results["plain baseline, bf16-mixed"], results["sed_lab, bf16-mixed"]
        rows += [
            {**faster, "what": mixed, "ours": mine_mixed["seconds"], "name": f"{name}, float32", "times": 5},
            {"what": "both with bf16-mixed", "ours": mine_mixed["seconds"], "peer": theirs_mixed["seconds"],
             "name": name, "unit": "s"},
            {"what": "its peak memory with bf16-mixed", "ours": mine_mixed["peak_gb"],
             "peer": theirs_mixed["peak_gb"], "name": name, "unit": "GB", "limit": 3.5},
        ]  # fmt: skip
    return {
        "rows": rows,
        "share_of_matmul_rate": share,
        "sides": results,
    }


if __name__ == "__main__":
    options = command_line((__doc__ or "").splitlines()[0], SIDES, clips=48, repeats=3)
    run(options.clips, options.repeats, options.threads)
