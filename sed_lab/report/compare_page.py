"""Compared runs as a page in the style of a run's: tables, and differences with their intervals as a picture."""

from __future__ import annotations

from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from sed_lab.report.compare_text import line_name, notes, pair_grid, rows_grid, title
from sed_lab.report.compared import Compared
from sed_lab.report.page import page_svg
from sed_lab.report.page_table import table
from sed_lab.report.site import write_html
from sed_lab.report.style import COLOURS, INK, MUTED, new_figure, styled, svg_text


def write_compare_page(found: Compared, path: Path) -> None:
    """Write the page to ``path``; it needs no other file."""
    parts = [table(*rows_grid(found)), *(f'<p class="note">{escape(note)}</p>' for note in notes(found))]
    for number, label in enumerate(found.lines):
        said = escape(title(found, label))
        figure = page_svg(svg_text(differences(found, label)), f"pair{number}")
        parts.append(f'<section aria-labelledby="pair{number}"><h2 id="pair{number}">{said}</h2>')
        parts.append(f'<figure aria-label="{said}">{figure}</figure>{table(*pair_grid(found, label))}</section>')
    folders = "".join(
        f"<li>{escape(row.label)}: {', '.join(escape(run.folder.path.name) for run in row.runs.values())}</li>"
        for row in found.rows
    )
    parts.append(f"<details><summary>Runs</summary><ul>{folders}</ul></details>")
    write_html(path, "Runs compared", "\n".join(parts))


@styled
def differences(found: Compared, label: str) -> Figure:
    """The differences of a row's lines to the first row's, with the intervals over seeds (wide) and clips (thin)."""
    lines = [line for line in found.lines[label] if line.difference is not None]
    figure = new_figure(5.5, 1.4 + 0.3 * max(1, len(lines)))
    axes = figure.add_subplot()
    axes.axvline(0, color=MUTED, lw=0.8)
    for place, line in enumerate(reversed(lines)):
        colour = COLOURS[0] if line.label else INK
        if line.over_clips:
            axes.plot(line.over_clips, [place - 0.17] * 2, color=COLOURS[1], lw=1.4)
        if line.over_seeds:
            axes.plot(line.over_seeds, [place + 0.1] * 2, color=colour, lw=4, alpha=0.35, solid_capstyle="butt")
        axes.plot([line.difference or 0.0], [place], "o", color=colour, ms=4.5)
    axes.set_yticks(range(len(lines)), [line_name(found, line) for line in reversed(lines)])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(visible=False, axis="y")
    axes.set(
        ylim=(-0.7, max(1, len(lines)) - 0.3), xlabel="difference\nwide bar: 95 % over seeds; thin line: over clips"
    )
    return figure
