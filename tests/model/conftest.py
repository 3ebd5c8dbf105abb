"""The C code of convolution blocks, compiled anew for each kind of processor that this one is."""

from __future__ import annotations

import ctypes
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sed_lab.model import crnn
from sed_lab.model.compiled import load

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"DEFAULT": ["any"], "AVX2": ["any", "avx2"], "AVX512": ["any", "avx2", "avx512"]}


@pytest.fixture(scope="module", params=KINDS.get(torch.backends.cpu.get_cpu_capability(), ["any"]))
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The C code as an installation compiles it, for each kind of processor that this one is."""
    modules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    (module,) = (one for one in modules if one["name"].endswith(f"_{request.param}"))
    built = tmp_path_factory.mktemp("c") / "built.so"
    words = ["gcc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", *module["extra-compile-args"]]
    subprocess.run([*words, *(str(ROOT / one) for one in module["sources"]), "-o", str(built)], check=True)
    found = load(str(built))
    assert found is not None
    return found


@pytest.fixture
def compiled(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Which functions of it were called."""
    called: list[str] = []

    class Watched:
        def __getattr__(self, name: str) -> object:
            if name != "convolve_scratch":
                called.append(name)
            return getattr(library, name)

    monkeypatch.setattr(crnn, "library", Watched)
    threads = torch.get_num_threads()
    yield called
    torch.set_num_threads(threads)
