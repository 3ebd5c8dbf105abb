"""What every method is to the trainer: predictions with names, an optimiser, reproducible random numbers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from sed_lab.errors import InputError
from sed_lab.feature.standard_mel import StandardLogMel
from sed_lab.types import Batch


@dataclass(frozen=True)
class Prediction:
    """Probabilities of one system: ``frame [B, T, C]`` and/or ``clip [B, C]``."""

    frame: torch.Tensor | None = None
    clip: torch.Tensor | None = None


class SedMethod(pl.LightningModule):
    """One paper's training: subclasses add ``training_step`` and :meth:`predict`.

    Nothing here measures: evaluation steps return :meth:`predict`'s result and the evaluation callback collects it.

    Args:
        optimizer: makes the optimiser from the parameters that need gradients.
        seed: of the random numbers drawn while training.
    """

    outputs: tuple[str, ...] = ("model",)
    """Names of the systems :meth:`predict` gives, the one to report first."""

    clips_only = False
    """Whether :meth:`predict` gives no frames."""

    stops_early = False
    """Whether training may end before the trainer's last epoch."""

    training_only: tuple[str, ...] = ()
    """Names of the modules that :meth:`predict` does not use."""

    validation_losses: tuple[str, ...] = ()
    """Names given to :meth:`add_validation_loss`; fixed, so that a rank without clips still takes part in the sum."""

    def __init__(self, optimizer: Callable[..., torch.optim.Optimizer], seed: int = 0) -> None:
        super().__init__()
        self.make_optimizer, self.seed = optimizer, seed
        self._validation_sums = torch.zeros(len(self.validation_losses), 2)
        self.validation_loss: dict[str, float] = {}  # means over the last validation's clips, of all ranks

    @abstractmethod
    def predict(self, batch: Batch) -> dict[str, Prediction]:
        """Probabilities of every system in :attr:`outputs`."""

    def detector_state(self) -> dict[str, torch.Tensor]:
        """The state without modules that only training needs."""
        own = tuple(f"{name}." for name in self.training_only)
        return {name: value for name, value in self.state_dict().items() if not name.startswith(own)}

    def load_detector_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take what :meth:`detector_state` gave, and drop the modules that only training needs."""
        for name in self.training_only:
            setattr(self, name, None)
        self.load_state_dict(state)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout, mixup and the like must not depend on how many numbers were drawn before: seeded by step, a resumed
        # run draws what an uninterrupted one does, without random states in checkpoints. Ranks draw differently.
        step = self.trainer.fit_loop.epoch_loop.total_batch_idx
        state = np.random.SeedSequence([self.seed, step, self.global_rank]).generate_state(2)
        torch.manual_seed(int(state[0]) << 32 | int(state[1]))

    def add_validation_loss(self, name: str, mean: torch.Tensor, clips: torch.Tensor) -> None:
        """Count a batch's ``mean`` loss over so many ``clips`` towards ``val/<name>``."""
        mean = torch.where(clips > 0, mean, 0)
        self._validation_sums[self.validation_losses.index(name)] += torch.stack([mean * clips, clips]).float()

    def on_validation_epoch_start(self) -> None:
        self._validation_sums = torch.zeros(len(self.validation_losses), 2, device=self.device)

    def on_validation_epoch_end(self) -> None:
        sums = self.trainer.strategy.reduce(self._validation_sums, reduce_op="sum")
        named = zip(self.validation_losses, sums.tolist(), strict=True)
        self.validation_loss = {name: total / clips for name, (total, clips) in named if clips > 0}
        for name, mean in self.validation_loss.items():
            self.log(f"val/{name}", mean, sync_dist=True)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Prediction]:
        return self.predict(batch)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Prediction]:
        return self.predict(batch)

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Prediction]:
        return self.predict(batch)

    @property
    def data(self) -> Any:
        """The trainer's `sed_lab.clip.module.SedData`."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def refuse_all_but_weak(self) -> None:
        """For methods that train on weak clips alone.

        Raises:
            InputError: the batches hold clips of another subset.
        """
        asked = [name for name, clips in self.data.clips.items() if clips and name != "weak"]
        if asked:
            raise InputError(f"this method trains on weak clips alone; set batch.clips.{asked[0]}=0")

    def fit_feature(self, feature: StandardLogMel, subset: str) -> None:
        """Take the front end's statistics from a subset's audio, in the first process, for all."""
        if self.trainer.is_global_zero:
            hop = self.data.loader.frame_hop
            batches = self.data.every_clip(subset)
            feature.fit((audio_of(batch).to(self.device), batch.valid_frames * hop) for batch in batches)
        feature.load_state_dict(self.from_first(feature.state_dict()))

    def from_first(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The first process's tensors, on the CPU, in every process."""
        mine = {name: tensor.cpu() for name, tensor in tensors.items()}
        return dict(self.trainer.strategy.broadcast(mine))

    def configure_optimizers(self) -> Any:
        return self.make_optimizer([p for p in self.parameters() if p.requires_grad])


def audio_of(batch: Batch) -> torch.Tensor:
    """``audio [B, N]`` of the batch.

    Raises:
        InputError: the dataset gives something else.
    """
    if batch.audio is None:
        raise InputError("this method works on audio, but the dataset gives none; choose another dataset or method")
    return batch.audio
