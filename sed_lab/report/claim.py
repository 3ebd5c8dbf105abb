"""A paper's claims judged on our runs: paired differences over seeds, with a confidence interval.

A claim is one of four sentences over rows of a table and one of its columns: ``better`` a ``than`` b, ``best`` among
rows, ``order`` from best to worst, ``within`` a tolerance of the paper's number. Two rows are compared seed by seed,
since a seed also fixes the data's order and the first weights: what both share cancels. The verdict is ``holds`` or
``fails`` where the interval leaves zero out, and ``undecided`` otherwise, also with fewer than two seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

CONFIDENCE = 0.95  # of every interval
HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
Values = Mapping[int, float]  # a row's value of one column, by seed


@dataclass(frozen=True)
class Verdict:
    """``word`` is holds, fails or undecided; ``comparisons`` are the differences it rests on."""

    word: str
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Comparison:
    """Mean of ``difference`` over ``seeds`` runs and its confidence interval (None with fewer than two)."""

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


def compare(of: str, a: Values, against: str, b: Values, lower_is_better: bool = False) -> Comparison:
    """``a`` minus ``b`` (the other way round where lower is better) over the seeds both have.

    The interval is Student's t on the paired differences; differences without any spread give themselves.
    """
    sign = -1 if lower_is_better else 1
    differences = [sign * (a[seed] - b[seed]) for seed in sorted(set(a) & set(b))]
    return Comparison(of, against, *_interval(differences), len(differences))


def better(rows: Mapping[str, Values], a: str, b: str, lower_is_better: bool = False) -> Verdict:
    """Row ``a`` is better than row ``b``."""
    return _all_of([compare(a, rows[a], b, rows[b], lower_is_better)])


def best(rows: Mapping[str, Values], a: str, among: Sequence[str], lower_is_better: bool = False) -> Verdict:
    """Row ``a`` is better than each other row of ``among``: holds if all comparisons do, fails if one does."""
    return _all_of([compare(a, rows[a], b, rows[b], lower_is_better) for b in among if b != a])


def order(rows: Mapping[str, Values], names: Sequence[str], lower_is_better: bool = False) -> Verdict:
    """``names`` from best to worst: each is better than the next."""
    return _all_of([compare(a, rows[a], b, rows[b], lower_is_better) for a, b in pairwise(names)])


def within(values: Values, row: str, target: float, tolerance: float) -> Verdict:
    """The mean lies within ``tolerance`` of ``target``: the interval inside it holds, wholly outside fails."""
    mean, interval = _interval([values[seed] - target for seed in sorted(values)])
    comparison = Comparison(row, "paper", mean, interval, len(values))
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


def _all_of(comparisons: Sequence[Comparison]) -> Verdict:
    words = {comparison.word for comparison in comparisons}
    word = FAILS if FAILS in words else HOLDS if words == {HOLDS} else UNDECIDED
    return Verdict(word, tuple(comparisons))
