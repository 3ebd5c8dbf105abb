"""sed-predict as a process of its own: it starts without what it does not need, in little memory, however long a
recording is, and finds what a process with all of it finds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile

from sed_lab.files import read_json
from sed_lab.method.base import SedMethod
from tests.made.runs import CLASSES, noted, sound, untrained
from tests.typed import typed

NEEDLESS = {"pytorch_lightning", "lightning_fabric", "torchmetrics", "torch._dynamo", "sympy", "triton", "matplotlib",
            "pandas", "sklearn", "wandb", "sed_eval", "transformers", "onnxruntime"}  # fmt: skip
ALONE = f"""
import sys
from pathlib import Path
from sed_lab.predict import script
try:
    script()
finally:
    most = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    print(most, "kB;", *sorted({NEEDLESS!r} & sys.modules.keys()), file=sys.stderr)
"""
RARE = ("babycry", "glassbreak", "gunshot")
MEMORY, GROWTH, HOURS = 800, 60, 3  # MB


def alone(*words: object) -> tuple[str, float, str]:
    """What the command prints in a process of its own, its most memory [MB], and what it loaded without need."""
    # Without the coverage measurement that starts in every process.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    call = [sys.executable, "-c", ALONE, *map(str, words)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    most, needless = done.stderr.splitlines()[-1].split(" kB;")
    return done.stdout, int(most) / 1024, needless.strip()


def made_run(folder: Path, config: str) -> Path:
    words = {
        "arora2019": ("method.cluster_counts=[2,2,1]",),
        "aziz2020": ("dataset=mini_embeddings", "feature=vggish", "feature.weights=null", "feature.pca=null"),
    }
    classes = RARE if config == "amiriparian2018" else CLASSES
    seconds = 10.0 if config == "aziz2020" else 4.0
    run = untrained(folder, *words.get(config, ()), config=config, classes=classes, seconds=seconds)
    return noted(run, sound(8.0)) if config in ("config", "park2022", "huang2021") else run


def assert_same_as_here(run: Path, recording: Path, folder: Path) -> None:
    """The command alone and in this process, where methods are Lightning's modules, say and write the same."""
    assert issubclass(SedMethod, pl.LightningModule)
    said, _, needless = alone(run, recording, "--scores", folder / "alone")
    assert needless == ""
    assert said == typed("sed-predict", str(run), str(recording), "--scores", str(folder / "here"), folder=folder).out
    names = sorted(path.name for path in (folder / "here").iterdir())
    assert names == sorted(path.name for path in (folder / "alone").iterdir())
    scores = [(folder / "here" / name).read_text() for name in names]
    assert scores == [(folder / "alone" / name).read_text() for name in names]
    assert len({line.split("\t")[2] for text in scores for line in text.splitlines()}) > 20  # they vary


def test_it_loads_nothing_needless_and_finds_the_same(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sound(9.3, 22050), 22050)
    assert_same_as_here(made_run(tmp_path / "run", "config"), tmp_path / "a.wav", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["park2022", "huang2021", "arora2019", "amiriparian2018", "aziz2020"])
def test_so_it_is_for_every_method(config: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.npz" if config == "aziz2020" else "a.wav")
    if config == "aziz2020":
        rng = np.random.default_rng(0)
        np.savez(path, **{f"clip{k}": rng.integers(0, 256, (10, 128), np.uint8) for k in range(30)})
    else:
        soundfile.write(path, sound(90.7), 16000)
    assert_same_as_here(made_run(tmp_path / "run", config), path, tmp_path)


@pytest.mark.slow
def test_ctrl_c_leaves_whole_files_and_the_next_call_goes_on(tmp_path: Path) -> None:
    run, given = made_run(tmp_path / "run", "config"), tmp_path / "given"
    given.mkdir()
    for number in range(60):
        soundfile.write(given / f"{number:02d}.wav", sound(10.0, seed=number), 16000)

    def words(place: str) -> list[str]:
        out = tmp_path / place
        return [str(run), str(given), "-o", str(out / "all.tsv"), "--per-file", str(out / "each")]

    (tmp_path / "stopped").mkdir()
    journal = tmp_path / "stopped/.all.tsv.done"
    call = [sys.executable, "-m", "sed_lab.predict", *words("stopped")]
    process = subprocess.Popen(  # also where this process ignores Ctrl-C
        call, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    while process.poll() is None and not (journal.exists() and len(journal.read_text().splitlines()) > 4):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("interrupted: finished files are kept")
    there = sorted(path.name for path in (tmp_path / "stopped/each").iterdir())
    assert 3 < len(there) < 60
    assert there == [f"{number:02d}.tsv" for number in range(len(there))]  # nothing half written lies between
    noted = there[: len(journal.read_text().splitlines()) - 1]
    assert len(there) - len(noted) <= 1
    rows = (tmp_path / "stopped/all.tsv").read_text().splitlines()[1:]
    assert rows == [row for name in noted for row in rows_of(tmp_path / "stopped/each" / name, given)]
    before = {name: (tmp_path / "stopped/each" / name).stat().st_mtime_ns for name in noted}
    assert typed("sed-predict", *words("stopped"), folder=tmp_path).code == 0
    assert typed("sed-predict", *words("whole"), folder=tmp_path).code == 0
    assert {name: (tmp_path / "stopped/each" / name).stat().st_mtime_ns for name in noted} == before
    assert (tmp_path / "stopped/all.tsv").read_text() == (tmp_path / "whole/all.tsv").read_text()
    assert len(list((tmp_path / "stopped/each").iterdir())) == 60


def rows_of(path: Path, folder: Path) -> list[str]:
    """The rows of a recording's own table, named as in the table of all."""
    return [f"{folder}/{line}" for line in path.read_text().splitlines()[1:]]


@pytest.mark.slow
def test_three_hours_take_little_more_memory_than_seconds(tmp_path: Path) -> None:
    """With many events, of decoders that filter and that find boxes."""
    run, path = made_run(tmp_path / "run", "config"), tmp_path / "long.wav"
    minute = sound(60.0)
    soundfile.write(tmp_path / "short.wav", minute, 16000)
    with soundfile.SoundFile(path, "w", 16000, 1) as file:
        for _ in range(60 * HOURS):
            file.write(minute)
    _, short, _ = alone(run, tmp_path / "short.wav")
    tuned = read_json(run / "run.json")["detector"]["tuned"]["systems"]["model"]
    middle = tuned["rival"]["decoder"]["threshold"]["Cat"]
    for decoder, threshold, an_hour in (("best", "tuned", 400), ("median", f"{middle:.5f}", 1000)):
        said, most, _ = alone(run, path, "--decoder", decoder, "--threshold", threshold)
        assert len(said.splitlines()) > an_hour * HOURS
        assert most < MEMORY
        print(f"{decoder}: {most:.0f} MB of {HOURS} h, {short:.0f} MB of a minute")
        assert most - short < GROWTH, decoder
