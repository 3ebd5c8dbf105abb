"""PSDS by the tools of the field, psds_eval and sed_scores_eval, and what they read: tests and benchmarks compare."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from sed_lab.errors import InputError
from sed_lab.metric.psds import SCENARIOS, Psds, Scenario
from sed_lab.metric.table import Events, EventTable, event_table, merge_overlaps
from sed_lab.types import Event, Scores, frame_times


def psds_by_psds_eval(
    points: Iterable[Events], truth: Events, durations: Mapping[str, float], scenario: Scenario
) -> float:
    """PSDS by psds_eval itself, on the merged ground truth; slow, for comparison.

    Raises:
        InputError: no class has a reference event, or only one has (psds_eval then gives 0 or fails).
    """
    labels = sorted({event.event_label for events in truth.values() for event in events})
    if len(labels) < 2:
        raise InputError(f"psds_eval needs two classes with reference events, there are {len(labels)}; use ours")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas and numpy deprecations inside psds_eval and matplotlib
        from psds_eval import PSDSEval

        metadata = pd.DataFrame({"filename": list(truth), "duration": [durations[c] for c in truth]})
        evaluation = PSDSEval(
            dtc_threshold=scenario.dtc, gtc_threshold=scenario.gtc, cttc_threshold=scenario.cttc,
            ground_truth=_frame(truth, truth, labels), metadata=metadata,
        )  # fmt: skip
        for events in points:
            evaluation.add_operating_point(_frame(events, truth, labels))
        result = evaluation.psds(scenario.alpha_ct, scenario.alpha_st, scenario.max_efpr)
    return float(result.value)


def _frame(events: Events, truth: Events, labels: Sequence[str]) -> Any:
    clip_ids = list(truth)
    table, _ = merge_overlaps(event_table([events], clip_ids, labels))
    return pd.DataFrame(
        {
            "filename": np.array(clip_ids, dtype=object)[table.clip],
            "onset": table.onset,
            "offset": table.offset,
            "event_label": np.array(labels, dtype=object)[table.label],
        }
    )


def psds_exact(
    smoothed: Scores, truth: Events, durations: Mapping[str, float], scenarios: Mapping[str, Scenario] = SCENARIOS
) -> dict[str, Psds]:
    """Exact PSDS of each scenario over all thresholds, by sed_scores_eval.

    ``smoothed`` are scores after the decoder's filter, for exactly the clips of ``truth``. Classes without reference
    event are left out, overlapping and touching ground truth of one class is merged. It counts times to the
    microsecond.

    Raises:
        InputError: no frame scores, no reference event, or a class name holds a backslash.
    """
    clip_ids = list(truth)
    reference, _ = merge_overlaps(event_table([truth], clip_ids, smoothed.classes))
    present = [smoothed.classes[i] for i in np.unique(reference.label)]
    if not present:
        raise InputError("PSDS needs at least one reference event, the ground truth has none")
    frames = to_sed_scores_eval(smoothed.select(clip_ids), present)
    lengths = {clip_id: float(durations[clip_id]) for clip_id in clip_ids}
    results = {}
    with sed_scores_eval() as tool:
        for name, s in scenarios.items():
            cross = s.alpha_ct > 0 and len(present) > 1  # sed_scores_eval fails on cross-triggers of a single class
            value, per_class, (etpr, efpr), curves = tool.intersection_based.psds(
                frames, event_lists(truth), lengths, dtc_threshold=s.dtc, gtc_threshold=s.gtc,
                cttc_threshold=s.cttc if cross else None, alpha_ct=s.alpha_ct if cross else 0.0,
                alpha_st=s.alpha_st, unit_of_time="hour", max_efpr=s.max_efpr,
            )  # fmt: skip
            lines = {label: (np.append(c[1], s.max_efpr), np.append(c[0], c[0][-1])) for label, c in curves.items()}
            areas = {label: float(v) for label, v in per_class.items()}
            results[name] = Psds(float(value), efpr, etpr, areas, lines)
    return results


@contextmanager
def sed_scores_eval() -> Iterator[Any]:
    """The package, imported where it is needed and without its warnings."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import sed_scores_eval

        yield sed_scores_eval


def event_lists(truth: Events) -> dict[str, list[tuple[float, float, str]]]:
    """Ground truth as sed_scores_eval wants it; events of one class that overlap or touch, which it refuses, joined."""
    lists: dict[str, list[tuple[float, float, str]]] = {}
    for clip_id, events in truth.items():
        done: list[tuple[float, float, str]] = []
        last: dict[str, int] = {}
        for event in sorted(events):
            number = last.get(event.event_label)
            if number is not None and event.onset <= done[number][1]:
                done[number] = (done[number][0], max(done[number][1], event.offset), event.event_label)
            else:
                last[event.event_label] = len(done)
                done.append((event.onset, event.offset, event.event_label))
        lists[clip_id] = done
    return lists


def to_sed_scores_eval(scores: Scores, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """Frame scores as sed_scores_eval wants them, one data frame a clip; ``classes`` selects columns.

    Raises:
        InputError: there are no frame scores.
    """
    if scores.frame is None or scores.frame_hop is None:
        raise InputError(f"{scores.name}: sed_scores_eval needs frame scores, there are clip scores only")
    chosen = list(scores.classes if classes is None else classes)
    columns = [scores.classes.index(label) for label in chosen]
    frames = {}
    for clip_id, array, duration in zip(scores.clip_id, scores.frame, scores.duration, strict=True):
        times = frame_times(len(array), scores.frame_hop, float(duration))
        values = array[: len(times) - 1, columns].astype(np.float64)
        table = np.column_stack([times[:-1], times[1:], values])
        frames[clip_id] = pd.DataFrame(table, columns=["onset", "offset", *chosen])
    return frames


def by_point(table: EventTable, clip_ids: Sequence[str], classes: Sequence[str]) -> list[dict[str, tuple[Event, ...]]]:
    """Each operating point's events by clip_id, in time order."""
    found: list[dict[str, list[Event]]] = [{} for _ in range(int(table.point.max(initial=-1)) + 1)]
    columns = (table.point, table.clip, table.label, table.onset, table.offset)
    for point, clip, label, onset, offset in zip(*(column.tolist() for column in columns), strict=True):
        found[point].setdefault(clip_ids[clip], []).append(Event(onset, offset, classes[label]))
    return [{clip_id: tuple(sorted(events)) for clip_id, events in point.items()} for point in found]
