"""Kept spectrograms: the same numbers, labels and lengths as without, computed once, and never those of other data."""

from __future__ import annotations

import functools
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sed_lab.clip.audio import ClipFiles, audio_info, write_audio
from sed_lab.clip.feature_cache import cached_features
from sed_lab.clip.module import SedData
from sed_lab.errors import InputError
from sed_lab.loss import WeightedBinary
from sed_lab.method.arora2019 import WeightedDetector
from sed_lab.method.base import Parts
from sed_lab.model.encoder import LSTMEncoder
from sed_lab.run.assemble import use_cached_features
from sed_lab.types import Batch, Clip, Corpus, Event
from tests.configured import configured, option

StandardLogMel = configured("feature/standardised_mel_small")
SETTINGS = {"_target_": "sed_lab.feature.standard_mel.StandardLogMel"}


def corpus_of(folder: Path, seconds: float = 1.0, **options: Any) -> Corpus:
    """Five recordings of 0.5 to 1 s, the first with an event."""
    folder.mkdir(exist_ok=True)
    clips = []
    for number in range(5):
        path = folder / f"clip{number}.wav"
        if not path.exists():
            noise = np.random.default_rng(number).normal(0, 0.1, 16000 - 2000 * (number % 3) - number)
            write_audio(path, noise, 16000)
        events = (Event(0.25, 0.4, "Dog"),) if number == 0 else None
        clips.append(Clip(path.stem, path, audio_info(path).duration, events, ("Dog",) if number % 2 == 0 else ()))
    files = ClipFiles(clips, 16000, seconds, **options)
    return Corpus("made", ("Dog",), seconds, 16000, {"weak": files, "test": files}, "f" * 64)


def data_of(corpus: Corpus) -> SedData:
    batch = {"epoch": "smallest", "per_class": False, "evaluation": 3, "max_clips_per_device": None, "workers": 0}
    return SedData(corpus, {"weak": 5}, 26, 0.04, [], ["test"], seed=0, **batch)


def method_of() -> WeightedDetector:
    torch.manual_seed(0)
    labels = torch.tensor([[True], [False], [True], [False], [True]])
    parts = Parts(StandardLogMel(), LSTMEncoder(64, 4, 1.0), WeightedBinary(), ("Dog",), None, labels)
    return WeightedDetector(parts, functools.partial(torch.optim.Adam, lr=0.01), 1, 1, None)


def batches(data: SedData) -> list[Batch]:
    ((part, _),) = data._loader(data.sampler())
    return [part, *data.every_clip("test")]


def test_features_labels_and_lengths_are_those_of_the_audio_to_the_last_bit(tmp_path: Path) -> None:
    plain, kept, method = data_of(corpus_of(tmp_path / "a")), data_of(corpus_of(tmp_path / "a")), method_of()
    use_cached_features(
        option("feature/standardised_mel_small") | SETTINGS, kept, method, tmp_path / "cache", "cpu", True
    )
    fitted = [StandardLogMel(), StandardLogMel()]
    for feature, data in zip(fitted, (plain, kept), strict=True):
        method.feature = feature
        feature.fit((method._mel(one), one.valid_frames * 0.04) for one in data.every_clip("weak"))
    assert all(torch.equal(*pair) for pair in zip(*(one.state_dict().values() for one in fitted), strict=True))
    for heard, seen in zip(batches(plain), batches(kept), strict=True):
        assert seen.audio is None
        assert torch.equal(method.features(heard), method.features(seen))
        assert torch.equal(method.predict(heard)["model"].clip, method.predict(seen)["model"].clip)  # type: ignore[arg-type]
        assert heard.clip_id == seen.clip_id
        for name in ("strong", "weak", "has_strong", "has_weak", "valid_frames", "index"):
            assert torch.equal(getattr(heard, name), getattr(seen, name)), name


def refuse(audio: torch.Tensor) -> torch.Tensor:
    raise AssertionError("computed again")


def test_they_are_computed_once_and_not_for_other_files_or_settings(tmp_path: Path) -> None:
    corpus, mel, cache = corpus_of(tmp_path / "a"), StandardLogMel().mel, tmp_path / "cache"
    first = cached_features(corpus, "weak", mel, {"n_mels": 64}, cache)
    again = cached_features(corpus, "test", refuse, {"n_mels": 64}, cache)  # the same clips
    assert np.array_equal(first.load(3, 0)[1], again.load(3, 9)[1])
    with pytest.raises(AssertionError, match="computed again"):
        cached_features(corpus, "weak", refuse, {"n_mels": 32}, cache)
    path = tmp_path / "a" / "clip3.wav"
    before = path.stat()
    write_audio(path, np.random.default_rng(99).normal(0, 0.1, 16000 - 3), 16000)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # of the same size
    assert path.stat().st_size == before.st_size
    changed = cached_features(corpus, "weak", mel, {"n_mels": 64}, cache)
    assert not np.array_equal(first.load(3, 0)[1], changed.load(3, 0)[1])
    assert np.array_equal(first.load(2, 0)[1], changed.load(2, 0)[1])


def test_an_interrupted_computation_leaves_nothing_to_be_taken_for_whole(tmp_path: Path) -> None:
    corpus, mel, cache = corpus_of(tmp_path / "a"), StandardLogMel().mel, tmp_path / "cache"
    (tmp_path / "a" / "clip4.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"clip4.wav"):
        cached_features(corpus, "weak", mel, {}, cache)
    assert not list(cache.rglob("*.npy"))


def test_a_worker_maps_the_file_again(tmp_path: Path) -> None:
    one = cached_features(corpus_of(tmp_path / "a"), "weak", StandardLogMel().mel, {}, tmp_path / "cache")
    sent = pickle.dumps(one)
    assert len(sent) < 4000 < one.mel.nbytes
    assert np.array_equal(pickle.loads(sent).load(1, 0)[1], one.load(1, 0)[1])


def test_clips_that_change_from_epoch_to_epoch_are_not_kept(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "a", seconds=0.5, random_crop=True)
    with pytest.raises(InputError, match="weak clips are not recordings that are the same in every epoch"):
        cached_features(corpus, "weak", StandardLogMel().mel, {}, tmp_path / "cache")
    assert corpus_of(tmp_path / "a", seconds=1.0, random_crop=True).subsets["weak"].fixed  # type: ignore[attr-defined]


def test_a_method_that_wants_the_waveform_gets_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WeightedDetector, "takes_features", False)
    with pytest.raises(InputError, match=r"batch\.cache_features=true: this method works on the waveform itself"):
        use_cached_features(SETTINGS, data_of(corpus_of(tmp_path / "a")), method_of(), tmp_path, "cpu", True)
    monkeypatch.setattr(WeightedDetector, "takes_features", True)
    method = method_of()
    method.feature = configured("feature/point")()
    with pytest.raises(InputError, match="this front end works on the waveform itself"):
        use_cached_features(SETTINGS, data_of(corpus_of(tmp_path / "a")), method, tmp_path, "cpu", True)


@pytest.mark.parametrize(
    ("clips", "takes", "kept"),
    [({}, True, True), ({}, False, False), ({"seconds": 0.5, "random_crop": True}, True, False)],
    ids=["possible", "method", "clips"],
)
def test_where_nothing_is_said_features_are_kept_if_method_and_clips_allow_it(
    clips: dict[str, Any], takes: bool, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WeightedDetector, "takes_features", takes)
    data = data_of(corpus_of(tmp_path / "a", **clips))
    use_cached_features(SETTINGS, data, method_of(), tmp_path / "cache", "cpu", None)
    assert (data.loader.subsets["weak"] is not data.corpus.subsets["weak"]) == kept
    assert (tmp_path / "cache").exists() == kept
