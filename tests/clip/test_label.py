from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed_lab.clip.annotation import read_strong
from sed_lab.clip.batch import encode_strong, encode_weak
from sed_lab.errors import InputError
from sed_lab.types import Event

METADATA = Path(__file__).resolve().parents[1] / "data" / "desed_metadata"
CLASSES = ("Cat", "Dog", "Speech")
HOP = 0.064


def test_hand_computed_frames() -> None:
    # 0.100 s lies in frame 1, 0.128 s is the start of frame 2 (exclusive), 0.129 s reaches into it
    assert encode_strong([Event(0.1, 0.128, "Dog")], CLASSES, 4, HOP).tolist() == [
        [0, 0, 0],
        [0, 1, 0],
        [0, 0, 0],
        [0, 0, 0],
    ]
    assert encode_strong([Event(0.1, 0.129, "Dog")], CLASSES, 4, HOP)[:, 1].tolist() == [0, 1, 1, 0]
    assert encode_strong([Event(0.0, 10.0, "Cat")], CLASSES, 156, HOP)[:, 0].sum() == 156
    assert encode_strong([Event(9.99, 10.0, "Cat")], CLASSES, 156, HOP).sum() == 0  # past the last frame, 9.984 s
    assert encode_strong([], CLASSES, 5, HOP).shape == (5, 3)
    assert encode_strong([], CLASSES, 5, HOP).dtype == np.float32


@pytest.mark.parametrize("frame", range(1, 156))
def test_times_on_the_grid_fill_their_frames_exactly(frame: int) -> None:
    event = Event(round(frame * HOP, 3), round((frame + 1) * HOP, 3), "Speech")
    assert np.flatnonzero(encode_strong([event], CLASSES, 157, HOP)[:, 2]).tolist() == [frame]


# Times off the grid by more than a millionth of a frame: whole milliseconds plus 0.3 ms (the grid is whole ones).
milliseconds = st.integers(0, 11_000).map(lambda n: n / 1000 + 0.0003)
lengths = st.integers(1, 9000).map(lambda n: n / 1000)
overlapping = st.lists(
    st.builds(
        lambda onset, length, label: Event(onset, onset + length, label),
        milliseconds,
        lengths,
        st.sampled_from(CLASSES),
    ),
    max_size=8,
)


@given(overlapping)
def test_equals_a_loop_over_cells(events: list[Event]) -> None:
    """A cell is active if its frame and an event of its class overlap."""
    expected = np.zeros((156, 3))
    for t in range(156):
        for c, label in enumerate(CLASSES):
            expected[t, c] = any(
                e.event_label == label and e.onset < (t + 1) * HOP and e.offset > t * HOP for e in events
            )
    np.testing.assert_array_equal(encode_strong(events, CLASSES, 156, HOP), expected)


def test_equals_the_dcase_2021_encoder_on_all_of_desed() -> None:
    """int(onset) and ceil(offset) of seconds * 16000 / 256 / 4, clipped to the frames, as that baseline computes."""
    events = [e for found in read_strong(METADATA / "validation.tsv").values() for e in found]
    classes = sorted({event.event_label for event in events})
    for event in events:
        expected = np.zeros((156, len(classes)))
        onset, offset = (min(max(time * 16000 / 256 / 4, 0), 156) for time in (event.onset, event.offset))
        expected[int(onset) : math.ceil(offset), classes.index(event.event_label)] = 1
        np.testing.assert_array_equal(encode_strong([event], classes, 156, HOP), expected, err_msg=str(event))


def test_weak_target() -> None:
    assert encode_weak(["Speech", "Cat"], CLASSES).tolist() == [1, 0, 1]
    assert encode_weak([], CLASSES).tolist() == [0, 0, 0]


def test_unknown_labels_are_refused() -> None:
    with pytest.raises(InputError, match="'Bird' is not among the classes Cat, Dog, Speech"):
        encode_weak(["Bird"], CLASSES)
    with pytest.raises(InputError, match="'Bird' is not among the classes"):
        encode_strong([Event(0.0, 1.0, "Bird")], CLASSES, 5, HOP)
