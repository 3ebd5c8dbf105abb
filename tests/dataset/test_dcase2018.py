"""DCASE 2018 task 4 with 2019's soundscapes, in both arrangements, and the published annotation files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sed_lab import prepare
from sed_lab.clip.annotation import read_strong, read_weak, write_strong, write_weak
from sed_lab.dataset.dcase2018 import DCASE2018_EXPECTED, check_dcase2018
from sed_lab.dataset.desed import CLASSES
from sed_lab.errors import InputError
from sed_lab.types import Event
from tests.configured import configured
from tests.dataset.test_desed import METADATA, RATE
from tests.made.corpora import record

read_dcase2018 = configured("dataset/dcase2018")

DOG, CAT = {"t.wav": [Event(0, 1, "Dog")]}, {"e.wav": [Event(0, 2, "Cat")], "f.wav": []}


def corpus(root: Path, own: bool) -> Path:
    """2018's own arrangement, or DESED's."""
    meta, audio = root / "metadata", root / "audio"
    places = {
        "t": "test/test.csv" if own else "validation/test_dcase2018.tsv",
        "e": "eval/eval.csv" if own else "validation/eval_dcase2018.tsv",
    }
    write_strong(meta / places["t"], DOG)
    write_strong(meta / places["e"], CAT)
    record(audio / ("test" if own else "validation/validation"), ["t.wav"])
    record(audio / ("eval" if own else "validation/validation"), ["e.wav", "f.wav"])
    write_weak(meta / ("train/weak.csv" if own else "train/weak.tsv"), {"w.wav": ["Dog"], "v.wav": ["Cat"]})
    record(audio / "train/weak", ["w.wav", "v.wav"])
    soundscapes = {"s.wav": [Event(0, 1, "Speech")]}
    write_strong(meta / "train/synthetic.tsv", soundscapes)
    record(audio / "train/synthetic", ["s.wav"])
    place = "train/synthetic20/soundscapes" if own else "train/synthetic21_train/soundscapes"
    write_strong(meta / f"{place}.tsv", {"m.wav": [Event(0, 1, "Frying")]})
    record(audio / place, ["m.wav"])
    return root


@pytest.mark.parametrize("own", [True, False])
def test_both_arrangements_give_the_same_subsets(tmp_path: Path, own: bool) -> None:
    read = read_dcase2018(corpus(tmp_path, own), RATE)
    names = {subset: [clip.clip_id for clip in part.clips] for subset, part in read.subsets.items()}
    assert names == {
        "synthetic": ["m"], "weak": ["w", "v"], "validation": ["t"], "test": ["e", "f"], "synthetic_test": ["s"],
    }  # fmt: skip
    assert (read.classes, read.name) == (CLASSES, "dcase2018")
    assert read.subsets["test"].clips[0].events == (Event(0, 2, "Cat"),)
    assert read.subsets["weak"].clips[0].events is None
    assert {subset for subset, part in read.subsets.items() if part.clips[0].synthetic} == {
        "synthetic", "synthetic_test",
    }  # fmt: skip


def test_names_of_the_challenge_pages_are_known(tmp_path: Path) -> None:
    corpus(tmp_path, own=True)
    (tmp_path / "metadata/train/weak.csv").write_text("filename\tevent_labels\nw.wav\tAlarm/bell/ringing\nv.wav\tCat\n")
    labels = [clip.event_labels for clip in read_dcase2018(tmp_path, RATE).subsets["weak"].clips]
    assert labels == [("Alarm_bell_ringing",), ("Cat",)]


def test_check_counts_against_what_was_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = {one.subset: one for one in check_dcase2018(corpus(tmp_path, own=True), RATE)}
    found = {name: (one.expected, one.found) for name, one in checks.items()}
    assert found["synthetic"] == (None, 1)
    assert [found[name] for name in ("weak", "validation", "test", "synthetic_test")] == [
        (1578, 2), (288, 1), (880, 2), (2045, 1),
    ]  # fmt: skip
    (known,) = (text for text in checks["test"].warnings if "edition" in text)
    assert known.startswith(str(tmp_path / "metadata/eval/eval.csv is no known edition: Alarm_bell_ringing 0"))
    (tmp_path / "metadata/eval/eval.csv").unlink()
    assert prepare.prepare(["check", "dcase2018", str(tmp_path), "--json", "--quick"]) == 2
    (error,) = [one["errors"] for one in json.loads(capsys.readouterr().out) if one["subset"] == "test"]
    assert "eval_dcase2018.tsv and" in error[0]


def test_a_folder_without_any_of_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds none of the known annotation files, such as .*synthetic20"):
        read_dcase2018(tmp_path, RATE)


def test_the_published_files_hold_the_expected_counts() -> None:
    for name, subset in (("test_dcase2018.tsv", "validation"), ("eval_dcase2018.tsv", "test")):
        clips = read_strong(METADATA / name, CLASSES)
        expected = DCASE2018_EXPECTED[subset]
        counts = dict.fromkeys(CLASSES, 0)
        for events in clips.values():
            for event in events:
                counts[event.event_label] += 1
        assert len(clips) == expected.clips, name
        assert counts in [*expected.editions.values()], name
    assert len(read_weak(METADATA / "weak.tsv", CLASSES)) == DCASE2018_EXPECTED["weak"].clips
    both = {name for file in ("test", "eval") for name in read_strong(METADATA / f"{file}_dcase2018.tsv", CLASSES)}
    assert len(both) == 1168  # no clip is in both
