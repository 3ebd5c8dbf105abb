"""How far an F1 may lie by the choice of test clips: they are drawn anew, with replacement (the bootstrap, Efron 1979).

What a draw needs of a system are its counts in each clip ``[N, C, 3]``, of reference, detected and matched ones, so
that two systems are compared on the same drawn clips. N clips, C classes, B draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from sed_lab.metric.groups import f1_of
from sed_lab.metric.table import Events, EventTable, event_table
from sed_lab.metric.tune import Rule, collar_hits

DRAWS = 2000
AT_ONCE = 200  # draws, which bounds the memory
BOUNDS = (2.5, 97.5)  # percent


def event_counts(detections: Events, truth: Events, classes: Sequence[str], rule: Rule) -> np.ndarray:
    """Events in each clip of ``truth``, matched under `event_f1`'s rule with optimal matching."""
    clips, c = list(truth), len(classes)
    reference = event_table([truth], clips, classes)
    found = event_table([detections], clips, classes)
    apart = EventTable(found.clip, found.clip, found.label, found.onset, found.offset)  # each clip a point of its own
    share = None if rule["onset_only"] else rule["offset_share"]
    hits, detected = collar_hits(apart, reference, (len(clips), c), rule["collar"], share)
    there = np.bincount(reference.clip * c + reference.label, minlength=len(clips) * c).reshape(len(clips), c)
    return np.stack([there.astype(float), detected, hits], axis=2)


def segment_counts(
    detections: Events, truth: Events, durations: Mapping[str, float], classes: Sequence[str], segment_seconds: float
) -> np.ndarray:
    """Segments in each clip of ``truth`` that an event touches, as `segment_f1` counts them."""
    counts = np.zeros((len(truth), len(classes), 3))
    for row, clip in enumerate(truth):
        n = math.ceil(durations[clip] / segment_seconds)
        there, found = np.zeros((n, len(classes)), bool), np.zeros((n, len(classes)), bool)
        for active, events in ((there, truth[clip]), (found, detections.get(clip, ()))):
            for event in events:
                first, last = math.floor(event.onset / segment_seconds), math.ceil(event.offset / segment_seconds)
                active[first:last, classes.index(event.event_label)] = True
        counts[row] = np.stack([there.sum(0), found.sum(0), (there & found).sum(0)], axis=1)
    return counts


def tagging_counts(scores: np.ndarray, target: np.ndarray, threshold: float) -> np.ndarray:
    """Whether each clip holds and was given a class, from clip scores and targets ``[N, C]``, as `tagging_f1` does."""
    found = scores > np.float32(threshold)
    return np.stack([target, found, found & target], axis=2).astype(float)


def drawn_f1(counts: np.ndarray, zero_score: bool, draws: int = DRAWS) -> np.ndarray:
    """F1 ``[B, C]`` of each class over clips drawn with replacement, nan where a draw has none of it.

    The same clips are drawn for all counts of as many clips.
    """
    n, c, _ = counts.shape
    rng = np.random.default_rng(0)
    flat, totals = counts.reshape(n, c * 3), []
    for first in range(0, draws, AT_ONCE):
        times = rng.multinomial(n, np.full(n, 1 / n), size=min(AT_ONCE, draws - first))
        totals.append(times @ flat)
    return f1_of(np.concatenate(totals).reshape(draws, c, 3), zero_score)


def interval_of(differences: np.ndarray) -> tuple[float, float] | None:
    """The middle 95 % of drawn ``differences [B]``, where they are defined; None where none is, or all are the same."""
    known = differences[~np.isnan(differences)]
    if not len(known) or np.ptp(known) == 0:
        return None
    low, high = np.percentile(known, BOUNDS)
    return float(low), float(high)
