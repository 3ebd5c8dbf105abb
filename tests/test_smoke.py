"""Real runs in small: one run's folder, evaluation and prediction from it, sweeps, DDP, resume."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import sed_lab
from sed_lab.analysis.park2022 import NUMBERS
from sed_lab.errors import InputError
from sed_lab.files import read_json
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import is_metric
from sed_lab.run.detector import load_detector
from sed_lab.scores import load_scores
from tests.forked import run_forked

SIZES = "{synthetic: 24, weak: 12, unlabelled: 12, synthetic_validation: 8, weak_validation: 8, validation: 8, test: 8}"
SMALL = [f"dataset.sizes={SIZES}", "dataset.bank_share=0.05", "batch.evaluation=8", "report.page=false"]
SMALL += ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]
PARK = ["--config-name", "park2022", *SMALL]
TINY = [*PARK, "trainer=smoke"]
DEFAULT = [*SMALL, "batch.clips={synthetic: 8, weak: 2, unlabelled: 2}"]  # the root config, whatever it chooses


def sed(
    module: str, *words: str, cwd: Path, within: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "SED_LAB_RUNS": str(cwd / "runs"), "OMP_NUM_THREADS": "1", **environment}
    if not within:
        return run_forked(f"sed_lab.{module}", *words, cwd=cwd, env=env)
    command = [*within, sys.executable, "-m", f"sed_lab.{module}", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=500, check=False)


@contextmanager
def training(*words: str, cwd: Path, cache: str) -> Iterator[subprocess.Popen[str]]:
    """A running ``sed-train``, killed at the end. It hears Ctrl-C even where the tests do not (``make test &``)."""
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # what is ignored here would be ignored there
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "sed_lab.train", *words],
            cwd=cwd,
            env={**os.environ, "SED_LAB_RUNS": "runs", "SED_LAB_CACHE": cache, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, ours)
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory, cache: str) -> Path:
    """The folder of one finished smoke run."""
    top = tmp_path_factory.mktemp("smoke")
    done = sed("train", *TINY, "report.page=true", "report.page_clips=4", cwd=top, SED_LAB_CACHE=cache)
    assert done.returncode == 0, done.stderr
    (folder,) = (top / "runs").iterdir()
    assert done.stdout.splitlines()[-2:] == [f"run: {folder}", f"page: {folder / 'page.html'}"]
    return folder


def test_a_run_leaves_all_it_promises(smoke: Path) -> None:
    record = read_json(smoke / "run.json")
    assert record["status"] == "complete"
    assert record["dataset"]["fingerprint"]
    assert record["clips_per_second"] > 0
    (row,) = csv.DictReader((smoke / "history.csv").read_text().splitlines())
    assert record["training_seconds"] < float(row["seconds"]) + 5  # making the data, before it, took longer
    assert 0 < record["processor_seconds"] < 60 * record["core_minutes"]
    assert record["best_epoch"] == record["epochs"] == 1
    assert record["metrics"]["student/event_f1/macro"] >= 0
    dog = record["dataset"]["per_class"]["Dog"]
    assert dog["V_c"] == round(0.05 * 136)
    assert dog["source_seconds"] > 0
    metrics = read_json(smoke / "metrics.json")
    weak = metrics["systems"]["student"]["logits"]["weak_validation"]["per_class"]
    assert sum(row["frames"] for row in weak.values()) == 156 * sum(row["clips"] for row in weak.values()) > 0
    written = {"systems": {**metrics["systems"], "dataset": {"per_class": record["dataset"]["per_class"]}}}
    names = set(flatten(written, per_class=True))
    assert {name for name in names if not is_metric(name, NUMBERS) and "/decoder/" not in name} == set()
    for name in ("metrics.json", "per_class.csv", "curves.json", "history.csv", "page.html"):
        assert (smoke / name).stat().st_size > 0, name
    for subset in ("test", "validation"):
        for system in ("student", "teacher"):
            scores = load_scores(smoke / "scores" / subset / f"{system}.npz")
            assert len(scores.clip_id) == 8
            assert scores.frame is not None
            assert scores.frame[0].shape == (156, 10)
    assert {path.name for path in (smoke / "figures").glob("*.png")} >= {"learning_curves.png", "per_class_f1.png"}


def test_the_checkpoint_holds_plain_values_only(smoke: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        checkpoint = torch.load(smoke / "checkpoints" / name, weights_only=True)
        assert any(key.startswith("teacher.") for key in checkpoint["state_dict"])


@pytest.mark.slow
def test_a_diverged_run_is_never_complete(tmp_path: Path, cache: str) -> None:
    done = sed("train", *TINY, "method.optimizer.lr=1e30", cwd=tmp_path, SED_LAB_CACHE=cache)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: training diverged: the loss is nan after 1 steps")
    (record,) = records(tmp_path)
    assert record["status"] == "failed"
    assert record["reason"].startswith("training diverged: ")


def test_a_complete_run_is_not_trained_again(smoke: Path, cache: str) -> None:
    before = (smoke / "run.json").read_bytes()
    done = sed("train", *TINY, cwd=smoke.parents[1], SED_LAB_CACHE=cache)
    assert done.returncode == 0, done.stderr
    assert "already complete" in done.stdout
    assert (smoke / "run.json").read_bytes() == before


@pytest.mark.slow
def test_what_a_complete_run_has_lost_is_made_again(smoke: Path, tmp_path: Path, cache: str) -> None:
    run = shutil.copytree(smoke, tmp_path / "runs" / smoke.name)
    words, before = [*TINY, "report.page=true", "report.page_clips=4"], read_json(run / "run.json")
    weights = (run / "detector.ckpt").read_bytes()
    for lost, how in ((["page.html"], "scores"), (["metrics.json", "page.html"], "scores"),
                      (["detector.ckpt"], "checkpoints"), (["scores", "page.html"], "checkpoints")):  # fmt: skip
        for name in lost:
            shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
        done = sed("train", *words, cwd=tmp_path, SED_LAB_CACHE=cache)
        assert done.returncode == 0, done.stderr
        assert f"is gone or damaged: made again from its {how}" in done.stdout
        assert "epoch 1/1" not in done.stdout  # nothing is trained
        record = read_json(run / "run.json")
        assert record["status"] == "complete"
        assert {key: record[key] for key in ("metrics", "detector", "epochs")} == {
            key: before[key] for key in ("metrics", "detector", "epochs")
        }
        assert (run / "detector.ckpt").read_bytes() == weights
        assert (run / "page.html").stat().st_size > 0
    (run / "detector.ckpt").write_bytes(weights[:2000] + bytes(8) + weights[2008:])
    done = sed("predict", str(run), __file__, cwd=tmp_path)
    assert done.returncode == 2
    assert "detector.ckpt is not the file that run.json was written for" in done.stderr
    done = sed("train", *words, cwd=tmp_path, SED_LAB_CACHE=cache)
    assert "detector.ckpt is gone or damaged: made again from its checkpoints" in done.stdout
    assert (run / "detector.ckpt").read_bytes() == weights


def test_evaluate_measures_stored_scores_again(smoke: Path, tmp_path: Path) -> None:
    stored = read_json(smoke / "metrics.json")
    done = sed("evaluate", f"run={smoke}", f"output={tmp_path}/again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / "again" / "metrics.json")["systems"] == stored["systems"]
    done = sed("evaluate", f"run={smoke}", f"output={tmp_path}/low", "decoder.threshold=0.0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    low = read_json(tmp_path / "low" / "metrics.json")
    assert low["settings"]["decoder"]["threshold"] == 0.0
    assert low["settings"]["decoder"]["median_seconds"] == stored["settings"]["decoder"]["median_seconds"]


@pytest.mark.slow
def test_evaluate_lets_a_runs_detector_score_a_dataset(smoke: Path, tmp_path: Path, cache: str) -> None:
    again = tmp_path / "again"
    words = [f"run={smoke}", "dataset=mini_desed", *SMALL[:2], "report.page=true", "report.page_clips=2"]
    done = sed("evaluate", *words, f"output={again}", cwd=tmp_path, SED_LAB_CACHE=cache)
    assert done.returncode == 0, done.stderr
    # the run's own dataset: the very numbers it has already, without training
    assert read_json(again / "metrics.json")["systems"] == read_json(smoke / "metrics.json")["systems"]
    record, own = read_json(again / "run.json"), read_json(smoke / "run.json")
    assert (record["status"], record["detector_of"]) == ("scored", smoke.name)
    assert record["metrics"] == own["metrics"]
    assert (again / "page.html").stat().st_size > 0
    done = sed("evaluate", "dataset=mini_desed", "scores=x", cwd=tmp_path)
    assert "a dataset is scored by a run's detector; name it with run=FOLDER" in done.stderr


def test_evaluate_runs_no_code_that_a_record_brings(smoke: Path, tmp_path: Path) -> None:
    record = read_json(smoke / "run.json")
    shutil.copytree(smoke / "scores", tmp_path / "scores")
    for name in ("os", "sed_lab.analysis", "sed_lab.analysis.park2022.evil", "sed_lab.analysis_evil"):
        record["config"]["analysis"] = ["sed_lab.analysis.park2022", name]
        (tmp_path / "run.json").write_text(json.dumps(record))
        done = sed("evaluate", f"run={tmp_path}", f"output={tmp_path}/again", cwd=tmp_path)
        assert done.returncode == 2
        assert "names code that is not sed_lab's own, so it is not run; leave it out with analysis=[]" in done.stderr
    done = sed("evaluate", f"run={tmp_path}", f"output={tmp_path}/again", "analysis=[]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record["config"]["decoder"]["_target_"] = "os.system"
    (tmp_path / "run.json").write_text(json.dumps(record))
    done = sed("evaluate", f"run={tmp_path}", f"output={tmp_path}/b", "analysis=[]", cwd=tmp_path)
    assert done.returncode == 2
    assert "decoder._target_=os.system is not sed_lab's own" in done.stderr
    assert "logits" not in read_json(tmp_path / "again/metrics.json")["systems"]["student"]


def test_evaluate_reads_another_systems_score_files(smoke: Path, tmp_path: Path) -> None:
    from sed_lab.scores import write_scores_folder

    write_scores_folder(tmp_path / "theirs", load_scores(smoke / "scores" / "test" / "student.npz"))
    place = smoke / "scores" / "test"
    words = [f"truth={place}/ground_truth.tsv", f"durations={place}/durations.tsv", f"output={tmp_path}/out"]
    done = sed("evaluate", f"scores={tmp_path}/theirs", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours, theirs = read_json(smoke / "metrics.json")["systems"]["student"], read_json(tmp_path / "out/metrics.json")
    for name in ("event_f1", "segment_f1", "intersection_f1"):
        assert theirs["systems"]["system"][name] == ours[name]
    assert theirs["systems"]["system"]["psds1"]["exact"] == pytest.approx(ours["psds1"]["exact"], abs=1e-6)


def test_predict_any_audio_and_lists_what_it_cannot_read(smoke: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "short.wav", rng.standard_normal(3000) * 0.1, 8000)
    soundfile.write(tmp_path / "stereo.flac", rng.standard_normal((44100 * 23, 2)) * 0.1, 44100)
    (tmp_path / "broken.wav").write_bytes(b"RIFFnothing")
    words = [str(smoke), str(tmp_path), "-o", str(tmp_path / "events.tsv"), "--scores", str(tmp_path / "scores")]
    done = sed("predict", *words, "--threshold", "0.0", cwd=tmp_path)
    assert done.returncode == 1
    assert "not read: " in done.stderr
    assert "broken.wav" in done.stderr
    assert "Traceback" not in done.stderr
    lines = (tmp_path / "events.tsv").read_text().splitlines()
    assert lines[0] == "filename\tonset\toffset\tevent_label\tconfidence"
    assert all(0 < float(line.split("\t")[4]) <= 1 for line in lines[1:])
    ends = [float(line.split("\t")[2]) for line in lines[1:] if "stereo" in line]
    assert ends
    assert max(ends) <= 23.0
    assert (tmp_path / "scores" / "stereo.tsv").exists()


def test_predict_gives_the_detections_that_the_run_s_page_shows(smoke: Path, tmp_path: Path) -> None:
    tuned = read_json(smoke / "run.json")["detector"]["tuned"]
    listed = [row.split("\t") for row in (smoke / "scores/test/audio.tsv").read_text().splitlines()[1:]]
    done = sed(
        "predict", str(smoke), *(path for _, path in listed), "--per-file", str(tmp_path / "found"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert f"{tuned['system']} of {smoke.name}, " in done.stderr
    assert ", tuned class by class on validation: Alarm_bell_ringing 0." in done.stderr
    stored = (smoke / f"detections/test/{tuned['system']}.tsv").read_text().splitlines()[1:]
    end = read_json(smoke / "run.json")["detector"]  # of a clip's frames; a recording's last one reaches to its end
    end = end["frame_hop"] * end["n_frames"]
    found = [
        (name, *(f"{min(float(time), end):.2f}" for time in (onset, offset)), label)
        for path in sorted((tmp_path / "found").glob("*.tsv"))
        for name, onset, offset, label, _ in (row.split("\t") for row in path.read_text().splitlines()[1:])
    ]
    expected = [(f"{name}.wav", f"{float(a):.2f}", f"{float(b):.2f}", label) for name, a, b, label in
                (row.split("\t") for row in stored)]  # fmt: skip
    assert sorted(found) == sorted(expected)


def test_scores_in_python_are_those_the_run_has_stored(smoke: Path) -> None:
    listed = [row.split("\t") for row in (smoke / "scores/test/audio.tsv").read_text().splitlines()[1:]]
    for system in ("student", "teacher"):
        stored, detector = load_scores(smoke / f"scores/test/{system}.npz"), sed_lab.load(str(smoke), system=system)
        assert stored.frame is not None
        for name, path in listed[:3]:
            ours = detector.scores(path)
            kept = stored.frame[stored.clip_id.index(Path(name).stem)]
            assert ours.frame is not None
            assert ours.frame_hop == stored.frame_hop
            np.testing.assert_allclose(ours.frame[0][: len(kept)], kept, atol=1e-6)  # one clip at a time, not eight
            assert len(ours.frame[0]) - len(kept) in (0, 1)  # the last frame reaches to the clip's end


def test_predict_refuses_foreign_code(smoke: Path, tmp_path: Path) -> None:
    record = read_json(smoke / "run.json")
    record["config"]["model"]["_target_"] = "os.system"
    shutil.copy(smoke / "detector.ckpt", tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(record))
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16000)
    done = sed("predict", str(tmp_path), str(tmp_path / "a.wav"), cwd=tmp_path)
    assert done.returncode == 2
    assert "model._target_=os.system is not sed_lab's own" in done.stderr
    for key, message in (
        ("decided", "detector.decided._target_=os.system is not sed_lab's own"),
        ("decoder", "detector.decoder._target_=os.system is not sed_lab's own"),
        ("tuned", "detector.tuned does not note decoders of the run's systems"),
    ):
        record = read_json(smoke / "run.json")
        record["detector"][key] = {"_target_": "os.system", "command": f"touch {tmp_path}/evil"}
        (tmp_path / "run.json").write_text(json.dumps(record))
        with pytest.raises(InputError, match=message):
            load_detector(tmp_path)
    assert not (tmp_path / "evil").exists()


def test_ctrl_c_ends_a_run_with_130_and_says_so_in_its_record(tmp_path: Path, cache: str, smoke: Path) -> None:
    words = [*DEFAULT, "trainer.max_epochs=500", "report.figures=false"]
    with training(*words, cwd=tmp_path, cache=cache) as process:
        assert process.stdout is not None
        assert any(line.startswith("epoch 1/500") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in error
    (record,) = records(tmp_path)
    assert (record["status"], record["reason"]) == ("failed", "interrupted")


def test_a_full_disk_ends_with_one_sentence_and_keeps_the_run(smoke: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(disk)], capture_output=True, check=False
    )
    # Without the right to mount, files of at most 4 KiB (8 blocks): writing fails at the same calls.
    within = ["sh", "-c", 'ulimit -f 8 && exec "$0" "$@"'] if mounted.returncode else []
    before = (smoke / "metrics.json").read_bytes()
    try:
        done = sed("evaluate", f"run={smoke}", f"output={disk}/again", cwd=tmp_path, within=within)
        left = sorted(path.name for path in disk.rglob("*") if path.is_file())
        parsed = [read_json(path) for path in disk.rglob("*.json")]
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", str(disk)], check=True)
    assert done.returncode == 2, done.stderr
    assert ("File too large" if within else "No space left on device") in done.stderr
    assert "Traceback" not in done.stderr
    assert not [name for name in left if name.startswith(".")], left
    assert all(parsed)
    assert (smoke / "metrics.json").read_bytes() == before


def records(top: Path) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted((top / "runs").glob("*/run.json"))]


TOY = ["--config-name", "arora2019", "dataset=toy_points", "feature=point", "model=clip_lstm", "model.n_units=3",
       "batch.clips.weak=64", "method.embedding_epochs=[1,1]", "method.centroid_epochs=1", "method.detector_epochs=2",
       "metric.bootstrap=2", "report.page=false", "report.figures=false"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "losses", "seeds"),
    [
        ([], "loss=glob(*bce)", "seed=0,1"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], "loss=bce,weighted_bce", "seed=range(0,2)"),
        (["hydra/launcher=submitit_local"], "loss=choice(bce,weighted_bce)", "seed=0,1"),
    ],
)
def test_a_sweep_leaves_one_folder_a_job_no_strays_and_ends_with_its_numbers(
    launcher: list[str], losses: str, seeds: str, tmp_path: Path, cache: str
) -> None:
    done = sed("train", "-m", *TOY, losses, seeds, *launcher, cwd=tmp_path, SED_LAB_CACHE=cache)
    assert done.returncode == 0, done.stderr
    found = records(tmp_path)
    assert [record["status"] for record in found] == ["complete"] * 4
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    strays = {path.name for path in (tmp_path / "runs").iterdir() if not (path / "run.json").exists()}
    assert strays - {".submitit"} == {"multirun.yaml"}
    assert "4 done, 0 failed, 0 missing" in done.stderr
    means = {
        loss: np.mean([one["objective"] for one in found if one["config"]["loss"]["_target_"].endswith(target)])
        for loss, target in (("loss=bce", ".Binary"), ("loss=weighted_bce", ".WeightedBinary"))
    }
    rows = [line.split() for line in done.stdout.splitlines() if line.strip().startswith("loss=")]
    assert [row[:4] for row in rows] == [[loss, "0,", "1", f"{value:.3f}"] for loss, value in means.items()]
    assert "with another loss objectives are not comparable" in done.stdout  # they are the losses


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_ctrl_c_ends_a_sweep_at_once(launcher: list[str], tmp_path: Path, cache: str) -> None:
    long = [word.replace("detector_epochs=2", "detector_epochs=500") for word in TOY]
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # what is ignored here would be ignored there
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "sed_lab.train", "-m", *long, "seed=0,1,2,3", *launcher], cwd=tmp_path, text=True,
            env={**os.environ, "SED_LAB_RUNS": "runs", "SED_LAB_CACHE": cache, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, ours)
    end = time.monotonic() + 400
    while not any("epoch 9/" in log.read_text() for log in (tmp_path / "runs").glob("*/output.log")):
        assert time.monotonic() < end
        time.sleep(0.5)
    begun = {path.parent.name for path in (tmp_path / "runs").glob("*/output.log")}
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to all of them
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert {path.parent.name for path in (tmp_path / "runs").glob("*/output.log")} == begun  # none began afterwards
    assert len(begun) < 4
    assert said.count("never started") == 4 - len(begun)
    assert not [*(tmp_path / "runs").glob(".sweep-*")]
    assert all(record["status"] == "failed" for record in records(tmp_path))


@pytest.mark.slow
def test_early_stopping_ends_training_after_validations_that_are_no_better(tmp_path: Path, cache: str) -> None:
    words = [
        *DEFAULT,
        "trainer.max_epochs=5",
        "+trainer.limit_train_batches=1",
        "callbacks=[early_stopping,learning_rate]",
        "callbacks.learning_rate.logging_interval=epoch",  # two steps are too few for the loggers' tens
        "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.min_delta=9",  # nothing is so much better
    ]
    done = sed("train", *words, cwd=tmp_path, SED_LAB_CACHE=cache)
    assert done.returncode == 0, done.stderr
    (record,) = records(tmp_path)
    assert record["epochs"] == 2
    assert record["best_epoch"] in (1, 2)
    (curves,) = (tmp_path / "runs").glob("*/csv/metrics.csv")
    assert "lr-" in curves.read_text().splitlines()[0]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_ddp_sweep_survives_a_failing_job(tmp_path: Path, cache: str, launcher: list[str]) -> None:
    words = [*PARK, "trainer=ddp_cpu", "trainer.devices=2", "+trainer.limit_train_batches=1"]
    # batch.clips.synthetic beyond the dataset makes that job fail after it has started
    words += ["batch.clips.synthetic=4,400", "batch.clips.weak=4", "batch.clips.unlabelled=4", *launcher]
    done = sed("train", "-m", *words, cwd=tmp_path, SED_LAB_CACHE=cache)
    assert done.returncode == 1
    found = records(tmp_path)
    assert sorted(record["status"] for record in found) == ["complete", "failed"]
    (failed,) = (record for record in found if record["status"] == "failed")
    assert "batch.clips.synthetic=400, but the dataset has 24 synthetic clips" in failed["reason"]
    assert "1 done, 1 failed, 0 missing" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    assert {path.name for path in (tmp_path / "runs").iterdir() if path.is_file()} == {"multirun.yaml"}


@pytest.mark.slow
def test_two_ranks_score_every_clip_once(tmp_path: Path, smoke: Path, cache: str) -> None:
    words = [*PARK, "trainer=ddp_cpu", "+trainer.limit_train_batches=2", "batch.evaluation=3"]
    done = sed("train", *words, cwd=tmp_path, SED_LAB_CACHE=cache)
    assert done.returncode == 0, done.stderr
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    ours, one = (load_scores(run / "scores" / "test" / "student.npz") for run in (folder, smoke))
    assert ours.clip_id == one.clip_id


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path: Path, cache: str) -> None:
    words = [*PARK, "+trainer.limit_train_batches=1", "trainer.max_epochs=3"]
    whole = sed(
        "train", *words, cwd=tmp_path / "a" if (tmp_path / "a").mkdir() is None else tmp_path, SED_LAB_CACHE=cache
    )
    assert whole.returncode == 0, whole.stderr
    (tmp_path / "b").mkdir()
    # killed after its first epoch: the record says running, last.ckpt is there
    with training(*words, cwd=tmp_path / "b", cache=cache) as process:
        assert process.stdout is not None
        assert any(line.startswith("epoch 2/3") for line in process.stdout)
    again = sed("train", *words, cwd=tmp_path / "b", SED_LAB_CACHE=cache)
    assert again.returncode == 0, again.stderr
    a, b = (next(path for path in (tmp_path / x / "runs").iterdir() if path.is_dir()) for x in "ab")
    first, second = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (a, b))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert read_json(a / "metrics.json")["systems"] == read_json(b / "metrics.json")["systems"]
