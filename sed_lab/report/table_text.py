"""A table as text: one grid of words for Markdown, HTML and the terminal, and flat rows for CSV and JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from sed_lab.errors import plain, visible
from sed_lab.experiment.comparison import ERROR
from sed_lab.experiment.interval import nominal
from sed_lab.experiment.spec import SMOKE
from sed_lab.experiment.table import Cell, Table, ratio_of
from sed_lab.files import write_json, write_text
from sed_lab.report.claim_text import Grid, claims_grid
from sed_lab.run.answer import UNDEFINED, mean_sd, print_grid


def shown(cell: Cell, digits: int) -> str:
    """The cell's number, a dash where there cannot be one, or what is missing."""
    return mean_sd(list(cell.whole.values()), digits) or (f"({cell.missing})" if cell.missing else UNDEFINED)


def grid(table: Table) -> Grid:
    """The table as words: a line a row, or a line a class where it has class-wise columns."""
    return _class_grid(table) if table.experiment.families else _row_grid(table)


def _row_grid(table: Table) -> Grid:
    experiment = table.experiment
    with_paper = {key for key in experiment.columns if any(row.paper.get(key) for row in experiment.rows.values())}
    head = [""]
    for key, column in experiment.columns.items():
        head += [column.label, *_heading(table)] if key in with_paper else [column.label]
    lines = []
    for name, row in experiment.rows.items():
        line = [row.label]
        for key in experiment.columns:
            line += _words(table, name, key, key in with_paper)
        lines.append(line)
    return head, lines


def _class_grid(table: Table) -> Grid:
    experiment, columns = table.experiment, table.experiment.columns
    totals = {key: column for key, column in columns.items() if column.of}
    names = [*dict.fromkeys(column.label for column in totals.values()), *experiment.classes]
    head, lines = ["class"], [[name] for name in names]
    for family, label in experiment.families.items():
        keys = {columns[key].event_label: key for key in experiment.family(family)}
        keys |= {column.label: key for key, column in totals.items() if column.of == family}
        shared = all(columns[key].shared for key in keys.values())
        for row in list(experiment.rows)[: 1 if shared else None]:
            paper = any(experiment.rows[row].paper.get(key) for key in keys.values())
            title = label if shared or len(experiment.rows) == 1 else f"{label}, {experiment.rows[row].label}"
            theirs = _heading(table) if paper else []
            head += [title, *theirs]
            for name, line in zip(names, lines, strict=True):
                line += _words(table, row, keys[name], paper) if name in keys else [""] * (1 + len(theirs))
        if family in experiment.relative.get("columns", ()):
            of, to = experiment.relative["of"], experiment.relative["to"]
            head.append(f"{label}, {experiment.rows[of].label} / {experiment.rows[to].label}")
            for name, line in zip(names, lines, strict=True):
                line.append(_ratio(table.cells[of][keys[name]], table.cells[to][keys[name]]) if name in keys else "")
    return head, lines


def _heading(table: Table) -> list[str]:
    """Columns of the paper's numbers: on other data they stand by themselves, since a difference would say nothing."""
    return ["paper", "difference"] if table.experiment.papers_data(table.scale) else ["paper (its own data)"]


def _ratio(a: Cell, b: Cell) -> str:
    found = ratio_of(a, b)
    if found is None:
        return UNDEFINED
    value, spread = found
    return f"{value:.2f}" + ("" if spread is None else f" ± {spread:.2f}")


def _words(table: Table, row: str, key: str, with_paper: bool) -> list[str]:
    column, cell = table.experiment.columns[key], table.cells[row][key]
    if column.shared and cell.whole and len(set(cell.whole.values())) == 1:  # of the data: the same in every run
        words = [f"{cell.mean:.{column.digits}f}"]
    else:
        words = [shown(cell, column.digits)]
    if with_paper:
        paper = table.experiment.rows[row].paper.get(key)
        difference = None if cell.mean is None or paper is None else cell.mean - paper[0]
        words.append("" if paper is None else f"{paper[0]:.{column.digits}f}")
        words[-1] += f" ± {paper[1]:.{column.digits}f}" if paper and paper[1] is not None else ""
        if table.experiment.papers_data(table.scale):
            words.append("" if difference is None else f"{difference:+.{column.digits}f}")
    return words


def provenance(table: Table) -> dict[str, str]:
    """How the numbers came about: command, runs and seeds, looks at the claims, and `origin` of their records."""
    command = f"sed-reproduce {table.experiment.name} --scale {table.scale}"
    runs = f"{len(table.complete)} of {len(table.asked)} complete; {_seeds_in_words(table)}"
    looks = {"looks": _looks_in_words(table)} if table.experiment.claims and table.scale != SMOKE else {}
    return {"command": command, "runs": runs, **looks, **origin([*table.complete.values()])}


def _seeds_in_words(table: Table) -> str:
    """The seeds that all rows have, and how many those rows have that got more."""
    lengths = {row: len(by_seed) for row, by_seed in table.folders.items() if by_seed}
    size = table.experiment.scale(table.scale)
    shortest = min(lengths.values(), default=len(size.seeds))
    text = f"seeds {', '.join(map(str, size.every[:shortest]))}"
    for n in sorted({*lengths.values()} - {shortest}):
        rows = [table.experiment.rows[row].label for row in lengths if lengths[row] == n]
        text += f"; {n} seeds of {', '.join(rows)}"
    return text


def _looks_in_words(table: Table) -> str:
    """After how many seeds claims are judged, at which level, and how many looks were taken."""
    looks = table.experiment.scale(table.scale).planned
    longest = max([len(one) for one in table.records.values() if one], default=0)
    level, numbers = 2 * nominal(ERROR / 2, looks), ", ".join(map(str, looks))
    return f"at {numbers} seeds, two-sided level {level:.3g} at each; {sum(n <= longest for n in looks)} taken"


def origin(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Dates, code, versions, hardware and time of run records; nothing where there is no record."""
    if not records:
        return {}
    dates = sorted({str(record["finished"])[:10] for record in records})
    data = _each_once(data_in_words(record) for record in records if "name" in record.get("dataset", {}))
    facts = {
        **({"data": data} if data else {}),
        "date": dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
        "code": _each_once(code_in_words(record["code"]) for record in records),
        "versions": _each_once(", ".join(f"{k} {v}" for k, v in record["versions"].items()) for record in records),
        "hardware": _each_once(hardware_in_words(record["hardware"]) for record in records),
    }
    seconds = [record["training_seconds"] for record in records if "training_seconds" in record]
    if seconds:
        facts["training"] = f"{statistics.fmean(seconds):.0f} s a run, {sum(seconds) / 60:.0f} min in all"
    return facts


def _each_once(words: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(words))


def data_in_words(record: Mapping[str, Any]) -> str:
    """The dataset's name, and whether it was synthesised, or mixed from a folder of recordings."""
    config, name = record.get("config", {}), str(record["dataset"]["name"])
    dataset, cache = config.get("dataset", {}), config.get("paths", {}).get("cache")
    if dataset.get("bank_folder"):
        return f"{name}, from the recordings in {Path(dataset['bank_folder']).name}"
    return f"procedural, {name}" if cache and dataset.get("folder") == cache else name


def code_in_words(code: Mapping[str, Any]) -> str:
    """Version, and commit where it is known."""
    commit = f" ({str(code['commit'])[:7]}{', changed' if code.get('changed') else ''})" if "commit" in code else ""
    return f"sed_lab {code['sed_lab']}{commit}"


def hardware_in_words(facts: Mapping[str, Any]) -> str:
    """Processor, cores, threads and GPUs of a run."""
    processor = facts.get("processor", facts.get("machine", ""))
    gpus = "".join(f", {name}" for name in facts.get("gpus", ()))
    threads = f"{facts['threads']} thread{'s' if facts['threads'] != 1 else ''} a run"
    return f"{processor}, {facts['cores']} cores, {threads}{gpus}"


def markdown(table: Table) -> str:
    """Title, where the numbers are from, table and claims."""
    text = heading(table) + bullets(provenance(table)) + "\n" + markdown_grid(grid(table))
    text += "".join(f"\n{note}\n" for note in notes(table))
    if table.experiment.claims:
        text += "\n" + markdown_grid(claims_grid(table))
    return text


def to_be_run(table: Table) -> str:
    """What stands for a table of which no run is there: title, command, runs."""
    return heading(table) + bullets(provenance(table)) + "\nTo be run: no run with these settings is kept.\n"


def heading(table: Table) -> str:
    """The title with its paper, place and scale."""
    experiment = table.experiment
    return f"**{experiment.title}** ({experiment.paper}, {experiment.place}; scale {table.scale})\n\n"


def notes(table: Table) -> list[str]:
    """What is said below the numbers: the rows' notes, and where the best validation lay."""
    rows = [f"{row.label}: {row.note}" for row in table.experiment.rows.values() if row.note]
    return [*rows, *filter(None, [training_length(table)])]


def training_length(table: Table) -> str:
    """Where the best validation lay in the runs, in words; nothing where their records do not say.

    A run that was best in its last epoch was still rising: its number says how fast it learns, not how far it gets.
    """

    def found(records: Iterable[Mapping[str, Any]]) -> list[tuple[int, int]]:
        validated = [one for one in records if one.get("best_epoch") is not None and one.get("objective") is not None]
        return [(one["best_epoch"], one["epochs"]) for one in validated]

    every = found(table.complete.values())
    if not every:
        return ""
    best, epochs = (sorted({*values}) for values in zip(*every, strict=True))
    span = [f"{one[0]} to {one[-1]}" if len(one) > 1 else str(one[0]) for one in (best, epochs)]
    text, last = f"best epoch {span[0]} of {span[1]}", sum(one == end for one, end in every)
    if not last:
        return text
    rising = []
    for row, by_seed in table.records.items():
        its = found(by_seed.values())
        if count := sum(one == end for one, end in its):
            rising.append(f"{table.experiment.rows[row].label} {count} of {len(its)}")
    rows = f" ({', '.join(rising)})" if 1 < len(table.experiment.rows) <= 12 else ""
    return f"{text}, the last in {last} of {len(every)} runs: still rising{rows}"


def bullets(facts: Mapping[str, str]) -> str:
    """Facts as a Markdown list."""
    return "".join(f"- {key}: {f'`{value}`' if key == 'command' else value}\n" for key, value in facts.items())


def markdown_grid(words: Grid) -> str:
    """A grid as a Markdown table."""
    head, lines = words
    rows = [head, ["---"] * len(head), *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def print_table(table: Table) -> None:
    """The table and its claims on the terminal; names and numbers stay whole in a narrow one."""
    from rich.console import Console
    from rich.text import Text

    print_grid(*grid(table), title=f"{table.experiment.title} ({table.experiment.name}, {table.scale})")
    console = Console()
    for claim, verdict, why in claims_grid(table)[1]:
        console.print(Text.assemble((f"{verdict:<13}", "bold"), f" {visible(claim)} ", (f"({visible(why)})", "dim")))
    if length := training_length(table):
        console.print(Text(visible(length)))
    for reason in table.missing:
        console.print(Text(plain(f"missing: {reason}"), "red"))


def rows_of(table: Table) -> list[dict[str, Any]]:
    """One flat row a (row, column) for CSV and JSON."""
    flat = []
    for name, row in table.experiment.rows.items():
        for key, column in table.experiment.columns.items():
            cell, paper = table.cells[name][key], row.paper.get(key)
            ours_there = cell.mean is not None and table.experiment.papers_data(table.scale)
            difference = cell.mean - paper[0] if ours_there and paper else None
            names = {"row": name, "label": row.label, "column": key, "metric": row.metric(column)}
            ours = {"mean": cell.mean, "sd": cell.sd, "runs": len(cell.whole)}
            theirs = dict(zip(("paper", "paper_sd"), paper or (None, None), strict=True))
            notes = {"missing": cell.missing or cell.undefined, "note": row.note}
            flat.append({**names, **ours, **theirs, "difference": difference, **notes})
    return flat


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write table.md, .csv and .json into ``folder``; returns the files."""
    rows = rows_of(table)
    paths = [folder / f"table.{suffix}" for suffix in ("md", "csv", "json")]
    write_text(paths[0], markdown(table))
    write_text(paths[1], pd.DataFrame(rows, dtype=object).to_csv(index=False))
    claims = {claim.id: {"say": claim.say, **asdict(table.verdicts[claim.id])} for claim in table.experiment.claims}
    facts = {"name": table.experiment.name, "scale": table.scale, "provenance": provenance(table)}
    write_json(paths[2], {**facts, "cells": rows, "claims": claims})
    return paths
