"""One comparison of a claim: what its effect is, the interval it lies in, and which of four words that comes to.

The effect is what must be above 0 for the claim to be true. It **holds** where the interval lies above 0, **fails**
where it lies below, and there is **no difference** to speak of where it lies within a margin around 0 that was set
beforehand (two one-sided tests, Schuirmann 1987): for a claim that one thing is better than another this is a
refutation, whatever effect there is. What is none of these is **undecided**; then `Comparison` says how many more runs
would decide it, were mean and spread to stay as they are, and the smallest effect that as many seeds as there are can
show. An effect above 0 holds, even where it lies within the margin as well.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sed_lab.experiment.interval import (
    ROUNDING,
    Interval,
    Looks,
    constant,
    exact_p,
    nominal,
    share_interval,
    t_bound,
    t_interval,
)

HOLDS, FAILS, NO_DIFFERENCE, UNDECIDED = "holds", "fails", "no difference", "undecided"
WORDS = (HOLDS, FAILS, NO_DIFFERENCE, UNDECIDED)
ERROR = 0.05  # chance of a wrong word, over all looks
ONE_LOOK: Looks = (0,)
MOST_SEEDS = 1000  # more are not worth a number


@dataclass(frozen=True)
class Rule:
    """How a comparison is judged: at one of ``looks``, as one of ``parts`` of its claim, with a ``margin`` (or None).

    A claim of several comparisons holds where all do, which needs no correction. That one fails, or shows no
    difference, refutes it: there the level is divided by their number (Bonferroni).
    """

    looks: Looks = ONE_LOOK
    parts: int = 1
    margin: float | None = None

    @property
    def tails(self) -> tuple[float, float]:
        """Chances that the lower bound (it holds wrongly) and the upper bound (it fails wrongly) are wrong."""
        return nominal(ERROR / 2, self.looks), nominal(ERROR / 2 / self.parts, self.looks)

    @property
    def even(self) -> tuple[float, float]:
        """The same for the interval that is to lie within the margin."""
        tail = nominal(ERROR / 2 / self.parts, self.looks)
        return tail, tail

    def word(self, interval: Interval | None, inner: Interval | None) -> str:
        """The word for an effect whose interval is ``interval``, for the margin ``inner``."""
        if interval is not None and (interval[0] > 0 or interval[1] < 0):
            return HOLDS if interval[0] > 0 else FAILS
        inside = inner is not None and self.margin is not None and -self.margin <= inner[0] and inner[1] <= self.margin
        return NO_DIFFERENCE if inside else UNDECIDED


@dataclass(frozen=True)
class Comparison:
    """Mean of ``difference`` over ``seeds`` runs, its confidence interval (None where there is none) and its ``word``.

    ``against`` is empty where ``of`` itself is compared with 0. ``by`` says in words which counts decide, where it
    is not Student's t alone. ``welch`` is the interval as if the runs were independent, where it is asked for. Where it
    is undecided, ``more`` further seeds would decide it if mean and spread stayed as they are (None: 1,000 would not,
    or seeds alone would not), and ``shows`` is the smallest mean that holds with as many seeds as there are.
    ``test_share`` is the share of the spread that is the choice of test clips, where that is known.
    """

    of: str
    against: str
    difference: float | None
    interval: Interval | None
    seeds: int
    word: str = UNDECIDED
    by: str = ""
    welch: Interval | None = None
    margin: float | None = None
    more: int | None = None
    shows: float | None = None
    test_share: float | None = None


@dataclass(frozen=True)
class Verdict:
    """``word`` is one of `WORDS`, or why there is none; ``comparisons`` are the differences it rests on."""

    word: str
    comparisons: tuple[Comparison, ...]

    @property
    def tested(self) -> bool:
        """Whether any run says something of the claim."""
        return self.word != UNDECIDED or any(one.seeds for one in self.comparisons)


def all_of(comparisons: Sequence[Comparison]) -> Verdict:
    """A claim of several comparisons holds if all do. It is refuted by one: it fails if one fails, and there is no
    difference if one shows none, even while others are open, since then it cannot hold any more."""
    words = {comparison.word for comparison in comparisons}
    refuted = next((word for word in (FAILS, NO_DIFFERENCE) if word in words), UNDECIDED)
    return Verdict(HOLDS if words == {HOLDS} else refuted, tuple(comparisons))


def of_differences(
    of: str, against: str, differences: Sequence[float], rule: Rule, counted: bool = False
) -> Comparison:
    """Student's t of paired differences; a sign test where they are ``counted``, or without any spread."""
    n = len(differences)
    if n == 0:
        return Comparison(of, against, None, None, 0, margin=rule.margin)
    mean = statistics.fmean(differences)
    if n == 1 or not (counted or constant(differences)):
        interval = t_interval(differences, rule.tails)
        word = rule.word(interval, t_interval(differences, rule.even))
        made = Comparison(of, against, mean, interval, n, word, margin=rule.margin)
        return _with_need(made, statistics.stdev(differences), rule) if interval and word == UNDECIDED else made
    up, down = (sum(sign * value > ROUNDING for value in differences) for sign in (1, -1))
    inner = inner_interval(differences, rule, counted)
    if up + down == 0:
        word = rule.word(None, inner)
        return Comparison(of, against, mean, None, n, word, "no difference in any seed", margin=rule.margin)
    size = sum(map(abs, differences)) / n
    interval = _of_signs(up, up + down, size, rule)
    how = f"up in {up}, down in {down} of {n} seeds" if counted else f"{mean:+.3f} in every seed"
    by = f"{how}, {p_words('sign test', exact_p(up, up + down))}"
    word = rule.word(interval, inner)
    more = None
    if word == UNDECIDED:
        more = first_more(lambda k: rule.word(_of_signs(up * k // n, (up + down) * k // n, size, rule), None), n)
    return Comparison(of, against, mean, interval, n, word, by, margin=rule.margin, more=more)


def inner_interval(differences: Sequence[float], rule: Rule, counted: bool) -> Interval | None:
    """The interval of a mean that is to lie within a margin; of ``counted`` ones exact for both signs, where they are
    -1, 0 or 1, else None.

    Without any spread, that as many seeds as there are lie within it must be no chance: then they are that value.
    """
    n = len(differences)
    if counted and max(map(abs, differences), default=0) > 1:
        return None
    if counted and n > 1:
        tails = (nominal(ERROR / 4 / rule.parts, rule.looks),) * 2  # each of both kinds of differing seeds has half
        more, less = (share_interval(sum(round(one) == sign for one in differences), n, tails) for sign in (1, -1))
        return more[0] - less[1], more[1] - less[0]
    if n > 1 and constant(differences):
        return (differences[0],) * 2 if share_interval(n, n, rule.even)[0] > 0.5 else None
    return t_interval(differences, rule.even)


def inside(
    of: str, against: str, differences: Sequence[float], interval: Interval | None, tolerance: float, rule: Rule
) -> Verdict:
    """Whether the interval lies within ``tolerance`` of 0 (holds) or wholly outside (fails)."""
    n = len(differences)
    if n == 0:
        return all_of([Comparison(of, against, None, None, 0, margin=tolerance)])
    mean = statistics.fmean(differences)
    same = n > 1 and constant(differences) and interval is not None and interval[0] == interval[1]
    by = f"{mean:+.3f} in every seed" if n > 1 and (same or interval is None) else ""
    by = f"{by}, {p_words('sign test', exact_p(n, n))}" if by else by
    word = _inside(interval, tolerance)
    made = Comparison(of, against, mean, None if same else interval, n, word, by, margin=tolerance)
    if word == UNDECIDED and interval is not None and not constant(differences):
        sd = statistics.stdev(differences)

        def later(k: int) -> str:
            half = t_bound(rule.even[0], k - 1) * sd / k**0.5
            return _inside((mean - half, mean + half), tolerance)

        made = Comparison(of, against, mean, interval, n, word, by, margin=tolerance, more=first_more(later, n))
    return all_of([made])


def first_more(word: Callable[[int], str], n: int) -> int | None:
    """How many more than ``n`` seeds give a word; None where `MOST_SEEDS` do not."""
    low, high = n, MOST_SEEDS
    if word(high) == UNDECIDED:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if word(middle) == UNDECIDED else (low, middle)
    return high - n


def p_words(test: str, p: float) -> str:
    """``sign test p = 0.031``."""
    return f"{test} p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"


def signed(share: Interval) -> Interval:
    """The interval of a share of those that rise as one of the share that rises minus the share that falls."""
    return 2 * share[0] - 1, 2 * share[1] - 1


def _with_need(made: Comparison, sd: float, rule: Rule) -> Comparison:
    """What an undecided comparison would still need, at its mean and the spread ``sd``."""
    mean, n = made.difference or 0.0, made.seeds

    def later(k: int) -> str:
        low, high, even = (t_bound(tail, k - 1) * sd / k**0.5 for tail in (*rule.tails, rule.even[0]))
        return rule.word((mean - low, mean + high), (mean - even, mean + even))

    shows = t_bound(rule.tails[0], n - 1) * sd / n**0.5
    return replace(made, more=first_more(later, n), shows=shows)


def _of_signs(up: int, n: int, size: float, rule: Rule) -> Interval:
    low, high = signed(share_interval(up, n, rule.tails)) if n else (-1.0, 1.0)
    return low * size, high * size


def _inside(interval: Interval | None, tolerance: float) -> str:
    if interval is None:
        return UNDECIDED
    low, high = interval
    word = HOLDS if -tolerance <= low and high <= tolerance else UNDECIDED
    return FAILS if low > tolerance or high < -tolerance else word
