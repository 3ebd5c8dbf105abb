"""Looks and margins: what a look may spend, what stays decided, what no difference means, how often a word is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from sed_lab.errors import InputError
from sed_lab.experiment.claim import above, better, each, gains, most, near
from sed_lab.experiment.comparison import (
    FAILS,
    HOLDS,
    NO_DIFFERENCE,
    UNDECIDED,
    Comparison,
    Rule,
    Verdict,
    all_of,
    of_differences,
)
from sed_lab.experiment.interval import nominal, share_interval, t_bound
from sed_lab.experiment.look import margins, open_rows, over_looks
from sed_lab.experiment.reader import read_experiment
from sed_lab.experiment.spec import Claim, Experiment

LOOKS = (5, 10, 20)
AB = [("a", "b")]
EXPERIMENTS = 10_000


def of(values: list[float], margin: float | None = None, parts: int = 1) -> Comparison:
    return of_differences("a", "b", values, Rule(parts=parts, margin=margin))


def test_one_look_has_the_whole_level() -> None:
    assert nominal(0.025, (7,)) == 0.025
    assert Rule(parts=4).tails == (0.025, 0.00625)


@pytest.mark.parametrize(("looks", "two_sided"), [((5, 10, 20), 0.01926), ((5, 10, 20, 30), 0.01552)])
def test_the_level_of_a_look(looks: tuple[int, ...], two_sided: float) -> None:
    assert 2 * nominal(0.025, looks) == pytest.approx(two_sided, abs=1e-9)


def looked_at(looks: tuple[int, ...], tail: float, experiments: int, effect: float = 0.0) -> tuple[np.ndarray, ...]:
    """Whether each simulated experiment holds, and whether it fails, by t of raw normal differences."""
    x = np.random.default_rng(1).normal(effect, 1.0, (experiments, looks[-1]))
    word = np.zeros(experiments, dtype=int)
    for n in looks:
        t = x[:, :n].mean(1) / (x[:, :n].std(1, ddof=1) / np.sqrt(n))
        bound = t_bound(tail, n - 1)
        word = np.where(word == 0, (t > bound).astype(int) - (t < -bound), word)
    return word > 0, word < 0


@pytest.mark.parametrize("share", [0.025, 0.025 / 7])
def test_all_looks_together_spend_what_they_may(share: float) -> None:
    """Naive, with other draws than the routine's: nearly the share is spent, and not more."""
    experiments = 200_000
    holds, fails = looked_at(LOOKS, nominal(share, LOOKS), experiments)
    spent, noise = (holds.mean() + fails.mean()) / 2, (share / (2 * experiments)) ** 0.5
    assert 0.93 * share - 3 * noise < spent < share + 3 * noise
    single, _ = looked_at(LOOKS, share, experiments)
    assert single.mean() > 1.8 * share  # what judging at the full level each time would spend


def test_no_difference_is_an_interval_within_the_margin() -> None:
    values = [0.01, -0.01, 0.02, -0.02, 0.0, 0.01]
    low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    bound = max(-low, high)
    assert of(values, bound + 1e-9).word == NO_DIFFERENCE
    assert of(values, bound - 1e-9).word == UNDECIDED
    assert of(values).word == UNDECIDED  # no margin, no such word
    assert of([0.010, 0.011, 0.012], 0.1).word == HOLDS  # above 0, however small
    assert of([-0.010, -0.011, -0.012], 0.1).word == FAILS
    assert of(values, bound + 1e-9, parts=2).word == UNDECIDED  # one of two may be so by chance


def test_no_difference_refutes_a_claim_of_several_comparisons() -> None:
    def verdict(*words: str) -> str:
        return all_of([Comparison("a", "b", 0.0, None, 5, word) for word in words]).word

    assert verdict(HOLDS, HOLDS) == HOLDS
    assert verdict(HOLDS, NO_DIFFERENCE) == NO_DIFFERENCE
    assert verdict(UNDECIDED, NO_DIFFERENCE) == NO_DIFFERENCE
    assert verdict(FAILS, NO_DIFFERENCE) == FAILS
    assert verdict(HOLDS, UNDECIDED) == UNDECIDED


def test_counts_show_no_difference_too() -> None:
    """Of yes and no by exact bounds of both kinds of differing seeds, each at half the level."""
    yes, mixed = dict.fromkeys(range(30), 1.0), {**dict.fromkeys(range(30), 1.0), 3: 0.0}
    bound = share_interval(1, 30, (0.0125, 0.0125))[1] - share_interval(0, 30, (0.0125, 0.0125))[0]
    rows = {"a": yes, "b": mixed}
    assert better(rows, AB, margins=[bound + 1e-9]).word == NO_DIFFERENCE
    assert better(rows, AB, margins=[bound - 1e-9]).word == UNDECIDED
    varied = {seed: 0.1 * seed for seed in range(6)}  # equal run by run
    assert better({"a": varied, "b": varied}, AB, margins=[0.01]).word == NO_DIFFERENCE
    assert better({"a": varied, "b": {s: varied[s] for s in range(5)}}, AB, margins=[0.01]).word == UNDECIDED
    same = dict.fromkeys(range(6), 0.5)
    assert better({"a": same, "b": same}, AB, margins=[0.01]).word == UNDECIDED  # one number: a ceiling or a floor


def test_what_an_undecided_comparison_needs_decides_it() -> None:
    """Data of the same mean and spread with as many more seeds are decided; with one seed less they are not."""

    def alike(n: int) -> list[float]:
        x = np.arange(n) - (n - 1) / 2
        return list(0.4 + x / x.std(ddof=1))

    now = of(alike(5), margin=0.1)
    assert now.word == UNDECIDED
    assert now.more is not None
    assert of(alike(5 + now.more), margin=0.1).word == HOLDS
    assert of(alike(5 + now.more - 1), margin=0.1).word == UNDECIDED
    assert now.shows is not None
    assert ttest_1samp(np.array(alike(5)) - 0.4 + now.shows, 0).pvalue == pytest.approx(0.05)
    flat = of([0.1, -0.1, 0.1, -0.1, 0.02, -0.02])
    assert (flat.word, flat.more) == (UNDECIDED, None)  # no effect and no margin: no number of seeds decides


def test_what_is_decided_stays_decided() -> None:
    rising = [0.30, 0.31, 0.29, 0.30, 0.32] + [-5.0] * 5
    numbers = dict(enumerate(rising))

    def judge(n: int) -> Verdict:
        return better({"a": {s: numbers[s] for s in range(n)}, "b": dict.fromkeys(range(n), 0.0)}, AB, looks=LOOKS)

    assert judge(10).word == UNDECIDED
    verdict = over_looks(judge, LOOKS, 10)
    assert (verdict.word, verdict.comparisons[0].seeds) == (HOLDS, 5)
    early = over_looks(judge, LOOKS, 4)
    assert (early.word, early.comparisons[0].by) == (UNDECIDED, "the first look is at 5 seeds")
    assert over_looks(judge, LOOKS, 9) == over_looks(judge, LOOKS, 5)  # a look that is not complete does not count


def test_comparisons_are_decided_one_by_one() -> None:
    """The first pair at the first look, the second at the second, though the first row has no more runs then."""
    a, b = {s: 0.5 + s / 100 for s in range(10)}, dict.fromkeys(range(5), 0.1)
    c = {s: a[s] - (0.1 if s % 5 else -0.02) for s in range(10)}

    def judge(n: int) -> Verdict:
        rows = {name: row if len(row := {s: v for s, v in one.items() if s < n}) == n else {} for name, one in
                {"a": a, "b": b, "c": c}.items()}  # fmt: skip
        return better(rows, [("a", "b"), ("a", "c")], looks=LOOKS)

    assert over_looks(judge, LOOKS, 5).word == UNDECIDED
    verdict = over_looks(judge, LOOKS, 10)
    assert [(one.word, one.seeds) for one in verdict.comparisons] == [(HOLDS, 5), (HOLDS, 10)]
    assert verdict.word == HOLDS


FILE = """\
paper: p
item: t
title: T
place: table 1
classes: [Cat, Dog]
scales: {mini: {looks: [5, 10, 20]}, full: {seeds: [0, 1, 2]}}
columns:
  all: {metric: student/event_f1/macro, of: f1}
  error: {metric: student/event_error_rate/macro, better: lower, of: f1}
  f1: {metric: "student/event_f1/per_class/{class}/f1"}
rows:
  a: {overrides: [loss=bce], paper: {all: 0.5, error: 0.2, f1: {Cat: 0.4, Dog: 0.9}}}
  b: {overrides: [loss=tbfl], paper: {all: [0.4, 0.01], error: 0.6, f1: {Cat: 0.3, Dog: 0.7}}}
  c: {overrides: [loss=focal], paper: {all: 0.7}}
  d: {overrides: [loss=asl]}
  m: {mean_of: [a, b], paper: {all: 0.2}}
claims:
"""


def claimed(folder: Path, words: str, text: str = FILE) -> tuple[Claim, Experiment]:
    (folder / "t.yaml").write_text(f"{text}  - {{id: 1, say: it is so, {words}}}\n")
    experiment = read_experiment(folder / "t.yaml")
    return experiment.claims[0], experiment


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("better: a, than: b, column: all", [0.05]),
        ("better: a, than: b, column: error", [0.2]),  # lower is better: 0.6 - 0.2
        ("better: b, than: a, column: all", [None]),  # the print says the opposite
        ("better: b, than: a, column: all, margin: 0.03", [0.03]),
        ("better: a, than: d, column: all", [None]),
        ("better: a, than: d, column: all, margin: 0.02", [0.02]),
        ("better: a, than: m, column: all", [0.15]),
        ("order: [c, a, b], column: all", [0.1, 0.05]),
        ("best: c, among: [a, d], column: all, margin: 0.01", [0.1, 0.01]),
        ("above: a, value: 0.3, column: all", [0.1]),
        ("below: a, value: 0.3, column: error", [0.05]),
        ("each: a, than: b, column: f1", [0.05, 0.1]),
        ("most: a, than: b, column: f1", [0.075]),
        ("easiest: Dog, row: a, column: f1", [0.25]),
        ("gains: c, over: b, more_than_row: a, over_row: m, column: all", [None]),  # 0.3 is not more than 0.3
        ("gains: c, over: b, more_than_row: a, over_row: b, column: all", [0.1]),
        ("trades: a, than: b, against: all, column: error, margin: 0.1", [0.1]),
        ("near: a, to: b, within: 0.1, column: all", [None]),
    ],
)
def test_the_margin_is_half_of_what_was_printed(tmp_path: Path, words: str, expected: list[float | None]) -> None:
    found = margins(*claimed(tmp_path, words))
    assert [None if one is None else round(one, 9) for one in found] == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("better: a, than: b, column: all", [0.05]),
        ("better: b, than: a, column: all", [0.015]),
        ("better: b, than: a, column: all, margin: 0.03", [0.03]),
        ("best: c, among: [a, d], column: all", [0.1, 0.015]),
        ("trades: a, than: b, against: all, column: error", [None]),  # which counts seeds
        ("near: a, to: b, within: 0.1, column: all", [None]),
    ],
)
def test_else_it_is_the_claim_s_and_else_the_column_s(tmp_path: Path, words: str, expected: list[float | None]) -> None:
    text = FILE.replace("macro, of: f1}", "macro, of: f1, margin: 0.015}", 1)
    found = margins(*claimed(tmp_path, words, text))
    assert [None if one is None else round(one, 9) for one in found] == expected


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("macro, of: f1}", "macro, of: f1, margin: 0}", r"t\.yaml:8: .*margin"),
        ("looks: [5, 10, 20]", "looks: [5, 5]", r"t\.yaml:6: looks must be rising numbers of seeds from 2 on"),
        ("looks: [5, 10, 20]", "looks: [1, 5]", r"looks must be rising"),
        ("looks: [5, 10, 20]", "looks: [5, 10, 20], seeds: [0]", r"t\.yaml:6: a scale has looks or seeds, not both"),
        ("id: 1, ", "id: 1, margin: 0, ", r"claim 1: margin must be above 0, not 0"),
        ("id: 1, ", "id: 1, margin: x, ", r"claim 1: margin must be a number, not 'x'"),
    ],
)
def test_wrong_looks_and_margins_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    claimed(tmp_path, "better: a, than: b, column: all")
    text = (tmp_path / "t.yaml").read_text()
    assert old in text
    (tmp_path / "t.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        read_experiment(tmp_path / "t.yaml")
    with pytest.raises(InputError, match="unknown key 'margin'"):  # such a claim is about nearness itself
        claimed(tmp_path, "near: a, to: b, within: 0.1, column: all, margin: 0.1")


def test_seeds_of_a_table_stand_for_its_papers_looks(tmp_path: Path) -> None:
    (tmp_path / "scale.yaml").write_text("scales: {mini: {looks: [5, 10], minutes: 3.0}}\n")
    own = FILE.replace("{looks: [5, 10, 20]}", "{seeds: [7]}")
    _, experiment = claimed(tmp_path, "better: a, than: b, column: all", own)
    assert (experiment.scale("mini").planned, experiment.scale("mini").every) == ((1,), (7,))
    assert experiment.scale("mini").minutes == 3.0
    own = FILE.replace("mini: {looks: [5, 10, 20]}, ", "")
    mini = claimed(tmp_path, "better: a, than: b, column: all", own)[1].scale("mini")
    assert (mini.planned, mini.seeds, mini.every) == ((5, 10), (0, 1, 2, 3, 4), tuple(range(10)))


def test_rows_that_an_undecided_claim_needs(tmp_path: Path) -> None:
    claim, experiment = claimed(tmp_path, "best: m, among: [c, d], column: all")
    words = [Comparison("m", "c", 0.1, None, 5, HOLDS), Comparison("m", "d", 0.1, None, 5, UNDECIDED)]
    assert open_rows(claim, all_of(words), experiment) == {"a", "b", "d"}  # the parts of the mean; c is decided
    assert open_rows(claim, all_of(words[:1]), experiment) == set()
    claim, experiment = claimed(tmp_path, "near: a, to: b, within: 0.1, column: all")
    assert open_rows(claim, all_of(words[1:]), experiment) == {"a", "b"}


def shares(words: list[str]) -> dict[str, float]:
    return {word: words.count(word) / len(words) for word in (HOLDS, FAILS, NO_DIFFERENCE, UNDECIDED)}


def run_looks(judge_of: object, draws: np.ndarray) -> list[str]:
    """The verdict on each experiment of ``draws`` [experiments, seeds, ...], look by look."""
    words = []
    for one in draws:
        words.append(over_looks(lambda n, one=one: judge_of(one[:n]), LOOKS, 20).word)  # type: ignore[operator,misc]
    return words


def row(values: np.ndarray) -> dict[int, float]:
    return dict(enumerate(map(float, values)))


NOISE = 3 * (0.025 / EXPERIMENTS) ** 0.5  # three standard errors of a share of 0.025


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 0.5, -0.5])
def test_wrong_words_over_all_looks_by_t(effect: float) -> None:
    """Paired normal differences of deviation 1, margin 0.5: at 0, and with effects as large as the margin."""
    draws = np.random.default_rng(2).normal(effect, 1.0, (EXPERIMENTS, 20))
    rule = Rule(LOOKS, margin=0.5)
    found = shares(run_looks(lambda x: all_of([of_differences("a", "b", list(x), rule)]), draws))
    wrong = {0.0: (HOLDS, FAILS), 0.5: (FAILS, NO_DIFFERENCE), -0.5: (HOLDS, NO_DIFFERENCE)}[effect]
    assert all(found[word] <= 0.025 + NOISE for word in wrong), found
    assert sum(found[word] for word in wrong) <= 0.05


@pytest.mark.slow
def test_wrong_words_over_all_looks_by_counts() -> None:
    """Yes and no: two rows without a difference, a share of just the bound, equal odds of both kinds of trade."""
    rng = np.random.default_rng(3)
    coins = (rng.random((EXPERIMENTS, 20, 2)) < 0.5).astype(float)
    judged = {
        "sign test": lambda x: better({"a": row(x[:, 0]), "b": row(x[:, 1])}, AB, looks=LOOKS, margins=[0.3]),
        "binomial": lambda x: above(row(x[:, 0]), "a", 0.5, rule=Rule(LOOKS, margin=0.3)),
        "gains": lambda x: gains(
            [row(x[:, 0]), row(x[:, 1]), row(x[::-1, 0]), row(x[::-1, 1])], "abcd", rule=Rule(LOOKS)
        ),
    }
    for name, judge in judged.items():
        found = shares(run_looks(judge, coins))
        assert max(found[HOLDS], found[FAILS]) <= 0.025 + NOISE, (name, found)
        assert found[HOLDS] + found[FAILS] <= 0.05, (name, found)
    at_margin = (rng.random((EXPERIMENTS, 20)) < 0.8).astype(float)  # 0.3 above 0.5
    found = shares(run_looks(lambda x: above(row(x), "a", 0.5, rule=Rule(LOOKS, margin=0.3)), at_margin))
    assert found[NO_DIFFERENCE] + found[FAILS] <= 0.05
    assert binomtest(20, 20, 0.5).pvalue < 2 * nominal(0.025, LOOKS)  # the test can come out


@pytest.mark.slow
def test_wrong_words_over_all_looks_of_several_comparisons_and_classes() -> None:
    """Best of four without a difference, most and each of six classes, and nearness of just the tolerance."""
    rng = np.random.default_rng(4)
    four = rng.normal(0.5, 0.1, (EXPERIMENTS // 2, 20, 4))
    pairs = [("a", "b"), ("a", "c"), ("a", "d")]
    found = shares(
        run_looks(lambda x: better({n: row(x[:, i]) for i, n in enumerate("abcd")}, pairs, looks=LOOKS), four)
    )
    assert max(found[HOLDS], found[FAILS]) <= 0.025 + 3 * (0.025 / len(four)) ** 0.5, found
    effects = np.array([0.1, 0.0, -0.05, -0.05])  # the first beats the others by the margin and more
    found = shares(
        run_looks(
            lambda x: better(
                {n: row(x[:, i]) for i, n in enumerate("abcd")}, pairs, looks=LOOKS, margins=[0.1, 0.15, 0.15]
            ),
            four + effects,
        )
    )
    assert found[FAILS] + found[NO_DIFFERENCE] <= 0.025 + 3 * (0.025 / len(four)) ** 0.5, found
    six = rng.normal(0.5, 0.1, (2000, 20, 6, 2)) + rng.normal(0, 0.1, (2000, 20, 1, 2))  # a seed moves all classes
    classes = [str(i) for i in range(6)]

    def of_classes(x: np.ndarray) -> list[dict[str, dict[int, float]]]:
        return [{"a": row(x[:, i, 0]), "b": row(x[:, i, 1])} for i in range(6)]

    noise = 3 * (0.025 / len(six)) ** 0.5
    for judge in (
        lambda x: most(of_classes(x), "a", "b", rule=Rule(LOOKS)),
        lambda x: each(dict(zip(classes, of_classes(x), strict=True)), "a", "b", looks=LOOKS),
        lambda x: near(row(x[:, 0, 0]), row(x[:, 0, 1] - 0.2), ("a", "b"), 0.2, LOOKS),
    ):
        found = shares(run_looks(judge, six))
        assert max(found[HOLDS], found[FAILS]) <= 0.025 + noise, found


def test_without_a_difference_one_word_in_forty_is_wrong_at_most() -> None:
    """The same as by the verdicts, in one array: 10,000 experiments, margin half an effect of one deviation."""
    tail, margin = nominal(0.025, LOOKS), 0.5
    x = np.random.default_rng(5).normal(0.0, 1.0, (EXPERIMENTS, 20))
    word = np.full(EXPERIMENTS, UNDECIDED, dtype=object)
    for n in LOOKS:
        mean, half = x[:, :n].mean(1), t_bound(tail, n - 1) * x[:, :n].std(1, ddof=1) / np.sqrt(n)
        now = np.where(np.maximum(half - mean, mean + half) <= margin, NO_DIFFERENCE, UNDECIDED)
        now = np.where(mean > half, HOLDS, np.where(mean < -half, FAILS, now))
        word = np.where(word == UNDECIDED, now, word)
    sample = [
        over_looks(lambda n, one=one: all_of([of_differences("a", "b", list(one[:n]), Rule(LOOKS, margin=margin))]),
                   LOOKS, 20).word for one in x[:300]
    ]  # fmt: skip
    assert list(word[:300]) == sample
    assert (word == HOLDS).mean() <= 0.025 + NOISE
    assert (word == FAILS).mean() <= 0.025 + NOISE
    assert np.isin(word, (HOLDS, FAILS)).mean() <= 0.05
