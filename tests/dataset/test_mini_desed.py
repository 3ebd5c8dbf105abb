"""The embedded corpus: DESED's shape in small, made once, whole after a kill, the same for two makers."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sed_lab.bank.soundscape import Specification, draw_recipe
from sed_lab.clip.corpus import class_statistics
from sed_lab.dataset.desed import CLASSES
from sed_lab.dataset.mini_desed import desed_occurrence
from sed_lab.errors import InputError
from tests.configured import configured, option

mini_desed = configured("dataset/mini_desed")

SIZES = {
    "synthetic": 16, "weak": 3, "unlabelled": 3, "synthetic_validation": 2, "weak_validation": 2, "validation": 2,
    "test": 20,
}  # fmt: skip
GIVEN = {key: value for key, value in option("dataset/mini_desed").items() if key != "_target_"}
GIVEN |= {"sizes": SIZES, "bank_share": 0.05}
CODE = f"from sed_lab.dataset.mini_desed import mini_desed; print(mini_desed(FOLDER, **{GIVEN}).fingerprint)"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def made(cache: Path) -> Path:
    (folder,) = (path for path in cache.iterdir() if path.is_dir() and not path.name.startswith("."))
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    mini_desed(folder, SIZES, bank_share=0.05)
    return folder


def test_subsets_labels_and_domains(cache: Path) -> None:
    corpus = mini_desed(cache, SIZES, bank_share=0.05)
    assert {name: len(subset) for name, subset in corpus.subsets.items()} == SIZES
    assert corpus.classes == CLASSES
    kinds = {
        name: (subset.clips[0].events is not None, subset.clips[0].event_labels is not None)
        for name, subset in corpus.subsets.items()
    }
    assert kinds["synthetic"][0]
    assert kinds["test"][0]
    assert kinds["weak"] == (False, True)
    assert kinds["unlabelled"] == (False, False)
    assert any(not clip.events for clip in corpus.subsets["test"].clips)  # clips without events are there
    clip, audio = corpus.subsets["test"].load(0, 0)
    assert audio.shape == (160000,)
    assert np.isfinite(audio).all()
    assert clip.duration == pytest.approx(10)
    assert corpus.source_clips is not None
    assert corpus.source_clips["Alarm_bell_ringing"] > corpus.source_clips["Frying"]


def test_what_makes_desed_unbalanced_survives() -> None:
    # 400 recipes, drawn but not mixed: two events in five are Speech; long classes last nearly the whole clip
    from sed_lab.bank.procedural.bank import ProceduralBank

    class Lengths(ProceduralBank):
        """Sounds of the right mean length without their synthesis."""

        def event(self, split: str, event_label: str, index: int) -> np.ndarray:
            from sed_lab.bank.procedural.bank import SOUNDS

            return np.zeros(int(SOUNDS[event_label][1] * 16000), np.float32)

    spec, bank = Specification(desed_occurrence()), Lengths()
    events = [e for i in range(400) for e in draw_recipe(spec, bank, "train", "synthetic", i, 0).labels()]
    count = {label: sum(e.event_label == label for e in events) for label in CLASSES}
    assert count["Speech"] > 1.5 * max(n for label, n in count.items() if label != "Speech")
    assert 0.3 < count["Speech"] / len(events) < 0.6
    mean = {c: np.mean([e.offset - e.onset for e in events if e.event_label == c]) for c in CLASSES}
    assert min(mean[c] for c in ("Frying", "Vacuum_cleaner", "Electric_shaver_toothbrush")) > 7
    assert max(mean[c] for c in ("Dishes", "Dog", "Cat", "Alarm_bell_ringing")) < 2


def test_statistics_feed_the_time_balanced_loss(cache: Path) -> None:
    corpus = mini_desed(cache, SIZES, bank_share=0.05)
    statistics = class_statistics(corpus.subsets["synthetic"], corpus.classes, 0.064, 156, corpus.source_clips)
    assert statistics.active_frames.sum() > 0
    assert statistics.source_clips is not None
    assert statistics.total_frames == SIZES["synthetic"] * 156


def test_made_once_and_the_same_in_another_folder(cache: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made(cache).rglob("*.wav")}
    mini_desed(cache, SIZES, bank_share=0.05)
    assert {path: path.stat().st_mtime_ns for path in made(cache).rglob("*.wav")} == before
    few = dict.fromkeys(SIZES, 1)
    first, second = (mini_desed(tmp_path / name, few, bank_share=0.05) for name in ("a", "b"))
    assert first.fingerprint == second.fingerprint
    assert files(made(tmp_path / "a")) == files(made(tmp_path / "b"))


@pytest.mark.slow  # the mechanism is test_soundbank's, whose corpus is made faster
def test_killed_half_way_then_whole(cache: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE.replace("FOLDER", repr(str(tmp_path)))], stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 300
    while time.monotonic() < until and not list(tmp_path.glob(".*.part/**/*.wav")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    mini_desed(tmp_path, SIZES, bank_share=0.05)
    assert files(made(tmp_path)) == files(made(cache))
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.slow  # the mechanism is test_soundbank's, whose corpus is made faster
def test_two_makers_at_once_make_one(cache: Path, tmp_path: Path) -> None:
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", CODE.replace("FOLDER", repr(str(tmp_path)))], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    prints = {maker.communicate(timeout=600)[0].split()[-1] for maker in makers}
    assert len(prints) == 1
    assert files(made(tmp_path)) == files(made(cache))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bank_share": 0.0}, "bank_share=0.0 must be above 0"),
        ({"sizes": {"tests": 3}}, "unknown subsets tests"),
        ({"snr": ["uniform", 1]}, "snr"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, arguments: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=message):
        mini_desed(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_test_set_of_the_synthetic_domain_where_it_is_asked_for(tmp_path: Path) -> None:
    nothing = dict.fromkeys(SIZES, 0)
    corpus = mini_desed(tmp_path, {**nothing, "test": 2, "synthetic_test": 3}, bank_share=0.05)
    assert {name: len(subset) for name, subset in corpus.subsets.items()} == {"test": 2, "synthetic_test": 3}
    assert [clip.synthetic for clip in corpus.subsets["synthetic_test"].clips] == [True] * 3
    assert all(clip.events is not None for clip in corpus.subsets["synthetic_test"].clips)
    assert not any(clip.synthetic for clip in corpus.subsets["test"].clips)
