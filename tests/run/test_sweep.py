"""Sweeps: their jobs are a group, are counted, and what killed ones left goes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from sed_lab.files import read_json
from sed_lab.run import sweep
from sed_lab.run.gpu import lease_gpus
from sed_lab.run.jobs import own_folder


def of_sweep(folder: Path, *words: str, name: str = "config") -> DictConfig:
    """What a sweep's start is told of it; how many jobs there are, another sweeper alone knows."""
    hydra = {"sweep": {"dir": str(folder)}, "job": {"config_name": name}, "overrides": {"task": [*words]}}
    return OmegaConf.create({"hydra": {**hydra, "sweeper": {"_target_": "another.Sweeper"}}})


def test_jobs_of_a_sweep_are_a_group_by_its_words_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(sweep.SWEEP_VARIABLE, raising=False)
    monkeypatch.delenv(sweep.GROUP_VARIABLE, raising=False)
    words = ["loss=bce,tbfl", "seed=0,1", "hydra/launcher=joblib", "+logger.wandb.x=1", "logger=[wandb]"]
    long = [f"method.optimizer.lr={','.join(f'0.{i}' for i in range(60))}", "seed=0"]
    found = {}
    for asked, name in ((words, "config"), (words, "park2022"), (long, "config"), ([*long, "seed=1"], "config")):
        report = sweep.SweepReport(show=False)
        report.on_multirun_start(of_sweep(tmp_path, *asked, name=name))
        with lease_gpus(0) as environment:  # of a job
            found[len(found)] = environment[sweep.GROUP_VARIABLE]
        report.on_multirun_end(of_sweep(tmp_path))
        assert sweep.GROUP_VARIABLE not in os.environ
    assert (found[0], found[1]) == ("loss=bce,tbfl seed=0,1", "park2022 loss=bce,tbfl seed=0,1")
    assert found[2] != found[3]
    assert {len(found[2]), len(found[3])} == {128}


def test_a_job_without_its_gpus_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv(sweep.SWEEP_VARIABLE, str(tmp_path))
    reason = "trainer.devices=1 GPUs, but this machine offers 0; lower trainer.devices"
    assert sweep.run_process([], tmp_path / "run", 0, gpus=1) == (None, reason)
    job = read_json(tmp_path / "0.json")
    assert (job["status"], job["reason"]) == ("failed", reason)


def test_of_a_killed_job_the_last_line_of_its_output_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(sweep.SWEEP_VARIABLE, raising=False)
    monkeypatch.setattr(sweep, "grid", lambda config: [["job=0"], ["job=1"]])
    config = of_sweep(tmp_path)
    report = sweep.SweepReport(show=True)
    report.on_multirun_start(config)
    for number, output in enumerate(("made 3 of 9\nnumpy: cannot allocate 4 GiB\n", "")):
        (tmp_path / f"run{number}").mkdir()
        (tmp_path / f"run{number}/output.log").write_text(output)
        sweep.note(tmp_path / f"run{number}", number, "running")
    report.on_multirun_end(config)
    said = " ".join(capsys.readouterr().err.split())
    assert "0 done, 0 failed, 2 missing" in said
    assert sweep.outcome["failed"] == 2
    for word in ("cannot", "allocate", "without a", "word"):
        assert word in said


def test_what_killed_sweeps_left_goes_with_the_next_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (sweep.SWEEP_VARIABLE, sweep.GROUP_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    killed = subprocess.Popen(["sleep", "60"])
    alive = [f".sweep-{socket.gethostname()}-1", f".sweep-elsewhere-{killed.pid}", "run-of-somebody"]
    for name in (f".sweep-{socket.gethostname()}-{killed.pid}", *alive):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.json").write_text("{}")
    config = of_sweep(tmp_path)
    report = sweep.SweepReport(show=True)
    report.on_multirun_start(config)
    assert (tmp_path / f".sweep-{socket.gethostname()}-{killed.pid}/0.json").exists()  # it goes on, beside
    report.on_multirun_end(config)
    killed.kill()
    killed.wait()
    report.on_multirun_start(config)
    own = Path(os.environ[sweep.SWEEP_VARIABLE])
    there = sorted(path.name for path in tmp_path.iterdir())
    report.on_multirun_end(config)
    assert there == sorted([*alive, own.name])


def test_a_call_that_is_ended_removes_its_folder_and_those_that_killed_ones_left(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    own = f".reproduce-{socket.gethostname()}-"
    for name in (f"{own}{ended.pid}", f"{own}1", f".reproduce-elsewhere-{ended.pid}"):
        (tmp_path / name / "inner").mkdir(parents=True)
    before = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        with own_folder(tmp_path) as place:
            place.mkdir()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    with pytest.raises(SystemExit, match="143"):
        work()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{own}1", f".reproduce-elsewhere-{ended.pid}"])
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_job_prints_last_is_shown_while_it_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sed_lab.waiting.FIRST", 0.0)
    monkeypatch.setattr("sed_lab.waiting.EVERY", 0.0)
    (tmp_path / "output.log").write_text("epoch 9/9 of an earlier try\n")
    with sweep.shown_job("job 3", tmp_path):
        said = capsys.readouterr().err
        with (tmp_path / "output.log").open("a") as log:
            log.write("epoch 1/9  \x1b[31m7 s left\n")
        while "epoch 1/9" not in said:
            said += capsys.readouterr().err
    assert "job 3: epoch 1/9 ?[31m7 s left" in said
    assert "earlier" not in said
    monkeypatch.setenv(sweep.SWEEP_VARIABLE, f"/sweep-{os.getppid()}")  # a worker of several
    with sweep.shown_job("job 4", tmp_path):
        pass
    assert "job 4" not in capsys.readouterr().err
