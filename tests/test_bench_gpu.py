"""The GPU benchmark at tiny size on the CPU, and what it counts and leaves out."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import __main__ as bench
from benchmarks import bench_exchange, bench_gpu
from benchmarks.full_size import PAPERS, FullSize, flop_of


def tiny(paper: FullSize) -> FullSize:
    """The paper's network on a few short clips."""
    seconds = paper.seconds if paper.rows else 3.0 if paper.about else 1.0  # some detectors take chunks of 1.2 s
    clips = tuple(min(count, 3 if paper.about else 2) for count in paper.clips)
    return replace(paper, seconds=seconds, clips=clips, labelled=(4, 2, 2, 8) if paper.labelled else ())


@pytest.mark.slow
def test_every_paper_s_full_size_network_is_measured() -> None:
    found = bench_gpu.run("cpu", {name: tiny(paper) for name, paper in PAPERS.items()}, product=64, seconds=0.0)
    wanted = {f"{name} {precision}" for name in PAPERS for precision in ("float32", "bf16-mixed")}
    assert found["steps"].keys() == wanted | {"plain baseline float32"}
    for name in wanted:
        step = found["steps"][name]
        assert all(0 < step[key] < math.inf for key in ("seconds", "clips_per_second", "flop", "share_of_peak"))
    assert [row["what"].split(", ")[1] for row in found["rows"] if "peer" in row] == [
        "park2022 float32", "park2022 bf16-mixed"
    ]  # fmt: skip
    assert len(found["rows"]) == len(wanted)
    assert all(0 < row["ours"] < math.inf for row in found["rows"])
    assert all("left_out" not in one for one in found["steps"].values())


def test_a_step_that_fails_or_has_no_time_is_named_and_the_rest_goes_on() -> None:
    def fails() -> dict[str, Any]:
        raise RuntimeError("CUDA out of memory")

    later = time.monotonic() + 100
    assert bench_gpu.tried(fails, later) == {"left_out": "RuntimeError: CUDA out of memory"}
    assert "no time" in bench_gpu.tried(fails, later - 90)["left_out"]
    steps = {"park2022 float32": {"clips_per_second": 5.0}, "plain baseline float32": {"left_out": "no time"}}
    assert [row["ours"] for row in bench_gpu.rows_of({**steps, "aziz2020 float32": {"left_out": "x"}}, 48)] == [5.0]


def test_operations_are_those_counted_by_hand() -> None:
    linear, lstm, conv = nn.Linear(7, 5), nn.LSTM(5, 4, batch_first=True), nn.Conv2d(1, 6, 3, bias=False)
    x, image = torch.randn(2, 3, 7), torch.randn(2, 1, 8, 9)

    def step() -> None:
        lstm(linear(x))[0].sum().backward()
        conv(image).sum().backward()

    products = {  # multiply-adds forward; those for the gradient in the weights, and in what comes in
        "linear": 6 * 7 * 5 * (1 + 1),
        "lstm, input": 6 * 5 * 16 * (1 + 1 + 1),
        "lstm, state": 2 * 4 * 16 * (3 + 3 + 2),  # the first state is no variable
        "convolution": 2 * 6 * 7 * 6 * 9 * (1 + 1),
    }
    assert flop_of(step) == 2 * sum(products.values())


def test_overlapping_kernels_count_once() -> None:
    assert bench_gpu.covered([(5.0, 9.0), (0.0, 2.0), (1.0, 3.0), (6.0, 7.0)]) == 7.0


@pytest.mark.parametrize(("gpu", "measured"), [(False, []), (True, ["gpu"])])
def test_without_a_gpu_its_benchmark_is_skipped_with_a_sentence(
    gpu: bool, measured: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    def own(name: str) -> Any:
        tried.append(name)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(bench, "in_own_process", own)
    monkeypatch.setattr(sys, "argv", ["bench", "gpu"])
    assert bench.main() == (1 if gpu else 0)  # `own` gives nothing, as where a benchmark failed
    assert tried == measured
    assert ("gpu: skipped" in capsys.readouterr().out) is not gpu


@pytest.mark.slow
def test_every_gradient_is_exchanged_once_as_four_bytes() -> None:
    found = bench_exchange.run()["bytes"]
    assert found.keys() == PAPERS.keys()
    assert all(one["reduced"] == 4 * one["parameters"] for one in found.values())
    assert [name for name, one in found.items() if one["gathered_a_clip"]] == ["huang2021"]
