"""Event-based and segment-based metrics against stored results of sed_eval 0.2.1 on the field's and on edge cases."""

from __future__ import annotations

from typing import Any

import pytest

from sed_lab.errors import InputError
from sed_lab.metric.event import event_f1, segment_f1
from sed_lab.types import Event

EDGES = ["class_never_predicted", "collar_boundary", "matching", "no_event_clips", "one_clip", "segment_grid"]
PARTS = ["audioset1", "binary1", "binary2", "binary3", "binary5", "mini_a", "mini_b", "office_snr0_high_v2",
         "office_snr0_med_v2", "street_fold1"]  # fmt: skip
FILES = {
    "street_fold1": ("street_fold1_reference", "street_fold1_detected"),
    "mini_a": ("mini_reference", "mini_detected_a"),
    "mini_b": ("mini_reference", "mini_detected_b"),
}


def keywords(params: dict[str, Any]) -> dict[str, Any]:
    return {
        "collar": params["t_collar"],
        "offset_share": params["percentage_of_length"],
        "onset_only": not params["evaluate_offset"],
        "matching": params["event_matching_type"],
        "zero_score": params["empty_system_output_handling"] == "zero_score",
    }


def compare(ours: dict[str, Any], stored: dict[str, Any], close: Any) -> None:
    """Every number of ours against sed_eval's; a class without reference has no error rate here (there 4.5e15)."""
    overall, counts = stored["overall"], stored["class_wise"]
    there = [label for label, row in counts.items() if row["count"]["Nref"]]
    assert close(ours["micro"], overall["f_measure"]["f_measure"])
    assert close(ours["error_rate"], overall["error_rate"]["error_rate"] if there else None)
    assert close(ours["macro"], stored["class_wise_average"]["f_measure"]["f_measure"])
    rates = [counts[label]["error_rate"]["error_rate"] for label in there]
    assert close(ours["error_rate_macro"], sum(rates) / len(rates) if rates else None)
    for label, row in counts.items():
        mine = ours["per_class"][label]
        assert close(mine["f1"], row["f_measure"]["f_measure"]), label
        assert close(mine["precision"], row["f_measure"]["precision"]), label
        assert close(mine["recall"], row["f_measure"]["recall"]), label
        assert close(mine["error_rate"], row["error_rate"]["error_rate"] if label in there else None), label
        assert (mine["n_reference"], mine["n_detected"]) == (row["count"]["Nref"], row["count"]["Nsys"])


@pytest.mark.parametrize("name", EDGES)
def test_edge_cases(material: Any, close: Any, name: str) -> None:
    expected = material.json(f"edge/{name}/expected.json")
    durations = material.durations(f"edge/{name}/audio_durations.tsv")
    truth = material.events(f"edge/{name}/ground_truth.tsv", durations)
    for which, results in expected["sed_eval"].items():
        detections = material.events(f"edge/{name}/{which}.tsv")
        for setting, stored in results.items():
            if setting.startswith("event"):
                ours = event_f1(detections, truth, expected["labels"], **keywords(stored["params"]))
            else:
                ends = {c: max((e.offset for e in (*truth[c], *detections.get(c, ()))), default=0.1) for c in truth}
                lengths = durations if setting.endswith("clip_length") else ends
                seconds = stored["params"]["time_resolution"]
                ours = segment_f1(
                    detections, truth, lengths, expected["labels"], segment_seconds=seconds, zero_score=False
                )
            compare(ours, stored, close)


def plain(material: Any, name: str) -> dict[str, tuple[Event, ...]]:
    """A file of sed_eval's tests: (file, (scene,)) onset, offset, label."""
    found: dict[str, tuple[Event, ...]] = {}
    for line in material.path(f"sed_eval_testdata/{name}.txt").read_text().splitlines():
        fields = line.split("\t")
        clip = fields[0] if len(fields) > 3 else "clip" if len(fields) == 3 else fields[0]
        here = found.setdefault(clip, ())
        if len(fields) >= 3:
            onset, offset = float(fields[-3]), float(fields[-2])
            # One reference has no length, which our vocabulary refuses; a nanosecond is the same to every metric.
            found[clip] = (*here, Event(onset, max(offset, onset + 1e-9), fields[-1]))
    return found


@pytest.mark.parametrize("name", PARTS)
def test_the_data_of_sed_eval_itself(material: Any, close: Any, name: str) -> None:
    expected = material.json("sed_eval_testdata/expected.json")[name]
    files = FILES.get(name, (name, f"{name}_detected"))
    truth, detections = plain(material, files[0]), plain(material, files[1])
    truth = dict.fromkeys(detections, ()) | truth
    ends = {c: max((e.offset for e in (*truth[c], *detections.get(c, ()))), default=0.1) for c in truth}
    for setting, stored in expected.items():
        if setting.startswith("event"):
            compare(event_f1(detections, truth, expected["labels"], **keywords(stored["params"])), stored, close)
        elif setting.startswith("segment"):
            seconds = stored["params"]["time_resolution"]
            ours = segment_f1(detections, truth, ends, expected["labels"], segment_seconds=seconds, zero_score=False)
            compare(ours, stored, close)


def test_two_files_of_sed_eval_together(material: Any, close: Any) -> None:
    expected = material.json("sed_eval_testdata/expected.json")["office_both_files"]
    truth, detections = ({f: plain(material, f + end)["clip"] for f in expected["files"]} for end in ("", "_detected"))
    ends = {c: max(e.offset for e in (*truth[c], *detections[c])) for c in truth}
    for setting in (name for name in expected if name.startswith("event")):
        stored = expected[setting]
        compare(event_f1(detections, truth, expected["labels"], **keywords(stored["params"])), stored, close)
    ours = segment_f1(detections, truth, ends, expected["labels"], segment_seconds=1.0, zero_score=False)
    compare(ours, expected["segment_1s_default_length"], close)


def test_segments_of_a_given_length(material: Any, close: Any) -> None:
    stored = material.json("sed_eval_testdata/expected.json")["street_fold1_length_1200"]["segment"]
    truth, detections = plain(material, "street_fold1_reference"), plain(material, "street_fold1_detected")
    truth = dict.fromkeys(detections, ()) | truth
    lengths = dict.fromkeys(truth, stored["evaluated_length_seconds"] / len(truth))
    ours = segment_f1(detections, truth, lengths, sorted(stored["class_wise"]), segment_seconds=1.0, zero_score=False)
    compare(ours, stored, close)


def test_files_without_any_line(material: Any) -> None:
    assert plain(material, "binary4") == plain(material, "binary4_detected") == {}
    stored = material.json("sed_eval_testdata/expected.json")["binary4"]["event_200ms_20pct"]["overall"]
    assert (stored["f_measure"]["f_measure"], stored["error_rate"]["error_rate"]) == (None, 0.0)
    for ours in (event_f1({}, {"a": ()}, ["event1"]), segment_f1({}, {"a": ()}, {"a": 1.0}, ["event1"])):
        # F1 has no value, as there; an error rate over no event has none here, where sed_eval says 0
        assert (ours["micro"], ours["macro"], ours["error_rate"]) == (None, None, None)


def test_the_collar_is_compared_in_plain_doubles(material: Any) -> None:
    durations = material.durations("edge/collar_boundary/audio_durations.tsv")
    truth = material.events("edge/collar_boundary/ground_truth.tsv", durations)
    detections = material.events("edge/collar_boundary/detections_0.tsv")
    assert event_f1(detections, truth, ["A"])["per_class"]["A"]["f1"] == 5 / 8  # all eight are late by 0.2 s in decimal


def test_rare_events_of_dcase2017(material: Any) -> None:
    expected = material.json("rare2017/expected.json")
    target = {row["filename"]: row["target_event"] for row in material.rows("rare2017/files.tsv")}
    truth = material.events("rare2017/ground_truth.tsv", target)
    detections = material.events("rare2017/detections.tsv")
    for matching in ("optimal", "greedy"):
        rare = {"collar": 0.5, "offset_share": 0.5, "onset_only": True, "matching": matching}
        ours = event_f1(detections, truth, list(expected["per_class"]), **rare)
        assert ours["error_rate_macro"] == pytest.approx(expected[f"average_{matching}"]["event_based_er"], abs=1e-9)
        assert ours["macro"] == pytest.approx(expected[f"average_{matching}"]["event_based_f1"], abs=1e-9)
        pooled = expected["pooled_over_all_files_for_comparison"]["overall"]
        assert ours["error_rate"] == pytest.approx(pooled["error_rate"]["error_rate"], abs=1e-9)
        for label, rows in expected["per_class"].items():
            own = {clip: events for clip, events in truth.items() if target[clip] == label}
            alone = event_f1(detections, own, [label], **rare)
            stored = rows[f"event_{matching}"]["overall"]
            assert alone["error_rate"] == pytest.approx(stored["error_rate"]["error_rate"], abs=1e-9)
            assert alone["micro"] == pytest.approx(stored["f_measure"]["f_measure"], abs=1e-9)
            assert ours["per_class"][label]["error_rate"] == pytest.approx(stored["error_rate"]["error_rate"], abs=1e-9)


def test_the_onset_collar_of_500_ms_by_hand() -> None:
    truth = {"a": (Event(10.0, 12.0, "gun"),)}
    rare = {"collar": 0.5, "onset_only": True}
    assert event_f1({"a": (Event(10.5, 20.0, "gun"),)}, truth, ["gun"], **rare)["error_rate"] == 0.0
    late = event_f1({"a": (Event(10.51, 20.0, "gun"),)}, truth, ["gun"], **rare)
    assert late["error_rate"] == pytest.approx(2.0)
    assert event_f1({}, truth, ["gun"], **rare)["error_rate"] == pytest.approx(1.0)


def test_the_error_rate_of_500_mixtures_by_hand() -> None:
    """250 of 500 mixtures hold an event: 200 are hit, 20 of the others are false alarms: (50 + 20) / 250."""
    truth = {f"m{i}": (Event(5.0, 6.0, "gun"),) if i < 250 else () for i in range(500)}
    found = {f"m{i}": (Event(5.4, 9.0, "gun"),) if i < 200 or 300 <= i < 320 else () for i in range(500)}
    values = event_f1(found, truth, ["gun"], collar=0.5, onset_only=True)
    assert values["error_rate_macro"] == pytest.approx(0.28)
    assert values["macro"] == pytest.approx(400 / 470)


def test_dcase2021_teacher(teacher: dict[str, Any]) -> None:
    event = event_f1(teacher["detections"], teacher["truth"], teacher["classes"])
    assert round(100 * event["macro"], 2) == 42.14
    assert round(100 * event["micro"], 2) == 42.35
    assert round(event["error_rate"], 2) == 1.01
    segment = segment_f1(teacher["detections"], teacher["truth"], teacher["durations"], teacher["classes"])
    assert segment["macro"] == pytest.approx(0.7157, abs=1e-4)
    found = teacher["detections"]
    ends = {c: max((e.offset for e in (*t, *found.get(c, ()))), default=0.1) for c, t in teacher["truth"].items()}
    unstated = segment_f1(found, teacher["truth"], ends, teacher["classes"])  # as the baseline calls sed_eval
    assert round(100 * unstated["macro"], 2) == 71.57
    assert round(100 * unstated["micro"], 2) == 77.03


def test_synth120(material: Any, close: Any) -> None:
    expected = material.json("synth120/expected.json")
    durations = material.durations("synth120/audio_durations.tsv")
    truth = material.events("synth120/ground_truth.tsv", durations)
    detections = material.events("synth120/detections_0.5.tsv")
    classes = sorted(expected["events_per_class"])
    stored = expected["sed_eval_at_0.5"]
    for setting in ("event_200ms_20pct_zero_score", "event_200ms_20pct_greedy", "event_500ms_onset_only_dcase2017"):
        compare(event_f1(detections, truth, classes, **keywords(stored[setting]["params"])), stored[setting], close)
    compare(segment_f1(detections, truth, durations, classes), stored["segment_1s_clip_length"], close)


def test_nothing_detected_and_nothing_there() -> None:
    truth = {"a": (Event(1, 2, "dog"),), "b": ()}
    for ours in (event_f1({}, truth, ["dog", "cat"]), segment_f1({}, truth, {"a": 10.0, "b": 5.0}, ["dog", "cat"])):
        assert ours["macro"] == 0.0
        assert ours["per_class"]["cat"]["f1"] is None
    assert event_f1({}, truth, ["dog", "cat"], zero_score=False)["macro"] is None
    empty = event_f1({"b": (Event(0, 1, "dog"),)}, {"b": ()}, ["dog"])
    assert (empty["macro"], empty["error_rate"], empty["error_rate_macro"]) == (None, None, None)


def test_labels_outside_the_classes_are_refused() -> None:
    with pytest.raises(InputError, match="labels cat that are not among the classes"):
        event_f1({"a": (Event(0, 1, "cat"),)}, {"a": ()}, ["dog"])
    with pytest.raises(InputError, match="labels cat that are not among the classes"):
        segment_f1({}, {"a": (Event(0, 1, "cat"),)}, {"a": 1.0}, ["dog"])
