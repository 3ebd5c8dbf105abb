"""AudioSet's labels by number, machine id or display name, from its list ``class_labels_indices.csv``."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from sed_lab.errors import InputError

LABELS = "class_labels_indices.csv"
MOST = 2**15 - 1  # of a label's number, as stored


def numbered(classes: Sequence[object] | Mapping[str, object], folder: Path) -> dict[str, int]:
    """The number of the label of each class, by the class's name, in their order.

    Args:
        classes: labels, each a display name, a machine id (``/m/0bt9lr``) or a number; a mapping of one's own name to
            one of these, such as ``{Dog: 74}``, stands for as many of them.
        folder: holds `LABELS`, or the folder above does. It is read where a name or id has to be looked up, and names
            classes that are given by number. Commas in names become semicolons, as they separate labels in annotations.

    Raises:
        InputError: a class that is nothing of this, not in the list, or there twice; no list, where one is needed.
    """
    path = next((place / LABELS for place in (folder, folder.parent) if (place / LABELS).is_file()), None)
    number_of, name_of = _read(path) if path else ({}, {})
    given: list[tuple[str | None, object]] = []
    for item in [classes] if isinstance(classes, Mapping) else classes:
        given += [(str(name), one) for name, one in item.items()] if isinstance(item, Mapping) else [(None, item)]
    result: dict[str, int] = {}
    for name, one in given:
        number = _number(one, number_of, path, folder)
        name = name or name_of.get(number, str(number)).replace(",", ";")
        if name in result or number in result.values():
            raise InputError(f"dataset.classes: {name} (label {number}) stands twice; give each class once")
        result[name] = number
    if not result:
        raise InputError("dataset.classes is empty; name at least one class")
    return result


def _read(path: Path) -> tuple[dict[str, int], dict[int, str]]:
    """Numbers by display name and by machine id, and display names by number."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(int(row["index"]), row["mid"], row["display_name"]) for row in csv.DictReader(file)]
        if not rows:
            raise ValueError
    except (OSError, KeyError, TypeError, ValueError):
        form = "columns index, mid and display_name"
        raise InputError(f"{path}: cannot be read as {form}; get it from AudioSet's download page") from None
    return {key: number for number, mid, name in rows for key in (mid, name)}, {row[0]: row[2] for row in rows}


def _number(one: object, number_of: Mapping[str, int], path: Path | None, folder: Path) -> int:
    if isinstance(one, str) and not one.isdecimal():
        if path is None:
            raise InputError(
                f"dataset.classes: {one!r} is looked up in {folder / LABELS}, which is not there; put AudioSet's list"
                " there, or give the label's number with a name, as [{Dog: 74}]"
            )
        if one not in number_of:
            near = difflib.get_close_matches(one, number_of, n=1)
            meant = f", did you mean {near[0]!r}?" if near else ""
            raise InputError(f"dataset.classes: {one!r} is no label of {path}{meant}; use a display name or machine id")
        return number_of[one]
    if isinstance(one, bool) or not isinstance(one, (int, str)) or not 0 <= int(one) <= MOST:
        raise InputError(f"dataset.classes: {one!r} is no label; use a display name, a machine id or a number")
    if number_of and int(one) not in number_of.values():
        last = max(number_of.values())
        raise InputError(f"dataset.classes: {path} has no label {one}; use a number up to {last}")
    return int(one)
