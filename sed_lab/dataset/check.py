"""What is there, missing and wrong in a corpus of the DCASE 2021 layout, split by split; nothing is changed.

Errors: an annotation that is missing or wrong, recordings that cannot be used, a split without any recording.
Warnings: missing recordings, other counts than the published ones, short recordings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sed_lab.clip.audio import AudioInfo, ClipFiles, audio_info
from sed_lab.clip.audio_folder import check_audio, list_audio
from sed_lab.clip.corpus import class_statistics
from sed_lab.clip.layout import (
    LAYOUT,
    SPLITS,
    Listing,
    Split,
    clips_of,
    list_split,
    list_splits,
    match,
    past_end,
    refuse_late,
)
from sed_lab.errors import InputError
from sed_lab.types import ClassStatistics


@dataclass(frozen=True)
class Expected:
    """What a published split holds: clips, and events (or weak labels) per class in each known edition of its file."""

    clips: int
    editions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    optional: bool = False


@dataclass
class SplitCheck:
    """The findings on one split; ``listed``, ``found`` and ``expected`` count clips."""

    subset: str
    audio: Path
    expected: int | None = None
    listed: int = 0
    found: int = 0
    unlisted: int = 0
    missing: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)  # file, reason
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_layout(
    folder: Path,
    classes: Sequence[str] = (),
    expected: Mapping[str, Expected] | None = None,
    clip_seconds: float = 10.0,
    decode: bool = True,
    jobs: int | None = None,
    progress: bool = False,
    layout: Sequence[Split] = LAYOUT,
) -> list[SplitCheck]:
    """Check every split of ``layout`` that is there or expected; ``decode`` reads all audio, otherwise headers only.

    Raises:
        InputError: the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name the one that holds audio/ and metadata/")
    expected = expected or {}
    checks = []
    for split in layout:
        check = SplitCheck(split.subset, split.audio_in(folder))
        wanted = expected.get(split.subset)
        try:
            listing = list_split(folder, split, classes)
        except InputError as error:
            check.errors.append(str(error))
            listing = None
        if listing is not None:
            _check_audio(check, listing, clip_seconds, decode, jobs, progress)
            _check_counts(check, listing, wanted)
        elif wanted is not None and not check.errors:
            lacking = check.warnings if wanted.optional else check.errors
            lacking.append(f"{split.annotation_in(folder)} and {check.audio} are absent")
        if listing is not None or wanted is not None or check.errors:
            check.expected = None if wanted is None else wanted.clips
            checks.append(check)
    return checks


def _check_audio(
    check: SplitCheck, listing: Listing, clip_seconds: float, decode: bool, jobs: int | None, progress: bool
) -> None:
    """Fill in what is found of the listed recordings, and what is wrong with them."""
    check.audio = listing.audio
    audio = list_audio(listing.audio) if listing.audio.is_dir() else []
    if not audio:
        copies = [path for path in listing.audio.parent.glob(f"{listing.audio.name}_*k") if path.is_dir()]
        audio = list_audio(copies[0]) if copies else []
    found = match(listing, audio)
    check.listed, check.found = len(listing.filenames), len(found)
    check.unlisted = len(audio) - len(set(found.values()))
    check.missing = [name for name in listing.filenames if name not in found]
    if not found:
        check.errors.append(f"{listing.audio} holds none of the {check.listed} listed recordings")
        return
    label = f"checking {check.subset}"
    bad = dict(check_audio(list(found.values()), jobs, decode, label if progress else ""))
    check.bad = [(str(path), reason) for path, reason in bad.items()]
    infos = {name: audio_info(path) for name, path in found.items() if path not in bad}
    _check_lengths(check, listing, infos, clip_seconds)
    rates = Counter(info.sample_rate for info in infos.values())
    if len(rates) > 1:
        named = ", ".join(f"{count} at {rate} Hz" for rate, count in rates.most_common())
        check.warnings.append(f"recordings differ in sample rate ({named}); all are resampled")


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


def _check_counts(check: SplitCheck, listing: Listing, wanted: Expected | None) -> None:
    if wanted is None:
        return
    if wanted.clips != check.listed:
        check.warnings.append(f"{check.listed} clips are listed where the published set has {wanted.clips}")
    counts = Counter(listing.labels())
    if wanted.editions and not any(counts == Counter(edition) for edition in wanted.editions.values()):
        differing = []
        for label in sorted({label for edition in wanted.editions.values() for label in edition}):
            published = {edition[label] for edition in wanted.editions.values()}
            if counts[label] not in published:
                differing.append(f"{label} {counts[label]} (published {' or '.join(map(str, sorted(published)))})")
        named = ", ".join(differing) or "a mixture of editions"
        check.warnings.append(f"{listing.where} is no known edition: {named}")


def effect(check: SplitCheck) -> str:
    """What the findings mean for numbers measured on this corpus, in words; empty where they mean nothing."""
    usable = check.found - len(check.bad)
    whole = check.expected or check.listed
    if usable >= whole or not check.found:  # with nothing there, the error says enough
        return ""
    if check.subset not in SPLITS:
        return f"{check.subset}: {usable} of {whole} clips are split and used; compare numbers on the same clips only"
    if SPLITS[check.subset].training:
        share = f"{whole - usable} of {whole} training clips ({100 * (whole - usable) / whole:.1f} %)"
        return f"{check.subset}: {share} are missing; expect lower scores than published"
    if check.subset == "synthetic_validation":
        return f"{check.subset}: {usable} of {whole} clips choose the checkpoint; another one may be kept"
    return (
        f"{check.subset}: {usable} of {whole} clips can be scored, so scores are not comparable with published ones; "
        "compare only systems scored on these very clips"
    )


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
