"""Numbers that the configuration decides."""

from __future__ import annotations

import pytest

from sed_lab.experiment.claim import better
from sed_lab.experiment.comparison import FAILS, HOLDS, NO_DIFFERENCE, UNDECIDED

AB = [("a", "b")]


@pytest.mark.parametrize(("b", "lower", "word"), [(4, False, HOLDS), (4, True, FAILS), (5, False, NO_DIFFERENCE)])
def test_a_number_that_the_configuration_decides_needs_no_statistics(b: int, lower: bool, word: str) -> None:
    rows = {"a": dict.fromkeys(range(3), 5.0), "b": dict.fromkeys(range(3), float(b))}
    assert better(rows, AB, lower).word == UNDECIDED  # three of three decide nothing
    assert better(rows, AB, lower, fixed=True).word == word
    rows["a"][2] = 6.0  # not fixed after all
    assert better(rows, AB, lower, fixed=True) == better(rows, AB, lower)
    assert better({"a": {}, "b": rows["b"]}, AB, lower, fixed=True).word == UNDECIDED
