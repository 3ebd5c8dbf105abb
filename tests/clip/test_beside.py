"""Annotation files as Raven, Audacity and people write them, word for word; and what sed-predict writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sed_lab.clip.beside import annotations_of, read_beside
from sed_lab.detection.table import Detection, Found, table_text
from sed_lab.errors import InputError
from sed_lab.types import Event

DOG, CAT = Event(1.5, 2.25, "Dog_bark"), Event(4.0, 4.5, "Cat")
RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\r\n"
    "1\tWaveform 1\t1\t4.000000000\t4.500000000\t0.000\t8000.0\tCat\r\n"
    "1\tSpectrogram 1\t1\t4.000000000\t4.500000000\t500.0\t2000.0\tCat\r\n"
    "2\tWaveform 1\t1\t1.500000000\t2.250000000\t0.000\t8000.0\tDog bark\r\n"
    "2\tSpectrogram 1\t1\t1.500000000\t2.250000000\t500.0\t2000.0\tDog bark\r\n"
)
AUDACITY = "1.500000\t2.250000\tDog bark\n\\\t500.0\t2000.0\n4,0\t4,5\tCat 0.8312\n"
TSV = "offset\tevent_label\tonset\tconfidence\n2.25\tDog bark\t1.5\t.9\n4.5\tCat\t4\t.8\n"


@pytest.mark.parametrize(
    ("name", "text", "events"),
    [
        ("x.Table.1.selections.txt", RAVEN, (DOG, CAT)),
        ("x.txt", RAVEN, (DOG, CAT)),
        ("x.txt", AUDACITY, (DOG, CAT)),
        ("x.tsv", TSV, (DOG, CAT)),
        ("x.csv", "filename,onset,offset,event_label\nx.wav,1.5,2.25,Dog bark\nx.wav,4,4.5,Cat\n", (DOG, CAT)),
        ("x.txt", "", ()),
        ("x.selections.txt", RAVEN.splitlines()[0], ()),
        ("x.tsv", "filename\tonset\toffset\tevent_label\nx.wav\t\t\t\n", ()),
    ],
)
def test_each_form_is_read(name: str, text: str, events: tuple[Event, ...], tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, newline="")
    assert read_beside(tmp_path / name) == events


@pytest.mark.parametrize("kind", ["tsv", "csv", "audacity", "raven"])
def test_what_sed_predict_writes_can_be_corrected_and_trained_on(kind: str, tmp_path: Path) -> None:
    found = [Found("x.wav", 9.0, (Detection(1.5, 2.25, "Dog_bark", 0.91), Detection(4.0, 4.5, "Cat", 1.0)))]
    path = tmp_path / f"x.{'tsv' if kind == 'tsv' else 'csv' if kind == 'csv' else 'txt'}"
    path.write_text(table_text(kind, found, {}, 8000.0))
    assert read_beside(path) == (DOG, CAT)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.txt", "1.0\t1.0\tDog\n2\t3\t\nlater\n", "line 1: 'Dog' from 1.0 to 1.0 s has no length; line 2: it has no"),
        (
            "x.txt",
            "some notes on the weather\n",
            "line 1: begin 'some notes on the weather' is not a number of seconds",
        ),
        ("x.txt", "Begin Time (s)\tEnd Time (s)\tNotes\n", "no column Annotation or Label.* among Begin Time"),
        ("x.tsv", "begin\tend\tlabel\n", "expected the columns onset, offset, event_label, onset, offset, event_label"),
        ("x.csv", "onset,offset,event_label\n3,2,Dog\n", "line 2: 'Dog' from 3 to 2 s has no length; correct"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_beside(tmp_path / name)


def test_raven_s_column_of_labels_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("Begin Time (s)\tEnd Time (s)\tNotes\tSpecies\n1\t2\tloud\tCat\n")
    assert [one.event_label for one in read_beside(tmp_path / "x.txt", "Notes")] == ["loud"]


def test_annotations_go_by_the_recording_s_whole_name() -> None:
    names = ["x.wav", "x.1.wav", "x.1.txt", "x.selections.txt", "x10.txt", "x.md"]
    assert [path.name for path in annotations_of(Path("x.wav"), names)] == ["x.selections.txt"]
    assert [path.name for path in annotations_of(Path("x.1.wav"), names)] == ["x.1.txt"]
