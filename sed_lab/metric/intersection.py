"""Intersection criteria of Bilen et al. (ICASSP 2020): counts for PSDS, and the intersection-based F1.

A detection meets the detection tolerance criterion (DTC) when events of its class cover at least ``dtc`` of it. A
ground truth event meets the ground truth criterion (GTC), and is a true positive, when detections that meet DTC cover
at least ``gtc`` of it. A detection that fails DTC is a false positive (if it touches the recording at all), and a
cross-trigger of each other class that covers at least ``cttc`` of it. Counted as psds_eval 0.5.3 does, for many
operating points at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sed_lab.metric.table import Events, EventTable, event_table, merge_overlaps


@dataclass(frozen=True)
class Counts:
    """What was counted at ``K`` operating points for ``C`` classes.

    ``true [K, C]`` ground truth events found, ``false [K, C]`` false positives, ``cross [K, C, C]`` cross-triggers of
    detected class (axis 1) by the class that was there (axis 2), ``detected [K, C]`` detections, ``reference [C]``
    ground truth events, ``reference_seconds [C]`` their length.
    """

    true: np.ndarray
    false: np.ndarray
    cross: np.ndarray
    detected: np.ndarray
    reference: np.ndarray
    reference_seconds: np.ndarray


@dataclass(frozen=True)
class Overlaps:
    """All pairs ``[P]`` of a detection and a ground truth event that overlap, found once for every criterion."""

    detections: EventTable
    truth: EventTable
    detection: np.ndarray
    reference: np.ndarray
    seconds: np.ndarray
    in_recording: np.ndarray
    shape: tuple[int, int]
    order: np.ndarray  # where each of ``detections`` stood in the table given


def overlaps(detections: EventTable, truth: EventTable, duration: np.ndarray, points: int, classes: int) -> Overlaps:
    """Pair detections with the ground truth events of their clip; ``duration [N]`` of each clip in seconds."""
    truth = truth.take(np.lexsort((truth.onset, truth.clip)))
    order = np.lexsort((detections.onset, detections.point, detections.clip))
    detections = detections.take(order)
    det_start = np.searchsorted(detections.clip, np.arange(len(duration) + 1))
    ref_start = np.searchsorted(truth.clip, np.arange(len(duration) + 1))
    low, high = np.zeros(len(detections), np.int64), np.zeros(len(detections), np.int64)
    for clip in np.flatnonzero((np.diff(det_start) > 0) & (np.diff(ref_start) > 0)):
        d, r = slice(det_start[clip], det_start[clip + 1]), slice(ref_start[clip], ref_start[clip + 1])
        reach = np.maximum.accumulate(truth.offset[r])
        low[d] = ref_start[clip] + np.searchsorted(reach, detections.onset[d], side="right")
        high[d] = ref_start[clip] + np.searchsorted(truth.onset[r], detections.offset[d], side="left")
    number = np.maximum(high - low, 0)
    detection = np.repeat(np.arange(len(detections)), number)
    reference = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number) + np.repeat(low, number)
    onset = np.maximum(detections.onset[detection], truth.onset[reference])
    seconds = np.minimum(detections.offset[detection], truth.offset[reference]) - onset
    real = seconds > 0
    return Overlaps(
        detections=detections,
        truth=truth,
        detection=detection[real],
        reference=reference[real],
        seconds=seconds[real],
        in_recording=detections.onset < duration[detections.clip],
        shape=(points, classes),
        order=order,
    )


def count(pairs: Overlaps, dtc: float, gtc: float, cttc: float) -> Counts:
    """Apply the three criteria to ``pairs`` and count by operating point and class."""
    det, ref, (k, c) = pairs.detections, pairs.truth, pairs.shape
    share = pairs.seconds / det.length[pairs.detection]
    same = det.label[pairs.detection] == ref.label[pairs.reference]
    covered, sums = _group_sums(pairs.detection[same], share[same])
    tolerated = np.zeros(len(det), dtype=bool)
    tolerated[covered[sums >= dtc]] = True

    useful = same & tolerated[pairs.detection]
    cell = det.point[pairs.detection[useful]] * max(len(ref), 1) + pairs.reference[useful]
    cell, sums = _group_sums(cell, pairs.seconds[useful] / ref.length[pairs.reference[useful]])
    found = cell[sums >= gtc]
    true = _histogram((found // max(len(ref), 1), ref.label[found % max(len(ref), 1)]), (k, c))

    other = ~same & ~tolerated[pairs.detection]
    cell, sums = _group_sums(pairs.detection[other] * c + ref.label[pairs.reference[other]], share[other])
    crossed = cell[sums >= cttc]
    cross = _histogram((det.point[crossed // c], det.label[crossed // c], crossed % c), (k, c, c))

    wrong = ~tolerated & pairs.in_recording
    return Counts(
        true=true,
        false=_histogram((det.point[wrong], det.label[wrong]), (k, c)),
        cross=cross,
        detected=_histogram((det.point, det.label), (k, c)),
        reference=np.bincount(ref.label, minlength=c).astype(np.float64),
        reference_seconds=np.bincount(ref.label, ref.length, minlength=c),
    )


def _group_sums(key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum ``value`` by ``key``, compensated and in the given order as pandas' groupby does it: keys and sums.

    Criteria are compared exactly, so that the last bit of a sum can decide.
    """
    order = np.argsort(key, kind="stable")
    key, value = key[order], value[order]
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else np.zeros(0, np.int64)
    size = np.diff(np.append(first, len(key)))
    total, rest = np.zeros(len(first)), np.zeros(len(first))
    for nth in range(int(size.max(initial=0))):
        rows = np.flatnonzero(size > nth)
        term = value[first[rows] + nth] - rest[rows]
        new = total[rows] + term
        rest[rows] = (new - total[rows]) - term
        total[rows] = new
    return key[first], total


def _histogram(index: tuple[np.ndarray, ...], shape: tuple[int, ...]) -> np.ndarray:
    flat = np.ravel_multi_index(index, shape) if len(index[0]) else np.zeros(0, np.int64)
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)


def f1(true: np.ndarray, false: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """F1 from true positives, false positives and reference events; nan where there is nothing to count."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2 * true / (true + false + reference)


def intersection_f1(
    detections: Events,
    truth: Events,
    durations: Mapping[str, float],
    classes: Sequence[str],
    *,
    dtc: float = 0.5,
    gtc: float = 0.5,
    cttc: float = 0.3,
    zero_score: bool = True,
) -> dict[str, Any]:
    """Intersection-based F1 per class, macro and micro, of one list of detections.

    psds_eval 0.5.3 takes the mean over classes with at least one true positive (``zero_score=False``); here a class
    with reference events and no true positive counts as 0 unless that is asked for. Classes without reference event
    are left out. Overlapping events of one class are merged first, in truth and detections. ``cttc`` decides which
    false positives are cross-triggers too and does not change F1.
    """
    clip_ids = list(truth)
    duration = np.array([durations[clip_id] for clip_id in clip_ids])
    reference, _ = merge_overlaps(event_table([truth], clip_ids, classes))
    found, _ = merge_overlaps(event_table([detections], clip_ids, classes))
    counts = count(overlaps(found, reference, duration, 1, len(classes)), dtc, gtc, cttc)
    return f1_result(counts, classes, zero_score)


def f1_result(counts: Counts, classes: Sequence[str], zero_score: bool) -> dict[str, Any]:
    """Macro, micro and per-class F1 of the first operating point as plain numbers (None: not defined)."""
    true, false, reference = counts.true[0], counts.false[0], counts.reference
    values = np.where(reference > 0, f1(true, false, reference), np.nan)
    if not zero_score:
        values = np.where(true > 0, values, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = true / (true + false), true / reference
    rows = zip(values, precision, recall, reference, counts.detected[0], strict=True)
    names = ("f1", "precision", "recall", "n_reference", "n_detected")
    return {
        "macro": number(np.nanmean(values)) if np.isfinite(values).any() else None,
        "micro": number(f1(true.sum(), false.sum(), reference.sum())),
        "per_class": {
            label: dict(zip(names, (number(v) for v in row), strict=True))
            for label, row in zip(classes, rows, strict=True)
        },
    }


def number(value: Any) -> float | None:
    """A plain float for JSON; None where the value is not defined."""
    return float(value) if np.isfinite(value) else None
