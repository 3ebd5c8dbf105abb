"""Recordings of your own, annotated where they lie: split by recording, cut into clips, read as DESED is.

A recording is annotated by a file beside it (`sed_lab.clip.beside`) or by rows of ``annotations.tsv`` (or ``.csv``) in
the folder. One without an annotation is not known to hold no event: it is unlabelled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sed_lab.bank.making import make_once, marked
from sed_lab.clip.annotation import read_detections, write_durations, write_strong, write_unlabelled
from sed_lab.clip.audio import move_events, read_audio, write_audio
from sed_lab.clip.audio_folder import find_audio
from sed_lab.clip.beside import annotations_of, class_of, has_confidences, read_beside
from sed_lab.clip.layout import END_TOLERANCE, SPLITS, read_headers, read_layout
from sed_lab.errors import InputError, some
from sed_lab.files import write_text
from sed_lab.types import Corpus, Event

TABLES = ("annotations.tsv", "annotations.csv")
SUBSET_OF = {"train": "synthetic", "validation": "validation", "test": "test", "unlabelled": "unlabelled"}
SLIVER = 0.1  # seconds: less of an event, left over where a clip ends, is no event of the clip
VERSION = 1  # of what is made here


@dataclass(frozen=True)
class Annotated:
    """A recording: its path, its name below the folder, its length in seconds, its events (None: not annotated)."""

    path: Path
    name: str
    seconds: float
    events: tuple[Event, ...] | None

    @property
    def labels(self) -> frozenset[str]:
        """The classes that are in it."""
        return frozenset(event.event_label for event in self.events or ())


def own_recordings(
    audio_folder: Path | str,
    folder: Path | str,
    classes: Sequence[str] | None,
    label_column: str | None,
    corrected: bool,
    shares: Mapping[str, float],
    sample_rate: int,
    clip_seconds: float,
    seed: int,
) -> Corpus:
    """The corpus of the recordings in ``audio_folder``; its clips are cut once, below ``folder``.

    Subsets: ``synthetic`` (strong labels, training), ``validation``, ``test`` and, from recordings without annotation,
    ``unlabelled``; a recording is in one of them only (`split_of`). A folder in DESED's layout is read as that.
    Recordings are cut every ``clip_seconds``; clips without an event are kept, an event over a cut is in both.

    Args:
        classes: their order, others are no events; None: all labels. label_column: of Raven tables, see `read_beside`.
        corrected: take files with confidences too.
        shares: of the recordings of each class, in ``validation`` and ``test``.

    Raises:
        InputError: no recording, or wrong annotations or recordings, all named; a class without training recordings;
            ``folder`` cannot be written to.
    """
    source = Path(audio_folder)
    if (source / "metadata").is_dir():
        return read_layout(source, classes, sample_rate, clip_seconds, seed=seed)
    found = find_annotated(source, classes, label_column, corrected)
    split = split_of(found, shares, seed)
    names = tuple(classes or sorted(frozenset().union(*(one.labels for one in found))))
    untrained = [name for name in names if not any(name in one.labels and split[one.name] == "train" for one in found)]
    if untrained or not names:
        what = f"no training recording of {', '.join(untrained)}" if names else "no annotated event"
        raise InputError(f"{source}: {what}; annotate more recordings, or leave the class out by dataset.classes")
    listed = [[one.name, *_state(one.path), split[one.name], *map(_plain, one.events or ())] for one in found]
    settings = [VERSION, names, sample_rate, clip_seconds, listed]
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
    made = Path(folder) / f"folder-{digest}"

    def write(beside: Path) -> Iterator[str]:
        write_text(beside / "metadata/classes.txt", "".join(f"{name}\n" for name in names))
        for part in SUBSET_OF:
            own = [one for one in found if split[one.name] == part]
            yield from _write_part(beside, part, own, sample_rate, clip_seconds)

    make_once(made, write, len(found))
    corpus = read_layout(made, sample_rate=sample_rate, clip_seconds=clip_seconds, weak_split=1.0, name="folder")
    return marked(corpus, made.name)


def find_annotated(
    folder: Path, classes: Sequence[str] | None = None, label_column: str | None = None, corrected: bool = False
) -> list[Annotated]:
    """All recordings in ``folder`` and below with their events, in the order of their paths.

    Raises:
        InputError: there is none; annotations are wrong (all are named), or have confidences and are not said to be
            ``corrected``; recordings cannot be read (likewise), have two annotations, differ by their suffix only, or
            end more than a second before an event does.
    """
    paths = find_audio(folder)
    if not paths:
        raise InputError(f"{folder} holds no audio (wav, flac, ogg, mp3); name the folder of your recordings")
    headers = read_headers(paths)
    listed, problems = _listed(folder, paths)
    counts = Counter(str(path.with_suffix("")) for path in paths)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        problems.append(f"recordings differ by their suffix only: {some(twice)}")
    there = {place: os.listdir(place) for place in {path.parent for path in paths}}
    found, detected = [], [folder / name for name in TABLES if (folder / name).is_file() and not corrected]
    for path in paths:
        events, files = listed.get(path), annotations_of(path, there[path.parent])
        try:
            if len(files) + (events is not None) > 1:
                named = [one.name for one in files] + (["the folder's table"] if events is not None else [])
                raise InputError(f"{path} has more than one annotation: {', '.join(named)}; keep one")
            events = read_beside(files[0], label_column) if files else events
            detected += [] if corrected else files
            if late := [one for one in events or () if one.offset > headers[path].duration + END_TOLERANCE]:
                raise InputError(
                    f"{files[0] if files else path}: {late[0].event_label} ends at {late[0].offset:g} s, but the"
                    f" recording lasts {headers[path].duration:.2f} s; correct it"
                )
        except InputError as error:
            problems.append(str(error))
        if events is not None and classes is not None:
            events = tuple(one for one in events if one.event_label in classes)
        found.append(Annotated(path, path.relative_to(folder).as_posix(), headers[path].duration, events))
    if detected := [path for path in detected if has_confidences(path)]:
        problems.append(
            f"{some(detected)}: these hold confidences, so they are what a detector found and no annotation; move them"
            " elsewhere, or give dataset.corrected=true if all of them were corrected by hand"
        )
    if problems:
        raise InputError(some(problems, "; also "))
    return found


def split_of(recordings: Sequence[Annotated], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Whether each recording, by name, is of train, validation, test or (without annotation) unlabelled.

    Where the folder has folders ``train`` and ``test`` (and ``validation``), they say it. Otherwise recordings are
    drawn by a hash of seed and name, those of the rarest class first: of each class, and of recordings without an
    event, the share asked for, and at least one where there are three.

    Raises:
        InputError: there are these folders, and annotated recordings beside them.
    """
    split = {one.name: "unlabelled" for one in recordings if one.events is None}
    rest = [one for one in recordings if one.events is not None]
    tops = {one.name: one.name.split("/")[0] for one in rest}
    if {"train", "test"} <= set(tops.values()):
        if stray := [name for name, top in tops.items() if top not in ("train", "validation", "test")]:
            raise InputError(f"{some(stray)}: beside train/ and test/, but in neither, nor in validation/; move them")
        return split | tops
    order = sorted(rest, key=lambda one: hashlib.sha256(f"{seed}/{one.name}".encode()).digest())
    kinds = {one.name: one.labels or {""} for one in order}
    counts = {kind: sum(kind in own for own in kinds.values()) for kind in frozenset().union(*kinds.values())}
    for kind in sorted(counts, key=lambda kind: (counts[kind], kind)):
        own = [name for name in kinds if kind in kinds[name]]
        for part in ("test", "validation"):
            wanted = max(1, round(shares[part] * counts[kind])) if counts[kind] >= 3 and shares[part] > 0 else 0
            free = [name for name in own if name not in split]
            there = sum(split.get(name) == part for name in own)
            split |= dict.fromkeys(free[: max(0, wanted - there)], part)
        split |= {name: "train" for name in own if name not in split}
    return split


def starts_of(seconds: float, clip_seconds: float) -> list[float]:
    """Where clips begin in a recording of ``seconds``; a rest of less than a tenth of a clip is left out."""
    count = max(1, int(np.ceil(seconds / clip_seconds - 0.1)))
    return [number * clip_seconds for number in range(count)]


def clip_events(events: Sequence[Event], start: float, seconds: float) -> tuple[Event, ...]:
    """Events as a clip that begins at ``start`` holds them, without slivers of those that lie over its ends."""
    kept = []
    for event in events:
        (part,) = move_events([event], start, seconds) or (None,)
        whole = event.offset - event.onset
        if part is not None and part.offset - part.onset >= min(SLIVER, whole) - 1e-9:
            kept.append(part)
    return tuple(kept)


def _write_part(
    folder: Path, part: str, recordings: Sequence[Annotated], sample_rate: int, clip_seconds: float
) -> Iterator[str]:
    split = SPLITS[SUBSET_OF[part]]
    clips: dict[str, tuple[Event, ...]] = {}
    durations: dict[str, float] = {}
    for one in recordings:
        for start in starts_of(one.seconds, clip_seconds):
            audio = read_audio(one.path, sample_rate, start, clip_seconds)
            filename = f"{one.path.with_suffix('').name}_{start:g}.wav"
            if "/" in one.name:
                filename = f"{os.path.dirname(one.name).replace('/', '__')}__{filename}"
            write_audio(split.audio_in(folder) / filename, np.clip(audio, -1, 1), sample_rate)
            durations[filename] = len(audio) / sample_rate
            clips[filename] = clip_events(one.events or (), start, durations[filename])
        yield one.name
    if clips and split.kind == "strong":
        write_strong(split.annotation_in(folder), clips)
        write_durations(split.durations_in(folder), durations)
    elif clips:
        write_unlabelled(split.annotation_in(folder), clips)


def _listed(folder: Path, paths: Sequence[Path]) -> tuple[dict[Path, tuple[Event, ...]], list[str]]:
    """Events by recording of the folder's table, and what is wrong with it; names are paths below it or file names."""
    table = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if table is None:
        return {}, []
    by_name = {path.relative_to(folder).as_posix(): path for path in paths}
    counts = Counter(path.name for path in paths)
    alone = {path.name: path for path in paths if counts[path.name] == 1}
    found, unknown = {}, []
    for name, events in read_detections(table).items():
        path = by_name.get(name.replace("\\", "/")) or alone.get(name)
        if path is None:
            unknown.append(name)
            continue
        found[path] = tuple(Event(one.onset, one.offset, class_of(one.event_label)) for one in sorted(events))
    return found, [f"{table} lists recordings that are not in the folder: {some(unknown)}"] if unknown else []


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change: recorders write files of one size, so another recording may have the same."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _plain(event: Event) -> list[object]:
    return [event.onset, event.offset, event.event_label]
