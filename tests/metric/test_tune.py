"""Threshold tuning: counts equal sed_eval's, the best is found, and decoding at sed_scores_eval's best gives its F1."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed_lab.decoder.base import GRID, Decoder
from sed_lab.errors import InputError
from sed_lab.metric.event import event_f1
from sed_lab.metric.exact import psds_of_scores
from sed_lab.metric.table import event_table
from sed_lab.metric.tune import collar_hits, tune_by_class, tune_decoder, tune_threshold
from sed_lab.types import Event, Scores
from tests.configured import configured
from tests.metric.best_thresholds import exact_class_thresholds

BoxDecoder = configured("decoder/box")
MedianDecoder = configured("decoder/default")
RULE = {"collar": 0.2, "offset_share": 0.2, "onset_only": False}

starts = st.integers(0, 30).map(lambda i: i / 10)


@st.composite
def events(draw: st.DrawFn) -> dict[str, tuple[Event, ...]]:
    found = {}
    for clip in ("x", "y"):
        rows = draw(st.lists(st.tuples(starts, st.integers(1, 30), st.sampled_from("AB")), max_size=8))
        found[clip] = tuple(sorted(Event(a, a + length / 10, label) for a, length, label in rows))
    return found


@settings(max_examples=60)
@given(events(), st.lists(events(), min_size=1, max_size=3), st.booleans())
def test_hits_are_those_of_sed_eval(truth: Any, points: list[Any], onset_only: bool) -> None:
    found, reference = event_table(points, ["x", "y"], "AB"), event_table([truth], ["x", "y"], "AB")
    true, detected = collar_hits(found, reference, (len(points), 2), 0.2, None if onset_only else 0.2)
    for number, detections in enumerate(points):
        stored = event_f1(detections, truth, "AB", onset_only=onset_only)["per_class"]
        for i, label in enumerate("AB"):
            assert detected[number, i] == stored[label]["n_detected"]
            recall = stored[label]["recall"]
            if recall is not None:
                assert true[number, i] == pytest.approx(recall * stored[label]["n_reference"])


def made(seed: int = 3) -> tuple[Scores, dict[str, tuple[Event, ...]]]:
    random = np.random.default_rng(seed)
    frames, truth = [], {}
    for clip in range(12):
        array = random.random((50, 3)).astype(np.float32) * 0.6
        first = int(random.integers(0, 30))
        label = clip % 2
        array[first : first + 12, label] += 0.3
        frames.append(array)
        truth[f"c{clip}"] = (Event(first * 0.1, (first + 12) * 0.1, "AB"[label]),)
    names = tuple(truth)
    return Scores(names, ("A", "B", "C"), np.full(12, 5.0), 0.1, tuple(frames)), truth


def test_the_tuned_threshold_is_the_best_of_the_grid() -> None:
    scores, truth = made()
    decoder = MedianDecoder(median_seconds=0.7)
    values = {t: event_f1(decoder.decode(scores, t), truth, scores.classes)["macro"] for t in GRID}
    best = [t for t, value in values.items() if value >= max(values.values()) - 1e-12]
    chosen = tune_threshold(scores, truth, decoder, **RULE)
    assert chosen in best
    assert abs(chosen - 0.5) == min(abs(t - 0.5) for t in best)
    assert len({round(v, 6) for v in values.values()}) > 5  # the choice matters on this material


def test_the_tuned_decoder_has_each_class_s_best_threshold_and_window() -> None:
    scores, truth = made()
    decoder = MedianDecoder(median_seconds=0.7)
    tuned = tune_decoder(scores, truth, decoder, **RULE)
    assert (tuned.threshold["C"], tuned.median_seconds["C"]) == (0.5, 0.7)  # no reference event of C
    by_window = {
        m: MedianDecoder(median_seconds=m) for m in (settings["median_seconds"] for settings in decoder.tunable)
    }
    for label in "AB":
        f1 = {
            (m, t): event_f1(one.decode(scores, t), truth, scores.classes)["per_class"][label]["f1"]
            for m, one in by_window.items()
            for t in GRID
        }
        assert f1[tuned.median_seconds[label], tuned.threshold[label]] == pytest.approx(max(f1.values()))


@pytest.mark.parametrize("decoder", [MedianDecoder(), BoxDecoder()], ids=["median", "box"])
def test_what_a_tuned_decoder_reaches_is_what_measuring_it_gives(decoder: Decoder) -> None:
    """And no setting alone gives a class more."""
    scores, truth = made()
    durations = dict.fromkeys(truth, 5.0)
    tuned = tune_by_class(scores, truth, durations, decoder, RULE, psds=True, class_share=1.0)
    found = event_f1(tuned["event_f1"].decoder.decode(scores), truth, scores.classes)
    assert tuned["event_f1"].value == pytest.approx(found["macro"])
    for name in ("psds1", "psds2"):
        best = psds_of_scores(scores, truth, durations, decoder=tuned[name].decoder)[name]
        assert tuned[name].value == pytest.approx(best.value)
        for own in decoder.tunable:
            one = psds_of_scores(scores, truth, durations, decoder=replace(decoder, **own))[name]
            assert all(one.per_class[label] <= best.per_class[label] + 1e-9 for label in "AB")
    assert tuned["event_f1"].value > event_f1(decoder.decode(scores), truth, scores.classes)["macro"] + 0.05


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_class_s_own_score_counts_by_its_share(share: float) -> None:
    scores, truth = made()
    decoder = MedianDecoder()
    tuned = tune_by_class(scores, truth, {}, decoder, RULE, psds=False, class_share=share)["event_f1"].decoder
    by_window = {own["median_seconds"]: replace(decoder, **own) for own in decoder.tunable}
    f1 = {
        (window, t): {label: found["f1"] for label, found in per_class.items() if label in "AB"}
        for window, one in by_window.items()
        for t in GRID
        if (per_class := event_f1(one.decode(scores, t), truth, scores.classes)["per_class"])
    }
    for label in "AB":
        value = {at: share * own[label] + (1 - share) * (own["A"] + own["B"]) / 2 for at, own in f1.items()}
        assert value[tuned.median_seconds[label], tuned.threshold[label]] == pytest.approx(max(value.values()))
    alike = tuned.threshold["A"] == tuned.threshold["B"] and tuned.median_seconds["A"] == tuned.median_seconds["B"]
    assert alike or share


def test_a_share_beyond_1_is_refused() -> None:
    with pytest.raises(InputError, match=r"metric\.class_share=1\.5"):
        tune_by_class(*made(), {}, MedianDecoder(), RULE, psds=False, class_share=1.5)


def test_nothing_to_tune_on_gives_one_half() -> None:
    scores, truth = made()
    silent = dict.fromkeys(truth, ())
    assert tune_threshold(scores, silent, MedianDecoder(), **RULE) == 0.5
    tuned = tune_by_class(scores, silent, dict.fromkeys(truth, 5.0), BoxDecoder(), RULE, psds=True, class_share=0.5)
    assert list(tuned) == ["event_f1"]
    assert np.isnan(tuned["event_f1"].value)
    assert tuned["event_f1"].decoder.threshold == dict.fromkeys("ABC", 0.5)


def test_exact_thresholds_are_those_of_sed_scores_eval(material: Any, tmp_path: Any) -> None:
    truth = {k.removesuffix(".wav"): v for k, v in material.events("edge/scores_small/ground_truth.tsv").items()}
    scores = material.scores("edge/scores_small/scores", tmp_path)
    stored = material.json("edge/scores_small/expected.json")["sed_scores_eval"]
    decoder = MedianDecoder(median_seconds=0)
    for setting, arguments in (
        ("collar_200ms_20pct_best_f", {}),
        ("collar_500ms_onset_only_best_f", {"collar": 0.5, "onset_only": True}),
    ):
        ours = exact_class_thresholds(scores, truth, decoder, **arguments)
        for label, (threshold, value) in ours.items():
            assert threshold == pytest.approx(stored[setting]["threshold"][label], abs=1e-6)
            assert value == pytest.approx(stored[setting]["f"][label], abs=1e-9)
        thresholds = {label: threshold for label, (threshold, _) in ours.items()}
        decoded = event_f1(decoder.decode(scores, thresholds), truth, scores.classes, **arguments)
        for label, (_, value) in ours.items():
            assert decoded["per_class"][label]["f1"] == pytest.approx(value, abs=1e-9)


def test_an_onset_one_collar_late_is_a_hit() -> None:
    truth = event_table([{"x": (Event(10.0, 12.0, "A"),)}], ["x"], "A")
    found = event_table([{"x": (Event(10.5, 12.0, "A"),)}, {"x": (Event(10.51, 12.0, "A"),)}], ["x"], "A")
    true, _ = collar_hits(found, truth, (2, 1), 0.5, None)
    assert true[:, 0].tolist() == [1, 0]
