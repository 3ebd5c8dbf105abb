"""What a user sees while a run trains, and the history it leaves: history.csv, one row an epoch."""

from __future__ import annotations

import csv
import io
import logging
import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar

from sed_lab.files import write_text
from sed_lab.run.keep import BestWeights, validated
from sed_lab.run.record import processor_time
from sed_lab.waiting import EVERY, FIRST, time_in_words

SELDOM = 0.01  # of the time training takes so far: plain lines within an epoch come no closer than that


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


class TimeLeft(pl.Callback):
    """How long training will still take, validation included.

    Batches and validations take as long as those so far in this process; before the first validation, a batch of it as
    long as one of training. ``clock`` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = self.validating_since = self.clock()
        self.batches = self.validations = self.validated_here = 0
        self.validating = 0.0  # seconds, of all validations that ended
        data = trainer.datamodule if self._validations(trainer) else None  # type: ignore[attr-defined]
        loaders = data.val_dataloader() if data else []
        self.to_validate = sum(len(loader) for loader in loaders)  # batches; Lightning counts them at the first one

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validated_here = 0  # validations of this epoch

    def on_train_batch_end(self, *_: Any) -> None:
        self.batches += 1

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validating_since = self.clock()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validations, self.validated_here = self.validations + 1, self.validated_here + 1
        self.validating += self.clock() - self.validating_since

    def left(self, trainer: pl.Trainer) -> float | None:
        """Seconds; None before the first batch, and where no number of epochs is given."""
        per_epoch, epochs = trainer.num_training_batches, trainer.max_epochs
        if not self.batches or not epochs or epochs < 0 or math.isinf(per_epoch):
            return None
        running = self.clock() - self.validating_since if trainer.validating else 0.0
        a_batch = (self.clock() - self.began - self.validating - running) / self.batches
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready  # of this epoch
        batches = (epochs - trainer.current_epoch) * per_epoch - done
        a_validation = self.validating / self.validations if self.validations else a_batch * self.to_validate
        validations = self._validations(trainer) - self.validated_here
        return max(0.0, batches * a_batch + validations * a_validation - min(running, a_validation))

    def _validations(self, trainer: pl.Trainer) -> int:
        """How many there are from the beginning of this epoch on, as `keep.BestWeights` decides; without it none."""
        every = [one.every for one in trainer.callbacks if isinstance(one, BestWeights)]  # type: ignore[attr-defined]
        last = trainer.max_epochs or 0
        due = [n for n in range(trainer.current_epoch + 1, last + 1) if every and (n % every[0] == 0 or n == last)]
        between = trainer.val_check_batch
        return len(due) * (int(trainer.num_training_batches // between) if isinstance(between, int) else 1)


class Bars(RichProgressBar):
    """Lightning's bars with the loss and the time left of the whole training, without the logger's version, which
    pushed them off narrow terminals.
    """

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        shown = {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
        left = next((one.left(trainer) for one in trainer.callbacks if isinstance(one, TimeLeft)), None)  # type: ignore[attr-defined]
        at_most = "at most " if pl_module.stops_early else ""
        return shown if left is None else {"left in all": f"{at_most}{time_in_words(left)}", **shown}


class PlainProgress(TimeLeft):
    """One line an epoch: epoch, loss, rate, time left; of what takes long, such as testing, lines in between."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        # Where an epoch goes on, what is done of it took no time of this try.
        within = trainer.fit_loop.restarted_mid_epoch
        self.batches_before = trainer.fit_loop.epoch_loop.batch_progress.current.ready if within else 0
        self.epoch_started = self.first = self.said = self.clock()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self.epoch_started, self.batches_before = self.clock(), 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        super().on_train_batch_end()
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if done < trainer.num_training_batches:
            self._between(trainer, f"batch {done} of {trainer.num_training_batches}")

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        self._between(trainer, f"validation, batch {batch_idx + 1}")

    def _between(self, trainer: pl.Trainer, done: str) -> None:
        now = self.clock()
        if not trainer.is_global_zero or now - self.said < max(EVERY, SELDOM * (now - self.first)):
            return
        left, self.said = self.left(trainer), now
        if left is not None:
            words = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, {done}"
            print(f"{words}, {time_in_words(left)} left", flush=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self.said = now = self.clock()
        rate = (int(trainer.num_training_batches) - self.batches_before) / (now - self.epoch_started)
        logged = trainer.callback_metrics
        names = ("train/loss", "val/objective") if validated(trainer) else ("train/loss",)
        shown = [name for name in names if math.isfinite(logged.get(name, math.inf))]
        parts = [f"{name} {float(logged[name]):.4f}" for name in shown]
        at_most = "at most " if pl_module.stops_early else ""
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs or 0}  {'  '.join(parts)}  {rate:.2f} batches/s"
            f"  {at_most}{self.left(trainer) or 0:.0f} s left",
            flush=True,
        )

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.first, self.tested = self.clock(), 0
        self.said = self.first + FIRST - EVERY

    def on_test_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.tested, now, total = self.tested + 1, self.clock(), int(sum(trainer.num_test_batches))
        if trainer.is_global_zero and now - self.said >= EVERY:
            left = (now - self.first) / self.tested * (total - self.tested)
            print(f"testing, batch {self.tested} of {total}, {time_in_words(left)} left", flush=True)
            self.said = now


class History(pl.Callback):
    """Writes history.csv in the run's folder, one row an epoch, rewritten whole so that it is never half a row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.started, self.before = time.monotonic(), 0.0  # seconds of earlier tries
        self.used, self.used_before = processor_time(), 0.0  # the same of processor time

    def state_dict(self) -> dict[str, Any]:
        used = round(self.used_before + processor_time() - self.used, 3)
        return {"rows": self.rows, "seconds": self.seconds(), "processor_seconds": used}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]
        for row in self.rows:  # what a file holds may be anything
            row["seconds"] = float(row["seconds"])
        former = self.rows[-1]["seconds"] if self.rows else 0.0
        # A checkpoint of before there were some within epochs has no seconds, an older one no processor time.
        self.before = float(state_dict.get("seconds", former))
        self.used_before = float(state_dict.get("processor_seconds", self.before))

    def seconds(self) -> float:
        """How long training took so far, all tries."""
        return round(self.before + time.monotonic() - self.started, 3)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.callback_metrics.clear()  # else what an earlier epoch logged would stand in this one's row

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        row: dict[str, Any] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        row["seconds"] = self.seconds()
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
