"""The commands as a user meets them: help at once, one sentence and exit code 2 for what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.typed import typed


def command(module: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "module", ["sed_lab.train", "sed_lab.evaluate", "sed_lab.predict", "sed_lab.prepare", "sed_lab.export"]
)
def test_help_answers_without_loading_torch(module: str) -> None:
    code = f"import sys; sys.argv = ['x', '--help']; import {module} as m\ntry: m.main()\nexcept SystemExit as end: code = end.code or 0\nassert code == 0; assert 'torch' not in sys.modules, 'torch was imported'"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower() or "Configuration groups" in done.stdout


def test_help_is_quick() -> None:
    # Processor time, as other tests run beside this one: nobody waits less than that, and alone hardly longer. Without
    # the coverage measurement that starts in every process; the best of five, for caches.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    seconds = []
    for _ in range(5):
        before = os.times()
        subprocess.run(
            [sys.executable, "-m", "sed_lab.train", "--help"], env=environment, capture_output=True, check=True
        )
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert 0 < min(seconds) < 1.0


@pytest.mark.parametrize(
    ("module", "words", "sentence"),
    [
        (
            "sed_lab.train",
            ["loss=tbfl", "loss.gama=1"],
            "unknown key 'loss.gama' on the command line, did you mean 'loss.gamma'?",
        ),
        ("sed_lab.train", ["los=bce"], "unknown key 'los' on the command line, did you mean 'loss'?"),
        ("sed_lab.train", ["loss=bec"], "loss=bec is unknown, did you mean 'bce'?; known: bce,"),
        ("sed_lab.train", ["decoder@rival_decoder=null"], "a group takes the name of an option; ~GROUP leaves it out"),
        (
            "sed_lab.train",
            ["batch.clips={foo: 3}"],
            "unknown key 'batch.clips.foo' on the command line, did you mean 'b",
        ),
        (
            "sed_lab.train",
            ["--config-name", "aziz2020", "dataset.row_exchang=no"],
            "did you mean 'dataset.row_exchange'?",
        ),
        ("sed_lab.train", ["seed"], "'seed' (missing EQUAL at '<EOF>') cannot be read; write KEY"),
        ("sed_lab.train", ["tune_on=test", "trainer=smoke"], "tune_on=test would choose the threshold on the clips"),
        ("sed_lab.train", ["dataset=desed", "dataset.folder=/nowhere"], "/nowhere"),
        ("sed_lab.train", ["dataset=soundbank", "dataset.bank_folder=/nowhere"], "/nowhere"),
        ("sed_lab.evaluate", [], "say what to evaluate: exactly one of run=FOLDER"),
        ("sed_lab.evaluate", ["run=/nowhere"], "/nowhere holds no run.json"),
        ("sed_lab.evaluate", ["scores=/nowhere"], "need truth=FILE.tsv, and durations=FILE.tsv or the"),
        ("sed_lab.predict", ["/nowhere", "x.wav"], "x.wav does not exist; give audio files or folders"),
    ],
)
def test_bad_input_is_one_sentence(module: str, words: list[str], sentence: str, tmp_path: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("SED_LAB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("SED_LAB_CACHE", str(tmp_path / "cache"))
    done = typed(module.replace("sed_lab.", "sed-"), *words, folder=tmp_path)
    assert sentence in done.err
    assert done.code == 2
    assert "Traceback" not in done.err
    assert done.err.strip().splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("module", "words"),
    [("sed_lab.train", ["los=bce"]), ("sed_lab.evaluate", []), ("sed_lab.predict", ["/nowhere", "x.wav"])],
)
def test_so_it_is_in_a_process_of_its_own(module: str, words: list[str], tmp_path: Path) -> None:
    done = command(module, *words, SED_LAB_RUNS=str(tmp_path), SED_LAB_CACHE=str(tmp_path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
