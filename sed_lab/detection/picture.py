"""A picture of a recording of any length: its spectrum over time, the posteriors, and what was detected."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sed_lab.clip.audio import audio_info, read_audio
from sed_lab.detection.table import Detection
from sed_lab.report.sound import TICKS_HZ, LogMelPicture
from sed_lab.report.style import class_style, new_figure, styled
from sed_lab.types import Scores

COLUMNS, BANDS = 1200, 96
N_FFT, HOP = 1024, 512
FRAMES_AT_ONCE = 2000  # bounds the memory for recordings of hours
LOWEST_HZ = 50.0


@styled
def recording_picture(path: Path, sample_rate: int, scores: Scores, events: Sequence[Detection], title: str) -> Figure:
    """Spectrum at ``sample_rate``, posteriors of the classes that were detected, and a row of events for each.

    ``scores`` are of this recording alone. Of a long one, a column of the picture is the mean over its time, a point of
    a posterior the highest within it.

    Raises:
        BadAudio: the file cannot be read.
    """
    duration = float(scores.duration[0])
    shown = [i for i, name in enumerate(scores.classes) if any(event.event_label == name for event in events)]
    heights = [1.6, 1.2, 0.25 + 0.3 * max(1, len(shown))]
    figure = new_figure(9.0, 0.9 + sum(heights))
    sound, posterior, rows = figure.subplots(3, 1, sharex=True, height_ratios=heights)
    for axes in (sound, posterior, rows):
        axes.set_xlim(0, duration)
        axes.grid(visible=False)
    spectrum(path, sample_rate).draw(sound, duration)
    assert scores.frame is not None
    assert scores.frame_hop is not None
    time, highest = _highest(scores.frame[0], scores.frame_hop)
    for place, index in enumerate(shown):
        colour, dash = class_style(index)
        posterior.plot(time, highest[:, index], dash, color=colour, lw=1.1)
        own = [event for event in events if event.event_label == scores.classes[index]]
        spans = [(event.onset, max(event.offset - event.onset, duration / COLUMNS)) for event in own]
        rows.broken_barh(spans, (len(shown) - 1 - place + 0.15, 0.7), facecolor=colour)
    posterior.set(ylim=(0, 1.02), yticks=[0, 0.5, 1], ylabel="posterior")
    rows.set(ylim=(0, max(1, len(shown))), xlabel="time [s]")
    rows.set_yticks([len(shown) - 0.5 - place for place in range(len(shown))], [scores.classes[i] for i in shown])
    sound.set_title(f"{title}   {len(events)} events")
    return figure


def spectrum(path: Path, sample_rate: int) -> LogMelPicture:
    """Levels in bands of equal width on a logarithmic frequency axis, from quiet (0) to loud (1), block by block."""
    duration = audio_info(path).duration
    edges = np.geomspace(LOWEST_HZ, sample_rate / 2, BANDS + 1)
    bins = np.clip(np.searchsorted(np.fft.rfftfreq(N_FFT, 1 / sample_rate), edges), 1, N_FFT // 2)
    window = np.hanning(N_FFT)
    frames = max(1, (int(duration * sample_rate) - N_FFT) // HOP + 1)
    columns = min(COLUMNS, frames)
    total, count = np.zeros((columns, BANDS)), np.zeros(columns)
    for first in range(0, frames, FRAMES_AT_ONCE):
        own = min(FRAMES_AT_ONCE, frames - first)
        samples = (own - 1) * HOP + N_FFT
        audio = read_audio(path, sample_rate, first * HOP / sample_rate, samples / sample_rate)
        audio = np.pad(audio, (0, max(0, samples - len(audio))))
        power = np.abs(np.fft.rfft(np.lib.stride_tricks.sliding_window_view(audio, N_FFT)[::HOP][:own] * window)) ** 2
        level = np.stack([power[:, a : max(a + 1, b)].mean(axis=1) for a, b in pairwise(bins)], axis=1)
        column = (first + np.arange(own)) * columns // frames
        np.add.at(total, column, level)
        np.add.at(count, column, 1)
    values = 10 * np.log10(total / count[:, None] + 1e-10)
    low, high = np.percentile(values, [10, 99.9])
    scaled = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    span = np.log(edges[-1] / edges[0])
    ticks = {hz: float(np.log(hz / edges[0]) / span) for hz in TICKS_HZ if hz <= edges[-1]}
    return LogMelPicture(scaled, ticks, "frequency")


def _highest(frame: np.ndarray, hop: float) -> tuple[np.ndarray, np.ndarray]:
    """Middle [s] and highest score of at most `COLUMNS` equal stretches of ``frame [T, C]``."""
    edges = np.unique(np.linspace(0, len(frame), min(len(frame), COLUMNS), endpoint=False).astype(int))
    ends = np.append(edges[1:], len(frame))
    return (edges + ends) / 2 * hop, np.maximum.reduceat(frame, edges)
