"""Where results go: a table of all recordings, and files for each, below folders, under the recordings' own paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sed_lab.clip.annotation import write_durations
from sed_lab.detection.inputs import Recording
from sed_lab.detection.table import ENDINGS, FORMATS, OF_ONE, Found, table_text
from sed_lab.errors import InputError
from sed_lab.files import write_text
from sed_lab.scores import durations_file, write_scores_file
from sed_lab.types import Scores

BY_SUFFIX = {".tsv": "tsv", ".csv": "csv", ".json": "json"}
DECIMALS = 7  # of a score in a file


@dataclass(frozen=True)
class Output:
    """What is written: ``table`` is a file (None: the terminal, where ``prints``), the others are folders or None.

    ``formats`` are those of the files in ``per_file``, ``format`` is the table's.
    """

    table: Path | None
    format: str
    per_file: Path | None
    formats: tuple[str, ...]
    scores: Path | None
    plot: Path | None
    embeddings: Path | None

    @property
    def prints(self) -> bool:
        """Whether the events go to the terminal."""
        return self.table is None and self.per_file is None

    @property
    def journal(self) -> Path | None:
        """Where it is noted what is done: beside the table, or else beside the first of the folders."""
        places = (self.table, self.per_file, self.scores, self.plot, self.embeddings)
        first = next((place for place in places if place is not None), None)
        return None if first is None or self.prints else first.with_name(f".{first.name}.done")

    def files(self, recording: Recording) -> list[Path]:
        """The files that are written for a recording, but for its scores."""
        found = [self.per_file / f"{recording.stem}{ENDINGS[kind]}" for kind in self.formats if self.per_file]
        found += [self.plot / f"{recording.stem}.png"] if self.plot else []
        return found + ([self.embeddings / f"{recording.stem}.tfrecord"] if self.embeddings else [])


def output_of(
    table: Path | None,
    per_file: Path | None,
    formats: Sequence[str],
    scores: Path | None,
    plot: Path | None,
    embeddings: Path | None,
    recordings: int,
) -> Output:
    """The output that is asked for, of so many recordings; ``formats`` may hold lists with commas.

    Raises:
        InputError: an unknown format, several for one table, or one whose times are of a single recording for many.
    """
    asked = tuple(dict.fromkeys(name for word in formats for name in word.split(",")))
    if unknown := [name for name in asked if name not in FORMATS]:
        raise InputError(f"--format {unknown[0]}: use {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if len(asked) > 1 and per_file is None:
        raise InputError(f"--format {','.join(asked)}: one table has one format; use --per-file FOLDER for several")
    by_suffix = BY_SUFFIX.get(table.suffix.lower()) if table else None
    of_table = by_suffix if by_suffix and (per_file or not asked) else (*asked, "tsv")[0]
    if of_table in OF_ONE and recordings > 1 and (table or per_file is None):
        raise InputError(
            f"--format {of_table}: its times are those of one recording, and {recordings} are given; use --per-file"
        )
    return Output(table, of_table, per_file, asked or (of_table,), scores, plot, embeddings)


def write_tables(
    output: Output, recording: Recording, found: Sequence[Found], about: Mapping[str, Any], nyquist: float
) -> None:
    """Write a recording's own files of events; its rows go by ``recording.name``, those of embeddings by their clip."""
    if output.per_file is None:
        return
    own = [one._replace(filename=recording.name) if one.filename == str(recording.path) else one for one in found]
    for kind in output.formats:
        text = table_text(kind, own, about, nyquist)
        write_text(output.per_file / f"{recording.stem}{ENDINGS[kind]}", text)


def write_all(output: Output, found: Sequence[Found], about: Mapping[str, Any], nyquist: float) -> None:
    """Write the table of all recordings, where it is asked for."""
    if output.table is not None:
        write_text(output.table, table_text(output.format, found, about, nyquist))


def write_scores(folder: Path, name: str, scores: Scores) -> None:
    """Write the frame scores of one recording as ``folder/name.tsv``; ``name`` may hold folders."""
    write_scores_file(folder / f"{name}.tsv", scores, 0, DECIMALS)


def write_lengths(folder: Path, durations: Mapping[str, float]) -> None:
    """Write the durations of all recordings by the names of their scores, beside the folder of scores."""
    write_durations(durations_file(folder), {f"{name}.wav": seconds for name, seconds in durations.items()})
