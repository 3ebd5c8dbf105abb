"""The processes of one run on several devices of this machine: started together, ended together.

``sed-train`` itself only watches them. When one fails, whichever it is, the others are ended, and the run's record gets
the reason of the one that failed first, not what the others noticed of it. When ``sed-train`` is killed, the kernel
kills them. Where another program has started the processes (``srun``, ``torchrun``), it watches them.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sed_lab.errors import ENDING, InputError, asked, describe, exit_code
from sed_lab.files import read_json, write_json
from sed_lab.run.process import end_with_parent, rank
from sed_lab.run.record import finish_record, read_record

if TYPE_CHECKING:
    from pytorch_lightning.strategies import DDPStrategy

WATCHED = "SED_LAB_RANKS"  # in the environment of processes that another sed-train watches: how many they are
GRACE = 3.0  # seconds for the others to notice, after one has failed
STOP = 120.0  # and after they were asked to end, which they do after the step they are in
# What a process says when it was another one that ended, or did not answer.
NOTICED = re.compile(r"closed by peer|reset by peer|broken pipe|timed? ?out|recv|store|gloo|nccl|process group", re.I)
SILENT = re.compile(r"timed? ?out", re.IGNORECASE)


@dataclass(frozen=True)
class End:
    """How process ``rank`` ended: exit code (negative: the signal), what it said, and when, where it said something."""

    rank: int
    code: int
    said: str = ""
    time: float = 0.0
    noticed: bool = False


def watched() -> bool:
    """Whether this is a process that another ``sed-train`` has started and watches."""
    return WATCHED in os.environ


def to_start(trainer: Mapping[str, Any], devices: int) -> int:
    """How many processes this one has to start: one a device; 0 where it trains itself."""
    outside = {"LOCAL_RANK", "RANK", "WORLD_SIZE"} & os.environ.keys()
    task = "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")
    strategy = trainer.get("strategy")
    ours = (
        strategy == "ddp" if isinstance(strategy, str) else str((strategy or {}).get("_target_")).endswith("ranks.ddp")
    )
    alone = devices < 2 or trainer.get("num_nodes", 1) != 1 or not ours
    return 0 if alone or outside or task else devices


def run(count: int, folder: Path) -> None:
    """Train on ``count`` devices: this command once for each; when it returns, the run is complete.

    Raises:
        KeyboardInterrupt: it was interrupted. SystemExit: it failed, and why was said.
    """
    for path in folder.glob(".rank*.json"):
        path.unlink()
    command = [sys.executable, "-m", "sed_lab.train", *sys.argv[1:], f"hydra.run.dir='{folder}'"]
    shared = {"WORLD_SIZE": str(count), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    ours, processes = os.getpid(), []  # type: int, list[subprocess.Popen[bytes]]

    def begin() -> None:
        end_with_parent()
        if os.getppid() != ours:  # it is dead already
            os._exit(1)

    signals: list[int] = []
    with _told_to_end(signals):
        for number in range(count):
            environment = {**os.environ, **shared, "LOCAL_RANK": str(number), WATCHED: str(count)}
            more = ["hydra.output_subdir=null"] if number else []
            processes.append(subprocess.Popen([*command, *more], env=environment, preexec_fn=begin, process_group=0))
        silent = watch(processes, signals)
    ends = [_end(folder, number, process.returncode) for number, process in enumerate(processes)]
    if signals:
        _note(folder, "interrupted")
        asked.extend(number for number in signals if number in ENDING)
        raise KeyboardInterrupt
    if all(end.code == 0 for end in ends):
        return
    reason, code = verdict(ends, silent)
    _note(folder, reason)
    print(f"error: {reason}", file=sys.stderr)
    raise SystemExit(code)


def watch(processes: Sequence[subprocess.Popen[bytes]], signals: list[int]) -> list[int]:
    """Wait until all have ended; those that had to be killed, since they went on after another one had failed.

    What comes into ``signals`` is passed on as they come; the second one kills.
    """
    since, limit, passed = 0.0, GRACE, 0
    while None in [process.poll() for process in processes]:  # each is asked, not until the first that runs
        time.sleep(0.05)
        now = time.monotonic()
        if len(signals) > passed:
            since, limit = now, 0.0 if passed else STOP
            for process in processes:
                process.send_signal(signals[passed])
            passed += 1
        elif not since and any(process.returncode for process in processes):
            since = now
        if since and now - since > limit:
            left = [number for number, process in enumerate(processes) if process.poll() is None]
            for number in left:
                processes[number].kill()
                processes[number].wait()
            return left
    return []


def verdict(ends: Sequence[End], silent: Sequence[int]) -> tuple[str, int]:
    """Why a run failed, from how its processes ended, and the exit code; ``silent`` are those that had to be killed.

    What a process says of itself comes before a kill, which the others only notice, and both before what they noticed.
    """
    said = sorted((end for end in ends if end.said), key=lambda end: end.time)
    if own := [end for end in said if not end.noticed]:
        return own[0].said, own[0].code
    killed = [end for end in ends if end.code < 0 and end.rank not in silent and end.code != -signal.SIGABRT]
    if killed:
        name = signal.Signals(-killed[0].code).name
        memory = "; the machine may have been out of memory" if name == "SIGKILL" else ""
        return f"process {killed[0].rank} of {len(ends)} was killed ({name}){memory}", 1
    if silent and (not said or SILENT.search(said[0].said)):
        numbers = " and ".join(map(str, silent))
        return f"process {numbers} of {len(ends)} did not answer within trainer.strategy.timeout_minutes", 1
    failed = next((end for end in ends if end.code), ends[0])
    words = f"process {failed.rank} of {len(ends)} ended with code {failed.code}"
    return (said[0].said, 1) if said else (words, 2 if failed.code == 2 else 1)


@contextmanager
def telling(folder: Path) -> Iterator[None]:
    """Within a watched process: leave word of an error for the one that watches, which says it, and end."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        noticed = not isinstance(error, InputError) and bool(NOTICED.search(str(error)))
        code, word = exit_code(error), describe(error)
        try:
            write_json(_place(folder, rank()), {"code": code, "said": word, "time": time.time(), "noticed": noticed})
        except InputError:  # a full disk
            print(f"error: {word}", file=sys.stderr)
        if os.environ.get("SED_LAB_DEBUG") == "1":
            raise
        raise SystemExit(code) from None


def ddp(timeout_minutes: float) -> DDPStrategy:
    """Lightning's ``ddp`` with the time after which a process that does not answer ends the run.

    Raises:
        InputError: that is no time.
    """
    from pytorch_lightning.strategies import DDPStrategy

    if not timeout_minutes > 0:
        raise InputError(f"trainer.strategy.timeout_minutes={timeout_minutes}: give a number of minutes above 0")
    return DDPStrategy(timeout=timedelta(minutes=timeout_minutes))


def _end(folder: Path, number: int, code: int) -> End:
    path = _place(folder, number)
    try:
        word = read_json(path)
        path.unlink()
    except (InputError, OSError):
        return End(number, code)
    return End(number, word["code"], word["said"], word["time"], word["noticed"])


def _place(folder: Path, number: int) -> Path:
    return folder / f".rank{number}.json"


def _note(folder: Path, reason: str) -> None:
    record = read_record(folder)
    if record and record.get("status") != "complete":
        finish_record(folder, record, "failed", reason=reason)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _told_to_end(signals: list[int]) -> Iterator[None]:
    """Collect in ``signals`` those that ask this command to end."""
    former: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
    try:
        for number in former:
            signal.signal(number, lambda received, _: signals.append(received))
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
