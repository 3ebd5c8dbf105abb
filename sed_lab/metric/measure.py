"""Everything measured on one subset, as one plain dict that states every setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal, cast

import numpy as np

from sed_lab.decoder.base import Decoder, Threshold
from sed_lab.errors import InputError
from sed_lab.metric.accuracy import Reported, accuracy_of
from sed_lab.metric.alarm import false_alarms
from sed_lab.metric.clip import clip_scores, clip_targets, tagging_f1
from sed_lab.metric.det import Rule, det, eer
from sed_lab.metric.event import event_f1, segment_f1
from sed_lab.metric.exact import psds_of_scores
from sed_lab.metric.intersection import intersection_f1
from sed_lab.metric.psds import SCENARIOS, Psds, psds_from_points, thinned
from sed_lab.metric.ranking import ranking
from sed_lab.metric.table import Events, EventTable, check_truth, event_table, merge_overlaps
from sed_lab.metric.tune import tune_threshold
from sed_lab.types import Scores
from sed_lab.waiting import track

Json = dict[str, Any]

CONVENTIONS = {
    "macro": "mean over classes with reference events; tagging: classes that some clip holds; eer, ranking: "
    "some, not all clips",
    "zero_score": "true: such a class with no true positive counts as F1 0; false: it is left out",
    "error_rate": "over all events; error_rate_macro: mean over classes with reference events, without substitutions",
    "collar": "onset within collar; offset within max(collar, offset_share x reference length); no rounding",
    "event_end": "frames with score > threshold (strict); offset at most the clip's duration, of score files the last "
    "frame's end; times to the microsecond",
    "false_alarms": "of a class, in clips annotated for it: detections that event_f1 does not match; mean of classes",
    "segment_length": "every clip's whole duration",
    "event_f1_optimistic": "at the threshold of 0.01, 0.03 ... 0.99 that is best on these clips: no held-out result",
    "overlapping_reference_events": "of one class: merged for PSDS and intersection F1, kept for event and segment F1",
    "psds": "exact: as sed_scores_eval 0.0.4, times to the microsecond; operating_points: as psds_eval 0.5.3, mean "
    "cross-trigger rate over the n - 1 other classes, standard deviation with ddof 0; per_class: exact if computed",
}


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
    tuned_decoder: Mapping[str, Mapping[str, Decoder]] | None = None,
    points: Mapping[str, Sequence[Events]] | None = None,
    annotated: Mapping[str, Sequence[str]] | None = None,
    collar: float,
    offset_share: float,
    onset_only: bool,
    matching: Literal["optimal", "greedy"],
    zero_score: bool,
    segment_seconds: float,
    dtc: float,
    gtc: float,
    cttc: float,
    exact_psds: bool,
    operating_points: int,
    class_share: float,
    tagging_threshold: float,
    eer_rule: Rule,
    bootstrap: int,
    accuracy: Reported | None,
) -> tuple[Json, Json]:
    """Measure systems on one subset: the metrics and the PSD-ROC and DET curves, ready for JSON (None: not defined).

    ``systems`` are scores by name, or detections by clip_id (for PSDS with ``points``: at several thresholds).
    ``truth`` has every clip, also without events; None where only weak ``labels`` are known. ``tuned_threshold`` by
    system adds ``event_f1_tuned``; ``tuned_decoder``, by system and score (``event_f1``, ``psds1``, ``psds2``), these,
    segment F1 and false alarms with ``_class_tuned``; scores always have ``event_f1_optimistic``, best on these clips.
    ``annotated``: the classes a clip's annotation is about, where not all. Further keywords are those of `event_f1` and
    so on; ``operating_points`` 0: none. Metrics: ``{"subset", "settings", "systems": {...}}``.

    Raises:
        InputError: a clip of ``truth`` has no duration or no scores, systems differ in classes, labels are unknown.
    """
    classes = _classes(systems, truth, classes)
    settings: Json = {
        "event_f1": {"collar": collar, "offset_share": offset_share, "onset_only": onset_only, "matching": matching,
                     "zero_score": zero_score}, "tuned": {"class_share": class_share},
        "segment_f1": {"segment_seconds": segment_seconds, "zero_score": zero_score},
        "intersection_f1": {"dtc": dtc, "gtc": gtc, "cttc": cttc, "zero_score": zero_score},
        "psds": {"exact": exact_psds, "operating_points": operating_points}, "accuracy": {"reported": accuracy},
        "tagging_f1": {"threshold": tagging_threshold}, "eer": {"rule": eer_rule, "bootstrap": bootstrap},
    }  # fmt: skip
    known, tuned, own = _known(truth, labels, durations, classes), tuned_threshold or {}, tuned_decoder or {}
    results = {
        name: _measure_system(name, system, truth, durations, decoder, classes, known, settings, tuned.get(name),
                              own.get(name), (points or {}).get(name), annotated)
        for name, system in track(systems.items(), len(systems), f"measuring on {subset}")
    }  # fmt: skip
    curves = {name: found for name, values in results.items() if (found := values.pop("curves", None))}
    stated = _stated(settings, truth, known, durations, decoder, classes)
    return {"subset": subset, "settings": stated, "systems": results}, curves


def _measure_system(
    name: str,
    system: Scores | Events,
    truth: Events | None,
    durations: Mapping[str, float],
    decoder: Decoder,
    classes: Sequence[str],
    labels: Mapping[str, Sequence[str]],
    settings: Json,
    tuned: Threshold | None,
    tuned_decoder: Mapping[str, Decoder] | None,
    points: Sequence[Events] | None,
    annotated: Mapping[str, Sequence[str]] | None,
) -> Json:
    values: Json = {}
    scores = _matching_clips(name, system, list(labels)) if isinstance(system, Scores) else None
    if truth is not None and (scores is None or scores.frame is not None):
        detections = decoder.decode(scores) if scores is not None else cast(Events, system)
        values["event_f1"] = event_f1(detections, truth, classes, **settings["event_f1"], grouped=True)
        counted = values["event_f1"]["per_class"]
        values["false_alarms"] = false_alarms(detections, truth, durations, classes, counted, annotated)
        if scores is not None and tuned is not None:
            best = event_f1(decoder.decode(scores, tuned), truth, classes, **settings["event_f1"], grouped=True)
            plain = dict(tuned) if isinstance(tuned, Mapping) else float(tuned)
            values["event_f1_tuned"] = {**best, "threshold": plain}
        if scores is not None and tuned_decoder:
            values |= _class_tuned(scores, truth, durations, tuned_decoder, settings, annotated)
        if scores is not None:
            rule = {name: settings["event_f1"][name] for name in ("collar", "offset_share", "onset_only")}
            chosen = tune_threshold(scores, truth, decoder, **rule)  # on the clips it is then judged on
            best = event_f1(decoder.decode(scores, chosen), truth, classes, **settings["event_f1"])
            values["event_f1_optimistic"] = {**best, "threshold": chosen}
        segments = segment_f1(detections, truth, durations, classes, **settings["segment_f1"], grouped=True)
        values["segment_f1"] = segments
        values["intersection_f1"] = intersection_f1(
            detections, truth, durations, classes, **settings["intersection_f1"]
        )
        values |= _psds(scores, points, truth, durations, decoder, classes, **settings["psds"])
    if scores is not None:
        found, source = clip_scores(scores)
        target = clip_targets(labels, scores.clip_id, classes)
        tagging = settings["tagging_f1"]["threshold"]
        values["tagging_f1"] = {**tagging_f1(found, target, classes, tagging), "scores": source}
        values["eer"] = {**eer(found, target, classes, **settings["eer"]), "scores": source}
        values["ranking"] = {**ranking(found, target, classes), "scores": source}
        if settings["accuracy"]["reported"]:
            values["accuracy"] = accuracy_of(found, target, settings["accuracy"]["reported"], tagging)
        curve = det(found, target, classes, settings["eer"]["bootstrap"])
        if curve["per_class"]:
            values["curves"] = {**values.get("curves", {}), "det": curve}
    return values


def _class_tuned(
    scores: Scores,
    truth: Events,
    durations: Mapping[str, float],
    decoders: Mapping[str, Decoder],
    settings: Json,
    annotated: Mapping[str, Sequence[str]] | None,
) -> Json:
    """What decoders tuned class by class reach, each by what it was tuned for, and which decoders they are."""
    best = decoders["event_f1"]
    found = best.decode(scores)
    values = {"event_f1": event_f1(found, truth, scores.classes, **settings["event_f1"], grouped=True)}
    counted = values["event_f1"]["per_class"]
    values |= {
        "false_alarms": false_alarms(found, truth, durations, scores.classes, counted, annotated),
        "segment_f1": segment_f1(found, truth, durations, scores.classes, **settings["segment_f1"], grouped=True),
    }
    for name in SCENARIOS if any(truth.values()) else ():
        if name in decoders:
            own = {name: SCENARIOS[name]}
            psds = psds_of_scores(scores, truth, durations, own, decoders[name])[name]
            values[name] = {"exact": psds.value, "per_class": psds.per_class}
    return {
        f"{name}_class_tuned": {**block, "decoder": decoders.get(name, best).settings()}
        for name, block in values.items()
    }


def _known(
    truth: Events | None,
    labels: Mapping[str, Sequence[str]] | None,
    durations: Mapping[str, float],
    classes: Sequence[str],
) -> Mapping[str, Sequence[str]]:
    """Weak labels of the clips to measure: those given, or those the events imply."""
    if truth is None:
        if labels is None:
            raise InputError("there is nothing to measure against: neither events nor weak labels are known")
        return labels
    check_truth(truth, durations, classes)
    if labels is not None:
        return {clip_id: labels.get(clip_id, ()) for clip_id in truth}
    return {clip_id: sorted({event.event_label for event in events}) for clip_id, events in truth.items()}


def _stated(
    settings: Json,
    truth: Events | None,
    labels: Mapping[str, Sequence[str]],
    durations: Mapping[str, float],
    decoder: Decoder,
    classes: Sequence[str],
) -> Json:
    """Settings as recorded: the numbers used, what was measured on, the conventions, the tools."""
    clip_ids = list(labels)
    _, merged = merge_overlaps(event_table([truth or {}], clip_ids, classes))
    there = {label for found in labels.values() for label in found}
    collar = settings["event_f1"]["collar"]
    stated = {name: block for name, block in settings.items() if name != "psds"}
    for name, scenario in SCENARIOS.items():
        stated[name] = {**vars(scenario), **settings["psds"]}
    return {
        "clips": len(clip_ids),
        "seconds": float(sum(durations.get(clip_id, 0.0) for clip_id in clip_ids)),
        "reference_events": sum(len(events) for events in (truth or {}).values()),
        "merged_reference_events": merged,
        "classes": list(classes),
        "classes_without_reference": [label for label in classes if label not in there],
        "decoder": decoder.settings(),
        **stated,
        "onset_collar": collar,
        "offset_collar": collar,
        "conventions": CONVENTIONS,
        "versions": {tool: version(tool) for tool in ("sed_eval", "psds_eval", "sed_scores_eval", "numpy")},
    }


def _classes(
    systems: Mapping[str, Scores | Events], truth: Events | None, classes: Sequence[str] | None
) -> tuple[str, ...]:
    """The class order: given, that of the scores, or every label met, sorted."""
    orders = {name: system.classes for name, system in systems.items() if isinstance(system, Scores)}
    if classes is not None:
        known = tuple(classes)
    elif orders:
        known = next(iter(orders.values()))
    else:
        groups = [truth or {}, *(cast(Events, system) for system in systems.values())]
        known = tuple(sorted({event.event_label for group in groups for events in group.values() for event in events}))
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
    operating_points: int,
) -> Json:
    """PSDS blocks and curves; empty where there is nothing to compute them from."""
    if not any(truth.values()) or (scores is None and given is None):
        return {}
    found: dict[str, Psds] = {}
    values: Json = {name: {"exact": None, "operating_points": None, "per_class": {}} for name in SCENARIOS}
    if given is not None or operating_points:
        events: EventTable | Sequence[Events] = given if given is not None else []
        if scores is not None:
            events = EventTable(*decoder.points(scores, (np.arange(operating_points) + 0.5) / operating_points))
        found = psds_from_points(events, truth, durations, classes)
        for name in SCENARIOS:
            values[name]["operating_points"] = found[name].value
    if exact and scores is not None:
        found = psds_of_scores(scores, truth, durations, decoder=decoder)
        for name in SCENARIOS:
            values[name]["exact"] = found[name].value
    for name in found:
        values[name]["per_class"] = found[name].per_class
    return {**values, "curves": {name: thinned(curve) for name, curve in found.items()}}


def flatten(metrics: Json, per_class: bool = False) -> dict[str, float]:
    """``{"student/event_f1/macro": 0.42, ...}`` of every defined number, for loggers and tables.

    Those of other test subsets (``metrics["others"]``) have the subset's name in front. A decoder's settings are none.
    """
    flat: dict[str, float] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key != "decoder" and (per_class or key != "per_class"):
                    walk(f"{prefix}/{key}" if prefix else key, item)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[prefix] = float(value)

    walk("", metrics["systems"])
    for subset, other in metrics.get("others", {}).items():
        walk(subset, other["systems"])
    return flat


def per_class_rows(metrics: Json) -> list[dict[str, Any]]:
    """One row a system, metric and class for a table; columns that a metric does not have stay empty (None)."""
    rates = ("f1", "precision", "recall", "error_rate", "psds", "eer", "average_precision", "auc", "d_prime")
    counts = ("n_reference", "n_detected")
    columns = (*rates, *counts, "per_hour", "per_hour_without_target", "false_alarm_rate", "detection_rate")
    rows = []
    for system, values in metrics["systems"].items():
        for metric, block in values.items():
            for label, row in block.get("per_class", {}).items():
                row = row if isinstance(row, Mapping) else {"psds": row}
                head = {"subset": metrics["subset"], "system": system, "metric": metric, "event_label": label}
                rows.append({**head, **{column: row.get(column) for column in columns}})
    return rows
