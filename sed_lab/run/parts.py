"""What belongs to a run's folder: which parts of a complete run are lost, and what it takes to make them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sed_lab.errors import InputError, some
from sed_lab.files import checksum
from sed_lab.run.record import read_record

PARTS = ("run.json", "metrics.json", "per_class.csv", "curves.json", "history.csv", "page.html", "detector.ckpt",
         "detector.safetensors", "detector.json",
         "output.log", "train.log", ".lock", "scores", "detections", "figures", "embeddings",
         "checkpoints")  # fmt: skip
"""What is read or written there; a logger's own folder beside it is not sed_lab's."""

TRAINED = ("detector.ckpt", "scores/test")  # made by the trained network; all others are made from the scores
MEASURED = ("metrics.json", "per_class.csv", "curves.json", "detections/test")
REPORTED = {"page": "page.html", "figures": "figures"}  # by the key of ``report`` that asks for it


def links_stay(folder: Path) -> None:
    """Refuse a run's folder of which a part is a link to somewhere else: it would be read, or written to, there.

    Raises:
        InputError: it names the link.
    """
    top = folder.resolve()
    for path in _links(folder):
        if not path.resolve().is_relative_to(top):
            raise InputError(f"{path} is a link that leads out of {folder}, so it is not followed; put the file there")


def _links(folder: Path) -> Iterator[Path]:
    for part in (folder / name for name in PARTS):
        if part.is_symlink():
            yield part
        elif part.is_dir():
            yield from (path for path in part.rglob("*") if path.is_symlink())


def is_changed(record: Mapping[str, Any], checkpoint: Path) -> bool:
    """Whether ``detector.ckpt`` is another file than the record is about; records of before there were checksums do
    not say."""
    known = (record.get("detector") or {}).get("sha256")
    return known is not None and not (checkpoint.is_file() and checksum(checkpoint) == known)


def lost_parts(folder: Path, report: Mapping[str, Any]) -> list[str]:
    """Parts of a complete run that are not there any more, or ``detector.ckpt`` where it was changed, by name.

    ``report`` says which of the page and the figures are wanted.
    """
    wanted = [name for key, name in REPORTED.items() if report[key]]
    lost = [name for name in (*TRAINED, *MEASURED, *wanted) if not _is_there(folder / name)]
    if "detector.ckpt" not in lost and is_changed(read_record(folder) or {}, folder / "detector.ckpt"):
        lost.append("detector.ckpt")
    return lost


def _is_there(path: Path) -> bool:
    """Whether there is such a file, or a folder with anything in it."""
    return any(path.iterdir()) if path.is_dir() else path.is_file()


def trains_again(lost: Sequence[str]) -> bool:
    """Whether what is lost takes the trained network, from its checkpoints or trained anew."""
    return bool(set(lost) & set(TRAINED))


def lost_in_words(folder: Path, lost: Sequence[str]) -> str:
    """What is lost and how it is made again, as a sentence; empty where nothing is."""
    if not lost:
        return ""
    how = "from its scores"
    if trains_again(lost):
        kept = (folder / "checkpoints" / "last.ckpt").exists()
        how = "from its checkpoints" if kept else "by training anew, as it has no checkpoints"
    return f"{folder} was complete, but {some(lost)} is gone or damaged: made again {how}"
