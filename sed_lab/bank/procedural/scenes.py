"""Sounds that go on: music and vehicles. They are not in the bank's `SOUNDS`, whose order seeds its sounds."""

from __future__ import annotations

import numpy as np

from sed_lab.bank.procedural.dsp import Rng, band, coloured, curve, envelope, harmonics, place, ringing, uniform

SCALE = np.array([0, 2, 4, 5, 7, 9, 11])  # semitones of a major key above its tonic


def music(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """A melody over chords in one key and tempo, struck or sustained tones, often with a beat."""
    n, beat = int(seconds * rate), 60 / uniform(rng, 70, 150)
    tonic = uniform(rng, 110, 220) * (1 + 0.1 * shift)
    struck = rng.random() < 0.5
    timbre = 1 / np.arange(1, 9) ** uniform(rng, 0.8, 2)
    pieces: list[tuple[int, np.ndarray]] = []
    for number, at in enumerate(np.arange(0, seconds, beat)):
        length = int(beat * uniform(rng, 0.8, 1.6) * rate)
        if number % 4 == 0:
            root = int(rng.choice([0, 3, 4, 5]))
            for step in (0, 2, 4):
                pieces.append((int(at * rate), 0.5 * _tone(rng, tonic, root + step, 3 * length, timbre, struck, rate)))
        if rng.random() < 0.8:
            melody = _tone(rng, 2 * tonic, int(rng.integers(0, 9)), length, timbre, struck, rate)
            pieces.append((int(at * rate), melody))
    if rng.random() < 0.6:
        hit = band(rng.standard_normal(rate // 8), 80, 6000, rate) * np.exp(-np.arange(rate // 8) / (0.03 * rate))
        pieces += [(int(at * rate), 0.5 * hit) for at in np.arange(0, seconds, beat / 2) if rng.random() < 0.7]
    return place(pieces, n)


def _tone(rng: Rng, tonic: float, step: int, n: int, timbre: np.ndarray, struck: bool, rate: int) -> np.ndarray:
    f = tonic * 2 ** ((SCALE[step % 7] + 12 * (step // 7)) / 12)
    if struck:
        number = np.arange(1, len(timbre) + 1)
        return ringing(f * number, 0.5 / number**0.5, timbre, n, rate, rng)
    vibrato = 1 + 0.006 * np.sin(2 * np.pi * 5.5 * np.arange(n) / rate)
    return harmonics(np.full(n, f) * vibrato, timbre, rate, rng) * envelope(n, 0.05, 0.1, rate)


def vehicle(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """An engine whose speed wanders, tyre and wind noise; it idles, or passes by with a rise and a fall."""
    n = int(seconds * rate)
    f0 = uniform(rng, 25, 90) * (1 + 0.1 * shift) * curve(rng, n, int(seconds / 2) + 2, 0.75, 1.35)
    levels = rng.uniform(0.3, 1, 40) / np.arange(1, 41) ** uniform(rng, 0.5, 1)
    engine = harmonics(f0, levels, rate, rng) * (1 + 0.3 * rng.standard_normal(n).cumsum() / n**0.5)
    tyres = band(coloured(rng, n, uniform(rng, 0.5, 1.5)), 150, uniform(rng, 1500, 4000), rate)
    out = engine / engine.std() + uniform(rng, 0.5, 2) * tyres / tyres.std()
    if rng.random() < 0.5:
        time = np.arange(n) / rate
        out *= 0.15 + 1 / (1 + ((time - uniform(rng, 0.2, 0.8) * seconds) / uniform(rng, 0.6, 2.5)) ** 2)
    return out
