"""Embedding clusters from the command line: one process, several, accumulation, and what the run leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sed_lab.analysis.arora2019 import NUMBERS
from sed_lab.files import read_json
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import is_metric
from sed_lab.report.run_folder import read_run
from sed_lab.scores import load_scores
from tests.test_smoke import sed

TOY = [
    "--config-name", "arora2019", "dataset=toy_points", "feature=point", "model=clip_lstm", "model.n_units=3",
    "batch.clips.weak=64", "method.embedding_epochs=[1,1]", "method.centroid_epochs=1", "method.detector_epochs=1",
    "method.keep_embeddings=true", "metric.bootstrap=20", "report.figures=false", "report.page=false",
]  # fmt: skip
CLIPS = [
    "--config-name", "arora2019", "feature=standardised_mel_small", "model=clip_cnn_small", "batch.clips.weak=64",
    "dataset.counts={weak: {Dog: 24, babycry: 4, gunshot: 8, background: 64}, weak_validation: {Dog: 4, babycry: 2, "
    "gunshot: 2, background: 4}, test: {Dog: 4, babycry: 4, gunshot: 4, background: 8}}",
    "dataset.instances={train: 4, validation: 2, test: 2}", "method.embedding_epochs=[1,1]",
    "method.centroid_epochs=1", "method.detector_epochs=1", "metric.bootstrap=20",
]  # fmt: skip
EPOCHS = 2 * (1 + 1) + 1 + 1


def run_folder(top: Path, *words: str) -> Path:
    top.mkdir()
    done = sed("train", *words, cwd=top, SED_LAB_CACHE=str(top.parent / "cache"))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = (path for path in (top / "runs").iterdir() if path.is_dir())
    return folder


def test_a_run_leaves_both_systems_and_its_front_end(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", *CLIPS)
    record, metrics = read_json(folder / "run.json"), read_json(folder / "metrics.json")
    assert (record["status"], record["epochs"]) == ("complete", EPOCHS)
    assert list(metrics["systems"]) == ["proposed2", "proposed1"]  # as the method declares them
    names = set(flatten({"systems": metrics["systems"]}, per_class=True))
    assert {name for name in names if not is_metric(name, NUMBERS)} == set()
    assert metrics["systems"]["proposed1"]["embedding_loss"]["constant"] > 1
    counts = {label: row["clips"] for label, row in record["dataset"]["per_class"].items()}
    assert counts == {"Dog": 24, "babycry": 4, "gunshot": 8}
    row = metrics["systems"]["proposed2"]["eer"]["per_class"]["Dog"]
    assert 0 <= row["low"] <= row["eer"] <= row["high"] <= 1
    curve = read_json(folder / "curves.json")["proposed2"]["det"]
    assert set(curve["per_class"]) == {"Dog", "babycry", "gunshot"}
    assert (folder / "figures" / "trade_off.png").stat().st_size > 5000
    assert "Whole clips are judged" in (folder / "page.html").read_text()
    scores = load_scores(folder / "scores" / "test" / "proposed1.npz")
    assert scores.clip is not None
    assert scores.clip.shape == (20, 3)
    run = read_run(folder)
    assert run.systems == ("proposed2", "proposed1")
    assert sum(len(events) for events in run.detections["proposed1"].values()) == (scores.clip > 0.5).sum()
    assert {(e.onset, e.offset) for events in run.truth.values() for e in events} == {(0.0, 10.0)}
    assert sum(len(events) for events in run.truth.values()) == 12
    state = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert state["state_dict"]["feature.fitted"]
    assert state["state_dict"]["feature.mean"].abs().sum() > 0
    assert state["state_dict"]["network.clusters.weight"].shape == (6 + 1 + 2 + 16, 64)
    rows = (folder / "history.csv").read_text().splitlines()
    losses = {row.split(",")[rows[0].split(",").index("val/loss")] for row in rows[1:]}
    assert f"{-record['objective']:.5f}" in {f"{float(loss):.5f}" for loss in losses if loss}
    audio = [line.split("\t")[1] for line in (folder / "scores/test/audio.tsv").read_text().splitlines()[1:]]
    found = sed("predict", str(folder), audio[0], "--threshold", "0.0", "--system", "proposed1", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    rows = [line.rsplit("\t", 1) for line in found.stdout.splitlines()[1:]]
    assert [row for row, _ in rows] == [f"{audio[0]}\t0.000\t10.000\t{label}" for label in counts]
    assert scores.classes == tuple(counts)
    own = scores.clip[scores.clip_id.index(Path(audio[0]).stem)]  # of a whole clip, confidence is the clip's score
    assert [float(sure) for _, sure in rows] == pytest.approx(own.tolist(), abs=2e-3)
    again = sed("evaluate", f"run={folder}", f"output={tmp_path}/again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert read_json(tmp_path / "again" / "metrics.json")["systems"] == metrics["systems"]


@pytest.mark.slow
def test_clusters_are_the_same_on_one_two_and_four_processes(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / "1", *TOY)]
    folders += [run_folder(tmp_path / str(n), *TOY, "trainer=ddp_cpu", f"trainer.devices={n}") for n in (2, 4)]
    kept = [dict(np.load(folder / "embeddings" / "iteration_0.npz")) for folder in folders]
    for other in kept[1:]:
        for name in ("embedding", "cluster", "centroids", "clip_class", "cluster_class"):
            assert np.array_equal(kept[0][name], other[name]), name
    last = [dict(np.load(folder / "embeddings" / "iteration_2.npz"))["embedding"] for folder in folders]
    for other in last[1:]:  # the same training, but for rounding
        np.testing.assert_allclose(last[0], other, atol=0.02)


@pytest.mark.slow
def test_eight_processes_go_through_all_phases_with_as_many_steps_as_one(tmp_path: Path) -> None:
    eight = run_folder(tmp_path / "8", *CLIPS, "trainer=ddp_cpu", "trainer.devices=8")
    one = run_folder(tmp_path / "1", *CLIPS, "batch.max_clips_per_device=8")
    steps = [torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (eight, one)]
    assert steps[0]["global_step"] == steps[1]["global_step"] == EPOCHS * (100 // 64)
    assert [state["progress"]["phase"] for state in steps] == [6, 6]
    assert eight.name == one.name  # the same run, however many devices share its batch
    for name in ("feature.mean", "feature.deviation"):
        assert torch.equal(*(state["state_dict"][name] for state in steps))
    first, second = (load_scores(folder / "scores" / "test" / "proposed2.npz") for folder in (eight, one))
    assert first.clip_id == second.clip_id
