"""An experiment: one printed table or figure of a paper as rows, columns, the paper's numbers and its claims.

``experiments/<paper>/<item>.yaml``::

    paper: park2022
    item: fig4
    title: Relative PSDS, class by class
    place: where the paper shows it, and what is known of its numbers
    classes: [Cat, Dog]   # what {class} in a column's metric stands for
    base: [overrides of every run]
    needs: esc10          # a folder the runs read, if it does not come with sed_lab
    scales:   # smoke, mini, medium, full: overrides and seeds of a size, and minutes one run of it takes
      mini: {seeds: [0, 1, 2], overrides: [...], minutes: 5, hardware: one core}
    columns:  # {system} in a metric stands for the row's system; better: higher (default) or lower;
              # of: the class-wise column a total stands over; shared: of the data
      event_f1: {label: all (macro), metric: student/event_f1/macro, of: f1}
      f1: {label: F1, metric: "student/event_f1/per_class/{class}/f1"}
    rows:     # paper: a number, [mean, sd], or null where the print has none; note: where the print is wrong;
              # scales: the sizes that have this row (default: all), for a coarser grid at small ones;
              # at: more overrides by scale; system: which of the method's it shows, so that rows can share a run;
              # mean_of, instead of overrides: other rows, whose mean it is, seed by seed
      bce: {label: BCE, overrides: [loss=bce], paper: {event_f1: null}}
    relative: {of: tbfl, to: bce, columns: [psds1]}   # also show one row's number divided by another's
    claims:   # see CLAIMS; f1/Dog is the number of one class in a class-wise column
      - {id: 1, say: ..., better: k1000, than: bce, column: event_f1}
    welch: 20 # compare rows by Welch's test, not by paired seeds; the paper's [mean, sd] are over so many runs
    figure: {kind: points}   # what to draw, see sed_lab.report.drawing; {draw: a function, ...}: a paper's own

`sed_lab.experiment.reader` reads and checks it, before the first run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sed_lab.errors import InputError

SCALES = ("smoke", "mini", "medium", "full")
SYSTEM = "{system}"
# Each kind with the keys it needs beside id and say, and those it may have. `rows` of a claim are in this order.
CLAIMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "better": (("than", "column"), ()),  # row a is better than row b
    "best": (("column",), ("among",)),  # row a is better than each of the others
    "order": (("column",), ()),  # rows from best to worst
    "within": (("row", "column"), ("value",)),  # this near to the paper's number (or to value)
    "above": (("value", "column"), ()),  # the row's number lies above value
    "below": (("value", "column"), ()),
    "most": (("than", "column", "more_than"), ()),  # row a is better than row b in more than so many classes
    "ratio": (("to", "column", "value", "within"), ()),  # row a over row b lies this near to value
    "near": (("to", "column", "within"), ()),  # row a less row b lies this near to 0
    "gains": (("over", "more_than_row", "over_row", "column"), ()),  # a gains more over b than row c over row d
    "easiest": (("row", "column"), ()),  # in this row, a class is better than each other of a class-wise column
    "follows": (("rather_than", "of", "to", "column"), ()),  # a over b goes with one class-wise column, not the other
}


@dataclass(frozen=True)
class Scale:
    """Seeds and overrides of one size; ``minutes`` one run takes on ``hardware``, an estimate."""

    seeds: tuple[int, ...]
    overrides: tuple[str, ...] = ()
    minutes: float | None = None
    hardware: str = ""
    config: str = "config"


@dataclass(frozen=True)
class Column:
    """A number of the run record, such as ``student/event_f1/macro``; ``{system}`` in it is the row's system.

    ``family`` and ``event_label`` are set where it is the part of a class-wise column; ``of`` names the class-wise
    column this one is the total of; ``shared`` says that all rows have the same number, one of the data.
    """

    metric: str
    label: str
    better: str = "higher"
    digits: int = 3
    family: str = ""
    event_label: str = ""
    of: str = ""
    shared: bool = False
    line: int = 0


@dataclass(frozen=True)
class Row:
    """One setting: its overrides, and the paper's number for each column (mean and standard deviation, or None).

    A row is there at its ``scales`` only, so that a small scale can have a coarser grid, and ``at`` adds overrides at a
    scale. Rows may share a run and show another ``system`` of it. With ``mean_of`` it has no runs of its own: its
    numbers are the means over these rows, those that are there at the scale.
    """

    label: str
    overrides: tuple[str, ...]
    paper: Mapping[str, tuple[float, float | None] | None] = field(default_factory=dict)
    note: str = ""
    scales: tuple[str, ...] = SCALES
    system: str = ""
    at: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mean_of: tuple[str, ...] = ()
    line: int = 0

    def metric(self, column: Column) -> str:
        """The name of the row's number in a column."""
        return column.metric.replace(SYSTEM, self.system)


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper: its ``kind`` is a key of `CLAIMS`, ``rows`` are those it is about, in the kind's order.

    ``columns`` holds one column, or all parts of a class-wise one; ``options`` the kind's numbers and names.
    """

    id: str
    say: str
    kind: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """A checked experiment file; class-wise columns are one column a class, called ``f1/Dog``."""

    path: Path
    paper: str
    item: str
    title: str
    place: str
    classes: tuple[str, ...]
    base: tuple[str, ...]
    scales: Mapping[str, Scale]
    columns: Mapping[str, Column]
    families: Mapping[str, str]  # label of each class-wise column
    rows: Mapping[str, Row]
    relative: Mapping[str, Any]
    claims: tuple[Claim, ...]
    needs: str  # a folder of the user's that the runs read; empty where there is none
    welch: int | None  # judge better, best and order by Welch's test; the paper's numbers are over so many runs
    figure: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.paper}/{self.item}"

    def scale(self, name: str) -> Scale:
        """The scale called ``name``.

        Raises:
            InputError: the file has none of that name.
        """
        if name not in self.scales:
            raise InputError(f"{self.path}: no scale {name!r}; it has {', '.join(self.scales)}")
        return self.scales[name]

    def at(self, scale: str, seeds: tuple[int, ...] | None = None) -> Experiment:
        """The experiment as it is at a scale: without other scales' rows and overrides, or claims that need such rows.

        ``seeds`` stand for the scale's own.

        Raises:
            InputError: there is no such scale.
        """
        asked = self.scale(scale)
        scales = {**self.scales, scale: replace(asked, seeds=asked.seeds if seeds is None else seeds)}
        rows = {
            name: replace(row, overrides=(*row.overrides, *row.at.get(scale, ())), at={})
            for name, row in self.rows.items()
            if scale in row.scales
        }
        own = {name: row for name, row in rows.items() if not row.mean_of}
        means = {name: tuple(one for one in row.mean_of if one in own) for name, row in rows.items()}
        rows = {name: own.get(name, replace(row, mean_of=means[name])) for name, row in rows.items()}
        rows = {name: row for name, row in rows.items() if name in own or row.mean_of}
        claims = []
        for claim in self.claims:
            there = tuple(name for name in claim.rows if name in rows)
            loose = claim.kind in ("best", "order") and len(there) > 1 and there[0] == claim.rows[0]
            if loose or there == claim.rows:
                claims.append(replace(claim, rows=there))
        divided = {self.relative.get(key) for key in ("of", "to")} <= {*rows, None}
        return replace(self, scales=scales, rows=rows, claims=tuple(claims), relative=self.relative if divided else {})

    def family(self, name: str) -> list[str]:
        """The columns of a class-wise column, in the order of the classes."""
        return [key for key, column in self.columns.items() if column.family == name]


def experiment_files(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """The files of ``names`` (``park2022/fig3``, or ``park2022`` for all of a paper), or all, in sorted order.

    Raises:
        InputError: there is no experiment of that name.
    """
    every = sorted(folder.glob("*/*.yaml"))
    if not every:
        raise InputError(f"{folder} holds no experiment files; give --folder, or run it where experiments/ lies")
    if not names:
        return every
    found = []
    for name in names:
        here = [path for path in every if name in (f"{path.parent.name}/{path.stem}", path.parent.name)]
        if not here:
            known = ", ".join(f"{path.parent.name}/{path.stem}" for path in every)
            raise InputError(f"no experiment {name!r} in {folder}; there are: {known}")
        found += here
    return list(dict.fromkeys(found))
