"""Machines: alarm, blender, shaver or toothbrush, vacuum cleaner."""

from __future__ import annotations

import numpy as np

from sed_lab.bank.procedural.dsp import Rng, band, coloured, curve, envelope, harmonics, place, ringing, uniform


def alarm_bell(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """Beeps of two or three tones with an on/off pattern, or a bell struck 5 to 20 times a second."""
    n = int(seconds * rate)
    if rng.random() < 0.55 - 0.15 * shift:
        tones = uniform(rng, 650, 2600) * np.array([1.0, uniform(rng, 1.12, 1.6), uniform(rng, 0.7, 0.95)])
        on, off = uniform(rng, 0.05, 0.3), uniform(rng, 0.02, 0.2)
        pieces: list[tuple[int, np.ndarray]] = []
        at, k = 0.0, 0
        kinds = int(rng.integers(1, 4))
        levels = 1 / np.arange(1, 7) ** uniform(rng, 0.8, 2)
        while at < seconds:
            m = int(on * rate)
            beep = harmonics(np.full(m, tones[k % kinds]), levels, rate, rng)
            pieces.append((int(at * rate), beep * envelope(m, 0.004, 0.01, rate)))
            at += on + off
            k += 1
        return place(pieces, n)
    f = uniform(rng, 700, 1800) * np.array([1, 1.51, 2.02, 2.66, 3.37, 4.1]) * (1 + 0.02 * rng.standard_normal(6))
    every = 1 / uniform(rng, 5, 20)
    strikes = []
    for struck in np.arange(0, seconds, every).tolist():
        m = min(n - int(struck * rate), int(0.6 * rate))
        if m > 10:
            level = rng.uniform(0.4, 1, 6) / np.arange(1, 7) ** 0.5
            strikes.append((int(struck * rate), ringing(f, rng.uniform(0.08, 0.4, 6), level, m, rate, rng)))
    return place(strikes, n)


def blender(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """Motor of 80-250 Hz that glides with its load, turbulence modulated at the rotation rate."""
    n = int(seconds * rate)
    f0 = uniform(rng, 90, 240) * (1 - 0.1 * shift) * curve(rng, n, int(seconds * 2) + 2, 0.88, 1.12)
    f0 *= 1 - 0.3 * np.exp(-np.arange(n) / (0.25 * rate))
    levels = rng.uniform(0.2, 1, 30) / np.arange(1, 31) ** 0.5
    motor = harmonics(f0, levels, rate, rng)
    rotation = 1 + 0.6 * np.sin(2 * np.pi * np.cumsum(f0) / rate / 4)
    wind = band(rng.standard_normal(n), 500, 7000, rate) * rotation * curve(rng, n, int(seconds * 6) + 2, 0.5, 1)
    return motor / motor.std() + uniform(rng, 0.6, 1.4) * wind / wind.std()


def shaver(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """Steady buzz of 90-260 Hz, strong even harmonics, slow drift, a comb-like colour."""
    n = int(seconds * rate)
    f0 = uniform(rng, 90, 260) * curve(rng, n, int(seconds) + 2, 0.985, 1.015) * (1 + 0.05 * shift)
    k = np.arange(1, 46)
    levels = np.where(k % 2 == 0, 1.0, 0.35) * (1 + 0.8 * np.cos(2 * np.pi * k / uniform(rng, 5, 12))) / k**0.35
    buzz = harmonics(f0, levels, rate, rng) * curve(rng, n, int(seconds * 3) + 2, 0.7, 1)
    hiss = band(rng.standard_normal(n), 3000, 7500, rate)
    return buzz / buzz.std() + uniform(rng, 0.05, 0.25) * hiss / hiss.std()


def vacuum(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """High motor of 300-900 Hz under a strong broadband hiss; it starts and stops in a glide."""
    n = int(seconds * rate)
    t = np.arange(n) / rate
    glide = 1 - 0.6 * np.exp(-t / 0.35) - 0.5 * np.exp(-(seconds - t) / 0.3)
    f0 = uniform(rng, 320, 850) * (1 - 0.08 * shift) * curve(rng, n, int(seconds) + 2, 0.97, 1.03)
    f0 *= np.maximum(glide, 0.25)
    motor = harmonics(f0, rng.uniform(0.2, 1, 10) / np.arange(1, 11), rate, rng)
    hiss = band(coloured(rng, n, uniform(rng, 0.3, 1.2)), 150, 7500, rate, 1) * np.maximum(glide, 0.1)
    return hiss / hiss.std() + uniform(rng, 0.2, 0.6) * motor / motor.std()
