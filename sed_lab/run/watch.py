"""How far the runs of a multirun are: each one's epoch, loss and time left, the share of all, when they end.

Only files are read, those that jobs write anyway (their notes to the sweep, ``output.log``), so that it is the same
with every launcher, and that runs know nothing of it. `sed_lab.run.show` shows it.
"""

from __future__ import annotations

import heapq
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sed_lab.errors import InputError
from sed_lab.files import read_json
from sed_lab.run.sweep import LEFT, killed_words

EPOCH = re.compile(r"epoch (\d+)/(\d+)  (?:train/loss (\S+))?.*?(\d+) s left$")
WAITING, ENDED = "waiting", ("done", "failed", LEFT, "missing")


@dataclass
class Watched:
    """A run of the multirun as its files show it.

    Times are in seconds since 1970, of this machine's clock. ``stated`` is what a run is said to take, in seconds.
    ``first`` and ``epoch`` are the first and last epoch that its output told of, ``left`` what training took from then
    on, when it was ``told``. ``read`` is how many bytes of its output are known.
    """

    row: str
    seed: int
    folder: Path
    stated: float | None
    status: str = WAITING
    reason: str = ""
    started: float = 0.0
    ended: float = 0.0
    first: int = 0
    epoch: int = 0
    epochs: int = 0
    loss: str = ""
    left: float = 0.0
    told: float = 0.0
    read: int = 0

    def __post_init__(self) -> None:
        log = self.folder / "output.log"  # an earlier try's output is not this one's
        self.read = log.stat().st_size if log.exists() else 0

    @property
    def label(self) -> str:
        """How a user knows it."""
        return f"{self.row} seed {self.seed}"


def look(runs: Sequence[Watched], place: Path, now: float) -> list[Watched]:
    """Read what is new of the runs; those whose status is another one than before."""
    changed = []
    notes = {int(path.stem): path for path in place.glob(".sweep-*/[0-9]*.json") if path.stem.isdigit()}
    for number, run in enumerate(runs):
        if number not in notes or run.status in ENDED:
            continue
        try:
            note = read_json(notes[number])
        except (InputError, OSError):  # not there yet for this machine
            continue
        run.started = run.started or now
        _read_epochs(run, now)
        if note["status"] != run.status:
            run.status, run.reason = note["status"], note["reason"]
            run.ended = now if run.status in ENDED else 0.0
            changed.append(run)
    return changed


def settle(runs: Sequence[Watched], now: float) -> list[Watched]:
    """When the multirun has ended: the runs that it leaves without an end, now missing."""
    lost = [run for run in runs if run.status not in ENDED]
    for run in lost:
        run.reason = "never started" if run.status == WAITING else killed_words(run.folder)
        run.status, run.ended = "missing", now
    return lost


def share(runs: Sequence[Watched], before: int = 0) -> float:
    """What of all runs is done, from 0 to 1: those that ended, and of those that train their epochs."""
    counted = [run for run in runs if run.status != LEFT]
    done = sum(1.0 if run.status in ENDED else run.epoch / run.epochs if run.epochs else 0.0 for run in counted)
    return (before + done) / max(1, before + len(counted))


def percent(runs: Sequence[Watched], before: int = 0) -> int:
    """The share in whole percent, rounded down."""
    return int(100 * share(runs, before) + 1e-6)


def run_left(run: Watched, runs: Sequence[Watched], now: float) -> float | None:
    """Seconds until a run ends that trains: what its output says, and after training what others took there."""
    if not run.epoch:
        whole = run_seconds(run, runs, now)
        return None if whole is None else max(0.0, whole - (now - run.started))
    after = [other.ended - other.told for other in runs if other.status == "done" and other.told]
    return max(0.0, run.left + (statistics.median(after) if after else 0.0) - (now - run.told))


def run_seconds(run: Watched, runs: Sequence[Watched], now: float) -> float | None:
    """Seconds that a run will take from its start: the median of its row's, else by those of other rows.

    Those that are done count, and by their own estimate those that train; none that went on from an earlier try. Other
    rows' count as multiples of what they were stated to take, where all of that is known.
    """
    took = {
        other.folder: (other.ended if other.status == "done" else max(now, other.told + other.left)) - other.started
        for other in runs
        if other.first == 1 and other.status in ("done", "running")
    }
    known = [other for other in runs if other.folder in took]
    if same := [other for other in known if other.row == run.row]:
        same = [other for other in same if other.status == "done"] or same
        return statistics.median(took[other.folder] for other in same)
    ratios = [took[other.folder] / other.stated for other in known if other.stated]
    if run.stated is not None:
        return run.stated * (statistics.median(ratios) if ratios else 1.0)
    return statistics.median(took.values()) if took else None


def all_left(runs: Sequence[Watched], now: float, side_by_side: int, end: float | None = None) -> float | None:
    """Seconds until the last run ends: those that wait start in their order, each where one ends; None: not known."""
    lanes = []
    for run in (run for run in runs if run.status == "running"):
        left = run_left(run, runs, now)
        if left is None:
            return None
        lanes.append(left)
    lanes += [0.0] * (max(1, side_by_side) - len(lanes))
    heapq.heapify(lanes)
    waiting = [run for run in runs if run.status == WAITING]
    alike = {(run.row, run.stated): run for run in waiting}
    takes = {key: run_seconds(run, runs, now) for key, run in alike.items()}
    for run in waiting:
        seconds = takes[run.row, run.stated]
        if seconds is None:
            return None
        if end is None or now + lanes[0] + (run.stated or 0.0) <= end:
            heapq.heapreplace(lanes, lanes[0] + seconds)
    return max(lanes)


def _read_epochs(run: Watched, now: float) -> None:
    """Take the last epoch's line from what is new in a run's output."""
    lines, run.read = new_lines(run.folder / "output.log", run.read)
    found = [match for line in lines if (match := EPOCH.match(line))]
    if found:
        run.first = run.first or int(found[0][1])
        run.epoch, run.epochs, run.loss = int(found[-1][1]), int(found[-1][2]), found[-1][3] or ""
        run.left, run.told = float(found[-1][4]), now


def new_lines(path: Path, read: int) -> tuple[list[str], int]:
    """The whole lines of a file after its first ``read`` bytes, and how many bytes are known now."""
    try:
        size = path.stat().st_size
        if size == read:
            return [], read
        start = read if size > read else 0  # a shorter file is another one
        with path.open("rb") as file:
            file.seek(start)
            whole, newline, _ = file.read().rpartition(b"\n")
    except OSError:
        return [], read
    return whole.decode(errors="replace").splitlines(), start + len(whole) + len(newline)
