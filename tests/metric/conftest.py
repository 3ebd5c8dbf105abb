"""What the metric tests read: reference results of the field's own tools (tests/data)."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sed_lab.scores import read_scores_folder
from sed_lab.types import Event, Scores

Events = dict[str, tuple[Event, ...]]
DATA = Path(__file__).resolve().parents[1] / "data"
UNPACK = {".gz": gzip.decompress, ".xz": lzma.decompress}


class Material:
    """Reads the reference data: tables by their header, JSON with null for nan."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / name

    def rows(self, name: str) -> list[dict[str, str]]:
        path = self.folder / name
        text = UNPACK.get(path.suffix, bytes)(path.read_bytes()).decode()
        return list(csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in text.split("\n", 1)[0] else ","))

    def durations(self, name: str) -> dict[str, float]:
        return {row["filename"]: float(row["duration"]) for row in self.rows(name)}

    def events(self, name: str, clips: Iterable[str] = ()) -> Events:
        return events_of(self.rows(name), clips)

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def scores(self, name: str, scratch: Path) -> Scores:
        folder = self.folder / name
        if folder.suffix == ".zip":
            with zipfile.ZipFile(folder) as archive:
                archive.extractall(scratch)
            folder = scratch
        return read_scores_folder(folder)


def events_of(rows: Iterable[dict[str, str]], clips: Iterable[str] = ()) -> Events:
    """The events of a table's rows by clip; ``clips`` are there without events too."""
    found: dict[str, list[Event]] = {clip: [] for clip in clips}
    for row in rows:
        here = found.setdefault(row["filename"], [])
        if row["event_label"] and float(row["onset"]) < float(row["offset"]):
            here.append(Event(float(row["onset"]), float(row["offset"]), row["event_label"]))
    return {clip: tuple(events) for clip, events in found.items()}


@pytest.fixture(scope="session")
def material() -> Material:
    return Material(DATA)


@pytest.fixture(scope="session")
def teacher(material: Material) -> dict[str, Any]:
    """The DCASE 2021 baseline's predictions on DESED's validation set."""
    durations = material.durations("dcase2021_teacher/validation_durations.tsv")
    truth = material.events("desed_metadata/validation.tsv", durations)
    rows = groupby(material.rows("dcase2021_teacher/operating_points.tsv.xz"), itemgetter("threshold"))
    return {
        "truth": truth,
        "durations": durations,
        "classes": sorted({event.event_label for events in truth.values() for event in events}),
        "detections": material.events("dcase2021_teacher/predictions_0.5.tsv"),
        "points": [events_of(point) for _, point in rows],
    }


@pytest.fixture(scope="session")
def close() -> Callable[[Any, Any], bool]:
    """Equal within 1e-9, where None and nan are the same."""

    def equal(ours: Any, expected: Any) -> bool:
        missing = [value is None or (isinstance(value, float) and np.isnan(value)) for value in (ours, expected)]
        return all(missing) if any(missing) else abs(ours - expected) < 1e-9

    return equal
