"""Reading what a finished run left in its folder; every part but ``run.json`` may be absent."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from sed_lab.clip.annotation import clip_id_of, read_durations, read_strong, read_weak
from sed_lab.errors import InputError
from sed_lab.files import read_json
from sed_lab.run.record import code_version
from sed_lab.run.trust import foreign_record, understood
from sed_lab.scores import load_scores
from sed_lab.types import Event, Scores

T = TypeVar("T")
EventsOf = dict[str, tuple[Event, ...]]  # clip_id -> its events


@dataclass(frozen=True)
class RunFolder:
    """A run as its files tell it. ``truth``, ``duration`` and ``audio`` are keyed by clip_id, the rest by system.

    With ``weak`` labels, or systems that score whole clips, true events are as long as their clips. ``embedding`` has
    the rows ``[R, 128]`` of clips that are no audio.
    """

    path: Path
    record: dict[str, Any]
    metrics: dict[str, Any]
    curves: dict[str, Any]
    history: list[dict[str, float]]
    scores: dict[str, Scores]
    detections: dict[str, EventsOf]
    truth: EventsOf
    duration: dict[str, float]
    audio: dict[str, Path]
    weak: bool = False
    embedding: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def systems(self) -> tuple[str, ...]:
        """Systems with scores or detections: the best on the clips tuned on, then as the record orders them."""
        first = (*((self.tuned["system"],) if self.tuned else ()), *self.record.get("systems", ()))
        there = sorted({*self.scores, *self.detections})
        return tuple(name for name in dict.fromkeys((*first, *there)) if name in there)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class order of the scores, then any other label met in the annotations, sorted."""
        known = next((scores.classes for scores in self.scores.values()), ())
        groups = [self.truth, *self.detections.values()]
        met = {event.event_label for group in groups for events in group.values() for event in events}
        return (*known, *sorted(met - set(known)))

    @property
    def config(self) -> dict[str, Any]:
        return self.record.get("config", {})

    @property
    def measured(self) -> dict[str, Any]:
        """What was measured of each system, the first one first."""
        found = self.metrics.get("systems", {})
        return {name: found[name] for name in dict.fromkeys((*self.systems, *found)) if name in found}

    @property
    def tuned(self) -> dict[str, Any]:
        """What was tuned class by class, as `sed_lab.run.tuned` says; empty where nothing was."""
        return self.metrics.get("tuned") or {}

    def is_tuned(self, system: str) -> bool:
        """Whether the detections of ``system`` are those of a decoder tuned class by class."""
        return system in self.tuned.get("systems", {})

    def shown(self, score: str, system: str) -> str:
        """The measure ``score`` that goes with the detections of ``system``: by a tuned decoder, where it has one."""
        return f"{score}_class_tuned" if self.is_tuned(system) else score

    def collars(self) -> tuple[float, float, float]:
        """Onset collar [s], offset collar [s], offset share of the reference length, as the run's metrics state.

        They are DCASE's 0.2 s, 0.2 s, 20 % where the metrics name none.
        """
        settings = self.metrics.get("settings", {})
        found = {**settings, **settings.get("event_f1", {})}
        onset = found.get("onset_collar", 0.2)
        return onset, found.get("offset_collar", onset), found.get("offset_share", 0.2)

    def posteriors(self, system: str, clip_id: str) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Frame scores ``[T, C]`` and clip scores ``[C]`` of one clip; None where the system gives none."""
        scores = self.scores.get(system)
        if scores is None or clip_id not in scores.clip_id:
            return None, None
        at = scores.clip_id.index(clip_id)
        return (None if scores.frame is None else scores.frame[at]), (None if scores.clip is None else scores.clip[at])

    def threshold(self) -> float | None:
        """The one threshold that shown detections have, None where classes have their own."""
        if self.tuned:
            return None
        value = self.config.get("decoder", {}).get("threshold")
        return float(value) if isinstance(value, int | float) else None


def read_run(path: Path) -> RunFolder:
    """Read a run's folder.

    Raises:
        InputError: the folder holds no ``run.json``, or a file in it cannot be understood.
    """
    record = foreign_record(path)
    if record is None:
        raise InputError(f"{path} holds no run.json; name the folder of a finished run")
    with understood(path):
        return _read(path, record)


def _read(path: Path, record: dict[str, Any]) -> RunFolder:
    part = _subset_folder(path)
    duration = _by_clip(path / "scores" / part / "durations.tsv", read_durations)
    truth = _by_clip(path / "scores" / part / "ground_truth.tsv", read_strong)
    labels = _by_clip(path / "scores" / part / "weak_labels.tsv", read_weak)
    scores = {file.stem: load_scores(file) for file in sorted((path / "scores" / part).glob("*.npz"))}
    if scores and all(system.frame is None for system in scores.values()):  # events are judged by clips alone
        labels |= {i: _labels(events) for i, events in truth.items()}
    if labels:
        truth = _whole_clips(labels, duration)
    return RunFolder(
        path=path,
        record=record,
        metrics=_json_or_empty(path / "metrics.json"),
        curves=_json_or_empty(path / "curves.json"),
        history=_read_history(path / "history.csv"),
        scores=scores,
        detections={
            file.stem: _by_clip(file, read_strong) for file in sorted((path / "detections" / part).glob("*.tsv"))
        },
        truth=truth,
        duration=duration,
        audio=_by_clip(path / "scores" / part / "audio.tsv", _read_audio),
        weak=bool(labels),
        embedding=_read_embeddings(path / "scores" / part / "embedding.npy", list(duration)),
    )


def of_system(
    path: Path,
    command: str,
    measured: Mapping[str, Any],
    detections: Mapping[str, Mapping[str, tuple[Event, ...]]],
    metrics: dict[str, Any],
    curves: dict[str, Any],
    audio: dict[str, Path],
) -> RunFolder:
    """Another system as `sed_lab.run.foreign.read_system` read it, to be shown as a run is.

    ``path`` is the results' folder, ``detections`` are those of ``metrics``, ``audio`` where the clips lie that can be
    heard.
    """
    settings = metrics["settings"]
    record = {
        "name": path.resolve().name,
        "command": command,
        "code": code_version(),
        "versions": settings["versions"],
        "config": {"decoder": settings["decoder"], "classes": settings["classes"]},
    }
    systems, truth, duration = measured["systems"], measured["truth"], measured["durations"]
    scores = {name: system for name, system in systems.items() if isinstance(system, Scores)}
    whole = bool(scores) and all(system.frame is None for system in scores.values())
    if whole:
        truth = _whole_clips({i: _labels(events) for i, events in truth.items()}, duration)
    found = {name: dict(events) for name, events in detections.items()}
    return RunFolder(path, record, metrics, curves, [], scores, found, truth, duration, audio, weak=whole)


def _labels(events: Sequence[Event]) -> tuple[str, ...]:
    return tuple(sorted({event.event_label for event in events}))


def _whole_clips(labels: Mapping[str, Sequence[str]], duration: Mapping[str, float]) -> EventsOf:
    """Labels of clips as events that last as long as these."""
    return {i: tuple(Event(0.0, duration[i], label) for label in labels[i]) for i in labels if i in duration}


def _read_embeddings(path: Path, clip_ids: Sequence[str]) -> dict[str, np.ndarray]:
    if not path.is_file():
        return {}
    try:
        rows = np.load(path, "r", allow_pickle=False)  # mapped, so that it is never larger than its file
    except (OSError, ValueError, EOFError):  # what numpy says of pickles is how to run them
        rows = np.zeros(0)
    if rows.dtype != np.uint8 or rows.ndim != 3 or len(rows) != len(clip_ids):
        raise InputError(f"{path} does not hold the rows of {len(clip_ids)} clips; evaluate the run's detector again")
    return dict(zip(clip_ids, rows, strict=True))


def _subset_folder(path: Path) -> str:
    """``test``, or the only other subset there is."""
    names = sorted(folder.name for folder in (path / "scores").glob("*") if folder.is_dir())
    return "test" if "test" in names or not names else names[0]


def _json_or_empty(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _by_clip(path: Path, read: Callable[[Path], dict[str, T]]) -> dict[str, T]:
    """An annotation file by clip_id; empty where it is absent."""
    return {clip_id_of(filename): value for filename, value in read(path).items()} if path.is_file() else {}


def _read_audio(path: Path) -> dict[str, Path]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {row[0]: Path(row[1]) for row in rows[1:] if len(row) == 2}


def _read_history(path: Path) -> list[dict[str, float]]:
    """One dict an epoch; blank cells are left out."""
    if not path.is_file():
        return []
    history = pd.read_csv(path, float_precision="round_trip").replace([np.inf, -np.inf], np.nan)
    return [row.dropna().to_dict() for _, row in history.iterrows()]
