"""A run's identity: what changes it, what does not; its record."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from sed_lab.app import conf_folder
from sed_lab.files import read_json
from sed_lab.run import record as run
from sed_lab.run.record import alone


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides=list(overrides))


BASE = config()


@pytest.mark.parametrize(
    "override",
    [
        "logger=[csv,wandb]",
        "analysis=[]",
        "paths.runs=/elsewhere",
        "paths.cache=/elsewhere",
        "batch.workers=4",
        "batch.max_clips_per_device=8",
        "trainer.devices=2",
        "trainer.accelerator=gpu",
        "trainer.strategy=ddp",
        "report.page=false",
        "rerun=true",
    ],
)
def test_identity_leaves_out_what_cannot_change_the_result(override: str) -> None:
    assert run.config_hash(config(override)) == run.config_hash(BASE)


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "loss=bce",
        "loss.gamma=1.0",
        "loss.k=inf",
        "trainer.max_epochs=31",
        "trainer.precision=bf16-mixed",
        "dataset.seed=3",
        "batch.clips.weak=11",
        "batch.epoch=all",
        "decoder.threshold=0.4",
        "+trainer.limit_train_batches=2",
    ],
)
def test_identity_holds_everything_else(override: str) -> None:
    assert run.config_hash(config(override)) != run.config_hash(BASE)


def test_name_tells_what_was_run() -> None:
    assert run.run_name(config("seed=7")).startswith("mini_desed-MeanTeacher-TimeBalancedFocal-seed7-")


def test_a_run_is_complete_only_when_its_record_says_so(tmp_path: Path) -> None:
    cfg = config("logger=[]")
    assert not run.is_complete(tmp_path, cfg)
    record = run.start_record(tmp_path, cfg)
    assert not run.is_complete(tmp_path, cfg)
    assert read_json(tmp_path / "run.json")["versions"]["torch"]
    run.finish_record(tmp_path, record, "failed", reason="disk on fire")
    assert not run.is_complete(tmp_path, cfg)
    run.finish_record(tmp_path, record, "complete", metrics={"student/event_f1/macro": 0.5})
    assert run.is_complete(tmp_path, cfg)
    assert not run.is_complete(tmp_path, config("logger=[]", "seed=1"))
    assert read_json(tmp_path / "run.json")["config"]["seed"] == 0


def test_a_second_process_waits_for_the_run_it_wants(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order = []

    def second() -> None:
        with alone(tmp_path / "run"):
            order.append("second")

    with alone(tmp_path / "run"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert f"another process is at work on {tmp_path / 'run'}; waiting for it" in capsys.readouterr().err
