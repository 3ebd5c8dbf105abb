"""Which clips of a store train and which test, and copies that fill up rare classes (Aziz, section IV).

N clips of a store, K chosen ones; ``of_class``, boolean ``[N, C]``, says which classes each clip of the store has.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sed_lab.clip.embedding_store import EmbeddingStore
from sed_lab.errors import InputError

ROWS = 10  # of a clip
LABELS = ("single", "any")
EXCHANGES = ("training", "before_split", "none")
SHOWN = 10  # classes that a message names; of more, it gives a summary

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """Which clips are taken and how they are split; the fields are those of `read_audioset_embeddings`.

    Raises:
        InputError: an unknown choice, or choices that do not go together.
    """

    labels: str
    subsets: tuple[str, ...]
    test_subsets: tuple[str, ...]
    train_share: float
    per_class: int | None
    row_exchange: str
    seed: int

    def __post_init__(self) -> None:
        for key, allowed in (("labels", LABELS), ("row_exchange", EXCHANGES)):
            if getattr(self, key) not in allowed:
                raise InputError(f"dataset.{key}={getattr(self, key)!r} is unknown; use {', '.join(allowed)}")
        if not 0 < self.train_share < 1 or (self.per_class is not None and self.per_class < 1):
            shares = f"dataset.train_share={self.train_share} must lie between 0 and 1"
            raise InputError(f"{shares}, per_class={self.per_class} above 0")
        if {*self.test_subsets} & {*self.subsets}:
            both = ", ".join(name for name in self.test_subsets if name in self.subsets)
            raise InputError(f"dataset.test_subsets names {both}, which also trains; take it out of dataset.subsets")
        if self.test_subsets and self.row_exchange == "before_split":
            raise InputError(
                "dataset.row_exchange=before_split draws its own test clips; set dataset.test_subsets=null"
            )


@dataclass(frozen=True)
class Chosen:
    """Clips of a store: ``index [K]``, the order of their rows ``[K, 10]``, and the number ``[K]`` of those that are
    copies, from 1 on, 0 of others."""

    index: np.ndarray
    order: np.ndarray
    copy: np.ndarray

    def take(self, rows: np.ndarray) -> Chosen:
        """Some of them, in this order."""
        return Chosen(self.index[rows], self.order[rows], self.copy[rows])


def split(
    store: EmbeddingStore, of_class: np.ndarray, rules: Rules, classes: Sequence[str], where: Path
) -> tuple[Chosen, Chosen]:
    """The clips that train, filled up with copies where asked for, and those that test.

    The test of clips of one class has as many of each; of clips of several, with AudioSet's own split, it has all.

    Raises:
        InputError: a class has no clip on one side.
    """
    rng = np.random.default_rng(rules.seed)
    count = of_class.sum(axis=1)
    there = (count == 1) if rules.labels == "single" else (count > 0)
    clips, test_clips = (
        np.flatnonzero(there & np.isin(store.subset, [store.subsets.index(name) for name in names]))
        for names in (rules.subsets, rules.test_subsets)
    )
    if rules.row_exchange == "before_split":
        training, test = paper_split(clips, of_class, rules.train_share, rules.per_class, rng, store)
        for part, chosen in (("weak", training), ("test", test)):
            clips_by_class(where, part, chosen.index, of_class, classes)
        return training, test
    if rules.test_subsets:
        clips = clips[~np.isin(store.video_id[clips], store.video_id[test_clips])]
    else:
        clips, test_clips = by_video(clips, store.video_id[clips], rules.train_share, rng)
    for part, index in (("weak", clips), ("test", test_clips)):
        clips_by_class(where, part, index, of_class, classes)
    training = balanced(clips, of_class, rules.per_class, rules.row_exchange == "training", rng)
    if rules.labels == "single":
        return training, plain(evened(test_clips, of_class, rules.per_class, rng))
    if rules.test_subsets:
        return training, plain(test_clips)
    return training, balanced(test_clips, of_class, rules.per_class, False, rng)


def clips_by_class(where: Path, part: str, index: np.ndarray, of_class: np.ndarray, classes: Sequence[str]) -> str:
    """How many clips of each class there are, in words.

    Raises:
        InputError: there is none of one.
    """
    found = of_class[index].sum(axis=0)
    if lacking := [label for label, number in zip(classes, found, strict=True) if not number]:
        more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        raise InputError(
            f"{where}: {part} has no clip of {', '.join(lacking[:SHOWN])}{more}; every class needs one, so use"
            " more subsets or other classes"
        )
    if len(classes) > SHOWN:
        return f"{len(classes)} classes of {found.min()} to {found.max()} clips"
    return ", ".join(f"{label} {number}" for label, number in zip(classes, found, strict=True))


def balanced(clips: np.ndarray, of_class: np.ndarray, most: int | None, fill: bool, rng: np.random.Generator) -> Chosen:
    """At most ``most`` clips of each class, drawn, and with ``fill`` copies until each has as many as the largest.

    Clips of a class alone are copied where there are some, so that no other class grows with it.
    """
    rarest_first = np.argsort(of_class[clips].sum(axis=0), kind="stable")
    size = min(int(of_class[clips].sum(axis=0).max()), most or len(clips))
    taken, counts = np.zeros(len(of_class), bool), np.zeros(of_class.shape[1], int)
    for c in rarest_first:
        for clip in rng.permutation(clips[of_class[clips, c] & ~taken[clips]]):
            if (counts[of_class[clip]] < size).all():
                taken[clip] = True
                counts += of_class[clip]
    originals = np.flatnonzero(taken)
    if not fill:
        return plain(originals)
    copies = np.zeros(0, dtype=originals.dtype)
    for c in rarest_first:
        members = originals[of_class[originals, c]]
        alone = members[of_class[members].sum(axis=1) == 1]
        members = rng.permutation(alone if len(alone) else members)
        lacking = size - int(of_class[originals, c].sum() + of_class[copies, c].sum())
        if len(members) and lacking > 0:
            copies = np.append(copies, np.resize(members, lacking))
    order = np.concatenate([np.tile(np.arange(ROWS), (len(originals), 1)), exchanged(len(copies), rng)])
    return Chosen(np.append(originals, copies), order, np.maximum(np.arange(len(order)) - len(originals) + 1, 0))


def plain(index: np.ndarray) -> Chosen:
    """Clips as they are."""
    return Chosen(index, np.tile(np.arange(ROWS), (len(index), 1)), np.zeros(len(index), int))


def evened(clips: np.ndarray, of_class: np.ndarray, most: int | None, rng: np.random.Generator) -> np.ndarray:
    """As many clips of each class, drawn: the smallest class's number, at most ``most``."""
    members = [clips[of_class[clips, c]] for c in range(of_class.shape[1])]
    size = min(min(map(len, members)), most or len(clips))
    return np.sort(np.concatenate([rng.permutation(one)[:size] for one in members]))


def exchanged(count: int, rng: np.random.Generator) -> np.ndarray:
    """``[count, 10]`` orders of rows, each by ten exchanges: row 0, 1 ... 9 with any, itself included (section IV).

    The paper draws the other row "between 0 and 10"; there is no row 10.
    """
    order = np.tile(np.arange(ROWS), (count, 1))
    every = np.arange(count)
    for row in range(ROWS):
        other = rng.integers(ROWS, size=count)
        order[every, row], order[every, other] = order[every, other], order[every, row]
    return order


def by_video(
    clips: np.ndarray, video: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The clips of ``share`` of the videos, and those of the others."""
    names, number = np.unique(video, return_inverse=True)
    first = np.zeros(len(names), bool)
    first[rng.permutation(len(names))[: round(share * len(names))]] = True
    return clips[first[number]], clips[~first[number]]


def paper_split(
    clips: np.ndarray,
    of_class: np.ndarray,
    share: float,
    most: int | None,
    rng: np.random.Generator,
    store: EmbeddingStore,
) -> tuple[Chosen, Chosen]:
    """The paper's order: all classes are filled up, then clips and copies are split alike."""
    every = balanced(clips, of_class, most, True, rng)
    order = rng.permutation(len(every.index))
    cut = round(share * len(order))
    training, test = every.take(np.sort(order[:cut])), every.take(np.sort(order[cut:]))
    leaked = int(np.isin(store.video_id[test.index], store.video_id[training.index]).sum())
    what = "test clips are rows, in another order, of videos that also train; test accuracy is inflated"
    how = f"{leaked} of {len(test.index)} {what} (row_exchange=training does not leak)"
    log.warning("row_exchange=before_split leaks: %s", how)
    return training, test
