"""The look of every picture, and how one is made, saved and put into a page.

Figures are made without pyplot (no display, no global state). Colours are Okabe and Ito's, told apart also by
colour-blind readers; past seven classes the line style changes too.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure

from sed_lab.files import replacing

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7500")
DASHES = ("-", "--", ":", "-.")
INK, MUTED, LINE, PAPER = "#1b2026", "#5b6570", "#dde1e5", "#ffffff"
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "font.family": "sans-serif",
    "text.color": INK,
    "text.parse_math": False,  # a class called "a_$x$" is a name
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",  # letters stay letters: small files, text can be searched
    "svg.hashsalt": "sed_lab",  # the same run gives the same bytes
    "hatch.linewidth": 0.6,
}
P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the project's style, whatever the caller's settings of matplotlib are."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped


def class_style(index: int) -> tuple[str, str]:
    """Colour and line style of class ``index``, the same in every picture of a run."""
    return COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format of the path's suffix."""
    with matplotlib.rc_context(STYLE), replacing(path) as beside:
        figure.savefig(beside, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return path


def svg_text(figure: Figure) -> str:
    """The figure as an ``<svg>`` element with no background, for a page that has its own."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that needs no display."""
    return Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
