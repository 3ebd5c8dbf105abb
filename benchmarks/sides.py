"""Two sides of a benchmark in one run, each in its own process: memory peaks and allocator settings belong to one."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import torch

from sed_lab.run.fitting import has_bfloat16

WITHOUT = ", no bfloat16"  # in a measurement's name on a processor that does not multiply it
Work = Callable[[int], Callable[[], object]]  # clips -> one repetition
Measured = dict[str, float]


def processor() -> str:
    """What a measurement's name says of the processor: nothing where it multiplies bfloat16."""
    return "" if has_bfloat16() else WITHOUT


def both(module: str, sides: Mapping[str, Work], clips: int, repeats: int, threads: int) -> dict[str, Measured]:
    """Measure every side of ``benchmarks.<module>``, one after the other."""
    results = {}
    for side in sides:
        options = [f"--side={side}", f"--clips={clips}", f"--repeats={repeats}", f"--threads={threads}"]
        command = [sys.executable, "-m", f"benchmarks.{module}", *options]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
        results[side] = json.loads(done.stdout)
    return results


def measure(work: Work, clips: int, repeats: int, threads: int, warmup: int = 2) -> Measured:
    """Medians over ``repeats`` in this process; a matrix product beside each shows how busy the machine was."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    repetition, matrix = work(clips), torch.randn(2048, 2048)
    seconds, cpu, rate = [], [], []
    for i in range(warmup + repeats):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        product = time.perf_counter() - start
        start, start_cpu = time.perf_counter(), time.process_time()
        repetition()
        if i >= warmup:
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - start_cpu)
            rate.append(2 * 2048**3 / product / 1e9)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"seconds": median(seconds), "cpu_seconds": median(cpu), "matmul_gflops": median(rate), "peak_gb": peak}


def command_line(description: str, sides: Mapping[str, Work], clips: int, repeats: int) -> argparse.Namespace:
    """Options of a benchmark started by hand; with ``--side`` it measures that side, prints JSON and ends."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--clips", type=int, default=clips)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", choices=tuple(sides), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(sides[args.side], args.clips, args.repeats, args.threads)))
        sys.exit()
    return args


def report(results: Mapping[str, Measured], clips: int) -> None:
    """Print both sides and how many times as fast the last one is as the first."""
    for side, r in results.items():
        print(
            f"{side:26} {r['seconds']:7.2f} s {clips / r['seconds']:7.2f} clips/s {r['cpu_seconds']:7.2f} CPU s"
            f" {r['peak_gb']:6.2f} GB peak, beside a matmul at {r['matmul_gflops']:.0f} GFLOP/s"
        )
    first, *_, last = results
    times = [results[first][key] / results[last][key] for key in ("seconds", "cpu_seconds")]
    print(f"{last} is {times[0]:.2f} times as fast as {first} ({times[1]:.2f} times in CPU time)")
