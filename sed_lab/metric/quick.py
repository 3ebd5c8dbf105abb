"""Metrics cheap enough for every validation epoch; they choose the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sed_lab.decoder.base import Decoder
from sed_lab.metric.clip import clip_scores, clip_targets, tagging_f1
from sed_lab.metric.intersection import count, f1_result, overlaps
from sed_lab.metric.table import Events, EventTable, event_table, merge_overlaps
from sed_lab.types import Scores


def quick_tagging_f1(scores: Scores, labels: Mapping[str, Sequence[str]]) -> float:
    """Macro tagging F1 at threshold 0.5 over the classes that ``labels`` (by clip_id) hold; nan where there is none."""
    values, _ = clip_scores(scores)
    target = clip_targets(labels, scores.clip_id, scores.classes)
    macro = tagging_f1(values, target, scores.classes)["macro"]
    return float("nan") if macro is None else macro


def quick_intersection_f1(scores: Scores, truth: Events, decoder: Decoder, zero_score: bool) -> float:
    """Macro intersection F1 (threshold, dtc, gtc 0.5) over classes with reference events; nan where there is none.

    ``zero_score`` as in `sed_lab.metric.intersection.intersection_f1`.
    """
    found = EventTable(*decoder.points(scores, np.array([0.5])))
    reference, _ = merge_overlaps(event_table([truth], scores.clip_id, scores.classes))
    pairs = overlaps(found, reference, scores.duration, 1, len(scores.classes))
    macro = f1_result(count(pairs, 0.5, 0.5, 0.3), scores.classes, zero_score)["macro"]
    return float("nan") if macro is None else macro
