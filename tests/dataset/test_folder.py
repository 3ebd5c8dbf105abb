"""Own annotated recordings: each in one subset, cut into clips that hold what was annotated, and counted."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sed_lab.dataset.check_folder import check_folder
from sed_lab.dataset.folder import Annotated, clip_events, split_of, starts_of
from sed_lab.detection.table import ENDINGS, Detection, Found, table_text
from sed_lab.errors import InputError
from sed_lab.types import Corpus, Event
from tests.configured import configured

own_recordings = configured("dataset/folder")
RATE, SHARES = 8000, {"validation": 0.15, "test": 0.15}
LEVEL = {"hum": 0.25, "buzz": 0.5}  # an event is a constant: its clip's samples say what was annotated


def annotated(name: str, *labels: str) -> Annotated:
    return Annotated(Path(name), name, 10.0, tuple(Event(i, i + 0.5, label) for i, label in enumerate(labels)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six recordings of 5.3 s in two folders, one of them empty, and one without annotation; clips of two seconds."""
    place = tmp_path / "mine"
    for number in range(6):
        at, label = 0.5 + 0.55 * number, ("hum", "buzz")[number % 2]
        events = [] if number == 5 else [(at, at + 0.8, label)]
        path = place / ("a", "b")[number % 2] / f"r{number // 2}.wav"  # r0 to r2 in either: names alone are not unique
        path.parent.mkdir(parents=True, exist_ok=True)
        audio = np.zeros(round(5.3 * RATE))
        for onset, offset, name in events:
            audio[round(onset * RATE) : round(offset * RATE)] = LEVEL[name]
        soundfile.write(path, audio, RATE)
        if number % 2:
            path.with_suffix(".txt").write_text("".join(f"{a}\t{b}\t{name}\n" for a, b, name in events))
        else:
            rows = [f"{n}\t{a}\t{b}\t{name}\n" for n, (a, b, name) in enumerate(events, 1)]
            header = "Selection\tBegin Time (s)\tEnd Time (s)\tAnnotation\n"
            path.with_suffix(".selections.txt").write_text(header + "".join(rows))
    (place / "later").mkdir()
    soundfile.write(place / "later/u.wav", np.zeros(4 * RATE), RATE)
    return place


def corpus_of(folder: Path, **changed: object) -> Corpus:
    given = {"sample_rate": RATE, "clip_seconds": 2.0, "shares": {"validation": 0.3, "test": 0.3}}
    return own_recordings(folder, folder.parent / "cache", **{**given, **changed})


def test_clips_hold_what_was_annotated_where_it_is_heard(folder: Path) -> None:
    corpus = corpus_of(folder, shares={"validation": 0.0, "test": 0.0})
    assert corpus.classes == ("buzz", "hum")
    strong = corpus.subsets["synthetic"]
    assert len(strong) == 18  # three each of six recordings, those without an event too
    assert corpus.subsets.keys() == {"synthetic", "unlabelled"}
    assert len(corpus.subsets["unlabelled"]) == 2
    assert len({clip.clip_id for clip in strong.clips}) == 18
    assert sum(not clip.events for clip in strong.clips) > 5
    seconds: Counter[str] = Counter()
    for index in range(len(strong)):
        clip, audio = strong.load(index, 0)
        for label, level in LEVEL.items():
            heard = np.abs(audio - level) < 0.01
            expected = np.zeros(len(audio), bool)
            for event in clip.events or ():
                if event.event_label == label:
                    expected[round(event.onset * RATE) : round(event.offset * RATE)] = True
                    seconds[label] += event.offset - event.onset
            assert (heard != expected).sum() <= 2, clip.clip_id
    assert seconds == pytest.approx({"hum": 2.4, "buzz": 1.6})  # nothing of an event is lost at a cut


def test_no_recording_is_in_two_subsets_and_a_moved_folder_is_the_same_corpus(folder: Path) -> None:
    corpus = corpus_of(folder)
    of = {name: {clip.clip_id.rpartition("_")[0] for clip in subset.clips} for name, subset in corpus.subsets.items()}
    assert sum(map(len, of.values())) == len(frozenset().union(*of.values())) == 7
    assert all(of[name] for name in ("synthetic", "validation", "test"))
    moved = folder.with_name("elsewhere")
    shutil.copytree(folder, moved)
    assert corpus_of(moved).fingerprint == corpus.fingerprint
    (moved / "a/r0.selections.txt").write_text("Selection\tBegin Time (s)\tEnd Time (s)\tAnnotation\n1\t1\t2\thum\n")
    assert corpus_of(moved).fingerprint != corpus.fingerprint


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.sampled_from("abc")), min_size=1, max_size=30), st.integers(0, 5))
def test_each_class_with_three_recordings_is_in_every_subset(kinds: list[set[str]], seed: int) -> None:
    recordings = [annotated(f"{n}.wav", *sorted(own)) for n, own in enumerate(kinds)]
    split = split_of(recordings, SHARES, seed)
    assert split.keys() == {one.name for one in recordings}
    rarest = min(((sum(label in own for own in kinds), label) for label in set().union(*kinds)), default=(0, ""))
    if rarest[0] >= 3:
        there = {split[one.name] for one in recordings if rarest[1] in one.labels}
        assert there == {"train", "validation", "test"}
    assert split == split_of(recordings[::-1], SHARES, seed)  # the order in which they are found does not matter


def test_a_recording_replaced_by_another_of_its_size_is_cut_again(folder: Path) -> None:
    shares = {"validation": 0.0, "test": 0.0}
    before = corpus_of(folder, shares=shares)
    soundfile.write(folder / "b/r2.wav", np.full(round(5.3 * RATE), 0.125), RATE)  # the one without an event
    after = corpus_of(folder, shares=shares)
    assert after.fingerprint != before.fingerprint
    strong = after.subsets["synthetic"]
    (index,) = (n for n, clip in enumerate(strong.clips) if clip.clip_id == "b__r2_0")
    np.testing.assert_allclose(strong.load(index, 0)[1], 0.125, atol=1e-4)


def test_folders_train_and_test_say_the_split() -> None:
    there = [annotated("train/1.wav", "a"), annotated("validation/1.wav", "a"), annotated("test/x/1.wav", "a")]
    assert list(split_of(there, SHARES, 0).values()) == ["train", "validation", "test"]
    with pytest.raises(InputError, match=r"2.wav: beside train/ and test/"):
        split_of([*there, annotated("2.wav", "a")], SHARES, 0)


def test_cuts_keep_events_but_for_slivers() -> None:
    assert starts_of(20.5, 10.0) == [0.0, 10.0]  # a rest of half a second is no clip
    assert starts_of(21.5, 10.0) == [0.0, 10.0, 20.0]
    assert starts_of(0.3, 10.0) == [0.0]
    events = [Event(8.0, 12.0, "a"), Event(9.95, 11.0, "b"), Event(10.0, 10.03, "c")]
    assert clip_events(events, 0.0, 10.0) == (Event(8.0, 10.0, "a"),)
    behind = [(one.event_label, one.onset, round(one.offset, 6)) for one in clip_events(events, 10.0, 10.0)]
    assert behind == [("a", 0, 2), ("b", 0, 1), ("c", 0, 0.03)]


def test_one_table_of_all_names_recordings_by_path_or_name(folder: Path) -> None:
    for path in [*folder.rglob("*.txt")]:
        path.unlink()
    rows = "filename\tonset\toffset\tevent_label\na/r0.wav\t1\t2\thum\nb/r0.wav\t\t\t\nu.wav\t1\t3\tbuzz\n"
    (folder / "annotations.tsv").write_text(rows)
    shares = {"validation": 0.0, "test": 0.0}
    corpus = corpus_of(folder, shares=shares)
    assert len(corpus.subsets["synthetic"]) == 3 + 3 + 2
    assert len(corpus.subsets["unlabelled"]) == 4 * 3
    (folder / "annotations.tsv").write_text(rows + "r1.wav\t1\t2\thum\n")  # there are two of that name
    with pytest.raises(InputError, match=r"lists recordings that are not in the folder: r1.wav"):
        corpus_of(folder, shares=shares)


@pytest.mark.parametrize("kind", ["tsv", "csv", "audacity", "raven"])
def test_what_a_detector_found_is_no_annotation_before_it_was_corrected(kind: str, folder: Path) -> None:
    """Files as sed-predict writes them beside a recording that has no annotation."""
    found = [Found("u.wav", 4.0, (Detection(1.5, 2.25, "hum", 0.91), Detection(3.0, 3.5, "buzz", 1.0)))]
    path = folder / "later" / f"u{ENDINGS[kind]}"
    path.write_text(table_text(kind, found, {}, 8000.0))
    with pytest.raises(InputError, match=rf"{path.name}: these hold confidences, .* dataset.corrected=true") as said:
        corpus_of(folder)
    assert "r0" not in str(said.value)  # annotations without confidences are not named
    shares = {"validation": 0.0, "test": 0.0}
    corpus = corpus_of(folder, corrected=True, shares=shares)
    clips = {clip.clip_id: clip.events for clip in corpus.subsets["synthetic"].clips}
    assert clips["later__u_0"] == (Event(1.5, 2.0, "hum"),)
    assert clips["later__u_2"] == (Event(0.0, 0.25, "hum"), Event(1.0, 1.5, "buzz"))


def test_a_table_of_all_that_a_detector_found_is_none_either(folder: Path) -> None:
    for path in [*folder.rglob("*.txt")]:
        path.unlink()
    rows = "filename\tonset\toffset\tevent_label\tconfidence\nb/r0.wav\t1\t2\thum\t0.5000\n"
    (folder / "annotations.tsv").write_text(rows)
    with pytest.raises(InputError, match=r"annotations.tsv: these hold confidences"):
        corpus_of(folder)


def test_the_check_counts_and_names_what_is_wrong(folder: Path) -> None:
    found = {one.subset: one for one in check_folder(folder, RATE, 2.0, {"validation": 0.3, "test": 0.3}, 0)}
    assert [found[name].listed for name in ("train", "validation", "test", "unlabelled")] == [4, 1, 1, 1]
    counts = [
        one.notes[1].removeprefix("events in recordings: ") for name, one in found.items() if name != "unlabelled"
    ]
    assert sum(int(count.split(f"{label} ")[1].split(" ")[0]) for count in counts for label in LEVEL) == 5
    assert "18 clips" not in found["train"].notes[0]
    assert "12 clips of 2 s" in found["train"].notes[0]
    (folder / "b/r0.txt").write_text("1\t9\tbuzz\n")
    (folder / "b/r1.txt").write_text("one\ttwo\tbuzz\n")
    (check,) = check_folder(folder, RATE, 2.0, SHARES, 0)
    assert "buzz ends at 9 s, but the recording lasts 5.30 s" in check.errors[0]
    assert "r1.txt: line 1: begin 'one' is not a number" in check.errors[0]
