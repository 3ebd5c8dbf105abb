"""A moving average of a method's weights: what is validated, kept, tested and predicts is the average."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor


class MovingAverage(WeightAveraging):
    """After step n, counted from 1, ``average = d * average + (1 - d) * weights`` with ``d = min(decay, 1 - 1 / n)``.

    So it begins as the mean of all steps (Tarvainen & Valpola 2017, their code). Training is as without it; validation
    sees the average, and checkpoints hold it as the method's state, beside the weights with which training goes on.
    Means and variances of batch normalisation are averaged likewise, whole numbers are taken as they are.

    Lightning's own classes of this kind are not used as they are: what is tested after training in the same process
    gets the checkpoint's other weights there, and what never changes drifts by rounding.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(avg_fn=partial(_towards, decay))

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == TrainerFn.FITTING:  # else the method has what it is to have: the average
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


def _towards(decay: float, average: Tensor, current: Tensor, averaged: Tensor | int) -> Tensor:
    """The average of one more step, after so many ``averaged``."""
    if not average.is_floating_point():
        return current
    return average.lerp(current, max(1 - decay, 1 / (int(averaged) + 1)))
