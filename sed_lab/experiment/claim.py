"""A paper's claims judged on our runs: paired comparisons over seeds, each with a 95 % interval.

A claim is one of the sentences of `spec.CLAIMS`. Two rows are compared seed by seed, since a seed also fixes the data's
order and the first weights: what both share cancels. Each seed gives one number that is above 0 where the claim is true
of it, and the interval of their mean gives one of the words of `sed_lab.experiment.comparison`; with fewer than two
seeds it is undecided.

The interval is Student's, but values that are yes or no (0 or 1) are counted: an exact binomial interval, for two rows
a sign test over the seeds in which they differ. Numbers without any spread are counted as well, so that it takes six
seeds to decide, and rows that are one and the same number in every seed decide nothing: they are at a ceiling or a
floor. What is said of classes is tested over the classes, on the means over seeds, and over the seeds as well.

A claim of several comparisons (``best``, ``order``, ``each``, ``easiest``) holds if all do. One that fails or shows no
difference refutes it, at a level that is divided by their number (Bonferroni). So without an effect both holds and
fails come out in one of forty claims at most, and with an effect as large as the margin so does no difference, over all
looks where there are several (`sed_lab.experiment.look`). Of ``most`` the effect that may be no difference is the mean
over the classes. ``near`` and ``within`` say themselves that a difference is small: they hold where another claim would
show no difference, and fail where the interval lies wholly outside. ``follows`` is about ranks and has no margin.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sed_lab.experiment.comparison import (
    FAILS,
    HOLDS,
    NO_DIFFERENCE,
    ONE_LOOK,
    UNDECIDED,
    Comparison,
    Rule,
    Verdict,
    all_of,
    first_more,
    inner_interval,
    inside,
    of_differences,
    p_words,
    signed,
)
from sed_lab.experiment.interval import (
    ROUNDING,
    Looks,
    centred_ranks,
    constant,
    exact_p,
    permuted,
    share_interval,
    welch_interval,
    yes_or_no,
)

Values = Mapping[int, float]  # a row's value of one column, by seed
Rows = Mapping[str, Values]
Margins = Sequence[float | None]  # of each comparison; empty where none has one
ANY = Rule()


def compare(
    of: str,
    a: Values,
    against: str,
    b: Values,
    lower: bool = False,
    rule: Rule = ANY,
    welch: bool = False,
    fixed: bool = False,
) -> Comparison:
    """``a`` minus ``b`` (the other way round where lower is better) over the seeds both have.

    ``welch`` adds Welch's interval over all runs of both. ``fixed`` numbers are the same in all runs of a row and
    decide by their sign; where they do differ, they are judged as any others.
    """
    seeds, sign = sorted({*a} & {*b}), -1 if lower else 1
    both = [[row[seed] for seed in seeds] for row in (a, b)]
    differences = [sign * (x - y) for x, y in zip(*both, strict=True)]
    if fixed and seeds and all(constant(row) for row in both):
        word = NO_DIFFERENCE if constant([*both[0], *both[1]]) else HOLDS if differences[0] > 0 else FAILS
        by = "decided by the configuration, the same in every run"
        return Comparison(of, against, differences[0], None, len(seeds), word, by, margin=rule.margin)
    made = of_differences(of, against, differences, rule, counted=yes_or_no(*both))
    if len(seeds) > 1 and constant([*both[0], *both[1]]):
        where = ", at the ceiling or the floor" if round(both[0][0], 9) in (0, 1) else ""
        by = f"both are {both[0][0]:.3f} in every seed{where}: nothing to compare"
        made = replace(made, word=UNDECIDED, by=by, more=None)
    first, second = ([*row.values()] for row in ((b, a) if lower else (a, b)))
    return replace(made, welch=welch_interval(first, second, rule.tails)) if welch else made


def better(
    rows: Rows,
    pairs: Sequence[tuple[str, str]],
    lower: bool = False,
    welch: bool = False,
    looks: Looks = ONE_LOOK,
    margins: Margins = (),
    fixed: bool = False,
) -> Verdict:
    """In each pair the first row is better than the second."""
    rules = _rules(looks, len(pairs), margins)
    return all_of([compare(a, rows[a], b, rows[b], lower, rules[i], welch, fixed) for i, (a, b) in enumerate(pairs)])


def welch_t(a: tuple[float, float], b: tuple[float, float], n: int) -> float:
    """Welch's t of two printed results, each a mean and a standard deviation over ``n`` runs."""
    return (a[0] - b[0]) / math.sqrt((a[1] ** 2 + b[1] ** 2) / n)


def above(values: Values, row: str, bound: float, below: bool = False, rule: Rule = ANY) -> Verdict:
    """The row's number lies above ``bound``, or below it; of yes-or-no values it is the share of yes."""
    found, sign = [*values.values()], -1 if below else 1
    if not found or not yes_or_no(found):
        return all_of([of_differences(row, f"{bound:g}", [sign * (value - bound) for value in found], rule)])
    yes, n = int(sum(found)), len(found)

    def interval(yes: int, n: int) -> tuple[float, float] | None:
        low, high = (share - bound for share in share_interval(yes, n, rule.tails))
        return ((-high, -low) if below else (low, high)) if n > 1 else None

    def word(k: int) -> str:
        made = interval(yes * k // n, k)
        return rule.word(made, made)

    by = f"yes in {yes} of {n} seeds, {p_words('exact binomial', exact_p(yes, n, bound))}"
    made = Comparison(row, f"{bound:g}", sign * (yes / n - bound), interval(yes, n), n, word(n), by, None, rule.margin)
    return all_of([replace(made, more=first_more(word, n)) if made.word == UNDECIDED else made])


def most(classes: Sequence[Rows], a: str, b: str, lower: bool = False, rule: Rule = ANY) -> Verdict:
    """Row ``a`` is better than row ``b`` in more than half of the classes: a sign test over the means' differences.

    ``classes`` holds the rows of one class each. A class in which a row has no number, or both the same mean, is not
    counted. Classes of a run rise and fall together, so that the mean of their differences must say so over the seeds,
    too.
    """
    there, sign = [rows for rows in classes if rows[a] and rows[b]], -1 if lower else 1
    seeds = _seeds(there, a, b)
    found = [[sign * (rows[a][seed] - rows[b][seed]) for seed in seeds] for rows in there]
    over_seeds = of_differences(a, b, [statistics.fmean(one) for one in zip(*found, strict=True)], rule)
    gain = [statistics.fmean(one) for one in found if seeds]
    up, down = (sum(side * one > ROUNDING for one in gain) for side in (1, -1))
    if up + down == 0:
        return all_of([over_seeds])
    over_classes = rule.word(signed(share_interval(up, up + down, rule.tails)), None)
    by = f"better in {up} of {up + down} classes, {p_words('sign test', exact_p(up, up + down))}"
    return all_of([_agreeing(over_seeds, over_classes, by)])


def each(
    classes: Mapping[str, Rows], a: str, b: str, lower: bool = False, looks: Looks = ONE_LOOK, margins: Margins = ()
) -> Verdict:
    """Row ``a`` is better than row ``b`` in every class; the ``classes``' rows by label."""
    rules = _rules(looks, len(classes), margins)
    pairs = [(f"{a}, {label}", rows[a], f"{b}, {label}", rows[b]) for label, rows in classes.items()]
    return all_of([compare(*pair, lower, rule) for pair, rule in zip(pairs, rules, strict=True)])


def trades(first: Rows, second: Rows, a: str, b: str, rule: Rule = ANY) -> Verdict:
    """Of two numbers row ``a`` is better than row ``b`` in one and worse in the other: the seeds in which this is so
    are counted. ``first`` and ``second`` hold the rows of one column each."""
    seeds = sorted(set.intersection(*({*rows[name]} for rows in (first, second) for name in (a, b))))
    gains = {seed: [rows[a][seed] - rows[b][seed] for rows in (first, second)] for seed in seeds}
    opposite = {seed: float(one * other < 0) for seed, (one, other) in gains.items()}
    return above(opposite, f"{a} against {b}", 0.5, rule=rule)


def near(a: Values, b: Values, names: tuple[str, str], tolerance: float, looks: Looks = ONE_LOOK) -> Verdict:
    """Row a minus row b lies within ``tolerance`` of 0: the interval inside it holds, wholly outside fails."""
    seeds = sorted({*a} & {*b})
    both = [[row[seed] for seed in seeds] for row in (a, b)]
    differences = [x - y for x, y in zip(*both, strict=True)]
    rule, counted = Rule(looks), yes_or_no(*both)
    if seeds and constant([*both[0], *both[1]]):
        return all_of([compare(names[0], a, names[1], b)])  # one number in both rows and every seed: no comparison
    return inside(*names, differences, inner_interval(differences, rule, counted), tolerance, rule)


def within(values: Values, row: str, target: float, tolerance: float, looks: Looks = ONE_LOOK) -> Verdict:
    """The mean lies within ``tolerance`` of ``target``: the interval inside it holds, wholly outside fails."""
    found = [values[seed] for seed in sorted(values)]
    differences = [value - target for value in found]
    rule = Rule(looks)
    interval = inner_interval(differences, rule, counted=False)
    if len(found) > 1 and yes_or_no(found):
        low, high = share_interval(int(sum(found)), len(found), rule.even)
        interval = (low - target, high - target)
    return inside(row, f"{target:g}", differences, interval, tolerance, rule)


def gains(rows: Sequence[Values], names: Sequence[str], lower: bool = False, rule: Rule = ANY) -> Verdict:
    """The first row gains more over the second than the third over the fourth, seed by seed."""
    sign, seeds = -1 if lower else 1, sorted(set.intersection(*({*row} for row in rows)))
    a, b, c, d = ([row[seed] for seed in seeds] for row in rows)
    more = [sign * ((a[i] - b[i]) - (c[i] - d[i])) for i in range(len(seeds))]
    of, against = (f"({first} - {second})" for first, second in (names[:2], names[2:]))
    return all_of([of_differences(of, against, more, rule, counted=yes_or_no(a, b, c, d))])


def follows(
    classes: Sequence[Rows],
    a: str,
    b: str,
    x: Values,
    y: Values,
    names: tuple[str, str],
    down: bool = False,
    looks: Looks = ONE_LOOK,
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
    rather = f"{name} rather than {names[1]}"
    if len(found) < 3 or not seeds:
        return all_of([Comparison(words, "", None, None, len(seeds)) for words in (name, rather)])
    by_seed = {
        seed: [(classes[i][a][seed] - classes[i][b][seed]) / _mean(classes[i][b]) for i in found] for seed in seeds
    }
    gain = [statistics.fmean(one) for one in zip(*by_seed.values(), strict=True)]
    with_x, with_y = (centred_ranks([values[i] for i in found]) for values in (x, y))
    words = [
        f"rho {float(centred_ranks(gain) @ w):+.2f} with {what}"
        for w, what in zip((with_x, with_y), names, strict=True)
    ]
    made, rule = [], Rule(looks, parts=2)
    for of, weights, by in (
        (name, with_x, words[0]),
        (rather, with_x - with_y, ", ".join(words)),
    ):
        seen = [sign * float(weights @ np.array(one)) for one in by_seed.values()]
        over_seeds = of_differences(of, "", seen, rule)
        high, low = permuted(gain, sign * weights)
        word = HOLDS if high <= rule.tails[0] else FAILS if low <= rule.tails[1] else UNDECIDED
        by = f"{by}, {len(found)} classes, {p_words('permutation', min(1.0, 2 * min(high, low)))}"
        made.append(_agreeing(over_seeds, word, by))
    return all_of(made)


def _rules(looks: Looks, parts: int, margins: Margins) -> list[Rule]:
    return [Rule(looks, parts, margin) for margin in margins or [None] * parts]


def _agreeing(over_seeds: Comparison, over_classes: str, by: str) -> Comparison:
    """Holds and fails where the seeds and the classes both say so; no difference is a matter of the seeds."""
    word = over_seeds.word
    if word in (HOLDS, FAILS) and word != over_classes:
        return replace(over_seeds, word=UNDECIDED, by=by)
    open_still = word == UNDECIDED and over_classes == UNDECIDED  # more seeds might still leave the classes divided
    return replace(over_seeds, by=by, more=None if open_still else over_seeds.more)


def _seeds(classes: Sequence[Rows], a: str, b: str) -> list[int]:
    """The seeds that rows a and b have in every class."""
    return sorted(set.intersection(*({*rows[a]} & {*rows[b]} for rows in classes))) if classes else []


def _mean(values: Values) -> float:
    return statistics.fmean(values.values())
