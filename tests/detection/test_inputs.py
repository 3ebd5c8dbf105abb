"""Whatever names the recordings: each is found once, under a name of its own."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed_lab.detection.inputs import _stems, find_recordings
from sed_lab.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/x.wav", "a/deep/x.wav", "b/x.wav", "b/x.flac", "b/.hidden.wav", "b/notes.txt", ".h/x.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(*words: str | Path) -> dict[str, str]:
    return {one.name: one.stem for one in find_recordings([str(word) for word in words])}


def test_a_folder_is_searched_in_depth_and_paths_below_it_are_kept(folder: Path) -> None:
    assert names(folder) == {
        "a/deep/x.wav": "a/deep/x",
        "a/x.wav": "a/x",
        "b/x.flac": "b/x.flac",
        "b/x.wav": "b/x.wav",
    }
    assert names(folder / "a") == {"deep/x.wav": "deep/x", "x.wav": "x"}


def test_files_of_the_same_name_in_folders_given_apart_keep_both(folder: Path) -> None:
    assert names(folder / "a/x.wav", folder / "b/x.wav", folder / "a/x.wav") == {"a/x.wav": "a/x", "b/x.wav": "b/x"}
    assert names(folder / "a/deep", folder / "b") == {
        "a/deep/x.wav": "a/deep/x",
        "b/x.flac": "b/x.flac",
        "b/x.wav": "b/x.wav",
    }
    assert names(folder / "a/deep/x.wav") == {"x.wav": "x"}


def test_patterns_and_lists_on_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(folder / "**/*.wav").keys() == {"a/deep/x.wav", "a/x.wav", "b/x.wav"}
    assert names(folder / "*/x.*").keys() == {"a/x.wav", "b/x.flac", "b/x.wav"}
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{folder}/a/x.wav\n\n{folder}/gone/y.wav\n"))
    assert names("-").keys() == {"a/x.wav", "gone/y.wav"}  # what is not there is said when it is read
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(InputError, match="standard input holds no line"):
        find_recordings(["-"])


def test_what_is_not_there_is_refused(folder: Path) -> None:
    (folder / "empty").mkdir()
    for word, message in (("gone.wav", "does not exist"), ("*.mp3", "matches no"), ("empty", "holds no audio files")):
        with pytest.raises(InputError, match=message):
            find_recordings([str(folder / word)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.from_regex(r"([ab]/)?[xy](\.wav)?\.(wav|flac)", fullmatch=True), min_size=1, unique=True))
def test_no_two_recordings_share_a_stem(given_names: list[str]) -> None:
    stems = _stems(given_names)
    assert len(set(stems)) == len(given_names)
    assert all(name.startswith(stem) for name, stem in zip(given_names, stems, strict=True))
