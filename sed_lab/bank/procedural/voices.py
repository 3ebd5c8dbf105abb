"""Voices: speech, cat, dog, baby cry. Source-filter models with moving pitch and formants."""

from __future__ import annotations

import numpy as np

from sed_lab.bank.procedural.dsp import Rng, band, curve, envelope, place, uniform, voiced

VOWELS = np.array(
    [[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240], [530, 1840, 2480], [570, 840, 2410], [440, 1020, 2240]]
)  # first three formants in Hz


def speech(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """Syllables of vowel transitions at 3-6 Hz over a falling pitch line, fricatives and pauses between them."""
    n = int(seconds * rate)
    base = uniform(rng, 85, 230) * (1 + 0.15 * shift)
    size = uniform(rng, 0.9, 1.2)
    pieces: list[tuple[int, np.ndarray]] = []
    at = 0
    while at < n:
        m = int(uniform(rng, 0.12, 0.3) * rate)
        f0 = base * np.linspace(uniform(rng, 0.95, 1.25), uniform(rng, 0.8, 1.0), m) * (1 - 0.15 * at / n)
        f0 *= 1 + 0.01 * np.sin(2 * np.pi * 5 * np.arange(m) / rate)
        first, last = VOWELS[rng.integers(6)] * size, VOWELS[rng.integers(6)] * size
        formants = first[:, None] + (last - first)[:, None] * np.linspace(0, 1, m)
        syllable = voiced(f0, formants, np.array([70, 100, 150]), 0.8, rate, rng) * envelope(m, 0.03, 0.06, rate)
        pieces.append((at, syllable * uniform(rng, 0.6, 1)))
        if rng.random() < 0.5:
            k = int(uniform(rng, 0.05, 0.12) * rate)
            hiss = band(rng.standard_normal(k), uniform(rng, 2500, 4500), 7800, rate) * envelope(k, 0.02, 0.03, rate)
            pieces.append((max(0, at - k // 2), 0.4 * np.abs(syllable).max() * hiss))
        at += m + (int(uniform(rng, 0.1, 0.3) * rate) if rng.random() < 0.15 else 0)
    return place(pieces, n)


def cat(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """Meow: pitch and mouth open and close, two or three formants, breath."""
    n = int(seconds * rate)
    x = np.linspace(0, 1, n)
    peak = uniform(rng, 0.25, 0.6)
    closing = np.cos(np.pi / 2 * np.clip((x - peak) / (1 - peak), 0, 1)).clip(0) ** 0.7
    arc = np.where(x < peak, np.sin(np.pi / 2 * x / peak), closing)
    f0 = uniform(rng, 320, 480) * (1 + 0.1 * shift) * (1 + uniform(rng, 0.3, 0.8) * arc)
    f0 *= 1 + 0.015 * np.sin(2 * np.pi * uniform(rng, 5, 9) * x * seconds)
    formants = np.stack([700 + 900 * arc, 1600 + 900 * arc, np.full(n, uniform(rng, 3200, 4200))])
    tone = voiced(f0, formants, np.array([250, 300, 400]), uniform(rng, 0.4, 0.9), rate, rng)
    breath = band(rng.standard_normal(n), 1500, 6000, rate) * np.abs(tone).max() * uniform(rng, 0.02, 0.08)
    return (tone + breath) * envelope(n, 0.08, 0.3 * seconds, rate)


def dog(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """One to a few barks: sharp onset, rough voice whose pitch falls, broad formants, noise."""
    n = int(seconds * rate)
    f_start = uniform(rng, 260, 560) * (1 - 0.1 * shift)
    length = uniform(rng, 0.12, 0.24)
    gap = uniform(rng, 0.22, 0.5)
    pieces: list[tuple[int, np.ndarray]] = []
    at = 0.0
    while at == 0.0 or at + length < seconds:
        m = int(length * uniform(rng, 0.85, 1.15) * rate)
        x = np.linspace(0, 1, m)
        f0 = f_start * (1 + 0.25 * np.exp(-x * 12)) * (1 - 0.45 * x)
        f0 *= 1 + 0.06 * np.interp(x, np.linspace(0, 1, m // 80 + 2), rng.standard_normal(m // 80 + 2))
        formants = np.stack([np.full(m, uniform(rng, 500, 900)), np.full(m, uniform(rng, 1300, 2000))])
        bark = voiced(f0, formants, np.array([350, 500]), 0.5, rate, rng)
        bark = bark / np.abs(bark).max() + 0.35 * band(rng.standard_normal(m), 400, 4500, rate)
        bark *= np.minimum(1, x * m / (0.006 * rate)) * np.exp(-3.5 * x)
        pieces.append((int(at * rate), bark * uniform(rng, 0.7, 1)))
        at += gap * uniform(rng, 0.85, 1.2)
    return place(pieces, n)


def babycry(rng: Rng, seconds: float, rate: int, shift: float) -> np.ndarray:
    """Arcs of 0.5 to 1.5 s at 350-600 Hz, rich in harmonics, sometimes an octave up, breath in between."""
    n = int(seconds * rate)
    base = uniform(rng, 350, 520) * (1 + 0.08 * shift)
    pieces: list[tuple[int, np.ndarray]] = []
    at = 0
    while at < n:
        m = int(uniform(rng, 0.5, 1.3) * rate)
        x = np.linspace(0, 1, m)
        f0 = base * (1 + 0.25 * np.sin(np.pi * x) ** 0.7) * (1 + 0.02 * np.sin(2 * np.pi * 6 * x * m / rate))
        if rng.random() < 0.2:
            f0[int(0.4 * m) : int(0.7 * m)] *= 2
        formants = np.stack([curve(rng, m, 3, 900, 1400), curve(rng, m, 3, 2600, 3600), np.full(m, 5200.0)])
        cry = voiced(f0, formants, np.array([300, 500, 700]), 0.3, rate, rng) * envelope(m, 0.08, 0.15, rate)
        pieces.append((at, cry / np.abs(cry).max()))
        k = int(uniform(rng, 0.15, 0.35) * rate)
        pieces.append((at + m, 0.12 * band(rng.standard_normal(k), 1200, 6000, rate) * envelope(k, 0.05, 0.1, rate)))
        at += m + k + int(uniform(rng, 0.02, 0.15) * rate)
    return place(pieces, n)
