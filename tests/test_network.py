"""Nothing asks the network for anything unless it is asked to: a run where there is none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sed_lab.files import read_json
from tests.test_smoke import sed
from tests.test_smoke_arora2019 import TOY

ALONE = ["unshare", "--map-root-user", "--net"]  # a network namespace without interfaces


@pytest.mark.slow
def test_a_run_needs_no_network(tmp_path: Path) -> None:
    try:
        allowed = subprocess.run([*ALONE, "true"], capture_output=True, check=False, text=True)
    except OSError as error:
        pytest.skip(f"needs unshare of util-linux: {error}")
    if allowed.returncode:
        pytest.skip(f"this machine allows no network namespaces: {allowed.stderr.strip()}")
    done = sed("train", *TOY, "logger=[csv,wandb]", cwd=tmp_path, within=ALONE, SED_LAB_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    (record,) = (read_json(path) for path in (tmp_path / "runs").glob("*/run.json"))
    assert record["status"] == "complete"
