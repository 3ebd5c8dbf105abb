"""The report site: one static folder with every table's status, a page a paper and a page a run.

Plain files with relative links: no server and no network at view time. Light and dark follow the reader's system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template

from sed_lab.experiment.comparison import WORDS
from sed_lab.experiment.spec import SCALES, SMOKE
from sed_lab.experiment.table import Table
from sed_lab.files import write_text
from sed_lab.report.claim_text import claims_grid, expectation
from sed_lab.report.drawing import draw
from sed_lab.report.overview import NOTHING_REFUTED, Paper, counts_of, papers_of, printed_decided, refuted
from sed_lab.report.page import asset, page_svg, write_page
from sed_lab.report.page_table import table as table_markup
from sed_lab.report.style import svg_text
from sed_lab.report.table_text import grid, notes, provenance, write_table
from sed_lab.run.trust import understood

RUN_CLIPS, RUN_AUDIO = 8, 1_500_000  # listening examples of a run's page, and bytes of sound in it


def write_site(tables: Sequence[Table], place: Path) -> Path:
    """Write the site of those ``tables`` that have a run into the folder ``place``; returns the index.

    Of each scale with a run, all tables count in what stands first: claims by paper, and what was learned.
    """
    ran = {table.scale for table in tables if table.complete} - {SMOKE}
    firsts = {scale: papers_of(table for table in tables if table.scale == scale) for scale in SCALES if scale in ran}
    tables = [table for table in tables if table.complete]
    papers: dict[str, list[Table]] = {}
    for table in tables:
        papers.setdefault(table.experiment.paper, []).append(table)
        write_table(table, place / "tables" / anchor(table))
    for folder in sorted({folder for table in tables for folder in table.complete}, key=lambda folder: folder.name):
        page = place / "runs" / f"{folder.name}.html"
        if not page.exists() or page.stat().st_mtime < (folder / "run.json").stat().st_mtime:
            with understood(folder):
                write_page(folder, page, max_clips=RUN_CLIPS, audio_budget=RUN_AUDIO)
    for paper, its in papers.items():
        learned = [_learned(one, scale) for scale, found in firsts.items() for one in found if one.name == paper]
        body = "\n".join([*learned, *(section(table, "runs", "tables") for table in its)])
        write_html(
            place / f"{paper}.html", paper, body, up='<nav aria-label="Up"><a href="index.html">All tables</a></nav>'
        )
    overviews = [_overview(found, scale) for scale, found in firsts.items()]
    write_html(place / "index.html", "Tables and claims", "\n".join([*overviews, _index(papers)]))
    return place / "index.html"


def write_table_page(table: Table, folder: Path) -> Path:
    """Write table.html beside the table's other files: numbers, claims, figure and where they are from."""
    path = folder / "table.html"
    write_html(path, f"{table.experiment.name}, {table.scale}", section(table))
    return path


def anchor(table: Table) -> str:
    """The table's name in addresses: ``park2022-fig3-mini``."""
    return f"{table.experiment.paper}-{table.experiment.item}-{table.scale}"


def section(table: Table, runs: str = "", downloads: str = "") -> str:
    """One table with its figure, claims and provenance; ``runs`` and ``downloads`` are folders to link to, if any."""
    experiment, name = table.experiment, anchor(table)
    head, lines = grid(table)
    facts = "".join(
        f"<div{' class=wide' if len(value) > 60 else ''}><dt>{key}</dt><dd>{escape(value)}</dd></div>"
        for key, value in provenance(table).items()
    )
    parts = [f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(experiment.title)}</h2>']
    parts.append(f'<p class="note">{escape(experiment.name)}: {escape(experiment.place)}. Scale {table.scale}.</p>')
    parts.append(table_markup([head[0] or "row", *head[1:]], lines))
    parts += [f'<p class="note">{escape(note)}</p>' for note in notes(table)]
    parts += [f'<p class="verdict fails">Missing: {escape(reason)}</p>' for reason in table.missing]
    figure = draw(table)
    if figure is not None:
        parts.append(f'<figure aria-label="{escape(experiment.title)}">{page_svg(svg_text(figure), name)}</figure>')
    if experiment.claims:
        parts.append("<h3>Claims</h3>" + _claims(table))
    parts.append(f'<dl class="facts">{facts}</dl>')
    if downloads:
        links = [f'<a href="{downloads}/{name}/table.{kind}">{kind.upper()}</a>' for kind in ("csv", "json", "md")]
        parts.append(f'<p class="note">The numbers: {", ".join(links)}.</p>')
    if runs:
        parts.append(_run_links(table, runs))
    return "\n".join([*parts, "</section>"])


def _claims(table: Table) -> str:
    rows = "".join(
        f'<li><span class="verdict {_style(word)}">{word}</span> {escape(claim)}<br><small>{escape(why)}</small></li>'
        for claim, word, why in claims_grid(table)[1]
    )
    return f'<ul class="claims">{rows}</ul>'


def _style(word: str) -> str:
    """The class of a verdict in the style sheet."""
    return word.replace(" ", "-") if word in WORDS else "none"


def _run_links(table: Table, runs: str) -> str:
    items = []
    for row, by_seed in table.records.items():
        links = [
            f'<a href="{runs}/{escape(table.folders[row][seed].name)}.html">seed {seed}</a>' for seed in sorted(by_seed)
        ]
        if links:
            items.append(f"<li>{escape(table.experiment.rows[row].label)}: {', '.join(links)}</li>")
    return f"<details open><summary>Runs</summary><ul>{''.join(items)}</ul></details>" if items else ""


def _overview(papers: Sequence[Paper], scale: str) -> str:
    """Claims by paper at a scale, what was learned of each, and which of the papers' own claims are refuted."""
    name, gone = f"overview-{scale}", refuted(papers)
    parts = [f'<section aria-labelledby="{name}"><h2 id="{name}">Claims by paper, scale {scale}</h2>']
    parts.append(table_markup(*counts_of(papers)))
    wrong = expectation([table for paper in papers for table in paper.tables]).strip()
    parts += [f'<p class="note">{escape(wrong)}</p>'] if wrong else []
    parts.append("<h3>What was learned</h3>")
    for paper in (paper for paper in papers if paper.sentences):
        link = f'<a href="{escape(paper.name)}.html">{escape(paper.title)}</a>'
        parts.append(f"<p><strong>{link}.</strong> {escape(paper.sentences)}</p>")
    parts.append("<h3>Printed claims that did not survive</h3>")
    none = f"<p>{NOTHING_REFUTED.format(printed_decided(papers))}</p>"
    parts.append(table_markup(*gone) if gone[1] else none)
    return "\n".join([*parts, "</section>"])


def _learned(paper: Paper, scale: str) -> str:
    text = f"{paper.title}, scale {scale}: {paper.sentences}"
    return f'<p class="note">{escape(text)}</p>' if paper.sentences else ""


def _index(papers: Mapping[str, Iterable[Table]]) -> str:
    parts = ['<p class="note">Every table at every scale of which there is a run. A claim is judged by paired']
    parts.append("differences over seeds with a 95 % interval: it holds or fails, there is no difference, or it is")
    parts.append("undecided.</p>")
    for paper, tables in papers.items():
        rows = []
        for table in tables:
            there, asked = len(table.complete), len(table.asked)
            counts = Counter(verdict.word for verdict in table.verdicts.values())
            chips = "".join(
                f'<span class="verdict {_style(word)}">{counts[word]} {word}</span> ' for word in WORDS if counts[word]
            )
            words = escape(f"{table.experiment.item}: {table.experiment.title}")
            link = f'<a href="{escape(paper)}.html#{anchor(table)}">{words}</a>'
            status = "complete" if there == asked else f"{there} of {asked} runs"
            rows.append(
                f'<tr><th scope="row">{link}</th><td>{table.scale}</td><td>{status}</td><td>{chips or "none"}</td></tr>'
            )
        head = "".join(f'<th scope="col">{name}</th>' for name in ("Table or figure", "Scale", "Runs", "Claims"))
        name = escape(paper)
        parts.append(
            f'<section aria-labelledby="{name}"><h2 id="{name}"><a href="{name}.html">{name}</a></h2>'
            f'<div class="scroll" tabindex="0" role="region" aria-label="{name} tables">'
            f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
        )
    return "\n".join(parts)


def write_html(path: Path, title: str, body: str, up: str = "") -> None:
    """A page of the site around ``body``, with the way ``up`` above its title."""
    values = {"title": escape(title), "version": escape(version("sed_lab")), "css": asset("page.css")}
    write_text(path, Template(asset("site.html")).substitute(values, up=up, body=body))
