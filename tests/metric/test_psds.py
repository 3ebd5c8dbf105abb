"""PSDS against psds_eval (stored results of 0.5.3, and live on random data) and against sed_scores_eval."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed_lab.decoder.runs import AllRuns
from sed_lab.errors import InputError
from sed_lab.metric.exact import psds_of_scores
from sed_lab.metric.intersection import count, intersection_f1, overlaps
from sed_lab.metric.psds import (
    SCENARIOS,
    Psds,
    Scenario,
    area,
    psds_from_points,
    staircase,
    thinned,
)
from sed_lab.metric.table import EventTable, event_table, merge_overlaps
from sed_lab.types import Event, Scores
from tests.configured import configured
from tests.metric.peers import by_point, event_lists, psds_by_psds_eval, psds_exact

MedianDecoder = configured("decoder/default")

Events = dict[str, tuple[Event, ...]]
NEW = "psds_eval 0.5.3 (PyPI) on pandas 2.3.3, numpy 2.3.5"
GRID = np.linspace(0.01, 0.99, 50)
UNMERGED = {"matching"}  # psds_eval refuses the ground truth, we merge it
ONE_CLASS = {"collar_boundary", "matching"}  # psds_eval gives 0 without other classes to be triggered by


def check_stored(block: Mapping[str, Any], points: Sequence[Events], truth: Events, durations: dict[str, float]) -> int:
    """Every value and every count of one stored psds_eval block; how many numbers were compared."""
    compared = 0
    classes = block["class_names"]
    limits = (block["thresholds"][name] for name in ("dtc", "gtc", "cttc"))
    dtc, gtc, cttc = limits
    for stored in block["psds"].values():
        scenario = Scenario(dtc, gtc, cttc, stored["alpha_ct"], stored["alpha_st"], stored["max_efpr"])
        ours = psds_from_points(points, truth, durations, classes, {"ours": scenario})["ours"]
        assert ours.value == pytest.approx(stored["value"], abs=1e-9)
        compared += 1
    for number, details in enumerate(block["operating_point_details"].values()):
        if number >= len(points) or len(block["operating_point_details"]) != len(points):
            continue
        clip_ids = list(truth)
        reference, _ = merge_overlaps(event_table([truth], clip_ids, classes))
        found, _ = merge_overlaps(event_table([points[number]], clip_ids, classes))
        seconds = np.array([durations[clip_id] for clip_id in clip_ids])
        ours = count(overlaps(found, reference, seconds, 1, len(classes)), dtc, gtc, cttc)
        expected = np.array(details["counts"])
        assert ours.true[0].tolist() == np.diag(expected)[:-1].tolist()
        assert ours.false[0].tolist() == expected[:-1, -1].tolist()
        cross = expected[:-1, :-1] - np.diag(np.diag(expected)[:-1])
        assert ours.cross[0].tolist() == cross.tolist()
        assert (ours.true[0] / ours.reference).tolist() == pytest.approx(details["tpr"], abs=1e-12)
        compared += expected.size
    return compared


@pytest.mark.parametrize("name", ["class_never_predicted", "no_event_clips", "one_clip", "segment_grid"])
def test_edge_cases(material: Any, name: str) -> None:
    durations = material.durations(f"edge/{name}/audio_durations.tsv")
    truth = material.events(f"edge/{name}/ground_truth.tsv", durations)
    paths = sorted(material.path(f"edge/{name}").glob("detections_*.tsv"))
    points = [material.events(f"edge/{name}/{path.name}") for path in paths]
    for block in material.json(f"edge/{name}/expected.json")["psds_eval"][NEW].values():
        assert check_stored(block, points, truth, durations) > 2


@pytest.mark.parametrize("name", sorted(ONE_CLASS | UNMERGED))
def test_a_single_class_has_no_cross_triggers(material: Any, name: str) -> None:
    durations = material.durations(f"edge/{name}/audio_durations.tsv")
    truth = material.events(f"edge/{name}/ground_truth.tsv", durations)
    detections = material.events(f"edge/{name}/detections_0.tsv")
    found = psds_from_points([detections], truth, durations, ["A", "X"])
    assert [found[scenario].value for scenario in SCENARIOS] == [1.0, 1.0]  # as psds_eval 0.3.0; 0.5.3 says 0
    with pytest.raises(InputError, match="psds_eval needs two classes"):
        psds_by_psds_eval([detections], truth, durations, SCENARIOS["psds1"])


@pytest.mark.parametrize("name", ["test_1", "test_2", "test_3", "test_4", "Y23R6_ppquxs_247.000_257000"])
def test_the_toy_cases_of_psds_eval(material: Any, name: str) -> None:
    expected = material.json("psds_eval_unit/expected.json")[name]
    everything = material.durations("psds_eval_unit/test.metadata")
    detections = material.events(f"psds_eval_unit/{name}.det")
    own = material.events(f"psds_eval_unit/{name}.gt")
    compared = 0
    for which, versions in expected.items():
        durations = everything if which == "all_metadata" else {c: d for c, d in everything.items() if c in own}
        if not set(own) <= set(durations):
            continue
        truth = dict.fromkeys(durations, ()) | own
        for block in versions[NEW].values():
            if "raises" not in block:
                compared += check_stored(block, [detections], truth, durations)
    assert compared or name.startswith("Y23R6")


def test_two_points_and_no_detection(material: Any) -> None:
    expected = material.json("psds_eval_unit/expected.json")
    durations = material.durations("psds_eval_unit/test.metadata")
    truth = material.events("psds_eval_unit/test_1.gt", durations)
    points = [material.events(f"psds_eval_unit/{name}.det") for name in ("test_1", "test_1a")]
    everything = [check_stored(b, points, truth, durations) for b in expected["two_ops_test_1_test_1a"][NEW].values()]
    everything += [check_stored(b, [{}], truth, durations) for b in expected["empty_det"][NEW].values()]
    assert sum(everything) > 20


def test_the_example_of_psds_eval(material: Any) -> None:
    folder = "psds_eval_dcase2019_baseline"
    durations = material.durations(f"{folder}/metadata.tsv.gz")
    raw = material.events(f"{folder}/ground_truth_raw.tsv.gz", durations)
    merged = material.events(f"{folder}/ground_truth_merged.tsv.gz", durations)
    paths = sorted(material.path(f"{folder}/operating_points").glob("*.tsv.gz"))
    points = [material.events(f"{folder}/operating_points/{path.name}") for path in paths]
    expected = material.json(f"{folder}/expected.json")["psds_merged_gt"][NEW]
    for block in expected.values():
        check_stored(block, points, merged, durations)
        check_stored({**block, "operating_point_details": {}}, points, raw, durations)  # merging is ours to do
    assert round(expected["scenario2"]["psds"]["dcase"]["value"], 9) == 0.241074121


def test_dcase2021_teacher(teacher: dict[str, Any]) -> None:
    found = psds_from_points(teacher["points"], teacher["truth"], teacher["durations"], teacher["classes"])
    assert found["psds1"].value == pytest.approx(0.353492983, abs=1e-9)
    assert found["psds2"].value == pytest.approx(0.548329026, abs=1e-9)
    one = intersection_f1(teacher["detections"], teacher["truth"], teacher["durations"], teacher["classes"])
    assert round(100 * one["macro"], 2) == 66.17


@pytest.mark.parametrize(("name", "scores"), [("synth120", "scores.zip"), ("edge/scores_small", "scores")])
def test_scores_at_fifty_thresholds_and_exactly(material: Any, tmp_path: Path, name: str, scores: str) -> None:
    expected = material.json(f"{name}/expected.json")
    durations = {Path(c).stem: d for c, d in material.durations(f"{name}/audio_durations.tsv").items()}
    by_file = material.events(f"{name}/ground_truth.tsv", [f"{clip}.wav" for clip in durations])
    truth = {Path(clip).stem: events for clip, events in by_file.items()}
    table = material.scores(f"{name}/{scores}", tmp_path)
    decoder = MedianDecoder(median_seconds=0)
    points = EventTable(*decoder.points(table.select(truth), GRID))
    blocks = expected["psds_eval_50_thresholds"]
    blocks = blocks.get(NEW, blocks)
    listed = by_point(points, list(truth), table.classes)
    for setting in ("half_half_0.3", "scenario1", "scenario2"):
        block = blocks[setting]
        check_stored({**block, "operating_point_details": {}}, listed, truth, durations)
        middle = listed[25]
        check_stored({**block, "psds": {}}, [middle], truth, durations)
    exact = psds_exact(decoder.smooth(table), truth, durations)
    fast = psds_of_scores(decoder.smooth(table), truth, durations)
    for ours, theirs in (("psds1", "psds_scenario1"), ("psds2", "psds_scenario2")):
        stored = expected["sed_scores_eval"][theirs]
        assert exact[ours].value == pytest.approx(stored["alpha_st1"], abs=1e-9)
        assert fast[ours].value == pytest.approx(stored["alpha_st1"], abs=1e-9)
        assert fast[ours].per_class == pytest.approx(stored["single_class_psds"], abs=1e-9)
        assert exact[ours].per_class == pytest.approx(stored["single_class_psds"], abs=1e-9)
    f1 = intersection_f1(decoder.decode(table), truth, durations, table.classes)
    stored = expected["sed_scores_eval"]["intersection_0.5_0.5_f_at"]["f"]
    assert {c: row["f1"] for c, row in f1["per_class"].items()} == pytest.approx(
        {c: v for c, v in stored.items() if "average" not in c}, abs=1e-9
    )
    assert f1["macro"] == pytest.approx(stored["macro_average"], abs=1e-9)


times = st.integers(0, 100).map(lambda i: i / 10)  # a coarse grid, so that criteria are met exactly


@st.composite
def events(draw: st.DrawFn, classes: str = "ABC") -> Events:
    found: Events = {}
    for clip in ("x", "y"):
        rows = draw(st.lists(st.tuples(times, st.integers(1, 40), st.sampled_from(classes)), max_size=5))
        found[clip] = tuple(Event(a, round(a + length / 10, 1), label) for a, length, label in rows)
    return found


@settings(max_examples=40)
@given(
    events(),
    st.lists(events("ABCD"), min_size=1, max_size=4),
    st.sampled_from([0.1, 0.3, 0.5, 0.7, 1.0]),
    st.sampled_from([0.1, 0.5, 0.7]),
    st.sampled_from([0.1, 0.3, 0.5]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([100.0, 700.0]),
)
def test_equal_to_psds_eval_on_random_events(
    truth: Events, points: list[Events], dtc: float, gtc: float, cttc: float, ct: float, spread: float, limit: float
) -> None:
    truth = {**truth, "x": (*truth["x"], Event(1.0, 2.0, "A"), Event(4.0, 6.0, "B")), "silent": ()}
    durations = {"x": 10.0, "y": 9.5, "silent": 20.0}  # some detections begin after the end of y
    scenario = Scenario(dtc, gtc, cttc, ct, spread, limit)
    ours = psds_from_points(points, truth, durations, "ABCD", {"s": scenario})["s"].value
    assert ours == pytest.approx(psds_by_psds_eval(points, truth, durations, scenario), abs=1e-9)


@settings(max_examples=25)
@given(events(), events("ABCD"), st.sampled_from([0.1, 0.5, 1.0]), st.sampled_from([0.3, 0.5]))
def test_intersection_f1_is_that_of_psds_eval(truth: Events, found: Events, dtc: float, gtc: float) -> None:
    import pandas as pd

    truth = {"x": (*truth["x"], Event(1.0, 2.0, "A"), Event(4.0, 6.0, "B")), "y": truth["y"]}
    durations = {"x": 10.0, "y": 20.0}

    def frame(listed: Events) -> Any:
        table, _ = merge_overlaps(event_table([listed], ["x", "y"], "ABCD"))
        names = {"filename": np.array(["x", "y"])[table.clip], "event_label": np.array(list("ABCD"))[table.label]}
        return pd.DataFrame({**names, "onset": table.onset, "offset": table.offset})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from psds_eval import PSDSEval

        metadata = pd.DataFrame({"filename": ["x", "y"], "duration": [10.0, 20.0]})
        tool = PSDSEval(dtc, gtc, 0.3, ground_truth=frame(truth), metadata=metadata)
        macro, per_class = tool.compute_macro_f_score(frame(found))
    ours = intersection_f1(found, truth, durations, "ABCD", dtc=dtc, gtc=gtc, zero_score=False)
    for label, value in per_class.items():
        mine = ours["per_class"][label]["f1"]
        assert (mine is None) == bool(np.isnan(value))
        assert mine is None or mine == pytest.approx(value, abs=1e-9)
    assert (ours["macro"] is None) == bool(np.isnan(macro))
    assert ours["macro"] is None or ours["macro"] == pytest.approx(macro, abs=1e-9)
    zeros = intersection_f1(found, truth, durations, "ABCD", dtc=dtc, gtc=gtc)
    expected = [0.0 if np.isnan(value) else value for value in per_class.values()]
    assert zeros["macro"] == pytest.approx(np.mean(expected), abs=1e-9)


@given(events())
def test_merging_leaves_the_same_time_active(truth: Events) -> None:
    table = event_table([truth], ["x", "y"], "ABC")
    merged, taken = merge_overlaps(table)
    assert len(merged) + taken == len(table)
    marks = np.arange(0.05, 15, 0.1)
    for clip in range(2):
        for label in range(3):

            def active(events: EventTable, clip: int = clip, label: int = label) -> np.ndarray:
                own = (events.clip == clip) & (events.label == label)
                inside = (events.onset[own] < marks[:, None]) & (marks[:, None] < events.offset[own])
                return inside.sum(axis=1)

            assert (active(merged) <= 1).all()
            assert ((active(table) > 0) == (active(merged) > 0)).all()
    joined, _ = merge_overlaps(table, touching=True)
    rows = {c: tuple(sorted(Event(*row) for row in rows)) for c, rows in event_lists(truth).items() if rows}
    assert by_point(joined, ["x", "y"], "ABC") == [rows] * bool(rows)
    for clip_id, listed in event_lists(truth).items():
        last: dict[str, float] = {}
        assert len(truth[clip_id]) >= len(listed)
        for onset, offset, label in listed:
            assert onset > last.get(label, -1.0)
            last[label] = offset


def test_staircase_and_area_by_hand() -> None:
    x, y = staircase(np.array([50.0, 20.0, 20.0, 80.0]), np.array([0.6, 0.2, 0.3, 0.5]))
    assert x.tolist() == [0, 20, 50, 80]
    assert y.tolist() == [0, 0.3, 0.6, 0.6]
    assert area(x, y, 100.0) == pytest.approx((30 * 0.3 + 50 * 0.6) / 100)
    assert area(x, y, 20.0) == 0.0
    assert area(x, y, 30.0) == pytest.approx(10 * 0.3 / 30)


def test_thinned_curves_keep_their_ends_and_steps() -> None:
    x = np.arange(1000.0)
    psds = Psds(0.5, x, np.minimum(x, 500) / 1000, {"A": 0.1}, {"A": (x, np.where(x < 10, 0.0, 1.0))})
    line = thinned(psds, 100)
    assert (line["efpr"][0], line["efpr"][-1], line["etpr"][-1]) == (0.0, 999.0, 0.5)
    assert len(line["efpr"]) <= 100
    assert line["per_class"]["A"] == {"efpr": [0.0, 10.0, 999.0], "etpr": [0.0, 1.0, 1.0]}


def test_psds_needs_events_and_frame_scores() -> None:
    with pytest.raises(InputError, match="PSDS needs at least one reference event"):
        psds_from_points([{}], {"a": ()}, {"a": 1.0}, ["A"])
    frames = Scores(("a",), ("A",), np.array([1.0]), 0.5, (np.zeros((2, 1), np.float32),))
    with pytest.raises(InputError, match="PSDS needs at least one reference event"):
        psds_exact(frames, {"a": ()}, {"a": 1.0})
    with pytest.raises(InputError, match="PSDS needs at least one reference event"):
        psds_of_scores(frames, {"a": ()}, {"a": 1.0})
    clips = Scores(("a",), ("A",), np.array([1.0]), clip=np.array([[0.5]]))
    with pytest.raises(InputError, match="needs frame scores"):
        psds_exact(clips, {"a": (Event(0, 1, "A"),)}, {"a": 1.0})
    with pytest.raises(InputError, match="needs frame scores"):
        psds_of_scores(clips, {"a": (Event(0, 1, "A"),)}, {"a": 1.0})


def test_exact_psds_of_one_class_and_one_clip() -> None:
    frames = np.array([0, 1, 1, 0, 0.5, 0, 0, 0], np.float32)[:, None]
    scores = Scores(("a",), ("A",), np.array([8.0]), 1.0, (frames,))
    for truth in ((Event(1.0, 3.0, "A"),), (Event(1.0, 2.0, "A"), Event(2.0, 3.0, "A"))):  # touching ones are joined
        for tool in (psds_exact, psds_of_scores):
            found = tool(scores, {"a": truth}, {"a": 8.0})
            assert [found[name].value for name in SCENARIOS] == [1.0, 1.0]


@st.composite
def scored(draw: st.DrawFn) -> tuple[Scores, Events]:
    """Clips of unequal length with few score levels (ties, zeros), and events."""
    classes = "ABC"[: draw(st.integers(1, 3))]
    seed, clips = draw(st.integers(0, 2**32 - 1)), draw(st.integers(2, 3))
    random = np.random.default_rng(seed)
    levels = int(random.integers(2, 30))
    frames, truth = [], {}
    for clip in range(clips):
        array = random.integers(0, levels, (int(random.integers(1, 30)), len(classes))) / levels
        frames.append(array.astype(np.float32))
        rows: list[Event] = []
        for _ in range(int(random.integers(0, 4))):
            onset = round(float(random.integers(0, 25)) / 10, 1)
            rows.append(
                Event(onset, round(onset + float(random.integers(1, 12)) / 10, 1), random.choice(list(classes)))
            )
        truth[f"c{clip}"] = tuple(rows)
    truth["c0"] = (*truth["c0"], Event(0.1, 0.4, "A"))
    seconds = np.array([max(len(array) * 0.1 - 0.05 * random.integers(0, 3), 0.05) for array in frames])
    return Scores(tuple(truth), tuple(classes), seconds, 0.1, tuple(frames)), truth


@settings(max_examples=60)
@given(scored(), st.sampled_from([0.1, 0.5, 0.7]), st.sampled_from([0.1, 0.5, 0.7]), st.sampled_from([0.0, 0.5]),
       st.sampled_from([100.0, 3000.0, 30000.0]))  # fmt: skip
def test_exact_psds_is_that_of_sed_scores_eval(
    made: tuple[Scores, Events], dtc: float, gtc: float, alpha_ct: float, limit: float
) -> None:
    scores, truth = made
    durations = dict(zip(scores.clip_id, scores.duration.tolist(), strict=True))
    scenario = {"s": Scenario(dtc, gtc, 0.3, alpha_ct, 1.0, limit)}
    ours, theirs = (tool(scores, truth, durations, scenario)["s"] for tool in (psds_of_scores, psds_exact))
    assert ours.value == pytest.approx(theirs.value, abs=1e-9)
    assert ours.per_class == pytest.approx(theirs.per_class, abs=1e-9)


@given(scored())
def test_runs_are_all_events_of_all_thresholds(made: tuple[Scores, Events]) -> None:
    scores, _ = made
    everything = [AllRuns(scores).above(column) for column in range(len(scores.classes))]
    decoder = MedianDecoder(median_seconds=0)
    for threshold in np.unique(np.concatenate([array.ravel() for array in scores.frame or ()])):
        _, *found = decoder.points(scores, np.array([threshold]))
        ours = set()
        for label, runs in enumerate(everything):
            alive = runs.take(np.flatnonzero((runs.low <= threshold) & (threshold < runs.high)))
            rows = np.column_stack([alive.clip, np.full(len(alive.clip), label), alive.onset, alive.offset])
            ours |= {tuple(row) for row in rows.round(6)}
        assert ours == {tuple(row) for row in np.column_stack(found).round(6)}


def test_touching_reference_events_stay_apart_and_tenths_add_up_to_one() -> None:
    truth = {"a": (*(Event(i, i + 1, "A") for i in range(10)), Event(11, 12, "B"))}
    found = {"a": (Event(0, 10, "A"),)}  # ten tenths of it are covered: 0.9999999999999999 if added naively
    scenario = Scenario(1.0, 0.5, 0.3, 0.0, 0.0)
    ours = psds_from_points([found], truth, {"a": 20.0}, "AB", {"s": scenario})["s"].value
    assert ours == psds_by_psds_eval([found], truth, {"a": 20.0}, scenario) == 0.5
    counted = intersection_f1(found, truth, {"a": 20.0}, "AB", dtc=1.0)["per_class"]["A"]
    assert (counted["n_reference"], counted["f1"]) == (10, pytest.approx(2 * 10 / (10 + 10)))


def test_exact_psds_counts_to_the_microsecond() -> None:
    frames = np.zeros((100, 2), np.float32)
    frames[60:70, 0] = 0.9
    scores = Scores(("a",), ("A", "B"), np.array([10.0]), 0.1, (frames,))
    truth = {"a": (Event(6.9, 7.0, "A"), Event(1.0, 2.0, "B"))}  # 7.0 - 6.9 is 0.0999999... s, a tenth of the detection
    tenth = {"s": Scenario(0.1, 0.1, 0.3, 0.0, 0.0)}
    for tool in (psds_exact, psds_of_scores):
        assert tool(scores, truth, {"a": 10.0}, tenth)["s"].per_class["A"] == 1.0
    points = EventTable(*MedianDecoder(median_seconds=0).points(scores, np.array([0.5])))
    assert psds_from_points(points, truth, {"a": 10.0}, "AB", tenth)["s"].per_class["A"] == 0.0  # plain doubles
