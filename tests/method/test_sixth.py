"""A sixth method from outside: one file, one YAML, nothing shared edited; the one of docs/new_paper.md."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.forked import run_forked

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "new_paper.md").read_text(encoding="utf-8")
METHOD, YAML = (re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[1] for kind in ("python", "yaml"))  # type: ignore[index]
EXPERIMENT = """\
paper: mine
item: table
title: Pooling
place: here
base: ["hydra.searchpath=[file://{conf}]", method=pooling, trainer=smoke, report.page_clips=2, dataset.bank_share=0.05,
  "dataset.sizes={sizes}", "batch.clips={clips}"]
scales: {{smoke: {{seeds: [0]}}}}
columns: {{f1: {{metric: "{{system}}/event_f1/macro"}}}}
rows: {{bce: {{overrides: [loss=bce], system: pooled}}}}
"""
CLIPS = "{synthetic:8,weak:2,unlabelled:2}"
SIZES = "{synthetic:10,weak:6,unlabelled:4,synthetic_validation:3,weak_validation:3,validation:3,test:3}"


def sed(command: str, *words: str, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{cwd}:{os.environ.get('PYTHONPATH', '')}"}
    done = run_forked(f"sed_lab.{command}", *words, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's method and YAML in a folder of their own."""
    monkeypatch.setenv("SED_LAB_RUNS", str(tmp_path / "runs"))
    (tmp_path / "conf" / "method").mkdir(parents=True)
    (tmp_path / "pooling.py").write_text(METHOD)
    (tmp_path / "conf" / "method" / "pooling.yaml").write_text(YAML)


@pytest.mark.usefixtures("outside")
def test_a_method_from_outside_trains_is_measured_drawn_listed_and_predicts(tmp_path: Path) -> None:
    assert len(METHOD.splitlines()) <= 100
    assert len(YAML.splitlines()) <= 6
    (tmp_path / "experiments" / "mine").mkdir(parents=True)
    given = EXPERIMENT.format(conf=tmp_path / "conf", sizes=SIZES, clips=CLIPS)
    (tmp_path / "experiments" / "mine" / "table.yaml").write_text(given)
    said = sed("reproduce", "mine/table", "--scale", "smoke", cwd=tmp_path)
    assert "table.md" in said
    (record,) = (tmp_path / "runs").glob("*/run.json")
    run = json.loads(record.read_text())
    assert (run["status"], record.parent.name.split("-")[1]) == ("complete", "LinearSoftmax")
    assert {"event_f1", "psds1"} <= json.loads((record.parent / "metrics.json").read_text())["systems"]["pooled"].keys()
    assert "pooled" in (record.parent / "page.html").read_text()
    assert list((record.parent / "figures").glob("*.png"))
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 16000 * 12), 16000)
    events = sed("predict", str(record.parent), "a.wav", "--trust", "pooling", "--threshold", "0.1", cwd=tmp_path)
    assert events.startswith("filename\tonset\toffset\tevent_label\tconfidence\n")


@pytest.mark.slow
@pytest.mark.usefixtures("outside")
def test_a_method_from_outside_is_trained_by_the_command_too(tmp_path: Path) -> None:
    words = (
        f"dataset.sizes={SIZES}",
        f"batch.clips={CLIPS}",
        "dataset.bank_share=0.05",
        "trainer=smoke",
        "report.page=false",
    )
    assert "run: " in sed("train", "--config-dir", "conf", "method=pooling", *words, cwd=tmp_path)
