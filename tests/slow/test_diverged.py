"""A learning rate that no training survives, with every method: the run ends with one sentence that says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sed_lab.files import read_json
from tests.slow.test_kills import WORDS

pytestmark = pytest.mark.slow
DEFAULT = [
    "dataset.bank_share=0.05", "epochs=2", "batch.clips={synthetic: 8, weak: 4, unlabelled: 0}",
    "dataset.sizes={synthetic: 16, weak: 8, synthetic_validation: 4, weak_validation: 4, validation: 4, test: 4}",
]  # fmt: skip


@pytest.mark.parametrize("words", [*WORDS.values(), DEFAULT], ids=[*WORDS, "default"])
def test_a_rate_of_1e30_ends_in_a_sentence(words: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "SED_LAB_RUNS": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sed_lab.train", *words, "method.optimizer.lr=1e30"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 2, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "training diverged: " in said
    assert "lower method.optimizer.lr" in said
    assert "Traceback" not in done.stdout + done.stderr
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    record = read_json(folder / "run.json")
    assert record["status"] == "failed"
    assert f"error: {record['reason']}" == said
