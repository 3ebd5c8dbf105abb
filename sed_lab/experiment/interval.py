"""What a verdict is decided by: Student's t, Welch's t, exact binomial intervals, and permutations of classes.

``tails`` are the chances that an interval's lower and its upper bound are wrong: ``TAILS`` for one of 95 %. Where an
experiment is looked at several times, `nominal` says which chance at each look comes to a given one over all of them.
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
SIMULATED = 1_000_000  # experiments without an effect, for the level of each look
DRAWS = 9999  # permutations of more than seven classes are drawn: all of eight would be 40,320
Interval = tuple[float, float]
Looks = tuple[int, ...]  # numbers of seeds after which claims are judged


@cache
def nominal(share: float, looks: Looks) -> float:
    """The chance of error of one bound at each of ``looks`` with which that over all of them is at most ``share``.

    One level at every look, as Pocock (1977) chose it, whose figures are for normal data and evenly spaced looks: here
    the looks are where they are, and the data are differences of pairs under Student's t. The level is simulated, two
    standard errors on the safe side: 0.00963 at looks of 5, 10 and 20 for a share of 0.025.
    """
    if len(looks) == 1:
        return share
    smallest = _smallest(looks)
    level = float(smallest[int(share * SIMULATED - 2 * math.sqrt(share * SIMULATED))])
    digits = 2 - math.floor(math.log10(level))
    return math.floor(level * 10**digits) / 10**digits


def t_interval(values: Sequence[float], tails: tuple[float, float] = TAILS) -> Interval | None:
    """Student's interval of the mean; None with fewer than two values or where all are equal, which has no spread."""
    if len(values) < 2 or constant(values):
        return None
    mean, spread = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    return mean - t_bound(tails[0], len(values) - 1) * spread, mean + t_bound(tails[1], len(values) - 1) * spread


def welch_interval(a: Sequence[float], b: Sequence[float], tails: tuple[float, float] = TAILS) -> Interval | None:
    """Welch's interval of the difference of two means; None with fewer than two values on a side, or no spread."""
    if len(a) < 2 or len(b) < 2 or (constant(a) and constant(b)):
        return None
    va, vb = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    mean, spread = statistics.fmean(a) - statistics.fmean(b), math.sqrt(va + vb)
    return mean - t_bound(tails[0], freedom) * spread, mean + t_bound(tails[1], freedom) * spread


@cache
def share_interval(yes: int, n: int, tails: tuple[float, float] = TAILS) -> Interval:
    """Exact interval of a share of which ``yes`` of ``n`` were seen (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    low = float(betaincinv(yes, n - yes + 1, tails[0])) if yes else 0.0
    return low, float(betaincinv(yes + 1, n - yes, 1 - tails[1])) if yes < n else 1.0


@cache
def exact_p(yes: int, n: int, share: float = 0.5) -> float:
    """Two-sided exact binomial p (twice the smaller tail): below .05 where the 95 % interval leaves ``share`` out."""
    from scipy.special import bdtr, bdtrc

    return min(1.0, 2 * float(min(bdtr(yes, n, share), bdtrc(yes - 1, n, share) if yes else 1.0)))


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
def _smallest(looks: Looks) -> NDArray[np.float64]:
    """The smallest one-sided p of Student's t over the looks, in experiments without an effect, in order.

    Of the values between two looks only their sum and their squares' sum around their mean are drawn.
    """
    from scipy.special import stdtr

    rng = np.random.default_rng(0)
    total, squares, before = np.zeros(SIMULATED), np.zeros(SIMULATED), 0  # squares around the mean so far
    smallest = np.ones(SIMULATED)
    for n in looks:
        more = n - before
        added = rng.standard_normal(SIMULATED) * math.sqrt(more)
        squares += rng.chisquare(more - 1, SIMULATED) if more > 1 else 0.0
        if before:
            squares += (added / more - total / before) ** 2 * before * more / n
        total, before = total + added, n
        t = total / np.sqrt(squares * n / (n - 1))
        high = t > 1.0  # no others matter
        smallest[high] = np.minimum(smallest[high], stdtr(n - 1, -t[high]))
    return np.sort(smallest)


@cache
def t_bound(tail: float, freedom: float) -> float:
    """Student's t that is passed with the chance ``tail``."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - tail))


@cache
def _orders(n: int) -> NDArray[np.intp]:
    """Every order of n classes, or as many drawn ones."""
    if n <= 7:
        return np.array(list(permutations(range(n))), dtype=np.intp)
    rng = np.random.default_rng(0)
    return np.array([rng.permutation(n) for _ in range(DRAWS)], dtype=np.intp)
