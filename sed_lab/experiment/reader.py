"""Reading an experiment file: everything is checked here, and what is wrong is said with file and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import chain, product
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError

from sed_lab.errors import InputError
from sed_lab.experiment.spec import CLAIMS, SCALES, SHARED, SYSTEM, Claim, Column, Experiment, Row
from sed_lab.metric.names import could_be_metric

CLASS = "{class}"
# Kinds of figures with the keys they need; {draw: a function, ...} stands for any other.
FIGURES = {
    "points": {"column"},
    "class_bars": {"column"},
    "relative": {"columns", "against"},
    "grid": {"columns", "dots", "panels", "bars"},
}
SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, ten times as fast, where it is there
OPTIMISTIC = "optimistic"  # what numbers at the best threshold of the judged clips are called, wherever they are shown
CLASS_WISE = ("class_bars", "relative")  # these draw class-wise columns


def read_experiment(path: Path) -> Experiment:
    """Read and check an experiment file, with what its paper's tables share.

    Raises:
        InputError: it is missing, no YAML, or says something that cannot be; with file and line.
    """
    return _Reader(path).experiment()


class _Reader:
    """The values of the file and of its paper's, with the file and line each stands on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[tuple[Any, ...], tuple[Path, int]] = {}  # by keys and positions from the top
        shared = self._load(path.with_name(SHARED)) if path.with_name(SHARED).exists() else {}
        shared_lines, self.lines = self.lines, {}
        own = self._load(path)
        if not (isinstance(own, dict) and own.get("alone") is True):
            self.lines = {**shared_lines, **self.lines}
            own = _merged(shared, own) if isinstance(own, dict) else own
        self.value = {"paper": path.parent.name, "item": path.stem, **own} if isinstance(own, dict) else own

    def _load(self, path: Path) -> Any:
        try:
            text = path.read_text(encoding="utf-8")
            loader = SafeLoader(text)
            root = loader.get_single_node()
            value = None if root is None else loader.construct_document(root)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; name an experiment file that can be read") from None
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as such"
            ) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}; correct it") from None
        self.lines[()] = (path, 1)  # what has no line of its own is said of line 1
        if root is not None:
            self._walk(path, root, ())
        return value

    def _walk(self, path: Path, node: yaml.Node, place: tuple[Any, ...]) -> None:
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            inner, line = (*place, key.value), key.start_mark.line + 1
            if inner in self.lines:
                again = f"{_dotted(inner)} stands here a second time (first on line {self.lines[inner][1]})"
                raise InputError(f"{path}:{line}: {again}; give each its own name")
            self.lines[inner] = (path, line)
            self._walk(path, value, inner)
        for number, item in enumerate(node.value if isinstance(node, yaml.SequenceNode) else ()):
            self.lines[*place, number] = (path, item.start_mark.line + 1)
            self._walk(path, item, (*place, number))

    def fail(self, message: str, *place: Any) -> NoReturn:
        while place not in self.lines:
            place = place[:-1]
        path, line = self.lines[place]
        raise InputError(f"{path}:{line}: {message}")

    def known(self, name: Any, known: Iterable[str], what: str, *place: Any) -> None:
        if name not in (known := list(known)):
            self.fail(f"{what} {name!r}; known: {', '.join(known)}", *place)

    def experiment(self) -> Experiment:
        """The file as it is used: class-wise columns spread, rows of the grid made, names checked."""
        try:
            self.read = Experiment.model_validate(self.value)
        except ValidationError as error:
            self._refuse(error.errors(include_url=False)[0])
        self._columns()
        self._rows()
        scales = {}
        for name, scale in self.read.scales.items():
            if name in self.read.only:
                more = self._used(self.read.use, name, "use")
                scales[name] = scale.model_copy(update={"overrides": (*scale.overrides, *more)})
        self._figure()
        claims = tuple(self._claim(claim, "claims", number) for number, claim in enumerate(self.read.claims))
        made = {"scales": scales, "columns": self.columns, "families": self.families, "rows": self.rows}
        return self.read.model_copy(update={**made, "claims": claims, "path": self.path})

    def _refuse(self, error: Any) -> NoReturn:
        """The first of pydantic's errors in our words."""
        place, kind = error["loc"], error["type"]
        if kind == "said":
            self.fail(error["ctx"]["text"], *place, error["ctx"]["key"])
        if kind == "missing":
            self.fail(f"{_dotted(place[:-1]) or 'the file'} needs {place[-1]!r}", *place)
        if kind == "string_type" and isinstance(place[-1], int):  # an item of a list of words
            place, kind = place[:-1], "tuple_type"
        number, mapping = f"must be a number, not {error['input']!r}", "must be a mapping"
        words = {"tuple_type": "must be a list of words", "too_short": "is empty; name at least one"}
        words |= {"float_type": number, "int_type": number, "dict_type": mapping, "model_type": mapping}
        said = words.get(kind) or f"is {error['input']!r}: {error['msg'].lower()}"
        self.fail(f"{_dotted(place) or 'the file'} {said}", *place)

    def _used(self, names: Sequence[str], scale: str, *place: Any) -> Iterator[str]:
        for name in names:
            self.known(name, self.read.settings, "no setting", *place)
            yield from self.read.settings[name].get(scale, ())

    def _columns(self) -> None:
        """All columns, class-wise ones spread over the classes, and the label of each class-wise one."""
        self.columns: dict[str, Column] = {}
        self.families: dict[str, str] = {}
        for name, item in self.read.columns.items():
            place, label = ("columns", name), item.label or name
            each = [(name, {"label": label})]
            if CLASS in item.metric:
                if not self.read.classes:
                    self.fail(f"{CLASS} stands for nothing; name the classes in a list `classes:`", *place, "metric")
                self.families[name] = label
                each = [(f"{name}/{c}", {"label": c, "family": name, "event_label": c}) for c in self.read.classes]
            for key, given in each:
                metric = item.metric.replace(CLASS, given.get("event_label", ""))
                if not could_be_metric(metric.replace(SYSTEM, "system")):
                    self.fail(f"no run writes a metric {metric!r}", *place, "metric")
                self.columns[key] = item.model_copy(update={**given, "metric": metric, "line": self.lines[place][1]})
        for name, column in self.columns.items():
            if self.families and not column.family:
                self.known(column.of, self.families, "beside class-wise columns, a column of", "columns", name)
            shown = self.families.get(column.family or column.of, column.label or name)
            if OPTIMISTIC in column.metric and OPTIMISTIC not in shown:
                self.fail(f"the label of {column.metric!r} must say {OPTIMISTIC!r}", "columns", name.split("/")[0])

    def _rows(self) -> None:
        """Rows of the grid, then the others; what stands of a grid's row under ``rows`` is added to it."""
        rows: dict[str, Row] = {}
        for levels in product(*(factor.items() for factor in self.read.grid.values())) if self.read.grid else ():
            of = [level for _, level in levels]
            rows["_".join(name for name, _ in levels)] = Row(
                label=", ".join(level.label for level in of if level.label),
                overrides=tuple(chain.from_iterable(level.overrides for level in of)),
                use=tuple(chain.from_iterable(level.use for level in of)),
                at={scale: tuple(chain.from_iterable(level.at.get(scale, ()) for level in of)) for scale in SCALES},
                scales=tuple(scale for scale in SCALES if all(scale in level.scales for level in of)),
                system="".join(level.system for level in of),
                same_run=any(level.same_run for level in of),
            )
        for name, row in self.read.rows.items():
            if name not in rows and not row.model_fields_set & {"overrides", "use", "mean_of"}:
                self.fail(f"rows.{name} needs 'overrides'", "rows", name)
            rows[name] = rows[name].model_copy(update=row.model_dump(exclude_unset=True)) if name in rows else row
        if not rows:
            self.fail("the file needs 'rows'")
        own = [name for name, row in rows.items() if "mean_of" not in row.model_fields_set]
        self.rows = {name: self._row(name, row, own) for name, row in rows.items()}

    def _row(self, name: str, row: Row, own: Sequence[str]) -> Row:
        """The row with its settings and the paper's numbers by column; ``own`` are rows that have runs."""
        place = ("rows", name)
        for one in row.mean_of:
            if not any(fnmatchcase(other, one) for other in own):
                self.known(one, own, f"row {name!r} is a mean of row", *place, "mean_of")
        means = [other for one in row.mean_of for other in own if fnmatchcase(other, one)]
        if name not in own and (not means or len({*means}) < len(means)):
            self.fail("mean_of must be a list of different rows", *place, "mean_of")
        if name in own and not row.system and any(SYSTEM in column.metric for column in self.columns.values()):
            self.fail(f"rows.{name} needs 'system'", *place)
        paper: dict[str, Any] = {}
        for column, number in row.paper.items():
            where = (*place, "paper", column)
            if column in self.families and not isinstance(number, dict):
                self.fail(f"{_dotted(where)} must be a mapping", *where)
            by_class = {f"{column}/{label}": one for label, one in number.items()} if column in self.families else None
            for key, one in (by_class or {column: number}).items():
                self.known(key, self.columns, "no column", *where)
                paper[key] = self._number(one, *where)
        at = {s: (*self._used(row.use, s, *place, "use"), *row.at.get(s, ())) for s in SCALES}
        line = self.lines[place if place in self.lines else ("grid",)][1]
        made = {"label": row.label or name, "paper": paper, "at": at, "mean_of": tuple(means), "line": line}
        return row.model_copy(update=made)

    def _number(self, value: Any, *place: Any) -> tuple[float, float | None] | None:
        if value is None:
            return None
        mean, *sd = value if isinstance(value, list) and value else [value]
        if len(sd) > 1 or not all(isinstance(part, int | float) for part in (mean, *sd)):
            self.fail("a paper's number is a number, [mean, sd] or null", *place)
        return float(mean), float(sd[0]) if sd else None

    def _figure(self) -> None:
        """Check the names in the figure, and in what is divided by what."""
        relative, figure, place = self.read.relative, self.read.figure, ("figure",)
        if relative:
            for name in (relative.get("of"), relative.get("to")):
                self.known(name, self.rows, "relative names row", "relative")
            for name in relative.get("columns", ()):
                self.known(name, self.families, "relative names class-wise column", "relative")
        if not figure or "draw" in figure:
            return  # a function's arguments are checked against the function's before the first run
        kind = figure.get("kind", "")
        self.known(kind, FIGURES, "no kind of figure", *place)
        for key in sorted({"kind", *FIGURES[kind]} ^ {*figure}):
            self.fail(f"unknown key {key!r}" if key in figure else f"figure needs {key!r}", *place, key)
        if kind in CLASS_WISE and not self.families:
            self.fail(f"a figure of kind {kind} needs class-wise columns", *place)
        if kind == "relative" and not relative:
            self.fail("a figure of kind relative needs `relative:`, which rows to divide", *place)
        columns, dots = figure.get("columns", ()), figure.get("dots", ())
        for name in [figure["column"]] if "column" in figure else [*columns, *figure.get("against", ()), *dots]:
            self.known(name, self.families if kind in CLASS_WISE else self.columns, "the figure names column", *place)
        if kind == "grid" and len(dots) != len(columns):
            self.fail("a grid needs as many dots as columns", *place, "dots")
        for title, groups in figure.get("panels", {}).items():
            for group, names in groups.items():
                for name in names:
                    self.known(name, self.rows, "the figure names row", *place, "panels", title, group)
                if len(names) > len(figure["bars"]):
                    self.fail(f"{len(names)} rows are more than there are bars", *place, "panels", title, group)

    def _claim(self, claim: Claim, *place: Any) -> Claim:
        """The claim with the columns and rows it is about, all of which are there."""
        kind, options, (column,) = CLAIMS[claim.kind], dict(claim.options), claim.columns
        self.known(column, self.families if kind.wide else self.columns, f"claim {claim.id} names column", *place)
        for key in ("follows", "rather_than") if claim.kind == "follows" else ():
            self.known(options[key], self.families, f"claim {claim.id} names class-wise column", *place, key)
        if claim.kind == "trades":
            self.known(options["against"], self.columns, f"claim {claim.id} names column", *place, "against")
        for name in claim.rows:
            self.known(name, self.rows, f"claim {claim.id} names row", *place)
        if claim.kind == "within" and "value" not in options and self.rows[claim.rows[0]].paper.get(column) is None:
            self.fail(f"claim {claim.id} needs a value, or the paper's number of row {claim.rows[0]!r}", *place)
        chosen = [key for key, one in self.columns.items() if one.family == column] if kind.wide else [column]
        judged = [*chosen, options["against"]] if "against" in options else chosen
        if any(OPTIMISTIC in self.columns[key].metric for key in judged):
            self.fail(f"claim {claim.id} is judged by an {OPTIMISTIC} number; take the tuned one", *place)
        if claim.kind == "easiest":
            easiest = options.pop("easiest")
            self.known(easiest, self.read.classes, f"claim {claim.id} names class", *place)
            chosen.sort(key=lambda key: self.columns[key].event_label != easiest)  # it first
        rows = claim.rows
        if claim.kind == "best":
            rows = tuple(dict.fromkeys([*rows, *(self.rows if len(rows) == 1 else ())]))
        return claim.model_copy(update={"columns": tuple(chosen), "rows": rows, "options": options})


def _merged(shared: Any, own: Any, key: str = "") -> Any:
    """``own`` over ``shared``: mappings key by key, lists of overrides one after the other; seeds stand for looks."""
    if isinstance(shared, dict) and isinstance(own, dict):
        instead = {"seeds": "looks", "looks": "seeds"}
        shared = {name: value for name, value in shared.items() if instead.get(name) not in own}
        return {**shared, **{name: _merged(shared.get(name), value, name) for name, value in own.items()}}
    return [*shared, *own] if key in ("base", "overrides") and type(shared) is type(own) is list else own


def _dotted(place: tuple[Any, ...]) -> str:
    return ".".join(map(str, place))
