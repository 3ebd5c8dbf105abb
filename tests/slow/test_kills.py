"""Runs killed at random moments, on another file system than temporary files', half of them moved in between: each ends
as an uninterrupted one, bit for bit. Those that are killed write a checkpoint after every step, the others at the end
of an epoch alone.

``SED_LAB_KILLS=20`` sets how many kills each method gets (2), ``SED_LAB_KILL_SEED`` draws the moments again.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sed_lab.files import read_json

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("SED_LAB_KILLS", "2"))
A_TRIAL = 3  # kills at most, before a run is let go on to its end
SMALL = ["report.page_clips=2"]
AT_EPOCHS, AT_STEPS = (f"trainer.checkpoint_minutes={minutes}" for minutes in ("null", 0))
WORDS = {
    "park2022": [
        "--config-name", "park2022", "trainer.max_epochs=4", "trainer.check_val_every_n_epoch=1",
        "dataset.bank_share=0.05", "batch.evaluation=8", "dataset.sizes={synthetic: 24, weak: 12, unlabelled: 12,"
        " synthetic_validation: 8, weak_validation: 8, validation: 8, test: 8}",
        "batch.clips={synthetic: 8, weak: 2, unlabelled: 2}",
    ],
    "huang2021": [
        "--config-name", "huang2021", "trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2",
        "dataset.bank_share=0.05", "method.ifd_from_epoch=1", "batch.clips={synthetic: 4, weak: 4, unlabelled: 0}",
        "dataset.sizes={synthetic: 16, weak: 16, validation: 12, test: 12, synthetic_test: 12}",
    ],
    "amiriparian2018": [
        "--config-name", "amiriparian2018", "trainer.max_epochs=3",
        "dataset.mixtures={synthetic: {mixtures_per_class: 4}, validation: {mixtures_per_class: 2},"
        " devtest: {mixtures_per_class: 2}, test: {mixtures_per_class: 2}}",
        "dataset.instances={train: 3, validation: 2, test: 4}", "dataset.scenes={train: 3, validation: 2, test: 4}",
        "method.timesteps={babycry: [5, 50], glassbreak: [3], gunshot: [3]}",
    ],
    "arora2019": [
        "--config-name", "arora2019", "dataset=toy_points", "feature=point", "model=clip_lstm", "model.n_units=3",
        "batch.clips.weak=64", "method.embedding_epochs=[4,4]", "method.centroid_epochs=4", "method.detector_epochs=4",
        "metric.bootstrap=20",
    ],
    "aziz2020": [
        "--config-name", "aziz2020", "trainer.max_epochs=30", "dataset.counts={Speech: 14, Music: 14, Vehicle: 10,"
        " Dog: 12, Cat: 0, Speech+Music: 3, Speech+Vehicle: 0, Speech+Dog: 0, gunshot: 0, babycry: 0}",
        "dataset.short=2",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A folder on another file system than that of temporary files."""
    own = os.stat(tempfile.gettempdir()).st_dev
    for place in map(Path, ("/dev/shm", "/var/tmp", Path.home(), Path.cwd())):
        if place.is_dir() and os.access(place, os.W_OK) and place.stat().st_dev != own:
            folder = Path(tempfile.mkdtemp(prefix="sed_lab-kills-", dir=place))
            yield folder
            shutil.rmtree(folder)
            return
    pytest.skip("this machine has one file system only; mount another one at a folder of yours")


def start(words: list[str], top: Path, cache: Path) -> subprocess.Popen[bytes]:
    top.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "SED_LAB_RUNS": str(top), "SED_LAB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    with (top / "said").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "sed_lab.train", *words, *SMALL], env=environment, stdout=said, stderr=said
        )


def finished(words: list[str], top: Path, cache: Path) -> Path:
    process = start(words, top, cache)
    try:
        assert process.wait(3000) == 0, (top / "said").read_text()[-2000:]
    finally:
        process.kill()
    (folder,) = (path for path in top.iterdir() if path.is_dir())
    return folder


def left(run: Path) -> dict[str, Any]:
    """What a run leaves that an interruption must not change."""
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    with (run / "history.csv").open(encoding="utf-8") as file:
        history = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    record, measured = read_json(run / "run.json"), read_json(run / "metrics.json")["systems"]
    for system in measured.values():
        system.pop("cost", None)  # seconds, by the clock
    record["metrics"] = {name: value for name, value in record["metrics"].items() if "/cost/" not in name}
    scores = {}
    for path in sorted((run / "scores").rglob("*.npz")):
        with np.load(path) as arrays:
            scores[str(path.relative_to(run))] = dict(arrays)
    return {
        "last": {key: last[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")},
        "best": {key: best[key] for key in ("state_dict", "epoch", "global_step")},
        "detector": torch.load(run / "detector.ckpt", weights_only=True),
        "record": {key: record[key] for key in ("status", "metrics", "epochs", "best_epoch", "objective", "detector")},
        "measured": measured,
        "curves": read_json(run / "curves.json"),
        "history": history,
        "scores": scores,
    }


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal to the last bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def differing(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return [key for key in expected if not same(expected[key], found[key])]


@pytest.mark.parametrize("method", WORDS)
def test_killed_runs_end_as_an_uninterrupted_one(
    method: str, disk: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache, words = tmp_path_factory.getbasetemp() / "kills-cache", WORDS[method]
    finished([*words, AT_EPOCHS], disk / f"{method}-first", cache)  # which also fills the cache
    begun = time.monotonic()
    expected = left(finished([*words, AT_EPOCHS], disk / f"{method}-whole", cache))
    whole = time.monotonic() - begun
    (first,) = (path for path in (disk / f"{method}-first").iterdir() if path.is_dir())
    assert differing(left(first), expected) == []
    seed = int(os.environ.get("SED_LAB_KILL_SEED") or random.randrange(2**32))
    draw, kills, trial = random.Random(f"{seed} {method}"), 0, 0
    print(f"{method}: SED_LAB_KILL_SEED={seed}, a whole run takes {whole:.1f} s")
    while kills < KILLS:
        top, moments = disk / f"{method}-{trial}", []
        for _ in range(min(A_TRIAL, KILLS - kills)):
            process, moment = start([*words, AT_STEPS], top, cache), draw.uniform(0.2, 1.0) * whole
            try:
                process.wait(moment)
                break  # it was faster
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            moments.append(round(moment, 2))
            if trial % 2:
                top = top.rename(disk / f"{method}-{trial}-moved-{len(moments)}")
        run = finished([*words, AT_STEPS], top, cache)
        print(f"{method} trial {trial}: killed after {moments} s{', moved' if trial % 2 else ''}")
        found = left(run)
        assert differing(found, expected) == [], f"SED_LAB_KILL_SEED={seed}"
        assert (run / "page.html").is_file()
        assert not [path for path in run.rglob("*") if ".part" in path.name]
        kills, trial = kills + len(moments), trial + 1
        shutil.rmtree(top)
