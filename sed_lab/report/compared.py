"""Runs side by side: which differ in the seed only, what their numbers are, and how far these differ.

A row is a setting with its runs by seed. Rows are compared over the seeds that both have: runs of one seed begin alike,
and where each seed has test clips of its own, it is those. Two intervals say how sure a difference is, each for
another reason that it might be chance: Student's t over the seeds (training anew), and the bootstrap over the test
clips (testing on others).
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sed_lab.errors import InputError
from sed_lab.experiment.comparison import Rule, of_differences
from sed_lab.experiment.interval import Interval, welch_interval
from sed_lab.metric.resampling import interval_of
from sed_lab.report.compared_run import OF_DATA, Run
from sed_lab.report.run_folder import read_run
from sed_lab.run.answer import COLUMNS, name_of, tuned_of
from sed_lab.run.differing import differing, leaves

NOT_SETTINGS = (*OF_DATA, "decoder", "conventions", "versions")
KEYS_SHOWN = 3  # in a row's name


@dataclass(frozen=True)
class Row:
    """Runs that differ in the seed only, by seed; what is compared of them is ``system``."""

    label: str
    system: str
    runs: Mapping[int, Run]


@dataclass(frozen=True)
class Line:
    """One number of two rows, by seed, and their difference, second less first, with its two intervals (or None).

    ``label`` is the class that it is of, empty for all. ``seeds`` are those that count in the difference.
    """

    column: str
    label: str
    first: Mapping[int, float]
    second: Mapping[int, float]
    seeds: tuple[int, ...]
    difference: float | None
    over_seeds: Interval | None
    over_clips: Interval | None


@dataclass(frozen=True)
class Compared:
    """``rows``, the numbers of `COLUMNS` that all of them have, and of each row but the first its lines against that.

    ``tuned`` says whether numbers are of decoders tuned class by class; ``classes`` are in the order of the data.
    """

    rows: Sequence[Row]
    columns: Sequence[str]
    tuned: bool
    lines: Mapping[str, Sequence[Line]]
    reference_events: Mapping[str, float]

    def values(self, row: Row, column: str) -> dict[int, float]:
        """A row's number by seed."""
        return _values(row, column, self.tuned)


def compare(folders: Sequence[Path], system: str | None) -> Compared:
    """Read runs and compare them with the first one's row, by ``system`` or each row's best on held-out clips.

    Raises:
        InputError: a folder holds no measured run, lacks ``system``, was tested on other clips or measured otherwise.
    """
    runs = [Run(read_run(folder)) for folder in folders]
    for run in runs[1:]:
        _refuse_unlike(runs[0], run)
    rows = _rows(runs, system)
    tuned = all(row.system in tuned_of(run.record).get("systems", {}) for row in rows for run in row.runs.values())
    columns = [name for name in COLUMNS if all(len(_values(row, name, tuned)) == len(row.runs) for row in rows)]
    if not columns:
        raise InputError("the runs have no number in common; compare others, or measure them alike with sed-evaluate")
    lines = {row.label: _lines(rows[0], row, columns, tuned) for row in rows[1:]}
    own = next(iter(rows[0].runs.values())).folder.measured[rows[0].system]
    by_class = own.get(_own_score(rows[0], _by_class(columns), tuned), {}).get("per_class", {})
    reference = {label: one.get("n_reference") or 0 for label, one in by_class.items()}
    return Compared(rows, columns, tuned, lines, reference)


def _refuse_unlike(first: Run, other: Run) -> None:
    """Refuse a run that was measured with other settings or classes."""
    a, b = (
        {key: value for key, value in run.settings.items() if key not in NOT_SETTINGS or key == "classes"}
        for run in (first, other)
    )
    if keys := differing(a, b, -1, -1):
        theirs = [dict(leaves(one)).get(keys[0], "not set") for one in (a, b)]
        raise InputError(
            f"{other.folder.path} was measured with {keys[0]}={theirs[1]}, {first.folder.path} with {theirs[0]};"
            " measure one again with sed-evaluate, or leave it out"
        )


def _rows(runs: Sequence[Run], system: str | None) -> list[Row]:
    groups: list[dict[int, Run]] = []
    for run in runs:
        same = [one for one in groups if run.seed not in one and not _differ(next(iter(one.values())), run)]
        if same:
            same[0][run.seed] = run
        else:
            groups.append({run.seed: run})
    made = []
    for group, label in zip(groups, _labels([next(iter(group.values())) for group in groups]), strict=True):
        name = system or _best([*group.values()])
        for run in group.values():
            if name not in run.folder.measured:
                known = ", ".join(run.folder.measured)
                raise InputError(f"{run.folder.path} has no system {name!r}; it has {known}")
        made.append(Row(label, name, dict(sorted(group.items()))))
    for row in made:
        _refuse_other_clips(made[0], row)
    return made


def _refuse_other_clips(first: Row, row: Row) -> None:
    """Refuse two rows of which runs of one seed, or without a common seed any two, were tested on other clips."""
    shared = first.runs.keys() & row.runs.keys()
    pairs = [(first.runs[seed], row.runs[seed]) for seed in sorted(shared)]
    for a, b in pairs or [(a, b) for a in first.runs.values() for b in row.runs.values()]:
        if a.tested_on != b.tested_on:
            more = "" if pairs else ", and they have no seed in common"
            raise InputError(
                f"{b.folder.path} was tested on other clips than {a.folder.path}{more}; compare runs with the same ones"
            )


def _identity(run: Run) -> Mapping[str, Any]:
    return run.record.get("identity") or run.record.get("config") or {}


def _differ(a: Run, b: Run) -> list[str]:
    return [key for key in differing(_identity(a), _identity(b), a.seed, b.seed) if key != "seed"]


def _labels(runs: Sequence[Run]) -> list[str]:
    """What tells rows from the first one, in the words of the configuration; the first goes by its folder.

    Of a part that is of another class only the class is named, not the values that the other has not.
    """
    first = re.sub(r"-seed\d+-[0-9a-f]{12}$", "", runs[0].folder.path.resolve().name)
    found = [first]
    for run in runs[1:]:
        own, keys = dict(leaves(_identity(run))), _differ(runs[0], run)
        parts = tuple(key.removesuffix("_target_") for key in keys if key.endswith("._target_"))
        keys = [key for key in keys if key.endswith("._target_") or not key.startswith(parts)]
        words = [f"{key.removesuffix('._target_')}={own[key]}" if key in own else f"no {key}" for key in keys]
        more = [f"{len(words) - KEYS_SHOWN} more"] if len(words) > KEYS_SHOWN else []
        found.append(", ".join([*words[:KEYS_SHOWN], *more]) or run.folder.path.resolve().name)
    return [label if found.count(label) == 1 else f"{label} ({i + 1})" for i, label in enumerate(found)]


def _best(runs: Sequence[Run]) -> str:
    """The system with the highest mean event F1 on held-out clips; where none was tuned, the one that comes first."""
    tuned = [tuned_of(run.record).get("systems", {}) for run in runs]
    shared = [name for name in tuned[0] if all(name in own for own in tuned)]
    if not shared:
        return next(iter(runs[0].folder.measured))
    return max(shared, key=lambda name: statistics.fmean(_held_out(own[name]) for own in tuned))


def _held_out(own: Mapping[str, Any]) -> float:
    value = own[own["best"]]["event_f1"]
    return -1.0 if value is None else float(value)


def _score(column: str, tuned: bool) -> str:
    return name_of("", column, tuned).split("/")[1]


def _value(run: Run, system: str, column: str, tuned: bool) -> float | None:
    metrics = run.record["metrics"]
    value = metrics.get(name_of(system, column, tuned), metrics.get(name_of(system, column, False)))
    return None if value is None else float(value)


def _values(row: Row, column: str, tuned: bool) -> dict[int, float]:
    found = {seed: _value(run, row.system, column, tuned) for seed, run in row.runs.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def _lines(first: Row, second: Row, columns: Sequence[str], tuned: bool) -> list[Line]:
    """All numbers of two rows, then event F1, or else tagging F1, class by class."""
    rows, lines = (first, second), []
    for column in columns:
        lines.append(_line(rows, column, "", [_values(row, column, tuned) for row in rows], tuned))
    by_class = _by_class(columns)
    for label in next(iter(first.runs.values())).settings["classes"] if by_class in columns else ():
        values = [_class_values(row, _own_score(row, by_class, tuned), label) for row in rows]
        lines.append(_line(rows, by_class, label, values, tuned))
    return lines


def _by_class(columns: Sequence[str]) -> str:
    """What is compared class by class."""
    return "event F1" if "event F1" in columns else "tagging F1"


def _class_values(row: Row, score: str, label: str) -> dict[int, float]:
    found = {seed: run.per_class(row.system, score).get(label) for seed, run in row.runs.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def _own_score(row: Row, column: str, tuned: bool) -> str:
    """The block of metrics.json that a column's number is of."""
    score = _score(column, tuned)
    return score if score in next(iter(row.runs.values())).folder.measured[row.system] else _score(column, False)


def _line(rows: tuple[Row, Row], column: str, label: str, values: Sequence[Mapping[int, float]], tuned: bool) -> Line:
    (first, second), (a, b) = rows, values
    seeds = tuple(seed for seed in a if seed in b)
    if seeds:
        made = of_differences(second.label, first.label, [b[seed] - a[seed] for seed in seeds], Rule())
        difference, over_seeds = made.difference, made.interval
        sides = [[row.runs[seed] for seed in seeds] for row in rows]
    elif a and b and not first.runs.keys() & second.runs.keys():  # the same clips, trained apart
        difference = statistics.fmean(b.values()) - statistics.fmean(a.values())
        over_seeds = welch_interval([*b.values()], [*a.values()])
        sides = [[row.runs[seed] for seed in own] for row, own in zip(rows, values, strict=True)]
    else:
        return Line(column, label, a, b, (), None, None, None)
    drawn = [_drawn(runs, row, column, label, tuned) for runs, row in zip(sides, rows, strict=True)]
    over_clips = None if drawn[0] is None or drawn[1] is None else interval_of(drawn[1] - drawn[0])
    return Line(column, label, a, b, seeds, difference, over_seeds, over_clips)


def _drawn(runs: Sequence[Run], row: Row, column: str, label: str, tuned: bool) -> np.ndarray | None:
    """A number's mean over runs, ``[B]`` over drawn clips."""
    found = [run.draws(row.system, _own_score(row, column, tuned)) for run in runs]
    known = [one for one in found if one is not None]
    if len(known) < len(runs):
        return None
    if label:
        index = list(runs[0].settings["classes"]).index(label)
        return np.mean([one[:, index] for one in known], axis=0)
    return np.mean([np.nanmean(one, axis=1) for one in known], axis=0)
