"""The thresholds of the best event F1 by sed_scores_eval, which tries all of them."""

from __future__ import annotations

import numpy as np

from sed_lab.decoder.base import Decoder
from sed_lab.metric.table import Events, event_table
from sed_lab.types import Scores
from tests.metric.peers import event_lists, sed_scores_eval, to_sed_scores_eval


def exact_class_thresholds(
    scores: Scores,
    truth: Events,
    decoder: Decoder,
    *,
    collar: float = 0.2,
    offset_share: float = 0.2,
    onset_only: bool = False,
) -> dict[str, tuple[float, float]]:
    """Each class's best threshold and its event F1; classes without reference events are left out.

    Ground truth of a class that overlaps or touches is joined, and times count to the microsecond. The decoder's filter
    applies, its removal of short events and gaps does not.
    """
    reference = event_table([truth], list(truth), scores.classes)
    present = [scores.classes[i] for i in np.unique(reference.label)]
    frames = to_sed_scores_eval(decoder.smooth(scores.select(truth)), present)
    with sed_scores_eval() as tool:
        best, _, _, thresholds, _ = tool.collar_based.best_fscore(
            frames, event_lists(truth), onset_collar=collar, offset_collar=1e6 if onset_only else collar,
            offset_collar_rate=0.0 if onset_only else offset_share,
        )  # fmt: skip
    return {label: (float(thresholds[label]), float(best[label])) for label in present}
