"""Thresholds chosen for the best event-based F1: on held-out clips, or openly on the judged ones (`measure`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from sed_lab.decoder.base import Decoder
from sed_lab.decoder.median import per_class
from sed_lab.metric.intersection import f1
from sed_lab.metric.table import Events, EventTable, event_table
from sed_lab.types import Scores

D = TypeVar("D", bound=Decoder)
GRID = tuple(np.round(np.arange(0.01, 1, 0.02), 2).tolist())


def tune_threshold(
    scores: Scores, truth: Events, decoder: Decoder, *, collar: float, offset_share: float, onset_only: bool
) -> float:
    """The one threshold of 0.01, 0.03 ... 0.99 with the highest macro event F1, of equals the one nearest 0.5.

    The macro mean is over classes with reference events, as in `event_f1` with ``zero_score``; 0.5 without any event.
    """
    values = _curves(scores, truth, decoder, collar, offset_share, onset_only)
    there = ~np.isnan(values).all(axis=0)
    return _best(values[:, there].mean(axis=1)) if there.any() else 0.5


def tune_decoder(
    scores: Scores, truth: Events, decoder: D, *, collar: float, offset_share: float, onset_only: bool
) -> D:
    """``decoder`` with the threshold and the tunable setting that give each class its best event F1.

    Of `GRID` and the decoder's ``tunable`` values; of equally good ones the value nearest the decoder's own, then the
    threshold nearest 0.5; a class without reference events keeps both. Class-wise windows are common in the field
    (Huang et al. 2021, DCASE 2024 baseline).
    """
    ((setting, grid),) = decoder.tunable.items()
    given: Any = decoder
    own = dict(zip(scores.classes, per_class(getattr(given, setting), scores.classes, setting).tolist(), strict=True))
    values = {
        value: _curves(scores, truth, replace(given, **{setting: value}), collar, offset_share, onset_only)
        for value in grid
    }
    threshold, chosen = {}, {}
    for i, label in enumerate(scores.classes):
        threshold[label], chosen[label] = 0.5, own[label]
        if not all(np.isnan(curve[:, i]).all() for curve in values.values()):
            best = max(grid, key=lambda v: (np.nanmax(values[v][:, i]).round(12), -abs(np.log(v / own[label]))))
            threshold[label], chosen[label] = _best(values[best][:, i]), best
    return replace(given, threshold=threshold, **{setting: chosen})


def _best(values: np.ndarray) -> float:
    grid = np.array(GRID)
    best = np.flatnonzero(values >= np.nanmax(values) - 1e-12)
    return float(grid[best[np.argmin(np.abs(grid[best] - 0.5))]])


def _curves(
    scores: Scores, truth: Events, decoder: Decoder, collar: float, offset_share: float, onset_only: bool
) -> np.ndarray:
    """Each class's event F1 at each threshold of the grid ``[K, C]``; nan for classes without reference events."""
    scores = scores.select(truth)
    found = EventTable(*decoder.points(scores, np.array(GRID)))
    reference = event_table([truth], scores.clip_id, scores.classes)
    shape = (len(GRID), len(scores.classes))
    true, detected = collar_hits(found, reference, shape, collar, None if onset_only else offset_share)
    events = np.bincount(reference.label, minlength=shape[1])
    return np.where(events > 0, f1(true, detected - true, events), np.nan)


def collar_hits(
    found: EventTable, truth: EventTable, shape: tuple[int, int], collar: float, offset_share: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """True positives and detections ``[K, C]`` under sed_eval's rule, with optimal matching, at all operating points.

    ``offset_share`` None leaves offsets out. Pairs are matched in one bipartite graph, as no pair crosses operating
    points, clips or classes.
    """
    k, c = shape
    order = np.lexsort((truth.onset, truth.label, truth.clip))
    truth = truth.take(order)
    group_of = truth.clip * c + truth.label
    group = found.clip * c + found.label
    low, high = np.searchsorted(group_of, group, side="left"), np.searchsorted(group_of, group, side="right")
    number = high - low
    det = np.repeat(np.arange(len(found)), number)
    ref = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number) + np.repeat(low, number)
    hit = np.abs(truth.onset[ref] - found.onset[det]) <= collar
    if offset_share is not None:
        limit = np.maximum(collar, offset_share * truth.length[ref])
        hit &= np.abs(truth.offset[ref] - found.offset[det]) <= limit
    det, ref = det[hit], ref[hit]
    detected = np.bincount(found.point * c + found.label, minlength=k * c).reshape(k, c).astype(float)
    if not len(det):
        return np.zeros((k, c)), detected
    cell = found.point[det] * len(truth) + ref
    rows, row = np.unique(cell, return_inverse=True)
    graph = csr_matrix((np.ones(len(det), np.int8), (row, det)), shape=(len(rows), len(found)))
    matched = rows[maximum_bipartite_matching(graph, perm_type="column") >= 0]
    point, label = matched // len(truth), truth.label[matched % len(truth)]
    return np.bincount(point * c + label, minlength=k * c).reshape(k, c).astype(float), detected
