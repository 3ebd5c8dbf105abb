"""A paper's claims judged on our runs: paired comparisons over seeds, each with a 95 % interval.

A claim is one of the sentences of `spec.CLAIMS`. Two rows are compared seed by seed, since a seed also fixes the data's
order and the first weights: what both share cancels. Each seed gives one number that is above 0 where the claim is true
of it; the verdict is ``holds`` or ``fails`` where the interval of their mean leaves 0 out, and ``undecided`` otherwise,
also with fewer than two seeds.

The interval is Student's, but values that are yes or no (0 or 1) are counted: an exact binomial interval, for two rows
a sign test over the seeds in which they differ. Numbers without any spread are counted as well, so that it takes six
seeds to decide, and rows that are one and the same number in every seed decide nothing: they are at a ceiling or a
floor. What is said of classes is tested over the classes, on the means over seeds, and over the seeds as well.

A claim of several comparisons holds if all do. It fails if one fails, with intervals whose upper bound is corrected for
the number of comparisons (Bonferroni): without an effect each of both words comes out in one of forty claims at most.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sed_lab.experiment.interval import (
    ROUNDING,
    TAILS,
    Interval,
    centred_ranks,
    constant,
    exact_p,
    permuted,
    share_interval,
    t_interval,
    welch_interval,
    yes_or_no,
)

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
    """Mean of ``difference`` over ``seeds`` runs, its confidence interval (None where there is none) and its ``word``.

    ``against`` is empty where ``of`` itself is compared with 0. ``by`` says in words which counts decide, where it
    is not Student's t alone. ``welch`` is the interval as if the runs were independent, where it is asked for.
    """

    of: str
    against: str
    difference: float | None
    interval: Interval | None
    seeds: int
    word: str = UNDECIDED
    by: str = ""
    welch: Interval | None = None


def compare(
    of: str, a: Values, against: str, b: Values, lower: bool = False, parts: int = 1, welch: bool = False
) -> Comparison:
    """``a`` minus ``b`` (the other way round where lower is better) over the seeds both have.

    ``parts`` is the number of comparisons of the claim; ``welch`` adds Welch's interval over all runs of both.
    """
    seeds, tails, sign = sorted({*a} & {*b}), (TAILS[0], TAILS[1] / parts), -1 if lower else 1
    both = [[row[seed] for seed in seeds] for row in (a, b)]
    differences = [sign * (x - y) for x, y in zip(*both, strict=True)]
    made = _of_differences(of, against, differences, tails, counted=yes_or_no(*both))
    if len(seeds) > 1 and constant([*both[0], *both[1]]):
        where = ", at the ceiling or the floor" if round(both[0][0], 9) in (0, 1) else ""
        made = replace(made, word=UNDECIDED, by=f"both are {both[0][0]:.3f} in every seed{where}: nothing to compare")
    first, second = ([*row.values()] for row in ((b, a) if lower else (a, b)))
    return replace(made, welch=welch_interval(first, second, tails)) if welch else made


def better(rows: Rows, pairs: Sequence[tuple[str, str]], lower: bool = False, welch: bool = False) -> Verdict:
    """In each pair the first row is better than the second: holds if all comparisons do, fails if one does."""
    return _all_of([compare(a, rows[a], b, rows[b], lower, len(pairs), welch) for a, b in pairs])


def welch_t(a: tuple[float, float], b: tuple[float, float], n: int) -> float:
    """Welch's t of two printed results, each a mean and a standard deviation over ``n`` runs."""
    return (a[0] - b[0]) / math.sqrt((a[1] ** 2 + b[1] ** 2) / n)


def above(values: Values, row: str, bound: float, below: bool = False) -> Verdict:
    """The row's number lies above ``bound``, or below it; of yes-or-no values it is the share of yes."""
    found, sign = [*values.values()], -1 if below else 1
    if not found or not yes_or_no(found):
        made = _of_differences(row, f"{bound:g}", [sign * (value - bound) for value in found], TAILS)
        return _all_of([made])
    yes, n = int(sum(found)), len(found)
    low, high = (share - bound for share in share_interval(yes, n))
    interval = (-high, -low) if below else (low, high)
    by = f"yes in {yes} of {n} seeds, {_p('exact binomial', exact_p(yes, n, bound))}"
    made = Comparison(row, f"{bound:g}", sign * (yes / n - bound), interval if n > 1 else None, n, by=by)
    return _all_of([replace(made, word=_word(made.interval))])


def most(classes: Sequence[Rows], a: str, b: str, lower: bool = False) -> Verdict:
    """Row ``a`` is better than row ``b`` in more than half of the classes: a sign test over the means' differences.

    ``classes`` holds the rows of one class each. A class in which a row has no number, or both the same mean, is not
    counted. Classes of a run rise and fall together, so that the mean of their differences must say so over the seeds,
    too.
    """
    there, sign = [rows for rows in classes if rows[a] and rows[b]], -1 if lower else 1
    seeds = _seeds(there, a, b)
    found = [[sign * (rows[a][seed] - rows[b][seed]) for seed in seeds] for rows in there]
    over_seeds = _of_differences(a, b, [statistics.fmean(one) for one in zip(*found, strict=True)], TAILS)
    gain = [statistics.fmean(one) for one in found if seeds]
    up, down = (sum(side * one > ROUNDING for one in gain) for side in (1, -1))
    if up + down == 0:
        return _all_of([over_seeds])
    word = _word(_signed(share_interval(up, up + down)))
    by = f"better in {up} of {up + down} classes, {_p('sign test', exact_p(up, up + down))}"
    return _all_of([replace(over_seeds, word=word if word == over_seeds.word else UNDECIDED, by=by)])


def each(classes: Mapping[str, Rows], a: str, b: str, lower: bool = False) -> Verdict:
    """Row ``a`` is better than row ``b`` in every class; the ``classes``' rows by label."""
    pairs = [(f"{a}, {label}", rows[a], f"{b}, {label}", rows[b]) for label, rows in classes.items()]
    return _all_of([compare(*pair, lower, len(pairs)) for pair in pairs])


def trades(first: Rows, second: Rows, a: str, b: str) -> Verdict:
    """Of two numbers row ``a`` is better than row ``b`` in one and worse in the other: the seeds in which this is so
    are counted. ``first`` and ``second`` hold the rows of one column each."""
    seeds = sorted(set.intersection(*({*rows[name]} for rows in (first, second) for name in (a, b))))
    gains = {seed: [rows[a][seed] - rows[b][seed] for rows in (first, second)] for seed in seeds}
    opposite = {seed: float(one * other < 0) for seed, (one, other) in gains.items()}
    return above(opposite, f"{a} against {b}", 0.5)


def near(a: Values, b: Values, names: tuple[str, str], tolerance: float) -> Verdict:
    """Row a minus row b lies within ``tolerance`` of 0: the interval inside it holds, wholly outside fails."""
    seeds = sorted({*a} & {*b})
    both = [[row[seed] for seed in seeds] for row in (a, b)]
    differences = [x - y for x, y in zip(*both, strict=True)]
    if len(seeds) > 1 and yes_or_no(*both):  # exact for both kinds of differing seeds, each at half the level
        tails = (TAILS[0] / 2, TAILS[1] / 2)
        more, less = (share_interval(differences.count(one), len(seeds), tails) for one in (1, -1))
        return _inside(*names, differences, (more[0] - less[1], more[1] - less[0]), tolerance)
    if seeds and constant([*both[0], *both[1]]):
        return _all_of([compare(names[0], a, names[1], b)])  # one number in both rows and every seed: no comparison
    return _inside(*names, differences, t_interval(differences), tolerance)


def within(values: Values, row: str, target: float, tolerance: float) -> Verdict:
    """The mean lies within ``tolerance`` of ``target``: the interval inside it holds, wholly outside fails."""
    found = [values[seed] for seed in sorted(values)]
    differences = [value - target for value in found]
    interval = t_interval(differences)
    if len(found) > 1 and yes_or_no(found):
        low, high = share_interval(int(sum(found)), len(found))
        interval = (low - target, high - target)
    return _inside(row, f"{target:g}", differences, interval, tolerance)


def gains(rows: Sequence[Values], names: Sequence[str], lower: bool = False) -> Verdict:
    """The first row gains more over the second than the third over the fourth, seed by seed."""
    sign, seeds = -1 if lower else 1, sorted(set.intersection(*({*row} for row in rows)))
    a, b, c, d = ([row[seed] for seed in seeds] for row in rows)
    more = [sign * ((a[i] - b[i]) - (c[i] - d[i])) for i in range(len(seeds))]
    of, against = (f"({first} - {second})" for first, second in (names[:2], names[2:]))
    return _all_of([_of_differences(of, against, more, TAILS, counted=yes_or_no(a, b, c, d))])


def follows(
    classes: Sequence[Rows], a: str, b: str, x: Values, y: Values, names: tuple[str, str], down: bool = False
) -> Verdict:
    """What row ``a`` gains over ``b`` goes up with ``x`` (or ``down``), and more so than with ``y``.

    ``x`` and ``y`` are properties of the classes by their number, ``names`` what they are called. The gain of a class
    is relative to the mean of b. Spearman's rank correlation of gain and x must be above 0, and above that of
    gain and y; both are tested against all ways of dealing the gains out to the classes. A seed moves related classes
    alike, so that the gains, weighted by these ranks, must say so over the seeds, too: that is the difference.
    """
    found = [i for i, rows in enumerate(classes) if i in x and i in y and rows[a] and rows[b] and _mean(rows[b]) != 0]
    seeds, sign = _seeds([classes[i] for i in found], a, b), -1 if down else 1
    name = f"{a} / {b} {'falls' if down else 'rises'} with {names[0]}"
    if len(found) < 3 or not seeds:
        return _all_of([Comparison(name, "", None, None, len(seeds))])
    by_seed = {
        seed: [(classes[i][a][seed] - classes[i][b][seed]) / _mean(classes[i][b]) for i in found] for seed in seeds
    }
    gain = [statistics.fmean(one) for one in zip(*by_seed.values(), strict=True)]
    with_x, with_y = (centred_ranks([values[i] for i in found]) for values in (x, y))
    words = [
        f"rho {float(centred_ranks(gain) @ w):+.2f} with {what}"
        for w, what in zip((with_x, with_y), names, strict=True)
    ]
    made = []
    for of, weights, by in (
        (name, with_x, words[0]),
        (f"{name} rather than {names[1]}", with_x - with_y, ", ".join(words)),
    ):
        seen = [sign * float(weights @ np.array(one)) for one in by_seed.values()]
        over_seeds = _of_differences(of, "", seen, (TAILS[0], TAILS[1] / 2))
        high, low = permuted(gain, sign * weights)
        word = HOLDS if high <= TAILS[0] else FAILS if low <= TAILS[1] / 2 else UNDECIDED
        by = f"{by}, {len(found)} classes, {_p('permutation', min(1.0, 2 * min(high, low)))}"
        made.append(replace(over_seeds, word=word if word == over_seeds.word else UNDECIDED, by=by))
    return _all_of(made)


def _of_differences(
    of: str, against: str, differences: Sequence[float], tails: tuple[float, float], counted: bool = False
) -> Comparison:
    """Student's t of paired differences; a sign test where they are ``counted``, or without any spread."""
    n = len(differences)
    if n == 0:
        return Comparison(of, against, None, None, 0)
    mean = statistics.fmean(differences)
    if n == 1 or not (counted or constant(differences)):
        interval = t_interval(differences, tails)
        return Comparison(of, against, mean, interval, n, _word(interval))
    up, down = (sum(sign * value > ROUNDING for value in differences) for sign in (1, -1))
    if up + down == 0:
        return Comparison(of, against, mean, None, n, by="no difference in any seed")
    size = sum(map(abs, differences)) / n
    low, high = _signed(share_interval(up, up + down, tails))
    interval = (low * size, high * size)
    how = f"up in {up}, down in {down} of {n} seeds" if counted else f"{mean:+.3f} in every seed"
    by = f"{how}, {_p('sign test', exact_p(up, up + down))}"
    return Comparison(of, against, mean, interval, n, _word(interval), by)


def _inside(
    of: str, against: str, differences: Sequence[float], interval: Interval | None, tolerance: float
) -> Verdict:
    """Whether the interval lies within ``tolerance`` of 0; without any spread the seeds that do are counted."""
    n, by = len(differences), ""
    mean = statistics.fmean(differences) if differences else None
    if interval is not None:
        low, high = interval
        word = HOLDS if -tolerance <= low and high <= tolerance else UNDECIDED
        word = FAILS if low > tolerance or high < -tolerance else word
    else:
        inside = sum(abs(value) <= tolerance for value in differences)
        word = _word(_signed(share_interval(inside, n))) if n > 1 else UNDECIDED
        by = f"{mean:+.3f} in every seed, {_p('sign test', exact_p(inside, n))}" if n > 1 else ""
    return _all_of([Comparison(of, against, mean, interval, n, word, by)])


def _all_of(comparisons: Sequence[Comparison]) -> Verdict:
    words = {comparison.word for comparison in comparisons}
    word = FAILS if FAILS in words else HOLDS if words == {HOLDS} else UNDECIDED
    return Verdict(word, tuple(comparisons))


def _word(interval: Interval | None) -> str:
    """Of an interval of what must be above 0."""
    if interval is None:
        return UNDECIDED
    return HOLDS if interval[0] > 0 else FAILS if interval[1] < 0 else UNDECIDED


def _seeds(classes: Sequence[Rows], a: str, b: str) -> list[int]:
    """The seeds that rows a and b have in every class."""
    return sorted(set.intersection(*({*rows[a]} & {*rows[b]} for rows in classes))) if classes else []


def _mean(values: Values) -> float:
    return statistics.fmean(values.values())


def _signed(share: Interval) -> Interval:
    """The interval of a share of those that rise as one of the share that rises minus the share that falls."""
    return 2 * share[0] - 1, 2 * share[1] - 1


def _p(test: str, p: float) -> str:
    return f"{test} p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"
