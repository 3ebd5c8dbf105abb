"""Sound event bounding boxes: where an event lies is found once, a threshold only says which boxes count.

A box is an onset, an offset, a class and a confidence. Source: Ebbers, Germain, Wichern and Le Roux, "Sound Event
Bounding Boxes", Interspeech 2024, there cSEBB; written from the paper's description. For one class of a clip, with its
scores p(t) constant on each frame and 0 outside the clip:

1. ``D(t) = 2/L (integral of p over [t, t + L/2] - integral over [t - L/2, t])``, linear between the times at which t,
   t - L/2 or t + L/2 meets a frame border.
2. Where D stops to rise, a candidate begins; where it begins to rise again, the candidate ends.
3. A gap between two candidates goes, and both become one, where for each of the two ``highest(event) - lowest(gap) <
   merge_abs`` and ``(highest(event) + .001) / (lowest(gap) + .001) < merge_rel``; all gaps are judged at once.
4. A box's confidence is the mean of p over it, closed gaps included. It is detected where that exceeds the threshold.

R rows are classes of clips, G the times of step 1, T frames, S segments (gap, candidate, gap, ..., gap) of all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby, product
from typing import ClassVar, NamedTuple

import numpy as np

from sed_lab.decoder.base import Decoder, Points, Sure, Threshold, Tried
from sed_lab.decoder.median import events_by_clip, frames_of, per_class
from sed_lab.decoder.runs import ClassRuns, Runs
from sed_lab.types import Event, Scores, frame_times

EPSILON = 1e-3  # keeps ratios of scores finite
SAME = 1e-7  # seconds; times nearer than this are one
FRAMES_AT_ONCE = 1 << 18  # bounds the memory
LEVELS = 200  # thresholds that tuning tries
NO_ABS, NO_REL = 2.0, 10_000.0  # limits that no scores reach

PerClass = float | Mapping[str, float]


class Boxes(NamedTuple):
    """Arrays ``[E]``: clip and class (indices), onset and offset in seconds, confidence; by clip, class and time."""

    clip: np.ndarray
    label: np.ndarray
    onset: np.ndarray
    offset: np.ndarray
    confidence: np.ndarray


class Segments(NamedTuple):
    """Gaps and candidates by turns, of rows of one length, each beginning and ending with a gap.

    ``row [S]``, ``begin [S]`` and ``end [S]`` in seconds, ``area [S]`` (integral of the scores), ``lowest [S]`` and
    ``highest [S]`` score; ``event [S]`` marks candidates.
    """

    row: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    area: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    event: np.ndarray


@dataclass(frozen=True)
class BoxDecoder(Decoder):
    """Boxes of each class and clip, those whose confidence exceeds the threshold detected.

    Args:
        threshold: one number, or one a class by event label.
        step_seconds: L, length of the filter that finds where scores rise and fall, one number or one a class.
        merge_abs: limit of the difference in step 3, one number or one a class; above 1: none.
        merge_rel: limit of the ratio likewise; above 1001: none.
    """

    tunable: ClassVar[tuple[Mapping[str, float], ...]] = tuple(
        {"step_seconds": step, **limits}
        for step, limits in product(
            (0.32, 0.48, 0.64),
            (
                *({"merge_abs": value, "merge_rel": NO_REL} for value in (0.15, 0.2, 0.3)),
                *({"merge_abs": NO_ABS, "merge_rel": value} for value in (1.5, 2.0, 3.0)),
            ),
        )
    )
    threshold: Threshold
    step_seconds: PerClass
    merge_abs: PerClass
    merge_rel: PerClass

    def boxes(self, scores: Scores) -> Boxes:
        """All boxes of ``scores``, whatever their confidence.

        Raises:
            InputError: there are no frame scores.
        """
        step, most, ratio = (
            per_class(getattr(self, name), scores.classes, name) for name in ("step_seconds", "merge_abs", "merge_rel")
        )
        return _merged(list(_candidates(scores, step)), most, ratio)

    def smooth(self, scores: Scores) -> Scores:
        """Scores that are a box's confidence in the frames whose middle lies in it (boxes may begin within a frame)."""
        boxes, (frame, hop) = self.boxes(scores), frames_of(scores)
        out = [np.zeros_like(array) for array in frame]
        first, end = (np.ceil(times / hop - 0.5 - 1e-9).astype(int) for times in (boxes.onset, boxes.offset))
        for clip, label, a, b, value in zip(
            boxes.clip.tolist(), boxes.label.tolist(), first.tolist(), end.tolist(), boxes.confidence, strict=True
        ):
            out[clip][a:b, label] = value
        return replace(scores, frame=tuple(out))

    def tried(self, scores: Scores) -> Iterator[Tried]:
        """Candidates are found once for each length of the filter, as limits only say which of them become one."""
        one = np.ones(len(scores.classes))
        for step, group in groupby(self.tunable, lambda settings: settings["step_seconds"]):
            found = list(_candidates(scores, step * one))
            for settings in group:
                boxes = _merged(found, settings["merge_abs"] * one, settings["merge_rel"] * one)
                levels = _levels(boxes, len(one))
                yield Tried(settings, levels, above(boxes, levels), _Runs(boxes, _ends(scores), len(one)))

    def decode(self, scores: Scores, threshold: Threshold | None = None) -> dict[str, tuple[Event, ...]]:
        values = per_class(self.threshold if threshold is None else threshold, scores.classes, "threshold")
        return events_by_clip(scores, self.points(scores, values[None]))

    def points(self, scores: Scores, thresholds: np.ndarray) -> Points:
        shape = len(thresholds), len(scores.classes)
        limits = np.broadcast_to(thresholds[:, None] if thresholds.ndim == 1 else thresholds, shape)
        return above(self.boxes(scores), limits)

    def decode_recording(self, scores: Scores, threshold: Threshold) -> tuple[Sure, ...]:
        boxes, limits = self.boxes(scores), per_class(threshold, scores.classes, "threshold")
        there = (boxes.onset < boxes.offset) & (boxes.confidence > limits[boxes.label])
        found = zip(*(each[there].tolist() for each in boxes[1:]), strict=True)
        return tuple(sorted(Sure(Event(a, b, scores.classes[label]), value) for label, a, b, value in found))

    def runs(self, scores: Scores) -> ClassRuns:
        """Each box from its confidence down to 0, below which a clip is one run."""
        return _Runs(self.boxes(scores), _ends(scores), len(scores.classes))


def segments(p: np.ndarray, times: np.ndarray, step_seconds: float) -> Segments:
    """Gaps and candidates of rows of scores: steps 1 and 2.

    Args:
        p: ``[R, T]`` scores. times: ``[T + 1]`` borders of the frames in seconds.
        step_seconds: L.
    """
    half, end = step_seconds / 2, times[-1]
    grid = np.sort(np.clip(np.concatenate([times, times - half, times + half]), 0, end))
    grid = grid[np.append(True, np.diff(grid) > SAME)]  # [G]
    area = np.zeros((len(p), len(times)))
    np.cumsum(p * np.diff(times), axis=1, out=area[:, 1:])  # [R, T + 1] integral of p up to each border
    now, before, after = (_at(area, times, t) for t in (grid, grid - half, grid + half))
    rises = np.diff(after - 2 * now + before, axis=1) > 0  # [R, G - 1]: whether D rises from a time on
    was = np.concatenate([np.ones((len(p), 1), bool), rises], axis=1)
    will = np.concatenate([rises, np.zeros((len(p), 1), bool)], axis=1)
    onset, offset = was & ~will, ~was & will  # [R, G], by turns; what is open at the end closes there
    onset[:, -1], offset[:, -1] = False, ~was[:, -1]
    row, at = np.nonzero(onset | offset)  # [borders of segments], row by row
    count = np.bincount(row, minlength=len(p))
    segment_row = np.repeat(np.arange(len(p)), count + 1)  # [S]
    begins, ends = np.zeros(len(segment_row)), np.full(len(segment_row), end)
    area_begin, area_end = np.zeros(len(begins)), np.repeat(area[:, -1], count + 1)
    ended = np.arange(len(row)) + row  # the segment that each border ends; it begins the next
    ends[ended] = begins[ended + 1] = grid[at]
    area_end[ended] = area_begin[ended + 1] = now[row, at]
    event = np.zeros(len(begins), bool)
    event[ended] = offset[row, at]
    first = np.searchsorted(times, begins + SAME, side="right") - 1  # [S]: first frame, and one past the last
    last = np.searchsorted(times, ends - SAME, side="left")
    edges = (segment_row * p.shape[1])[:, None] + np.stack([first, np.maximum(last, first + 1)], axis=1)
    flat = np.append(p.ravel(), 0.0)
    lowest, highest = (take.reduceat(flat, np.minimum(edges.ravel(), p.size))[::2] for take in (np.minimum, np.maximum))
    return Segments(segment_row, begins, ends, area_end - area_begin, lowest, highest, event)


def merge(found: Segments, most: np.ndarray, ratio: np.ndarray) -> tuple[np.ndarray, ...]:
    """Boxes: row, onset, offset and confidence ``[E]``, by steps 3 and 4; ``most`` and ``ratio`` are limits ``[R]``."""
    event = np.flatnonzero(found.event)  # [candidates]
    inner = np.flatnonzero(np.diff(event) == 2)  # those with a gap and a candidate of their row after them
    gap, row = event[inner] + 1, found.row[event[inner]]
    closed = np.zeros(max(len(event) - 1, 0), bool)
    closes = np.ones(len(inner), bool)
    for side in (gap - 1, gap + 1):
        high, low = found.highest[side], found.lowest[gap]
        closes &= (high - low < most[row]) & ((high + EPSILON) / (low + EPSILON) < ratio[row])
    closed[inner] = closes
    first, last = event[np.append(True, ~closed)[: len(event)]], event[np.append(~closed, True)[: len(event)]]
    area = np.add.reduceat(np.append(found.area, 0.0), np.stack([first, last + 1], axis=1).ravel())[::2]
    onset, offset = found.begin[first], found.end[last]
    confidence = np.clip(area / np.maximum(offset - onset, SAME), 0.0, 1.0)
    return found.row[first], np.round(onset, 6), np.round(offset, 6), confidence


def _at(area: np.ndarray, times: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The integral up to the times ``at [G]``, linear between the borders of frames, constant beyond the clip."""
    at = np.clip(at, times[0], times[-1])
    frame = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    share = (at - times[frame]) / (times[frame + 1] - times[frame])
    return area[:, frame] * (1 - share) + area[:, frame + 1] * share


def _candidates(scores: Scores, step: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, Segments]]:
    """Clips and classes (indices ``[R]``) and their segments, part by part; ``step [C]`` is the filter's length."""
    frame, hop = frames_of(scores)
    borders = [
        frame_times(len(array), hop, float(seconds)) for array, seconds in zip(frame, scores.duration, strict=True)
    ]
    for rows, times in _of_one_length(borders):
        stack = np.stack([frame[row][: len(times) - 1].T for row in rows])  # [N, C, T]
        at_once = max(1, FRAMES_AT_ONCE // stack.shape[2])
        for length in np.unique(step):
            columns = np.flatnonzero(step == length)
            clip, label = (each.ravel() for each in np.meshgrid(rows, columns, indexing="ij"))  # [R]
            own = stack[:, columns].reshape(len(clip), -1)
            for i in range(0, len(clip), at_once):
                part = slice(i, i + at_once)
                p = own[part].astype(np.float64).round(6)
                yield clip[part], label[part], segments(p, times, float(length))


def _merged(parts: list[tuple[np.ndarray, np.ndarray, Segments]], most: np.ndarray, ratio: np.ndarray) -> Boxes:
    """All boxes of the candidates in ``parts``; ``most`` and ``ratio`` are limits ``[C]``."""
    nothing = np.zeros(0, np.int64)
    boxes = [Boxes(nothing, nothing, np.zeros(0), np.zeros(0), np.zeros(0))]
    for clip, label, found in parts:
        row, *box = merge(found, most[label], ratio[label])
        boxes.append(Boxes(clip[row], label[row], *box))
    whole = Boxes(*(np.concatenate(each) for each in zip(*boxes, strict=True)))
    order = np.lexsort((whole.onset, whole.label, whole.clip))
    return Boxes(*(each[order] for each in whole))


def above(boxes: Boxes, limits: np.ndarray) -> Points:
    """The boxes whose confidence exceeds each of the thresholds ``[K, C]``."""
    there = boxes.onset < boxes.offset
    found = [np.flatnonzero(there & (boxes.confidence > limit[boxes.label])) for limit in limits]
    number = np.repeat(np.arange(len(limits)), [len(each) for each in found])
    which = np.concatenate([np.zeros(0, np.int64), *found])
    return (number, *(each[which] for each in boxes[:4]))


def _levels(boxes: Boxes, classes: int) -> np.ndarray:
    """Thresholds ``[K, C]`` between two confidences of a class, ever fewer of those that leave many boxes."""
    out = np.full((LEVELS, classes), 0.5)
    for column in range(classes):
        there = np.unique(np.append(boxes.confidence[boxes.label == column], 0.0))
        middle = (there[1:] + there[:-1]) / 2
        if len(middle):
            out[:, column] = middle[-np.geomspace(1, len(middle), LEVELS).round().astype(int)]
    return out


def _ends(scores: Scores) -> np.ndarray:
    """Where the last frame of each clip ends, in seconds ``[N]``."""
    frame, hop = frames_of(scores)
    return np.array([frame_times(len(a), hop, float(d))[-1] for a, d in zip(frame, scores.duration, strict=True)])


def _of_one_length(borders: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Clips (indices) whose frames have the same borders, and these."""
    groups: dict[tuple[int, float], list[int]] = {}
    for row, times in enumerate(borders):
        if len(times) > 1:
            groups.setdefault((len(times), float(times[-1])), []).append(row)
    for rows in groups.values():
        yield np.array(rows), borders[rows[0]]


class _Runs:
    """Each box from its confidence down to 0, below which a clip is one run."""

    def __init__(self, boxes: Boxes, ends: np.ndarray, classes: int) -> None:
        self.boxes, self.ends = boxes, ends
        self.highest = np.zeros((len(ends), classes))
        np.maximum.at(self.highest, (boxes.clip, boxes.label), boxes.confidence)

    def above(self, column: int, floor: float) -> Runs:
        """The runs of one class that are there at a threshold above ``floor``."""
        own = Boxes(*(each[self.boxes.label == column] for each in self.boxes))
        clips = np.arange(len(self.ends))
        runs = Runs(
            clip=np.concatenate([own.clip, clips]),
            onset=np.concatenate([own.onset, np.zeros(len(clips))]),
            offset=np.concatenate([own.offset, self.ends]),
            high=np.concatenate([own.confidence, np.zeros(len(clips))]),
            low=np.concatenate([np.zeros(len(own.clip)), np.full(len(clips), -np.inf)]),
        )
        return runs.take(np.flatnonzero(runs.high > floor))
