"""Each paper's full-scale configuration, sizes cut, on a small corpus in the published layout, which is checked,
trained on for an epoch by one process and by two, and predicted from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from sed_lab.experiment.reader import read_experiment
from sed_lab.files import read_json
from sed_lab.plan import overrides_of
from sed_lab.scores import load_scores
from tests.made import corpora
from tests.test_smoke import sed

ROOT = Path(__file__).resolve().parents[1]
CPU = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "batch.workers=0", "batch.evaluation=4"]
CPU += ["report.figures=false", "report.page=false"]


@dataclass(frozen=True)
class Case:
    """A table's row at scale full (empty: the first), the corpus it is trained on here, what is cut, and a pattern of
    recordings to predict from."""

    table: str
    row: str
    corpus: str
    make: Callable[[Path], Path]
    cuts: Sequence[str]
    recording: str


CASES = {
    "desed": Case(
        "park2022/fig3",
        "tbfl",
        "desed",
        corpora.desed,
        ["model.filters=[4,4,4,4,4,4,4]", "model.gru_cells=4", "batch.clips={synthetic: 2, weak: 2, unlabelled: 4}"],
        "audio/validation/validation/*.wav",
    ),
    "dcase2018": Case(
        "huang2021/table1",
        "sedb_ifd",
        "dcase2018",
        corpora.dcase2018,
        ["model.filters=[8,8,8]", "batch.clips={synthetic: 4, weak: 4, unlabelled: 0}"],
        "audio/eval/*.wav",
    ),
    "dcase2018_as_desed": Case(
        "huang2021/table1",
        "baseline",
        "dcase2018",
        lambda folder: corpora.dcase2018(folder, own=False),
        ["model.filters=[8,8,8]", "batch.clips={synthetic: 4, weak: 4, unlabelled: 0}"],
        "audio/validation/validation/*.wav",
    ),
    "tut_rare": Case(
        "amiriparian2018/table4",
        "crnn",
        "tut_rare",
        corpora.tut_rare,
        [
            "model.filters=[4,4]",
            "model.n_units=8",
            "dataset.train=[{mixtures_per_class: 4, ebrs: [-6, 0, 6], event_presence_prob: 0.5, seed: 43}]",
            "batch.clips.synthetic=6",
            "method.timesteps={babycry: [5], glassbreak: [3], gunshot: [3]}",
        ],
        "data/mixture_data/evaltest/*/audio/*babycry_000*.wav",
    ),
    "audioset": Case(
        "arora2019/table1",
        "lstm_p2",
        "audioset_rare",
        corpora.audioset,
        [
            "model.n_units=8",
            "batch.clips.weak=16",
            "method.embedding_epochs=[1,1]",
            "method.centroid_epochs=1",
            "method.detector_epochs=1",
            "trainer.max_epochs=8",
        ],
        "audio/eval/*.wav",
    ),
    "embeddings": Case(
        "aziz2020/metric",
        "",
        "audioset_embeddings",
        corpora.audioset_embeddings,
        [],
        "eval/*.tfrecord",
    ),
}


def full(case: Case, *cuts: str) -> list[str]:
    """The words of the row at scale full, those of ``case`` and ``cuts`` in the place of what they change."""
    experiment = read_experiment(ROOT / "experiments" / f"{case.table}.yaml")
    of_rows = overrides_of(experiment, "full")
    words = list(of_rows[case.row] if case.row else next(iter(of_rows.values())))
    for cut in (*CPU, *case.cuts, *cuts):
        key = cut.split("=")[0]
        words = [word for word in words if word.split("=")[0] != key]
        words.append(cut)
    return ["--config-name", experiment.scale("full").config, *words]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


def trained(case: Case, place: Path, name: str, trainer: str) -> Path:
    """The run of ``case`` by one process or two."""
    corpus = place / name
    if not corpus.exists():
        case.make(corpus)
    top = place / f"{name}-{trainer}"
    top.mkdir()
    words = full(case, f"trainer={trainer}", f"dataset.folder={corpus}")
    done = sed("train", *words, cwd=top, SED_LAB_CACHE=str(place / "cache"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    (folder,) = (path for path in (top / "runs").iterdir() if path.is_dir())
    assert read_json(folder / "run.json")["status"] == "complete"
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_corpus_is_checked_trained_on_and_predicted_from(name: str, place: Path, tmp_path: Path) -> None:
    case = CASES[name]
    one = trained(case, place, name, "cpu")
    checked = sed("prepare", "check", case.corpus, str(place / name), cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.splitlines()[-1] == "no errors"
    two = trained(case, place, name, "ddp_cpu")
    for path in sorted((one / "scores").glob("*/*.npz")):
        ours, theirs = load_scores(path), load_scores(two / path.relative_to(one))
        assert ours.clip_id == theirs.clip_id
        assert len(ours.clip_id) > 0
    sound = next((place / name).glob(case.recording))
    done = sed("predict", str(two), str(sound), "--scores", str(tmp_path / "scores"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = list((tmp_path / "scores").glob("*.tsv"))
    assert written
    assert all(len(path.read_text().splitlines()) > 1 for path in written)


@pytest.mark.slow
@pytest.mark.parametrize("make", [corpora.esc10, corpora.esc50])
def test_a_bank_is_checked_trained_on_and_predicted_from(make: Callable[[Path], Path], tmp_path: Path) -> None:
    bank = make(tmp_path / "bank")
    assert sed("prepare", "check", "soundbank", str(bank), cwd=tmp_path).returncode == 0
    sizes = dict.fromkeys(("synthetic", "weak", "unlabelled", "synthetic_validation", "weak_validation"), 8)
    sizes |= {"validation": 4, "test": 4}
    words = ["dataset=soundbank", f"dataset.bank_folder={bank}", f"dataset.sizes={sizes}".replace("'", ""), *CPU]
    words += ["batch.clips={synthetic: 4, weak: 2, unlabelled: 2}", "model=crnn_small"]
    for trainer in ("cpu", "ddp_cpu"):
        (tmp_path / trainer).mkdir()
        done = sed("train", *words, f"trainer={trainer}", cwd=tmp_path / trainer, SED_LAB_CACHE=str(tmp_path / "cache"))
        assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = (path for path in (tmp_path / "ddp_cpu/runs").iterdir() if path.is_dir())
    sound = next(path for path in bank.rglob("*") if path.suffix in (".ogg", ".wav"))
    assert sed("predict", str(folder), str(sound), cwd=tmp_path).returncode == 0


def test_the_corpora_are_made_by_a_script(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "tests/made/corpora.py"), str(tmp_path), "audioset_v1_embeddings"]
    given = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=given)
    assert done.stdout.split() == [str(tmp_path / "audioset_v1_embeddings")]
    assert len(list(tmp_path.glob("*/*/*.tfrecord"))) == 12
