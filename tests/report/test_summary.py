"""The summary of runs: complete ones only, grouped, mean and deviation by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from sed_lab.errors import InputError
from sed_lab.files import read_json, write_json
from sed_lab.report.summary import summary


def record(folder: Path, seed: int, f1: float, status: str = "complete", loss: str = "Binary") -> Path:
    config = {"dataset": {"_target_": "a.b.mini_desed"}, "loss": {"_target_": f"a.{loss}"}}
    metrics = {"student/event_f1/macro": f1, "student/psds1/exact": 0.5, "public/student/event_f1/macro": 0.9}
    facts = {
        "status": status,
        "seed": seed,
        "config": config,
        "metrics": metrics,
        "training_seconds": 10 * seed,
        "name": folder.name,
        "command": f"train.py --config-name config loss={loss} seed={seed} hydra.run.dir='x'",
        "finished": "2026-01-02T00:00:00",
        "code": {"sed_lab": "0.1.0"},
        "versions": {"python": "3.11"},
        "hardware": {"processor": "p", "cores": 2, "threads": 1},
    }
    write_json(folder / "run.json", facts)
    return folder


def test_groups_and_numbers(tmp_path: Path) -> None:
    folders = [record(tmp_path / "a", 1, 0.2), record(tmp_path / "b", 2, 0.4), record(tmp_path / "c", 3, 0.9, "failed")]
    folders += [record(tmp_path / "d", 1, 0.3, loss="Focal"), tmp_path / "nothing"]
    text = summary(folders)
    assert "- command: `sed-train loss=Binary`, `sed-train loss=Focal`\n- date: 2026-01-02\n" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    # mean of 0.2 and 0.4, deviation with n - 1: sqrt(0.02) = 0.141
    assert lines[2].startswith("| mini_desed | Binary | student | 1, 2 | 0.300 ± 0.141 |")
    assert lines[2].endswith("| 15 s |")
    assert lines[3].startswith("| mini_desed | Focal | student | 1 | 0.300 |")


def test_tuned_numbers_come_first_and_columns_that_no_run_has_are_left_out(tmp_path: Path) -> None:
    folder = record(tmp_path / "a", 1, 0.2)
    facts = read_json(folder / "run.json")
    facts["metrics"]["student/event_f1_class_tuned/macro"] = 0.4
    write_json(folder / "run.json", facts)
    head, _, row = [line for line in summary([folder]).splitlines() if line.startswith("|")]
    assert head == (
        "| dataset | loss | system | seeds | event F1, tuned class by class | event F1 | PSDS1 | training |"
    )
    assert row.startswith("| mini_desed | Binary | student | 1 | 0.400 | 0.200 | 0.500 |")


def test_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no complete run among the folders given"):
        summary([tmp_path])
