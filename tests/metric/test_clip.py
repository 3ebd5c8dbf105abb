"""Tagging F1 against scikit-learn, and where clip scores come from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed_lab.errors import InputError
from sed_lab.metric.clip import clip_scores, clip_targets, tagging_f1
from sed_lab.types import Scores


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_tagging_f1_is_that_of_sklearn(clips: int, classes: int, seed: int) -> None:
    from sklearn.metrics import f1_score

    random = np.random.default_rng(seed)
    scores = random.integers(0, 5, (clips, classes)).astype(np.float32) / 4  # 0.5 happens: it is not above 0.5
    target = random.random((clips, classes)) < 0.4
    ours = tagging_f1(scores, target, [str(i) for i in range(classes)])
    found, there = scores > 0.5, target.any(axis=0)
    values = [f1_score(target[:, i], found[:, i], zero_division=0.0) for i in range(classes)]
    assert ours["macro"] == (pytest.approx(np.mean(np.array(values)[there])) if there.any() else None)
    if (found | target).any():
        assert ours["micro"] == pytest.approx(f1_score(target.ravel(), found.ravel(), zero_division=0.0))
    for i, row in enumerate(ours["per_class"].values()):
        assert row["f1"] == (pytest.approx(values[i]) if there[i] else None)
        assert (row["n_reference"], row["n_detected"]) == (target[:, i].sum(), found[:, i].sum())


def test_clip_scores_are_the_systems_or_the_highest_frame() -> None:
    frames = (np.array([[0.1, 0.9], [0.3, 0.2]], np.float32), np.zeros((0, 2), np.float32))
    alone = Scores(("a", "b"), ("x", "y"), np.array([1.0, 1.0]), 0.5, frames)
    values, source = clip_scores(alone)
    assert values.tolist() == np.array([[0.3, 0.9], [0.0, 0.0]], np.float32).tolist()
    assert source == "frame maximum"
    given_scores = Scores(("a",), ("x", "y"), np.array([1.0]), 0.5, frames[:1], np.array([[0.2, 0.4]]))
    assert clip_scores(given_scores)[1] == "clip"
    assert clip_scores(given_scores)[0].tolist() == [[0.2, 0.4]]


def test_targets_are_checked() -> None:
    assert clip_targets({"b": ["y"], "a": []}, ["a", "b"], ["x", "y"]).tolist() == [[False, False], [False, True]]
    with pytest.raises(InputError, match="clip c has scores but no labels"):
        clip_targets({}, ["c"], ["x"])
    with pytest.raises(InputError, match="clip a has label z"):
        clip_targets({"a": ["z"]}, ["a"], ["x"])
