"""How well clip scores rank the clips of each class before the others, at all thresholds: the numbers of AudioSet.

Gemmeke et al., "Audio Set" (ICASSP 2017), and who followed them report mAP, the mean of the classes' average precision,
the mean area under their ROC curves (AUC), and d', the separation of two normal distributions that would have that AUC.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from sed_lab.metric.event import mean
from sed_lab.metric.intersection import number


def ranking(scores: np.ndarray, target: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """mAP, mean AUC and d' of scores ``[N, C]`` against boolean ``[N, C]``, and the classes' own.

    Classes that no clip or every clip holds have none (None) and are left out of the means. ``d_prime`` is that of the
    mean AUC, as AudioSet's authors count it, and None where that is 0 or 1, where it would be infinite.
    """
    per_class = {}
    for i, label in enumerate(classes):
        precision, auc = _of_class(scores[:, i].astype(np.float64), target[:, i].astype(bool))
        found = {"average_precision": number(precision), "auc": number(auc), "d_prime": d_prime(auc)}
        per_class[label] = {**found, "n_reference": float(target[:, i].sum())}
    rows = list(per_class.values())
    mean_auc = mean([row["auc"] for row in rows])
    return {
        "map": mean([row["average_precision"] for row in rows]),
        "auc": mean_auc,
        "d_prime": None if mean_auc is None else d_prime(mean_auc),
        "per_class": per_class,
    }


def d_prime(auc: float) -> float | None:
    """``sqrt(2)`` times the normal quantile of ``auc``; None where it is infinite or not defined."""
    return 2**0.5 * NormalDist().inv_cdf(auc) if 0 < auc < 1 else None


def _of_class(scores: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Average precision and AUC of one class ``[N]``, equal scores as one threshold; nan where it is undefined."""
    positive = int(target.sum())
    if positive in (0, len(target)):
        return float("nan"), float("nan")
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of those with equal scores
    true = np.cumsum(target[order])[last]
    accepted = np.arange(1, len(target) + 1)[last]
    recall = np.concatenate([[0], true / positive])
    alarm = np.concatenate([[0], (accepted - true) / (len(target) - positive)])
    return float(np.diff(recall) @ (true / accepted)), float(np.trapezoid(recall, alarm))
