"""What was made and damaged since is noticed, said, and made again as it was; what has no note is taken as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from sed_lab.bank.making import make_once
from sed_lab.clip.feature_cache import cached_features
from sed_lab.clip.intact import NOTE, damaged, note_files
from sed_lab.errors import InputError
from sed_lab.files import read_json, write_text
from sed_lab.prepare import prepare
from tests.clip.test_feature_cache import SETTINGS, corpus_of, refuse
from tests.configured import configured, option

StandardLogMel = configured("feature/standardised_mel_small")
mini_desed = configured("dataset/mini_desed")


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"7")


DAMAGE: dict[str, Callable[[Path], None]] = {"gone": Path.unlink, "shorter": shorten, "longer": lengthen}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_sizes_are_compared_and_checksums_where_asked(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio/a.wav").write_bytes(b"abc")
    (tmp_path / "list.tsv").write_bytes(b"")
    assert damaged(tmp_path, read=True) == []  # nothing was noted
    note_files(tmp_path)
    digest = hashlib.sha256(b"abc").hexdigest()
    assert read_json(tmp_path / NOTE)["audio/a.wav"] == [3, digest]
    (tmp_path / "audio/other.wav").write_bytes(b"not ours")
    assert damaged(tmp_path, read=True) == []
    (tmp_path / "audio/a.wav").write_bytes(b"abd")
    assert damaged(tmp_path) == []
    assert damaged(tmp_path, read=True) == ["audio/a.wav"]
    (tmp_path / "list.tsv").write_bytes(b"a")
    assert damaged(tmp_path) == ["list.tsv"]
    (tmp_path / NOTE).write_text('{"list.tsv": 7}')
    assert damaged(tmp_path) == [NOTE]
    (tmp_path / NOTE).write_bytes(b"")  # as older versions left it
    assert damaged(tmp_path, read=True) == []


def test_a_damaged_corpus_is_said_and_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = dict.fromkeys(option("dataset/mini_desed")["sizes"], 0) | {"weak": 1}
    made = mini_desed(tmp_path, sizes, bank_share=0.05)
    (folder,) = (path for path in tmp_path.iterdir() if (path / NOTE).is_file())
    whole, clip = contents(folder), made.subsets["weak"].clips[0].path
    capsys.readouterr()
    shorten(clip)
    again = mini_desed(tmp_path, sizes, bank_share=0.05)
    assert f"{folder}: {clip.relative_to(folder)} is gone or damaged; made again\n" in capsys.readouterr().err
    assert contents(folder) == whole
    assert again.fingerprint == made.fingerprint


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_folder_is_replaced_as_a_whole(
    damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "made"

    def write(beside: Path) -> Iterator[str]:
        for name in ("a", "b"):
            write_text(beside / name, name * 99)
            yield name

    make_once(folder, write, 2)
    whole = contents(folder)
    damage(folder / "b")
    capsys.readouterr()
    make_once(folder, write, 2)
    assert f"{folder}: b is gone or damaged; made again\n" in capsys.readouterr().err
    assert contents(folder) == whole
    make_once(folder, refuse, 2)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".made.lock", "made"]
    assert prepare(["cache", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "1 made folders, 0 of them damaged\n"
    (folder / "a").write_text("b" * 99)
    assert prepare(["cache", str(tmp_path)]) == 2
    assert f"{folder}: a is gone or damaged; remove this folder, and it is made again\n" in capsys.readouterr().out
    with pytest.raises(InputError, match="holds nothing that sed_lab made"):
        prepare(["cache", str(tmp_path / "elsewhere")])


@pytest.mark.parametrize("name", ["mel.npy", "seconds.npy"])
@pytest.mark.parametrize("noted", [True, False], ids=["noted", "of an older version"])
def test_damaged_features_are_said_and_computed_again(
    tmp_path: Path, name: str, noted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, mel, cache = corpus_of(tmp_path / "a"), StandardLogMel().mel, tmp_path / "cache"
    first = cached_features(corpus, "weak", mel, SETTINGS, cache)
    expected, values = contents(first.folder), [np.array(first.load(i, 0)[1]) for i in range(5)]
    for damage in (Path.unlink, shorten):
        if not noted:
            (first.folder / NOTE).unlink()
            cached_features(corpus, "weak", refuse, SETTINGS, cache)
        capsys.readouterr()
        damage(first.folder / name)
        again = cached_features(corpus, "weak", mel, SETTINGS, cache)
        if (name, damage) != ("mel.npy", Path.unlink):
            assert f"{first.folder}: {name} is gone or damaged; computed again\n" in capsys.readouterr().err
        assert contents(first.folder) == expected
        assert all(np.array_equal(again.load(i, 0)[1], values[i]) for i in range(5))
