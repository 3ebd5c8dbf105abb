"""Counts by clip against sed_eval's, drawn clips against drawing them one by one."""

from __future__ import annotations

import random

import numpy as np
import pytest

from sed_lab.metric.clip import tagging_f1
from sed_lab.metric.event import event_f1, segment_f1
from sed_lab.metric.resampling import drawn_f1, event_counts, interval_of, segment_counts, tagging_counts
from sed_lab.metric.tune import Rule
from sed_lab.types import Event

CLASSES = ("Cat", "Dog", "Horse")


def some_events(seed: int, clips: int = 30) -> dict[str, tuple[Event, ...]]:
    rng = np.random.default_rng(seed)
    made = {}
    for clip in range(clips):
        onsets = np.sort(rng.uniform(0, 8, rng.integers(0, 4))).round(2)
        labels = rng.choice(CLASSES, len(onsets), p=(0.6, 0.3, 0.1))
        made[f"clip{clip}"] = tuple(
            Event(float(t), float(t + d), str(label))
            for t, d, label in zip(onsets, rng.uniform(0.5, 1.8, len(onsets)).round(2), labels, strict=True)
        )
    return made


def nearby(truth: dict[str, tuple[Event, ...]], seed: int) -> dict[str, tuple[Event, ...]]:
    rng = np.random.default_rng(seed)
    return {
        clip: tuple(
            Event(max(0.0, e.onset + float(rng.normal(0, 0.15))), e.offset + 0.2, e.event_label) for e in events
        )
        for clip, events in truth.items()
    }


def rates(counts: np.ndarray) -> list[float]:
    reference, detected, matched = counts.sum(0).T
    return [float(value) for value in 2 * matched / (reference + detected)]


@pytest.mark.parametrize("onset_only", [False, True])
def test_counts_in_all_clips_are_those_of_the_measures(onset_only: bool) -> None:
    truth = some_events(0)
    found = nearby(truth, 1)
    rule = Rule(collar=0.2, offset_share=0.2, onset_only=onset_only)
    whole = event_f1(found, truth, CLASSES, **rule)["per_class"]
    assert rates(event_counts(found, truth, CLASSES, rule)) == pytest.approx([whole[label]["f1"] for label in CLASSES])
    durations = dict.fromkeys(truth, 10.0)
    for seconds in (1.0, 0.3):
        measured = segment_f1(found, truth, durations, CLASSES, segment_seconds=seconds)["per_class"]
        counts = segment_counts(found, truth, durations, CLASSES, seconds)
        assert rates(counts) == pytest.approx([measured[label]["f1"] for label in CLASSES])
    rng = np.random.default_rng(0)
    scores, target = rng.random((40, 3)), rng.random((40, 3)) > 0.6
    tagged = tagging_f1(scores, target, CLASSES, 0.4)["per_class"]
    assert rates(tagging_counts(scores, target, 0.4)) == pytest.approx([tagged[label]["f1"] for label in CLASSES])


def test_an_interval_over_clips_is_that_of_drawing_them_one_by_one() -> None:
    truth, rule = some_events(2), Rule(collar=0.2, offset_share=0.2, onset_only=False)
    sides = [event_counts(nearby(truth, seed), truth, CLASSES, rule) for seed in (3, 4)]
    draw = random.Random(0)
    differences = []
    for _ in range(3000):
        rows = [draw.randrange(30) for _ in range(30)]
        values = []
        for counts in sides:
            f1 = []
            for label in range(3):
                reference, detected, matched = (sum(counts[row][label][kind] for row in rows) for kind in range(3))
                f1 += [2 * matched / (reference + detected)] if reference else []
            values.append(sum(f1) / len(f1))
        differences.append(values[1] - values[0])
    expected = np.percentile(differences, (2.5, 97.5))
    first, second = (np.nanmean(drawn_f1(counts, zero_score=True), axis=1) for counts in sides)
    found = interval_of(second - first)
    assert found == pytest.approx(expected, abs=0.02)
    assert expected[1] - expected[0] > 0.1  # else two hundredths would say little


def test_what_a_draw_has_none_of_is_not_defined_and_no_spread_is_no_interval() -> None:
    counts = np.zeros((2, 2, 3))
    counts[0, 0] = (1, 1, 0)  # one clip with an event of the first class, missed; the second class has none
    drawn = drawn_f1(counts, zero_score=True)
    assert np.isnan(drawn[:, 1]).all()
    share = np.isnan(drawn[:, 0]).mean()  # both draws are of the other clip in a quarter of cases
    assert share == pytest.approx(0.25, abs=0.04)
    assert (drawn[~np.isnan(drawn[:, 0]), 0] == 0).all()
    assert np.isnan(drawn_f1(counts, zero_score=False)).all()
    assert interval_of(drawn[:, 0]) is None
    assert interval_of(drawn[:, 1]) is None
