"""Where a class's frame logits lie in the clips that hold it, and a clip's labels: Park & Elhilali 2022, fig. 5 and 1.

A class that fills part of its clips should give two clusters, frames with it above 0 and frames without it below; one
that fills them nearly whole a cluster above 0. The paper shows histograms and counts clusters by eye; here a cluster is
a peak of the smoothed histogram, so that a claim about it can fail.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
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
from sed_lab.run.stored import by_clip, scored
from sed_lab.scores import load_scores
from sed_lab.types import Event, Scores

NUMBERS = (
    r"logits/[^/]+/per_class/[^/]+/(clips|frames|positive_share|positive_peak|negative_peak|both_peaks|negative_only)",
    r"logits/[^/]+/distance_(long|short)",
)
LONG = 0.5  # a class is long where its mean event fills more of a clip than this
FIGURE_1 = "Y2KhtV4TsZ3M_120.000_130.000"  # the clip of fig. 1, in DESED's validation set
EDGES = np.linspace(-12, 12, 49)  # bins of half a logit; what lies beyond counts in the outermost ones
SMOOTHING = 1.5  # standard deviation of the Gaussian the counts are smoothed with, in bins
PROMINENCE = 0.05  # a peak rises so far above the higher saddle beside it, as a share of the highest peak


def measure(folder: Path, metrics: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Histograms of the frame logits of scored subsets with weak labels: ``{system: {"logits": {subset: ...}}}``.

    Among the curves of the first system, `example` of the test clips: ``{system: {"label_roll": ...}}``.
    """
    found: dict[str, Any] = {}
    test: dict[str, Any] = scored(folder, "test") if (folder / "scores/test").is_dir() else {"truth": None}
    lengths = event_shares(test["truth"], test["durations"]) if test["truth"] else {}
    for path in sorted((folder / "scores").glob("*/weak_labels.tsv")):
        labels = by_clip(read_weak(path))
        for name in metrics["systems"]:
            scores = load_scores(path.parent / f"{name}.npz")
            if scores.frame is not None:
                histograms = logit_histograms(scores, labels)
                histograms |= distances(histograms["per_class"], lengths)
                found.setdefault(name, {"logits": {}})["logits"][path.parent.name] = histograms
    roll = example(test["truth"], test["durations"]) if test["truth"] else None
    return found, {} if roll is None else {next(iter(metrics["systems"])): {"label_roll": roll}}


def event_shares(truth: Mapping[str, Sequence[Event]], durations: Mapping[str, float]) -> dict[str, float]:
    """How much of its clip a class's mean event fills."""
    shares: dict[str, list[float]] = {}
    for clip_id, events in truth.items():
        for event in events:
            shares.setdefault(event.event_label, []).append((event.offset - event.onset) / durations[clip_id])
    return {label: statistics.fmean(found) for label, found in shares.items()}


def distances(per_class: Mapping[str, Any], event_share: Mapping[str, float]) -> dict[str, float | None]:
    """How different the histograms of long classes are among themselves, and those of short ones, in [0, 1].

    The mean total variation distance over pairs of classes that have frames; None with fewer than two. Section 4.4.3
    calls the histograms "pretty similar across the targets in the two categories depending on duration".
    """
    found: dict[str, float | None] = {}
    for name, long in (("long", True), ("short", False)):
        shares = [
            np.array(per_class[label]["counts"]) / per_class[label]["frames"]
            for label, share in event_share.items()
            if per_class.get(label, {}).get("frames") and (share > LONG) == long
        ]
        pairs = [float(np.abs(a - b).sum() / 2) for a, b in combinations(shares, 2)]
        found[f"distance_{name}"] = statistics.fmean(pairs) if pairs else None
    return found


def example(truth: Mapping[str, Sequence[Event]], durations: Mapping[str, float]) -> dict[str, Any] | None:
    """The clip of fig. 1 where it is there, else the one whose classes are active for the most unequal times.

    ``events`` are ``[label, onset, offset]`` in seconds. None where no clip holds two classes.
    """

    def ratio(clip_id: str) -> float:
        active: dict[str, float] = {}
        for event in truth[clip_id]:
            active[event.event_label] = active.get(event.event_label, 0.0) + event.offset - event.onset
        return max(active.values()) / min(active.values()) if len(active) > 1 else 0.0

    chosen = FIGURE_1 if FIGURE_1 in truth else max(truth, key=ratio, default="")
    if not chosen or not ratio(chosen):
        return None
    events = [[event.event_label, event.onset, event.offset] for event in truth[chosen]]
    return {"clip_id": chosen, "seconds": durations[chosen], "events": events}


def logit_histograms(scores: Scores, labels: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Histograms of ``log(p / (1 - p))`` over all frames of the clips that ``labels`` (by clip_id) say hold a class.

    ``per_class`` gives for each: ``counts`` between the ``edges``, ``clips``, ``frames``, ``positive_share`` (frames
    above 0), and as 1 or 0 whether the smoothed histogram peaks there ``positive_peak``, ``negative_peak``, both
    (``both_peaks``), or once and below 0 (``negative_only``); the last five are None for a class in no clip.

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
        above, below = bool((centres > 0).any()), int((centres < 0).sum())
        numbers = {
            "positive_share": float((values > 0.5).mean()) if len(values) else 0.0,
            "positive_peak": int(above),
            "negative_peak": int(below > 0),
            "both_peaks": int(above and below > 0),
            "negative_only": int(below == 1 and not above),
        }
        per_class[label] = {
            "clips": len(held),
            "frames": len(values),
            **(numbers if len(values) else dict.fromkeys(numbers)),
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


def label_roll(table: Table) -> Figure | None:
    """The labels of the clip that the first row's first run keeps (fig. 1); None where it keeps none."""
    name = next(iter(table.experiment.rows))
    files = [table.folders[name][seed] / "curves.json" for seed in table.records[name]]
    systems = read_json(files[0]) if files and files[0].exists() else {}
    kept = [system["label_roll"] for system in systems.values() if "label_roll" in system]
    return roll_of(kept[0], table.experiment.classes) if kept else None


@styled
def roll_of(one: Mapping[str, Any], classes: Sequence[str]) -> Figure:
    """When each class is active in the clip of `example`."""
    figure = new_figure(8.0, 3.2)
    axes = figure.add_subplot()
    for label, onset, offset in one["events"]:
        axes.barh(classes.index(label), offset - onset, left=onset, height=0.7, color=COLOURS[0])
    axes.set(xlim=(0, one["seconds"]), xlabel=f"seconds of {one['clip_id']}")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    return figure
