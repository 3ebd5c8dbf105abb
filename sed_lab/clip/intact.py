"""Whether what sed_lab made is as it was made: sizes and checksums of a folder's files, noted then, compared later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sed_lab.errors import InputError
from sed_lab.files import checksum, read_json, write_json

NOTE = ".made"  # in a folder that was made; where that lies in a folder of data, it is no part of the data


def note_files(folder: Path) -> None:
    """Write size and SHA-256 of every file of ``folder`` into its `NOTE`."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    noted = {name: [path.stat().st_size, checksum(path)] for name, path in files.items() if name != NOTE}
    write_json(folder / NOTE, noted)


def damaged(folder: Path, read: bool = False) -> list[str]:
    """The files of ``folder`` that are gone or of another size than noted; with ``read`` also those of other bytes.

    None where nothing was noted: in folders that an older version made.
    """
    place = folder / NOTE
    if not place.is_file() or not place.stat().st_size:
        return []
    try:
        noted = {str(name): (int(size), str(digest)) for name, (size, digest) in read_json(place).items()}
    except (InputError, AttributeError, TypeError, ValueError):
        return [NOTE]
    return [name for name, known in noted.items() if not _is_as_noted(folder / name, *known, read)]


def _is_as_noted(path: Path, size: int, digest: str, read: bool) -> bool:
    return path.is_file() and path.stat().st_size == size and not (read and checksum(path) != digest)


def made_below(cache: Path) -> Iterator[Path]:
    """The folders below ``cache`` that have a `NOTE`."""
    yield from (path.parent for path in sorted(cache.rglob(NOTE)))
