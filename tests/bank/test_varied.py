"""Varied training sounds: version 0 untouched, others resampled as stated, validation and test left alone."""

from __future__ import annotations

import numpy as np

from sed_lab.bank.varied import VariedBank

RATE = 16000


class Tone:
    """One class: a second of 1000 Hz."""

    classes = ("tone",)
    sample_rate = RATE

    def event_count(self, split: str, event_label: str) -> int:
        return 2

    def event(self, split: str, event_label: str, index: int) -> np.ndarray:
        return np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)

    def background_count(self, split: str) -> int:
        return 1

    def background(self, split: str, index: int, seconds: float) -> np.ndarray:
        return np.ones(round(seconds * RATE), np.float32)


def pitch(audio: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(np.argmax(spectrum) * RATE / len(audio))


def test_versions() -> None:
    bank = VariedBank(Tone(), variants=4, semitones=3, seed=1)
    assert bank.event_count("train", "tone") == 8
    assert bank.event_count("test", "tone") == bank.event_count("validation", "tone") == 2
    assert np.array_equal(bank.event("train", "tone", 0), Tone().event("train", "tone", 0))
    assert np.array_equal(bank.event("test", "tone", 1), Tone().event("test", "tone", 1))
    heard = [bank.event("train", "tone", i) for i in range(8)]
    for audio in heard:
        # higher and shorter, or lower and longer, together; at most 3 semitones (a factor of 1.19)
        assert abs(pitch(audio) * len(audio) / RATE - 1000) < 5
        assert 1000 / 1.2 < pitch(audio) < 1000 * 1.2
    assert len({len(audio) for audio in heard}) == 7
    assert np.array_equal(bank.event("train", "tone", 5), VariedBank(Tone(), 4, 3, 1).event("train", "tone", 5))
    assert len(bank.background("train", 0, 2.0)) == 2 * RATE
