"""Event-based and segment-based F1 and error rate (Mesaros et al., Applied Sciences 2016), counted by sed_eval."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from sed_lab.errors import InputError
from sed_lab.metric.groups import GROUPS, groups_of, in_groups
from sed_lab.metric.intersection import number
from sed_lab.metric.table import Events
from sed_lab.types import Event


def event_f1(
    detections: Events,
    truth: Events,
    classes: Sequence[str],
    *,
    collar: float = 0.2,
    offset_share: float = 0.2,
    onset_only: bool = False,
    matching: Literal["optimal", "greedy"] = "optimal",
    zero_score: bool = True,
    grouped: bool = False,
) -> dict[str, Any]:
    """Event-based F1 and error rate (ER).

    A detection is right when its onset lies within ``collar`` seconds of the reference onset and, unless
    ``onset_only``, its offset within max(``collar``, ``offset_share`` x reference length). Times are compared as plain
    doubles without rounding, as sed_eval does (0.2 s late may be a miss by the last bit). Detections in clips that
    ``truth`` does not name are not counted.

    ``macro`` is the mean over classes whose F1 is defined: a class without reference event is left out, a class never
    detected counts as 0 (``zero_score``) or is left out too (sed_eval's own default). ``error_rate`` is overall, with
    substitutions; ``error_rate_macro`` is the mean over classes with reference events, where a class knows no
    substitution. ``grouped`` adds the counts of `sed_lab.metric.groups`, where there are clips enough.

    Raises:
        InputError: an event's label is not one of ``classes``.
    """
    _check_labels(detections, truth, classes)
    with _sed_eval() as sed_eval:
        metric = sed_eval.sound_event.EventBasedMetrics(
            event_label_list=list(classes), evaluate_onset=True, evaluate_offset=not onset_only,
            t_collar=float(collar), percentage_of_length=float(offset_share), event_matching_type=matching,
            empty_system_output_handling="zero_score" if zero_score else None,
        )  # fmt: skip

        def count(clip_id: str) -> None:
            events, found = truth[clip_id], detections.get(clip_id, ())
            if events or found:
                metric.evaluate(_event_list(clip_id, events), _event_list(clip_id, found))

        groups = _by_group(metric, count, [*truth], classes, grouped)
        return _result(metric, classes) | groups


def segment_f1(
    detections: Events,
    truth: Events,
    durations: Mapping[str, float],
    classes: Sequence[str],
    *,
    segment_seconds: float = 1.0,
    zero_score: bool = True,
    grouped: bool = False,
) -> dict[str, Any]:
    """Segment-based F1 and error rate over every clip's whole length; an event makes every segment it touches active.

    Macro, error rates and ``grouped`` as in `event_f1`, ``n_reference`` and ``n_detected`` count segments.

    Raises:
        InputError: an event's label is not one of ``classes``.
    """
    _check_labels(detections, truth, classes)
    with _sed_eval() as sed_eval:
        metric = sed_eval.sound_event.SegmentBasedMetrics(list(classes), time_resolution=float(segment_seconds))
        metric.empty_system_output_handling = "zero_score" if zero_score else None  # not an argument of this class

        def count(clip_id: str) -> None:
            events, found = truth[clip_id], detections.get(clip_id, ())
            if events or found:  # a clip without either adds true negatives only, which neither F1 nor ER uses
                reference, estimate = _event_list(clip_id, events), _event_list(clip_id, found)
                metric.evaluate(reference, estimate, evaluated_length_seconds=float(durations[clip_id]))

        groups = _by_group(metric, count, [*truth], classes, grouped)
        return _result(metric, classes) | groups


def _by_group(
    metric: Any, count: Callable[[str], None], clip_ids: Sequence[str], classes: Sequence[str], grouped: bool
) -> dict[str, Any]:
    """Let ``metric`` ``count`` all clips; what it counted in each group, where that is asked for."""
    group = groups_of(len(clip_ids))
    if not grouped or not group.any():
        for clip_id in clip_ids:
            count(clip_id)
        return {}
    so_far = [np.zeros((len(classes), 3))]
    for part in range(GROUPS):
        for i in np.flatnonzero(group == part):
            count(clip_ids[i])
        counted = [metric.class_wise[label] for label in classes]
        so_far.append(np.array([[one["Nref"], one["Nsys"], one["Ntp"]] for one in counted], dtype=float))
    return {"groups": in_groups(np.diff(so_far, axis=0), classes)}


@contextmanager
def _sed_eval() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import sed_eval

        yield sed_eval


def _event_list(clip_id: str, events: Sequence[Event]) -> Any:
    import dcase_util

    rows = [{"filename": clip_id, "onset": e.onset, "offset": e.offset, "event_label": e.event_label} for e in events]
    return dcase_util.containers.MetaDataContainer(rows)


def _result(metric: Any, classes: Sequence[str]) -> dict[str, Any]:
    per_class = {}
    for label in classes:
        scores, counted = metric.class_wise_f_measure(label), metric.class_wise_count(label)
        rate = metric.class_wise_error_rate(label)["error_rate"] if counted["Nref"] else np.nan
        per_class[label] = {
            "f1": number(scores["f_measure"]),
            "precision": number(scores["precision"]),
            "recall": number(scores["recall"]),
            "error_rate": number(rate),
            "n_reference": float(counted["Nref"]),
            "n_detected": float(counted["Nsys"]),
        }
    overall = metric.overall_error_rate() if metric.overall["Nref"] else {"error_rate": np.nan}
    return {
        "macro": mean([row["f1"] for row in per_class.values()]),
        "micro": number(metric.overall_f_measure()["f_measure"]),
        "error_rate": number(overall["error_rate"]),
        "error_rate_macro": mean([row["error_rate"] for row in per_class.values()]),
        "per_class": per_class,
    }


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _check_labels(detections: Events, truth: Events, classes: Sequence[str]) -> None:
    met = {event.event_label for clip in truth for event in (*truth[clip], *detections.get(clip, ()))}
    unknown = met - set(classes)
    if unknown:
        raise InputError(f"events have labels {', '.join(sorted(unknown))} that are not among the classes measured")
