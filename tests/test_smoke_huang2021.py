"""The four models' method from the command line: numbers of both domains, the detector alone, prediction, two ranks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sed_lab.analysis.huang2021 import NUMBERS, frames_of_run
from sed_lab.clip.annotation import read_strong
from sed_lab.files import read_json
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import is_metric
from tests.test_smoke import sed

WORDS = [
    "--config-name", "huang2021", "dataset.bank_share=0.05",
    "dataset.sizes={synthetic: 16, weak: 16, validation: 12, test: 12, synthetic_test: 12}",
    "batch.clips={synthetic: 4, weak: 4, unlabelled: 0}", "trainer.max_epochs=2",
    "trainer.check_val_every_n_epoch=1", "method.ifd_from_epoch=1", "report.figures=false", "report.page=false",
]  # fmt: skip


def run_folder(top: Path, cache: Path, *words: str) -> Path:
    top.mkdir()
    done = sed("train", *WORDS, *words, cwd=top, SED_LAB_CACHE=str(cache))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = (path for path in (top / "runs").iterdir() if path.is_dir())
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("huang2021")
    return run_folder(top / "run", top / "cache")


def test_a_run_measures_both_domains_with_windows_from_the_validation_set(folder: Path) -> None:
    record, metrics = read_json(folder / "run.json"), read_json(folder / "metrics.json")
    assert record["status"] == "complete"
    flat = [name for name in flatten(metrics, per_class=True) if "/decoder/" not in name]
    assert [name for name in flat if not is_metric(name, NUMBERS)] == []
    assert {"model/tagging_f1/macro", "synthetic_test/model/tagging_f1/macro"} <= set(flat)
    events = [e for clip in read_strong(folder / "scores/validation/ground_truth.tsv").values() for e in clip]
    lengths: dict[str, list[float]] = {}
    for event in events:
        lengths.setdefault(event.event_label, []).append(event.offset - event.onset)
    expected = {
        name: 0.333 * np.mean(lengths[name]) if name in lengths else 0.45 for name in record["detector"]["classes"]
    }
    assert record["detector"]["decoder"]["median_seconds"] == pytest.approx(expected)
    assert metrics["settings"]["decoder"]["median_seconds"] == pytest.approx(expected)
    assert metrics["settings"]["decoder"]["clip_gate"] == 0.5
    assert frames_of_run(folder) is not None
    history = (folder / "history.csv").read_text().splitlines()[0]
    assert {"train/anchors", "train/loss_ifd", "train/loss_sedb"} <= set(history.split(","))


def test_the_detector_alone_predicts(folder: Path, tmp_path: Path) -> None:
    state = torch.load(folder / "detector.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in state} == {"model"}
    alone = tmp_path / "detector"
    alone.mkdir()
    for name in ("run.json", "detector.ckpt"):
        shutil.copy(folder / name, alone / name)
    audio = np.random.default_rng(0).normal(size=16000 * 23).astype(np.float32) * 0.1
    soundfile.write(tmp_path / "noise.wav", audio, 16000)
    done = sed("predict", str(alone), str(tmp_path / "noise.wav"), "--scores", str(tmp_path / "scores"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "scores/noise.tsv").read_text().splitlines()
    assert len(rows) == 1 + 23 * 25  # frames of 40 ms


@pytest.mark.slow
def test_two_ranks_train_and_keep_the_same_frames(folder: Path, tmp_path: Path) -> None:
    other = run_folder(
        tmp_path / "two", folder.parents[2] / "cache", "trainer=ddp_cpu", "trainer.devices=2", "rerun=true"
    )
    ours, theirs = frames_of_run(folder), frames_of_run(other)
    assert ours is not None
    assert theirs is not None
    for name in ("event_label", "synthetic"):
        assert np.array_equal(ours[name], theirs[name])
    assert read_json(other / "run.json")["status"] == "complete"
