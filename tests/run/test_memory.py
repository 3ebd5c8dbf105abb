"""The allocator settings do what they are for: large tensors are not faulted in again and again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sed_lab.run import memory

FAULTS = """
import resource, sys
import numpy as np
if sys.argv[1] == "on":
    from sed_lab.run.memory import keep_freed_memory
    print(keep_freed_memory())
else:
    print(None)
np.ones(16_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(16_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(setting: str) -> tuple[str, int]:
    done = subprocess.run([sys.executable, "-c", FAULTS, setting], check=True, capture_output=True, text=True)
    applied, count = done.stdout.split()
    return applied, int(count)


def test_freed_memory_is_used_again() -> None:
    applied, with_settings = faults("on")
    if applied != "True":
        pytest.skip("the C library is not glibc")
    _, without = faults("off")
    assert with_settings < without / 4


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.keep_freed_memory() is False
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())  # a C library without glibc's functions
    assert memory.keep_freed_memory() is False
