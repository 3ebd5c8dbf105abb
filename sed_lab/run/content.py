"""What a folder of data or a file of code holds, as a short hash that does not depend on where it lies."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from importlib.util import find_spec, resolve_name
from pathlib import Path

from sed_lab.errors import InputError
from sed_lab.files import read_json, write_json

ANNOTATIONS = (".tsv", ".csv", ".json", ".jsonl", ".txt", ".yaml", ".yml", ".lab", ".jams")
WEIGHTS = (".safetensors",)  # of the same size whatever they are
DOCUMENTS = (".md", ".rst", ".html", ".pdf", ".log")  # which no corpus reads
READ = 2**26  # bytes of an annotation file that count, beside its size
SETTLED = 2.0  # seconds: what changed since may change again within one tick of the file system's clock
RESAMPLED = re.compile(r"(.+)_[\d.]+k")  # the copies that `sed_lab.clip.audio.usable_audio` makes beside recordings
ABSENT = "absent"  # the key where there is nothing
Entry = tuple[str, int, int]  # name relative to the folder, bytes, time of its last change in ns


@cache
def content_key(path: Path, cache_folder: Path, leave_out: tuple[Path, ...] = ()) -> str:
    """Sixteen hexadecimal digits for what lies in ``path``, an absolute path: the same wherever it is moved to.

    Of a folder: the names, relative to it, and sizes of its files, and the bytes of annotation files (`ANNOTATIONS`)
    and of networks' weights (`WEIGHTS`). Hidden files, documents, what sed_lab made there itself, and the folders
    ``leave_out`` do not count. Of a single file: its bytes. They are read again only when a file of the folder was
    changed; until then the key is kept in ``cache_folder``. Within one process a path is looked at once. Where there is
    nothing it is ``absent``.

    Raises:
        InputError: the folder or a file cannot be read.
    """
    try:
        files = _files(path, leave_out)
        if not files:
            return ABSENT
        state = _state(files)
        known = cache_folder / "keys" / f"{digest([str(path)])}.json"
        with suppress(InputError, OSError):  # none yet, or damaged
            kept = read_json(known)
            if kept["state"] == state:
                return str(kept["key"])
        key = digest(_counted(path, files))
    except OSError as error:
        raise InputError(f"{error.filename or path}: {error.strerror}; make the data readable") from None
    if max(changed for _, _, changed in files) < (time.time() - SETTLED) * 1e9:
        with suppress(InputError, OSError):  # no cache here: the next one reads again
            write_json(known, {"place": str(path), "state": state, "key": key})
    return key


def content_state(path: Path, leave_out: tuple[Path, ...] = ()) -> str:
    """Sixteen hexadecimal digits for names, sizes and times of change of the files that `content_key` counts.

    It tells of a recording that was replaced by another one of its size, but also of one that was only written again.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        return _state(_files(path, leave_out))
    except OSError as error:
        raise InputError(f"{error.filename or path}: {error.strerror}; make the data readable") from None


def _files(path: Path, leave_out: tuple[Path, ...]) -> list[Entry]:
    if path.is_file():
        return [("", path.stat().st_size, path.stat().st_mtime_ns)]
    seen = {_inode(one) for one in leave_out if one.is_dir()}
    return sorted(_walk(str(path), "", seen)) if path.is_dir() else []


def _state(files: Iterable[Entry]) -> str:
    return digest(f"{name}\0{size}\0{changed}\0" for name, size, changed in files)


def _walk(folder: str, prefix: str, seen: set[tuple[int, int]]) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        entries = [entry for entry in found if not entry.name.startswith(".")]
    names = {entry.name for entry in entries}
    for entry in entries:
        if entry.is_dir():
            made = RESAMPLED.fullmatch(entry.name)
            inode = _inode(Path(entry.path))
            if inode in seen or (made and made[1] in names) or os.path.exists(f"{entry.path}/.made"):
                continue
            seen.add(inode)  # links may lead round in circles
            yield from _walk(entry.path, f"{prefix}{entry.name}/", seen)
        elif entry.is_file() and not entry.name.lower().endswith(DOCUMENTS):
            stat = entry.stat()
            yield f"{prefix}{entry.name}", stat.st_size, stat.st_mtime_ns


def _inode(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _counted(path: Path, files: Iterable[Entry]) -> Iterator[str | bytes]:
    for name, size, _ in files:
        yield f"{name}\0{size}\0"
        if not name or name.lower().endswith(ANNOTATIONS):
            with (path / name).open("rb") as file:
                yield file.read(READ)
        elif name.lower().endswith(WEIGHTS):
            with (path / name).open("rb") as file:
                yield from iter(partial(file.read, READ), b"")


def digest(parts: Iterable[str | bytes]) -> str:
    """Sixteen hexadecimal digits for the parts, one after another."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes) else part.encode(errors="surrogateescape"))
    return found.hexdigest()[:16]


def code_hashes(targets: Mapping[str, str], shared: Iterable[str]) -> dict[str, str]:
    """Sixteen hexadecimal digits for the source behind each of ``targets``: its module and what this imports of sed_lab
    or of its own package. Of modules that ``shared`` import, and of each target's own, each counts once: in
    ``shared`` or in that target. Nothing is imported.
    """
    own = {part: _module(name)[0] for part, name in targets.items()}
    common = {module: path for name in shared for module, path in _sources(name).items()}
    counted = {"shared": {module: path for module, path in common.items() if module not in own.values()}}
    for part, name in targets.items():
        elsewhere = (common.keys() | own.values()) - {own[part]}
        counted[part] = {module: path for module, path in _sources(name).items() if module not in elsewhere}
    return {part: digest(files[module].read_bytes() for module in sorted(files)) for part, files in counted.items()}


@cache
def _sources(name: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = [name]
    while waiting:
        module, path = _module(waiting.pop())
        if path is not None and module not in found:
            found[module] = path
            own = {"sed_lab", module.split(".")[0]}
            waiting += [one for one in _imports(module, path) if one.split(".")[0] in own]
    return found


@cache
def _imports(module: str, path: Path) -> tuple[str, ...]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            names += [f"{source}.{alias.name}" for alias in node.names]
    return tuple(names)


def _module(name: str) -> tuple[str, Path | None]:
    """The module ``name``, or the one that defines an object of this name, and its source; None where there is none."""
    top, *rest = name.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        spec = None
    for end in range(len(rest), -1, -1) if spec is not None else ():
        module = ".".join([top, *rest[:end]])
        for root in spec.submodule_search_locations or ():  # type: ignore[union-attr]
            path = Path(root).joinpath(*rest[:end])
            for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
                if file.is_file() and (end or file.name == "__init__.py"):
                    return module, file
    single = Path(spec.origin) if spec is not None and spec.origin else None
    return top, single if single is not None and single.suffix == ".py" else None
