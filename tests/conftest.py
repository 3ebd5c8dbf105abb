"""For every test: no deadline for examples, few threads, caches and runs in a folder of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.made import corpora

# The test machine may be busy: an example's time says nothing about the code.
settings.register_profile("sed_lab", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("sed_lab")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

WHOLE_RUNS = ("test_smoke", "test_sixth", "test_files_passed")  # files that train one take longest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest come first: one of them at the end would leave the other processes without work."""
    items.sort(key=lambda item: not item.path.name.startswith(WHOLE_RUNS))


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


@pytest.fixture
def work_shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be shown to one who waits, however short it takes, as ``label: done of total``."""
    said = []

    @contextmanager
    def shown(label: str, total: int | None, show: bool) -> Iterator[Callable[[], None]]:  # as `track` calls it
        steps: list[None] = []
        yield lambda: steps.append(None)
        said.extend([f"{label}: {len(steps)} of {total}"] if show else [])

    monkeypatch.setattr("sed_lab.waiting.shown", shown)
    return said


@pytest.fixture(scope="session")
def esc10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made recordings as ESC-10 lays out its own."""
    return corpora.esc10(tmp_path_factory.mktemp("esc10"))
