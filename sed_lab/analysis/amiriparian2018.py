"""One clip with its posterior, presence and onset (Amiriparian et al. 2018, fig. 4), and how large a detector is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sed_lab.decoder.median import per_class
from sed_lab.decoder.onset import OnsetDecoder
from sed_lab.experiment.table import Table
from sed_lab.files import read_json
from sed_lab.report.style import COLOURS, MUTED, new_figure, styled
from sed_lab.run.stored import scored
from sed_lab.types import Event, Scores

NUMBERS = (r"network/parameters",)
SHOWN = ("devtest", "babycry", 57)  # fig. 4 is of mixture_devtest_babycry_057
NOT_TRAINED = ("running_mean", "running_var", "num_batches_tracked")


def measure(folder: Path, metrics: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``{system: {"network": {"parameters": ...}}}``, of one detector, where the run keeps its detectors; and among the
    curves `example` of each system, ``{system: {"example": ...}}``, none with another decoder."""
    number = parameters(folder / "detector.ckpt") if (folder / "detector.ckpt").exists() else None
    sizes = {} if number is None else {name: {"network": {"parameters": number}} for name in metrics["systems"]}
    settings = dict(metrics["settings"]["decoder"])
    shown = scored(folder, SHOWN[0] if (folder / "scores" / SHOWN[0]).is_dir() else "test")
    if settings.pop("decoder") != OnsetDecoder.__name__ or shown["truth"] is None:
        return sizes, {}
    decoder = OnsetDecoder(**settings)
    found = {name: example(scores, shown["truth"], decoder) for name, scores in shown["systems"].items()}
    return sizes, {name: {"example": one} for name, one in found.items() if one is not None}


def parameters(checkpoint: Path) -> int | None:
    """How many numbers one detector learns; all of a run have the same network. None of a checkpoint without any."""
    from sed_lab.run.checkpoint import read_weights

    state, _ = read_weights(checkpoint)
    names = [name for name in state if name.startswith("best.") and name.rsplit(".", 1)[-1] not in NOT_TRAINED]
    first = {name.split(".")[1] for name in names[:1]}
    return sum(state[name].numel() for name in names if name.split(".")[1] in first) or None


def example(scores: Scores, truth: Mapping[str, tuple[Event, ...]], decoder: OnsetDecoder) -> dict[str, Any] | None:
    """A clip with an event: its posterior of that class, both thresholds, true and detected events [s]; None where no
    clip has one. It is `SHOWN`, or the next of its class with an event, or the first clip with one."""
    detected = decoder.decode(scores)
    for row, clip_id in sorted(enumerate(scores.clip_id), key=lambda one: _apart(one[1])):
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


def _apart(clip_id: str) -> int:
    """0 of the clip of fig. 4, and more of those after it; clips before it and of other classes come last."""
    number = re.match(rf"mixture_{SHOWN[0]}_{SHOWN[1]}_(\d+)_", clip_id)
    after = int(number[1]) - SHOWN[2] if number else -1
    return after if after >= 0 else 10**6


def clip(table: Table) -> Figure | None:
    """The test clip that the first row's first run keeps; None where it keeps none."""
    name, row = next(iter(table.experiment.rows.items()))
    files = [table.folders[name][seed] / "curves.json" for seed in table.records[name]]
    one = read_json(files[0]).get(row.system, {}).get("example") if files and files[0].exists() else None
    return None if one is None else clip_with_thresholds(one)


@styled
def clip_with_thresholds(one: Mapping[str, Any]) -> Figure:
    """Posterior, both thresholds, true and detected event of `example`."""
    figure = new_figure(10.0, 3.2)
    axes = figure.add_subplot()
    time = (np.arange(len(one["posterior"])) + 0.5) * one["frame_hop"]
    axes.plot(time, one["posterior"], color=COLOURS[0], lw=1.2, label=f"posterior of {one['event_label']}")
    for number, (key, words) in enumerate((("threshold", "t1: present"), ("onset_threshold", "t2: onset"))):
        axes.axhline(one[key], color=MUTED, lw=0.9, ls=("--", ":")[number], label=words)
    for number, (onset, offset) in enumerate(one["reference"]):
        axes.axvspan(onset, offset, color=COLOURS[2], alpha=0.2, lw=0, label="true event" if number == 0 else None)
    for number, (onset, _) in enumerate(one["detected"]):
        axes.axvline(onset, color=COLOURS[1], lw=1.4, label="detected onset" if number == 0 else None)
    axes.set(xlim=(0, time[-1]), ylim=(0, 1.02), xlabel=f"seconds of {one['clip_id']}", ylabel="posterior")
    axes.legend(loc="upper right", bbox_to_anchor=(1, 1.18), ncols=5, frameon=False)
    return figure
