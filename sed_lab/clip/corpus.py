"""What is known of a corpus without its audio: class statistics, and a fingerprint of the files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sed_lab.clip.audio import SUFFIXES, labels_of
from sed_lab.clip.batch import encode_strong, encode_weak
from sed_lab.errors import InputError
from sed_lab.types import ClassStatistics, Corpus, Subset


def class_statistics(
    subset: Subset,
    classes: Sequence[str],
    frame_hop: float,
    n_frames: int,
    source_clips: Mapping[str, int] | None = None,
    source_seconds: Mapping[str, float] | None = None,
) -> ClassStatistics:
    """Count classes over a subset's clips on the output grid of ``n_frames`` frames of ``frame_hop`` seconds.

    Frames in which a class is active more than once count once (m_c of Park & Elhilali 2022, eq. 4). Clips with weak
    labels only add to ``clips``. No audio is read.

    Raises:
        InputError: a clip's label is not among ``classes``, or ``source_clips`` lacks a class.
    """
    if lacking := [name for name in classes if source_clips is not None and name not in source_clips]:
        raise InputError(f"no count of recordings for {', '.join(lacking)}; source_clips needs every class")
    active, events, holding, labelled = np.zeros((4, len(classes)), dtype=np.int64)
    seconds, empty = np.zeros(len(classes)), 0
    for clip in subset.clips:
        labelled += n_frames * encode_weak(classes if clip.annotated is None else clip.annotated, classes).astype(int)
        if clip.events:
            active += encode_strong(clip.events, classes, n_frames, frame_hop).sum(axis=0).astype(np.int64)
            for event in clip.events:
                column = classes.index(event.event_label)
                events[column] += 1
                seconds[column] += event.offset - event.onset
        present = labels_of(clip.events) if clip.events is not None else clip.event_labels or ()
        holding += encode_weak(present, classes).astype(np.int64)
        empty += not present and (clip.events is not None or clip.event_labels is not None)
    return ClassStatistics(
        classes=tuple(classes),
        active_frames=active,
        total_frames=n_frames * len(subset.clips),
        events=events,
        event_seconds=seconds,
        clips=holding,
        total_clips=len(subset.clips),
        empty_clips=empty,
        source_clips=None if source_clips is None else np.array([source_clips[name] for name in classes]),
        source_seconds=None if source_seconds is None else np.array([source_seconds[name] for name in classes]),
        labelled_frames=labelled,
    )


def training_statistics(corpus: Corpus, frame_hop: float, n_frames: int) -> ClassStatistics | None:
    """`class_statistics` of the training clips with labels, strong ones where there are any; None without any."""
    labelled = corpus.subsets.get("synthetic") or corpus.subsets.get("weak")
    if not labelled:
        return None
    return class_statistics(labelled, corpus.classes, frame_hop, n_frames, corpus.source_clips, corpus.source_seconds)


def weak_labels(corpus: Corpus) -> np.ndarray:
    """Which classes each clip of subset ``weak`` has, boolean ``[I, C]`` in the clips' order."""
    clips = corpus.subsets["weak"].clips if "weak" in corpus.subsets else ()
    labels = np.zeros((len(clips), len(corpus.classes)), dtype=bool)  # there may be millions of clips
    for row, clip in zip(labels, clips, strict=True):
        row[:] = encode_weak(clip.event_labels or (), corpus.classes)
    return labels


def statistics_rows(one: ClassStatistics) -> list[dict[str, str | int | float | None]]:
    """Class statistics as rows for a table or a run's record; ``mean_seconds`` is the mean length of an event,
    ``frame_share`` the share of frames in which the class is active, of clips that are labelled for it, and
    ``source_clips`` V_c where recordings were counted (which gives their length too), None for a number from elsewhere.
    """
    total = max(1, int(one.active_frames.sum()))
    counted = None if one.source_seconds is None else one.source_clips
    shares = None if one.labelled_frames is None else one.active_frames / np.maximum(one.labelled_frames, 1)
    return [
        {
            "event_label": label,
            "clips": int(one.clips[i]),
            "events": int(one.events[i]),
            "seconds": round(float(one.event_seconds[i]), 3),
            "mean_seconds": round(float(one.event_seconds[i] / one.events[i]), 3) if one.events[i] else None,
            "m_c": int(one.active_frames[i]),
            "r_c": round(float(one.active_frames[i]) / total, 4),
            "frame_share": None if shares is None else round(float(shares[i]), 4),
            "V_c": None if one.source_clips is None else int(one.source_clips[i]),
            "source_clips": None if counted is None else int(counted[i]),
            "source_seconds": None if one.source_seconds is None else round(float(one.source_seconds[i]), 3),
        }
        for i, label in enumerate(one.classes)
    ]


def fingerprint(files: Iterable[Path]) -> str:
    """sha256 that identifies a dataset: bytes of annotation files, name and size of audio files.

    Names are relative to the files' common folder, so that a moved dataset stays the same; order does not matter.
    """
    files = sorted(set(files))
    root = Path(os.path.commonpath([file.parent for file in files])) if files else Path()
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(root).as_posix()}\0".encode())
        content = str(file.stat().st_size).encode() if file.suffix.lower() in SUFFIXES else file.read_bytes()
        digest.update(f"{len(content)}\0".encode() + content)
    return digest.hexdigest()
