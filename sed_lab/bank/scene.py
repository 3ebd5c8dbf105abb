"""Backgrounds with other sounds in them: what a detector of rare events must not fire on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sed_lab.bank.base import Bank
from sed_lab.bank.soundscape import Distribution

FADE_SECONDS = 0.01  # at both ends of a sound


@dataclass(frozen=True)
class Others:
    """Unlabelled sounds of ``classes``: 0 to ``most`` (uniform) in a background, ``snr`` dB over its RMS."""

    classes: tuple[str, ...]
    most: int
    snr: Distribution


class Share:
    """Every ``step``-th sound of a bank from ``first`` on (implements `Bank`), so that two shares have none in common.

    ``backgrounds``: how many the bank is taken to have in a split, where that is not its own number (a bank that makes
    sounds on demand).
    """

    def __init__(self, bank: Bank, first: int, step: int, backgrounds: int | None = None) -> None:
        self.bank, self.first, self.step, self.backgrounds = bank, first, step, backgrounds
        self.classes, self.sample_rate = bank.classes, bank.sample_rate

    def event_count(self, split: str, event_label: str) -> int:
        return len(range(self.first, self.bank.event_count(split, event_label), self.step))

    def event(self, split: str, event_label: str, index: int) -> np.ndarray:
        return self.bank.event(split, event_label, self.first + index * self.step)

    def background_count(self, split: str) -> int:
        whole = self.bank.background_count(split) if self.backgrounds is None else self.backgrounds
        return len(range(self.first, whole, self.step))

    def background(self, split: str, index: int, seconds: float) -> np.ndarray:
        return self.bank.background(split, self.first + index * self.step, seconds)


def scene(bank: Bank, split: str, index: int, seconds: float, others: Others | None, seed: Sequence[int]) -> np.ndarray:
    """Background ``[N]`` number ``index`` of ``seconds`` with others in it, peak at most 1.

    There are more scenes than backgrounds: they are taken in turn. Where each sound begins is uniform; one that does
    not fit is cut to the scene's length. ``seed`` decides which sounds there are.
    """
    audio = bank.background(split, index % bank.background_count(split), seconds).astype(np.float32, copy=True)
    level = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
    rng = np.random.default_rng([*seed, index])
    there = [name for name in others.classes if bank.event_count(split, name)] if others else []
    for _ in range(int(rng.integers(others.most + 1)) if others and there else 0):
        label = there[rng.integers(len(there))]
        sound = bank.event(split, label, int(rng.integers(bank.event_count(split, label))))[: len(audio)]
        first = int(rng.integers(len(audio) - len(sound) + 1))
        own = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
        gain = level * 10 ** (others.snr.draw(rng) / 20) / own if others and own > 0 else 0.0
        audio[first : first + len(sound)] += gain * _faded(sound, bank.sample_rate)
    return audio / max(1.0, float(np.abs(audio).max(initial=0)))


def _faded(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    fade = min(round(FADE_SECONDS * sample_rate), len(sound) // 2)
    ramp = np.ones(len(sound), np.float32)
    ramp[:fade] = (np.arange(fade) + 0.5) / max(1, fade)
    ramp[len(sound) - fade :] = ramp[:fade][::-1]
    return sound * ramp
