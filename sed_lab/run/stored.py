"""What a run stores of each scored subset: scores by system, annotation and the classes it is about, durations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sed_lab.clip.annotation import clip_id_of, read_durations, read_strong, read_weak
from sed_lab.errors import InputError
from sed_lab.run.record import read_record
from sed_lab.scores import load_scores
from sed_lab.types import Event


def scored(folder: Path, subset: str) -> dict[str, Any]:
    """What `sed_lab.metric.measure.measure` needs of a scored subset: systems, truth or labels, durations, annotated.

    Systems are in the order of the run's record, the one it is judged by first."""
    stored = folder / "scores" / subset
    strong = (stored / "ground_truth.tsv").exists()
    there = {path.stem: path for path in sorted(stored.glob("*.npz"))}
    first = (read_record(folder) or {}).get("systems", ())
    return {
        "systems": {name: load_scores(there[name]) for name in dict.fromkeys((*first, *there)) if name in there},
        "truth": read_truth(stored / "ground_truth.tsv") if strong else None,
        "labels": None if strong else by_clip(read_weak(stored / "weak_labels.tsv")),
        "durations": by_clip(read_durations(stored / "durations.tsv")),
        "annotated": by_clip(read_weak(about)) if (about := stored / "annotated.tsv").exists() else None,
    }


def read_truth(path: Path) -> dict[str, tuple[Event, ...]]:
    """A strong annotation by clip_id; clips without events are there with none."""
    return by_clip(read_strong(path))


def by_clip(rows: Mapping[str, Any]) -> dict[str, Any]:
    """``rows`` of an annotation by clip_id instead of filename.

    Raises:
        InputError: two files have one clip_id.
    """
    first: dict[str, str] = {}
    for filename in rows:
        other = first.setdefault(clip_id_of(filename), filename)
        if other != filename:
            raise InputError(
                f"{other} and {filename} are one clip by their names, which count without folder and suffix; rename one"
            )
    return {clip_id: rows[filename] for clip_id, filename in first.items()}
