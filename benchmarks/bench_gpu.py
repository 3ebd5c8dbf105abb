"""A training step of each paper's full-size network on one GPU, in at most eight minutes; Park & Elhilali's beside the
plain baseline's.

For each network, in float32 (whose convolutions PyTorch computes in TF32) and under autocast to bfloat16: clips a
second; the share of the rate that large matrix products reach in this process, in TF32 or bfloat16; the share of time
the device stands idle (time of a step less that of its kernels); memory at most; and where in the code a step waits for
the device. Lightning, the loader and copies to the device take no part. Without a GPU, ``run("cpu", ...)`` goes the
same way at any size, without what only a GPU tells.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.dcase2021 import PlainMeanTeacher
from benchmarks.full_size import PAPERS, FullSize, Step, flop_of

MINUTES = 8.0
PRODUCT = 8192  # edge of the matrices whose product is the peak
ROOT = Path(__file__).resolve().parents[1]


def run(
    device: str = "cuda", papers: Mapping[str, FullSize] = PAPERS, product: int = PRODUCT, seconds: float = 3.0
) -> dict[str, Any]:
    """Every paper's step in both precisions, each timed for ``seconds``; what the minutes have no room for is named."""
    end = time.monotonic() + 60 * MINUTES
    peak = {"float32": matrix_rate(device, torch.float32, product, seconds / 3)}
    peak["bf16-mixed"] = matrix_rate(device, torch.bfloat16, product, seconds / 3)
    steps: dict[str, Any] = {}
    for name, paper in papers.items():
        for precision in peak:
            flop = steps.get(f"{name} float32", {}).get("flop")
            make = partial(paper_step, paper, device, precision, seconds, peak[precision], flop)
            steps[f"{name} {precision}"] = tried(make, end)
    plain = partial(plain_step, papers["park2022"], device)
    steps["plain baseline float32"] = tried(lambda: measured(plain(), device, seconds), end)
    result = {"peak_flop_per_second": peak, "steps": steps, "tf32": tf32()}
    if device != "cpu":
        for precision in peak:
            make = partial(compiled_step, papers["park2022"], device, precision, seconds)
            result[f"compiled {precision}"] = tried(make, end - 60)
    return {"rows": rows_of(steps, sum(papers["park2022"].clips)), **result}


def tried(measure: Callable[[], dict[str, Any]], end: float) -> dict[str, Any]:
    """What ``measure`` gives, or why there is nothing, so that the rest is still measured; the last minute is kept."""
    if time.monotonic() > end - 60:
        return {"left_out": "no time was left"}
    try:
        return measure()
    except Exception as error:  # of a library or the device, whatever it is
        return {"left_out": f"{type(error).__name__}: {error}"}
    finally:
        torch.cuda.empty_cache()


def paper_step(
    paper: FullSize, device: str, precision: str, seconds: float, peak: float, flop: int | None
) -> dict[str, Any]:
    """A paper's step: what :func:`measured` gives, rates, and how it is set up; ``flop`` where they are known."""
    step = Step(paper, device, precision == "bf16-mixed")
    one = measured(step, device, seconds) | facts_of(step)
    one["flop"] = flop or flop_of(step)
    rates = {"clips_per_second": step.clips / one["seconds"], "share_of_peak": one["flop"] / one["seconds"] / peak}
    return one | rates


def rows_of(steps: Mapping[str, Any], plain_clips: int) -> list[dict[str, Any]]:
    """What is compared: clips a second; the plain baseline's beside Park & Elhilali's."""
    rows = []
    for name, one in steps.items():
        if "clips_per_second" not in one:
            continue
        row = {"what": f"training step on the GPU, {name}", "ours": one["clips_per_second"], "unit": "clips/s"}
        plain = steps["plain baseline float32"].get("seconds")
        if name.startswith("park2022") and plain:
            row |= {"peer": plain_clips / plain, "name": "plain baseline, float32"}
        rows.append(row)
    return rows


def measured(step: Callable[[], object], device: str, seconds: float) -> dict[str, Any]:
    """Seconds of a step over so many seconds' steps, and on a GPU memory, idle share and where it waits."""
    on_gpu = device != "cpu"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    for _ in range(3 if on_gpu else 1):
        step()
    one: dict[str, Any] = {"seconds": time_of(step, device, seconds)}
    if on_gpu:
        one["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        one["busy_seconds"] = busy_seconds(step)
        one["idle_share"] = max(0.0, 1 - one["busy_seconds"] / one["seconds"])
        one["waits"] = waits(step)
    return one


def time_of(work: Callable[[], object], device: str, seconds: float) -> float:
    """Mean seconds of ``work`` repeated until so many have gone by; the device has finished at both ends."""
    done, start = 0, finished(device)
    while done == 0 or time.perf_counter() - start < seconds:
        work()
        done += 1
        if done % 10 == 0:
            finished(device)  # else a fast host would queue work for much longer than was asked for
    return (finished(device) - start) / done


def finished(device: str) -> float:
    """The time at which the device has done all it was given."""
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def matrix_rate(device: str, dtype: torch.dtype, edge: int, seconds: float) -> float:
    """Floating-point operations a second of large matrix products; those of float32 in TF32 where the device has it."""
    a, b = (torch.randn(edge, edge, device=device, dtype=dtype) for _ in range(2))
    precise = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        torch.mm(a, b)
        return 2 * edge**3 / time_of(lambda: torch.mm(a, b), device, seconds)
    finally:
        torch.set_float32_matmul_precision(precise)


def busy_seconds(step: Callable[[], object], repeats: int = 3) -> float:
    """Seconds a step during which some kernel or copy runs on the device; the profiler slows the host, not these."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(repeats):
            step()
        torch.cuda.synchronize()
    events = [e for e in found.events() if e.device_type == DeviceType.CUDA and not e.is_user_annotation]
    return covered([(e.time_range.start, e.time_range.end) for e in events]) / 1e6 / repeats


def covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of ``spans`` (start, end)."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def waits(step: Callable[[], object]) -> dict[str, int]:
    """How often one step waits for the device, by the line that makes it; torch does not see every kind of wait."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    lines = [f"{warning.filename}:{warning.lineno}" for warning in caught if "synchroniz" in str(warning.message)]
    return dict(Counter(line.removeprefix(f"{ROOT}/") for line in lines))


def facts_of(step: Step) -> dict[str, Any]:
    """Whether convolutions have channels last, and which kind of optimiser steps."""
    weights = [m.weight for m in step.method.modules() if isinstance(m, nn.Conv2d)]
    last = [w.is_contiguous(memory_format=torch.channels_last) for w in weights]
    groups = step.optimizer.param_groups
    return {"channels_last": all(last) if last else None, "fused": all(bool(g.get("fused")) for g in groups)}


def tf32() -> dict[str, Any]:
    """How PyTorch computes float32 in this process."""
    return {"convolutions": torch.backends.cudnn.allow_tf32, "products": torch.get_float32_matmul_precision()}


def plain_step(paper: FullSize, device: str) -> Callable[[], object]:
    """The plain baseline's step on as many clips."""
    trainer, clips, strong = PlainMeanTeacher(device=device), sum(paper.clips), paper.clips[0]
    samples = round(paper.seconds * 16000)
    audio = torch.randn(clips, samples, device=device) * 0.1
    frames = (samples // 256 + 1) // 4
    y, weak = torch.rand(strong, 10, frames, device=device).round(), torch.rand(strong, 10, device=device).round()
    return lambda: trainer.step(audio, y, weak)


def compiled_step(paper: FullSize, device: str, precision: str, seconds: float) -> dict[str, Any]:
    """Park & Elhilali's networks under torch.compile: seconds until the third step is done, and of a step then."""
    step = Step(paper, device, precision == "bf16-mixed")
    step.method.student.compile()
    step.method.teacher.compile()
    started = time.perf_counter()
    for _ in range(3):
        step()
    return {"first_steps_s": finished(device) - started, "step_s": time_of(step, device, seconds)}
