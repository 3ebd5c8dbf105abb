"""Whether the recordings that a corpus was made of are still the same.

A made corpus is named by names and sizes of a bank's recordings, but recorders write files of one size. So bytes are
noted in the corpus, and compared where a file was written since. A bank that is moved or copied stays the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sed_lab.errors import InputError
from sed_lab.files import checksum, read_json, write_json

NOTE = ".source"  # in a made corpus: of each recording size, time of its last change in ns, and SHA-256


def note_source(folder: Path, recordings: Iterable[Path], again: bool) -> None:
    """Note in the made corpus ``folder`` what it is made of, and whether it was made ``again`` of other bytes."""
    noted = {_name(path): [*_state(path), checksum(path)] for path in recordings}
    write_json(folder / NOTE, {"again": again, "recordings": noted})


def replaced(folder: Path, recordings: Iterable[Path]) -> list[str]:
    """The recordings whose bytes are not those that the corpus ``folder`` was made of.

    Where nothing is noted, as in corpora that an older version made, what is there now counts as that.
    """
    files = {_name(path): path for path in recordings}
    if not files or not folder.is_dir():
        return []
    note = _read(folder)
    noted = note.get("recordings", {})
    written = [name for name, path in files.items() if noted.get(name, [])[:2] != _state(path)]
    other = [name for name in written if name in noted and noted[name][2:] != [checksum(files[name])]]
    if written and not other:
        with suppress(InputError):  # a cache that cannot be written to
            note_source(folder, files.values(), bool(note.get("again")))
    return other


def source_word(folder: Path) -> str:
    """What a corpus' fingerprint has to say of its recordings: nothing, unless it was made again of other bytes."""
    note = _read(folder)
    if not note.get("again"):
        return ""
    said = "".join(f"{name} {noted[2]}\n" for name, noted in sorted(note["recordings"].items()))
    return f" {hashlib.sha256(said.encode()).hexdigest()}"


def _read(folder: Path) -> dict[str, Any]:
    with suppress(InputError):  # none, or damaged
        return dict(read_json(folder / NOTE))
    return {}


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _state(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
