"""Commands in processes forked from one that has loaded the libraries: nothing is imported anew for each of them.

A test that is about starting, signals or another namespace starts its own process instead.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

TIMEOUT = 500  # seconds that a command has
LOADED = "torch._dynamo pytorch_lightning matplotlib.pyplot pandas scipy.signal sklearn.metrics sed_eval hydra"

server: list[subprocess.Popen[str]] = []


def run_forked(module: str, *words: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """``python -m module words`` in ``cwd`` with all of ``env``; what it wrote and its exit status."""
    if not server or server[0].poll() is not None:
        server[:] = [_start()]
    asked, answered = server[0].stdin, server[0].stdout
    assert asked
    assert answered
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        order = {"module": module, "words": words, "cwd": str(cwd), "env": dict(env), "out": str(out), "err": str(err)}
        asked.write(json.dumps(order) + "\n")
        asked.flush()
        code = int(answered.readline())
        said = [path.read_text(encoding="utf-8") for path in (out, err)]
    return subprocess.CompletedProcess([module, *words], code, *said)


def _start() -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from tests.forked import serve; serve()"]
    paths = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}  # its forks could not change it any more
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **pipes, text=True, env=env)
    atexit.register(process.kill)
    return process


def serve() -> None:
    """Fork for each order that comes in a line of standard input; answer with the exit status of the fork."""
    for name in LOADED.split():
        __import__(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(order: dict[str, Any]) -> NoReturn:
    signal.alarm(TIMEOUT)
    out, err = (os.open(order[name], os.O_WRONLY | os.O_CREAT) for name in ("out", "err"))
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
        os.dup2(file, number)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = [order["module"], *order["words"]]
    code: int | str | None = 1
    try:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    # A library's thread was left behind in the process that forked: an ordinary exit would wait for it and abort.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else 1)
