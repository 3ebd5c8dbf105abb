"""How far accuracies fall from training to test clips, and the matrices of the page."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sed_lab.analysis.aziz2020 import NUMBERS, confusion, figures, measure
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import is_metric


def of(**values: float | None) -> dict[str, Any]:
    return {"systems": {"model": {"accuracy": values}}}


def gaps(ours: dict[str, Any], **others: dict[str, Any]) -> dict[str, Any]:
    numbers, curves = measure(Path(), {**ours, "others": others})
    assert curves == {}
    return numbers


def test_gaps_are_training_less_test() -> None:
    ours = of(argmax=0.6, element_wise=0.8, precision=0.5, reported=0.6)
    found = gaps(ours, training=of(argmax=0.9, element_wise=0.75, precision=0.9, reported=0.9))
    expected = {"argmax_gap": pytest.approx(0.3), "element_wise_gap": pytest.approx(-0.05)}
    assert found == {"model": {"accuracy": expected}}
    assert all(is_metric(name, NUMBERS) for name in flatten({"systems": found}))
    for mine, theirs in ((None, 0.5), (0.5, None), (None, None)):
        found = gaps(of(argmax=mine, element_wise=0.8), training=of(argmax=theirs, element_wise=0.9))
        assert set(found["model"]["accuracy"]) == {"element_wise_gap"}


def test_without_training_clips_there_is_no_gap() -> None:
    ours = {"systems": {"model": {"accuracy": {"argmax": 0.5}}, "other": {"eer": {}}}}
    assert gaps(ours) == gaps(ours, devtest=of(argmax=1.0)) == {}
    assert gaps(ours, training={"systems": {"other": {"accuracy": {"argmax": 1.0}}}}) == {}  # measured there only


def test_a_matrix_a_system_with_its_counts() -> None:
    figure = confusion({"a": [[3, 1], [0, 2]], "b": [[4, 0], [1, 1]]}, ("Dog", "Cat"))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a", "b"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["3", "1", "0", "2"]


def test_of_hundreds_of_classes_no_matrix_is_drawn() -> None:
    for number, drawn in ((3, {"confusion"}), (41, set())):
        accuracy = {"argmax": 0.5, "confusion": [[1] * number] * number}
        measured = {"systems": {"model": {"accuracy": accuracy}}}
        run: Any = SimpleNamespace(metrics=measured, systems=["model"], classes=[f"c{i}" for i in range(number)])
        assert set(figures(run)) == drawn
