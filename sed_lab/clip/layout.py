"""The folder layout of DCASE 2021 task 4, for any classes: annotation and audio files -> `Corpus`.

Every part is optional, and an annotated ``a.wav`` is also found as ``a.flac``. A path P stands for the annotation
``metadata/P.tsv`` (and ``P_durations.tsv``) and the recordings ``audio/P/``::

    synthetic             train/synthetic21_train/soundscapes
    weak                  train/weak
    unlabelled            train/unlabel_in_domain, a list or just the recordings
    synthetic_validation  validation/synthetic21_validation/soundscapes
    weak_validation       train/weak_validation.tsv with the audio of train/weak, or a share of weak.tsv
    validation            validation/tuning
    test                  validation/validation
    public                eval/public

``metadata/classes.txt`` fixes the order of classes, ``metadata/soundbank.tsv`` (``event_label source_clips``) gives the
recordings per class behind the synthetic part. The synthetic parts may lie under ``dcase_synth/`` as from 2022 on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from sed_lab.clip.annotation import (
    clip_id_of,
    read_bank,
    read_classes,
    read_durations,
    read_strong,
    read_unlabelled,
    read_weak,
)
from sed_lab.clip.audio import AudioInfo, ClipFiles, audio_info, labels_of
from sed_lab.clip.audio_folder import in_threads, recordings_of, refuse_bad, short_reason, usable_audio
from sed_lab.clip.corpus import fingerprint
from sed_lab.clip.place import elsewhere
from sed_lab.errors import InputError
from sed_lab.types import Clip, Corpus, Event
from sed_lab.waiting import track

log = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

# DESED's own files end events up to 1.0 s after their clip (public.tsv: 11.0 s in 10 s); more is a wrong annotation.
END_TOLERANCE = 1.0


@dataclass(frozen=True)
class Split:
    """Where a subset lies below the corpus folder: ``metadata/<path>.tsv``, ``audio/<path>`` (or ``audio/<audio>``)."""

    subset: str
    kind: str  # strong, weak or unlabelled
    path: str
    synthetic: bool = False
    training: bool = False
    audio: str = ""

    def annotation_in(self, folder: Path) -> Path:
        tsv, csv = (folder / f"metadata/{self.path}{suffix}" for suffix in (".tsv", ".csv"))
        return csv if csv.is_file() and not tsv.is_file() else tsv  # 2018 called its tab separated files .csv

    def audio_in(self, folder: Path) -> Path:
        return folder / f"audio/{self.audio or self.path}"

    def durations_in(self, folder: Path) -> Path:
        """As DESED names them: soundscapes.tsv has durations.tsv, validation.tsv has validation_durations.tsv."""
        return folder / f"metadata/{self.path.removesuffix('soundscapes')}_durations.tsv".replace("/_", "/")


LAYOUT = (
    Split("synthetic", "strong", "train/synthetic21_train/soundscapes", synthetic=True, training=True),
    Split("weak", "weak", "train/weak", training=True),
    Split("unlabelled", "unlabelled", "train/unlabel_in_domain", training=True),
    Split("synthetic_validation", "strong", "validation/synthetic21_validation/soundscapes", synthetic=True),
    Split("weak_validation", "weak", "train/weak_validation", audio="train/weak"),
    Split("validation", "strong", "validation/tuning"),
    Split("test", "strong", "validation/validation"),
    Split("public", "strong", "eval/public"),
    Split("synthetic_test", "strong", "eval/synthetic21_eval/soundscapes", synthetic=True),
)
SPLITS = {split.subset: split for split in LAYOUT}


@dataclass(frozen=True)
class Listing:
    """The annotated clips of a split by file name, before any audio is looked for."""

    split: Split
    audio: Path
    events: Mapping[str, tuple[Event, ...]] = field(default_factory=dict)
    event_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    filenames: tuple[str, ...] = ()
    durations: Mapping[str, float] = field(default_factory=dict)
    files: tuple[Path, ...] = ()  # annotation files that were read

    @property
    def where(self) -> Path:
        """What a message about these clips names."""
        return self.files[0] if self.files else self.audio

    def labels(self) -> list[str]:
        """The label of every event, or every clip's weak labels."""
        strong = [event.event_label for events in self.events.values() for event in events]
        return strong + [label for labels in self.event_labels.values() for label in labels]


def read_layout(
    folder: Path | str,
    classes: Sequence[str] | None = None,
    sample_rate: int = 16000,
    clip_seconds: float = 10.0,
    weak_split: float = 0.9,
    weak_split_seed: int = 42,
    resampled: bool = True,
    source_clips: Mapping[str, int] | None = None,
    seed: int = 0,
    name: str | None = None,
    layout: Sequence[Split] = LAYOUT,
) -> Corpus:
    """Read a corpus in this layout; subsets without files are absent.

    Args:
        classes: their order; otherwise metadata/classes.txt, otherwise all labels found, sorted.
        weak_split: share of weak.tsv used for training where no weak_validation.tsv says which clips are; drawn as in
            the DCASE 2021 baseline, over the listed clips whether found or not.
        resampled: write recordings of another rate once to ``<audio folder>_16k``; false: resample while reading.
        source_clips: recordings per class; otherwise metadata/soundbank.tsv where present.
        seed: of the crops of longer recordings. layout: where the subsets lie.

    Events of ``clips`` are as annotated, as published scores are computed; `ClipFiles.load` clips them.

    Raises:
        InputError: annotations are wrong (all files' mistakes together), audio files cannot be used (all named), a
            labelled audio folder has no annotation, or there is no audio at all. Missing clips are only a warning.
    """
    folder = Path(folder)
    classes = known_classes(folder) if classes is None else tuple(classes)
    listings = list_splits(folder, classes, layout)
    if "weak" in listings and "weak_validation" not in listings and weak_split < 1:
        listings |= split_weak(listings["weak"], weak_split, weak_split_seed)
    folders = sorted({each.audio for each in listings.values()})
    audio = _all_of(folders, lambda each: usable_audio(each, sample_rate, resampled))
    found = {name: match(listing, audio[listing.audio]) for name, listing in listings.items()}
    if not any(found.values()):
        named = ", ".join(str(each.audio) for each in listings.values())
        raise InputError(f"{folder} holds no audio that its annotations list; put the recordings in {named}")
    headers = read_headers(path for paths in found.values() for path in paths.values())
    subsets = {}
    for subset, listing in listings.items():
        _warn_missing(listing, len(found[subset]))
        if found[subset]:
            clips = _read_clips(listing, found[subset], headers, clip_seconds)
            subsets[subset] = ClipFiles(clips, sample_rate, clip_seconds, listing.split.training, seed)
    bank = soundbank_of(folder)
    annotations = {path for listing in listings.values() for path in listing.files}
    annotations |= {path for path in (folder / "metadata/classes.txt", bank) if path.is_file()}
    known = fingerprint([*annotations, *headers])
    bank_clips, bank_seconds = read_bank(bank, classes) if bank.is_file() else (None, None)
    counts = bank_clips if source_clips is None else source_clips
    name = name or folder.resolve().name
    return Corpus(name, classes, clip_seconds, sample_rate, subsets, known, counts, bank_seconds)


def classes_of(folder: Path) -> tuple[str, ...]:
    """The order of classes that ``metadata/classes.txt`` fixes; empty where it is absent."""
    path = folder / "metadata/classes.txt"
    return read_classes(path) if path.is_file() else ()


def known_classes(folder: Path) -> tuple[str, ...]:
    """Classes of a corpus in order: ``metadata/classes.txt``, otherwise all labels of its annotations, sorted."""
    if fixed := classes_of(folder):
        return fixed
    return tuple(sorted({label for each in list_splits(folder).values() for label in each.labels()}))


def soundbank_of(folder: Path) -> Path:
    """Where a corpus says how many recordings of each class its sound bank holds."""
    return folder / "metadata/soundbank.tsv"


def list_splits(folder: Path, classes: Sequence[str] = (), layout: Sequence[Split] = LAYOUT) -> dict[str, Listing]:
    """Read the annotations of every split that is there, in the order of ``layout``; audio is not opened.

    Raises:
        InputError: the folder is missing, annotations are wrong, or labelled audio has no annotation (all together).
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name the one that holds audio/ and metadata/")
    found = _all_of(layout, lambda split: list_split(folder, split, classes))
    listings = {split.subset: listing for split, listing in found.items() if listing is not None}
    if not listings:
        example, meant = layout[0].annotation_in(folder), elsewhere(folder, ("metadata",))
        hint = f"; name {meant}, which holds metadata/" if meant else ""
        raise InputError(f"{folder} holds none of the known annotation files, such as {example}{hint}")
    return listings


def list_split(folder: Path, split: Split, classes: Sequence[str] = ()) -> Listing | None:
    """Read one split's annotation; None where the corpus does not have the split."""
    if split.synthetic and not split.annotation_in(folder).is_file() and (folder / "dcase_synth").is_dir():
        folder = folder / "dcase_synth"
    annotation, durations, audio = split.annotation_in(folder), split.durations_in(folder), split.audio_in(folder)
    if not annotation.is_file():
        names = tuple(path.name for path in recordings_of(audio))
        if not names or split.subset == "weak_validation":
            return None
        if split.kind != "unlabelled":
            raise InputError(f"{annotation} does not exist, but {audio} holds {len(names)} recordings; restore it")
        return Listing(split, audio, filenames=names)
    listed = read_durations(durations) if durations.is_file() else {}
    files = (annotation, durations) if listed else (annotation,)
    events = read_strong(annotation, classes or None) if split.kind == "strong" else {}
    labels = read_weak(annotation, classes or None) if split.kind == "weak" else {}
    filenames = read_unlabelled(annotation) if split.kind == "unlabelled" else (*events, *labels)
    return Listing(split, audio, events, labels, filenames, listed, files)


def split_weak(weak: Listing, share: float, seed: int) -> dict[str, Listing]:
    """Training and validation clips of weak.tsv, chosen as ``DataFrame.sample(frac=share, random_state=seed)`` does."""
    if not 0 < share < 1:
        raise InputError(f"weak_split is {share}: needs a share between 0 and 1 of the clips, for training")
    n = len(weak.filenames)
    chosen = set(np.random.RandomState(seed).choice(n, round(share * n), replace=False).tolist())
    parts: dict[str, list[str]] = {"weak": [], "weak_validation": []}
    for i, filename in enumerate(weak.filenames):
        parts["weak" if i in chosen else "weak_validation"].append(filename)
    return {name: replace(weak, split=SPLITS[name], filenames=tuple(part)) for name, part in parts.items()}


def _all_of(items: Iterable[K], read: Callable[[K], T]) -> dict[K, T]:
    """What ``read`` gives for every item; what is wrong with several is said in one message."""
    results, problems = {}, []
    for item in items:
        try:
            results[item] = read(item)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("; also ".join(problems))
    return results


def match(listing: Listing, audio: Sequence[Path]) -> dict[str, Path]:
    """Recordings of the listed clips, by file name or, with another suffix, by clip_id; missing ones are left out."""
    by_name = {path.name: path for path in audio}
    by_id = {clip_id_of(path.name): path for path in audio}
    found = ((name, by_name.get(Path(name).name) or by_id.get(clip_id_of(name))) for name in listing.filenames)
    return {filename: path for filename, path in found if path is not None}


def read_headers(paths: Iterable[Path]) -> dict[Path, AudioInfo]:
    """Headers of recordings.

    Raises:
        InputError: some cannot be used; all are named.
    """

    def header(path: Path) -> AudioInfo | str:
        try:
            return audio_info(path)
        except InputError as error:
            return short_reason(path, error)

    paths = sorted(set(paths))
    headers = track(in_threads(header, paths), len(paths), "reading the headers of recordings")
    found = dict(zip(paths, headers, strict=True))
    refuse_bad([(path, reason) for path, reason in found.items() if isinstance(reason, str)], len(found))
    return {path: info for path, info in found.items() if isinstance(info, AudioInfo)}


def past_end(events: Iterable[Event], duration: float, clip_seconds: float) -> list[Event]:
    """Events that cannot belong to a clip: beginning after its end, or ending `END_TOLERANCE` seconds past it.

    A recording shorter than ``clip_seconds`` (a shortened download) may carry labels up to there.
    """
    end = max(duration, clip_seconds)
    return [event for event in events if event.onset >= end or event.offset > end + END_TOLERANCE]


def refuse_late(where: Path, late: Sequence[tuple[str, Event]]) -> None:
    """Raise for events past the end of their clips, (file name, event); do nothing where there is none."""
    if late:
        named = "; ".join(f"{name} {e.event_label} {e.onset:g}-{e.offset:g} s" for name, e in late[:5])
        more = f" and {len(late) - 5} more" if len(late) > 5 else ""
        raise InputError(f"{where}: {len(late)} events lie past the end of their clips: {named}{more}; correct them")


def clips_of(listing: Listing, paths: Mapping[str, Path], durations: Mapping[str, float]) -> list[Clip]:
    """Clips of the listing that have a path, in its order; both mappings go by file name, durations in seconds."""
    clips = []
    for filename, path in paths.items():
        events = listing.events.get(filename)
        labels = listing.event_labels.get(filename) if events is None else labels_of(events)
        clip_id = clip_id_of(filename)
        clips.append(Clip(clip_id, path, durations[filename], events, labels, listing.split.synthetic))
    counts = Counter(clip.clip_id for clip in clips)
    if len(counts) < len(clips):
        repeated = ", ".join([name for name, count in counts.items() if count > 1][:5])
        raise InputError(f"{listing.where}: clips differ by folder or suffix only: {repeated}; keep one of each")
    return clips


def _read_clips(
    listing: Listing, found: Mapping[str, Path], headers: Mapping[Path, AudioInfo], clip_seconds: float
) -> list[Clip]:
    durations = {name: listing.durations.get(name, headers[path].duration) for name, path in found.items()}
    late, cut = [], 0
    for name, duration in durations.items():
        events = listing.events.get(name, ())
        late += [(name, event) for event in past_end(events, duration, clip_seconds)]
        cut += any(event.offset > duration + 0.5 for event in events)
    refuse_late(listing.where, late)
    if cut:
        log.warning("%s: %d recordings end before their last event, which is cut there", listing.where, cut)
    return clips_of(listing, found, durations)


def _warn_missing(listing: Listing, n_found: int) -> None:
    subset, n_listed = listing.split.subset, len(listing.filenames)
    if n_found < n_listed:
        fate = "sed-prepare check names the others" if n_found else "the subset is left out"
        log.warning("%s: %d of %d listed clips found in %s; %s", subset, n_found, n_listed, listing.audio, fate)
