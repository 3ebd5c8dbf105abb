"""A small room and a microphone around a bank: the domain gap that one set of recordings does not have by itself."""

from __future__ import annotations

import zlib

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from sed_lab.bank.base import Bank

RT60 = (0.15, 0.45)  # seconds until the reverberation has fallen by 60 dB
DIRECT = (0.0, 10.0)  # dB of the direct sound over all of the reverberation
TILT = (-3.0, 3.0)  # dB per octave around 1 kHz: distance, walls, the microphone


class RoomBank:
    """``bank`` as heard in random small rooms: another room and colour for each event, a colour for each background.

    An impulse response is a unit impulse and, 2 to 10 ms later, exponentially decaying noise. Events keep their length
    (what rings on after the source has stopped is cut), so that labels stay those of the source.
    """

    def __init__(self, bank: Bank, seed: int = 0) -> None:
        self.bank, self.seed = bank, seed
        self.classes, self.sample_rate = bank.classes, bank.sample_rate

    def event_count(self, split: str, event_label: str) -> int:
        return self.bank.event_count(split, event_label)

    def event(self, split: str, event_label: str, index: int) -> np.ndarray:
        rng = self._rng(f"{split}/{event_label}", index)
        return self._heard(self.bank.event(split, event_label, index), self._response(rng), rng)

    def background_count(self, split: str) -> int:
        return self.bank.background_count(split)

    def background(self, split: str, index: int, seconds: float) -> np.ndarray:
        return self._heard(self.bank.background(split, index, seconds), np.ones(1), self._rng(f"{split}/", index))

    def _rng(self, name: str, index: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, zlib.crc32(name.encode()), index))

    def _response(self, rng: np.random.Generator) -> np.ndarray:
        rt60, direct = rng.uniform(*RT60), rng.uniform(*DIRECT)
        time = np.arange(round(rt60 * self.sample_rate)) / self.sample_rate
        tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
        tail *= 10 ** (-direct / 20) / np.sqrt(np.sum(tail**2))
        delay = round(rng.uniform(0.002, 0.010) * self.sample_rate)
        return np.concatenate(([1.0], np.zeros(delay - 1), tail))

    def _heard(self, audio: np.ndarray, response: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n = next_fast_len(len(audio) + len(response) - 1, real=True)
        octaves = np.log2(np.maximum(np.fft.rfftfreq(n, 1 / self.sample_rate), 50) / 1000)
        colour = 10 ** (rng.uniform(*TILT) * octaves / 20)
        heard = irfft(rfft(audio, n) * rfft(response, n) * colour, n)[: len(audio)]
        return (heard / max(1.0, np.abs(heard).max(initial=0.0))).astype(np.float32)
