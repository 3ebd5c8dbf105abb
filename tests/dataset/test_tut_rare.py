"""TUT Rare Sound Events 2017 on disk, in both arrangements, and mixtures made where they lack."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from sed_lab.bank.recipe import CLASSES, Mixing
from sed_lab.dataset.tut_rare import EVALTEST, read_event_list
from sed_lab.errors import InputError
from sed_lab.types import Event
from tests.configured import configured, option

read_tut_rare = configured("dataset/tut_rare")

RATE = 2000
SMALL: dict[str, Any] = {"mixtures_per_class": 2, "seed": 7}


BASELINE = "0367e094f3f5c81ef017d128ebff4a3c"  # of the default parameters, as the baseline system computes it


def put(folder: Path, subset: str, digest: str, own: bool = True) -> Path:
    """A set of two mixtures a class, the first with an event, and a withdrawn one."""
    place = folder / (f"data/mixture_data/{subset}/{digest}" if own else f"generated_data/mixtures_{subset}_{digest}")
    (place / "audio").mkdir(parents=True)
    (place / "meta").mkdir()
    for label in CLASSES:
        names = [f"mixture_{subset}_{label}_{i:03d}_abc{end}.wav" for i, end in enumerate(("", "", "_old_dontuse"))]
        head = "" if own else f"generated_data/mixtures_{subset}_{digest}/audio/"
        rows = f"{head}{names[0]}\t1.5\t2.25\t{label}\n{head}{names[1]}\n{head}{names[2]}\t1\t2\t{label}\n"
        (place / f"meta/event_list_{subset}_{label}.csv").write_text(rows)
        for name in names:
            soundfile.write(place / "audio" / name, np.zeros(30 * RATE), RATE, subtype="PCM_24")
    return place


def put_all(folder: Path) -> Path:
    """The published sets, and training mixtures of another seed; gives the evaluation set's folder."""
    default = Mixing().folder()
    sets = [("devtrain", Mixing(**SMALL).folder()), ("devtrain", default), ("devtest", default), ("evaltest", EVALTEST)]
    return [put(folder, subset, digest) for subset, digest in sets][-1]


def put_sources(folder: Path) -> Path:
    """Source data of both subsets: one background, and one event a class."""
    source = folder / "data/source_data"
    (source / "bgs").mkdir(parents=True)
    soundfile.write(source / "bgs/b.wav", np.random.default_rng(0).normal(size=30 * RATE) * 0.1, RATE)
    events = {}
    for label in CLASSES:
        (source / "events" / label).mkdir(parents=True)
        soundfile.write(source / f"events/{label}/e.wav", np.random.default_rng(1).normal(size=RATE) * 0.1, RATE)
        events[label] = [{"audio_filename": "e.wav", "segment": [0.1, 0.6]}]
    (source / "cv_setup").mkdir()
    for subset in ("devtrain", "devtest"):
        (source / f"cv_setup/events_{subset}.yaml").write_text(yaml.safe_dump(events))
        (source / f"cv_setup/bgs_{subset}.yaml").write_text(yaml.safe_dump([{"filepath": "b.wav", "classname": "bus"}]))
    return source


def test_the_published_arrangement_and_the_baseline_s(tmp_path: Path) -> None:
    put_all(tmp_path / "one")
    for subset in ("devtrain", "devtest"):
        put(tmp_path / "two-development", subset, BASELINE, own=False)
    put(tmp_path / "two-development", "devtrain", Mixing(**SMALL).baseline_folder(), own=False)
    put(tmp_path / "two-evaluation", "evaltest", EVALTEST)  # where its archives unpack
    for folder in (tmp_path / "one", tmp_path / "two-development"):
        corpus = read_tut_rare(folder, [SMALL], RATE)
        assert {name: len(subset) for name, subset in corpus.subsets.items()} == {
            "synthetic": 6, "validation": 6, "devtest": 6, "test": 6,
        }  # fmt: skip
        with_event, without = corpus.subsets["test"].clips[:2]
        assert with_event.events == (Event(1.5, 2.25, "babycry"),)
        assert (without.events, without.event_labels) == ((), ())
        assert {clip.annotated for clip in corpus.subsets["test"].clips} == {(label,) for label in CLASSES}
        assert with_event.duration == 30.0


def test_validation_mixtures_do_not_train(tmp_path: Path) -> None:
    put_all(tmp_path)
    corpus = read_tut_rare(tmp_path, [SMALL], RATE)
    paths = [{clip.path for clip in corpus.subsets[name].clips} for name in ("synthetic", "validation")]
    assert not paths[0] & paths[1]
    with pytest.raises(InputError, match=r"dataset.train names the default mixtures \(seed 42\), which validate"):
        read_tut_rare(tmp_path, [SMALL, {}], RATE)
    given = option("dataset/tut_rare")["train"]  # twice the default's number, none of them the default's
    assert [one["mixtures_per_class"] for one in given] == [500, 500]
    assert 42 not in {one["seed"] for one in given}
    assert len({one["seed"] for one in given}) == 2


def test_training_and_development_mixtures_are_made_from_the_sources_once(tmp_path: Path, monkeypatch: Any) -> None:
    source = put_sources(tmp_path)
    monkeypatch.setattr("sed_lab.dataset.tut_rare.DEFAULT", Mixing(mixtures_per_class=4))
    with pytest.raises(InputError, match=rf"no mixtures data/mixture_data/evaltest/{EVALTEST}; unpack .*test=devtest"):
        read_tut_rare(tmp_path, [SMALL], RATE)
    assert not (tmp_path / "data/mixture_data").exists()  # noticed before anything is mixed
    corpus = read_tut_rare(tmp_path, [SMALL], RATE, test="devtest")
    assert {name: len(subset) for name, subset in corpus.subsets.items()} == {
        "synthetic": 6, "validation": 12, "devtest": 12, "test": 12,
    }  # fmt: skip
    made = tmp_path / "data/mixture_data/devtrain" / Mixing(**SMALL).folder()
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.wav")}
    assert len(before) == 6
    assert (tmp_path / "data/mixture_data/devtest" / Mixing(mixtures_per_class=4).folder()).is_dir()
    soundfile.write(source / "events/gunshot/e.wav", np.zeros(RATE), RATE)
    with pytest.raises(InputError, match=r"e.wav is silent there"):
        read_tut_rare(tmp_path, [{**SMALL, "seed": 8}], RATE, test="devtest")
    assert not (made.parent / Mixing(mixtures_per_class=2, seed=8).folder()).exists()
    assert not list(made.parent.glob(".*.part"))  # nothing of the one that failed
    again = read_tut_rare(tmp_path, [SMALL], RATE, test="devtest")
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*.wav")} == before
    assert again.fingerprint == corpus.fingerprint


def test_a_wrong_folder_and_missing_sources_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not TUT Rare Sound Events 2017: it holds neither data/source_data nor"):
        read_tut_rare(tmp_path, [SMALL], RATE)
    put(tmp_path, "evaltest", EVALTEST)
    digest = Mixing(**SMALL).folder()
    with pytest.raises(
        InputError, match=rf"no mixtures data/mixture_data/devtrain/{digest}, and no events_devtrain.yaml and bgs_"
    ):
        read_tut_rare(tmp_path, [SMALL], RATE)


def test_missing_mixtures_are_a_warning_and_wrong_rows_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = put_all(tmp_path)
    next((place / "audio").glob("*gunshot_000*")).unlink()
    with caplog.at_level(logging.WARNING):
        assert len(read_tut_rare(tmp_path, [SMALL], RATE).subsets["test"]) == 5
    assert f"{place}: 5 of 6 listed mixtures found; scores are of these only" in caplog.text
    path = place / "meta/event_list_evaltest_gunshot.csv"
    for row, message in (
        ("a.wav\t2\t1\tgunshot", "needs 0 <= onset < offset"),
        ("a.wav\t1\t2\tbabycry", "label 'babycry' in the list of gunshot"),
        ("a.wav\t1", "not enough values"),
    ):
        path.write_text(f"b.wav\n{row}\n")
        with pytest.raises(InputError, match=rf"gunshot.csv, line 2: .*{message}"):
            read_event_list(path, "gunshot")
    path.unlink()
    with pytest.raises(InputError, match=r"event_list_evaltest_gunshot.csv does not exist; restore the lists"):
        read_tut_rare(tmp_path, [SMALL], RATE)
    with pytest.raises(InputError, match=r"mixtures have no size; known: event_presence_prob, mixtures_per_class"):
        read_tut_rare(tmp_path, [{"size": 3}], RATE)
