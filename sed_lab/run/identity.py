"""A run's identity and name, and what changed since a run was made.

The identity is the resolved configuration less what cannot change the result. It counts classes by name and values,
data of the user's by content, never paths: code or data that moves stays the same run.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf

from sed_lab.files import read_json
from sed_lab.run.content import code_hashes, content_key, content_state
from sed_lab.run.gpu import gpu_pool
from sed_lab.run.record import begun, read_record

# What cannot change a run's result: where it is logged and kept, how it is shown, what is made of its records. Epochs,
# precision and data are never among them. On how many devices the same global batch is computed: see `divided`.
NOT_IDENTITY = ("logger", "report", "rerun", "hydra", "analysis", "search")
NOT_IDENTITY_BATCH = ("workers", "max_clips_per_device", "cache_features")
NOT_IDENTITY_TRAINER = (
    "accelerator", "devices", "num_nodes", "strategy", "enable_progress_bar", "log_every_n_steps", "checkpoint_minutes",
    "profiler", "detect_anomaly",
)  # fmt: skip
NOT_IDENTITY_MODEL = ("download",)  # how a pretrained encoder comes here
NOT_IDENTITY_DATASET = ("corrected",)  # what a folder's files are taken for, which are counted themselves
NOT_IDENTITY_CALLBACKS = ("LearningRateMonitor", "DeviceStatsMonitor")  # classes that only watch
DATA = ("dataset", "feature", "method", "model")  # groups whose values may name data of the user's
# Groups whose class's code can change a number.
CODE = ("method", "model", "loss", "feature", "dataset", "decoder", "rival_decoder")
ELSEWHERE: Any = object()  # stands for a value that depends on the seed in another way than being it
SHARED = ("sed_lab.method.base", "sed_lab.clip.module", "sed_lab.run.collect")  # code that all runs pass


def identity(config: DictConfig, kept: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The part of ``config`` that decides a run's result, resolved, as plain containers.

    ``kept`` gives content keys of data by its path; what lies at other paths is looked at.
    """
    resolved = _resolved(config)
    stand_in = {path: f"content {key}" for path, key in _data_keys(resolved, kept or {}).items()}
    stand_in |= {value: f"<{name}>" for name, value in resolved.pop("paths").items()}
    for group in DATA:
        for key, value in resolved.get(group, {}).items():
            resolved[group][key] = stand_in.get(value, value) if isinstance(value, str) else value
    devices, passes = divided(resolved)
    if devices * passes > 1:
        method, network = (get_object(resolved[group]["_target_"]) for group in ("method", "model"))
        if getattr(method, "depends_on_parts", False) or getattr(network, "normalises_batches", True):
            resolved["parts"] = devices * passes
        elif getattr(method, "gathers", False) and passes > 1:
            resolved["passes"] = passes
    acting = {key: node for key, node in resolved.pop("callbacks", {}).items() if not _only_watches(node)}
    resolved |= {"callbacks": acting} if acting else {}
    if not resolved["trainer"].get("sync_batchnorm"):  # as in runs of before there was a choice
        resolved["trainer"].pop("sync_batchnorm", None)
    left_out = {"batch": NOT_IDENTITY_BATCH, "trainer": NOT_IDENTITY_TRAINER, "model": NOT_IDENTITY_MODEL}
    for part, names in {**left_out, "dataset": NOT_IDENTITY_DATASET}.items():
        for name in names:
            resolved.get(part, {}).pop(name, None)
    return {key: _by_name(value) for key, value in resolved.items()}


def _only_watches(callback: Mapping[str, Any]) -> bool:
    return str(callback["_target_"]).rpartition(".")[2] in NOT_IDENTITY_CALLBACKS


def data_of(config: DictConfig, kept: Mapping[str, str] | None = None) -> dict[str, str]:
    """Content keys of the user's data that ``config`` reads, by path; ``kept`` are those of data that is elsewhere."""
    return _data_keys(_resolved(config), kept or {})


def config_hash(config: DictConfig, kept: Mapping[str, str] | None = None) -> str:
    """Twelve hexadecimal digits that stand for :func:`identity`."""
    return _hash(identity(config, kept))


def run_name(_root_: DictConfig, kept: Mapping[str, str] | None = None) -> str:
    """The folder's name: dataset, method, loss, seed and hash (the resolver ``${run_name:}`` of conf/config.yaml)."""
    return _name(_root_, _root_.seed, config_hash(_root_, kept))


def run_names(config: DictConfig, seeds: Sequence[int], kept: Mapping[str, str] | None = None) -> list[str]:
    """:func:`run_name` with each of ``seeds``, which is left at the last.

    To resolve a configuration takes hundredths of a second, so only two are: where their identities differ in the seed
    alone, it is put into those of the others.
    """
    found = []
    for seed in seeds[:2]:
        config.seed = seed
        found.append(identity(config, kept))
    made = [_seeded(found[0], found[1], seeds[0], seeds[1], seed) for seed in seeds[2:]]
    for i, seed in enumerate(seeds[2:]):
        if made[i] is ELSEWHERE:
            config.seed = seed
            made[i] = identity(config, kept)
    config.seed = seeds[-1]
    return [_name(config, seed, _hash(one)) for seed, one in zip(seeds, [*found, *made], strict=True)]


def _seeded(a: Any, b: Any, seed_a: int, seed_b: int, seed: int) -> Any:
    """What is ``a`` with one seed and ``b`` with another, with ``seed``; `ELSEWHERE` where it is not the seed."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        made: Any = {key: _seeded(a[key], b[key], seed_a, seed_b, seed) for key in a}
        return ELSEWHERE if any(value is ELSEWHERE for value in made.values()) else made
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        made = [_seeded(x, y, seed_a, seed_b, seed) for x, y in zip(a, b, strict=True)]
        return ELSEWHERE if any(value is ELSEWHERE for value in made) else made
    if a == b or (a, b) == (seed_a, seed_b):
        return a if a == b else seed
    return ELSEWHERE


def _hash(identity: Mapping[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _name(config: DictConfig, seed: int, digits: str) -> str:
    groups = [group for group in ("dataset", "method", "loss") if group in config]
    return "-".join([*(config[group]["_target_"].rsplit(".", 1)[-1] for group in groups), f"seed{seed}", digits])


def register_resolvers() -> None:
    """Make ``${run_name:}`` known to OmegaConf."""
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def is_complete(folder: Path, config: DictConfig, kept: Mapping[str, str] | None = None) -> bool:
    """Whether ``folder`` holds the finished run of this very configuration."""
    return is_complete_run(folder, config_hash(config, kept))


def is_complete_run(folder: Path, digits: str) -> bool:
    """Whether ``folder`` holds the finished run of the configuration with this hash."""
    record = read_record(folder)
    return bool(record and record["status"] == "complete" and record["config_hash"] == digits)


def divided(config: Mapping[str, Any]) -> tuple[int, int]:
    """Over how many devices, in how many passes, a resolved configuration computes its global batch.

    A method whose loss couples clips of one part (``depends_on_parts``) or a network that normalises by the batch
    (``normalises_batches``) computes something else in several parts, and their number belongs to the identity; where
    a method ``gathers`` clips from all devices, that of the passes does.
    """
    trainer, batch = config["trainer"], config["batch"]
    world = devices(trainer) * int(trainer.get("num_nodes", 1))
    if (most := batch.get("max_clips_per_device")) is None:
        return world, 1
    clips = batch["clips"]
    trained = getattr(get_object(config["method"]["_target_"]), "trains_on", clips)
    return world, max(1, -(-sum(clips[name] for name in clips if name in trained) // (world * most)))


def devices(trainer: Mapping[str, Any]) -> int:
    """How many devices of each machine a configuration's group ``trainer`` asks for."""
    asked = trainer.get("devices", 1)
    if asked in ("auto", -1, "-1"):
        asked = len(gpu_pool()) if trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda") else 1
    elif isinstance(asked, str) and "," in asked:
        asked = asked.strip(",").split(",")
    return max(1, len(asked) if isinstance(asked, (list, ListConfig)) else int(asked))


def provenance(config: DictConfig) -> dict[str, Any]:
    """What a run's record says of its identity: the hash, what it stands for, and the code and data behind it."""
    resolved = _resolved(config)
    targets = {group: resolved[group]["_target_"] for group in CODE if group in resolved}
    data, own = _data_keys(resolved, {}), tuple(Path(value).absolute() for value in config.paths.values())
    return {
        "config_hash": config_hash(config),
        "identity": identity(config),
        "data": data,
        "data_state": {path: content_state(Path(path).absolute(), own) for path in data},
        "parts": math.prod(divided(resolved)),
        "code_hash": code_hashes(targets, SHARED),
    }


def notice(folder: Path, config: DictConfig) -> str:
    """What to say before a run in ``folder``: whether it is complete, which code or data changed since; or nothing."""
    now, record = provenance(config), read_record(folder)
    if record is None:
        return _on_former_data(folder, now)
    hashes = record.get("code_hash", {})  # none in records of before there were such hashes
    parts = ", ".join(part for part, digest in hashes.items() if now["code_hash"].get(part, digest) != digest)
    changes = [f"made by other code: {parts} changed since"] if parts else []
    states = record.get("data_state", {})
    if touched := [path for path, state in now["data_state"].items() if states.get(path, state) != state]:
        changes.append(f"files of {', '.join(touched)} were replaced, or written again, since")
    other = "; ".join(changes)
    if config.rerun:
        return ""
    if is_complete(folder, config):
        return f"already complete: {folder} ({f'{other}; ' if other else ''}rerun=true trains it again)"
    return f"going on with {folder} ({other}; rerun=true starts anew)" if other and begun(folder) else ""


def _on_former_data(folder: Path, now: Mapping[str, Any]) -> str:
    """Which run beside ``folder`` has the same settings on other data at the same path, in words."""

    def settings(known: Mapping[str, Any]) -> str:
        return re.sub(r'"content \w+"', "", json.dumps(known, sort_keys=True, default=str))

    for file in sorted(folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*/run.json")) if now["data"] else ():
        record = read_json(file)
        changed = [path for path, key in now["data"].items() if record.get("data", {}).get(path, key) != key]
        if changed and settings(record["identity"]) == settings(now["identity"]):
            return f"{', '.join(changed)} has changed since {file.parent}; this is a new run"
    return ""


def _resolved(config: DictConfig) -> dict[str, Any]:
    counted = OmegaConf.masked_copy(config, [str(key) for key in config if key not in NOT_IDENTITY])
    resolved = OmegaConf.to_container(counted, resolve=True)
    assert isinstance(resolved, dict)
    named = {str(key): value for key, value in resolved.items()}
    if named.get("rival_decoder") is None:  # no decoder, as in runs of before there were any
        named.pop("rival_decoder", None)
    return named


def _data_keys(config: Mapping[str, Any], kept: Mapping[str, str]) -> dict[str, str]:
    """The user's data that a resolved configuration reads: content keys by path, as the configuration names it.

    A path is a value of these groups that holds a slash, belongs to a key ``*folder``, or is a file. Of a network it is
    a folder that exists: an encoder's name on a hub looks like a path too.
    """
    own = {name: Path(value).absolute() for name, value in config["paths"].items()}
    keys: dict[str, str] = {}
    for group, (key, value) in ((name, item) for name in DATA for item in config.get(name, {}).items()):
        if key == "_target_" or not isinstance(value, str) or Path(value).absolute() in own.values():
            continue
        path = Path(value).absolute()
        if group == "model" and not path.is_dir():
            continue
        if group == "model" or "/" in value or key.endswith("folder") or (path.suffix and path.is_file()):
            keys[value] = kept[value] if value in kept else content_key(path, own["cache"], tuple(own.values()))
    return keys


def _by_name(node: Any, key: str = "") -> Any:
    """``node`` with every class by its name, without its module, and infinities as text, as JSON has none."""
    if isinstance(node, dict):
        return {name: _by_name(value, str(name)) for name, value in node.items()}
    if isinstance(node, list):
        return [_by_name(value) for value in node]
    if isinstance(node, float) and math.isinf(node):
        return str(node)
    return node.rpartition(".")[2] if key == "_target_" else node
