"""Banks from folders: events cut where they are, folds kept apart, every mistake named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sed_lab.bank.base import SPLITS, CachedBank, active_runs, loop
from sed_lab.bank.folder import FolderBank, find_recordings, identifier
from sed_lab.bank.procedural.bank import ProceduralBank
from sed_lab.errors import InputError

RATE = 16000


def noise(seconds: float, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), dtype=np.float32)


def write(path: Path, *parts: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(parts), rate, subtype="FLOAT")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two event classes and a background of five sources each, without folds."""
    for i in range(5):
        write(tmp_path / "001 - Dog bark" / f"d{i}.wav", silence(0.5), noise(0.4, i), silence(0.6), noise(0.3, i + 9))
        write(tmp_path / "door bell" / f"b{i}.wav", noise(0.5, i + 20))
        write(tmp_path / "Rain" / f"r{i}.wav", noise(1.0, i + 40))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [("001 - Dog bark", "Dog_bark"), ("Fire crackling", "Fire_crackling"), ("sea-waves!", "sea_waves"), ("7", "7")],
)
def test_identifier(name: str, cleaned: str) -> None:
    assert identifier(name) == cleaned


def test_runs_are_where_the_sound_is() -> None:
    audio = np.concatenate(
        [silence(0.5), noise(0.4), silence(0.15), noise(0.3), silence(1.0), noise(0.25), silence(0.2)]
    )
    runs = np.array(active_runs(audio, RATE, max_gap_seconds=0.2)) / RATE
    # The gap of 0.15 s is bridged, that of 1.0 s is not.
    np.testing.assert_allclose(runs, [[0.5, 1.35], [2.35, 2.6]], atol=0.0101)


def test_runs_follow_the_range_and_drop_the_short() -> None:
    quiet = noise(0.3, level=0.1 * 10 ** (-50 / 20))
    audio = np.concatenate([noise(0.5), silence(0.5), quiet, silence(0.5), noise(0.05)])
    assert len(active_runs(audio, RATE, range_db=40)) == 1
    assert len(active_runs(audio, RATE, range_db=60)) == 2
    assert len(active_runs(audio, RATE, range_db=60, min_seconds=0.02)) == 3
    # Only short ones: the longest stays.
    audio = np.concatenate([noise(0.03), silence(0.5), noise(0.05), silence(0.1)])
    assert np.array(active_runs(audio, RATE, min_seconds=0.2)) / RATE == pytest.approx(np.array([[0.53, 0.58]]))
    assert active_runs(silence(1), RATE) == []


def test_loop_has_no_seam() -> None:
    sine = np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE).astype(np.float32)
    long = loop(sine, 5 * RATE, RATE)
    assert len(long) == 5 * RATE
    np.testing.assert_array_equal(long[: RATE // 2], sine[: RATE // 2])
    steps = np.abs(np.diff(long))
    assert steps.max() < 1.5 * np.abs(np.diff(sine)).max()
    np.testing.assert_array_equal(loop(sine, 100, RATE), sine[:100])


def test_folder_of_classes(folder: Path) -> None:
    bank = FolderBank(folder)
    assert bank.classes == ("Dog_bark", "door_bell")
    assert bank.source_clips() == {"Dog_bark": 3, "door_bell": 3}
    assert [bank.event_count(split, "Dog_bark") for split in SPLITS] == [6, 2, 2]  # two barks a recording
    assert [bank.background_count(split) for split in SPLITS] == [3, 1, 1]
    lengths = sorted(len(bank.event("test", "Dog_bark", i)) / RATE for i in range(2))
    np.testing.assert_allclose(lengths, [0.3, 0.4], atol=0.0201)
    assert bank.event("train", "door_bell", 0).dtype == np.float32
    assert bank.background("train", 0, 2.5).shape == (round(2.5 * RATE),)


def test_splits_share_no_source(folder: Path) -> None:
    # Two takes of one recording stay together.
    for i in range(5):
        for take in "AB":
            write(folder / "door bell" / f"take{i}-{take}.wav", noise(0.5, 60 + i))
    bank = FolderBank(folder, seed=3)
    paths = {split: bank.paths(split) for split in SPLITS}
    assert sum(map(len, paths.values())) == 25
    assert len(set.union(*paths.values())) == 25
    sources = [{path.stem.removesuffix("-A").removesuffix("-B") for path in paths[split]} for split in SPLITS]
    assert sum(map(len, sources)) == 20
    assert FolderBank(folder, seed=3).paths("test") == paths["test"]
    assert any(FolderBank(folder, seed=seed).paths("test") != paths["test"] for seed in range(4))


def test_backgrounds_by_name_by_steadiness_and_by_choice(folder: Path) -> None:
    for i in range(3):
        write(folder / "hall" / f"h{i}.wav", noise(1.0, 80 + i))
    assert FolderBank(folder).classes == ("Dog_bark", "door_bell", "hall")
    assert FolderBank(folder, backgrounds=["ha*"]).classes == ("Dog_bark", "Rain", "door_bell")
    assert FolderBank(folder, classes=["door bell", "Rain"]).background_count("test") == 1  # hall: active all the time
    assert FolderBank(folder, classes=["door bell", "Dog bark"]).classes == ("door_bell", "Dog_bark")


def test_esc50_layout(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    top = tmp_path_factory.mktemp("esc50")
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for category in ("dog", "rain"):
            name = f"{fold}-{fold}00-A-{category == 'rain':d}.wav"
            write(top / "audio" / name, noise(0.5, fold), rate=RATE)
            rows.append(f"{name},{fold},0,{category},True,{fold}00,A")
    (top / "meta").mkdir()
    (top / "meta" / "esc50.csv").write_text("\n".join(rows))
    bank = FolderBank(top)
    assert (bank.classes, bank.source_clips()) == (("dog",), {"dog": 3})
    assert {path.name[0] for path in bank.paths("validation")} == {"4"}
    assert {path.name[0] for path in bank.paths("test")} == {"5"}
    assert FolderBank(top, folds={"train": [5], "validation": [2], "test": [1]}).paths("train") == {
        top / "audio" / "5-500-A-0.wav",
        top / "audio" / "5-500-A-1.wav",
    }
    (top / "audio" / "3-300-A-0.wav").unlink()
    with pytest.raises(InputError, match=r"lacks 3-300-A-0.wav listed in"):
        FolderBank(top)
    (top / "meta" / "esc50.csv").write_text("filename,fold\nx.wav,1\n")
    with pytest.raises(InputError, match="needs the columns category, filename, fold, src_file"):
        FolderBank(top)


def test_what_is_wrong_with_a_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(InputError, match="is not a folder; name one"):
        FolderBank(folder / "none")
    with pytest.raises(InputError, match="holds no audio; expected"):
        FolderBank(tmp_path_factory.mktemp("empty"))
    with pytest.raises(InputError, match="has no class cat; it has Dog_bark, Rain, door_bell"):
        FolderBank(folder, classes=["cat"])
    with pytest.raises(InputError, match=r"has no background among Dog_bark.*looked for sea\*"):
        FolderBank(folder, backgrounds=["sea*"])
    with pytest.raises(InputError, match="has only backgrounds"):
        FolderBank(folder, backgrounds=["*"])
    with pytest.raises(InputError, match="has no fold 1, 2, 3; it has none"):
        FolderBank(folder, folds={"train": [1], "validation": [2], "test": [3]})
    with pytest.raises(InputError, match="folds names train; it needs train, validation, test"):
        FolderBank(folder, folds={"train": [1]})
    with pytest.raises(InputError, match="uses a fold twice"):
        FolderBank(folder, folds={"train": [1], "validation": [1], "test": [3]})
    for i in range(2, 5):
        (folder / "door bell" / f"b{i}.wav").unlink()
    with pytest.raises(InputError, match="no recording of door_bell in validation, door_bell in test; add"):
        FolderBank(folder)
    for name in ("b0.wav", "b1.wav"):
        (folder / "door bell" / name).write_bytes(b"no audio")
    with pytest.raises(InputError, match=r"2 of 12 audio files cannot be used: .*b0\.wav.*b1\.wav"):
        FolderBank(folder)


def test_the_roles_are_said_and_embedded_backgrounds_stand_in(folder: Path) -> None:
    assert FolderBank(folder).roles().startswith("events: Dog_bark, door_bell; backgrounds: Rain (by its name); ")
    named = FolderBank(folder, classes=["Dog bark"], backgrounds=["door bell"])
    assert named.why_background == {"door_bell": "dataset.backgrounds"}
    for i, path in enumerate(sorted((folder / "door bell").iterdir())):
        write(path, noise(0.2, i), silence(0.8), noise(0.2, i))
    (folder / "Rain").rename(folder / "Whirr")
    assert FolderBank(folder).why_background.keys() == {"Whirr"}
    assert FolderBank(folder).why_background["Whirr"].startswith("steady, ")
    shutil.rmtree(folder / "Whirr")
    bank, embedded = FolderBank(folder, seed=3), ProceduralBank((), "real", 16000, 3)
    assert "backgrounds: the embedded ones" in bank.roles()
    for split in SPLITS:
        assert bank.background_count(split) == embedded.background_count(split) > 1
        np.testing.assert_array_equal(bank.background(split, 1, 2.0), embedded.background(split, 1, 2.0))


def test_cached_bank_decodes_once_and_keeps_to_its_limit(folder: Path) -> None:
    calls = []

    class Counting(FolderBank):
        def event(self, split: str, event_label: str, index: int) -> np.ndarray:
            calls.append(index)
            return super().event(split, event_label, index)

    bank = Counting(folder)
    cached = CachedBank(bank)
    first = cached.event("train", "door_bell", 0)
    assert cached.event("train", "door_bell", 0) is first
    assert calls == [0]
    with pytest.raises(ValueError, match="read-only"):
        first += 1
    tiny = CachedBank(bank, megabytes=1e-6)
    again = [tiny.event("train", "door_bell", index) for index in (0, 1, 0)]
    assert calls == [0, 0, 1, 0]
    np.testing.assert_array_equal(again[0], again[2])
    assert cached.event_count("test", "Dog_bark") == bank.event_count("test", "Dog_bark")
    assert cached.background("test", 0, 1.0) is cached.background("test", 0, 1.0)


def test_esc10_folds_are_disjoint(esc10: Path) -> None:
    bank = FolderBank(esc10)
    assert bank.classes == ("Baby_cry", "Clock_tick", "Dog_bark", "Person_sneeze", "Rooster")
    folds = {split: {path.name[0] for path in bank.paths(split)} for split in SPLITS}
    assert folds["test"] == {"4"}
    assert folds["train"] | folds["validation"] == {"1", "2", "3"}
    sources = {split: {path.name.split("-")[1] for path in bank.paths(split)} for split in SPLITS}
    assert not sources["train"] & sources["validation"]
    assert not sources["test"] & (sources["train"] | sources["validation"])
    assert len(find_recordings(esc10)) == 10 * 4 * 2 + 3 * 4  # three classes have a second take
    assert sum(len(bank.paths(split)) for split in SPLITS) == 92
    assert [bank.background_count(split) for split in SPLITS] == [25, 5, 10]  # one source in six of each class is held
    assert set(bank.source_clips().values()) == {5}
    lengths = [len(bank.event("test", "Rooster", i)) / RATE for i in range(2)]
    np.testing.assert_allclose(lengths, 20000 / 44100, atol=0.0201)
