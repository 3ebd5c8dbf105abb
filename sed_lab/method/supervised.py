"""Plain supervised training on frame labels: what a method of a paper has to beat, and what `sed-train` does by itself.

The loss is that of the frames of strongly labelled clips and of the clip scores of all labelled ones. Clips are turned
around in time and filtered at random; the rate rises over the first steps and falls as a cosine. docs/default.md says
what each part is worth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.feature.augment import random_filter, roll_in_time
from sed_lab.method.base import LossTerm, MakeOptimizer, Parts, Prediction, SedMethod
from sed_lab.types import Batch, Input, at_least_float32


class Supervised(SedMethod):
    """Strong labels of frames, weak labels of clips, augmentation and a cosine schedule.

    The network gives frame logits ``[B, T, C]`` and clip logits ``[B, C]``; the loss is used for both.

    Args:
        parts: of the method; ``optimizer``: its learning rate is the schedule's highest.
        augment: ``roll``, whether clips are turned around in time; ``filter_db``, the limits of a random frequency
            response with ``filter_points`` points, 0 for none.
        clip_weight: of the clip loss, beside the frame loss: of strongly labelled clips, and as much of weakly labelled
            ones, however few there are.
        warmup_share: part of all steps in which the rate rises.
        finer_scores: predict at the feature's own rate (`shifted`) where the network pools time.

    Raises:
        InputError: a value is out of range.
    """

    trains_on = ("synthetic", "weak")
    objective = ("synthetic_validation/model/intersection_f1",)
    validation_losses = ("loss_strong",)
    takes_features = True

    def __init__(
        self,
        parts: Parts,
        optimizer: MakeOptimizer,
        augment: Mapping[str, Any],
        clip_weight: float,
        warmup_share: float,
        finer_scores: bool,
    ) -> None:
        super().__init__(parts, optimizer)
        self.network = parts.model
        self.finer = int(parts.model.time_pooling) if finer_scores else 1
        self.augment = {name: float(value) for name, value in augment.items()}
        self.clip_weight, self.warmup_share = clip_weight, warmup_share
        _check(self.augment, clip_weight, warmup_share)

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        mel, strong = self._augmented(batch)
        frame, clip = self.network(self.feature.scale(mel))
        w = self.class_weight
        terms = {"loss_strong": LossTerm(self.loss(frame, strong, class_weight=w, mask=batch.has_strong), "strong")}
        if self.clip_weight:
            of_strong = self.loss(clip, strong.amax(1), class_weight=w, mask=batch.has_strong)
            of_weak = self.loss(clip, batch.weak, class_weight=w, mask=batch.has_weak)
            terms["loss_clip"] = LossTerm(of_strong, "strong", self.clip_weight)
            terms["loss_weak"] = LossTerm(of_weak, "weak", self.clip_weight)
        self.note("lr", self.trainer.optimizers[0].param_groups[0]["lr"], batch)
        return terms

    def _augmented(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Linear mel ``[B, F, M]`` and frame labels ``[B, T, C]``."""
        mel, strong, given = self.mel(batch), batch.strong, self.augment
        if given["roll"]:
            mel, strong = roll_in_time(mel, strong)
        bands = getattr(self.feature, "n_mels", mel.shape[2])  # what a pretrained encoder gives stands behind them
        if given["filter_db"] and bands:
            power = getattr(self.feature, "power", 2.0)
            filtered = random_filter(mel[..., :bands], given["filter_db"], int(given["filter_points"]), power)
            mel = torch.cat([filtered, mel[..., bands:]], 2)
        return mel, strong

    def predict(self, x: Input) -> dict[str, Prediction]:
        return {"model": Prediction(*shifted(self.network, self.features(x), self.finer))}

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Prediction]:
        frame, clip = self.network(self.features(batch))
        mean = self.loss(frame, batch.strong, class_weight=self.class_weight, mask=batch.has_strong)
        self.add_validation_loss("loss_strong", mean, batch.has_strong.sum())
        return _probabilities(frame, clip)

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise InputError("trainer.max_epochs=-1: the rate falls until the last epoch, so say how many there are")
        warm = max(1, round(self.warmup_share * steps))

        def rate(done: int) -> float:
            if done < warm:
                return (done + 1) / warm
            return (1 + math.cos(math.pi * (done - warm) / max(1, steps - warm))) / 2

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def shifted(network: nn.Module, feature: Tensor, pooling: int) -> tuple[Tensor, Tensor]:
    """Frame probabilities ``[B, T * pooling, C]`` and clip probabilities ``[B, C]`` of ``feature [B, F, M]``.

    A network that pools ``pooling`` frames into one of its T gives a probability that covers as many. It is applied to
    the feature moved by 0, 1, ... ``pooling`` - 1 frames, and each of the feature's frames takes the mean of all that
    cover it (shift and stitch; Sermanet et al., "OverFeat", ICLR 2014, section 3.3). What lies behind the end repeats
    the last frame.
    """
    frames, clips = [], []
    for by in range(pooling):
        moved = torch.cat([feature[:, by:], feature[:, -1:].expand(-1, by, -1)], 1) if by else feature
        frame, clip = (at_least_float32(one).sigmoid() for one in network(moved))
        fine = frame.repeat_interleave(pooling, 1)
        frames.append(F.pad(fine[:, : fine.shape[1] - by], (0, 0, by, 0)))
        clips.append(clip)
    passes = (torch.arange(frames[0].shape[1], device=feature.device) + 1).clamp(max=pooling)  # that cover a frame
    return torch.stack(frames).sum(0) / passes[:, None], torch.stack(clips).mean(0)


def _probabilities(frame: Tensor, clip: Tensor) -> dict[str, Prediction]:
    return {"model": Prediction(at_least_float32(frame).sigmoid(), at_least_float32(clip).sigmoid())}


def _check(augment: Mapping[str, float], clip_weight: float, warmup_share: float) -> None:
    if augment["filter_db"] < 0:
        raise InputError(f"method.augment.filter_db={augment['filter_db']:g}: decibels are at least 0")
    if augment["filter_db"] and augment["filter_points"] < 2:
        raise InputError(f"method.augment.filter_points={augment['filter_points']:g}: a response has at least 2 points")
    if not (clip_weight >= 0 and 0 <= warmup_share < 1):
        raise InputError(f"method.clip_weight={clip_weight}, warmup_share={warmup_share}; use at least 0, and 0..1")
