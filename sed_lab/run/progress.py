"""What a user sees while a run trains, and the history it leaves: history.csv, one row an epoch."""

from __future__ import annotations

import csv
import io
import logging
import math
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar

from sed_lab.files import write_text
from sed_lab.run.keep import validated


def on_terminal() -> bool:
    """Whether someone watches: bars on a terminal, one plain line an epoch elsewhere."""
    return sys.stdout.isatty()


def quiet() -> None:
    """Keep Lightning from telling what a user of sed_lab neither asked for nor can change."""
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r".*does not have many workers.*",
        r".*Checkpoint directory .* exists and is not empty.*",
        r".*Experiment logs directory .* exists and is not empty.*",
        r".*The dirpath has changed from .*",  # of last.ckpt, whose scores nobody asks for; see `keep.BestWeights`
        r".*treespec.*is deprecated.*",
        r".*number of training batches .* is smaller than the logging interval.*",
        r".*GPU available but not used.*",
        r".*Total length of .* across ranks is zero.*",  # nothing is validated
        r".*`srun` command is available.*",  # on a cluster's own machine, where a run needs no allocation
        r".*your dataloader is not resumable.*",  # `CompositionSampler` is, see `resume`
        r".*sync_dist=True.*",  # what is logged is one device's or, of validation, already all devices'
    ):
        warnings.filterwarnings("ignore", message)


class Bars(RichProgressBar):
    """Lightning's bars with the loss, without the logger's version, which pushed it off narrow terminals."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


class PlainProgress(pl.Callback):
    """One line an epoch: epoch, loss, rate, time left."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Where an epoch goes on, what is done of it took no time of this try.
        within = trainer.fit_loop.restarted_mid_epoch
        self.batches_before = trainer.fit_loop.epoch_loop.batch_progress.current.ready if within else 0
        self.started = self.epoch_started = time.monotonic()
        self.first_epoch = trainer.current_epoch + self.batches_before / trainer.num_training_batches

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epoch_started, self.batches_before = time.monotonic(), 0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        done = trainer.current_epoch + 1 - self.first_epoch
        total = trainer.max_epochs or 0
        now = time.monotonic()
        left = (now - self.started) / done * max(0, total - trainer.current_epoch - 1)
        rate = (int(trainer.num_training_batches) - self.batches_before) / (now - self.epoch_started)
        logged = trainer.callback_metrics
        names = ("train/loss", "val/objective") if validated(trainer) else ("train/loss",)
        shown = [name for name in names if math.isfinite(logged.get(name, math.inf))]
        parts = [f"{name} {float(logged[name]):.4f}" for name in shown]
        at_most = "at most " if pl_module.stops_early else ""
        print(
            f"epoch {trainer.current_epoch + 1}/{total}  {'  '.join(parts)}  {rate:.2f} batches/s"
            f"  {at_most}{left:.0f} s left",
            flush=True,
        )


class History(pl.Callback):
    """Writes history.csv in the run's folder, one row an epoch, rewritten whole so that it is never half a row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.started, self.before = time.monotonic(), 0.0  # seconds of earlier tries

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self._seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]
        for row in self.rows:  # what a file holds may be anything
            row["seconds"] = float(row["seconds"])
        former = self.rows[-1]["seconds"] if self.rows else 0.0
        self.before = state_dict.get("seconds", former)  # a checkpoint of before there were some within epochs has none

    def _seconds(self) -> float:
        return round(self.before + time.monotonic() - self.started, 3)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.callback_metrics.clear()  # else what an earlier epoch logged would stand in this one's row

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        row: dict[str, Any] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        row["seconds"] = self._seconds()
        for name, value in trainer.callback_metrics.items():
            if name.startswith(("train/", "val/")):
                row[name] = float(value) if math.isfinite(value) else ""
        self.rows.append(row)
        names = list(dict.fromkeys(name for item in self.rows for name in item))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())
