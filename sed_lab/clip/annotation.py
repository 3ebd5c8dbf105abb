"""Annotation files: tab separated, seconds, one header line, as in DCASE task 4.

=============  ======================================  =====================================
kind           header                                  a row with empty fields
=============  ======================================  =====================================
strong         ``filename onset offset event_label``   a clip without events, kept
weak           ``filename event_labels`` (commas)      a clip without events, kept
unlabelled     ``filename``
durations      ``filename duration``
=============  ======================================  =====================================

Clips stay in the order of their first row. Every wrong row of a file is collected into one sentence.
"""

from __future__ import annotations

import csv
import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from sed_lab.errors import InputError, steers
from sed_lab.files import write_text
from sed_lab.types import Event

STRONG = ("filename", "onset", "offset", "event_label")
WEAK = ("filename", "event_labels")
UNLABELLED = ("filename",)
DURATIONS = ("filename", "duration")
SOUND_BANK = ("event_label", "source_clips", "source_seconds")
SHOWN = 5  # wrong rows spelled out in one message; the others are counted
Row = tuple[int, tuple[str, ...]]  # its line number and fields
T = TypeVar("T")

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*$")  # .wav, .mp3, but not the .000 of Y<id>_30.000_40.000
_EMPTY = frozenset(("", "nan"))  # an empty field, and how a data frame may have written it


def clip_id_of(filename: str) -> str:
    """The clip's name: the file's name without its folder and its last suffix."""
    return _SUFFIX.sub("", filename.replace("\\", "/").rsplit("/", 1)[-1])


def read_strong(path: Path, classes: Sequence[str] | None = None) -> dict[str, tuple[Event, ...]]:
    """Events of every clip in ``path``, in seconds; a clip without events has an empty tuple.

    With ``classes`` every label must be one of them; names of 2018 with spaces or slashes
    (``Alarm/bell/ringing``) are taken for those with underscores.

    Raises:
        InputError: the file is missing or not text, the header is wrong, or rows are (unknown label, onset >= offset,
            a time that is no number, a missing field), with file and lines.
    """
    return _events_of(path, _rows(path, STRONG), classes)


def read_weak(path: Path, classes: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Labels of every clip in ``path``, in the order written; empty where no class is in the clip.

    Raises:
        InputError: as `read_strong`; also a clip that is listed twice.
    """

    def labels(text: str) -> tuple[str, ...]:
        names = () if text.lower() in _EMPTY else text.split(",")
        return tuple(dict.fromkeys(_known(name.strip(), classes) for name in names))  # DESED repeats some in three rows

    return _once_each(path, WEAK, labels)


def read_unlabelled(path: Path) -> tuple[str, ...]:
    """File names listed in ``path``.

    Raises:
        InputError: the file is missing, its header is wrong, or a clip is listed twice.
    """
    return tuple(_once_each(path, UNLABELLED, lambda: None))


def read_durations(path: Path) -> dict[str, float]:
    """Duration in seconds of every clip in ``path``.

    Raises:
        InputError: as `read_unlabelled`; also a duration that is no number above 0.
    """

    def duration(text: str) -> float:
        if (seconds := _number(text, "duration")) <= 0:
            raise ValueError(f"duration {text} s is not above 0")
        return seconds

    return _once_each(path, DURATIONS, duration)


def read_detections(path: Path, classes: Sequence[str] | None = None) -> dict[str, tuple[Event, ...]]:
    """Another system's detected events: the strong columns in any order, tab or comma separated, others ignored.

    Tools write such files with a leading unnamed index or a column of scores, which an annotation must not have.

    Raises:
        InputError: a column is missing, or as `read_strong`.
    """
    lines = _lines(path)
    rows = list(csv.reader(lines, delimiter="\t" if lines and "\t" in lines[0] else ","))
    header = [name.strip() for name in rows[0]] if rows else []
    if missing := [name for name in STRONG if name not in header]:
        raise InputError(
            f"{path}: expected the columns {', '.join(STRONG)} in any order, got {_shown(lines)}; "
            f"{', '.join(missing)} not found"
        )
    columns = [header.index(name) for name in STRONG]
    table = ([field.strip() for field in row] + [""] * (len(header) - len(row)) for row in rows[1:])
    given = ((n, tuple(row[column] for column in columns)) for n, row in enumerate(table, 2) if any(row))
    return _events_of(path, given, classes)


def read_classes(path: Path) -> tuple[str, ...]:
    """Class names in their fixed order, one a line.

    Raises:
        InputError: the file is missing or empty, or a name appears twice.
    """
    names = tuple(line.strip() for line in _lines(path) if line.strip())
    if not names:
        raise InputError(f"{path} names no class; write one event label a line")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path} names {', '.join(repeated)} more than once; every class has one line")
    return names


def read_bank(path: Path, classes: Sequence[str] | None = None) -> tuple[dict[str, int], dict[str, float] | None]:
    """How many recordings of each class the sound bank holds (V_c of Park & Elhilali 2022), ``event_label
    source_clips``, and their mean seconds where a third column ``source_seconds`` follows, otherwise None.

    Raises:
        InputError: as `read_strong`; also a count that is no whole number above 0, a length that is no number.
    """
    clips: dict[str, int] = {}
    seconds: dict[str, float] = {}

    def add(label: str, count: str, length: str | None = None) -> None:
        if not count.isdecimal() or int(count) == 0:
            raise ValueError(f"source_clips {count!r} is not a whole number above 0")
        if length is not None:
            seconds[_known(label, classes)] = _number(length, "source_seconds")
        clips[_known(label, classes)] = int(count)

    columns = SOUND_BANK if (_lines(path) or [""])[0].count("\t") > 1 else SOUND_BANK[:2]
    _each(path, columns, _rows(path, columns), add)
    return clips, seconds or None


def write_bank(path: Path, source_clips: Mapping[str, int], source_seconds: Mapping[str, float]) -> None:
    """Write recordings per class and their mean length in seconds."""
    _write(path, SOUND_BANK, [(label, str(n), _time(source_seconds[label])) for label, n in source_clips.items()])


def write_strong(path: Path, clips: Mapping[str, Iterable[Event]]) -> None:
    """Write events per file name; a clip without events becomes a row with empty fields."""
    rows: list[tuple[str, ...]] = []
    for filename, events in clips.items():
        written = [(filename, _time(e.onset), _time(e.offset), e.event_label) for e in events]
        rows += written or [(filename, "", "", "")]
    _write(path, STRONG, rows)


def write_weak(path: Path, clips: Mapping[str, Iterable[str]]) -> None:
    """Write labels per file name as a comma list; a clip without labels keeps an empty field."""
    _write(path, WEAK, [(filename, ",".join(labels)) for filename, labels in clips.items()])


def write_unlabelled(path: Path, filenames: Iterable[str]) -> None:
    """Write file names, one a row."""
    _write(path, UNLABELLED, [(filename,) for filename in filenames])


def write_durations(path: Path, durations: Mapping[str, float]) -> None:
    """Write durations in seconds per file name."""
    _write(path, DURATIONS, [(filename, _time(seconds)) for filename, seconds in durations.items()])


def _write(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    for row in rows:
        if any(mark in field for field in row for mark in "\t\r\n"):
            raise InputError(f"cannot write {path}: a name holds a tab or a line break ({row!r}); rename it")
    write_text(path, "".join("\t".join(row) + "\n" for row in [header, *rows]))


def _time(seconds: float) -> str:
    """At least three decimals, more only where they say something (a microsecond is less than a sample)."""
    text = f"{seconds:.6f}"
    return text[:-3] + text[-3:].rstrip("0")


def _lines(path: Path) -> list[str]:
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file; name a table")
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; it must list the clips and their labels") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as such") from None


def _rows(path: Path, header: tuple[str, ...]) -> Iterator[Row]:
    """Line numbers and stripped fields, as many as the header has: missing trailing ones are empty."""
    lines = _lines(path)
    if not lines or tuple(name.strip() for name in lines[0].split("\t")) != header:
        raise InputError(
            f"{path}, line 1: expected the tab separated header '{' '.join(header)}', got {_shown(lines)}; "
            "correct or add that line"
        )
    for number, text in enumerate(lines[1:], 2):
        if text.strip():
            fields = tuple(field.strip() for field in text.split("\t"))
            yield number, fields + ("",) * (len(header) - len(fields))


def _shown(lines: list[str]) -> str:
    if not lines:
        return "an empty file"
    return repr(lines[0] if len(lines[0]) <= 80 else lines[0][:80] + "...")


def _events_of(path: Path, rows: Iterable[Row], classes: Sequence[str] | None) -> dict[str, tuple[Event, ...]]:
    clips: dict[str, tuple[Event, ...]] = {}

    def add(filename: str, onset_text: str, offset_text: str, label: str) -> None:
        events: tuple[Event, ...] = ()
        if not {onset_text.lower(), offset_text.lower(), label.lower()} <= _EMPTY:
            onset, offset = _number(onset_text, "onset"), _number(offset_text, "offset")
            label = _known(label, classes)
            if onset < 0:
                raise ValueError(f"onset {onset_text} s is below 0")
            if onset >= offset:
                raise ValueError(f"onset {onset_text} s is not before offset {offset_text} s")
            events = (Event(onset, offset, label),)
        clips[filename] = clips.get(filename, ()) + events

    _each(path, STRONG, rows, add)
    return clips


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} {text!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{name} {text!r} is not a finite number")
    return value


def _known(label: str, classes: Sequence[str] | None) -> str:
    if not label:
        raise ValueError("the event label is empty")
    if classes is None or label in classes:
        return label
    underscored = re.sub(r"[ /]+", "_", label)
    if underscored in classes:
        return underscored
    lowered = {name.lower(): name for name in classes}
    near = difflib.get_close_matches(underscored.lower(), lowered, n=1)
    hint = f", nearest is {lowered[near[0]]!r}" if near else f", known are {', '.join(classes)}"
    raise ValueError(f"unknown event label {label!r}{hint}")


def _once_each(path: Path, header: tuple[str, ...], parse: Callable[..., T]) -> dict[str, T]:
    """What ``parse`` makes of the other fields of each row, by its file name, which stands there once."""
    clips: dict[str, T] = {}

    def add(filename: str, *fields: str) -> None:
        value = parse(*fields)
        if filename in clips:
            raise ValueError(f"{filename} is listed twice")
        clips[filename] = value

    _each(path, header, _rows(path, header), add)
    return clips


def _each(path: Path, header: tuple[str, ...], rows: Iterable[Row], add: Callable[..., None]) -> None:
    """Give each row's fields to ``add``; all that is wrong with rows, by its ValueErrors too, is one InputError."""
    problems = []
    for line, fields in rows:
        try:
            if len(fields) > len(header):
                raise ValueError(f"{len(fields)} fields where the header has {len(header)}")
            if not fields[0]:
                raise ValueError(f"the {header[0]} is empty")
            if not all(map(str.isprintable, fields)) and any(map(steers, "".join(fields))):
                raise ValueError("a field holds control characters")
            add(*fields)
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    if len(problems) == 1:
        raise InputError(f"{path}, {problems[0]}; correct that row")
    if problems:
        rest = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise InputError(f"{path}: {len(problems)} wrong rows: {'; '.join(problems[:SHOWN])}{rest}; correct them")
