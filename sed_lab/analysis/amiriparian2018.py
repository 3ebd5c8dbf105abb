"""One clip with its posterior, presence and onset: Amiriparian et al. 2018, fig. 4."""

from __future__ import annotations

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


def measure(folder: Path, metrics: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`example` of each system, ``{system: {"example": ...}}``, among the curves; none with another decoder."""
    settings = dict(metrics["settings"]["decoder"])
    test = scored(folder, "test")
    if settings.pop("decoder") != OnsetDecoder.__name__ or test["truth"] is None:
        return {}, {}
    decoder = OnsetDecoder(**settings)
    found = {name: example(scores, test["truth"], decoder) for name, scores in test["systems"].items()}
    return {}, {name: {"example": one} for name, one in found.items() if one is not None}


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
