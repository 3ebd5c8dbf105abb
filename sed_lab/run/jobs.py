"""The runs of tables as one Hydra multirun: job i is item i of a list, whatever its configuration.

A grid of overrides cannot say what the rows of a table differ in, so ``sed-reproduce`` writes its runs into a file and
sweeps over their numbers, with any launcher: ``python -m sed_lab.run.jobs -m list=FILE job=0,1,2``.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from omegaconf import DictConfig

from sed_lab.app import run_hydra
from sed_lab.errors import run_command
from sed_lab.files import read_json
from sed_lab.run import sweep


def task(cfg: DictConfig) -> None:
    """What Hydra calls for each job: item ``cfg.job`` of the list, in a fresh process; none that would end too late."""
    job = read_json(Path(cfg.list))[cfg.job]
    if job["latest"] is not None and time.time() > job["latest"]:
        sweep.note(Path(job["folder"]), cfg.job, sweep.LEFT, "it would end too late")
    else:
        sweep.run_process(job["arguments"], Path(job["folder"]), cfg.job, job["gpus"])


@contextmanager
def own_folder(runs: Path) -> Iterator[Path]:
    """A folder in ``runs`` for the list and the notes of one call's multirun, removed when it ends, also by SIGTERM."""
    place = sweep.own_place(runs, "reproduce")
    former = signal.signal(signal.SIGTERM, _end)
    try:
        yield place
    finally:
        signal.signal(signal.SIGTERM, former)
        shutil.rmtree(place, ignore_errors=True)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _run() -> int:
    run_hydra(task, "jobs")
    return 1 if sweep.outcome["failed"] else 0


if __name__ == "__main__":
    run_command(_run)
