"""Tables from records: means, differences, missing runs, verdicts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from sed_lab.experiment import read_experiment
from sed_lab.files import write_json
from sed_lab.report.table import build_table, markdown, write_table

FILE = """\
paper: p
item: t
title: T
place: table 1
scales:
  mini: {seeds: [0, 1]}
columns:
  f1: {metric: student/event_f1/macro, label: F1}
  dog: {metric: student/event_f1/per_class/Dog/f1}
rows:
  a: {label: A, overrides: [], paper: {f1: 0.5}}
  b: {label: B, overrides: []}
claims:
  - {id: 1, say: A beats B, better: a, than: b, column: f1}
"""


def record(folder: Path, f1: float | None, **facts: Any) -> Path:
    status = {"status": "complete", "metrics": {"student/event_f1/macro": f1}} if f1 is not None else {}
    write_json(folder / "run.json", {**status, **facts})
    per_class = {"Dog": {"f1": (f1 or 0) / 2}}
    write_json(folder / "metrics.json", {"systems": {"student": {"event_f1": {"macro": f1, "per_class": per_class}}}})
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, dict[int, Path]]:
    values = {"a": (0.6, 0.8), "b": (0.1, 0.32)}
    return {row: {seed: record(tmp_path / f"{row}{seed}", f1) for seed, f1 in enumerate(values[row])} for row in values}


def experiment(tmp_path: Path) -> Any:
    (tmp_path / "t.yaml").write_text(FILE)
    return read_experiment(tmp_path / "t.yaml")


def test_cells_differences_and_verdict(tmp_path: Path, folders: dict[str, dict[int, Path]]) -> None:
    table = build_table(experiment(tmp_path), "mini", folders)
    text = markdown(table)
    assert "| A | 0.700 ± 0.141 | 0.500 | 0.200 | 0.350 ± 0.071 |" in text
    assert "| B | 0.210 ± 0.156 |  |  | 0.105 ± 0.078 |" in text
    assert "| 1. A beats B | holds | a - b: +0.490 [+0.363, +0.617], 2 |" in text
    write_table(table, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    assert [(row["row"], row["column"], row["runs"]) for row in rows[:2]] == [("a", "f1", "2"), ("a", "dog", "2")]
    assert json.loads((tmp_path / "out" / "table.json").read_text())["claims"]["1"]["word"] == "holds"


def test_a_failed_run_leaves_its_cell_empty_with_the_reason(
    tmp_path: Path, folders: dict[str, dict[int, Path]]
) -> None:
    record(folders["a"][1], None, status="failed", reason="no memory left")
    (folders["b"][0] / "run.json").unlink()
    table = build_table(experiment(tmp_path), "mini", folders)
    text = markdown(table)
    assert "| A | (seed 1: failed: no memory left) | 0.500 |  |" in text
    assert "| B | (seed 0: not run) |" in text
    assert "0.600" not in text  # never an average over fewer
    assert table.verdicts["1"].word == "undecided"
