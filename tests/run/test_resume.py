"""A run killed within an epoch goes on after its last checkpoint there, and ends as one that nothing stopped."""

from __future__ import annotations

import csv
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch import nn

from sed_lab.clip.module import SedData
from sed_lab.errors import InputError
from sed_lab.method.base import LossTerm, Prediction, SedMethod
from sed_lab.run.checkpoint import read_checkpoint, write_checkpoint
from sed_lab.run.fitting import build_trainer, fit
from sed_lab.types import Batch, Input
from tests.configured import configured
from tests.method.test_arora2019_training import data_of, method_of, parts_of
from tests.slow.test_kills import same

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


class Killed(BaseException):
    """Nothing tidies up after it, as after SIGKILL."""


class Kill(pl.Callback):
    """Kills training in the middle of a step; keeps which clips were trained on before."""

    def __init__(self, epoch: int = -1, batch: int = -1) -> None:
        self.at, self.seen = (epoch, batch), []  # type: tuple[int, int], list[tuple[int, int, list[str]]]

    def on_after_backward(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if (trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx) == self.at:
            raise Killed

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append((trainer.current_epoch, batch_idx, batch.batch.clip_id))


class Drawing(SedMethod):
    """Draws, has momentum, a rate that falls by the step, a moving average, and a number noted now and then."""

    systems = ("model",)
    trains_on = ("weak",)

    def __init__(self, data: SedData) -> None:
        torch.manual_seed(0)
        super().__init__(parts_of(data, nn.Identity()), partial(torch.optim.Adam, lr=0.02))
        self.network = nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.register_buffer("average", torch.zeros(3, 8))

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        if 0 in batch.index:  # once an epoch
            self.note("seldom", batch.index.float().mean(), batch)
        noise = torch.randn(batch.waveform.shape) * 0.1
        value = nn.functional.binary_cross_entropy_with_logits(self.network(batch.waveform + noise), batch.weak)
        return {"loss_weak": LossTerm(value, "weak")}

    def on_before_zero_grad(self, optimizer: torch.optim.Optimizer) -> None:
        self.average.lerp_(self.network[3].weight.detach(), 0.1)

    def predict(self, x: Input) -> dict[str, Prediction]:
        return {"model": Prediction(clip=self.network(x.waveform).sigmoid())}

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.97**step)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def of_batch(data: SedData, **changed: Any) -> SedData:
    given = {"epoch": data.epoch, "per_class": False, "evaluation": 40, "max_clips_per_device": None, "workers": 0}
    return SedData(data.corpus, {"weak": 24}, 1, 1.0, ["weak_validation"], ["test"], seed=0, **{**given, **changed})


def trained(
    method: SedMethod,
    data: SedData,
    folder: Path,
    kill: Kill,
    minutes: float | None = 0,
    epochs: int = 3,
    every: int = 1,
) -> None:
    words = {"accelerator": "cpu", "devices": 1, "max_epochs": epochs, "check_val_every_n_epoch": every}
    cfg = OmegaConf.create({
        "trainer": {"_target_": "pytorch_lightning.Trainer", **words, "checkpoint_minutes": minutes},
        "batch": {"clips": data.clips}, "tune_on": None, "metric": {"zero_score": True},
    })  # fmt: skip
    objective = ["weak_validation/loss" if hasattr(method, "schedule") else "weak_validation/model/tagging_f1"]
    trainer = build_trainer(cfg, folder, objective, data, configured("decoder/plain")(), [])
    trainer.callbacks.append(kill)
    fit(trainer, method, data, folder, resume=True)


def left(folder: Path) -> dict[str, Any]:
    last, best = (read_checkpoint(folder / "checkpoints" / f"{name}.ckpt") for name in ("last", "best"))
    with (folder / "history.csv").open(encoding="utf-8") as file:
        history = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    kept = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step", "progress", "embedding")
    return {
        "last": {key: last[key] for key in (*kept, "loops") if key in last},
        "best": {key: best[key] for key in kept if key in best},
        "history": history,
    }


def check(make: Any, data: Any, folder: Path, kills: list[tuple[int, int]], **settings: Any) -> list[set[str]]:
    """Train whole, and killed at each of ``kills`` one after the other: all must be the same. What each had logged."""
    whole, pieces, logged = Kill(), [], []  # type: Kill, list[Kill], list[set[str]]
    trained(make(data()), data(), folder / "whole", whole, None, **settings)
    for at in kills:
        pieces.append(Kill(*at))
        with pytest.raises(Killed):
            trained(make(data()), data(), folder / "killed", pieces[-1], **settings)
        kept = read_checkpoint(folder / "killed" / "checkpoints" / "last.ckpt")["within_epoch"]
        logged.append({one["name"] for one in kept["logged"]})
    pieces.append(Kill())
    trained(make(data()), data(), folder / "killed", pieces[-1], **settings)
    expected, found = left(folder / "whole"), left(folder / "killed")
    for key, value in expected.items():
        assert same(value, found[key]), key
    assert [one for piece in pieces for one in piece.seen] == whole.seen  # no batch twice, none left out
    return logged


def test_a_run_killed_within_epochs_ends_the_same(tmp_path: Path) -> None:
    kills = [(0, 2), (1, 3)]
    logged = check(Drawing, lambda: of_batch(data_of()), tmp_path, kills, epochs=2, every=2)
    assert any("train/seldom" in names for names in logged)


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{"max_clips_per_device": 12}, {"workers": 2}])
def test_so_does_one_in_passes_and_one_that_loads_ahead(changed: dict[str, Any], tmp_path: Path) -> None:
    passes = 2 if "max_clips_per_device" in changed else 1
    kills = [(0, 1 * passes), (1, 3 * passes), (2, 2 * passes)]
    check(Drawing, lambda: of_batch(data_of(), **changed), tmp_path, kills, epochs=4, every=2)


@pytest.mark.slow
def test_a_schedule_of_phases_goes_on_within_each(tmp_path: Path) -> None:
    # Centroids, twice the embedding, centroids, embedding, three times the output layer, three times the detector.
    kills = [(0, 1), (1, 3), (3, 1), (4, 2), (5, 1), (7, 2), (8, 1), (10, 3)]
    check(method_of, data_of, tmp_path, kills, epochs=40)


def test_batches_in_another_number_of_passes_are_refused(stopped: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(InputError, match=r"last\.ckpt was written within an epoch, of batches in 1 passes, not 2; go"):
        trained(Drawing(data_of()), of_batch(data_of(), max_clips_per_device=12), tmp_path, Kill())


def spoil(content: dict[str, Any], where: str, value: Any) -> None:
    """Put ``value`` at a place within a checkpoint, dots between keys; a number is a place in a list."""
    *way, last = (int(part) if part.isdigit() else part for part in where.split("/"))
    node: Any = content
    for part in way:
        node = node[part]
    node[last] = value


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("optimizer_states", []),
        ("optimizer_states", [{"state": 3, "param_groups": "all"}]),
        ("optimizer_states/0/param_groups", []),
        ("optimizer_states/0/param_groups/0/lr", "fast"),
        ("optimizer_states/0/param_groups/0/betas", None),
        ("optimizer_states/0/state/0/exp_avg", torch.zeros(7)),
        ("optimizer_states/0/state/0/step", "\x1b[2J"),
        ("lr_schedulers", [{"step": 1}]),
        ("lr_schedulers/0/last_epoch", "soon"),
        ("lr_schedulers/0/lr_lambdas", 3),
        ("state_dict/network.0.weight", torch.zeros(2, 2)),
        ("loops/fit_loop", {}),
        ("loops/fit_loop/epoch_progress/current/processed", "all"),
        ("callbacks/History/rows", 5),
        ("within_epoch", {"passes": 1, "logged": [{"os": "system"}]}),
        ("within_epoch/logged/0/total", torch.zeros(7)),
    ],
)
def test_what_does_not_fit_the_run_is_refused(where: str, value: Any, stopped: Path, tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    content = read_checkpoint(stopped / "checkpoints" / "last.ckpt")
    spoil(content, where, value)
    write_checkpoint(content, last)
    with pytest.raises(InputError, match=r"last\.ckpt: training cannot go on from what it holds .*; restore it, or tr"):
        trained(Drawing(data_of()), of_batch(data_of()), tmp_path, Kill(), None, epochs=1)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run killed within an epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Killed):
        trained(Drawing(data_of()), of_batch(data_of()), folder, Kill(0, 2))
    return folder


def test_checkpoints_come_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, int]] = []
    clock = iter(range(10**6))  # half a minute a look
    monkeypatch.setattr("sed_lab.run.resume.time", SimpleNamespace(monotonic=lambda: 30.0 * next(clock)))
    monkeypatch.setattr(
        pl.Trainer,
        "save_checkpoint",
        lambda trainer, path, *_, **__: written.append((Path(path).name, trainer.global_step)),
    )
    trained(Drawing(data_of(12)), data_of(12), tmp_path, Kill(), minutes=1.5, epochs=1)  # 8 batches
    assert written == [("last.ckpt", 3), ("last.ckpt", 6), ("best.ckpt", 8), ("last.ckpt", 8)]
