"""PSDS over all thresholds at once (the exact score of Ebbers et al., ICASSP 2022), from the trees of runs.

The runs of frames that some threshold gives are few: around each frame the longest run whose scores are not below that
frame's. A run is detected at the thresholds from the higher of the two scores beside it up to its lowest score. Whether
it meets the detection tolerance criterion, and which classes it cross-triggers, does not depend on the threshold; so
false positives and cross-triggers are sums over runs, and only the coverage of a reference event is followed along the
thresholds. Counts are those of sed_scores_eval: times to the microsecond, criteria compared after rounding to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sed_lab.errors import InputError
from sed_lab.metric.intersection import Overlaps, overlaps
from sed_lab.metric.psds import HOUR, SCENARIOS, Psds, Scenario, event_lists, psds_from_curves, staircase
from sed_lab.metric.table import Events, EventTable, event_table
from sed_lab.scores import frame_times
from sed_lab.types import Event, Scores

DECIMALS = 6


@dataclass(frozen=True)
class Runs:
    """Every run ``[E]`` as an event, the score above which it is gone and the one at which it merges with more."""

    table: EventTable
    high: np.ndarray
    low: np.ndarray


def psds_of_scores(
    smoothed: Scores,
    truth: Events,
    durations: Mapping[str, float],
    scenarios: Mapping[str, Scenario] = SCENARIOS,
) -> dict[str, Psds]:
    """Exact PSDS of each scenario; as `psds_exact`, which asks sed_scores_eval, only faster and smaller.

    Raises:
        InputError: no frame scores, or no reference event.
    """
    joined = {
        clip_id: [Event(onset, offset, label) for onset, offset, label in rows]
        for clip_id, rows in event_lists(truth).items()
    }
    clip_ids = list(truth)
    reference = event_table([joined], clip_ids, smoothed.classes)
    present = np.unique(reference.label)
    if not len(present):
        raise InputError("PSDS needs at least one reference event, the ground truth has none")
    names = [smoothed.classes[i] for i in present]
    reference = event_table([joined], clip_ids, names)
    runs = all_runs(smoothed.select(clip_ids), present)
    duration = np.array([durations[clip_id] for clip_id in clip_ids])
    pairs = overlaps(runs.table, reference, duration, 1, len(names))
    order = pairs.order
    runs = Runs(pairs.detections, runs.high[order], runs.low[order])
    return {name: _psds(pairs, runs, float(duration.sum()), names, s) for name, s in scenarios.items()}


def all_runs(scores: Scores, columns: np.ndarray) -> Runs:
    """The runs of every clip and class of ``columns``; ``label`` counts the columns.

    Raises:
        InputError: there are no frame scores.
    """
    if scores.frame is None or scores.frame_hop is None:
        raise InputError(f"{scores.name}: PSDS needs frame scores, there are clip scores only")
    times = [
        frame_times(len(array), scores.frame_hop, float(seconds))
        for array, seconds in zip(scores.frame, scores.duration, strict=True)
    ]
    longest = max(len(borders) - 1 for borders in times)
    n, c = len(times), len(columns)
    padded = np.full((n, c, longest + 2), -np.inf, np.float32)  # silence on both sides
    borders = np.zeros((n, longest + 2))
    for clip, (array, own) in enumerate(zip(scores.frame, times, strict=True)):
        padded[clip, :, 1 : len(own)] = array[: len(own) - 1, columns].T
        borders[clip, 1 : len(own) + 1] = own
    rows = padded.reshape(n * c, longest + 2)
    first, last = _extent(rows[:, ::-1])[:, ::-1], _extent(rows)
    first = longest + 1 - first
    row, frame = np.nonzero(np.isfinite(rows))
    first, last = first[row, frame], last[row, frame]
    key = (row * (longest + 2) + first) * (longest + 2) + last
    _, keep = np.unique(key, return_index=True)  # frames of equal score share their run
    row, frame, first, last = row[keep], frame[keep], first[keep], last[keep]
    low = np.maximum(rows[row, first - 1], rows[row, last + 1])
    table = EventTable(
        np.zeros(len(row), np.int64), row // c, row % c, borders[row // c, first], borders[row // c, last + 1]
    )
    return Runs(table, rows[row, frame], low)


def _extent(rows: np.ndarray) -> np.ndarray:
    """For each element of ``rows [R, T]``, the last place up to which no score to its right is lower; by doubling."""
    length = rows.shape[1]
    lowest = [rows]  # lowest[k][:, t] is the minimum of 2**k scores from t on
    while (step := 1 << (len(lowest) - 1)) * 2 <= length:
        before = lowest[-1]
        lowest.append(np.minimum(before[:, : before.shape[1] - step], before[:, step:]))
    reach = np.broadcast_to(np.arange(length), rows.shape).copy()
    for k in reversed(range(len(lowest))):
        start = reach + 1
        inside = start < lowest[k].shape[1]
        ahead = np.take_along_axis(lowest[k], np.minimum(start, lowest[k].shape[1] - 1), axis=1)
        reach[inside & (ahead >= rows)] += 1 << k
    return reach


def _psds(pairs: Overlaps, runs: Runs, seconds: float, classes: Sequence[str], scenario: Scenario) -> Psds:
    det, ref, c = pairs.detections, pairs.truth, len(classes)
    same = det.label[pairs.detection] == ref.label[pairs.reference]
    inside = np.bincount(pairs.detection[same], pairs.seconds[same], minlength=len(det))
    tolerated = _enough(inside, scenario.dtc, det.length)
    counted = scenario.alpha_ct > 0 and c > 1
    crossed = np.zeros((len(det), c), dtype=bool)
    if counted:
        other = ~same & ~tolerated[pairs.detection]
        cell = pairs.detection[other] * c + ref.label[pairs.reference[other]]
        part = np.bincount(cell, pairs.seconds[other], minlength=len(det) * c).reshape(len(det), c)
        crossed = (part > 0) & _enough(part, scenario.cttc, det.length[:, None])
    useful = same & tolerated[pairs.detection]
    found_at, found_label, found = _found(pairs, runs, useful, scenario.gtc)
    reference = np.bincount(ref.label, minlength=c)
    weight = HOUR * scenario.alpha_ct / max(c - 1, 1) / np.bincount(ref.label, ref.length, minlength=c)
    curves = {}
    for label, name in enumerate(classes):
        wrong = (det.label == label) & ~tolerated
        cost = np.full(np.count_nonzero(wrong), HOUR / seconds)
        if counted:
            cost = cost + crossed[wrong] @ weight
        own = found_label == label
        value = np.concatenate([runs.high[wrong], runs.low[wrong], found_at[own]])
        efpr = np.concatenate([cost, -cost, np.zeros(np.count_nonzero(own))])
        true = np.concatenate([np.zeros(2 * len(cost)), found[own]])
        curves[name] = _curve(value, efpr, true / reference[label], scenario.max_efpr)
    return psds_from_curves(curves, scenario)


def _enough(part: np.ndarray, share: float, length: np.ndarray) -> np.ndarray:
    return np.round(part, DECIMALS) >= np.round(share * length, DECIMALS)


def _found(pairs: Overlaps, runs: Runs, useful: np.ndarray, gtc: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores below which a reference event becomes found (+1) or is lost again (-1), with its class."""
    det, ref, seconds = pairs.detection[useful], pairs.reference[useful], pairs.seconds[useful]
    event, value = np.concatenate([ref, ref]), np.concatenate([runs.high[det], runs.low[det]])
    change = np.concatenate([seconds, -seconds])
    comes = np.flatnonzero(~np.isneginf(value))  # a whole clip's run is never lost to a longer one
    order = comes[np.lexsort((-value[comes], event[comes]))]
    event, value, change = event[order], value[order], change[order]
    if not len(event):
        return value, event, change
    first = np.flatnonzero(np.append(True, event[1:] != event[:-1]))
    total = np.cumsum(change)
    covered = total - np.repeat(np.append(0.0, total)[first], np.diff(np.append(first, len(event))))
    ends = np.append((event[1:] != event[:-1]) | (value[1:] != value[:-1]), True)  # all changes at one score together
    event, value, covered = event[ends], value[ends], covered[ends]
    found = _enough(covered, gtc, pairs.truth.length[event]).astype(np.int64)
    before = np.where(np.append(True, event[1:] != event[:-1]), 0, np.append(0, found[:-1]))
    step = found - before
    keep = step != 0
    return value[keep], pairs.truth.label[event[keep]], step[keep].astype(np.float64)


def _curve(value: np.ndarray, efpr: np.ndarray, tpr: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """The staircase of one class from changes of both rates at scores, up to ``limit``; changes at -inf never come."""
    real = ~np.isneginf(value)
    at, place = np.unique(-value[real], return_inverse=True)
    x = np.cumsum(np.bincount(place, efpr[real], minlength=len(at)))
    y = np.cumsum(np.bincount(place, tpr[real], minlength=len(at)))
    x = np.maximum(np.round(x, 9), 0.0)  # sums of rates that cancel leave dust
    x, y = staircase(x, y)
    inside = x <= limit
    return x[inside], y[inside]
