"""Rare event detectors from the command line: numbers of both test sets, the detector alone, prediction."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sed_lab.analysis.amiriparian2018 import NUMBERS
from sed_lab.files import read_json
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import is_metric
from sed_lab.predict import detect
from sed_lab.run.detector import load_detector
from sed_lab.scores import load_scores
from sed_lab.types import Scores
from tests.test_smoke import sed

WORDS = [
    "--config-name", "amiriparian2018", "report.figures=false", "report.page=false", "trainer.max_epochs=1",
    "dataset.mixtures={synthetic: {mixtures_per_class: 4}, validation: {mixtures_per_class: 2}, "
    "devtest: {mixtures_per_class: 2}, test: {mixtures_per_class: 2}}",
    "dataset.instances={train: 3, validation: 2, test: 4}",
    "dataset.scenes={train: 3, validation: 2, test: 4}",
    "method.timesteps={babycry: [5, 50], glassbreak: [3], gunshot: [3]}",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("amiriparian2018")
    done = sed("train", *WORDS, cwd=top, SED_LAB_CACHE=str(top / "cache"))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = (path for path in (top / "runs").iterdir() if path.is_dir())
    return folder


def test_every_system_is_judged_on_its_own_class_s_clips(folder: Path) -> None:
    record, metrics = read_json(folder / "run.json"), read_json(folder / "metrics.json")
    assert (record["status"], record["epochs"]) == ("complete", 1)
    assert set(metrics["systems"]) == {"ensemble", "chunks", "t3", "t5", "t50"}
    flat = [name for name in flatten(metrics, per_class=True) if "/decoder/" not in name]
    assert all(is_metric(name, NUMBERS) for name in flat), [name for name in flat if not is_metric(name, NUMBERS)]
    assert {"ensemble/false_alarms/per_hour", "ensemble/false_alarms/per_class/gunshot/per_hour"} <= set(flat)
    assert {"ensemble/event_f1/error_rate_macro", "devtest/ensemble/event_f1/error_rate_macro"} <= set(flat)
    scores = load_scores(folder / "scores/test/ensemble.npz")
    assert len(scores.clip_id) == 6
    assert scores.frame is not None
    for clip_id, frame in zip(scores.clip_id, scores.frame, strict=True):
        own = next(i for i, label in enumerate(scores.classes) if label in clip_id)
        assert frame.shape == (653, 3)
        assert (frame[:, own] > 0).all()
        assert not np.delete(frame, own, axis=1).any()
    share = {label: row["frame_share"] for label, row in record["dataset"]["per_class"].items()}
    rows = record["dataset"]["per_class"]
    for label, row in rows.items():  # half of each class's four mixtures hold an event
        assert share[label] == pytest.approx(row["seconds"] / 120, rel=0.15)
    example = read_json(folder / "curves.json")["ensemble"]["example"]
    assert (example["threshold"], example["onset_threshold"], len(example["posterior"])) == (0.8, 0.5, 653)


def test_the_detectors_alone_predict_a_recording_longer_than_a_mixture(folder: Path, tmp_path: Path) -> None:
    state = torch.load(folder / "detector.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in state} == {"feature", "best"}
    alone = tmp_path / "detector"
    alone.mkdir()
    for name in ("run.json", "detector.ckpt"):
        shutil.copy(folder / name, alone / name)
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(size=16000 * 40) * 0.1, 16000)
    words = [str(alone), str(tmp_path / "noise.wav"), "--scores", str(tmp_path / "scores"), "--threshold", "fixed"]
    done = sed("predict", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "scores/noise.tsv").read_text().splitlines()
    assert len(rows) == 1 + int(np.ceil(40 / 0.046))


def test_a_long_recording_may_hold_any_number_of_events(folder: Path) -> None:
    detector = load_detector(folder)
    assert detector.threshold == {"babycry": 0.8, "glassbreak": 0.8, "gunshot": 0.5}  # the paper's, not the tuned one
    hop = detector.frame_hop
    frame = np.full((round(70 / hop), 3), 0.1, np.float32)
    for seconds in (4, 11, 29.5, 65):
        frame[round(seconds / hop) : round((seconds + 1) / hop), 1] = 0.9
    scores = Scores(("long",), detector.classes, np.array([70.0]), hop, (frame,))
    found = detect(detector, scores)
    assert [event.event_label for event in found] == ["glassbreak"] * 4
    assert [event.onset for event in found] == pytest.approx([4, 11, 29.5, 65], abs=0.05)
    assert found[2].offset == pytest.approx(30.5, abs=0.05)


@pytest.mark.slow
def test_two_ranks_train_and_a_stopped_run_goes_on(folder: Path, tmp_path: Path) -> None:
    cache = str(folder.parents[1] / "cache")
    words = [
        *WORDS,
        "trainer=ddp_cpu",
        "trainer.devices=2",
        "trainer.max_epochs=2",
        "trainer.check_val_every_n_epoch=1",
    ]
    done = sed("train", *words, cwd=tmp_path, SED_LAB_CACHE=cache)
    assert done.returncode == 0, done.stderr
    (other,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    ours, theirs = (load_scores(one / "scores/test/ensemble.npz") for one in (folder, other))
    assert ours.clip_id == theirs.clip_id
    feature = [
        torch.load(one / "detector.ckpt", weights_only=True)["state_dict"]["feature.mean"] for one in (folder, other)
    ]
    torch.testing.assert_close(*feature)
