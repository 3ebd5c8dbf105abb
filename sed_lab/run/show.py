"""What ``sed-reproduce`` shows while runs train, as `sed_lab.run.watch` reads it from their files.

On a terminal there is a line for each run that trains and one for all, which change in place; elsewhere plain lines.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sed_lab.run.sweep import LEFT, end_with_parent
from sed_lab.run.watch import ENDED, Watched, all_left, look, new_lines, percent, run_left, settle
from sed_lab.waiting import time_in_words

if TYPE_CHECKING:
    from rich.console import Group

POLL_SECONDS = 1.0
SHARE_SECONDS = 60.0  # without a terminal, between two lines on all runs


def run_shown(
    command: Sequence[str], env: Mapping[str, str], runs: list[Watched], before: int, place: Path, end: float | None
) -> int:
    """Run the multirun ``command`` and show its ``runs``, in the order of its jobs, until it ends; its exit code.

    ``before`` runs of the table were complete. ``place`` is the sweep's folder. No run is started that would end
    after ``end``. On a terminal, what the multirun itself prints stands above the lines that change. It ends with this
    process, also when that one is killed.
    """
    terminal = on_terminal()
    output = place / "output.log"
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            env=env,
            stdout=file if terminal else None,
            stderr=file if terminal and sys.stderr.isatty() else None,
            preexec_fn=end_with_parent,
        )
    try:
        if terminal:
            return _on_terminal(process, runs, before, place, end)
        return _follow(process, runs, place, Lines(runs, before, end))
    except BaseException:
        process.kill()
        process.wait()
        raise


def on_terminal() -> bool:
    """Whether lines that change can be shown."""
    from rich.console import Console

    return sys.stdout.isatty() and not Console().is_dumb_terminal


def all_in_words(runs: Sequence[Watched], before: int, left: float | None, now: float) -> str:
    """``12 of 45 runs done, 1 failed, 28 %, about 40 min left, ends 16:20``."""
    count = {status: sum(run.status == status for run in runs) for status in ENDED}
    text = f"{before + count['done']} of {before + len(runs)} runs done"
    text += f", {count['failed']} failed" if count["failed"] else ""
    text += f", {count[LEFT]} not started" if count[LEFT] else ""
    text += f", {percent(runs, before)} %"
    if left is None or all(run.status in ENDED for run in runs):
        return text
    ends, today = datetime.fromtimestamp(now + left), datetime.fromtimestamp(now)
    clock = f"{ends:%H:%M}" if ends.date() == today.date() else f"{ends:%a %d %b, %H:%M}"
    return f"{text}, about {time_in_words(left)} left, ends {clock}"


def end_in_words(runs: Sequence[Watched], seconds: float) -> str:
    """``44 done, 1 failed, 0 missing, in 52 min``."""
    count = {status: sum(run.status == status for run in runs) for status in ENDED}
    parts = [f"{count[status]} {status}" for status in ("done", "failed", "missing")]
    parts += [f"{count[LEFT]} not started"] if count[LEFT] else []
    return f"{', '.join(parts)}, in {time_in_words(seconds)}"


def status_in_words(run: Watched) -> str:
    """A run that started or ended, as one line without control characters."""
    if run.status == "running":
        return f"{run.label} started"
    if run.status == "done":
        return f"{run.label} done in {time_in_words(run.ended - run.started)}"
    reason = "".join(c for c in re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", run.reason) if c.isprintable())
    if run.status == LEFT:
        return f"{run.label} not started: {reason}"
    return f"{run.label} {run.status}: {reason} ({run.folder}/output.log)"


class Lines:
    """Without a terminal: a line where a run starts or ends, and one on all of them at each tenth, not too often."""

    def __init__(self, runs: Sequence[Watched], before: int, end: float | None) -> None:
        self.runs, self.before, self.end = runs, before, end
        self.side_by_side, self.tenth, self.said = 1, percent(runs, before) // 10, 0.0

    def __call__(self, changed: Sequence[Watched], now: float) -> None:
        self.side_by_side = max(self.side_by_side, sum(run.status == "running" for run in self.runs))
        for run in changed:
            _say(status_in_words(run), wrong=run.status in ("failed", "missing"))
        tenth = percent(self.runs, self.before) // 10
        training = any(run.status not in ENDED for run in self.runs)
        if training and tenth > self.tenth and now - self.said >= SHARE_SECONDS:
            left = all_left(self.runs, now, self.side_by_side, self.end)
            _say(all_in_words(self.runs, self.before, left, now))
            self.tenth, self.said = tenth, now


def _say(line: str, wrong: bool = False) -> None:
    """Print a line, on stderr where something went ``wrong``; nobody who reads any more must not end the runs."""
    with suppress(OSError):
        print(line, file=sys.stderr if wrong else sys.stdout, flush=True)


def _follow(
    process: subprocess.Popen[bytes],
    runs: Sequence[Watched],
    place: Path,
    show: Callable[[Sequence[Watched], float], None],
) -> int:
    """Look and show until the multirun has ended."""
    began = time.time()
    while True:
        try:
            code: int | None = process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        now = time.time()
        changed = look(runs, place, now)
        if code is None:
            show(changed, now)
        elif any(run.started for run in runs):
            show(changed + settle(runs, now), now)
            _say(end_in_words(runs, now - began))
        if code is not None:
            return code


def _on_terminal(
    process: subprocess.Popen[bytes], runs: Sequence[Watched], before: int, place: Path, end: float | None
) -> int:
    """Follow the multirun with lines that change; what it prints and what ended stands above them."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    side_by_side, read = 1, 0

    def show(changed: Sequence[Watched], now: float) -> None:
        nonlocal side_by_side, read
        side_by_side = max(side_by_side, sum(run.status == "running" for run in runs))
        lines, read = new_lines(place / "output.log", read)
        for line in (*lines, *(status_in_words(run) for run in changed if run.status in ENDED)):
            console.print(Text.from_ansi(line), soft_wrap=True)
        total = all_in_words(runs, before, all_left(runs, now, side_by_side, end), now)
        live.update(picture(runs, total, now, console.size.height), refresh=True)

    with Live(console=console, auto_refresh=False, transient=True) as live:
        console.show_cursor(True)  # so that it is there whatever ends this process
        code = _follow(process, runs, place, show)
    rest = (place / "output.log").read_bytes()[read:].decode(errors="replace")
    console.print(Text.from_ansi(rest), soft_wrap=True, end="")
    return code


def picture(runs: Sequence[Watched], total: str, now: float, height: int) -> Group:
    """The lines that change: of each run that trains, as far as the terminal is high, and the ``total``."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    training = [run for run in runs if run.status == "running"]
    fit = training if len(training) <= height - 3 else training[: max(0, height - 4)]
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(4):
        table.add_column(no_wrap=True, overflow="ellipsis")
    for run in fit:
        left = run_left(run, runs, now)
        trained = run.epoch > 0 and run.epoch == run.epochs
        cells = [run.label, f"epoch {run.epoch}/{run.epochs}" if run.epoch else "starts"]
        cells += [f"loss {run.loss}" if run.loss else "", "" if left is None else f"{time_in_words(left)} left"]
        table.add_row(*(Text(cell) for cell in (cells if left or not trained else [*cells[:3], "is tested"])))
    more = [Text(f"and {len(training) - len(fit)} more that train")] if len(fit) < len(training) else []
    return Group(table, *more, Text(total, no_wrap=True, overflow="ellipsis"))
