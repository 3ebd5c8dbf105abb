"""A job of many recordings: each is scored, its events are written and noted, before the next one begins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sed_lab.detection.inputs import Recording
from sed_lab.detection.journal import Journal
from sed_lab.detection.output import Output, write_all, write_lengths, write_scores, write_tables
from sed_lab.detection.progress import progress, seconds_of
from sed_lab.detection.table import Found, header, rounded, rows, table_text
from sed_lab.errors import InputError
from sed_lab.types import Scores

if TYPE_CHECKING:
    from sed_lab.run.detector import Detector

Score = Callable[[Path, Callable[[float], None]], list[Scores]]
"""Scores of a file, one for each recording in it; the function given is told how many more seconds are scored."""


class NotReadError(Exception):
    """A recording that cannot be used; the message says why."""


def detect_all(
    detector: Detector,
    score: Score,
    recordings: Sequence[Recording],
    output: Output,
    about: Mapping[str, Any],
    made_by: Mapping[str, Any],
) -> list[tuple[Path, str]]:
    """Write the events of all ``recordings``; returns those that could not be read, and why.

    What the journal notes as done by ``made_by`` is skipped. A call that is stopped leaves what it has done, in the
    table too. ``about`` is what JSON says of the detector.
    """
    journal = Journal(output.journal, made_by)
    if journal.begun_anew:
        print("what is there was made by another detector or with other settings: all is done anew", file=sys.stderr)
    seconds = seconds_of([one.path for one in recordings])
    done: list[tuple[Recording, list[Found]]] = []
    unreadable: list[tuple[Path, str]] = []
    streams = output.prints and output.format in ("tsv", "csv")
    if streams:
        print(header(output.format), end="", flush=True)
    names: set[str] = set()
    try:
        with progress(len(recordings), sum(seconds)) as shown:
            for recording, length in zip(recordings, seconds, strict=True):
                own = journal.done(recording)
                skipped = own is not None and _there(output, recording, own)
                try:
                    if own is None or not skipped:
                        own = _detect(detector, score, recording, output, about, shown.heard, names)
                        journal.add(recording, own)
                except NotReadError as error:
                    unreadable.append((recording.path, str(error).removeprefix(f"{recording.path}: ")))
                    shown.file_done(length)
                    continue
                shown.file_done(length if skipped else 0.0)
                names |= {_score_name(recording, one) for one in own}
                done.append((recording, own))
                if streams:
                    print(rows(output.format, own), end="", flush=True)
    finally:
        journal.close()
        _finish(output, done, about, detector.sample_rate / 2)
    if output.prints and not streams:
        found = [one for _, own in done for one in own]
        print(table_text(output.format, found, about, detector.sample_rate / 2), end="")
    return unreadable


def _finish(
    output: Output, done: Sequence[tuple[Recording, Sequence[Found]]], about: Mapping[str, Any], nyquist: float
) -> None:
    """Write what is about all recordings."""
    write_all(output, [one for _, own in done for one in own], about, nyquist)
    if output.scores and done:
        durations = {_score_name(recording, one): one.duration for recording, own in done for one in own}
        write_lengths(output.scores, durations)


def _detect(
    detector: Detector,
    score: Score,
    recording: Recording,
    output: Output,
    about: Mapping[str, Any],
    heard: Callable[[float], None],
    names: Collection[str],
) -> list[Found]:
    """Score, decode and write one file; ``names`` are those of the scores that are there.

    Raises:
        NotReadError: it cannot be read, or holds a clip of a name that another file had.
    """
    try:
        clips = score(recording.path, heard)
    except InputError as error:
        raise NotReadError(str(error)) from None
    path, found = str(recording.path), []
    for one in clips:
        (clip_id,) = one.clip_id
        sure = detector.decoder.decode_recording(one, detector.threshold)
        detections = (rounded(e.onset, e.offset, e.event_label, confidence) for e, confidence in sure)
        found.append(Found(path if one.name == path else clip_id, float(one.duration[0]), tuple(detections)))
    if twice := sorted({_score_name(recording, one) for one in found} & {*names}):
        raise NotReadError(f"{path}: another file holds {twice[0]} too; give the two in calls of their own")
    write_tables(output, recording, found, about, detector.sample_rate / 2)
    for one, own in zip(clips, found, strict=True):
        if output.scores:
            write_scores(output.scores, _score_name(recording, own), one)
        if output.plot:
            _draw(output.plot, recording, detector.sample_rate, one, own)
    if output.embeddings:
        _write_embeddings(output.embeddings, recording, detector)
    return found


def _draw(folder: Path, recording: Recording, sample_rate: int, scores: Scores, found: Found) -> None:
    from sed_lab.detection.picture import recording_picture
    from sed_lab.report.style import save

    picture = recording_picture(recording.path, sample_rate, scores, found.detections, recording.name)
    save(picture, folder / f"{recording.stem}.png")


def _write_embeddings(folder: Path, recording: Recording, detector: Detector) -> None:
    from sed_lab.clip.tfrecord import encode_embedding, write_records
    from sed_lab.feature.embedded import embedded
    from sed_lab.feature.vggish import VggishEmbedding

    front_end: VggishEmbedding = detector.method.feature
    records = embedded(recording.path, front_end, str(detector.method.device))
    write_records(folder / f"{recording.stem}.tfrecord", map(encode_embedding, records))


def _score_name(recording: Recording, found: Found) -> str:
    """What the scores of a recording, or of a clip of embeddings, are called."""
    return recording.stem if found.filename == str(recording.path) else found.filename


def _there(output: Output, recording: Recording, found: Sequence[Found]) -> bool:
    """Whether all that is written for a recording still is there."""
    files = output.files(recording)
    files += [output.scores / f"{_score_name(recording, one)}.tsv" for one in found if output.scores]
    return all(path.exists() for path in files)
