"""DCASE 2018 task 4 with 2019's soundscapes, in both arrangements, and the published annotation files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

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
    for place, name in (("synthetic20", "o.wav"), ("synthetic21_train", "m.wav")):
        write_strong(meta / f"train/{place}/soundscapes.tsv", {name: [Event(0, 1, "Frying")]})
        record(audio / f"train/{place}/soundscapes", [name])
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


@pytest.mark.parametrize(("soundscapes", "clips"), [("synthetic21", ["m"]), ("synthetic20", ["o"])])
@pytest.mark.parametrize("apart", [False, True])
def test_a_key_chooses_the_soundscapes_that_train(
    tmp_path: Path, soundscapes: str, clips: list[str], apart: bool
) -> None:
    corpus(tmp_path, own=False)
    if apart:  # as from 2022 on
        for part in ("metadata", "audio"):
            for place in ("synthetic20", "synthetic21_train"):
                target = tmp_path / "dcase_synth" / part / "train" / place
                target.parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / part / "train" / place).rename(target)
    read = read_dcase2018(tmp_path, RATE, soundscapes=soundscapes)
    assert [clip.clip_id for clip in read.subsets["synthetic"].clips] == clips


def test_absent_soundscapes_are_refused_with_what_else_there_may_be(tmp_path: Path) -> None:
    (corpus(tmp_path, own=True) / "metadata/train/synthetic21_train/soundscapes.tsv").unlink()
    (tmp_path / "audio/train/synthetic21_train/soundscapes/m.wav").unlink()
    said = r"synthetic21_train/soundscapes.tsv is absent; restore it, or set dataset.soundscapes=synthetic20$"
    with pytest.raises(InputError, match=said):
        read_dcase2018(tmp_path, RATE)
    with pytest.raises(InputError, match="soundscapes=synthetic19 is unknown; use synthetic21 or synthetic20"):
        read_dcase2018(tmp_path, RATE, soundscapes="synthetic19")


def test_so_many_soundscapes_are_drawn_by_the_seed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus(tmp_path, own=False)
    names = [f"{i}.wav" for i in range(12)]
    place = "train/synthetic21_train/soundscapes"
    write_strong(tmp_path / f"metadata/{place}.tsv", {name: [Event(0, 1, "Dog")] for name in names})
    record(tmp_path / "audio" / place, names)

    def drawn(count: int | None, seed: int = 0) -> list[str]:
        read = read_dcase2018(tmp_path, RATE, soundscape_count=count, seed=seed).subsets["synthetic"]
        assert all(read.load(i, 0)[0].clip_id == clip.clip_id for i, clip in enumerate(read.clips))
        return [clip.clip_id for clip in read.clips]

    every = drawn(None)
    some, others = drawn(5), drawn(5, seed=1)
    assert len(some) == len({*some}) == 5
    assert {*some} < {*every}
    assert some == drawn(5) != others
    assert drawn(100) == every
    assert "dataset.soundscape_count=100, but there are 12; all of them train" in caplog.text


@pytest.mark.parametrize("resampled", [True, False])
def test_subsets_that_lack_frequencies_others_have_do_not_train(tmp_path: Path, resampled: bool) -> None:
    corpus(tmp_path, own=False)
    low = tmp_path / "audio/train/synthetic20/soundscapes/o.wav"
    soundfile.write(low, np.full(4000, 0.1), RATE // 2)
    said = (
        rf"differ in sample rate \(synthetic {RATE // 2} Hz, weak {RATE} Hz,.* read at {RATE} Hz some are silent above"
        rf" {RATE // 4} Hz, .* set dataset.sample_rate={RATE // 2} and a feature"
    )
    with pytest.raises(InputError, match=said):
        read_dcase2018(tmp_path, RATE, soundscapes="synthetic20", resampled=resampled)
    read_dcase2018(tmp_path, RATE // 2, soundscapes="synthetic20", resampled=resampled)  # all hold the same band
    with pytest.raises(InputError, match=said):  # copies at that rate do not hide it
        read_dcase2018(tmp_path, RATE, soundscapes="synthetic20", resampled=resampled)
    read_dcase2018(tmp_path, RATE, resampled=resampled)


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
    with pytest.raises(InputError, match=r"holds none of the known annotation files, such as .*synthetic21_train"):
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
