"""The embedded corpus with two domains that lie apart, and its oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sed_lab.errors import InputError
from sed_lab.types import Corpus
from tests.configured import configured

mini_weak_synthetic = configured("dataset/mini_weak_synthetic", bank_share=0.02, clip_seconds=6.0)

SIZES = {"synthetic": 2, "weak": 3, "unlabelled": 0, "synthetic_validation": 0, "weak_validation": 0, "validation": 0,
         "test": 2, "synthetic_test": 1}  # fmt: skip


def audio(corpus: Corpus, subset: str) -> np.ndarray:
    return np.stack([corpus.subsets[subset].load(i, 0)[1] for i in range(len(corpus.subsets[subset]))])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weak_synthetic")
    mini_weak_synthetic(folder, SIZES)
    return folder


def test_only_the_real_domain_is_recorded(cache: Path) -> None:
    corpus = mini_weak_synthetic(cache, SIZES)
    plain = mini_weak_synthetic(cache, SIZES, recorded=False)
    assert {name: len(subset) for name, subset in corpus.subsets.items()} == {k: n for k, n in SIZES.items() if n}
    for subset in corpus.subsets:
        same = np.array_equal(audio(corpus, subset), audio(plain, subset))
        assert same is subset.startswith("synthetic"), subset
        for clip, other in zip(corpus.subsets[subset].clips, plain.subsets[subset].clips, strict=True):
            assert (clip.events, clip.event_labels, clip.synthetic) == (other.events, other.event_labels, same)
    assert corpus.fingerprint != plain.fingerprint


def test_true_events_of_weak_clips_on_request_and_of_no_other(cache: Path) -> None:
    corpus = mini_weak_synthetic(cache, SIZES)
    oracle = mini_weak_synthetic(cache, SIZES, true_events=True)
    assert oracle.fingerprint != corpus.fingerprint
    assert all(clip.events is None for clip in corpus.subsets["weak"].clips)
    for clip, weak in zip(oracle.subsets["weak"].clips, corpus.subsets["weak"].clips, strict=True):
        assert clip.events
        assert {event.event_label for event in clip.events} == set(weak.event_labels or ())
        assert clip.event_labels == weak.event_labels
        assert not clip.synthetic
        assert max(event.offset for event in clip.events) <= 6
    assert np.array_equal(audio(oracle, "weak"), audio(corpus, "weak"))
    assert oracle.subsets["test"].clips == corpus.subsets["test"].clips


def test_true_events_of_no_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"true_events=true is about weak clips, of which there are none; set dataset.siz"
    ):
        mini_weak_synthetic(tmp_path, {"synthetic": 2, "test": 1}, true_events=True)
