"""Thresholds chosen for the best event-based F1: on held-out clips, or openly on the judged ones (`measure`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from sed_lab.decoder.base import GRID, Decoder
from sed_lab.decoder.median import per_class
from sed_lab.metric.exact import psds_of_scores
from sed_lab.metric.intersection import f1
from sed_lab.metric.psds import SCENARIOS
from sed_lab.metric.table import Events, EventTable, event_table
from sed_lab.types import Scores

D = TypeVar("D", bound=Decoder)


def tune_threshold(
    scores: Scores, truth: Events, decoder: Decoder, *, collar: float, offset_share: float, onset_only: bool
) -> float:
    """The one threshold of 0.01, 0.03 ... 0.99 with the highest macro event F1, of equals the one nearest 0.5.

    The macro mean is over classes with reference events, as in `event_f1` with ``zero_score``; 0.5 without any event.
    """
    scores = scores.select(truth)
    grid = np.array(GRID)
    values = _curves(
        scores, truth, decoder, collar, offset_share, onset_only, np.tile(grid[:, None], len(scores.classes))
    )
    there = ~np.isnan(values).all(axis=0)
    return _best(values[:, there].mean(axis=1), grid) if there.any() else 0.5


def tune_decoder(
    scores: Scores, truth: Events, decoder: D, *, collar: float, offset_share: float, onset_only: bool
) -> D:
    """``decoder`` with the threshold and the tunable settings that give each class its best event F1.

    Of the decoder's ``levels`` and its ``tunable`` settings; of equally good ones the settings nearest the decoder's
    own, then the threshold nearest 0.5; a class without reference events keeps its settings and has threshold 0.5.
    Class-wise windows are common in the field (Huang et al. 2021, DCASE 2024 baseline).
    """
    scores = scores.select(truth)
    best, thresholds = [], []
    for settings in decoder.tunable:
        tried = _with(decoder, settings)
        levels = tried.levels(scores)
        values = _curves(scores, truth, tried, collar, offset_share, onset_only, levels)
        best.append([np.nan if np.isnan(curve).all() else np.nanmax(curve) for curve in values.T])
        thresholds.append(
            [0.5 if np.isnan(curve).all() else _best(curve, own) for curve, own in zip(values.T, levels.T, strict=True)]
        )
    chosen = _chosen(decoder, scores.classes, np.array(best))
    threshold = {
        label: thresholds[max(k, 0)][i] for i, (label, k) in enumerate(zip(scores.classes, chosen, strict=True))
    }
    return _with(_with_settings(decoder, scores.classes, chosen), {"threshold": threshold})


def tune_for_psds(scores: Scores, truth: Events, durations: Mapping[str, float], decoder: D) -> D:
    """``decoder`` with the tunable settings that give each class its best PSDS1, the area of its own curve."""
    scores = scores.select(truth)
    scenario = {"psds1": SCENARIOS["psds1"]}
    best = []
    for settings in decoder.tunable:
        found = psds_of_scores(scores, truth, durations, scenario, _with(decoder, settings))["psds1"].per_class
        best.append([found.get(label, np.nan) for label in scores.classes])
    return _with_settings(decoder, scores.classes, _chosen(decoder, scores.classes, np.array(best)))


def _chosen(decoder: Decoder, classes: Sequence[str], best: np.ndarray) -> list[int]:
    """The index of each class's best settings in ``tunable``; -1 where a class has no value. ``best [settings, C]``."""
    given = {name: per_class(getattr(decoder, name), classes, name) for name in decoder.tunable[0]}
    chosen = []
    for i in range(len(classes)):
        far = [sum(_apart(value, given[name][i]) for name, value in settings.items()) for settings in decoder.tunable]
        values = best[:, i].round(12)
        known = not np.isnan(values).all()
        ranked = [(value, -distance, -k) for k, (value, distance) in enumerate(zip(values, far, strict=True))]
        chosen.append(-max(ranked)[2] if known else -1)
    return chosen


def _apart(value: float, own: float) -> float:
    return 0.0 if value == own else min(abs(float(np.log(value / own))), 10.0)


def _with_settings(decoder: D, classes: Sequence[str], chosen: Sequence[int]) -> D:
    """``decoder`` with each class's settings out of ``tunable``, those it has where ``chosen`` is -1."""
    values: dict[str, Any] = {}
    for name in decoder.tunable[0]:
        own = per_class(getattr(decoder, name), classes, name).tolist()
        values[name] = {
            label: own[i] if k < 0 else decoder.tunable[k][name]
            for i, (label, k) in enumerate(zip(classes, chosen, strict=True))
        }
    return _with(decoder, values)


def _with(decoder: D, settings: Mapping[str, Any]) -> D:
    given: Any = decoder
    return cast(D, replace(given, **settings))


def _best(values: np.ndarray, thresholds: np.ndarray) -> float:
    best = np.flatnonzero(values >= np.nanmax(values) - 1e-12)
    return float(thresholds[best[np.argmin(np.abs(thresholds[best] - 0.5))]])


def _curves(
    scores: Scores,
    truth: Events,
    decoder: Decoder,
    collar: float,
    offset_share: float,
    onset_only: bool,
    thresholds: np.ndarray,
) -> np.ndarray:
    """Each class's event F1 at each of ``thresholds [K, C]``: ``[K, C]``; nan for classes without reference events."""
    found = EventTable(*decoder.points(scores, thresholds))
    reference = event_table([truth], scores.clip_id, scores.classes)
    true, detected = collar_hits(found, reference, thresholds.shape, collar, None if onset_only else offset_share)
    events = np.bincount(reference.label, minlength=thresholds.shape[1])
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
