"""Rows that are means of other rows, and the figure of bars and dots they stand beside: from the file to the axes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from sed_lab.errors import InputError
from sed_lab.experiment.reader import read_experiment
from sed_lab.experiment.spec import Experiment
from sed_lab.experiment.table import Cell, Table, _mean_cell, build_table
from sed_lab.files import write_json
from sed_lab.plan import expand
from sed_lab.report.drawing import draw, write_figure
from sed_lab.report.style import COLOURS
from sed_lab.report.table_text import markdown

FILE = """\
paper: p
item: g
title: T
place: fig. 1
base: [trainer=smoke]
scales:
  smoke: {config: park2022, seeds: [0, 1]}
  mini: {config: park2022, seeds: [0, 1, 2]}
columns:
  f1: {metric: student/event_f1/macro, label: F1}
  low: {metric: student/segment_f1/macro, label: low}
rows:
  all: {label: all of them, mean_of: [a, b, c], paper: {f1: 0.5}}
  a: {label: A, overrides: [loss=bce]}
  b: {label: B, overrides: [loss=tbfl]}
  c: {label: C, overrides: [loss=focal], scales: [mini]}
  two: {label: two of them, mean_of: [b, a]}
claims:
  - {id: 1, say: A is ahead of all, better: a, than: all, column: f1}
"""
FACTS: dict[str, Any] = {
    "status": "complete", "finished": "2026-01-02T03:04:05+00:00", "code": {"sed_lab": "0.1.0"},
    "versions": {}, "hardware": {"processor": "a processor", "cores": 2, "threads": 1}, "training_seconds": 60.0,
}  # fmt: skip
F1 = {"a": [0.2, 0.5, 0.8], "b": [0.1, 0.2, 0.6], "c": [0.3, 0.2, 0.1]}


def experiment_of(folder: Path, text: str = FILE) -> Experiment:
    (folder / "g.yaml").write_text(text, encoding="utf-8")
    return read_experiment(folder / "g.yaml")


def run(folder: Path, f1: float, low: float | None) -> Path:
    """A complete run of these two numbers."""
    metrics = {"student/event_f1/macro": f1, **({"student/segment_f1/macro": low} if low is not None else {})}
    write_json(folder / "run.json", {**FACTS, "metrics": metrics})
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, dict[int, Path]]:
    """Three runs of each row of F1, and none of the means, as sed-reproduce hands them on."""
    runs = {row: {seed: run(tmp_path / f"{row}{seed}", f1, f1 / 2) for seed, f1 in enumerate(F1[row])} for row in F1}
    return {"all": {}, **runs, "two": {}}


def table_of(experiment: Experiment, scale: str, folders: Mapping[str, Mapping[int, Path]]) -> Table:
    there = experiment.at(scale)
    seeds = experiment.scale(scale).seeds
    return build_table(
        there, scale, {row: {seed: path for seed, path in folders[row].items() if seed in seeds} for row in there.rows}
    )


# Rows that are means.


def test_a_mean_row_is_the_mean_over_rows_seed_by_seed(tmp_path: Path, folders: dict[str, dict[int, Path]]) -> None:
    table = table_of(experiment_of(tmp_path), "mini", folders)
    cell = table.cells["all"]["f1"]
    assert cell.values == {0: pytest.approx(0.2), 1: pytest.approx(0.3), 2: pytest.approx(0.5)}
    assert cell.mean == pytest.approx(1 / 3)
    assert cell.sd == pytest.approx(statistics.stdev([0.2, 0.3, 0.5]))  # of means over rows, not of all nine runs
    assert table.cells["all"]["low"].mean == pytest.approx(1 / 6)
    assert table.cells["two"]["f1"].values == {
        0: pytest.approx(0.15), 1: pytest.approx(0.35), 2: pytest.approx(0.7),
    }  # fmt: skip
    assert list(table.cells) == ["all", "a", "b", "c", "two"]  # as in the file, though means come before what they need
    assert table.missing == []
    (comparison,) = table.verdicts["1"].comparisons
    assert (comparison.of, comparison.against, comparison.seeds) == ("a", "all", 3)
    assert comparison.difference == pytest.approx(0.5 - 1 / 3)


@given(st.lists(st.lists(st.floats(-100, 100), min_size=3, max_size=3), min_size=1, max_size=5))
def test_means_are_those_of_the_matrix_of_rows_and_seeds(values: list[list[float]]) -> None:
    cell = _mean_cell([Cell(dict(zip((7, 0, 3), row, strict=True))) for row in values])
    expected = np.array(values).mean(axis=0)
    assert list(cell.values) == [0, 3, 7]
    assert [cell.values[seed] for seed in (7, 0, 3)] == pytest.approx(expected.tolist(), abs=1e-9)
    assert cell.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert cell.whole == cell.values


def test_a_mean_row_stands_in_the_table_beside_the_paper_s_number(
    tmp_path: Path, folders: dict[str, dict[int, Path]]
) -> None:
    text = markdown(table_of(experiment_of(tmp_path), "mini", folders))
    assert "| all of them | 0.333 ± 0.153 | 0.500 | 0." in text
    assert "- runs: 9 of 9 complete; seeds 0, 1, 2" in text


def test_a_missing_run_leaves_its_means_empty_and_is_named_once(
    tmp_path: Path, folders: dict[str, dict[int, Path]]
) -> None:
    (folders["c"][1] / "run.json").unlink()
    table = table_of(experiment_of(tmp_path), "mini", folders)
    assert (table.cells["all"]["f1"].mean, table.cells["all"]["low"].whole) == (None, {})
    assert table.cells["all"]["f1"].missing == "seed 1: not run"
    assert table.cells["two"]["f1"].mean == pytest.approx(0.4)  # c is not among them
    assert table.missing == ["c: seed 1: not run"]
    assert table.verdicts["1"].word == "undecided"
    assert "| all of them | (seed 1: not run) | 0.500 | (seed 1: not run) |" in markdown(table)


def test_a_failed_run_and_an_undefined_number_leave_their_means_empty(
    tmp_path: Path, folders: dict[str, dict[int, Path]]
) -> None:
    write_json(folders["a"][2] / "run.json", {**FACTS, "status": "failed", "reason": "no memory left"})
    run(folders["c"][0], 0.3, None)
    table = table_of(experiment_of(tmp_path), "mini", folders)
    assert table.cells["two"]["f1"].missing == "seed 2: failed: no memory left"
    assert table.cells["two"]["f1"].mean is None
    assert table.cells["all"]["low"].undefined == "not defined in seed 0"
    assert table.cells["all"]["low"].mean is None
    run(folders["a"][2], 0.8, 0.4)
    table = table_of(experiment_of(tmp_path), "mini", folders)
    assert (table.cells["all"]["f1"].mean, table.cells["all"]["low"].mean) == (pytest.approx(1 / 3), None)


def test_rows_of_other_scales_are_left_out_of_a_mean(tmp_path: Path, folders: dict[str, dict[int, Path]]) -> None:
    experiment = experiment_of(tmp_path)
    assert {scale: experiment.at(scale).rows["all"].mean_of for scale in ("smoke", "mini")} == {
        "smoke": ("a", "b"), "mini": ("a", "b", "c"),
    }  # fmt: skip
    table = table_of(experiment, "smoke", folders)
    assert table.cells["all"]["f1"].values == {0: pytest.approx(0.15), 1: pytest.approx(0.35)}
    assert "c" not in table.cells


def test_a_mean_of_rows_that_are_all_of_other_scales_is_left_out_with_its_claims(
    tmp_path: Path, folders: dict[str, dict[int, Path]]
) -> None:
    claim = "  - {id: 2, say: two are ahead, better: two, than: a, column: f1}\n"
    experiment = experiment_of(tmp_path, FILE.replace("[b, a]", "[c]") + claim)
    smoke, mini = experiment.at("smoke"), experiment.at("mini")
    assert (list(smoke.rows), list(mini.rows)) == (["all", "a", "b"], ["all", "a", "b", "c", "two"])
    assert ([one.id for one in smoke.claims], [one.id for one in mini.claims]) == (["1"], ["1", "2"])
    assert [job.row for job in expand(smoke, "smoke")] == ["a", "a", "b", "b"]
    assert table_of(experiment, "mini", folders).cells["two"] == table_of(experiment, "mini", folders).cells["c"]


@pytest.mark.parametrize(("scale", "rows"), [("smoke", "ab"), ("mini", "abc")])
def test_a_mean_row_has_no_runs(tmp_path: Path, scale: str, rows: str) -> None:
    experiment = experiment_of(tmp_path)
    jobs = expand(experiment.at(scale), scale)
    assert [(job.row, job.seed) for job in jobs] == [(row, s) for row in rows for s in experiment.scale(scale).seeds]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[a, b, c]", "[a, d]", r"g\.yaml:13: row 'all' is a mean of row 'd'; known: a, b, c"),
        ("[b, a]", "[b, all]", r"g\.yaml:17: row 'two' is a mean of row 'all'; known: a, b, c"),
        ("[b, a]", "[two]", r"g\.yaml:17: row 'two' is a mean of row 'two'; known: a, b, c"),
        (
            "mean_of: [b, a]",
            "mean_of: [b, a], overrides: []",
            r"g\.yaml:17: unknown key 'overrides'; known: label, mea",
        ),
        ("mean_of: [b, a]", "mean_of: [b, a], system: student", r"g\.yaml:17: unknown key 'system'"),
        ("mean_of: [b, a]", "mean_of: [b, a], at: {mini: [x]}", r"g\.yaml:17: unknown key 'at'"),
        ("mean_of: [b, a]", "mean_of: a", r"g\.yaml:17: rows\.two\.mean_of must be a list of words"),
        ("mean_of: [b, a]", "mean_of: null", r"g\.yaml:17: rows\.two\.mean_of must be a list of words"),
        ("mean_of: [b, a]", "mean_of: 3", r"g\.yaml:17: rows\.two\.mean_of must be a list of words"),
        ("mean_of: [b, a]", "mean_of: []", r"g\.yaml:17: mean_of must be a list of different rows"),
        ("mean_of: [b, a]", "mean_of: [b, a, b]", r"g\.yaml:17: mean_of must be a list of different rows"),
        ("mean_of: [b, a]", "paper: {f1: 1}", r"g\.yaml:17: rows\.two needs 'overrides'"),
    ],
)
def test_what_is_wrong_in_a_mean_row_is_said_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in FILE
    with pytest.raises(InputError, match=message):
        experiment_of(tmp_path, FILE.replace(old, new, 1))


# The figure.

PANELS = """\
figure:
  kind: grid
  columns: [f1, low]
  dots: [low, f1]
  bars: [first, second, third]
  panels:
    "Upper": {left: [a, b, c], right: [c, two]}
    "Lower": {only: [all]}
"""


def bars_of(axes: Any) -> list[tuple[float, float, str]]:
    """Middle, height and colour of each bar, from left to right."""
    bars = [(box.get_x() + box.get_width() / 2, box.get_height(), box.get_facecolor()) for box in axes.patches]
    colours = {tuple(np.round([int(one[i : i + 2], 16) / 255 for i in (1, 3, 5)], 6)): one for one in COLOURS}
    named = [(x, height, colours[tuple(np.round(colour[:3], 6))]) for x, height, colour in bars]
    return sorted(named)


def dots_of(axes: Any) -> list[tuple[float, float]]:
    """Place and height of each dot, from left to right."""
    return sorted((float(x), float(y)) for line in axes.lines if line.get_marker() == "o" for x, y in line.get_xydata())


def spreads_of(axes: Any) -> list[tuple[float, float, float]]:
    """Place and both ends of each bar's deviation, from left to right."""
    lines = [path.vertices for one in axes.collections for path in one.get_paths()]
    return sorted((float(v[0, 0]), float(v[:, 1].min()), float(v[:, 1].max())) for v in lines)


def drawn(table: Table) -> Figure:
    figure = draw(table)
    assert figure is not None
    return figure


def test_bars_and_dots_are_as_high_as_the_numbers(tmp_path: Path, folders: dict[str, dict[int, Path]]) -> None:
    figure = drawn(table_of(experiment_of(tmp_path, FILE + PANELS), "mini", folders))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Upper: F1", "Upper: low", "Lower: F1", "Lower: low",
    ]  # fmt: skip
    mean = {**{row: statistics.fmean(values) for row, values in F1.items()}, "two": 0.4, "all": 1 / 3}
    width, (first, second, third) = 0.8 / 3, COLOURS[:3]
    places = [-width, 0, width, 1 - width / 2, 1 + width / 2]
    rows = ["a", "b", "c", "c", "two"]
    for number, axes in enumerate(figure.axes[:2]):
        share, other = ((1, 0.5), (0.5, 1))[number]  # the dots are those of the other column
        found = bars_of(axes)
        assert [x for x, _, _ in found] == pytest.approx(places)
        assert [height for _, height, _ in found] == pytest.approx([share * mean[row] for row in rows])
        assert [colour for _, _, colour in found] == [first, second, third, first, second]
        assert [x for x, _ in dots_of(axes)] == pytest.approx(places)
        assert [height for _, height in dots_of(axes)] == pytest.approx([other * mean[row] for row in rows])
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["left", "right"]
        assert list(axes.get_xticks()) == [0, 1]
    for number, axes in enumerate(figure.axes[2:]):
        assert [(x, height) for x, height, _ in bars_of(axes)] == [(0.0, pytest.approx(1 / 3 * (1, 0.5)[number]))]
        assert axes.get_ylim() == (0, 1.05)
    spread = spreads_of(figure.axes[0])
    assert [x for x, _, _ in spread] == pytest.approx(places)
    deviations = [statistics.stdev(F1[row]) for row in ("a", "b", "c", "c")]
    assert [(high - low) / 2 for _, low, high in spread[:4]] == pytest.approx(deviations)
    assert [(high + low) / 2 for _, low, high in spread] == pytest.approx([mean[row] for row in rows])


def test_the_legend_names_bars_and_dots_once(tmp_path: Path, folders: dict[str, dict[int, Path]]) -> None:
    figure = drawn(table_of(experiment_of(tmp_path, FILE + PANELS), "mini", folders))
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert sorted(names) == ["F1", "first", "low", "second", "third"]


def test_the_legend_names_bars_of_any_panel(tmp_path: Path, folders: dict[str, dict[int, Path]]) -> None:
    text = FILE + PANELS.replace("{left: [a, b, c], right: [c, two]}", "{only: [a]}").replace(
        "only: [all]", "x: [a, b]"
    )
    (legend,) = drawn(table_of(experiment_of(tmp_path, text), "smoke", folders)).legends
    assert {"first", "second"} <= {text.get_text() for text in legend.get_texts()}


def test_rows_of_other_scales_leave_no_gap_and_keep_the_others_colours(
    tmp_path: Path, folders: dict[str, dict[int, Path]]
) -> None:
    text = FILE + PANELS.replace("left: [a, b, c]", "left: [a, c, b]")
    axes = drawn(table_of(experiment_of(tmp_path, text), "smoke", folders)).axes[0]
    width = 0.8 / 3
    assert [(x, colour) for x, _, colour in bars_of(axes)] == [
        (pytest.approx(-width / 2), COLOURS[0]),
        (pytest.approx(width / 2), COLOURS[2]),  # b is the third bar, though the second is not there
        (pytest.approx(1.0), COLOURS[1]),  # of c and two, two alone
    ]
    assert [height for _, height, _ in bars_of(axes)] == pytest.approx([0.35, 0.15, 0.25])


def test_a_row_with_a_missing_run_has_neither_height_nor_dot(
    tmp_path: Path, folders: dict[str, dict[int, Path]]
) -> None:
    (folders["c"][1] / "run.json").unlink()
    upper, _, lower, _ = drawn(table_of(experiment_of(tmp_path, FILE + PANELS), "mini", folders)).axes
    assert [height for _, height, _ in bars_of(upper)] == pytest.approx([0.5, 0.3, 0.4])
    assert [height for _, height in dots_of(upper)] == pytest.approx([0.25, 0.15, 0.2])
    assert (bars_of(lower), dots_of(lower)) == ([], [])
    assert [axes_text(axes) for axes in (upper, lower)] == [["none", "none"], ["none"]]


def axes_text(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_it_is_written_with_all_its_words(tmp_path: Path, folders: dict[str, dict[int, Path]]) -> None:
    table = table_of(experiment_of(tmp_path, FILE + PANELS), "mini", folders)
    png, svg = write_figure(table, tmp_path / "out")
    assert png.stat().st_size > 5000
    assert all(word in svg.read_text(encoding="utf-8") for word in ("Upper: F1", "Lower: low", "third", "right"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("columns: [f1, low]", "columns: [f1, high]", r"g\.yaml:20: the figure names column 'high'; known: f1, low"),
        ("dots: [low, f1]", "dots: [low]", r"g\.yaml:\d+: a grid needs as many dots as columns"),
        ("left: [a, b, c]", "left: [a, d]", r"g\.yaml:\d+: the figure names row 'd'; known: all, a, b, c, two"),
        ("left: [a, b, c]", "left: [a, b, c, two]", r"g\.yaml:\d+: 4 rows are more than there are bars"),
        ("{left: [a, b, c], right: [c, two]}", "[a]", r"g\.yaml:\d+: figure\.panels\.Upper must be a mapping"),
        ("dots: [low, f1]", "dots: [dot, f1]", r"g\.yaml:20: the figure names column 'dot'; known: f1, low"),
        ("  bars: [first, second, third]\n", "", r"g\.yaml:20: figure needs 'bars'"),
        ("kind: grid", "kind: grid\n  axes: linear", r"g\.yaml:22: unknown key 'axes'"),
    ],
)
def test_what_is_wrong_in_the_figure_is_said_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in PANELS
    with pytest.raises(InputError, match=message):
        experiment_of(tmp_path, FILE + PANELS.replace(old, new, 1))
