"""Pretrained encoders from the command line, with no network: frozen with kept embeddings, and fine-tuned."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sed_lab.files import read_json
from tests.made.encoders import saved
from tests.test_smoke import TINY

pytestmark = pytest.mark.slow
OFFLINE = """
import importlib, socket, sys

def refuse(*words, **more):
    raise SystemExit("the network was asked")

class Offline(socket.socket):  # libraries may make one to see what the system has
    connect = connect_ex = sendto = refuse

socket.socket, socket.create_connection, socket.getaddrinfo = Offline, refuse, refuse
importlib.import_module(sys.argv.pop(1)).main()
"""


def offline(command: str, *words: str, cwd: Path) -> str:
    """What a command of sed_lab prints where nothing can be reached."""
    settings = {"SED_LAB_RUNS": str(cwd / "runs"), "SED_LAB_CACHE": str(cwd.parent / "cache"), "OMP_NUM_THREADS": "1"}
    settings["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH", "")]))
    asked = [sys.executable, "-c", OFFLINE, f"sed_lab.{command}", *words]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=cwd, env={**os.environ, **settings}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("kind", "words", "frame"),
    [
        ("ast", ("model=pretrained", "batch.cache_features=true"), 0.064),
        ("wav2vec2", ("model=pretrained_crnn", "batch.cache_features=true"), 0.064),
        ("wav2vec2", ("model=pretrained", "model.frozen=false", "model.frame_seconds=0.02"), 0.02),
        ("ast", ("model=pretrained_crnn", "model.frozen=false", "model.train_layers=1"), 0.064),
    ],
    ids=["frozen", "frozen-beside", "fine-tuned", "fine-tuned-beside"],
)
def test_a_run_is_trained_shown_and_predicts_elsewhere(
    kind: str, words: tuple[str, ...], frame: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    top = tmp_path_factory.mktemp("pretrained")
    length = {"max_length": 1024} if kind == "ast" else {}
    folder = saved(top / "encoder", kind, extractor=length, **length)
    (top / "run").mkdir()
    said = offline(
        "train", *TINY, f"model.encoder={folder}", *words, "trainer.max_epochs=2", "report.page=true", cwd=top / "run"
    )
    (run,) = (path for path in (top / "run" / "runs").iterdir() if path.is_dir())
    assert f"page: {run}" in said
    record = read_json(run / "run.json")
    assert record["status"] == "complete"
    assert record["detector"]["frame_hop"] == frame
    page = (run / "page.html").read_text()
    assert "sed_lab.model.pretrained.Pretrained" in page
    assert page.count("<audio") > 0
    # Away from the run, and without the encoder's folder.
    (top / "elsewhere").mkdir()
    for name in ("run.json", "detector.ckpt"):
        shutil.copy(run / name, top / "elsewhere" / name)
    shutil.rmtree(folder)
    soundfile.write(top / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 44100 * 23), 44100)
    offline("predict", str(top / "elsewhere"), str(top / "noise.wav"), "--scores", str(top / "scores"), cwd=top)
    rows = (top / "scores/noise.tsv").read_text().splitlines()
    assert len(rows) == 1 + int(np.ceil(23 / frame))
