"""Rare events of AudioSet from its segment lists and a folder of clips (Arora et al. 2019, section 4).

AudioSet's audio is not distributed, so clips are what the user has of them; ``sed-prepare check`` counts that. The
paper's list of clips is not known (36.0K of background, 13.5K dog barks, 2.3K baby cries, 4.1K gun shots).
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sed_lab.clip.audio import ClipFiles
from sed_lab.clip.audio_folder import find_audio
from sed_lab.clip.corpus import fingerprint
from sed_lab.clip.layout import read_headers
from sed_lab.dataset.rare_clips import BACKGROUND
from sed_lab.errors import InputError
from sed_lab.types import Clip, Corpus, Subset

CLASSES = ("Dog", "babycry", "gunshot")
LABELS = "class_labels_indices.csv"
TIMES = ((1, 3), (1, 0), (1000, 0))  # factor and decimals of the times in names: 30.000, 30, 30000
SHARES = {"weak": 0.7, "weak_validation": 0.2, "test": 0.1}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Segment:
    """One line of a segment list: the video, seconds within it, and the machine ids of its labels."""

    ytid: str
    start: float
    end: float
    mids: frozenset[str]

    def stems(self) -> tuple[str, ...]:
        """The names, without suffix, under which such clips are kept."""
        times = [f"_{self.start * scale:.{places}f}_{self.end * scale:.{places}f}" for scale, places in TIMES]
        times.append(f"_{self.start * 1000:.0f}")
        return tuple(f"{first}{self.ytid}{rest}" for first in ("", "Y") for rest in ("", *times))


def read_audioset_rare(
    folder: Path | str,
    classes: Mapping[str, Sequence[str]],
    exclude: Sequence[str],
    counts: Mapping[str, Mapping[str, int]] | None,
    ratio: Mapping[str, int] | None,
    sample_rate: int,
    clip_seconds: float,
    seed: int,
) -> Corpus:
    """Clips of ``folder``, which holds segment lists (``*segments.csv``), ``class_labels_indices.csv`` and, in or below
    ``audio/``, recordings.

    A clip with labels of exactly one of ``classes`` is that class's; one with none of them, and none of ``exclude``, is
    background; others are left out, as the paper's clips have one label or none. A class's clips are put in an order
    drawn from ``seed`` and dealt out to weak (70 %), weak_validation (20 %) and test (10 %). Of a class in a subset
    ``counts`` takes the first so many, as far as they are there, or all where it does not name it. With ``ratio``,
    weak and weak_validation then keep the most clips that have this ratio of the classes; test stays as it is.

    Args:
        classes: AudioSet's labels, as display names or machine ids, of each class.
        counts: as in `mini_rare_clips`, at most so many clips of each class, ``background`` included, by subset.
        ratio: a whole number for each class, ``background`` included.

    Raises:
        InputError: a list is missing or malformed, a label or a class is unknown, a class has no recording or too few
            for ``ratio``, or recordings cannot be used.
    """
    folder = Path(folder)
    found: dict[str, list[Path]] = {}
    for name, (listed, paths_of) in clips_by_class(folder, classes, exclude).items():
        found[name] = list(paths_of.values())
        if not paths_of:
            raise InputError(
                f"{folder / 'audio'} holds none of the {len(listed)} listed clips of {name}; recordings are called"
                " YTID.wav, YTID_START_END.wav or YTID_MILLISECONDS.wav, with or without a Y before (or flac, ...)"
            )
        if len(paths_of) < len(listed):
            log.warning("%s: %d of %d listed clips found in %s", name, len(paths_of), len(listed), folder / "audio")
    chosen: dict[str, list[tuple[str, Path]]] = {}
    _check_names(counts or {}, found)
    for subset, there in _dealt_out(found, seed).items():
        most = (counts or {}).get(subset, {})
        sizes = {name: min(len(paths), most.get(name, len(paths))) for name, paths in there.items()}
        if ratio is not None and subset != "test":
            sizes = _in_ratio(sizes, ratio, subset)
        log.info("%s: %s", subset, ", ".join(f"{size} of {len(there[name])} {name}" for name, size in sizes.items()))
        chosen[subset] = [(name, path) for name, paths in there.items() for path in paths[: sizes[name]]]
    headers = read_headers(path for rows in chosen.values() for _, path in rows)
    subsets: dict[str, Subset] = {}
    for subset, rows in chosen.items():
        clips = [
            Clip(path.stem, path, headers[path].duration, event_labels=() if name == BACKGROUND else (name,))
            for name, path in sorted(rows, key=lambda row: row[1].stem)
        ]
        subsets[subset] = ClipFiles(clips, sample_rate, clip_seconds, random_crop=subset == "weak", seed=seed)
    listing = json.dumps({subset: sorted((name, path.stem) for name, path in rows) for subset, rows in chosen.items()})
    files = fingerprint([*segment_lists(folder), *headers])
    known = hashlib.sha256(f"{files}{listing}".encode()).hexdigest()
    return Corpus("audioset_rare", tuple(classes), clip_seconds, sample_rate, subsets, known)


def _dealt_out(found: Mapping[str, Sequence[Path]], seed: int) -> dict[str, dict[str, list[Path]]]:
    """The recordings of each class by subset, in an order drawn from ``seed``."""
    order = np.random.default_rng(seed)
    dealt: dict[str, dict[str, list[Path]]] = {subset: {} for subset in SHARES}
    for name in sorted(found):
        paths = [found[name][i] for i in order.permutation(len(found[name]))]
        ends = np.round(np.cumsum([0, *SHARES.values()]) * len(paths)).astype(int)
        for subset, start, end in zip(SHARES, ends, ends[1:], strict=False):
            dealt[subset][name] = paths[start:end]
    return dealt


def _in_ratio(sizes: Mapping[str, int], ratio: Mapping[str, int], subset: str) -> dict[str, int]:
    """The largest numbers of clips that are in ``ratio`` and not above ``sizes``."""
    if set(ratio) != set(sizes) or any(type(part) is not int or part < 1 for part in ratio.values()):
        raise InputError(f"dataset.ratio={dict(ratio)} must give each of {', '.join(sizes)} a whole number above 0")
    times = min(sizes[name] // part for name, part in ratio.items())
    if times == 0:
        there = ", ".join(f"{size} {name}" for name, size in sizes.items())
        raise InputError(f"dataset.ratio={dict(ratio)} does not fit into the clips of {subset}: {there}")
    return {name: times * ratio[name] for name in sizes}


def read_segments(path: Path) -> list[Segment]:
    """The segments of a list of AudioSet's, in its order.

    Raises:
        InputError: it cannot be read, or a line is not ``YTID, start_seconds, end_seconds, "mid,mid"``.
    """
    segments = []
    for number, row in enumerate(_rows(path), start=1):
        if not row or row[0].startswith("#"):
            continue
        try:
            ytid, start, end, labels = row
            segments.append(Segment(ytid, float(start), float(end), frozenset(labels.split(","))))
        except ValueError:
            form = 'YTID, start_seconds, end_seconds, "label,label"'
            raise InputError(f"{path}:{number}: expected {form}; found {', '.join(row)}") from None
    return segments


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file, skipinitialspace=True))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); get it from AudioSet's download page") from None


def segment_lists(folder: Path) -> list[Path]:
    """The segment lists in ``folder``.

    Raises:
        InputError: there is none.
    """
    lists = sorted(folder.glob("*segments.csv"))
    if not lists:
        raise InputError(f"{folder} holds no *segments.csv; get AudioSet's lists, as balanced_train_segments.csv")
    return lists


def clips_by_class(
    folder: Path, classes: Mapping[str, Sequence[str]], exclude: Sequence[str]
) -> dict[str, tuple[list[Segment], dict[Segment, Path]]]:
    """The segments of each class, the background last, and the recordings there are of them in ``audio/`` or below.

    Raises:
        InputError: as `read_audioset_rare`.
    """
    if BACKGROUND in classes or not classes:
        raise InputError(f"dataset.classes needs classes, none of them called {BACKGROUND}")
    known = _mids(folder / LABELS)
    of_class = {name: _resolved(labels, known, f"dataset.classes.{name}") for name, labels in classes.items()}
    never = _resolved(exclude, known, "dataset.exclude")
    segments = {one.ytid: one for path in segment_lists(folder) for one in read_segments(path)}  # once a video
    by_class: dict[str, list[Segment]] = {name: [] for name in (*classes, BACKGROUND)}
    for one in segments.values():
        there = [name for name, mids in of_class.items() if mids & one.mids]
        if len(there) == 1:
            by_class[there[0]].append(one)
        elif not there and not never & one.mids:
            by_class[BACKGROUND].append(one)
    by_stem = {path.stem: path for path in find_audio(folder / "audio")}
    result = {}
    for name, listed in by_class.items():
        result[name] = listed, {one: by_stem[stem] for one in listed for stem in one.stems() if stem in by_stem}
    return result


def _mids(path: Path) -> dict[str, str]:
    """The machine id of each display name and of each machine id."""
    header, *rows = _rows(path) or [[]]
    if lacking := [name for name in ("display_name", "mid") if name not in header]:
        raise InputError(f"{path}: no column {lacking[0]!r}; its header is index,mid,display_name")
    columns = header.index("display_name"), header.index("mid")
    return {row[column]: row[columns[1]] for row in rows if len(row) > max(columns) for column in columns}


def _resolved(labels: Iterable[str], known: Mapping[str, str], key: str) -> frozenset[str]:
    for label in labels:
        if label not in known:
            raise InputError(f"{key}: {label!r} is no label of AudioSet's; use a display name or id of {LABELS}")
    return frozenset(known[label] for label in labels)


def _check_names(counts: Mapping[str, Mapping[str, int]], classes: Iterable[str]) -> None:
    for subset, per_class in counts.items():
        for name in (subset, *per_class):
            allowed = (*SHARES,) if name == subset else (*classes,)
            if name not in allowed:
                raise InputError(f"dataset.counts: unknown {name!r}; use {', '.join(allowed)}")
