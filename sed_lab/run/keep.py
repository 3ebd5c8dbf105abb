"""Which epochs are validated, whose weights a run keeps, and how Lightning is to write them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from sed_lab.run.checkpoint import read_checkpoint, write_checkpoint

if TYPE_CHECKING:
    from sed_lab.method.base import SedMethod


def validated(trainer: pl.Trainer) -> bool:
    """Whether the epoch that is going on has a validation, as `BestWeights` decides."""
    every = trainer.check_val_every_n_epoch
    return bool(every and (trainer.current_epoch + 1) % every == 0)


class BestWeights(ModelCheckpoint):
    """Keeps the checkpoint of the validated epoch with the highest ``val/objective``.

    Validated is every so many epochs, and the last one however training ends: its weights may be the best.
    """

    def __init__(self, dirpath: Path, every: int) -> None:
        super().__init__(
            dirpath, "best", monitor="val/objective", mode="max", save_on_train_epoch_end=True,
            enable_version_counter=False,
        )  # fmt: skip
        self.every = every

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best score; its file is the one beside, wherever the run's folder lies by now."""
        score, path = state_dict["best_model_score"], str(Path(str(self.dirpath)) / "best.ckpt")
        if score is None:
            return
        score = torch.as_tensor(score).reshape(())  # what a file holds may be anything
        self.best_model_score = self.kth_value = self.current_score = score
        self.best_model_path = self.kth_best_model_path = path
        self.best_k_models = {path: score}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # is not called where an epoch goes on

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        last = trainer.current_epoch + 1 == trainer.max_epochs
        trainer.check_val_every_n_epoch = 1 if last else self.every

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Checkpoints come after all other callbacks, so that whatever ends training here, such as a limit of time, has.
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.should_stop or 0 < trainer.max_steps <= trainer.global_step:
            trainer.check_val_every_n_epoch = 1
            trainer.should_stop = True  # without it the last of so many steps would not be followed by a validation

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if validated(trainer):
            super().on_train_epoch_end(trainer, pl_module)


def best_epoch(checkpoint: Path) -> int:
    """The epoch, counted from 1, at whose end a checkpoint was written."""
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["epoch"]) + 1


def save_detector(method: SedMethod, folder: Path) -> str:
    """Write detector.ckpt: the weights that predict, without what only training needs; its SHA-256."""
    encoder = getattr(method.feature, "description", None)  # of a pretrained one: what makes it again
    return write_checkpoint({"state_dict": method.detector_state(), "encoder": encoder}, folder / "detector.ckpt")


class WholeCheckpoints(TorchCheckpointIO):
    """How Lightning is to write and read checkpoints: by `sed_lab.run.checkpoint`, and never code.

    Its own way writes to the folder for temporary files and moves from there, which on another file system is a copy
    that can be interrupted.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Nothing: both files are only ever replaced, and the path comes from a checkpoint, which may be anybody's."""
