"""What is done of a long job: a line for each recording, so that a call that was stopped goes on where it was.

The journal is a hidden file beside the results, ``.NAME.done``. Its first line says what found the events; a call with
another detector, other settings or another form of results begins anew. A recording that has changed is done again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from sed_lab.detection.inputs import Recording
from sed_lab.detection.table import Detection, Found
from sed_lab.errors import InputError
from sed_lab.files import write_text


class Journal:
    """The journal at ``path`` (None: nothing is kept) of results that ``made_by`` describes.

    ``begun_anew`` says whether there was one of other settings.

    Raises:
        InputError: the file cannot be written to.
    """

    def __init__(self, path: Path | None, made_by: Mapping[str, Any]) -> None:
        self._done: dict[str, tuple[list[int], list[Found]]] = {}
        self._file: TextIO | None = None
        self.begun_anew = False
        if path is None:
            return
        first = json.dumps(made_by, sort_keys=True, default=str)
        self.begun_anew = path.exists() and not self._read(path, first)
        kept = [json.dumps([name, *one]) for name, one in self._done.items()]
        write_text(path, "\n".join([first, *kept]) + "\n")  # without a line cut short
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}; choose another place for the results") from None

    def done(self, recording: Recording) -> list[Found] | None:
        """What was found in a recording; None where it is not done, or has changed since."""
        state, found = self._done.get(recording.name, ([], []))
        return found if state and state == _state(recording.path) else None

    def add(self, recording: Recording, found: Sequence[Found]) -> None:
        """Note a recording whose results are written."""
        self._done[recording.name] = _state(recording.path), list(found)
        if self._file is not None:
            print(json.dumps([recording.name, *self._done[recording.name]]), file=self._file, flush=True)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _read(self, path: Path, first: str) -> bool:
        """Take over what is done, if it was made by the same; whether it was."""
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        if lines[0] != first:
            return False
        for line in lines[1:]:
            try:
                name, state, found = json.loads(line)
            except ValueError:  # the last line of a call that was killed
                continue
            clips = [Found(one[0], one[1], tuple(Detection(*each) for each in one[2])) for one in found]
            self._done[name] = state, clips
        return True


def _state(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
