"""How sure a decoder is of an event: the scores that it was found by, by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sed_lab.decoder.base import Decoder
from sed_lab.types import Event, Scores
from tests.configured import configured

median, box, onset = (configured(f"decoder/{name}") for name in ("default", "box", "amiriparian2018"))
CLASSES = ("up", "down")
SCORES = np.array([0.1, 0.6, 0.9, 0.7, 0.1, 0.1, 0.4, 0.4, 0.1, 0.1], np.float32)
BOTH = Scores(("r",), CLASSES, np.array([1.0]), 0.1, (np.stack([SCORES, SCORES[::-1]], 1),))
FOUND = [Event(0.1, 0.4, "up"), Event(0.2, 0.4, "down"), Event(0.6, 0.8, "up"), Event(0.6, 0.9, "down")]


@pytest.mark.parametrize(
    ("decoder", "highest"),
    [
        (median(threshold=0.3, median_seconds=0.1, clip_gate=0.9), 0.9),  # a gate that windows went through before
        (median(threshold=0.3, median_seconds=0.3), 0.7),  # medians of three: .6 .7 .7
    ],
)
def test_it_is_the_highest_score_that_was_compared(decoder: Decoder, highest: float) -> None:
    sure = decoder.decode_recording(BOTH, 0.3)
    assert [event for event, _ in sure] == FOUND
    assert [value for _, value in sure] == pytest.approx([highest, 0.4, 0.4, highest])


def test_of_a_decoder_that_filters_nothing_it_is_the_peak() -> None:
    decoder = onset(threshold=0.5, onset_threshold=0.3, lookback_seconds=1.0, gap_frames=0)
    sure = decoder.decode_recording(BOTH, 0.5)
    assert [event for event, _ in sure] == [FOUND[0], FOUND[3]]
    assert [value for _, value in sure] == pytest.approx([0.9, 0.9])


@pytest.mark.parametrize("kind", [median, box, onset])
def test_it_exceeds_the_threshold_that_found_the_event(kind: Callable[..., Decoder]) -> None:
    rng = np.random.default_rng(3)
    frame = np.repeat(rng.random((60, 2), np.float32), 5, axis=0)
    scores = Scores(("r",), CLASSES, np.array([30.0]), 0.1, (frame,))
    decoder = kind(threshold=0.6)
    sure = decoder.decode_recording(scores, 0.6)
    assert len(sure) > 10
    assert min(value for _, value in sure) > 0.6
    if kind is not onset:  # of which a clip has one event at most
        assert tuple(event for event, _ in sure) == decoder.decode(scores, 0.6)["r"]
    if kind is box:  # the mean over the box, by hand
        cells = np.repeat(frame.astype(float), 1000, axis=0)  # tenths of a millisecond
        for event, value in sure:
            a, b = round(event.onset * 1e4), round(event.offset * 1e4)
            assert value == pytest.approx(cells[a:b, CLASSES.index(event.event_label)].mean(), abs=1e-3)
