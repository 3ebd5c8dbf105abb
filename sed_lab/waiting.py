"""What someone who waits sees: what is being done, how far it is and how long it will still take.

Nothing is shown of what takes less than two seconds. On a terminal there is a bar, elsewhere plain lines on stderr,
ever less often as work goes on.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

FIRST, EVERY = 2.0, 10.0  # seconds until something is shown, and at least between two lines
LATER = 0.1  # of the time passed: lines come no closer than that
_showing = threading.Lock()


def time_in_words(seconds: float) -> str:
    """``40 s``, ``12 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


class Work:
    """Work that goes on: ``done`` of its ``total`` parts, None where it has no parts.

    ``says`` gives how far it is in words, where it can be said so; ``clock`` gives seconds.
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        says: Callable[[], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label, self.total, self.says, self.clock = label, total, says, clock
        self.began, self.done = clock(), 0
        self.said = False

    def step(self) -> None:
        """One more part is done."""
        self.done += 1

    def line(self) -> str:
        """``features of test: 120 of 400, 8 s left``; without parts, and before the first one is
        done, how long it has taken so far."""
        passed = self.clock() - self.began
        if self.says and (words := self.says()):
            return f"{self.label}: {words}"
        if self.total is None or not self.done:
            return f"{self.label}: {time_in_words(passed)} so far"
        left = passed / self.done * (self.total - self.done)
        return f"{self.label}: {self.done} of {self.total}, {time_in_words(left)} left"

    def last_line(self) -> str:
        """``features of test: took 20 s``."""
        return f"{self.label}: took {time_in_words(self.clock() - self.began)}"

    def say(self, ended: Callable[[float], bool]) -> None:
        """Print lines until the work has ``ended``, which waits so many seconds for that and says whether it has."""
        pause = FIRST
        while not ended(pause):
            print(self.line(), file=sys.stderr, flush=True)
            self.said = True
            pause = max(EVERY, LATER * (self.clock() - self.began))

    def draw(self, ended: Callable[[float], bool]) -> None:
        """The same as a bar on a terminal, which is gone when the work has ended."""
        if ended(FIRST):
            return
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import Progress, TimeElapsedColumn

        self.said, console = True, Console(stderr=True)
        columns = (*Progress.get_default_columns(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            console.show_cursor(True)  # so that it is there whatever ends this process
            task = bar.add_task(escape(self.label), total=self.total, completed=self.done)
            while not ended(0.2):
                bar.update(task, completed=self.done, description=escape(self.line() if self.says else self.label))


@contextmanager
def shown(
    label: str, total: int | None = None, show: bool = True, says: Callable[[], str] | None = None
) -> Iterator[Callable[[], None]]:
    """Show the block as `Work`; what is given is to be called when one of its parts is done.

    Work within other work is not shown, nor that of any but the first process of a run.
    """
    first = not any(int(os.environ.get(name, 0)) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    if not (show and first and _showing.acquire(blocking=False)):
        yield lambda: None
        return
    work, ended = Work(label, total, says), threading.Event()
    thread = threading.Thread(target=work.draw if _on_terminal() else work.say, args=(ended.wait,), daemon=True)
    try:
        thread.start()
        try:
            yield work.step
        finally:
            ended.set()
            thread.join()
        if work.said:
            print(work.last_line(), file=sys.stderr, flush=True)
    finally:
        _showing.release()


def track(items: Iterable[T], total: int, label: str, show: bool = True) -> Iterator[T]:
    """Pass items on and show how many of ``total`` are done."""
    with shown(label, total, show) as step:
        for item in items:
            yield item
            step()


def _on_terminal() -> bool:
    """Whether bars can be drawn on stderr."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
