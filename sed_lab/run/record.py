"""A run's identity, folder and record.

A run is its configuration: the hash of the resolved configuration, less what cannot change the result, names the
folder. ``run.json`` says what was asked for, on what, with what, and how it ended; a run is complete only if its record
says so.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sed_lab.errors import InputError
from sed_lab.files import locked, read_json, write_json

# What cannot change a run's result: where it is logged and kept, what is analysed and shown of it, and on how many
# devices the same global batch is computed. Epochs, precision and data are never among them.
NOT_IDENTITY = ("logger", "paths", "report", "rerun", "hydra", "analysis")
NOT_IDENTITY_BATCH = ("workers", "max_clips_per_device")
NOT_IDENTITY_TRAINER = ("accelerator", "devices", "num_nodes", "strategy", "enable_progress_bar", "log_every_n_steps")
PACKAGES = (
    "torch",
    "torchaudio",
    "pytorch-lightning",
    "hydra-core",
    "numpy",
    "sed_eval",
    "psds_eval",
    "sed_scores_eval",
)


def identity(config: DictConfig) -> dict[str, Any]:
    """The resolved part of ``config`` that decides a run's result, as plain containers."""
    config = copy.deepcopy(config)
    OmegaConf.set_readonly(config, False)
    OmegaConf.set_struct(config, False)
    config["paths"] = {key: f"<{key}>" for key in config.get("paths", {})}
    for key in NOT_IDENTITY:
        if key != "paths":
            config.pop(key, None)
    for part, keys in (("batch", NOT_IDENTITY_BATCH), ("trainer", NOT_IDENTITY_TRAINER)):
        for key in keys:
            config.get(part, {}).pop(key, None)
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    resolved.pop("paths", None)
    return {str(key): value for key, value in resolved.items()}


def config_hash(config: DictConfig) -> str:
    """Twelve hexadecimal digits that stand for :func:`identity`; infinities are written as text."""
    text = json.dumps(identity(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run_name(_root_: DictConfig) -> str:
    """The folder's name: dataset, method, loss, seed and hash (the resolver ``${run_name:}`` of conf/config.yaml)."""
    parts = [_root_[group]["_target_"].rsplit(".", 1)[-1] for group in ("dataset", "method", "loss") if group in _root_]
    return "-".join([*parts, f"seed{_root_.seed}", config_hash(_root_)])


def choices() -> dict[str, str]:
    """The option chosen in each group, as far as Hydra runs this process."""
    from hydra.core.hydra_config import HydraConfig

    return dict(HydraConfig.get().runtime.choices) if HydraConfig.initialized() else {}


def register_resolvers() -> None:
    """Make ``${run_name:}`` known to OmegaConf."""
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of the run in ``folder``; None where there is none."""
    return read_json(folder / "run.json") if (folder / "run.json").exists() else None


def analyses(names: Iterable[str]) -> list[ModuleType]:
    """The modules that a configuration's ``analysis`` names; `sed_lab.analysis` says what they may hold.

    Raises:
        InputError: one cannot be imported.
    """
    found = []
    for name in names:
        try:
            found.append(import_module(name))
        except ImportError as error:
            raise InputError(f"analysis={name}: {error}; name modules as those of sed_lab.analysis") from None
    return found


def own_analyses(record: dict[str, Any], trusted: Iterable[str] = ()) -> list[str]:
    """The analyses a record names that are sed_lab's or in a ``trusted`` package: a run's files import nothing else."""
    packages = {*trusted}
    named = [str(name) for name in record.get("config", {}).get("analysis") or ()]
    return [name for name in named if re.fullmatch(r"sed_lab\.analysis\.\w+", name) or name.split(".")[0] in packages]


def alone(folder: Path) -> AbstractContextManager[None]:
    """Hold the run in ``folder``: a second process that wants it waits here until the first one is done or dead."""
    return locked(folder / ".lock", f"another process is at work on {folder}")


def start_record(folder: Path, config: DictConfig) -> dict[str, Any]:
    """Write and return the record of a run that begins (or goes on) now."""
    resolved = copy.deepcopy(config)
    record = {
        "status": "running",
        "name": folder.name,
        "config_hash": config_hash(config),
        "seed": config.seed,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": code_version(),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        "hardware": hardware(),
        "config": OmegaConf.to_container(resolved, resolve=True),
    }
    write_json(folder / "run.json", record)
    return record


def finish_record(folder: Path, record: dict[str, Any], status: str, **facts: Any) -> None:
    """Write the record's last state: ``complete``, or ``failed`` with its ``reason``."""
    record.update(status=status, finished=datetime.now(UTC).isoformat(timespec="seconds"), **facts)
    write_json(folder / "run.json", record)


def is_complete(folder: Path, config: DictConfig) -> bool:
    """Whether ``folder`` holds the finished run of this very configuration."""
    record = read_record(folder)
    return bool(record and record.get("status") == "complete" and record.get("config_hash") == config_hash(config))


def code_version() -> dict[str, Any]:
    """Version of sed_lab; in a git checkout also its commit and whether files were changed."""
    version: dict[str, Any] = {"sed_lab": metadata.version("sed_lab")}
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        git = ["git", "-C", str(root)]
        try:
            version["commit"] = subprocess.run(
                [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
            ).stdout.strip()
            changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
            version["changed"] = bool(changed.strip())
        except (OSError, subprocess.CalledProcessError):
            pass  # no git on this machine: the version alone must do
    return version


def hardware() -> dict[str, Any]:
    """Processor, cores and GPUs this run can use."""
    import torch

    facts: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        facts["processor"] = names[0] if names else platform.processor()
    facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return facts
