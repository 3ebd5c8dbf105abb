"""Folders of recordings: what is in them, which files are bad, and copies at another rate."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock

from sed_lab.clip.audio import SUFFIXES, audio_info, decode_part, read_audio, write_audio
from sed_lab.errors import InputError
from sed_lab.waiting import track

P = TypeVar("P")
R = TypeVar("R")
OURS = ".made_by_sed_lab"  # lies in a folder of copies that were made here

log = logging.getLogger(__name__)


def list_audio(folder: Path) -> list[Path]:
    """Audio files directly in ``folder``, sorted by name; hidden ones (unfinished writes) are left out.

    Raises:
        InputError: the folder does not exist.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} is not a folder; name the folder that holds the audio files") from None
    return [folder / name for name in sorted(names) if os.path.splitext(name)[1].lower() in SUFFIXES]


def find_audio(folder: Path) -> list[Path]:
    """Audio files in ``folder`` and all folders below it, sorted; hidden files and folders are left out.

    Raises:
        InputError: the folder does not exist.
    """
    found = list_audio(folder)
    for place, folders, _ in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [path for name in folders for path in list_audio(Path(place, name))]
    return sorted(found)


def recordings_of(folder: Path) -> list[Path]:
    """Audio files in ``folder``, or in a folder of copies beside it (``<folder>_16k``) where it has none."""
    for place in (folder, *copies_of(folder)):
        if place.is_dir() and (found := list_audio(place)):
            return found
    return []


def copies_of(folder: Path) -> list[Path]:
    """The folders of copies at other rates beside ``folder``, such as ``<folder>_16k``: the DCASE baselines' name."""
    return sorted(path for path in folder.parent.glob(f"{folder.name}_*k") if path.is_dir())


def check_audio(
    paths: Sequence[Path], jobs: int | None = None, decode: bool = True, label: str = ""
) -> list[tuple[Path, str]]:
    """(path, reason) of all files that are missing, empty, unreadable, truncated or not finite.

    Without ``decode`` only headers are read. With ``label`` progress is shown under this name.
    """
    reasons = in_threads(partial(_why_bad, decode=decode), paths, jobs)
    tracked = track(reasons, len(paths), label, show=bool(label))
    return [(path, reason) for path, reason in zip(paths, tracked, strict=True) if reason]


def _why_bad(path: Path, decode: bool) -> str:
    try:
        info = audio_info(path)
        block = 60 * info.sample_rate  # bounded memory for recordings of hours
        for first in range(0, info.frames if decode else 0, block):
            decode_part(path, first, min(info.frames, first + block), info)
    except InputError as error:
        return short_reason(path, error)
    return ""


def short_reason(path: Path, error: InputError) -> str:
    """The reason alone, without the path before and the advice after it."""
    return str(error).removeprefix(f"{path}: ").removesuffix("; replace or remove the file")


def refuse_bad(bad: Sequence[tuple[Path, str]], n_files: int) -> None:
    """Raise one InputError that names every bad file; do nothing where there is none."""
    if bad:
        named = ", ".join(f"{path} ({reason})" for path, reason in bad)
        raise InputError(f"{len(bad)} of {n_files} audio files cannot be used: {named}; replace or remove them")


def resample_folder(
    source: Path, target: Path, sample_rate: int, jobs: int | None = None, progress: bool = True
) -> tuple[int, int]:
    """Write every recording of ``source`` to ``target`` at ``sample_rate``, mono, PCM 16 bit; return (made, kept).

    Files already there are kept, each file appears whole or not at all, and a lock keeps a second process waiting: an
    interrupted call is resumed by calling it again. In a folder that was made here a copy older than its source is made
    anew; in any other it is kept, with a warning. WAV and FLAC keep their name; other formats become WAV. 16 bits put
    the rounding noise below the -50 dB at which the DCASE front end clamps.

    Raises:
        InputError: ``source`` is no folder or holds no audio, files cannot be used (all named, after the others are
            done), or the disk is full.
    """
    sources = list_audio(source)
    if not sources:
        raise InputError(f"{source} holds no audio files ({', '.join(SUFFIXES)})")
    pairs = [(path, resampled_path(path, target)) for path in sources]
    if older := older_copies(source, target):
        log.warning("%s: %s", target, older)
    if not any(_to_make(*pair) for pair in pairs):
        return 0, len(pairs)
    try:
        target.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(f".{target.name}.lock")).acquire()
    except OSError as error:
        raise InputError(
            f"cannot write copies at {sample_rate} Hz to {target}: {error.strerror or error}; make the folder "
            "writable, or set resampled to false to resample while reading"
        ) from None
    with lock:
        for left_over in target.glob(".*.part*"):  # of a killed process: only the holder of the lock writes here
            left_over.unlink(missing_ok=True)
        if not list_audio(target):
            (target / OURS).touch()
        waiting = [pair for pair in pairs if _to_make(*pair)]
        results = in_threads(partial(_resample_file, sample_rate=sample_rate), waiting, jobs)
        label = f"resampling {source} to {sample_rate} Hz"
        bad = sorted(item for item in track(results, len(waiting), label, show=progress) if item)
    refuse_bad(bad, len(sources))
    return len(waiting), len(pairs) - len(waiting)


def resampled_path(path: Path, target: Path) -> Path:
    """Where `resample_folder` puts a recording."""
    return target / (path.name if path.suffix.lower() in (".wav", ".flac") else f"{path.stem}.wav")


def older_copies(source: Path, target: Path) -> str:
    """What is to be said of copies in ``target`` that are older than their recordings and were not made here."""
    if (target / OURS).exists() or not target.is_dir():
        return ""
    copies = {path: resampled_path(path, target) for path in list_audio(source)}
    older = sum(copy.exists() and _older(copy, path) for path, copy in copies.items())
    if not older:
        return ""
    fate = f"they are used as they are; remove {target} to have them made again"
    return f"{older} of {len(copies)} copies are older than their recordings and were not made by sed_lab: {fate}"


def _to_make(source: Path, target: Path) -> bool:
    return not target.exists() or ((target.parent / OURS).exists() and _older(target, source))


def _older(path: Path, other: Path) -> bool:
    return path.stat().st_mtime < other.stat().st_mtime


def _resample_file(pair: tuple[Path, Path], sample_rate: int) -> tuple[Path, str] | None:
    source, target = pair
    try:
        audio = read_audio(source, sample_rate)
    except InputError as error:
        return source, short_reason(source, error)
    write_audio(target, np.clip(audio, -1, 1), sample_rate)
    return None


def in_threads(function: Callable[[P], R], items: Iterable[P], jobs: int | None = None) -> Iterator[R]:
    """Results in the order of ``items``; what has not begun is cancelled where one raises or the caller leaves.

    Threads: libsndfile and soxr work without the interpreter's lock, and no process runs the caller's script again.
    """
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        yield from pool.map(function, items)


def usable_audio(folder: Path, sample_rate: int, resampled: bool = True) -> list[Path]:
    """Recordings of ``folder``, or of its sibling at ``sample_rate`` (made here once where the rate differs)."""
    sibling = folder.with_name(f"{folder.name}_{sample_rate / 1000:g}k")
    own = list_audio(folder) if folder.is_dir() else []
    if not own:
        return list_audio(sibling) if sibling.is_dir() else []
    if not resampled or _first_rate(own) == sample_rate:
        return own
    resample_folder(folder, sibling, sample_rate)
    return list_audio(sibling)


def _first_rate(paths: Iterable[Path]) -> int | None:
    """Rate of the first readable recording; a folder with others among them is still read right, only slower."""
    for path in paths:
        try:
            return audio_info(path).sample_rate
        except InputError:
            continue
    return None
