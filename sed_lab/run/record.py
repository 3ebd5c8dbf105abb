"""A run's record: ``run.json`` says what was asked for, on what, with what, and how it ended.

A run is complete only if its record says so.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sed_lab.errors import InputError
from sed_lab.files import locked, read_json, write_json

OTHER_DATA = "restore it, or rerun=true starts anew"
PACKAGES = ("torch", "torchaudio", "pytorch-lightning", "hydra-core", "numpy",
            "sed_eval", "psds_eval", "sed_scores_eval")  # fmt: skip


def choices() -> dict[str, str]:
    """The option chosen in each group, as far as Hydra runs this process."""
    from hydra.core.hydra_config import HydraConfig

    return dict(HydraConfig.get().runtime.choices) if HydraConfig.initialized() else {}


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of the run in ``folder``; None where there is none.

    Raises:
        InputError: the file is not a record.
    """
    if not (folder / "run.json").exists():
        return None
    record = read_json(folder / "run.json")
    if not (isinstance(record, dict) and isinstance(record.get("config", {}), dict)):
        raise InputError(f"{folder}/run.json is no record of a run; restore it, or remove it to start anew")
    return record


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


def alone(folder: Path) -> AbstractContextManager[None]:
    """Hold the run in ``folder``: a second process that wants it waits here until the first one is done or dead."""
    return locked(folder / ".lock", f"another process is at work on {folder}")


def start_record(folder: Path, config: DictConfig, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Write and return the record of a run that begins (or goes on) now.

    ``identity`` is what `sed_lab.run.identity.provenance` says.

    Raises:
        InputError: it would go on with a run that was begun on other data.
    """
    earlier = {} if config.rerun else begun(folder)
    for path, key in identity["data"].items():
        if earlier.get("data", {}).get(path, key) != key:
            raise InputError(f"{path} has changed since {folder} was begun; {OTHER_DATA}")
    record = {
        "status": "running",
        "name": folder.name,
        **identity,
        "seed": config.seed,
        **circumstances(),
        "config": OmegaConf.to_container(config, resolve=True),
        **({"dataset": earlier["dataset"]} if "dataset" in earlier else {}),
    }
    write_json(folder / "run.json", record)
    return record


def circumstances() -> dict[str, Any]:
    """What a record says of how it came about: command, time, code, package versions, hardware."""
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": code_version(),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        "hardware": hardware(),
    }


def note_data(folder: Path, record: dict[str, Any], dataset: dict[str, Any], rerun: bool) -> None:
    """Write what data was read (``name``, ``fingerprint``) into the record; on other ranks, whose record is empty, not.

    Raises:
        InputError: the run would go on, and was begun on other data.
    """
    known = {} if rerun else begun(folder).get("dataset", {})
    if known.get("fingerprint", dataset["fingerprint"]) != dataset["fingerprint"]:
        raise InputError(f"the data of {dataset['name']} have changed since {folder} was begun; {OTHER_DATA}")
    if record:
        record["dataset"] = dataset
        write_json(folder / "run.json", record)
        if rerun:
            for name in ("last", "best"):  # nothing goes on from them once this began
                (folder / "checkpoints" / f"{name}.ckpt").unlink(missing_ok=True)


def begun(folder: Path) -> dict[str, Any]:
    """The record of the run in ``folder`` that the next one goes on with; empty where it starts anew."""
    return (read_record(folder) or {}) if (folder / "checkpoints" / "last.ckpt").exists() else {}


def finish_record(folder: Path, record: dict[str, Any], status: str, **facts: Any) -> None:
    """Write the record's last state: ``complete``, or ``failed`` with its ``reason``."""
    record.update(ending(status), **facts)
    write_json(folder / "run.json", record)


def ending(status: str) -> dict[str, str]:
    """What a record says of a run that ends now."""
    return {"status": status, "finished": datetime.now(UTC).isoformat(timespec="seconds")}


def best_in_words(record: Mapping[str, Any]) -> str:
    """Which epoch's weights a run kept; empty where its record does not say."""
    best, epochs = record.get("best_epoch"), record.get("epochs")
    if best is None:
        return ""
    if record.get("objective") is None:
        return f"epoch {best} of {epochs}, the last: nothing is validated"
    return f"epoch {best} of {epochs}" + (
        ": the last, still rising; more epochs may be better" if best == epochs else ""
    )


def processor_time() -> float:
    """Seconds of processor time that this process, all its threads and its children that ended have used."""
    return sum(os.times()[:4])


def minutes_of(record: Mapping[str, Any]) -> float | None:
    """The minutes from the start to the end of a run, its last try; None where its record does not say."""
    if "started" not in record or "finished" not in record:
        return None
    started, finished = (datetime.fromisoformat(record[key]) for key in ("started", "finished"))
    return (finished - started).total_seconds() / 60


def core_minutes_of(record: Mapping[str, Any]) -> float | None:
    """Minutes of processor time that a run took on a CPU, all tries; None on a GPU, or where its record does not say.

    Older records have processor time until trained only, of the last try: what followed counts by the clock, and so
    does all training of a run that went on from a checkpoint.
    """
    on_gpu = record.get("config", {}).get("trainer", {}).get("accelerator") in ("gpu", "cuda")
    if on_gpu or "core_minutes" in record:
        return None if on_gpu else float(record["core_minutes"])
    took, trained, used = minutes_of(record), record.get("training_seconds"), record.get("processor_seconds")
    if took is None or trained is None or used is None:
        return None
    if trained > 60 * took:
        return float(trained * record.get("hardware", {}).get("threads", 1)) / 60
    return float(took - trained / 60 + used / 60)


def code_version() -> dict[str, Any]:
    """Version of sed_lab; in a git checkout also its commit and whether files were changed."""
    version: dict[str, Any] = {"sed_lab": metadata.version("sed_lab")}
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        git = partial(subprocess.check_output, cwd=root, text=True, stderr=subprocess.DEVNULL)
        try:
            version["commit"] = git(["git", "rev-parse", "HEAD"]).strip()
            version["changed"] = bool(git(["git", "status", "--porcelain"]).strip())
        except (OSError, subprocess.CalledProcessError):
            pass  # no git on this machine: the version alone must do
    return version


def hardware() -> dict[str, Any]:
    """Processor, cores and GPUs this run can use."""
    import torch

    facts: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = re.search(r"^model name[^:\n]*:(.*)", cpuinfo.read_text(), re.MULTILINE)
        facts["processor"] = named[1].strip() if named else platform.processor()
    facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return facts
