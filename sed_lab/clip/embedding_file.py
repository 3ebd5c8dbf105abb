"""Files of embeddings as `sed-predict` takes them: AudioSet's shards, and ``.npz`` files of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sed_lab.clip.tfrecord import ROWS, WIDTH, Tally, read_clips
from sed_lab.errors import InputError, plain, steers
from sed_lab.files import read_arrays

SUFFIXES = (".tfrecord", ".npz")


def list_embeddings(folder: Path) -> list[Path]:
    """Files of embeddings directly in ``folder``, sorted by name; hidden ones are left out."""
    found = (path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    return sorted(found)


def read_embeddings(path: Path, tally: Tally) -> Iterator[tuple[str, np.ndarray]]:
    """The name and the rows, uint8 ``[10, 128]``, of each clip of a file; what else it holds is counted in ``tally``.

    Names are ``<video>_<start in seconds>`` in a ``.tfrecord``, those of the arrays in an ``.npz``.

    Raises:
        InputError: the file cannot be read; an array is not of this type and shape.
    """
    if path.suffix == ".tfrecord":
        for record in read_clips(path, tally):
            rows = np.frombuffer(b"".join(record.rows), np.uint8).reshape(ROWS, WIDTH)
            yield f"{record.video_id}_{record.start_seconds:g}", rows
        return
    arrays = read_arrays(path)
    for name, rows in arrays.items():
        if any(map(steers, name)):
            raise InputError(f"{path}: the name {plain(name)!r} holds control characters; rename it")
        if rows.dtype != np.uint8 or rows.shape != (ROWS, WIDTH):
            raise InputError(
                f"{path}: {name} is {rows.dtype} {list(rows.shape)}, but a clip's embedding is uint8 [{ROWS}, {WIDTH}],"
                " VGGish's rows after its PCA and quantisation; save such arrays"
            )
        yield name, rows
