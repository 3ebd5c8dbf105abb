"""Which names are numbers of a run, and what they speak of."""

from __future__ import annotations

import pytest

from sed_lab.metric.names import class_in, could_be_metric, is_metric


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("student/event_f1/macro", None),
        ("teacher/event_f1_class_tuned/per_class/Dog bark/error_rate", "Dog bark"),
        ("student/event_f1_optimistic/macro", None),
        ("student/event_f1_optimistic/threshold", None),
        ("public/student/event_f1_optimistic/per_class/Dog/f1", "Dog"),
        ("model/psds1/per_class/Cat", "Cat"),
        ("dataset/per_class/Cat/V_c", "Cat"),
    ],
)
def test_names_of_metrics(name: str, label: str | None) -> None:
    assert is_metric(name)
    assert class_in(name) == label


@pytest.mark.parametrize("name", ["student/event_f1", "Pu pil/event_f1/macro", "student/psds3/exact", "macro", ""])
def test_other_names_are_no_metrics(name: str) -> None:
    assert not is_metric(name)
    assert class_in(name) is None


def test_an_analysis_adds_numbers_under_a_block_of_its_own() -> None:
    name = "model/x/per_class/Cat/share"
    assert not is_metric(name)
    assert is_metric(name, [r"x/per_class/[^/]+/share"])
    assert could_be_metric(name)
    assert class_in(name) == "Cat"
    assert not could_be_metric("student/event_f1/makro")
