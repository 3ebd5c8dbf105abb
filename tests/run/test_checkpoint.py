"""Checkpoints are whole or not there, those that cannot be read are set aside, best weights follow their folder."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import zipfile
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from sed_lab.errors import InputError
from sed_lab.files import checksum, write_json
from sed_lab.run.checkpoint import make_ready, read_checkpoint, write_checkpoint
from sed_lab.run.keep import BestWeights, WholeCheckpoints, best_epoch
from sed_lab.run.parts import lost_in_words, lost_parts, trains_again
from sed_lab.run.progress import History, quiet
from sed_lab.types import Part, Shares
from tests.run.test_keep import Clips, Tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore:The .* does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
]


def content(epoch: int, best: str = "") -> dict[str, Any]:
    callbacks = {"BestWeights{}": {"best_model_path": best}, "History": {"rows": []}}
    state = {"weight": torch.full((100,), float(epoch))}
    return {"state_dict": state, "optimizer_states": [], "loops": {}, "epoch": epoch, "callbacks": callbacks}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_checkpoint(content(7, "/elsewhere/checkpoints/best.ckpt"), tmp_path / "checkpoints" / "last.ckpt")
    write_checkpoint(content(3, "/elsewhere/checkpoints/best.ckpt"), tmp_path / "checkpoints" / "best.ckpt")
    return tmp_path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def names(run: Path) -> set[str]:
    return {path.name for path in (run / "checkpoints").iterdir()}


def test_what_is_written_is_read_back_and_has_its_checksum(tmp_path: Path) -> None:
    digits = write_checkpoint(content(7), tmp_path / "a.ckpt")
    assert digits == checksum(tmp_path / "a.ckpt")
    assert read_checkpoint(tmp_path / "a.ckpt")["epoch"] == 7
    with zipfile.ZipFile(tmp_path / "a.ckpt") as archive:
        assert archive.testzip() is None


@pytest.mark.parametrize("place", range(0, 4000, 173))
def test_a_flipped_byte_is_noticed_or_changes_nothing(tmp_path: Path, place: int) -> None:
    write_checkpoint(content(7), tmp_path / "a.ckpt")
    data = bytearray((tmp_path / "a.ckpt").read_bytes())
    data[place % len(data)] ^= 255
    (tmp_path / "a.ckpt").write_bytes(data)
    try:
        found = read_checkpoint(tmp_path / "a.ckpt")
    except InputError:
        return
    assert torch.equal(found["state_dict"]["weight"], content(7)["state_dict"]["weight"])  # it was between entries
    assert found["epoch"] == 7


def test_a_full_disk_leaves_the_former_checkpoint(run: Path) -> None:
    last = run / "checkpoints" / "last.ckpt"
    before, limit = last.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
        with pytest.raises(InputError, match=r"cannot write .*last\.ckpt: File too large; free some space"):
            WholeCheckpoints().save_checkpoint(content(8), last)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, former)
    assert last.read_bytes() == before
    assert names(run) == {"last.ckpt", "best.ckpt"}


def test_nothing_is_moved_between_file_systems(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[tuple[Path, Path]] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (moved.append((Path(a), Path(b))), replace(a, b)))
    monkeypatch.setattr(shutil, "move", lambda *_: pytest.fail("a move may be a copy"))
    WholeCheckpoints().save_checkpoint(content(8), str(run / "checkpoints" / "last.ckpt"))
    assert [(a.parent, b) for a, b in moved] == [(run / "checkpoints", run / "checkpoints" / "last.ckpt")]
    assert WholeCheckpoints().load_checkpoint(run / "checkpoints" / "last.ckpt")["epoch"] == 8


def test_what_can_be_read_is_left_as_it_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / ".run.json.99.part.json").write_text("half")
    (run / "checkpoints" / ".last.ckpt.99.part.ckpt").write_text("half")
    make_ready(run)
    assert names(run) == {"last.ckpt", "best.ckpt"}
    assert not list(run.glob(".run.json*"))
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["epoch"] == 7
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("harm", [flip, lambda path: path.write_bytes(b""), lambda path: os.truncate(path, 900),
                                  lambda path: write_checkpoint({"state_dict": {}}, path)])  # fmt: skip
def test_training_goes_on_from_the_best_weights_without_the_last(
    run: Path, harm: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(run / "checkpoints" / "last.ckpt")
    make_ready(run)
    assert names(run) == {"last.ckpt", "last.damaged.ckpt", "best.ckpt"}
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["epoch"] == 3
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("set aside as last.damaged.ckpt")
    assert said[1:] == [f"training goes on after epoch 4, from {run}/checkpoints/best.ckpt"]


@pytest.mark.parametrize("harmed", [("last", "best"), ("best",)])
def test_without_best_weights_training_starts_anew(
    run: Path, harmed: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in harmed:
        flip(run / "checkpoints" / f"{name}.ckpt")
    make_ready(run)
    assert names(run) == {"last.damaged.ckpt", "best.damaged.ckpt"}
    assert capsys.readouterr().err.splitlines()[-1] == "training starts anew"


def test_the_first_epochs_have_no_best_weights_yet(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(content(1), run / "checkpoints" / "last.ckpt")
    (run / "checkpoints" / "best.ckpt").unlink()
    make_ready(run)
    assert names(run) == {"last.ckpt"}
    assert capsys.readouterr().err == ""


def test_best_weights_of_an_earlier_training_are_not_gone_on_with(run: Path) -> None:
    (run / "checkpoints" / "last.ckpt").unlink()
    make_ready(run)
    assert names(run) == set()


def train(method: Tiny, folder: Path, epochs: int) -> pl.Trainer:
    quiet()
    place, last = folder / "checkpoints", folder / "checkpoints" / "last.ckpt"
    keep = ModelCheckpoint(place, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    trainer = pl.Trainer(
        max_epochs=epochs, num_sanity_val_steps=0, logger=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, callbacks=[BestWeights(place, 1), History(folder / "history.csv"), keep],
    )  # fmt: skip
    trainer.strategy.checkpoint_io = WholeCheckpoints()
    batches = [Part(Clips(["a", "b"]), Shares())]  # type: ignore[arg-type]
    loader = torch.utils.data.DataLoader(batches, batch_size=None, collate_fn=lambda part: part)
    validation = torch.utils.data.DataLoader(torch.zeros(1))
    trainer.fit(method, loader, validation, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    return trainer


OBJECTIVES, LOSSES = [0.1, 0.9, 0.5, 0.6, 0.7], [1.0] * 5


def test_best_weights_follow_their_folder(tmp_path: Path) -> None:
    whole = train(Tiny(OBJECTIVES, LOSSES), tmp_path / "whole", 5)
    train(Tiny(OBJECTIVES, LOSSES), tmp_path / "a", 3)
    moved = (tmp_path / "a").rename(tmp_path / "b")
    trainer = train(Tiny(OBJECTIVES, LOSSES), moved, 5)
    for one, folder in ((whole, tmp_path / "whole"), (trainer, moved)):
        assert best_epoch(folder / "checkpoints" / "best.ckpt") == 2
        kept: Any = one.checkpoint_callback
        assert float(kept.best_model_score) == pytest.approx(0.9)
        assert kept.best_model_path == str(folder / "checkpoints" / "best.ckpt")
    assert not (tmp_path / "a").exists()
    first, second = (read_checkpoint(one / "checkpoints" / "last.ckpt") for one in (tmp_path / "whole", moved))
    assert torch.equal(first["state_dict"]["weight"], second["state_dict"]["weight"])
    seconds = [row["seconds"] for row in second["callbacks"]["History"]["rows"]]
    assert seconds == sorted(seconds)  # of both tries together
    (history,) = (one for one in trainer.callbacks if isinstance(one, History))  # type: ignore[attr-defined]
    assert 0 < history.used_before < second["callbacks"]["History"]["processor_seconds"]


def test_a_run_goes_on_from_its_best_weights_to_the_same_end(tmp_path: Path) -> None:
    whole = train(Tiny(OBJECTIVES, LOSSES), tmp_path / "whole", 5)
    train(Tiny(OBJECTIVES, LOSSES), tmp_path / "a", 4)
    flip(tmp_path / "a" / "checkpoints" / "last.ckpt")
    make_ready(tmp_path / "a")
    assert read_checkpoint(tmp_path / "a" / "checkpoints" / "last.ckpt")["epoch"] == 1
    trainer = train(Tiny(OBJECTIVES, LOSSES), tmp_path / "a", 5)
    assert trainer.global_step == whole.global_step == 5
    first, second = (read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "a"))
    assert torch.equal(first["state_dict"]["weight"], second["state_dict"]["weight"])
    assert best_epoch(tmp_path / "a" / "checkpoints" / "best.ckpt") == 2


def test_a_checkpoint_names_no_file_to_be_removed(tmp_path: Path) -> None:
    train(Tiny(OBJECTIVES, LOSSES), tmp_path / "a", 2)
    place, prey = tmp_path / "a" / "checkpoints", tmp_path / "prey"
    prey.write_text("dear")
    evil = read_checkpoint(place / "last.ckpt")
    for state in evil["callbacks"].values():
        if "best_model_path" in state:
            state |= dict.fromkeys(("best_model_path", "kth_best_model_path"), f"{place}/../../prey")
    write_checkpoint(evil, place / "last.ckpt")
    train(Tiny(OBJECTIVES, LOSSES), tmp_path / "a", 4)
    assert prey.read_text() == "dear"
    assert best_epoch(place / "last.ckpt") == 4


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    for name in ("metrics.json", "per_class.csv", "curves.json", "page.html", "scores/test/model.npz",
                 "detections/test/model.tsv", "figures/psd_roc.png", "checkpoints/last.ckpt"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("x")
    sha256 = write_checkpoint(content(7), tmp_path / "detector.ckpt")
    write_json(tmp_path / "run.json", {"status": "complete", "detector": {"sha256": sha256}})
    return tmp_path


@pytest.mark.parametrize(
    ("gone", "lost", "how"),
    [
        ("page.html", "page.html", "from its scores"),
        ("figures", "figures", "from its scores"),
        ("metrics.json", "metrics.json", "from its scores"),
        ("detections/test/model.tsv", "detections/test", "from its scores"),
        ("detector.ckpt", "detector.ckpt", "from its checkpoints"),
        ("scores/test/model.npz", "scores/test", "from its checkpoints"),
    ],
)
def test_a_lost_part_is_named_with_what_makes_it_again(complete: Path, gone: str, lost: str, how: str) -> None:
    report = {"page": True, "figures": True, "page_clips": 4}
    assert lost_parts(complete, report) == []
    assert lost_in_words(complete, []) == ""
    shutil.rmtree(complete / gone) if (complete / gone).is_dir() else (complete / gone).unlink()
    assert lost_parts(complete, report) == [lost]
    assert trains_again([lost]) is ("checkpoints" in how)
    assert (
        lost_in_words(complete, [lost]) == f"{complete} was complete, but {lost} is gone or damaged: made again {how}"
    )
    assert lost_parts(complete, {**report, "page": False, "figures": False}) == (
        [] if gone in ("page.html", "figures") else [lost]
    )


def test_a_damaged_detector_is_a_lost_one(complete: Path) -> None:
    report = {"page": False, "figures": False}
    flip(complete / "detector.ckpt")
    assert lost_parts(complete, report) == ["detector.ckpt"]
    (complete / "checkpoints" / "last.ckpt").unlink()
    assert lost_in_words(complete, ["detector.ckpt"]).endswith("by training anew, as it has no checkpoints")
    write_json(complete / "run.json", {"status": "complete", "detector": {}})  # as of before there were checksums
    assert lost_parts(complete, report) == []
