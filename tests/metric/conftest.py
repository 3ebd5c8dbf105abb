"""What the metric tests read: reference results of the field's own tools, where they are at hand."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sed_lab.scores import read_scores_folder
from sed_lab.types import Event, Scores

Events = dict[str, tuple[Event, ...]]
FIXTURES = Path(__file__).resolve().parents[2] / ".." / "shared" / "fixtures"


class Material:
    """Reads the reference data: tables by their header, JSON with null for nan."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / name

    def rows(self, name: str) -> list[dict[str, str]]:
        data = (self.folder / name).read_bytes()
        text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
        return list(csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in text.split("\n", 1)[0] else ","))

    def durations(self, name: str) -> dict[str, float]:
        return {row["filename"]: float(row["duration"]) for row in self.rows(name)}

    def events(self, name: str, clips: Iterable[str] = ()) -> Events:
        found: dict[str, list[Event]] = {clip: [] for clip in clips}
        for row in self.rows(name):
            here = found.setdefault(row["filename"], [])
            if row["event_label"] and float(row["onset"]) < float(row["offset"]):
                here.append(Event(float(row["onset"]), float(row["offset"]), row["event_label"]))
        return {clip: tuple(events) for clip, events in found.items()}

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def scores(self, name: str, scratch: Path, durations: dict[str, float]) -> Scores:
        folder = self.folder / name
        if folder.suffix == ".zip":
            with zipfile.ZipFile(folder) as archive:
                archive.extractall(scratch)
            folder = scratch
        return read_scores_folder(folder, durations)


@pytest.fixture(scope="session")
def material() -> Material:
    if not FIXTURES.is_dir():
        pytest.skip("the shared reference data are not at hand")
    return Material(FIXTURES)


@pytest.fixture(scope="session")
def teacher(material: Material) -> dict[str, Any]:
    """The DCASE 2021 baseline's predictions on DESED's validation set."""
    durations = material.durations("dcase2021_teacher/validation_durations.tsv")
    truth = material.events("dcase2021_teacher/validation.tsv", durations)
    paths = sorted(material.path("dcase2021_teacher/operating_points").glob("*.tsv"))
    return {
        "truth": truth,
        "durations": durations,
        "classes": sorted({event.event_label for events in truth.values() for event in events}),
        "detections": material.events("dcase2021_teacher/predictions_0.5.tsv"),
        "points": [material.events(f"dcase2021_teacher/operating_points/{path.name}") for path in paths],
    }


@pytest.fixture(scope="session")
def close() -> Callable[[Any, Any], bool]:
    """Equal within 1e-9, where None and nan are the same."""

    def equal(ours: Any, expected: Any) -> bool:
        missing = [value is None or (isinstance(value, float) and np.isnan(value)) for value in (ours, expected)]
        return all(missing) if any(missing) else abs(ours - expected) < 1e-9

    return equal
