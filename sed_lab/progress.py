"""What a user sees while a run trains, and the history it leaves: history.csv, one row an epoch."""

from __future__ import annotations

import csv
import io
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar

from sed_lab.files import write_text


def progress_callback() -> pl.Callback:
    """Rich bars on a terminal, one plain line an epoch elsewhere."""
    return RichProgressBar() if sys.stderr.isatty() or sys.stdout.isatty() else PlainProgress()


class PlainProgress(pl.Callback):
    """One line an epoch: epoch, loss, rate, time left."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started, self.first_epoch = time.monotonic(), trainer.current_epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epoch_started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        done = trainer.current_epoch + 1 - self.first_epoch
        total = trainer.max_epochs or 0
        now = time.monotonic()
        left = (now - self.started) / done * max(0, total - trainer.current_epoch - 1)
        rate = int(trainer.num_training_batches) / (now - self.epoch_started)
        logged = trainer.callback_metrics
        parts = [f"{name} {float(logged[name]):.4f}" for name in ("train/loss", "val/objective") if name in logged]
        print(
            f"epoch {trainer.current_epoch + 1}/{total}  {'  '.join(parts)}  {rate:.2f} batches/s  {left:.0f} s left",
            flush=True,
        )


class History(pl.Callback):
    """Writes history.csv in the run's folder, one row an epoch, rewritten whole so that it is never half a row."""

    def __init__(self, path: Path, validated_every: int = 1) -> None:
        self.path, self.validated_every = path, validated_every
        self.rows: list[dict[str, Any]] = []
        self.started = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        row: dict[str, Any] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        row["seconds"] = round(time.monotonic() - self.started, 3)
        validated = (trainer.current_epoch + 1) % self.validated_every == 0
        for name, value in trainer.callback_metrics.items():
            if name.startswith("train/") or (name.startswith("val/") and validated):
                row[name] = float(value)
        self.rows.append(row)
        names = list(dict.fromkeys(name for item in self.rows for name in item))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())
