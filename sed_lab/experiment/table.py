"""A table of a paper from run records alone: its cells and what the claims come to.

A cell is the mean and standard deviation over all seeds of its row. A run that failed or is missing leaves its cell
empty with the reason: an average over fewer runs than were asked for is never shown. Where seeds come in looks, a row
has as many as its last complete look, and runs of a look that is not complete do not count yet.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sed_lab.experiment import claim as judge
from sed_lab.experiment.comparison import Rule, Verdict
from sed_lab.experiment.look import margins, over_looks
from sed_lab.experiment.spec import SMOKE, Claim, Experiment
from sed_lab.experiment.spread import Measured, with_test_shares
from sed_lab.files import read_json
from sed_lab.metric.measure import flatten

NOT_RUN = "not run"
NOT_JUDGED = f"{SMOKE}: not judged"  # what stands for a verdict where numbers mean nothing
Folders = Mapping[str, Mapping[int, Path]]  # a run's folder by row and seed


@dataclass(frozen=True)
class Cell:
    """One row's number: ``values`` by seed; ``missing`` says which runs are not there, ``undefined`` which runs have
    no such number (a class without reference events has no F1)."""

    values: Mapping[int, float]
    missing: str = ""
    undefined: str = ""

    @property
    def whole(self) -> Mapping[int, float]:
        """The values by seed, none where one of them is not there."""
        return {} if self.missing or self.undefined else self.values

    def of(self, seeds: Sequence[int]) -> Mapping[int, float]:
        """The values of ``seeds``, none where one of them is not there."""
        there = not self.missing and all(seed in self.values for seed in seeds)
        return {seed: self.values[seed] for seed in seeds} if there else {}

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.whole.values()) if self.whole else None

    @property
    def sd(self) -> float | None:
        return statistics.stdev(self.whole.values()) if len(self.whole) > 1 else None


@dataclass(frozen=True)
class Table:
    """``cells[row][column]``, the verdict of each claim, and the ``records`` of the complete runs by row and seed.

    ``folders`` are those of the runs that count; ``failed`` says which runs of a look that is not complete failed.
    """

    experiment: Experiment
    scale: str
    cells: Mapping[str, Mapping[str, Cell]]
    verdicts: Mapping[str, Verdict]
    records: Mapping[str, Mapping[int, Mapping[str, Any]]]
    folders: Folders
    failed: Mapping[str, str]

    @property
    def missing(self) -> list[str]:
        """Rows with a run that is not complete, and why."""
        own = [row for row, one in self.experiment.rows.items() if not one.mean_of]
        reasons = {row: next(iter(self.cells[row].values())).missing or self.failed.get(row) for row in own}
        return [f"{row}: {reason}" for row, reason in reasons.items() if reason]

    @property
    def asked(self) -> set[Path]:
        """The folders of all runs; rows may share some."""
        return {folder for by_seed in self.folders.values() for folder in by_seed.values()}

    @property
    def complete(self) -> dict[Path, Mapping[str, Any]]:
        """The records of the complete runs by folder, in the table's order, each once."""
        return {self.folders[row][seed]: one for row, found in self.records.items() for seed, one in found.items()}


def build_table(experiment: Experiment, scale: str, folders: Folders) -> Table:
    """Collect the runs of ``folders[row][seed]`` into cells and judge the claims; at smoke scale no claim is judged."""
    cells: dict[str, dict[str, Cell]] = {}
    records: dict[str, dict[int, Any]] = {}
    counting: dict[str, dict[int, Path]] = {}
    failed: dict[str, str] = {}
    measured: dict[str, dict[int, dict[str, Any]]] = {}
    lengths = experiment.scale(scale).lengths
    for row, by_seed in folders.items():
        records[row], counting[row] = {}, {}
        if experiment.rows[row].mean_of:
            continue
        found = {seed: _read(folder, _stamp(folder)) for seed, folder in by_seed.items()}
        length = _length([isinstance(one, dict) for one in found.values()], lengths)
        counting[row] = dict([*by_seed.items()][:length])
        beyond = [(seed, one) for seed, one in [*found.items()][length:] if isinstance(one, str) and one != NOT_RUN]
        failed |= {row: _reasons(beyond)} if beyond else {}
        records[row] = {seed: found[seed] for seed in counting[row] if isinstance(found[seed], dict)}
        read = {seed: _measured(by_seed[seed], _stamp(by_seed[seed])) for seed in records[row]}
        measured[row] = {seed: metrics for seed, (metrics, _) in read.items()}
        numbers = {seed: flat for seed, (_, flat) in read.items()}
        missing = _reasons([(seed, one) for seed in counting[row] if isinstance(one := found[seed], str)])
        cells[row] = {}
        for name, column in experiment.columns.items():
            metric = experiment.rows[row].metric(column)
            values = {seed: one[metric] for seed, one in numbers.items() if metric in one}
            lacking = [str(seed) for seed in numbers if seed not in values]
            undefined = f"not defined in seed {', '.join(lacking)}" if lacking else ""
            cells[row][name] = Cell(values, missing, undefined)
    for row in experiment.rows:
        parts = [cells[name] for name in experiment.rows[row].mean_of]
        if parts:
            cells[row] = {name: _mean_cell([part[name] for part in parts]) for name in experiment.columns}
    cells = {row: cells[row] for row in experiment.rows}
    verdicts = _verdicts(experiment, scale, cells, measured)
    return Table(experiment, scale, cells, verdicts, records, counting, failed)


def _verdicts(
    experiment: Experiment, scale: str, cells: Mapping[str, Mapping[str, Cell]], measured: Measured
) -> dict[str, Verdict]:
    """The verdict of each claim, with what of each spread is the choice of test clips."""
    numbers = {row: {name: cell.values for name, cell in one.items()} for row, one in cells.items()}
    seeds = experiment.scale(scale).every
    return {
        claim.id: with_test_shares(
            judge_claim(experiment, scale, cells, claim), claim, experiment, seeds, numbers, measured
        )
        for claim in experiment.claims
    }


def _length(complete: Sequence[bool], lengths: Sequence[int]) -> int:
    """How many seeds of a row count: those of its last look whose runs are all complete, at least of the first."""
    return max([n for n in lengths if n <= len(complete) and all(complete[:n])], default=min(lengths))


def _reasons(missing: Sequence[tuple[int, str]]) -> str:
    """Why runs are not there, with their seeds."""
    reasons: dict[str, list[str]] = {}
    for seed, reason in missing:
        reasons.setdefault(reason, []).append(str(seed))
    return "; ".join(f"seed {', '.join(seeds)}: {reason}" for reason, seeds in reasons.items())


def _mean_cell(parts: Sequence[Cell]) -> Cell:
    """The mean of several rows' cells, seed by seed."""
    seeds = set.intersection(*(set(part.values) for part in parts))
    values = {seed: statistics.fmean(part.values[seed] for part in parts) for seed in sorted(seeds)}
    missing = next((part.missing for part in parts if part.missing), "")
    return Cell(values, missing, next((part.undefined for part in parts if part.undefined), ""))


def judge_claim(experiment: Experiment, scale: str, cells: Mapping[str, Mapping[str, Cell]], claim: Claim) -> Verdict:
    """The verdict on one claim, look by look; a row with a missing run counts with no seed at all."""
    if scale == SMOKE:
        return Verdict(NOT_JUDGED, ())
    size = experiment.scale(scale)
    return over_looks(
        lambda n: _judged(experiment, cells, claim, size.every[:n], size.planned), size.planned, len(size.every)
    )


def _judged(
    experiment: Experiment,
    cells: Mapping[str, Mapping[str, Cell]],
    claim: Claim,
    seeds: Sequence[int],
    looks: tuple[int, ...],
) -> Verdict:
    """The verdict on the first ``seeds``, as one of ``looks``."""
    judged = experiment.columns[claim.columns[0]]
    lower = judged.better == "lower"
    labels = [experiment.columns[column].event_label for column in claim.columns]
    classes = [{name: cells[name][column].of(seeds) for name in claim.rows} for column in claim.columns]
    rows, options, names = classes[0], claim.options, claim.rows
    first, last = names[0], names[-1]
    limits = margins(claim, experiment)
    rule = Rule(looks, margin=limits[0])
    if claim.kind in ("better", "best", "order"):
        return judge.better(rows, claim.pairs, lower, experiment.welch is not None, looks, limits, judged.fixed)
    if claim.kind in ("above", "below"):
        return judge.above(rows[first], first, options["value"], claim.kind == "below", rule)
    if claim.kind == "most":
        return judge.most(classes, first, last, lower, rule)
    if claim.kind == "each":
        return judge.each(dict(zip(labels, classes, strict=True)), first, last, lower, looks, limits)
    if claim.kind == "trades":
        other = {name: cells[name][options["against"]].of(seeds) for name in claim.rows}
        return judge.trades(rows, other, first, last, rule)
    if claim.kind == "near":
        return judge.near(rows[first], rows[last], (first, last), options["within"], looks)
    if claim.kind == "gains":
        return judge.gains([rows[name] for name in names], names, lower, rule)
    if claim.kind == "easiest":
        own = {label: one[first] for label, one in zip(labels, classes, strict=True)}
        easiest, *others = own
        return judge.better(own, [(easiest, other) for other in others], lower, looks=looks, margins=limits)
    if claim.kind == "follows":
        asked = (options["follows"], options["rather_than"])
        cellwise = [{i: cells[last][f"{name}/{label}"].of(seeds) for i, label in enumerate(labels)} for name in asked]
        x, y = ({i: statistics.fmean(one.values()) for i, one in found.items() if one} for found in cellwise)
        return judge.follows(classes, first, last, x, y, asked, options["way"] == "down", looks)
    target = options["value"] if "value" in options else experiment.rows[first].paper[claim.columns[0]][0]
    return judge.within(rows[first], first, target, options["within"], looks)


def ratio_of(a: Cell, b: Cell) -> tuple[float, float | None] | None:
    """Mean of ``a`` over mean of ``b`` and its standard deviation over the paired seeds, to first order.

    None where one is not whole or the denominator is 0. The deviation is that of one run, as in a table's cells.
    """
    if a.mean is None or b.mean is None or b.mean == 0:
        return None
    value = a.mean / b.mean
    seeds = sorted(set(a.whole) & set(b.whole))
    if len(seeds) < 2:
        return value, None
    spread = statistics.variance([a.whole[seed] - value * b.whole[seed] for seed in seeds])
    return value, math.sqrt(spread) / abs(b.mean)


def _stamp(folder: Path) -> tuple[int, ...]:
    """What differs where a run's files were written anew."""

    def time(name: str) -> int:
        try:
            return os.stat(f"{folder}/{name}").st_mtime_ns
        except OSError:
            return 0

    return time("run.json"), time("metrics.json"), time("output.log")


@cache  # tables share runs, and a record is read once for all of them
def _read(folder: Path, stamp: tuple[int, ...]) -> dict[str, Any] | str:
    """The record of a complete run, or why there is none."""
    if not (folder / "run.json").exists():
        log = folder / "output.log"  # of a run that was refused before it had a record
        said = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        return "; ".join([NOT_RUN, *[line for line in said if line.startswith("error: ")][-1:]])
    record: dict[str, Any] = read_json(folder / "run.json")
    if record["status"] != "complete":
        return f"{record['status']}: {record['reason']}" if record.get("reason") else str(record["status"])
    return record


@cache
def _measured(folder: Path, stamp: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, float]]:
    """What metrics.json holds of a complete run with the fingerprint of its data; its numbers, and its dataset's."""
    record = _read(folder, stamp)
    assert isinstance(record, dict)
    metrics = read_json(folder / "metrics.json") if (folder / "metrics.json").exists() else {"systems": {}}
    dataset = {"per_class": record.get("dataset", {}).get("per_class", {})}
    systems = {**metrics["systems"], "dataset": dataset}
    numbers = flatten({"systems": systems, "others": metrics.get("others", {})}, per_class=True)
    fingerprint = record.get("dataset", {}).get("fingerprint")
    return {**metrics, "fingerprint": fingerprint}, {**numbers, **record.get("metrics", {})}
