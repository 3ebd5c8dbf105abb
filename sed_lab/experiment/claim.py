"""A paper's claims judged on our runs: paired differences over seeds, with a confidence interval.

A claim is one of the sentences of `spec.CLAIMS`. Two rows are compared seed by seed, since a seed also
fixes the data's order and the first weights: what both share cancels. Each seed gives one number that is above 0 where
the claim is true of it; the verdict is ``holds`` or ``fails`` where the interval of their mean leaves 0 out, and
``undecided`` otherwise, also with fewer than two seeds. An experiment may ask for Welch's test instead, where a paper's
own comparison treats runs as independent.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95  # of every interval
HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
Values = Mapping[int, float]  # a row's value of one column, by seed
Rows = Mapping[str, Values]


@dataclass(frozen=True)
class Verdict:
    """``word`` is holds, fails or undecided; ``comparisons`` are the differences it rests on."""

    word: str
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Comparison:
    """Mean of ``difference`` over ``seeds`` runs and its confidence interval (None with fewer than two).

    ``against`` is empty where ``of`` itself is compared with 0.
    """

    of: str
    against: str
    difference: float | None
    interval: tuple[float, float] | None
    seeds: int

    @property
    def word(self) -> str:
        if self.interval is None:
            return UNDECIDED
        low, high = self.interval
        return HOLDS if low > 0 else FAILS if high < 0 else UNDECIDED


def compare(of: str, a: Values, against: str, b: Values, lower: bool = False, paired: bool = True) -> Comparison:
    """``a`` minus ``b`` (the other way round where lower is better) over the seeds both have.

    The interval is Student's t on the paired differences; differences without any spread give themselves. Not
    ``paired``, it is Welch's, over all runs of both, as if they were independent.
    """
    sign = -1 if lower else 1
    if not paired:
        return Comparison(of, against, *_welch(list(a.values()), list(b.values()), sign), min(len(a), len(b)))
    differences = [sign * (a[seed] - b[seed]) for seed in sorted(set(a) & set(b))]
    return Comparison(of, against, *_interval(differences), len(differences))


def better(rows: Rows, pairs: Iterable[tuple[str, str]], lower: bool = False, paired: bool = True) -> Verdict:
    """In each pair the first row is better than the second: holds if all comparisons do, fails if one does."""
    return _all_of([compare(a, rows[a], b, rows[b], lower, paired) for a, b in pairs])


def welch_t(a: tuple[float, float], b: tuple[float, float], n: int) -> float:
    """Welch's t of two printed results, each a mean and a standard deviation over ``n`` runs."""
    return (a[0] - b[0]) / math.sqrt((a[1] ** 2 + b[1] ** 2) / n)


def above(values: Values, row: str, bound: float, below: bool = False) -> Verdict:
    """The row's number lies above ``bound``, or below it."""
    constant = dict.fromkeys(values, bound)
    return _all_of([compare(row, values, f"{bound:g}", constant, below)])


def most(classes: Sequence[Rows], a: str, b: str, more_than: float, lower: bool = False) -> Verdict:
    """Row ``a`` is better than row ``b`` in more than so many of the columns: their number is counted seed by seed.

    ``classes`` holds the rows of one column each; a column in which a seed has no number of both rows counts as not
    better.
    """
    sign = -1 if lower else 1
    wins: dict[int, float] = defaultdict(float)
    for rows in classes:
        for seed in {*rows[a]} & {*rows[b]}:
            wins[seed] += sign * (rows[a][seed] - rows[b][seed]) > 0
    return above(wins, f"classes in which {a} is better than {b}", more_than)


def ratio(a: Values, b: Values, names: tuple[str, str], value: float, tolerance: float) -> Verdict:
    """Row a over row b, seed by seed, lies within ``tolerance`` of ``value``; a seed with 0 below has no ratio."""
    ratios = {seed: a[seed] / b[seed] for seed in sorted(set(a) & set(b)) if b[seed] != 0}
    return within(ratios, f"{names[0]} / {names[1]}", value, tolerance, f"{value:g}")


def near(a: Values, b: Values, names: tuple[str, str], tolerance: float) -> Verdict:
    """Row a minus row b, seed by seed, lies within ``tolerance`` of 0."""
    differences = {seed: a[seed] - b[seed] for seed in sorted(set(a) & set(b))}
    return within(differences, f"{names[0]} - {names[1]}", 0.0, tolerance, "")


def gains(rows: Sequence[Values], names: Sequence[str], lower: bool = False) -> Verdict:
    """The first row gains more over the second than the third over the fourth, seed by seed."""
    seeds = set.intersection(*(set(row) for row in rows))
    first, second = ({seed: a[seed] - b[seed] for seed in seeds} for a, b in (rows[:2], rows[2:]))
    of, against = (f"({a} - {b})" for a, b in (names[:2], names[2:]))
    return _all_of([compare(of, first, against, second, lower)])


def follows(classes: Sequence[Rows], a: str, b: str, x: Values, y: Values, names: str) -> Verdict:
    """What row ``a`` gains over ``b`` goes with ``x`` rather than ``y``, properties of the classes by their number.

    Each seed gives ``|rho(a / b, x)| - |rho(a / b, y)|`` with Spearman's rank correlation over the classes, at least
    three, whose ratio is defined.
    """
    stronger = {}
    for seed in sorted({seed for rows in classes for seed in {*rows[a]} & {*rows[b]}}):
        points = [
            (rows[a][seed] / rows[b][seed], x[i], y[i])
            for i, rows in enumerate(classes)
            if i in x and i in y and seed in rows[a] and seed in rows[b] and rows[b][seed] != 0
        ]
        if len(points) >= 3:
            gain, with_x, with_y = zip(*points, strict=True)
            stronger[seed] = abs(rank_correlation(gain, with_x)) - abs(rank_correlation(gain, with_y))
    return _all_of([compare(names, stronger, "", dict.fromkeys(stronger, 0.0))])


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where one of the two does not vary."""
    from scipy.stats import spearmanr

    if len(set(x)) < 2 or len(set(y)) < 2:
        return 0.0
    return float(spearmanr(x, y).statistic)


def within(values: Values, row: str, target: float, tolerance: float, against: str = "paper") -> Verdict:
    """The mean lies within ``tolerance`` of ``target``: the interval inside it holds, wholly outside fails."""
    mean, interval = _interval([values[seed] - target for seed in sorted(values)])
    comparison = Comparison(row, against, mean, interval, len(values))
    if interval is None:
        return Verdict(UNDECIDED, (comparison,))
    low, high = interval
    inside, outside = -tolerance <= low and high <= tolerance, low > tolerance or high < -tolerance
    return Verdict(HOLDS if inside else FAILS if outside else UNDECIDED, (comparison,))


def _interval(differences: Sequence[float]) -> tuple[float | None, tuple[float, float] | None]:
    n = len(differences)
    if n == 0:
        return None, None
    mean = sum(differences) / n
    if n == 1:
        return mean, None
    from scipy.stats import t

    spread = math.sqrt(sum((value - mean) ** 2 for value in differences) / (n - 1) / n)
    reach = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread
    return mean, (mean - reach, mean + reach)


def _welch(a: list[float], b: list[float], sign: int) -> tuple[float | None, tuple[float, float] | None]:
    """Difference of the means and its interval by Welch's test; None with fewer than two values on a side."""
    if not a or not b:
        return None, None
    mean = sign * (statistics.fmean(a) - statistics.fmean(b))
    if len(a) < 2 or len(b) < 2:
        return mean, None
    from scipy.stats import t

    va, vb = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    if va + vb == 0:
        return mean, (mean, mean)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    reach = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(va + vb)
    return mean, (mean - reach, mean + reach)


def _all_of(comparisons: Sequence[Comparison]) -> Verdict:
    words = {comparison.word for comparison in comparisons}
    word = FAILS if FAILS in words else HOLDS if words == {HOLDS} else UNDECIDED
    return Verdict(word, tuple(comparisons))
