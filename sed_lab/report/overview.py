"""All papers at a scale: claims counted, what they cost, what was learned, which did not survive.

What was learned of a paper stands in ``experiments/<paper>/learned.md``: a heading with the paper's name, and sentences
written by hand. ``{fig3/1b}`` in a sentence stands for what the records say of claim 1b of table fig3 (holds, fails,
shows no difference, is undecided, is not tested yet), so that sentences stay true; they have no numbers of runs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sed_lab.errors import InputError
from sed_lab.experiment.comparison import FAILS, NO_DIFFERENCE, UNDECIDED, WORDS
from sed_lab.experiment.reader import read_experiment
from sed_lab.experiment.table import Table
from sed_lab.report.claim_text import EVIDENCE, NOT_RUN, Grid, claims_grid, expectation
from sed_lab.report.table_text import grid, markdown_grid
from sed_lab.run.record import core_minutes_of

LEARNED = "learned.md"
CLAIM = re.compile(r"\{(\w+)/([^{}]+)\}")
SAID = {NO_DIFFERENCE: "shows no difference", UNDECIDED: "is undecided"}
TO_BE_RUN = "is not tested yet"
NOTHING_REFUTED = "None so far, of {} decided printed claims."


@dataclass(frozen=True)
class Paper:
    """A paper's ``tables`` at one scale, its ``title``, and ``sentences`` on what was learned, words filled in."""

    name: str
    title: str
    sentences: str
    tables: Sequence[Table]
    telling: Table

    @property
    def words(self) -> Counter[str]:
        """The claims by verdict; those of which no run says anything count under `TO_BE_RUN`."""
        return Counter({word: len(claims) for word, claims in self.claims.items()})

    @property
    def claims(self) -> Mapping[str, Sequence[tuple[Table, str]]]:
        """The claims by verdict, as `words` counts them: the table of each, and its sentence."""
        found: dict[str, list[tuple[Table, str]]] = {}
        for table in self.tables:
            for claim, line in zip(table.experiment.claims, claims_grid(table)[1], strict=True):
                found.setdefault(_word(table, claim.id), []).append((table, line[0]))
        return found

    @property
    def runs(self) -> Mapping[Path, Mapping[str, Any]]:
        """The records of all complete runs by folder, each once."""
        return {folder: record for table in self.tables for folder, record in table.complete.items()}


def papers_of(tables: Iterable[Table]) -> list[Paper]:
    """The papers of tables at one scale, in their order.

    Raises:
        InputError: a paper's sentences have no heading, or name a claim that no file has.
    """
    by_name: dict[str, list[Table]] = {}
    for table in tables:
        by_name.setdefault(table.experiment.paper, []).append(table)
    return [_paper(name, its) for name, its in by_name.items()]


def _paper(name: str, tables: Sequence[Table]) -> Paper:
    path = tables[0].experiment.path.parent / LEARNED
    if not path.exists():
        return Paper(name, name, "", tables, _telling(tables, []))
    head, _, text = path.read_text(encoding="utf-8").partition("\n")
    if not head.startswith("# "):
        raise InputError(f"{path}:1: begins with no heading; write # and the paper's name")
    by_item = {table.experiment.item: table for table in tables}

    def said(match: re.Match[str]) -> str:
        item, claim = match.groups()
        table = by_item.get(item)
        if table is None or claim not in table.verdicts:
            file = path.with_name(f"{item}.yaml")
            if not (file.exists() and claim in [one.id for one in read_experiment(file).claims]):
                raise InputError(f"{path}: {match[0]} names no claim of {name}; write {{ITEM/ID}}, as in its files")
            return f"is not asked at scale {tables[0].scale}"
        word = _word(table, claim)
        return SAID.get(word, word)

    filled = CLAIM.sub(said, " ".join(text.split()))
    named = [by_item[item] for item, _ in CLAIM.findall(text) if item in by_item]
    return Paper(name, head.removeprefix("# ").strip(), filled, tables, _telling(tables, named))


def _word(table: Table, claim: str) -> str:
    """A claim's verdict, or that no run says anything of it."""
    verdict = table.verdicts[claim]
    return verdict.word if table.complete and verdict.tested else TO_BE_RUN


def _telling(tables: Sequence[Table], named: Sequence[Table]) -> Table:
    """The first table that the sentences name and that has all its runs, else some; without any, the first."""
    order = [*named, *tables]
    whole = [table for table in order if table.complete and not table.missing]
    return [*whole, *(table for table in order if table.complete), *order][0]


def counts_of(papers: Sequence[Paper]) -> Grid:
    """A line a paper, and one for all: tables, runs, claims by verdict, core-hours, core-minutes a decided claim."""
    lines = []
    for paper in papers:
        lines.append(_counts(paper.title, len(paper.tables), paper.runs, paper.words))
    if len(papers) > 1:
        runs = {folder: record for paper in papers for folder, record in paper.runs.items()}
        words = sum((paper.words for paper in papers), Counter[str]())
        lines.append(_counts("all", sum(len(paper.tables) for paper in papers), runs, words))
    head = ["paper", "tables", "runs", "claims that hold", "fail", NO_DIFFERENCE, UNDECIDED, NOT_RUN]
    return [*head, "core-hours", "core-minutes a decided claim"], lines


def _counts(title: str, tables: int, runs: Mapping[Path, Mapping[str, Any]], words: Mapping[str, int]) -> list[str]:
    decided = sum(words[word] for word in WORDS if word != UNDECIDED)
    took = [core_minutes_of(record) for record in runs.values()]
    known = [minutes for minutes in took if minutes is not None]
    whole = bool(known) and len(known) == len(took)
    cost = [f"{sum(known) / 60:.1f}" if whole else "", f"{sum(known) / decided:.1f}" if whole and decided else ""]
    return [title, *map(str, (tables, len(runs), *(words[word] for word in WORDS), words[TO_BE_RUN])), *cost]


def refuted(papers: Sequence[Paper]) -> Grid:
    """The papers' own claims that fail or show no difference."""
    lines = []
    for paper in papers:
        for table in paper.tables:
            ours = [claim.ours for claim in table.experiment.claims]
            for line, own in zip(claims_grid(table)[1], ours, strict=True):
                if table.complete and line[1] in (FAILS, NO_DIFFERENCE) and not own:
                    lines.append([paper.title, table.experiment.item, *line])
    return ["paper", "table", "claim", "verdict", EVIDENCE], lines


def printed_decided(papers: Sequence[Paper]) -> int:
    """How many of the papers' own claims are decided."""
    tables = [table for paper in papers for table in paper.tables if table.complete]
    own = [table.verdicts[claim.id].word for table in tables for claim in table.experiment.claims if not claim.ours]
    return sum(word in WORDS and word != UNDECIDED for word in own)


def overview(papers: Sequence[Paper], link: Mapping[str, str]) -> str:
    """The page as Markdown; ``link`` leads to each paper's tables, by title."""
    parts = [linked_counts(papers, link)]
    if sentences := [f"- **{paper.title}.** {paper.sentences}\n" for paper in papers if paper.sentences]:
        parts.append("\n### What was learned\n\n" + "".join(sentences))
    gone = refuted(papers)
    words = markdown_grid(gone) if gone[1] else NOTHING_REFUTED.format(printed_decided(papers)) + "\n"
    return "".join([*parts, "\n### Printed claims that did not survive\n\n", words])


def linked_counts(papers: Sequence[Paper], link: Mapping[str, str]) -> str:
    """The claims by paper as Markdown, with links to each paper's tables, and how many may be decided wrongly."""
    head, lines = counts_of(papers)
    lines = [[*line, f"[tables and figures]({link[line[0]]})" if line[0] in link else ""] for line in lines]
    tables = [table for paper in papers for table in paper.tables]
    return markdown_grid(([*head, "results"], lines)) + expectation(tables)


def telling_tables(papers: Sequence[Paper], link: Mapping[str, str]) -> str:
    """One table a paper as Markdown, its most telling one, or that it is to be run; none of what is no paper's."""
    parts = []
    for paper in papers:
        if all(claim.ours for table in paper.tables for claim in table.experiment.claims):
            continue
        table, experiment = paper.telling, paper.telling.experiment
        where = f"[{paper.title}]({link[paper.title]})" if paper.title in link else paper.title
        text = f"**{experiment.title}** ({where}, {experiment.place}; scale {table.scale}; "
        text += f"{len(table.complete)} of {len(table.asked)} runs)"
        parts.append(f"{text}\n\n{markdown_grid(grid(table))}" if table.complete else f"{text}: to be run.\n")
    return "\n".join(parts)
