"""Run folders without a training: a configuration, weights drawn at random, and the record that says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import sed_lab
from sed_lab.app import conf_folder
from sed_lab.files import read_json, write_json
from sed_lab.run.assemble import Facts, assemble
from sed_lab.run.identity import register_resolvers

CLASSES = ("Alarm", "Cat", "Dog")


def untrained(
    folder: Path,
    *overrides: str,
    config: str = "config",
    classes: Sequence[str] = CLASSES,
    seconds: float = 4.0,
) -> Path:
    """A run in ``folder`` with weights that make some noise: its scores vary over time and classes."""
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose(config, overrides=[*overrides, "logger=[]", f"paths.cache={folder.parent / 'cache'}"])
        values: Any = OmegaConf.to_container(cfg, resolve=True)
    torch.manual_seed(1)
    weight = torch.ones(len(classes))  # as a class-weighted loss would have taken from the data
    made = assemble(values, Facts(tuple(classes), seconds, class_weight=weight), seed=0)
    with torch.no_grad():
        for name, tensor in [*made.method.named_parameters(), *made.method.named_buffers()]:
            if name.endswith("running_mean"):
                tensor.normal_(0, 0.05)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif "head.weight" in name or "attention.weight" in name:
                tensor.normal_(0, 3.0)
    folder.mkdir(parents=True)
    torch.save({"state_dict": made.method.detector_state(), "encoder": None}, folder / "detector.ckpt")
    detector = {
        "classes": list(classes),
        "clip_seconds": seconds,
        "frame_hop": made.frame_hop,
        "n_frames": made.n_frames,
        "decided": made.method.decided(),
        "decoder": made.decoder.settings(),
    }
    record = {
        "status": "complete",
        "name": folder.name,
        "seed": 0,
        "config": values,
        "systems": list(made.method.systems),
        "dataset": {"name": "made", "fingerprint": "0" * 64},
        "detector": detector,
        "metrics": {},
    }
    write_json(folder / "run.json", record)
    return folder


def sound(seconds: float, rate: int = 16000, seed: int = 0) -> np.ndarray:
    """Bursts of tones over noise, within full scale ``[N]``."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    audio = rng.normal(0, 0.02, len(t))
    for start in np.arange(0.3, seconds - 0.5, 0.9):
        audio += 0.3 * np.sin(2 * np.pi * rng.uniform(200, 4000) * t) * ((t > start) & (t < start + 0.4))
    return audio


def noted(run: Path, audio: np.ndarray) -> Path:
    """The run with boxes noted as tuned class by class, each at the median of the class's scores of ``audio``, apart
    where these fall by half their standard deviation.
    """
    detector, record = sed_lab.load(run), read_json(run / "run.json")
    found = detector.scores(audio, detector.sample_rate).frame
    assert found is not None
    levels = dict(zip(detector.classes, np.median(found[0], axis=0).tolist(), strict=True))
    falls = dict(zip(detector.classes, (found[0].std(axis=0) / 2).tolist(), strict=True))
    box = {"decoder": "BoxDecoder", "threshold": levels, "step_seconds": 0.32, "merge_abs": falls, "merge_rel": 1e4}
    own = {"best": "rival", "rival": {"event_f1": 0.6, "decoder": box}}
    record["detector"]["tuned"] = {
        "on": "validation",
        "system": detector.system,
        "systems": dict.fromkeys(record["systems"], own),
    }
    write_json(run / "run.json", record)
    return run
