"""What a decoder is to the rest: fitted on held-out clips, it smooths scores and turns them into events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from sed_lab.decoder.runs import AllRuns, ClassRuns
from sed_lab.types import Event, Scores

Points = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Events of many operating points as arrays ``[E]``: operating point, clip, class (indices), onset, offset [s]."""

GRID = tuple(np.round(np.arange(0.01, 1, 0.02), 2).tolist())
"""Thresholds to choose from: 0.01, 0.03, ..., 0.99."""

Threshold = float | Mapping[str, float]
Events = Mapping[str, tuple[Event, ...]]


class Sure(NamedTuple):
    """An event and how sure a decoder is of it, 0 to 1: what a threshold would have to exceed to lose the event.

    Of a sound event bounding box that is the box's own confidence, the mean score of the class over the box (Ebbers et
    al. 2024). Of any other decoder's event it is the highest score of the class within it, of the scores that are
    compared with the threshold: median-filtered ones, where the decoder filters.
    """

    event: Event
    confidence: float


class Tried(NamedTuple):
    """What scores give with some of a decoder's tunable settings, before thresholds are chosen.

    ``points`` are the events at each threshold of ``levels [K, C]``, ``runs`` those of the class of a column over all
    thresholds.
    """

    settings: Mapping[str, float]
    levels: np.ndarray
    points: Points
    runs: ClassRuns


class Decoder(ABC):
    """From frame scores to events; a frozen dataclass whose fields are its settings.

    ``threshold`` is one number, or one a class by event label.
    """

    threshold: Threshold
    tunable: ClassVar[tuple[Mapping[str, float], ...]] = ()
    """Settings that may differ from class to class, of which `sed_lab.metric.tune` chooses."""
    keeps_threshold: ClassVar[bool] = False
    """Whether ``threshold`` is the decoder's own: a tuned one stands in for it only where that is asked for."""

    def fit(self, events: Iterable[Event], classes: Sequence[str]) -> Self:
        """This decoder with what it takes from ``events`` of held-out clips; most take nothing."""
        return self

    @abstractmethod
    def smooth(self, scores: Scores) -> Scores:
        """The frame scores that are compared with thresholds, and what PSDS is computed from."""

    @abstractmethod
    def points(self, scores: Scores, thresholds: np.ndarray) -> Points:
        """Events at each of ``thresholds [K]`` or ``[K, C]``."""

    def tried(self, scores: Scores) -> Iterator[Tried]:
        """What each of the ``tunable`` settings gives, in their order; what they share is computed once."""
        return iter(())

    @abstractmethod
    def decode(self, scores: Scores, threshold: Threshold | None = None) -> dict[str, tuple[Event, ...]]:
        """Events of every clip of ``scores`` by clip_id, in time order; clips without events are there too."""

    def runs(self, scores: Scores) -> ClassRuns:
        """The runs of every class of ``scores``, over all thresholds."""
        return AllRuns(self.smooth(scores))

    def gate(self, frame: np.ndarray, clip: np.ndarray | None) -> np.ndarray:
        """Frame scores ``[B, T, C]`` of windows of a recording, as the clip scores ``[B, C]`` let them through."""
        return frame

    @abstractmethod
    def decode_recording(self, scores: Scores, threshold: Threshold) -> tuple[Sure, ...]:
        """Events of one recording of any length, whose windows went through `gate`, in time order."""

    def settings(self) -> dict[str, Any]:
        """Every number of this decoder by name, and its class."""
        plain = {name: dict(v) if isinstance(v, Mapping) else v for name, v in asdict(self).items()}  # type: ignore[call-overload]
        return {"decoder": type(self).__name__, **plain}
