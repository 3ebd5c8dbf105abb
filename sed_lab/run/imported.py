"""The published DCASE 2021 task 4 baseline as a run: its Lightning checkpoint's weights under this project's names.

Nothing of the file is executed: tensors and plain containers are read, and whatever else it holds (callbacks,
Lightning's own kinds of settings) becomes an empty stand-in.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sed_lab.errors import InputError
from sed_lab.files import write_json
from sed_lab.run.assemble import Facts, assemble
from sed_lab.run.record import circumstances

if TYPE_CHECKING:
    from torch import Tensor

PREFIXES = {"sed_student.": "student.", "sed_teacher.": "teacher."}
NAMES = (  # of the baseline's modules, and of ours
    (r"cnn\.cnn\.conv(\d+)\.", r"blocks.\1.conv."),
    (r"cnn\.cnn\.batchnorm(\d+)\.", r"blocks.\1.norm."),
    (r"cnn\.cnn\.glu(\d+)\.linear\.", r"blocks.\1.gate."),
    (r"rnn\.rnn\.", "gru."),
    (r"dense\.", "frame_head."),
    (r"dense_softmax\.", "attention_head."),
)


class _Number:
    """What stands for a number of numpy's own kinds."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Settings:
    """What stands for an object of any other class that is not loaded: a plain mapping, which PyTorch lets fill."""

    def __new__(cls, *args: Any) -> Any:
        return OrderedDict()


def import_baseline(file: Path, folder: Path, config: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Write ``folder``, a run of student and teacher, from the baseline's checkpoint ``file``.

    ``config`` is the configuration of the baseline, plain; ``classes`` are in the order of its outputs.

    Raises:
        InputError: the folder holds a run, or the file is no checkpoint of this network.
    """
    from sed_lab.run.checkpoint import write_checkpoint

    if (folder / "run.json").exists():
        raise InputError(f"{folder} holds a run; name another folder with -o")
    facts = Facts(tuple(classes), float(config["dataset"]["clip_seconds"]))
    made = assemble(config, facts, seed=0)
    state, wanted = read_baseline(file), made.method.detector_state()
    differing = sorted({*wanted} ^ {*state}) or [n for n in wanted if wanted[n].shape != state[n].shape]
    if differing:
        raise InputError(
            f"{file} does not hold the DCASE 2021 task 4 baseline's network of {len(classes)} classes:"
            f" {len(differing)} of {len(wanted)} tensors differ, {differing[0]} first; give the baseline's own file"
        )
    made.method.load_detector_state(state)
    sha256 = write_checkpoint({"state_dict": made.method.detector_state()}, folder / "detector.ckpt")
    record = {
        "status": "imported",
        "name": folder.name,
        "imported": {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
        "systems": list(made.method.systems),
        "seed": 0,
        **circumstances(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": dict(config),
        "detector": {
            "classes": list(classes),
            "clip_seconds": facts.clip_seconds,
            "frame_hop": made.frame_hop,
            "n_frames": made.n_frames,
            "decided": {},
            "sha256": sha256,
            "decoder": made.decoder.settings(),
        },
        "metrics": {},
    }
    write_json(folder / "run.json", record)


def read_baseline(file: Path) -> dict[str, Tensor]:
    """The weights of both systems in the baseline's checkpoint, by our names.

    Raises:
        InputError: the file cannot be read as a checkpoint, or has no such weights.
    """
    import torch
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    try:
        foreign = get_unsafe_globals_in_checkpoint(file)
        stand_ins = [(_Number if name.startswith("numpy.") else _Settings, name) for name in foreign]
        with safe_globals(stand_ins):  # type: ignore[arg-type]
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, LookupError, pickle.UnpicklingError) as error:
        reason = getattr(error, "strerror", None) or "it holds more than weights, or is damaged"
        raise InputError(f"{file} cannot be read as a checkpoint: {reason}; give a .ckpt file of PyTorch") from None
    stored = content.get("state_dict") if isinstance(content, dict) else None
    weights = {}
    for name, tensor in (stored or {}).items():
        for theirs, ours in PREFIXES.items():
            if name.startswith(theirs):
                weights[ours + _renamed(name.removeprefix(theirs))] = tensor
    if not weights:
        raise InputError(f"{file} has no weights named {' or '.join(PREFIXES)}; give the baseline's own checkpoint")
    return weights


def _renamed(name: str) -> str:
    for theirs, ours in NAMES:
        if re.match(theirs, name):
            return re.sub(f"^{theirs}", ours, name)
    return name
