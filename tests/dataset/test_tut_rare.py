"""TUT Rare Sound Events 2017 on disk, in both arrangements, and mixtures made where they lack."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from sed_lab.bank.recipe import CLASSES, Mixing
from sed_lab.dataset.tut_rare import EVALTEST, read_event_list
from sed_lab.errors import InputError
from sed_lab.types import Event
from tests.configured import configured

read_tut_rare = configured("dataset/tut_rare")

RATE = 2000
SMALL = {"mixtures_per_class": 2, "seed": 7}


def put(folder: Path, subset: str, digest: str, own: bool = True) -> Path:
    """A set of two mixtures a class, the first with an event, and a withdrawn one."""
    place = folder / (f"data/mixture_data/{subset}/{digest}" if own else f"generated_data/mixtures_{subset}_{digest}")
    (place / "audio").mkdir(parents=True)
    (place / "meta").mkdir()
    for label in CLASSES:
        names = [f"mixture_{subset}_{label}_{i:03d}_abc{end}.wav" for i, end in enumerate(("", "", "_old_dontuse"))]
        rows = f"{names[0]}\t1.5\t2.25\t{label}\n{names[1]}\n{names[2]}\t1\t2\t{label}\n"
        (place / f"meta/event_list_{subset}_{label}.csv").write_text(rows)
        for name in names:
            soundfile.write(place / "audio" / name, np.zeros(30 * RATE), RATE, subtype="PCM_24")
    return place


@pytest.mark.parametrize("own", [True, False])
def test_both_arrangements(tmp_path: Path, own: bool) -> None:
    default = Mixing().folder()
    for subset, digest in (("devtrain", default), ("devtest", default), ("evaltest", EVALTEST)):
        put(tmp_path, subset, digest, own)
    corpus = read_tut_rare(tmp_path, [{}], RATE)
    assert {name: len(subset) for name, subset in corpus.subsets.items()} == {
        "synthetic": 6, "validation": 6, "devtest": 6, "test": 6,
    }  # fmt: skip
    with_event, without = corpus.subsets["test"].clips[:2]
    assert with_event.events == (Event(1.5, 2.25, "babycry"),)
    assert (without.events, without.event_labels) == ((), ())
    assert {clip.annotated for clip in corpus.subsets["test"].clips} == {(label,) for label in CLASSES}
    assert with_event.duration == 30.0


def test_training_mixtures_are_made_from_the_sources_once(tmp_path: Path) -> None:
    default = Mixing().folder()
    for subset in ("devtrain", "devtest"):
        put(tmp_path, subset, default)
    source = tmp_path / "data/source_data"
    (source / "bgs").mkdir(parents=True)
    soundfile.write(source / "bgs/b.wav", np.random.default_rng(0).normal(size=30 * RATE) * 0.1, RATE)
    events = {}
    for label in CLASSES:
        (source / "events" / label).mkdir(parents=True)
        soundfile.write(source / f"events/{label}/e.wav", np.random.default_rng(1).normal(size=RATE) * 0.1, RATE)
        events[label] = [{"audio_filename": "e.wav", "segment": [0.1, 0.6]}]
    (source / "cv_setup").mkdir()
    (source / "cv_setup/events_devtrain.yaml").write_text(yaml.safe_dump(events))
    (source / "cv_setup/bgs_devtrain.yaml").write_text(yaml.safe_dump([{"filepath": "b.wav", "classname": "bus"}]))
    with pytest.raises(
        InputError, match=rf"holds no mixtures data/mixture_data/evaltest/{EVALTEST}; unpack the evaltest"
    ):
        read_tut_rare(tmp_path, [SMALL], RATE)
    corpus = read_tut_rare(tmp_path, [{}, SMALL], RATE, test="devtest")
    assert len(corpus.subsets["synthetic"]) == 6 + 6
    made = tmp_path / "data/mixture_data/devtrain" / Mixing(mixtures_per_class=2, seed=7).folder()
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.wav")}
    assert len(before) == 6
    soundfile.write(source / "events/gunshot/e.wav", np.zeros(RATE), RATE)
    with pytest.raises(InputError, match=r"e.wav is silent there"):
        read_tut_rare(tmp_path, [{**SMALL, "seed": 8}], RATE, test="devtest")
    assert not (made.parent / Mixing(mixtures_per_class=2, seed=8).folder()).exists()
    assert not list(made.parent.glob(".*.part"))  # nothing of the one that failed
    again = read_tut_rare(tmp_path, [{}, SMALL], RATE, test="devtest")
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*.wav")} == before
    assert again.fingerprint == corpus.fingerprint


def test_missing_mixtures_are_a_warning_and_wrong_rows_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    default = Mixing().folder()
    for subset, digest in (("devtrain", default), ("devtest", default), ("evaltest", EVALTEST)):
        place = put(tmp_path, subset, digest)
    next((place / "audio").glob("*gunshot_000*")).unlink()
    with caplog.at_level(logging.WARNING):
        assert len(read_tut_rare(tmp_path, [{}], RATE).subsets["test"]) == 5
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
        read_tut_rare(tmp_path, [{}], RATE)
    with pytest.raises(InputError, match=r"mixtures have no size; known: event_presence_prob, mixtures_per_class"):
        read_tut_rare(tmp_path, [{"size": 3}], RATE)
