"""AudioSet's embeddings read and converted, ten million rows of them; beside it, tensorboard's reader of TFRecords.

The peer checks the same two checksums, in Python, and gives the same bytes; both sides decode the same messages.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

from sed_lab.clip.embedding_store import EmbeddingStore, convert
from sed_lab.clip.tfrecord import EmbeddingRecord, decode_embedding, encode_embedding, read_records, write_records

RECORDS, SHARDS, ROWS = 1_000_000, 500, 10
READ = 4_000  # records that both sides read


def records(shard: int, count: int) -> Iterator[bytes]:
    """Records of ten random rows."""
    rng = np.random.default_rng(shard)
    for number in range(count):
        rows = tuple(row.tobytes() for row in rng.integers(0, 256, (ROWS, 128), np.uint8))
        yield encode_embedding(EmbeddingRecord(f"{shard:04d}{number:07d}", 30.0, 40.0, (0, 137), rows))


def peer_reads(path: Path) -> int:
    """tensorboard's reader and our decoding."""
    reader, count = PyRecordReader_New(str(path)), 0
    while True:
        try:
            reader.GetNext()
        except Exception as error:  # how it says that the file has ended
            if type(error).__name__ != "OutOfRangeError":
                raise
            return count
        decode_embedding(reader.record())
        count += 1


def we_read(path: Path) -> int:
    """Our reader and decoding."""
    return sum(decode_embedding(payload) is not None for _, payload in read_records(path, print))


def seconds(work: Any, *arguments: Any) -> float:
    """The quickest of three times."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        assert work(*arguments) == READ
        times.append(time.perf_counter() - started)
    return min(times)


def run(total: int = RECORDS) -> dict[str, Any]:
    """Records per second of both readers, and of the conversion with the memory it takes."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "audioset_v1_embeddings", Path(folder) / "converted"
        write_records(Path(folder) / "one.tfrecord", records(0, READ))
        theirs, mine = (seconds(work, Path(folder) / "one.tfrecord") for work in (peer_reads, we_read))
        for shard in range(SHARDS):
            write_records(source / "unbal_train" / f"{shard:04d}.tfrecord", records(shard, total // SHARDS))
        before, started = held("VmRSS"), time.perf_counter()
        convert(source, target, ["unbal_train"], progress=False)
        took = time.perf_counter() - started
        peak = held("VmHWM") - before
        assert len(EmbeddingStore(target)) == total
    return {
        "rows": [
            {
                "what": "records of ten rows read and decoded, one core",
                "ours": READ / mine,
                "peer": READ / theirs,
                "name": "tensorboard's reader",
                "unit": "1/s",
            },
            {"what": f"{total} records of ten rows converted", "ours": total / took, "unit": "1/s"},
            {"what": "memory taken by that, at most", "ours": peak / 1e6, "unit": "MB"},
        ]
    }


def held(what: str) -> int:
    """Bytes this process holds now (VmRSS), or has held at most so far (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what))
