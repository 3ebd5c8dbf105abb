"""Frames of two domains in the spaces of a model, how near those of the same class lie: Huang et al. 2021, fig. 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sed_lab.experiment.table import Table
from sed_lab.files import read_arrays
from sed_lab.report.style import COLOURS, MUTED, PAPER, new_figure, styled

SPACES = ("raw", "centred", "projection")
NUMBERS = (rf"embedding/({'|'.join(SPACES)})/(same_class|other_class|gap|nearest|domain_gap)",)
MARKS = {False: "o", True: "^"}  # real, synthetic


def measure(folder: Path, metrics: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`domain_similarity` of the frames a run keeps, in each of their `spaces`: ``{system: {"embedding": ...}}``."""
    kept = frames_of_run(folder)
    if kept is None:
        return {}, {}
    (system,) = metrics["systems"]
    label, synthetic = kept["event_label"], kept["synthetic"]
    found = {name: domain_similarity(x, label, synthetic) for name, x in spaces(kept).items()}
    return {system: {"embedding": found}}, {}


def spaces(kept: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Kept frames as vectors ``[N, .]`` to take cosines of, by the name of the space.

    ``raw`` are the encoder's, after a ReLU: what all frames have in common is most of their length, and hides in a
    cosine what differs. ``centred`` are these less their mean. ``projection``, the space that L_IFD acts on, is there
    where a model has it.
    """
    x = kept["embedding"].astype(np.float64)
    own = {"projection": kept["projection"].astype(np.float64)} if "projection" in kept else {}
    return {"raw": x, "centred": x - x.mean(0), **own}


def domain_similarity(x: np.ndarray, event_label: np.ndarray, synthetic: np.ndarray) -> dict[str, float]:
    """Cosine similarities of real with synthetic frames; empty without two classes that both domains hold.

    Args:
        x: ``[N, H]`` frames.
        event_label: ``[N]`` the number of the one class each holds.
        synthetic: ``[N]`` booleans: the domain.

    Returns:
        ``same_class`` and ``other_class``: mean similarity of the pairs with the same and with different classes;
        ``gap``: the former less the latter; ``nearest``: share of real frames whose nearest synthetic frame is of the
        same class; ``domain_gap``: mean similarity of two frames of the same class and domain, less ``same_class``. All
        are means over the classes that both domains hold; frames of others are left out.
    """
    shared = [c for c in np.unique(event_label) if {*synthetic[event_label == c].tolist()} == {True, False}]
    kept = np.isin(event_label, shared)
    x, label, is_synthetic = x[kept].astype(np.float64), event_label[kept], synthetic[kept]
    if len(shared) < 2:
        return {}
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    cosine = x[~is_synthetic] @ x[is_synthetic].T
    real, made = label[~is_synthetic], label[is_synthetic]
    nearest = made[cosine.argmax(axis=1)] == real
    parts = [
        (cosine[real == c][:, made == c].mean(), cosine[real == c][:, made != c].mean(), nearest[real == c].mean())
        for c in shared
    ]
    same, other, share = (float(np.mean(values)) for values in zip(*parts, strict=True))
    found = {"same_class": same, "other_class": other, "gap": same - other, "nearest": share}
    groups = [x[(label == c) & (is_synthetic == domain)] for c in shared for domain in (False, True)]
    within = [_mean_cosine(group) for group in groups if len(group) > 1]
    return found | ({"domain_gap": float(np.mean(within)) - same} if within else {})


def _mean_cosine(x: np.ndarray) -> float:
    """Of different rows of ``x [N, H]``, which are of unit length."""
    n = len(x)
    return float((np.square(x.sum(0)).sum() - n) / (n * (n - 1)))


def frames_of_run(folder: Path) -> dict[str, np.ndarray] | None:
    """embeddings/frames.npz of a run's folder; None where its method keeps none."""
    path = folder / "embeddings" / "frames.npz"
    return read_arrays(path) if path.exists() else None


def frames(table: Table) -> Figure | None:
    """Held-out frames of each row's first run in its encoder's space; None where no folder keeps them."""
    panels = {}
    for name, row in table.experiment.rows.items():
        seed, record = next(iter(table.records[name].items()), (None, None))
        kept = frames_of_run(table.folders[name][seed]) if seed is not None else None
        if kept is not None and record is not None:
            classes = record["detector"]["classes"]
            centred = spaces(kept)["centred"]
            nearest = domain_similarity(centred, kept["event_label"], kept["synthetic"]).get("nearest")
            words = "" if nearest is None else f"{nearest:.0%} of real frames next to their class"
            panels[row.label] = ({**kept, "embedding": centred}, words)
    return frame_map(panels, classes) if panels else None


@styled
def frame_map(panels: Mapping[str, tuple[Mapping[str, np.ndarray], str]], classes: Sequence[str]) -> Figure:
    """A panel a model: every frame's place by t-SNE of cosine distances, a colour a class, a mark a domain.

    Args:
        panels: by title, the arrays of `frames_of_run`, with centred embeddings, and a line to stand below.
        classes: names by number; past seven the marks are open.
    """
    from sklearn.manifold import TSNE

    figure = new_figure(3.3 * len(panels), 4.6)
    places = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, (frames, words)) in zip(places, panels.items(), strict=True):
        x = frames["embedding"].astype(np.float32)
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
        perplexity = min(30.0, (len(x) - 1) / 3)
        place = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(x)
        for number in range(len(classes)):
            edge, face = _paint(number)
            for synthetic, mark in MARKS.items():
                chosen = (frames["event_label"] == number) & (frames["synthetic"] == synthetic)
                axes.scatter(*place[chosen].T, marker=mark, edgecolors=edge, facecolors=face, s=18, linewidths=1.0)
        axes.set(title=title, xticks=[], yticks=[], xlabel=words)
        axes.grid(visible=False)
    handles = []
    for number, name in enumerate(classes):
        edge, face = _paint(number)
        handles.append(Line2D([], [], ls="", marker="s", ms=6, label=name, markeredgecolor=edge, markerfacecolor=face))
    handles += [
        Line2D([], [], ls="", marker=mark, color=MUTED, label="synthetic" if synthetic else "real")
        for synthetic, mark in MARKS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
    return figure


def _paint(number: int) -> tuple[str, str]:
    """Colours of a mark's edge and of its face."""
    colour = COLOURS[number % len(COLOURS)]
    return colour, colour if number < len(COLOURS) else PAPER
