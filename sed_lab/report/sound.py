"""A clip as a report shows it: its audio read, drawn as log-mel and packed small enough to be embedded, or its rows of
embeddings drawn."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import soundfile
import torch
from matplotlib.axes import Axes
from PIL import Image

from sed_lab.clip.audio import read_audio
from sed_lab.errors import InputError
from sed_lab.feature.log_mel import LogMel

log = logging.getLogger(__name__)
COLOUR_MAP = "magma"
COLUMNS = 1000  # more frames than this are averaged: no screen shows them
LEVELS = 40  # shades kept in an embedded picture; fewer compress better, and the eye sees no difference
TICKS_HZ = (250, 1000, 4000, 16000)
USUAL: dict[str, Any] = {  # the log mel of clips whose run had none
    "sample_rate": 16000, "n_fft": 2048, "win_length": 2048, "hop_length": 256, "n_mels": 128, "f_min": 0.0,
    "f_max": 8000.0, "window": "hamming", "periodic": False, "power": 1.0, "amin": 1e-5, "db_range": (-50.0, 80.0),
    "scaler": "clip_minmax", "mel_scale": "htk", "mel_norm": None, "pad_mode": "reflect", "last_frame": True,
}  # fmt: skip


@dataclass(frozen=True)
class LogMelPicture:
    """Log-mel ``values [F, M]`` from 0 (quiet) to 1 (loud), and where frequencies [Hz] lie on its mel axis (0 .. 1).

    With another ``name`` it is a picture of something else, without frequencies.
    """

    values: np.ndarray
    ticks: dict[int, float]
    name: str = "log-mel"

    def draw(self, axes: Axes, duration: float) -> None:
        """Draw it over ``duration`` seconds."""
        extent = (0.0, duration, 0.0, 1.0)
        axes.imshow(self.values.T, COLOUR_MAP, vmin=0, vmax=1, origin="lower", aspect="auto", extent=extent)
        axes.set_yticks(list(self.ticks.values()), [f"{hz / 1000:g}" for hz in self.ticks])
        axes.set_ylabel(f"{self.name} [kHz]" if self.ticks else self.name)

    def png(self) -> bytes:
        """The picture as an 8-bit palette PNG, low frequencies at the bottom, one pixel a frame and mel bin."""
        shade = np.round(self.values.T[::-1] * (LEVELS - 1)).astype(np.uint8)
        palette = matplotlib.colormaps[COLOUR_MAP](np.linspace(0, 1, LEVELS), bytes=True)[:, :3]
        picture = Image.frombytes("P", (shade.shape[1], shade.shape[0]), shade.tobytes())
        picture.putpalette(palette.tobytes())
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


class LogMelMaker:
    """Pictures by the run's own ``feature`` settings (what the model saw), or by usual ones where it had no log-mel."""

    def __init__(self, feature: Mapping[str, Any] | None = None) -> None:
        settings = dict(feature or {})
        own = settings if str(settings.pop("_target_", "")).endswith(".LogMel") else {}
        self._feature = LogMel(**{**USUAL, **own})  # an older record may lack a setting
        self.sample_rate = self._feature.sample_rate
        filters = self._feature.mel_filters.double().numpy()
        bins = np.linspace(0, self.sample_rate / 2, len(filters))
        centre = np.maximum.accumulate((bins @ filters) / np.maximum(filters.sum(axis=0), 1e-12))
        place = (np.arange(len(centre)) + 0.5) / len(centre)
        self._ticks = {hz: float(np.interp(hz, centre, place)) for hz in TICKS_HZ if hz <= centre[-1]}

    def picture(self, audio: np.ndarray) -> LogMelPicture:
        """Log-mel of ``audio [N]`` at ``sample_rate``; the quietest tenth becomes 0, the loudest thousandth 1."""
        shortest = self._feature.n_fft  # the frames at a clip's ends are reflected and need some audio to reflect
        padded = np.pad(audio, (0, max(0, shortest - len(audio))))
        with torch.inference_mode():
            values = self._feature(torch.from_numpy(padded)[None])[0].numpy()
        if len(values) > COLUMNS:
            edges = np.linspace(0, len(values), COLUMNS, endpoint=False).astype(int)
            values = np.add.reduceat(values, edges) / np.diff([*edges, len(values)])[:, None]
        low, high = np.percentile(values, [10, 99.9])
        return LogMelPicture(np.clip((values - low) / max(high - low, 1e-6), 0, 1), self._ticks)


def rows_picture(rows: np.ndarray) -> LogMelPicture:
    """Embeddings uint8 ``[R, 128]`` of a clip as a heat map: a column a row of them, the first value at the bottom."""
    return LogMelPicture(rows / 255, {}, "embedding")


def clip_audio(path: Path | None, sample_rate: int) -> np.ndarray | None:
    """Mono audio ``[N]`` at ``sample_rate``, or None (with a warning) where the file is gone or cannot be read."""
    if path is None:
        return None
    try:
        return read_audio(path, sample_rate)
    except InputError as error:
        log.warning("the report shows a clip without its sound: %s", error)
        return None


def encode_audio(audio: np.ndarray, sample_rate: int) -> tuple[str, bytes]:
    """Media type and bytes of ``audio [N]``: Ogg Vorbis, or 16-bit WAV where this libsndfile cannot write that."""
    ogg = "VORBIS" in soundfile.available_subtypes("OGG")
    kind, container, coding = ("audio/ogg", "OGG", "VORBIS") if ogg else ("audio/wav", "WAV", "PCM_16")
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", sample_rate, 1, coding, format=container) as file:
        for start in range(0, len(audio), sample_rate):  # libsndfile's Vorbis coder overflows its stack on long writes
            file.write(np.clip(audio[start : start + sample_rate], -1, 1))
    return kind, buffer.getvalue()
