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
from dataclasses import asdict
from itertools import compress
from pathlib import Path
from typing import overload

import numpy as np

from sed_lab.clip.embedding_store import EmbeddingStore, convert
from sed_lab.clip.tfrecord import SECONDS
from sed_lab.dataset.audioset_labels import numbered
from sed_lab.dataset.embedding_split import Chosen, Rules, clips_by_class, split
from sed_lab.errors import InputError
from sed_lab.types import Clip, Corpus

log = logging.getLogger(__name__)


def read_audioset_embeddings(
    folder: Path | str,
    cache: Path | str,
    classes: Sequence[object] | Mapping[str, object],
    labels: str,
    subsets: Sequence[str],
    test_subsets: Sequence[str] | None,
    train_share: float,
    per_class: int | None,
    row_exchange: str,
    seed: int,
    name: str = "audioset_embeddings",
    embedded_by: str = "vggish",
) -> Corpus:
    """The clips of ``folder``: AudioSet's ``audioset_v1_embeddings``, or what ``sed-prepare embeddings`` made of it.

    The former is converted once below ``cache``. Subset ``weak`` trains, ``training`` are the same clips, to be
    measured after training, and ``test``, where ``single``, has as many clips of each class.

    Args:
        classes: AudioSet's labels, as `numbered` takes them.
        labels: ``single`` keeps clips of exactly one of the classes, ``any`` those of one or more.
        subsets: of AudioSet; both sides of the split are drawn from them together.
        test_subsets: AudioSet's own split: these test and ``subsets`` train, but for videos that test; None: see next.
        train_share: of the videos of ``subsets``, the paper's 60 %; the others test.
        per_class: at most so many clips of a class; None: all.
        row_exchange: fills up every class to the largest one's clips: ``training`` on the training side alone,
            ``before_split`` as the paper, which splits copies and all, or ``none``.
        embedded_by: the front end that the embeddings are of, as the option of group ``feature`` is called.

    Raises:
        InputError: as `Rules`, `numbered`, `open_store` and `split`.
    """
    rules = Rules(labels, (*subsets,), (*(test_subsets or ()),), train_share, per_class, row_exchange, seed)
    label_of = numbered(classes, Path(folder))
    store = open_store(Path(folder), Path(cache), (*rules.subsets, *rules.test_subsets))
    of_class = np.stack([store.has_label(label) for label in label_of.values()], axis=1)
    training, test = split(store, of_class, rules, tuple(label_of), Path(folder))
    for part, one in (("weak", training), ("test", test)):
        said = clips_by_class(Path(folder), part, one.index, of_class, tuple(label_of))
        copies = np.count_nonzero(one.copy)
        log.info("%s: %s; %d of %d clips are copies with rows exchanged", part, said, copies, len(one.index))
    parts = {"weak": training, "training": training, "test": test}
    made = {part: RowClips(store, one, of_class, tuple(label_of)) for part, one in parts.items()}
    settings = json.dumps({"classes": label_of, **asdict(rules)}, sort_keys=True)
    known = hashlib.sha256(f"{store.fingerprint}{settings}".encode()).hexdigest()
    return Corpus(name, tuple(label_of), SECONDS, 16000, made, known, embedded_by=embedded_by)


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
        if self.chosen.copy[index]:  # other clips have their rows as they are
            rows = rows[self.chosen.order[index]]
        return self.clips[index], rows


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
        clip_id = f"{self.ids[index].decode()}_{float(self.start[index]):g}"
        clip_id += f"_copy{self.copy[index]}" if self.copy[index] else ""
        there = tuple(compress(self.classes, self.of_class[index].tolist()))
        return Clip(clip_id, Path(f"{clip_id}.rows"), SECONDS, event_labels=there)
