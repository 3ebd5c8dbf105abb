"""Detections as text: TSV, CSV, JSON, an Audacity label track, a Raven selection table. All hold the same numbers.

==========  =====================  ==========================================================================
format      a recording's file     what a detection is
==========  =====================  ==========================================================================
tsv         ``x.tsv``              a row ``filename onset offset event_label confidence``
csv         ``x.csv``              the same with commas
json        ``x.json``             an object of these, in its recording's ``events``; recordings without are there
audacity    ``x.labels.txt``       ``onset offset label confidence``: tabs, the last two in one field
raven       ``x.selections.txt``   a selection from 0 Hz to half the sample rate, label in column ``Annotation``
==========  =====================  ==========================================================================

Seconds have three decimals and confidences four, in every format.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sed_lab.errors import InputError, visible

ENDINGS = {
    "tsv": ".tsv",
    "csv": ".csv",
    "json": ".json",
    "audacity": ".labels.txt",
    "raven": ".selections.txt",
}
FORMATS = tuple(ENDINGS)
OF_ONE = ("audacity", "raven")  # formats whose times are those of one recording
COLUMNS = ("filename", "onset", "offset", "event_label", "confidence")
RAVEN = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin File", "File Offset (s)", "Annotation", "Confidence"),
)


class Detection(NamedTuple):
    """An event, times in seconds, and how sure the detector is of it (`sed_lab.decoder.base.Sure`)."""

    onset: float
    offset: float
    event_label: str
    confidence: float


class Found(NamedTuple):
    """A recording's detections in time order; ``filename`` is what its rows are called, ``duration`` in seconds."""

    filename: str
    duration: float
    detections: tuple[Detection, ...]


def rounded(onset: float, offset: float, event_label: str, confidence: float) -> Detection:
    """The detection with the digits that files have; an event never becomes empty."""
    begin = round(onset, 3)
    return Detection(begin, max(round(offset, 3), round(begin + 0.001, 3)), event_label, round(confidence, 4))


def table_text(kind: str, found: Sequence[Found], about: Mapping[str, Any], nyquist: float) -> str:
    """The whole file in format ``kind``; ``about`` says in JSON what found the events, ``nyquist`` [Hz] up to where
    the detector hears.

    Raises:
        InputError: the format is of one recording, and there are several.
    """
    if kind in OF_ONE and len(found) > 1:
        raise InputError(f"format {kind}: its times are those of one recording, not of {len(found)}; use --per-file")
    if kind == "json":
        recordings = [
            {
                "filename": one.filename,
                "duration": round(one.duration, 6),
                "events": [d._asdict() for d in one.detections],
            }
            for one in found
        ]
        return json.dumps({**about, "recordings": recordings}, indent=1) + "\n"
    if kind == "audacity":
        return "".join(
            f"{d.onset:.3f}\t{d.offset:.3f}\t{d.event_label} {d.confidence:.4f}\n"
            for one in found
            for d in one.detections
        )
    if kind == "raven":
        return _text(RAVEN, (row for one in found for row in _selections(one, nyquist)), "\t")
    return header(kind) + rows(kind, found)


def header(kind: str) -> str:
    """The first line of a TSV or CSV file."""
    return _text(COLUMNS, (), _MARK[kind])


def rows(kind: str, found: Iterable[Found]) -> str:
    """The rows of a TSV or CSV file."""
    lines = (
        (visible(one.filename), f"{d.onset:.3f}", f"{d.offset:.3f}", d.event_label, f"{d.confidence:.4f}")
        for one in found
        for d in one.detections
    )
    return _text(None, lines, _MARK[kind])


_MARK = {"tsv": "\t", "csv": ","}


def _selections(found: Found, nyquist: float) -> Iterable[tuple[object, ...]]:
    for number, d in enumerate(found.detections, 1):
        times = f"{d.onset:.3f}", f"{d.offset:.3f}"
        band = "0.0", f"{nyquist:.1f}"
        name = visible(found.filename.rsplit("/", 1)[-1])
        yield number, "Spectrogram 1", 1, *times, *band, name, times[0], d.event_label, f"{d.confidence:.4f}"


def _text(first: Sequence[str] | None, lines: Iterable[Sequence[object]], mark: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=mark, lineterminator="\n")
    if first is not None:
        writer.writerow(first)
    writer.writerows(lines)
    return text.getvalue()
