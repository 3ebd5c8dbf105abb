"""Writing files so that an interrupted command leaves either the old file or the new one, and reading them in bounded
memory: what a file says of itself is checked before anything is made of it."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from sed_lab.errors import InputError, advice

if TYPE_CHECKING:
    import numpy as np

JSON_BYTES = 2**28  # of a JSON file; the curves of a run take some MB
UNPACKED_BYTES = 2**28  # that the arrays of an .npz may always have; beyond, so many times the file's own size:
UNPACKED_TIMES = 50
PART = "part"  # what the name of an unfinished file says


def conf_folder() -> Path:
    """Where the configuration lies."""
    return shipped("conf")


def shipped(name: str) -> Path:
    """A folder that comes with the code: in the wheel inside the package, in a checkout beside it."""
    package = Path(__file__).resolve().parent
    return package / name if (package / name).is_dir() else package.parent / name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; put it in place at the end, remove it on any error.

    Raises:
        InputError: the disk is full or the folder cannot be written to.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.{PART}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        os.replace(beside, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; {advice(error)}") from error
    finally:
        with suppress(OSError):  # of a folder that is none
            beside.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left unfinished in ``folder`` and below; nobody may be writing there."""
    for path in folder.rglob(f".*.{PART}*"):
        if path.is_file() or path.is_symlink():
            path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock file ``path``; while another process holds it, wait, after saying ``busy`` on stderr.

    Raises:
        InputError: the disk is full or the folder cannot be written to.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = lock.acquire(timeout=0)
    except Timeout:
        print(f"{busy}; waiting for it", file=sys.stderr, flush=True)
        held = lock.acquire()
    except OSError as error:
        raise InputError(f"cannot write {path.parent}: {error.strerror or error}; {advice(error)}") from error
    with held:
        yield


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON; NaN becomes null, so that any JSON reader takes the file."""
    write_text(path, json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it does not exist, is no file, is not JSON, or is larger than `JSON_BYTES`.
    """
    try:
        if path.stat().st_size > JSON_BYTES:
            raise InputError(f"{path} is larger than {JSON_BYTES >> 20} MiB, which no file of sed_lab's is; restore it")
        if not path.is_file():
            raise InputError(f"{path} is no file; remove or restore it")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except RecursionError:
        raise InputError(f"{path} holds lists within lists without end; remove or restore it") from None
    except ValueError as error:  # no JSON, no UTF-8, a number of thousands of digits
        raise InputError(f"{path} is not JSON ({error}); remove or restore it") from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file by name: numbers and texts; an object in it is never unpacked.

    Sizes that a header claims are compared with what is there before memory is taken.

    Raises:
        InputError: the file does not exist, is damaged or no ``.npz``, holds objects, or would take far more memory
            than disk: above `UNPACKED_BYTES`, more than `UNPACKED_TIMES` its size.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist or is no file; name an .npz file")
    try:
        with zipfile.ZipFile(path) as archive:
            there = archive.infolist()
            bound = max(UNPACKED_BYTES, UNPACKED_TIMES * path.stat().st_size)
            if sum(one.file_size for one in there) > bound:
                raise InputError(f"{path} would take more than {bound >> 20} MiB of memory; it is no file of sed_lab's")
            return {one.filename.removesuffix(".npy"): _array(archive, one) for one in there}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.error, zlib.error) as error:
        reason = str(error) or "it ends too early"
        raise InputError(f"{path} cannot be read as .npz ({reason}); write it again") from None


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """One array of an archive.

    Raises:
        ValueError: it is none of numbers or texts, or not of the size that its header says.
    """
    import numpy as np

    with archive.open(entry) as file:
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        try:
            shape, by_column, dtype = header[np.lib.format.read_magic(file)](file)
        except (ValueError, KeyError, SyntaxError, RecursionError, MemoryError):  # numpy's advice would be to trust it
            raise ValueError(f"{entry.filename} begins with no header of an array") from None
        if dtype.kind not in "biufU":
            raise ValueError(f"{entry.filename} holds neither numbers nor texts")
        count = math.prod(shape)
        if count < 0 or file.tell() + count * dtype.itemsize != entry.file_size:
            raise ValueError(f"{entry.filename} is not of the size that its header says")
        array = np.empty(count, dtype)
        place, at = array.view(np.uint8), 0
        while part := file.read(2**20):  # at its end its checksum is compared
            place[at : at + len(part)] = np.frombuffer(part, np.uint8)
            at += len(part)
    if at != len(place):
        raise ValueError(f"{entry.filename} ends too early")
    return array.reshape(shape, order="F" if by_column else "C")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as ``.npy``, whole or not at all."""
    import numpy as np

    packed = io.BytesIO()  # into a file, numpy writes by a way of its own that does not tell of a full disk
    np.save(packed, array, allow_pickle=False)
    with replacing(path) as beside:
        beside.write_bytes(packed.getbuffer())


def checksum(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        found = hashlib.sha256()
        for part in iter(partial(file.read, 2**20), b""):
            found.update(part)
    return found.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return str(value) if isinstance(value, Path) else value
