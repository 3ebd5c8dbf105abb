"""Runs of frames that some threshold gives: what an exact PSDS follows along all thresholds.

They are few: around each frame the longest run whose scores are not below that frame's. A run is detected at the
thresholds from the higher of the two scores beside it up to its lowest score.

N clips, M of them with runs, C classes, L columns (the longest clip's frames and one of silence on each side), E runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sed_lab.errors import InputError
from sed_lab.types import Scores, frame_times


@dataclass(frozen=True)
class Runs:
    """Every run of one class ``[E]``: its clip (index), onset and offset in seconds.

    It is an event at the thresholds from ``low`` (inclusive; there it merges with more) up to ``high`` (exclusive).
    """

    clip: np.ndarray
    onset: np.ndarray
    offset: np.ndarray
    high: np.ndarray
    low: np.ndarray

    def take(self, rows: np.ndarray) -> Runs:
        """The runs of ``rows`` (indices)."""
        return Runs(self.clip[rows], self.onset[rows], self.offset[rows], self.high[rows], self.low[rows])


class ClassRuns(Protocol):
    """The runs of every class, to be asked for one by one."""

    @property
    def highest(self) -> np.ndarray:
        """``[N, C]``: the score below which a clip has a run of the class at every threshold."""

    def above(self, column: int, floor: float) -> Runs:
        """The runs of a class's column that are there at a threshold above ``floor``."""


class AllRuns:
    """The runs of scores as they are.

    Raises:
        InputError: there are no frame scores.
    """

    def __init__(self, scores: Scores) -> None:
        if scores.frame is None or scores.frame_hop is None:
            raise InputError(f"{scores.name}: PSDS needs frame scores, there are clip scores only")
        self.frame = scores.frame
        self.times = [  # N times [T + 1], the borders of a clip's frames
            frame_times(len(array), scores.frame_hop, float(seconds))
            for array, seconds in zip(scores.frame, scores.duration, strict=True)
        ]
        own = [array[: len(times) - 1].max(axis=0) for array, times in zip(self.frame, self.times, strict=True)]
        self.highest = np.stack(own)

    def above(self, column: int, floor: float = -np.inf) -> Runs:
        """The runs of one class in every clip, or those that are there at a threshold above ``floor``."""
        clips = np.flatnonzero(self.highest[:, column] > floor)  # [M]
        longest = max((len(self.times[n]) - 1 for n in clips), default=0)
        rows = np.full((len(clips), longest + 2), -np.inf, np.float32)  # [M, L] scores, silence on both sides
        borders = np.zeros((len(clips), longest + 2))  # [M, L] seconds: column t begins at borders[:, t]
        for row, n in enumerate(clips):
            own = self.times[n]
            rows[row, 1 : len(own)] = self.frame[n][: len(own) - 1, column]
            borders[row, 1 : len(own) + 1] = own
        # [M, L] each: first and last column of the run around a frame, in which no score is lower than the frame's.
        first, last = longest + 1 - _extent(rows[:, ::-1])[:, ::-1], _extent(rows)
        clip, frame = np.nonzero(rows > floor)  # [frames above], without the silence
        first, last = first[clip, frame], last[clip, frame]  # [frames above]
        # One number stands for (clip, first, last).
        _, keep = np.unique(
            (clip * (longest + 2) + first) * (longest + 2) + last, return_index=True
        )  # ties share a run
        clip, frame, first, last = clip[keep], frame[keep], first[keep], last[keep]  # [E]
        # [E] each: there from its lowest score down to the higher one of the two beside it, where a longer run begins.
        low = np.maximum(rows[clip, first - 1], rows[clip, last + 1])
        return Runs(clips[clip], borders[clip, first], borders[clip, last + 1], rows[clip, frame], low)


def _extent(rows: np.ndarray) -> np.ndarray:
    """For each element of ``rows [R, T]``, the last index up to which no score to its right is lower; by doubling."""
    length = rows.shape[1]
    lowest = [rows]  # lowest[k][:, t] is the minimum of 2**k scores from t on
    while (step := 1 << (len(lowest) - 1)) * 2 <= length:
        before = lowest[-1]  # [R, T - step + 1]
        lowest.append(np.minimum(before[:, : before.shape[1] - step], before[:, step:]))
    reach = np.broadcast_to(np.arange(length), rows.shape).copy()  # [R, T]: itself at first
    for k in reversed(range(len(lowest))):  # steps of ..., 4, 2, 1 columns, each taken where all of them are as high
        start = reach + 1
        inside = start < lowest[k].shape[1]
        ahead = np.take_along_axis(lowest[k], np.minimum(start, lowest[k].shape[1] - 1), axis=1)
        reach[inside & (ahead >= rows)] += 1 << k
    return reach
