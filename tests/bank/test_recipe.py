"""The recipe of TUT Rare Sound Events 2017 against a generator stepped by hand, and what its mixtures hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from sed_lab.bank.recipe import LEVEL, Mixing, Recipe, draw_recipes, render, write_mixtures
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


def test_presence_is_exact_and_names_are_those_of_the_recipes() -> None:
    for share, n in ((0.5, 7), (0.33, 10), (0.0, 4), (1.0, 4)):
        recipes = draw_recipes(EVENTS, GROUNDS, "devtest", Mixing(share, n, seed=1), CLASSES)["babycry"]
        assert sum(recipe["event_present"] for recipe in recipes) == round(n * share)
    recipe = draw_recipes(EVENTS, GROUNDS, "devtest", Mixing(1.0, 4), CLASSES)["gunshot"][3]
    own = {k: v for k, v in recipe.items() if k not in ("mixture_audio_filename", "annotation_string")}
    digest = hashlib.md5(yaml.safe_dump(own, default_flow_style=None).encode()).hexdigest()
    assert recipe["mixture_audio_filename"] == f"mixture_devtest_gunshot_003_{digest}.wav"
    name, onset, offset, label = recipe["annotation_string"].split("\t")
    assert (name, label) == (recipe["mixture_audio_filename"], "gunshot")
    assert float(offset) - float(onset) == pytest.approx(0.5)
    assert len(onset.split(".")[1]) == 14


def test_the_ratio_is_found_again_in_the_mixture(source: Path) -> None:
    recipes = draw_recipes(EVENTS, GROUNDS, "devtrain", Mixing(1.0, 12, seed=3), CLASSES)["babycry"]
    assert {recipe["ebr"] for recipe in recipes} == {-6.0, 0.0, 6.0}
    for recipe in recipes:
        mixture = render(recipe, source, RATE)
        ground, _ = soundfile.read(source / "bgs" / recipe["bg_path"])
        start = int(recipe["event_start_in_mixture_seconds"] * RATE)
        stop = start + int(recipe["segment_end_seconds"] * RATE) - int(recipe["segment_start_seconds"] * RATE)
        event = mixture / LEVEL - ground
        assert np.abs(event[:start]).max(initial=0) < 1e-6
        assert np.abs(event[stop:]).max(initial=0) < 1e-6
        ratio = 10 * np.log10(np.mean(event[start:stop] ** 2) / np.mean(ground[start:stop] ** 2))
        assert ratio == pytest.approx(recipe["ebr"], abs=0.1)


def test_a_mixture_that_would_clip_is_divided_by_its_peak(source: Path) -> None:
    recipes = draw_recipes(EVENTS, GROUNDS, "devtrain", Mixing(1.0, 3, (60,)), CLASSES)["gunshot"]
    assert np.abs(render(recipes[0], source, RATE)).max() == pytest.approx(1.0)


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
