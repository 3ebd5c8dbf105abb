"""Clips of AudioSet's released embeddings, in classes that are AudioSet's own labels (Aziz, section IV).

A clip belongs to a class if that very label is among its labels, whatever others there are, and is used if it has
exactly ten rows. Training and test are split by video. Rare classes are filled up by copies of clips whose rows were
exchanged at random; the paper did so before its split, which puts copies of one clip on both sides.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from sed_lab.clip.embedding_store import EmbeddingStore, convert
from sed_lab.clip.tfrecord import SECONDS
from sed_lab.errors import InputError
from sed_lab.types import Clip, Corpus

ROWS = 10  # of a clip
LABELS = ("single", "any")
EXCHANGES = ("training", "before_split", "none")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """Clips of a store: ``index [N]``, the order of their rows ``[N, 10]``, and the number ``[N]`` of those that are
    copies, from 1 on, 0 of others."""

    index: np.ndarray
    order: np.ndarray
    copy: np.ndarray

    def take(self, rows: np.ndarray) -> Chosen:
        """Some of them, in this order."""
        return Chosen(self.index[rows], self.order[rows], self.copy[rows])


def read_audioset_embeddings(
    folder: Path | str,
    cache: Path | str,
    classes: Mapping[str, int],
    labels: str,
    subsets: Sequence[str],
    train_share: float,
    per_class: int | None,
    row_exchange: str,
    seed: int,
    name: str = "audioset_embeddings",
) -> Corpus:
    """The clips of ``folder``: AudioSet's ``audioset_v1_embeddings``, or what ``sed-prepare embeddings`` made of it.

    The former is converted once below ``cache``. Subset ``weak`` trains, ``training`` are the same clips, to be
    measured after training, and ``test``, where ``single``, has as many clips of each class.

    Args:
        classes: index of the label (as in class_labels_indices.csv) that makes each class.
        labels: ``single`` keeps clips of exactly one of the classes, ``any`` those of one or more.
        subsets: of AudioSet; both sides of the split are drawn from them together.
        train_share: of the videos, the paper's 60 %.
        per_class: at most so many clips of a class; None: all.
        row_exchange: fills up every class to the largest one's clips: ``training`` on the training side alone,
            ``before_split`` as the paper, which splits copies and all, or ``none``.

    Raises:
        InputError: no embeddings, an unknown choice, a class without clips on one of the sides.
    """
    for key, value, allowed in (("labels", labels, LABELS), ("row_exchange", row_exchange, EXCHANGES)):
        if value not in allowed:
            raise InputError(f"dataset.{key}={value!r} is unknown; use {', '.join(allowed)}")
    if not classes:
        raise InputError("dataset.classes is empty; name at least one class by the number of its label")
    if not 0 < train_share < 1 or (per_class is not None and per_class < 1):
        raise InputError(f"dataset.train_share={train_share} must lie between 0 and 1, per_class={per_class} above 0")
    store = open_store(Path(folder), Path(cache), subsets)
    of_class = np.stack([store.has_label(label) for label in classes.values()], axis=1)
    wanted = np.isin(store.subset, [store.subsets.index(one) for one in subsets])
    count = of_class.sum(axis=1)
    clips = np.flatnonzero(wanted & ((count == 1) if labels == "single" else (count > 0)))
    settings = {"classes": dict(classes), "labels": labels, "subsets": [*subsets], "train_share": train_share,
                "per_class": per_class, "row_exchange": row_exchange, "seed": seed}  # fmt: skip
    rng = np.random.default_rng(seed)
    if row_exchange == "before_split":
        training, test = _paper_split(clips, of_class, train_share, per_class, rng, store)
    else:
        sides = _by_video(clips, store.video_id[clips], train_share, rng)
        for part, side in zip(("weak", "test"), sides, strict=True):
            _refuse_lacking(part, side, of_class, tuple(classes), Path(folder))
        training = _balanced(sides[0], of_class, per_class, row_exchange == "training", rng)
        even = _evened(sides[1], of_class, per_class, rng) if labels == "single" else None
        test = _balanced(sides[1], of_class, per_class, False, rng) if even is None else _plain(even)
    parts = {"weak": training, "training": training, "test": test}
    _report(parts, of_class, tuple(classes), Path(folder))
    made = {part: RowClips(store, one, of_class, tuple(classes)) for part, one in parts.items()}
    known = hashlib.sha256(f"{store.fingerprint}{json.dumps(settings, sort_keys=True)}".encode()).hexdigest()
    return Corpus(name, tuple(classes), SECONDS, 16000, made, known)


def _report(parts: Mapping[str, Chosen], of_class: np.ndarray, classes: tuple[str, ...], folder: Path) -> None:
    """Log how many clips of each class train and test.

    Raises:
        InputError: as `_refuse_lacking`.
    """
    for part in ("weak", "test"):
        index, copies = parts[part].index, np.count_nonzero(parts[part].copy)
        said = _refuse_lacking(part, index, of_class, classes, folder)
        log.info("%s: %s; %d of %d clips are copies with rows exchanged", part, said, copies, len(index))


def _refuse_lacking(part: str, index: np.ndarray, of_class: np.ndarray, classes: tuple[str, ...], folder: Path) -> str:
    """The clips of each class in words.

    Raises:
        InputError: there is none of one.
    """
    found = of_class[index].sum(axis=0)
    said = ", ".join(f"{label} {number}" for label, number in zip(classes, found, strict=True))
    if not found.all():
        raise InputError(f"{folder}: {part} has {said}; every class needs a clip, so use more subsets, other classes")
    return said


def open_store(folder: Path, cache: Path, subsets: Sequence[str]) -> EmbeddingStore:
    """The converted embeddings of ``folder``, made below ``cache`` where it holds the released files.

    Raises:
        InputError: as `convert` and `EmbeddingStore`; a subset that was not converted.
    """
    converted = folder
    if not (folder / "index.json").exists():
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; name audioset_v1_embeddings, or what was converted from it")
        said = hashlib.sha256(f"{folder.resolve()} {sorted(subsets)}".encode()).hexdigest()[:12]
        converted = cache / f"audioset_embeddings-{said}"
        convert(folder, converted, sorted(subsets))
    store = EmbeddingStore(converted)
    if unknown := [name for name in subsets if name not in store.subsets]:
        there = ", ".join(store.subsets)
        raise InputError(f"{converted} holds {there}, not {', '.join(unknown)}; choose other subsets")
    for name in subsets:
        one = store.index["subsets"][name]
        other = one["records"] - one["kept"] - one["damaged"]
        log.info("%s: %d clips of ten rows; %d of other numbers of rows are left out", name, one["kept"], other)
        if one["damaged"]:
            log.warning("%s: %d damaged records left out; %s/index.json names them", name, one["damaged"], converted)
    return store


class RowClips:
    """Clips of a store with their rows in some order (implements `sed_lab.types.Subset`)."""

    def __init__(self, store: EmbeddingStore, chosen: Chosen, of_class: np.ndarray, classes: tuple[str, ...]) -> None:
        self.store, self.chosen = store, chosen
        self.clips: Sequence[Clip] = _Clips(store, chosen, of_class[chosen.index], classes)

    def __len__(self) -> int:
        return len(self.chosen.index)

    def load(self, index: int, epoch: int) -> tuple[Clip, np.ndarray]:
        """Clip ``index`` and its rows, uint8 ``[10, 128]``."""
        rows = self.store.embedding[self.chosen.index[index]]
        return self.clips[index], np.asarray(rows)[self.chosen.order[index]]


class _Clips(Sequence[Clip]):
    """Clips made when they are asked for: of two million of them, all at once would fill the memory."""

    def __init__(self, store: EmbeddingStore, chosen: Chosen, of_class: np.ndarray, classes: tuple[str, ...]) -> None:
        self.ids, self.start = store.video_id[chosen.index], store.start_seconds[chosen.index]
        self.copy = chosen.copy
        self.of_class, self.classes = of_class, classes

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Clip]: ...
    def __getitem__(self, index: int | slice) -> Clip | Sequence[Clip]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        clip_id = f"{self.ids[index].decode()}_{self.start[index]:g}"
        clip_id += f"_copy{self.copy[index]}" if self.copy[index] else ""
        there = tuple(label for label, has in zip(self.classes, self.of_class[index], strict=True) if has)
        return Clip(clip_id, Path(f"{clip_id}.rows"), SECONDS, event_labels=there)


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


def _plain(index: np.ndarray) -> Chosen:
    return Chosen(index, np.tile(np.arange(ROWS), (len(index), 1)), np.zeros(len(index), int))


def _by_video(
    clips: np.ndarray, video: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The clips of ``share`` of the videos, and those of the others."""
    names, number = np.unique(video, return_inverse=True)
    first = np.zeros(len(names), bool)
    first[rng.permutation(len(names))[: round(share * len(names))]] = True
    return clips[first[number]], clips[~first[number]]


def _evened(clips: np.ndarray, of_class: np.ndarray, most: int | None, rng: np.random.Generator) -> np.ndarray:
    """As many clips of each class, drawn: the smallest class's number, at most ``most``."""
    members = [clips[of_class[clips, c]] for c in range(of_class.shape[1])]
    size = min(min(map(len, members)), most or len(clips))
    return np.sort(np.concatenate([rng.permutation(one)[:size] for one in members]))


def _balanced(
    clips: np.ndarray, of_class: np.ndarray, most: int | None, fill: bool, rng: np.random.Generator
) -> Chosen:
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
        return _plain(originals)
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


def _paper_split(
    clips: np.ndarray,
    of_class: np.ndarray,
    share: float,
    most: int | None,
    rng: np.random.Generator,
    store: EmbeddingStore,
) -> tuple[Chosen, Chosen]:
    """The paper's order: all classes are filled up, then clips and copies are split alike."""
    every = _balanced(clips, of_class, most, True, rng)
    order = rng.permutation(len(every.index))
    cut = round(share * len(order))
    training, test = every.take(np.sort(order[:cut])), every.take(np.sort(order[cut:]))
    leaked = int(np.isin(store.video_id[test.index], store.video_id[training.index]).sum())
    what = "test clips are rows, in another order, of videos that also train; test accuracy is inflated"
    how = f"{leaked} of {len(test.index)} {what} (row_exchange=training does not leak)"
    log.warning("row_exchange=before_split leaks: %s", how)
    return training, test
