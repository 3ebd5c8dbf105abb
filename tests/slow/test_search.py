"""A study of trained trials by two workers, killed in the midst of it and asked for again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from sed_lab.files import read_json
from sed_lab.run.study import KILLED, accounted
from tests.test_layout import ROOT
from tests.test_smoke import SIZES, TOY

pytestmark = pytest.mark.slow
SECONDS = 3000
STUDY = ["search.study=toy", "search.trials=12", "search.workers=2", "search.pruner_trials=3"]
SPACE = [
    "model.n_units=range(2,6)",
    "method.optimizer.lr=0.001,0.003",
    "batch.clips.weak=48,56,64,5000",
]  # of 5000 there are none


def searching(cwd: Path, cache: str, **streams: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sed_lab.search", *TOY, *STUDY, *SPACE], cwd=cwd, text=True, **streams,
        env={**os.environ, "SED_LAB_RUNS": "runs", "SED_LAB_CACHE": cache, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def processes(text: str) -> list[int]:
    """Numbers of the processes whose command line has ``text``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [int(path.parent.name)] if text in path.read_text() else []
        except OSError:
            continue
    return found


def test_a_study_that_was_killed_accounts_for_all_its_trials_and_finds_the_best_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    optuna = pytest.importorskip("optuna")
    cache = str(tmp_path_factory.mktemp("cache"))
    with searching(tmp_path, cache, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as first:
        assert first.stdout is not None
        said = []
        for line in first.stdout:
            said.append(line)
            if line.startswith("trial 4:"):
                break
        first.send_signal(signal.SIGKILL)
    assert any(line.startswith("trial 4:") for line in said), "".join(said)
    end = time.monotonic() + 60
    while processes(f"{tmp_path}/runs") and time.monotonic() < end:
        time.sleep(0.5)
    assert not processes(f"{tmp_path}/runs"), "a killed search leaves no training behind"

    outcomes = []
    for _ in range(2):
        done = searching(tmp_path, cache, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = done.communicate(timeout=SECONDS)
        assert done.returncode == 0, err
        assert "12 of 12 trials: " in out
        assert "5000, but the dataset has" in err  # what failed is told, and ended nothing
        outcomes.append((out, re.findall(r"best: .*", out)))
    assert outcomes[0][1] == outcomes[1][1] != []
    assert "trials were killed; their values are tried again" in outcomes[0][0]
    assert not re.search(r"^trial \d+", outcomes[1][0], re.MULTILINE)  # nothing was left to do

    place = tmp_path / "runs" / "search-toy"
    backend = optuna.storages.journal.JournalFileBackend(str(place / "journal.log"))
    study = optuna.load_study(study_name="toy", storage=optuna.storages.JournalStorage(backend))
    trials = accounted(study)
    assert len(trials) == 12
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED", "FAIL"}
    assert any(trial.state.name == "FAIL" for trial in trials)
    killed = [trial for trial in study.trials if trial.user_attrs.get(KILLED)]
    assert 1 <= len(killed) <= 2
    assert all(any(other.params == trial.params for other in trials) for trial in killed)
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    records = {trial.number: read_json(Path(trial.user_attrs["folder"]) / "run.json") for trial in complete}
    assert all(records[trial.number]["objective"] == trial.value for trial in complete)
    best = max(complete, key=lambda trial: (trial.value, -trial.number))
    assert f"best: trial {best.number}, objective {best.value:.4f}: {best.user_attrs['folder']}" == outcomes[0][1][0]
    assert {path.name for path in place.iterdir()} >= {"trials.csv", "history.png", "journal.log"}


def test_what_the_agent_of_w_and_b_runs_trains_one_configuration(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The command line is made as W&B's agent makes it, of the file that docs/search.md shows."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args, make_launch_sweep_entrypoint

    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/search.md").read_text(encoding="utf-8"), re.DOTALL)
    sweep = yaml.safe_load(text)
    chosen = {"method.optimizer.lr": 0.0025, "loss": "weighted_bce"}
    assert chosen.keys() == sweep["parameters"].keys()
    assert 1e-4 <= chosen["method.optimizer.lr"] <= sweep["parameters"]["method.optimizer.lr"]["max"]
    values = create_sweep_command_args({"args": {key: {"value": value} for key, value in chosen.items()}})
    (program, *words), own = make_launch_sweep_entrypoint(values, sweep["command"])
    assert program == "sed-train"
    small = ["trainer=smoke", "report.page=false", "report.figures=false", "dataset.bank_share=0.05",
             f"dataset.sizes={SIZES}",
             "batch.clips={synthetic: 8, weak: 2, unlabelled: 0}"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "sed_lab.train", *words, *own, *small], cwd=tmp_path, text=True, timeout=SECONDS,
        capture_output=True, check=False,
        env={**os.environ, "SED_LAB_RUNS": "runs", "SED_LAB_CACHE": str(tmp_path_factory.mktemp("cache")),
             "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = (read_json(path) for path in (tmp_path / "runs").glob("*/run.json"))
    assert record["config"]["method"]["optimizer"]["lr"] == 0.0025
    assert record["config"]["loss"]["_target_"].endswith(".WeightedBinary")
    assert [*(tmp_path / "runs").glob("*/wandb/offline-run-*")]
