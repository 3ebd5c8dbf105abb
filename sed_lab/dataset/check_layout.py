"""What is there, missing and wrong in a corpus of the DCASE 2021 layout, split by split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sed_lab.clip.annotation import clip_id_of
from sed_lab.clip.audio import AudioInfo, ClipFiles
from sed_lab.clip.audio_folder import check_audio, copies_of, list_audio, older_copies, recordings_of
from sed_lab.clip.corpus import class_statistics
from sed_lab.clip.layout import (
    LAYOUT,
    Listing,
    Split,
    clips_of,
    list_split,
    list_splits,
    match,
    past_end,
    refuse_late,
)
from sed_lab.clip.place import folder_of_most, refuse_elsewhere
from sed_lab.dataset.check import Looking, SplitCheck, compare, look_at, named
from sed_lab.errors import InputError
from sed_lab.types import ClassStatistics


@dataclass(frozen=True)
class Expected:
    """What a published split holds: clips (None: not known), and events (or weak labels) per class in each known
    edition of its file. ``optional``: it may be absent."""

    clips: int | None
    editions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    optional: bool = False


def check_layout(
    folder: Path,
    sample_rate: int,
    classes: Sequence[str] = (),
    expected: Mapping[str, Expected] | None = None,
    clip_seconds: float = 10.0,
    how: Looking = Looking(),  # noqa: B008
    layout: Sequence[Split] = LAYOUT,
) -> list[SplitCheck]:
    """Check every split of ``layout`` that is there or expected; ``sample_rate`` is what recordings are read at.

    Raises:
        InputError: the folder does not exist, or is not a corpus's: the one above or below that is is named.
    """
    refuse_elsewhere(folder, ("metadata", "audio"), "metadata/ and audio/")
    expected = expected or {}
    checks, listings, heard = [], {}, {}
    for split in layout:
        check = SplitCheck(split.subset, split.audio_in(folder), used=_use_of(split))
        wanted = expected.get(split.subset)
        listing = None
        try:
            listing = list_split(folder, split, classes)
        except InputError as error:
            check.errors.append(str(error))
        if listing is not None:
            listings[split.subset] = listing
            heard[split.subset] = _check_audio(check, listing, folder, clip_seconds, sample_rate, how)
            _check_counts(check, listing, wanted)
        elif wanted is not None and not check.errors:
            lacking = check.warnings if wanted.optional else check.errors
            lacking.append(f"{split.annotation_in(folder)} and {check.audio} are absent")
        if listing is not None or wanted is not None or check.errors:
            check.expected = None if wanted is None else wanted.clips
            checks.append(check)
    if not checks:
        list_splits(folder, classes, layout)  # says which files are looked for
    _check_unlisted(checks, listings, heard)
    _check_leaks(checks, listings)
    compare(checks, sample_rate, clip_seconds)
    return checks


def _use_of(split: Split) -> str:
    if split.training:
        return "training"
    return "validation" if split.subset.endswith("validation") else "test"


def _check_audio(
    check: SplitCheck, listing: Listing, folder: Path, clip_seconds: float, sample_rate: int, how: Looking
) -> dict[str, Path]:
    """Fill in what is found of the listed recordings, and what is wrong with them; returns those found."""
    check.audio = listing.audio
    found = match(listing, recordings_of(listing.audio))
    check.listed, check.found = len(listing.filenames), len(found)
    check.missing = [name for name in listing.filenames if name not in found]
    if not found:
        text = f"{listing.audio} holds none of the {check.listed} listed recordings"
        if meant := folder_of_most(folder, listing.filenames, listing.audio):
            text += f"; {meant[1]} of them lie in {meant[0]}, so move them"
        check.errors.append(text)
        return found
    infos = look_at(check, set(found.values()), how)
    headers = {name: infos[path] for name, path in found.items() if path in infos}
    _check_lengths(check, listing, headers, clip_seconds)
    try:
        clips_of(listing, found, dict.fromkeys(found, clip_seconds))
    except InputError as error:
        check.errors.append(str(error))
    _check_copies(check, listing, sample_rate, how)
    return found


def _check_copies(check: SplitCheck, listing: Listing, sample_rate: int, how: Looking) -> None:
    """The copies at ``sample_rate`` beside the recordings, which training reads in their place."""
    for place in copies_of(listing.audio) if listing.audio.is_dir() and list_audio(listing.audio) else ():
        if older := older_copies(listing.audio, place):
            check.warnings.append(f"{place}: {older}")
        if place.name == f"{listing.audio.name}_{sample_rate / 1000:g}k" and check.rate != sample_rate:
            copies = match(listing, list_audio(place)).values()
            bad = check_audio(sorted(set(copies)), how.jobs, how.decode)
            check.bad += [(str(path), reason) for path, reason in bad]


def _check_lengths(check: SplitCheck, listing: Listing, infos: Mapping[str, AudioInfo], clip_seconds: float) -> None:
    late = []
    for name, info in infos.items():
        duration = listing.durations.get(name, info.duration)
        late += [(name, event) for event in past_end(listing.events.get(name, ()), duration, clip_seconds)]
        if abs(duration - info.duration) > 0.5:
            check.warnings.append(f"{name} lasts {info.duration:.2f} s but its durations file says {duration:.2f} s")
    try:
        refuse_late(listing.where, late)
    except InputError as error:
        check.errors.append(str(error))
    if short := sum(info.duration < clip_seconds - 0.05 for info in infos.values()):
        check.warnings.append(f"{short} recordings are shorter than {clip_seconds:g} s; zeros are added")
    if long := sum(info.duration > clip_seconds + 0.5 for info in infos.values()):
        fate = "a part is drawn each epoch" if listing.split.training else f"only their first {clip_seconds:g} s count"
        check.warnings.append(f"{long} recordings are longer than {clip_seconds:g} s; {fate}")


def _check_unlisted(
    checks: Sequence[SplitCheck], listings: Mapping[str, Listing], heard: Mapping[str, Mapping[str, Path]]
) -> None:
    """Recordings that no split lists; splits may share a folder, whose first one is told."""
    done = set()
    for check in checks:
        if check.subset not in listings or check.audio in done:
            continue
        done.add(check.audio)
        used = {path for name, found in heard.items() if listings[name].audio == check.audio for path in found.values()}
        if used and (left := sorted({*recordings_of(check.audio)} - used)):
            check.unlisted = len(left)
            which = named([path.name for path in left])
            check.warnings.append(f"{len(left)} recordings in {check.audio} are in no list and are not used: {which}")


def _check_leaks(checks: Sequence[SplitCheck], listings: Mapping[str, Listing]) -> None:
    """Clips that train and are also scored or validated with, by name; soundscapes are numbered anew in every set."""
    real = {name: listing for name, listing in listings.items() if not listing.split.synthetic}
    names = {name: {clip_id_of(file): file for file in listing.filenames} for name, listing in real.items()}
    for check in checks:
        if check.subset not in real or real[check.subset].split.training:
            continue
        for name, listing in real.items():
            if listing.split.training and (both := names[check.subset].keys() & names[name].keys()):
                which = named(sorted(names[check.subset][clip] for clip in both))
                check.warnings.append(f"{len(both)} clips are also in {name}, which trains: {which}; take them out")


def _check_counts(check: SplitCheck, listing: Listing, wanted: Expected | None) -> None:
    if wanted is None:
        return
    if wanted.clips not in (None, check.listed):
        check.warnings.append(f"{check.listed} clips are listed where the published set has {wanted.clips}")
    counts = Counter(listing.labels())
    if wanted.editions and not any(counts == Counter(edition) for edition in wanted.editions.values()):
        differing = []
        for label in sorted({label for edition in wanted.editions.values() for label in edition}):
            published = {edition[label] for edition in wanted.editions.values()}
            if counts[label] not in published:
                differing.append(f"{label} {counts[label]} (published {' or '.join(map(str, sorted(published)))})")
        said = ", ".join(differing) or "a mixture of editions"
        check.warnings.append(f"{listing.where} is no known edition: {said}")


def describe_layout(
    folder: Path,
    classes: Sequence[str],
    frame_hop: float,
    clip_seconds: float = 10.0,
    source_clips: Mapping[str, int] | None = None,
) -> dict[str, ClassStatistics]:
    """Class statistics of every labelled split, from its annotation alone (no audio needed).

    Raises:
        InputError: as `list_splits`.
    """
    described = {}
    for subset, listing in list_splits(folder, classes).items():
        if not listing.events and not listing.event_labels:
            continue
        paths = {name: listing.audio / name for name in listing.filenames}
        durations = {name: listing.durations.get(name, clip_seconds) for name in paths}
        clips = ClipFiles(clips_of(listing, paths, durations), 1, clip_seconds)
        n_frames = int(clip_seconds / frame_hop + 1e-6)
        described[subset] = class_statistics(clips, classes, frame_hop, n_frames, source_clips)
    return described
