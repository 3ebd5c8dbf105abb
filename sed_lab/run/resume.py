"""Checkpoints within long epochs, and training that goes on from one as if nothing had happened.

What a step draws follows from its number, what an epoch reads from the epoch's (`SedMethod.on_train_batch_start`,
`CompositionSampler`). So beside what Lightning keeps, only two things are needed: at which batch the epoch goes on, and
the sums of what it has logged so far.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from sed_lab.errors import InputError

KEPT = "within_epoch"  # the key of a checkpoint that was written within an epoch


class Resuming(pl.callbacks.Checkpoint):
    """Lets training go on from any checkpoint, and writes ``path`` within epochs: whenever ``minutes`` have gone by
    without a checkpoint, after an optimiser step; None: never.

    Sums are those of the first process, which writes the history.

    Attributes:
        restoring: whether what fails now fails by what a checkpoint holds: it is being restored, or the optimiser and
            the schedule of its rate take their first step with it.
    """

    def __init__(self, path: Path, minutes: float | None) -> None:
        self.path, self.minutes = path, minutes
        self.written = time.monotonic()
        self.restoring, self._stepped = True, False
        self._logged: list[dict[str, Any]] = []  # before this process, not yet added to what it logs
        self._states: tuple[int, int] | None = None  # that a checkpoint holds

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on where a checkpoint was written.

        Raises:
            InputError: it was written within an epoch whose batches came in another number of passes.
        """
        epoch, batches = _place(checkpoint)
        trainer.datamodule.go_on_at(epoch, batches)  # type: ignore[attr-defined]
        kept = checkpoint.get(KEPT) or {"passes": trainer.accumulate_grad_batches, "logged": []}
        if kept["passes"] != trainer.accumulate_grad_batches:
            raise InputError(
                f"{self.path} was written within an epoch, of batches in {kept['passes']} passes, not"
                f" {trainer.accumulate_grad_batches}; go on with as many devices and batch.max_clips_per_device as"
                " before, or with rerun=true"
            )
        self._logged = kept["logged"]
        self._states = len(checkpoint["optimizer_states"]), len(checkpoint["lr_schedulers"])

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if _place(checkpoint)[1]:
            checkpoint[KEPT] = {"passes": trainer.accumulate_grad_batches, "logged": _logged(trainer)}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        there = len(trainer.optimizers), len(trainer.lr_scheduler_configs)
        if self._states not in (None, there):  # Lightning would leave out what is not there
            raise ValueError(f"states of {self._states} optimisers and schedules, not of {there}")
        self.written, self.restoring = time.monotonic(), False

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.restoring, self._stepped = not self._stepped, True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # As the last of all callbacks, when whatever may end training here has.
        self.restoring = self.restoring or bool(self._logged)
        for one in self._logged:
            _add(trainer, **one)
        self._logged, self.restoring = [], False
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0  # of a global batch
        if (
            whole
            and not trainer.should_stop
            and not trainer.fit_loop.epoch_loop._is_training_done
            and self._due(trainer)
        ):
            trainer.save_checkpoint(self.path, weights_only=False)
            self.written = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.written = time.monotonic()  # by the checkpoint of the epoch's end

    def _due(self, trainer: pl.Trainer) -> bool:
        """Whether the first process says so: all write together."""
        if self.minutes is None:
            return False
        return bool(trainer.strategy.broadcast(time.monotonic() - self.written >= 60 * self.minutes))


def _place(checkpoint: Mapping[str, Any]) -> tuple[int, int]:
    """The epoch with which training goes on, and how many of its batches are done."""
    loops = checkpoint["loops"]["fit_loop"]
    epoch = loops["epoch_progress"]["current"]
    within = epoch["started"] > epoch["processed"]
    return epoch["processed"], loops["epoch_loop.batch_progress"]["current"]["processed"] if within else 0


def _logged(trainer: pl.Trainer) -> list[dict[str, Any]]:
    """The sums of what is logged as a mean over the epoch."""
    return [
        {"fx": one.meta.fx, "name": one.meta.name, "total": one.value.cpu(), "clips": one.cumulated_batch_size.cpu()}
        for one in trainer.fit_loop.epoch_loop._results.values()
        if one.meta.on_epoch and not one.meta.on_step and one.meta.is_mean_reduction and not one.has_reset
    ]


def _add(trainer: pl.Trainer, fx: str, name: str, total: torch.Tensor, clips: torch.Tensor) -> None:
    """Add earlier sums to those of the first batch since: in whichever order two are added, the sum is the same."""
    results = trainer.fit_loop.epoch_loop._results
    if f"{fx}.{name}" not in results:  # it is logged now and then; here as `SedMethod.note` will
        results.log(fx, name, torch.zeros_like(total), batch_size=0, sync_dist_fn=trainer.strategy.reduce)
    one = results[f"{fx}.{name}"]
    one.value = one.value + total.reshape(()).to(one.value.device)
    one.cumulated_batch_size = one.cumulated_batch_size + clips.reshape(()).to(one.value.device)
