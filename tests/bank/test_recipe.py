"""The recipe of TUT Rare Sound Events 2017 against a generator stepped by hand, and what its mixtures hold."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from sed_lab.bank.recipe import LEVEL, Mixing, Recipe, draw_recipes, named, render, write_mixtures
from sed_lab.errors import InputError

RATE = 2000
EVENTS = {
    "babycry": [
        {"audio_filename": f"cry{i}.wav", "segment": [0.25 * i, 0.25 * i + length]}
        for i, length in enumerate((2.5, 1.0, 3.0))
    ],
    "gunshot": [{"audio_filename": "shot.wav", "segment": [0.0, 0.5]}],
}
GROUNDS = [
    {"filepath": f"bg{i}.wav", "classname": name, "classid": i} for i, name in enumerate(("beach", "bus", "park"))
]
CLASSES = ("babycry", "gunshot")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A made source folder: other levels in every recording, so that gains matter."""
    top, rng = tmp_path / "source_data", np.random.default_rng(0)
    for number, ground in enumerate(GROUNDS):
        place = top / "bgs" / str(ground["filepath"])
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, rng.normal(size=30 * RATE) * 0.03 * (number + 1), RATE, subtype="FLOAT")
    for label, events in EVENTS.items():
        for number, event in enumerate(events):
            place = top / "events" / label / str(event["audio_filename"])
            place.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(place, rng.normal(size=5 * RATE) * 0.1 * (number + 1), RATE, subtype="FLOAT")
    (top / "cv_setup").mkdir()
    (top / "cv_setup/events_devtrain.yaml").write_text(yaml.safe_dump(EVENTS))
    (top / "cv_setup/bgs_devtrain.yaml").write_text(yaml.safe_dump(GROUNDS))
    return top


def test_the_default_parameters_have_the_published_folder() -> None:
    assert Mixing().folder() == "20b255387a2d0cddc0a3dff5014875e7"
    text = "ebrs: [-6, 0, 6]\nevent_presence_prob: 0.5\nmixtures_per_class: 500\nseed: 42\n"
    assert Mixing().folder() == hashlib.md5(text.encode()).hexdigest()
    assert Mixing().baseline_folder() == "0367e094f3f5c81ef017d128ebff4a3c"  # as the baseline system computes it
    assert Mixing(seed=43).baseline_folder() != Mixing().baseline_folder()


def test_against_a_generator_stepped_by_hand() -> None:
    mixing = Mixing(0.6, 10, (-6, 0, 6), seed=7)
    drawn = draw_recipes(EVENTS, GROUNDS, "devtrain", mixing, CLASSES)
    rng = np.random.RandomState(7)
    for label in CLASSES:  # one stream, class after class
        events = rng.choice(np.array(EVENTS[label], dtype=object), 6)
        grounds = rng.choice(np.array(GROUNDS, dtype=object), 10)
        flags = rng.permutation(np.hstack([np.ones(6), np.zeros(4)]))
        for event in events:  # the same dict wherever it was drawn: the last offset stays
            event["offset"] = (30 - (event["segment"][1] - event["segment"][0])) * rng.rand()
        place = iter(events)
        for recipe, flag, ground in zip(drawn[label], flags, grounds, strict=True):
            assert recipe["bg_path"] == ground["filepath"]
            assert recipe["event_present"] is bool(flag)
            if flag:
                event = next(place)
                assert recipe["event_path"] == f"{label}/{event['audio_filename']}"
                assert recipe["event_start_in_mixture_seconds"] == event["offset"]
                assert recipe["ebr"] == rng.choice([-6, 0, 6])
        for event in EVENTS[label]:
            event.pop("offset", None)  # type: ignore[union-attr]


def test_presence_is_exact() -> None:
    for share, n in ((0.5, 7), (0.33, 10), (0.0, 4), (1.0, 4)):
        recipes = draw_recipes(EVENTS, GROUNDS, "devtest", Mixing(share, n, seed=1), CLASSES)["babycry"]
        assert sum(recipe["event_present"] for recipe in recipes) == round(n * share)


def test_names_and_annotations_are_the_official_ones() -> None:
    """The corpus's own list of withdrawn files gives names of mixtures without an event."""
    ground = [{"filepath": "audio/a012_30_60.wav", "classname": "residential_area"}]
    recipe = draw_recipes(EVENTS, ground, "devtrain", Mixing(0.0, 1), CLASSES)["babycry"][0]
    assert recipe == {
        "bg_path": "audio/a012_30_60.wav", "bg_classname": "residential_area", "event_present": False, "ebr": -math.inf,
    }  # fmt: skip
    name = "mixture_devtrain_babycry_066_71268bdc57bb18f02637aeb63ae1ce00.wav"
    found = named(recipe, "devtrain", "babycry", 66)
    assert (found["mixture_audio_filename"], found["annotation_string"]) == (name, name)
    assert named(recipe, "devtrain", "babycry", 152)["mixture_audio_filename"] == name.replace("_066_", "_152_")


def test_a_name_holds_the_gain_and_times_are_written_as_python_writes_them(source: Path) -> None:
    event = [{"audio_filename": "cry0.wav", "segment": [0, 2.5]}]  # a whole number in cv_setup stays one
    drawn = draw_recipes({"babycry": event}, GROUNDS, "devtrain", Mixing(1.0, 1), ("babycry",))["babycry"][0]
    _, gain = render(drawn, source, RATE)
    recipe = named({**drawn, "scaling_factor": gain}, "devtrain", "babycry", 0)
    onset = drawn["event_start_in_mixture_seconds"]
    words = [
        f"bg_classname: {drawn['bg_classname']}", f"bg_path: {drawn['bg_path']}", f"ebr: {drawn['ebr']}",
        "event_class: babycry", "event_length_seconds: 2.5", "event_path: babycry/cry0.wav", "event_present: true",
        f"event_start_in_mixture_seconds: {onset!r}", f"scaling_factor: {gain!r}", "segment_end_seconds: 2.5",
        "segment_start_seconds: 0",
    ]  # fmt: skip
    lines = ", ".join(words[:5]), ", ".join(words[5:8]), ", ".join(words[8:])
    text = "{" + ",\n  ".join(lines) + "}\n"
    name = f"mixture_devtrain_babycry_000_{hashlib.md5(text.encode()).hexdigest()}.wav"
    assert recipe["annotation_string"] == f"{name}\t{onset!s}\t{onset + 2.5!s}\tbabycry"


def test_mixtures_over_backgrounds_that_hold_the_class_are_withdrawn(source: Path, tmp_path: Path) -> None:
    """The patch of June 2017: column by column, classes in their order."""
    mixing = Mixing(0.5, 8)
    drawn = draw_recipes(EVENTS, GROUNDS, "devtrain", mixing, CLASSES)
    (source / "bgs/bg_screening.csv").write_text("file,babycry,gunshot\nbg1.wav,1,\nbg2.wav,,\naudio/bg0.wav,,x\n")
    names = list(write_mixtures(source, tmp_path / "out", "devtrain", mixing, CLASSES, RATE))
    for label, screened in (("babycry", "bg1.wav"), ("gunshot", "bg0.wav")):
        left = sum(recipe["bg_path"] != screened for recipe in drawn[label])
        assert 0 < left < 8
        assert sum(label in name for name in names) == left
        rows = (tmp_path / f"out/meta/event_list_devtrain_{label}.csv").read_text().splitlines()
        assert [row.split("\t")[0] for row in rows] == [name for name in names if label in name]
        assert len(recipes_in(tmp_path / "out", label)) == 8
    (source / "bgs/bg_screening.csv").write_text("file,babycry\nbg1.wav\n")
    with pytest.raises(
        InputError, match=r"bg_screening.csv, line 2: needs a file and a column for each of babycry, gunshot"
    ):
        list(write_mixtures(source, tmp_path / "other", "devtrain", mixing, CLASSES, RATE))


def test_the_ratio_is_found_again_in_the_mixture(source: Path) -> None:
    recipes = draw_recipes(EVENTS, GROUNDS, "devtrain", Mixing(1.0, 12, seed=3), CLASSES)["babycry"]
    assert {recipe["ebr"] for recipe in recipes} == {-6.0, 0.0, 6.0}
    for recipe in recipes:
        mixture, gain = render(recipe, source, RATE)
        ground, _ = soundfile.read(source / "bgs" / recipe["bg_path"])
        start = int(recipe["event_start_in_mixture_seconds"] * RATE)
        stop = start + int(recipe["segment_end_seconds"] * RATE) - int(recipe["segment_start_seconds"] * RATE)
        event = mixture / LEVEL - ground
        assert np.abs(event[:start]).max(initial=0) < 1e-6
        assert np.abs(event[stop:]).max(initial=0) < 1e-6
        ratio = 10 * np.log10(np.mean(event[start:stop] ** 2) / np.mean(ground[start:stop] ** 2))
        assert ratio == pytest.approx(recipe["ebr"], abs=0.1)
        sound, _ = soundfile.read(source / "events" / recipe["event_path"])
        first = int(recipe["segment_start_seconds"] * RATE)
        np.testing.assert_allclose(event[start:stop], gain * sound[first : first + stop - start], atol=1e-5)


def test_a_mixture_that_would_clip_is_divided_by_its_peak(source: Path) -> None:
    recipes = draw_recipes(EVENTS, GROUNDS, "devtrain", Mixing(1.0, 3, (60,)), CLASSES)["gunshot"]
    assert np.abs(render(recipes[0], source, RATE)[0]).max() == pytest.approx(1.0)


def test_the_same_files_twice(source: Path, tmp_path: Path) -> None:
    mixing = Mixing(0.5, 6)
    texts: list[dict[str, bytes]] = []
    for place in (tmp_path / "one", tmp_path / "two"):
        names = list(write_mixtures(source, place, "devtrain", mixing, CLASSES, RATE))
        files = (path for path in place.rglob("*.*") if path.is_file())
        texts.append({path.relative_to(place).as_posix(): path.read_bytes() for path in files})
        assert names == [f"{one['mixture_audio_filename']}" for label in CLASSES for one in recipes_in(place, label)]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 12 + 2 + 2 + 1
    info = soundfile.info(place / "audio" / names[0])
    assert (info.subtype, info.channels, info.frames) == ("PCM_24", 1, 30 * RATE)
    rows = (place / "meta/event_list_devtrain_gunshot.csv").read_text().splitlines()
    assert sorted(row.count("\t") for row in rows) == [0, 0, 0, 3, 3, 3]


def recipes_in(place: Path, label: str) -> list[Recipe]:
    return list(yaml.safe_load((place / f"meta/mixture_recipes_devtrain_{label}.yaml").read_text()))


def test_what_cannot_be_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the sources of devtrain have no glassbreak to mix"):
        draw_recipes(EVENTS, GROUNDS, "devtrain", Mixing(), ("babycry", "glassbreak"))
    with pytest.raises(InputError, match=r"event_presence_prob=1.5 must lie between 0 and 1"):
        Mixing(1.5)
    with pytest.raises(InputError, match=r"events_devtest.yaml cannot be read .*; restore it"):
        list(write_mixtures(source, tmp_path / "a", "devtest", Mixing(0.5, 2), CLASSES, RATE))
    long = {"gunshot": [{"audio_filename": "a.wav", "segment": [0, 31]}]}
    with pytest.raises(InputError, match=r"a.wav: an event of 31 s does not fit 30 s"):
        draw_recipes(long, GROUNDS, "devtrain", Mixing(), ("gunshot",))
    soundfile.write(source / "events/gunshot/shot.wav", np.zeros(RATE), RATE)
    with pytest.raises(InputError, match=r"shot.wav is silent there"):
        list(write_mixtures(source, tmp_path / "b", "devtrain", Mixing(1.0, 2), CLASSES, RATE))
