"""Multirun: every job is a fresh process in its own folder, leases its GPUs, and is accounted for at the end.

Training inside the sweep's own process would let Lightning's launcher restart the whole sweep in each rank, and would
leave W&B runs, GPU memory and seeds of one job to the next. So a job runs ``sed-train`` again, in single-run mode.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sed_lab.errors import InputError, plain
from sed_lab.files import read_json, write_json
from sed_lab.run.gpu import lease_gpus, needed_gpus
from sed_lab.run.process import end_with_parent, rank
from sed_lab.run.record import read_record
from sed_lab.waiting import shown

SWEEP_VARIABLE = "SED_LAB_SWEEP"
GROUP_VARIABLE = "WANDB_RUN_GROUP"  # W&B's own: runs of jobs that inherit it are one group there
GROUP_LETTERS = 128  # that W&B allows in a group's name
NOT_ASKED = ("hydra", "logger", "report", "paths", "rerun")  # keys of how a run is made, not of what is
LEFT = "left"  # the status of a job that was not started, since it would have ended too late
POLL = 1.0  # seconds between two looks at whether a job is to end
STOP = 60.0  # seconds that a job has to end when the sweep is ended
outcome = {"failed": 0}
begun: list[SweepReport] = []  # reports of sweeps that have not ended


def run_job(cfg: DictConfig) -> float | None:
    """Run one job of the sweep in a fresh process; return its validation objective for a sweeper to maximise."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    command = ["--config-name", str(hydra.job.config_name)]
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line":
            command += ["--config-dir", source.path]
    with shown_job(f"job {hydra.job.num}", folder):
        value, reason = run_process([*command, *hydra.overrides.task], folder, hydra.job.num, needed_gpus(cfg))
    if reason:
        print(plain(f"job {hydra.job.num} failed: {reason} ({folder}/output.log)"), file=sys.stderr)
    else:
        print(f"job {hydra.job.num} done: {folder}", flush=True)
    return value


@contextmanager
def shown_job(label: str, folder: Path) -> Iterator[None]:
    """Show the last line that the job in ``folder`` prints while the block runs, of several at a time the first's."""
    log = folder / "output.log"
    former = log.stat().st_size if log.exists() else 0  # an earlier try's output is not this one's
    with shown(label, show=not _in_worker(), says=lambda: plain(_last_line(log, former))):
        yield


def _in_worker() -> bool:
    """Whether this is a launcher's worker process, as of joblib, and not the sweep's own."""
    return os.environ.get(SWEEP_VARIABLE, "").endswith(f"-{os.getppid()}")


def run_process(
    arguments: Sequence[str], folder: Path, number: int, gpus: int, ends: Callable[[], bool] | None = None
) -> tuple[float | None, str]:
    """``sed-train`` with these arguments in ``folder``, as job ``number`` of a sweep; its validation objective, and why
    it failed, empty where it did not. It is asked to end as soon as ``ends`` says so.

    A job that fails leaves its record and is counted; the others go on. The process ends with the sweep's own,
    also when that one is killed. Where a cluster runs a job as several tasks, the first of them says how it ended.
    """
    command = [sys.executable, "-m", "sed_lab.train", *arguments, f"hydra.run.dir='{folder}'"]
    if _in_worker():
        end_with_parent()
    folder.mkdir(parents=True, exist_ok=True)
    note(folder, number, "running")
    refused = ""
    try:
        with lease_gpus(gpus) as environment, (folder / "output.log").open("a") as log:
            code = _finished(
                subprocess.Popen(
                    command, env=environment, stdout=log, stderr=subprocess.STDOUT, preexec_fn=end_with_parent
                ),
                ends,
            )
    except InputError as error:  # it never started
        code, refused = 2, str(error)
    if rank():
        return None, refused or ("" if code == 0 else f"exit code {code}")
    record = read_record(folder) or {}
    if code != 0 or record.get("status") != "complete":
        reason = refused or record.get("reason") or _last_line(folder / "output.log") or f"exit code {code}"
        if record and not refused and record.get("status") != "failed":
            write_json(folder / "run.json", {**record, "status": "failed", "reason": reason})
        note(folder, number, "failed", reason)
        return None, reason
    note(folder, number, "done")
    value = record.get("objective")
    return float(value) if value is not None else None, ""


def _finished(process: subprocess.Popen[bytes], ends: Callable[[], bool] | None) -> int:
    """Wait for a job's process, and end it with this one, or once ``ends`` says so, its checkpoint written; its exit
    code."""
    try:
        while ends is not None and not ends():
            with suppress(subprocess.TimeoutExpired):
                return process.wait(POLL)
        if ends is None:
            return process.wait()
    except BaseException:  # Ctrl-C, or a cluster that takes its machine back
        _end(process)
        raise
    return _end(process)


def _end(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP)
    process.kill()
    return process.wait()


def note(folder: Path, number: int, status: str, reason: str = "") -> None:
    """Leave word of a job for the sweep's process, which may be another one or on another machine."""
    if rank():
        return
    if sweep := os.environ.get(SWEEP_VARIABLE):
        row = {"job": number, "folder": str(folder), "status": status, "reason": reason}
        write_json(Path(sweep) / f"{number}.json", row)


class SweepReport(Callback):
    """Says, at a sweep's end, what its runs came to, and counts the jobs done, failed and missing (Hydra callback).

    Without ``show`` it counts only, and leaves the jobs' notes to whoever started the sweep.
    """

    def __init__(self, show: bool) -> None:
        self.show = show
        self.expected: list[list[str]] = []
        self.names_group = False

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Open the folder where jobs leave word."""
        outcome["failed"] = 0
        folder = own_place(Path(config.hydra.sweep.dir).resolve(), "sweep")
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[SWEEP_VARIABLE] = str(folder)
        self.names_group = GROUP_VARIABLE not in os.environ
        os.environ.update(grouped(words_of(config.hydra)))
        self.expected = grid(config)
        begun.append(self)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Read what the jobs left."""
        self.end()

    def end(self) -> None:
        """Read what the jobs left, count what did not end well, and show it."""
        begun.remove(self)
        folder, jobs = Path(os.environ.pop(SWEEP_VARIABLE)), {}
        if self.names_group:
            del os.environ[GROUP_VARIABLE]
        for path in sorted(folder.glob("*.json"), key=lambda item: int(item.stem)):
            jobs[int(path.stem)] = read_json(path)
        if self.show:
            shutil.rmtree(folder, ignore_errors=True)
        for number in range(len(self.expected)):
            jobs.setdefault(number, {"job": number, "folder": "", "status": "missing", "reason": "never started"})
        for number, job in jobs.items():
            job["overrides"] = self.expected[number] if self.expected else []
            if job["status"] == "running":
                job.update(status="missing", reason=killed_words(Path(job["folder"])))
        outcome["failed"] = sum(job["status"] not in ("done", LEFT) for job in jobs.values())
        if self.show:
            _print_jobs([jobs[number] for number in sorted(jobs)])


def grouped(name: str) -> dict[str, str]:
    """The variable by which W&B shows the runs of jobs that have it as one group: ``name``, or what was asked for.

    A long name ends in a hash of the whole.
    """
    if len(name) > GROUP_LETTERS:
        digits = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{name[: GROUP_LETTERS - 9]} {digits}"
    return {GROUP_VARIABLE: os.environ.get(GROUP_VARIABLE, name)}


def words_of(hydra: Any, *left_out: str) -> str:
    """What a command line asks for: a primary configuration, and overrides but those of the keys ``left_out``.

    How it is run, logged and reported is left out too, so that the same with another launcher has the same words.
    """
    but = (*NOT_ASKED, *left_out)
    words = [word for word in hydra.overrides.task if re.split(r"[=.@/]", word.lstrip("+~"), maxsplit=1)[0] not in but]
    return " ".join([*([hydra.job.config_name] if hydra.job.config_name != "config" else []), *words]) or "default"


def own_place(folder: Path, kind: str) -> Path:
    """Where in ``folder`` this process keeps its notes, which it removes at its end.

    One that was killed could not: those of processes of this machine that are no more go now.
    """
    own = f".{kind}-{socket.gethostname()}-"
    for left in folder.glob(f"{own}*"):
        if not Path("/proc", left.name.removeprefix(own)).exists():
            shutil.rmtree(left, ignore_errors=True)
    return folder / f"{own}{os.getpid()}"


def show_interrupted() -> None:
    """Show what a sweep came to that ends before its time, where this process is in one."""
    for report in [*begun]:
        report.end()


def grid(config: DictConfig) -> list[list[str]]:
    """The overrides of each job of a sweep by Hydra's own sweeper; nothing with another one, which alone knows."""
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith(f".{BasicSweeper.__name__}"):
        return []
    words = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    loader = GlobalHydra.instance().config_loader()  # without it a glob has no options to choose from
    parsed = OverridesParser.create(loader).parse_overrides([*words, *config.hydra.overrides.task])
    return [list(job) for job in BasicSweeper.split_arguments(parsed, None)[0]]


def _print_jobs(jobs: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.text import Text

    from sed_lab.run.answer import print_grid
    from sed_lab.run.ranking import grid_of, ranked, settings_of

    settings, how = ranked(settings_of(jobs))
    if any(one.records for one in settings):
        head, lines = grid_of(settings)
        print_grid(head, lines, left=head.index("objective"))
        print(how)
    console = Console(stderr=True)
    for job in jobs:
        if job["status"] != "done":
            where = f" ({job['folder']}/output.log)" if job["folder"] else ""
            words = " ".join(job["overrides"])
            said = f"job {job['job']}{f' {words}' if words else ''} {job['status']}: {job['reason']}{where}"
            console.print(Text(plain(said)), soft_wrap=True)
    counts = {name: sum(job["status"] == name for job in jobs) for name in ("done", "failed", "missing")}
    console.print(", ".join(f"{count} {name}" for name, count in counts.items()))


def killed_words(folder: Path) -> str:
    """Why a job has no end that was noted as running."""
    said = _last_line(folder / "output.log")
    return f"killed, the last line of its output.log: {said}" if said else "killed without a word"


def _last_line(path: Path, first: int = 0) -> str:
    """The last line of a file from byte ``first`` on; nothing where there is none."""
    lines = path.read_bytes()[first:].decode(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1].removeprefix("error: ") if lines else ""
