"""What someone who waits sees, on a clock that the tests set."""

from __future__ import annotations

import sys

import pytest

from sed_lab import waiting
from sed_lab.waiting import Work, shown, time_in_words, track


class Clock:
    """Seconds that pass only where something waits; ``work`` parts get done in each, until ``end``."""

    def __init__(self, work: float, end: float) -> None:
        self.now, self.rate, self.end = 0.0, work, end
        self.work: Work | None = None

    def __call__(self) -> float:
        return self.now

    def ended(self, seconds: float) -> bool:
        self.now = min(self.end, self.now + seconds)
        assert self.work is not None
        self.work.done = int(self.now * self.rate)
        return self.now == self.end


def lines(capsys: pytest.CaptureFixture[str], total: int | None, rate: float, end: float) -> list[str]:
    clock = Clock(rate, end)
    clock.work = Work("making", total, clock=clock)
    clock.work.say(clock.ended)
    return capsys.readouterr().err.splitlines()


def test_what_takes_less_than_two_seconds_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, 10, 5, 1.99) == []
    assert list(track(range(3), 3, "making")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_lines_say_how_far_it_is_and_how_long_it_will_take(capsys: pytest.CaptureFixture[str]) -> None:
    said = ["making: 20 of 400, 38 s left", "making: 120 of 400, 28 s left", "making: 220 of 400, 18 s left"]
    assert lines(capsys, 400, 10, 30) == said
    assert lines(capsys, None, 0, 13) == ["making: 2 s so far", "making: 12 s so far"]
    assert lines(capsys, 2, 0.1, 13) == ["making: 2 s so far", "making: 1 of 2, 12 s left"]


def test_work_that_says_how_far_it_is_is_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock(0, 13)
    clock.work = Work("job 0", None, lambda: "epoch 3/8" if clock.now > 5 else "", clock)
    clock.work.say(clock.ended)
    assert capsys.readouterr().err.splitlines() == ["job 0: 2 s so far", "job 0: epoch 3/8"]


def test_lines_come_ever_less_often(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(lines(capsys, 10**6, 1, 100)) == 10
    assert len(lines(capsys, 10**6, 1, 36000)) < 10 + 63  # a tenth more each time: ln(360) / ln(1.1) = 61.8


def test_the_end_is_said_where_anything_was(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "FIRST", 0.0)
    with shown("outer", 2) as step:
        with shown("inner"):  # of two, one is shown
            step()
        while "outer: " not in (said := capsys.readouterr().err):
            pass
    assert "inner" not in said
    assert capsys.readouterr().err == "outer: took 0 s\n"
    with pytest.raises(ZeroDivisionError), shown("broken"):
        raise ZeroDivisionError
    assert "took" not in capsys.readouterr().err
    assert list(track(range(3), 3, "hidden", show=False)) == [0, 1, 2]
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert list(track(range(3), 3, "hidden")) == [0, 1, 2]
    assert "hidden" not in capsys.readouterr().err


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # so that rich takes the captured stream for a terminal
    clock = Clock(10, 4)
    clock.work = Work("making [of it]", 40, clock=clock)
    clock.work.draw(clock.ended)
    said = capsys.readouterr().err
    assert "making [of it]" in said
    assert "95%" in said  # 38 of 40 at 3.8 s, when it looked last
    assert not waiting._on_terminal()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert waiting._on_terminal()
    monkeypatch.setenv("TERM", "dumb")
    assert not waiting._on_terminal()


def test_times_in_words() -> None:
    assert [time_in_words(seconds) for seconds in (0.4, 89.4, 90, 5399, 5400)] == [
        "0 s", "89 s", "2 min", "90 min", "1.5 h",
    ]  # fmt: skip
