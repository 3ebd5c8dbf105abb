"""DET and EER against sklearn, sed_eval and stored torchmetrics results, and the note's hand-made vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sed_lab.metric.det import det, det_curve, eer, equal_error_rate

levels = st.integers(0, 8).map(lambda i: i / 8)  # ties happen


def test_the_vector_of_arora_and_haeb_umbach_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.4, 0.7, 0.3, 0.2, 0.1])
    target = np.array([1, 1, 1, 0, 0, 0, 0], bool)
    alarm, miss = det_curve(scores, target)
    assert list(zip(alarm, miss.round(9), strict=True))[2:5] == [(0.0, 0.333333333), (0.25, 0.333333333), (0.25, 0.0)]
    assert equal_error_rate(scores, target) == pytest.approx(0.25)


@given(st.lists(st.tuples(levels, st.booleans()), min_size=2, max_size=40))
def test_curve_and_eer_are_those_of_sklearn_and_sed_eval(rows: list[tuple[float, bool]]) -> None:
    from sklearn.metrics import roc_curve

    scores, target = np.array([s for s, _ in rows]), np.array([t for _, t in rows])
    if target.all() or not target.any():
        assert np.isnan(equal_error_rate(scores, target))
        assert np.isnan(equal_error_rate(scores, target, "nearest"))
        return
    alarm, hit, _ = roc_curve(target, scores, drop_intermediate=False)
    ours = det_curve(scores, target)
    assert ours[0] == pytest.approx(alarm, abs=1e-12)
    assert ours[1] == pytest.approx(1 - hit, abs=1e-12)
    # sed_eval's rule, brentq on the interpolated curve, with its own interpolation written out
    x = np.linspace(0, 1, 200001)
    along = np.interp(x, np.arange(len(alarm)) / (len(alarm) - 1), alarm - (1 - hit))
    place = x[np.argmin(np.abs(along))]
    expected = np.interp(place, np.arange(len(alarm)) / (len(alarm) - 1), alarm)
    assert equal_error_rate(scores, target) == pytest.approx(expected, abs=2e-4)


def test_stored_results(material: Any) -> None:
    expected = material.json("det_eer/expected.json")
    rows = material.rows("det_eer/scores.tsv")
    classes = ["k0", "k1", "k2", "k3"]
    scores = np.array([[float(row[c]) for c in classes] for row in rows])
    target = np.array([[row["label"] == c for c in classes] for row in rows])
    ours, nearest = eer(scores, target, classes), eer(scores, target, classes, "nearest")
    for label in classes:
        by_nearest = nearest["per_class"][label]["eer"]
        assert ours["per_class"][label]["eer"] == pytest.approx(expected[label]["eer_interpolated_full_roc"], abs=1e-12)
        assert by_nearest == pytest.approx(expected[label]["eer_argmin_mean_float64"], abs=1e-12)
        assert by_nearest == pytest.approx(expected[label]["torchmetrics_binary_eer"], abs=1e-6)
        assert ours["per_class"][label]["n_reference"] == expected["class_counts"][label]
        stored = expected[label]["sklearn_det_curve"]
        points = set(zip(*(np.round(curve, 9) for curve in det_curve(scores[:, 0], target[:, 0])), strict=True))
        if label == "k0":
            assert set(zip(np.round(stored["fpr"], 9), np.round(stored["fnr"], 9), strict=True)) <= points
    assert ours["macro"] == pytest.approx(expected["macro_eer_interpolated_full_roc"], abs=1e-12)
    assert ours["micro"] == pytest.approx(expected["micro_pooled"]["eer_interpolated_full_roc"], abs=1e-12)
    assert nearest["macro"] == pytest.approx(expected["macro_torchmetrics_binary_eer"], abs=1e-6)


@pytest.mark.parametrize(
    ("scores", "target", "value"),
    [
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0], 0.5),  # constant
        ([0.9, 0.8, 0.1, 0.2], [1, 1, 0, 0], 0.0),  # perfect
        ([0.1, 0.2, 0.9, 0.8], [1, 1, 0, 0], 1.0),  # inverted
    ],
)
def test_degenerate_scores(scores: list[float], target: list[int], value: float) -> None:
    assert equal_error_rate(np.array(scores), np.array(target)) == value


def test_classes_that_are_absent_or_everywhere_have_no_eer() -> None:
    scores = np.array([[0.9, 0.2, 0.3], [0.1, 0.3, 0.4]])
    ours = eer(scores, np.array([[1, 0, 1], [0, 0, 1]]), ["a", "b", "c"])
    assert [ours["per_class"][label]["eer"] for label in "abc"] == [0.0, None, None]
    assert ours["macro"] == 0.0
    assert eer(scores, np.zeros((2, 3)), ["a", "b", "c"])["macro"] is None


def test_torchmetrics_agrees_on_the_nearest_rule_and_sklearn_on_the_curve() -> None:
    from torchmetrics.functional.classification import binary_eer

    rng = np.random.default_rng(0)
    for _ in range(20):
        target = rng.random(80) < 0.2
        scores = np.round(rng.random(80) * 0.6 + target * 0.3, 2).astype(np.float32)
        theirs = float(binary_eer(torch.from_numpy(scores), torch.from_numpy(target.astype(int))))
        assert equal_error_rate(scores, target, "nearest") == pytest.approx(theirs, abs=1e-6)


def test_weights_count_clips_as_often_as_copies_would() -> None:
    rng = np.random.default_rng(1)
    scores, target = np.round(rng.random(30), 1), rng.random(30) < 0.4
    weight = rng.integers(0, 4, size=(5, 30))
    alarm, miss = det_curve(scores, target, weight)
    for row, times in enumerate(weight):
        expected = det_curve(np.repeat(scores, times), np.repeat(target, times))
        # A threshold at which no clip counts leaves the point where it was.
        points = dict.fromkeys(zip(alarm[row].round(12), miss[row].round(12), strict=True))
        assert list(points) == list(dict.fromkeys(zip(*(rate.round(12) for rate in expected), strict=True)))


def test_intervals_are_those_of_resampled_clips() -> None:
    rng = np.random.default_rng(2)
    target = rng.random((200, 2)) < [0.3, 0.1]
    scores = rng.random((200, 2)) + 0.5 * target
    found = eer(scores, target, ("a", "b"), bootstrap=400)
    drawn = []
    for _ in range(400):
        clips = rng.integers(200, size=200)
        drawn.append([equal_error_rate(scores[clips, i], target[clips, i]) for i in range(2)])
    for i, label in enumerate("ab"):
        row = found["per_class"][label]
        assert row["low"] < row["eer"] < row["high"]
        low, high = np.percentile([values[i] for values in drawn], [2.5, 97.5])
        assert (row["low"], row["high"]) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))
    low, high = np.percentile(np.mean(drawn, axis=1), [2.5, 97.5])
    assert (found["macro_low"], found["macro_high"]) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))
    assert eer(scores, target, ("a", "b"), bootstrap=400) == found  # the same draws each time
    assert {**found, "per_class": None} != eer(scores, target, ("a", "b"))


def test_stored_curves_lie_on_the_points_and_between_them() -> None:
    scores = np.array([[0.9], [0.8], [0.7], [0.4], [0.3], [0.2], [0.1]])
    target = np.array([[1], [1], [0], [1], [0], [0], [0]], dtype=bool)
    found = det(scores, target, ("a",), bootstrap=50)
    alarm, miss = np.array(found["false_alarm"]), np.array(found["per_class"]["a"]["miss"])
    # The points are (0, 1/3), (.25, 1/3), (.25, 0) and (1, 0); where two lie above each other the lower one counts.
    assert miss[alarm < 0.25] == pytest.approx(1 / 3, abs=1e-5)
    assert miss[alarm >= 0.25] == pytest.approx(0)
    assert found["mean"]["miss"] == found["per_class"]["a"]["miss"]
    band = found["per_class"]["a"]
    assert all(low <= high for low, high in zip(band["low"], band["high"], strict=True))
    without = det(scores, np.zeros((7, 1), dtype=bool), ("a",), bootstrap=50)
    assert (without["per_class"], without["mean"]) == ({}, None)
