"""Another system's scores or detections and the annotation to measure them against, each checked against the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from sed_lab.clip.annotation import read_classes, read_detections, read_durations, read_strong
from sed_lab.clip.audio_folder import find_audio
from sed_lab.clip.layout import read_headers
from sed_lab.errors import InputError, some
from sed_lab.run.stored import by_clip
from sed_lab.scores import load_scores, read_scores_folder
from sed_lab.types import Event, Scores

T = TypeVar("T")
Events = Mapping[str, tuple[Event, ...]]
SYSTEM = "system"  # its name among the results


def read_system(
    scores: Path | None,
    detections: Path | None,
    operating_points: Path | None,
    truth: Path,
    durations: Path,
    classes: Sequence[str] | Path | None,
) -> dict[str, Any]:
    """What `sed_lab.metric.measure.measure` needs of another system: systems, truth, durations, classes, points.

    The clips measured are those of ``durations``, as in psds_eval; one that ``truth`` does not list holds no event.
    ``durations`` is a table, or the folder of the recordings, in depth.
    Without ``classes`` they are the scores' columns, or the labels of ``truth``.

    Raises:
        InputError: a clip of the truth, the scores or the detections has no duration, or stands there twice under one
            name; a label is not among the classes; operating points hold nothing.
    """
    seconds = _read(durations, read_lengths if durations.is_dir() else read_durations)
    annotated = _read(truth, read_strong)
    refuse_unknown(truth, annotated, seconds, durations)
    events: dict[str, tuple[Event, ...]] = {clip_id: annotated.get(clip_id, ()) for clip_id in seconds}
    if unlisted := len(seconds) - len(annotated):
        print(f"{unlisted} of the {len(seconds)} clips of {durations} are not in {truth}: they hold no event")
    declared = read_classes(classes) if isinstance(classes, Path) else classes
    known = tuple(declared or sorted(labels_of(events)))
    measured: dict[str, Any] = {"truth": events, "durations": seconds}
    if scores is not None:
        system = load_scores(scores) if scores.suffix == ".npz" else read_scores_folder(scores)
        refuse_unknown(scores, system.clip_id, seconds, durations)
        measured["systems"] = {SYSTEM: system if declared is None else in_order(system, known)}
    else:
        assert detections is not None
        if not known:
            raise InputError(f"{truth} holds no event that would tell the classes; declare them by classes=[...]")
        measured["systems"] = {SYSTEM: _read_detections(detections, seconds, durations, known)}
        measured["classes"] = known
    if operating_points is not None:
        paths = sorted(operating_points.glob("*.tsv"))
        points = [_read_detections(path, seconds, durations, known) for path in paths]
        if not any(found for point in points for found in point.values()):
            held = f"{len(paths)} tables without an event" if paths else "no .tsv table"
            raise InputError(f"operating_points={operating_points} holds {held}; give one table for each threshold")
        measured["points"] = {SYSTEM: points}
    return measured


def in_order(scores: Scores, classes: Sequence[str]) -> Scores:
    """``scores`` with their columns in the order of the declared ``classes``.

    Raises:
        InputError: there is a column for none of them, or none for one.
    """
    if unknown := [label for label in scores.classes if label not in classes]:
        raise InputError(f"{scores.name} scores {some(unknown)}, not among the declared classes; declare them too")
    if missing := [label for label in classes if label not in scores.classes]:
        raise InputError(f"{scores.name} has no scores of the declared classes {some(missing)}; leave them out")
    columns = [scores.classes.index(label) for label in classes]
    frame = None if scores.frame is None else tuple(array[:, columns] for array in scores.frame)
    clip = None if scores.clip is None else scores.clip[:, columns]
    return replace(scores, classes=tuple(classes), frame=frame, clip=clip)


def labels_of(events: Events) -> set[str]:
    """The labels met."""
    return {event.event_label for found in events.values() for event in found}


def read_lengths(folder: Path) -> dict[str, float]:
    """Seconds of every recording in a folder, in depth, by its path: what their headers say.

    Raises:
        InputError: there is none, or some cannot be used.
    """
    if not (paths := find_audio(folder)):
        raise InputError(f"{folder} holds no audio (wav, flac, ogg, mp3); give the recordings' folder, or a table")
    return {str(path): info.duration for path, info in read_headers(paths).items()}


def _read(path: Path, read: Callable[[Path], Mapping[str, T]]) -> dict[str, T]:
    rows = read(path)
    try:
        return by_clip(rows)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read_detections(path: Path, seconds: Mapping[str, float], durations: Path, classes: Sequence[str]) -> Events:
    """Detections of every clip; those without any are there too."""
    found = _read(path, read_detections)
    refuse_unknown(path, found, seconds, durations)
    if unknown := sorted(labels_of(found) - set(classes)):
        raise InputError(
            f"{path} has events of {some(unknown)}, not among the classes {some(classes)}; declare every class by"
            " classes=[...], also those that the truth does not hold"
        )
    return {clip_id: found.get(clip_id, ()) for clip_id in seconds}


def refuse_unknown(what: object, clip_ids: Iterable[str], seconds: Mapping[str, float], durations: object) -> None:
    """Refuse a clip without a duration; ``what`` and ``durations`` name where the two came from.

    Raises:
        InputError: it names the clips.
    """
    if unknown := [clip_id for clip_id in clip_ids if clip_id not in seconds]:
        raise InputError(
            f"{what} has {len(unknown)} clips that {durations} does not list: {some(unknown)}; add them there and, if"
            " they hold events, to the truth, or take them out"
        )
