"""How far detection has come: files, hours of audio, and how many times faster than it sounds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sed_lab.clip.audio import audio_info
from sed_lab.clip.audio_folder import in_threads
from sed_lab.errors import InputError
from sed_lab.waiting import track

LINES = 10  # at most so many where there is no terminal


def seconds_of(paths: Sequence[Path]) -> list[float]:
    """Length of each recording by its header; 0 where that cannot be read, and of embeddings."""
    return list(track(in_threads(_seconds, paths), len(paths), "reading the headers of recordings"))


def _seconds(path: Path) -> float:
    try:
        return audio_info(path).duration
    except (InputError, OSError):
        return 0.0


class Progress:
    """A bar on a terminal, a few plain lines on stderr elsewhere; counts files and seconds of audio."""

    def __init__(self, files: int, seconds: float, bar: Any = None) -> None:
        self._files, self._seconds, self._bar = files, seconds, bar
        self._done, self._heard, self._passed, self._lines = 0, 0.0, 0.0, 0
        self._begin = time.monotonic()
        self._task = None if bar is None else bar.add_task("detecting events", total=max(seconds, 1e-9), words="")

    def heard(self, seconds: float) -> None:
        """So many more seconds of audio are scored."""
        self._heard += seconds
        self._show()

    def file_done(self, passed: float) -> None:
        """One more file is done, of which so many seconds were not scored."""
        self._done += 1
        self._passed += passed
        self._show(last=self._done == self._files)

    def words(self) -> str:
        """``3 of 12 files, 0.10 of 0.40 h, 85 x real time``."""
        took = max(time.monotonic() - self._begin, 1e-6)
        at = self._heard + self._passed
        return (
            f"{self._done} of {self._files} files, {at / 3600:.2f} of {self._seconds / 3600:.2f} h,"
            f" {self._heard / took:.0f} x real time"
        )

    def _show(self, last: bool = False) -> None:
        share = (self._heard + self._passed) / self._seconds if self._seconds else self._done / max(1, self._files)
        if self._bar is not None:
            self._bar.update(self._task, completed=share * max(self._seconds, 1e-9), words=self.words())
        elif last or (LINES * share >= self._lines + 1 and self._done < self._files):
            self._lines = int(LINES * share + 1e-9)
            print(f"detecting events: {self.words()}", file=sys.stderr, flush=True)


@contextmanager
def progress(files: int, seconds: float) -> Iterator[Progress]:
    """Show the progress of so many files and seconds of audio."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Progress(files, seconds)
        return
    text = partial(TextColumn, markup=False)
    with Bar(text("{task.description}"), BarColumn(), text("{task.fields[words]}"), TimeRemainingColumn(),
             console=console) as bar:  # fmt: skip
        yield Progress(files, seconds, bar)
