"""Textures and impacts: frying, running water, dishes, breaking glass, gunshot."""

from __future__ import annotations

import numpy as np

from sed_lab.bank.procedural.dsp import Rng, band, coloured, curve, place, ringing, uniform


def frying(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """Band-passed hiss plus 10 to 200 crackles a second, each a short random resonance."""
    n = int(seconds * rate)
    hiss = band(rng.standard_normal(n), uniform(rng, 1200, 2500), uniform(rng, 6000, 7800), rate)
    hiss *= curve(rng, n, int(seconds * 2) + 2, 0.6, 1) / hiss.std()
    clicks = np.zeros(n)
    count = rng.poisson(uniform(rng, 10, 200) * seconds)
    clicks[rng.integers(0, n, count)] = rng.exponential(1, count) * rng.choice([-1, 1], count)
    out = hiss
    for _ in range(3):
        f, decay = uniform(rng, 1500, 7000) * (1 - 0.1 * shift), uniform(rng, 0.0008, 0.004)
        grain = ringing(np.array([f]), np.array([decay]), np.ones(1), int(0.02 * rate), rate, rng)
        out = out + uniform(rng, 1.5, 4) * np.convolve(clicks * (rng.random(n) < 0.4), grain)[:n]
    return out


def running_water(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """Noise with a slowly moving tilt and many bubbles: rising sines of 5 to 20 ms."""
    n = int(seconds * rate)
    low = coloured(rng, n, 1.0) * curve(rng, n, int(seconds * 2) + 2, 0.4, 1)
    high = band(rng.standard_normal(n), 1500, 7000, rate) * curve(rng, n, int(seconds * 2) + 2, 0.3, 1)
    out = low + uniform(rng, 0.3, 1.2) * high
    for _ in range(12):  # a dozen kinds of bubble, each dropped in many times
        m = int(uniform(rng, 0.005, 0.02) * rate)
        x = np.arange(m) / rate
        f = uniform(rng, 500, 3000) * (1 + 0.2 * shift)
        bubble = np.sin(2 * np.pi * (f * x + 0.5 * f * uniform(rng, 5, 25) * x**2)) * np.exp(-x / 0.005)
        drops = np.zeros(n)
        count = rng.poisson(uniform(rng, 2, 12) * seconds)
        drops[rng.integers(0, n, count)] = rng.uniform(0.3, 1, count)
        out = out + uniform(rng, 1, 3) * np.convolve(drops, bubble)[:n]
    return out


def dishes(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """One to six impacts, each of 5 to 12 inharmonic modes at 1 to 8 kHz that decay fast."""
    n = int(seconds * rate)
    f = np.sort(rng.uniform(900, 7600, int(rng.integers(5, 13)))) * (1 - 0.08 * shift)
    pieces = []
    times = np.sort(np.append(0.0, rng.uniform(0, 0.75 * seconds, int(rng.integers(0, 6)))))
    for at in times:
        level = rng.uniform(0.2, 1, len(f)) / (f / 1000) ** 0.3
        decay = rng.uniform(0.015, 0.09, len(f))
        hit = ringing(f * uniform(rng, 0.98, 1.02), decay, level, int(0.5 * rate), rate, rng)
        k = int(0.004 * rate)
        hit[:k] += rng.standard_normal(k) * level.max()
        pieces.append((int(at * rate), hit * uniform(rng, 0.4, 1)))
    return place(pieces, n)


def glassbreak(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """A broadband burst, then tens of ringing modes and scattered tinkles."""
    n = int(seconds * rate)
    x = np.arange(n) / rate
    burst = band(rng.standard_normal(n), 1000, 7800, rate) * np.exp(-x / uniform(rng, 0.02, 0.06))
    pieces = [(0, 2 * burst)]
    for _ in range(int(rng.integers(25, 60))):
        at = rng.exponential(0.25) * seconds
        f = rng.uniform(2000, 7600, 3) * (1 - 0.05 * shift)
        hit = ringing(f, rng.uniform(0.01, 0.08, 3), rng.uniform(0.2, 1, 3), int(0.3 * rate), rate, rng)
        pieces.append((int(at * rate), hit * np.exp(-2 * at / seconds)))
    return place(pieces, n)


def gunshot(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """N-wave, low boom and exponential noise tail; sometimes a second report or an echo."""
    n = int(seconds * rate)
    x = np.arange(n) / rate
    shot = band(rng.standard_normal(n), 80, uniform(rng, 3000, 7500), rate, 1) * np.exp(-x / uniform(rng, 0.03, 0.12))
    shot += 0.8 * np.sin(2 * np.pi * uniform(rng, 50, 110) * x) * np.exp(-x / 0.06)
    k = int(uniform(rng, 0.002, 0.005) * rate)
    shot[:k] += np.linspace(1, -1, k) * 4
    tail = coloured(rng, n, 1.5) * np.exp(-x / (0.25 + 0.15 * shift)) * 0.15
    pieces = [(0, shot + tail)]
    if rng.random() < 0.4:
        pieces.append((int(uniform(rng, 0.12, 0.5) * seconds * rate), (shot + tail) * uniform(rng, 0.2, 0.9)))
    return place(pieces, n)
