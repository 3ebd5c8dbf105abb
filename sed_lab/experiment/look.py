"""Looks: claims are judged after 5 seeds, say, then after 10, then after 20, and only what is undecided gets more.

Judged at 5 % each time, one in eight claims without an effect would come out decided. So each look has one level, with
which all of them together spend 5 % (`sed_lab.experiment.interval.nominal`). What is decided stays decided: the words
follow from the records in the order of their seeds, whatever ran first and however often it was stopped.

A claim's comparisons are decided one by one, so that of a row that is best of eight the last pair alone gets more
seeds. A look counts for a comparison when all runs of its rows are there up to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sed_lab.experiment.comparison import UNDECIDED, Verdict, all_of
from sed_lab.experiment.interval import Looks
from sed_lab.experiment.spec import Claim, Experiment

IN_UNITS = ("better", "best", "order", "above", "below", "most", "each", "easiest", "gains")  # of their column


def over_looks(judge: Callable[[int], Verdict], looks: Looks, there: int) -> Verdict:
    """The verdict after the looks of at most ``there`` seeds; ``judge`` gives that on the first so many seeds alone.

    Before the first look nothing is decided, whatever the numbers say.
    """
    if there < looks[0]:
        early = judge(there).comparisons
        waits = f"the first look is at {looks[0]} seeds"
        return all_of([replace(one, word=UNDECIDED, more=None, by=one.by or waits) for one in early])
    verdict = judge(looks[0])
    for look in looks[1:]:
        if verdict.word != UNDECIDED or look > there:
            break
        now = judge(look).comparisons
        pairs = zip(verdict.comparisons, now, strict=True)
        verdict = all_of([old if old.word != UNDECIDED or not new.seeds else new for old, new in pairs])
    return verdict


def open_rows(claim: Claim, verdict: Verdict, experiment: Experiment) -> set[str]:
    """The rows with runs whose numbers an undecided claim still needs, none where it is decided."""
    if verdict.word != UNDECIDED:
        return set()
    names = set(claim.rows)
    if claim.kind in ("better", "best", "order"):
        pairs = zip(claim.pairs, verdict.comparisons, strict=True)
        names = {name for pair, one in pairs if one.word == UNDECIDED for name in pair}
    return {part for name in names for part in experiment.rows[name].mean_of or (name,)}


def margins(claim: Claim, experiment: Experiment) -> list[float | None]:
    """For each comparison of a claim, what is no difference to speak of: at most half of the effect the paper printed.

    Where nothing was printed, or the print says the opposite, it is the claim's own ``margin``, else its column's.
    """
    sign = -1 if experiment.columns[claim.columns[0]].better == "lower" else 1

    def paper(row: str, column: str) -> float | None:
        number = experiment.rows[row].paper.get(column)
        return None if number is None else number[0]

    def effect(*numbers: float | None) -> float | None:
        """The first, less the second, less the third, plus the fourth."""
        known = [number for number in numbers if number is not None]
        signs = (sign, -sign, -sign, sign)
        return sum(s * x for s, x in zip(signs, known, strict=False)) if len(known) == len(numbers) else None

    first, rows, column = claim.rows[0], claim.rows, claim.columns[0]
    if claim.kind in ("better", "best", "order"):
        printed = [effect(paper(a, column), paper(b, column)) for a, b in claim.pairs]
    elif claim.kind == "each":
        printed = [effect(paper(first, name), paper(rows[1], name)) for name in claim.columns]
    elif claim.kind == "most":
        each = [effect(paper(first, name), paper(rows[1], name)) for name in claim.columns]
        there = [one for one in each if one is not None]
        printed = [sum(there) / len(each) if len(there) == len(each) else None]
    elif claim.kind == "easiest":
        printed = [effect(paper(first, column), paper(first, other)) for other in claim.columns[1:]]
    elif claim.kind == "gains":
        printed = [effect(*(paper(name, column) for name in rows))]
    elif claim.kind in ("above", "below"):
        number, up = paper(first, column), 1 if claim.kind == "above" else -1
        printed = [None if number is None else up * (number - claim.options["value"])]
    else:
        printed = [None]
    of_column = experiment.columns[column].margin if claim.kind in IN_UNITS else None
    own = claim.options.get("margin", of_column)
    return [one / 2 if one is not None and one > 0 else own for one in printed]
