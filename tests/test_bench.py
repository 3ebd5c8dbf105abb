"""The benchmarks' page, and the check that finds a ratio that fell."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import __main__ as bench
from benchmarks import bench_metric, bench_scaling, bench_start
from sed_lab.files import read_json


def test_the_pages_show_what_is_stored() -> None:
    stored = read_json(bench.RESULTS)
    assert bench.markdown(stored) in bench.PAGE.read_text(encoding="utf-8")
    headlines = bench.markdown(stored, bench.HEADLINES)
    assert bench.BLOCK[0] + headlines + bench.BLOCK[1] in bench.README.read_text(encoding="utf-8")
    assert headlines.count("\n") == 2 + len(bench.HEADLINES)


def measured(seconds: float, peer: float = 3.0) -> dict[str, Any]:
    return {"result": {"rows": [{"what": "a step", "ours": seconds, "peer": peer, "unit": "s"}]}}


@pytest.mark.parametrize(
    ("tries", "code"),
    [
        ([measured(1.2)], 0),  # 2.5 times after 3
        ([measured(2.0), measured(1.0)], 0),  # once
        ([measured(2.0), measured(2.0)], 1),
        ([None, None], 1),
        ([measured(2.0, peer=6.0)], 0),  # a machine half as fast
    ],
)
def test_a_ratio_that_fell_twice_is_found(
    tries: list[Any], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = list(tries)
    monkeypatch.setattr(bench, "in_own_process", lambda name: left.pop(0))
    assert bench.check({bench.stored_as("step"): measured(1.0)}, ["step"]) == code
    assert not left
    assert ("step: a step: 3.00 times before" in capsys.readouterr().err) == bool(code)


def test_a_processor_without_bfloat16_is_compared_with_its_like(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "processor", lambda: ", no bfloat16")
    monkeypatch.setattr(bench, "in_own_process", lambda name: measured(2.0))
    assert bench.stored_as("metric") == "metric"
    assert bench.check({"step": measured(1.0)}, ["step"]) == 0
    assert "nothing is stored to compare with" in capsys.readouterr().out
    assert bench.check({"step, no bfloat16": measured(1.0)}, ["step"]) == 1


@pytest.mark.slow
def test_waiting_is_measured_and_no_logger_is_asked_for() -> None:
    rows = bench_start.run(repeats=1)["rows"]
    assert [0 < row["ours"] < 120 for row in rows] == [True] * 3
    assert rows[1]["ours"] > rows[0]["ours"]  # what trains takes longer than what says how


@pytest.mark.slow
def test_metrics_are_measured_and_agree_with_the_field_s_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_metric, "CLIPS", 8)
    rows = bench_metric.run()["rows"]
    assert rows
    assert all(row["ours"] > 0 for row in rows)


@pytest.mark.slow
def test_steps_over_processes_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_scaling, "PROCESSES", (1, 2))
    monkeypatch.setattr(bench_scaling, "BATCHES", {"aziz2020": (0, 4, 0)})
    result = bench_scaling.run(repeats=1)
    assert [row["ours"] > 0 for row in result["rows"]] == [True]
    assert set(result["seconds"]["aziz2020"]) == {1, 2}
