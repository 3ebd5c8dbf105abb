"""How long one waits: for ``--help``, for the first step of a training whose data are made, for one short prediction.

Each in a process of its own, beside one that imports what it cannot do without. The median of several.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from pytorch_lightning import Callback

ROOT = Path(__file__).resolve().parents[1]
TRAINING = ("report.page=false", "report.figures=false", "logger=[]")
# A short training: what it predicts with is written by the same code as after a long one.
SHORT = (*TRAINING, "trainer=smoke", "dataset.bank_share=0.05")
SIZES = (
    "dataset.sizes={synthetic: 24, weak: 12, unlabelled: 12, synthetic_validation: 8, weak_validation: 8,"
    " validation: 8, test: 8}"
)


class EndsAfterAStep(Callback):
    """Ends the process, with success, where the first step ends."""

    def on_train_batch_end(self, *_: Any) -> None:
        """Nothing is left to be written: the run is thrown away."""
        os._exit(0)


def run(repeats: int = 3) -> dict[str, Any]:
    """Seconds of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places = {"SED_LAB_RUNS": str(folder / "runs"), "SED_LAB_CACHE": str(folder / "cache")}
        first = ["callbacks=[]", "+callbacks.ends={_target_: benchmarks.bench_start.EndsAfterAStep}", *TRAINING]
        command("train", [*first, "seed=0"], places)  # makes the data
        command("train", [*SHORT, SIZES, "seed=0"], {**places, "SED_LAB_RUNS": str(folder / "detector")})
        (detector,) = (folder / "detector").iterdir()
        audio = next((folder / "cache").rglob("*.wav"))
        taken = {
            "`sed-train --help`": [command("train", ["--help"], places) for _ in range(repeats)],
            "`sed-train` to its first step, of data that are made": [
                command("train", [*first, f"seed={seed}"], places) for seed in range(1, repeats + 1)
            ],
            "`sed-predict` of a file of 10 s": [
                command("predict", [str(detector), str(audio)], places) for _ in range(repeats)
            ],
        }
    imports = {
        "torch and Lightning imported": python("import torch, pytorch_lightning", repeats),
        "torch imported": python("import torch", repeats),
    }
    peers = [None, "torch and Lightning imported", "torch imported"]
    rows = []
    for (what, seconds), peer, limit in zip(taken.items(), peers, (0.5, 8, 4), strict=True):
        beside = {} if peer is None else {"peer": median(imports[peer]), "name": peer}
        rows.append({"what": what, "ours": median(seconds), "unit": "s", "limit": limit, **beside})
    return {"rows": rows, "seconds": {**taken, **imports}}


def command(name: str, words: list[str], places: dict[str, str]) -> float:
    """Seconds that ``sed-<name>`` took."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", f"sed_lab.{name}", *words],
        check=True, cwd=ROOT, env={**os.environ, **places}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - started


def python(code: str, repeats: int) -> list[float]:
    """Seconds of ``python -c code``."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        taken.append(time.perf_counter() - started)
    return taken
