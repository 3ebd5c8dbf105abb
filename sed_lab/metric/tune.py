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
from sed_lab.errors import InputError
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
    class_share: float,
) -> dict[str, Tuned[D]]:
    """``decoder`` with the tunable settings that are best for each class, for each score by its name.

    ``event_f1`` (where its ``rule`` is given), also with each class's threshold, of those that the decoder proposes;
    with ``psds``, ``psds1`` and ``psds2``, where a class's score is the area of its own curve. What is best for a class
    is ``class_share`` times its own score plus the rest times the mean over all classes with the same settings and
    threshold: held-out clips hold few events of a class, and what is best on these alone is partly chance. Of equally
    good ones the settings nearest the decoder's own, then the threshold nearest 0.5; a class without reference events
    keeps its settings and has threshold 0.5. Event F1 is the macro mean over classes with reference events. Class-wise
    windows are common in the field (Huang et al. 2021, DCASE 2024 baseline).

    Raises:
        InputError: ``class_share`` is not within 0 and 1.
    """
    if not 0 <= class_share <= 1:
        raise InputError(
            f"metric.class_share={class_share} must be within 0 (all classes alike) and 1 (each by itself)"
        )
    scores, classes = scores.select(truth), scores.classes
    scenarios = SCENARIOS if psds and any(truth.values()) else {}
    reference = event_table([truth], scores.clip_id, classes)
    areas: dict[str, list[list[float]]] = {name: [] for name in scenarios}  # [settings, C] of each
    curves: list[dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]] = []
    thresholds: list[list[float]] = []
    own_f1, f1s = [], []  # [settings, C]: at those thresholds, and with the other classes' share
    for tried in decoder.tried(scores):
        if rule:
            f1_at = _curves(tried.points, tried.levels, reference, **rule)
            shared = _with_others(f1_at, tried.levels, class_share)
            best = [_best(curve, levels) for curve, levels in zip(shared.T, tried.levels.T, strict=True)]
            thresholds.append([threshold for _, threshold, _ in best])
            f1s.append([value for value, _, _ in best])
            own_f1.append([float(f1_at[at, i]) for i, (_, _, at) in enumerate(best)])
        if scenarios:
            curves.append(class_curves(tried.runs, classes, truth, durations, scenarios))
        for name, scenario in scenarios.items():
            found = {label: area(*curve, scenario.max_efpr) for label, curve in curves[-1][name].items()}
            areas[name].append([found.get(label, np.nan) for label in classes])
    tuned = {}
    if rule:
        chosen = _chosen(decoder, classes, np.array(f1s))
        levels_of = {label: thresholds[max(k, 0)][i] for i, (label, k) in enumerate(zip(classes, chosen, strict=True))}
        own = _with(_with_settings(decoder, classes, chosen), {"threshold": levels_of})
        known = [own_f1[k][i] for i, k in enumerate(chosen) if k >= 0]
        tuned["event_f1"] = Tuned(own, float(np.mean(known)) if known else float("nan"))
    for name, rows in areas.items():
        of_class = np.array(rows)
        chosen = _chosen(decoder, classes, class_share * of_class + (1 - class_share) * _class_mean(of_class))
        kept = {label: curves[k][name][label] for label, k in zip(classes, chosen, strict=True) if k >= 0}
        value = psds_from_curves(kept, scenarios[name]).value
        tuned[name] = Tuned(_with_settings(decoder, classes, chosen), value)
    return tuned


def _with_others(f1_at: np.ndarray, levels: np.ndarray, class_share: float) -> np.ndarray:
    """``class_share`` of each class's F1 ``[K, C]`` at its ``levels``, and the rest of the mean over classes there."""
    grid = np.array(GRID)
    order = levels.argsort(0)
    at = [np.interp(grid, levels[o, i], f1_at[o, i]) for i, o in enumerate(order.T)]
    mean = _class_mean(np.array(at).T)[:, 0]
    return class_share * f1_at + (1 - class_share) * np.interp(levels, grid, mean)


def _class_mean(values: np.ndarray) -> np.ndarray:
    """Mean ``[..., 1]`` of ``values [..., C]`` over the classes that have any; nan without such."""
    known = values[:, ~np.isnan(values).all(0)]
    return known.mean(1, keepdims=True) if known.size else np.full((len(values), 1), np.nan)


def tune_decoder(
    scores: Scores, truth: Events, decoder: D, *, collar: float, offset_share: float, onset_only: bool
) -> D:
    """``decoder`` with each class's best threshold and settings for its own event F1 (`tune_by_class`)."""
    rule = Rule(collar=collar, offset_share=offset_share, onset_only=onset_only)
    return tune_by_class(scores, truth, {}, decoder, rule, psds=False, class_share=1.0)["event_f1"].decoder


def tune_for_psds(scores: Scores, truth: Events, durations: Mapping[str, float], decoder: D) -> D:
    """``decoder`` with the tunable settings that give each class its own best PSDS1."""
    return tune_by_class(scores, truth, durations, decoder, None, psds=True, class_share=1.0)["psds1"].decoder


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


def _best(curve: np.ndarray, thresholds: np.ndarray) -> tuple[float, float, int]:
    """The highest value of a curve, its threshold, of equals the one nearest 0.5, and its place; nan, 0.5 and 0 without
    values."""
    if np.isnan(curve).all():
        return float("nan"), 0.5, 0
    best = np.flatnonzero(curve >= np.nanmax(curve) - 1e-12)
    at = int(best[np.argmin(np.abs(thresholds[best] - 0.5))])
    return float(np.nanmax(curve)), float(thresholds[at]), at


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
