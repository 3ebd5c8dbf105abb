"""What the explorer shows, without its page: from the settings of a decoder to events, F1 and curves.

N clips, C classes. Nothing here is fast enough by chance: smoothed scores and boxes are kept while only thresholds
move, and hits of all clips and classes are counted in one matching.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from sed_lab.decoder.base import Decoder, Threshold
from sed_lab.decoder.box import NO_ABS, NO_REL, BoxDecoder, above
from sed_lab.decoder.median import MedianDecoder, events_by_clip, per_class
from sed_lab.errors import InputError
from sed_lab.metric.clip import clip_scores, clip_targets
from sed_lab.metric.det import det
from sed_lab.metric.exact import psds_of_scores
from sed_lab.metric.intersection import Counts, f1, f1_result
from sed_lab.metric.psds import Psds
from sed_lab.metric.table import EventTable, event_table
from sed_lab.metric.tune import Rule, collar_hits
from sed_lab.report.clip_view import ALL_DECIMALS, Verdict, judge
from sed_lab.report.run_folder import RunFolder, read_run
from sed_lab.run.decoding import Decoding, of_record
from sed_lab.run.trust import understood
from sed_lab.types import Scores

ORDERS = {
    "a": "worst of A first",
    "b": "worst of B first",
    "difference": "A and B differ most first",
    "name": "by name",
}


class Slider(NamedTuple):
    """A number of a decoder that can be moved: its name, in words, and from where to where in which steps.

    At ``most`` it stands for ``beyond`` where that is given.
    """

    name: str
    words: str
    least: float
    most: float
    step: float
    beyond: float | None = None


SLIDERS: dict[str, tuple[Slider, ...]] = {
    "MedianDecoder": (Slider("median_seconds", "Median window, s", 0, 4, 0.05),),
    "BoxDecoder": (
        Slider("step_seconds", "Step filter, s", 0.1, 2, 0.02),
        Slider("merge_abs", "Join across falls below", 0, 1, 0.02, NO_ABS),
        Slider("merge_rel", "Join across ratios below", 1, 10, 0.1, NO_REL),
    ),
    "OnsetDecoder": (Slider("onset_threshold", "Onset threshold", 0, 1, 0.01),),
}


@dataclass(frozen=True)
class System:
    """One system of a run, on its test clips: their scores, in the order of ``run.truth``, and its decoders."""

    run: RunFolder
    name: str
    scores: Scores
    decodings: tuple[Decoding, ...]
    rule: Rule
    zero_score: bool
    reference: EventTable
    _kept: dict[str, tuple[Decoder, Any]] = field(default_factory=dict, compare=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the scores."""
        return self.scores.classes

    def start(self, number: int = 0) -> Decoder:
        """The decoder of ``decodings[number]`` with its threshold."""
        return _with(self.decodings[number].decoder, "threshold", self.decodings[number].threshold)

    def found(self, decoder: Decoder) -> Found:
        """The events of ``decoder`` in all clips, and which of them are right under the run's rule."""
        c = len(self.classes)
        _, clip, label, onset, offset = self._points(decoder)
        table = EventTable(clip, clip, label, onset, offset)  # each clip a point, so that hits are counted by clip
        share = None if self.rule["onset_only"] else self.rule["offset_share"]
        n = len(self.scores.clip_id)
        hits, detected = collar_hits(table, self.reference, (n, c), self.rule["collar"], share)
        key = self.reference.clip * c + self.reference.label
        reference = np.bincount(key, minlength=n * c).reshape(n, c).astype(float)
        return Found(self, table, hits, detected, reference)

    def _points(self, decoder: Decoder) -> Any:
        limits = per_class(decoder.threshold, self.classes, "threshold")[None]
        still = _with(decoder, "threshold", 0.5)
        if isinstance(decoder, MedianDecoder):
            smooth = self._once("smooth", still, partial(decoder.smooth, self.scores))
            return replace(decoder, median_seconds=0.0, clip_gate=None).points(smooth, limits)
        if isinstance(decoder, BoxDecoder):
            return above(self._once("boxes", still, partial(decoder.boxes, self.scores)), limits)
        return decoder.points(self.scores, limits)

    def psds(self, decoder: Decoder) -> dict[str, Psds]:
        """Exact PSDS and its curves over all thresholds, after the filter or the boxes of ``decoder``."""
        still = _with(decoder, "threshold", 0.5)
        make = partial(psds_of_scores, self.scores, self.run.truth, self.run.duration, decoder=decoder)
        return cast(dict[str, Psds], self._once("psds", still, make))

    def det(self) -> dict[str, Any]:
        """DET curves of the clip scores, as `sed_lab.metric.det.det` gives them."""
        labels = {clip: sorted({event.event_label for event in events}) for clip, events in self.run.truth.items()}
        target = clip_targets(labels, self.scores.clip_id, self.classes)
        return det(clip_scores(self.scores)[0], target, self.classes)

    def _once(self, what: str, decoder: Decoder, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, kept until it is asked for another ``decoder``."""
        if what not in self._kept or self._kept[what][0] != decoder:
            self._kept[what] = (decoder, make())
        return self._kept[what][1]


@dataclass(frozen=True)
class Found:
    """Events of all clips, and counts ``[N, C]``: hits, detections, true events."""

    system: System
    events: EventTable
    hits: np.ndarray
    detected: np.ndarray
    reference: np.ndarray

    def result(self) -> dict[str, Any]:
        """Event F1 macro, micro and ``per_class``, counted and averaged as `sed_lab.metric.event.event_f1` does."""
        true, found, there = (counts.sum(0) for counts in (self.hits, self.detected, self.reference))
        c = len(there)
        counts = Counts(true[None], (found - true)[None], np.zeros((1, c, c)), found[None], there, np.zeros(c))
        return f1_result(counts, self.system.classes, self.system.zero_score)

    def by_clip(self, column: int | None = None) -> np.ndarray:
        """F1 ``[N]`` of each clip over all classes, or of one; 1 where there is nothing to find and nothing found."""
        some = slice(None) if column is None else slice(column, column + 1)
        true, found, there = (counts[:, some].sum(1) for counts in (self.hits, self.detected, self.reference))
        return np.nan_to_num(f1(true, found - true, there), nan=1.0)

    def verdict(self, clip: int) -> Verdict:
        """The events of one clip with their fate, under the same rule as the counts."""
        system = self.system
        scores, rows = system.scores, np.flatnonzero(self.events.clip == clip)
        own = self.events.take(rows)
        one = scores.select([scores.clip_id[clip]])
        zero = np.zeros(len(rows), np.int64)
        found = events_by_clip(one, (zero, zero, own.label, own.onset, own.offset))[one.clip_id[0]]
        name, rule = one.clip_id[0], system.rule
        ends = math.inf if rule["onset_only"] else rule["collar"]
        return judge(name, system.run.truth[name], found, rule["collar"], ends, rule["offset_share"], ALL_DECIMALS)


def read_systems(folders: Sequence[Path], trusted: Sequence[str] = ()) -> list[System]:
    """Every system that can be explored, of one run or of two on the same clips, each run's best first.

    Raises:
        InputError: a run has no scores of frames or no true events, or a decoder that is not sed_lab's nor of a
            ``trusted`` package; or two runs differ in clips or classes.
    """
    found: list[System] = []
    for folder in folders:
        run = read_run(folder)
        with understood(folder):
            found += _systems(run, folder, trusted)
        first = found[0]
        if found[-1].classes != first.classes or run.truth != first.run.truth:
            raise InputError(f"{folders[0]} and {folder} were not tested on the same clips and classes; compare others")
    return found


def _systems(run: RunFolder, folder: Path, trusted: Sequence[str]) -> list[System]:
    if not run.scores:
        raise InputError(f"{folder} has no scores of its test clips; evaluate its detector with sed-evaluate first")
    framed = [name for name in run.systems if name in run.scores and run.scores[name].frame is not None]
    if run.weak or not framed:
        raise InputError(f"{folder} scores or labels whole clips, in which no events can be moved; look at report.html")
    if not any(run.truth.values()):
        raise InputError(
            f"{folder} has no true events of its test clips, so nothing can be right or wrong; give others"
        )
    clips, classes = list(run.truth), run.scores[framed[0]].classes
    unknown = sorted({event.event_label for events in run.truth.values() for event in events} - {*classes})
    lacking = [clip for name in framed for clip in clips if clip not in {*run.scores[name].clip_id}]
    if unknown or lacking:
        raise InputError(
            f"{folder} has no scores of {(unknown or lacking)[0]}; evaluate its detector with sed-evaluate"
        )
    decodings = of_record(run.record, classes, framed, trusted)
    set_to = run.metrics.get("settings", {}).get("event_f1", {})
    collar, _, share = run.collars()
    rule = Rule(collar=collar, offset_share=share, onset_only=bool(set_to.get("onset_only", False)))
    reference = event_table([run.truth], clips, classes)
    zero = bool(set_to.get("zero_score", True))
    return [
        System(run, name, run.scores[name].select(clips), tuple(decodings[name]), rule, zero, reference)
        for name in framed
    ]


def ranked(sides: Sequence[Found], order: str, column: int | None = None) -> list[int]:
    """Clips (indices) in an order of `ORDERS`; with ``column`` only those that hold or were given that class."""
    a, b = sides[0].by_clip(column), sides[-1].by_clip(column)
    errors = [side.detected + side.reference - 2 * side.hits for side in sides]
    some = slice(None) if column is None else slice(column, column + 1)
    wrong_a, wrong_b = errors[0][:, some].sum(1), errors[-1][:, some].sum(1)
    there = sum((side.detected + side.reference)[:, some].sum(1) for side in sides) > 0
    names = sides[0].system.scores.clip_id
    keys = {"a": (a, -wrong_a), "b": (b, -wrong_b), "difference": (-abs(a - b), -abs(wrong_a - wrong_b))}
    first, second = keys.get(order, (np.zeros(len(a)), np.zeros(len(a))))
    chosen = sorted(range(len(names)), key=lambda i: (first[i], second[i], names[i]))
    return [i for i in chosen if column is None or there[i]]


def moved(decoder: Decoder, name: str, value: float, classes: Sequence[str], label: str | None = None) -> Decoder:
    """``decoder`` with one number set to ``value``, for all classes or for ``label`` alone."""
    if label is None:
        return _with(decoder, name, float(value))
    own = per_class(getattr(decoder, name), classes, name).tolist()
    return _with(decoder, name, {**dict(zip(classes, own, strict=True)), label: float(value)})


def sliders(decoder: Decoder) -> tuple[Slider, ...]:
    """What of ``decoder`` can be moved, its threshold first."""
    return (Slider("threshold", "Threshold", 0, 1, 0.01), *SLIDERS.get(type(decoder).__name__, ()))


def value_of(decoder: Decoder, name: str, classes: Sequence[str], label: str | None = None) -> float:
    """The number ``name`` of ``decoder`` for a class, or the median over classes."""
    own = per_class(getattr(decoder, name), classes, name)
    return float(np.median(own)) if label is None else float(own[list(classes).index(label)])


def _with(decoder: Decoder, name: str, value: Threshold | Mapping[str, float]) -> Decoder:
    return cast(Decoder, replace(cast(Any, decoder), **{name: value}))
