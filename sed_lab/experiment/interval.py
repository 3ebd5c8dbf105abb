"""What a verdict is decided by: Student's t, Welch's t, exact binomial intervals, and permutations of classes.

``tails`` are the chances that an interval's lower and its upper bound are wrong: ``TAILS`` for one of 95 %.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-9  # numbers this near to each other are the same
TAILS = (0.025, 0.025)
DRAWS = 9999  # permutations of more than seven classes are drawn: all of eight would be 40,320
Interval = tuple[float, float]


def t_interval(values: Sequence[float], tails: tuple[float, float] = TAILS) -> Interval | None:
    """Student's interval of the mean; None with fewer than two values or where all are equal, which has no spread."""
    if len(values) < 2 or constant(values):
        return None
    mean, spread = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    return mean - _t(tails[0], len(values) - 1) * spread, mean + _t(tails[1], len(values) - 1) * spread


def welch_interval(a: Sequence[float], b: Sequence[float], tails: tuple[float, float] = TAILS) -> Interval | None:
    """Welch's interval of the difference of two means; None with fewer than two values on a side, or no spread."""
    if len(a) < 2 or len(b) < 2 or (constant(a) and constant(b)):
        return None
    va, vb = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    mean, spread = statistics.fmean(a) - statistics.fmean(b), math.sqrt(va + vb)
    return mean - _t(tails[0], freedom) * spread, mean + _t(tails[1], freedom) * spread


def share_interval(yes: int, n: int, tails: tuple[float, float] = TAILS) -> Interval:
    """Exact interval of a share of which ``yes`` of ``n`` were seen (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    low = float(beta.ppf(tails[0], yes, n - yes + 1)) if yes else 0.0
    return low, float(beta.ppf(1 - tails[1], yes + 1, n - yes)) if yes < n else 1.0


def exact_p(yes: int, n: int, share: float = 0.5) -> float:
    """Two-sided exact binomial p (twice the smaller tail): below .05 where the 95 % interval leaves ``share`` out."""
    from scipy.stats import binom

    return min(1.0, 2 * float(min(binom.cdf(yes, n, share), binom.sf(yes - 1, n, share))))


def constant(values: Sequence[float]) -> bool:
    """Whether all values are the same, up to rounding."""
    return max(values) - min(values) <= ROUNDING * max(1.0, *map(abs, values))


def yes_or_no(*rows: Sequence[float]) -> bool:
    """Whether all values are 0 or 1."""
    return all(value in (0, 1) for row in rows for value in row)


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where one of the two does not vary."""
    return float(centred_ranks(x) @ centred_ranks(y))


def centred_ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Ranks around 0 of unit length; zeros where the values do not vary."""
    from scipy.stats import rankdata

    ranks: NDArray[np.float64] = rankdata(values) - (len(values) + 1) / 2
    length = float(np.sqrt(ranks @ ranks))
    return ranks / length if length > 0 else ranks


def permuted(gain: Sequence[float], weights: NDArray[np.float64]) -> tuple[float, float]:
    """Chances of a sum of ranks times ``weights`` as high, and as low, were the gains dealt out to the classes."""
    ranks = centred_ranks(gain)
    seen, dealt = float(ranks @ weights), ranks[_orders(len(gain))] @ weights
    whole = math.factorial(len(gain)) == len(dealt)
    counts = (int((dealt >= seen - ROUNDING).sum()), int((dealt <= seen + ROUNDING).sum()))
    high, low = (count / len(dealt) if whole else (count + 1) / (len(dealt) + 1) for count in counts)
    return high, low


@cache
def _t(tail: float, freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf(1 - tail, freedom))


@cache
def _orders(n: int) -> NDArray[np.intp]:
    """Every order of n classes, or as many drawn ones."""
    if n <= 7:
        return np.array(list(permutations(range(n))), dtype=np.intp)
    rng = np.random.default_rng(0)
    return np.array([rng.permutation(n) for _ in range(DRAWS)], dtype=np.intp)
