"""False alarms: how many in an hour, and in how many recordings that do not hold the class at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sed_lab.metric.event import mean
from sed_lab.metric.table import Events


def false_alarms(
    detections: Events,
    truth: Events,
    durations: Mapping[str, float],
    classes: Sequence[str],
    matched: Mapping[str, Mapping[str, float | None]],
    annotated: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """False alarms of each class's detector, and their means over the classes.

    Of each class, over the clips that are annotated for it (``annotated`` by clip_id; None: all are)::

        per_hour                   detections that match no reference event, in an hour
        per_hour_without_target    detections in an hour of clips that do not hold the class
        false_alarm_rate           share of such clips with a detection
        detection_rate             share of the clips that hold it with a detection, wherever it lies

    ``matched`` are `event_f1`'s rows by class: what it matches is no false alarm. A number of no clip is None.
    """
    per_class = {}
    for label in classes:
        own = [name for name in truth if annotated is None or label in annotated.get(name, classes)]
        holds = {name for name in own if any(event.event_label == label for event in truth[name])}
        found = {name: sum(event.event_label == label for event in detections.get(name, ())) for name in own}
        without = [name for name in own if name not in holds]
        row = matched[label]
        wrong = round((row["n_detected"] or 0) * (1 - (row["precision"] or 0)))
        per_class[label] = {
            "per_hour": _ratio(wrong, _hours(own, durations)),
            "per_hour_without_target": _ratio(sum(found[name] for name in without), _hours(without, durations)),
            "false_alarm_rate": _ratio(sum(found[name] > 0 for name in without), len(without)),
            "detection_rate": _ratio(sum(found[name] > 0 for name in holds), len(holds)),
        }
    means = {name: mean([row[name] for row in per_class.values()]) for name in next(iter(per_class.values()), {})}
    return {**means, "per_class": per_class}


def _hours(clips: Sequence[str], durations: Mapping[str, float]) -> float:
    return sum(durations[name] for name in clips) / 3600


def _ratio(count: float, of: float) -> float | None:
    return count / of if of else None
