"""sed-reproduce: a paper's table from its experiment file: run what is missing, then rows, columns and verdicts.

``sed-reproduce park2022/fig3 --scale mini`` expands the file into runs, skips the complete ones, goes on with broken
ones, trains the rest through Hydra's multirun, and writes the table of ``runs/tables/<scale>/<paper>/<item>``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sed_lab.app import conf_folder, sentence
from sed_lab.errors import InputError, run_command
from sed_lab.experiment import SCALES, Experiment, experiment_files, read_experiment
from sed_lab.run import is_complete, register_resolvers, run_name

if TYPE_CHECKING:
    from sed_lab.report.table import Table


@dataclass(frozen=True)
class Job:
    """One run of an experiment."""

    row: str
    seed: int
    overrides: tuple[str, ...]
    folder: Path
    complete: bool


def main() -> None:
    """The console script."""
    run_command(lambda: reproduce(sys.argv[1:]))


def reproduce(arguments: list[str]) -> int:
    """Run the command line; 1 where a run is still missing at the end."""
    parser = argparse.ArgumentParser(prog="sed-reproduce", description=__doc__.split("\n\n")[0])
    parser.add_argument("experiment", nargs="*", help="park2022/fig3, or park2022 for all of a paper; default: all")
    parser.add_argument("--scale", choices=SCALES, default="mini", help="which size of it (default: mini)")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and an estimate of their time")
    parser.add_argument("--folder", type=Path, default=Path("experiments"), help="where the experiment files lie")
    parser.add_argument(
        "--hydra", action="append", default=[], metavar="KEY=VALUE", help="for Hydra: hydra/launcher=joblib"
    )
    options = parser.parse_args(arguments)
    experiments = [read_experiment(path) for path in experiment_files(options.folder, options.experiment)]
    planned = [(experiment, expand(experiment, options.scale)) for experiment in experiments]  # all checked first
    missing = 0
    for experiment, jobs in planned:
        if options.dry_run:
            show_plan(experiment, options.scale, jobs)
            continue
        run_missing(experiment, options.scale, jobs, options.hydra)
        table, place = write(experiment, options.scale, jobs)
        missing += sum(bool(cell.reason) for row in table.cells.values() for cell in row.values())
        print(f"table: {place}")
    return 1 if missing else 0


def expand(experiment: Experiment, scale_name: str) -> list[Job]:
    """Every run of the experiment at a scale, composed as ``sed-train`` would.

    Raises:
        InputError: an override names an unknown key or option, or two rows are the same run; with file and line.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    register_resolvers()
    scale = experiment.scale(scale_name)
    jobs: list[Job] = []
    met: dict[str, str] = {}
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        for name, row in experiment.rows.items():
            overrides = (*experiment.base, *scale.overrides, *row.overrides)
            try:
                cfg = compose(scale.config, overrides=list(overrides))
                runs = Path(str(cfg.paths.runs))
                for seed in scale.seeds:
                    cfg.seed = seed
                    folder = runs / run_name(cfg)
                    if folder.name in met:
                        raise InputError(f"row {name!r} is the same run as row {met[folder.name]!r}; drop one")
                    met[folder.name] = name
                    jobs.append(Job(name, seed, overrides, folder, is_complete(folder, cfg)))
            except (HydraException, OmegaConfBaseException, InputError) as error:
                text = str(error) if isinstance(error, InputError) else sentence(error, scale.config)
                raise InputError(f"{experiment.path}:{row.line}: row {name!r}: {text}") from None
    return jobs


def show_plan(experiment: Experiment, scale_name: str, jobs: list[Job]) -> None:
    """Print the runs and what they will take."""
    scale, waiting = experiment.scale(scale_name), [job for job in jobs if not job.complete]
    for job in jobs:
        print(f"{experiment.name} {job.row} seed {job.seed}: {'complete' if job.complete else 'to run'} {job.folder}")
    minutes = "" if scale.minutes is None else f", about {len(waiting) * scale.minutes:.0f} min on {scale.hardware}"
    print(f"{experiment.name}: {len(waiting)} of {len(jobs)} runs to do{minutes}")


def run_missing(experiment: Experiment, scale_name: str, jobs: list[Job], hydra: list[str]) -> None:
    """Train what is not complete, a multirun a row; a failed job stays in its record and in the table."""
    config = experiment.scale(scale_name).config
    for name in experiment.rows:
        waiting = [job for job in jobs if job.row == name and not job.complete]
        if waiting:
            seeds = ",".join(str(job.seed) for job in waiting)
            print(f"{experiment.name} {name}: {len(waiting)} runs", flush=True)
            command = [sys.executable, "-m", "sed_lab.train", "--config-name", config, "-m"]
            subprocess.run([*command, *waiting[0].overrides, f"seed={seeds}", *hydra], check=False)


def write(experiment: Experiment, scale_name: str, jobs: list[Job]) -> tuple[Table, Path]:
    """The table from the records, printed and written."""
    from sed_lab.report.table import build_table, markdown, write_table

    folders: dict[str, dict[int, Path]] = {name: {} for name in experiment.rows}
    for job in jobs:
        folders[job.row][job.seed] = job.folder
    table = build_table(experiment, scale_name, folders)
    place = jobs[0].folder.parent / "tables" / scale_name / experiment.paper / experiment.item
    write_table(table, place)
    print(markdown(table))
    return table, place / "table.md"


if __name__ == "__main__":
    main()
