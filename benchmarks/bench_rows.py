"""Batches of two million clips' embeddings for training, one core, beside a plain dataset and PyTorch's own loader.

Both sides draw clips at random from the same mapped file in batches of 20, as Aziz has them, and give rows and labels;
ours also names each clip and says which labels it has. The file has just been written, so it lies in memory.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.full_size import PAPERS, Step
from sed_lab.clip.batch import CompositionSampler, CorpusLoader
from sed_lab.clip.embedding_store import INDEX, LABELS, PARTS, VERSION, EmbeddingStore
from sed_lab.clip.tfrecord import ROWS, WIDTH
from sed_lab.dataset.audioset_embeddings import RowClips
from sed_lab.dataset.embedding_split import plain
from sed_lab.files import write_json
from sed_lab.types import Part

CLIPS, BATCH, READ = 2_000_000, 20, 100_000
CLASSES = PAPERS["aziz2020"].classes


class PlainRows(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """What a careful reader of the paper would write over a mapped file."""

    def __init__(self, rows: np.ndarray, labels: np.ndarray) -> None:
        self.rows, self.labels = rows, labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(np.array(self.rows[index])), torch.from_numpy(self.labels[index])


def run(clips: int = CLIPS, read: int = READ, steps: int = 300) -> dict[str, Any]:
    """Clips per processor second of both sides, and of training steps with ours."""
    torch.set_num_threads(1)
    of_class = np.eye(len(CLASSES), dtype=bool)[np.arange(clips) % len(CLASSES)]
    with tempfile.TemporaryDirectory() as folder:
        store = written(Path(folder) / "store", clips)
        loader = CorpusLoader({"weak": RowClips(store, plain(np.arange(clips)), of_class, CLASSES)}, CLASSES, 10, 1.0)
        order = CompositionSampler({"weak": clips}, {"weak": BATCH}, seed=0)
        mine = rate((loader[request] for request in order), read)
        theirs = DataLoader(PlainRows(store.embedding, of_class.astype(np.float32)), BATCH, shuffle=True)
        peer = rate(theirs, read)
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        trained = rate(trained_on(loader[request] for request in order), steps * BATCH)
    return {
        "rows": [
            {"what": f"clips of {clips:,} embeddings loaded in batches of {BATCH}, one core", "ours": mine,
             "peer": peer, "name": "a plain dataset", "unit": "clips/s", "limit": 50_000},
            {"what": "memory with the pages of the mapped file", "ours": held, "unit": "GB"},
            {"what": "clips loaded and trained with, Aziz's CNN, one core", "ours": trained, "unit": "clips/s"},
        ],
    }  # fmt: skip


def trained_on(batches: Iterable[Any]) -> Iterable[Any]:
    """The batches, each after a step of Aziz's network on it."""
    step = Step(PAPERS["aziz2020"], "cpu")
    for part in batches:
        assert isinstance(part, Part)
        step.batch = part.batch
        step()
        yield part


def rate(batches: Iterable[Any], read: int) -> float:
    """Clips per processor second over so many of them, after the first batch."""
    left = iter(batches)
    next(left)
    started = time.process_time()
    count = sum(1 for _ in islice(left, read // BATCH))
    return count * BATCH / (time.process_time() - started)


def written(folder: Path, clips: int) -> EmbeddingStore:
    """A converted folder of random rows, as `sed_lab.clip.embedding_store` describes it."""
    folder.mkdir()
    block = np.random.default_rng(0).integers(0, 256, (20_000, ROWS, WIDTH), np.uint8)
    with (folder / "embedding.bin").open("wb") as file:
        for first in range(0, clips, len(block)):
            file.write(block[: clips - first].tobytes())
    columns = {"label_count": 1, "start_seconds": 30.0, "subset": 0}
    for name, value in columns.items():
        np.full(clips, value, PARTS[name]).tofile(folder / f"{name}.bin")
    np.char.zfill(np.arange(clips).astype("S11"), 11).tofile(folder / "video_id.bin")
    np.zeros(clips, LABELS).tofile(folder / "labels.bin")
    totals = {"kept": clips, "labels": clips}
    write_json(
        folder / INDEX, {"version": VERSION, "fingerprint": "made", "subsets": {"unbal_train": {}}, "totals": totals}
    )
    return EmbeddingStore(folder)
