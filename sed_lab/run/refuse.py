"""What is refused before a run has a folder or reads data: values, parts that do not fit, test clips, devices.

`try_measuring` follows once the classes are known and before training: decoders and metrics are tried on made scores,
so that none of them fails when all is trained.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sed_lab.errors import InputError
from sed_lab.parameter.check import HYDRA, check_config, unknown
from sed_lab.run.assemble import asked_for, build, check_fit, check_network, method_class, rival_of
from sed_lab.run.fitting import OWN
from sed_lab.run.gpu import needed_gpus
from sed_lab.run.record import analyses

if TYPE_CHECKING:
    from sed_lab.run.assemble import Assembly
    from sed_lab.types import Scores

NOT_IN_TRAINER = {
    "fast_dev_run": "trainer=smoke takes two steps of everything, in seconds, and keeps the checkpoint that is tested",
    "overfit_batches": "dataset.sizes={synthetic: 24} makes a corpus of one batch",
    "callbacks": "callbacks are chosen by callbacks=[early_stopping], or a file of yours in callbacks/",
    "logger": "loggers are chosen by logger=[csv,wandb], or a file of yours in logger/",
    "accumulate_grad_batches": "batch.max_clips_per_device=N computes the global batch in several passes",
    "default_root_dir": "paths.runs=FOLDER says where runs are written",
    "num_sanity_val_steps": "there are no sanity steps",
}
"""Keys of the trainer that a run sets itself or cannot go by, and what to do instead."""
UNRESOLVED = ("hydra", "logger")  # read what only a run that has begun knows


def refuse_values(cfg: DictConfig, command: str) -> None:
    """Refuse a value that is none of its parameter's, without importing what the configuration names.

    Raises:
        InputError: as `sed_lab.parameter.check.check_config`, or a value that has to be given is not.
    """
    try:
        if missing := sorted(OmegaConf.missing_keys(_counted(cfg))):
            raise InputError(f"{', '.join(missing)}: not given, and has no default; add {missing[0]}=...")
        config, loggers = _resolved(cfg), cfg.get("logger")
    except OmegaConfBaseException as error:
        key = re.search(r"full_key: (\S+)", str(error))
        said = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error).split("\n")[0])
        raise InputError(f"{key[1] if key else 'a value'}: {said}; correct what stands in ${{...}}") from None
    if loggers is not None:
        is_node = isinstance(loggers, DictConfig)
        config["logger"] = OmegaConf.to_container(loggers, resolve=False) if is_node else loggers
    check_config(config, command)


def _counted(cfg: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in UNRESOLVED])


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    """``cfg`` as plain containers, less what cannot be resolved yet."""
    config = OmegaConf.to_container(_counted(cfg), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def refuse_run(cfg: DictConfig, conf: Path, chosen: Mapping[str, str]) -> None:
    """Refuse, before any data is read, what would fail after it; options lie in ``conf``, ``chosen`` are those taken.

    Raises:
        InputError: a class does not take its values, parts do not fit, a test subset would train or choose, there is
            nothing to train, or there is no such device.
    """
    refuse_values(cfg, "sed-train")
    for key, node in _nodes(_resolved(cfg), ""):
        _check_call(key, node)
    _check_trainer(cfg)
    _check_callbacks(cfg, method_class(cfg))
    rival_of(cfg)
    objective = objective_of(cfg)
    for name in objective:
        if not re.fullmatch(r"\w+/(loss|\w+/(tagging_f1|intersection_f1))", name):
            raise InputError(
                f"objective={name}: give <subset>/<system>/tagging_f1, <subset>/<system>/intersection_f1 or"
                " <subset>/loss"
            )
    refuse_test_clips(cfg, objective)
    check_fit(cfg, conf, chosen)
    check_network(cfg)
    analyses(cfg.analysis)
    _try_parts(cfg)


def objective_of(cfg: DictConfig) -> list[str]:
    """What the run is validated by: as the configuration says, else as the method does."""
    return list(method_class(cfg).default_objective() if cfg.objective is None else cfg.objective)


def refuse_test_clips(cfg: DictConfig, objective: Sequence[str]) -> None:
    """Refuse a configuration that trains on test clips, or chooses a checkpoint or threshold by them.

    Raises:
        InputError: with the key that names a test subset, or one that is not known as a subset to train on.
    """
    from sed_lab.types import TESTS, TRAINING

    if cfg.tune_on in TESTS:
        raise InputError(
            f"tune_on={cfg.tune_on} would choose the threshold on the clips it is judged on; use another subset"
        )
    for name in TESTS:
        if any(item.split("/")[0] == name for item in objective):
            raise InputError(f"objective names {name}, whose clips the run is judged on; use another subset")
        if cfg.batch.clips.get(name):
            raise InputError(f"batch.clips.{name} would train on the clips the run is judged on; use another subset")
    trained = method_class(cfg).trains_on
    known = tuple(dict.fromkeys((*TRAINING, *trained)))
    if unknown_ones := [name for name, count in cfg.batch.clips.items() if count and name not in known]:
        raise InputError(f"batch.clips.{unknown_ones[0]}: that is no subset to train on; those are {', '.join(known)}")
    if not any(count for name, count in cfg.batch.clips.items() if name in trained):
        raise InputError(
            f"batch.clips gives no clip that this method trains on; it takes those of {', '.join(trained)}"
        )


def _check_trainer(cfg: DictConfig) -> None:
    import torch
    from pytorch_lightning.strategies import StrategyRegistry

    if cfg.trainer.max_epochs == 0:
        raise InputError("trainer.max_epochs=0 trains nothing; give at least 1")
    for name, instead in NOT_IN_TRAINER.items():
        if name in cfg.trainer:
            raise InputError(f"trainer.{name} is not for a run; {instead}")
    if cfg.trainer.get("sync_batchnorm") and cfg.trainer.accelerator not in ("gpu", "cuda"):
        raise InputError("trainer.sync_batchnorm=true: PyTorch has it for GPUs only; leave it out on CPUs")
    known = ["auto", *StrategyRegistry.available_strategies()]
    if isinstance(strategy := cfg.trainer.get("strategy", "auto"), str) and strategy not in known:
        raise InputError(f"trainer.strategy={strategy} is unknown; give auto or ddp")
    if cfg.trainer.accelerator in ("gpu", "cuda"):
        wanted = 1 if cfg.trainer.devices in ("auto", -1, "-1") else needed_gpus(cfg)
        there = torch.cuda.device_count()
        if wanted > there:
            raise InputError(
                f"trainer.accelerator={cfg.trainer.accelerator} with trainer.devices={cfg.trainer.devices}, but PyTorch"
                f" finds {there or 'no'} GPU{'s' if there > 1 else ''} here; use trainer=cpu, or fewer devices"
            )


# Lightning's own, by their classes; see `sed_lab.run.averaging`.
AVERAGES = ("WeightAveraging", "EMAWeightAveraging", "StochasticWeightAveraging")


def _check_callbacks(cfg: DictConfig, method: Any) -> None:
    """Refuse callbacks that have nothing to go by."""
    targets = {str(node.get("_target_")).rpartition(".")[2]: key for key, node in (cfg.get("callbacks") or {}).items()}
    if (key := targets.get("EarlyStopping")) and not objective_of(cfg):
        raise InputError(
            f"callbacks.{key}: with objective=[] nothing is validated that it could go by; give an objective"
        )
    if key and method.stops_early:
        raise InputError(f"callbacks.{key}: {method.__name__} ends its training by a rule of its own; leave it out")
    if (key := targets.get("MovingAverage")) and (method.stops_early or len(method.systems) > 1):
        raise InputError(
            f"callbacks.{key}: {method.__name__} averages weights or trains in phases by itself; leave it out"
        )
    if key := next((targets[name] for name in AVERAGES if name in targets), None):
        raise InputError(
            f"callbacks.{key}: what it averages would not be what is tested; use callbacks=[weight_averaging]"
        )
    if key := targets.get("LearningRateFinder"):
        raise InputError(f"callbacks.{key}: the rate that it finds would stand in no record; sed-search tries rates")
    if (key := targets.get("LearningRateMonitor")) and not cfg.get("logger"):
        raise InputError(f"callbacks.{key}: without a logger the learning rate goes nowhere; give logger=[csv]")


def _nodes(node: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with ``_target_``, with its key."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield key, node
        for name, inner in node.items():
            yield from _nodes(inner, f"{key}.{name}".lstrip("."))


def _check_call(key: str, node: dict[str, Any]) -> None:
    """Refuse a ``_target_`` that is not there, and a key that it does not take."""
    try:
        parameters = inspect.signature(get_object(node["_target_"])).parameters
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise InputError(f"{key}._target_={node['_target_']} cannot be imported ({reason}); correct it") from None
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return
    for name in node:
        if name not in HYDRA and name not in parameters and (key, name) != ("trainer", OWN):
            raise InputError(unknown(f"{key}.{name}", [one for one in parameters if one != "self"]))


def _try_parts(cfg: DictConfig) -> None:
    """Make front end, network, loss and decoders as far as no data is needed, so that they say what they refuse."""
    import torch

    config = _resolved(cfg)
    with torch.random.fork_rng(devices=[]):  # a run draws its weights as if nothing had been made here
        for group in ("loss", "decoder"):
            _made(group, config[group])
        if "hop_length" not in config["feature"]:
            return
        feature = _made("feature", config["feature"])
        rates = {group: config[group].get("sample_rate") for group in ("feature", "dataset")}
        if None not in rates.values() and len(set(rates.values())) > 1:
            raise InputError(
                f"feature.sample_rate={rates['feature']} but dataset.sample_rate={rates['dataset']}; set both alike"
            )
        seconds = config["dataset"].get("clip_seconds")
        if seconds is None or hasattr(get_object(config["model"]["_target_"]), "check"):
            return  # how long clips are is known later; an encoder has been looked at
        n_samples = round(seconds * feature.sample_rate)
        known = {"n_classes": 2, "n_samples": n_samples, **feature.sizes(n_samples), "feature": feature}
        _made("model", config["model"], **asked_for(config["model"]["_target_"], known))


def _made(group: str, node: Mapping[str, Any], **given: Any) -> Any:
    try:
        return build(node, **given)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        if not str(node["_target_"]).startswith("sed_lab."):
            raise  # its author is to see where
        said = " ".join(str(error.__cause__ or error).split())
        raise InputError(
            f"{group} cannot be made of its values ({said}); `sed-train --help` says what each is"
        ) from None


def try_measuring(classes: Sequence[str], made: Assembly, rival: Any, metric: Mapping[str, Any]) -> None:
    """Measure made scores of ``classes`` with the run's decoders and metrics, which takes a moment.

    Raises:
        InputError: what they refuse, such as thresholds by class that lack one.
    """
    import numpy as np

    from sed_lab.metric.measure import measure
    from sed_lab.types import Event, Scores

    n_frames, hop = min(made.n_frames, 50), made.frame_hop
    seconds = n_frames * hop
    rng = np.random.default_rng(0)
    clips = tuple(f"clip{i}" for i in range(3))
    clip = rng.random((len(clips), len(classes)), dtype=np.float32)
    frame = tuple(rng.random((n_frames, len(classes)), dtype=np.float32) for _ in clips)
    whole = made.method.clips_only
    scores: Scores = Scores(clips, tuple(classes), np.full(len(clips), seconds), hop, None if whole else frame, clip)
    about = {name: [label for i, label in enumerate(classes) if i % 2 == n % 2] for n, name in enumerate(clips)}
    truth = {name: tuple(Event(0.0, seconds / 2, label) for label in labels) for name, labels in about.items()}
    events = [event for found in truth.values() for event in found]
    for decoder in (made.decoder, rival):
        if decoder is not None and not whole:
            decoder = decoder.fit(events, classes)
            decoder.decode(scores)
    measure(
        {"made": scores},
        None if whole else truth,
        dict.fromkeys(clips, seconds),
        decoder=made.decoder if whole else made.decoder.fit(events, classes),
        labels=about,
        **{**metric, "bootstrap": min(metric["bootstrap"], 2)},
    )
