"""Verdicts against scipy's tests, what no verdict may depend on, and how often one is wrong without an effect."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind, ttest_rel

from sed_lab.experiment.claim import (
    above,
    better,
    compare,
    each,
    follows,
    gains,
    most,
    near,
    trades,
    welch_t,
    within,
)
from sed_lab.experiment.comparison import FAILS, HOLDS, UNDECIDED, Rule, Verdict
from sed_lab.experiment.interval import permuted, rank_correlation
from sed_lab.experiment.look import over_looks
from sed_lab.experiment.spec import Claim

AB = [("a", "b")]
scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8)


@given(scores)
def test_the_interval_is_that_of_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    if np.ptp(a - b) < 1e-6 or {*a, *b} <= {0, 1}:  # such are counted, not measured
        return
    ours = compare("a", dict(enumerate(a)), "b", dict(enumerate(b)))
    expected = ttest_rel(a, b).confidence_interval(0.95)
    assert ours.interval == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert ours.difference == pytest.approx((a - b).mean(), abs=1e-12)


@given(st.lists(st.floats(0.1, 0.9), min_size=2, max_size=8), st.lists(st.floats(0.1, 0.9), min_size=2, max_size=8))
def test_beside_it_stands_welchs_interval(left: list[float], right: list[float]) -> None:
    if np.ptp(left) < 1e-3 or np.ptp(right) < 1e-3:
        return
    a, b = dict(enumerate(left)), dict(enumerate(right))
    expected = ttest_ind(left, right, equal_var=False).confidence_interval(0.95)
    assert compare("a", a, "b", b, welch=True).welch == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert compare("a", a, "b", b, True, welch=True).welch == pytest.approx((-expected.high, -expected.low), abs=1e-9)
    assert compare("a", a, "b", b, welch=True).word == compare("a", a, "b", b).word  # the paired one decides


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
    found = {"a": [0.9, 0.92, 0.9], "b": [0.5, 0.51, 0.52], "c": [0.1, 0.13, 0.1], "wide": [0.0, 5.0, 1.0]}
    rows = {name: dict(enumerate(values)) for name, values in found.items()}
    assert better(rows, [("a", "b"), ("a", "c")]).word == HOLDS
    assert better(rows, [("b", "a"), ("b", "c")]).word == FAILS
    assert better(rows, [("a", "b"), ("a", "wide")]).word == UNDECIDED
    assert better(rows, [("b", "a"), ("b", "wide")]).word == FAILS
    assert better(rows, [("a", "b"), ("b", "c")]).word == HOLDS
    assert better(rows, [("a", "c"), ("c", "b")]).word == FAILS


def test_what_refutes_is_corrected_for_the_number_of_comparisons() -> None:
    a, b = dict(enumerate([0.50, 0.51, 0.52])), dict(enumerate([0.55, 0.57, 0.62]))
    alone = compare("a", a, "b", b)
    one_of_four = compare("a", a, "b", b, rule=Rule(parts=4))
    assert alone.word == FAILS
    assert one_of_four.word == UNDECIDED
    assert alone.interval is not None
    assert one_of_four.interval is not None
    assert alone.interval[0] == one_of_four.interval[0]  # every comparison has to hold anyway: no correction there


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


def test_yes_or_no_is_counted_and_three_of_three_decide_nothing() -> None:
    yes, no = dict.fromkeys(range(3), 1.0), dict.fromkeys(range(3), 0.0)
    verdict = above(yes, "a", 0.5)
    assert verdict.word == UNDECIDED
    assert verdict.comparisons[0].interval == pytest.approx((0.2924 - 0.5, 0.5), abs=1e-4)  # Clopper and Pearson
    assert verdict.comparisons[0].by == "yes in 3 of 3 seeds, exact binomial p = 0.250"
    assert above(no, "a", 0.5, below=True).word == UNDECIDED
    assert better({"a": yes, "b": no}, AB).word == UNDECIDED
    assert better({"a": yes, "b": no}, AB).comparisons[0].by == "up in 3, down in 0 of 3 seeds, sign test p = 0.250"
    assert near(yes, no, ("a", "b"), 0.1).word == UNDECIDED
    assert near(yes, yes, ("a", "b"), 0.1).word == UNDECIDED
    six = dict.fromkeys(range(6), 1.0)
    assert above(six, "a", 0.5).word == HOLDS  # 2 / 64 = .031
    assert above(six, "a", 0.5, below=True).word == FAILS
    assert better({"a": six, "b": dict.fromkeys(range(6), 0.0)}, AB).word == HOLDS
    assert better({"a": six, "b": {**dict.fromkeys(range(6), 0.0), 5: 1.0}}, AB).word == UNDECIDED  # five differ
    assert near(six, dict.fromkeys(range(6), 0.0), ("a", "b"), 0.1).word == UNDECIDED
    twelve = dict.fromkeys(range(12), 1.0)
    assert near(twelve, dict.fromkeys(range(12), 0.0), ("a", "b"), 0.1).word == FAILS


@pytest.mark.parametrize("n", [3, 20])
def test_rows_at_a_ceiling_decide_nothing(n: int) -> None:
    for value in (1.0, 0.0, 0.625):
        row, rounded = dict.fromkeys(range(n), value), dict.fromkeys(range(n), value + 1e-13)
        verdict = better({"a": rounded, "b": row}, AB)
        where = ", at the ceiling or the floor" if value != 0.625 else ""
        assert verdict.word == UNDECIDED
        assert verdict.comparisons[0].by == f"both are {value:.3f} in every seed{where}: nothing to compare"
        assert near(rounded, row, ("a", "b"), 0.1) == verdict


def test_numbers_without_any_spread_take_six_seeds() -> None:
    a, b = dict.fromkeys(range(5), 0.625), dict.fromkeys(range(5), 0.25)
    assert better({"a": a, "b": b}, AB).word == UNDECIDED
    assert above(a, "a", 0.5).word == UNDECIDED
    assert within(a, "a", 0.65, 0.05).word == UNDECIDED
    a, b = dict.fromkeys(range(6), 0.625), dict.fromkeys(range(6), 0.25)
    verdict = better({"a": a, "b": b}, AB)
    assert (verdict.word, verdict.comparisons[0].by) == (HOLDS, "+0.375 in every seed, sign test p = 0.031")
    assert better({"a": a, "b": b}, [("b", "a")]).word == FAILS
    assert above(a, "a", 0.5).word == HOLDS
    assert within(a, "a", 0.65, 0.05).word == HOLDS
    assert within(a, "a", 0.25, 0.05).word == FAILS
    varied = {seed: 0.1 * seed for seed in range(6)}  # one loss in two forms: equal run by run
    assert near(varied, varied, ("a", "b"), 0.01).word == HOLDS
    assert near({seed: varied[seed] for seed in range(5)}, varied, ("a", "b"), 0.01).word == UNDECIDED


def classes_of(gain: Sequence[float]) -> list[dict[str, dict[int, float]]]:
    """Rows of a class each: a is b plus the gain, more or less, in three seeds."""
    low = [0.3, 0.4, 0.5]
    return [{"a": {s: low[s] + g * (1 + s / 50) for s in range(3)}, "b": dict(enumerate(low))} for g in gain]


def test_most_is_a_sign_test_over_the_classes() -> None:
    verdict = most(classes_of([0.1] * 9 + [-0.1]), "a", "b")
    assert verdict.word == HOLDS
    assert verdict.comparisons[0].by == "better in 9 of 10 classes, sign test p = 0.021"
    assert most(classes_of([0.1] * 8 + [-0.1] * 2), "a", "b").word == UNDECIDED
    assert most(classes_of([0.1] + [-0.1] * 9), "a", "b").word == FAILS
    assert most(classes_of([0.1] + [-0.1] * 9), "a", "b", lower=True).word == HOLDS
    assert most(classes_of([0.1] * 3), "a", "b").word == UNDECIDED  # three coins fall alike one time in four
    one_seed = [{row: {0: values[0]} for row, values in rows.items()} for rows in classes_of([0.1] * 10)]
    assert most(one_seed, "a", "b").word == UNDECIDED
    lacking: list[dict[str, dict[int, float]]] = [{"a": {}, "b": {0: 0.4}}]
    assert most([*classes_of([0.1] * 8 + [0.0]), *lacking], "a", "b").comparisons[0].by.startswith("better in 8 of 8")
    assert most(lacking, "a", "b").comparisons[0].interval is None


def test_a_trade_is_a_gain_in_one_number_and_a_loss_in_another() -> None:
    seeds = range(6)
    first = {"a": dict.fromkeys(seeds, 0.5), "b": dict.fromkeys(seeds, 0.4)}
    falls = {"a": dict.fromkeys(seeds, 0.1), "b": dict.fromkeys(seeds, 0.2)}
    assert trades(first, falls, "a", "b").word == HOLDS
    assert trades(falls, first, "b", "a").word == HOLDS  # whichever of the two it is
    assert trades(first, first, "a", "b").word == FAILS
    assert trades(first, {"a": falls["a"], "b": falls["a"]}, "a", "b").word == FAILS  # no loss is no trade
    few = {name: {seed: rows[seed] for seed in range(3)} for name, rows in falls.items()}
    assert trades(first, few, "a", "b").word == UNDECIDED


def test_each_needs_every_class() -> None:
    rows = {"a": {seed: 0.5 + seed**2 / 100 for seed in range(4)}, "b": dict.fromkeys(range(4), 0.2)}
    labelled = dict.fromkeys(("Cat", "Dog", "Cow"), rows)
    assert each(labelled, "a", "b").word == HOLDS
    assert each({**labelled, "Cow": {"a": rows["b"], "b": rows["a"]}}, "a", "b").word == FAILS
    assert [c.of for c in each(labelled, "a", "b").comparisons] == ["a, Cat", "a, Dog", "a, Cow"]


def test_what_a_gain_goes_with_has_a_direction() -> None:
    x = dict(enumerate([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]))
    y = dict(enumerate([5.0, 9.0, 1.0, 4.0, 10.0, 2.0, 8.0, 6.0, 3.0, 7.0]))
    rising, falling = ([0.03 * sign * i for i in range(10)] for sign in (1, -1))
    assert follows(classes_of(falling), "a", "b", x, y, ("x", "y"), down=True).word == HOLDS
    assert follows(classes_of(rising), "a", "b", x, y, ("x", "y"), down=True).word == FAILS
    verdict = follows(classes_of(rising), "a", "b", x, y, ("x", "y"))
    assert verdict.word == HOLDS
    assert verdict.comparisons[0].by == "rho +1.00 with x, 10 classes, permutation p < 0.001"
    assert verdict.comparisons[1].by.startswith("rho +1.00 with x, rho +0.03 with y, 10 classes, permutation p = 0.0")
    with_y = follows(classes_of([0.03 * y[i] for i in range(10)]), "a", "b", x, y, ("x", "y"), down=True)
    assert with_y.word != HOLDS  # that it falls less with y than with x is not that it falls with x
    assert follows(classes_of(rising)[:2], "a", "b", x, y, ("x", "y")).word == UNDECIDED
    assert follows(classes_of(rising)[:4], "a", "b", x, y, ("x", "y")).word == UNDECIDED  # 1 of 24 orders
    # With the next look's runs still missing, the comparisons are the same ones.
    later = [{name: {} for name in rows} for rows in classes_of(rising)]
    waits = over_looks(
        lambda n: follows(classes_of(rising)[:4] if n == 5 else later, "a", "b", x, y, ("x", "y")), (5, 10), 10
    )
    assert [one.of for one in waits.comparisons] == [one.of for one in verdict.comparisons]
    assert waits.word == UNDECIDED


def test_every_order_of_few_classes_is_counted() -> None:
    high, low = permuted([1.0, 2.0, 3.0, 4.0], np.array([1.0, 2.0, 3.0, 4.0]))
    assert (high, low) == (pytest.approx(1 / 24), 1.0)


SIMULATED = 1000


def wrong(draw: Callable[[np.random.Generator], Verdict], *words: str) -> float:
    """The share of simulated experiments without an effect whose verdict is one of ``words``."""
    rng = np.random.default_rng(0)
    return sum(draw(rng).word in words for _ in range(SIMULATED)) / SIMULATED


def normal(rng: np.random.Generator, n: int = 3) -> dict[int, float]:
    return dict(enumerate(rng.normal(0.5, 0.1, n)))


def coins(rng: np.random.Generator, n: int = 7) -> dict[int, float]:
    return dict(enumerate((rng.random(n) < 0.5).astype(float)))


def no_effect(rng: np.random.Generator, n: int = 10) -> list[dict[str, dict[int, float]]]:
    return [{"a": normal(rng), "b": normal(rng)} for _ in range(n)]


def moved(rng: np.random.Generator, by_class: np.ndarray) -> list[dict[str, dict[int, float]]]:
    """Rows of ten classes without an effect, but with what a seed does to all of them."""
    classes, of_seed = no_effect(rng), rng.normal(0, 0.3, 3)
    return [
        {**rows, "a": {seed: value + of_seed[seed] * by for seed, value in rows["a"].items()}}
        for rows, by in zip(classes, by_class, strict=True)
    ]


NO_EFFECT: dict[str, Callable[[np.random.Generator], Verdict]] = {
    "better": lambda rng: better({"a": normal(rng), "b": normal(rng)}, AB),
    "better, yes or no": lambda rng: better({"a": coins(rng), "b": coins(rng)}, AB),
    "better, three levels": lambda rng: better(
        {"a": {s: float(rng.integers(3)) / 2 for s in range(3)}, "b": dict.fromkeys(range(3), 0.5)}, AB
    ),
    "best": lambda rng: better({x: normal(rng) for x in "abcdefgh"}, [("a", x) for x in "bcdefgh"]),
    "order": lambda rng: better({x: normal(rng) for x in "abcd"}, [("a", "b"), ("b", "c"), ("c", "d")]),
    "above": lambda rng: above(normal(rng), "a", 0.5),
    "above, yes or no": lambda rng: above(coins(rng), "a", 0.5),
    "below, yes or no": lambda rng: above(coins(rng, 3), "a", 0.5, below=True),
    "most": lambda rng: most(no_effect(rng), "a", "b"),
    "most, a seed moves all classes": lambda rng: most(moved(rng, np.ones(10)), "a", "b"),
    "each": lambda rng: each(dict(zip("cdefghijkl", no_effect(rng), strict=True)), "a", "b"),
    "gains": lambda rng: gains([normal(rng) for _ in range(4)], "abcd"),
    "gains, yes or no": lambda rng: gains([coins(rng) for _ in range(4)], "abcd"),
    "follows": lambda rng: follows(
        no_effect(rng, 10), "a", "b", dict(enumerate(rng.random(10))), dict(enumerate(rng.random(10))), ("x", "y")
    ),
    "follows, a seed moves long classes": lambda rng: follows(
        moved(rng, np.arange(10) / 10),
        "a",
        "b",
        dict(enumerate(range(10))),
        dict(enumerate(rng.random(10))),
        ("x", "y"),
    ),
}


@pytest.mark.parametrize("kind", NO_EFFECT)
def test_without_an_effect_at_most_one_verdict_in_twenty_is_a_word(kind: str) -> None:
    assert wrong(NO_EFFECT[kind], HOLDS, FAILS) <= 0.05 + 3 * (0.05 * 0.95 / SIMULATED) ** 0.5


def test_at_the_tolerance_each_word_is_wrong_in_one_of_forty() -> None:
    """A difference of just the tolerance: neither that it is within nor that it is outside may come out often."""
    draws = {
        "near": lambda rng: near(normal(rng, 10), {s: v - 0.2 for s, v in normal(rng, 10).items()}, ("a", "b"), 0.2),
        "within": lambda rng: within(normal(rng, 10), "a", 0.3, 0.2),
        "within, yes or no": lambda rng: within(coins(rng, 20), "a", 0.2, 0.3),
        "near, yes or no": lambda rng: near(coins(rng, 20), dict.fromkeys(range(20), 0.0), ("a", "b"), 0.5),
    }
    for draw in draws.values():
        for word in (HOLDS, FAILS):
            assert wrong(draw, word) <= 0.025 + 3 * (0.025 * 0.975 / SIMULATED) ** 0.5


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
