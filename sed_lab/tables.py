"""sed-tables: what experiments there are, what came out of them, and README's tables rebuilt from records.

``list`` shows every table with its runs and time; ``site`` writes the report site; ``keep`` copies the records of
complete runs into results/; ``check`` rebuilds the tables of a Markdown file from these and fails when they differ,
``write`` puts them in, with their figures (results/figures). Such a table stands between
``<!-- table: park2022/fig3 mini -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sed_lab.errors import InputError, run_command
from sed_lab.experiment.reader import read_experiment
from sed_lab.experiment.spec import SCALES, Experiment, experiment_files
from sed_lab.files import read_json, write_json, write_text
from sed_lab.reproduce import FOLDER_HELP, Job, distinct, estimate, expand, experiments_folder

if TYPE_CHECKING:
    from sed_lab.experiment.table import Table

BLOCK = re.compile(r"<!-- (table|summary): ([^\n]*) -->\n(.*?)<!-- end -->\n", re.DOTALL)
KEPT = ("run.json", "metrics.json", "history.csv", "curves.json", "embeddings/*.npz")  # of a run, for results/


def main() -> None:
    """The console script."""
    run_command(lambda: tables(sys.argv[1:]))


def tables(arguments: list[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="sed-tables", description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", type=Path, default=experiments_folder(), help=FOLDER_HELP)
    parser.add_argument("--results", type=Path, default=Path("results"), help="where kept records lie, by scale")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("list", help="every table: scale, runs, complete ones, estimated time")
    one.add_argument("experiment", nargs="*", help="park2022/fig3, or park2022 for all of a paper; default: all")
    one = commands.add_parser("site", help="write the report site of runs, and of kept records where there is no run")
    one.add_argument("--output", type=Path, default=Path("report"), help="the folder to write (default: report)")
    one = commands.add_parser("keep", help="copy the records of complete runs into results/<scale>")
    one.add_argument("experiment", nargs="*", help="as above")
    one.add_argument("--scale", choices=SCALES, default="mini")
    for name, words in (("check", "rebuild the tables of files, fail when they differ"), ("write", "put them in")):
        one = commands.add_parser(name, help=words)
        one.add_argument("file", type=Path, nargs="*", help="Markdown files (default: README.md and results/README.md)")
    options = parser.parse_args(arguments)
    names = getattr(options, "experiment", ())
    experiments = [read_experiment(path) for path in experiment_files(options.folder, names)]
    if options.command == "list":
        return list_tables(experiments, options.results)
    if options.command == "site":
        return site(experiments, options.results, options.output)
    if options.command == "keep":
        return keep(experiments, options.scale, options.results / options.scale)
    files = options.file or [Path("README.md"), options.results / "README.md"]
    return max(rebuild(file, experiments, options.results, write=options.command == "write") for file in files)


def list_tables(experiments: list[Experiment], results: Path) -> int:
    """Print every table at every scale."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table as Printed

    printed = Printed("make", "SCALE", "runs", "complete", "to do, about", box=SIMPLE, pad_edge=False)
    for experiment in experiments:
        for scale in experiment.scales:
            jobs = distinct(expand(experiment.at(scale), scale, kept_data(results / scale, absent=True)))
            waiting = [job for job in jobs if not job.complete]
            time = estimate(experiment, scale, waiting).removeprefix(", about ")
            counts = (str(len(jobs)), str(len(jobs) - len(waiting)))
            printed.add_row(experiment.name.replace("/", "-"), scale, *counts, time)
    console = Console()
    Console(width=max(Console(width=1000).measure(printed).maximum, console.width)).print(printed)
    return 0


def site(experiments: list[Experiment], results: Path, output: Path) -> int:
    """Write the report site of every table of which there is a run."""
    from sed_lab.report.site import complete_runs, write_site

    found = []
    for experiment in experiments:
        for scale in experiment.scales:
            jobs = expand(experiment.at(scale), scale, kept_data(results / scale, absent=True))
            places = {job.folder: job.folder if job.complete else results / scale / job.folder.name for job in jobs}
            table = table_of(experiment.at(scale), scale, jobs, places)
            if complete_runs(table):
                found.append(table)
    if not found:
        raise InputError("there is no complete run of any experiment yet; sed-reproduce makes them")
    print(f"report: {write_site(found, output)}")
    return 0


def keep(experiments: list[Experiment], scale: str, place: Path) -> int:
    """Copy the records of the complete runs; places of this machine are left out of them."""
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
        write_json(place / "data.json", data)
    print(f"{len(jobs)} records in {place}")
    return 0


def kept_data(place: Path, absent: bool = False) -> dict[str, str]:
    """Content keys by place of the data behind the records kept in ``place``; with ``absent`` of what is not here."""
    known: dict[str, str] = read_json(place / "data.json") if (place / "data.json").exists() else {}
    return {name: key for name, key in known.items() if not (absent and Path(name).exists())}


def rebuild(file: Path, experiments: list[Experiment], results: Path, write: bool) -> int:
    """Make every marked table of ``file`` again; write them, or say where they differ (exit code 1).

    Raises:
        InputError: the file cannot be read, or a mark names what is not there.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; name a Markdown file with marked tables") from None
    by_name = {experiment.name: experiment for experiment in experiments}

    def made(match: re.Match[str]) -> str:
        kind, words, _ = match.groups()
        made = _block(kind, words, by_name, results, file.parent, write)
        return f"<!-- {kind}: {words} -->\n{made}<!-- end -->\n"

    if not BLOCK.search(text):
        raise InputError(f"{file} has no marked table; write <!-- table: park2022/fig3 mini --> and <!-- end -->")
    rebuilt = BLOCK.sub(made, text)
    if write:
        write_text(file, rebuilt)
    elif rebuilt != text:
        name, ours = str(file), "from the records"
        lines = difflib.unified_diff(text.splitlines(), rebuilt.splitlines(), name, ours, n=0, lineterm="")
        print("\n".join(lines))
        print(f"{file} is not what the records give; `sed-tables write` puts it right", file=sys.stderr)
        return 1
    print(f"{len(BLOCK.findall(text))} tables of {file} {'written' if write else 'follow from the records'}")
    return 0


def _block(
    kind: str, words: str, experiments: dict[str, Experiment], results: Path, beside: Path, draw_figures: bool
) -> str:
    from sed_lab.report.drawing import draw
    from sed_lab.report.style import save
    from sed_lab.report.summary import summary
    from sed_lab.report.table_text import markdown

    if kind == "summary":
        return summary(sorted(path for path in (results / words).iterdir() if path.is_dir()))
    name, _, scale = words.partition(" ")
    if name not in experiments:
        raise InputError(f"<!-- table: {words} --> names no experiment; there are: {', '.join(experiments)}")
    experiment = experiments[name].at(scale)
    jobs = expand(experiment, scale, kept_data(results / scale))
    table = table_of(experiment, scale, jobs, {job.folder: results / scale / job.folder.name for job in jobs})
    figure = results / "figures" / f"{experiment.paper}-{experiment.item}-{scale}.svg"
    if draw_figures and (drawn := draw(table)):
        save(drawn, figure)
    picture = f"\n![{experiment.title}]({os.path.relpath(figure, beside)})\n" if figure.exists() else ""
    return markdown(table) + picture


def table_of(experiment: Experiment, scale: str, jobs: list[Job], places: Mapping[Path, Path]) -> Table:
    """The table of an experiment, each job's record read from where ``places`` says."""
    from sed_lab.experiment.table import build_table

    folders: dict[str, dict[int, Path]] = {name: {} for name in experiment.rows}
    for job in jobs:
        folders[job.row][job.seed] = places[job.folder]
    return build_table(experiment, scale, folders)


if __name__ == "__main__":
    main()
