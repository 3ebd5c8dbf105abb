"""The runs that an experiment file asks for: composed, named, and checked before the first of them starts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from sed_lab.app import conf_folder, sentence
from sed_lab.composed import compose_ahead, composed, row_runs
from sed_lab.errors import InputError
from sed_lab.experiment.spec import SHARED, Experiment
from sed_lab.files import shipped
from sed_lab.metric.names import class_in, is_metric, system_in
from sed_lab.run.gpu import jobs_at_once
from sed_lab.run.identity import DATA, NOT_IDENTITY_TRAINER, config_hash, is_complete_run
from sed_lab.run.record import analyses

PLACING = (
    "sed-reproduce takes words that say where a run runs (launcher, trainer, logger, paths, report, batch.workers),"
    " sed-train all others"
)


@dataclass(frozen=True)
class Job:
    """One run of an experiment: ``arguments`` for sed-train, its dataset, method and analyses, on ``gpus`` GPUs.

    ``table`` is the experiment's name. ``minutes`` is what it takes by the file, None where it does not say or the
    run is placed on another device.
    """

    table: str
    row: str
    seed: int
    arguments: tuple[str, ...]
    folder: Path
    complete: bool
    dataset: str
    method: str
    analysis: tuple[str, ...]
    gpus: int
    minutes: float | None


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


def expand(
    experiment: Experiment, scale_name: str, kept: Mapping[str, str] | None = None, words: tuple[str, ...] = ()
) -> list[Job]:
    """Every run of the experiment at a scale, of all its looks, composed as ``sed-train`` would.

    ``kept`` are content keys of data. ``words`` are overrides of all runs, as `placing_words` gives them.

    Raises:
        InputError: an override names an unknown key or option, or two rows are the same run; with file and line.
            Or ``words`` would change a run's result.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    scale = experiment.scale(scale_name)
    jobs: list[Job] = []
    met: dict[tuple[str, str], str] = {}
    for name, overrides in overrides_of(experiment, scale_name).items():
        row = experiment.rows[name]
        try:
            own = row_runs(scale.config, (*overrides, *words), scale.every, kept)
            if words and (changing := _changing(words, scale.config, overrides)):
                raise InputError(f"{changing} makes another run of it: {PLACING}")
            there = own if not words else row_runs(scale.config, overrides, scale.every, kept)
            minutes = scale.minutes_a_run if own.gpus == there.gpus else None
            for seed, run in zip(scale.every, own.names, strict=True):
                folder = Path(own.runs) / run
                twin = met.setdefault((folder.name, row.system), name)
                if twin != name and not row.same_run:
                    raise InputError(f"row {name!r} is the same run as row {twin!r}; drop one, or say same_run: true")
                if twin == name and row.same_run:
                    raise InputError(f"row {name!r} says same_run, and no row before it is that run; drop the word")
                arguments = ("--config-name", scale.config, *overrides, *words, f"seed={seed}")
                complete = is_complete_run(folder, run.rpartition("-")[2])
                parts = (own.dataset, own.method, own.analysis, own.gpus, minutes)
                jobs.append(Job(experiment.name, name, seed, arguments, folder, complete, *parts))
        except (HydraException, OmegaConfBaseException, InputError) as error:
            text = str(error) if isinstance(error, InputError) else sentence(error, scale.config)
            raise InputError(f"{experiment.path}:{row.line}: row {name!r}: {text}") from None
    return jobs


def ahead(experiments: Iterable[tuple[Experiment, str]], kept: Callable[[str], Mapping[str, str] | None]) -> None:
    """Compose what `expand` will for experiments at scales, side by side; ``kept`` gives a scale's content keys."""
    compose_ahead(
        (experiment.scale(name).config, overrides, experiment.scale(name).every, given)
        for experiment, name in experiments
        for given in [kept(name)]
        for overrides in overrides_of(experiment, name).values()
    )


def placing_words(words: Sequence[str], experiments: Sequence[Experiment], scale_name: str) -> tuple[str, ...]:
    """The words of a command line that say where and how runs run, as overrides.

    They are read as the first of ``experiments`` would take them, so that an unknown one is said once. Of
    ``trainer=cpu`` it is the device alone: how long and how precisely a run trains is the experiment's.

    Raises:
        InputError: a word sets the seed, or names an unknown key or option.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    seeds = [word for word in words if word.lstrip("+").startswith("seed=")]
    if seeds:
        raise InputError(f"{seeds[0]}: a table has seeds of its own; --seeds N takes 0 to N - 1")
    if not words or not experiments:
        return ()
    config = experiments[0].scale(scale_name).config
    overrides = next(iter(overrides_of(experiments[0], scale_name).values()))
    trainers = [word for word in words if word.startswith("trainer=")]
    kept = [word for word in overrides if not (trainers and word.startswith("trainer="))]
    try:
        composed(config, (*kept, *words))
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(sentence(error, config)) from None
    found = [word for word in words if word not in trainers]
    for word in trainers:
        option = yaml.safe_load((conf_folder() / f"{word.replace('=', '/')}.yaml").read_text(encoding="utf-8"))
        found = [f"trainer.{name}={_as_word(option[name])}" for name in NOT_IDENTITY_TRAINER if name in option] + found
    return tuple(found)


def _as_word(value: Any) -> str:
    """A value of a YAML file as an override has it."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_as_word(inner)}' for name, inner in value.items())}}}"
    return str(value)


def _changing(words: Sequence[str], config: str, overrides: tuple[str, ...]) -> str:
    """Those of ``words`` with which a run is another one; nothing where it stays the same."""
    from hydra.errors import HydraException

    def key(*more: str) -> str:
        cfg = composed(config, (*overrides, *more))
        cfg.seed = 0
        return config_hash(cfg)

    if key(*words) == key():
        return ""
    found = []
    for word in words:
        try:
            found += [word] if key(word) != key() else []
        except HydraException:  # it needs another of them
            continue
    return " ".join(found or words)


def missing_folders(experiments: Sequence[Experiment], scale_name: str, words: tuple[str, ...] = ()) -> list[str]:
    """A line for each folder of the user's that the runs read and that is not there: its variable, and who reads it.

    Nothing is read for it. Overrides that cannot be composed are left to `expand`.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    readers: dict[tuple[str, str, str], dict[str, None]] = {}
    for experiment in experiments:
        config = experiment.scale(scale_name).config
        for overrides in overrides_of(experiment, scale_name).values():
            try:
                cfg = composed(config, (*overrides, *words))
                found = [
                    (f"{group}.{key}", cfg[group], str(cfg[group].get(key))) for group in DATA for key in cfg[group]
                ]
            except (HydraException, OmegaConfBaseException):
                continue
            for key, node, value in found:
                if key.endswith("folder") and value != str(cfg.paths.cache) and not Path(value).is_dir():
                    name = _variable(key, (*overrides, *words)) or key
                    what = str(node._target_).rpartition(".")[2].removeprefix("read_")
                    readers.setdefault((name, value, what), {})[experiment.name] = None
    return [
        f"{name}: there is no folder {value}, which is to hold the data of {what} for {', '.join(tables)}"
        for (name, value, what), tables in readers.items()
    ]


def _variable(key: str, overrides: Sequence[str]) -> str:
    """The environment variable that an override takes a key's value from; empty where there is none."""
    found = [re.match(rf"{re.escape(key)}=\$\{{oc\.env:(\w+)", word) for word in overrides]
    return next((match[1] for match in reversed(found) if match), "")


def overrides_of(experiment: Experiment, scale_name: str) -> dict[str, tuple[str, ...]]:
    """What is overridden in the runs of each row that has runs."""
    scale = experiment.scale(scale_name)
    own = {name: row for name, row in experiment.rows.items() if not row.mean_of}
    return {name: (*experiment.base, *scale.overrides, *row.overrides) for name, row in own.items()}


def distinct(jobs: list[Job]) -> list[Job]:
    """One job of each run, the first: rows and tables may share one."""
    return list({job.folder: job for job in reversed(jobs)}.values())[::-1]


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
    if not waiting or waiting[0].minutes is None:
        return ""
    side_by_side = jobs_at_once(waiting[0].gpus)
    minutes = math.ceil(len(waiting) / side_by_side) * waiting[0].minutes
    return f", about {minutes:,.0f} min with {side_by_side} side by side ({experiment.scale(scale_name).cost})"


def total(jobs: list[Job]) -> str:
    """The runs of several tables and their minutes, in words; what tables share is counted once, as in the first."""
    jobs = distinct(jobs)
    waiting = [job for job in jobs if not job.complete]
    minutes, unknown = minutes_in_words(waiting)
    text = f"in all: {len(waiting)} of {len(jobs)} distinct runs to do{minutes}"
    return text + (f"; what {unknown} of them take is not known" if unknown else "")


def minutes_in_words(jobs: Sequence[Job]) -> tuple[str, int]:
    """``, 108 min of runs, about 54 min here``, and of how many jobs that is not known."""
    known = [(job.minutes, jobs_at_once(job.gpus)) for job in jobs if job.minutes is not None]
    here = sum(alone / side_by_side for alone, side_by_side in known)
    text = f", {sum(alone for alone, _ in known):,.0f} min of runs, about {here:,.0f} min here" if known else ""
    return text, len(jobs) - len(known)
