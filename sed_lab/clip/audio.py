"""Audio files: mono float32 at one rate, in parts or whole; bad files are named, never passed on.

``N`` samples, times in seconds. Reading is by libsndfile (WAV, FLAC, OGG, MP3), resampling by soxr.
"""

from __future__ import annotations

import io
import math
import os
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import soundfile
import soxr
from filelock import FileLock

from sed_lab.errors import InputError
from sed_lab.files import replacing

if TYPE_CHECKING:  # sed_lab.types imports torch, for which `sed-prepare resample` need not wait
    from sed_lab.types import Event

P = TypeVar("P")
R = TypeVar("R")
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
_MARGIN = 0.1  # seconds decoded on each side of a resampled part; soxr's filter is shorter


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file's header says: ``duration`` in seconds, ``frames`` samples per channel."""

    duration: float
    sample_rate: int
    channels: int
    frames: int


def audio_info(path: Path) -> AudioInfo:
    """Read a header.

    Raises:
        InputError: the file is missing, empty, no audio, or shorter than its header says.
    """
    try:
        found = soundfile.info(str(path))
    except soundfile.SoundFileError as error:
        raise InputError(f"{path}: {_why_unreadable(path, error)}; replace or remove the file") from None
    if found.frames <= 0 or found.samplerate <= 0:
        raise InputError(f"{path}: holds no samples; replace or remove the file")
    _check_riff(path, found.frames, found.channels)
    return AudioInfo(found.frames / found.samplerate, found.samplerate, found.channels, found.frames)


def read_audio(path: Path, sample_rate: int, start: float = 0.0, seconds: float | None = None) -> np.ndarray:
    """Mono audio ``[N]`` at ``sample_rate``, float32: the mean over channels, resampled by soxr (HQ).

    ``start`` and ``seconds`` pick a part; no more than that part (and a margin for the resampler) is decoded, and the
    result equals the same part of the whole. Fewer samples come back where the file ends earlier.

    Raises:
        InputError: the file is missing, empty, unreadable, truncated or not finite, or ends before ``start``.
    """
    info = audio_info(path)
    first = round(start * sample_rate)  # on the output's sample grid
    last = math.ceil(info.frames * sample_rate / info.sample_rate)
    if first < 0 or first >= last:
        raise InputError(f"{path}: start {start} s is outside the file, which has {info.duration:.3f} s")
    if seconds is not None:
        last = min(last, first + round(seconds * sample_rate))
    if info.sample_rate == sample_rate:
        return _decode(path, first, last, info)
    # Output sample k lies at k / sample_rate; parts start where both rates have a sample, so that grids agree.
    common = math.gcd(sample_rate, info.sample_rate)
    step_in, step_out = info.sample_rate // common, sample_rate // common
    margin = math.ceil(_MARGIN * common)
    block_first = max(0, first // step_out - margin)
    block_last = -(-last // step_out) + margin
    part = _decode(path, block_first * step_in, min(info.frames, block_last * step_in), info)
    resampled = soxr.resample(part, info.sample_rate, sample_rate)
    skipped = block_first * step_out
    return np.ascontiguousarray(resampled[first - skipped : last - skipped], dtype=np.float32)


def _decode(path: Path, first: int, last: int, info: AudioInfo) -> np.ndarray:
    """Source samples ``[first, last)``, channels averaged."""
    try:
        audio, _ = soundfile.read(str(path), last - first, first, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise InputError(f"{path}: {_why_unreadable(path, error)}; replace or remove the file") from None
    if len(audio) < last - first:
        raise InputError(
            f"{path}: truncated, {first + len(audio)} samples where its header says {info.frames}; "
            "replace or remove the file"
        )
    if not np.isfinite(audio).all():
        raise InputError(f"{path}: holds NaN or infinite samples; replace or remove the file")
    return audio[:, 0] if info.channels == 1 else audio.mean(axis=1, dtype=np.float32)


def _why_unreadable(path: Path, error: Exception) -> str:
    if not path.exists():
        return "does not exist"
    if path.is_dir():
        return "is a folder, not an audio file"
    if not os.access(path, os.R_OK):
        return "cannot be opened (permission denied)"
    if path.stat().st_size == 0:
        return "is empty (0 bytes)"
    return f"cannot be read as audio ({str(error).split(': ')[-1].strip().rstrip('.')})"


def _check_riff(path: Path, frames: int, channels: int) -> None:
    """Refuse a WAV file cut short: libsndfile silently takes what is left as the whole."""
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return
        size = os.fstat(file.fileno()).st_size
        position = 12
        while position + 8 <= size:
            file.seek(position)
            name, length = struct.unpack("<4sI", file.read(8))
            if name == b"data":
                break
            position += 8 + length + length % 2
        else:
            return
    left = size - position - 8
    if length in (0, 0xFFFFFFFF, 0x7FFFFFFF) or length <= left:  # a stream's writer did not know the length
        return
    raise InputError(
        f"{path}: truncated, its header says {length} bytes of samples but {left} are there ({frames} samples); "
        "replace or remove the file"
    )


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


def move_events(events: Iterable[Event], start: float, seconds: float) -> tuple[Event, ...]:
    """Events as seen from a part ``[start, start + seconds)``: shifted, clipped to it, those outside dropped."""
    moved = []
    for event in events:
        onset, offset = max(0.0, event.onset - start), min(seconds, event.offset - start)
        if onset < offset:
            moved.append(replace(event, onset=onset, offset=offset))
    return tuple(moved)


def fit_length(
    audio: np.ndarray, events: Sequence[Event] | None, n_samples: int, sample_rate: int, start: int = 0
) -> tuple[np.ndarray, tuple[Event, ...] | None]:
    """Audio of exactly ``n_samples`` from sample ``start`` on, zeros at the end where it is shorter; events follow."""
    part = audio[start : start + n_samples]
    if len(part) < n_samples:
        part = np.concatenate([part, np.zeros(n_samples - len(part), dtype=audio.dtype)])
    if events is None:
        return part, None
    return part, move_events(events, start / sample_rate, n_samples / sample_rate)


def write_audio(path: Path, audio: np.ndarray, sample_rate: int, subtype: str = "PCM_16") -> None:
    """Write mono ``[N]`` or ``[N, channels]`` as the suffix says (.wav, .flac), whole or not at all.

    Raises:
        InputError: a sample is NaN or infinite, the suffix is unknown, or the disk is full.
    """
    if not np.isfinite(audio).all():
        raise InputError(f"cannot write {path}: the audio holds NaN or infinite samples")
    encoded = io.BytesIO()  # libsndfile hides why a write failed, so it encodes to memory and Python writes
    try:
        soundfile.write(encoded, audio, sample_rate, subtype=subtype, format=path.suffix[1:].upper())
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        raise InputError(f"cannot write {path} as {subtype} at {sample_rate} Hz: {error}") from None
    with replacing(path) as beside:
        beside.write_bytes(encoded.getbuffer())


def check_audio(
    paths: Sequence[Path], jobs: int | None = None, decode: bool = True, label: str = ""
) -> list[tuple[Path, str]]:
    """(path, reason) of all files that are missing, empty, unreadable, truncated or not finite.

    Without ``decode`` only headers are read. With ``label`` progress is shown under this name.
    """
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        reasons = pool.map(partial(_why_bad, decode=decode), paths)
        tracked = track(reasons, len(paths), label, show=bool(label))
        return [(path, reason) for path, reason in zip(paths, tracked, strict=True) if reason]


def _why_bad(path: Path, decode: bool) -> str:
    try:
        info = audio_info(path)
        block = 60 * info.sample_rate  # bounded memory for recordings of hours
        for first in range(0, info.frames if decode else 0, block):
            _decode(path, first, min(info.frames, first + block), info)
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
        results = _in_threads(partial(_resample_file, sample_rate=sample_rate), waiting, jobs)
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


def _in_threads(function: Callable[[P], R], items: Sequence[P], jobs: int | None) -> Iterator[R]:
    """Results as they come. Threads: libsndfile and soxr work without the interpreter's lock, and unlike spawned
    processes threads do not run the caller's script again."""
    pool = ThreadPoolExecutor(jobs or os.cpu_count() or 1)
    tasks = [pool.submit(function, item) for item in items]
    try:
        for task in as_completed(tasks):
            yield task.result()
    finally:
        pool.shutdown(cancel_futures=True)


def usable_audio(folder: Path, sample_rate: int, resampled: bool = True, jobs: int | None = None) -> list[Path]:
    """Recordings of ``folder``, or of its sibling at ``sample_rate`` (made here once where the rate differs)."""
    sibling = folder.with_name(f"{folder.name}_{sample_rate / 1000:g}k")
    own = list_audio(folder) if folder.is_dir() else []
    if not own:
        return list_audio(sibling) if sibling.is_dir() else []
    if not resampled or _first_rate(own) == sample_rate:
        return own
    resample_folder(folder, sibling, sample_rate, jobs)
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
