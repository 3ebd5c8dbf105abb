"""Polyphonic Sound Detection Score (Bilen et al., ICASSP 2020): exact, or from operating points.

PSDS from operating points is psds_eval's protocol (0.5.3), computed for all thresholds at once; the exact score of
Ebbers et al. (ICASSP 2022) is in `sed_lab.metric.exact`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sed_lab.errors import InputError
from sed_lab.metric.intersection import Counts, count, overlaps
from sed_lab.metric.table import Events, EventTable, event_table, merge_overlaps

HOUR = 3600.0


@dataclass(frozen=True)
class Scenario:
    """One PSDS setting: the three criteria, the weights of cross-triggers and of the spread over classes, max eFPR."""

    dtc: float
    gtc: float
    cttc: float
    alpha_ct: float
    alpha_st: float
    max_efpr: float = 100.0


SCENARIOS = {
    "psds1": Scenario(dtc=0.7, gtc=0.7, cttc=0.3, alpha_ct=0.0, alpha_st=1.0),
    "psds2": Scenario(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5, alpha_st=1.0),
}
"""The two of DCASE task 4 since 2021; cttc has no effect where alpha_ct is 0."""


@dataclass(frozen=True)
class Psds:
    """A score with its PSD-ROC: effective true positive rate over effective false positive rate per hour.

    Curves are staircases, ``(efpr [X], etpr [X])``; every class has its own, and its area up to ``max_efpr``.
    """

    value: float
    efpr: np.ndarray
    etpr: np.ndarray
    per_class: dict[str, float]
    class_curves: dict[str, tuple[np.ndarray, np.ndarray]]


def psds_from_points(
    points: EventTable | Sequence[Events],
    truth: Events,
    durations: Mapping[str, float],
    classes: Sequence[str],
    scenarios: Mapping[str, Scenario] = SCENARIOS,
) -> dict[str, Psds]:
    """PSDS of each scenario from detections at several thresholds; equal to psds_eval 0.5.3 (within 1e-9).

    Overlapping ground truth of one class is merged first (psds_eval refuses it). Classes without a reference event
    are left out, and so are their detections. A single class has no cross-triggers: its eFPR is its FPR (psds_eval
    gives 0 there).

    Args:
        points: detections of each operating point; as a table, ``clip`` counts the clips of ``truth`` and ``label``
            the classes, and no two events of a class may overlap.

    Raises:
        InputError: no class has a reference event.
    """
    clip_ids = list(truth)
    duration = np.array([durations[clip_id] for clip_id in clip_ids])
    reference, _ = merge_overlaps(event_table([truth], clip_ids, classes))
    if isinstance(points, EventTable):
        table, number = points, int(points.point.max(initial=-1)) + 1
    else:
        table, number = merge_overlaps(event_table(points, clip_ids, classes))[0], len(points)
    present = np.unique(reference.label)
    if not len(present):
        raise InputError("PSDS needs at least one reference event, the ground truth has none")
    renumber = np.full(len(classes), -1)
    renumber[present] = np.arange(len(present))
    table = table.take(renumber[table.label] >= 0)
    table = replace(table, label=renumber[table.label])
    reference = replace(reference, label=renumber[reference.label])
    pairs = overlaps(table, reference, duration, max(number, 1), len(present))
    names = [classes[i] for i in present]
    return {
        name: psds_from_counts(count(pairs, s.dtc, s.gtc, s.cttc), float(duration.sum()), names, s)
        for name, s in scenarios.items()
    }


def psds_from_counts(counts: Counts, seconds: float, classes: Sequence[str], scenario: Scenario) -> Psds:
    """PSD-ROC and its area from counts at several operating points over ``seconds`` of audio."""
    tpr = counts.true / counts.reference
    efpr = counts.false * HOUR / seconds
    if scenario.alpha_ct > 0 and len(classes) > 1:
        rate = counts.cross * HOUR / counts.reference_seconds
        efpr = efpr + scenario.alpha_ct * rate.sum(axis=2) / (len(classes) - 1)  # the diagonal is 0
    return psds_from_curves({label: staircase(efpr[:, i], tpr[:, i]) for i, label in enumerate(classes)}, scenario)


def psds_from_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], scenario: Scenario) -> Psds:
    """PSDS from each class's staircase ``(efpr, tpr)``."""
    grid = np.unique(np.concatenate([x for x, _ in curves.values()]))
    on_grid = np.stack([y[np.searchsorted(x, grid, side="right") - 1] for x, y in curves.values()])
    etpr = np.maximum(on_grid.mean(axis=0) - scenario.alpha_st * on_grid.std(axis=0), 0.0)
    return Psds(
        value=area(grid, etpr, scenario.max_efpr),
        efpr=grid,
        etpr=etpr,
        per_class={label: area(x, y, scenario.max_efpr) for label, (x, y) in curves.items()},
        class_curves=dict(curves),
    )


def staircase(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rising staircase through (0, 0) and the points; where points share an x, the highest counts."""
    x, y = np.append(x, 0.0), np.append(y, 0.0)
    order = np.lexsort((y, x))
    x, y = x[order], np.maximum.accumulate(y[order])
    last = np.append(x[1:] != x[:-1], True)
    return x[last], y[last]


def area(x: np.ndarray, y: np.ndarray, max_x: float) -> float:
    """Area under a staircase from 0 to ``max_x``, as a share of ``max_x``; the last value is held."""
    inside = x < max_x
    return float(np.sum(np.diff(np.append(x[inside], max_x)) * y[inside]) / max_x)


def thinned(psds: Psds, points: int = 400) -> dict[str, Any]:
    """PSD-ROC for a figure: ``efpr`` and ``etpr``, and the same a class; of more points every n-th is kept."""
    return {
        **_line(psds.efpr, psds.etpr, points),
        "per_class": {label: _line(x, y, points) for label, (x, y) in psds.class_curves.items()},
    }


def _line(x: np.ndarray, y: np.ndarray, points: int) -> dict[str, list[float]]:
    rows = np.flatnonzero(np.append(True, np.diff(y) != 0) | (np.arange(len(x)) == len(x) - 1))
    if len(rows) > points:
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, points).round().astype(int))]
    return {"efpr": np.round(x[rows], 4).tolist(), "etpr": np.round(y[rows], 6).tolist()}
