"""Two senses of accuracy: how far each falls from training to test clips, and confusion matrices (Aziz 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sed_lab.report.run_folder import RunFolder
from sed_lab.report.style import INK, new_figure, styled

READABLE = 40  # classes of a matrix; AudioSet has 527
NUMBERS = (r"accuracy/(argmax|element_wise)_gap",)


def measure(folder: Path, metrics: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """How much higher each accuracy is on subset ``training``, where it was measured, than on the test clips."""
    gaps: dict[str, Any] = {}
    for name, system in metrics.get("others", {}).get("training", {}).get("systems", {}).items():
        ours, theirs = metrics["systems"][name].get("accuracy", {}), system.get("accuracy", {})
        for kind in ("argmax", "element_wise"):
            if ours.get(kind) is not None and theirs.get(kind) is not None:
                gaps.setdefault(name, {"accuracy": {}})["accuracy"][f"{kind}_gap"] = theirs[kind] - ours[kind]
    return gaps, {}


def figures(run: RunFolder) -> dict[str, tuple[Figure, str]]:
    """Confusion matrices of every system with an accuracy of clips of one class, of up to `READABLE` classes."""
    measured = run.metrics.get("systems", {})
    accuracies = {name: measured[name]["accuracy"] for name in run.systems if "accuracy" in measured.get(name, {})}
    if len(run.classes) > READABLE or all(one["argmax"] is None for one in accuracies.values()):
        return {}
    drawn = confusion({name: one["confusion"] for name, one in accuracies.items()}, run.classes)
    return {"confusion": (drawn, "Clips of each true class by the class of their highest score")}


@styled
def confusion(systems: Mapping[str, Sequence[Sequence[int]]], classes: Sequence[str]) -> Figure:
    """A matrix a system, by name: clips of each true class (a line) by the class of their highest score (a column).

    Colours are shares of the line, numbers count clips.
    """
    figure = new_figure(3.9 * len(systems), 3.7)
    for axes, (name, counts) in zip(figure.subplots(1, len(systems), squeeze=False)[0], systems.items(), strict=True):
        matrix = np.array(counts)
        share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (line, column), count in np.ndenumerate(matrix):
            colour = "white" if share[line, column] > 0.6 else INK
            axes.text(column, line, str(count), ha="center", va="center", color=colour, fontsize=8.5)
        axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
        axes.set_yticks(range(len(classes)), classes)
        axes.grid(visible=False)
        axes.set(title=name, xlabel="class of the highest score", ylabel="true class")
    return figure
