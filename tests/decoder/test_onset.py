"""Events of long recordings: as many as there are, wherever a stretch of a mixture's length would end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed_lab.types import Event, Scores
from tests.configured import configured

OnsetDecoder = configured("decoder/amiriparian2018", threshold={"cry": 0.8, "shot": 0.5})

HOP = 0.05


def recording(seconds: float, *sounds: tuple[float, float, float, int]) -> Scores:
    """Scores of 0.1, and (from, to, height, class) where there are sounds."""
    frame = np.full((round(seconds / HOP), 2), 0.1, np.float32)
    for start, stop, height, label in sounds:
        frame[round(start / HOP) : round(stop / HOP), label] = height
    return Scores(("a",), ("cry", "shot"), np.array([seconds]), HOP, (frame,))


def found(scores: Scores) -> list[tuple[str, float, float]]:
    decoder = OnsetDecoder()
    sure = decoder.decode_recording(scores, decoder.threshold)
    return [(event.event_label, event.onset, event.offset) for event, _ in sure]


def test_three_cries_in_half_a_minute_are_three() -> None:
    cries = [(2.0, 3.5, 0.9, 0), (4.0, 6.0, 0.85, 0), (20.0, 21.0, 0.95, 0)]
    assert found(recording(30, *cries)) == [("cry", start, stop) for start, stop, _, _ in cries]
    assert len(OnsetDecoder().decode(recording(30, *cries))["a"]) == 1  # of a mixture, as in the paper


def test_a_cry_over_the_end_of_a_mixture_s_length_is_one() -> None:
    assert found(recording(70, (29.0, 31.5, 0.9, 0), (59.9, 60.05, 0.9, 0))) == [
        ("cry", 29.0, 31.5),
        ("cry", 59.9, 60.05),
    ]


def test_sounds_of_two_classes_at_once_are_both_found() -> None:
    assert found(recording(10, (2, 5, 0.9, 0), (3, 4, 0.6, 1))) == [("cry", 2.0, 5.0), ("shot", 3.0, 4.0)]


def test_a_run_that_never_reaches_the_presence_threshold_is_none_and_short_gaps_are_noise() -> None:
    assert found(recording(10, (1, 2, 0.7, 0))) == []
    assert found(recording(10, (1, 2, 0.7, 0), (2.1, 2.5, 0.9, 0))) == [("cry", 1.0, 2.5)]  # two frames missing
    assert found(recording(10, (1, 2, 0.9, 0), (2.15, 2.5, 0.9, 0))) == [("cry", 1.0, 2.0), ("cry", 2.15, 2.5)]
    assert found(recording(10, (9, 10, 0.9, 0))) == [("cry", 9.0, 10.0)]
    ((event, confidence),) = OnsetDecoder().decode_recording(recording(10, (1, 2, 0.3, 0)), 0.2)
    assert (event, confidence) == (Event(1.0, 2.0, "cry"), pytest.approx(0.3))


@given(st.lists(st.sampled_from((0.1, 0.4, 0.6, 0.9)), min_size=0, max_size=30))
def test_against_a_loop(values: list[float]) -> None:
    frame = np.array(values, np.float32).reshape(-1, 1) if values else np.zeros((0, 1), np.float32)
    scores = Scores(("a",), ("cry",), np.array([max(len(values), 1) * HOP]), HOP, (frame,))
    runs: list[list[int]] = []
    for time, value in enumerate(values):
        if value > 0.5:
            if runs and time - runs[-1][1] <= 2:
                runs[-1][1] = time + 1
            else:
                runs.append([time, time + 1])
    expected = [
        (pytest.approx(first * HOP, abs=1e-6), pytest.approx(end * HOP, abs=1e-6))
        for first, end in runs
        if max(values[first:end]) > 0.8
    ]
    events = tuple(event for event, _ in OnsetDecoder({"cry": 0.8}).decode_recording(scores, 0.8))
    assert [(event.onset, event.offset) for event in events] == expected
    one = OnsetDecoder({"cry": 0.8}).decode(scores)["a"]
    if len(runs) == 1 and one and min(values[slice(*runs[0])]) > 0.5:
        assert events == one  # one run without a gap: the same as of a mixture
