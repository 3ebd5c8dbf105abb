"""Mixtures from banks: the embedded one and a folder of recordings, their sources apart, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from sed_lab.bank.procedural import bank as procedural_bank
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
RATE = 16000


@pytest.fixture(scope="module", autouse=True)
def few_backgrounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:  # each is half a minute of synthesis
        patch.setattr(procedural_bank, "BACKGROUNDS", {"train": 2, "validation": 2, "test": 4})
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    top = tmp_path_factory.mktemp("mini")
    return top, mini_rare_mixtures(top, MIXTURES, INSTANCES, RATE)


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


def test_it_is_made_once_and_other_settings_make_another(made: tuple[Path, Corpus]) -> None:
    top, corpus = made
    again = mini_rare_mixtures(top, MIXTURES, INSTANCES, RATE)
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


def test_from_recordings_with_folds_apart(tmp_path: Path) -> None:
    bank, rng = tmp_path / "bank", np.random.default_rng(0)
    for number in range(1, 5):
        for name in ("001 - Baby cry", "002 - Rain"):
            (bank / name).mkdir(parents=True, exist_ok=True)
            audio = rng.normal(size=5 * RATE) * (0.3 if "Rain" in name else np.repeat([0, 1, 0, 1, 0], RATE))
            soundfile.write(bank / name / f"{number}-{100 + number}-A.wav", audio * 0.1, RATE)
    mixtures = {name: {"mixtures_per_class": 2} for name in ("synthetic", "validation", "test")}
    folds = {"train": [1, 2], "validation": [3], "test": [4]}
    words = (tmp_path / "cache", bank, ["Baby cry"], mixtures, ["Rain"], folds, RATE)
    corpus = bank_rare_mixtures(*words)
    assert [name.replace("_", " ") for name in corpus.classes] == ["Baby cry"]
    (folder,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    assert len(list((folder / "source_data/events").glob("*/*.wav"))) == 8  # two cries in each of four recordings
    assert {name: len(subset) for name, subset in corpus.subsets.items()} == dict.fromkeys(mixtures, 2)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset.mixtures names dev; known: synthetic, validation, devtest, test"):
        mini_rare_mixtures(tmp_path, {"dev": {}}, INSTANCES, RATE)
    assert not list(tmp_path.iterdir())
