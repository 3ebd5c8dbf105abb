"""Where a class's frame logits lie in the clips that hold it: Park & Elhilali 2022, fig. 5.

A class that fills part of its clips should give two clusters, frames with it above 0 and frames without it below; one
that fills them nearly whole a cluster above 0. The paper shows histograms and counts clusters by eye; here a cluster is
a peak of the smoothed histogram, so that a claim about it can fail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sed_lab.clip.annotation import read_weak
from sed_lab.errors import InputError
from sed_lab.experiment.table import Table
from sed_lab.files import read_json
from sed_lab.metric.clip import clip_targets
from sed_lab.report.drawing import caption
from sed_lab.report.style import COLOURS, MUTED, new_figure, styled
from sed_lab.run.stored import by_clip
from sed_lab.scores import load_scores
from sed_lab.types import Scores

NUMBERS = (r"logits/[^/]+/per_class/[^/]+/(clips|frames|positive_share|positive_peak|negative_peak)",)
EDGES = np.linspace(-12, 12, 49)  # bins of half a logit; what lies beyond counts in the outermost ones
SMOOTHING = 1.5  # standard deviation of the Gaussian the counts are smoothed with, in bins
PROMINENCE = 0.05  # a peak rises so far above the higher saddle beside it, as a share of the highest peak


def measure(folder: Path, metrics: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Histograms of the frame logits of scored subsets with weak labels: ``{system: {"logits": {subset: ...}}}``."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "scores").glob("*/weak_labels.tsv")):
        labels = by_clip(read_weak(path))
        for name in metrics["systems"]:
            scores = load_scores(path.parent / f"{name}.npz")
            if scores.frame is not None:
                found.setdefault(name, {"logits": {}})["logits"][path.parent.name] = logit_histograms(scores, labels)
    return found, {}


def logit_histograms(scores: Scores, labels: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Histograms of ``log(p / (1 - p))`` over all frames of the clips that ``labels`` (by clip_id) say hold a class.

    ``per_class`` gives for each: ``counts`` between the ``edges``, ``clips``, ``frames``, ``positive_share`` (frames
    above 0) and ``positive_peak``, ``negative_peak`` (1 where the smoothed histogram peaks there, else 0); the last
    three are None for a class in no clip.

    Raises:
        InputError: there are no frame scores, or a clip has no labels.
    """
    if scores.frame is None:
        raise InputError(f"{scores.name}: histograms of frame logits need frame scores, there are clip scores only")
    target = clip_targets(labels, scores.clip_id, scores.classes)
    per_class = {}
    for index, label in enumerate(scores.classes):
        held = [frame[:, index] for frame, there in zip(scores.frame, target[:, index], strict=True) if there]
        values = np.concatenate([np.empty(0, np.float32), *held]).astype(np.float64)
        with np.errstate(divide="ignore"):
            logits = np.log(values) - np.log1p(-values)
        counts, _ = np.histogram(np.clip(logits, EDGES[0], EDGES[-1]), EDGES)
        centres = _peaks(counts)
        per_class[label] = {
            "clips": len(held),
            "frames": len(values),
            "positive_share": float((values > 0.5).mean()) if len(values) else None,
            "positive_peak": int((centres > 0).any()) if len(values) else None,
            "negative_peak": int((centres < 0).any()) if len(values) else None,
            "counts": counts.tolist(),
        }
    return {"edges": EDGES.tolist(), "per_class": per_class}


def _peaks(counts: np.ndarray) -> np.ndarray:
    """Logits at which the smoothed histogram has a peak."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    smooth = gaussian_filter1d(counts.astype(np.float64), SMOOTHING, mode="constant")
    # Zeros on both sides, so that a peak in an outermost bin is one too.
    places, _ = find_peaks(np.pad(smooth, 1), prominence=PROMINENCE * max(smooth.max(), 1e-12))
    return np.asarray((EDGES[:-1] + EDGES[1:])[places - 1] / 2)


@styled
def histograms(table: Table, subset: str) -> Figure:
    """Frames of weak clips by their logit, a panel a class and a curve a row, all seeds together."""
    experiment = table.experiment
    classes = experiment.classes
    across = 5
    figure = new_figure(11.0, 2.3 * math.ceil(len(classes) / across))
    panels = figure.subplots(math.ceil(len(classes) / across), across, squeeze=False, sharex=True).flat
    blocks = {name: _blocks(table, name, subset) for name in experiment.rows}
    for axes, label in zip(panels, classes, strict=False):
        for number, (name, row) in enumerate(experiment.rows.items()):
            counts = sum((np.array(block["per_class"][label]["counts"]) for block in blocks[name]), np.zeros(1))
            if counts.sum():
                edges = blocks[name][0]["edges"]
                axes.stairs(counts / counts.sum(), edges, color=COLOURS[number], lw=1.3, label=row.label)
        axes.axvline(0, color=MUTED, lw=0.7, ls="--")
        axes.set_title(label, fontsize=9)
        axes.set(yticks=[])
    handles, names = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside upper right", ncols=len(handles))
    caption(figure, "logit of the frame posterior; share of the frames of weakly labelled clips that hold the class")
    return figure


def _blocks(table: Table, row: str, subset: str) -> list[dict[str, Any]]:
    """The histograms of a row's complete runs, of their first system."""
    runs = [read_json(table.folders[row][seed] / "metrics.json")["systems"] for seed in table.records[row]]
    found = [systems[next(iter(systems))].get("logits", {}).get(subset) for systems in runs]
    return [block for block in found if block]
