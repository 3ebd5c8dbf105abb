"""Which folder was meant: the usual slip is to name a corpus's folder one level too high or too low."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from sed_lab.clip.annotation import clip_id_of
from sed_lab.errors import InputError

DEPTH = 3  # levels looked at below a folder
MANY = 2000  # folders looked at on a level
ARCHIVES = ("*.zip", "*.tar.gz", "*.tgz", "*.tar")


def refuse_elsewhere(folder: Path, marks: Sequence[str], what: str) -> None:
    """Do nothing where ``folder`` holds one of ``marks`` (patterns such as ``metadata`` or ``*segments.csv``).

    Raises:
        InputError: it is no folder, or holds none of them; it names the folder above or below that does. ``what`` says
            in words what the right folder holds.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name the one that holds {what}")
    if _holds(folder, marks):
        return
    if meant := elsewhere(folder, marks):
        raise InputError(f"{folder} does not hold {what}, but {meant} does; name that folder")
    packed = sorted(path.name for pattern in ARCHIVES for path in folder.glob(pattern))
    advice = f"unpack {', '.join(packed[:3])} there" if packed else "name the folder that does"
    raise InputError(f"{folder} does not hold {what}; {advice}")


def elsewhere(folder: Path, marks: Sequence[str]) -> Path | None:
    """The nearest folder, up to two levels above or three below ``folder``, that holds one of ``marks``."""
    above = list(folder.resolve().parents)[:2]
    return next((path for path in (*above, *_below(folder)) if _holds(path, marks)), None)


def folder_of_most(root: Path, filenames: Collection[str], but: Path) -> tuple[Path, int] | None:
    """The folder below ``root``, other than ``but``, that holds most of the recordings named, and how many."""
    wanted = {clip_id_of(name) for name in filenames}
    most: tuple[Path, int] | None = None
    for place, _, names in os.walk(root):
        found = len(wanted & {clip_id_of(name) for name in names}) if Path(place) != but else 0
        if found > (most[1] if most else 0):
            most = Path(place), found
    return most


def _holds(folder: Path, marks: Sequence[str]) -> bool:
    return any(next(folder.glob(mark), None) is not None for mark in marks)


def _below(folder: Path) -> Iterator[Path]:
    level = [folder]
    for _ in range(DEPTH):
        level = [path for parent in level for path in _folders_in(parent)][:MANY]
        yield from level


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(one.name for one in entries if one.is_dir() and not one.name.startswith("."))
    except OSError:
        return []
    return [folder / name for name in found]
