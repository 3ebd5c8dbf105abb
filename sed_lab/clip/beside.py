"""Annotations that lie beside recordings: Raven selection tables, Audacity label tracks, TSV and CSV files.

=====================================  =============================================================================
beside ``x.wav``                       what is read
=====================================  =============================================================================
``x.selections.txt``, ``x.*.txt``      Raven: ``Begin Time (s)``, ``End Time (s)`` and a column of labels; each number
                                       of column ``Selection`` once, as Raven lists it for every view
``x.txt``, ``x.labels.txt``            Audacity: ``start end label`` without a header; frequency lines are passed over
``x.tsv``, ``x.csv``                   columns ``onset offset event_label`` in any order, others ignored
=====================================  =============================================================================

Which of these a file is, its first line says. A file without a row is a recording without an event. One that says how
sure each event is, as those of ``sed-predict`` and other detectors do, is no annotation before it was corrected.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sed_lab.clip.audio import SUFFIXES as AUDIO
from sed_lab.errors import InputError, some
from sed_lab.types import Event

SUFFIXES = (".txt", ".tsv", ".csv")
BEGIN, END = "Begin Time (s)", "End Time (s)"
RAVEN_LABELS = ("Annotation", "Label", "Class", "Species", "Common Name")
OWN = ("onset", "offset", "event_label")
_CONFIDENCE = re.compile(r" (0\.\d{4}|1\.0000)$")  # behind a label that sed-predict wrote


def annotations_of(recording: Path, names: Sequence[str]) -> list[Path]:
    """The annotation files of a recording among ``names``, the files of its folder: ``x.txt``, ``x.any.txt``, ..."""
    stems = {os.path.splitext(name)[0] for name in names if name.lower().endswith(AUDIO)}
    longer = tuple(f"{stem}." for stem in stems if stem.startswith(f"{recording.stem}."))  # x.1.wav has x.1.txt
    found = (name for name in names if name.startswith(f"{recording.stem}.") and name.lower().endswith(SUFFIXES))
    return [recording.with_name(name) for name in sorted(found) if not name.startswith(longer)]


def read_beside(path: Path, label_column: str | None = None) -> tuple[Event, ...]:
    """The events of one annotation file in time order; ``label_column`` is Raven's (None: the first known one).

    Raises:
        InputError: the file is not text, or rows are wrong (a time that is no number, an event without a length or a
            label), with file and lines; or a Raven table has no column of labels.
    """
    lines = _lines(path)
    rows = _raven if _is_raven(lines) else _audacity if _is_audacity(path) else _own
    events, problems = [], []
    for number, onset, offset, label in rows(path, lines, label_column):
        try:
            events.append(_event(onset, offset, label))
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    if problems:
        raise InputError(f"{path}: {some(problems, '; ')}; correct these rows")
    return tuple(sorted(events))


def has_confidences(path: Path) -> bool:
    """Whether a file of events says how sure each is: a column ``confidence``, or the number behind Audacity's labels.

    Raises:
        InputError: it is not text.
    """
    lines = _lines(path)
    if _is_audacity(path) and not _is_raven(lines):
        return any(_CONFIDENCE.search(line) for line in lines)
    return any("confidence" in re.split(r"[\t,]", line.lower()) for line in lines[:1])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as such") from None


def _is_raven(lines: Sequence[str]) -> bool:
    return bool(lines) and BEGIN in lines[0]


def _is_audacity(path: Path) -> bool:
    return path.suffix.lower() == ".txt"


Rows = Iterator[tuple[int, str, str, str]]  # line, onset, offset, label


def _raven(path: Path, lines: list[str], label_column: str | None) -> Rows:
    table = list(csv.reader(lines, "excel-tab"))
    names = [name.strip() for name in table[0]]
    known = [name for name in ([label_column] if label_column else RAVEN_LABELS) if name in names]
    if not known or END not in names:
        wanted = label_column or " or ".join(RAVEN_LABELS)
        raise InputError(
            f"{path}: no column {wanted if END in names else END} among {', '.join(names)}; name the labels'"
            " column by dataset.label_column"
        )
    columns = [names.index(name) for name in (BEGIN, END, known[0])]
    selection = names.index("Selection") if "Selection" in names else None
    seen: set[str] = set()
    for number, row in enumerate(table[1:], 2):
        row = row + [""] * (len(names) - len(row))
        if not any(row) or (selection is not None and row[selection] in seen):
            continue
        if selection is not None:
            seen.add(row[selection])
        onset, offset, label = (row[column] for column in columns)
        yield number, onset, offset, label


def _audacity(path: Path, lines: list[str], label_column: str | None) -> Rows:
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("\\"):  # which gives the frequencies of the label before it
            onset, offset, label, *_ = [*line.split("\t"), "", "", ""]
            yield number, onset, offset, _CONFIDENCE.sub("", label)


def _own(path: Path, lines: list[str], label_column: str | None) -> Rows:
    table = list(csv.reader(lines, delimiter="\t" if lines and "\t" in lines[0] else ","))
    names = [name.strip() for name in table[0]] if table else []
    if missing := [name for name in OWN if name not in names]:
        raise InputError(f"{path}, line 1: expected the columns {', '.join(OWN)}, {', '.join(missing)} not found")
    columns = [names.index(name) for name in OWN]
    for number, row in enumerate(table[1:], 2):
        onset, offset, label = ((row + [""] * len(names))[column].strip() for column in columns)
        if onset or offset or label:  # a row without: a recording without an event
            yield number, onset, offset, label


def _event(onset: str, offset: str, label: str) -> Event:
    times = []
    for name, text in (("begin", onset), ("end", offset)):
        try:
            times.append(float(text.strip().replace(",", ".")))  # some languages write times with commas
        except ValueError:
            raise ValueError(f"{name} {text!r} is not a number of seconds") from None
    if not label.strip():
        raise ValueError("it has no label")
    if not (math.isfinite(times[1]) and 0 <= times[0] < times[1]):
        raise ValueError(f"{label.strip()!r} from {onset} to {offset} s has no length")
    return Event(times[0], times[1], class_of(label))


def class_of(label: str) -> str:
    """A label as the name of a class: white space, commas and slashes become underscores."""
    return re.sub(r"[\s,/]+", "_", label.strip())
