"""An experiment file: one printed table or figure of a paper as rows, columns, the paper's numbers and its claims.

``experiments/<paper>/<item>.yaml``::

    paper: park2022
    item: fig2a
    title: Event F1 against k
    place: where the paper shows it, and what is known of its numbers
    base: [overrides of every run]
    scales:   # smoke, mini, medium, full: overrides and seeds of a size, and minutes one run of it takes
      mini: {seeds: [0, 1, 2], overrides: [...], minutes: 5, hardware: 2 cores}
    columns:  # better: higher (default) or lower
      event_f1: {label: event F1, metric: student/event_f1/macro}
    rows:     # paper: a number, [mean, sd], or null where the print has none; note: where the print is wrong
      bce: {label: BCE, overrides: [loss=bce], paper: {event_f1: null}}
    claims:   # better/than, best/among, order, within/row: of one column
      - {id: 1, say: ..., better: k1000, than: bce, column: event_f1}

Everything is checked before the first run, and what is wrong is said with file and line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sed_lab.errors import InputError

SCALES = ("smoke", "mini", "medium", "full")
CLAIMS = {"better": {"than"}, "best": {"among"}, "order": set(), "within": {"row"}}


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
    """A number of the run record, such as ``student/event_f1/macro``."""

    metric: str
    label: str
    better: str = "higher"
    digits: int = 3


@dataclass(frozen=True)
class Row:
    """One setting: its overrides, and the paper's number for each column (mean and standard deviation, or None)."""

    label: str
    overrides: tuple[str, ...]
    paper: Mapping[str, tuple[float, float | None] | None] = field(default_factory=dict)
    note: str = ""
    line: int = 0


@dataclass(frozen=True)
class Claim:
    """``kind`` is better, best, order or within; ``rows`` are the rows it is about, the one said to be best first."""

    id: str
    say: str
    kind: str
    column: str
    rows: tuple[str, ...]
    tolerance: float = 0.0


@dataclass(frozen=True)
class Experiment:
    """A checked experiment file."""

    path: Path
    paper: str
    item: str
    title: str
    place: str
    base: tuple[str, ...]
    scales: Mapping[str, Scale]
    columns: Mapping[str, Column]
    rows: Mapping[str, Row]
    claims: tuple[Claim, ...]

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


def read_experiment(path: Path) -> Experiment:
    """Read and check an experiment file.

    Raises:
        InputError: it is missing, no YAML, or says something that cannot be; with file and line.
    """
    return _Reader(path).experiment()


class _Reader:
    """The file's values with the line each stands on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; name an experiment file that can be read") from None
        try:
            self.root = yaml.compose(text, yaml.SafeLoader)
            self.value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
        self.lines: dict[tuple[Any, ...], int] = {(): 1}  # what has no place of its own is said of line 1
        if self.root is not None:
            self._walk(self.root, ())

    def _walk(self, node: yaml.Node, place: tuple[Any, ...]) -> None:
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = (*place, key.value)
                if inner in self.lines:
                    self._fail(
                        f"{'.'.join(map(str, inner))} stands here a second time (first on line"
                        f" {self.lines[inner]}); give each its own name",
                        line=key.start_mark.line + 1,
                    )
                self.lines[inner] = key.start_mark.line + 1
                self._walk(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                self._walk(item, (*place, number))

    def _fail(self, message: str, *place: Any, line: int | None = None) -> None:
        while line is None:
            line, place = self.lines.get(place), place[:-1]
        raise InputError(f"{self.path}:{line}: {message}")

    def _mapping(self, value: Any, known: set[str], needed: set[str], *place: Any) -> dict[str, Any]:
        """``value`` as a mapping with no key but ``known`` ones and all ``needed`` ones."""
        if not isinstance(value, dict):
            self._fail(f"{'.'.join(map(str, place)) or 'the file'} must be a mapping", *place)
        for key in value:
            if known and key not in known:
                self._fail(f"unknown key {key!r}; known: {', '.join(sorted(known))}", *place, key)
        for key in sorted(needed - set(value)):
            self._fail(f"{'.'.join(map(str, place)) or 'the file'} needs {key!r}", *place)
        return dict(value)

    def _words(self, value: Any, *place: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._fail(f"{'.'.join(map(str, place))} must be a list of words", *place)
        return tuple(value)

    def experiment(self) -> Experiment:
        needed = {"paper", "item", "title", "place", "scales", "columns", "rows"}
        top = self._mapping(self.value, needed | {"base", "claims"}, needed)
        columns = self._columns(top["columns"])
        rows = self._rows(top["rows"], columns)
        claims = top.get("claims") or []
        return Experiment(
            path=self.path,
            paper=str(top["paper"]),
            item=str(top["item"]),
            title=str(top["title"]),
            place=str(top["place"]),
            base=self._words(top.get("base", []), "base"),
            scales=self._scales(top["scales"]),
            columns=columns,
            rows=rows,
            claims=tuple(self._claim(claim, number, rows, columns) for number, claim in enumerate(claims)),
        )

    def _scales(self, value: Any) -> dict[str, Scale]:
        scales = {}
        for name, item in self._mapping(value, set(SCALES), set(), "scales").items():
            known = {"seeds", "overrides", "minutes", "hardware", "config"}
            item = self._mapping(item, known, {"seeds"}, "scales", name)
            seeds = item.pop("seeds")
            if not isinstance(seeds, list) or not seeds or len({*seeds}) < len(seeds):
                self._fail("seeds must be a list of different numbers", "scales", name, "seeds")
            overrides = self._words(item.pop("overrides", []), "scales", name, "overrides")
            scales[name] = Scale(tuple(seeds), overrides, **item)
        return scales

    def _columns(self, value: Any) -> dict[str, Column]:
        columns = {}
        for name, item in self._mapping(value, set(), set(), "columns").items():
            item = self._mapping(item, {"metric", "label", "better", "digits"}, {"metric"}, "columns", name)
            if item.get("better", "higher") not in ("higher", "lower"):
                self._fail("better must be higher or lower", "columns", name, "better")
            columns[name] = Column(**{"label": name, **item})
        return columns

    def _rows(self, value: Any, columns: Mapping[str, Column]) -> dict[str, Row]:
        rows = {}
        for name, item in self._mapping(value, set(), set(), "rows").items():
            item = self._mapping(item, {"label", "overrides", "paper", "note"}, {"overrides"}, "rows", name)
            overrides = self._words(item["overrides"], "rows", name, "overrides")
            paper = self._mapping(item.get("paper") or {}, set(columns), set(), "rows", name, "paper")
            numbers = {column: self._number(number, "rows", name, "paper", column) for column, number in paper.items()}
            line = self.lines["rows", name]
            rows[name] = Row(item.get("label", name), overrides, numbers, item.get("note", ""), line)
        return rows

    def _number(self, value: Any, *place: Any) -> tuple[float, float | None] | None:
        parts = value if isinstance(value, list) else [value]
        if value is None:
            return None
        if not 1 <= len(parts) <= 2 or not all(isinstance(part, int | float) for part in parts):
            self._fail("a paper's number is a number, [mean, sd] or null", *place)
        return float(parts[0]), float(parts[1]) if len(parts) == 2 else None

    def _claim(self, value: Any, number: int, rows: Mapping[str, Row], columns: Mapping[str, Column]) -> Claim:
        place = ("claims", number)
        known = {"id", "say", "column", *CLAIMS, *(word for words in CLAIMS.values() for word in words)}
        claim = self._mapping(value, known, {"id", "say", "column"}, *place)
        kinds = [kind for kind in CLAIMS if kind in claim]
        if len(kinds) != 1:
            self._fail(f"a claim is one of {', '.join(CLAIMS)}; this one has {', '.join(kinds) or 'none'}", *place)
        (kind,) = kinds
        if claim["column"] not in columns:
            self._fail(f"claim {claim['id']} names column {claim['column']!r}; known: {', '.join(columns)}", *place)
        about = {
            "better": lambda: [claim["better"], claim.get("than")],
            "best": lambda: [claim["best"], *(claim.get("among") or rows)],
            "order": lambda: claim["order"],
            "within": lambda: [claim.get("row")],
        }[kind]()
        for name in about:
            if name not in rows:
                self._fail(f"claim {claim['id']} names row {name!r}; known: {', '.join(rows)}", *place, kind)
        tolerance = float(claim["within"]) if kind == "within" else 0.0
        if kind == "within" and rows[about[0]].paper.get(claim["column"]) is None:
            self._fail(f"claim {claim['id']} needs the paper's number of row {about[0]!r}", *place)
        names = tuple(dict.fromkeys(about))
        return Claim(str(claim["id"]), claim["say"], kind, claim["column"], names, tolerance)


def experiment_files(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """The files of ``names`` (``park2022/fig3``, or ``park2022`` for all of a paper), or all, in sorted order."""
    every = sorted(folder.glob("*/*.yaml"))
    if not names:
        return every
    found = []
    for name in names:
        here = [path for path in every if name in (f"{path.parent.name}/{path.stem}", path.parent.name)]
        if not here:
            known = ", ".join(f"{path.parent.name}/{path.stem}" for path in every)
            raise InputError(f"no experiment {name!r} in {folder}; there are: {known}")
        found += here
    return found
