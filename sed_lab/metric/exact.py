"""PSDS over all thresholds at once (the exact score of Ebbers et al., ICASSP 2022), from the trees of runs.

The runs that some threshold gives are few (`sed_lab.decoder.runs`). Whether a run meets the detection tolerance
criterion, and which classes it cross-triggers, does not depend on the threshold; so false positives and cross-triggers
are sums over runs, and only the coverage of a reference event is followed along the thresholds. Counts are those of
sed_scores_eval: times to the microsecond, criteria compared after rounding to it.

N clips, E runs, P pairs of a run and a reference event that overlap, C classes with reference events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sed_lab.decoder.base import Decoder
from sed_lab.decoder.runs import AllRuns, ClassRuns, Runs
from sed_lab.errors import InputError
from sed_lab.metric.intersection import Overlaps, overlaps
from sed_lab.metric.psds import HOUR, SCENARIOS, Psds, Scenario, psds_from_curves, staircase
from sed_lab.metric.table import Events, EventTable, event_table, merge_overlaps
from sed_lab.types import Scores

DECIMALS = 6


def psds_of_scores(
    scores: Scores,
    truth: Events,
    durations: Mapping[str, float],
    scenarios: Mapping[str, Scenario] = SCENARIOS,
    decoder: Decoder | None = None,
) -> dict[str, Psds]:
    """Exact PSDS of each scenario over all thresholds; equal to sed_scores_eval's (within 1e-9), faster and smaller.

    ``scores`` of at least the clips of ``truth`` are taken as they are, or as ``decoder`` filters them. Classes without
    reference event are left out; overlapping and touching ground truth of one class is joined.

    Raises:
        InputError: no frame scores, or no reference event.
    """
    scores = scores.select(truth)
    runs = AllRuns(scores) if decoder is None else decoder.runs(scores)
    curves = class_curves(runs, scores.classes, truth, durations, scenarios)
    return {name: psds_from_curves(curves[name], scenario) for name, scenario in scenarios.items()}


def class_curves(
    every: ClassRuns,
    classes: Sequence[str],
    truth: Events,
    durations: Mapping[str, float],
    scenarios: Mapping[str, Scenario],
) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Each class's staircase (effective FP rate per hour, TP ratio) in each scenario, from its runs.

    Columns of ``every`` are those of ``classes``; clips are those of ``truth``, in its order.

    Raises:
        InputError: there is no reference event.
    """
    clip_ids = list(truth)
    reference, _ = merge_overlaps(event_table([truth], clip_ids, classes), touching=True)
    present, label = np.unique(reference.label, return_inverse=True)  # [C]: columns of the scores
    if not len(present):
        raise InputError("PSDS needs at least one reference event, the ground truth has none")
    names = [classes[i] for i in present]
    reference = replace(reference, label=label)
    duration = np.array([durations[clip_id] for clip_id in clip_ids])  # [N] seconds
    seconds = float(duration.sum())
    curves: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {name: {} for name in scenarios}
    for number, column in enumerate(present):  # class by class, so that memory does not grow with their number
        others = np.setdiff1d(np.arange(len(duration)), reference.clip[reference.label == number])
        floor = _floor(every.highest[others, column], seconds, scenarios.values())
        runs = every.above(int(column), floor)
        zero = np.zeros(len(runs.clip), np.int64)
        table = EventTable(zero, runs.clip, zero, runs.onset, runs.offset)
        pairs = overlaps(table, reference, duration, 1, len(names))
        runs = runs.take(pairs.order)
        for name, scenario in scenarios.items():
            curve = _class_curve(number, pairs, runs, floor, seconds, len(names), scenario)
            curves[name][names[number]] = curve
    return curves


def _floor(highest: np.ndarray, seconds: float, scenarios: Iterable[Scenario]) -> float:
    """A score below which the rate of false positives is beyond every scenario's ``max_efpr``.

    Of the clips without an event of the class each has a false positive at every threshold below its ``highest`` score.
    What most runs do is therefore never asked for.
    """
    most = max(s.max_efpr if s.dtc > 0 else np.inf for s in scenarios) * seconds / HOUR  # false positives
    return float(np.sort(highest)[-int(most + 1e-6) - 1]) if most < len(highest) - 1 else -np.inf


def _class_curve(
    label: int, pairs: Overlaps, runs: Runs, floor: float, seconds: float, classes: int, scenario: Scenario
) -> tuple[np.ndarray, np.ndarray]:
    """The class's staircase, at the thresholds above ``floor``: effective FP rate per hour, TP ratio."""
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
    above = value > floor
    share = true[above] / np.count_nonzero(ref.label == label)
    return _curve(value[above], efpr[above], share, scenario.max_efpr)


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
    """The staircase of one class from changes of both rates at scores, up to ``limit``."""
    at, index = np.unique(-value, return_inverse=True)  # [scores] from high to low, [changes]
    x = np.cumsum(np.bincount(index, efpr, minlength=len(at)))  # [scores]: rates with the threshold below each
    y = np.cumsum(np.bincount(index, tpr, minlength=len(at)))
    x = np.maximum(np.round(x, 9), 0.0)  # sums of rates that cancel leave dust
    x, y = staircase(x, y)
    inside = x <= limit
    return x[inside], y[inside]
