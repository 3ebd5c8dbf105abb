"""GPUs leased to jobs: one to a job or shared, never more than there are; no rank is inherited."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sed_lab.errors import InputError
from sed_lab.run import gpu


def test_needed_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    cases = [({"accelerator": "cpu", "devices": 8}, 0), ({"accelerator": "gpu", "devices": 2}, 2)]
    cases += [({"accelerator": "gpu", "devices": "auto"}, 3), ({"accelerator": "gpu", "devices": [0, 2]}, 2)]
    for trainer, expected in cases:
        assert gpu.needed_gpus(OmegaConf.create({"trainer": trainer})) == expected


def test_gpus_are_leased_to_one_job_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    held: list[str] = []
    overlaps: list[str] = []
    guard = threading.Lock()

    def job() -> None:
        with gpu.lease_gpus(2 if len(held) % 2 else 1, poll_seconds=0.01) as environment:
            mine = environment["CUDA_VISIBLE_DEVICES"].split(",")
            with guard:
                overlaps.extend(set(mine) & set(held))
                held.extend(mine)
            time.sleep(0.03)
            with guard:
                for name in mine:
                    held.remove(name)

    threads = [threading.Thread(target=job) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()
    assert overlaps == []


def test_too_few_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(InputError, match="devices=4 GPUs, but this machine offers 1"), gpu.lease_gpus(4):
        pass


def test_a_job_inherits_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in gpu.RANK_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("KEPT", "yes")
    with gpu.lease_gpus(0) as environment:
        assert environment["KEPT"] == "yes"
        assert not set(gpu.RANK_VARIABLES) & set(environment)
    assert os.environ["LOCAL_RANK"] == "1"


def test_jobs_share_a_gpu_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv(gpu.SHARING, "2")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert [gpu.jobs_at_once(count) for count in (1, 2)] == [4, 1]
    with ExitStack() as stack:
        leases = [stack.enter_context(gpu.lease_gpus(1)) for _ in range(4)]
        assert [one["CUDA_VISIBLE_DEVICES"] for one in leases] == ["3", "5", "3", "5"]
        waits = threading.Thread(target=lambda: stack.enter_context(gpu.lease_gpus(1, poll_seconds=0.01)), daemon=True)
        waits.start()
        waits.join(timeout=0.1)
        assert waits.is_alive()  # a fifth waits
        stack.close()
        waits.join(timeout=20)
        assert not waits.is_alive()


def test_a_job_of_several_gpus_shares_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv(gpu.SHARING, "3")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    with gpu.lease_gpus(2) as environment:
        assert environment["CUDA_VISIBLE_DEVICES"] == "3,5"
        locks = sorted(path.name for path in tmp_path.rglob("*.lock"))
        assert locks == [f"{name}.{k}.lock" for name in (3, 5) for k in range(3)]


@pytest.mark.parametrize("words", ["0", "-1", "two", ""])
def test_a_share_that_is_no_number_is_refused(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpu.SHARING, words)
    with pytest.raises(InputError, match=f"{gpu.SHARING}={words} must be a whole number of jobs, at least 1"):
        gpu.jobs_per_gpu()
