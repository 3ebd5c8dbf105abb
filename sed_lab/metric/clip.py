"""Audio tagging F1: which classes a clip holds, from clip scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sed_lab.errors import InputError
from sed_lab.metric.groups import GROUPS, groups_of, in_groups
from sed_lab.metric.intersection import f1, number
from sed_lab.types import Scores


def clip_scores(scores: Scores) -> tuple[np.ndarray, str]:
    """Clip scores ``[N, C]`` and where they are from: ``clip``, or ``frame maximum`` where a system gives none."""
    if scores.clip is not None:
        return scores.clip, "clip"
    empty = np.zeros((1, len(scores.classes)), np.float32)
    return np.stack([np.max(array if len(array) else empty, axis=0) for array in scores.frame or ()]), "frame maximum"


def clip_targets(labels: Mapping[str, Sequence[str]], clip_ids: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Which class is in which clip, boolean ``[N, C]``.

    Raises:
        InputError: a clip has no entry in ``labels``, or a label is not one of ``classes``.
    """
    column = {label: i for i, label in enumerate(classes)}
    target = np.zeros((len(clip_ids), len(classes)), dtype=bool)
    for row, clip_id in enumerate(clip_ids):
        if clip_id not in labels:
            raise InputError(f"clip {clip_id} has scores but no labels; measure it only where its labels are known")
        for label in labels[clip_id]:
            if label not in column:
                raise InputError(f"clip {clip_id} has label {label}, which is not one of the system's classes")
            target[row, column[label]] = True
    return target


def tagging_f1(
    scores: np.ndarray, target: np.ndarray, classes: Sequence[str], threshold: float = 0.5
) -> dict[str, Any]:
    """Tagging F1 at ``scores > threshold`` from arrays ``[N, C]``: macro, micro, per class; the share of clips with
    exactly the right classes (exact match); and counts of `sed_lab.metric.groups`, where there are clips enough.

    The macro mean is over classes that some clip holds; one of them that is never predicted counts as 0.
    """
    found = scores > np.float32(threshold)
    true, false = (found & target).sum(axis=0), (found & ~target).sum(axis=0)
    reference = target.sum(axis=0)
    values = np.where(reference > 0, f1(true, false, reference), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = true / (true + false), true / reference
    names = ("f1", "precision", "recall", "n_reference", "n_detected")
    rows = zip(values, precision, recall, reference, true + false, strict=True)
    group = groups_of(len(target))
    parts = [np.stack([one[group == k].sum(axis=0) for one in (target, found, found & target)], 1)
             for k in range(GROUPS)] if group.any() else []  # fmt: skip
    return {
        "macro": number(np.nanmean(values)) if np.isfinite(values).any() else None,
        "micro": number(f1(true.sum(), false.sum(), reference.sum())),
        "exact_match": number((found == target).all(axis=1).mean()) if len(target) else None,
        "per_class": {
            label: dict(zip(names, (number(v) for v in row), strict=True))
            for label, row in zip(classes, rows, strict=True)
        },
        **({"groups": in_groups(np.array(parts), classes)} if parts else {}),
    }
