"""What a run stores: record and weights of a finished one; of each scored subset scores, annotation and durations."""

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


RECORDED = ("feature", "model", "loss", "method", "decoder")  # groups that a detector is made of


def finished(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record of a finished run and what its detector.ckpt holds, as far as a detector needs them.

    Raises:
        InputError: there is no such run, its record lacks something, or the checkpoint is damaged or holds more.
    """
    import torch

    record, checkpoint = read_record(folder), folder / "detector.ckpt"
    if record is None or not checkpoint.exists():
        raise InputError(f"{folder} is not a finished run (no run.json or detector.ckpt); give runs/NAME")
    parts = {key: record.get(key) for key in ("config", "detector")}
    wanted = {"config": RECORDED, "detector": ("classes", "clip_seconds", "decided", "decoder")}
    for key, names in wanted.items():
        part = parts[key]
        if not isinstance(part, dict) or (absent := [name for name in names if name not in part]):
            lacking = f"{key}.{absent[0]}" if isinstance(part, dict) else key
            raise InputError(f"{folder}/run.json has no {lacking}, which a finished run has; restore it or train again")
    try:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
        whole = isinstance(loaded["state_dict"], dict)
    except Exception as error:  # of many kinds, in words about how PyTorch reads
        if isinstance(error, OSError) and error.errno is not None:
            raise
        whole = False
    if not whole:
        raise InputError(f"{checkpoint} is damaged, or holds more than weights; restore it, or train the run again")
    return record, loaded


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
