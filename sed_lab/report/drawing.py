"""Figures of a table: the kinds an experiment file can ask for, or a function that it names.

``points``: one column against the rows; ``class_bars``: a class-wise column, a bar a row; ``relative``: one row over
another, class by class, in the order of properties of the classes; ``grid``: bars of rows in groups, a line of panels a
set of groups, a panel a column. A paper's own figures are functions of `sed_lab.analysis`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sed_lab.errors import InputError
from sed_lab.experiment.interval import rank_correlation
from sed_lab.experiment.spec import Experiment
from sed_lab.experiment.table import Table, ratio_of
from sed_lab.report.style import COLOURS, INK, LINE, MUTED, new_figure, save, styled


def draw(table: Table) -> Figure | None:
    """The figure the experiment asks for; None where it asks for none, or no run is there to draw."""
    asked = table.experiment.figure
    kinds = {"points": points, "class_bars": class_bars, "relative": relative, "grid": grid}
    if not asked or not any(table.records.values()):
        return None
    if "draw" in asked:
        return own_drawing(table.experiment)(table)
    return None if asked["kind"] == "relative" and not table.experiment.relative else kinds[asked["kind"]](table)


def own_drawing(experiment: Experiment) -> Callable[[Table], Figure | None]:
    """The function that ``figure: {draw: ...}`` names, given what else stands there.

    Raises:
        InputError: there is none of that name, or it takes other arguments.
    """
    given = dict(experiment.figure)
    name = str(given.pop("draw"))
    module, _, function = name.rpartition(".")
    try:
        found = getattr(import_module(module), function)
        inspect.signature(found).bind(None, **given)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{experiment.path}: figure.draw={name}: {error}; give a function's dotted name and what it takes"
        ) from None
    return partial(found, **given)


def write_figure(table: Table, folder: Path) -> list[Path]:
    """Draw the table's figure into ``folder`` as figure.png and .svg; returns the files, none where it has none."""
    figure = draw(table)
    return [] if figure is None else [save(figure, folder / f"figure.{suffix}") for suffix in ("png", "svg")]


@styled
def points(table: Table) -> Figure:
    """One column: mean and standard deviation of each row, its runs as small dots; on its data, the paper's number."""
    experiment = table.experiment
    column = experiment.columns[experiment.figure["column"]]
    figure = new_figure(5.5, 1.5 + 0.3 * len(experiment.rows))
    axes = figure.add_subplot()
    for place, (name, row) in enumerate(experiment.rows.items()):
        cell, paper = table.cells[name][experiment.figure["column"]], row.paper.get(experiment.figure["column"])
        if cell.mean is not None:
            axes.errorbar(cell.mean, place, xerr=cell.sd, fmt="o", color=COLOURS[0], capsize=3, ms=5, lw=1.4)
            values = list(cell.values.values())
            axes.plot(values, [place + 0.22] * len(values), ".", color=MUTED, ms=3)
        if paper is not None and experiment.papers_data(table.scale):
            axes.errorbar(paper[0], place - 0.22, xerr=paper[1], fmt="o", mfc="none", color=COLOURS[1], capsize=3, ms=5)
    axes.set_yticks(range(len(experiment.rows)), [row.label for row in experiment.rows.values()])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set(xlabel=column.label, ylim=(len(experiment.rows) - 0.4, -0.6))
    figure.suptitle(fill(experiment.title, 60), x=0.01, ha="left", fontsize=10.5, fontweight="bold")  # beyond the axes
    axes.grid(visible=False, axis="y")
    caption(figure, f"mean and standard deviation over {_runs(table)} runs a setting; small dots: the runs")
    return figure


@styled
def class_bars(table: Table) -> Figure:
    """A class-wise column: a group of bars a class, a bar a row, with standard deviations."""
    experiment = table.experiment
    family = experiment.figure["column"]
    keys = experiment.family(family)
    figure = new_figure(9.0, 4.2)
    axes = figure.add_subplot()
    width = 0.8 / len(experiment.rows)
    for number, (name, row) in enumerate(experiment.rows.items()):
        cells = [table.cells[name][key] for key in keys]
        places = np.arange(len(keys)) - 0.4 + width * (number + 0.5)
        axes.bar(
            places,
            [cell.mean or 0 for cell in cells],
            width * 0.94,
            yerr=[cell.sd or 0 for cell in cells],
            color=COLOURS[number % len(COLOURS)],
            error_kw={"lw": 1, "ecolor": INK, "capsize": 2},
            label=row.label,
        )
        for place, cell in zip(places, cells, strict=True):
            if cell.mean is None:
                axes.text(place, 0.005, "none", ha="center", va="bottom", fontsize=7, color=MUTED, rotation=90)
    axes.set_xticks(range(len(keys)), [_short(experiment.columns[key].event_label) for key in keys], fontsize=8)
    axes.set(title=experiment.title, ylabel=experiment.families[family], ylim=(0, None))
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside upper right", ncols=len(experiment.rows), borderaxespad=0.1)
    caption(figure, f"mean and standard deviation over {_runs(table)} runs a setting")
    return figure


@styled
def grid(table: Table) -> Figure:
    """A line of panels a set of ``panels``, a panel a column: a group of bars each, dots where another column lies."""
    experiment = table.experiment
    spec = experiment.figure
    figure = new_figure(0.6 + 4.6 * len(spec["columns"]), 2.5 * len(spec["panels"]))
    lines = figure.subplots(len(spec["panels"]), len(spec["columns"]), squeeze=False, sharey=True)
    width = min(0.8 / len(spec["bars"]), 0.35)
    for line, (title, groups) in zip(lines, spec["panels"].items(), strict=True):
        for axes, column, dots in zip(line, spec["columns"], spec["dots"], strict=True):
            for place, names in enumerate(groups.values()):
                there = [(n, name) for n, name in enumerate(names) if name in table.cells]
                for number, (n, name) in enumerate(there):
                    at = place + width * (number - (len(there) - 1) / 2)
                    cell, dot = table.cells[name][column], table.cells[name][dots]
                    if cell.mean is None:
                        axes.text(at, 0.01, "none", ha="center", va="bottom", fontsize=7, color=MUTED, rotation=90)
                        continue
                    axes.bar(at, cell.mean, width * 0.9, color=COLOURS[n % len(COLOURS)], label=spec["bars"][n])
                    axes.errorbar(at, cell.mean, cell.sd, color=INK, lw=1, capsize=2)
                    if dot.mean is not None:
                        axes.plot(at, dot.mean, "o", color=INK, mfc="white", ms=5, label=experiment.columns[dots].label)
            axes.set_xticks(range(len(groups)), list(groups), fontsize=8)
            axes.set(title=f"{title}: {experiment.columns[column].label}", ylim=(0, 1.05))
            axes.grid(visible=False, axis="x")
    handles = {name: one for axes in lines.flat for one, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles), fontsize=8)
    return figure


@styled
def relative(table: Table) -> Figure:
    """A panel a class-wise column and property: one row over the other, classes in rising order of the property.

    The band is the standard deviation over paired runs; the title gives Spearman's correlation of the ratio with the
    property. As Park & Elhilali 2022, fig. 4.
    """
    experiment = table.experiment
    of, to = experiment.relative["of"], experiment.relative["to"]
    gains, against = experiment.figure["columns"], experiment.figure["against"]
    figure = new_figure(4.9 * len(gains), 3.6 * len(against))
    panels = figure.subplots(len(against), len(gains), squeeze=False)
    letters = iter("abcdefgh")
    for line, prop in zip(panels, against, strict=True):
        for axes, gain in zip(line, gains, strict=True):
            found = []
            for key in experiment.family(gain):
                label = experiment.columns[key].event_label
                size = table.cells[to][f"{prop}/{label}"].mean
                ratio = ratio_of(table.cells[of][key], table.cells[to][key])
                if ratio is not None and size is not None:
                    found.append((size, label, *ratio))
            found.sort()
            title = f"({next(letters)}) {experiment.families[gain]}"
            if len(found) > 2:
                rho = rank_correlation([item[2] for item in found], [item[0] for item in found])
                title += f", rho = {rho:+.2f}"
            _draw_relative(axes, found)
            axes.set(title=title, ylabel=f"{experiment.rows[of].label} / {experiment.rows[to].label}")
            axes.set_xlabel(f"classes by {experiment.families[prop]}")
    return figure


def _draw_relative(axes: Any, found: Sequence[tuple[float, str, float, float | None]]) -> None:
    place = np.arange(len(found))
    value = np.array([item[2] for item in found])
    spread = np.array([item[3] or 0.0 for item in found])
    axes.fill_between(place, value - spread, value + spread, color=LINE, lw=0)
    axes.plot(place, value, "o", color=COLOURS[1], ms=5)
    axes.axhline(1, color=MUTED, lw=0.8, ls="--")
    axes.set_xticks(place, [f"{_short(label)}\n{size:.3g}" for size, label, *_ in found], rotation=60, fontsize=7.5)
    axes.grid(visible=False, axis="x")


def _short(label: str) -> str:
    """A class name that fits under a bar: broken once, at an underscore."""
    words = label.split("_")
    half = math.ceil(len(words) / 2)
    return "_".join(words[:half]) + ("_\n" + "_".join(words[half:]) if words[half:] else "")


def _runs(table: Table) -> int:
    return len(table.experiment.scale(table.scale).seeds)


def caption(figure: Figure, text: str) -> None:
    """A small line below all panels."""
    figure.supxlabel(text, fontsize=8, color=MUTED)
