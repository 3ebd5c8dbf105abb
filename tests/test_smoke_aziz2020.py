"""Classifiers of embeddings from the command line: both accuracies on both sides, the last epoch, prediction."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sed_lab import predict
from sed_lab.analysis.aziz2020 import NUMBERS
from sed_lab.clip.tfrecord import EmbeddingRecord, decode_embedding, encode_embedding, read_records, write_records
from sed_lab.dataset import mini_embeddings
from sed_lab.errors import InputError
from sed_lab.files import read_json, write_json
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import is_metric
from sed_lab.run.detector import load_detector
from sed_lab.scores import load_scores
from tests.test_smoke import sed

WORDS = [
    "--config-name", "aziz2020", "report.page_clips=2", "trainer.max_epochs=2",
    "dataset.counts={Speech: 14, Music: 14, Vehicle: 10, Dog: 12, Cat: 0, Speech+Music: 3, Speech+Vehicle: 0,"
    " Speech+Dog: 0, gunshot: 0, babycry: 0}", "dataset.short=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("aziz2020")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mini_embeddings, "FITTED_ON", 20)  # whitening from fewer clips is enough here
        mini_embeddings.mini_vggish(top / "cache")
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


@pytest.mark.slow
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


@pytest.fixture
def of_vggish(folder: Path, tmp_path: Path) -> Path:
    """The run as if AudioSet's own embeddings had trained it: its front end is VGGish, whose files are not there."""
    copy = tmp_path / "of_vggish"
    copy.mkdir()
    shutil.copy(folder / "detector.ckpt", copy)
    record = read_json(folder / "run.json")
    feature = {"_target_": "sed_lab.feature.vggish.VggishEmbedding", "weights": None, "pca": None}
    write_json(copy / "run.json", {**record, "config": {**record["config"], "feature": feature}})
    return copy


def predicted(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["sed-predict", *map(str, words)])
    return predict.predict_command(predict._arguments())


def test_embeddings_are_classified_without_audio_and_without_a_front_end(
    folder: Path, of_vggish: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = load_scores(folder / "scores/test/model.npz")
    rows = np.load(folder / "scores/test/embedding.npy")
    assert len(rows) == len(scores.clip_id) > 5
    (tmp_path / "files").mkdir()
    np.savez(tmp_path / "files/arrays.npz", **dict(zip(scores.clip_id[:3], rows[:3], strict=True)))  # type: ignore[arg-type]
    records = []
    for name, one in zip(scores.clip_id[3:], rows[3:], strict=True):
        video, _, start = name.rpartition("_")
        begin = float(start)
        records.append(EmbeddingRecord(video, begin, begin + 10, (), tuple(row.tobytes() for row in one)))
    short = EmbeddingRecord("short", 0.0, 10.0, (), records[0].rows[:4])
    write_records(tmp_path / "files/shard.tfrecord", map(encode_embedding, [short, *records]))
    words = [of_vggish, tmp_path / "files", "--threshold", "0.4", "--scores", tmp_path / "scores"]
    assert predicted(monkeypatch, *words) == 0
    printed = capsys.readouterr()
    assert "shard.tfrecord: left out 1 clips that have not 10 rows, 0 damaged records" in printed.err
    found = {tuple(line.split("\t")[0::3]) for line in printed.out.splitlines()[1:]}
    assert scores.clip is not None
    above = {(scores.clip_id[i], scores.classes[c]) for i, c in zip(*np.nonzero(scores.clip > 0.4), strict=True)}
    assert found == above
    for name, own in zip(scores.clip_id, scores.clip, strict=True):
        (line,) = (tmp_path / f"scores/{name}.tsv").read_text().splitlines()[1:]
        np.testing.assert_allclose([float(v) for v in line.split("\t")[2:]], own, atol=1e-5)


def test_vggish_s_files_are_asked_for_by_name(
    folder: Path, of_vggish: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "noise.wav", np.zeros(16000), 16000)
    with pytest.raises(InputError, match=r"feature\.weights and feature\.pca.*\(sed-predict: --vggish WEIGHTS PCA\)"):
        predicted(monkeypatch, of_vggish, tmp_path / "noise.wav")
    files = ["--vggish", tmp_path / "weights.pth", tmp_path / "pca.npz"]
    with pytest.raises(InputError, match=r"weights\.pth does not exist"):
        predicted(monkeypatch, of_vggish, tmp_path / "noise.wav", *files)
    with pytest.raises(InputError, match=r"--vggish: .* was not trained on VGGish's embeddings; leave it out"):
        predicted(monkeypatch, folder, tmp_path / "noise.wav", *files)


def test_what_is_no_embedding_is_named(of_vggish: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    np.savez(tmp_path / "floats.npz", a=np.zeros((10, 128)))
    np.savez(tmp_path / "short.npz", a=np.zeros((9, 128), np.uint8))
    (tmp_path / "text.npz").write_text("no arrays")
    assert predicted(monkeypatch, of_vggish, *(tmp_path / f"{name}.npz" for name in ("floats", "short", "text"))) == 1
    said = capsys.readouterr().err
    assert "floats.npz: a is float64 [10, 128], but a clip's embedding is uint8 [10, 128], VGGish's rows after" in said
    assert "short.npz: a is uint8 [9, 128]" in said
    assert "text.npz cannot be read as .npz" in said


def test_another_front_end_than_the_embeddings_own_is_refused_before_training(folder: Path, tmp_path: Path) -> None:
    cache = str(folder.parents[1] / "cache")
    done = sed("train", *WORDS, "feature=vggish", cwd=tmp_path, SED_LAB_CACHE=cache)
    assert done.returncode == 2
    assert "holds embeddings of feature=mini_vggish, but VggishEmbedding would embed recordings" in done.stderr


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
