"""Accuracy of clip scores, in the two senses between which Keras's ``metrics=["accuracy"]`` changed with the loss.

Before TensorFlow 2.2 it was argmax accuracy with categorical losses: the share of clips whose class has the highest
score. With binary cross-entropy it was element-wise binary accuracy: the share of all N x C decisions at a threshold
that are right. (Since then it goes by the shapes of targets and outputs, and is argmax accuracy of C outputs with all
losses.) Of four classes, one to a clip, naming none is 75 % right element-wise and naming always the same one 62.5 %,
where argmax accuracy is 25 % by chance. Percentages of the two kinds cannot be compared.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from sed_lab.metric.groups import GROUPS, as_words, groups_of

Reported = Literal["argmax", "element_wise", "precision"]


def accuracy_of(scores: np.ndarray, target: np.ndarray, reported: Reported, threshold: float = 0.5) -> dict[str, Any]:
    """Both accuracies, macro precision and the confusion matrix of scores ``[N, C]`` against boolean ``[N, C]``.

    ``argmax`` and ``confusion`` (a row a true class, a column the class of the highest score, the first of equal ones)
    are over clips of exactly one class, None where there is none; ``precision`` is the mean over classes of the share
    of right detections at ``scores > threshold``, 0 of a class that is never detected, as Keras counts it.
    ``collapsed`` is 1 where one class has the highest score in every clip, as of a network whose outputs no longer
    depend on its input, else 0 (None with fewer than two clips or classes).
    ``reported`` repeats the one of these that a paper calls its accuracy. Where there are clips enough, ``groups`` are
    the values without each of `sed_lab.metric.groups`.
    """
    values, group = _accuracy_of(scores, target, reported, threshold), groups_of(len(target))
    if group.any():
        parts = [_accuracy_of(scores[group != k], target[group != k], reported, threshold) for k in range(GROUPS)]
        names = ("argmax", "element_wise", "precision", "reported")
        values["groups"] = {name: as_words([part[name] for part in parts]) for name in names}
    return values


def _accuracy_of(scores: np.ndarray, target: np.ndarray, reported: Reported, threshold: float) -> dict[str, Any]:
    one = target.sum(axis=1) == 1
    found = scores > np.float32(threshold)
    confusion = np.zeros((target.shape[1],) * 2, dtype=int)
    np.add.at(confusion, (target[one].argmax(axis=1), scores[one].argmax(axis=1)), 1)
    there = len(np.unique(scores.argmax(axis=1))) if min(scores.shape) > 1 else None
    right, detected = (found & target).sum(axis=0), found.sum(axis=0)
    values: dict[str, Any] = {
        "argmax": float(confusion.trace() / confusion.sum()) if one.any() else None,
        "element_wise": float((found == target).mean()) if target.size else None,
        "precision": float(np.mean(right / np.maximum(detected, 1))),
        "collapsed": None if there is None else float(there == 1),
        "confusion": confusion.tolist(),
    }
    return {**values, "reported": values[reported]}
