"""Runs look by look until claims are decided: ``sed-reproduce --until decided --minutes 90``.

First every table gets its first look. Then, step by step, an undecided claim gets the runs that its next look lacks,
and what those decide is judged anew. Claims go first that this look would decide if mean and spread stayed as they are,
and of these the ones whose runs decide most for their time, then those that cost least: which claim goes on may depend
on anything, as levels and looks are fixed. Which runs there are and what they decided is read from records alone, so
that a call that is killed and made again goes on where it was.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sed_lab.errors import InputError
from sed_lab.experiment.comparison import UNDECIDED, WORDS, Verdict
from sed_lab.experiment.look import open_rows
from sed_lab.experiment.spec import Experiment
from sed_lab.plan import Job, distinct, minutes_in_words
from sed_lab.run.identity import is_complete_run
from sed_lab.run.record import minutes_of, read_record
from sed_lab.tables import table_of

if TYPE_CHECKING:
    from sed_lab.experiment.table import Table

Planned = list[tuple[Experiment, list[Job]]]


@dataclass(frozen=True)
class Step:
    """The ``jobs`` that take the ``claims`` of a table (none at its first look, which all rows take) to a ``look``.

    ``in_reach``: the claim would be decided there if mean and spread stayed as they are.
    """

    table: str
    look: int
    claims: tuple[str, ...]
    jobs: tuple[Job, ...]
    in_reach: bool = False

    @property
    def minutes(self) -> float:
        """What the runs take one after another; without end where that is not known."""
        return sum(math.inf if job.minutes is None else job.minutes for job in self.jobs)


def run_until_decided(
    planned: Planned, scale: str, minutes: float | None, run: Callable[[list[Job], float | None], int] | None
) -> int:
    """Run steps until nothing is undecided, no look is left, or the ``minutes`` are over; prints plan and outcome.

    ``run`` trains jobs, none of which it starts that would end after a time (seconds since the epoch, None: any). A run
    that failed is not tried again in the same call. Without ``run`` the plan is all. Returns 2 where the launcher's
    words were bad, else 0.

    Raises:
        InputError: no table has looks at this scale.
    """
    if not any(experiment.scale(scale).looks for experiment, _ in planned):
        raise InputError(
            f"--until decided: no table asked for has looks at scale {scale}; --seeds N gives it more runs"
        )
    end = None if minutes is None else time.time() + 60 * minutes
    planned = with_estimates(planned)
    tables = [_table(experiment, scale, jobs) for experiment, jobs in planned]
    print(plan_in_words(planned, tables, scale, minutes), flush=True)
    tried: set[Path] = set()
    while run is not None:
        left = math.inf if end is None else (end - time.time()) / 60
        step = next_step(planned, tables, scale, tried, left)
        if step is None:
            break
        words = f"claim {', '.join(step.claims)}" if step.claims else "all rows"
        print(f"{step.table}, look at {step.look} seeds, {words}: {len(step.jobs)} runs", flush=True)
        if run([*step.jobs], end) == 2:
            return 2
        ran = {job.folder for job in step.jobs}
        for i, (experiment, jobs) in enumerate(planned):
            if any(job.folder in ran for job in jobs):
                planned[i : i + 1] = with_estimates([(experiment, [_looked_up(job) for job in jobs])])
                tables[i] = _table(experiment, scale, planned[i][1])
        tried |= {job.folder for _, jobs in planned for job in jobs if job.folder in ran and not job.complete}
    if run is not None:
        print(outcome_in_words(planned, tables, scale), flush=True)
    return 0


def next_step(
    planned: Planned, tables: Sequence[Table], scale: str, tried: set[Path], left: float = math.inf
) -> Step | None:
    """The step that costs least a claim that it may decide, first looks first; it has a run that takes no more than the
    minutes ``left``."""
    for steps in (first_steps(planned, scale), claim_steps(planned, tables, scale)):
        steps = [
            step
            for step in steps
            if not any(job.folder in tried for job in step.jobs)
            and min(job.minutes or 0.0 for job in step.jobs) <= left
            and left > 0
        ]
        if steps:
            return min(steps, key=lambda step: _minutes_a_claim(step, steps))
    return None


def _minutes_a_claim(step: Step, steps: Sequence[Step]) -> tuple[bool, float]:
    """What sorts steps: whether they decide nothing that is in reach, and their minutes for each claim that is."""
    folders = {job.folder for job in step.jobs}
    reached = sum(one.in_reach and folders >= {job.folder for job in one.jobs} for one in steps)
    return not reached, step.minutes / max(reached, 1)


def first_steps(planned: Planned, scale: str) -> list[Step]:
    """Of each table, what its first look lacks."""
    found = []
    for experiment, jobs in planned:
        seeds = experiment.scale(scale).seeds
        lacking = tuple(job for job in distinct(jobs) if job.seed in seeds and not job.complete)
        if lacking:
            found.append(Step(experiment.name, len(seeds), (), lacking))
    return found


def claim_steps(planned: Planned, tables: Sequence[Table], scale: str) -> list[Step]:
    """Of each undecided claim, what the next look at the rows it needs lacks."""
    found = []
    for (experiment, jobs), table in zip(planned, tables, strict=True):
        size = experiment.scale(scale)
        for claim in experiment.claims:
            rows = open_rows(claim, table.verdicts[claim.id], experiment)
            taken = min((len(table.folders[row]) for row in rows), default=size.planned[-1])
            look = next((n for n in size.planned if n > taken), None)
            if look is None:
                continue
            asked = [job for job in jobs if job.row in rows and job.seed in size.every[:look]]
            lacking = tuple(job for job in distinct(asked) if not job.complete)
            if lacking:
                reach = _in_reach(table.verdicts[claim.id], look)
                found.append(Step(experiment.name, look, (claim.id,), lacking, reach))
    return found


def _in_reach(verdict: Verdict, look: int) -> bool:
    """Whether that many seeds decide a claim at today's mean and spread: all that is open of it, or one against it."""
    still_open = [one for one in verdict.comparisons if one.word == UNDECIDED]
    reached = [one for one in still_open if one.more is not None and one.seeds + one.more <= look]
    return 0 < len(reached) == len(still_open) or any((one.difference or 0.0) < 0 for one in reached)


def with_estimates(planned: Planned) -> Planned:
    """The jobs with the minutes that complete runs of their row took, where there are any."""
    made = []
    for experiment, jobs in planned:
        took: dict[str, list[float]] = {}
        for job in jobs:
            if job.complete and (minutes := minutes_of(read_record(job.folder) or {})) is not None:
                took.setdefault(job.row, []).append(minutes)
        known = {row: statistics.median(found) for row, found in took.items()}
        made.append((experiment, [replace(job, minutes=known.get(job.row, job.minutes)) for job in jobs]))
    return made


def plan_in_words(planned: Planned, tables: Sequence[Table], scale: str, minutes: float | None) -> str:
    """Which runs come next, what they take, and what all looks would at most."""
    lines = [f"plan at scale {scale}; minutes from complete runs of the same row, else from the experiment files"]
    firsts = {step.table: step for step in first_steps(planned, scale)}
    steps = claim_steps(planned, tables, scale)
    for (experiment, _), table in zip(planned, tables, strict=True):
        its = [step for step in steps if step.table == experiment.name]
        if step := firsts.get(experiment.name):
            lines.append(f"{experiment.name}: look at {step.look} seeds, {_cost(step.jobs)}")
        elif its:
            jobs = distinct([job for step in its for job in step.jobs])
            looks = ", ".join(str(n) for n in sorted({step.look for step in its}))
            reach = sum(step.in_reach for step in its)
            claims = f"{len(its)} of {len(table.verdicts)} claims undecided ({reach} in reach)"
            lines.append(f"{experiment.name}: look at {looks} seeds, {claims}, {_cost(jobs)}")
    every = distinct(
        [job for (experiment, jobs), table in zip(planned, tables, strict=True) for job in _all_looks(jobs, table)]
    )
    most = [job for job in every if not job.complete]
    given = "" if minutes is None else f"; {minutes:g} min are given"
    lines.append(f"at most {_cost(most)}, if no claim were decided before its last look{given}")
    return "\n".join(lines)


def outcome_in_words(planned: Planned, tables: Sequence[Table], scale: str) -> str:
    """How many claims are decided, and what the others still need."""
    words = [verdict.word for table in tables for verdict in table.verdicts.values()]
    decided, judged = sum(word in WORDS[:-1] for word in words), sum(word in WORDS for word in words)
    first = distinct([job for step in first_steps(planned, scale) for job in step.jobs])
    steps = claim_steps(planned, tables, scale)
    waiting = distinct([job for step in steps for job in step.jobs])
    text = f"{decided} of {judged} claims decided"
    if first:
        text += f"; first looks lack {_cost(first)}"
    if steps:
        text += f"; the next look at {len(steps)} undecided ones takes {_cost(waiting)}"
    last = judged - decided - len(steps)
    return text + (f"; {last} are undecided and have no look left" if last > 0 and not first else "")


def _all_looks(jobs: Sequence[Job], table: Table) -> list[Job]:
    """The jobs of a table's first look, and of all looks at rows that undecided claims need."""
    claims = table.experiment.claims
    rows = {row for one in claims for row in open_rows(one, table.verdicts[one.id], table.experiment)}
    seeds = table.experiment.scale(table.scale).seeds
    return [job for job in jobs if job.seed in seeds or job.row in rows]


def _cost(jobs: Sequence[Job]) -> str:
    """``12 runs, 108 min of runs, about 54 min here``."""
    minutes, unknown = minutes_in_words(jobs)
    return f"{len(jobs)} runs{minutes}" + (f" (what {unknown} of them take is not known)" if unknown else "")


def _looked_up(job: Job) -> Job:
    return replace(job, complete=is_complete_run(job.folder, job.folder.name.rpartition("-")[2]))


def _table(experiment: Experiment, scale: str, jobs: list[Job]) -> Table:
    return table_of(experiment, scale, jobs, {job.folder: job.folder for job in jobs})
