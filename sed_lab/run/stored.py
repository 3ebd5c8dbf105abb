"""What a run stores of each scored subset: scores by system, annotation, durations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sed_lab.clip.annotation import clip_id_of, read_durations, read_strong, read_weak
from sed_lab.scores import load_scores
from sed_lab.types import Event


def scored(folder: Path, subset: str) -> dict[str, Any]:
    """What `sed_lab.metric.measure.measure` needs of a scored subset: systems, truth or labels, durations."""
    place = folder / "scores" / subset
    strong = (place / "ground_truth.tsv").exists()
    return {
        "systems": {path.stem: load_scores(path) for path in sorted(place.glob("*.npz"))},
        "truth": read_truth(place / "ground_truth.tsv") if strong else None,
        "labels": None if strong else by_clip(read_weak(place / "weak_labels.tsv")),
        "durations": by_clip(read_durations(place / "durations.tsv")),
    }


def read_truth(path: Path) -> dict[str, tuple[Event, ...]]:
    """A strong annotation by clip_id; clips without events are there with none."""
    return by_clip(read_strong(path))


def by_clip(rows: Mapping[str, Any]) -> dict[str, Any]:
    """``rows`` of an annotation by clip_id instead of filename."""
    return {clip_id_of(filename): value for filename, value in rows.items()}
