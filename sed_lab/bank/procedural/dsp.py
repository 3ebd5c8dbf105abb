"""Signal pieces the sound models share. Signals are float64 ``[N]`` at ``rate`` Hz, controls vary slowly with time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import signal

Rng = np.random.Generator


def uniform(rng: Rng, low: float, high: float) -> float:
    """One draw, as a plain float."""
    return float(rng.uniform(low, high))


def curve(rng: Rng, n: int, points: int, low: float, high: float) -> np.ndarray:
    """A smooth random control ``[n]`` through ``points`` values in [low, high]."""
    values = rng.uniform(low, high, max(2, points))
    return np.interp(np.linspace(0, len(values) - 1, n), np.arange(len(values)), values)


def band(noise: np.ndarray, low: float, high: float, rate: int, order: int = 2) -> np.ndarray:
    """Band-pass between ``low`` and ``high`` Hz (kept inside the spectrum)."""
    top = 0.49 * rate
    sos = signal.butter(order, [max(10.0, min(low, 0.9 * top)), min(high, top)], "bandpass", fs=rate, output="sos")
    return signal.sosfilt(sos, noise)


def coloured(rng: Rng, n: int, slope: float) -> np.ndarray:
    """Noise ``[n]`` whose power falls with frequency to the ``slope`` (1 pink, 2 brown), unit RMS."""
    size = 1 << max(4, (n - 1).bit_length())
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum *= np.arange(1, len(spectrum) + 1) ** (-slope / 2)
    out = np.fft.irfft(spectrum, size)[:n]
    return out / (np.sqrt(np.mean(out**2)) + 1e-12)


def partials(f0: np.ndarray, count: int, rate: int, rng: Rng) -> Iterator[tuple[int, np.ndarray]]:
    """Harmonics 1 .. ``count`` of ``f0 [n]`` one after the other, random in phase; stops at 0.45 of the rate.

    A harmonic is the one before turned by one more period: a multiplication instead of a sine, which is what makes a
    bank of buzzing machines quick.
    """
    turn = np.exp(2j * np.pi * (np.cumsum(f0) / rate)).astype(np.complex64)
    start = np.exp(1j * rng.uniform(0, 2 * np.pi, count)).astype(np.complex64)
    wave = turn.copy()
    for k in range(1, count + 1):
        if k * f0.min() > 0.45 * rate:
            return
        yield k, start[k - 1].real * wave.imag + start[k - 1].imag * wave.real
        wave *= turn


def harmonics(f0: np.ndarray, amplitude: np.ndarray, rate: int, rng: Rng) -> np.ndarray:
    """Sum of harmonics of ``f0 [n]`` with ``amplitude [H]``. Those above 0.45 of the rate are left out."""
    out = np.zeros(len(f0), np.float32)
    for k, wave in partials(f0, len(amplitude), rate, rng):
        inside = 1.0 if k * f0.max() < 0.45 * rate else (k * f0 < 0.45 * rate).astype(np.float32)
        out += np.float32(amplitude[k - 1]) * inside * wave
    return out.astype(float)


def voiced(f0: np.ndarray, formants: np.ndarray, bandwidth: np.ndarray, tilt: float, rate: int, rng: Rng) -> np.ndarray:
    """Source and filter at once: harmonics of ``f0 [n]`` weighed by resonances at ``formants [K, n]`` Hz.

    ``bandwidth [K]`` in Hz; ``tilt`` is the power with which the source's harmonics fall.
    """
    n = len(f0)
    grid = np.arange(0, n, max(1, rate // 250))  # formants move slowly: their gains are computed every 4 ms
    every, time = np.arange(n), formants[:, grid]
    out = np.zeros(n)
    for k, wave in partials(f0, int(min(60, 0.45 * rate / max(f0.min(), 30))), rate, rng):
        f = k * f0[grid]
        gain = np.sum(1 / (1 + ((f - time) / bandwidth[:, None]) ** 2), axis=0) / k**tilt
        gain[f > 0.45 * rate] = 0
        out += np.interp(every, grid, gain) * wave
    return out


def ringing(frequency: np.ndarray, decay: np.ndarray, level: np.ndarray, n: int, rate: int, rng: Rng) -> np.ndarray:
    """Struck modes ``[K]``: frequency Hz, decay (time constant) s, level."""
    t = np.arange(n) / rate
    out = np.zeros(n)
    for f, d, a in zip(frequency, decay, level, strict=True):
        m = min(n, int(8 * d * rate) + 1)
        out[:m] += a * np.exp(-t[:m] / d) * np.sin(2 * np.pi * f * t[:m] + rng.uniform(0, 2 * np.pi))
    return out


def place(pieces: list[tuple[int, np.ndarray]], n: int) -> np.ndarray:
    """Add pieces at their sample offsets into ``[n]``; what sticks out is cut."""
    out = np.zeros(n)
    for start, piece in pieces:
        if start < n:
            m = min(len(piece), n - start)
            out[start : start + m] += piece[:m]
    return out


def envelope(n: int, attack: float, release: float, rate: int) -> np.ndarray:
    """Rise and fall in seconds around a flat middle."""
    out = np.ones(n)
    a, r = min(n // 2, max(1, int(attack * rate))), min(n // 2, max(1, int(release * rate)))
    out[:a] *= np.sin(np.linspace(0, np.pi / 2, a)) ** 2
    out[n - r :] *= np.cos(np.linspace(0, np.pi / 2, r)) ** 2
    return out


def finished(audio: np.ndarray, rate: int, fade: float = 0.01) -> np.ndarray:
    """Float32, peak 1, with fades of ``fade`` seconds."""
    audio = audio - audio.mean()
    audio = audio * envelope(len(audio), fade, fade, rate)
    return (audio / (np.abs(audio).max() + 1e-9)).astype(np.float32)
