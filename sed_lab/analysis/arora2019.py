"""Detection error trade-off, embeddings on the unit sphere, and what learning them came to and cost: Arora et al. 2019,
figs. 1, 3 and 4, sections 3.1 and 4."""

from __future__ import annotations

import csv
import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy.stats import norm

from sed_lab.errors import InputError
from sed_lab.experiment.table import Table
from sed_lab.files import read_arrays, read_json
from sed_lab.report.run_folder import RunFolder
from sed_lab.report.style import COLOURS, DASHES, LINE, MUTED, new_figure, styled

TICKS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
VIEWS = ((20, 30), (20, 30), (20, 30), (-20, 150))  # elevation and azimuth in degrees of each sphere


NUMBERS = (r"embedding_loss/(last|constant|share)", r"cost/(encoder_parameters|ms_a_clip)")


def measure(folder: Path, metrics: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """How far the embedding was learnt, and its cost, of each system of a run that learns one.

    ``embedding_loss``: of the last epoch of learning it, of an embedding that is the same for all clips, and their
    ratio. ``cost``: parameters of the encoder; milliseconds that a clip took in an epoch that trains it, the median
    over epochs, on the run's machine.
    """
    history = _history(folder)
    if not history or not (folder / "detector.ckpt").exists():
        return {}, {}
    last, constant = (history[-1][f"train/{name}"] for name in ("loss_embedding", "loss_constant"))
    found: dict[str, dict[str, float]] = {
        "embedding_loss": {"last": last, "constant": constant, "share": last / constant},
        "cost": {"encoder_parameters": _encoder_parameters(folder / "detector.ckpt")},
    }
    pace = [
        1000 * (after["seconds"] - before["seconds"]) / (after["step"] - before["step"])
        for before, after in itertools.pairwise(history)
        if after["epoch"] == before["epoch"] + 1
    ]
    if pace:
        clips = read_json(folder / "run.json")["config"]["batch"]["clips"]["weak"]
        found["cost"]["ms_a_clip"] = statistics.median(pace) / clips
    return dict.fromkeys(metrics["systems"], found), {}


def _history(folder: Path) -> list[dict[str, float]]:
    """The rows of history.csv of epochs that trained the embedding."""
    path = folder / "history.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    # A schedule is two phases an iteration, of W and of the embedding, then two of the detector.
    final = max((row.get("train/phase", 0) for row in rows), default=0) - 1
    learning = [row for row in rows if "train/loss_embedding" in row and row["train/phase"] < final]
    return [row for row in learning if row["train/phase"] % 2 == 1]


def _encoder_parameters(checkpoint: Path) -> int:
    """Numbers that training may change in ``network.encoder``."""
    from sed_lab.run.checkpoint import read_weights

    state, _ = read_weights(checkpoint)
    fixed = ("running_mean", "running_var", "num_batches_tracked")
    own = {name: value for name, value in state.items() if name.startswith("network.encoder.")}
    return sum(value.numel() for name, value in own.items() if not name.endswith(fixed))


def figures(run: RunFolder) -> dict[str, tuple[Figure, str]]:
    """DET curves of every system with clip scores."""
    systems = {name: [run.curves[name]["det"]] for name in run.systems if "det" in run.curves.get(name, {})}
    words = "Detection error trade-off of clip scores; bands (metric.bootstrap above 0) are 95 % intervals"
    return {"trade_off": (det_figure(systems, run.classes, "linear"), words)} if systems else {}


def trade_off(table: Table, axes: str) -> Figure | None:
    """DET curves of every row's system, a panel a class and one for their mean; None without the runs' curves."""
    systems: dict[str, list[Any]] = {}
    for name, row in table.experiment.rows.items():
        files = [table.folders[name][seed] / "curves.json" for seed in table.records[name]]
        found = [read_json(file)[row.system]["det"] for file in files if file.exists()]
        if found:
            systems[row.label] = found
    return det_figure(systems, table.experiment.classes, axes) if systems else None


def sphere(table: Table, iterations: Sequence[int]) -> Figure | None:
    """The embeddings of the first run; None where its folder does not keep them."""
    first = next(iter(table.experiment.rows))
    places = [table.folders[first][seed] / "embeddings" for seed in table.records[first]]
    if not places or not places[0].is_dir():
        return None
    return spheres(places[0], iterations, table.experiment.classes)


@styled
def det_figure(systems: Mapping[str, Sequence[Mapping[str, Any]]], classes: Sequence[str], axes: str) -> Figure:
    """A panel a class and one for their mean: miss rate over false-alarm rate, in percent.

    Args:
        systems: by label, the ``det`` blocks of a system's runs (see `sed_lab.metric.det.det`); a line is their mean,
            its band the mean of their intervals.
        axes: ``linear``, or ``probit``, on which normally distributed scores make a straight line.

    Raises:
        InputError: there are no such axes.
    """
    if axes not in ("linear", "probit"):
        raise InputError(f"axes of a trade-off are linear or probit, not {axes!r}")
    panels = [*classes, "mean of the classes"]
    figure = new_figure(3.1 * len(panels), 3.7)
    places = figure.subplots(1, len(panels), squeeze=False)[0]
    for place, name in zip(places, panels, strict=True):
        for number, (label, runs) in enumerate(systems.items()):
            blocks = [run["mean"] if name not in classes else run["per_class"].get(name) for run in runs]
            if blocks and all(blocks):
                _line(place, np.array(runs[0]["false_alarm"]), blocks, label, number, axes)
        place.set(title=name, xlabel="false alarms [%]")
    places[0].set_ylabel("misses [%]")
    for place in places:
        _scale(place, axes)
    handles, names = places[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside lower center", ncols=min(6, len(names)))
    return figure


def _line(
    place: Axes, alarm: np.ndarray, blocks: Sequence[Mapping[str, Any]], label: str, number: int, axes: str
) -> None:
    def mean(key: str) -> np.ndarray:
        values = np.mean([block[key] for block in blocks], axis=0)
        return values if axes == "linear" else norm.ppf(np.clip(values, 1e-4, 1 - 1e-4))

    x = alarm if axes == "linear" else norm.ppf(np.clip(alarm, 1e-4, 1 - 1e-4))
    colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // 3 % len(DASHES)]
    if all("low" in block for block in blocks):
        place.fill_between(x, mean("low"), mean("high"), color=colour, alpha=0.1, lw=0)
    place.plot(x, mean("miss"), dash, color=colour, lw=1.6, label=label)


def _scale(place: Axes, axes: str) -> None:
    if axes == "linear":
        ticks = np.arange(0, 0.51, 0.1)
        shown, limits = ticks, (0, 0.5)
    else:
        shown, ticks = np.array(TICKS[:-2]), norm.ppf(TICKS[:-2])
        limits = (norm.ppf(0.005), norm.ppf(0.6))
    place.set_xticks(ticks, [f"{100 * value:g}" for value in shown])
    place.set_yticks(ticks, [f"{100 * value:g}" for value in shown])
    place.set(xlim=limits, ylim=limits, aspect="equal")
    place.axline((0, 0), slope=1, color=MUTED, lw=0.7, ls=":")  # where both rates are equal


@styled
def spheres(folder: Path, iterations: Sequence[int], names: Sequence[str]) -> Figure:
    """Embeddings of three numbers as points on the unit sphere, after each of ``iterations``; the last one twice.

    Args:
        folder: holds iteration_<n>.npz as `sed_lab.method.arora2019.EmbeddingClusters` writes them.
        names: of the classes, each in its own colour, its clusters in shades of it.

    Raises:
        InputError: an iteration was not kept, or embeddings have not three numbers.
    """
    figure = new_figure(3.1 * (len(iterations) + 1), 3.4)
    panels = [*iterations, iterations[-1]]
    for number, iteration in enumerate(panels):
        path = folder / f"iteration_{iteration}.npz"
        if not path.exists():
            raise InputError(f"{path} is not there; train with method.keep_embeddings=true and more iterations")
        kept = read_arrays(path)
        if kept["embedding"].shape[1] != 3:
            raise InputError(f"{path}: embeddings of {kept['embedding'].shape[1]} numbers are on no sphere; use 3")
        axes: Any = figure.add_subplot(1, len(panels), number + 1, projection="3d")
        _sphere(axes, kept, names)
        axes.view_init(*VIEWS[-1 if number == len(iterations) else 0])
        when = "before learning" if iteration == 0 else f"after {iteration} iterations"
        axes.set_title("the same from behind" if number == len(iterations) else when, fontsize=9)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _sphere(axes: Any, kept: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    u, v = np.mgrid[0 : 2 * np.pi : 25j, 0 : np.pi : 13j]
    axes.plot_wireframe(np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v), color=LINE, lw=0.4)
    for number, name in enumerate(names):
        colour = np.array(to_rgb({"blue": "#0072b2", "green": "#009e73", "red": "#b30000"}.get(name, COLOURS[number])))
        clusters = np.unique(kept["cluster"][kept["clip_class"] == number])
        for order, cluster in enumerate(clusters):
            points = kept["embedding"][(kept["cluster"] == cluster) & (kept["clip_class"] == number)]
            shade = colour + (1 - colour) * 0.65 * order / max(1, len(clusters) - 1)
            label = name if len(clusters) == 1 else f"{name}, cluster {order + 1}"
            axes.scatter(*points.T, color=shade, s=5, depthshade=False, label=label)
    axes.set_box_aspect((1, 1, 1), zoom=1.5)
    axes.set_axis_off()
