"""Frames of both domains in an encoder's space, drawn in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sed_lab.report.style import COLOURS, MUTED, PAPER, new_figure, styled

MARKS = {False: "o", True: "^"}  # real, synthetic


@styled
def frame_map(panels: Mapping[str, tuple[Mapping[str, np.ndarray], str]], classes: Sequence[str]) -> Figure:
    """A panel a model: every frame's place by t-SNE of cosine distances, a colour a class, a mark a domain.

    Args:
        panels: by title, the arrays of `sed_lab.metric.embedding.frames_of_run` and a line to stand below.
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
