"""GPUs and cores for jobs that run side by side on one machine: how many fit, and which GPU is whose."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from sed_lab.errors import InputError

# What an outer launcher may have left in the environment and a job must not take for its own rank.
RANK_VARIABLES = ("LOCAL_RANK", "RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK",
                  "MASTER_ADDR", "MASTER_PORT")  # fmt: skip
SHARING = "SED_LAB_JOBS_PER_GPU"
JOB_GIB = 3.0  # memory a job on the CPU is given room for


def jobs_at_once(gpus: int) -> int:
    """How many jobs of ``gpus`` GPUs run side by side here; without any, one a core as far as memory goes."""
    if gpus:
        return max(1, len(gpu_pool()) * (jobs_per_gpu() if gpus == 1 else 1) // gpus)
    free = int(re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) / 2**20  # type: ignore[index]
    return max(1, min(len(os.sched_getaffinity(0)), int(free / JOB_GIB)))


def needed_gpus(cfg: DictConfig) -> int:
    """GPUs one job wants; 0 on CPU, all of the pool for ``devices: auto``."""
    if cfg.trainer.get("accelerator", "auto") not in ("gpu", "cuda"):
        return 0
    devices = cfg.trainer.get("devices", 1)
    if devices in ("auto", -1):
        return len(gpu_pool())
    return len(devices) if hasattr(devices, "__len__") else int(devices)


def gpu_pool() -> list[str]:
    """GPUs that may be leased: CUDA_VISIBLE_DEVICES, or all of this machine (asked without importing torch)."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    return [str(i) for i in range(len(list(Path("/proc/driver/nvidia/gpus").glob("*"))))]


def jobs_per_gpu() -> int:
    """How many jobs of one GPU each share it, from the environment; as a rule one."""
    words = os.environ.get(SHARING, "1")
    if not words.isdigit() or int(words) < 1:
        raise InputError(f"{SHARING}={words} must be a whole number of jobs, at least 1")
    return int(words)


@contextmanager
def lease_gpus(count: int, poll_seconds: float = 2.0) -> Iterator[dict[str, str]]:
    """The environment of one job: ``count`` GPUs that no other job of this machine holds, and no inherited rank.

    Jobs of one GPU may share it (`jobs_per_gpu`), spread over all; one of several GPUs has them to itself. Waits while
    all are taken. A lease ends with the process that holds it, also when it is killed.

    Raises:
        InputError: the machine has fewer GPUs than one job wants.
    """
    environment = {key: value for key, value in os.environ.items() if key not in RANK_VARIABLES}
    if count == 0:
        yield environment
        return
    pool, shares = gpu_pool(), range(jobs_per_gpu())
    if len(pool) < count:
        raise InputError(f"trainer.devices={count} GPUs, but this machine offers {len(pool)}; lower trainer.devices")
    folder = Path(tempfile.gettempdir()) / f"sed_lab-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    leases = [(name, [k]) for k in shares for name in pool] if count == 1 else [(name, shares) for name in pool]
    while True:
        with ExitStack() as stack:
            held: list[str] = []
            for name, locks in leases:
                with suppress(Timeout), ExitStack() as one:
                    for k in locks:
                        file = folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', name)}.{k}.lock"
                        one.enter_context(FileLock(file, timeout=0))
                    stack.enter_context(one.pop_all())
                    held.append(name)
                if len(held) == count:
                    yield {**environment, "CUDA_VISIBLE_DEVICES": ",".join(held)}
                    return
        time.sleep(poll_seconds)  # all leases given back: two jobs that each hold a half must not wait for each other
