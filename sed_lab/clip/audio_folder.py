"""Folders of recordings: what is in them, which files are bad, copies at another rate, and progress over many files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock

from sed_lab.clip.audio import SUFFIXES, audio_info, decode_part, read_audio, write_audio
from sed_lab.errors import InputError

P = TypeVar("P")
R = TypeVar("R")


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

    Files already there and not older than their source are kept, each file appears whole or not at all, and a lock
    keeps a second process waiting: an interrupted call is resumed by calling it again. WAV and FLAC keep their name;
    other formats become WAV. 16 bits put the rounding noise below the -50 dB at which the DCASE front end clamps.

    Raises:
        InputError: ``source`` is no folder or holds no audio, files cannot be used (all named, after the others are
            done), or the disk is full.
    """
    sources = list_audio(source)
    if not sources:
        raise InputError(f"{source} holds no audio files ({', '.join(SUFFIXES)})")
    pairs = [(path, resampled_path(path, target)) for path in sources]
    if not any(_stale(*pair) for pair in pairs):
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
        waiting = [pair for pair in pairs if _stale(*pair)]
        results = in_threads(partial(_resample_file, sample_rate=sample_rate), waiting, jobs)
        label = f"resampling {source} to {sample_rate} Hz"
        bad = sorted(item for item in track(results, len(waiting), label, show=progress) if item)
    refuse_bad(bad, len(sources))
    return len(waiting), len(pairs) - len(waiting)


def resampled_path(path: Path, target: Path) -> Path:
    """Where `resample_folder` puts a recording."""
    return target / (path.name if path.suffix.lower() in (".wav", ".flac") else f"{path.stem}.wav")


def _stale(source: Path, target: Path) -> bool:
    try:
        return target.stat().st_mtime < source.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return True


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


def track(items: Iterable[R], total: int, label: str, show: bool = True) -> Iterator[R]:
    """Pass items on and show how many have come: a bar on a terminal, ten plain lines on stderr elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not show:
        yield from items
    elif console.is_terminal:
        with Progress(console=console) as bar:
            yield from bar.track(items, total=total, description=label)
    else:
        for count, item in enumerate(items, 1):
            yield item
            if count == total or count % max(1, total // 10) == 0:
                print(f"{label}: {count} of {total}", file=sys.stderr, flush=True)
