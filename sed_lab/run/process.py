"""What a process is to the others of its run, before any of them has loaded PyTorch."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress

from sed_lab.errors import asked


def rank() -> int:
    """This process's number among those of its run: 0 is the first one, also where it is alone."""
    variables = os.environ
    if "RANK" in variables:
        return int(variables["RANK"])
    if "LOCAL_RANK" in variables:  # only the first of the first node is 0
        return int(variables["LOCAL_RANK"]) or int(variables.get("NODE_RANK") or variables.get("GROUP_RANK") or 0)
    return int(variables.get("SLURM_PROCID", 0))


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, however that happens (Linux)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def queue_again() -> None:
    """Put the job back into SLURM's queue where SLURM said that its time is nearly over (``--signal=USR1@120``).

    In a sweep submitit does.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job and rank() == 0 and "SUBMITIT_EXECUTOR" not in os.environ and {signal.SIGUSR1, signal.SIGUSR2} & {*asked}:
        print(f"job {job} is queued again", file=sys.stderr, flush=True)
        with suppress(OSError):
            subprocess.run(["scontrol", "requeue", job], check=False)
