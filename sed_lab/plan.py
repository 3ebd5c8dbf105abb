"""The runs that an experiment file asks for: composed, named, and checked before the first of them starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from sed_lab.app import conf_folder, sentence, shipped, whole_mappings
from sed_lab.errors import InputError
from sed_lab.experiment.spec import SHARED, Experiment
from sed_lab.metric.names import class_in, is_metric, system_in
from sed_lab.run.identity import is_complete, register_resolvers, run_name
from sed_lab.run.record import analyses
from sed_lab.run.sweep import jobs_at_once, needed_gpus


@dataclass(frozen=True)
class Job:
    """One run of an experiment: ``arguments`` for sed-train, its dataset, method and analyses, on ``gpus`` GPUs."""

    row: str
    seed: int
    arguments: tuple[str, ...]
    folder: Path
    complete: bool
    dataset: str
    method: str
    analysis: tuple[str, ...]
    gpus: int


def experiments_folder() -> Path:
    """``experiments`` of the working folder, or the one that comes with the code."""
    here = Path("experiments")
    return here if here.is_dir() else shipped("experiments")


def experiment_files(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """The files of ``names`` (``park2022/fig3``, or ``park2022`` for all of a paper), or all, in sorted order.

    Raises:
        InputError: there is no experiment of that name.
    """
    every = sorted(path for path in folder.glob("*/*.yaml") if path.name != SHARED)
    if not every:
        raise InputError(f"{folder} holds no experiment files; give --folder, or run it where experiments/ lies")
    if not names:
        return every
    found = []
    for name in names:
        here = [path for path in every if name in (f"{path.parent.name}/{path.stem}", path.parent.name)]
        if not here:
            known = ", ".join(f"{path.parent.name}/{path.stem}" for path in every)
            raise InputError(f"no experiment {name!r} in {folder}; there are: {known}")
        found += here
    return list(dict.fromkeys(found))


def expand(experiment: Experiment, scale_name: str, kept: Mapping[str, str] | None = None) -> list[Job]:
    """Every run of the experiment at a scale, composed as ``sed-train`` would; ``kept`` are content keys of data.

    Raises:
        InputError: an override names an unknown key or option, or two rows are the same run; with file and line.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    scale = experiment.scale(scale_name)
    jobs: list[Job] = []
    met: dict[tuple[str, str], str] = {}
    for name, overrides in overrides_of(experiment, scale_name).items():
        row = experiment.rows[name]
        try:
            cfg = _composed(scale.config, overrides)
            runs = Path(str(cfg.paths.runs))
            for seed in scale.seeds:
                cfg.seed = seed
                folder = runs / run_name(cfg, kept)
                if (folder.name, row.system) in met:
                    twin = met[folder.name, row.system]
                    raise InputError(f"row {name!r} is the same run as row {twin!r}; drop one")
                met[folder.name, row.system] = name
                arguments = ("--config-name", scale.config, *overrides, f"seed={seed}")
                parts = (str(cfg.dataset._target_), str(cfg.method._target_), tuple(cfg.analysis))
                complete = is_complete(folder, cfg, kept)
                jobs.append(Job(name, seed, arguments, folder, complete, *parts, needed_gpus(cfg)))
        except (HydraException, OmegaConfBaseException, InputError) as error:
            text = str(error) if isinstance(error, InputError) else sentence(error, scale.config)
            raise InputError(f"{experiment.path}:{row.line}: row {name!r}: {text}") from None
    return jobs


def runs_folder() -> Path:
    """Where runs are kept, by the configuration."""
    return Path(str(_composed("config", ()).paths.runs))


def overrides_of(experiment: Experiment, scale_name: str) -> dict[str, tuple[str, ...]]:
    """What is overridden in the runs of each row that has runs."""
    scale = experiment.scale(scale_name)
    own = {name: row for name, row in experiment.rows.items() if not row.mean_of}
    return {name: (*experiment.base, *scale.overrides, *row.overrides) for name, row in own.items()}


@cache
def _composed(config: str, overrides: tuple[str, ...]) -> Any:
    """The configuration, once for all tables and seeds: composing takes a tenth of a second."""
    from hydra import compose, initialize_config_dir

    register_resolvers()
    whole_mappings()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose(config, overrides=list(overrides))


def distinct(jobs: list[Job]) -> list[Job]:
    """One job of each run: rows and tables may share one."""
    return list({job.folder: job for job in jobs}.values())


def check_columns(experiment: Experiment, jobs: list[Job]) -> None:
    """Refuse a column that the runs' dataset, method and analyses do not have, as far as code says, and a figure.

    Raises:
        InputError: with file and line.
    """
    if "draw" in experiment.figure:
        from sed_lab.report.drawing import own_drawing

        own_drawing(experiment)
    for name, dataset, method, added in dict.fromkeys((job.row, job.dataset, job.method, job.analysis) for job in jobs):
        numbers = [pattern for module in analyses(added) for pattern in getattr(module, "NUMBERS", ())]
        row, classes = experiment.rows[name], getattr(import_module(dataset.rpartition(".")[0]), "CLASSES", None)
        systems = systems_of(method)
        if row.system and row.system not in systems:
            raise InputError(
                f"{experiment.path}:{row.line}: row {name!r} is of system {row.system!r};"
                f" the method has {', '.join(systems)}"
            )
        for key, column in experiment.columns.items():
            metric = row.metric(column)
            label, system = class_in(metric), system_in(metric)
            where = f"{experiment.path}:{column.line}: column {key!r} is of"
            if classes and label and label not in classes:
                raise InputError(f"{where} class {label!r}; the dataset has {', '.join(classes)}")
            if system not in (*systems, "dataset"):
                raise InputError(f"{where} system {system!r}; the method has {', '.join(systems)}")
            if not is_metric(metric, numbers):
                raise InputError(f"{where} {metric!r}, which neither the measures nor analysis={[*added]} give")


def systems_of(method: str) -> tuple[str, ...]:
    """The systems that a method, named by its dotted path, declares."""
    module, _, name = method.rpartition(".")
    systems: tuple[str, ...] = getattr(import_module(module), name).systems
    return systems


def estimate(experiment: Experiment, scale_name: str, waiting: list[Job]) -> str:
    """What the runs will take here, in words; nothing where the file does not say."""
    scale = experiment.scale(scale_name)
    if scale.minutes is None or not waiting:
        return ""
    side_by_side = jobs_at_once(waiting[0].gpus)
    minutes = math.ceil(len(waiting) / side_by_side) * scale.minutes
    each = f"{scale.minutes:g} min a run on {scale.hardware}"
    return f", about {minutes:.0f} min with {side_by_side} side by side ({each})"
