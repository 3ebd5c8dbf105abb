"""What is there, missing and wrong in a folder of recordings that serves as a sound bank, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sed_lab.bank.base import SPLITS
from sed_lab.bank.folder import FolderBank, Recording, find_recordings
from sed_lab.clip.audio_folder import find_audio, list_audio
from sed_lab.clip.place import elsewhere
from sed_lab.dataset.check import Looking, SplitCheck, compare, look_at, named
from sed_lab.errors import InputError

SOURCES = 3  # of a class: one for each split
TABLE = "meta/esc50.csv"


def check_soundbank(
    folder: Path,
    sample_rate: int,
    event_range_db: float,
    event_gap_seconds: float,
    how: Looking = Looking(),  # noqa: B008
) -> list[SplitCheck]:
    """The recordings of each class; which classes serve as backgrounds, and whether each split has some of each, is
    told from the audio, so headers alone do not say it.

    Raises:
        InputError: the folder does not exist or holds no recording in class folders; the one that does is named.
    """
    recordings = _recordings(folder)
    checks = []
    for label in dict.fromkeys(recording.label for recording in recordings):
        own = [recording for recording in recordings if recording.label == label]
        check = SplitCheck(label, own[0].path.parent, listed=len(own), used="source")
        there = [recording.path for recording in own if recording.path.exists()]
        check.missing = [recording.path.name for recording in own if not recording.path.exists()]
        check.found = len(there)
        look_at(check, there, how)
        if len(sources := {recording.source for recording in own}) < SOURCES:
            check.warnings.append(f"{len(sources)} sources; a class needs {SOURCES} at least, one a split")
        checks.append(check)
    _check_unlisted(folder, recordings, checks)
    compare(checks, sample_rate)
    if how.decode and not any(check.bad or check.missing for check in checks):
        _check_roles(folder, sample_rate, event_range_db, event_gap_seconds, checks)
    return checks


def _recordings(folder: Path) -> list[Recording]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name one with a folder of recordings per class")
    try:
        found = find_recordings(folder)
    except InputError:
        if (folder / TABLE).is_file():
            raise
        if meant := elsewhere(folder, (TABLE,)):
            raise InputError(f"{folder} does not hold {TABLE}, but {meant} does; name that folder") from None
        if alone := list_audio(folder):
            raise InputError(
                f"{folder} holds {len(alone)} recordings but no folders of classes; name the folder above it, or sort "
                "them into a folder for each class"
            ) from None
        if deeper := sorted({path.parent.parent for path in find_audio(folder)}):
            raise InputError(
                f"{folder} has no recordings in its own folders, but {deeper[0]} has; name that folder"
            ) from None
        raise
    if {recording.path.parent for recording in found} == {folder / "audio"} and not (folder / TABLE).is_file():
        raise InputError(f"{folder} has one folder, audio/, but no {TABLE}, which gives the classes; restore it")
    return found


def _check_unlisted(folder: Path, recordings: Sequence[Recording], checks: Sequence[SplitCheck]) -> None:
    used = {recording.path for recording in recordings}
    if left := [path for path in find_audio(folder) if path not in used]:
        checks[0].unlisted = len(left)
        which = named([path.relative_to(folder).as_posix() for path in left])
        checks[0].warnings.append(f"{len(left)} recordings lie in no class's folder and are not used: {which}")


def _check_roles(folder: Path, sample_rate: int, range_db: float, gap: float, checks: Sequence[SplitCheck]) -> None:
    """Say which classes are backgrounds, and how many events and sources the others have for each split."""
    try:
        bank = FolderBank(folder, None, None, sample_rate, None, 0.1, gap, range_db)
    except InputError as error:
        checks[0].errors.append(str(error))
        return
    if not bank.why_background:
        checks[0].notes.append("no folder is named like a background or holds steady sound: the embedded ones serve")
    for check in checks:
        if check.subset not in bank.classes:
            why = bank.why_background.get(check.subset, "not asked for")
            check.notes.append(f"a background ({why}), not an event; dataset.classes lists the classes that are events")
            continue
        counts = ((bank.event_count(s, check.subset), bank.source_clips(s)[check.subset], s) for s in SPLITS)
        check.notes.append(", ".join(f"{events} events of {sources} sources in {s}" for events, sources, s in counts))
