"""Everything measured on one subset, as one plain dict that states every setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from sed_lab.decoder import Decoder
from sed_lab.errors import InputError
from sed_lab.metric.clip import clip_scores, clip_targets, tagging_f1
from sed_lab.metric.det import eer
from sed_lab.metric.event import event_f1, segment_f1
from sed_lab.metric.intersection import intersection_f1
from sed_lab.metric.psds import SCENARIOS, Psds, psds_by_psds_eval, psds_exact, psds_from_points, thinned
from sed_lab.metric.table import EventTable, Events, check_truth, event_table, merge_overlaps
from sed_lab.types import Scores

Threshold = float | Mapping[str, float]
Json = dict[str, Any]


def measure(
    systems: Mapping[str, Scores | Events],
    truth: Events | None,
    durations: Mapping[str, float],
    decoder: Decoder,
    *,
    subset: str = "test",
    classes: Sequence[str] | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
    tuned_threshold: Mapping[str, Threshold] | None = None,
    points: Mapping[str, Sequence[Events]] | None = None,
    collar: float = 0.2,
    offset_share: float = 0.2,
    onset_only: bool = False,
    matching: Literal["optimal", "greedy"] = "optimal",
    zero_score: bool = True,
    segment_seconds: float = 1.0,
    dtc: float = 0.5,
    gtc: float = 0.5,
    cttc: float = 0.3,
    exact_psds: bool = True,
    operating_points: int = 50,
    psds_tool: Literal["vectorised", "psds_eval"] = "vectorised",
    tagging_threshold: float = 0.5,
    eer_rule: Literal["interpolated", "nearest"] = "interpolated",
) -> Json:
    """Measure systems on one subset.

    Args:
        systems: scores, or detections by clip_id (then without PSDS, unless ``points`` has them, tagging and EER).
        truth: events of every clip by clip_id, clips without events too; None where only ``labels`` are known.
        durations: seconds of every clip of ``truth``.
        decoder: turns scores into events.
        classes: the class order; needed where no system has scores.
        labels: weak labels by clip_id; default: those that ``truth`` implies.
        tuned_threshold: by system, a threshold chosen on another subset; adds ``event_f1_tuned``.
        points: by system, detections at several operating points, for PSDS of a system without scores.
        collar, offset_share, onset_only, matching: as in `event_f1`, which also explains ``zero_score``.
        segment_seconds: as in `segment_f1`.
        dtc, gtc, cttc: of the intersection F1; PSDS1 and PSDS2 have their own (`SCENARIOS`).
        exact_psds: whether to compute exact PSDS (slow and large with hundreds of classes).
        operating_points: thresholds of the approximate PSDS: (i + 0.5) / K, so 0.01, 0.03 ... 0.99 for 50; 0: none.
        psds_tool: who computes it; both give the same within 1e-9.
        tagging_threshold: of the tagging F1.
        eer_rule: as in `equal_error_rate`.

    Returns:
        ``{"subset", "settings", "systems": {name: {metric: values}}, "curves": {name: {"psds1": ...}}}``; None stands
        for a value that is not defined.

    Raises:
        InputError: a clip of ``truth`` has no duration or no scores, systems differ in classes, labels are unknown.
    """
    classes = _classes(systems, classes)
    event = {"collar": collar, "offset_share": offset_share, "onset_only": onset_only, "matching": matching}
    result: Json = {"subset": subset, "settings": {}, "systems": {}, "curves": {}}
    if truth is not None:
        check_truth(truth, durations, classes)
    if labels is None:
        labels = {clip_id: sorted({e.event_label for e in events}) for clip_id, events in (truth or {}).items()}
    for name, system in systems.items():
        values: Json = {}
        scores = system if isinstance(system, Scores) else None
        if scores is not None:
            scores = _matching_clips(name, scores, list(truth or labels))
        if truth is not None and (scores is None or scores.frame is not None):
            detections = system if not isinstance(system, Scores) else decoder.decode(scores)  # type: ignore[arg-type]
            values["event_f1"] = event_f1(detections, truth, classes, zero_score=zero_score, **event)
            threshold = (tuned_threshold or {}).get(name)
            if scores is not None and threshold is not None:
                tuned = event_f1(decoder.decode(scores, threshold), truth, classes, zero_score=zero_score, **event)
                values["event_f1_tuned"] = {**tuned, "threshold": _plain(threshold)}
            values["segment_f1"] = segment_f1(
                detections, truth, durations, classes, segment_seconds=segment_seconds, zero_score=zero_score
            )
            values["intersection_f1"] = intersection_f1(
                detections, truth, durations, classes, dtc=dtc, gtc=gtc, cttc=cttc, zero_score=zero_score
            )
            psds, curves = _psds(
                scores, (points or {}).get(name), truth, durations, decoder, classes, exact_psds, operating_points,
                psds_tool,
            )  # fmt: skip
            values |= psds
            result["curves"][name] = curves
        if scores is not None:
            found, source = clip_scores(scores)
            target = clip_targets(labels, scores.clip_id, classes)
            values["tagging_f1"] = {**tagging_f1(found, target, classes, tagging_threshold), "scores": source}
            values["eer"] = {**eer(found, target, classes, eer_rule), "scores": source}
        result["systems"][name] = values
    result["settings"] = {
        **_subset_settings(truth, labels, durations, classes),
        "decoder": decoder.settings(),
        "event_f1": {
            **event, "onset_collar": collar, "offset_collar": collar, "collar_rounding": "none (plain doubles)",
            "zero_score": zero_score, "macro": "classes with reference events",
            "error_rate": "overall; error_rate_macro: mean over classes with reference events",
        },
        "segment_f1": {"segment_seconds": segment_seconds, "zero_score": zero_score, "length": "clip duration"},
        "intersection_f1": {"dtc": dtc, "gtc": gtc, "cttc": cttc, "zero_score": zero_score},
        **{name: {**vars(s), "exact": exact_psds, "operating_points": operating_points, "tool": psds_tool}
           for name, s in SCENARIOS.items()},
        "tagging_f1": {"threshold": tagging_threshold, "macro": "classes that some clip holds"},
        "eer": {"rule": eer_rule, "macro": "classes that some and not all clips hold"},
        "versions": {tool: version(tool) for tool in ("sed_eval", "psds_eval", "sed_scores_eval", "numpy")},
    }  # fmt: skip
    return result


def _classes(systems: Mapping[str, Scores | Events], classes: Sequence[str] | None) -> tuple[str, ...]:
    orders = {name: system.classes for name, system in systems.items() if isinstance(system, Scores)}
    known = tuple(classes) if classes is not None else next(iter(orders.values()), None)
    if known is None:
        raise InputError("detections without scores name no class order; give the list of classes")
    for name, order in orders.items():
        if order != known:
            raise InputError(f"{name} has classes {', '.join(order)}, expected {', '.join(known)}")
    return known


def _matching_clips(name: str, scores: Scores, clip_ids: Sequence[str]) -> Scores:
    there = set(scores.clip_id)
    missing = [clip_id for clip_id in clip_ids if clip_id not in there]
    if missing:
        raise InputError(f"{name} has no scores of {len(missing)} annotated clips, {missing[0]} first; score them too")
    return scores.select(clip_ids)


def _psds(
    scores: Scores | None,
    given: Sequence[Events] | None,
    truth: Events,
    durations: Mapping[str, float],
    decoder: Decoder,
    classes: Sequence[str],
    exact: bool,
    number: int,
    tool: str,
) -> tuple[Json, Json]:
    """PSDS blocks and curves; empty where there is nothing to compute them from."""
    if not any(truth.values()) or (scores is None and given is None):
        return {}, {}
    found: dict[str, Psds] = {}
    values: Json = {name: {"exact": None, "operating_points": None, "per_class": {}} for name in SCENARIOS}
    if given is not None or number:
        events: EventTable | Sequence[Events] = given if given is not None else []
        if scores is not None:
            events = EventTable(*decoder.points(scores, (np.arange(number) + 0.5) / number))
        found = psds_from_points(events, truth, durations, classes)
        for name, scenario in SCENARIOS.items():
            value = found[name].value
            if tool == "psds_eval":
                value = psds_by_psds_eval(_lists(events, list(truth), classes), truth, durations, scenario)
            values[name]["operating_points"] = value
    if exact and scores is not None:
        found = psds_exact(decoder.smooth(scores), truth, durations)
        for name in SCENARIOS:
            values[name]["exact"] = found[name].value
    for name in found:
        values[name]["per_class"] = found[name].per_class
    return values, {name: thinned(curve) for name, curve in found.items()}


def _lists(events: EventTable | Sequence[Events], clip_ids: Sequence[str], classes: Sequence[str]) -> list[Events]:
    if not isinstance(events, EventTable):
        return list(events)
    return events.by_point(clip_ids, classes)


def _subset_settings(
    truth: Events | None, labels: Mapping[str, Sequence[str]], durations: Mapping[str, float], classes: Sequence[str]
) -> Json:
    clip_ids = list(truth if truth is not None else labels)
    _, merged = merge_overlaps(event_table([truth or {}], clip_ids, classes))
    there = {label for found in labels.values() for label in found}
    return {
        "clips": len(clip_ids),
        "seconds": float(sum(durations.get(clip_id, 0.0) for clip_id in clip_ids)),
        "reference_events": sum(len(events) for events in (truth or {}).values()),
        "merged_reference_events": merged,
        "classes": list(classes),
        "classes_without_reference": [label for label in classes if label not in there],
    }


def _plain(threshold: Threshold) -> Any:
    return dict(threshold) if isinstance(threshold, Mapping) else float(threshold)


def flatten(metrics: Json, per_class: bool = False) -> dict[str, float]:
    """``{"student/event_f1/macro": 0.42, ...}`` of every defined number, for loggers and tables."""
    flat: dict[str, float] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                if per_class or key != "per_class":
                    walk(f"{prefix}/{key}" if prefix else key, item)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[prefix] = float(value)

    walk("", metrics["systems"])
    return flat


def per_class_rows(metrics: Json) -> list[dict[str, Any]]:
    """One row a system, metric and class for a table; columns that a metric does not have stay empty (None)."""
    columns = ("f1", "precision", "recall", "error_rate", "psds", "eer", "n_reference", "n_detected")
    rows = []
    for system, values in metrics["systems"].items():
        for metric, block in values.items():
            for label, row in block.get("per_class", {}).items():
                row = row if isinstance(row, Mapping) else {"psds": row}
                head = {"subset": metrics["subset"], "system": system, "metric": metric, "event_label": label}
                rows.append({**head, **{column: row.get(column) for column in columns}})
    return rows
