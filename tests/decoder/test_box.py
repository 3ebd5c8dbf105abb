"""Boxes against a plain version by loops, the paper's example and results of its authors' own tool."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed_lab.metric.event import event_f1
from sed_lab.metric.exact import psds_of_scores
from sed_lab.metric.tune import tune_decoder, tune_for_psds
from sed_lab.types import Scores
from tests.configured import configured
from tests.metric.conftest import DATA, Events, Material
from tests.metric.peers import event_lists, sed_scores_eval

BoxDecoder = configured("decoder/box")
RULE = {"collar": 0.2, "offset_share": 0.2, "onset_only": False}
Box = tuple[float, float, float]  # onset, offset, confidence


def plain_boxes(p: list[float], hop: float, step: float, most: float, ratio: float) -> list[Box]:
    """Step by step as the paper describes it, for one class of one clip."""
    end = len(p) * hop

    def integral(a: float, b: float) -> float:
        return sum(v * max(0.0, min(b, (t + 1) * hop) - max(a, t * hop)) for t, v in enumerate(p))

    times: list[float] = []
    borders = [t * hop for t in range(len(p) + 1)]
    for t in sorted(min(max(b + d, 0.0), end) for b in borders for d in (0.0, step / 2, -step / 2)):
        if not times or t - times[-1] > 1e-7:
            times.append(t)
    d = [integral(t, t + step / 2) - integral(t - step / 2, t) for t in times]
    candidates, onset = [], None
    for k, t in enumerate(times):
        rises = k + 1 < len(d) and d[k + 1] > d[k]
        if onset is None and not rises and k + 1 < len(d):
            onset = t
        elif onset is not None and rises:
            candidates.append((onset, t))
            onset = None
    if onset is not None:
        candidates.append((onset, end))

    def values(a: float, b: float) -> list[float]:
        inside = [v for t, v in enumerate(p) if (t + 1) * hop > a + 1e-7 and t * hop < b - 1e-7]
        return inside or [0.0]

    groups = [[one] for one in candidates[:1]]
    for before, after in pairwise(candidates):
        low = min(values(before[1], after[0]))
        highs = [max(values(*one)) for one in (before, after)]
        closes = all(h - low < most and (h + 1e-3) / (low + 1e-3) < ratio for h in highs)
        groups[-1:] = [[*groups[-1], after]] if closes else [groups[-1], [after]]
    found = [(group[0][0], group[-1][1]) for group in groups]
    return [(a, b, integral(a, b) / (b - a)) for a, b in found]


def one_class(*rows: Any, hop: float) -> Scores:
    frames = tuple(np.asarray(row, np.float32)[:, None] for row in rows)
    names = tuple(f"clip{i}" for i in range(len(rows)))
    return Scores(names, ("A",), np.array([len(row) * hop for row in rows]), hop, frames)


@given(
    st.integers(0, 2**31),
    st.sampled_from([0.1, 0.064]),
    st.sampled_from([0.32, 0.5, 1.0]),
    st.sampled_from([(0.3, math.inf), (math.inf, 2.0), (1.0, 1.5)]),
)
def test_boxes_are_those_of_a_plain_version(seed: int, hop: float, step: float, limits: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    rows = [rng.random(n, np.float32) for n in (40, 17, 40, 1)]  # of few digits, one in thousands would hold a tie
    boxes = BoxDecoder(step_seconds=step, merge_abs=limits[0], merge_rel=limits[1]).boxes(one_class(*rows, hop=hop))
    for clip, row in enumerate(rows):
        own = boxes.clip == clip
        found = np.column_stack([boxes.onset[own], boxes.offset[own], boxes.confidence[own]])
        np.testing.assert_allclose(found, plain_boxes(row.tolist(), hop, step, *limits), atol=2e-6)


def test_the_example_of_the_paper() -> None:
    p = np.zeros(500)
    for start, length, height in ((15, 270, 0.98), (315, 170, 0.2)):
        p[start : start + length] += height * np.hanning(length)
    boxes = BoxDecoder(step_seconds=1.0, merge_abs=1.0, merge_rel=2.0).boxes(one_class(p, hop=0.02))
    assert [(round(a, 2), round(b, 2)) for a, b in zip(boxes.onset, boxes.offset, strict=True)] == [
        (1.66, 4.34),
        (7.16, 8.84),
    ]


def test_a_threshold_says_which_boxes_count_and_moves_none() -> None:
    p = np.repeat([0.0, 0.9, 0.0, 0.4, 0.0], 20)
    scores = one_class(p, hop=0.05)
    decoder = BoxDecoder(step_seconds=0.5)
    (low,), (high,) = (decoder.decode(scores, t)["clip0"][1:] or [None] for t in (0.2, 0.5))
    assert (low.onset, low.offset, high) == (3.0, 4.0, None)
    smooth = decoder.smooth(scores).frame[0][:, 0]
    np.testing.assert_allclose(smooth, p, atol=1e-6)
    (one,) = scores.clip_id
    sure = decoder.decode_recording(scores, 0.2)
    assert tuple(event for event, _ in sure) == decoder.decode(scores, 0.2)[one]
    assert [value for _, value in sure] == pytest.approx([0.9, 0.4])
    silent = one_class(np.zeros(10), np.zeros(0), hop=0.1)
    assert decoder.decode(silent, 0.0) == {"clip0": (), "clip1": ()}
    assert decoder.decode(one_class(np.zeros(0), hop=0.1), 0.0) == {"clip0": ()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scores, Events, dict[str, float]]:
    """scores_made, whose files end their last frame with the clip."""
    material = Material(DATA)
    durations = {Path(k).stem: v for k, v in material.durations("scores_made/durations.tsv").items()}
    scores = material.scores("scores_made/scores.zip", tmp_path_factory.mktemp("scores"))
    truth = material.events("scores_made/ground_truth.tsv", [f"{name}.wav" for name in scores.clip_id])
    return scores, {Path(name).stem: events for name, events in truth.items()}, durations


def limit(value: float | None) -> float:
    return math.inf if value is None else value


def test_the_authors_tool_gives_the_same_boxes(made: tuple[Scores, Events, dict[str, float]]) -> None:
    """Within 1 %: where scores tie, their candidates follow the rounding of running sums."""
    scores, truth, durations = made
    for setting in Material(DATA).json("sebbs/scores_made.json")["settings"]:
        decoder = BoxDecoder(
            step_seconds=setting["step_filter_seconds"],
            merge_abs=limit(setting["merge_abs"]),
            merge_rel=limit(setting["merge_rel"]),
        )
        boxes = decoder.boxes(scores)
        assert len(boxes.onset) == pytest.approx(setting["boxes"], rel=0.01)
        found = psds_of_scores(scores, truth, durations, decoder=decoder)
        for name in ("psds1", "psds2"):
            assert found[name].value == pytest.approx(setting[name], abs=0.001)
        same = total = 0
        for clip, theirs in setting["first_clips"].items():
            own = boxes.clip == scores.clip_id.index(clip)
            ours = {
                (round(float(a), 3), round(float(b), 3), scores.classes[k]): float(c)
                for a, b, k, c in zip(
                    boxes.onset[own], boxes.offset[own], boxes.label[own], boxes.confidence[own], strict=True
                )
            }
            expected = {(round(a, 3), round(b, 3), label): c for a, b, label, c in theirs}
            for box in {*ours} & {*expected}:
                assert ours[box] == pytest.approx(expected[box], abs=1e-4)
            expected = {box: c for box, c in expected.items() if box[1] < 9.984}  # their last frame ends at 10 s
            same, total = same + len({*ours} & {*expected}), total + len(expected)
        assert same >= 0.85 * total


def test_tuned_class_by_class_as_the_authors_tool(made: tuple[Scores, Events, dict[str, float]]) -> None:
    scores, truth, durations = made
    tuned = Material(DATA).json("sebbs/scores_made.json")["tuned_on_itself"]
    found = psds_of_scores(scores, truth, durations, decoder=tune_for_psds(scores, truth, durations, BoxDecoder()))
    assert found["psds1"].per_class == pytest.approx(tuned["psds1"]["class_psds1"], abs=0.002)
    best = tune_decoder(scores, truth, BoxDecoder(), **RULE)
    values = event_f1(best.decode(scores), truth, scores.classes, **RULE)["per_class"]
    assert {label: row["f1"] for label, row in values.items()} == pytest.approx(
        tuned["event_f1"]["class_f1"], abs=0.002
    )


def test_psds_of_boxes_is_that_of_scores_that_are_confidences_inside_them(
    made: tuple[Scores, Events, dict[str, float]],
) -> None:
    """By sed_scores_eval, whose scores may change at any time."""
    import pandas as pd

    scores, truth, durations = made
    decoder = BoxDecoder()
    boxes = decoder.boxes(scores)
    tables = {}
    for clip, name in enumerate(scores.clip_id):
        own = [np.flatnonzero((boxes.clip == clip) & (boxes.label == k)) for k in range(len(scores.classes))]
        rows = boxes.clip == clip
        times = np.unique(np.concatenate([[0.0, durations[name]], boxes.onset[rows], boxes.offset[rows]]))
        table = {"onset": times[:-1], "offset": times[1:]}
        for label, index in zip(scores.classes, own, strict=True):
            table[label] = np.zeros(len(times) - 1)
            for i in index:
                table[label][(times[:-1] >= boxes.onset[i]) & (times[:-1] < boxes.offset[i])] = boxes.confidence[i]
        tables[name] = pd.DataFrame(table)
    found = psds_of_scores(scores, truth, durations, decoder=decoder)
    with sed_scores_eval() as tool:
        theirs, per_class, *_ = tool.intersection_based.psds(
            tables, event_lists(truth), durations, dtc_threshold=0.7, gtc_threshold=0.7, max_efpr=100,
            alpha_ct=0.0, alpha_st=1.0, unit_of_time="hour",
        )  # fmt: skip
    assert found["psds1"].value == pytest.approx(theirs, abs=1e-6)
    for label, value in found["psds1"].per_class.items():
        assert value == pytest.approx(per_class[label], abs=1e-6)
