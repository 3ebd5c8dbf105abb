"""The report site: one static folder with what held and failed of each paper, a page a paper and a page a run.

Plain files with relative links: no server and no network at view time. Light and dark follow the reader's system.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template

from sed_lab.experiment.comparison import FAILS, HOLDS, NO_DIFFERENCE, UNDECIDED, WORDS
from sed_lab.experiment.spec import SCALES, SMOKE
from sed_lab.experiment.table import Table
from sed_lab.files import write_text
from sed_lab.report.claim_text import claims_grid, expectation, word_shown
from sed_lab.report.drawing import draw
from sed_lab.report.overview import Paper, counts_of, papers_of
from sed_lab.report.page import asset, page_svg, write_page
from sed_lab.report.page_table import table as table_markup
from sed_lab.report.style import svg_text
from sed_lab.report.table_text import grid, notes, provenance, write_table
from sed_lab.run.trust import understood
from sed_lab.waiting import track

TITLES = {HOLDS: "held", FAILS: "failed", NO_DIFFERENCE: "made no difference", UNDECIDED: "undecided so far"}
JUDGED = (
    '<p class="note">A claim is judged by paired differences over seeds with a 95 % interval: it holds or fails, there'
    " is no difference, or it is undecided.</p>"
)
RUN_CLIPS, RUN_AUDIO = 8, 1_500_000  # listening examples of a run's page, and bytes of sound in it


def write_site(tables: Sequence[Table], place: Path) -> Path:
    """Write the site of those ``tables`` that have a run into the folder ``place``; returns the index.

    Of each scale with a run, all tables count in what stands first: claims by paper, and what was learned. Tables at
    smoke scale, whose numbers mean nothing, stand last and folded.
    """
    ran = {table.scale for table in tables if table.complete} - {SMOKE}
    found = {scale: papers_of(table for table in tables if table.scale == scale) for scale in SCALES if scale in ran}
    tables = [table for table in tables if table.complete]
    names = dict.fromkeys(table.experiment.paper for table in tables)
    folders = sorted({folder for table in tables for folder in table.complete}, key=lambda folder: folder.name)
    for folder in track(folders, len(folders), "pages of runs"):
        page = place / "runs" / f"{folder.name}.html"
        if not page.exists() or page.stat().st_mtime < (folder / "run.json").stat().st_mtime:
            with understood(folder):
                write_page(folder, page, max_clips=RUN_CLIPS, audio_budget=RUN_AUDIO)
    for name in track(names, len(names), "pages of papers"):
        own = {scale: paper for scale, papers in found.items() for paper in papers if paper.name == name}
        _write_paper(name, own, [table for table in tables if table.experiment.paper == name], place)
    smoke = [table for table in tables if table.scale == SMOKE]
    body = [JUDGED, *(_scale(papers, scale) for scale, papers in found.items())]
    body += [_folded_smoke(f"<ul>{''.join(_table_item(table) for table in smoke)}</ul>")] if smoke else []
    write_html(place / "index.html", "Tables and claims", "\n".join(body))
    return place / "index.html"


def _write_paper(name: str, own: Mapping[str, Paper], tables: Sequence[Table], place: Path) -> None:
    """A paper's page: at each scale what was learned, and its ``tables``, claims first."""
    smoke = [table for table in tables if table.scale == SMOKE]
    judged = [table for table in tables if table.scale != SMOKE]
    parts = [_learned(paper, scale, len(own) > 1) for scale, paper in own.items()]
    parts += [f'<ul class="tables">{"".join(_table_item(table) for table in judged)}</ul>'] if judged else []
    for table in tables:
        write_table(table, place / "tables" / anchor(table))
    parts += [section(table, "runs", "tables") for table in judged]
    parts += [_folded_smoke("\n".join(section(table, "runs", "tables") for table in smoke))] if smoke else []
    title = next((paper.title for paper in own.values()), name)
    up = '<nav aria-label="Up"><a href="index.html">All papers</a></nav>'
    write_html(place / f"{name}.html", title, "\n".join(parts), up=up)


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
    parts += [f'<p class="verdict fails">Missing: {escape(reason)}</p>' for reason in table.missing]
    if experiment.claims:
        parts.append("<h3>Claims</h3>" + _claims(table))
    parts.append("<h3>Numbers</h3>" + table_markup([head[0] or "row", *head[1:]], lines))
    parts += [f'<p class="note">{escape(note)}</p>' for note in notes(table)]
    figure = draw(table)
    if figure is not None:
        parts.append(f'<figure aria-label="{escape(experiment.title)}">{page_svg(svg_text(figure), name)}</figure>')
    parts.append(f'<details><summary>Where the numbers are from</summary><dl class="facts">{facts}</dl></details>')
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
    return f"<details><summary>Runs</summary><ul>{''.join(items)}</ul></details>" if items else ""


def _scale(papers: Sequence[Paper], scale: str) -> str:
    """Claims by paper at a scale; of each paper with runs what was learned, held and failed; the others folded."""
    name, ran = f"overview-{scale}", [paper for paper in papers if paper.runs]
    parts = [f'<section aria-labelledby="{name}"><h2 id="{name}">Claims by paper, scale {scale}</h2>']
    parts.append(table_markup(*counts_of(ran)))
    wrong = expectation([table for paper in papers for table in paper.tables]).strip()
    parts += [f'<p class="note">{escape(wrong)}</p></section>' if wrong else "</section>"]
    parts += [_paper(paper, scale) for paper in ran]
    if waiting := [paper for paper in papers if paper not in ran]:
        claims = sum(paper.words.total() for paper in waiting)
        said = "".join(f"<p><strong>{escape(one.title)}.</strong> {_sentences(one)}</p>" for one in waiting)
        summary = f"To be run: {len(waiting)} of {len(papers)} papers, {claims} claims"
        parts.append(f"<details><summary>{summary}</summary>{said}</details>")
    return "\n".join(parts)


def _paper(paper: Paper, scale: str) -> str:
    """A paper on the index: its verdicts counted, what was learned, the claims by verdict, its tables."""
    name = f"{paper.name}-{scale}"
    parts = [f'<section aria-labelledby="{name}"><h2 id="{name}">']
    parts.append(f'<a href="{escape(paper.name)}.html">{escape(paper.title)}</a></h2>')
    parts.append(f'<p>{_chips(paper.words)} <small class="note">{len(paper.runs)} runs, scale {scale}</small></p>')
    parts.append(f"<p>{_sentences(paper)}</p>")
    for word, title in TITLES.items():
        if claims := paper.claims.get(word):
            items = "".join(
                f'<li>{escape(said)} <a href="{_address(table)}">{escape(table.experiment.item)}</a></li>'
                for table, said in claims
            )
            opened = " open" if word in (FAILS, NO_DIFFERENCE) else ""
            summary = f'<summary><span class="verdict {_style(word)}">{len(claims)}</span> {title}</summary>'
            parts.append(f"<details{opened}>{summary}<ul>{items}</ul></details>")
    there = "".join(_table_item(table) for table in paper.tables if table.complete)
    return "".join([*parts, f'<h3>Tables and figures</h3><ul class="tables">{there}</ul></section>'])


def _table_item(table: Table) -> str:
    """A link to a table, with its verdicts counted, and how many of its runs are there where some are missing."""
    there, asked = len(table.complete), len(table.asked)
    status = "" if there == asked else f" <small>{there} of {asked} runs</small>"
    words = escape(f"{table.experiment.item}: {table.experiment.title}")
    chips = _chips(Counter(word_shown(verdict) for verdict in table.verdicts.values()))
    return f'<li><a href="{_address(table)}">{words}</a>{status} <span class="chips">{chips}</span></li>'


def _address(table: Table) -> str:
    return f"{escape(table.experiment.paper)}.html#{anchor(table)}"


def _chips(words: Mapping[str, int]) -> str:
    return " ".join(
        f'<span class="verdict {_style(word)}">{words[word]} {word}</span>' for word in WORDS if words.get(word)
    )


def _learned(paper: Paper, scale: str, several: bool) -> str:
    lead = f"Scale {scale}: " if several else ""
    return f"<p>{_chips(paper.words)}</p><p>{lead}{_sentences(paper)}</p>"


def _sentences(paper: Paper) -> str:
    """What was learned, with the names of commands as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(paper.sentences))


def _folded_smoke(body: str) -> str:
    return f"<details><summary>Smoke runs, which only show that everything runs</summary>{body}</details>"


def write_html(path: Path, title: str, body: str, up: str = "") -> None:
    """A page of the site around ``body``, with the way ``up`` above its title."""
    values = {"title": escape(title), "version": escape(version("sed_lab")), "css": asset("page.css")}
    write_text(path, Template(asset("site.html")).substitute(values, up=up, body=body))
