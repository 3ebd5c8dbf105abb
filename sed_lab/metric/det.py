"""Detection error trade-off (DET) and equal error rate (EER) of clip scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from sed_lab.metric.event import mean
from sed_lab.metric.intersection import number


def det_curve(scores: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False-alarm and miss rate ``[X]`` of one class at every threshold, from (0, 1) to (1, 0), ties taken together.

    Args:
        scores: ``[N]``, any real numbers; a clip is accepted when its score is at least the threshold.
        target: boolean ``[N]``.
    """
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    target = target[order]
    last = np.append(np.diff(scores[order].astype(np.float64)) != 0, True) if len(order) else np.zeros(0, bool)
    hits, alarms = np.cumsum(target)[last], np.cumsum(~target)[last]
    with np.errstate(invalid="ignore", divide="ignore"):
        alarm = np.append(0.0, alarms) / max(np.count_nonzero(~target), 0)
        miss = 1 - np.append(0.0, hits) / max(np.count_nonzero(target), 0)
    return alarm, miss


def equal_error_rate(
    scores: np.ndarray, target: np.ndarray, rule: Literal["interpolated", "nearest"] = "interpolated"
) -> float:
    """Where the false-alarm rate equals the miss rate; nan when either class of clips is empty.

    ``interpolated``: linear between the two points of the full curve where the difference changes sign.
    ``nearest``: the mean of both rates at the threshold where they differ least (torchmetrics' rule).
    """
    target = target.astype(bool)
    if target.all() or not target.any():
        return float("nan")
    alarm, miss = det_curve(scores, target)
    gap = alarm - miss
    if rule == "nearest":
        best = int(np.argmin(np.abs(gap[1:]))) + 1
        return float((alarm[best] + miss[best]) / 2)
    after = int(np.argmax(gap >= 0))
    before = after - 1
    share = -gap[before] / (gap[after] - gap[before])
    return float(alarm[before] + share * (alarm[after] - alarm[before]))


def eer(
    scores: np.ndarray,
    target: np.ndarray,
    classes: Sequence[str],
    rule: Literal["interpolated", "nearest"] = "interpolated",
) -> dict[str, Any]:
    """EER from arrays ``[N, C]``: per class against all other clips, their mean, and pooled over clips and classes.

    Classes that no clip or every clip holds have none (None) and are left out of the mean.
    """
    target = target.astype(bool)
    per_class = {
        label: {"eer": number(equal_error_rate(scores[:, i], target[:, i], rule)), "n_reference": float(n)}
        for i, (label, n) in enumerate(zip(classes, target.sum(axis=0), strict=True))
    }
    return {
        "macro": mean([row["eer"] for row in per_class.values()]),
        "micro": number(equal_error_rate(scores.ravel(), target.ravel(), rule)),
        "per_class": per_class,
    }
