"""`measure` as a whole: reference values, every kind of input, what it states, and its flat and tabular forms."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sed_lab.errors import InputError
from sed_lab.metric import measure as measuring
from sed_lab.metric.event import event_f1
from sed_lab.metric.intersection import intersection_f1
from sed_lab.metric.measure import flatten, per_class_rows
from sed_lab.metric.psds import SCENARIOS
from sed_lab.metric.quick import quick_intersection_f1, quick_tagging_f1
from sed_lab.metric.table import EventTable
from sed_lab.metric.tune import GRID
from sed_lab.types import Event, Scores
from tests.configured import configured
from tests.metric.best_thresholds import exact_class_thresholds
from tests.metric.peers import by_point, psds_by_psds_eval, psds_exact

MedianDecoder = configured("decoder/default")
OnsetDecoder = configured("decoder/amiriparian2018", threshold=0.5)

measure = configured("metric/default", measuring.measure)

CLASSES = ("Cat", "Dog", "Frying")


def made(clip: bool = True, frame: bool = True, seed: int = 0, clips: int = 8) -> tuple[Scores, Any, dict[str, float]]:
    """Clips of 6 s with a Dog or a Cat (every fourth silent), never Frying; scores that mostly find them."""
    random = np.random.default_rng(seed)
    truth: dict[str, tuple[Event, ...]] = {}
    frames = []
    for number in range(clips):
        array = random.random((60, 3)).astype(np.float32) * 0.55
        first, k = int(random.integers(0, 30)), number % 2
        truth[f"c{number}"] = ()
        if number % 4 != 3:
            truth[f"c{number}"] = (Event(first / 10, (first + 20) / 10, CLASSES[k]),)
            array[first : first + 20, k] += 0.4
        frames.append(array)
    scores = Scores(
        clip_id=tuple(truth),
        classes=CLASSES,
        duration=np.full(clips, 6.0),
        frame_hop=0.1 if frame else None,
        frame=tuple(frames) if frame else None,
        clip=np.stack([array.max(axis=0) for array in frames]) if clip else None,
    )
    return scores, truth, dict.fromkeys(truth, 6.0)


def test_scores_made_give_the_stored_values(material: Any, tmp_path: Any) -> None:
    expected = material.json("scores_made/expected.json")
    durations = {k.removesuffix(".wav"): v for k, v in material.durations("scores_made/durations.tsv").items()}
    found = material.events("scores_made/ground_truth.tsv")
    truth = dict.fromkeys(durations, ()) | {k.removesuffix(".wav"): v for k, v in found.items()}
    scores = material.scores("scores_made/scores.zip", tmp_path)
    decoder = MedianDecoder(median_seconds=0)
    best = exact_class_thresholds(scores, truth, decoder)
    thresholds = {label: threshold for label, (threshold, _) in best.items()}
    metrics, _ = measure({"student": scores}, truth, durations, decoder, tuned_threshold={"student": thresholds})
    values = metrics["systems"]["student"]
    assert values["psds1"]["exact"] == pytest.approx(expected["psds1_exact"], abs=1e-6)
    assert values["psds2"]["exact"] == pytest.approx(expected["psds2_exact"], abs=1e-6)
    assert values["psds1"]["per_class"] == pytest.approx(expected["psds1_class"], abs=1e-6)
    for block, stored in (
        ("event_f1", "event_f1_at_0.5"),
        ("segment_f1", "segment_f1_at_0.5"),
        ("event_f1_tuned", "event_f1_best"),
    ):
        assert values[block]["macro"] == pytest.approx(expected[stored]["macro_average"], abs=1e-9)
        assert values[block]["micro"] == pytest.approx(expected[stored]["micro_average"], abs=1e-9)
        for label in scores.classes:
            assert values[block]["per_class"][label]["f1"] == pytest.approx(expected[stored][label], abs=1e-9)


def test_everything_is_measured_and_stated() -> None:
    scores, truth, durations = made()
    decoder = MedianDecoder(median_seconds=0.5)
    metrics, curves = measure(
        {"student": scores, "teacher": scores}, truth, durations, decoder, subset="validation",
        tuned_threshold={"teacher": 0.7},
    )  # fmt: skip
    assert json.loads(json.dumps([metrics, curves], allow_nan=False)) == [metrics, curves]
    student, teacher = metrics["systems"]["student"], metrics["systems"]["teacher"]
    events = {"event_f1", "event_f1_optimistic", "false_alarms", "segment_f1", "intersection_f1"}
    expected = events | {"psds1", "psds2", "tagging_f1", "eer", "ranking"}
    assert set(student) == expected
    assert set(teacher) == expected | {"event_f1_tuned"}
    tuned = event_f1(decoder.decode(scores, 0.7), truth, CLASSES)
    assert teacher["event_f1_tuned"] == {**tuned, "threshold": 0.7}
    assert student["event_f1"] == event_f1(decoder.decode(scores), truth, CLASSES)
    assert 0 < student["psds1"]["operating_points"] <= 1
    stated = metrics["settings"]
    assert stated["classes_without_reference"] == ["Frying"]
    assert (stated["clips"], stated["seconds"], stated["reference_events"]) == (8, 48.0, 6)
    assert stated["decoder"] == decoder.settings()
    assert stated["psds1"]["operating_points"] == 50
    assert stated["versions"]["sed_eval"] == "0.2.1"
    assert set(curves["student"]["psds2"]["per_class"]) == {"Cat", "Dog"}
    assert metrics["subset"] == "validation"
    assert student["event_f1"]["per_class"]["Frying"]["f1"] is None


def test_the_optimistic_f1_is_the_best_of_the_grid_on_the_judged_clips_and_says_so() -> None:
    scores, truth, durations = made()
    decoder = MedianDecoder(median_seconds=0.5, threshold=0.8)
    metrics, _ = measure({"s": scores}, truth, durations, decoder, tuned_threshold={"s": 0.7})
    values = metrics["systems"]["s"]
    of_grid = [event_f1(decoder.decode(scores, t), truth, CLASSES)["macro"] for t in GRID]
    optimistic = values["event_f1_optimistic"]
    assert optimistic["macro"] == max(of_grid)
    at = event_f1(decoder.decode(scores, optimistic["threshold"]), truth, CLASSES)
    assert optimistic == {**at, "threshold": optimistic["threshold"]}
    fair = [values[name]["macro"] for name in ("event_f1", "event_f1_tuned")]
    assert optimistic["macro"] > max(fair)  # or the test could not tell them apart
    found = [name for name, value in flatten(metrics).items() if value == optimistic["macro"]]
    assert found == ["s/event_f1_optimistic/macro"]
    rows = [row["metric"] for row in per_class_rows(metrics) if row["f1"] == optimistic["per_class"]["Dog"]["f1"]]
    assert "event_f1_optimistic" in rows
    assert "no held-out result" in metrics["settings"]["conventions"]["event_f1_optimistic"]
    only_detections, _ = measure({"s": decoder.decode(scores)}, truth, durations, decoder)
    assert "event_f1_optimistic" not in only_detections["systems"]["s"]


def test_psds_is_that_of_psds_eval_and_sed_scores_eval() -> None:
    scores, truth, durations = made(seed=5)
    decoder = MedianDecoder()
    metrics, _ = measure({"s": scores}, truth, durations, decoder, operating_points=10)
    points = by_point(EventTable(*decoder.points(scores, (np.arange(10) + 0.5) / 10)), scores.clip_id, CLASSES)
    exact = psds_exact(decoder.smooth(scores), truth, durations)
    for name, scenario in SCENARIOS.items():
        ours = metrics["systems"]["s"][name]
        by_points = psds_by_psds_eval(points, truth, durations, scenario)
        assert ours["operating_points"] == pytest.approx(by_points, abs=1e-9)
        assert ours["exact"] == pytest.approx(exact[name].value, abs=1e-9)
        assert ours["per_class"] == pytest.approx(exact[name].per_class, abs=1e-9)


def test_flat_and_tabular_forms() -> None:
    scores, truth, durations = made()
    metrics, _ = measure({"s": scores}, truth, durations, MedianDecoder(), tuned_threshold={"s": 0.41})
    flat = flatten(metrics)
    assert flat["s/event_f1/macro"] == metrics["systems"]["s"]["event_f1"]["macro"]
    assert flat["s/event_f1_tuned/threshold"] == 0.41
    assert not [name for name in flat if "per_class" in name]
    everything = flatten(metrics, per_class=True)
    assert (
        everything["s/event_f1/per_class/Dog/recall"]
        == metrics["systems"]["s"]["event_f1"]["per_class"]["Dog"]["recall"]
    )
    assert "s/event_f1/per_class/Frying/f1" not in everything  # not defined
    assert all(type(value) is float for value in everything.values())
    rows = per_class_rows(metrics)
    assert len({tuple(row) for row in rows}) == 1
    areas = [row for row in rows if row["metric"] == "psds1" and row["event_label"] == "Dog"]
    assert [row["psds"] for row in areas] == [metrics["systems"]["s"]["psds1"]["per_class"]["Dog"]]
    assert {row["metric"] for row in rows} == set(metrics["systems"]["s"])


def test_clip_scores_alone_are_measured_as_tags() -> None:
    scores, truth, durations = made(frame=False)
    metrics, curves = measure({"s": scores}, truth, durations, MedianDecoder())
    assert set(metrics["systems"]["s"]) == {"tagging_f1", "eer", "ranking"}
    assert metrics["systems"]["s"]["tagging_f1"]["scores"] == "clip"
    assert set(curves["s"]) == {"det"}
    labels = {clip_id: sorted({e.event_label for e in events}) for clip_id, events in truth.items()}
    weak, _ = measure({"s": scores}, None, {}, MedianDecoder(), labels=labels)
    assert weak["systems"] == metrics["systems"]
    alone, _, _ = made(clip=False)
    values = measure({"s": alone}, truth, durations, MedianDecoder())[0]["systems"]["s"]
    assert values["tagging_f1"]["scores"] == "frame maximum"


def test_detections_alone_are_measured(teacher: dict[str, Any]) -> None:
    metrics, curves = measure(
        {"teacher": teacher["detections"]}, teacher["truth"], teacher["durations"], MedianDecoder(),
        points={"teacher": teacher["points"]},
    )  # fmt: skip
    values = metrics["systems"]["teacher"]
    assert values["psds1"]["operating_points"] == pytest.approx(0.353493, abs=1e-5)
    assert values["psds2"]["operating_points"] == pytest.approx(0.548329, abs=1e-5)
    assert values["psds1"]["exact"] is None
    assert values["event_f1"]["macro"] == pytest.approx(0.4214, abs=1e-4)
    assert values["segment_f1"]["macro"] == pytest.approx(0.7157, abs=1e-4)
    assert values["intersection_f1"]["macro"] == pytest.approx(0.6617, abs=1e-4)
    assert "tagging_f1" not in values
    assert metrics["settings"]["classes"] == teacher["classes"]
    assert set(curves["teacher"]) == {"psds1", "psds2"}


def test_sets_without_events_and_of_one_clip() -> None:
    scores, truth, durations = made()
    silent, curves = measure({"s": scores}, dict.fromkeys(truth, ()), durations, MedianDecoder())
    events = {"event_f1", "event_f1_optimistic", "false_alarms", "segment_f1", "intersection_f1"}
    assert set(silent["systems"]["s"]) == events | {"tagging_f1", "eer", "ranking"}
    assert silent["systems"]["s"]["event_f1"]["macro"] is None
    assert curves == {}
    one, _ = measure({"s": scores}, {"c0": truth["c0"]}, durations, MedianDecoder())
    assert one["systems"]["s"]["psds2"]["exact"] is not None
    assert one["settings"]["clips"] == 1
    json.dumps([silent, one], allow_nan=False)


def test_settings_reach_the_metrics() -> None:
    scores, truth, durations = made()
    decoder = OnsetDecoder(0.6)
    metrics, _ = measure(
        {"s": scores}, truth, durations, decoder, collar=0.5, offset_share=0.5, onset_only=True, matching="greedy",
        zero_score=False, dtc=0.2, gtc=0.3, operating_points=0, exact_psds=False, tagging_threshold=0.9,
        eer_rule="nearest", segment_seconds=0.5,
    )  # fmt: skip
    values, found = metrics["systems"]["s"], decoder.decode(scores)
    assert values["event_f1"] == event_f1(
        found, truth, CLASSES, collar=0.5, offset_share=0.5, onset_only=True, matching="greedy", zero_score=False
    )
    assert values["intersection_f1"] == intersection_f1(
        found, truth, durations, CLASSES, dtc=0.2, gtc=0.3, zero_score=False
    )
    assert values["psds1"] == {"exact": None, "operating_points": None, "per_class": {}}
    assert metrics["settings"]["eer"] == {"rule": "nearest", "bootstrap": 0}
    assert metrics["settings"]["segment_f1"] == {"segment_seconds": 0.5, "zero_score": False}
    assert metrics["settings"]["tagging_f1"] == {"threshold": 0.9}
    assert (metrics["settings"]["onset_collar"], metrics["settings"]["offset_collar"]) == (0.5, 0.5)


def test_overlapping_reference_events_are_merged_and_counted() -> None:
    scores, truth, durations = made()
    doubled = {**truth, "c0": (*truth["c0"], Event(truth["c0"][0].onset + 0.5, 5.9, "Cat"))}
    metrics, _ = measure({"s": scores}, doubled, durations, MedianDecoder())
    assert metrics["settings"]["merged_reference_events"] == 1
    values = metrics["systems"]["s"]
    before = measure({"s": scores}, truth, durations, MedianDecoder())[0]["systems"]["s"]
    same = [m["event_f1"]["per_class"]["Cat"]["n_reference"] for m in (values, before)]
    assert same[0] == same[1] + 1
    assert values["intersection_f1"]["per_class"]["Cat"]["n_reference"] == same[1]


def test_quick_metrics_are_those_of_measure() -> None:
    scores, truth, durations = made()
    decoder = MedianDecoder(median_seconds=0.5)
    values = measure({"s": scores}, truth, durations, decoder)[0]["systems"]["s"]
    labels = {clip_id: [event.event_label for event in events] for clip_id, events in truth.items()}
    deaf = replace(scores, frame=tuple(array * [1, 0, 1] for array in scores.frame or ()))  # to dogs
    found = {}
    for zero_score in (True, False):
        expected = measure({"s": deaf}, truth, durations, decoder, zero_score=zero_score)[0]["systems"]["s"]
        found[zero_score] = quick_intersection_f1(deaf, truth, decoder, zero_score)
        assert found[zero_score] == pytest.approx(expected["intersection_f1"]["macro"])
    assert found[True] == found[False] / 2 > 0
    assert quick_tagging_f1(scores, labels) == pytest.approx(values["tagging_f1"]["macro"])
    silent = dict.fromkeys(truth, ())
    assert np.isnan(quick_intersection_f1(scores, silent, decoder, zero_score=True))
    assert np.isnan(quick_tagging_f1(scores, silent))


def test_what_does_not_fit_together_is_refused() -> None:
    scores, truth, durations = made()
    decoder = MedianDecoder()
    with pytest.raises(InputError, match="there is nothing to measure against"):
        measure({"s": scores}, None, durations, decoder)
    with pytest.raises(InputError, match="the ground truth names no clip"):
        measure({"s": scores}, {}, durations, decoder)
    with pytest.raises(InputError, match="no duration for 8 clips of the ground truth, c0 first"):
        measure({"s": scores}, truth, {}, decoder)
    with pytest.raises(InputError, match="has events of Bat, not among the classes Cat, Dog"):
        measure({"s": scores}, {"c0": (Event(0, 1, "Bat"),)}, durations, decoder)
    with pytest.raises(InputError, match="s has no scores of 1 annotated clips, other first"):
        measure({"s": scores}, {**truth, "other": ()}, {**durations, "other": 1.0}, decoder)
    with pytest.raises(InputError, match="s has classes Cat, Dog, Frying, expected Dog, Cat"):
        measure({"s": scores}, truth, durations, decoder, classes=["Dog", "Cat"])
