"""The moving average of weights: by hand, in what is validated, kept, tested, and after a resumption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from sed_lab.run.averaging import MovingAverage
from sed_lab.run.keep import BestWeights, WholeCheckpoints
from sed_lab.run.progress import quiet

pytestmark = [
    pytest.mark.filterwarnings("ignore:The .* does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
    pytest.mark.filterwarnings("ignore:You are using `torch.load`"),
]
DECAY = 0.6  # of which the mean of two steps, and of no more, is the smaller one


class Line(pl.LightningModule):
    """A line with batch normalisation, and what never changes; it notes its slope wherever that is used."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(1.0))
        self.normal = torch.nn.BatchNorm1d(1)
        self.register_buffer("fixed", torch.tensor([0.1, 1 / 3, 1e30]))
        self.trained: list[float] = []  # after each step
        self.means: list[float] = []
        self.validated: list[float] = []
        self.tested: list[float] = []

    def training_step(self, x: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return (self.normal(x[:, None]) * self.slope + self.slope - 3).square().mean()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.trained.append(self.slope.item())
        self.means.append(self.normal.running_mean.item())  # type: ignore[operator, union-attr]

    def validation_step(self, x: torch.Tensor, batch_idx: int) -> None:
        self.validated.append(self.slope.item())
        self.log("val/objective", float(self.current_epoch == 1), batch_size=1)  # the second epoch is the best

    def test_step(self, x: torch.Tensor, batch_idx: int) -> None:
        self.tested.append(self.slope.item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def loader() -> Any:
    return torch.utils.data.DataLoader(torch.linspace(-1, 2, 12), batch_size=4)


def trained(folder: Path, epochs: int, averaging: bool = True) -> tuple[pl.Trainer, Line]:
    """After so many epochs of three steps, going on from ``last.ckpt`` where there is one."""
    quiet()
    last = folder / "last.ckpt"
    keep = pl.callbacks.ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    trainer = pl.Trainer(
        max_epochs=epochs, num_sanity_val_steps=0, logger=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", callbacks=[BestWeights(folder, 1), keep, *([MovingAverage(DECAY)] if averaging else [])],
    )  # fmt: skip
    trainer.strategy.checkpoint_io = WholeCheckpoints()
    line = Line()
    trainer.fit(line, loader(), loader(), ckpt_path=str(last) if last.exists() else None)
    return trainer, line


def averages(values: list[float]) -> list[float]:
    """After each step: the mean of one and of two steps, from the third on with `DECAY`."""
    found = [values[0], (values[0] + values[1]) / 2]
    for value in values[2:]:
        found.append(DECAY * found[-1] + (1 - DECAY) * value)
    return found


def test_the_average_is_what_is_validated_kept_and_tested(tmp_path: Path) -> None:
    trainer, line = trained(tmp_path, 4)
    plain = trained(tmp_path / "plain", 4, averaging=False)[1]
    assert line.trained == plain.trained  # training is as without it
    expected, means = averages(line.trained), averages(line.means)
    assert len(expected) == 12
    ends = expected[2::3]
    assert line.validated == pytest.approx([value for value in ends for _ in range(3)], rel=1e-6)
    best = tmp_path / "best.ckpt"
    trainer.test(line, loader(), ckpt_path=str(best), weights_only=True, verbose=False)
    kept = torch.load(best, weights_only=True)
    assert kept["epoch"] == 1
    assert kept["current_model_state"]["slope"].item() == pytest.approx(line.trained[5], rel=1e-6)
    assert abs(expected[5] - line.trained[5]) > 0.03  # else this would show nothing
    for state in (kept["state_dict"], line.state_dict()):
        assert state["slope"].item() == pytest.approx(expected[5], rel=1e-6)
        assert state["normal.running_mean"].item() == pytest.approx(means[5], rel=1e-5)
        assert state["normal.num_batches_tracked"].item() == 6
        assert state["fixed"].tolist() == Line().fixed.tolist()
    assert line.tested == pytest.approx([expected[5]] * 3, rel=1e-6)


def test_training_that_goes_on_comes_to_the_same_average(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", 4)[1]
    trained(tmp_path / "parts", 2)
    second = trained(tmp_path / "parts", 4)[1]
    assert second.trained == whole.trained[6:]
    assert second.validated == whole.validated[6:]
    assert {key: value.tolist() for key, value in second.state_dict().items()} == {
        key: value.tolist() for key, value in whole.state_dict().items()
    }


def test_passes_of_one_step_are_averaged_once(tmp_path: Path) -> None:
    average = MovingAverage(DECAY)
    trainer = pl.Trainer(
        max_epochs=2, accumulate_grad_batches=3, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, accelerator="cpu", callbacks=[average], num_sanity_val_steps=0,
    )  # fmt: skip
    line = Line()
    trainer.fit(line, loader(), loader())
    assert trainer.global_step == 2
    assert line.slope.item() == pytest.approx((line.trained[2] + line.trained[5]) / 2, rel=1e-6)
