"""Thresholds chosen for the best event-based F1: on held-out clips, or openly on the judged ones (`measure`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypedDict, TypeVar, cast

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from sed_lab.decoder.base import GRID, Decoder, Points
from sed_lab.decoder.median import per_class
from sed_lab.metric.exact import class_curves
from sed_lab.metric.intersection import f1
from sed_lab.metric.psds import SCENARIOS, area, psds_from_curves
from sed_lab.metric.table import Events, EventTable, event_table
from sed_lab.types import Scores

D = TypeVar("D", bound=Decoder)


class Rule(TypedDict):
    """Which detections `event_f1` counts as right: collar in seconds, the offset's share, whether offsets count."""

    collar: float
    offset_share: float
    onset_only: bool


def tune_threshold(
    scores: Scores, truth: Events, decoder: Decoder, *, collar: float, offset_share: float, onset_only: bool
) -> float:
    """The one threshold of 0.01, 0.03 ... 0.99 with the highest macro event F1, of equals the one nearest 0.5.

    The macro mean is over classes with reference events, as in `event_f1` with ``zero_score``; 0.5 without any event.
    """
    scores, grid = scores.select(truth), np.array(GRID)
    levels = np.tile(grid[:, None], len(scores.classes))
    reference = event_table([truth], scores.clip_id, scores.classes)
    values = _curves(decoder.points(scores, levels), levels, reference, collar, offset_share, onset_only)
    there = ~np.isnan(values).all(axis=0)
    return _best(values[:, there].mean(axis=1), grid)[1] if there.any() else 0.5


@dataclass(frozen=True)
class Tuned(Generic[D]):
    """A decoder tuned class by class, and the score that it has on the clips it was tuned on; nan without events."""

    decoder: D
    value: float


def tune_by_class(
    scores: Scores,
    truth: Events,
    durations: Mapping[str, float],
    decoder: D,
    rule: Rule | None,
    psds: bool,
) -> dict[str, Tuned[D]]:
    """``decoder`` with the tunable settings that give each class its best score, for each score by its name.

    ``event_f1`` (where its ``rule`` is given), also with each class's threshold, of those that the decoder proposes;
    with ``psds``, ``psds1`` and ``psds2``, where a class's score is the area of its own curve. Of equally good ones the
    settings nearest the decoder's own, then the threshold nearest 0.5; a class without reference events keeps its
    settings and has threshold 0.5. Event F1 is the macro mean over classes with reference events. Class-wise windows
    are common in the field (Huang et al. 2021, DCASE 2024 baseline).
    """
    scores, classes = scores.select(truth), scores.classes
    scenarios = SCENARIOS if psds and any(truth.values()) else {}
    reference = event_table([truth], scores.clip_id, classes)
    names = [*(["event_f1"] if rule else []), *scenarios]
    values: dict[str, list[list[float]]] = {name: [] for name in names}  # [settings, C] of each
    thresholds: list[list[float]] = []
    curves: list[dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]] = []
    for tried in decoder.tried(scores):
        if rule:
            f1_at = _curves(tried.points, tried.levels, reference, **rule)
            best = [_best(curve, own) for curve, own in zip(f1_at.T, tried.levels.T, strict=True)]
            values["event_f1"].append([value for value, _ in best])
            thresholds.append([threshold for _, threshold in best])
        if scenarios:
            curves.append(class_curves(tried.runs, classes, truth, durations, scenarios))
        for name, scenario in scenarios.items():
            areas = {label: area(*curve, scenario.max_efpr) for label, curve in curves[-1][name].items()}
            values[name].append([areas.get(label, np.nan) for label in classes])
    tuned = {}
    for name, rows in values.items():
        chosen = _chosen(decoder, classes, np.array(rows))
        own = _with_settings(decoder, classes, chosen)
        if name == "event_f1":
            rows_of = {label: max(k, 0) for label, k in zip(classes, chosen, strict=True)}
            own = _with(own, {"threshold": {label: thresholds[k][i] for i, (label, k) in enumerate(rows_of.items())}})
            known = [rows[k][i] for i, k in enumerate(chosen) if k >= 0]
            tuned[name] = Tuned(own, float(np.mean(known)) if known else float("nan"))
        else:
            kept = {label: curves[k][name][label] for label, k in zip(classes, chosen, strict=True) if k >= 0}
            tuned[name] = Tuned(own, psds_from_curves(kept, scenarios[name]).value)
    return tuned


def tune_decoder(
    scores: Scores, truth: Events, decoder: D, *, collar: float, offset_share: float, onset_only: bool
) -> D:
    """``decoder`` with each class's best threshold and settings for event F1, as `tune_by_class` chooses them."""
    rule = Rule(collar=collar, offset_share=offset_share, onset_only=onset_only)
    return tune_by_class(scores, truth, {}, decoder, rule, psds=False)["event_f1"].decoder


def tune_for_psds(scores: Scores, truth: Events, durations: Mapping[str, float], decoder: D) -> D:
    """``decoder`` with the tunable settings that give each class its best PSDS1."""
    return tune_by_class(scores, truth, durations, decoder, None, psds=True)["psds1"].decoder


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


def _best(curve: np.ndarray, thresholds: np.ndarray) -> tuple[float, float]:
    """The highest value of a curve and its threshold, of equals the one nearest 0.5; nan and 0.5 without values."""
    if np.isnan(curve).all():
        return float("nan"), 0.5
    best = np.flatnonzero(curve >= np.nanmax(curve) - 1e-12)
    return float(np.nanmax(curve)), float(thresholds[best[np.argmin(np.abs(thresholds[best] - 0.5))]])


def _curves(
    points: Points, levels: np.ndarray, reference: EventTable, collar: float, offset_share: float, onset_only: bool
) -> np.ndarray:
    """Each class's event F1 of the events at each of ``levels [K, C]``: ``[K, C]``; nan without reference events."""
    true, detected = collar_hits(
        EventTable(*points), reference, levels.shape, collar, None if onset_only else offset_share
    )
    events = np.bincount(reference.label, minlength=levels.shape[1])
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
