"""Labels as arrays: events and labels of a clip on the network's output grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sed_lab.errors import InputError

if TYPE_CHECKING:
    from sed_lab.types import Event

# Times are decimals (0.832 s) that binary floats miss by an ulp; a millionth of a frame keeps 13.000000000000002
# from reaching into frame 14.
_SLACK = 1e-6


def frame_count(n_samples: int, hop_length: int, time_pooling: int = 1) -> int:
    """Output frames T of a clip: both divisions round down, as in DCASE 2021 ((160000, 256, 4) -> 156)."""
    return n_samples // hop_length // time_pooling


def encode_strong(events: Iterable[Event], classes: Sequence[str], n_frames: int, frame_hop: float) -> np.ndarray:
    """Frame targets ``[T, C]`` in {0, 1}, float32: onset rounded down, offset rounded up and exclusive.

    ``frame_hop`` in seconds. As the DCASE 2021 task 4 baseline's encoder: an event is active in every frame it touches;
    what lies past the last frame is cut off.

    Raises:
        InputError: an event's label is not among ``classes``.
    """
    target = np.zeros((n_frames, len(classes)), dtype=np.float32)
    index = {name: i for i, name in enumerate(classes)}
    for event in events:
        start = math.floor(event.onset / frame_hop + _SLACK)
        stop = max(start + 1, math.ceil(event.offset / frame_hop - _SLACK))
        target[start:stop, _column(index, event.event_label)] = 1
    return target


def encode_weak(event_labels: Iterable[str], classes: Sequence[str]) -> np.ndarray:
    """Clip target ``[C]`` in {0, 1}, float32.

    Raises:
        InputError: a label is not among ``classes``.
    """
    target = np.zeros(len(classes), dtype=np.float32)
    index = {name: i for i, name in enumerate(classes)}
    for label in event_labels:
        target[_column(index, label)] = 1
    return target


def _column(index: dict[str, int], label: str) -> int:
    try:
        return index[label]
    except KeyError:
        raise InputError(f"event label {label!r} is not among the classes {', '.join(index)}") from None
