"""AudioSet's released embeddings as a few flat files, to be memory-mapped: conversion, check and `EmbeddingStore`.

The release is a folder of `sed_lab.clip.tfrecord` files (shards) for each subset. Clips of exactly ten rows are
kept, N of them with L labels in all, in the order of subsets and of the shards' names. Numbers are little endian::

    embedding.bin      uint8 [N, 10, 128]    label_count.bin    uint8 [N]
    video_id.bin       11 bytes [N]          labels.bin         int16 [L]
    start_seconds.bin  float32 [N]           subset.bin         uint8 [N]
    journal.jsonl      a line for each shard that is done: where to go on after an interruption
    index.json         what was found; written last, so that with it the folder is complete
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sed_lab.clip.tfrecord import ID_LENGTH, ROWS, WIDTH, EmbeddingRecord, Tally, read_clips
from sed_lab.errors import InputError
from sed_lab.files import locked, read_json, write_json
from sed_lab.waiting import track

SHARDS = {"bal_train": 4070, "eval": 4062, "unbal_train": 4096}  # published files of each subset
VERSION = 1
INDEX, JOURNAL = "index.json", "journal.jsonl"
LABELS = np.dtype("<i2")
PARTS = {  # of each clip; labels.bin is as long as there are labels
    "embedding": np.dtype(("u1", (ROWS, WIDTH))),
    "label_count": np.dtype("u1"),
    "video_id": np.dtype(f"S{ID_LENGTH}"),
    "start_seconds": np.dtype("<f4"),
    "subset": np.dtype("u1"),
}
CHUNK = 4096  # clips held in memory

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """A file of a subset, which has a number in the order of conversion; ``size`` in bytes."""

    subset: str
    number: int
    path: Path
    size: int


class EmbeddingStore:
    """The clips of a complete folder; nothing of them is read before it is asked for. N clips.

    Attributes:
        embedding: uint8 [N, 10, 128], mapped read-only, as are the next three.
        video_id: bytes [N].
        start_seconds: float32 [N], where in the video a clip starts.
        subset: uint8 [N], positions in ``subsets``.
        subsets: names.
        index: what `convert` found.
        fingerprint: another one for other clips.

    Raises:
        InputError: the folder is not complete, or its files are not those that were written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = _read_index(folder)
        self.fingerprint: str = self.index["fingerprint"]
        self.subsets = tuple(self.index["subsets"])
        self._count = self.index["totals"]["kept"]
        self._label_total = self.index["totals"]["labels"]
        for name, expected in _sizes(self._count, self._label_total).items():
            path = folder / name
            found = path.stat().st_size if path.is_file() else "no"
            if found != expected:
                raise InputError(f"{path} has {found} bytes, not {expected}; remove {folder} and convert again")
        self.embedding = self._mapped("embedding")
        self.video_id = self._mapped("video_id")
        self.start_seconds = self._mapped("start_seconds")
        self.subset = self._mapped("subset")

    def __len__(self) -> int:
        return int(self._count)

    def __reduce__(self) -> tuple[type[EmbeddingStore], tuple[Path]]:
        return EmbeddingStore, (self.folder,)  # another process maps the files again, rather than being sent them

    def has_label(self, label: int) -> npt.NDArray[np.bool_]:
        """Whether each clip has the label of this number, bool [N]."""
        ends = np.cumsum(self._mapped("label_count"), dtype=np.int64)
        labels = _map(self.folder / "labels.bin", LABELS, self._label_total)
        result = np.zeros(len(self), dtype=np.bool_)
        result[np.searchsorted(ends, np.flatnonzero(labels == label), side="right")] = True
        return result

    def _mapped(self, name: str) -> npt.NDArray[Any]:
        return _map(self.folder / f"{name}.bin", PARTS[name], self._count)


def convert(
    source: Path, target: Path, subsets: Sequence[str] = tuple(SHARDS), progress: bool = True
) -> dict[str, Any]:
    """Convert the released folder ``source`` into ``target``; returns its index, at once where it is complete.

    After an interruption it goes on with the shard at which it was. Damaged records are left out and listed.

    Raises:
        InputError: there are no shards, ``target`` was begun with others or cannot be written, a shard cannot be read.
    """
    try:
        if not (target / INDEX).is_file():
            names = enumerate(dict.fromkeys(subsets))
            shards = [shard for number, name in names for shard in list_shards(source, name, number)]
            with locked(target / ".lock", f"another process is converting into {target}"):
                if not (target / INDEX).is_file():
                    _convert(shards, target, progress)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {target}: {reason}; free some space or name another folder") from error
    index = _read_index(target)
    if absent := [name for name in subsets if name not in index["subsets"]]:
        raise InputError(f"{target} was converted without {', '.join(absent)}; name another folder")
    return index


def list_shards(source: Path, subset: str, number: int = 0, broken: bool = False) -> list[Shard]:
    """The files of a subset, sorted by name; with ``broken`` those that are not there too (links that lead nowhere).

    Raises:
        InputError: there is none, or only compressed ones; without ``broken``, some are not there (named).
    """
    folder = source / subset
    try:
        paths = sorted(path for path in folder.glob("*.tfrecord") if not path.name.startswith("."))
        sizes = {path: path.stat().st_size if path.exists() else None for path in paths}
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error}); restore its permissions") from error
    if not paths:
        if packed := sorted(folder.glob("*.tfrecord.gz")):
            raise InputError(f"{folder} holds {len(packed)} *.tfrecord.gz; unpack them with gunzip {folder}/*.gz")
        raise InputError(
            f"{folder} holds no *.tfrecord; unpack AudioSet's features.tar.gz and name its folder"
            f" audioset_v1_embeddings, which holds {', '.join(SHARDS)}"
        )
    lacking = [path for path, size in sizes.items() if size is None]
    if lacking and not broken:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        said = ", ".join(map(str, lacking[:5]))
        raise InputError(f"{said}{more}: links that lead nowhere; restore the files, or remove the links")
    return [Shard(subset, number, path, size or 0) for path, size in sizes.items()]


def _convert(shards: Sequence[Shard], target: Path, progress: bool) -> None:
    entries = _resumed(shards, target)
    for path in (shard.path for shard in shards if not shard.size):
        log.warning("%s is empty (0 bytes): its clips are missing", path)

    def work(files: Mapping[str, BinaryIO], journal: BinaryIO) -> Iterator[None]:
        yield from (None for _ in entries)
        for shard in shards[len(entries) :]:
            entry = _convert_shard(shard, files)
            entry["labels"] += entries[-1]["labels"] if entries else 0
            for file in files.values():
                file.flush()
            journal.write(json.dumps(entry).encode() + b"\n")
            journal.flush()
            entries.append(entry)
            yield

    with ExitStack() as stack:
        files = {name: stack.enter_context((target / f"{name}.bin").open("ab")) for name in (*PARTS, "labels")}
        journal = stack.enter_context((target / JOURNAL).open("ab"))
        for _ in track(work(files, journal), len(shards), f"converting into {target.name}", progress):
            pass
        for file in files.values():
            os.fsync(file.fileno())  # index.json says that they are there, even after a power cut
    index = _index_of(entries)
    if shards and not index["totals"]["records"] - index["totals"]["damaged"]:
        lost = f"{entries[0]['file']}: {entries[0]['damage'][0][1]}" if entries[0]["damage"] else "they are empty"
        raise InputError(f"none of the {len(shards)} files holds a clip ({lost}); restore them, then remove {target}")
    write_json(target / INDEX, index)


def _convert_shard(shard: Shard, files: Mapping[str, BinaryIO]) -> dict[str, Any]:
    """Append a shard's clips to ``files``; returns its line of the journal, with its own labels only."""
    tally, chunk, labels = Tally(), [], 0
    for record in read_clips(shard.path, tally):
        chunk.append(record)
        labels += len(record.labels)
        if len(chunk) == CHUNK:
            _append(files, chunk, shard.number)
            chunk = []
    _append(files, chunk, shard.number)
    return {
        "subset": shard.subset,
        "file": shard.path.name,
        "size": shard.size,
        "kept": tally.rows[ROWS],
        "rows": {str(count): tally.rows[count] for count in sorted(tally.rows)},
        "damaged": tally.damaged,
        "damage": [[one.position, one.reason, one.rest_lost] for one in tally.damage],
        "checksum": tally.checksum,
        "labels": labels,
    }


def _append(files: Mapping[str, BinaryIO], clips: Sequence[EmbeddingRecord], subset: int) -> None:
    columns: dict[str, Iterable[Any]] = {
        "label_count": [len(clip.labels) for clip in clips],
        "video_id": [clip.video_id.encode() for clip in clips],
        "start_seconds": [clip.start_seconds for clip in clips],
        "subset": [subset] * len(clips),
    }
    for name, values in columns.items():
        files[name].write(np.array(values, dtype=PARTS[name]).tobytes())
    files["embedding"].write(b"".join(row for clip in clips for row in clip.rows))
    files["labels"].write(np.array([label for clip in clips for label in clip.labels], dtype=LABELS).tobytes())


def _resumed(shards: Sequence[Shard], target: Path) -> list[dict[str, Any]]:
    """The journal's lines that hold, all files being cut to what they say."""
    journal = target / JOURNAL
    text = journal.read_bytes() if journal.is_file() else b""
    lines = text[: text.rfind(b"\n") + 1].splitlines(keepends=True)  # without one that was being written
    try:
        entries = [json.loads(line) for line in lines]
        begun = [(entry["subset"], entry["file"]) for entry in entries]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{journal} is damaged ({error}); remove {target} and convert again") from None
    if begun != [(shard.subset, shard.path.name) for shard in shards[: len(begun)]]:
        raise InputError(f"{target} was begun with other shards; remove it and convert again")
    for entry, shard in zip(entries, shards, strict=False):
        if entry["size"] != shard.size:
            raise InputError(
                f"{shard.path} has {shard.size} bytes but had {entry['size']} when it was converted; restore it, or"
                f" remove {target} and convert again"
            )
    held = {path.name: path.stat().st_size for path in target.glob("*.bin")}
    while any(held.get(name, 0) < size for name, size in _sizes(*_totals(entries)).items()):
        entries.pop()  # written, but lost in a power cut
    sizes = {**_sizes(*_totals(entries)), JOURNAL: sum(map(len, lines[: len(entries)]))}
    for name, size in sizes.items():
        with (target / name).open("ab") as file:
            file.truncate(size)
    return entries


def _totals(entries: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Clips and labels that are kept."""
    return sum(entry["kept"] for entry in entries), entries[-1]["labels"] if entries else 0


def _sizes(clips: int, labels: int) -> dict[str, int]:
    """Bytes of each file."""
    sizes = {f"{name}.bin": clips * dtype.itemsize for name, dtype in PARTS.items()}
    return {**sizes, "labels.bin": labels * LABELS.itemsize}


def _index_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    subsets: dict[str, Any] = {}
    for entry in entries:
        blank = {"shards": 0, "records": 0, "kept": 0, "damaged": 0, "rows": {}, "damage": []}
        one = subsets.setdefault(entry["subset"], blank)
        one["shards"] += 1
        one["records"] += sum(entry["rows"].values()) + entry["damaged"]
        one["kept"] += entry["kept"]
        one["damaged"] += entry["damaged"]
        one["rows"] = dict(Counter(one["rows"]) + Counter(entry["rows"]))
        names = ("position", "reason", "rest_lost")
        one["damage"] += [{"file": entry["file"], **dict(zip(names, row, strict=True))} for row in entry["damage"]]
    totals = {key: sum(one[key] for one in subsets.values()) for key in ("shards", "records", "kept", "damaged")}
    known = json.dumps([VERSION, [[entry[key] for key in sorted(entry) if key != "damage"] for entry in entries]])
    return {
        "version": VERSION,
        "subsets": subsets,
        "totals": {**totals, "labels": _totals(entries)[1]},
        "fingerprint": hashlib.sha256(known.encode()).hexdigest(),
    }


def _read_index(folder: Path) -> dict[str, Any]:
    if not (folder / INDEX).is_file():
        raise InputError(f"{folder} is no complete folder of embeddings: it has no {INDEX}; convert AudioSet's into it")
    index = read_json(folder / INDEX)
    if not isinstance(index, dict) or index.get("version") != VERSION:
        raise InputError(f"{folder / INDEX} is not of version {VERSION}; remove {folder} and convert again")
    return index


def _map(path: Path, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    """The file as an array [count, ...], read-only."""
    shape = (count, *dtype.shape)
    if not count:  # an empty file cannot be mapped
        return np.empty(shape, dtype.base)
    return np.asarray(np.memmap(path, dtype.base, mode="r", shape=shape))  # plain: a memmap's every index costs more
