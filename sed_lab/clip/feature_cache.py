"""Linear mel spectrograms computed once and kept, so that epochs and runs on the same clips do not compute them again.

For each subset a folder ``<cache>/features/<key>`` holds ``mel.npy``, float32 ``[I, F, M]``, which is mapped into
memory, and ``seconds.npy``, float64 ``[I]``, how long each recording was. The key stands for the clips' files (name,
size, time of change), their annotation, and what decides the values.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch

from sed_lab.clip.audio import ClipFiles
from sed_lab.clip.audio_folder import in_threads
from sed_lab.clip.intact import NOTE, damaged, note_files
from sed_lab.errors import InputError, some
from sed_lab.files import locked, replacing, write_array
from sed_lab.types import Clip, Corpus, Subset
from sed_lab.waiting import track

Mel = Callable[[torch.Tensor], torch.Tensor]  # audio [B, N] -> linear mel [B, F, M]


class CachedFeatures:
    """The clips of a subset with their kept spectrograms (implements `sed_lab.types.Subset`)."""

    def __init__(self, files: ClipFiles, folder: Path) -> None:
        self.files, self.folder, self.clips = files, folder, files.clips
        self.seconds = np.load(folder / "seconds.npy")
        self.mel = np.load(folder / "mel.npy", mmap_mode="r")

    def __reduce__(self) -> tuple[type[CachedFeatures], tuple[ClipFiles, Path]]:
        return CachedFeatures, (self.files, self.folder)  # another process maps the file, rather than being sent it

    def __len__(self) -> int:
        return len(self.files)

    def load(self, index: int, epoch: int) -> tuple[Clip, np.ndarray]:
        """Clip ``index`` as `ClipFiles.load` gives it, and its linear mel ``[F, M]``."""
        return self.files.heard(index, 0, float(self.seconds[index])), np.array(self.mel[index])


def unchanging(subset: Subset) -> TypeGuard[ClipFiles]:
    """Whether a subset is of recordings that are the same in every epoch, so that their features can be kept."""
    return isinstance(subset, ClipFiles) and subset.fixed


def cached_features(corpus: Corpus, subset: str, mel: Mel, settings: Mapping[str, Any], cache: Path) -> CachedFeatures:
    """``subset`` of ``corpus`` with its spectrograms, computed on the CPU where ``cache`` has none yet.

    Args:
        mel: gives a clip the same spectrogram whatever else is computed with it.
        settings: of ``mel`` and of its code: other ones are another cache.

    Raises:
        InputError: the clips are not the same in every epoch, a recording cannot be used, the disk is full.
    """
    files = corpus.subsets[subset]
    if not unchanging(files):
        raise InputError(
            f"batch.cache_features=true: {subset} clips are not recordings that are the same in every epoch; set it to"
            " false"
        )
    folder = cache / "features" / _key(corpus, files, settings)
    with locked(folder.with_name(f".{folder.name}.lock"), f"another process computes the features of {subset}"):
        bad = damaged(folder) or _unreadable(folder)
        if bad and (folder / "mel.npy").is_file():
            print(f"{folder}: {some(bad)} is gone or damaged; computed again", file=sys.stderr, flush=True)
        if bad:
            _write(folder, files, mel, f"features of {subset}")
    return CachedFeatures(files, folder)


def _unreadable(folder: Path) -> list[str]:
    """The two files of a cache that are not there, or shorter than they say; those of older versions have no note."""
    bad = []
    for name in ("mel.npy", "seconds.npy"):
        try:
            np.load(folder / name, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            bad.append(name)
    return bad


def _key(corpus: Corpus, files: ClipFiles, settings: Mapping[str, Any]) -> str:
    decides = {"sample_rate": files.sample_rate, "clip_seconds": files.clip_seconds, "torch": torch.__version__}
    text = json.dumps([corpus.fingerprint, settings, decides], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode())
    for clip in files.clips:
        stat = clip.path.stat() if clip.path.is_file() else None  # what is missing is said when it is read
        digest.update(f"{clip.path.name}\0{stat and (stat.st_size, stat.st_mtime_ns)}\0".encode())
    return digest.hexdigest()[:16]


def _write(folder: Path, files: ClipFiles, mel: Mel, label: str) -> None:
    (folder / NOTE).unlink(missing_ok=True)  # of what is replaced
    seconds = np.zeros(len(files))
    with replacing(folder / "mel.npy") as beside, beside.open("wb") as file:
        for index, (recorded, values) in enumerate(track(_computed(files, mel), len(files), label)):
            if index == 0:
                shape = (len(files), *values.shape)
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(values.astype("<f4").tobytes())
            seconds[index] = recorded
        write_array(folder / "seconds.npy", seconds)
    note_files(folder)


def _computed(files: ClipFiles, mel: Mel) -> Iterator[tuple[float, np.ndarray]]:
    """Seconds of recording and spectrogram of every clip, by as many threads as PyTorch has."""
    yield from in_threads(partial(_one, files, mel), range(len(files)), torch.get_num_threads())


def _one(files: ClipFiles, mel: Mel, index: int) -> tuple[float, np.ndarray]:
    clip, audio = files.load(index, 0)
    return clip.duration, mel(torch.from_numpy(audio)[None])[0].numpy()
