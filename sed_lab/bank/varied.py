"""A bank whose training sounds are also heard a little higher and lower: more recordings than were made."""

from __future__ import annotations

import zlib

import numpy as np
import soxr

from sed_lab.bank.base import Bank


class VariedBank:
    """``bank`` with each training event in ``variants`` versions, pitch and speed changed together.

    Version 0 is the sound itself; the others are resampled by up to ``semitones`` up or down (Scaper's pitch shift,
    +-3 semitones in DESED's synthetic21, keeps the length, this does not: an event's label is as long as its sound).
    Validation and test sounds are left alone.
    """

    def __init__(self, bank: Bank, variants: int = 4, semitones: float = 3.0, seed: int = 0) -> None:
        self.bank, self.variants, self.semitones, self.seed = bank, variants, semitones, seed
        self.classes, self.sample_rate = bank.classes, bank.sample_rate

    def event_count(self, split: str, event_label: str) -> int:
        return self.bank.event_count(split, event_label) * (self.variants if split == "train" else 1)

    def event(self, split: str, event_label: str, index: int) -> np.ndarray:
        if split != "train":
            return self.bank.event(split, event_label, index)
        original, version = divmod(index, self.variants)
        audio = self.bank.event(split, event_label, original)
        if version == 0:
            return audio
        rng = np.random.default_rng((self.seed, zlib.crc32(event_label.encode()), index))
        factor = 2 ** (rng.uniform(-self.semitones, self.semitones) / 12)
        return np.ascontiguousarray(soxr.resample(audio, self.sample_rate * factor, self.sample_rate), np.float32)

    def background_count(self, split: str) -> int:
        return self.bank.background_count(split)

    def background(self, split: str, index: int, seconds: float) -> np.ndarray:
        return self.bank.background(split, index, seconds)
