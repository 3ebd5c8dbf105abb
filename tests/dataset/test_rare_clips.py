"""Rare clips: the counts asked for, labels of rare classes only, splits that share no sound, the same from a folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sed_lab.dataset.rare_clips import BACKGROUND, CLASSES, OTHERS
from sed_lab.errors import InputError
from sed_lab.types import Corpus
from tests.bank.recipes import read_recipes
from tests.configured import configured

bank_rare_clips = configured("dataset/bank_rare_clips")
mini_rare_clips = configured("dataset/mini_rare_clips")

COUNTS = {
    "weak": {"Dog": 6, "babycry": 1, "gunshot": 2, "background": 16},
    "weak_validation": {"Dog": 2, "babycry": 1, "gunshot": 1, "background": 4},
    "test": {"Dog": 2, "babycry": 2, "gunshot": 2, "background": 3},
}
INSTANCES = {"train": 3, "validation": 2, "test": 2}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def corpus(cache: Path) -> Corpus:
    return mini_rare_clips(cache, COUNTS, INSTANCES)


def label_of(clip: Any) -> str:
    labels = clip.event_labels if clip.event_labels is not None else {event.event_label for event in clip.events}
    assert len(set(labels)) <= 1
    return next(iter(labels), BACKGROUND)


def test_every_subset_has_the_clips_asked_for(corpus: Corpus) -> None:
    assert corpus.classes == CLASSES
    for subset, wanted in COUNTS.items():
        assert Counter(label_of(clip) for clip in corpus.subsets[subset].clips) == Counter(wanted)
    assert all(clip.events is None for clip in corpus.subsets["weak"].clips)
    assert all(clip.events is not None for clip in corpus.subsets["test"].clips)
    _, audio = corpus.subsets["weak"].load(0, 0)
    assert (len(audio), audio.dtype) == (160000, np.float32)


def test_other_sounds_are_heard_and_not_labelled(cache: Path, corpus: Corpus) -> None:
    (folder,) = cache.glob("mini_rare_clips-*")
    drawn = [recipe for subset in COUNTS for recipe in read_recipes(folder / f"recipes/{subset}.jsonl")]
    recipes = {recipe.clip_id: recipe for recipe in drawn}
    met = set()
    for subset in COUNTS:
        for clip in corpus.subsets[subset].clips:
            mixed = [event.event_label for event in recipes[clip.clip_id].events]
            rare = [label for label in mixed if label in CLASSES]
            assert rare == ([] if label_of(clip) == BACKGROUND else [label_of(clip)])
            met |= set(mixed) - set(CLASSES)
    assert met
    assert met <= set(OTHERS)


def test_made_once_and_again_where_counts_differ(cache: Path, corpus: Corpus) -> None:
    assert mini_rare_clips(cache, COUNTS, INSTANCES).fingerprint == corpus.fingerprint
    other = mini_rare_clips(cache, {"weak": {"Dog": 1, "background": 1}}, INSTANCES)
    assert other.fingerprint != corpus.fingerprint
    assert set(other.subsets) == {"weak"}


def test_from_a_folder_of_recordings(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("bark", "cry", "door", "rain"):
        (tmp_path / "bank" / label).mkdir(parents=True)
        for number in range(6):
            quiet = np.zeros(8000, np.float32)
            noise = 0.3 * rng.standard_normal(8000 if label != "rain" else 48000).astype(np.float32)
            audio = noise if label == "rain" else np.concatenate([quiet, noise, quiet])
            soundfile.write(tmp_path / "bank" / label / f"{number}.wav", audio, 16000)
    counts = {"weak": {"bark": 2, "cry": 1, "background": 3}, "test": {"bark": 1, "cry": 1, "background": 1}}
    corpus = bank_rare_clips(tmp_path / "cache", tmp_path / "bank", ["bark", "cry"], counts)
    assert corpus.classes == ("bark", "cry")
    assert Counter(label_of(clip) for clip in corpus.subsets["weak"].clips) == Counter(counts["weak"])
    with pytest.raises(InputError, match=r"choose some, not all, of the bank's bark, cry, door"):
        bank_rare_clips(tmp_path / "cache", tmp_path / "bank", ["bark", "cry", "door"], counts)
    with pytest.raises(InputError, match=r"dataset\.classes=\['meow'\]: choose some"):
        bank_rare_clips(tmp_path / "cache", tmp_path / "bank", ["meow"], counts)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"training": {}}, r"dataset\.counts: unknown subset 'training'; use weak, weak_validation, test"),
        ({"weak": {"Cow": 1}}, r"dataset\.counts\.weak: unknown class 'Cow'; use Dog, babycry, background, gunshot"),
        ({"weak": {"Dog": 1.5}}, r"dataset\.counts\.weak\.Dog=1\.5 must be a whole number of clips"),
    ],
)
def test_wrong_counts_are_refused(tmp_path: Path, counts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mini_rare_clips(tmp_path, counts, INSTANCES)
