"""An experiment: one printed table or figure of a paper as rows, columns, the paper's numbers and its claims.

``experiments/<paper>/<item>.yaml``. What the tables of a paper share stands once, in ``scale.yaml`` beside them, which
may hold any of these keys: lists called ``base`` and ``overrides`` go on, what else a table says takes its place::

    title: Relative PSDS, class by class
    place: where the paper shows it, and what is known of its numbers
    classes: [Cat, Dog]   # what {class} in a column's metric stands for
    base: [overrides of every run]
    needs: esc10          # a folder the runs read, if it does not come with sed_lab
    scales:   # smoke, mini, medium, full: overrides and seeds of a size, and minutes one run of it takes
      mini: {seeds: [0, 1, 2], overrides: [...], minutes: 5, hardware: one core}
    only: [mini]          # the sizes of this table, where it has not all of its paper's
    alone: true           # this table takes nothing from scale.yaml
    settings: {cnn: {mini: [model=cnn_small], full: [model=cnn]}}   # overrides by scale, to be used by name
    use: [cnn]            # settings of every run
    columns:  # {system} in a metric stands for the row's system; better: higher (default) or lower;
              # of: the class-wise column a total stands over; shared: of the data
      event_f1: {label: all (macro), metric: student/event_f1/macro, of: f1}
      f1: {label: F1, metric: "student/event_f1/per_class/{class}/f1"}
    grid:     # a row for every combination of the factors' levels, such as raw_bce, labelled "raw, BCE"
      input: {raw: {label: raw, overrides: [method.normalise=false]}, norm: {label: normalised}}
      loss: {bce: {label: BCE}, cce: {label: CCE, overrides: [loss=categorical]}}
    rows:     # paper: a number, [mean, sd], or null where the print has none; note: where the print is wrong;
              # scales: the sizes that have this row (default: all); use: settings; at: more overrides by scale;
              # system: which of the method's it shows, so that rows can share a run; mean_of, instead of overrides:
              # rows (norm_*: all of such names) whose mean it is, seed by seed. Naming a row of the grid adds to it
      bce: {label: BCE, overrides: [loss=bce], paper: {event_f1: null}}
    relative: {of: tbfl, to: bce, columns: [psds1]}   # also show one row's number divided by another's
    claims:   # see CLAIMS; f1/Dog is the number of one class in a class-wise column
      - {id: 1, say: ..., better: k1000, than: bce, column: event_f1}
    welch: 20 # compare rows by Welch's test, not by paired seeds; the paper's [mean, sd] are over so many runs
    figure: {kind: points}   # what to draw, see sed_lab.report.drawing; {draw: a function, ...}: a paper's own

`sed_lab.experiment.reader` reads and checks it, before the first run.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from sed_lab.errors import InputError

SCALES = ("smoke", "mini", "medium", "full")
SHARED = "scale.yaml"  # the file of what a paper's tables share
SYSTEM = "{system}"


class Kind(NamedTuple):
    """A kind of claim: the keys that name its rows, in order, what else it needs, what it may have; ``wide``: it is
    about all classes of a class-wise column."""

    rows: tuple[str, ...]
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    wide: bool = False


CLAIMS = {
    "better": Kind(("better", "than")),  # row a is better than row b
    "best": Kind(("best", "among"), may=("among",)),  # row a is better than each of the others
    "order": Kind(("order",)),  # rows from best to worst
    "within": Kind(("row",), may=("value",)),  # this near to the paper's number (or to value)
    "above": Kind(("above",), ("value",)),  # the row's number lies above value
    "below": Kind(("below",), ("value",)),
    "most": Kind(("most", "than"), ("more_than",), wide=True),  # a is better than b in more than so many classes
    "ratio": Kind(("ratio", "to"), ("value", "within")),  # row a over row b lies this near to value
    "near": Kind(("near", "to"), ("within",)),  # row a minus row b lies this near to 0
    "gains": Kind(("gains", "over", "more_than_row", "over_row")),  # a gains more over b than row c over row d
    "easiest": Kind(("row",), wide=True),  # in this row, a class is better than each other of a class-wise column
    "follows": Kind(("of", "to"), ("rather_than",), wide=True),  # a over b goes with one column, not another
}


def refuse(text: str, key: Any = None) -> NoReturn:
    """Refuse a value while a file is validated; ``key`` is the part of it that is wrong, for its line."""
    raise PydanticCustomError("said", "{text}", {"text": text, "key": key})


def nearest(name: Any, known: Iterable[str]) -> str:
    """``, did you mean 'paper'?`` for the known name that ``name`` is most like; empty where none is."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def check_keys(value: Any, known: Iterable[str]) -> None:
    """Refuse a mapping with a key beside ``known`` ones."""
    for key in value if isinstance(value, dict) else ():
        if key not in (known := sorted(known)):
            refuse(f"unknown key {key!r}{nearest(key, known)}; known: {', '.join(known)}", key)


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
        check_keys(value, {*cls.model_fields} - {*cls.made})
        return value


class Scale(Part):
    """Seeds and overrides of one size; ``minutes`` one run takes on ``hardware``, an estimate."""

    seeds: Annotated[tuple[StrictInt, ...], AfterValidator(_seeds)]
    overrides: Words = ()
    minutes: StrictFloat | None = None
    hardware: str = ""
    config: str = "config"


class Column(Part):
    """A number of the run record, such as ``student/event_f1/macro``; ``{system}`` in it is the row's system.

    ``family`` and ``event_label`` are set where it is the part of a class-wise column; ``of`` names the class-wise
    column this one is the total of; ``shared`` says that all rows have the same number, one of the data.
    """

    made = ("family", "event_label", "line")
    metric: str
    label: str = ""
    better: Literal["higher", "lower"] = "higher"
    digits: int = 3
    of: str = ""
    shared: bool = False
    family: str = ""
    event_label: str = ""
    line: int = 0


class Row(Part):
    """One setting: its overrides, and the paper's number for each column (mean and standard deviation, or None).

    A row is there at its ``scales`` only, so that a small scale can have a coarser grid, and ``at`` adds overrides at a
    scale. Rows may share a run and show another ``system`` of it. With ``mean_of`` it has no runs of its own: its
    numbers are the means over these rows, those that are there at the scale.
    """

    label: str = ""
    overrides: Words = ()
    use: Words = ()
    at: AtScales = {}
    system: str = ""
    paper: dict[str, Any] = {}
    note: str = ""
    scales: tuple[ScaleName, ...] = SCALES
    mean_of: Words = ()
    line: int = 0

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        mean = isinstance(value, dict) and "mean_of" in value
        check_keys(value, {*cls.model_fields} - {"line", *(("overrides", "use", "at", "system") if mean else ())})
        return value

    def metric(self, column: Column) -> str:
        """The name of the row's number in a column."""
        return column.metric.replace(SYSTEM, self.system)


class Claim(Part):
    """A sentence of the paper: its ``kind`` is a key of `CLAIMS`, ``rows`` are those it is about, in the kind's order.

    ``columns`` holds one column, or all parts of a class-wise one; ``options`` the kind's numbers and names.
    """

    id: str
    say: str
    kind: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        given = value if isinstance(value, dict) else {}
        found = [name for name in CLAIMS if name in given and not (name == "within" and {"ratio", "near"} & {*given})]
        if len(found) != 1:
            refuse(f"a claim is one of {', '.join(CLAIMS)}; this one has {', '.join(found) or 'none'}")
        kind = CLAIMS[found[0]]
        needed = [key for key in ("id", "say", found[0], *kind.rows, *kind.needs, "column") if key not in kind.may]
        check_keys(given, {*needed, *kind.may})
        for key in needed:
            if key not in given:
                refuse(f"claim {given.get('id', '')} needs {key!r}")
        for key in ("value", "more_than", "within"):
            if isinstance(given.get(key, 0), bool) or not isinstance(given.get(key, 0), int | float):
                refuse(f"claim {given['id']}: {key} must be a number, not {given[key]!r}", key)
        listed = [given[key] if isinstance(given[key], list) else [given[key]] for key in kind.rows if key in given]
        return {
            "id": given["id"],
            "say": given["say"],
            "kind": found[0],
            "columns": [given["column"]],
            "rows": list(dict.fromkeys(name for names in listed for name in names)),
            "options": {key: given[key] for key in given if key not in (*kind.rows, "id", "say", "column")},
        }


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
    base: Words = ()
    only: tuple[ScaleName, ...] = SCALES
    settings: dict[str, AtScales] = {}
    use: Words = ()
    grid: dict[str, dict[str, Row]] = {}
    relative: dict[str, Any] = {}
    claims: tuple[Claim, ...] = ()
    needs: str = ""  # a folder of the user's that the runs read; empty where there is none
    welch: Annotated[StrictInt, Field(ge=2)] | None = None  # judge by Welch's test; runs behind the paper's numbers
    figure: dict[str, Any] = {}
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

    def at(self, scale: str, seeds: tuple[int, ...] | None = None) -> Experiment:
        """The experiment as it is at a scale: without other scales' rows and overrides, or claims that need such rows.

        ``seeds`` stand for the scale's own.

        Raises:
            InputError: there is no such scale.
        """
        asked = self.scale(scale)
        scales = {**self.scales, scale: asked.model_copy(update={} if seeds is None else {"seeds": seeds})}
        rows = {
            name: row.model_copy(update={"overrides": (*row.overrides, *row.at.get(scale, ())), "at": {}})
            for name, row in self.rows.items()
            if scale in row.scales
        }
        own = {name: row for name, row in rows.items() if not row.mean_of}
        means = {name: tuple(one for one in row.mean_of if one in own) for name, row in rows.items()}
        rows = {name: own.get(name, row.model_copy(update={"mean_of": means[name]})) for name, row in rows.items()}
        rows = {name: row for name, row in rows.items() if name in own or row.mean_of}
        claims = []
        for claim in self.claims:
            there = tuple(name for name in claim.rows if name in rows)
            loose = claim.kind in ("best", "order") and len(there) > 1 and there[0] == claim.rows[0]
            if loose or there == claim.rows:
                claims.append(claim.model_copy(update={"rows": there}))
        divided = {self.relative.get(key) for key in ("of", "to")} <= {*rows, None}
        relative = self.relative if divided else {}
        return self.model_copy(update={"scales": scales, "rows": rows, "claims": tuple(claims), "relative": relative})

    def family(self, name: str) -> list[str]:
        """The columns of a class-wise column, in the order of the classes."""
        return [key for key, column in self.columns.items() if column.family == name]


def experiment_files(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """The files of ``names`` (``park2022/fig3``, or ``park2022`` for all of a paper), or all, in sorted order.

    Raises:
        InputError: there is no experiment of that name.
    """
    every = sorted(path for path in folder.glob("*/*.yaml") if path.name != SHARED)
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
