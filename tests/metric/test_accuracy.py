"""Both accuracies, precision and the confusion matrix: the note's chance levels, a table by hand, and sklearn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed_lab.metric import measure as measuring
from sed_lab.metric.accuracy import Reported, accuracy_of
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import is_metric
from sed_lab.types import Scores
from tests.configured import configured

MedianDecoder = configured("decoder/default")

measure = configured("metric/default", measuring.measure)

BALANCED = np.eye(4, dtype=bool)[np.arange(40) % 4]


@pytest.mark.parametrize(
    ("constant", "element_wise", "precision"),
    [([0, 0, 0, 0], 0.75, 0.0), ([0, 0, 1, 0], 0.625, 0.0625), ([1, 1, 1, 1], 0.25, 0.25), ([1, 1, 0, 0], 0.5, 0.125)],
)
def test_the_note_s_chance_levels(constant: list[int], element_wise: float, precision: float) -> None:
    """Of four classes, one to a clip, a constant answer is 25 % right by argmax, however many classes it names."""
    found = accuracy_of(np.tile(np.float32(constant), (40, 1)), BALANCED, "element_wise")
    assert found["argmax"] == pytest.approx(0.25)
    assert found["element_wise"] == found["reported"] == pytest.approx(element_wise)
    assert found["precision"] == pytest.approx(precision)
    column = constant.index(max(constant))  # the first of equal scores
    assert found["confusion"] == [[10 * (place == column) for place in range(4)] for _ in range(4)]


SCORES = np.array(
    [
        [0.9, 0.2, 0.1],  # a: right
        [0.4, 0.3, 0.2],  # a: highest, but below the threshold
        [0.6, 0.7, 0.1],  # a: taken for b, both named
        [0.1, 0.8, 0.5],  # b: right; 0.5 is not above the threshold
        [0.2, 0.3, 0.3],  # c: a tie, the first counts
        [0.9, 0.1, 0.8],  # a and c: not in argmax accuracy
        [0.0, 0.6, 0.0],  # none: likewise
    ],
    dtype=np.float32,
)
TARGET = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 0, 0]], dtype=bool)


def test_a_table_by_hand() -> None:
    found = accuracy_of(SCORES, TARGET, "argmax")
    assert found == {
        "argmax": pytest.approx(3 / 5),
        "element_wise": pytest.approx(17 / 21),  # wrong: a of clip 1, b of 2, c of 4, b of 6
        "precision": pytest.approx((3 / 3 + 1 / 3 + 1 / 1) / 3),
        "collapsed": 0.0,
        "confusion": [[2, 1, 0], [0, 1, 0], [0, 1, 0]],
        "reported": pytest.approx(3 / 5),
    }
    low = accuracy_of(SCORES, TARGET, "argmax", threshold=0.15)
    assert low["precision"] == pytest.approx((4 / 5 + 1 / 6 + 2 / 4) / 3)  # a: 0 1 2 4 5, b: all but 5, c: 1 3 4 5
    assert low["element_wise"] == pytest.approx((21 - 1 - 5 - 2) / 21)
    assert (low["argmax"], low["confusion"]) == (found["argmax"], found["confusion"])


@pytest.mark.parametrize("reported", ["argmax", "element_wise", "precision"])
def test_what_a_paper_calls_its_accuracy_is_repeated(reported: Reported) -> None:
    found = accuracy_of(SCORES, TARGET, reported)
    assert found["reported"] == found[reported]
    assert len({found["argmax"], found["element_wise"], found["precision"]}) == 3


def test_a_network_that_gives_every_clip_one_answer_has_collapsed() -> None:
    rng = np.random.default_rng(0)
    for scores, collapsed in (
        (np.tile(np.float32([0.2, 0.9, 0.1, 0.4]), (40, 1)), 1.0),
        (0.1 * rng.random((40, 4), np.float32) + np.float32([0, 0, 0, 0.5]), 1.0),  # whatever else may differ
        (np.float32(BALANCED), 0.0),
        (np.tile(np.float32([0.2, 0.9, 0.1, 0.4]), (1, 1)), None),
        (np.full((40, 1), 0.5, np.float32), None),
    ):
        target = BALANCED[: len(scores), : scores.shape[1]]
        assert accuracy_of(scores, target, "argmax")["collapsed"] == collapsed


levels = st.integers(0, 8).map(lambda i: i / 8)  # ties happen, with one another and with the threshold


@settings(max_examples=40)
@given(st.data())
def test_all_of_it_is_what_sklearn_says(data: st.DataObject) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_score

    clips, classes = data.draw(st.integers(1, 12)), data.draw(st.integers(2, 5))
    row = st.lists(st.booleans(), min_size=classes, max_size=classes)
    one = st.integers(0, classes - 1).map(lambda place: [i == place for i in range(classes)])
    target = np.array(data.draw(st.lists(one | row, min_size=clips, max_size=clips)), dtype=bool)
    flat = data.draw(st.lists(levels, min_size=clips * classes, max_size=clips * classes))
    scores = np.array(flat, dtype=np.float32).reshape(clips, classes)
    threshold = data.draw(levels)
    found = accuracy_of(scores, target, "argmax", threshold)
    named = scores > threshold
    assert found["element_wise"] == pytest.approx(accuracy_score(target.ravel(), named.ravel()))
    assert found["precision"] == pytest.approx(precision_score(target, named, average="macro", zero_division=0))
    single = [i for i in range(clips) if list(target[i]).count(True) == 1]
    truth = [list(target[i]).index(True) for i in single]
    chosen = [list(scores[i]).index(max(scores[i])) for i in single]
    if single:
        assert found["argmax"] == pytest.approx(accuracy_score(truth, chosen))
        assert found["confusion"] == confusion_matrix(truth, chosen, labels=range(classes)).tolist()
    else:
        assert found["argmax"] is None
        assert not np.any(found["confusion"])


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=20), st.integers(0, 99))
def test_clips_of_several_classes_or_none_do_not_move_argmax_accuracy(rows: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, target = rng.random((len(rows), 3), np.float32), np.eye(3, dtype=bool)[rows]
    alone = accuracy_of(scores, target, "argmax")
    more = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1]], dtype=bool)
    both = accuracy_of(
        np.concatenate([rng.random((3, 3), np.float32), scores]), np.concatenate([more, target]), "argmax"
    )
    assert (both["argmax"], both["confusion"]) == (alone["argmax"], alone["confusion"])


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9])  # which float32 rounds up or down
def test_a_score_at_the_threshold_is_not_above_it(threshold: float) -> None:
    scores, target = np.array([[threshold, 0.0]], dtype=np.float32), np.array([[True, False]])
    found = accuracy_of(scores, target, "precision", threshold)
    assert (found["element_wise"], found["precision"]) == (0.5, 0.0)


def test_no_clips_have_no_accuracy_and_say_so_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = accuracy_of(np.zeros((0, 2), np.float32), np.zeros((0, 2), bool), "argmax")
    assert found == {
        "argmax": None, "element_wise": None, "precision": 0.0, "collapsed": None, "confusion": [[0, 0], [0, 0]],
        "reported": None,
    }  # fmt: skip


def measured(**settings: Any) -> Mapping[str, Any]:
    names, classes = [f"c{i}.wav" for i in range(7)], ("a", "b", "c")
    scores = Scores(tuple(names), classes, np.full(7, 10.0), clip=SCORES)
    labels = {name: tuple(np.array(classes)[row]) for name, row in zip(names, TARGET, strict=True)}
    found, _ = measure(
        {"model": scores}, None, dict.fromkeys(names, 10.0), MedianDecoder(), labels=labels, classes=classes, **settings
    )
    return found


def test_it_stands_among_the_measures_where_it_is_asked_for() -> None:
    found = measured(accuracy="element_wise", tagging_threshold=0.15)
    assert found["systems"]["model"]["accuracy"] == accuracy_of(SCORES, TARGET, "element_wise", 0.15)
    names = [name for name in flatten(found) if "/accuracy/" in name]
    assert sorted(name.split("/")[-1] for name in names) == [
        "argmax",
        "collapsed",
        "element_wise",
        "precision",
        "reported",
    ]
    assert all(is_metric(name) for name in names)
    assert "accuracy" not in measured()["systems"]["model"]
