"""Numbers without a group of clips: those of the clips that remain, and a variance that a bootstrap over clips has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sed_lab.metric import measure as measuring
from sed_lab.metric.event import event_f1
from sed_lab.metric.groups import GROUPS, groups_of, variance, without_groups
from sed_lab.types import Event, Scores
from tests.configured import configured

MedianDecoder = configured("decoder/default")
measure = configured("metric/default", measuring.measure)

CLASSES = ("Cat", "Dog", "Owl")
CLIPS = 90
NAMES = [
    *(f"s/{block}/{key}" for block in ("event_f1", "event_f1_tuned", "segment_f1") for key in
      ("macro", "micro", "error_rate_macro", "per_class/Dog/f1", "per_class/Cat/precision", "per_class/Owl/recall",
       "per_class/Dog/error_rate")),
    "s/tagging_f1/macro", "s/tagging_f1/per_class/Owl/f1", "s/eer/macro", "s/eer/per_class/Cat/eer",
    "s/accuracy/argmax", "s/accuracy/element_wise", "s/accuracy/precision", "s/accuracy/reported",
]  # fmt: skip


def made(seed: int, clips: int = CLIPS) -> tuple[Scores, dict[str, tuple[Event, ...]]]:
    """Clips of three seconds with an event or two, and scores that find most of them."""
    rng = np.random.default_rng(seed)
    truth, frames = {}, []
    for i in range(clips):
        scores = 0.48 * rng.random((30, 3)).astype(np.float32)
        events = []
        for label in rng.choice(3, rng.integers(1, 3), replace=False):
            onset = int(rng.integers(0, 18))
            events.append(Event(onset / 10, (onset + 10) / 10, CLASSES[label]))
            found = label if rng.random() < 0.8 else (label + 1) % 3
            scores[onset : onset + 10, found] += np.float32(0.3 + 0.2 * rng.random())
        truth[f"c{i}"] = tuple(events)
        frames.append(np.minimum(scores, np.float32(1)))
    ids, duration = tuple(truth), np.full(clips, 3.0)
    return Scores(ids, CLASSES, duration, 0.1, tuple(frames), None, "made"), truth


def measured(scores: Scores, truth: dict[str, tuple[Event, ...]], **more: Any) -> dict[str, Any]:
    more = {"tuned_threshold": {"s": 0.6}, "exact_psds": False, "accuracy": "argmax", "bootstrap": 0, **more}
    return measure({"s": scores}, truth, dict.fromkeys(truth, 3.0), MedianDecoder(), **more)[0]


def value(metrics: dict[str, Any], name: str) -> float:
    return measuring.flatten(metrics, per_class=True)[name]


def test_a_number_without_a_group_is_that_of_the_other_clips() -> None:
    scores, truth = made(0)
    metrics = measured(scores, truth)
    found = {name: without_groups(metrics, name) for name in NAMES}
    group = groups_of(CLIPS)
    assert sorted(np.bincount(group)) == [4] * 10 + [5] * 10
    for left_out in (0, 13):
        there = [clip for clip, its in zip(truth, group, strict=True) if its != left_out]
        rest = measured(scores.select(there), {clip: truth[clip] for clip in there})
        for name, values in found.items():
            assert values is not None, name
            assert len(values) == GROUPS
            assert values[left_out] == pytest.approx(value(rest, name), abs=1e-6), name
    assert len({round(float(v), 6) for v in found["s/event_f1/macro"]}) > 10  # type: ignore[union-attr]


def test_the_variance_is_that_of_a_bootstrap_over_clips_also_of_a_difference() -> None:
    a, truth = made(1, 300)
    rng, decoder = np.random.default_rng(5), MedianDecoder(threshold=0.6)
    b = replace(a, frame=tuple(frame * np.float32(rng.uniform(0.75, 1)) for frame in a.frame or ()))
    per_clip, without = [], []
    for scores in (a, b):
        found = decoder.decode(scores)
        whole = event_f1(found, truth, CLASSES, grouped=True)
        metrics = {"systems": {"s": {"event_f1": whole}}, "settings": {"event_f1": {"zero_score": True}}}
        values = without_groups(metrics, "s/event_f1/macro")
        assert values is not None
        without.append(values)
        rows = [event_f1(found, {clip: truth[clip]}, CLASSES)["per_class"] for clip in truth]
        per_clip.append(np.array([[count(row[label]) for label in CLASSES] for row in rows]))

    def macro(counts: np.ndarray, clips: np.ndarray) -> float:
        reference, detected, matched = counts[clips].sum(axis=0).T
        return float(np.mean(2 * matched / (reference + detected)))

    drawn = [rng.integers(0, 300, 300) for _ in range(400)]
    for weights in ((1, 0), (1, -1)):
        ours = variance(weights[0] * without[0] + weights[1] * without[1])
        theirs = np.var(
            [sum(w * macro(one, clips) for w, one in zip(weights, per_clip, strict=True)) for clips in drawn]
        )
        assert 0.4 < ours / theirs < 2.2  # with 20 groups, one in a thousand lies beyond
    assert variance(without[0] - without[1]) < 0.8 * (variance(without[0]) + variance(without[1]))  # the same clips


def count(row: dict[str, float | None]) -> tuple[float, float, int]:
    detected = row["n_detected"] or 0.0
    return row["n_reference"] or 0.0, detected, round((row["precision"] or 0.0) * detected)


def test_nothing_is_said_where_nothing_is_kept() -> None:
    scores, truth = made(2)
    metrics = measured(scores, truth, exact_psds=True)
    for name in ("s/psds1/exact", "s/event_f1_optimistic/macro", "s/event_f1/error_rate", "t/event_f1/macro",
                 "training/s/event_f1/macro", "s/event_f1/per_class/Bat/f1", "dataset/per_class/Dog/V_c"):  # fmt: skip
        assert without_groups(metrics, name) is None, name
    metrics["systems"]["s"]["event_f1"]["macro"] += 0.01  # another rule than the counts'
    assert without_groups(metrics, "s/event_f1/macro") is None
    few = measured(scores.select([*truth][:39]), {clip: truth[clip] for clip in [*truth][:39]})
    assert without_groups(few, "s/event_f1/macro") is None
    other = {"systems": {}, "others": {"synthetic_test": measured(scores, truth)}}
    assert without_groups(other, "synthetic_test/s/event_f1/macro") is not None
