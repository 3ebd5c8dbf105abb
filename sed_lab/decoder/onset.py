"""Scores -> at most one event a class and clip: presence by the highest score, onset by a look back from it. In long
recordings: every event, by both thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sed_lab.decoder.base import Decoder, Points, Sure, Threshold
from sed_lab.decoder.median import clipped, events_by_clip, frames_of, joined, per_class, with_highest
from sed_lab.types import Event, Scores


@dataclass(frozen=True)
class OnsetDecoder(Decoder):
    """At most one event a class and clip, for rare events (Amiriparian et al. 2018, section 2.5).

    The class is present when its highest score exceeds ``threshold``. The onset is the first frame up to the highest
    one (the earliest of equals) whose score exceeds ``onset_threshold``, or the highest frame itself; the offset is the
    end of the run above ``onset_threshold`` around the highest frame.

    Args:
        threshold: presence, one number or one a class by event label (theirs: 0.8 baby cry and glass, 0.5 gunshot).
        onset_threshold: one number or one a class.
        lookback_seconds: how far before its peak an event may begin; theirs is "a certain number of frames", and events
            last less than 2.5 s in the mean.
        gap_frames: of one event in a long recording, see `decode_recording`.
    """

    keeps_threshold: ClassVar[bool] = True
    threshold: Threshold
    onset_threshold: Threshold
    lookback_seconds: float
    gap_frames: int

    def smooth(self, scores: Scores) -> Scores:
        """The scores as they are: this decoder filters nothing."""
        return scores

    def decode(self, scores: Scores, threshold: Threshold | None = None) -> dict[str, tuple[Event, ...]]:
        """At most one event of each class a clip; ``threshold`` stands in for the presence threshold."""
        values = per_class(self.threshold if threshold is None else threshold, scores.classes, "threshold")
        return events_by_clip(scores, self.points(scores, values[None]))

    def points(self, scores: Scores, thresholds: np.ndarray) -> Points:
        """Events at each presence threshold of ``thresholds [K]`` or ``[K, C]``."""
        frame, hop = frames_of(scores)
        limit = per_class(self.onset_threshold, scores.classes, "onset_threshold").astype(np.float32)
        shape = (len(frame), len(scores.classes))
        peak, first, end = np.full(shape, -1.0, np.float32), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, array in enumerate(frame):
            if len(array):
                peak[row], first[row], end[row] = _around_peak(array, limit, round(self.lookback_seconds / hop))
        limits = np.asarray(thresholds, np.float32).reshape(len(thresholds), -1)
        parts: list[Points] = []
        for number, presence in enumerate(limits):
            clip, label = np.nonzero(peak > presence)
            part = clipped(scores, hop, clip, label, first[clip, label], end[clip, label])
            parts.append((np.full(len(part[0]), number), *part))
        return joined(parts)

    def decode_recording(self, scores: Scores, threshold: Threshold) -> tuple[Sure, ...]:
        """Every event: each run of frames above ``onset_threshold`` whose highest score exceeds the presence threshold.

        Gaps of up to ``gap_frames`` are closed first ("likely noise", section 2.5). Where the one event of a clip is a
        run without a gap and no longer than the look-back, `decode` gives the same.
        """
        frame, hop = frames_of(scores)
        presence = per_class(threshold, scores.classes, "threshold").astype(np.float32)
        limit = per_class(self.onset_threshold, scores.classes, "onset_threshold").astype(np.float32)
        parts: list[Points] = []
        for row, array in enumerate(frame):
            for label, (high, low) in enumerate(zip(presence, limit, strict=True)):
                first, end = _runs(array[:, label] > min(low, high), self.gap_frames)
                there = np.array([array[i:j, label].max() > high for i, j in zip(first, end, strict=True)], bool)
                which = np.full(there.sum(), row), np.full(there.sum(), label)
                part = clipped(scores, hop, *which, first[there], end[there])
                parts.append((np.zeros(len(part[0]), np.int64), *part))
        return with_highest(scores, events_by_clip(scores, joined(parts)))


def _runs(active: np.ndarray, gap: int) -> tuple[np.ndarray, np.ndarray]:
    """First frame and end of each run of ``active [T]``, gaps of up to ``gap`` frames closed."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], active.astype(np.int8), [0]))))
    first, end = edges[0::2], edges[1::2]
    apart = first[1:] - end[:-1] > gap
    return first[np.append(True, apart)[: len(first)]], end[np.append(apart, True)[: len(end)]]


def _around_peak(array: np.ndarray, limit: np.ndarray, lookback: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Highest score, first frame (at most ``lookback`` before it) and end of the event, each ``[C]``, of ``[T, C]``."""
    time = np.arange(len(array))[:, None]
    top = array.argmax(axis=0)
    above = array > limit
    first = np.where(above & (time <= top) & (time >= top - lookback), time, len(array)).min(axis=0)
    end = np.where(~above & (time > top), time, len(array)).min(axis=0)
    return array.max(axis=0), np.minimum(first, top), end
