"""Checkpoints: written whole or not at all on the run's own file system, read as plain tensors and values, set aside
where they cannot be read.

A run has two that training goes on from: ``last.ckpt`` of the last complete epoch, and ``best.ckpt`` of the best one,
which holds all that the last one does and so can stand for it.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sed_lab.errors import InputError
from sed_lab.files import remove_unfinished, replacing

PARTS = {"state_dict", "optimizer_states", "loops", "epoch", "callbacks"}  # of a checkpoint to go on from
DAMAGED = "damaged"  # what the name of a file says that was set aside


def write_checkpoint(content: Mapping[str, Any], path: Path) -> str:
    """Write a checkpoint, whole or not at all, also where the power fails; its SHA-256.

    Raises:
        InputError: the disk is full or the folder cannot be written to.
    """
    packed = io.BytesIO()  # torch.save itself turns a full disk into an error that does not say so
    torch.save(content, packed)
    with replacing(path) as beside, beside.open("wb") as file:
        file.write(packed.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(packed.getbuffer()).hexdigest()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's plain content on the CPU. Code that a file holds is never run, every byte is checked.

    Raises:
        InputError: the file is not there, damaged, packed (so that it could unfold without end), or holds more than
            tensors and plain values.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist or is no file; restore it")
    try:
        with zipfile.ZipFile(path) as archive:
            stored = sum(one.file_size for one in archive.infolist())
            whole = stored <= path.stat().st_size and archive.testzip() is None
        content = torch.load(path, map_location="cpu", weights_only=True) if whole else None
    except Exception:  # a damaged file can raise anything; what torch says of pickles is how to run them
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged, or holds more than tensors and plain values, which is never run")
    return content


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], str | None]:
    """The tensors of a ``detector.ckpt`` by name, and the description of its pretrained encoder, where it has one.

    Raises:
        InputError: as :func:`read_checkpoint`, or it holds something else.
    """
    content = read_checkpoint(path)
    state, encoder = content.get("state_dict"), content.get("encoder")
    named = state if isinstance(state, dict) else {}
    tensors = list(named.values())
    fitting = all(isinstance(name, str) for name in named) and all(
        isinstance(one, torch.Tensor) and one.layout == torch.strided and one.device.type == "cpu" for one in tensors
    )
    # What a tensor claims to be long is compared with the file before anything reads beyond its end.
    if fitting:
        claimed = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}
        fitting = sum(claimed.values()) <= path.stat().st_size
    if not tensors or not fitting or not isinstance(encoder, str | None):
        raise InputError(f"{path} holds no detector's weights; restore it")
    return named, encoder


def make_ready(folder: Path) -> None:
    """Before a run goes on in ``folder``: remove what a killed process left half written, and set aside, with a
    sentence, what cannot be read, so that training goes on from what can, or starts anew.
    """
    remove_unfinished(folder)
    last, best = (folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    if not last.exists():
        best.unlink(missing_ok=True)  # of a training that is not gone on with
        return
    content = _read_or_aside(last)
    if content is not None and not _had_best(content):
        return
    earlier = _read_or_aside(best)
    if content is None and earlier is not None:
        with replacing(last) as beside:
            shutil.copyfile(best, beside)
        _say(f"training goes on after epoch {int(earlier['epoch']) + 1}, from {best}")
    elif content is not None and earlier is None:
        os.replace(last, _aside(last))
        _say(f"{best}, the best weights so far, is not to be had, without which {last} is set aside too")
    if not last.exists():
        _say("training starts anew")


def _read_or_aside(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = read_checkpoint(path)
        if content.keys() >= PARTS and isinstance(content["callbacks"], dict) and isinstance(content["epoch"], int):
            return content
        reason = f"{path} is no checkpoint of a training"
    except InputError as error:
        reason = str(error)
    os.replace(path, _aside(path))
    _say(f"{reason}; set aside as {_aside(path).name}")
    return None


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.stem}.{DAMAGED}{path.suffix}")


def _had_best(content: Mapping[str, Any]) -> bool:
    """Whether best weights had been kept when a checkpoint was written."""
    paths = [one.get("best_model_path") for one in content["callbacks"].values() if isinstance(one, dict)]
    return any(Path(str(path)).name == "best.ckpt" for path in paths if path)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
