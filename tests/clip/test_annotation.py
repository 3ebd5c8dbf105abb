from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed_lab.clip.annotation import (
    clip_id_of,
    read_bank,
    read_classes,
    read_detections,
    read_durations,
    read_strong,
    read_unlabelled,
    read_weak,
    write_bank,
    write_durations,
    write_strong,
    write_unlabelled,
    write_weak,
)
from sed_lab.errors import InputError
from sed_lab.types import Event

DATA = Path(__file__).resolve().parents[1] / "data"
HEADER = "filename\tonset\toffset\tevent_label\n"
CLASSES = ("Alarm_bell_ringing", "Blender", "Cat", "Dishes", "Dog", "Electric_shaver_toothbrush", "Frying")
CLASSES += ("Running_water", "Speech", "Vacuum_cleaner")


def put(folder: Path, text: str, name: str = "a.tsv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# Counts of the published files, per class in the order above; each file also has its clips and clips without events.
@pytest.mark.parametrize(
    ("name", "clips", "empty", "events"),
    [
        ("validation", 1168, 15, (420, 94, 341, 559, 570, 65, 94, 237, 1752, 92)),
        ("public", 692, 0, (196, 84, 240, 488, 441, 108, 90, 109, 913, 96)),
        ("test_dcase2018", 288, 0, (112, 38, 95, 114, 120, 28, 24, 76, 253, 36)),
        ("eval_dcase2018", 880, 15, (308, 56, 246, 445, 450, 37, 70, 161, 1499, 56)),
    ],
)
def test_desed_strong_files_have_their_published_counts(
    name: str, clips: int, empty: int, events: tuple[int, ...]
) -> None:
    read = read_strong(DATA / f"desed_metadata/{name}.tsv", CLASSES)
    counts = Counter(event.event_label for found in read.values() for event in found)
    assert len(read) == clips
    assert sum(not found for found in read.values()) == empty
    assert tuple(counts[label] for label in CLASSES) == events


def test_desed_weak_and_unlabelled_files_have_their_published_counts() -> None:
    weak = read_weak(DATA / "desed_metadata/weak.tsv", CLASSES)
    counts = Counter(label for labels in weak.values() for label in labels)
    assert len(weak) == 1578
    # 206 alarms and 345 times running water are written, in three rows a label stands twice
    assert tuple(counts[label] for label in CLASSES) == (205, 134, 173, 184, 214, 103, 171, 343, 550, 167)
    assert (DATA / "desed_metadata/weak.tsv").read_text().count("Running_water") == 345
    assert len(read_unlabelled(DATA / "desed_metadata/unlabel_in_domain.tsv")) == 14412


def test_parts_of_2018_are_the_validation_set() -> None:
    test, evaluation, whole = (
        read_strong(DATA / f"desed_metadata/{name}.tsv") for name in ("test_dcase2018", "eval_dcase2018", "validation")
    )
    assert test | evaluation == whole


def test_detections_of_the_baseline_are_read_past_their_index_column() -> None:
    path = DATA / "dcase2021_teacher/predictions_0.5.tsv"
    detections = read_detections(path, CLASSES)
    assert sum(map(len, detections.values())) == len(path.read_text().splitlines()) - 1
    with pytest.raises(InputError, match="expected the tab separated header"):
        read_strong(path)


def test_clip_without_events_is_kept_in_file_order(tmp_path: Path) -> None:
    path = put(tmp_path, HEADER + "b.wav\t\t\t\na.wav\t1.5\t2\tCat\nc.wav\nd.wav\tnan\tNaN\t\na.wav\t0\t1\tDog\n\n")
    assert list(read_strong(path).items()) == [
        ("b.wav", ()),
        ("a.wav", (Event(1.5, 2.0, "Cat"), Event(0.0, 1.0, "Dog"))),
        ("c.wav", ()),
        ("d.wav", ()),
    ]


def test_windows_line_ends_and_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER + "a.wav\t1\t2\tCat\n").replace("\n", "\r\n").encode())
    assert read_strong(path) == {"a.wav": (Event(1.0, 2.0, "Cat"),)}


def test_names_of_2018_become_those_with_underscores(tmp_path: Path) -> None:
    text = "a.wav\t0\t1\tAlarm/bell/ringing\na.wav\t0\t1\tElectric shaver/toothbrush\n"
    events = read_strong(put(tmp_path, HEADER + text), CLASSES)["a.wav"]
    assert [event.event_label for event in events] == ["Alarm_bell_ringing", "Electric_shaver_toothbrush"]
    spaced = read_strong(put(tmp_path, HEADER + "a.wav\t0\t1\tbaby cry\n"), ["baby cry"])
    assert spaced["a.wav"][0].event_label == "baby cry"


def test_weak_labels_are_stripped_and_named_once(tmp_path: Path) -> None:
    path = put(tmp_path, "filename\tevent_labels\na.wav\tDog, Cat,Dog\nb.wav\t\n")
    assert read_weak(path, CLASSES) == {"a.wav": ("Dog", "Cat"), "b.wav": ()}


def test_durations_unlabelled_classes_and_source_clips(tmp_path: Path) -> None:
    assert read_durations(put(tmp_path, "filename\tduration\na.wav\t9.97\n")) == {"a.wav": 9.97}
    assert read_unlabelled(put(tmp_path, "filename\nb.wav\na.wav\n")) == ("b.wav", "a.wav")
    assert read_classes(put(tmp_path, "Dog\nCat\n")) == ("Dog", "Cat")
    two = put(tmp_path, "event_label\tsource_clips\nDog\t12\n")
    assert read_bank(two) == ({"Dog": 12}, None)
    write_bank(tmp_path / "bank.tsv", {"Dog": 12, "Cat": 3}, {"Dog": 1.25, "Cat": 0.5})
    assert read_bank(tmp_path / "bank.tsv", ("Cat", "Dog")) == ({"Dog": 12, "Cat": 3}, {"Dog": 1.25, "Cat": 0.5})
    with pytest.raises(InputError, match="line 2: source_seconds 'long' is not a number"):
        read_bank(put(tmp_path, "event_label\tsource_clips\tsource_seconds\nDog\t12\tlong\n"))


def test_detections_take_columns_in_any_order(tmp_path: Path) -> None:
    path = put(tmp_path, ",offset,event_label,filename,onset\n0,2,Dog,a.wav,1\n", "commas.tsv")
    assert read_detections(path) == {"a.wav": (Event(1.0, 2.0, "Dog"),)}
    path = put(tmp_path, "\tevent_label\tscore\toffset\tfilename\tonset\n0\tDog\t0.9\t2\ta.wav\t1\n1\t\t\t\tb.wav\t\n")
    assert read_detections(path) == {"a.wav": (Event(1.0, 2.0, "Dog"),), "b.wav": ()}


@pytest.mark.parametrize(
    ("filename", "clip_id"),
    [
        ("Y00pbt6aJV8Y_350.000_360.000.wav", "Y00pbt6aJV8Y_350.000_360.000"),
        ("Y00pbt6aJV8Y_350.000_360.000", "Y00pbt6aJV8Y_350.000_360.000"),
        ("some/folder/1.mp3", "1"),
        ("a.b.flac", "a.b"),
    ],
)
def test_clip_id_is_the_name_without_its_last_suffix(filename: str, clip_id: str) -> None:
    assert clip_id_of(filename) == clip_id


def event_of(onset: int, length: int, label: str) -> Event:
    """Microseconds, so that the six decimals written say the very number."""
    return Event(onset / 1e6, (onset + length) / 1e6, label)


events = st.builds(event_of, st.integers(0, 10**8), st.integers(1, 10**8), st.sampled_from(CLASSES))


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9_\-]{1,8}\.wav", fullmatch=True), st.lists(events, max_size=3)))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, clips: dict[str, list[Event]]) -> None:
    folder = tmp_path_factory.mktemp("written")
    write_strong(folder / "strong.tsv", clips)
    assert read_strong(folder / "strong.tsv", CLASSES) == {name: tuple(found) for name, found in clips.items()}
    labels = {name: tuple(dict.fromkeys(e.event_label for e in found)) for name, found in clips.items()}
    write_weak(folder / "weak.tsv", labels)
    assert read_weak(folder / "weak.tsv", CLASSES) == labels
    write_unlabelled(folder / "unlabelled.tsv", clips)
    assert read_unlabelled(folder / "unlabelled.tsv") == tuple(clips)
    durations = {name: 0.5 + len(found) for name, found in clips.items()}
    write_durations(folder / "durations.tsv", durations)
    assert read_durations(folder / "durations.tsv") == durations


def test_times_are_written_with_three_decimals_or_more(tmp_path: Path) -> None:
    write_strong(tmp_path / "a.tsv", {"a.wav": [Event(0.5, 1.00006, "Cat")], "b.wav": []})
    assert (tmp_path / "a.tsv").read_text() == HEADER + "a.wav\t0.500\t1.00006\tCat\nb.wav\t\t\t\n"


WRONG_ROWS = {
    "onset 'x' is not a number": "a.wav\tx\t2\tCat",
    "offset 'inf' is not a finite number": "a.wav\t1\tinf\tCat",
    "offset '' is not a number": "a.wav\t1\t\tCat",
    r"onset 2 s is not before offset 2 s": "a.wav\t2\t2\tCat",
    r"onset 3 s is not before offset 2.5 s": "a.wav\t3\t2.5\tCat",
    r"onset -1 s is below 0": "a.wav\t-1\t2\tCat",
    "unknown event label 'cats', nearest is 'Cat'": "a.wav\t1\t2\tcats",
    "unknown event label 'zzz', known are Alarm_bell_ringing, Blender": "a.wav\t1\t2\tzzz",
    "the event label is empty": "a.wav\t1\t2\t",
    "the filename is empty": "\t1\t2\tCat",
    "5 fields where the header has 4": "a.wav\t1\t2\tCat\t0.9",
}


@pytest.mark.parametrize("message", WRONG_ROWS)
def test_wrong_row_is_named_by_file_and_line(tmp_path: Path, message: str) -> None:
    path = put(tmp_path, HEADER + "b.wav\t0\t1\tDog\n" + WRONG_ROWS[message] + "\n")
    with pytest.raises(InputError, match=rf"a\.tsv, line 3: {message}.*; correct that row$"):
        read_strong(path, CLASSES)


def test_wrong_rows_are_collected_with_a_count(tmp_path: Path) -> None:
    path = put(tmp_path, HEADER + "a.wav\t2\t1\tCat\n" * 7)
    with pytest.raises(InputError, match=r"7 wrong rows: line 2: .*; line 6: .*; and 2 more; correct them") as raised:
        read_strong(path)
    assert "line 7" not in str(raised.value)


def test_rows_wrong_in_different_ways_stand_in_one_message(tmp_path: Path) -> None:
    path = put(tmp_path, HEADER + "a.wav\t1\t2\tCat\tx\nb.wav\t2\t1\tCat\n")
    with pytest.raises(InputError, match=r"2 wrong rows: .*line 2: 5 fields.*") as raised:
        read_strong(path)
    assert "line 3: onset 2 s is not before" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("", "an empty file"),
        ("a.wav\t0\t1\tCat\n", "'a.wav"),
        ("filename,onset,offset,event_label\n", "'filename,onset"),
    ],
)
def test_wrong_header_says_expected_and_got(tmp_path: Path, text: str, got: str) -> None:
    with pytest.raises(InputError, match=f"line 1: expected .* 'filename onset offset event_label', got {got}"):
        read_strong(put(tmp_path, text))


def test_a_long_wrong_header_is_shortened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"got 'x{80}\.\.\.'; correct or add"):
        read_weak(put(tmp_path, "x" * 500))


def test_other_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.tsv does not exist"):
        read_strong(tmp_path / "nothing.tsv")
    (tmp_path / "latin.tsv").write_bytes("filename\nÄ.wav".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_unlabelled(tmp_path / "latin.tsv")
    with pytest.raises(InputError, match=r"line 3: a\.wav is listed twice"):
        read_unlabelled(put(tmp_path, "filename\na.wav\na.wav\n"))
    with pytest.raises(InputError, match=r"line 3: a\.wav is listed twice"):
        read_weak(put(tmp_path, "filename\tevent_labels\na.wav\tCat\na.wav\tDog\n"))
    with pytest.raises(InputError, match="duration 0 s is not above 0"):
        read_durations(put(tmp_path, "filename\tduration\na.wav\t0\n"))
    with pytest.raises(InputError, match="unknown event label 'Dgo', nearest is 'Dog'"):
        read_weak(put(tmp_path, "filename\tevent_labels\na.wav\tCat,Dgo\n"), CLASSES)
    with pytest.raises(InputError, match=r"source_clips '1\.5' is not a whole number"):
        read_bank(put(tmp_path, "event_label\tsource_clips\nDog\t1.5\n"))
    with pytest.raises(InputError, match="names no class"):
        read_classes(put(tmp_path, "\n"))
    with pytest.raises(InputError, match="names Dog more than once"):
        read_classes(put(tmp_path, "Dog\nDog\n"))
    with pytest.raises(InputError, match=r"in any order, got 'filename.*offset not found"):
        read_detections(put(tmp_path, "filename\tonset\tevent_label\n"))
    with pytest.raises(InputError, match="line 2: the filename is empty"):
        read_detections(put(tmp_path, HEADER + "\t1\t2\tCat\n"))
    with pytest.raises(InputError, match="a tab or a line break"):
        write_unlabelled(tmp_path / "b.tsv", ["a\tb.wav"])


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tsv"
    write_unlabelled(path, ["old.wav"])

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"cannot write .*a\.tsv: No space left on device"):
        write_unlabelled(path, ["new.wav"])
    assert read_unlabelled(path) == ("old.wav",)
    assert [item.name for item in tmp_path.iterdir()] == ["a.tsv"]
