"""An experiment: one printed table or figure of a paper as rows, columns, the paper's numbers and its claims.

The classes are the mappings of ``experiments/<paper>/<item>.yaml``, with the keys that docs/reproduction.md explains.
`sed_lab.experiment.reader` reads a file, with its paper's ``scale.yaml`` beside it, and checks it before the first run.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import pairwise, repeat
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from sed_lab.errors import InputError

SCALES = ("smoke", "mini", "medium", "full")
SMOKE = SCALES[0]  # its numbers mean nothing
SHARED = "scale.yaml"  # the file of what a paper's tables share
SYSTEM = "{system}"


class Kind(NamedTuple):
    """A kind of claim: keys that name its rows, in order, others it needs or may have; ``wide``: of all classes;
    ``plain``: it says that there is an effect, and may have a ``margin`` within which there is none to speak of."""

    rows: tuple[str, ...]
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    wide: bool = False
    plain: bool = True


CLAIMS = {
    "better": Kind(("better", "than")),  # row a is better than row b
    "best": Kind(("best", "among"), may=("among",)),  # row a is better than each of the others
    "order": Kind(("order",)),  # rows from best to worst
    "within": Kind(("row",), may=("value",), plain=False),  # this near to the paper's number (or to value)
    "above": Kind(("above",), ("value",)),  # the row's number lies above value
    "below": Kind(("below",), ("value",)),
    "most": Kind(("most", "than"), wide=True),  # a is better than b in more than half of the classes
    "each": Kind(("each", "than"), wide=True),  # a is better than b in every class
    "trades": Kind(("trades", "than"), ("against",)),  # a is better than b in the column or in another, not in both
    "near": Kind(("near", "to"), ("within",), plain=False),  # row a minus row b lies this near to 0
    "gains": Kind(("gains", "over", "more_than_row", "over_row")),  # a gains more over b than row c over row d
    "easiest": Kind(("row",), wide=True),  # in this row, a class is better than each other of a class-wise column
    "follows": Kind(("of", "to"), ("way", "rather_than"), wide=True, plain=False),  # a over b goes with one column
}


def refuse(text: str, key: Any = None) -> NoReturn:
    """Refuse a value while a file is validated; ``key`` is the part of it that is wrong, for its line."""
    raise PydanticCustomError("said", "{text}", {"text": text, "key": key})


def check_keys(value: Any, known: Iterable[str]) -> None:
    """Refuse a mapping with a key beside ``known`` ones."""
    known = sorted(known)
    for key in [key for key in value if key not in known] if isinstance(value, dict) else ():
        near = "".join(f", did you mean {name!r}?" for name in difflib.get_close_matches(str(key), known, n=1))
        refuse(f"unknown key {key!r}{near}; known: {', '.join(known)}", key)


def _scale(value: str) -> str:
    return value if value in SCALES else refuse(f"no scale {value!r}; known: {', '.join(SCALES)}")


def _seeds(value: tuple[int, ...]) -> tuple[int, ...]:
    return value if 0 < len(value) == len({*value}) else refuse("seeds must be a list of different numbers")


Words = tuple[str, ...]
ScaleName = Annotated[str, AfterValidator(_scale)]
AtScales = dict[ScaleName, Words]


class Part(BaseModel):
    """A mapping of an experiment file; ``made`` are fields that no file gives: the reader adds them."""

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)
    made: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        mean = isinstance(value, dict) and "mean_of" in value  # such a row has no runs of its own
        of_runs = ("overrides", "use", "at", "system", "same_run") if mean else ()
        check_keys(value, {*cls.model_fields} - {*cls.made, *of_runs})
        return value


def _looks(value: tuple[int, ...]) -> tuple[int, ...]:
    rising = all(a < b for a, b in pairwise(value)) and value[:1] > (1,)
    return value if rising else refuse("looks must be rising numbers of seeds from 2 on, such as [5, 10, 20]")


class Scale(Part):
    """Seeds and overrides of one size; ``minutes`` one run takes on ``hardware``, measured.

    Instead of ``seeds`` there may be ``looks``, the numbers of seeds after which claims are judged: the first of them
    are run, the others where they are needed. ``fixed`` seeds were given on the command line: all rows have all.
    Where minutes were not measured, ``steps`` of ``step_seconds`` each are an estimate of them.

    ``papers_data`` says that the runs read the paper's data, so that its numbers can be compared with ours; without it
    those at scale full do.
    """

    made = ("fixed",)
    seeds: Annotated[tuple[StrictInt, ...], AfterValidator(_seeds)]
    looks: Annotated[tuple[StrictInt, ...], AfterValidator(_looks)] = ()
    fixed: bool = False
    overrides: Words = ()
    minutes: StrictFloat | None = None
    steps: StrictInt | None = None
    step_seconds: StrictFloat | None = None
    hardware: str = ""
    config: str = "config"
    papers_data: StrictBool | None = None

    @model_validator(mode="before")
    @classmethod
    def _seeds_of_looks(cls, value: Any) -> Any:
        looks = value.get("looks") if isinstance(value, dict) else None
        if looks is not None and "seeds" in value:
            refuse("a scale has looks or seeds, not both", "looks")
        first = looks[0] if isinstance(looks, list) and looks and isinstance(looks[0], int) else 1
        return value if looks is None else {**value, "seeds": tuple(range(first))}

    @property
    def every(self) -> tuple[int, ...]:
        """The seeds of all looks."""
        return self.seeds if self.fixed or not self.looks else tuple(range(self.looks[-1]))

    @property
    def planned(self) -> tuple[int, ...]:
        """The looks, or one look at all seeds."""
        return self.looks or (len(self.seeds),)

    @property
    def lengths(self) -> tuple[int, ...]:
        """How many seeds a row may have."""
        return (len(self.seeds),) if self.fixed else self.planned

    @property
    def minutes_a_run(self) -> float | None:
        """What one run takes, where the file says so."""
        estimated = self.steps * self.step_seconds / 60 if self.steps and self.step_seconds else None
        return estimated if self.minutes is None else self.minutes

    @property
    def cost(self) -> str:
        """What one run takes and why, in words."""
        why = f": {self.steps:,} steps of {self.step_seconds:g} s, an estimate" if self.minutes is None else ""
        return f"{self.minutes_a_run:.3g} min a run on {self.hardware}{why}"


class Column(Part):
    """A number of the run record, such as ``student/event_f1/macro``; ``{system}`` in it is the row's system.

    ``family`` and ``event_label`` are set where it is the part of a class-wise column; ``of`` names the class-wise
    column this one is the total of; the number is the same in all rows if ``shared``, in all runs of a row if ``fixed``
    (the configuration decides it). An effect within ``margin`` is none to speak of, where a claim says nothing else.
    """

    made = ("family", "event_label", "line")
    metric: str
    label: str = ""
    better: Literal["higher", "lower"] = "higher"
    digits: int = 3
    margin: float | None = Field(None, gt=0)
    of: str = ""
    shared: bool = False
    fixed: bool = False
    family: str = ""
    event_label: str = ""
    line: int = 0


class Row(Part):
    """One setting: its overrides, and the paper's number for each column (mean and standard deviation, or None).

    A row is there at its ``scales`` only, so that a small scale can have a coarser grid; ``use`` and ``at`` add more.
    Rows may share a run and show another ``system`` of it, or with ``same_run`` the same. With ``mean_of`` a row has
    no runs of its own: its numbers are the means over these rows, those that are there at the scale.
    """

    made = ("line",)
    label: str = ""
    overrides: Words = ()
    use: Words = ()
    at: AtScales = {}
    system: str = ""
    same_run: StrictBool = False
    paper: dict[str, Any] = {}
    note: str = ""
    scales: tuple[ScaleName, ...] = SCALES
    mean_of: Words = ()
    line: int = 0

    def metric(self, column: Column) -> str:
        """The name of the row's number in a column."""
        return column.metric.replace(SYSTEM, self.system)


class Claim(Part):
    """A sentence about rows: its ``kind`` is a key of `CLAIMS`, ``rows`` are those it is about, in the kind's order.

    ``columns`` holds one column, or all parts of a class-wise one; ``options`` the kind's numbers and names. ``ours``
    says that it is a question of ours about the paper's subject, not a sentence of the paper.
    """

    id: str
    say: str
    kind: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    options: dict[str, Any] = {}
    ours: StrictBool = False

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The rows that are compared: of an order each with the next, else the first with each other."""
        return list(pairwise(self.rows) if self.kind == "order" else zip(repeat(self.rows[0]), self.rows[1:]))

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        given = value if isinstance(value, dict) else {}
        found = [name for name in CLAIMS if name in given and not (name == "within" and "near" in given)]
        if len(found) != 1:
            refuse(f"a claim is one of {', '.join(CLAIMS)}; this one has {', '.join(found) or 'none'}")
        kind = CLAIMS[found[0]]
        needed = [key for key in ("id", "say", found[0], *kind.rows, *kind.needs, "column") if key not in kind.may]
        check_keys(given, {*needed, *kind.may, "ours", *(["margin"] if kind.plain else [])})
        for key in {*needed} - {*given}:
            refuse(f"claim {given.get('id', '')} needs {key!r}")
        for key in {*given} & {"value", "within", "margin"}:
            if isinstance(given[key], bool) or not isinstance(given[key], int | float):
                refuse(f"claim {given['id']}: {key} must be a number, not {given[key]!r}", key)
        if given.get("margin", 1) <= 0:
            refuse(f"claim {given['id']}: margin must be above 0, not {given['margin']!r}", "margin")
        if given.get("way", "up") not in ("up", "down"):
            refuse(f"claim {given['id']}: way must be up or down, not {given['way']!r}", "way")
        named = [given[key] for key in kind.rows if key in given]
        rows = [name for one in named for name in (one if isinstance(one, list) else [one])]
        options = {key: given[key] for key in given if key not in (*kind.rows, "id", "say", "column", "ours")}
        own = {"kind": found[0], "columns": [given["column"]], "rows": rows, "options": options}
        return {**{key: given[key] for key in ("id", "say", "ours") if key in given}, **own}


class Relative(TypedDict, total=False):
    """Which row's numbers are divided by which other's, in class-wise columns."""

    of: str
    to: str
    columns: Words


class Figure(TypedDict, total=False):
    """A kind of `sed_lab.report.drawing` and what it draws, or ``draw``, a function, and its arguments."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    kind: str
    column: str
    columns: Words
    against: Words
    dots: Words
    bars: Words
    panels: dict[str, dict[str, Words]]


class Experiment(Part):
    """A checked experiment file; class-wise columns are one column a class, called ``f1/Dog``."""

    made = ("path", "families")
    paper: str
    item: str
    title: str
    place: str
    scales: Annotated[dict[ScaleName, Scale], Field(min_length=1)]
    columns: Annotated[dict[str, Column], Field(min_length=1)]
    rows: Annotated[dict[str, Row], Field(min_length=1)] = {}
    classes: Words = ()
    base: Words = ()  # overrides of every run
    only: tuple[ScaleName, ...] = SCALES  # the sizes of this table, where it has not all of its paper's
    alone: bool = False  # takes nothing from scale.yaml
    settings: dict[str, AtScales] = {}  # overrides by scale, to be used by name
    use: Words = ()  # settings of every run
    grid: dict[str, dict[str, Row]] = {}  # levels by factor: a row for every combination, such as raw_bce
    relative: Relative = {}
    claims: tuple[Claim, ...] = ()
    needs: str = ""  # a folder of the user's that the runs read; empty where there is none
    welch: Annotated[StrictInt, Field(ge=2)] | None = None  # Welch's test as well; runs behind the paper's numbers
    figure: Figure = {}
    path: Path = Path()
    families: dict[str, str] = {}  # label of each class-wise column

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

    def papers_data(self, scale: str) -> bool:
        """Whether the runs of a scale read the paper's data."""
        given = self.scale(scale).papers_data
        return scale == "full" if given is None else given

    def at(self, scale: str, seeds: tuple[int, ...] | None = None) -> Experiment:
        """The experiment as it is at a scale: without other scales' rows and overrides, or claims that need such rows
        or, on other data than the paper's, the paper's numbers.

        ``seeds`` stand for the scale's own.

        Raises:
            InputError: there is no such scale.
        """
        asked = self.scale(scale).model_copy(update={} if seeds is None else {"seeds": seeds, "fixed": True})
        rows = {}
        for name, row in self.rows.items():
            means = tuple(one for one in row.mean_of if scale in self.rows[one].scales)
            if scale in row.scales and (means or not row.mean_of):
                overrides = (*row.overrides, *row.at.get(scale, ()))
                rows[name] = row.model_copy(update={"overrides": overrides, "at": {}, "mean_of": means})
        claims = []
        for claim in self.claims:
            there = tuple(name for name in claim.rows if name in rows)
            loose = claim.kind in ("best", "order") and len(there) > 1 and there[0] == claim.rows[0]
            foreign = claim.kind == "within" and "value" not in claim.options and not self.papers_data(scale)
            if (loose or there == claim.rows) and not foreign:
                claims.append(claim.model_copy(update={"rows": there}))
        divided = {self.relative.get("of"), self.relative.get("to")} <= {*rows, None}
        made = {"rows": rows, "claims": tuple(claims), "relative": self.relative if divided else {}}
        return self.model_copy(update={**made, "scales": {**self.scales, scale: asked}})

    def family(self, name: str) -> list[str]:
        """The columns of a class-wise column, in the order of the classes."""
        return [key for key, column in self.columns.items() if column.family == name]
