"""Runs on a disk that has no room for them: why is one sentence and exit code 2, nothing is half there, and with room
they end as a run that had it, bit for bit. What reads a run does so from a read-only disk too.

``SED_LAB_DISK_SIZES=20`` sets how many sizes are tried (4), ``SED_LAB_DISK_SEED`` draws them again. Mounts a file
system in memory, which takes the right to.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sed_lab.files import read_json
from tests.slow.test_kills import differing, left, only_run, start, watch

pytestmark = pytest.mark.slow
SIZES = int(os.environ.get("SED_LAB_DISK_SIZES", "4"))
ROOMY = 2**30
WORDS = [
    "dataset.sizes={synthetic: 6, weak: 4, unlabelled: 0, synthetic_validation: 3, weak_validation: 3, validation: 3,"
    " test: 3}",
    "dataset.bank_share=0.05", "batch.clips={synthetic: 3, weak: 2, unlabelled: 0}", "batch.evaluation=3",
    "trainer.max_epochs=3", "trainer.check_val_every_n_epoch=1", "metric.bootstrap=20", "report.page_clips=2",
    "logger=[csv]",
]  # fmt: skip


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, roomy at first."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def train(disk: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {"SED_LAB_RUNS": str(disk / "runs"), "SED_LAB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "sed_lab.train", *WORDS],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def used(disk: Path) -> int:
    return shutil.disk_usage(disk).used


def test_runs_without_room_end_with_it_as_one_that_had_it(disk: Path) -> None:
    done = train(disk, disk / "cache")
    assert done.returncode == 0, done.stderr
    expected, most = left(only_run(disk / "runs")), used(disk)
    own = most - sum(path.stat().st_size for path in (disk / "cache").rglob("*") if path.is_file())
    seed = int(os.environ.get("SED_LAB_DISK_SEED") or random.randrange(2**32))
    draw = random.Random(seed)
    print(f"SED_LAB_DISK_SEED={seed}: corpus, features and run take {most} bytes, the run {own}")
    for trial in range(SIZES):
        shutil.rmtree(disk / "runs")
        kept = trial % 2 == 1  # the cache is there already, and the run alone has no room
        if not kept:
            shutil.rmtree(disk / "cache")
        before = used(disk)
        size = before + draw.randrange(4096, own if kept else most)
        resize(disk, size)
        tight = train(disk, disk / "cache")
        said = [line for line in tight.stderr.splitlines() if line.startswith("error: ")]
        print(f"{size} bytes ({before} used): exit {tight.returncode}: {said}", flush=True)
        assert tight.returncode == 2, tight.stderr
        assert len(said) == 1, tight.stderr
        assert "No space left on device" in said[0]
        assert said[0].endswith("; free some space or choose another folder")
        assert "Traceback" not in tight.stderr
        assert "Exception ignored" not in tight.stderr
        assert not [path for path in disk.rglob("*") if re.search(r"\.part\b", path.name)]
        for record in disk.glob("runs/*/run.json"):
            assert read_json(record)["status"] in ("running", "failed")
        resize(disk, ROOMY)
        again = start(WORDS, disk / "runs", disk / "cache")
        watch(again)
        assert again.exitcode == 0, (disk / "runs" / "said").read_text()
        assert differing(left(only_run(disk / "runs")), expected) == [], f"SED_LAB_DISK_SEED={seed}"


def test_a_run_on_a_read_only_disk_is_read(disk: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert train(disk, cache).returncode == 0
    run = only_run(disk / "runs")
    recording = next(cache.rglob("*.wav"))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    cases = {
        "predict": ([f"{run}", str(recording)], ""),
        "evaluate": ([f"run={run}", f"output={tmp_path / 'measured'}", "report.page=false"], ""),
        "evaluate again": ([f"run={run}"], f"error: cannot write {run}"),
        "train": (WORDS, f"error: cannot write {run}"),
    }
    for name, (words, refused) in cases.items():
        done = subprocess.run(
            [sys.executable, "-m", f"sed_lab.{name.split()[0]}", *words],
            env={**os.environ, "SED_LAB_RUNS": str(disk / "runs"), "SED_LAB_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        assert done.returncode == (2 if refused else 0), done.stderr
        said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(said) == (1 if refused else 0), done.stderr
        assert not refused or (said[0].startswith(refused) and "Read-only file system; make it writable" in said[0])
