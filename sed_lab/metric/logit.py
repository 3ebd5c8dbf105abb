"""Where a class's frame logits lie in the clips that hold it: Park & Elhilali 2022, fig. 5.

A class that fills part of its clips should give two clusters, frames with it above 0 and frames without it below; one
that fills them nearly whole a cluster above 0. The paper shows histograms and counts clusters by eye; here a cluster is
a peak of the smoothed histogram, so that a claim about it can fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sed_lab.errors import InputError
from sed_lab.metric.clip import clip_targets
from sed_lab.types import Scores

EDGES = np.linspace(-12, 12, 49)  # bins of half a logit; what lies beyond counts in the outermost ones
SMOOTHING = 1.5  # standard deviation of the Gaussian the counts are smoothed with, in bins
PROMINENCE = 0.05  # a peak rises so far above the higher saddle beside it, as a share of the highest peak


def logit_histograms(scores: Scores, labels: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Histograms of ``log(p / (1 - p))`` over all frames of the clips that ``labels`` (by clip_id) say hold a class.

    ``per_class`` gives for each: ``counts`` between the ``edges``, ``clips``, ``frames``, ``positive_share`` (frames
    above 0) and ``positive_peak``, ``negative_peak`` (1 where the smoothed histogram peaks there, else 0); the last
    three are None for a class in no clip.

    Raises:
        InputError: there are no frame scores, or a clip has no labels.
    """
    if scores.frame is None:
        raise InputError(f"{scores.name}: histograms of frame logits need frame scores, there are clip scores only")
    target = clip_targets(labels, scores.clip_id, scores.classes)
    per_class = {}
    for index, label in enumerate(scores.classes):
        held = [frame[:, index] for frame, there in zip(scores.frame, target[:, index], strict=True) if there]
        values = np.concatenate([np.empty(0, np.float32), *held]).astype(np.float64)
        with np.errstate(divide="ignore"):
            logits = np.log(values) - np.log1p(-values)
        counts, _ = np.histogram(np.clip(logits, EDGES[0], EDGES[-1]), EDGES)
        centres = _peaks(counts)
        per_class[label] = {
            "clips": len(held),
            "frames": len(values),
            "positive_share": float((values > 0.5).mean()) if len(values) else None,
            "positive_peak": int((centres > 0).any()) if len(values) else None,
            "negative_peak": int((centres < 0).any()) if len(values) else None,
            "counts": counts.tolist(),
        }
    return {"edges": EDGES.tolist(), "per_class": per_class}


def _peaks(counts: np.ndarray) -> np.ndarray:
    """Logits at which the smoothed histogram has a peak."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    smooth = gaussian_filter1d(counts.astype(np.float64), SMOOTHING, mode="constant")
    # Zeros on both sides, so that a peak in an outermost bin is one too.
    places, _ = find_peaks(np.pad(smooth, 1), prominence=PROMINENCE * max(smooth.max(), 1e-12))
    return np.asarray((EDGES[:-1] + EDGES[1:])[places - 1] / 2)
