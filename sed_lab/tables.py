"""What came out of experiments: the list of tables, the report site, and tables in Markdown files, from records alone.

A table stands in a Markdown file between ``<!-- table: park2022/fig3 mini -->`` and ``<!-- end -->``. In place of
``table:`` there may be ``summary:`` with a folder of kept records, ``verdicts:`` with a scale (each paper's claims
counted) or a paper and a scale (its claims one by one), ``papers:`` with a scale (the most telling table of each), or
``overview:`` with a scale (as `sed_lab.report.overview` says).
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sed_lab.composed import runs_folder
from sed_lab.errors import InputError
from sed_lab.experiment.spec import SCALES, Experiment
from sed_lab.files import read_json, write_json, write_text
from sed_lab.plan import Job, ahead, distinct, expand, overrides_of
from sed_lab.waiting import shown, track

if TYPE_CHECKING:
    from sed_lab.experiment.table import Table

BLOCK = re.compile(r"<!-- (table|summary|verdicts|papers|overview): ([^\n]*) -->\n(.*?)<!-- end -->\n", re.DOTALL)
DATA, COUNTS = "data.json", "counts.json"  # beside kept records: content keys of their data; what `counted` gives
KEPT = ("run.json", "metrics.json", "history.csv", "curves.json", "embeddings/*.npz")  # of a run, for results/


def list_tables(experiments: list[Experiment], scale: str, every: bool, results: Path) -> int:
    """Print a line a table: runs complete of those it asks for, claims decided of those judged, minutes left here.

    A table is listed at ``scale``, or at its first where it lacks that; with ``every`` at each of its scales. Where
    none of its runs is here, the verdicts are those of the kept records.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table as Printed

    printed = Printed("make", "SCALE", "runs", "kept", "decided", "to run here, about", box=SIMPLE, pad_edge=False)
    some = any(runs_folder().glob("*/run.json"))
    asked = [
        (experiment.at(name), name)
        for experiment in experiments
        for name in (
            experiment.scales if every else [scale if scale in experiment.scales else next(iter(experiment.scales))]
        )
    ]
    if some:
        ahead(asked, lambda name: kept_data(results / name, absent=True))
    for experiment, name in track(asked, len(asked), "looking for the runs of tables"):
        printed.add_row(experiment.name.replace("/", "-"), name, *_listed(experiment, name, some, results))
    console = Console()
    Console(width=max(Console(width=1000).measure(printed).maximum, console.width)).print(printed)
    return 0


def _listed(experiment: Experiment, scale: str, some: bool, results: Path) -> tuple[str, str, str, str]:
    """What `list_tables` says of a table; nothing is composed where there is no run (``some``)."""
    size = experiment.scale(scale)
    jobs = expand(experiment, scale, kept_data(results / scale, absent=True)) if some else []
    first = [job for job in distinct(jobs) if job.seed in size.seeds]
    complete = sum(job.complete for job in first)
    asked = len(first) or len(size.seeds) * len({*overrides_of(experiment, scale).values()})
    known = read_json(results / scale / COUNTS) if (results / scale / COUNTS).exists() else {}
    kept = known.get(experiment.name, {})
    counts = counted(table_of(experiment, scale, jobs, {job.folder: job.folder for job in jobs})) if complete else kept
    decided = f"{counts['decided']} of {counts['judged']}" if counts.get("judged") else ""
    minutes = (asked - complete) * (size.minutes_a_run or 0)
    time = f"{minutes:,.0f} min, {size.cost}" if minutes else ""
    return f"{complete} of {asked}", str(kept.get("runs") or ""), decided, time


def counted(table: Table) -> dict[str, int]:
    """Complete runs of a table, and how many of its claims are decided and judged."""
    from sed_lab.experiment.comparison import WORDS

    words = [one.word for one in table.verdicts.values() if one.tested and one.word in WORDS]
    decided = sum(word in WORDS[:-1] for word in words)
    return {"runs": len(table.complete), "decided": decided, "judged": len(words)}


def count_kept(kept: Kept, write: bool) -> int:
    """Make the counts of the tables with kept records again; write them, or say where they differ (exit code 1)."""
    wrong = 0
    for place in (kept.results / scale for scale in SCALES if (kept.results / scale).is_dir()):
        found = {one.experiment.name: counted(one) for one in kept.tables(place.name) if one.complete}
        if write:
            write_json(place / COUNTS, found)
        elif not (place / COUNTS).exists() or read_json(place / COUNTS) != found:
            print(
                f"{place / COUNTS} is not what the records give; `sed-reproduce write` puts it right", file=sys.stderr
            )
            wrong = 1
    return wrong


def site(experiments: list[Experiment], results: Path, output: Path) -> int:
    """Write the report site of every table of which there is a run."""
    from sed_lab.report.site import write_site

    made, asked = [], [(experiment.at(scale), scale) for experiment in experiments for scale in experiment.scales]
    ahead(asked, lambda scale: kept_data(results / scale, absent=True))
    for experiment, scale in track(asked, len(asked), "reading tables"):
        jobs = expand(experiment, scale, kept_data(results / scale, absent=True))
        places = {job.folder: job.folder if job.complete else results / scale / job.folder.name for job in jobs}
        made.append(table_of(experiment, scale, jobs, places))
    if not any(table.complete for table in made):
        raise InputError("there is no complete run of any experiment yet; sed-reproduce makes them")
    print(f"report: {write_site(made, output)}")
    return 0


def keep(experiments: list[Experiment], scale: str, place: Path) -> int:
    """Copy the records of the complete runs; local paths are removed from them."""
    jobs = {job.folder: job for experiment in experiments if scale in experiment.scales
            for job in expand(experiment.at(scale), scale) if job.complete}  # fmt: skip
    data = kept_data(place)
    for folder in jobs:
        record = read_json(folder / "run.json")
        config = record["config"]
        known = {word: Path(word).name for word in config["dataset"].values() if str(word).startswith("/")}
        known |= {str(folder.resolve().parent): "runs", config["paths"]["cache"]: "~/.cache/sed_lab"}
        for path in [found for pattern in KEPT for found in sorted(folder.glob(pattern))]:
            kept = place / folder.name / path.relative_to(folder)
            if path.suffix == ".npz":
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, kept)
                continue
            text = path.read_text(encoding="utf-8")
            for here, anywhere in known.items():
                text = text.replace(here, anywhere)
            write_text(kept, text)
        data |= {known.get(name, name): key for name, key in record.get("data", {}).items()}
    if data:
        write_json(place / DATA, data)
    print(f"{len(jobs)} records in {place}")
    return 0


def kept_data(place: Path, absent: bool = False) -> dict[str, str]:
    """Content keys by path of the data behind the records kept in ``place``; with ``absent`` of what is not here."""
    known: dict[str, str] = read_json(place / DATA) if (place / DATA).exists() else {}
    return {name: key for name, key in known.items() if not (absent and Path(name).exists())}


class Kept:
    """The tables of the records that are kept in ``results``, each made once."""

    def __init__(self, experiments: Sequence[Experiment], results: Path) -> None:
        self.experiments = {experiment.name: experiment for experiment in experiments}
        self.results = results
        self.made: dict[tuple[str, str], Table] = {}

    def table(self, name: str, scale: str) -> Table:
        """The table of an experiment at a scale."""
        if (name, scale) not in self.made:
            experiment, place = self.experiments[name].at(scale), self.results / scale
            jobs = expand(experiment, scale, kept_data(place))
            places = {job.folder: place / job.folder.name for job in jobs}
            self.made[name, scale] = table_of(experiment, scale, jobs, places)
        return self.made[name, scale]

    def tables(self, scale: str, paper: str = "") -> list[Table]:
        """All tables at a scale, or those of a paper."""
        chosen = [one for one in self.experiments.values() if scale in one.scales and paper in ("", one.paper)]
        ahead([(one.at(scale), scale) for one in chosen], lambda scale: kept_data(self.results / scale))
        return [self.table(one.name, scale) for one in chosen]


def rebuild(file: Path, kept: Kept, write: bool) -> int:
    """Make every marked table of ``file`` again; write them, or say where they differ (exit code 1).

    Raises:
        InputError: the file cannot be read, or a mark names what is not there.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; name a Markdown file with marked tables") from None

    def made(match: re.Match[str]) -> str:
        kind, words, _ = match.groups()
        return f"<!-- {kind}: {words} -->\n{_block(kind, words, kept, file.parent, write)}<!-- end -->\n"

    if not BLOCK.search(text):
        raise InputError(f"{file} has no marked table; write <!-- table: PAPER/ITEM SCALE --> and <!-- end -->")
    with shown(f"making the tables of {file.name}"):
        rebuilt = BLOCK.sub(made, text)
    if write:
        write_text(file, rebuilt)
    elif rebuilt != text:
        name, ours = str(file), "from the records"
        lines = difflib.unified_diff(text.splitlines(), rebuilt.splitlines(), name, ours, n=0, lineterm="")
        print("\n".join(lines))
        print(f"{file} is not what the records give; `sed-reproduce write` puts it right", file=sys.stderr)
        return 1
    print(f"{len(BLOCK.findall(text))} tables of {file} {'written' if write else 'follow from the records'}")
    return 0


def _block(kind: str, words: str, kept: Kept, beside: Path, draw_figures: bool) -> str:
    from sed_lab.report.claim_text import claims_of, expectation
    from sed_lab.report.drawing import draw
    from sed_lab.report.overview import linked_counts, overview, papers_of, telling_tables
    from sed_lab.report.style import save
    from sed_lab.report.summary import summary
    from sed_lab.report.table_text import markdown, markdown_grid, to_be_run

    if kind == "summary":
        return summary(sorted(path for path in (kept.results / words).iterdir() if path.is_dir()))
    name, _, scale = words.rpartition(" ")
    if kind != "table":
        found = kept.tables(scale, name)
        if not found:
            raise InputError(f"<!-- {kind}: {words} --> names no paper and scale; write PAPER SCALE, or SCALE")
        if name:
            return markdown_grid(claims_of(found)) + expectation(found)
        papers = papers_of(found)
        made = {"verdicts": linked_counts, "papers": telling_tables, "overview": overview}[kind]
        return made(papers, _links([paper.title for paper in papers], kept.results / "README.md", beside))
    if name not in kept.experiments:
        raise InputError(f"<!-- table: {words} --> names no experiment; there are: {', '.join(kept.experiments)}")
    table = kept.table(name, scale)
    experiment = table.experiment
    figure = kept.results / "figures" / f"{experiment.paper}-{experiment.item}-{scale}.svg"
    if draw_figures and (drawn := draw(table)):
        save(drawn, figure)
    picture = f"\n![{experiment.title}]({os.path.relpath(figure, beside)})\n" if figure.exists() else ""
    return (markdown(table) if table.complete else to_be_run(table)) + picture


def _links(titles: Sequence[str], results: Path, beside: Path) -> dict[str, str]:
    """Where the section of each title in the file ``results`` is, from the folder ``beside``; not of those it lacks."""
    text = results.read_text(encoding="utf-8") if results.exists() else ""
    place = os.path.relpath(results, beside) if results.parent != beside else ""
    there = [title for title in titles if f"\n## {title}\n" in text]
    return {title: f"{place}#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in there}


def table_of(experiment: Experiment, scale: str, jobs: list[Job], places: Mapping[Path, Path]) -> Table:
    """The table of an experiment, each job's record read from where ``places`` says."""
    from sed_lab.experiment.table import build_table

    folders: dict[str, dict[int, Path]] = {name: {} for name in experiment.rows}
    for job in jobs:
        folders[job.row][job.seed] = places[job.folder]
    return build_table(experiment, scale, folders)
