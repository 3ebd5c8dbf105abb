from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed_lab.clip.audio import write_audio
from sed_lab.clip.corpus import ClipFiles, class_statistics, fingerprint, labels_of
from sed_lab.errors import InputError
from sed_lab.types import Clip, Event, Subset

RATE = 1000
CLASSES = ("Cat", "Dog", "Speech")


def ramp(path: Path, seconds: float) -> Path:
    """A recording whose samples say where they are: sample n is n / 32768 (16 bits hold it exactly)."""
    write_audio(path, np.arange(round(seconds * RATE), dtype=np.float32) / 32768, RATE)
    return path


def samples(audio: np.ndarray) -> list[int]:
    return np.rint(audio * 32768).astype(int).tolist()


@pytest.fixture
def long_clip(tmp_path: Path) -> Clip:
    events = (Event(0.0, 25.0, "Cat"), Event(1.0, 1.5, "Dog"))
    return Clip("long", ramp(tmp_path / "long.wav", 25), 25.0, events, ("Cat", "Dog"))


def test_short_clip_is_padded_at_the_end(tmp_path: Path) -> None:
    clip = Clip("a", ramp(tmp_path / "a.wav", 4), 4.0, (Event(3.0, 4.115, "Dog"),), ("Dog",), synthetic=True)
    loaded, audio = ClipFiles([clip], RATE, 10.0).load(0, 0)
    assert audio.shape == (10 * RATE,)
    assert audio.dtype == np.float32
    assert samples(audio) == [*range(4000), *([0] * 6000)]
    assert loaded == clip


def test_long_clip_is_cropped_at_its_start_in_evaluation(long_clip: Clip) -> None:
    subset: Subset = ClipFiles([long_clip], RATE, 10.0)
    loaded, audio = subset.load(0, 7)
    assert samples(audio) == list(range(10000))
    assert loaded.events == (Event(0.0, 10.0, "Cat"), Event(1.0, 1.5, "Dog"))
    assert loaded.duration == 10.0


def test_random_crop_moves_labels_along(long_clip: Clip) -> None:
    subset = ClipFiles([long_clip], RATE, 10.0, random_crop=True, seed=3)
    starts = []
    for epoch in range(60):
        loaded, audio = subset.load(0, epoch)
        heard = samples(audio)
        assert heard == list(range(heard[0], heard[0] + 10000))
        starts.append(heard[0])
        start = heard[0] / RATE
        dog = [event for event in loaded.events or () if event.event_label == "Dog"]
        if start < 1.5:
            assert dog[0].onset == pytest.approx(max(0, 1 - start))
            assert dog[0].offset == pytest.approx(1.5 - start)
            assert loaded.event_labels == ("Cat", "Dog") or dog[0].onset == 0
        else:
            assert not dog
            assert loaded.event_labels == ("Cat",)
    assert min(starts) < 3000
    assert max(starts) > 12000
    assert max(starts) <= 15000


def test_crop_depends_on_seed_index_and_epoch_only(long_clip: Clip) -> None:
    def start(seed: int, index: int, epoch: int) -> int:
        return samples(ClipFiles([long_clip, long_clip], RATE, 10.0, True, seed).load(index, epoch)[1])[0]

    assert start(1, 0, 5) == start(1, 0, 5)
    assert len({start(1, 0, 5), start(2, 0, 5), start(1, 1, 5), start(1, 0, 6)}) == 4


def test_weak_and_unlabelled_clips_keep_what_they_have(tmp_path: Path, long_clip: Clip) -> None:
    weak = Clip("weak", long_clip.path, 25.0, None, ("Dog",))
    unlabelled = Clip("unlabelled", long_clip.path, 25.0)
    subset = ClipFiles([weak, unlabelled], RATE, 10.0, random_crop=True)
    assert (subset.load(0, 0)[0].events, subset.load(0, 0)[0].event_labels) == (None, ("Dog",))
    assert (subset.load(1, 0)[0].events, subset.load(1, 0)[0].event_labels) == (None, None)


def test_a_bad_file_is_named_when_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"a\.wav: cannot be read as audio"):
        ClipFiles([Clip("a", tmp_path / "a.wav", 10.0)], RATE, 10.0).load(0, 0)


def test_labels_of_events() -> None:
    assert labels_of([Event(3, 4, "Dog"), Event(1, 2, "Cat"), Event(0.5, 1, "Dog")]) == ("Dog", "Cat")


def test_class_statistics_by_hand(tmp_path: Path) -> None:
    clips = [
        # frames of 1 s: Cat in 0-1 and 1-2 (overlapping: frames 0, 1, 2), Dog in frame 4
        Clip("a", tmp_path, 10.0, (Event(0.5, 2.0, "Cat"), Event(1.0, 2.5, "Cat"), Event(4.0, 5.0, "Dog"))),
        Clip("b", tmp_path, 10.0, ()),
        Clip("c", tmp_path, 10.0, None, ("Dog", "Speech")),
        Clip("d", tmp_path, 10.0),
    ]
    found = class_statistics(ClipFiles(clips, RATE, 10.0), CLASSES, 1.0, 10, {"Speech": 7, "Dog": 5, "Cat": 3})
    assert found.classes == CLASSES
    assert found.active_frames.tolist() == [3, 1, 0]
    assert (found.total_frames, found.total_clips, found.empty_clips) == (40, 4, 1)
    assert found.events.tolist() == [2, 1, 0]
    assert found.event_seconds.tolist() == [3.0, 1.0, 0.0]
    assert found.clips.tolist() == [1, 2, 1]
    assert found.source_clips is not None
    assert found.source_clips.tolist() == [3, 5, 7]
    assert class_statistics(ClipFiles(clips, RATE, 10.0), CLASSES, 1.0, 10).source_clips is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5), st.sampled_from(CLASSES)), max_size=12))
def test_active_frames_count_a_frame_once(spans: list[tuple[int, int, str]]) -> None:
    clip = Clip("a", Path("a.wav"), 14.0, tuple(Event(a, a + n, label) for a, n, label in spans))
    found = class_statistics(ClipFiles([clip], RATE, 14.0), CLASSES, 1.0, 14)
    for i, label in enumerate(CLASSES):
        assert found.active_frames[i] == len({t for a, n, name in spans if name == label for t in range(a, a + n)})


def test_statistics_refuse_a_class_without_a_count(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no count of recordings for Speech"):
        class_statistics(ClipFiles([], RATE, 10.0), CLASSES, 1.0, 10, {"Dog": 5, "Cat": 3})


def test_fingerprint_sees_annotations_names_and_sizes_and_not_the_place(tmp_path: Path) -> None:
    root = tmp_path / "one"
    ramp(root / "audio/a.wav", 1)
    ramp(root / "audio/b.wav", 1)
    (root / "a.tsv").write_text("filename\na.wav\n")

    def now(folder: Path = root) -> str:
        return fingerprint(sorted((path for path in folder.rglob("*") if path.is_file()), reverse=True))

    first = now()
    shutil.copytree(root, tmp_path / "two")
    assert now(tmp_path / "two") == first
    (root / "a.tsv").write_text("filename\nb.wav\n")
    second = now()
    ramp(root / "audio/b.wav", 2)
    third = now()
    (root / "audio/b.wav").rename(root / "audio/c.wav")
    assert len({first, second, third, now()}) == 4
