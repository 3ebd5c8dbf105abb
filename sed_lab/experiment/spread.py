"""How much of a comparison's spread over seeds is the choice of test clips: where it is most, more clips are cheaper
than more seeds.

Each seed draws test clips of its own. By how much their choice alone moves a difference follows from the numbers of
the rows' runs of one seed without each group of clips (`sed_lab.metric.groups`), the same clips in all rows. Nothing is
said where a record has no groups (of PSDS none has), where test clips are the same in every seed, and of ranks and
counts.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sed_lab.experiment.comparison import Verdict
from sed_lab.experiment.interval import constant
from sed_lab.experiment.spec import Claim, Experiment
from sed_lab.metric.groups import clips_in_words, variance, without_groups

Terms = Sequence[tuple[float, str, str]]  # weight, row, column: a comparison's difference is their sum
Numbers = Mapping[str, Mapping[str, Mapping[int, float]]]  # by row, column and seed
Measured = Mapping[
    str, Mapping[int, Mapping[str, Any]]
]  # a run's metrics.json, and its data's fingerprint, by row, seed
NOT_SUMS = ("trades", "follows")  # these count seeds or rank classes


def with_test_shares(
    verdict: Verdict, claim: Claim, experiment: Experiment, seeds: Sequence[int], numbers: Numbers, measured: Measured
) -> Verdict:
    """``verdict`` with the share of each comparison's spread that is the choice of test clips, where that is known."""
    if claim.kind in NOT_SUMS:
        return verdict
    pairs = zip(terms_of(claim), verdict.comparisons, strict=True) if verdict.comparisons else ()
    shares = [_share(terms, experiment, seeds[: one.seeds], numbers, measured) for terms, one in pairs]
    made = [replace(one, test_share=share) for one, share in zip(verdict.comparisons, shares, strict=True)]
    return replace(verdict, comparisons=tuple(made))


def terms_of(claim: Claim) -> list[Terms]:
    """For each comparison of a claim, the numbers that its difference is made of (up to its sign)."""
    rows, columns = claim.rows, claim.columns
    if claim.kind in ("better", "best", "order"):
        return [[(1, a, columns[0]), (-1, b, columns[0])] for a, b in claim.pairs]
    if claim.kind == "near":
        return [[(1, rows[0], columns[0]), (-1, rows[1], columns[0])]]
    if claim.kind == "each":
        return [[(1, rows[0], name), (-1, rows[1], name)] for name in columns]
    if claim.kind == "most":
        return [[(sign / len(columns), row, name) for name in columns for sign, row in zip((1, -1), rows, strict=True)]]
    if claim.kind == "easiest":
        return [[(1, rows[0], columns[0]), (-1, rows[0], name)] for name in columns[1:]]
    if claim.kind == "gains":
        return [[(sign, row, columns[0]) for sign, row in zip((1, -1, -1, 1), rows, strict=True)]]
    return [[(1, rows[0], columns[0])]]  # above, below, within


def _share(
    terms: Terms, experiment: Experiment, seeds: Sequence[int], numbers: Numbers, measured: Measured
) -> float | None:
    if any(seed not in numbers[row][column] for _, row, column in terms for seed in seeds) or len(seeds) < 2:
        return None
    differences = [sum(weight * numbers[row][column][seed] for weight, row, column in terms) for seed in seeds]
    of_runs = [
        (weight / len(parts), part, experiment.rows[part].metric(experiment.columns[column]))
        for weight, row, column in terms
        for parts in [experiment.rows[row].mean_of or (row,)]
        for part in parts
    ]
    first = of_runs[0][1]
    data = {measured[first].get(seed, {}).get("fingerprint") for seed in seeds}
    if constant(differences) or None in data or len(data) < len(seeds):
        return None
    found = [_of_seed(of_runs, seed, measured) for seed in seeds]
    known = [one for one in found if one is not None]
    return min(1.0, statistics.fmean(known) / statistics.variance(differences)) if len(known) == len(found) else None


def _of_seed(of_runs: Terms, seed: int, measured: Measured) -> float | None:
    """The variance of a seed's difference by the choice of test clips; those of other subsets are chosen apart."""
    sums: dict[str, Any] = defaultdict(float)
    for weight, row, name in of_runs:
        metrics = measured[row].get(seed, {})
        without = without_groups(metrics, name)
        if without is None:
            return None
        sums[clips_in_words(metrics, name)] += weight * np.asarray(without)
    return sum(variance(one) for one in sums.values())
