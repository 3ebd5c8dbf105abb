"""A table of a paper from run records alone: ours beside the paper's, the difference, and what the claims come to.

A cell is the mean and standard deviation over all seeds of its row. A run that failed or is missing leaves its cell
empty with the reason: an average over fewer runs than were asked for is never shown.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sed_lab.experiment import Claim, Experiment
from sed_lab.files import read_json, write_json, write_text
from sed_lab.metric.measure import flatten
from sed_lab.report.claim import Verdict, best, better, order, within


@dataclass(frozen=True)
class Cell:
    """One row's number: ``values`` by seed, or ``reason`` where a run is missing."""

    values: Mapping[int, float]
    reason: str = ""

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values.values()) if self.values and not self.reason else None

    @property
    def sd(self) -> float | None:
        return statistics.stdev(self.values.values()) if len(self.values) > 1 and not self.reason else None


@dataclass(frozen=True)
class Table:
    """``cells[row][column]`` and the verdict of each claim."""

    experiment: Experiment
    scale: str
    cells: Mapping[str, Mapping[str, Cell]]
    verdicts: Mapping[str, Verdict]


def build_table(experiment: Experiment, scale: str, folders: Mapping[str, Mapping[int, Path]]) -> Table:
    """Collect the runs of ``folders[row][seed]`` into cells and judge the claims."""
    cells: dict[str, dict[str, Cell]] = {}
    for row, by_seed in folders.items():
        found = {seed: _numbers(folder) for seed, folder in by_seed.items()}
        reasons = [f"seed {seed}: {numbers}" for seed, numbers in found.items() if isinstance(numbers, str)]
        cells[row] = {}
        for name, column in experiment.columns.items():
            values = {s: n[column.metric] for s, n in found.items() if isinstance(n, dict) and column.metric in n}
            lost = [f"seed {s}: no value" for s, n in found.items() if isinstance(n, dict) and column.metric not in n]
            cells[row][name] = Cell(values, "; ".join([*reasons, *lost]))
    verdicts = {claim.id: judge_claim(experiment, cells, claim) for claim in experiment.claims}
    return Table(experiment, scale, cells, verdicts)


def judge_claim(experiment: Experiment, cells: Mapping[str, Mapping[str, Cell]], claim: Claim) -> Verdict:
    """The verdict on one claim; a row with a missing run counts with no seed at all, which leaves it undecided."""
    column = experiment.columns[claim.column]
    lower = column.better == "lower"
    rows = {name: {} if (cell := cells[name][claim.column]).reason else cell.values for name in claim.rows}
    first = claim.rows[0]
    if claim.kind == "better":
        return better(rows, first, claim.rows[1], lower)
    if claim.kind == "best":
        return best(rows, first, claim.rows, lower)
    if claim.kind == "order":
        return order(rows, claim.rows, lower)
    number = experiment.rows[first].paper[claim.column]
    assert number is not None  # checked when the file was read
    return within(rows[first], first, number[0], claim.tolerance)


def _numbers(folder: Path) -> dict[str, float] | str:
    """All numbers of a complete run, or why there are none."""
    if not (folder / "run.json").exists():
        return "not run"
    record = read_json(folder / "run.json")
    if record["status"] != "complete":
        return f"{record['status']}: {record['reason']}" if record.get("reason") else str(record["status"])
    metrics = read_json(folder / "metrics.json") if (folder / "metrics.json").exists() else {"systems": {}}
    return {**flatten(metrics, per_class=True), **record.get("metrics", {})}


def shown(cell: Cell, digits: int) -> str:
    """``0.413 ± 0.039``, or what is missing."""
    if cell.mean is None:
        return f"({cell.reason})"
    return f"{cell.mean:.{digits}f}" + (f" ± {cell.sd:.{digits}f}" if cell.sd is not None else "")


def rows_of(table: Table) -> list[dict[str, Any]]:
    """One flat row a (row, column) for CSV and JSON."""
    flat = []
    for name, row in table.experiment.rows.items():
        for key, column in table.experiment.columns.items():
            cell, paper = table.cells[name][key], row.paper.get(key)
            difference = cell.mean - paper[0] if cell.mean is not None and paper else None
            flat.append(
                {
                    "row": name,
                    "label": row.label,
                    "column": key,
                    "metric": column.metric,
                    "mean": cell.mean,
                    "sd": cell.sd,
                    "runs": len(cell.values) if not cell.reason else 0,
                    "paper": paper[0] if paper else None,
                    "paper_sd": paper[1] if paper else None,
                    "difference": difference,
                    "missing": cell.reason,
                    "note": row.note,
                }
            )
    return flat


def markdown(table: Table) -> str:
    """The table and its claims in Markdown."""
    experiment = table.experiment
    numbers = {(row["row"], row["column"]): row for row in rows_of(table)}
    papers = {key for key in experiment.columns if any(row.paper.get(key) for row in experiment.rows.values())}
    head = [""]
    for key, column in experiment.columns.items():
        head += [column.label, "paper", "difference"] if key in papers else [column.label]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, row in experiment.rows.items():
        line = [row.label]
        for key, column in experiment.columns.items():
            line.append(shown(table.cells[name][key], column.digits))
            if key in papers:
                number = numbers[name, key]
                line += [_number(number[part], column.digits) for part in ("paper", "difference")]
        lines.append("| " + " | ".join(line) + " |")
    text = f"**{experiment.title}** ({experiment.paper}, {experiment.place}; scale {table.scale})\n\n"
    text += "\n".join(lines) + "\n"
    if experiment.claims:
        text += "\n| claim | verdict | difference [95 % interval], seeds |\n|---|---|---|\n"
        text += "".join(
            f"| {claim.id}. {claim.say} | {table.verdicts[claim.id].word} | {evidence(table.verdicts[claim.id])} |\n"
            for claim in experiment.claims
        )
    return text


def evidence(verdict: Verdict) -> str:
    """The differences a verdict rests on, in words."""
    parts = []
    for item in verdict.comparisons:
        text = f"{item.of} - {item.against}: "
        text += "no common run" if item.difference is None else f"{item.difference:+.3f}"
        text += "" if item.interval is None else f" [{item.interval[0]:+.3f}, {item.interval[1]:+.3f}]"
        parts.append(f"{text}, {item.seeds}")
    return "; ".join(parts)


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write table.md, .csv and .json into ``folder``; returns the files."""
    text = markdown(table)
    rows = rows_of(table)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    paths = [folder / f"table.{suffix}" for suffix in ("md", "csv", "json")]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(paths[0], text)
    write_text(paths[1], buffer.getvalue())
    claims = {claim.id: {"say": claim.say, **asdict(table.verdicts[claim.id])} for claim in table.experiment.claims}
    write_json(paths[2], {"name": table.experiment.name, "scale": table.scale, "cells": rows, "claims": claims})
    return paths


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
