"""What sed-predict is given (files, folders, patterns, a list on standard input) as recordings with unique names."""

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sed_lab.clip.audio import SUFFIXES as AUDIO
from sed_lab.clip.audio_folder import find_audio
from sed_lab.clip.embedding_file import SUFFIXES as EMBEDDINGS
from sed_lab.errors import InputError


@dataclass(frozen=True, slots=True)
class Recording:
    """A file to detect events in. ``name`` is its path below the folder that was given (with several, below what they
    have in common), with ``/``; ``stem`` is what its results are called, without a suffix where that is unique.
    """

    path: Path
    name: str
    stem: str


def find_recordings(given: Sequence[str]) -> list[Recording]:
    """The recordings that ``given`` names, each once, sorted within a folder.

    A folder is searched in depth for audio, or else for embeddings; ``-`` stands for a list on standard input, a path a
    line; a path that does not exist and holds ``*``, ``?`` or ``[`` is a pattern, in which ``**`` is any depth.

    Raises:
        InputError: a path does not exist, a folder or a pattern holds nothing, or nothing is left.
    """
    places: list[Path] = []  # what names are relative to: folders
    found: dict[str, Path] = {}
    for place, path in _found(given):
        places.append(place)
        found.setdefault(os.path.abspath(path), path)
    if not found:
        raise InputError("no recording is named: standard input holds no line; give audio files or folders")
    base = os.path.commonpath([os.path.abspath(place) for place in places])
    names = [Path(os.path.relpath(path, base)).as_posix() for path in found]
    stems = _stems(names)
    return [Recording(path, name, stem) for path, name, stem in zip(found.values(), names, stems, strict=True)]


def _found(given: Sequence[str]) -> Iterator[tuple[Path, Path]]:
    """(folder that was searched, file) of each file."""
    for word in given:
        if word == "-":
            for line in filter(None, (line.rstrip("\r\n") for line in sys.stdin)):
                path = Path(line)  # one that is not there is named at the end, and the others are done
                yield from _in_folder(path) if path.is_dir() else [(path.parent, path)]
        elif Path(word).is_dir():
            yield from _in_folder(Path(word))
        elif Path(word).exists():
            yield Path(word).parent, Path(word)
        elif glob.has_magic(word):
            yield from _matching(word)
        else:
            raise InputError(f"{word} does not exist; give audio files or folders")


def _in_folder(folder: Path) -> list[tuple[Path, Path]]:
    files = find_audio(folder)
    if not files:
        below = (path for path in folder.rglob("*") if path.suffix in EMBEDDINGS)
        files = sorted(path for path in below if not _hidden(path.relative_to(folder)))
    if not files:
        raise InputError(f"{folder} holds no audio files (wav, flac, ogg, mp3); give another folder")
    return [(folder, path) for path in files]


def _matching(pattern: str) -> list[tuple[Path, Path]]:
    parts = Path(pattern).parts
    fixed = Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
    found = sorted(Path(path) for path in glob.glob(pattern, recursive=True))
    files = [path for path in found if path.suffix.lower() in (*AUDIO, *EMBEDDINGS) and path.is_file()]
    if not files:
        raise InputError(f"{pattern} matches no audio file (wav, flac, ogg, mp3); give another pattern")
    return [(fixed, path) for path in files]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _stems(names: Sequence[str]) -> list[str]:
    """Names without their suffixes; of two that differ by the suffix only, with it: no result replaces another."""
    short = [os.path.splitext(name)[0] for name in names]
    count = Counter(short)
    stems = [name if count[stem] > 1 else stem for name, stem in zip(names, short, strict=True)]
    return stems if len(set(stems)) == len(stems) else list(names)
