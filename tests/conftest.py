"""For every test: no deadline for examples, few threads, caches and runs in a folder of their own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, settings

# The test machine may be busy: an example's time says nothing about the code.
settings.register_profile("sed_lab", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("sed_lab")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep tests (and the commands they start) away from the user's caches, runs and W&B account."""
    base: Path = tmp_path_factory.mktemp("home")
    os.environ.update(
        SED_LAB_CACHE=str(base / "cache"),
        SED_LAB_RUNS=str(base / "runs"),
        MPLCONFIGDIR=str(base / "matplotlib"),
        MPLBACKEND="Agg",
        WANDB_MODE="offline",
        WANDB_DIR=str(base / "wandb"),
        WANDB_CACHE_DIR=str(base / "wandb"),
        WANDB_CONFIG_DIR=str(base / "wandb"),
        WANDB_DATA_DIR=str(base / "wandb"),
    )
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "SED_LAB_DEBUG"):
        os.environ.pop(name, None)


ESC10 = {
    "Dog bark": 2, "Rain": 1, "Sea waves": 1, "Baby cry": 2, "Clock tick": 1, "Person sneeze": 2, "Helicopter": 1,
    "Chainsaw": 1, "Rooster": 1, "Fire crackling": 1,
}  # fmt: skip
"""Classes of ESC-10 in their order, and how many takes the made recordings have of each fold's second source."""


@pytest.fixture(scope="session")
def esc10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made recordings as ESC-10 lays out its own: ``NNN - Name/fold-source-take.ogg``, 44.1 kHz, two sources a fold.

    Events end in digital silence, as ESC-10's short clips do; the steady classes fill their clips.
    """
    folder = tmp_path_factory.mktemp("esc10")
    for k, (name, takes) in enumerate(ESC10.items()):
        steady = name in ("Rain", "Sea waves", "Helicopter", "Chainsaw", "Fire crackling")
        for fold in range(1, 5):
            for source, take in [(1, "A"), *((2, take) for take in "AB"[:takes])]:
                sound = 0.1 * np.random.default_rng((k, fold, source, ord(take))).standard_normal(44100)
                sound[len(sound) if steady else 20000 :] = 0
                path = folder / f"{k + 1:03d} - {name}" / f"{fold}-{fold}{k}{source}-{take}.ogg"
                path.parent.mkdir(exist_ok=True)
                soundfile.write(path, sound, 44100, format="OGG", subtype="VORBIS")
    return folder
