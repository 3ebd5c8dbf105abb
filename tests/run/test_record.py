"""A run's record: complete only when it says so, begun on other data or not, held by one process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from sed_lab.app import conf_folder
from sed_lab.errors import InputError
from sed_lab.files import read_json
from sed_lab.run import record as run
from sed_lab.run.identity import is_complete, provenance
from sed_lab.run.record import alone


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def test_a_run_is_complete_only_when_its_record_says_so(tmp_path: Path) -> None:
    cfg = config("logger=[]")
    assert not is_complete(tmp_path, cfg)
    record = run.start_record(tmp_path, cfg, provenance(cfg))
    assert not is_complete(tmp_path, cfg)
    assert read_json(tmp_path / "run.json")["versions"]["torch"]
    run.finish_record(tmp_path, record, "failed", reason="disk on fire")
    assert not is_complete(tmp_path, cfg)
    run.finish_record(tmp_path, record, "complete", metrics={"student/event_f1/macro": 0.5})
    assert is_complete(tmp_path, cfg)
    assert not is_complete(tmp_path, config("logger=[]", "seed=1"))
    assert read_json(tmp_path / "run.json")["config"]["seed"] == 0


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A run that was interrupted: begun on data ``a``, with a checkpoint to go on from."""
    cfg = config("logger=[]")
    record = run.start_record(tmp_path, cfg, provenance(cfg))
    run.note_data(tmp_path, record, {"name": "toy", "fingerprint": "a"}, rerun=False)
    assert read_json(tmp_path / "run.json")["dataset"] == {"name": "toy", "fingerprint": "a"}  # before it trains
    run.finish_record(tmp_path, record, "failed", reason="interrupted")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").write_text("weights")
    return tmp_path


@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_does_not_go_on_with_other_data(unfinished: Path, rank: int) -> None:
    cfg = config("logger=[]")
    record = run.start_record(unfinished, cfg, provenance(cfg)) if rank == 0 else {}
    assert read_json(unfinished / "run.json")["dataset"]["fingerprint"] == "a"  # kept until the data is read
    same, other = ({"name": "toy", "fingerprint": name} for name in "ab")
    with pytest.raises(InputError, match=r"the data of toy have changed since .*; restore it, or rerun=true"):
        run.note_data(unfinished, record, other, rerun=False)
    assert read_json(unfinished / "run.json")["dataset"]["fingerprint"] == "a"
    run.note_data(unfinished, record, same, rerun=False)
    assert (unfinished / "checkpoints/last.ckpt").exists()


def test_a_run_starts_anew_with_other_data(unfinished: Path) -> None:
    cfg = config("logger=[]", "rerun=true")
    record = run.start_record(unfinished, cfg, provenance(cfg))
    run.note_data(unfinished, record, {"name": "toy", "fingerprint": "b"}, rerun=True)
    assert read_json(unfinished / "run.json")["dataset"]["fingerprint"] == "b"
    assert not (unfinished / "checkpoints/last.ckpt").exists()  # of the old data: not to be gone on with


def test_a_run_without_a_checkpoint_takes_the_data_there_is(unfinished: Path) -> None:
    (unfinished / "checkpoints/last.ckpt").unlink()
    cfg = config("logger=[]")
    record = run.start_record(unfinished, cfg, provenance(cfg))
    run.note_data(unfinished, record, {"name": "toy", "fingerprint": "b"}, rerun=False)
    assert read_json(unfinished / "run.json")["dataset"]["fingerprint"] == "b"


LASTED = {"started": "2026-01-01T10:00:00+00:00", "finished": "2026-01-01T10:10:00+00:00"}  # ten minutes
OLDER = {**LASTED, "training_seconds": 480.0, "processor_seconds": 300.0, "hardware": {"threads": 2}}


@pytest.mark.parametrize(
    ("record", "minutes"),
    [
        ({**OLDER, "core_minutes": 6.5}, 6.5),
        ({**OLDER, "core_minutes": 6.5, "config": {"trainer": {"accelerator": "gpu"}}}, None),
        (OLDER, 5 + 2),  # five of processor time until trained, two by the clock for what followed
        ({**OLDER, "training_seconds": 1200.0}, 2 * 20),  # it went on from a checkpoint: 20 minutes of two threads
        ({key: value for key, value in OLDER.items() if key != "processor_seconds"}, None),
    ],
)
def test_core_minutes_are_processor_time(record: dict[str, Any], minutes: float | None) -> None:
    assert run.core_minutes_of(record) == minutes


def test_processor_time_is_that_of_threads_and_children_not_the_clock_s() -> None:
    before = run.processor_time()
    time.sleep(0.3)
    assert run.processor_time() - before < 0.2
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    assert run.processor_time() - before >= 0.5


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
