"""Score files: what is written is read back, sed_scores_eval reads ours, and wrong files are named in one sentence."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed_lab.errors import InputError
from sed_lab.scores import (
    durations_file,
    load_scores,
    read_scores_folder,
    save_scores,
    write_scores_folder,
)
from sed_lab.types import Scores, frame_times
from tests.metric.peers import to_sed_scores_eval


def example(frames: tuple[int, ...] = (5, 3, 0), clip: bool = True, frame: bool = True, hop: float = 0.064) -> Scores:
    random = np.random.default_rng(0)
    return Scores(
        clip_id=tuple(f"Yé_{i}.000_10.000" for i in range(len(frames))),
        classes=("Dog", "Cat's meow"),
        duration=np.array([n * hop + 0.01 for n in frames]),
        frame_hop=hop if frame else None,
        frame=tuple(random.random((n, 2), dtype=np.float32) for n in frames) if frame else None,
        clip=random.random((len(frames), 2), dtype=np.float32) if clip else None,
    )


def equal(a: Scores, b: Scores) -> bool:
    same = a.clip_id == b.clip_id and a.classes == b.classes and np.array_equal(a.duration, b.duration)
    same &= (
        a.frame_hop == b.frame_hop and (a.frame is None) == (b.frame is None) and (a.clip is None) == (b.clip is None)
    )
    if a.frame is not None and b.frame is not None:
        same &= all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a.frame, b.frame, strict=True))
    return bool(same and (a.clip is None or np.array_equal(a.clip, b.clip)))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_saved_scores_are_loaded_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, frames: list[int], clip: bool, frame: bool
) -> None:
    scores = example(tuple(frames), clip=clip or not frame, frame=frame)
    path = tmp_path_factory.mktemp("scores") / "student.npz"
    save_scores(path, scores)
    assert equal(load_scores(path), scores)
    assert list(path.parent.iterdir()) == [path]


def test_a_score_file_holds_no_pickle(tmp_path: Path) -> None:
    save_scores(tmp_path / "a.npz", example())
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        headers = {name: archive.read(name)[:128] for name in archive.namelist()}
    assert {"clip_id.npy", "frame.npy", "clip.npy"} <= set(headers)
    assert not [name for name, header in headers.items() if b"'descr': '|O'" in header]


def test_a_score_file_with_pickle_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", clip_id=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"a\.npz cannot be read as \.npz"):
        load_scores(tmp_path / "a.npz")


def test_bad_score_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz does not exist"):
        load_scores(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(InputError, match=r"text\.npz cannot be read as \.npz"):
        load_scores(tmp_path / "text.npz")
    save_scores(tmp_path / "cut.npz", example())
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.npz cannot be read as \.npz"):
        load_scores(tmp_path / "cut.npz")
    np.savez(tmp_path / "other.npz", clip_id=np.array(["a"]), classes=np.array(["Dog"]))
    with pytest.raises(InputError, match="lacks duration"):
        load_scores(tmp_path / "other.npz")
    base = {"clip_id": np.array(["a"]), "classes": np.array(["Dog"]), "duration": np.array([1.0])}
    np.savez(tmp_path / "hop.npz", **base, frame=np.zeros((3, 1), np.float32))
    with pytest.raises(InputError, match="lacks frames or frame_hop"):
        load_scores(tmp_path / "hop.npz")
    np.savez(tmp_path / "n.npz", **base, frame=np.zeros((3, 1), np.float32), frames=np.array([2]), frame_hop=0.1)
    with pytest.raises(InputError, match="its clips have 2 frames, but 3 are stored"):
        load_scores(tmp_path / "n.npz")


@pytest.mark.parametrize("hop", [0.064, 0.02, 1024 / 44100, 0.0464399])
def test_a_score_folder_is_read_back(tmp_path: Path, hop: float) -> None:
    scores = example((40, 31, 2), clip=False, hop=hop)
    write_scores_folder(tmp_path / "student", scores)
    back = read_scores_folder(tmp_path / "student")
    assert back.clip_id == scores.clip_id
    assert back.classes == scores.classes
    assert back.frame_hop == pytest.approx(hop, abs=1e-6 / 39)
    assert back.duration == pytest.approx([frames * hop for frames in (40, 31, 2)], abs=1e-6)
    assert scores.frame is not None
    assert back.frame is not None
    for ours, read in zip(scores.frame, back.frame, strict=True):
        assert read == pytest.approx(ours, abs=1e-6)


def test_sed_scores_eval_reads_our_folder_and_our_frames_are_its(tmp_path: Path) -> None:
    from sed_scores_eval.base_modules.io import lazy_sed_scores_loader, parse_audio_durations
    from sed_scores_eval.base_modules.scores import validate_score_dataframe

    scores = example((40, 31, 1), clip=False)
    write_scores_folder(tmp_path / "student", scores)
    loaded, ours = lazy_sed_scores_loader(tmp_path / "student"), to_sed_scores_eval(scores)
    assert set(loaded.keys()) == set(ours) == set(scores.clip_id)
    assert parse_audio_durations(durations_file(tmp_path / "student")).keys() == ours.keys()
    for clip_id, frame in ours.items():
        times, classes = validate_score_dataframe(loaded[clip_id])
        assert classes == list(scores.classes)
        assert times == pytest.approx(validate_score_dataframe(frame)[0], abs=1e-9)
        assert loaded[clip_id].to_numpy() == pytest.approx(frame.to_numpy(), abs=1e-6)


def test_frames_end_with_the_clip() -> None:
    assert frame_times(3, 0.5, 2.0).tolist() == [0.0, 0.5, 1.0, 1.5]
    assert frame_times(4, 0.5, 1.2).tolist() == [0.0, 0.5, 1.0, 1.2]
    assert frame_times(4, 0.5, 1.0).tolist() == [0.0, 0.5, 1.0]


def test_wrong_score_folders_are_refused_with_every_file_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \.tsv score file"):
        read_scores_folder(tmp_path)
    good = "onset\toffset\tDog\n0\t0.5\t0.1\n0.5\t1\t0.2\n1\t1.5\t.3\n"
    (tmp_path / "a.tsv").write_text(good)
    (tmp_path / "b.tsv").write_text("start\tend\tDog\n0\t0.5\t0.1\n")
    (tmp_path / "c.tsv").write_text("onset\toffset\tDog\n0\t0.5\tloud\n")
    (tmp_path / "d.tsv").write_text("onset\toffset\tCat\n0\t0.5\t0.1\n")
    (tmp_path / "e.tsv").write_text("onset\toffset\tDog\n0\t0.4\t0.1\n0.4\t0.8\t0.1\n")
    (tmp_path / "f.tsv").write_text("onset\toffset\tDog\n")
    with pytest.raises(InputError) as error:
        read_scores_folder(tmp_path)
    for words in (
        "b.tsv: its header",
        "c.tsv: could not",
        "d.tsv: its classes Cat",
        "e.tsv: its frames",
        "f.tsv: it has no",
    ):
        assert words in str(error.value)
    for name in "bcdef":
        (tmp_path / f"{name}.tsv").unlink()
    (tmp_path / "a.tsv").write_text(good.replace("0.2", "1.2"))
    with pytest.raises(InputError, match="frame scores of clip a hold a value that is not a probability"):
        read_scores_folder(tmp_path)


def test_what_a_score_folder_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs frame scores"):
        write_scores_folder(tmp_path / "student", example(frame=False))
    with pytest.raises(InputError, match="needs frame scores"):
        to_sed_scores_eval(example(frame=False))
    bad = Scores(("a/b",), ("Dog",), np.array([1.0]), 0.5, (np.zeros((2, 1), np.float32),))
    with pytest.raises(InputError, match="'a/b' cannot be a file name"):
        write_scores_folder(tmp_path / "student", bad)
