"""What is in a folder of your own annotated recordings, subset by subset, as ``dataset=folder`` splits and cuts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from sed_lab.clip.audio_folder import find_audio
from sed_lab.dataset.check import Looking, SplitCheck, compare, look_at
from sed_lab.dataset.check_layout import check_layout
from sed_lab.dataset.folder import Annotated, clip_events, find_annotated, split_of, starts_of
from sed_lab.errors import InputError

USED = {"train": "training", "validation": "validation", "test": "test", "unlabelled": "training"}


def check_folder(
    folder: Path,
    sample_rate: int,
    clip_seconds: float,
    shares: Mapping[str, float],
    seed: int,
    how: Looking = Looking(),  # noqa: B008
) -> list[SplitCheck]:
    """Recordings, clips and events of each subset; what is wrong with annotations and recordings.

    Raises:
        InputError: the folder does not exist or holds no audio.
    """
    if (folder / "metadata").is_dir():
        return check_layout(folder, sample_rate, clip_seconds=clip_seconds, how=how)
    paths = find_audio(folder)
    try:
        found = find_annotated(folder)
        split = split_of(found, shares, seed)
    except InputError as error:
        if not paths:
            raise
        check = SplitCheck("all", folder, listed=len(paths), found=len(paths))
        look_at(check, paths, how)
        if not check.bad:
            check.errors.append(str(error))
        return [check]
    checks = []
    labels = sorted(frozenset().union(*(one.labels for one in found)))
    for part, used in USED.items():
        own = [one for one in found if split[one.name] == part]
        if not own and part == "unlabelled":
            continue
        check = SplitCheck(part, folder, listed=len(own), found=len(own), used=used)
        look_at(check, [one.path for one in own], how)
        _count(check, part, own, labels, clip_seconds)
        checks.append(check)
    compare(checks, sample_rate)
    return checks


def _count(
    check: SplitCheck, part: str, recordings: Sequence[Annotated], labels: Sequence[str], clip_seconds: float
) -> None:
    """Say how many clips and events there are, and what is lacking."""
    cut = [
        clip_events(one.events or (), start, min(clip_seconds, one.seconds - start))
        for one in recordings
        for start in starts_of(one.seconds, clip_seconds)
    ]
    seconds = sum(one.seconds for one in recordings)
    if part == "unlabelled":
        check.notes.append(f"{seconds / 60:.1f} min without annotation, {len(cut)} clips")
        return
    empty = sum(not events for events in cut)
    check.notes.append(f"{seconds / 60:.1f} min, {len(cut)} clips of {clip_seconds:g} s, {empty} without an event")
    events = Counter(event.event_label for one in recordings for event in one.events or ())
    holding = Counter(label for one in recordings for label in one.labels)
    counted = (f"{label} {events[label]} in {holding[label]}" for label in labels)
    check.notes.append(f"events in recordings: {', '.join(counted)}")
    if lacking := [label for label in labels if not events[label]]:
        text = f"no recording of {', '.join(lacking)}; a class needs three recordings, one a subset"
        (check.errors if part == "train" else check.warnings).append(text)
    if not recordings:
        check.errors.append("no recording; annotate more of them")
