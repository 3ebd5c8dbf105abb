"""Every format read by a parser that is not ours gives the TSV's numbers; scores are read by sed_scores_eval."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sed_scores_eval.base_modules.io import lazy_sed_scores_loader, read_audio_durations

from sed_lab.clip.annotation import read_detections
from sed_lab.detection.output import Output, output_of, write_all, write_lengths, write_scores
from sed_lab.detection.table import Detection, Found, rounded, table_text
from sed_lab.errors import InputError
from sed_lab.types import Scores

LABELS = ("Dog", "Alarm bell", 'the "old" door, left')
FOUND = [
    Found(
        "a/one.wav",
        12.5,
        tuple(
            rounded(i * 1.1234567, i * 1.1234567 + 0.3 * (i + 1), LABELS[i % 3], (i + 0.5) / 9.123456) for i in range(8)
        ),
    ),
    Found("b/none.wav", 3.0, ()),
    Found("b/one.wav", 4.0, (Detection(0.0, 4.0, "Dog", 1.0),)),
]
ABOUT = {"run": "r", "classes": LABELS}
Row = tuple[str, float, float, str, float]


def tsv(found: list[Found]) -> list[Row]:
    rows = list(csv.reader(table_text("tsv", found, ABOUT, 8000.0).splitlines(), "excel-tab"))
    assert rows[0] == ["filename", "onset", "offset", "event_label", "confidence"]
    return [(name, float(a), float(b), label, float(sure)) for name, a, b, label, sure in rows[1:]]


def test_the_tsv_holds_the_detections() -> None:
    assert tsv(FOUND) == [(one.filename, *each) for one in FOUND for each in one.detections]
    assert rounded(1.00049, 1.0004999, "Dog", 0.5) == Detection(1.0, 1.001, "Dog", 0.5)  # never empty


def test_csv_and_json_read_by_pandas_and_json_are_the_tsv(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(table_text("csv", FOUND, ABOUT, 8000.0))
    assert [tuple(row) for row in pd.read_csv(tmp_path / "t.csv").itertuples(index=False)] == tsv(FOUND)
    read = json.loads(table_text("json", FOUND, ABOUT, 8000.0))
    assert (read["run"], read["classes"]) == ("r", list(LABELS))
    assert [one["filename"] for one in read["recordings"]] == [one.filename for one in FOUND]  # those without are there
    rows = [
        (one["filename"], each["onset"], each["offset"], each["event_label"], each["confidence"])
        for one in read["recordings"]
        for each in one["events"]
    ]
    assert rows == tsv(FOUND)


def test_an_audacity_label_track_is_the_tsv(tmp_path: Path) -> None:
    path = tmp_path / "one.labels.txt"
    path.write_text(table_text("audacity", FOUND[:1], ABOUT, 8000.0))
    # As Audacity's manual describes the format: start, end and label, separated by tabs, a line a label.
    table = pd.read_csv(path, sep="\t", names=["start", "end", "label"], quoting=csv.QUOTE_NONE)
    read = [(*row[:2], *row[2].rsplit(" ", 1)) for row in table.itertuples(index=False, name=None)]
    assert [("a/one.wav", a, b, label, float(sure)) for a, b, label, sure in read] == tsv(FOUND[:1])
    assert table_text("audacity", FOUND[1:2], ABOUT, 8000.0) == ""  # an empty track


def test_a_raven_selection_table_is_the_tsv(tmp_path: Path) -> None:
    path = tmp_path / "one.selections.txt"
    path.write_text(table_text("raven", FOUND[:1], ABOUT, 8000.0))
    table = pd.read_csv(path, sep="\t")
    assert table.columns[:7].tolist() == [
        "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
    ]  # fmt: skip
    assert table.Selection.tolist() == list(range(1, 9))  # each selection a number of its own
    assert set(table["High Freq (Hz)"]) == {8000.0}
    assert set(table["Begin File"]) == {"one.wav"}
    columns = ["Begin Time (s)", "End Time (s)", "Annotation", "Confidence"]
    assert [("a/one.wav", *row) for row in table[columns].itertuples(index=False, name=None)] == tsv(FOUND[:1])


def test_our_own_reader_takes_tsv_and_csv(tmp_path: Path) -> None:
    for kind in ("tsv", "csv"):
        (tmp_path / kind).write_text(table_text(kind, FOUND, ABOUT, 8000.0))
        read = read_detections(tmp_path / kind)
        assert [(name, e.onset, e.offset, e.event_label) for name, events in read.items() for e in events] == [
            row[:4] for row in tsv(FOUND)
        ]


def test_scores_are_read_by_sed_scores_eval(tmp_path: Path) -> None:
    rng, folder = np.random.default_rng(0), tmp_path / "scores"
    arrays = {"one": rng.random((30, 2), np.float32), "two": rng.random((7, 2), np.float32)}
    lengths = {"one": 2.97, "two": 0.7}
    for name, array in arrays.items():
        write_scores(folder, name, Scores((name,), ("Dog", "Cat"), np.array([lengths[name]]), 0.1, (array,)))
    write_lengths(folder, lengths)
    loader = lazy_sed_scores_loader(folder)
    for name, array in arrays.items():
        table = loader[name]
        assert table.columns.tolist() == ["onset", "offset", "Dog", "Cat"]
        np.testing.assert_allclose(table[["Dog", "Cat"]].to_numpy(), array, atol=1e-6)
        assert table.offset.iloc[-1] == pytest.approx(lengths[name])
    assert read_audio_durations(tmp_path / "scores_durations.tsv") == lengths


def output(table: str | None = None, per_file: str | None = None, *formats: str, recordings: int = 2) -> Output:
    paths = [None if one is None else Path(one) for one in (table, per_file)]
    return output_of(*paths, formats, None, None, None, recordings)


def test_the_format_is_that_of_the_suffix_or_as_asked_for() -> None:
    assert output("x.csv").format == "csv"
    assert output("x.out").format == "tsv"
    assert output("x.csv", None, "json").format == "json"
    both = output("x.csv", "folder", "raven,audacity", "raven")
    assert (both.format, both.formats) == ("csv", ("raven", "audacity"))
    assert output(None, "folder").formats == ("tsv",)
    assert output("x.txt", None, "raven", recordings=1).format == "raven"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("x.txt", None, "audacity"), "its times are those of one recording, and 2 are given; use --per-file"),
        ((None, None, "raven"), "its times are those of one recording"),
        (("x.tsv", None, "tsv,csv"), "one table has one format; use --per-file FOLDER for several"),
        ((None, "folder", "excel"), "--format excel: use tsv, csv, json, audacity or raven"),
    ],
)
def test_a_format_that_cannot_be_is_refused(words: tuple[str | None, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        output(*words)  # type: ignore[arg-type]


def test_one_table_of_all(tmp_path: Path) -> None:
    one = output(str(tmp_path / "all.tsv"))
    write_all(one, FOUND, ABOUT, 8000.0)
    assert (tmp_path / "all.tsv").read_text() == table_text("tsv", FOUND, ABOUT, 8000.0)
