"""Mixtures from banks: the embedded one and a folder of recordings, their sources apart, made once."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
import yaml

from sed_lab.bank.base import Bank
from sed_lab.bank.procedural.bank import ProceduralBank
from sed_lab.bank.scene import Others, Share, scene
from sed_lab.bank.soundscape import distribution
from sed_lab.clip.corpus import class_statistics, statistics_rows
from sed_lab.errors import InputError
from sed_lab.run.collect import _annotated
from sed_lab.types import Corpus
from tests.configured import configured

bank_rare_mixtures = configured("dataset/bank_rare_mixtures")
mini_rare_mixtures = configured("dataset/mini_rare_mixtures")

MIXTURES = {
    "synthetic": {"mixtures_per_class": 4},
    "validation": {"mixtures_per_class": 2},
    "devtest": {"mixtures_per_class": 2},
    "test": {"mixtures_per_class": 2},
}
INSTANCES = {"train": 3, "validation": 2, "test": 4}
SCENES = {"train": 2, "validation": 2, "test": 4}
RATE = 16000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    top = tmp_path_factory.mktemp("mini")
    return top, mini_rare_mixtures(top, MIXTURES, INSTANCES, SCENES)


def test_half_the_mixtures_hold_one_event_and_each_is_about_one_class(made: tuple[Path, Corpus]) -> None:
    _, corpus = made
    assert {name: len(subset) for name, subset in corpus.subsets.items()} == {
        "synthetic": 12, "validation": 6, "devtest": 6, "test": 6,
    }  # fmt: skip
    for subset in corpus.subsets.values():
        for label in corpus.classes:
            own = [clip for clip in subset.clips if clip.annotated == (label,)]
            assert sum(bool(clip.events) for clip in own) * 2 == len(own)
            assert {event.event_label for clip in own for event in clip.events or ()} == {label}
            assert all(clip.duration == 30.0 for clip in own)
    clip, audio = corpus.subsets["test"].load(0, 0)
    assert audio.shape == (30 * RATE,)
    assert np.abs(audio).max() > 0
    both = np.ones((5, 3), np.float32), np.ones(3, np.float32)
    data = type("Data", (), {"corpus": corpus})()
    frame, clip_score = _annotated(clip, data, both)
    assert frame.tolist() == [[1, 0, 0]] * 5
    assert clip_score.tolist() == [1, 0, 0]


def test_no_sound_is_in_two_subsets(made: tuple[Path, Corpus]) -> None:
    top, _ = made
    (folder,) = (path for path in top.iterdir() if path.is_dir())
    names: dict[str, set[str]] = {}
    for path in (folder / "source_data/cv_setup").glob("*.yaml"):
        found = yaml.safe_load(path.read_text())
        entries = [one["filepath"] for one in found] if isinstance(found, list) else [
            f"{label}/{one['audio_filename']}" for label, each in found.items() for one in each
        ]  # fmt: skip
        names[path.stem] = set(entries)
    assert len(names) == 8
    assert sum(len(one) for one in names.values()) == len(set.union(*names.values()))
    sounds = list((folder / "source_data").rglob("*.wav"))
    assert len(sounds) == 3 * (3 + 2 + 4) + 2 + 2 + 4
    assert len({hashlib.md5(path.read_bytes()).hexdigest() for path in sounds}) == len(sounds)


def test_it_is_made_once_and_other_settings_make_another(made: tuple[Path, Corpus]) -> None:
    top, corpus = made
    again = mini_rare_mixtures(top, MIXTURES, INSTANCES, SCENES)
    assert again.fingerprint == corpus.fingerprint
    assert len([path for path in top.iterdir() if path.is_dir()]) == 1


def test_the_share_of_frames_is_of_the_class_s_own_mixtures(made: tuple[Path, Corpus]) -> None:
    _, corpus = made
    rows = statistics_rows(class_statistics(corpus.subsets["synthetic"], corpus.classes, 0.05, 600))
    for row in rows:
        seconds = sum(
            event.offset - event.onset
            for clip in corpus.subsets["synthetic"].clips
            for event in clip.events or ()
            if event.event_label == row["event_label"]
        )
        assert row["frame_share"] == pytest.approx(seconds / (4 * 30), abs=0.002)


def put_bank(folder: Path, classes: dict[str, bool]) -> Path:
    """A recording of 5 s of each class in each of four folds: steady noise, or two bursts."""
    rng = np.random.default_rng(0)
    for number in range(1, 5):
        for name, steady in classes.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            audio = rng.normal(size=5 * RATE) * (0.3 if steady else np.repeat([0, 1, 0, 1, 0], RATE))
            soundfile.write(folder / name / f"{number}-{100 + number}-A.wav", audio * 0.1, RATE)
    return folder


BANK = {"001 - Baby cry": False, "002 - Rain": True, "003 - Dog bark": False, "004 - Clock": False}
FOLDS = {"train": [1, 2], "validation": [3], "test": [4]}
TWO = {name: {"mixtures_per_class": 2} for name in ("synthetic", "validation", "test")}


def test_from_recordings_with_folds_apart(tmp_path: Path) -> None:
    bank = put_bank(tmp_path / "bank", BANK)
    words: dict[str, Any] = {"mixtures": TWO, "backgrounds": ["Rain"], "scenes": dict(SCENES, train=6), "folds": FOLDS}
    corpus = bank_rare_mixtures(tmp_path / "cache", bank, ["Baby cry"], **words)
    assert corpus.classes == ("Baby_cry",)
    (folder,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    assert len(list((folder / "source_data/events").glob("*/*.wav"))) == 8  # two cries in each of four recordings
    assert len(list((folder / "source_data/bgs").glob("devtrain*.wav"))) == 6
    sizes = {name: len(subset) for name, subset in corpus.subsets.items()}
    assert sizes == {**dict.fromkeys(TWO, 2), "recordings": 3}
    quiet = bank_rare_mixtures(tmp_path / "cache", bank, ["Baby cry"], **words, other_classes=[])
    assert quiet.fingerprint != corpus.fingerprint
    other = next(path for path in (tmp_path / "cache").iterdir() if path.is_dir() and path != folder)
    for path in sorted((other / "source_data/bgs").glob("*.wav")):
        busy, _ = soundfile.read(folder / "source_data/bgs" / path.name)
        steady, _ = soundfile.read(path)
        assert np.std(steady[: 5 * RATE]) == pytest.approx(0.03, rel=0.1)
        assert np.std(busy) >= np.std(steady) - 1e-6
    with pytest.raises(InputError, match=r"has no other class Cat; there are Clock, Dog_bark"):
        bank_rare_mixtures(tmp_path / "cache", bank, ["Baby cry"], **words, other_classes=["Cat"])


def test_the_test_recordings_are_a_subset_as_they_are(tmp_path: Path) -> None:
    bank = put_bank(tmp_path / "bank", BANK)
    words: dict[str, Any] = {"mixtures": TWO, "backgrounds": ["Rain"], "scenes": SCENES, "folds": FOLDS}
    corpus = bank_rare_mixtures(tmp_path / "cache", bank, ["Baby cry"], **words)
    clips = {clip.clip_id: clip for clip in corpus.subsets["recordings"].clips}
    assert set(clips) == {"Baby_cry_4-104-A", "Dog_bark_4-104-A", "Clock_4-104-A"}  # of fold 4; no background
    assert {clip.annotated for clip in clips.values()} == {None}
    assert clips["Dog_bark_4-104-A"].events == ()
    events = clips["Baby_cry_4-104-A"].events or ()
    assert [round(event.onset) for event in events] == [1, 3]
    clip, audio = corpus.subsets["recordings"].load(0, 0)
    assert (clip.duration, audio.shape) == (5.0, (30 * RATE,))
    original, _ = soundfile.read(bank / "001 - Baby cry/4-104-A.wav")
    np.testing.assert_allclose(audio[: 5 * RATE], original, atol=1e-4)


def test_other_sounds_lie_at_their_level_and_come_from_their_own_split() -> None:
    class Tones(ProceduralBank):
        """Which sounds are asked for, and constants in their place."""

        asked: ClassVar[Counter[tuple[str, str, int]]] = Counter()

        def event(self, split: str, event_label: str, index: int) -> np.ndarray:
            self.asked[split, event_label, index] += 1
            return np.full(RATE, 0.5, np.float32)

        def background(self, split: str, index: int, seconds: float) -> np.ndarray:
            return np.full(round(seconds * RATE), 0.01 * (index + 1), np.float32)

    bank: Bank = Tones(("Dog", "Cat"), instances={"train": 5, "validation": 3, "test": 4})
    others = Others(("Dog", "Cat"), 2, distribution(["const", 6], "snr"))
    share = Share(bank, 1, 2, 6)
    heights: Counter[int] = Counter()
    for index in range(40):
        audio = scene(share, "test", index, 30.0, others, [0])
        level = 0.01 * (1 + 2 * (index % 3) + 1)  # the share's three backgrounds in turn: numbers 1, 3 and 5
        assert np.median(audio) == pytest.approx(level)
        gain = (audio.max() - level) / (level * 10 ** (6 / 20))
        heights[round(float(gain))] += 1
        assert (np.abs(audio - level) > 1e-6).sum() <= 2 * RATE
        np.testing.assert_array_equal(audio, scene(share, "test", index, 30.0, others, [0]))
    assert {0, 1} <= set(heights) <= {0, 1, 2}
    assert set(Tones.asked) == {("test", label, index) for label in ("Dog", "Cat") for index in (1, 3)}
    assert not np.array_equal(scene(share, "test", 0, 30.0, None, [0]), scene(bank, "test", 0, 30.0, None, [0]))


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset.mixtures names dev; known: synthetic, validation, devtest, test"):
        mini_rare_mixtures(tmp_path, {"dev": {}}, INSTANCES, SCENES)
    with pytest.raises(InputError, match=r"dataset.others=-1 must be a whole number of sounds"):
        mini_rare_mixtures(tmp_path, MIXTURES, INSTANCES, SCENES, others=-1)
    assert not list(tmp_path.iterdir())
