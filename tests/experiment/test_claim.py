"""Verdicts against scipy's paired test, and what no verdict may depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind, ttest_rel

from sed_lab.experiment.claim import (
    FAILS,
    HOLDS,
    UNDECIDED,
    above,
    better,
    compare,
    follows,
    gains,
    most,
    near,
    rank_correlation,
    ratio,
    welch_t,
    within,
)
from sed_lab.experiment.spec import Claim

AB = [("a", "b")]
scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8)


@given(scores)
def test_the_interval_is_that_of_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    if np.ptp(a - b) < 1e-6:
        return
    ours = compare("a", dict(enumerate(a)), "b", dict(enumerate(b)))
    expected = ttest_rel(a, b).confidence_interval(0.95)
    assert ours.interval == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert ours.difference == pytest.approx((a - b).mean(), abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_unpaired_the_interval_is_that_of_welch(left: list[float], right: list[float]) -> None:
    if np.ptp(left) < 1e-3 or np.ptp(right) < 1e-3:
        return
    ours = compare("a", dict(enumerate(left)), "b", dict(enumerate(right)), paired=False)
    expected = ttest_ind(left, right, equal_var=False).confidence_interval(0.95)
    assert ours.interval == pytest.approx((expected.low, expected.high), abs=1e-9)
    turned = compare("a", dict(enumerate(left)), "b", dict(enumerate(right)), True, paired=False)
    assert turned.interval == pytest.approx((-expected.high, -expected.low), abs=1e-9)


def test_unpaired_runs_need_a_spread_to_be_judged_and_no_common_seed() -> None:
    assert better({"a": {0: 1.0}, "b": {0: 0.0, 1: 0.1}}, AB, paired=False).word == UNDECIDED
    assert better({"a": {5: 1.0, 6: 1.1}, "b": {0: 0.0, 1: 0.1}}, AB, paired=False).word == HOLDS
    assert better({"a": {}, "b": {0: 0.0}}, AB, paired=False).comparisons[0].difference is None


@pytest.mark.parametrize(
    ("a", "b", "expected"),  # Huang et al. 2021, table 1: IFD and baseline, SEDB & IFD and SEDB
    [
        ((0.331, 0.0218), (0.315, 0.020), 2.4),
        ((0.361, 0.0162), (0.320, 0.0191), 7.3),
        ((0.347, 0.0132), (0.336, 0.0169), 2.3),
        ((0.390, 0.0186), (0.377, 0.0237), 1.9),
    ],
)
def test_welch_of_printed_numbers(a: tuple[float, float], b: tuple[float, float], expected: float) -> None:
    assert welch_t(a, b, 20) == pytest.approx(expected, abs=0.05)


@given(scores)
def test_the_other_way_round_turns_the_verdict_round(pairs: list[tuple[float, float]]) -> None:
    rows = {"a": dict(enumerate(p[0] for p in pairs)), "b": dict(enumerate(p[1] for p in pairs))}
    turned = {HOLDS: FAILS, FAILS: HOLDS, UNDECIDED: UNDECIDED}
    word = better(rows, AB).word
    assert better(rows, [("b", "a")]).word == turned[word]
    assert better(rows, AB, lower=True).word == turned[word]


def test_only_seeds_that_both_have_are_compared() -> None:
    ours = compare("a", {0: 0.5, 1: 0.6, 7: 0.0}, "b", {0: 0.4, 1: 0.5, 2: 9.0})
    assert (ours.seeds, ours.difference) == (2, pytest.approx(0.1))


def test_fewer_than_two_common_seeds_decide_nothing() -> None:
    assert better({"a": {0: 1.0}, "b": {0: 0.0}}, AB).word == UNDECIDED
    nothing = better({"a": {}, "b": {0: 0.0, 1: 0.0}}, AB)
    assert (nothing.word, nothing.comparisons[0].difference) == (UNDECIDED, None)


def test_every_comparison_is_needed() -> None:
    rows = {"a": {0: 0.9, 1: 0.91}, "b": {0: 0.5, 1: 0.51}, "c": {0: 0.1, 1: 0.11}, "wide": {0: 0.0, 1: 5.0}}
    assert better(rows, [("a", "b"), ("a", "c")]).word == HOLDS
    assert better(rows, [("b", "a"), ("b", "c")]).word == FAILS
    assert better(rows, [("a", "b"), ("a", "wide")]).word == UNDECIDED
    assert better(rows, [("b", "a"), ("b", "wide")]).word == FAILS
    assert better(rows, [("a", "b"), ("b", "c")]).word == HOLDS
    assert better(rows, [("a", "c"), ("c", "b")]).word == FAILS


@pytest.mark.parametrize(("kind", "pairs"), [("order", [("a", "b"), ("b", "c")]), ("best", [("a", "b"), ("a", "c")])])
def test_an_order_compares_neighbours_and_the_best_is_compared_with_all(
    kind: str, pairs: list[tuple[str, str]]
) -> None:
    claim = Claim.model_construct(kind=kind, rows=("a", "b", "c"))
    assert claim.pairs == pairs


def test_within_the_papers_number() -> None:
    runs = {0: 0.40, 1: 0.42, 2: 0.41}
    assert within(runs, "a", 0.40, 0.05).word == HOLDS
    assert within(runs, "a", 0.60, 0.05).word == FAILS
    assert within(runs, "a", 0.40, 0.02).word == UNDECIDED
    assert within({0: 0.4}, "a", 0.4, 0.1).word == UNDECIDED


def test_above_and_below_a_number() -> None:
    runs = {0: 0.40, 1: 0.42, 2: 0.41}
    assert above(runs, "a", 0.3).word == HOLDS
    assert above(runs, "a", 0.3, below=True).word == FAILS
    assert above(runs, "a", 0.41).word == UNDECIDED
    assert above({}, "a", 0.3).word == UNDECIDED


def test_most_counts_classes_seed_by_seed() -> None:
    a_better, b_better = {"a": {0: 0.5, 1: 0.6}, "b": {0: 0.4, 1: 0.5}}, {"a": {0: 0.1, 1: 0.1}, "b": {0: 0.4, 1: 0.5}}
    verdict = most([a_better, a_better, b_better], "a", "b", 1)
    assert (verdict.word, verdict.comparisons[0].difference) == (HOLDS, 1.0)
    assert most([a_better, a_better, b_better], "a", "b", 2).word == UNDECIDED  # two are not more than two
    assert most([a_better, b_better, b_better], "a", "b", 2).word == FAILS
    assert most([a_better, b_better, b_better], "a", "b", 1, lower=True).word == HOLDS
    lacking = {"a": {0: 0.5}, "b": {0: 0.4, 1: 0.5}}  # seed 1 has no number of a: not better there
    assert most([lacking, a_better], "a", "b", 1).comparisons[0].difference == pytest.approx(0.5)


def test_a_ratio_near_a_number() -> None:
    b = {0: 0.4, 1: 0.5, 2: 0.6}
    near = {seed: value * factor for (seed, value), factor in zip(b.items(), (0.99, 1.01, 1.0), strict=True)}
    assert ratio(near, b, ("a", "b"), 1.0, 0.1).word == HOLDS
    assert ratio({seed: 2 * value for seed, value in b.items()}, b, ("a", "b"), 1.0, 0.1).word == FAILS
    assert ratio(near, {**b, 0: 0.0}, ("a", "b"), 1.0, 0.1).comparisons[0].seeds == 2


def test_what_a_gain_goes_with() -> None:
    duration, volume = {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}, {0: 2.0, 1: 4.0, 2: 1.0, 3: 3.0}
    gain = [4.0, 3.0, 2.0, 1.0]  # falls with duration; Spearman with volume, ranks 2 4 1 3: 0
    classes = [{"a": dict.fromkeys(range(3), gain[i] * 0.1), "b": dict.fromkeys(range(3), 0.1)} for i in range(4)]
    verdict = follows(classes, "a", "b", duration, volume, "d less v")
    assert (verdict.word, verdict.comparisons[0].difference) == (HOLDS, pytest.approx(1.0))
    assert follows(classes, "a", "b", volume, duration, "v less d").word == FAILS
    for rows in classes[:2]:
        rows["b"] = dict.fromkeys(range(3), 0.0)  # two ratios left: too few for a correlation
    assert follows(classes, "a", "b", duration, volume, "").word == UNDECIDED


def test_rank_correlation_by_hand() -> None:
    assert rank_correlation([1, 2, 3], [10, 30, 20]) == pytest.approx(0.5)  # 1 - 6 * (0 + 1 + 1) / (3 * 8)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == 0.0


def test_a_difference_near_nothing() -> None:
    a = {0: 0.51, 1: 0.50, 2: 0.52}
    assert near(a, {0: 0.50, 1: 0.50, 2: 0.51}, ("a", "b"), 0.03).word == HOLDS
    assert near(a, {0: 0.20, 1: 0.20, 2: 0.21}, ("a", "b"), 0.03).word == FAILS
    assert near(a, {0: 0.40, 1: 0.60, 2: 0.50}, ("a", "b"), 0.03).word == UNDECIDED


def test_one_gain_above_another_in_pairs_of_seeds() -> None:
    a, b = {0: 0.9, 1: 0.8, 2: 0.7}, {0: 0.5, 1: 0.4, 2: 0.31}
    c, d = {0: 0.9, 1: 0.8, 2: 0.7, 3: 0.0}, {0: 0.8, 1: 0.69, 2: 0.6}
    verdict = gains([a, b, c, d], ("a", "b", "c", "d"))
    assert verdict.word == HOLDS
    assert verdict.comparisons[0].difference == pytest.approx((0.3 + 0.29 + 0.29) / 3)
    assert verdict.comparisons[0].seeds == 3
    assert gains([a, b, c, d], ("a", "b", "c", "d"), lower=True).word == FAILS
    assert gains([c, d, a, b], ("c", "d", "a", "b")).word == FAILS
