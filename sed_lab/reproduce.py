"""sed-reproduce: a paper's table from its experiment file: run what is missing, then rows, columns and verdicts.

``sed-reproduce park2022/fig3 --scale mini`` expands the file into runs, skips the complete ones, goes on with broken
ones and trains the rest through Hydra's multirun, each in a process of its own, side by side. The table, made from the
records alone, lies in ``runs/tables/<scale>/<paper>/<item>``.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sed_lab import tables
from sed_lab.errors import InputError, run_command
from sed_lab.experiment.reader import read_experiment
from sed_lab.experiment.spec import SCALES, Experiment
from sed_lab.files import write_json
from sed_lab.plan import (
    Job,
    check_columns,
    distinct,
    estimate,
    expand,
    experiment_files,
    experiments_folder,
    missing_folders,
    placing_words,
    total,
)
from sed_lab.run.gpu import gpu_pool, jobs_at_once
from sed_lab.run.jobs import own_folder
from sed_lab.run.show import run_shown
from sed_lab.run.sweep import grouped
from sed_lab.run.watch import Watched
from sed_lab.until import Planned, run_until_decided, with_estimates
from sed_lab.waiting import track

if TYPE_CHECKING:
    from sed_lab.experiment.table import Table

LAUNCHERS = {"basic": "basic", "joblib": "joblib", "submitit": "submitit_slurm", "submitit_local": "submitit_local"}
FOLDER_HELP = "where the experiment files lie (default: experiments here, or those that come with sed_lab)"
UNTIL_HELP = "look by look, give the rows that an undecided claim needs more seeds, those that cost least first"
COMMANDS = {
    "list": "a line a table: runs complete, kept records, claims decided, estimated time",
    "site": "write the report site of runs, and of kept records where there is no run",
    "keep": "copy the records of complete runs into results/<scale>",
    "write": "put the tables of marked blocks into Markdown files, from kept records",
    "check": "rebuild these tables, fail when they differ",
}
WORDS = """A word with = says where runs run: launcher=basic (one after another), joblib (side by side, the default) or
submitit (a cluster), hydra.launcher.KEY; trainer=cpu (its device; the schedule stays the table's), logger, paths,
report, batch.workers, or any other key that changes no result. What would change one is refused: sed-train takes it.

Instead of an experiment, a command; sed-reproduce COMMAND --help says what it takes:
"""


def main() -> None:
    """The console script."""
    run_command(lambda: reproduce(sys.argv[1:]))


def reproduce(arguments: list[str]) -> int:
    """Run the command line; 1 where a run is still missing at the end, or a checked file differs."""
    if arguments[:1] and arguments[0] in COMMANDS:
        return _command(*arguments)
    parser = argparse.ArgumentParser(
        prog="sed-reproduce",
        description=__doc__.split("\n\n")[0],
        epilog=WORDS + "".join(f"  {name:<7} {words}\n" for name, words in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment", nargs="*", help="as PAPER/ITEM, or PAPER for all of a paper; default: all")
    parser.add_argument("--scale", choices=SCALES, default="mini", help="which size of it (default: mini)")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N - 1 (default: the first look)")
    parser.add_argument("--until", choices=["decided"], help=UNTIL_HELP)
    parser.add_argument("--minutes", type=float, metavar="M", help="start no run that would end after M minutes")
    parser.add_argument("--dry-run", action="store_true", help="list the runs, what is missing, and the time")
    parser.add_argument("--folder", type=Path, default=experiments_folder(), help=FOLDER_HELP)
    options = parser.parse_intermixed_args(arguments)  # names and words for Hydra may stand anywhere
    words = [word for word in options.experiment if "=" in word]
    names = [word for word in options.experiment if "=" not in word]
    _check(options)
    seeds = None if options.seeds is None else tuple(range(options.seeds))
    files = [read_experiment(path) for path in experiment_files(options.folder, names)]
    experiments = [
        experiment.at(options.scale, seeds) for experiment in files if wanted(experiment, options.scale, names)
    ]
    launching = [word for word in words if word.startswith(("launcher=", "hydra.", "hydra/"))]
    placing = placing_words([word for word in words if word not in launching], experiments, options.scale)
    lacking = missing_folders(experiments, options.scale, placing)
    if options.dry_run:
        print("".join(f"missing: {line}\n" for line in lacking), end="")
    elif lacking:
        raise InputError(f"{'; '.join(lacking)}; docs/data.md says what these folders hold")
    reading = track(experiments, len(experiments), "looking for the runs of tables")
    planned = [(experiment, expand(experiment, options.scale, None, placing)) for experiment in reading]
    if options.dry_run:
        return _dry_run(planned, options.scale, options.until, options.minutes)
    for experiment, jobs in planned:
        check_columns(experiment, [job for job in jobs if not job.complete])
    if options.until:
        code = run_until_decided(
            planned, options.scale, options.minutes, lambda jobs, end: run_missing(jobs, launching, end)
        )
    else:
        code = run_missing([job for one in with_estimates(planned) for job in asked(*one, options.scale)], launching)
    if code == 2:
        return 2  # the launcher's words were bad: said already, and nothing ran
    missing = 0
    for experiment, jobs in planned:
        table, place = write(experiment, options.scale, jobs)
        missing += len(table.missing)
        print(f"table: {place}")
    return 1 if missing else 0


def _check(options: argparse.Namespace) -> None:
    """Refuse numbers and options that do not go together."""
    if options.seeds is not None and options.seeds < 1:
        raise InputError(f"--seeds {options.seeds}: a table needs at least one run a row")
    if options.minutes is not None and not options.until:
        raise InputError("--minutes goes with --until decided; a table by itself trains all its runs")
    if options.minutes is not None and not options.minutes > 0:
        raise InputError(f"--minutes {options.minutes:g}: give a number above 0")
    if options.until and options.seeds is not None:
        raise InputError("--seeds says how many runs a row has, --until decided lets the claims say it; drop one")


def asked(experiment: Experiment, jobs: list[Job], scale: str) -> list[Job]:
    """The jobs of the seeds that run without ``--until``: the first look's, or the ones given."""
    return [job for job in jobs if job.seed in experiment.scale(scale).seeds]


def _dry_run(planned: Planned, scale: str, until: str | None, minutes: float | None) -> int:
    """Print what would run."""
    for experiment, jobs in planned:
        show_plan(experiment, scale, asked(experiment, jobs, scale))
    if len(planned) > 1:
        print(total([job for one in planned for job in asked(*one, scale)]))
    if until:
        run_until_decided(planned, scale, minutes, None)
    return 0


def _command(name: str, *arguments: str) -> int:
    """One of `COMMANDS`."""
    parser = argparse.ArgumentParser(prog=f"sed-reproduce {name}", description=COMMANDS[name])
    parser.add_argument("--folder", type=Path, default=experiments_folder(), help=FOLDER_HELP)
    parser.add_argument("--results", type=Path, default=Path("results"), help="where kept records lie, by scale")
    if name in ("list", "keep"):
        parser.add_argument("experiment", nargs="*", help="as PAPER/ITEM, or PAPER for all of a paper; default: all")
        parser.add_argument("--scale", choices=SCALES, default="mini", help="default: mini")
    if name == "list":
        parser.add_argument("--all", action="store_true", help="every table at each of its scales")
    if name == "site":
        parser.add_argument("--output", type=Path, default=Path("report"), help="the folder to write (default: report)")
    if name in ("write", "check"):
        parser.add_argument("file", type=Path, nargs="*", help="default: README.md and results/README.md")
    options = parser.parse_args(arguments)
    names = getattr(options, "experiment", ())
    experiments = [read_experiment(path) for path in experiment_files(options.folder, names)]
    if name == "list":
        return tables.list_tables(experiments, options.scale, options.all, options.results)
    if name == "site":
        return tables.site(experiments, options.results, options.output)
    if name == "keep":
        return tables.keep(experiments, options.scale, options.results / options.scale)
    files = options.file or [Path("README.md"), options.results / "README.md"]
    kept = tables.Kept(experiments, options.results)
    wrong = max(tables.rebuild(file, kept, write=name == "write") for file in files)
    return wrong if options.file else max(wrong, tables.count_kept(kept, write=name == "write"))


def wanted(experiment: Experiment, scale: str, names: list[str]) -> bool:
    """Whether to run it: where all tables are asked for, those whose folder or scale is not there are left out.

    Raises:
        InputError: it is asked for by name, and the folder it needs is not there.
    """
    lacking = experiment.needs and not Path(experiment.needs).is_dir()
    if lacking and experiment.name in names:
        raise InputError(
            f"{experiment.name} reads the folder {experiment.needs}, which is not here; link your recordings as"
            f" {experiment.needs}, as {experiment.path} says"
        )
    if lacking:
        print(f"{experiment.name} left out: there is no folder {experiment.needs}")
    return not lacking and (scale in experiment.scales or experiment.name in names)


def show_plan(experiment: Experiment, scale_name: str, jobs: list[Job]) -> None:
    """Print the runs and what they will take."""
    for job in jobs:
        print(f"{experiment.name} {job.row} seed {job.seed}: {'complete' if job.complete else 'to run'} {job.folder}")
    jobs = distinct(jobs)
    waiting = [job for job in jobs if not job.complete]
    print(f"{experiment.name}: {len(waiting)} of {len(jobs)} runs to do{estimate(experiment, scale_name, waiting)}")


def run_missing(jobs: list[Job], hydra: list[str], end: float | None = None) -> int:
    """Train what is not complete, as one multirun, and show how far it is; its exit code.

    A failed job stays in its record and in the table. A run that by its minutes would end after ``end`` (seconds since
    the epoch) is not started. A run on the CPU has one thread, however many run beside it: its numbers then do not
    depend on that.

    Raises:
        InputError: the launcher is unknown, or runs need GPUs that this machine does not have.
    """
    waiting = [job for job in distinct(jobs) if not job.complete]
    if not waiting:
        return 0
    words = {word.split("=")[0]: word for word in hydra}
    launcher = words.pop("launcher", "launcher=joblib").split("=", 1)[1]
    if launcher not in LAUNCHERS:
        raise InputError(f"launcher={launcher} is unknown; use {', '.join(LAUNCHERS)}")
    if launcher.startswith("submitit") and find_spec("submitit") is None:
        raise InputError(f"launcher={launcher} needs the extra slurm; install sed_lab[slurm]")
    gpus = max(job.gpus for job in waiting)
    if gpus > len(gpu_pool()) and launcher != "submitit":
        raise InputError(
            f"runs need {gpus} GPU{'s' if gpus > 1 else ''} each, and this machine offers {len(gpu_pool())};"
            " launcher=submitit runs them on a cluster, trainer=cpu without any, slowly"
        )
    if launcher == "joblib":
        words.setdefault("hydra.launcher.n_jobs", f"hydra.launcher.n_jobs={min(len(waiting), jobs_at_once(gpus))}")
    words = {"hydra/launcher": f"hydra/launcher={LAUNCHERS[launcher]}", **words}
    runs, before = waiting[0].folder.parent, len(distinct(jobs)) - len(waiting)
    print(f"{len(waiting)} runs, each with its output.log in its folder below {runs}", flush=True)
    with own_folder(runs) as place:
        return _run_in(place, waiting, [*words.values()], before, end)


def _run_in(place: Path, waiting: list[Job], hydra: list[str], before: int, end: float | None) -> int:
    """The multirun of the ``waiting`` jobs, whose list and notes lie in ``place``; its exit code."""
    latest = {job.folder: None if end is None else end - 60 * (job.minutes or 0.0) for job in waiting}
    listed = [{**asdict(job), "folder": str(job.folder), "latest": latest[job.folder]} for job in waiting]
    write_json(place / "jobs.json", listed)
    numbers = ",".join(str(i) for i in range(len(waiting)))
    command = [sys.executable, "-m", "sed_lab.run.jobs", "-m", f"list='{place / 'jobs.json'}'", f"job={numbers}"]
    command += [f"hydra.sweep.dir='{place}'", *hydra]
    threads = {} if waiting[0].gpus else {"OMP_NUM_THREADS": "1"}
    environment = {**threads, **os.environ, **grouped(" ".join(dict.fromkeys(job.table for job in waiting)))}
    several = len({job.table for job in waiting}) > 1
    watched = [
        Watched(
            f"{job.table} {job.row}" if several else job.row, job.seed, job.folder, job.minutes and 60 * job.minutes
        )
        for job in waiting
    ]
    return run_shown(command, environment, watched, before, place, end)


def write(experiment: Experiment, scale_name: str, jobs: list[Job]) -> tuple[Table, Path]:
    """The table from the records, printed and written."""
    from sed_lab.report.drawing import write_figure
    from sed_lab.report.site import write_table_page
    from sed_lab.report.table_text import print_table, write_table

    table = tables.table_of(experiment, scale_name, jobs, {job.folder: job.folder for job in jobs})
    print_table(table)
    place = jobs[0].folder.parent / "tables" / scale_name / experiment.paper / experiment.item
    write_table(table, place)
    write_figure(table, place)
    write_table_page(table, place)
    return table, place / "table.md"


if __name__ == "__main__":
    main()
