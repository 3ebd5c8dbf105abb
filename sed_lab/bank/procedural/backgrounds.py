"""Backgrounds: steady noises of several kinds with unlabelled near-misses (doors, coughs, music-like tones)."""

from __future__ import annotations

import numpy as np

from sed_lab.bank.procedural.dsp import Rng, band, coloured, curve, envelope, harmonics, place, ringing, uniform
from sed_lab.bank.procedural.voices import speech

KINDS = ("room", "hum", "babble", "rain", "traffic", "birds")


def background(rng: Rng, seconds: float, rate: int, kind: str, shift: float) -> np.ndarray:
    """A background of one kind with zero to three near-misses."""
    n = int(seconds * rate)
    bed = _bed(rng, n, seconds, rate, kind, shift)
    bed = bed / (bed.std() + 1e-9)
    pieces = [(0, bed)]
    for _ in range(rng.poisson(0.15 * seconds)):
        sound = _near_miss(rng, rate)
        pieces.append((int(rng.integers(0, n)), sound / (np.abs(sound).max() + 1e-9) * uniform(rng, 1, 4)))
    return place(pieces, n)


def _bed(rng: Rng, n: int, seconds: float, rate: int, kind: str, shift: float) -> np.ndarray:
    floor = coloured(rng, n, uniform(rng, 0.8, 1.6) + 0.3 * shift)
    if kind == "hum":
        mains = harmonics(np.full(n, 50.0 + 10 * (rng.random() < 0.5)), 1 / np.arange(1, 13), rate, rng)
        return floor + uniform(rng, 0.3, 1) * mains
    if kind == "babble":
        voices = sum((speech(rng, seconds, rate, uniform(rng, -1, 1)) for _ in range(4)), np.zeros(n))
        return 0.4 * floor + band(voices / voices.std(), 150, 2500, rate)
    if kind == "rain":
        drops = np.zeros(n)
        count = rng.poisson(uniform(rng, 100, 800) * seconds)
        drops[rng.integers(0, n, count)] = rng.standard_normal(count)
        rain = band(rng.standard_normal(n) + 4 * drops, 800, 7500, rate, 1)
        return 0.3 * floor + rain / rain.std()
    if kind == "traffic":
        rumble = band(rng.standard_normal(n), 30, 350, rate) * curve(rng, n, int(seconds / 2) + 2, 0.2, 1)
        return 0.4 * floor + rumble / rumble.std()
    if kind == "birds":
        songs = []
        for at in rng.uniform(0, seconds, rng.poisson(0.8 * seconds)):
            m = int(uniform(rng, 0.06, 0.25) * rate)
            f = curve(rng, m, 4, 2500, 6500)
            songs.append((int(at * rate), np.sin(2 * np.pi * np.cumsum(f) / rate) * envelope(m, 0.02, 0.05, rate)))
        return floor + uniform(rng, 0.5, 1.5) * place(songs, n)
    return floor


def _near_miss(rng: Rng, rate: int) -> np.ndarray:
    kind = rng.integers(3)
    if kind == 0:  # a door: low thud and rattle
        n = rate // 2
        frequency, decay, level = rng.uniform(60, 400, 6), rng.uniform(0.03, 0.12, 6), rng.uniform(0.3, 1, 6)
        thud = ringing(frequency, decay, level, n, rate, rng)
        return thud + 0.05 * band(rng.standard_normal(n), 300, 2000, rate) * np.exp(-np.arange(n) / (0.05 * rate))
    if kind == 1:  # a cough: two bursts of throat noise
        m = int(0.22 * rate)
        burst = band(rng.standard_normal(m), 300, 3500, rate) * envelope(m, 0.01, 0.15, rate)
        return place([(0, burst), (int(0.3 * rate), 0.7 * burst)], int(0.6 * rate))
    m = int(uniform(rng, 0.6, 1.8) * rate)  # a chord of plucked tones
    notes = uniform(rng, 180, 500) * 2 ** (np.array([0, 4, 7, 12]) / 12)
    decay = np.full(16, uniform(rng, 0.2, 0.6))
    frequency = (notes[:, None] * np.arange(1, 5)).ravel()
    return ringing(frequency, decay, np.tile(1 / np.arange(1, 5), 4), m, rate, rng)
