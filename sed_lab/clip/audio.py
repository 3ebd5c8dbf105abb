"""Audio files: mono float32 at one rate, in parts or whole, and clips loaded from them; bad files are never passed on.

``N`` samples, times in seconds. Reading is by libsndfile (WAV, FLAC, OGG, MP3), resampling by soxr.
"""

from __future__ import annotations

import io
import math
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr

from sed_lab.errors import InputError
from sed_lab.files import replacing

if TYPE_CHECKING:  # sed_lab.types imports torch, for which `sed-prepare resample` need not wait
    from sed_lab.types import Clip, Event

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
_MARGIN = 0.1  # seconds decoded on each side of a resampled part; soxr's filter is shorter


class BadAudio(InputError):
    """An audio file that cannot be used."""


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
        BadAudio: the file is missing, empty, no audio, or shorter than its header says.
    """
    try:
        if path.exists() and not path.is_file():
            raise BadAudio(f"{path}: {_why_unreadable(path, None)}; replace or remove the file")
        found = soundfile.info(str(path))
    except soundfile.SoundFileError as error:
        raise BadAudio(f"{path}: {_why_unreadable(path, error)}; replace or remove the file") from None
    if found.frames <= 0 or found.samplerate <= 0:
        raise BadAudio(f"{path}: holds no samples; replace or remove the file")
    _check_riff(path, found.frames, found.channels)
    return AudioInfo(found.frames / found.samplerate, found.samplerate, found.channels, found.frames)


def read_audio(path: Path, sample_rate: int, start: float = 0.0, seconds: float | None = None) -> np.ndarray:
    """Mono audio ``[N]`` at ``sample_rate``, float32: the mean over channels, resampled by soxr (HQ).

    ``start`` and ``seconds`` pick a part; no more than that part (and a margin for the resampler) is decoded, and the
    result equals the same part of the whole. Fewer samples come back where the file ends earlier.

    Raises:
        BadAudio: the file is missing, empty, unreadable, truncated or not finite, or ends before ``start``.
    """
    info = audio_info(path)
    first = round(start * sample_rate)  # on the output's sample grid
    last = math.ceil(info.frames * sample_rate / info.sample_rate)
    if first < 0 or first >= last:
        raise InputError(f"{path}: start {start} s is outside the file, which has {info.duration:.3f} s")
    if seconds is not None:
        last = min(last, first + round(seconds * sample_rate))
    if info.sample_rate == sample_rate:
        return decode_part(path, first, last, info)
    # Output sample k lies at k / sample_rate; parts start where both rates have a sample, so that grids agree.
    common = math.gcd(sample_rate, info.sample_rate)
    step_in, step_out = info.sample_rate // common, sample_rate // common
    margin = math.ceil(_MARGIN * common)
    block_first = max(0, first // step_out - margin)
    block_last = -(-last // step_out) + margin
    part = decode_part(path, block_first * step_in, min(info.frames, block_last * step_in), info)
    resampled = soxr.resample(part, info.sample_rate, sample_rate)
    skipped = block_first * step_out
    return np.ascontiguousarray(resampled[first - skipped : last - skipped], dtype=np.float32)


def decode_part(path: Path, first: int, last: int, info: AudioInfo) -> np.ndarray:
    """The file's own samples ``[first, last)``, channels averaged, float32.

    Raises:
        BadAudio: the file is unreadable, shorter than ``info`` says, or not finite.
    """
    try:
        audio, _ = soundfile.read(str(path), last - first, first, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise BadAudio(f"{path}: {_why_unreadable(path, error)}; replace or remove the file") from None
    if len(audio) < last - first:
        raise BadAudio(
            f"{path}: truncated, {first + len(audio)} samples where its header says {info.frames}; "
            "replace or remove the file"
        )
    if not np.isfinite(audio).all():
        raise BadAudio(f"{path}: holds NaN or infinite samples; replace or remove the file")
    return audio[:, 0] if info.channels == 1 else audio.mean(axis=1, dtype=np.float32)


def _why_unreadable(path: Path, error: Exception | None) -> str:
    if not path.exists():
        return "does not exist"
    if path.is_dir():
        return "is a folder, not an audio file"
    if not path.is_file():
        return "is no file"
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
    raise BadAudio(
        f"{path}: truncated, its header says {length} bytes of samples but {left} are there ({frames} samples); "
        "replace or remove the file"
    )


def move_events(events: Iterable[Event], start: float, seconds: float) -> tuple[Event, ...]:
    """Events as seen from a part ``[start, start + seconds)``: shifted, clipped to it, those outside dropped."""
    moved = []
    for event in events:
        onset, offset = max(0.0, event.onset - start), min(seconds, event.offset - start)
        if onset < offset:
            moved.append(replace(event, onset=onset, offset=offset))
    return tuple(moved)


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


def labels_of(events: Iterable[Event]) -> tuple[str, ...]:
    """The weak label that strong labels imply: each class once, in order of first onset."""
    return tuple(dict.fromkeys(event.event_label for event in sorted(events)))


class ClipFiles:
    """Clips whose audio lies in files, loaded at one length (implements `sed_lab.types.Subset`).

    Shorter recordings get zeros at the end. Longer ones are cropped: from a sample drawn from (seed, index, epoch) with
    ``random_crop`` (training), at the start otherwise (validation, test), and the labels move along.
    """

    def __init__(
        self, clips: Sequence[Clip], sample_rate: int, clip_seconds: float, random_crop: bool = False, seed: int = 0
    ) -> None:
        self.clips: Sequence[Clip] = tuple(clips)
        self.sample_rate, self.clip_seconds = sample_rate, clip_seconds
        self.random_crop, self.seed = random_crop, seed

    def __len__(self) -> int:
        return len(self.clips)

    def load(self, index: int, epoch: int) -> tuple[Clip, np.ndarray]:
        """Clip ``index`` as it is heard in ``epoch``, and its audio ``[N]``, float32.

        The clip's events are clipped to the audio, its labels are those of the events left, and its duration is the
        recorded part (below ``clip_seconds`` where zeros were added).

        Raises:
            BadAudio: the file is missing, unreadable, truncated or not finite.
        """
        start = self._start(index, epoch)
        audio = read_audio(self.clips[index].path, self.sample_rate, start / self.sample_rate, self.clip_seconds)
        filled = np.pad(audio, (0, round(self.clip_seconds * self.sample_rate) - len(audio)))
        return self.heard(index, start, len(audio) / self.sample_rate), filled

    def heard(self, index: int, start: int, recorded: float) -> Clip:
        """Clip ``index`` from sample ``start`` on, of which ``recorded`` seconds are there."""
        clip = self.clips[index]
        if clip.events is None:
            return replace(clip, duration=recorded)
        events = move_events(clip.events, start / self.sample_rate, self.clip_seconds)
        return replace(clip, duration=recorded, events=events, event_labels=labels_of(events))

    @property
    def fixed(self) -> bool:
        """Whether every clip is the same in all epochs: nothing is cropped at random."""
        return not self.random_crop or all(self._spare(index) <= 0 for index in range(len(self)))

    def _spare(self, index: int) -> int:
        return int((self.clips[index].duration - self.clip_seconds) * self.sample_rate)

    def _start(self, index: int, epoch: int) -> int:
        spare = self._spare(index)
        if not self.random_crop or spare <= 0:
            return 0
        return int(np.random.default_rng((self.seed, index, epoch)).integers(spare + 1))
