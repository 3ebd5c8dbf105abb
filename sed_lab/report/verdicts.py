"""Verdicts of several tables side by side: counted for each paper, or claim by claim."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sed_lab.experiment.claim import FAILS, HOLDS, UNDECIDED
from sed_lab.experiment.table import Table
from sed_lab.report.table_text import Grid, claims_grid


def claims_of(tables: Sequence[Table]) -> Grid:
    """Every claim of ``tables``: its table, its words, its verdict and what that rests on."""
    lines = [[table.experiment.item, *line] for table in tables for line in claims_grid(table)[1]]
    return ["table", "claim", "verdict", "difference [95 % interval], seeds"], lines


def counts_of(tables: Sequence[Table], results: Path, beside: Path) -> Grid:
    """A line a paper: tables, complete runs, and claims by verdict, with a link to its section of the file ``results``.

    Links start from the folder ``beside``.
    """
    text = results.read_text(encoding="utf-8") if results.exists() else ""
    lines = []
    for paper in dict.fromkeys(table.experiment.paper for table in tables):
        its = [table for table in tables if table.experiment.paper == paper]
        words = Counter(verdict.word for table in its for verdict in table.verdicts.values())
        runs = {table.folders[row][seed] for table in its for row, found in table.records.items() for seed in found}
        headings = re.findall(r"^## (.*)$", text[: max(text.find(f"<!-- table: {paper}/"), 0)], re.MULTILINE)
        title = headings[-1] if headings else paper
        anchor = "#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") if headings else ""
        link = f"[tables and figures]({os.path.relpath(results, beside)}{anchor})"
        counts = [len(its), len(runs), *(words[word] for word in (HOLDS, FAILS, UNDECIDED))]
        lines.append([title, *map(str, counts), link])
    return ["paper", "tables", "runs", "claims that hold", "fail", "undecided", "results"], lines
