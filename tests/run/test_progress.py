"""The lines a user sees while a run trains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from sed_lab.run.progress import PlainProgress, quiet


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
