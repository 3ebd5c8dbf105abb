"""Which clips make a batch (the same global batch on any number of devices, in a resumable order), and their labels
as arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from sed_lab.clip.feature_cache import CachedFeatures
from sed_lab.errors import InputError
from sed_lab.types import Batch, Clip, Event, Part, Shares, Subset

# Times are decimals (0.832 s) that binary floats miss by an ulp; a millionth of a frame keeps 13.000000000000002
# from reaching into frame 14.
_SLACK = 1e-6


@dataclass(frozen=True)
class Key:
    """One clip to load: its subset, its index there and the epoch it is loaded for (its subset's pass in training)."""

    subset: str
    index: int
    epoch: int


@dataclass(frozen=True)
class Request:
    """The clips one device loads at once; while training, all clips of the global batch and its number of parts.

    Without ``load`` only their labels are wanted, as the annotation gives them.
    ``gathered`` is the share of one pass on all devices, see `Shares`.
    """

    keys: tuple[Key, ...]
    parts: int = 1
    whole: tuple[Key, ...] | None = None
    gathered: float = 1.0
    load: bool = True


class CompositionSampler:
    """Global batches of so many clips of each subset, dealt out to ranks and accumulation steps.

    Every subset's order is a permutation seeded by (seed, subset, pass), without replacement. With
    ``epoch='smallest'`` each epoch starts a new permutation and ends when the subset with the fewest batches cannot
    fill another one (DCASE 2021 baseline: 118 steps); with ``'all'`` it ends with the subset that has the most, once
    through. The others begin a new permutation each time they cannot fill another batch (what is left over sits out one
    pass) and go on in the next epoch where they stopped: their clips come several times an epoch, in no batch twice.
    The order is a function of the epoch alone, so a resumed run sees what an uninterrupted one does.

    ``parts`` = ranks x accumulation steps; part ``step * world + rank`` belongs to this rank. Where a subset's count
    does not divide evenly, some parts hold one clip more, and `Shares` weighs them.

    ``members`` says, where a name of ``clips`` is not a subset but a part of one, of which and which clips; see
    `sed_lab.clip.compose`.

    Raises:
        InputError: a subset of the composition does not exist or is smaller than its share of one batch.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        clips: Mapping[str, int],
        seed: int,
        epoch: str = "smallest",
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        members: Mapping[str, tuple[str, np.ndarray]] | None = None,
    ) -> None:
        self.clips = {name: count for name, count in clips.items() if count}
        for name, count in self.clips.items():
            if sizes.get(name, 0) < count:
                there = sizes.get(name, 0)
                advice = f"it to at most {there}" if there else f"batch.clips.{name}=0 or use a dataset that has them"
                raise InputError(f"batch.clips.{name}={count}, but the dataset has {there} {name} clips; set {advice}")
        if not self.clips:
            raise InputError("batch.clips asks for no clip at all; set at least one subset's count above 0")
        if epoch not in ("smallest", "all"):
            raise InputError(f"batch.epoch={epoch!r} is unknown; use smallest or all")
        if sum(self.clips.values()) < world * accumulate:
            raise InputError(
                f"batch.clips holds {sum(self.clips.values())} clips, too few for {world} devices x {accumulate} passes"
            )
        self.sizes, self.members = dict(sizes), members or {}
        self.seed, self.mode, self.rank, self.world, self.accumulate = seed, epoch, rank, world, accumulate
        self.batches = {name: self.sizes[name] // count for name, count in self.clips.items()}  # in one pass
        self.steps = (min if epoch == "smallest" else max)(self.batches.values())
        self.current_epoch = 0
        self._begun = (0, 0)
        self.load = True  # see `Request`; what changes it holds from the next epoch on
        self._orders: dict[tuple[str, int], np.ndarray] = {}

    def __len__(self) -> int:
        return self.steps * self.accumulate

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch, also after a resume."""
        self.current_epoch = epoch

    def go_on_at(self, epoch: int, done: int) -> None:
        """Begin with ``epoch``, after the first ``done`` of its requests."""
        self.current_epoch, self._begun = epoch, (epoch, done)

    def __iter__(self) -> Iterator[Request]:
        epoch, done = self._begun
        return islice(self._requests(), done if self.current_epoch == epoch else 0, None)

    def _requests(self) -> Iterator[Request]:
        parts = self.world * self.accumulate
        for step in range(self.steps):
            dealt, first = [], 0
            for name, count in self.clips.items():
                # The clips that do not divide evenly go to the parts that have the fewest so far.
                shares = self._deal(name, step, parts)
                dealt.append(shares[-first:] + shares[:-first] if first else shares)
                first = (first + count) % parts
            by_part = [tuple(key for shares in dealt for key in shares[part]) for part in range(parts)]
            whole = tuple(key for keys in by_part for key in keys)
            for micro in range(self.accumulate):
                here = sum(map(len, by_part[micro * self.world : (micro + 1) * self.world]))
                share = here * self.accumulate / len(whole)
                yield Request(by_part[micro * self.world + self.rank], parts, whole, share, self.load)

    def _deal(self, name: str, step: int, parts: int) -> list[list[Key]]:
        count, number = self.clips[name], self.current_epoch
        if self.mode == "all":
            number, step = divmod(self.current_epoch * self.steps + step, self.batches[name])
        order = self._permutation(name, number)[step * count : (step + 1) * count]
        return [[self._key(name, int(i), number) for i in share] for share in np.array_split(order, parts)]

    def _key(self, name: str, i: int, number: int) -> Key:
        subset, clips = self.members.get(name, (name, None))
        return Key(subset, i if clips is None else int(clips[i]), number)

    def _permutation(self, name: str, number: int) -> np.ndarray:
        if (name, number) not in self._orders:
            rng = np.random.default_rng([self.seed, int.from_bytes(name.encode()[:8], "little"), number])
            self._orders = {key: order for key, order in self._orders.items() if key[0] != name}
            self._orders[name, number] = rng.permutation(self.sizes[name])
        return self._orders[name, number]


def evaluation_requests(subset: str, size: int, batch_size: int, rank: int = 0, world: int = 1) -> list[Request]:
    """Every clip once, in order, each on one rank only: nothing is padded or repeated."""
    mine = range(rank, size, world)
    return [
        Request(tuple(Key(subset, i, 0) for i in mine[start : start + batch_size]))
        for start in range(0, len(mine), batch_size)
    ]


class CorpusLoader(torch.utils.data.Dataset[Batch | Part]):
    """Turns a :class:`Request` into a :class:`Batch`, in training into a `Part`; what a DataLoader's workers hold."""

    def __init__(
        self, subsets: Mapping[str, Subset], classes: tuple[str, ...], n_frames: int, frame_hop: float
    ) -> None:
        self.subsets, self.classes, self.n_frames, self.frame_hop = subsets, classes, n_frames, frame_hop

    def __getitem__(self, request: Request) -> Batch | Part:
        if request.load:
            loaded = [self.subsets[key.subset].load(key.index, key.epoch) for key in request.keys]
            batch = self._collate([clip for clip, _ in loaded], np.stack([array for _, array in loaded]), request)
        else:
            batch = self._collate([self.subsets[key.subset].clips[key.index] for key in request.keys], None, request)
        if request.whole is None:
            return batch
        return Part(batch, self._shares(batch, request, request.whole))

    def _collate(self, clips: list[Clip], loaded: np.ndarray | None, request: Request) -> Batch:
        """``loaded`` is audio ``[B, N]``, embeddings ``[B, 10, 128]``, or features ``[B, F, M]`` of a cache."""
        strong = np.zeros((len(clips), self.n_frames, len(self.classes)), np.float32)
        weak = np.zeros((len(clips), len(self.classes)), np.float32)
        for row, clip in enumerate(clips):
            if clip.events is not None:
                strong[row] = encode_strong(clip.events, self.classes, self.n_frames, self.frame_hop)
                weak[row] = strong[row].max(axis=0, initial=0)
            if clip.event_labels is not None:
                weak[row] = encode_weak(clip.event_labels, self.classes)
        has_strong = [clip.events is not None for clip in clips]
        # As in the DCASE 2021 baseline a strongly labelled clip does not enter the weak loss.
        has_weak = [clip.event_labels is not None and clip.events is None for clip in clips]
        valid = [min(self.n_frames, int(np.ceil(clip.duration / self.frame_hop))) for clip in clips]
        return Batch(
            strong=torch.from_numpy(strong),
            weak=torch.from_numpy(weak),
            has_strong=torch.tensor(has_strong),
            has_weak=torch.tensor(has_weak),
            synthetic=torch.tensor([clip.synthetic for clip in clips]),
            valid_frames=torch.tensor(valid),
            index=torch.tensor([key.index for key in request.keys]),
            clip_id=[clip.clip_id for clip in clips],
            annotated=self._annotated(clips),
            **self._given(loaded, request),
        )

    def _given(self, loaded: np.ndarray | None, request: Request) -> dict[str, torch.Tensor]:
        if loaded is None:
            return {}
        kept = isinstance(self.subsets[request.keys[0].subset], CachedFeatures)
        name = "audio" if loaded.ndim == 2 else "feature" if kept else "embedding"
        return {name: torch.from_numpy(loaded)}

    def _annotated(self, clips: list[Clip]) -> torch.Tensor | None:
        if all(clip.annotated is None for clip in clips):
            return None
        rows = [self.classes if clip.annotated is None else clip.annotated for clip in clips]
        return torch.from_numpy(np.stack([encode_weak(row, self.classes) for row in rows]) > 0)

    def _shares(self, batch: Batch, request: Request, whole: tuple[Key, ...]) -> Shares:
        if (parts := request.parts) == 1:
            return Shares()
        clips = [self.subsets[key.subset].clips[key.index] for key in whole]
        strong = [clip for clip in clips if clip.events is not None]
        weak = sum(clip.event_labels is not None and clip.events is None for clip in clips)
        of_class = np.zeros(len(self.classes))
        for clip in strong:
            of_class += encode_weak(self.classes if clip.annotated is None else clip.annotated, self.classes)
        here = batch.has_strong[:, None] & (batch.has_strong[:, None] if batch.annotated is None else batch.annotated)
        own = here.expand(-1, len(self.classes)).sum(0).numpy()
        return Shares(
            strong=int(batch.has_strong.sum()) * parts / len(strong) if strong else 1.0,
            weak=int(batch.has_weak.sum()) * parts / weak if weak else 1.0,
            all=len(batch) * parts / len(clips),
            gathered=request.gathered,
            strong_of_class=tuple((own * parts / np.maximum(of_class, 1)).tolist()),
            parts=parts,
        )


def as_is(loaded: Any) -> Any:
    """What the dataset made: it is a batch already."""
    return loaded


def encode_strong(events: Iterable[Event], classes: Sequence[str], n_frames: int, frame_hop: float) -> np.ndarray:
    """Frame targets ``[T, C]`` in {0, 1}, float32: onset rounded down, offset rounded up and exclusive.

    ``frame_hop`` in seconds. As the DCASE 2021 task 4 baseline's encoder: an event is active in every frame it touches;
    what lies past the last frame is cut off.

    Raises:
        InputError: an event's label is not among ``classes``.
    """
    target = np.zeros((n_frames, len(classes)), dtype=np.float32)
    for event in events:
        start = math.floor(event.onset / frame_hop + _SLACK)
        stop = max(start + 1, math.ceil(event.offset / frame_hop - _SLACK))
        target[start:stop, _column(classes, event.event_label)] = 1
    return target


def encode_weak(event_labels: Iterable[str], classes: Sequence[str]) -> np.ndarray:
    """Clip target ``[C]`` in {0, 1}, float32.

    Raises:
        InputError: a label is not among ``classes``.
    """
    target = np.zeros(len(classes), dtype=np.float32)
    for label in event_labels:
        target[_column(classes, label)] = 1
    return target


def _column(classes: Sequence[str], label: str) -> int:
    try:
        return classes.index(label)
    except ValueError:
        raise InputError(f"event label {label!r} is not among the classes {', '.join(classes)}") from None
