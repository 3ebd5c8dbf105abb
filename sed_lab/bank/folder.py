"""A folder of recordings as a sound bank: ESC-10 and ESC-50 as they come, or one folder per class."""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sed_lab.bank.base import SPLITS, active_runs, loop
from sed_lab.bank.procedural.bank import ProceduralBank
from sed_lab.clip.audio import SUFFIXES, read_audio
from sed_lab.clip.audio_folder import refuse_bad, short_reason
from sed_lab.errors import InputError

BACKGROUNDS = (
    *("rain", "sea_waves", "wind", "fire_crackling", "crackling_fire", "helicopter", "chainsaw"),
    *("background*", "noise*"),
)
STEADY = 0.95  # a class whose recordings are active in this share of their frames can serve as a background

_ESC_NAME = re.compile(r"^(?P<fold>\d+)-(?P<source>[^-]+)-(?P<take>[A-Z])(-\d+)?$")
_TAKE = re.compile(r"[-_][A-Z]$")


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of the bank: its class, the recording it was taken from, and its fold (None where there are none)."""

    path: Path
    label: str
    source: str
    fold: int | None


class FolderBank:
    """Events and backgrounds cut out of a folder of recordings.

    Layouts: ``<class>/*.wav`` (also ``NNN - Name/fold-source-take.ogg`` of ESC-10), or ``audio/*`` with
    ``meta/esc50.csv``. Class names become identifiers (``001 - Dog bark`` -> ``Dog_bark``). Where files carry folds,
    the last is ``test``, and of the others a fifth of each class's sources is ``validation``, by a seeded hash of their
    names; ``folds`` names whole folds for all three instead. Without folds the sources of each class are shared out
    60/20/20. An event is a run of frames within ``range_db`` of its recording's loudest frame, gaps up to
    ``max_gap_seconds`` bridged; a recording with runs below ``min_event_seconds`` only gives its longest one.
    Where no label serves as a background, the embedded ones of `ProceduralBank` do; `roles` says which are what.
    ``others`` are labels whose events are there beside those of ``classes`` (None: all that are neither class nor
    background), in whichever splits have them.

    Raises:
        InputError: no such folder, no audio, unreadable files (all named), an unknown class or background, or a
            class without a recording in a split.
    """

    def __init__(
        self,
        folder: str | Path,
        classes: Sequence[str] | None = None,
        backgrounds: Sequence[str] | None = None,
        sample_rate: int = 16000,
        folds: Mapping[str, Sequence[int]] | None = None,
        min_event_seconds: float = 0.1,
        max_gap_seconds: float = 0.2,
        range_db: float = 40.0,
        seed: int = 0,
        others: Sequence[str] | None = (),
    ) -> None:
        self.folder, self.sample_rate = Path(folder), sample_rate
        recordings = find_recordings(self.folder)
        active, share = _measure(recordings, sample_rate, range_db, max_gap_seconds, min_event_seconds)
        self.classes, self.why_background = _roles(self.folder, recordings, share, classes, backgrounds)
        noises = tuple(self.why_background)
        self._embedded = None if noises else ProceduralBank((), "real", sample_rate, seed)
        self.others = tuple(sorted({r.label for r in recordings} - {*self.classes, *noises}))
        self.others = self.further(others)
        wanted = [r for r in recordings if r.label in {*self.classes, *noises, *self.others}]
        split_of = _split(self.folder, wanted, folds, seed)
        self._events: dict[tuple[str, str], list[tuple[Path, int, int]]] = {}
        self._sources: dict[tuple[str, str], set[str]] = {}
        self._backgrounds: dict[str, list[tuple[Path, int, int]]] = {split: [] for split in SPLITS}
        for recording in wanted:
            runs = active[recording.path]
            split = split_of.get(recording.path)
            if split is None or not runs:
                continue
            if recording.label in noises:
                self._backgrounds[split].append((recording.path, runs[0][0], runs[-1][1]))
            else:
                key = (split, recording.label)
                self._events.setdefault(key, []).extend((recording.path, *run) for run in runs)
                self._sources.setdefault(key, set()).add(recording.source)
        self._refuse_gaps(noises)

    def event_count(self, split: str, event_label: str) -> int:
        return len(self._events.get((split, event_label), ()))

    def event(self, split: str, event_label: str, index: int) -> np.ndarray:
        path, start, stop = self._events[split, event_label][index]
        return read_audio(path, self.sample_rate)[start:stop].copy()

    def background_count(self, split: str) -> int:
        return self._embedded.background_count(split) if self._embedded else len(self._backgrounds[split])

    def background(self, split: str, index: int, seconds: float) -> np.ndarray:
        if self._embedded:
            return self._embedded.background(split, index, seconds)
        path, start, stop = self._backgrounds[split][index]
        return loop(read_audio(path, self.sample_rate)[start:stop], round(seconds * self.sample_rate), self.sample_rate)

    def roles(self) -> str:
        """Which classes are events and which backgrounds, and why, in a sentence."""
        found = ", ".join(f"{label} ({why})" for label, why in self.why_background.items())
        noises = found or "the embedded ones, as no folder is named like one or holds steady sound"
        return (
            f"events: {', '.join(self.classes)}; backgrounds: {noises}; dataset.classes and dataset.backgrounds set it"
        )

    def source_clips(self, split: str = "train") -> dict[str, int]:
        """Recordings of each class in a split (V_c of Park & Elhilali 2022 for ``train``)."""
        return {label: len(self._sources[split, label]) for label in self.classes}

    def paths(self, split: str) -> set[Path]:
        """Every file a split draws from."""
        events = (path for (name, _), runs in self._events.items() if name == split for path, _, _ in runs)
        return {*events, *(path for path, _, _ in self._backgrounds[split])}

    def further(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Those of ``others`` that ``names`` names; None: all of them.

        Raises:
            InputError: a name is none of them.
        """
        chosen = self.others if names is None else tuple(map(identifier, names))
        if wrong := [name for name in chosen if name not in self.others]:
            there = ", ".join(self.others) or "none"
            raise InputError(f"{self.folder} has no other class {', '.join(wrong)}; there are {there}")
        return chosen

    def recordings(self, split: str) -> list[tuple[Path, str, list[tuple[int, int]]]]:
        """Every recording with events: its file, its label, and where its events lie (samples)."""
        found: dict[tuple[Path, str], list[tuple[int, int]]] = {}
        for (name, label), runs in self._events.items():
            for path, start, stop in runs if name == split else ():
                found.setdefault((path, label), []).append((start, stop))
        return [(path, label, runs) for (path, label), runs in sorted(found.items())]

    def _refuse_gaps(self, noises: Iterable[str]) -> None:
        missing = [f"{label} in {s}" for label in self.classes for s in SPLITS if (s, label) not in self._events]
        missing += [f"backgrounds ({', '.join(noises)}) in {s}" for s in SPLITS if not self.background_count(s)]
        if missing:
            raise InputError(
                f"{self.folder}: no recording of {', '.join(missing)}; add recordings (three sources a class at "
                "least), name other folds, or leave the class out of classes"
            )


def find_recordings(folder: Path) -> list[Recording]:
    """The folder's recordings sorted by path, in either layout.

    Raises:
        InputError: the folder does not exist, holds no audio in class folders, or its meta/esc50.csv is wrong.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name one with a folder of recordings per class")
    table = folder / "meta" / "esc50.csv"
    found = _from_table(folder, table) if table.is_file() else _from_class_folders(folder)
    if not found:
        raise InputError(
            f"{folder} holds no audio; expected <class>/*.wav (or flac, ogg, mp3), or audio/ and meta/esc50.csv"
        )
    return found


def identifier(name: str) -> str:
    """``001 - Dog bark`` -> ``Dog_bark``: no leading number, no spaces or signs."""
    cleaned = re.sub(r"[^0-9A-Za-z]+", "_", re.sub(r"^\d+\s*[-_. ]\s*", "", name)).strip("_")
    return cleaned or name


def _from_class_folders(folder: Path) -> list[Recording]:
    found = []
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() in SUFFIXES:
            label = identifier(path.parent.name)
            source, fold = f"{label}/{_TAKE.sub('', path.stem)}", None
            if match := _ESC_NAME.match(path.stem):
                source, fold = match["source"], int(match["fold"])
            found.append(Recording(path, label, source, fold))
    return found


def _from_table(folder: Path, table: Path) -> list[Recording]:
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {"filename", "fold", "category", "src_file"}
    if not rows or not columns <= set(rows[0]):
        raise InputError(f"{table}: needs the columns {', '.join(sorted(columns))} and at least one row")
    audio = folder / "audio"
    if missing := [row["filename"] for row in rows if not (audio / row["filename"]).is_file()]:
        raise InputError(f"{audio} lacks {', '.join(missing)} listed in {table}; unpack the archive again")
    rows.sort(key=lambda row: audio / row["filename"])
    return [Recording(audio / r["filename"], identifier(r["category"]), r["src_file"], int(r["fold"])) for r in rows]


def _measure(
    recordings: Sequence[Recording], sample_rate: int, range_db: float, gap: float, shortest: float
) -> tuple[dict[Path, list[tuple[int, int]]], dict[Path, float]]:
    """Active runs of every recording, and the share of it that they cover."""
    active, share, bad = {}, {}, []
    for recording in recordings:
        path = recording.path
        try:
            audio = read_audio(path, sample_rate)
        except InputError as error:
            bad.append((path, short_reason(path, error)))
            continue
        active[path] = active_runs(audio, sample_rate, range_db, gap, shortest)
        share[path] = sum(stop - start for start, stop in active[path]) / len(audio)
    refuse_bad(bad, len(recordings))
    return active, share


def _roles(
    folder: Path,
    recordings: Sequence[Recording],
    share: Mapping[Path, float],
    classes: Sequence[str] | None,
    backgrounds: Sequence[str] | None,
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Event classes in their order, and the labels that serve as backgrounds, with the reason; there may be none."""
    labels = sorted({recording.label for recording in recordings})
    chosen = tuple(identifier(name) for name in classes or ())
    if unknown := [name for name in chosen if name not in labels]:
        raise InputError(f"{folder} has no class {', '.join(unknown)}; it has {', '.join(labels)}")
    patterns = [identifier(p).lower() if "*" not in p else p.lower() for p in backgrounds or BACKGROUNDS]
    free = [label for label in labels if label not in chosen]
    why = "dataset.backgrounds" if backgrounds else "by its name"
    noises = {label: why for label in free if any(fnmatch.fnmatchcase(label.lower(), p) for p in patterns)}
    if not noises and backgrounds is None:
        covered = {label: np.mean([share[r.path] for r in recordings if r.label == label]) for label in free}
        noises = {label: f"steady, {part:.0%} of it sounds" for label, part in covered.items() if part >= STEADY}
    if not noises and backgrounds is not None:
        raise InputError(
            f"{folder} has no background among {', '.join(free) or 'its folders'} (looked for {', '.join(patterns)}); "
            "name the folders that hold steady noise in backgrounds"
        )
    chosen = chosen or tuple(label for label in labels if label not in noises)
    if not chosen:
        raise InputError(f"{folder} has only backgrounds ({', '.join(noises)}); name the event folders in classes")
    return chosen, noises


def _split(
    folder: Path, recordings: Sequence[Recording], folds: Mapping[str, Sequence[int]] | None, seed: int
) -> dict[Path, str]:
    numbers = sorted({r.fold for r in recordings if r.fold is not None})
    if folds is not None:
        return _by_fold(folder, recordings, folds, numbers)
    tested = set()
    if len(numbers) >= 3 and all(r.fold is not None for r in recordings):
        tested = {r.path for r in recordings if r.fold == numbers[-1]}
    split_of = dict.fromkeys(tested, "test")
    for label in sorted({r.label for r in recordings}):
        rest = [r for r in recordings if r.label == label and r.path not in tested]
        sources = sorted({r.source for r in rest}, key=lambda name: _hash(seed, name))
        held = max(1, round(0.2 * len(sources))) if len(sources) >= 3 else 0
        parts = ["validation"] * held if tested else ["test"] * held + ["validation"] * held
        part = dict(zip(sources, [*parts, *["train"] * len(sources)], strict=False))
        split_of.update({r.path: part[r.source] for r in rest})
    return split_of


def _by_fold(
    folder: Path, recordings: Sequence[Recording], folds: Mapping[str, Sequence[int]], numbers: Sequence[int]
) -> dict[Path, str]:
    if set(folds) != set(SPLITS):
        needed = ", ".join(SPLITS)
        raise InputError(f"folds names {', '.join(folds)}; it needs {needed}, each with a list of fold numbers")
    listed = [fold for split in SPLITS for fold in folds[split]]
    if len(set(listed)) < len(listed):
        raise InputError(f"folds {dict(folds)} uses a fold twice; a fold belongs to one split")
    if unknown := sorted(set(listed) - set(numbers)):
        there = ", ".join(map(str, numbers)) or "none"
        raise InputError(f"{folder} has no fold {', '.join(map(str, unknown))}; it has {there}")
    split_of_fold = {fold: split for split in SPLITS for fold in folds[split]}
    return {r.path: split_of_fold[r.fold] for r in recordings if r.fold in split_of_fold}


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
