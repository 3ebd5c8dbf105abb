"""Average precision, AUC and d' against scikit-learn, AudioSet's printed pair, and where they are not defined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed_lab.metric.measure import flatten
from sed_lab.metric.names import could_be_metric, is_metric
from sed_lab.metric.ranking import d_prime, ranking


@settings(max_examples=40)
@given(st.integers(2, 30), st.integers(1, 4), st.sampled_from([2, 5, 1000]), st.integers(0, 2**32 - 1))
def test_they_are_sklearn_s(clips: int, classes: int, levels: int, seed: int) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    random = np.random.default_rng(seed)
    scores = random.integers(0, levels, (clips, classes)).astype(np.float32) / levels  # many are equal
    target = random.random((clips, classes)) < 0.4
    names = [f"c{i}" for i in range(classes)]
    found = ranking(scores, target, names)
    there = [i for i in range(classes) if 0 < target[:, i].sum() < clips]
    aps = {i: average_precision_score(target[:, i], scores[:, i]) for i in there}
    aucs = {i: roc_auc_score(target[:, i], scores[:, i]) for i in there}
    for i, name in enumerate(names):
        row = found["per_class"][name]
        assert row["average_precision"] == (pytest.approx(aps[i]) if i in there else None)
        assert row["auc"] == (pytest.approx(aucs[i]) if i in there else None)
        assert row["n_reference"] == target[:, i].sum()
    assert found["map"] == (pytest.approx(np.mean([*aps.values()])) if there else None)
    assert found["auc"] == (pytest.approx(np.mean([*aucs.values()])) if there else None)


def test_d_prime_is_that_of_the_mean_auc_as_audioset_prints_it() -> None:
    assert d_prime(0.959) == pytest.approx(2.452, abs=0.01)  # Gemmeke et al. 2017: AUC .959, d' 2.452
    assert d_prime(0.5) == pytest.approx(0, abs=1e-12)
    scores = np.array([[0.9, 0.1], [0.8, 0.4], [0.7, 0.2], [0.1, 0.3]], dtype=np.float32)
    target = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=bool)
    found = ranking(scores, target, ("a", "b"))
    assert (found["per_class"]["a"]["auc"], found["per_class"]["b"]["auc"], found["auc"]) == (0.75, 1.0, 0.875)
    assert found["per_class"]["b"]["d_prime"] is None  # infinite
    assert found["d_prime"] == pytest.approx(d_prime(0.875)) == pytest.approx(2**0.5 * 1.1503494)


@pytest.mark.parametrize("clips", [0, 1, 3])
def test_without_clips_of_both_kinds_nothing_is_defined(clips: int) -> None:
    found = ranking(np.zeros((clips, 2), np.float32), np.tile([True, False], (clips, 1)), ("a", "b"))
    assert (found["map"], found["auc"], found["d_prime"]) == (None, None, None)


def test_their_names_are_known() -> None:
    found = ranking(np.array([[0.1], [0.6], [0.5]], np.float32), np.array([[False], [True], [True]]), ("Dog",))
    for name in flatten({"systems": {"model": {"ranking": found}}}, per_class=True):
        assert is_metric(name)
    assert not could_be_metric("model/ranking/mop")
