"""Scores -> events: median filter, threshold, runs of frames.

A run of frames with ``score > threshold`` (strict) is an event; its onset is the first frame's begin, its offset the
last frame's end, at most the clip's duration; both to the microsecond, so that writing and reading a file changes
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.ndimage import median_filter

from sed_lab.decoder.base import GRID, Decoder, Events, Points, Sure, Threshold, Tried
from sed_lab.decoder.runs import AllRuns
from sed_lab.errors import InputError
from sed_lab.types import Event, Scores


def median_frames(seconds: float, frame_hop: float) -> int:
    """Window of ``seconds`` in frames: the nearest odd number, of two equally near the longer; at least 1.

    0.45 s at 64 ms are 7.03 frames, so 7, the window of the DCASE 2021 baseline.
    """
    return 2 * math.floor(seconds / frame_hop / 2 + 1e-9) + 1


@dataclass(frozen=True)
class MedianDecoder(Decoder):
    """Median filter over time, then a threshold.

    Args:
        threshold: one number, or one a class by event label.
        median_seconds: length of the median window, one number or one a class; `median_frames` says how many frames.
            Filtering scores and thresholding them gives the same events as filtering decisions (tested).
        median_share: where given, a class's window is this share of its mean event length; see `fit`.
        median_passes: how often the filter runs (Huang et al. 2021 filter probabilities and then decisions: 2).
        clip_gate: a class is detected only in clips whose clip score is at least this (None: no gate).
        min_event_seconds: shorter events are dropped.
        merge_gap_seconds: gaps of a class up to this long are closed, before short events are dropped.
    """

    tunable: ClassVar[tuple[Mapping[str, float], ...]] = tuple(
        {"median_seconds": seconds} for seconds in (0.05, 0.2, 0.32, 0.45, 0.7, 1.0, 1.6, 2.5)
    )
    threshold: Threshold
    median_seconds: float | Mapping[str, float]
    median_share: float | None
    median_passes: int
    clip_gate: float | None
    min_event_seconds: float
    merge_gap_seconds: float

    def fit(self, events: Iterable[Event], classes: Sequence[str]) -> MedianDecoder:
        """With ``median_share``, this decoder with each class's window, taken from held-out ``events``.

        A class without an event keeps its ``median_seconds``. Source: Huang et al. 2021, whose published base takes a
        third of the mean length in the validation set.
        """
        if self.median_share is None:
            return self
        lengths: dict[str, list[float]] = {}
        for event in events:
            lengths.setdefault(event.event_label, []).append(event.offset - event.onset)
        seconds = dict(zip(classes, per_class(self.median_seconds, classes, "median_seconds").tolist(), strict=True))
        seconds |= {name: self.median_share * float(np.mean(lengths[name])) for name in classes if name in lengths}
        return replace(self, median_seconds=seconds, median_share=None)

    def smooth(self, scores: Scores) -> Scores:
        """Median-filtered frame scores; where the clip gate is shut, zeros. Borders are mirrored (d c b a|a b c d).

        Raises:
            InputError: no frame scores, no clip scores for the gate, or ``median_share`` without `fit`.
        """
        frame, hop = frames_of(scores)
        if self.median_share is not None:
            raise InputError(
                "decoder.median_share needs events of held-out clips; name a subset with strong labels by tune_on, or"
                " give decoder.median_seconds and decoder.median_share=null"
            )
        seconds = per_class(self.median_seconds, scores.classes, "median_seconds")
        windows = np.array([median_frames(value, hop) for value in seconds])
        out: list[np.ndarray] = list(frame)
        for _ in range(self.median_passes):
            out = _median(out, windows)
        if self.clip_gate is not None:
            if scores.clip is None:
                raise InputError(f"{scores.name}: clip_gate {self.clip_gate} needs clip scores, there are none")
            out = [self.gate(array, clip) for array, clip in zip(out, scores.clip, strict=True)]
        return replace(scores, frame=tuple(out))

    def gate(self, frame: np.ndarray, clip: np.ndarray | None) -> np.ndarray:
        if self.clip_gate is None:
            return frame
        assert clip is not None
        return frame * (clip >= self.clip_gate)[..., None, :]

    def decode(self, scores: Scores, threshold: Threshold | None = None) -> dict[str, tuple[Event, ...]]:
        values = per_class(self.threshold if threshold is None else threshold, scores.classes, "threshold")
        return events_by_clip(scores, self.points(scores, values[None]))

    def points(self, scores: Scores, thresholds: np.ndarray) -> Points:
        return self._above(self.smooth(scores), thresholds)

    def tried(self, scores: Scores) -> Iterator[Tried]:
        levels = np.tile(np.array(GRID)[:, None], len(scores.classes))
        for settings in self.tunable:
            smooth = replace(self, median_seconds=settings["median_seconds"]).smooth(scores)
            yield Tried(settings, levels, self._above(smooth, levels), AllRuns(smooth))

    def _above(self, smooth: Scores, thresholds: np.ndarray) -> Points:
        """Events of filtered scores at each of ``thresholds [K]`` or ``[K, C]``."""
        point, clip, label, onset, offset = _runs(smooth, np.asarray(thresholds, dtype=np.float64))
        if self.merge_gap_seconds > 0:
            point, clip, label, onset, offset = _merge((point, clip, label, onset, offset), self.merge_gap_seconds)
        keep = offset - onset >= self.min_event_seconds - 1e-9
        return point[keep], clip[keep], label[keep], onset[keep], offset[keep]

    def decode_recording(self, scores: Scores, threshold: Threshold) -> tuple[Sure, ...]:
        smooth = replace(self, clip_gate=None).smooth(scores)
        values = per_class(threshold, scores.classes, "threshold")
        return with_highest(smooth, events_by_clip(scores, self._above(smooth, values[None])))


def per_class(value: float | Mapping[str, float], classes: Sequence[str], name: str) -> np.ndarray:
    """``value`` as ``[C]`` in the order of ``classes``.

    Raises:
        InputError: a mapping lacks a class or names an unknown one.
    """
    if not isinstance(value, Mapping):
        return np.full(len(classes), float(value))
    missing, unknown = [c for c in classes if c not in value], [c for c in value if c not in classes]
    if missing or unknown:
        raise InputError(f"{name} per class: {', '.join(missing or unknown)} {'missing' if missing else 'unknown'}")
    return np.array([float(value[label]) for label in classes])


def events_by_clip(scores: Scores, points: Points) -> dict[str, tuple[Event, ...]]:
    """Events of one operating point by clip_id, in time order."""
    _, clip, label, onset, offset = points
    found: dict[str, list[Event]] = {clip_id: [] for clip_id in scores.clip_id}
    for c, k, start, end in zip(clip.tolist(), label.tolist(), onset.tolist(), offset.tolist(), strict=True):
        found[scores.clip_id[c]].append(Event(start, end, scores.classes[k]))
    return {clip_id: tuple(sorted(events)) for clip_id, events in found.items()}


def with_highest(scores: Scores, events: Events) -> tuple[Sure, ...]:
    """The events of the only clip of ``scores``, each with the highest score of its class within it."""
    ((frame,), hop), (found,) = frames_of(scores), events.values()
    sure = []
    for event in found:
        first = int(np.floor(event.onset / hop + 1e-4))
        last = max(first + 1, int(np.ceil(event.offset / hop - 1e-4)))
        sure.append(Sure(event, float(frame[first:last, scores.classes.index(event.event_label)].max())))
    return tuple(sure)


def frames_of(scores: Scores) -> tuple[tuple[np.ndarray, ...], float]:
    """Frame scores and their hop.

    Raises:
        InputError: there are none.
    """
    if scores.frame is None or scores.frame_hop is None:
        raise InputError(f"{scores.name}: events need frame scores, there are clip scores only")
    return scores.frame, scores.frame_hop


def _median(frame: list[np.ndarray], windows: np.ndarray) -> list[np.ndarray]:
    """Filter clips of equal length together, classes of equal window together."""
    out = [array.copy() for array in frame]
    lengths = np.array([len(array) for array in frame])
    for length in np.unique(lengths[lengths > 0]):
        rows = np.flatnonzero(lengths == length)
        stack = np.stack([frame[row] for row in rows])
        filtered = stack.copy()
        for window in np.unique(windows[windows > 1]):
            column = windows == window
            half = int(window) // 2  # mirrored here, as scipy errs where the window is longer than the clip
            wide = np.pad(stack[:, :, column], ((0, 0), (half, half), (0, 0)), mode="symmetric")
            filtered[:, :, column] = median_filter(wide, size=(1, int(window), 1))[:, half : half + length]
        for row, array in zip(rows, filtered, strict=True):
            out[row] = array
    return out


def _runs(scores: Scores, thresholds: np.ndarray) -> Points:
    """Runs of frames above each threshold, ordered by operating point, clip, class, time."""
    frame, hop = frames_of(scores)
    n, c = len(frame), len(scores.classes)
    longest = max((len(array) for array in frame), default=0)
    padded = np.full((n, c, longest + 2), -1.0, np.float32)  # a silent frame on both sides closes every run
    for row, array in zip(padded, frame, strict=True):
        row[:, 1 : len(array) + 1] = array.T
    # Compared as float32, so that a score written as 0.31 does not exceed the threshold 0.31.
    limits = np.broadcast_to(thresholds[:, None] if thresholds.ndim == 1 else thresholds, (len(thresholds), c))
    limits = limits.astype(np.float32)
    parts: list[Points] = []
    for number, limit in enumerate(limits):
        active = padded > limit[None, :, None]
        clip, label, time = np.nonzero(active[:, :, 1:] != active[:, :, :-1])
        part = clipped(scores, hop, clip[0::2], label[0::2], time[0::2], time[1::2])
        parts.append((np.full(len(part[0]), number), *part))
    return joined(parts)


def clipped(
    scores: Scores, hop: float, clip: np.ndarray, label: np.ndarray, first: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frames ``[first, end)`` as seconds within the clip; events that begin after its end are dropped."""
    onset = np.round(first * hop, 6)
    offset = np.minimum(np.round(end * hop, 6), np.round(scores.duration[clip], 6))
    keep = onset < offset
    return clip[keep], label[keep], onset[keep], offset[keep]


def joined(parts: Sequence[Points]) -> Points:
    """The events of several operating points as one."""
    kinds = (np.int64, np.int64, np.int64, np.float64, np.float64)
    point, clip, label, onset, offset = (
        np.concatenate([np.zeros(0, kind), *(part[i] for part in parts)]) for i, kind in enumerate(kinds)
    )
    return point, clip, label, onset, offset


def _merge(points: Points, gap: float) -> Points:
    """Close gaps up to ``gap`` seconds between events of one operating point, clip and class."""
    point, clip, label, onset, offset = points
    same = (point[1:] == point[:-1]) & (clip[1:] == clip[:-1]) & (label[1:] == label[:-1])
    joined = same & (onset[1:] - offset[:-1] <= gap + 1e-9)
    first, last = np.flatnonzero(np.append(True, ~joined)), np.flatnonzero(np.append(~joined, True))
    if not len(onset):
        return points
    return point[first], clip[first], label[first], onset[first], offset[last]
