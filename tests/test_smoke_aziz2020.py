"""Classifiers of embeddings from the command line: both accuracies on both sides, the last epoch, prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sed_lab.analysis.aziz2020 import NUMBERS
from sed_lab.clip.tfrecord import decode_embedding, read_records
from sed_lab.files import read_json
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import is_metric
from sed_lab.run.assemble import load_detector
from sed_lab.scores import load_scores
from tests.test_smoke import sed

WORDS = [
    "--config-name", "aziz2020", "report.page_clips=2", "trainer.max_epochs=2",
    "dataset.counts={Speech: 14, Music: 14, Vehicle: 10, Dog: 12, Speech+Music: 3}", "dataset.short=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("aziz2020")
    done = sed("train", *WORDS, cwd=top, SED_LAB_CACHE=str(top / "cache"))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = (path for path in (top / "runs").iterdir() if path.is_dir())
    return folder


def test_both_accuracies_stand_side_by_side_on_test_and_training(folder: Path) -> None:
    record, metrics = read_json(folder / "run.json"), read_json(folder / "metrics.json")
    assert (record["status"], record["epochs"], record["objective"]) == ("complete", 2, None)
    flat = flatten(metrics, per_class=True)
    assert [name for name in flat if not is_metric(name, NUMBERS)] == []
    scores = load_scores(folder / "scores/test/model.npz")
    assert scores.clip is not None
    true = [line.split("\t")[1] for line in (folder / "scores/test/weak_labels.tsv").read_text().splitlines()[1:]]
    place = np.array([scores.classes.index(label) for label in true])
    assert len(set(np.bincount(place))) == 1  # as many clips of each class
    assert flat["model/accuracy/argmax"] == pytest.approx((scores.clip.argmax(1) == place).mean())
    wanted = ((scores.clip > 0.5) == np.eye(4, dtype=bool)[place]).mean()
    assert flat["model/accuracy/element_wise"] == flat["model/accuracy/reported"] == pytest.approx(wanted)
    gap = flat["training/model/accuracy/argmax"] - flat["model/accuracy/argmax"]
    assert flat["model/accuracy/argmax_gap"] == pytest.approx(gap)
    page = (folder / "page.html").read_text()
    assert "Clips of each true class by the class of their highest score" in page


def test_the_last_epoch_is_kept(folder: Path) -> None:
    best, last = (
        torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True, map_location="cpu")
        for name in ("best", "last")
    )
    assert best["epoch"] == last["epoch"] == 1
    assert all(torch.equal(value, last["state_dict"][name]) for name, value in best["state_dict"].items())


def test_a_recording_is_embedded_and_classified_in_one_call(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "noise.wav", rng.normal(size=(44100 * 24, 2)) * 0.1, 44100)
    words = [str(folder), "noise.wav", "--threshold", "0", "--embeddings", "rows", "--scores", "scores"]
    done = sed("predict", *words, cwd=tmp_path, SED_LAB_CACHE=str(folder.parents[1] / "cache"))
    assert done.returncode == 0, done.stderr
    records = [decode_embedding(payload) for _, payload in read_records(tmp_path / "rows/noise.tfrecord", print)]
    assert [(one.video_id, one.start_seconds, one.end_seconds) for one in records] == [
        ("noise", 0, 10), ("noise", 10, 20), ("noise", 20, 24),
    ]  # fmt: skip
    rows = np.stack([np.stack([np.frombuffer(row, np.uint8) for row in one.rows]) for one in records])
    assert rows.shape == (3, 10, 128)
    # The classifier's own answer to what was written, ten seconds by ten seconds.
    method = load_detector(folder).method
    with torch.inference_mode():
        features = method.model(torch.from_numpy(rows).float() / 255)  # type: ignore[operator]
        wanted = method.heads["classes"](features).sigmoid().numpy()  # type: ignore[index]
    lines = (tmp_path / "scores/noise.tsv").read_text().splitlines()[1:]
    np.testing.assert_allclose([[float(v) for v in line.split("\t")[2:]] for line in lines], wanted, atol=1e-4)
    assert "noise.wav\t0.000" in done.stdout


def test_vggish_s_files_are_asked_for_by_name(folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", np.zeros(16000), 16000)
    done = sed("predict", str(folder), "noise.wav", "--vggish", "weights.pth", "pca.npz", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "weights.pth does not exist" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_two_processes_train_the_same_classifier(folder: Path, tmp_path: Path) -> None:
    cache = str(folder.parents[1] / "cache")
    done = sed("train", *WORDS, "trainer=ddp_cpu", "trainer.devices=2", "report.page=false", cwd=tmp_path,
               SED_LAB_CACHE=cache)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (other,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert other.name == folder.name
    one, two = (load_scores(run / "scores/test/model.npz") for run in (folder, other))
    assert one.clip_id == two.clip_id
    np.testing.assert_allclose(one.clip, two.clip, atol=1e-4)  # type: ignore[arg-type]
