"""DET and EER against sklearn, sed_eval and stored torchmetrics results, and the note's hand-made vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed_lab.metric.det import det_curve, eer, equal_error_rate

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
