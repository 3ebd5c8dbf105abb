"""Training in phases: what is trained changes, and a phase may end when the validation loss stops falling.

The progress in the schedule is kept in checkpoints, so that a run goes on where its last checkpoint was written.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sed_lab.errors import InputError
from sed_lab.method.base import MakeOptimizer, Parts, SedMethod


@dataclass(frozen=True)
class Phase:
    """A stretch of the schedule: what it trains (a name for the method), for how many epochs at most.

    With ``patience`` it has a detector to validate, and ends when the validation loss has not fallen for more than so
    many epochs.
    """

    trains: str
    epochs: int
    patience: int | None = None


class PhasedMethod(SedMethod):
    """A method whose ``network`` is trained phase by phase of its ``schedule``.

    Subclasses set both, say in :meth:`trained` what a phase changes, and add the validation loss ``loss`` in phases
    with patience. The checkpoint kept as the best is that of the last phase's lowest validation loss.
    """

    validation_losses = ("loss",)
    stops_early = True
    rests = True  # what is frozen
    network: nn.Module
    schedule: Sequence[Phase]

    def __init__(self, parts: Parts, optimizer: MakeOptimizer) -> None:
        super().__init__(parts, optimizer)
        self.progress: dict[str, Any] = {"phase": 0, "epoch": 0, "best_epoch": 0, "best_loss": math.inf}

    @abstractmethod
    def trained(self, phase: Phase) -> Sequence[nn.Module]:
        """The parts of the network that the phase changes; the others are in evaluation mode."""

    @property
    def phase(self) -> Phase:
        """The stretch of the schedule that is going on; the last one when all is done."""
        return self.schedule[min(self.progress["phase"], len(self.schedule) - 1)]

    @property
    def finished(self) -> bool:
        """Whether the last phase is over."""
        return bool(self.progress["phase"] == len(self.schedule))

    def reads_clips(self, phase: Phase) -> bool:
        """Whether training steps of the phase need more of a clip than its labels and its number."""
        return True

    def begin_phase(self) -> None:
        """Called before a phase's first epoch: the optimiser begins anew."""
        for optimizer in self.trainer.optimizers:
            optimizer.state.clear()

    def keep_best(self) -> None:
        """Called when the validation loss has fallen below all before in this phase."""

    def end_phase(self) -> None:
        """Called after a phase's last epoch."""

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        trained = {id(p) for module in self.trained(self.phase) for p in module.parameters()}
        for p in self.network.parameters():
            if id(p) not in trained:
                p.grad = None  # not zero: Adam would move it by its momentum

    def on_fit_start(self) -> None:
        super().on_fit_start()
        epochs = sum(phase.epochs for phase in self.schedule)
        if self.trainer.max_epochs != -1 and (self.trainer.max_epochs or 0) < epochs:
            raise InputError(
                f"trainer.max_epochs={self.trainer.max_epochs} would end a schedule of up to {epochs} epochs too early;"
                f" set trainer.max_epochs={epochs}"
            )
        if self.trainer.check_val_every_n_epoch != 1:
            raise InputError("this method goes by its validation loss; set trainer.check_val_every_n_epoch=1")
        self._validation_batches = self.trainer.limit_val_batches
        self._load_what_is_needed()
        self.trainer.fit_loop.max_epochs = epochs  # for those who tell how far it is
        self.trainer.should_stop = self.finished  # killed after its last epoch, resumed

    def on_train_epoch_start(self) -> None:
        if self.progress["epoch"] == 0:
            self.begin_phase()
        self._set_modes()

    def on_train_start(self) -> None:
        self._set_modes()  # where an epoch goes on, none is started

    def _set_modes(self) -> None:
        self.network.eval()
        for module in self.trained(self.phase):
            module.train()

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        loss = self.validation_loss.get("loss", math.inf)
        if self.phase.patience is not None and loss < self.progress["best_loss"]:
            self.progress |= {"best_loss": loss, "best_epoch": self.progress["epoch"] + 1}
            self.keep_best()
        last = self.progress["phase"] == len(self.schedule) - 1
        self.log("val/objective", -loss if last else -math.inf, sync_dist=True)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if self.phase.patience is None:  # there was no validation
            self.log("val/objective", -math.inf)
        self.progress["epoch"] += 1
        waited = self.progress["epoch"] - self.progress["best_epoch"]
        patience = math.inf if self.phase.patience is None else self.phase.patience
        if self.progress["epoch"] >= self.phase.epochs or waited > patience:
            self.end_phase()
            self.progress = {"phase": self.progress["phase"] + 1, "epoch": 0, "best_epoch": 0, "best_loss": math.inf}
            self.trainer.should_stop = self.finished
            self._load_what_is_needed()

    def _load_what_is_needed(self) -> None:
        """Validate where there is a detector, and decode training clips where a step looks at them."""
        self.trainer.limit_val_batches = 0 if self.phase.patience is None else self._validation_batches
        self.data.load_training_clips(self.reads_clips(self.phase))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["progress"] = self.progress

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.progress = checkpoint["progress"]
