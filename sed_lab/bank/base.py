"""Sound banks: isolated events and backgrounds to mix soundscapes from.

A bank never shares a recording between its splits ``train``, ``validation`` and ``test``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import numpy as np

SPLITS = ("train", "validation", "test")


class Bank(Protocol):
    """Isolated events and backgrounds; the same arguments give the same samples, mono float32."""

    classes: tuple[str, ...]
    sample_rate: int

    def event_count(self, split: str, event_label: str) -> int:
        """How many events of this class the split holds."""
        ...

    def event(self, split: str, event_label: str, index: int) -> np.ndarray:
        """One event ``[N]``, without silence around it."""
        ...

    def background_count(self, split: str) -> int:
        """How many backgrounds the split holds."""
        ...

    def background(self, split: str, index: int, seconds: float) -> np.ndarray:
        """One background ``[N]`` of exactly ``seconds``."""
        ...


class CachedBank:
    """A bank that remembers what it gave last, up to ``megabytes``; synthesis and decoding cost more than mixing."""

    def __init__(self, bank: Bank, megabytes: float = 512) -> None:
        self.bank = bank
        self.classes, self.sample_rate = bank.classes, bank.sample_rate
        self._limit = megabytes * 2**20
        self._bytes = 0
        self._arrays: OrderedDict[tuple[object, ...], np.ndarray] = OrderedDict()

    def event_count(self, split: str, event_label: str) -> int:
        return self.bank.event_count(split, event_label)

    def background_count(self, split: str) -> int:
        return self.bank.background_count(split)

    def event(self, split: str, event_label: str, index: int) -> np.ndarray:
        return self._remembered(self.bank.event, split, event_label, index)

    def background(self, split: str, index: int, seconds: float) -> np.ndarray:
        return self._remembered(self.bank.background, split, index, seconds)

    def _remembered(self, give: Callable[..., np.ndarray], *key: object) -> np.ndarray:
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key]
        self._arrays[key] = array = give(*key)
        array.flags.writeable = False  # it is shared from now on
        self._bytes += array.nbytes
        while self._bytes > self._limit and len(self._arrays) > 1:
            self._bytes -= self._arrays.popitem(last=False)[1].nbytes
        return array


def active_runs(
    audio: np.ndarray, sample_rate: int, range_db: float = 40.0, max_gap_seconds: float = 0.2, min_seconds: float = 0.1
) -> list[tuple[int, int]]:
    """Where ``audio [N]`` is within ``range_db`` of its loudest 10 ms frame: ``(start, stop)`` in samples.

    Gaps up to ``max_gap_seconds`` are bridged; runs below ``min_seconds`` are dropped unless all are (then the
    longest stays). Silence gives no run.
    """
    if not audio.any():
        return []
    hop = max(1, sample_rate // 100)
    energy = np.add.reduceat(np.square(audio, dtype=np.float64), np.arange(0, len(audio), hop))
    loud = energy >= energy.max() * 10 ** (-range_db / 10)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], loud.astype(np.int8), [0]))))
    runs: list[list[int]] = []
    for start, stop in edges.reshape(-1, 2) * hop:
        if runs and start - runs[-1][1] <= max_gap_seconds * sample_rate:
            runs[-1][1] = int(stop)
        else:
            runs.append([int(start), int(stop)])
    whole = [(start, min(stop, len(audio))) for start, stop in runs]
    long_enough = [run for run in whole if run[1] - run[0] >= min_seconds * sample_rate]
    return long_enough or [max(whole, key=lambda run: run[1] - run[0])]


def loop(audio: np.ndarray, length: int, sample_rate: int) -> np.ndarray:
    """``audio`` repeated (50 ms equal-power crossfades) and cut to ``length`` samples."""
    fade = min(len(audio) // 2, round(0.05 * sample_rate))
    if len(audio) >= length or fade == 0:
        return np.resize(audio, length)
    ramp = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32))
    step = len(audio) - fade
    body = audio[:step].copy()
    body[:fade] = body[:fade] * ramp + audio[step:] * ramp[::-1]
    return np.concatenate((audio[:step], np.resize(body, length - step)))
