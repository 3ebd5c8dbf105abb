"""The vocabulary: Event, Clip, ClassStatistics, Corpus, Batch, Scores. Shapes, units and checks live here, once.

Shape grammar used everywhere: B clips in a batch, N samples, F feature frames, M mel bins, T output frames, C classes.
Times are seconds, audio is mono float32 in [-1, 1], scores are probabilities in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from sed_lab.errors import InputError

if TYPE_CHECKING:  # commands name subsets and metrics before they load torch
    import torch


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """One sound event of a clip: ``onset`` < ``offset`` in seconds from the clip's start."""

    onset: float
    offset: float
    event_label: str

    def __post_init__(self) -> None:
        if not 0 <= self.onset < self.offset:
            raise InputError(
                f"event {self.event_label!r} from {self.onset} s to {self.offset} s: needs 0 <= onset < offset"
            )


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording and what is known about it.

    ``clip_id`` is the file's name without its suffix. ``events`` is None where no strong label exists and an empty
    tuple for a clip known to hold no event; ``event_labels`` likewise for weak labels (a strongly labelled clip
    carries both). ``synthetic`` marks the synthetic domain. ``annotated`` names the classes that its labels are about,
    where these are not all of the corpus (None): others may be heard, and no detection of them counts.
    """

    clip_id: str
    path: Path
    duration: float
    events: tuple[Event, ...] | None = None
    event_labels: tuple[str, ...] | None = None
    synthetic: bool = False
    annotated: tuple[str, ...] | None = None


class Subset(Protocol):
    """An ordered collection of clips whose audio, or embeddings, can be loaded; on-the-fly soundscapes are one too."""

    clips: Sequence[Clip]

    def __len__(self) -> int: ...

    def load(self, index: int, epoch: int) -> tuple[Clip, np.ndarray]:
        """Clip ``index`` with labels moved along with any crop, and its audio ``[N]`` (fixed length) or embeddings
        ``[10, 128]``."""
        ...


@dataclass(frozen=True)
class ClassStatistics:
    """What a class-weighted loss may need, in the order of ``classes``; arrays ``[C]``.

    ``active_frames`` is m_c of Park & Elhilali 2022 (frames in which the class is active), ``source_clips`` their
    V_c (recordings of the class in the sound bank; None where it is not known), ``source_seconds`` the mean length of
    these recordings (None likewise), ``clips`` how many clips hold the class, ``empty_clips`` how many hold none,
    ``labelled_frames`` the frames of clips whose labels are about the class.
    """

    classes: tuple[str, ...]
    active_frames: np.ndarray
    total_frames: int
    events: np.ndarray
    event_seconds: np.ndarray
    clips: np.ndarray
    total_clips: int
    empty_clips: int = 0
    source_clips: np.ndarray | None = None
    source_seconds: np.ndarray | None = None
    labelled_frames: np.ndarray | None = None


# Subsets of a corpus by what they are for.
OTHER_TESTS = ("synthetic_test", "devtest", "public", "recordings")
TESTS = ("test", *OTHER_TESTS)  # never train, choose or tune anything
BESIDE = (*OTHER_TESTS, "training")  # measured beside test, with the subset's name in front of the numbers'


TRAINING = ("synthetic", "weak", "unlabelled")
VALIDATION = ("synthetic_validation", "weak_validation", "validation")


@dataclass(frozen=True)
class Corpus:
    """A dataset ready to use: fixed class order and named subsets.

    Subset names used across the project: ``synthetic`` (strong labels, synthetic domain), ``weak``, ``unlabelled``
    (training); ``synthetic_validation`` (strong), ``weak_validation`` (weak), ``validation`` (strong, target domain,
    disjoint from test; may be absent), ``test`` (strong, target domain) and ``synthetic_test``, ``devtest``,
    ``public``, ``recordings`` (single recordings as they are); these may be absent, as may ``training``, the training
    clips once more, to be measured after training.
    """

    name: str
    classes: tuple[str, ...]
    clip_seconds: float
    sample_rate: int
    subsets: Mapping[str, Subset]
    fingerprint: str  # sha256 over the annotations and the listing (name, size) of the audio
    source_clips: Mapping[str, int] | None = None
    source_seconds: Mapping[str, float] | None = None
    embedded_by: str | None = None  # of clips that are embeddings: the front end, as group feature's option is called


@dataclass(kw_only=True)
class Input:
    """What a method predicts from: exactly one of ``audio [B, N]``, ``feature [B, F, M]`` (linear mel, kept by
    `sed_lab.clip.feature_cache`), ``embedding [B, 10, 128]``; or none, where a method asked for labels alone.

    ``annotated [B, C]`` says which classes are asked for in each clip (None: all of them in every clip).
    """

    audio: torch.Tensor | None = None
    feature: torch.Tensor | None = None
    embedding: torch.Tensor | None = None
    annotated: torch.Tensor | None = None

    @property
    def waveform(self) -> torch.Tensor:
        """``audio [B, N]``.

        Raises:
            InputError: the dataset gives something else.
        """
        if self.audio is None:
            raise InputError("this method works on audio, but the dataset gives none; choose another dataset or method")
        return self.audio


@dataclass(kw_only=True)
class Batch(Input):
    """What a method trains on: an `Input` with labels; ``annotated`` says which classes these labels are about.

    ``strong [B, T, C]`` and ``weak [B, C]`` hold targets in [0, 1] (zeros where unlabelled); ``has_strong``,
    ``has_weak``, ``synthetic`` are booleans ``[B]``: losses use these masks, never positions. ``valid_frames [B]``
    counts output frames that belong to the recording and not to padding. ``index [B]`` is the clip's number in its
    subset.
    """

    strong: torch.Tensor
    weak: torch.Tensor
    has_strong: torch.Tensor
    has_weak: torch.Tensor
    synthetic: torch.Tensor
    valid_frames: torch.Tensor
    index: torch.Tensor
    clip_id: list[str]

    def __len__(self) -> int:
        return len(self.clip_id)


class Shares(NamedTuple):
    """What turns a mean over one part of a global batch into that part's share of the mean over all of it.

    The global batch lies in ``parts`` (devices x accumulation passes). Each number is (clips here x parts) / clips in
    the global batch: of strongly labelled clips, of weakly labelled ones, of all, and of the strongly labelled ones
    whose labels are about each class ``[C]``; 1 where every part holds the same number. ``gathered`` is the share of
    one pass on all devices: (clips in this pass x passes) / clips in the global batch.
    """

    strong: float = 1.0
    weak: float = 1.0
    all: float = 1.0
    gathered: float = 1.0
    strong_of_class: tuple[float, ...] | None = None  # None: 1 for every class
    parts: int = 1


class Part(NamedTuple):
    """One device's part of a global batch, as the training loader gives it; a method sees the batch only."""

    batch: Batch
    shares: Shares


@dataclass(frozen=True)
class Scores:
    """A system's scores on one subset, in the order of ``clip_id``.

    ``frame``: one float32 array ``[T, C]`` a clip (T may differ), frame t covering ``[t, t + 1) * frame_hop`` seconds;
    ``clip``: ``[N, C]``; at least one of the two is there. ``duration [N]`` in seconds. Checked at construction.

    Raises:
        InputError: a shape, an order or a range is wrong (NaN, outside [0, 1], repeated clip).
    """

    clip_id: tuple[str, ...]
    classes: tuple[str, ...]
    duration: np.ndarray
    frame_hop: float | None = None
    frame: tuple[np.ndarray, ...] | None = None
    clip: np.ndarray | None = None
    name: str = field(default="scores", compare=False)

    def __post_init__(self) -> None:
        n, c = len(self.clip_id), len(self.classes)
        if self.frame is None and self.clip is None:
            raise InputError(f"{self.name}: neither frame scores nor clip scores are given")
        if len(set(self.clip_id)) != n:
            repeated = sorted({i for i in self.clip_id if self.clip_id.count(i) > 1})[:3]
            raise InputError(f"{self.name}: clips appear more than once: {', '.join(repeated)}")
        if self.duration.shape != (n,):
            raise InputError(f"{self.name}: {n} clips but durations of shape {self.duration.shape}")
        if self.frame is not None:
            if not self.frame_hop or self.frame_hop <= 0:
                raise InputError(f"{self.name}: frame scores need a frame_hop above 0 s, got {self.frame_hop}")
            if len(self.frame) != n:
                raise InputError(f"{self.name}: {n} clips but frame scores of {len(self.frame)}")
            for clip_id, array in zip(self.clip_id, self.frame, strict=True):
                _check_scores(array, (len(array), c), f"{self.name}: frame scores of clip {clip_id}")
        if self.clip is not None:
            _check_scores(self.clip, (n, c), f"{self.name}: clip scores")

    def select(self, clip_ids: Iterable[str]) -> Scores:
        """The same scores for these clips only, in this order."""
        place = {name: i for i, name in enumerate(self.clip_id)}
        rows = [place[name] for name in clip_ids]
        return replace(
            self,
            clip_id=tuple(self.clip_id[i] for i in rows),
            duration=self.duration[rows],
            frame=None if self.frame is None else tuple(self.frame[i] for i in rows),
            clip=None if self.clip is None else self.clip[rows],
        )


def frame_times(frames: int, frame_hop: float, duration: float) -> np.ndarray:
    """Borders of the frames in seconds, to the microsecond; frames beyond the clip's end are left out."""
    times = np.round(np.arange(frames + 1) * frame_hop, 6)
    end = round(duration, 6)
    return times if times[-1] <= end else np.append(times[times < end], end)


def _check_scores(array: np.ndarray, shape: tuple[int, int], what: str) -> None:
    if array.shape != shape:
        raise InputError(f"{what} have shape {array.shape}, expected {shape}")
    if array.size and not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
        raise InputError(f"{what} hold a value that is not a probability in [0, 1]")


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """``x`` in float32, or in its own type where that is wider."""
    import torch

    return x.to(torch.promote_types(x.dtype, torch.float32))
