"""PSDS over all thresholds at once (the exact score of Ebbers et al., ICASSP 2022), from the trees of runs.

The runs of frames that some threshold gives are few: around each frame the longest run whose scores are not below that
frame's. A run is detected at the thresholds from the higher of the two scores beside it up to its lowest score. Whether
it meets the detection tolerance criterion, and which classes it cross-triggers, does not depend on the threshold; so
false positives and cross-triggers are sums over runs, and only the coverage of a reference event is followed along the
thresholds. Counts are those of sed_scores_eval: times to the microsecond, criteria compared after rounding to it.

N clips, L columns (the longest clip's frames and one of silence on each side), E runs, P pairs of a run and a reference
event that overlap, C classes with reference events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sed_lab.errors import InputError
from sed_lab.metric.intersection import Overlaps, overlaps
from sed_lab.metric.psds import HOUR, SCENARIOS, Psds, Scenario, psds_from_curves, staircase
from sed_lab.metric.table import Events, EventTable, event_table, merge_overlaps
from sed_lab.scores import frame_times
from sed_lab.types import Scores

DECIMALS = 6


@dataclass(frozen=True)
class Runs:
    """Every run ``[E]`` as an event, the score above which it is gone and the one at which it merges with more."""

    table: EventTable
    high: np.ndarray
    low: np.ndarray


def psds_of_scores(
    smoothed: Scores, truth: Events, durations: Mapping[str, float], scenarios: Mapping[str, Scenario] = SCENARIOS
) -> dict[str, Psds]:
    """Exact PSDS of each scenario over all thresholds; equal to sed_scores_eval's (within 1e-9), faster and smaller.

    ``smoothed`` are scores after the decoder's filter, for at least the clips of ``truth``. Classes without reference
    event are left out; overlapping and touching ground truth of one class is joined.

    Raises:
        InputError: no frame scores, or no reference event.
    """
    clip_ids = list(truth)
    reference, _ = merge_overlaps(event_table([truth], clip_ids, smoothed.classes), touching=True)
    present, label = np.unique(reference.label, return_inverse=True)  # [C]: columns of the scores
    if not len(present):
        raise InputError("PSDS needs at least one reference event, the ground truth has none")
    names = [smoothed.classes[i] for i in present]
    reference = replace(reference, label=label)
    smoothed = smoothed.select(clip_ids)
    duration = np.array([durations[clip_id] for clip_id in clip_ids])  # [N] seconds
    curves: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {name: {} for name in scenarios}
    for number, column in enumerate(present):  # class by class, so that memory does not grow with their number
        runs = all_runs(smoothed, int(column))
        pairs = overlaps(runs.table, reference, duration, 1, len(names))
        runs = Runs(pairs.detections, runs.high[pairs.order], runs.low[pairs.order])  # [E], in the order of the pairs
        for name, scenario in scenarios.items():
            curves[name][names[number]] = _class_curve(number, pairs, runs, float(duration.sum()), len(names), scenario)
    return {name: psds_from_curves(curves[name], scenario) for name, scenario in scenarios.items()}


def all_runs(scores: Scores, column: int) -> Runs:
    """The runs of one class in every clip (``label`` 0).

    Raises:
        InputError: there are no frame scores.
    """
    if scores.frame is None or scores.frame_hop is None:
        raise InputError(f"{scores.name}: PSDS needs frame scores, there are clip scores only")
    times = [  # N times [T + 1], the borders of a clip's frames
        frame_times(len(array), scores.frame_hop, float(seconds))
        for array, seconds in zip(scores.frame, scores.duration, strict=True)
    ]
    longest = max(len(own) - 1 for own in times)
    rows = np.full((len(times), longest + 2), -np.inf, np.float32)  # [N, L] scores, silence on both sides
    borders = np.zeros((len(times), longest + 2))  # [N, L] seconds: column t begins at borders[:, t], ends at the next
    for n, (array, own) in enumerate(zip(scores.frame, times, strict=True)):
        rows[n, 1 : len(own)] = array[: len(own) - 1, column]
        borders[n, 1 : len(own) + 1] = own
    # [N, L] each: first and last column of the run around a frame, in which no score is lower than the frame's.
    first, last = longest + 1 - _extent(rows[:, ::-1])[:, ::-1], _extent(rows)
    clip, frame = np.nonzero(np.isfinite(rows))  # [all frames], without the silence
    first, last = first[clip, frame], last[clip, frame]  # [all frames]
    # One number stands for (clip, first, last).
    _, keep = np.unique((clip * (longest + 2) + first) * (longest + 2) + last, return_index=True)  # ties share a run
    clip, frame, first, last = clip[keep], frame[keep], first[keep], last[keep]  # [E]
    zero = np.zeros(len(clip), np.int64)
    table = EventTable(zero, clip, zero, borders[clip, first], borders[clip, last + 1])
    # [E] each: there from its lowest score down to the higher one of the two beside it, where a longer run begins.
    return Runs(table, rows[clip, frame], np.maximum(rows[clip, first - 1], rows[clip, last + 1]))


def _extent(rows: np.ndarray) -> np.ndarray:
    """For each element of ``rows [R, T]``, the last index up to which no score to its right is lower; by doubling."""
    length = rows.shape[1]
    lowest = [rows]  # lowest[k][:, t] is the minimum of 2**k scores from t on
    while (step := 1 << (len(lowest) - 1)) * 2 <= length:
        before = lowest[-1]  # [R, T - step + 1]
        lowest.append(np.minimum(before[:, : before.shape[1] - step], before[:, step:]))
    reach = np.broadcast_to(np.arange(length), rows.shape).copy()  # [R, T]: itself at first
    for k in reversed(range(len(lowest))):  # steps of ..., 4, 2, 1 columns, each taken where all of them are as high
        start = reach + 1
        inside = start < lowest[k].shape[1]
        ahead = np.take_along_axis(lowest[k], np.minimum(start, lowest[k].shape[1] - 1), axis=1)
        reach[inside & (ahead >= rows)] += 1 << k
    return reach


def _class_curve(
    label: int, pairs: Overlaps, runs: Runs, seconds: float, classes: int, scenario: Scenario
) -> tuple[np.ndarray, np.ndarray]:
    """The class's staircase: effective FP rate per hour, TP ratio."""
    det, ref = pairs.detections, pairs.truth
    same = ref.label[pairs.reference] == label  # [P]
    inside = np.bincount(pairs.detection[same], pairs.seconds[same], minlength=len(det))  # [E] seconds in own events
    tolerated = _enough(inside, scenario.dtc, det.length)  # [E]: meets the detection tolerance criterion
    cost = np.full(len(det), HOUR / seconds)  # [E] effective false positives an hour, if it is one
    if scenario.alpha_ct > 0 and classes > 1:
        # [C]: what a cross-trigger with each class adds, per hour of its events; a share of the mean over other classes
        weight = HOUR * scenario.alpha_ct / (classes - 1) / np.bincount(ref.label, ref.length, minlength=classes)
        other = ~same & ~tolerated[pairs.detection]  # [P]
        key = pairs.detection[other] * classes + ref.label[pairs.reference[other]]  # [pairs of other]: (run, class)
        cell, index = np.unique(key, return_inverse=True)  # [cells], [pairs of other]
        part = np.bincount(index, pairs.seconds[other], minlength=len(cell))  # [cells] seconds in that class's events
        cell = cell[_enough(part, scenario.cttc, det.length[cell // classes])]  # those that are cross-triggers
        cost += np.bincount(cell // classes, weight[cell % classes], minlength=len(det))
    wrong = ~tolerated  # [E]
    found_at, found = _found(pairs, runs, same & tolerated[pairs.detection], scenario.gtc)  # [changes] each
    # [changes] each: a wrong run comes at its high score and goes at its low one, where a longer run begins.
    value = np.concatenate([runs.high[wrong], runs.low[wrong], found_at])
    efpr = np.concatenate([cost[wrong], -cost[wrong], np.zeros(len(found))])
    true = np.concatenate([np.zeros(2 * np.count_nonzero(wrong)), found])
    return _curve(value, efpr, true / np.count_nonzero(ref.label == label), scenario.max_efpr)


def _enough(part: np.ndarray, share: float, length: np.ndarray) -> np.ndarray:
    return np.round(part, DECIMALS) >= np.round(share * length, DECIMALS)


def _found(pairs: Overlaps, runs: Runs, useful: np.ndarray, gtc: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores below which a reference event becomes found (+1) or is lost again (-1)."""
    det, ref, seconds = pairs.detection[useful], pairs.reference[useful], pairs.seconds[useful]  # [useful pairs]
    # [2 x useful pairs]: the covered seconds of an event change where a run comes, and where it goes.
    event, value = np.concatenate([ref, ref]), np.concatenate([runs.high[det], runs.low[det]])
    change = np.concatenate([seconds, -seconds])
    comes = np.flatnonzero(~np.isneginf(value))  # a whole clip's run is never lost to a longer one
    order = comes[np.lexsort((-value[comes], event[comes]))]  # event by event, from high scores to low ones
    event, value, change = event[order], value[order], change[order]
    if not len(event):
        return value, change
    first = np.flatnonzero(np.append(True, event[1:] != event[:-1]))  # [events]: where each begins
    total = np.cumsum(change)  # [changes], over all events
    # [changes]: seconds of the event covered from this score down, the sum less what stood before its first change
    covered = total - np.repeat(np.append(0.0, total)[first], np.diff(np.append(first, len(event))))
    ends = np.append((event[1:] != event[:-1]) | (value[1:] != value[:-1]), True)  # all changes at one score together
    event, value, covered = event[ends], value[ends], covered[ends]
    found = _enough(covered, gtc, pairs.truth.length[event]).astype(np.int64)  # [scores of events]: 1 where found
    before = np.where(np.append(True, event[1:] != event[:-1]), 0, np.append(0, found[:-1]))
    step = found - before  # 1 found now, -1 lost, 0 as before
    keep = step != 0
    return value[keep], step[keep].astype(np.float64)


def _curve(value: np.ndarray, efpr: np.ndarray, tpr: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """The staircase of one class from changes of both rates at scores, up to ``limit``; changes at -inf never come."""
    real = ~np.isneginf(value)
    at, index = np.unique(-value[real], return_inverse=True)  # [scores] from high to low, [changes]
    x = np.cumsum(np.bincount(index, efpr[real], minlength=len(at)))  # [scores]: rates with the threshold below each
    y = np.cumsum(np.bincount(index, tpr[real], minlength=len(at)))
    x = np.maximum(np.round(x, 9), 0.0)  # sums of rates that cancel leave dust
    x, y = staircase(x, y)
    inside = x <= limit
    return x[inside], y[inside]
