"""False alarms counted by hand: in an hour, and in clips without the class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sed_lab.metric import measure as measuring
from sed_lab.metric.alarm import false_alarms
from sed_lab.metric.event import event_f1
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import could_be_metric, is_metric
from sed_lab.types import Event, Scores
from tests.configured import configured

measure = configured("metric/rare2017", measuring.measure)
OnsetDecoder = configured("decoder/amiriparian2018", threshold=0.5)

TRUTH = {"a": (Event(1, 2, "cry"),), "b": (), "c": (Event(5, 6, "shot"),), "d": ()}
FOUND = {
    "a": (Event(9, 10, "cry"),),
    "b": (Event(3, 4, "cry"), Event(7, 8, "cry")),
    "c": (),
    "d": (Event(1, 2, "shot"),),
}
SECONDS = dict.fromkeys(TRUTH, 30.0)
CLASSES = ("cry", "shot")


def of(annotated: Any) -> dict[str, Any]:
    rows = event_f1(FOUND, TRUTH, CLASSES, collar=0.5, onset_only=True)["per_class"]
    return false_alarms(FOUND, TRUTH, SECONDS, CLASSES, rows, annotated)


def test_over_all_clips_and_over_those_a_class_is_annotated_in() -> None:
    whole = of(None)
    # Three detections of cries match nothing: one beside the cry of a, two in b; 2 min in all, 90 s without a cry.
    assert whole["per_class"]["cry"] == {
        "per_hour": pytest.approx(3 * 30), "per_hour_without_target": pytest.approx(2 * 40),
        "false_alarm_rate": pytest.approx(1 / 3), "detection_rate": 1.0,
    }  # fmt: skip
    own = of({"a": ("cry",), "b": ("cry",), "c": ("shot",), "d": ("shot",)})
    assert own["per_class"]["cry"]["per_hour"] == pytest.approx(3 * 60)
    assert own["per_class"]["cry"]["per_hour_without_target"] == pytest.approx(2 * 120)
    assert own["per_class"]["shot"] == {
        "per_hour": pytest.approx(60), "per_hour_without_target": pytest.approx(120),
        "false_alarm_rate": 1.0, "detection_rate": 0.0,
    }  # fmt: skip
    assert own["per_hour"] == pytest.approx((180 + 60) / 2)
    assert of(dict.fromkeys(TRUTH, ("cry",)))["per_class"]["shot"]["per_hour"] is None  # no clip is about it


def test_every_system_of_events_has_them() -> None:
    frame = np.zeros((4, 300, 2), np.float32)
    frame[1, 30:40, 0] = 0.9
    scores = Scores(tuple(TRUTH), CLASSES, np.full(4, 30.0), 0.1, tuple(frame))
    about = {"a": ("cry",), "b": ("cry",), "c": ("shot",), "d": ("shot",)}
    metrics, _ = measure({"system": scores}, TRUTH, SECONDS, OnsetDecoder(), annotated=about)
    flat = flatten(metrics, per_class=True)
    assert flat["system/false_alarms/per_class/cry/per_hour"] == pytest.approx(60)
    assert flat["system/false_alarms/per_hour"] == pytest.approx(30)
    assert all(is_metric(name) for name in flat if "false_alarms" in name)
    assert not could_be_metric("system/false_alarms/an_hour")
