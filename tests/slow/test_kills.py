"""Runs killed at random moments, on another file system than temporary files', half of them moved in between: each ends
as an uninterrupted one, bit for bit. Those that are killed write a checkpoint after every step, the others at the end
of an epoch alone.

``SED_LAB_KILLS=20`` sets how many kills each method gets (2), ``SED_LAB_KILL_SEED`` draws the moments again. A moment
is the processor time that the run has used, so that a busy machine spreads them over the run as an idle one does. Runs
other than the first are forked from a process that has imported PyTorch and the like: while those load, nothing is
written.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sed_lab.files import read_json
from sed_lab.train import main
from tests.slow.kill_ranks import used

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("SED_LAB_KILLS", "2"))
A_TRIAL = 3  # kills at most, before a run is let go on to its end
LONGEST = 3000  # seconds a run takes at most
IMPORTED = ["tests.slow.test_kills", "pytorch_lightning", "torchaudio", "sed_lab.run.keep", "sed_lab.report.page"]
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


def start(words: list[str], top: Path, cache: Path) -> BaseProcess:
    """``sed-train`` in a process of its own."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when PyTorch is imported
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(IMPORTED)
    process = forks.Process(target=train, args=(words, top, cache))
    process.start()
    return process


def train(words: list[str], top: Path, cache: Path) -> None:
    top.mkdir(parents=True, exist_ok=True)
    os.environ |= {"SED_LAB_RUNS": str(top), "SED_LAB_CACHE": str(cache)}
    with (top / "said").open("ab") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    sys.argv = ["sed-train", *words, *SMALL]
    main()


def watch(process: BaseProcess, moment: float = LONGEST) -> float:
    """Wait until a run has ended or used so many processor seconds; how many it has used."""
    assert process.pid is not None
    seconds, begun = 0.0, time.monotonic()
    try:
        while process.is_alive() and seconds < moment:
            assert time.monotonic() < begun + LONGEST
            seconds = max(seconds, used(process.pid))
            process.join(0.02)
    except BaseException:
        process.kill()
        raise
    return seconds


def only_run(top: Path) -> Path:
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
    first, whole = disk / f"{method}-first", disk / f"{method}-whole"
    command = [sys.executable, "-m", "sed_lab.train", *words, AT_EPOCHS, *SMALL]  # which also fills the cache
    environment = {**os.environ, "SED_LAB_RUNS": str(first), "SED_LAB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, timeout=LONGEST, capture_output=True)
    expected, process = left(only_run(first)), start([*words, AT_EPOCHS], whole, cache)
    seconds = watch(process)
    assert process.exitcode == 0, (whole / "said").read_text()[-2000:]
    assert differing(left(only_run(whole)), expected) == []
    seed = int(os.environ.get("SED_LAB_KILL_SEED") or random.randrange(2**32))
    draw, kills, trial = random.Random(f"{seed} {method}"), 0, 0
    print(f"{method}: SED_LAB_KILL_SEED={seed}, a whole run takes {seconds:.1f} processor seconds", flush=True)
    while kills < KILLS:
        top, moments = disk / f"{method}-{trial}", []
        for _ in range(min(A_TRIAL, KILLS - kills)):
            process, moment = start([*words, AT_STEPS], top, cache), draw.uniform(0.0, seconds)
            took = watch(process, moment)
            process.kill()
            process.join()
            if process.exitcode != -signal.SIGKILL:  # it was faster
                assert process.exitcode == 0, (top / "said").read_text()[-2000:]
                seconds = seconds if moments else min(seconds, took)
                break
            moments.append(round(moment, 2))
            if trial % 2 and top.exists():
                top = top.rename(disk / f"{method}-{trial}-moved-{len(moments)}")
        process = start([*words, AT_STEPS], top, cache)
        watch(process)
        assert process.exitcode == 0, (top / "said").read_text()[-2000:]
        run = only_run(top)
        print(f"{method} trial {trial}: killed after {moments} s{', moved' if trial % 2 else ''}", flush=True)
        assert differing(left(run), expected) == [], f"SED_LAB_KILL_SEED={seed}"
        assert (run / "page.html").is_file()
        assert not [path for path in run.rglob("*") if ".part" in path.name]
        kills, trial = kills + len(moments), trial + 1
        shutil.rmtree(top)
