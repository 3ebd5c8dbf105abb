"""A command line typed in this process: what it says and its exit code. A process of its own would take seconds."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

MODULES = {name: f"sed_lab.{name.removeprefix('sed-')}" for name in
           ("sed-train", "sed-evaluate", "sed-predict", "sed-prepare", "sed-reproduce", "sed-export")}  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


def typed(program: str, *words: str, folder: Path) -> Said:
    """``program`` with ``words`` in ``folder``, through the console script's function."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with _as_typed([program, *words], folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            import_module(MODULES[program]).main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
    return Said(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _as_typed(words: list[str], folder: Path) -> Iterator[None]:
    from hydra._internal.hydra import Hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    before, here = sys.argv, Path.cwd()
    asked = Hydra.get_mode
    if not {"-m", "--multirun"} & set(words):
        Hydra.get_mode = lambda *_, **__: None  # composes all of it a first time, to see whether it says multirun
    sys.argv = words
    os.chdir(folder)
    try:
        yield
    finally:
        Hydra.get_mode = asked
        sys.argv = before
        os.chdir(here)
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
