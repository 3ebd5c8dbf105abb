"""One clip with its posterior and thresholds, for a picture like fig. 4 of Amiriparian et al. 2018."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sed_lab.decoder.median import per_class
from sed_lab.decoder.onset import OnsetDecoder
from sed_lab.types import Event, Scores


def example(scores: Scores, truth: Mapping[str, tuple[Event, ...]], decoder: OnsetDecoder) -> dict[str, Any] | None:
    """The first clip with an event: its posterior of that class, both thresholds, true and detected events [s]; None
    where no clip has one."""
    detected = decoder.decode(scores)
    for row, clip_id in enumerate(scores.clip_id):
        if not truth[clip_id] or scores.frame is None:
            continue
        label = truth[clip_id][0].event_label
        number = scores.classes.index(label)
        thresholds = [
            float(per_class(value, scores.classes, "threshold")[number])
            for value in (decoder.threshold, decoder.onset_threshold)
        ]
        return {
            "clip_id": clip_id,
            "event_label": label,
            "frame_hop": scores.frame_hop,
            "posterior": [round(float(value), 4) for value in scores.frame[row][:, number]],
            "threshold": thresholds[0],
            "onset_threshold": thresholds[1],
            "reference": [[event.onset, event.offset] for event in truth[clip_id]],
            "detected": [[e.onset, e.offset] for e in detected[clip_id] if e.event_label == label],
        }
    return None
