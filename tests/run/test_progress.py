"""The lines a user sees while a run trains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from sed_lab.run.keep import BestWeights
from sed_lab.run.progress import PlainProgress, TimeLeft, quiet


class Tiny(pl.LightningModule):
    stops_early = False

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.log("train/loss", self.weight, on_step=False, on_epoch=True)
        return self.weight

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val/objective", float(self.current_epoch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:The .* does not have many workers")
def test_an_epoch_shows_the_objective_only_where_it_was_validated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet()
    loader = torch.utils.data.DataLoader(torch.zeros(2, 1))
    trainer = pl.Trainer(
        max_epochs=5, check_val_every_n_epoch=2, callbacks=[PlainProgress()], num_sanity_val_steps=0,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Tiny(), loader, loader)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [re.findall(r"epoch (\d)/5|val/objective (\S+)", line) for line in lines] == [
        [("1", "")], [("2", ""), ("", "1.0000")], [("3", "")], [("4", ""), ("", "3.0000")], [("5", "")],
    ]  # fmt: skip
    assert all("train/loss" in line for line in lines)


class Slow(Tiny):
    """A batch takes a second on its clock, one of validation four, one of test six."""

    now = 0.0

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.now += 1
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.now += 4
        super().validation_step(batch, batch_idx)

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.now += 6


class Asked(pl.Callback):
    """The time left after each batch of training and of validation."""

    def __init__(self, time_left: TimeLeft) -> None:
        self.time_left, self.said = time_left, []  # type: ignore[var-annotated]

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.said.append(self.time_left.left(trainer))

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.said.append(self.time_left.left(trainer))


def trained(tmp_path: Path, model: Slow, own: TimeLeft, epochs: int, batches: int, every: int) -> list[float]:
    """What ``own`` said while ``model`` trained, validated on two batches; it is tested on five then."""
    quiet()
    asked = Asked(own)
    data = pl.LightningDataModule.from_datasets(torch.zeros(batches, 1), [torch.zeros(2, 1)], torch.zeros(5, 1))
    trainer = pl.Trainer(
        max_epochs=epochs, num_sanity_val_steps=0, callbacks=[BestWeights(tmp_path / "c", every), own, asked],
        check_val_every_n_epoch=every, logger=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    return asked.said


@pytest.mark.filterwarnings("ignore:The .* does not have many workers")
def test_the_time_left_is_of_the_whole_training_with_validation(tmp_path: Path) -> None:
    model = Slow()
    said = trained(tmp_path, model, TimeLeft(lambda: model.now), epochs=5, batches=3, every=2)
    # 15 batches of 1 s; validated are epochs 2, 4 and 5, the last, 8 s each, which count 2 s until one is known
    assert said[:6] == [14 + 6, 13 + 6, 12 + 6, 11 + 6, 10 + 6, 9 + 6]
    assert said[6:8] == [9 + 4, 9 + 4]  # within the first one, whose 8 s are known only at its end
    assert said[8:] == [8 + 16, 7 + 16, 6 + 16, 5 + 16, 4 + 16, 3 + 16, 3 + 12, 3 + 8, 2 + 8, 1 + 8, 8, 4, 0]


@pytest.mark.filterwarnings("ignore:The .* does not have many workers")
def test_plain_lines_stand_within_long_epochs_and_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Slow()
    trained(tmp_path, model, PlainProgress(lambda: model.now), epochs=2, batches=25, every=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "  " not in line] == [
        "epoch 1/2, batch 10 of 25, 44 s left", "epoch 1/2, batch 20 of 25, 34 s left",  # 30 of training, 2 + 2
        "epoch 1/2, validation, batch 2, 27 s left",
        "epoch 2/2, batch 10 of 25, 23 s left", "epoch 2/2, batch 20 of 25, 13 s left",
        "epoch 2/2, validation, batch 2, 0 s left",
        "testing, batch 1 of 5, 24 s left", "testing, batch 3 of 5, 12 s left", "testing, batch 5 of 5, 0 s left",
    ]  # fmt: skip
    assert [line.rpartition("  ")[2] for line in lines if "  " in line] == ["33 s left", "0 s left"]
