"""sed-reproduce with real runs in small: every table, a kill in the middle, a failing run, no strays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sed_lab.experiment.reader import read_experiment
from sed_lab.files import read_json
from sed_lab.plan import experiment_files
from sed_lab.run.gpu import jobs_at_once

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
TABLES = [read_experiment(path) for path in experiment_files(EXPERIMENTS)]
SMALL = """\
paper: p
item: t
title: T
place: table 1
base:
  - trainer=smoke
  - dataset.bank_share=0.05
  - "dataset.sizes={synthetic: 24, weak: 12, unlabelled: 12, synthetic_validation: 8, weak_validation: 8,
    validation: 8, test: 8}"
  - report.page=false
  - report.figures=false
  - trainer.max_epochs=3
  - trainer.check_val_every_n_epoch=1
scales:
  smoke: {config: park2022, seeds: [0]}
columns:
  f1: {label: F1, metric: student/event_f1/macro}
  psds: {label: PSDS1, metric: student/psds1/exact}
  tagging: {label: tagging F1, metric: student/tagging_f1/macro}
rows:
  a: {label: A, overrides: [loss=bce]}
  b: {label: B, overrides: [loss=tbfl]}
"""
LOOKS = """\
title: T
place: table 1
base: [dataset=toy_points, "dataset.seed=${seed}", feature=point, model=clip_lstm, model.n_units=3, batch.clips.weak=40,
  "dataset.counts={weak: {blue: 20, green: 20, red: 80}, weak_validation: {blue: 9, green: 9, red: 9},
  test: {blue: 20, green: 20, red: 80}}", metric.bootstrap=0,
  method=arora2019_baseline, method.detector_epochs=15, method.patience=null, report.figures=false, report.page=false]
scales:
  mini: {config: arora2019, looks: [2, 3], minutes: 0.2, hardware: one core}
columns:
  accuracy: {metric: model/tagging_f1/exact_match, margin: 0.000001}
rows:
  a: {overrides: [method.optimizer.lr=0.001]}
  b: {overrides: [method.optimizer.lr=0.0011]}
claims:
  - {id: 1, say: a is better than b, better: a, than: b, column: accuracy}
  - {id: 2, say: a is above any bound, above: a, value: -1000, column: accuracy}
"""
UNTIL = ("--scale", "mini", "--until", "decided", "--minutes", "30")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def start(top: Path, cache: str, *words: str) -> subprocess.Popen[str]:
    top.mkdir(exist_ok=True)
    settings = {"SED_LAB_RUNS": "runs", "SED_LAB_CACHE": cache}
    command = [sys.executable, "-m", "sed_lab.reproduce", "--scale", "smoke", *words]
    given: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(command, cwd=top, env={**os.environ, **settings}, **given)


def finished(top: Path, cache: str, *words: str) -> tuple[int, str, str]:
    process = start(top, cache, *words)
    out, err = process.communicate(timeout=1800)
    return process.returncode, out, err


def small(folder: Path, text: str = SMALL) -> tuple[str, str, str]:
    (folder / "p").mkdir(parents=True)
    (folder / "p/t.yaml").write_text(text)
    return "p/t", "--folder", str(folder)


def strays(top: Path) -> list[str]:
    """Command lines of processes that work in ``top``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cwd").resolve() == top.resolve():
                found.append(process.joinpath("cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return [line for line in found if "sed_lab" in line]


def test_every_table_and_figure_at_smoke_scale(tmp_path: Path, cache: str) -> None:
    code, out, err = finished(tmp_path, cache)
    assert code == 0, err
    for experiment in TABLES:
        name, place = experiment.name, tmp_path / "runs/tables/smoke" / experiment.name
        if experiment.needs:  # a folder of the user's, which is not here
            assert f"{name} left out: there is no folder {experiment.needs}" in out
            continue
        assert {path.suffix for path in place.glob("table.*")} == {".md", ".csv", ".json", ".html"}, name
        table = read_json(place / "table.json")
        numbers = [cell["mean"] for cell in table["cells"] if cell["mean"] is not None]
        assert numbers, name
        assert (place / "figure.png").is_file() == bool(experiment.figure), name
        assert not experiment.figure or (place / "figure.png").stat().st_size > 5000, name
        assert name in out
    assert not list((tmp_path / "runs").glob(".*"))  # nothing of the multirun stays
    assert strays(tmp_path) == []


def test_a_table_killed_in_the_middle_ends_the_same(tmp_path: Path, cache: str) -> None:
    words = small(tmp_path / "experiments")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert finished(whole, cache, *words)[0] == 0
    process = start(killed, cache, *words, "launcher=basic")
    until = time.monotonic() + 300
    while not list(killed.glob("runs/mini*/checkpoints/last.ckpt")):  # an epoch is done, the run is not
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until = time.monotonic() + 20
    while strays(killed) and time.monotonic() < until:
        time.sleep(0.1)
    assert strays(killed) == []  # the run and all between it and the command ended with the command
    statuses = [read_json(path)["status"] for path in killed.glob("runs/mini*/run.json")]
    assert "running" in statuses
    code, out, err = finished(killed, cache, *words)
    assert code == 0, err
    tables = [(top / "runs/tables/smoke/p/t/table.csv").read_text() for top in (whole, killed)]
    assert tables[0] == tables[1]
    code, out, err = finished(killed, cache, *words)
    assert code == 0
    assert "runs, each with" not in out  # a second call runs nothing


def test_looks_killed_in_the_middle_decide_the_same_and_run_no_seed_twice(tmp_path: Path, cache: str) -> None:
    words = (*small(tmp_path / "experiments", LOOKS), *UNTIL)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code, out, err = finished(whole, cache, *words)
    assert code == 0, err
    assert "p/t, look at 2 seeds, all rows: 4 runs" in out
    assert "p/t, look at 3 seeds, claim 1: 2 runs" in out
    process = start(killed, cache, *words)
    kill_within(process, killed, 3, signal.SIGKILL)
    assert list(killed.glob("runs/.reproduce-*"))  # nobody was left to remove it
    ended = {path: path.read_bytes() for path in killed.glob("runs/*/run.json") if is_complete(path)}
    assert 0 < len(ended) < 4
    process = start(killed, cache, *words)
    kill_within(process, killed, 5, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    assert not list(killed.glob("runs/.*"))  # of neither call
    ended |= {path: path.read_bytes() for path in killed.glob("runs/*/run.json") if is_complete(path)}
    assert 4 <= len(ended) < 6
    code, out, err = finished(killed, cache, *words)
    assert code == 0, err
    assert {path: path.read_bytes() for path in ended} == ended
    tables = [read_json(top / "runs/tables/mini/p/t/table.json") for top in (whole, killed)]
    assert tables[0]["claims"]["2"]["word"] == "holds"
    assert tables[0]["claims"]["1"]["comparisons"][0]["seeds"] == 3
    assert [table["claims"] for table in tables] == [tables[0]["claims"]] * 2
    assert [table["cells"] for table in tables] == [tables[0]["cells"]] * 2
    runs = [sorted(path.name for path in top.glob("runs/*-seed*")) for top in (whole, killed)]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 6
    for log in killed.glob("runs/*-seed*/output.log"):  # each was trained to its end once, and no epoch twice
        assert log.read_text().count("\nrun: ") == 1, log
        epochs = [row.split(",")[0] for row in (log.parent / "history.csv").read_text().splitlines()[1:]]
        assert len(epochs) == len({*epochs}), log
    assert strays(killed) == []


def is_complete(record: Path) -> bool:
    return bool(read_json(record)["status"] == "complete")


def kill_within(process: subprocess.Popen[str], top: Path, runs: int, how: signal.Signals) -> None:
    """Kill the command when so many runs have begun, one of which has an epoch behind it and is not complete; with
    SIGKILL all that it started dies at the same time."""
    until = time.monotonic() + 600
    while True:
        begun = list(top.glob("runs/*/run.json"))
        training = [
            path for path in begun if not is_complete(path) and (path.parent / "checkpoints/last.ckpt").exists()
        ]
        if len(begun) >= runs and training:
            break
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.02)
    if how == signal.SIGKILL:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    process.communicate()
    until = time.monotonic() + 20
    while strays(top) and time.monotonic() < until:
        time.sleep(0.1)
    assert strays(top) == []


def test_a_failing_run_leaves_its_cell_with_the_reason(tmp_path: Path, cache: str) -> None:
    words = small(tmp_path / "experiments", SMALL.replace("[loss=tbfl]", "[loss=tbfl, batch.clips.synthetic=400]"))
    code, out, err = finished(tmp_path, cache, *words)
    assert code == 1
    text = (tmp_path / "runs/tables/smoke/p/t/table.md").read_text()
    assert "| B | (seed 0: failed: batch.clips.synthetic=400, but the dataset has 24 synthetic clips" in text
    assert "1 done, 1 failed, 0 missing, in " in out
    assert "a seed 0 done in " in out
    (said,) = without_waiting(err)
    assert said.startswith("b seed 0 failed: batch.clips.synthetic=400, but the dataset has 24 synthetic clips")


def without_waiting(err: str) -> list[str]:
    """The lines of stderr but those on what takes long, which a busy machine prints."""
    return [line for line in err.splitlines() if not line.startswith("looking for the runs of tables: ")]


def test_an_unknown_launcher_is_refused(tmp_path: Path, cache: str) -> None:
    code, _, err = finished(tmp_path, cache, *small(tmp_path / "experiments"), "launcher=nonsense")
    assert code == 2
    assert without_waiting(err) == [
        "error: launcher=nonsense is unknown; use basic, joblib, submitit, submitit_local"
    ]  # fmt: skip
    assert "Traceback" not in err
    assert not list(tmp_path.glob("runs/mini*"))


def test_a_job_has_room_on_this_machine() -> None:
    assert 1 <= jobs_at_once(0) <= (os.cpu_count() or 1)
