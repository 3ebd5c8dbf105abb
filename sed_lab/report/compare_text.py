"""Compared runs as text: tables of words for the terminal, Markdown and pages, and flat rows for CSV."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from sed_lab.experiment.interval import Interval
from sed_lab.report.claim_text import Grid
from sed_lab.report.compared import Compared, Line
from sed_lab.report.table_text import markdown_grid
from sed_lab.run.answer import UNDEFINED, mean_sd

HOW = (
    "Differences are the second less the first. Over seeds: Student's 95 % interval of paired differences, for training"
    " anew. Over clips: bootstrap of the test clips, 95 %, for testing the same trainings on others; F1 only."
    " Neither is corrected for the number of comparisons."
)
WELCH = "Without a seed in common, as in Welch's test, which runs of the same seed would make more precise."


def rows_grid(found: Compared) -> Grid:
    """A line a row: its system, seeds, and mean and deviation of each number."""
    head = ["run", "system", "seeds", *found.columns]
    lines = []
    for row in found.rows:
        cells = [mean_sd([*found.values(row, column).values()]) for column in found.columns]
        lines.append([row.label, row.system, ", ".join(map(str, row.runs)), *cells])
    return head, lines


def pair_grid(found: Compared, label: str) -> Grid:
    """The numbers of a row beside the first one's, and then class by class, with differences and their intervals."""
    head = ["number", "first", "second", "difference", "over seeds", "over clips"]
    return head, [_words(found, line) for line in found.lines[label]]


def title(found: Compared, label: str) -> str:
    """What `pair_grid` compares."""
    return f"second: {label}; first: {found.rows[0].label}"


def _words(found: Compared, line: Line) -> list[str]:
    name = line_name(found, line)
    sides = [mean_sd([*values.values()]) or UNDEFINED for values in (line.first, line.second)]
    difference = UNDEFINED if line.difference is None else f"{line.difference:+.3f}"
    return [name, *sides, difference, interval_words(line.over_seeds), interval_words(line.over_clips)]


def line_name(found: Compared, line: Line) -> str:
    """What a line is of: a number of all classes, or a class with its reference events."""
    if not line.label:
        return line.column
    return f"{line.label} (n = {found.reference_events.get(line.label, 0):g})"


def interval_words(interval: Interval | None) -> str:
    """``[-0.012, +0.034]``; a dash where there is none."""
    return UNDEFINED if interval is None else f"[{interval[0]:+.3f}, {interval[1]:+.3f}]"


def notes(found: Compared) -> list[str]:
    """What is to be known of the numbers."""
    how = "by decoders tuned class by class on held-out clips" if found.tuned else "by decoders as configured"
    lines = [f"Numbers are of the test clips, {how}."]
    if not found.lines:
        return lines
    lines.append(HOW)
    every = [line for own in found.lines.values() for line in own]
    if any(line.difference is not None and not line.seeds for line in every):
        lines.append(WELCH)
    if any(line.label for line in every):
        column = next(line.column for line in every if line.label)
        lines.append(f"By class: {column}; n are the reference events of the first run.")
    return lines


def markdown(found: Compared) -> str:
    """All of it as Markdown."""
    parts = [markdown_grid(rows_grid(found))]
    for label in found.lines:
        parts.append(f"{title(found, label)}\n")
        parts.append(markdown_grid(pair_grid(found, label)))
    return "\n".join([*parts, *(f"{note}\n" for note in notes(found))])


def csv_rows(found: Compared) -> list[dict[str, Any]]:
    """One flat row a number of a row, of all classes and class by class; the first row has no differences."""
    flat = []
    first = found.rows[0]
    lines = {row.label: found.lines.get(row.label, ()) for row in found.rows}
    own = [Line(column, "", {}, found.values(first, column), (), None, None, None) for column in found.columns]
    shared = next((found.lines[label] for label in found.lines), ())
    own += [Line(line.column, line.label, {}, line.first, (), None, None, None) for line in shared if line.label]
    for row in found.rows:
        for line in own if row is first else lines[row.label]:
            low, high = line.over_seeds or (None, None)
            clips_low, clips_high = line.over_clips or (None, None)
            head = {"run": row.label, "system": row.system, "number": line.column, "event_label": line.label}
            numbers = {**_mean(line.second), "difference": line.difference, "seeds_compared": len(line.seeds)}
            bounds = {"seeds_low": low, "seeds_high": high, "clips_low": clips_low, "clips_high": clips_high}
            flat.append({**head, **numbers, **bounds})
    return flat


def _mean(values: Mapping[int, float]) -> dict[str, Any]:
    known = [*values.values()]
    return {
        "seeds": " ".join(map(str, values)),
        "mean": statistics.fmean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
    }
