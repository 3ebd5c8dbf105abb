"""Corpora made on first use: whole, once, the same again, whoever kills or races whom."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from filelock import FileLock

from sed_lab.bank.base import CachedBank
from sed_lab.bank.folder import FolderBank
from sed_lab.bank.mixing import LiveSoundscapes, mix
from sed_lab.bank.room import RoomBank
from sed_lab.bank.varied import VariedBank
from sed_lab.errors import InputError
from sed_lab.types import Corpus
from tests.bank.recipes import read_recipes
from tests.configured import configured, option

soundbank = configured("dataset/soundbank")

RATE = 16000
SMALL = {"synthetic": 12, "weak": 6, "unlabelled": 5, "synthetic_validation": 4, "weak_validation": 3}
SMALL |= {"validation": 4, "test": 30}
MAKE = f"""
import sys
from sed_lab.dataset.soundbank import soundbank
settings = { ({key: value for key, value in option("dataset/soundbank").items() if key not in ("_target_", "sizes")})!r}
sizes = dict.fromkeys(["weak", "unlabelled", "synthetic_validation", "weak_validation", "validation", "test"], 3)
corpus = soundbank(sys.argv[1], sys.argv[2], sizes={{"synthetic": int(sys.argv[3]), **sizes}}, **settings)
print(corpus.fingerprint)
"""


@pytest.fixture(scope="module")
def bank_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bank")
    for label, seconds in (("beep", 0.5), ("saw", 3.0), ("rain", 2.0)):
        (folder / label).mkdir()
        for i in range(6 + (label == "saw")):
            sound = 0.1 * np.random.default_rng((i, len(label))).standard_normal(round(seconds * RATE))
            soundfile.write(folder / label / f"{label}{i}.wav", sound, RATE)
    return folder


@pytest.fixture(scope="module")
def corpus(bank_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return soundbank(bank_folder, tmp_path_factory.mktemp("cache"), sizes=SMALL, empty_share=0.3)


def folder_of(corpus: Corpus) -> Path:
    return corpus.subsets["test"].clips[0].path.parents[3]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_subsets_and_their_labels(corpus: Corpus) -> None:
    assert {name: len(subset) for name, subset in corpus.subsets.items()} == SMALL
    assert corpus.classes == ("beep", "saw")
    assert corpus.source_clips == {"beep": 4, "saw": 5}
    labels = {
        name: (subset.clips[0].events is not None, subset.clips[0].event_labels is not None, subset.clips[0].synthetic)
        for name, subset in corpus.subsets.items()
    }
    assert labels == {
        "synthetic": (True, True, True),
        "weak": (False, True, False),
        "unlabelled": (False, False, False),
        "synthetic_validation": (True, True, True),
        "weak_validation": (False, True, False),
        "validation": (True, True, False),
        "test": (True, True, False),
    }
    assert all(clip.events for clip in corpus.subsets["synthetic"].clips)
    assert all(clip.event_labels for clip in corpus.subsets["weak"].clips)
    assert 3 <= sum(not clip.events for clip in corpus.subsets["test"].clips) <= 17  # 30 x 0.3
    clip, audio = corpus.subsets["test"].load(1, 0)
    assert (audio.shape, clip.duration) == ((10 * RATE,), 10.0)


def test_recipes_beside_the_audio_make_it_again(corpus: Corpus, bank_folder: Path) -> None:
    cut = FolderBank(bank_folder, max_gap_seconds=0.3, range_db=20.0)  # the defaults of `soundbank`
    bank = CachedBank(VariedBank(cut, variants=4))
    for subset, split in (("synthetic", "train"), ("weak", "train"), ("validation", "validation"), ("test", "test")):
        recipes = read_recipes(folder_of(corpus) / "recipes" / f"{subset}.jsonl")
        assert {recipe.split for recipe in recipes} == {split}
        for recipe, clip in zip(recipes, corpus.subsets[subset].clips, strict=True):
            audio, events = mix(recipe, bank)
            np.testing.assert_allclose(soundfile.read(clip.path, dtype="float32")[0], audio, atol=0.51 / 32768)
            assert clip.clip_id == recipe.clip_id
            if clip.events is not None:
                assert clip.events == events
            if subset == "weak":
                assert set(clip.event_labels or ()) == {event.event_label for event in events}
    levels = {
        s: [e.snr for r in read_recipes(folder_of(corpus) / "recipes" / f"{s}.jsonl") for e in r.events] for s in SMALL
    }
    for of_subset in levels.values():
        assert 10 <= min(of_subset) <= max(of_subset) <= 30


def test_made_once_and_again_where_settings_differ(corpus: Corpus, bank_folder: Path, work_shown: list[str]) -> None:
    cache = folder_of(corpus).parent
    before = contents(cache)
    assert soundbank(bank_folder, cache, sizes=SMALL, empty_share=0.3).fingerprint == corpus.fingerprint
    assert contents(cache) == before
    assert not [said for said in work_shown if said.startswith("making")]
    few = dict.fromkeys(SMALL, 1)
    one = soundbank(bank_folder, cache, sizes=few)
    assert soundbank(bank_folder, cache, sizes=few, seed=1).fingerprint != one.fingerprint
    assert [said for said in work_shown if said.startswith("making soundbank-")]
    folders = [path for path in cache.iterdir() if path.is_dir()]
    assert len(folders) == 3
    assert json.loads((folder_of(one) / "settings.json").read_text())["sizes"] == few


def test_recordings_replaced_by_others_of_their_size_make_it_again(
    bank_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bank, cache, sizes = tmp_path / "bank", tmp_path / "cache", {"test": 3}
    shutil.copytree(bank_folder, bank)
    first = soundbank(bank, cache, sizes=sizes)
    capsys.readouterr()
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    before = {path.name: path.read_bytes() for path in folder.rglob("*.wav")}
    shutil.copytree(bank_folder, tmp_path / "moved")  # written again, of the same bytes
    os.utime(bank / "saw" / "saw0.wav")
    for same in (bank, tmp_path / "moved"):
        assert soundbank(same, cache, sizes=sizes).fingerprint == first.fingerprint
    (folder / ".source").unlink()  # as an older version left it
    assert soundbank(bank, cache, sizes=sizes).fingerprint == first.fingerprint
    assert capsys.readouterr().err == ""
    for path in bank.glob("*/*.wav"):
        sound, rate = soundfile.read(path)
        soundfile.write(path, sound[::-1], rate)
    other = soundbank(bank, cache, sizes=sizes)
    assert "was replaced since; made again" in capsys.readouterr().err
    assert other.fingerprint != first.fingerprint
    assert [path for path in cache.iterdir() if path.is_dir()] == [folder]  # the same corpus of the same settings
    after = {path.name: path.read_bytes() for path in folder.rglob("*.wav")}
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in before)
    next(folder.rglob("*.wav")).unlink()
    assert soundbank(bank, cache, sizes=sizes).fingerprint == other.fingerprint  # made again for another reason
    assert soundbank(bank_folder, cache, sizes=sizes).fingerprint != other.fingerprint  # the first ones are back


def test_statistics_decide_which_classes_meet(bank_folder: Path, tmp_path: Path) -> None:
    table = {"beep": {"proba": 1, "co-occurences": {"max_events": 3, "classes": ["beep"], "probas": [1]}}}
    (tmp_path / "meets.json").write_text(json.dumps(table))
    corpus = soundbank(bank_folder, tmp_path, sizes=dict.fromkeys(SMALL, 4), statistics=tmp_path / "meets.json")
    assert {e.event_label for clip in corpus.subsets["synthetic"].clips for e in clip.events or ()} == {"beep"}


def test_live_subset_is_mixed_anew(bank_folder: Path, tmp_path: Path) -> None:
    corpus = soundbank(bank_folder, tmp_path, sizes=dict.fromkeys(SMALL, 2), live=True)
    assert next(iter(corpus.subsets)) == "synthetic"
    live = corpus.subsets["synthetic"]
    assert isinstance(live, LiveSoundscapes)
    assert len(live) == 2
    assert live.load(0, 0)[0].events != live.load(0, 1)[0].events
    assert not (folder_of(corpus) / "audio" / "train" / "synthetic21_train").exists()
    other = soundbank(bank_folder, tmp_path, sizes={**dict.fromkeys(SMALL, 2), "synthetic": 3}, live=True)
    assert other.fingerprint != corpus.fingerprint
    assert folder_of(other) == folder_of(corpus)


def test_a_killed_process_leaves_no_trace(bank_folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "killed"
    command = [sys.executable, "-c", MAKE, str(bank_folder), str(cache), "300"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not list(cache.glob(".*.part/audio/train/*/soundscapes/*9.wav")):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert list(cache.glob(".soundbank-*.part"))
    assert not list(cache.glob("soundbank-*"))
    sizes = {**dict.fromkeys(SMALL, 3), "synthetic": 300}
    again = soundbank(bank_folder, cache, sizes=sizes)
    untouched = soundbank(bank_folder, tmp_path / "untouched", sizes=sizes)
    assert again.fingerprint == untouched.fingerprint
    assert contents(folder_of(again)) == contents(folder_of(untouched))
    assert not list(cache.glob(".*.part"))


def test_two_processes_make_one_corpus(bank_folder: Path, tmp_path: Path) -> None:
    at_once = "import sed_lab.waiting\nsed_lab.waiting.FIRST = 0.0\n"  # it is said, however short it takes
    command = [sys.executable, "-c", at_once + MAKE, str(bank_folder), str(tmp_path), "20"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    results = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert results[0][0] == results[1][0]
    assert len(results[0][0].strip()) == 64
    made = [err for _, err in results if re.search(r"making soundbank-\w+: took", err)]
    assert len(made) == 1  # the other one only waited or read
    assert len(list(tmp_path.glob("soundbank-*"))) == 1


def test_a_second_process_says_that_it_waits(bank_folder: Path, tmp_path: Path) -> None:
    sizes = dict.fromkeys(SMALL, 1)
    name = folder_of(soundbank(bank_folder, tmp_path / "first", sizes=sizes)).name
    cache = tmp_path / "second"
    cache.mkdir()
    code = MAKE.replace('"synthetic": int(sys.argv[3]), **sizes', '"synthetic": 1, **dict.fromkeys(sizes, 1)')
    with FileLock(cache / f".{name}.lock"):
        command = [sys.executable, "-c", code, str(bank_folder), str(cache)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert process.stderr.readline() == f"another process is making {cache / name}; waiting for it\n"
        assert not (cache / name).exists()
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert (cache / name).is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": {"trian": 3}}, "sizes names unknown subsets trian; known are synthetic, weak"),
        ({"sizes": {"weak": -1, "test": 2.5}}, "sizes: weak: -1, test: 2.5 must be a whole number"),
        ({"sizes": dict.fromkeys(SMALL, 0)}, "every subset has size 0"),
        ({"snr": ["uniform", 30, 6]}, "snr: .* low bound above its high bound"),
        ({"real_snr": ["normal", 3]}, "real_snr: .* needs the form"),
        ({"classes": ["cat"]}, "has no class cat"),
        ({"statistics": "none.json"}, "none.json does not exist"),
    ],
)
def test_wrong_arguments(arguments: dict, message: str, bank_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        soundbank(bank_folder, tmp_path, **{"sizes": SMALL, **arguments})
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_folder_that_cannot_be_written_to(bank_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot make .*soundbank-.*; free some space or choose another folder"):
        soundbank(bank_folder, tmp_path / "file" / "cache", sizes=SMALL)


def test_rooms_colour_events_and_keep_their_length(bank_folder: Path) -> None:
    bank = FolderBank(bank_folder)
    room, again, other = RoomBank(bank, 1), RoomBank(bank, 1), RoomBank(bank, 2)
    dry, wet = bank.event("train", "saw", 0), room.event("train", "saw", 0)
    assert wet.shape == dry.shape
    assert wet.dtype == np.float32
    np.testing.assert_array_equal(wet, again.event("train", "saw", 0))
    assert np.abs(wet - other.event("train", "saw", 0)).max() > 0.01
    assert np.abs(wet).max() <= 1
    # The direct sound leads: the room's answer correlates best with no delay.
    lags = [np.dot(wet[lag:], dry[: len(dry) - lag]) for lag in range(400)]
    assert int(np.argmax(np.abs(lags))) == 0
    assert room.background("test", 0, 4.0).shape == (4 * RATE,)
    assert room.event_count("train", "saw") == bank.event_count("train", "saw")


@pytest.mark.slow
def test_esc10_with_rooms(esc10: Path, tmp_path: Path) -> None:
    corpus = soundbank(esc10, tmp_path, sizes=dict.fromkeys(SMALL, 20), room=True)
    assert corpus.classes == ("Baby_cry", "Clock_tick", "Dog_bark", "Person_sneeze", "Rooster")
    labels = {e.event_label for clip in corpus.subsets["test"].clips for e in clip.events or ()}
    assert labels == set(corpus.classes)
