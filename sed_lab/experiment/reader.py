"""Reading an experiment file: everything is checked here, and what is wrong is said with file and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from sed_lab.errors import InputError
from sed_lab.experiment.spec import CLAIMS, SCALES, SYSTEM, Claim, Column, Experiment, Row, Scale
from sed_lab.metric.names import SYSTEMS, could_be_metric

CLASS = "{class}"
# Kinds of figures with the keys they need; {draw: a function, ...} stands for any other.
FIGURES = {
    "points": {"column"},
    "class_bars": {"column"},
    "relative": {"columns", "against"},
    "grid": {"columns", "dots", "panels", "bars"},
}
OPTIONS = ("value", "within", "more_than", "follows", "rather_than")  # of claims, beside rows and columns
NEEDED = {"paper", "item", "title", "place", "scales", "columns", "rows"}


def read_experiment(path: Path) -> Experiment:
    """Read and check an experiment file.

    Raises:
        InputError: it is missing, no YAML, or says something that cannot be; with file and line.
    """
    return _Reader(path).experiment()


Columns = Mapping[str, Column]
Labels = Mapping[str, str]


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
        """``value`` as a mapping, not empty, with no key but ``known`` ones and all ``needed`` ones."""
        if not isinstance(value, dict):
            self._fail(f"{'.'.join(map(str, place)) or 'the file'} must be a mapping", *place)
        if not value:
            self._fail(f"{'.'.join(map(str, place))} is empty; name at least one", *place)
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

    def _known(self, name: Any, known: Sequence[str], what: str, *place: Any) -> None:
        if name not in known:
            self._fail(f"{what} {name!r}; known: {', '.join(known)}", *place)

    def experiment(self) -> Experiment:
        top = self._mapping(
            self.value, NEEDED | {"base", "claims", "classes", "relative", "needs", "welch", "figure"}, NEEDED
        )
        classes = self._words(top.get("classes", []), "classes")
        columns, families = self._columns(top["columns"], classes)
        rows = self._rows(top["rows"], columns, families)
        claims, welch = top.get("claims") or [], top.get("welch")
        if welch is not None and (type(welch) is not int or welch < 2):
            self._fail(f"welch must be the number of runs behind the paper's numbers, not {welch!r}", "welch")
        return Experiment(
            path=self.path,
            paper=str(top["paper"]),
            item=str(top["item"]),
            title=str(top["title"]),
            place=str(top["place"]),
            classes=classes,
            base=self._words(top.get("base", []), "base"),
            scales=self._scales(top["scales"]),
            columns=columns,
            families=families,
            rows=rows,
            relative=self._relative(top.get("relative"), rows, families),
            claims=tuple(self._claim(claim, number, rows, columns, families) for number, claim in enumerate(claims)),
            needs=str(top.get("needs", "")),
            welch=welch,
            figure=self._figure(top.get("figure"), list(columns), families, bool(top.get("relative"))),
        )

    def _scales(self, value: Any) -> dict[str, Scale]:
        scales = {}
        for name, item in self._mapping(value, set(SCALES), set(), "scales").items():
            known = {"seeds", "overrides", "minutes", "hardware", "config"}
            item = self._mapping(item, known, {"seeds"}, "scales", name)
            seeds = item.pop("seeds")
            whole = isinstance(seeds, list) and all(type(seed) is int for seed in seeds)
            if not whole or not seeds or len({*seeds}) < len(seeds):
                self._fail("seeds must be a list of different numbers", "scales", name, "seeds")
            if not isinstance(item.get("minutes", 0), int | float):
                self._fail(f"minutes must be a number, not {item['minutes']!r}", "scales", name, "minutes")
            overrides = self._words(item.pop("overrides", []), "scales", name, "overrides")
            scales[name] = Scale(tuple(seeds), overrides, **item)
        return scales

    def _columns(self, value: Any, classes: Sequence[str]) -> tuple[dict[str, Column], dict[str, str]]:
        """All columns, class-wise ones spread over the classes, and the label of each class-wise one."""
        columns, families = {}, {}
        for name, item in self._mapping(value, set(), set(), "columns").items():
            place = ("columns", name)
            known = {"metric", "label", "better", "digits", "of", "shared"}
            item = self._mapping(item, known, {"metric"}, *place)
            self._known(item.get("better", "higher"), ("higher", "lower"), "better is", *place, "better")
            metric, each = item["metric"], [""]
            if CLASS in metric:
                each = list(classes)
                families[name] = str(item.get("label", name))
                if not classes:
                    self._fail(f"{CLASS} stands for nothing; name the classes in a list `classes:`", *place, "metric")
            for label in each:
                of_class = metric.replace(CLASS, label)
                if not could_be_metric(of_class.replace(SYSTEM, SYSTEMS[0])):
                    self._fail(f"no run writes a metric {of_class!r}", *place, "metric")
                part = {"family": name, "event_label": label} if label else {}
                given = {**item, "label": label or item.get("label", name), "metric": of_class, **part}
                columns[f"{name}/{label}" if label else name] = Column(**given, line=self.lines[place])
        for name, column in columns.items():
            if families and not column.family:
                self._known(column.of, tuple(families), "beside class-wise columns, a column of", "columns", name)
        return columns, families

    def _rows(self, value: Any, columns: Mapping[str, Column], families: Mapping[str, str]) -> dict[str, Row]:
        rows = {}
        for name, item in self._mapping(value, set(), set(), "rows").items():
            place = ("rows", name)
            mean = isinstance(item, dict) and "mean_of" in item
            keys = {"label", "paper", "note", "scales", *(["mean_of"] if mean else ["overrides", "system", "at"])}
            needed = {"mean_of" if mean else "overrides"}
            needed |= {"system"} if not mean and any(SYSTEM in one.metric for one in columns.values()) else set()
            item = self._mapping(item, keys, needed, *place)
            if mean:
                self._mean_of(item["mean_of"], value, *place, "mean_of")
            if "system" in item:
                self._known(item["system"], SYSTEMS, "no system", *place, "system")
            own = "mean_of" if mean else "overrides"
            words = self._words(item[own], *place, own)
            paper: dict[str, Any] = {}
            given = self._mapping(item["paper"], set(), set(), *place, "paper") if item.get("paper") else {}
            for column, number in given.items():
                self._known(column, (*columns, *families), "no column", *place, "paper", column)
                numbers = {column: number}
                if column in families:
                    self._mapping(number, {key.split("/", 1)[1] for key in columns if "/" in key}, set(), *place)
                    numbers = {f"{column}/{label}": one for label, one in number.items()}
                paper |= {key: self._number(one, *place, "paper", column) for key, one in numbers.items()}
            scales = self._words(item.get("scales", list(SCALES)), *place, "scales")
            for scale in scales:
                self._known(scale, SCALES, "no scale", *place, "scales")
            at = self._mapping(item["at"], set(SCALES), set(), *place, "at") if "at" in item else {}
            extra = {scale: self._words(more, *place, "at", scale) for scale, more in at.items()}
            texts = {"label": item.get("label", name), "note": item.get("note", ""), "system": item.get("system", "")}
            row = Row(overrides=words, paper=paper, scales=scales, at=extra, line=self.lines[place], **texts)
            rows[name] = replace(row, overrides=(), mean_of=words) if mean else row
        return rows

    def _mean_of(self, names: Any, rows: Mapping[str, Any], *place: Any) -> None:
        own = tuple(key for key, row in rows.items() if isinstance(row, dict) and "overrides" in row)
        for name in self._words(names, *place):
            self._known(name, own, f"row {place[1]!r} is a mean of row", *place)
        if not names or len({*names}) < len(names):
            self._fail("mean_of must be a list of different rows", *place)

    def _number(self, value: Any, *place: Any) -> tuple[float, float | None] | None:
        parts = value if isinstance(value, list) else [value]
        if value is None:
            return None
        if not 1 <= len(parts) <= 2 or not all(isinstance(part, int | float) for part in parts):
            self._fail("a paper's number is a number, [mean, sd] or null", *place)
        return float(parts[0]), float(parts[1]) if len(parts) == 2 else None

    def _relative(self, value: Any, rows: Mapping[str, Row], families: Mapping[str, str]) -> dict[str, Any]:
        if value is None:
            return {}
        relative = self._mapping(value, {"of", "to", "columns"}, {"of", "to", "columns"}, "relative")
        for key in ("of", "to"):
            self._known(relative[key], tuple(rows), "relative names row", "relative", key)
        for name in self._words(relative["columns"], "relative", "columns"):
            self._known(name, tuple(families), "relative names class-wise column", "relative", "columns")
        return relative

    def _figure(self, value: Any, columns: Sequence[str], families: Labels, relative: bool) -> dict[str, Any]:
        if value is None:
            return {}
        if isinstance(value, dict) and "draw" in value:
            return value  # its arguments are checked against the function's before the first run
        keys = {"kind", *(key for needed in FIGURES.values() for key in needed)}
        figure = self._mapping(value, keys, {"kind"}, "figure")
        self._known(figure["kind"], tuple(FIGURES), "no kind of figure", "figure", "kind")
        self._mapping(figure, {"kind", *FIGURES[figure["kind"]]}, FIGURES[figure["kind"]], "figure")
        if figure["kind"] not in ("points", "grid") and not families:
            self._fail(f"a figure of kind {figure['kind']} needs class-wise columns", "figure")
        if figure["kind"] == "relative" and not relative:
            self._fail("a figure of kind relative needs `relative:`, which rows to divide", "figure")
        columns = [*columns] if figure["kind"] in ("points", "grid") else [*families]
        if figure["kind"] == "grid":
            self._grid(figure)
        named = [figure[key] for key in ("column",) if key in figure]
        named += [name for key in ("columns", "against", "dots") for name in figure.get(key, [])]
        for name in named:
            self._known(name, columns, "the figure names column", "figure")
        return figure

    def _grid(self, figure: dict[str, Any]) -> None:
        """Check that a grid has rows in every group, a name for each bar and a dot for each column."""
        bars = self._words(figure["bars"], "figure", "bars")
        columns, dots = (self._words(figure[key], "figure", key) for key in ("columns", "dots"))
        if len(columns) != len(dots):
            self._fail("a grid needs as many dots as columns", "figure", "dots")
        for title, groups in self._mapping(figure["panels"], set(), set(), "figure", "panels").items():
            for group, names in self._mapping(groups, set(), set(), "figure", "panels", title).items():
                place = ("figure", "panels", title, group)
                for name in self._words(names, *place):
                    self._known(name, tuple(self.value["rows"]), "the figure names row", *place)
                if len(names) > len(bars):
                    self._fail(f"{len(names)} rows are more than there are bars", *place)

    def _claim(self, value: Any, number: int, rows: Mapping[str, Row], columns: Columns, families: Labels) -> Claim:
        place = ("claims", number)
        keys = {*CLAIMS, *(key for needed, optional in CLAIMS.values() for key in (*needed, *optional))}
        claim = self._mapping(value, {"id", "say", *keys}, {"id", "say"}, *place)
        kinds = [kind for kind in CLAIMS if kind in claim and not (kind == "within" and {"ratio", "near"} & {*claim})]
        if len(kinds) != 1:
            self._fail(f"a claim is one of {', '.join(CLAIMS)}; this one has {', '.join(kinds) or 'none'}", *place)
        (kind,) = kinds
        needed, optional = CLAIMS[kind]
        self._mapping(claim, {"id", "say", kind, *needed, *optional}, set(needed), *place)
        wide = kind in ("most", "follows", "easiest")  # these are about all classes of a class-wise column
        self._known(claim["column"], tuple(families if wide else columns), f"claim {claim['id']} names column", *place)
        for key in ("follows", "rather_than") if kind == "follows" else ():
            self._known(claim[key], tuple(families), f"claim {claim['id']} names class-wise column", *place, key)
        about = {
            "better": lambda: [claim["better"], claim["than"]],
            "most": lambda: [claim["most"], claim["than"]],
            "best": lambda: [claim["best"], *(claim.get("among") or rows)],
            "order": lambda: claim["order"],
            "within": lambda: [claim["row"]],
            "above": lambda: [claim["above"]],
            "below": lambda: [claim["below"]],
            "ratio": lambda: [claim["ratio"], claim["to"]],
            "near": lambda: [claim["near"], claim["to"]],
            "gains": lambda: [claim["gains"], claim["over"], claim["more_than_row"], claim["over_row"]],
            "follows": lambda: [claim["of"], claim["to"]],
            "easiest": lambda: [claim["row"]],
        }[kind]()
        for name in about:
            self._known(name, tuple(rows), f"claim {claim['id']} names row", *place, kind)
        if kind == "within" and "value" not in claim and rows[about[0]].paper.get(claim["column"]) is None:
            self._fail(f"claim {claim['id']} needs a value, or the paper's number of row {about[0]!r}", *place)
        for key in ("value", "within", "more_than"):
            if key in claim and not isinstance(claim[key], int | float):
                self._fail(f"claim {claim['id']}: {key} must be a number, not {claim[key]!r}", *place, key)
        chosen = tuple(key for key in columns if columns[key].family == claim["column"]) if wide else (claim["column"],)
        if kind == "easiest":
            labels = [columns[key].event_label for key in chosen]
            self._known(claim["easiest"], labels, f"claim {claim['id']} names class", *place, kind)
            chosen = tuple(sorted(chosen, key=lambda key: columns[key].event_label != claim["easiest"]))  # it first
        options: dict[str, Any] = {key: claim[key] for key in OPTIONS if key in claim}
        return Claim(str(claim["id"]), claim["say"], kind, chosen, tuple(dict.fromkeys(about)), options)
