"""The benchmarks' page, and the check that finds a ratio that fell."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import __main__ as bench
from sed_lab.files import read_json


def test_the_page_shows_what_is_stored() -> None:
    text = bench.PAGE.read_text(encoding="utf-8")
    assert bench.markdown(read_json(bench.RESULTS)) in text


def measured(seconds: float, peer: float = 3.0) -> dict[str, Any]:
    return {"result": {"rows": [{"what": "a step", "ours": seconds, "peer": peer, "unit": "s"}]}}


@pytest.mark.parametrize(
    ("tries", "code"),
    [
        ([measured(1.2)], 0),  # 2.5 times after 3
        ([measured(2.0), measured(1.0)], 0),  # once
        ([measured(2.0), measured(2.0)], 1),
        ([None, None], 1),
        ([measured(2.0, peer=6.0)], 0),  # a machine half as fast
    ],
)
def test_a_ratio_that_fell_twice_is_found(
    tries: list[Any], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = list(tries)
    monkeypatch.setattr(bench, "in_own_process", lambda name: left.pop(0))
    assert bench.check({"step": measured(1.0)}, ["step"]) == code
    assert not left
    assert ("step: a step: 3.00 times before" in capsys.readouterr().err) == bool(code)
