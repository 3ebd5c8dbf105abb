"""Soundscapes: distributions, co-occurrence, recipes, and what a mixture measures back as."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sed_lab.bank.mixing import PEAK, LiveSoundscapes, mix, write_wav
from sed_lab.bank.soundscape import (
    Distribution,
    Ingredient,
    Recipe,
    Specification,
    distribution,
    draw_recipe,
    even_occurrence,
    occurrence,
    write_recipes,
)
from sed_lab.errors import InputError
from tests.bank.recipes import read_recipes

RATE = 8000
CLASSES = ("beep", "hum", "knock")
SECONDS = {"beep": 1.0, "hum": 14.0, "knock": 0.1}
METADATA = Path(__file__).resolve().parents[1] / "data" / "desed_metadata"


class NoiseBank:
    """Events of white noise with an uneven envelope, lengths by class; two backgrounds."""

    classes = CLASSES
    sample_rate = RATE

    def event_count(self, split: str, event_label: str) -> int:
        return 4

    def event(self, split: str, event_label: str, index: int) -> np.ndarray:
        n = round(SECONDS[event_label] * (1 + 0.1 * index) * RATE)
        rng = np.random.default_rng((index, len(event_label), len(split)))
        return (rng.standard_normal(n) * np.linspace(0.5, 0.02, n)).astype(np.float32)

    def background_count(self, split: str) -> int:
        return 2

    def background(self, split: str, index: int, seconds: float) -> np.ndarray:
        return (0.3 * np.random.default_rng((index, 99)).standard_normal(round(seconds * RATE))).astype(np.float32)


BANK = NoiseBank()
SPECIFICATION = Specification(even_occurrence(CLASSES, max_events=8))


def level(audio: np.ndarray) -> float:
    return 10 * math.log10(np.mean(np.square(audio, dtype=np.float64)))


def recipe_of(*events: Ingredient, ref_db: float = -50.0) -> Recipe:
    return Recipe("a", "train", 10000, 1, 2000, ref_db, 250, events)


# --- distributions


@pytest.mark.parametrize(
    ("value", "reference"),
    [
        (["uniform", -3, 5], stats.uniform(-3, 8)),
        (["normal", 2, 0.5], stats.norm(2, 0.5)),
        (["truncnorm", 5, 2, 0.25, 10], stats.truncnorm((0.25 - 5) / 2, (10 - 5) / 2, 5, 2)),
        (["truncnorm", 0, 1, 2, 3], stats.truncnorm(2, 3)),
    ],
)
def test_draws_follow_the_distribution(value: list, reference: stats.rv_continuous) -> None:
    rng = np.random.default_rng(0)
    drawn = [distribution(value, "x").draw(rng) for _ in range(4000)]
    assert stats.kstest(drawn, reference.cdf).pvalue > 0.001


def test_const_and_choose() -> None:
    rng = np.random.default_rng(0)
    assert distribution(["const", 7], "x").draw(rng) == 7
    assert Counter(distribution(["choose", [1, 2, 5]], "x").draw(rng) for _ in range(300)).keys() == {1, 2, 5}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (7, r"snr: 7 is no distribution; write one of \[const, v\]; \[uniform, low, high\]"),
        ("uniform", "snr: 'uniform' is no distribution"),
        ([], "is no distribution"),
        (["gauss", 1, 2], "is no distribution"),
        (["uniform", 1], r"snr: \['uniform', 1\] needs the form \[uniform, low, high\]"),
        (["choose", 1, 2], "needs the form"),
        (["choose", []], "needs a list of values"),
        (["choose", "ab"], "needs a list of values"),
        (["const", "loud"], "not a finite number"),
        (["const", float("nan")], "not a finite number"),
        (["const", True], "not a finite number"),
        (["uniform", 3, 1], "low bound above its high bound"),
        (["truncnorm", 0, 1, 3, 1], "low bound above its high bound"),
        (["normal", 0, 0], "has sd 0; it must be above 0"),
        (["truncnorm", 0, -1, 0, 1], "has sd -1"),
    ],
)
def test_wrong_distributions(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        distribution(value, "snr")  # type: ignore[arg-type]


# --- co-occurrence


def test_occurrence_averages_cut_variants() -> None:
    companions = {"max_events": 4, "classes": ["beep", "hum"], "probas": [0.5, 0.5]}
    table = {
        "beep": {"proba": 0.3, "co-occurences": companions},
        "hum": {"proba": 0.1, "co-occurences": {"max_events": 2, "classes": ["knock"], "probas": [2]}},
        "hum_nOn_nOff": {"proba": 0.3, "co-occurences": {"max_events": 6, "classes": ["beep"], "probas": [1]}},
    }
    meets = occurrence(table, CLASSES)
    np.testing.assert_allclose(meets.main, [3 / 7, 4 / 7, 0])
    np.testing.assert_allclose(meets.companion[:2], [[0.5, 0.5, 0], [0.75, 0, 0.25]])
    assert meets.max_events.tolist()[:2] == [4, 5]  # hum: (0.1 x 2 + 0.3 x 6) / 0.4


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"cat": {"proba": 1, "co-occurences": {"max_events": 1, "classes": ["hum"], "probas": [1]}}}, "lacks 'cat'"),
        ({"hum": {"proba": 1}}, "hum names or lacks 'co-occurences'"),
        (
            {"hum": {"proba": 1, "co-occurences": {"max_events": 1, "classes": ["hum"], "probas": []}}},
            "not of the form",
        ),
        ({"hum": {"proba": -1, "co-occurences": {"max_events": 1, "classes": ["hum"], "probas": [1]}}}, "at least 0"),
        ({"hum": {"proba": 0, "co-occurences": {"max_events": 1, "classes": ["hum"], "probas": [1]}}}, "probability 0"),
        ({"hum": 3}, "not of the form"),
    ],
)
def test_wrong_occurrence(entry: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        occurrence(entry, CLASSES)


def test_desed_statistics_are_read() -> None:
    from sed_lab.dataset.desed import CLASSES

    table = json.loads((METADATA / "event_occurences_train.json").read_text())
    meets = occurrence(table, CLASSES)
    np.testing.assert_allclose(meets.main, 0.1, atol=1e-9)  # every class heads a tenth of the soundscapes
    assert meets.companion[CLASSES.index("Frying"), CLASSES.index("Speech")] == pytest.approx(0.471, abs=1e-3)
    assert meets.max_events[0] == 13


def test_drawn_classes_follow_the_statistics() -> None:
    meets = replace(
        even_occurrence(CLASSES, max_events=4),
        main=np.array([0.7, 0.2, 0.1]),
        companion=np.tile([0.0, 0.0, 1.0], (3, 1)),
    )
    spec = Specification(meets, event_time=distribution(["uniform", 0, 10], "event_time"), polyphony=9)
    recipes = [draw_recipe(spec, BANK, "train", "s", i, 5) for i in range(1500)]
    first = Counter(r.events[0].event_label for r in recipes)
    assert [first[name] / 1500 for name in CLASSES] == pytest.approx([0.7, 0.2, 0.1], abs=0.04)
    assert {e.event_label for r in recipes for e in r.events[1:]} == {"knock"}
    counts = Counter(len(r.events) for r in recipes)  # 1 + uniform 0..3, hardly any left out
    assert [counts[n] / 1500 for n in (1, 2, 3, 4)] == pytest.approx([0.25] * 4, abs=0.04)


# --- recipes


@settings(max_examples=60)
@given(
    index=st.integers(0, 10**6),
    seed=st.integers(0, 2**32),
    polyphony=st.integers(1, 4),
    time=st.sampled_from([["uniform", 0, 10], ["const", 5], ["truncnorm", 5, 2, 0.25, 10], ["normal", 0, 9]]),
)
def test_recipes_keep_their_promises(index: int, seed: int, polyphony: int, time: list) -> None:
    spec = replace(SPECIFICATION, polyphony=polyphony, event_time=distribution(time, "event_time"))
    recipe = draw_recipe(spec, BANK, "test", "subset", index, seed)
    labels = recipe.labels()
    assert labels
    assert labels == tuple(sorted(labels))
    for event in labels:
        assert 0 <= event.onset < event.offset <= 10
        assert event.offset - event.onset >= 0.25 - 1e-9
    for i, one in enumerate(labels):
        for two in labels[i + 1 :]:
            if one.event_label == two.event_label:
                assert two.onset - one.offset >= 0.15 - 1e-9
    at_once = [sum(a.onset <= b.onset < a.offset for a in labels) for b in labels]
    assert max(at_once) <= polyphony
    for e in recipe.events:
        available = 1000 * len(BANK.event("test", e.event_label, e.index)) / RATE
        assert 0 <= e.start_ms <= e.start_ms + e.duration_ms <= available
        assert 6 <= e.snr <= 30


def test_recipes_depend_on_seed_subset_index_and_epoch_only() -> None:
    def drawn(**change: object) -> Recipe:
        arguments = {"split": "train", "subset": "weak", "index": 3, "seed": 1, "epoch": 0, **change}
        return draw_recipe(SPECIFICATION, BANK, **arguments)  # type: ignore[arg-type]

    assert drawn() == drawn()
    variants = [drawn(), drawn(subset="test"), drawn(index=4), drawn(seed=2), drawn(epoch=1)]
    assert len({(v.background_start_ms, v.events) for v in variants}) == len(variants)


def test_share_of_clips_without_events() -> None:
    spec = replace(SPECIFICATION, empty_share=0.25)
    empty = [not draw_recipe(spec, BANK, "train", "s", i, 0).events for i in range(1000)]
    assert np.mean(empty) == pytest.approx(0.25, abs=0.045)
    assert all(draw_recipe(SPECIFICATION, BANK, "train", "s", i, 0).events for i in range(100))


def test_recipes_survive_the_file(tmp_path: Path) -> None:
    recipes = [draw_recipe(SPECIFICATION, BANK, "train", "s", i, 0) for i in range(20)]
    path = tmp_path / "r.jsonl"
    write_recipes(path, recipes)
    assert read_recipes(path) == recipes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": 0.2}, "seconds: 0.2 s is not longer than the shortest event"),
        ({"empty_share": 1.5}, "empty_share: 1.5 is not a share"),
        ({"polyphony": 0}, "polyphony: 0 must be at least 1"),
    ],
)
def test_wrong_specifications(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(SPECIFICATION, **change)


# --- mixtures


def test_a_mixture_measures_back_as_asked() -> None:
    background = mix(recipe_of(), BANK)[0]
    assert level(background) == pytest.approx(-50, abs=0.01)
    for snr, label in ((0.0, "beep"), (6.0, "hum"), (30.0, "knock")):
        duration = min(10000, round(1000 * SECONDS[label]))
        event = Ingredient(label, 0, 0, duration, 0 if label == "hum" else 4321, snr)
        mixture, labels = mix(recipe_of(event), BANK)
        alone = (mixture.astype(np.float64) - background)[
            round(event.onset_ms * RATE / 1000) : round((event.onset_ms + duration) * RATE / 1000)
        ]
        assert level(alone) - level(background) == pytest.approx(snr, abs=0.1)
        assert [(e.onset, e.event_label) for e in labels] == [(event.onset_ms / 1000, label)]


def test_sound_lies_exactly_within_its_label() -> None:
    """The events' own energy begins at the onset and ends at the offset, to within the 10 ms fades."""
    for index in range(40):
        recipe = draw_recipe(SPECIFICATION, BANK, "train", "s", index, 0)
        recipe = replace(recipe, ref_db=-80.0)
        difference = np.abs(mix(recipe, BANK)[0] - mix(replace(recipe, events=()), BANK)[0]) > 0
        active = np.zeros(10 * RATE, dtype=bool)
        for e in recipe.events:
            begin, end = (round(t * RATE / 1000) for t in (e.onset_ms, e.onset_ms + e.duration_ms))
            assert difference[begin : begin + 80].any()
            assert difference[end - 80 : end].any()
            active[begin:end] = True
        assert not difference[~active].any()


def test_against_a_naive_mixture() -> None:
    """Written out plainly: trapezoid fades, levels by RMS, sums."""
    recipe = draw_recipe(SPECIFICATION, BANK, "train", "s", 7, 0)
    background = BANK.background("train", recipe.background, 20.0).astype(np.float64)
    start = round(recipe.background_start_ms * RATE / 1000)
    expected = background[start : start + 10 * RATE]
    expected = expected * 10 ** (recipe.ref_db / 20) / np.sqrt(np.mean(expected**2))
    for e in recipe.events:
        begin, n = round(e.start_ms * RATE / 1000), round(e.duration_ms * RATE / 1000)
        sound = BANK.event("train", e.event_label, e.index).astype(np.float64)[begin : begin + n]
        fade = round(0.01 * RATE)
        for k in range(fade):
            sound[k] *= (k + 0.5) / fade
            sound[n - 1 - k] *= (k + 0.5) / fade
        sound *= 10 ** ((recipe.ref_db + e.snr) / 20) / np.sqrt(np.mean(sound**2))
        onset = round(e.onset_ms * RATE / 1000)
        expected[onset : onset + n] += sound
    assert len(recipe.events) > 1
    np.testing.assert_allclose(mix(recipe, BANK)[0], expected, atol=1e-6)


def test_peaks_stay_below_full_scale_and_ratios_survive() -> None:
    event = Ingredient("knock", 0, 0, 100, 1000, 40.0)
    loud, _ = mix(recipe_of(event, ref_db=-20.0), BANK)
    assert np.abs(loud).max() == pytest.approx(PEAK, abs=1e-5)
    quiet, _ = mix(recipe_of(event, ref_db=-70.0), BANK)
    np.testing.assert_allclose(loud / np.abs(loud).max(), quiet / np.abs(quiet).max(), atol=1e-5)


def test_same_recipe_same_bytes(tmp_path: Path) -> None:
    recipe = draw_recipe(SPECIFICATION, BANK, "train", "s", 11, 0)
    write_recipes(tmp_path / "r.jsonl", [recipe])
    buffer = np.full(10 * RATE, 0.5, dtype=np.float32)
    for name, out in (("one", None), ("two", buffer)):
        write_wav(tmp_path / f"{name}.wav", mix(read_recipes(tmp_path / "r.jsonl")[0], NoiseBank(), out)[0], RATE)
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()
    audio, rate = soundfile.read(tmp_path / "one.wav", dtype="float32")
    assert rate == RATE
    np.testing.assert_allclose(audio, mix(recipe, BANK)[0], atol=0.51 / 32768)
    assert soundfile.info(tmp_path / "one.wav").subtype == "PCM_16"


def test_silent_sources_are_refused() -> None:
    class Silent(NoiseBank):
        def event(self, split: str, event_label: str, index: int) -> np.ndarray:
            return np.zeros(RATE, dtype=np.float32)

    event = Ingredient("beep", 2, 0, 1000, 0, 6.0)
    with pytest.raises(InputError, match="soundscape a: beep 2 of the bank's train split is silent"):
        mix(recipe_of(event), Silent())


# --- on the fly


def test_live_soundscapes_change_with_the_epoch_only() -> None:
    live = LiveSoundscapes(BANK, SPECIFICATION, size=6, seed=4)
    assert len(live) == len(live.clips) == 6
    clip, audio = live.load(2, 0)
    assert clip == live.clips[2]
    assert clip.synthetic
    assert set(clip.event_labels or ()) == {e.event_label for e in clip.events or ()}
    assert (audio.shape, audio.dtype) == ((10 * RATE,), np.float32)
    later, other = live.load(2, 1)
    assert later.clip_id == clip.clip_id
    assert later.events != clip.events
    again = LiveSoundscapes(NoiseBank(), SPECIFICATION, size=6, seed=4).load(2, 1)
    assert again[0] == later
    np.testing.assert_array_equal(again[1], other)


def test_default_levels_are_those_of_synthetic21() -> None:
    assert SPECIFICATION.ref_db == Distribution("const", (-50.0,))
    assert SPECIFICATION.snr == distribution(["uniform", 6, 30], "snr")
    assert SPECIFICATION.event_time == distribution(["truncnorm", 5, 2, 0.25, 10], "event_time")
