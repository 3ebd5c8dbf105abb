"""How sure a detector is of an event: by what number the event would have to be beaten for a threshold to lose it.

Of a sound event bounding box it is the box's own confidence, the mean posterior of the class over the box (Ebbers et
al. 2024). Of any other decoder's event it is the highest score of the class within it, of the scores that are compared
with the threshold: median-filtered ones, where the decoder filters. Either exceeds the threshold that found the event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sed_lab.decoder.base import Decoder
from sed_lab.decoder.box import BoxDecoder
from sed_lab.decoder.median import MedianDecoder, frames_of
from sed_lab.types import Event, Scores


def confidences(decoder: Decoder, scores: Scores, events: Sequence[Event]) -> list[float]:
    """The confidence, 0 to 1, of each of the ``events`` that ``decoder.decode_recording`` found in one recording."""
    if isinstance(decoder, BoxDecoder):
        boxes = decoder.boxes(scores)
        keys = zip(boxes.label.tolist(), boxes.onset.tolist(), boxes.offset.tolist(), strict=True)
        known = dict(zip(keys, boxes.confidence.tolist(), strict=True))
        return [known[scores.classes.index(one.event_label), one.onset, one.offset] for one in events]
    if isinstance(decoder, MedianDecoder):
        decoder = replace(decoder, clip_gate=None)  # windows went through it before they became a recording
    (frame,), hop = frames_of(decoder.smooth(scores))
    found = []
    for event in events:
        first = int(np.floor(event.onset / hop + 1e-4))
        last = max(first + 1, int(np.ceil(event.offset / hop - 1e-4)))
        found.append(float(frame[first:last, scores.classes.index(event.event_label)].max()))
    return found
