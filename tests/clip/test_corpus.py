from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed_lab.clip.audio import ClipFiles, write_audio
from sed_lab.clip.corpus import class_statistics, fingerprint
from sed_lab.errors import InputError
from sed_lab.types import Clip, Event

RATE = 1000
CLASSES = ("Cat", "Dog", "Speech")


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


def silence(path: Path, seconds: float) -> None:
    write_audio(path, np.zeros(round(seconds * RATE), np.float32), RATE)


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
    silence(root / "audio/a.wav", 1)
    silence(root / "audio/b.wav", 1)
    (root / "a.tsv").write_text("filename\na.wav\n")

    def now(folder: Path = root) -> str:
        return fingerprint(sorted((path for path in folder.rglob("*") if path.is_file()), reverse=True))

    first = now()
    shutil.copytree(root, tmp_path / "two")
    assert now(tmp_path / "two") == first
    (root / "a.tsv").write_text("filename\nb.wav\n")
    second = now()
    silence(root / "audio/b.wav", 2)
    third = now()
    (root / "audio/b.wav").rename(root / "audio/c.wav")
    assert len({first, second, third, now()}) == 4
