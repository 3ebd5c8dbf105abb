"""Claims as text: the verdict of each with what it rests on and what it would still need."""

from __future__ import annotations

from collections.abc import Sequence

from sed_lab.experiment.claim import welch_t
from sed_lab.experiment.comparison import ERROR, NO_DIFFERENCE, UNDECIDED, WORDS, Comparison, Verdict
from sed_lab.experiment.spec import Claim, Experiment
from sed_lab.experiment.table import Table

EVIDENCE = "difference [95 % interval], seeds"  # what a verdict rests on
NOT_RUN = "to be run"
Grid = tuple[list[str], list[list[str]]]  # head and lines


def claims_grid(table: Table) -> Grid:
    """The claims as words: sentence, verdict and what it rests on."""
    lines = []
    for claim in table.experiment.claims:
        verdict, ours = table.verdicts[claim.id], " (our question, not the paper's)" if claim.ours else ""
        why = evidence(verdict) + printed(table.experiment, claim)
        lines.append([f"{claim.id}. {claim.say}{ours}", word_shown(verdict), why])
    return ["claim", "verdict", EVIDENCE], lines


def word_shown(verdict: Verdict) -> str:
    """A verdict's word, or that no run says anything of its claim."""
    return verdict.word if verdict.tested else NOT_RUN


def claims_of(tables: Sequence[Table]) -> Grid:
    """Every claim of ``tables``: its table, its words, its verdict and what that rests on."""
    lines = [[table.experiment.item, *line] for table in tables for line in claims_grid(table)[1]]
    return ["table", "claim", "verdict", EVIDENCE], lines


def expectation(tables: Sequence[Table]) -> str:
    """How many claims are decided, and how many of these words would be wrong; nothing where none is judged.

    Each claim gets a wrong word in at most one of twenty experiments, over all its looks, so that so many words are
    expected of all that are judged, whatever is true of them.
    """
    verdicts = [verdict for table in tables if table.complete for verdict in table.verdicts.values()]
    judged = [verdict.word for verdict in verdicts if verdict.tested and verdict.word in WORDS]
    if not judged:
        return ""
    decided = len(judged) - judged.count(UNDECIDED)
    share, wrong = f"{100 * ERROR:.0f} %", f"{ERROR * len(judged):.1f}"
    return (
        f"\n{decided} of {len(judged)} judged claims are decided. A claim gets a wrong word in at most {share} of"
        f" experiments, over all its looks, so that up to {wrong} of these words are expected to be wrong.\n"
    )


def printed(experiment: Experiment, claim: Claim) -> str:
    """Welch's t from the paper's own numbers for each comparison of the claim, where the experiment asks for it."""
    if experiment.welch is None or claim.kind not in ("better", "best", "order"):
        return ""
    sign = -1 if experiment.columns[claim.columns[0]].better == "lower" else 1
    values = []
    for a, b in claim.pairs:
        x, y = (experiment.rows[name].paper.get(claim.columns[0]) for name in (a, b))
        if x is None or y is None or x[1] is None or y[1] is None:
            return ""
        values.append(f"{sign * welch_t((x[0], x[1]), (y[0], y[1]), experiment.welch):.1f}")
    return f"; t from the published values {', '.join(values)}"


def evidence(verdict: Verdict) -> str:
    """The differences a verdict rests on, in words."""
    parts = []
    for item in verdict.comparisons:
        text = f"{item.of} - {item.against}: " if item.against else f"{item.of}: "
        text += "no common run" if item.difference is None else f"{item.difference:+.3f}"
        text += f"{bounds(item.interval)}, {item.seeds}" + (f" ({item.by})" if item.by else "")
        parts.append(text + (f"; unpaired{bounds(item.welch)}" if item.welch else "") + _need(item))
    return "; ".join(parts)


def _need(item: Comparison) -> str:
    """How much of the spread is the choice of test clips, the margin of what is no difference, and what an undecided
    comparison would still need."""
    words = [] if item.test_share is None else [f"test clips {100 * item.test_share:.0f} % of the spread"]
    if item.margin is not None and item.word in (NO_DIFFERENCE, UNDECIDED):
        words.append(f"margin {item.margin:.3g}")
    if item.shows is not None:
        words.append(f"{item.seeds} seeds can show {item.shows:.3f}")
    if item.more is not None:
        words.append(f"{item.more} more would decide")
    return "".join(f"; {one}" for one in words)


def bounds(interval: tuple[float, float] | None) -> str:
    """`` [-0.103, +0.214]``, or nothing."""
    return "" if interval is None else f" [{interval[0]:+.3f}, {interval[1]:+.3f}]"
