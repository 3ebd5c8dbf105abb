"""Rare events by chunks of frames, sliding ensembles and timestep ensembles: Amiriparian et al., DAGA 2018.

Each event class has detectors of its own, one for each number of timesteps tau; all are trained side by side here, but
share nothing. Their steps, with the paper's sections::

    C_i     = S[i : i + tau]                      chunks of the normalised log mel S [T, M]                  (2.1)
    q_ij    in [0, 1]                             probability of frame j of chunk i, by a network            (2.2-2.4)
    p_n     = mean of q_ij over i + j = n         sliding ensemble: chunks at every frame                    (2.5)
    p       = mean of p over the class's taus     timestep ensemble                                          (table 2)
    present : max_n p_n > th1, onset: the first frame with p > th2 in a stretch before the peak              (2.5)

The last line is `sed_lab.decoder.onset.OnsetDecoder`. At a clip's ends a frame is in fewer than tau chunks and is
divided by their true number. Not stated, and here: chunks for training do not overlap and begin at a random frame each
time; the loss is binary cross-entropy over frames; a detector is kept at its lowest validation loss and stops by
itself, after at least ``min_epochs``, when that has not fallen for ``patience`` epochs (table 3); the rate is lr / (1 +
decay epoch).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sed_lab.errors import InputError
from sed_lab.method.base import LossTerm, MakeOptimizer, Parts, Prediction, SedMethod
from sed_lab.model.chunk_net import ChunkNet, chunk_counts
from sed_lab.types import Batch, Input

WHOLE = 0  # timesteps of a network that takes whole clips


class Member(NamedTuple):
    """One detector: of class number ``label``, with ``timesteps`` frames a chunk."""

    label: int
    timesteps: int


def cut(x: Tensor, timesteps: int, first: int = 0) -> Tensor:
    """Chunks ``[B K, tau, ...]`` of ``x [B, T, ...]``, one after the other from ``first`` on; a rest is left out."""
    if timesteps == WHOLE:
        return x
    number = (x.shape[1] - first) // timesteps
    return x[:, first : first + number * timesteps].reshape(-1, timesteps, *x.shape[2:])


def sliding_ensemble(network: nn.Module, x: Tensor, timesteps: int) -> Tensor:
    """p ``[T]`` of a clip ``x [T, M]``: the mean over all chunks a frame is in (2.5)."""
    if timesteps == WHOLE or not isinstance(network, ChunkNet):
        return torch.sigmoid(network(x[None])[0])
    timesteps = min(timesteps, len(x))
    return network.sliding(x, timesteps) / chunk_counts(len(x), timesteps).to(x)


def chunk_by_chunk(network: nn.Module, x: Tensor, timesteps: int) -> Tensor:
    """``[T]`` of a clip ``x [T, M]`` from chunks that do not overlap, but for a last one that ends with the clip."""
    if timesteps == WHOLE:
        return torch.sigmoid(network(x[None])[0])
    timesteps = min(timesteps, len(x))
    q = network(cut(x[None], timesteps)).sigmoid().flatten()
    rest = len(x) - len(q)
    return torch.cat([q, network(x[None, -timesteps:])[0, timesteps - rest :].sigmoid()]) if rest else q


class RareEnsemble(SedMethod):
    """Detectors of every class, side by side; the network is built anew for each, and the loss is that of frames.

    Args:
        parts, optimizer: of the method; the front end's statistics are those of the training clips.
        timesteps: taus by event label (table 2), of more classes than the corpus has where wanted; 0: whole clips.
        rate_decay: of the learning rate, an epoch.
        min_epochs, patience: when a detector stops.
        members: also score each tau by itself (systems ``t3``, ...) and the ensemble of chunks that do not overlap
            (``chunks``).

    Raises:
        InputError: ``timesteps`` lacks a class of the corpus, or has a number below 0.
    """

    systems: tuple[str, ...] = ("ensemble", "chunks", "t3", "t5", "t9", "t50")
    takes = "a chunk's posterior"
    trains_on = ("synthetic",)
    takes_features = True
    objective = ("validation/loss",)
    stops_early = True
    rests = True  # the networks of classes that a batch does not hold
    training_only = ("networks",)

    def __init__(
        self,
        parts: Parts,
        optimizer: MakeOptimizer,
        timesteps: Mapping[str, Sequence[int]],
        rate_decay: float,
        min_epochs: int,
        patience: int,
        members: bool,
    ) -> None:
        classes = parts.classes
        if any(not timesteps.get(label) or min(timesteps[label]) < WHOLE for label in classes):
            raise InputError(
                f"method.timesteps={dict(timesteps)} needs a list of frame numbers for each of {', '.join(classes)}"
            )
        self.members = {
            f"{number}_t{tau}": Member(number, tau) for number, label in enumerate(classes) for tau in timesteps[label]
        }
        self.validation_losses = tuple(self.members)
        super().__init__(parts, optimizer)
        self.rate_decay, self.min_epochs, self.patience = rate_decay, min_epochs, patience
        self.networks = nn.ModuleDict({name: copy.deepcopy(parts.model) for name in self.members})
        for module in self.networks.modules():
            if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear, nn.LSTM)):
                module.reset_parameters()
        self.best = copy.deepcopy(self.networks).requires_grad_(False)
        taus_used = sorted({member.timesteps for member in self.members.values()} - {WHOLE})
        self.systems = ("ensemble", *(["chunks", *(f"t{tau}" for tau in taus_used)] if members else []))
        self.progress: dict[str, dict[str, float]] = {
            name: {"loss": math.inf, "epoch": 0, "stopped": 0} for name in self.members
        }

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        x = self.features(batch)
        draws = self.common_draws()
        terms = {}
        for name, member in self.members.items():
            first = int(torch.randint(max(1, member.timesteps), (), generator=draws))  # alike wherever a clip is
            rows = self._rows(batch, member)
            if self.progress[name]["stopped"] or not rows.any():
                continue
            chunks = cut(x[rows], member.timesteps, first)
            target = cut(batch.strong[rows, :, member.label], member.timesteps, first)
            loss = self.loss(self.networks[name](chunks)[..., None], target[..., None])
            terms[name] = LossTerm(loss, "strong", of_class=member.label)
        return terms

    def _rows(self, batch: Batch, member: Member) -> Tensor:
        """Which clips are labelled for the member's class, ``[B]``."""
        return batch.has_strong if batch.annotated is None else batch.has_strong & batch.annotated[:, member.label]

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Prediction]:
        x = self.features(batch)
        for name, member in self.members.items():
            rows = self._rows(batch, member)
            chunks, target = cut(x[rows], member.timesteps), cut(batch.strong[rows, :, member.label], member.timesteps)
            mean = self.loss(self.networks[name](chunks)[..., None], target[..., None])
            self.add_validation_loss(name, mean, rows.sum())
        return {}

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        for name, loss in self.validation_loss.items():
            progress = self.progress[name]
            if not progress["stopped"] and loss < progress["loss"]:
                progress |= {"loss": loss, "epoch": self.current_epoch}
                self.best[name].load_state_dict(self.networks[name].state_dict())
            waited = self.current_epoch - progress["epoch"]
            progress["stopped"] = float(self.current_epoch + 1 >= self.min_epochs and waited >= self.patience)
        self.trainer.should_stop = all(progress["stopped"] for progress in self.progress.values())
        self.log("val/objective", -sum(progress["loss"] for progress in self.progress.values()), sync_dist=True)

    def predict(self, x: Input) -> dict[str, Prediction]:
        annotated, feature = x.annotated, self.features(x)
        shape = (len(feature), feature.shape[1], len(self.classes))
        frame = {system: feature.new_zeros(shape) for system in self.systems}
        number = [sum(member.label == label for member in self.members.values()) for label in range(shape[2])]
        for name, member in self.members.items():
            rows = range(len(feature)) if annotated is None else annotated[:, member.label].nonzero().flatten()
            share = 1 / number[member.label]
            for row in map(int, rows):
                p = sliding_ensemble(self.best[name], feature[row], member.timesteps)
                frame["ensemble"][row, :, member.label] += share * p
                if "chunks" in frame:
                    frame["chunks"][row, :, member.label] += share * chunk_by_chunk(
                        self.best[name], feature[row], member.timesteps
                    )
                if (alone := f"t{member.timesteps}") in frame:
                    frame[alone][row, :, member.label] = p
        return {system: Prediction(values, values.amax(1)) for system, values in frame.items()}

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.trainer.check_val_every_n_epoch != 1:
            raise InputError("this method goes by its validation loss; set trainer.check_val_every_n_epoch=1")
        # Killed at its end, resumed.
        self.trainer.should_stop = all(progress["stopped"] for progress in self.progress.values())

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 / (1 + self.rate_decay * n))]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["progress"] = self.progress

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.progress = checkpoint["progress"]
