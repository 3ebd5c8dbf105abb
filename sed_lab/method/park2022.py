"""Mean teacher with a class-weighted loss: Park & Elhilali 2022 on the DCASE 2021 task 4 baseline.

The paper replaces the baseline's binary cross-entropy by a time-balanced focal loss and changes nothing else, so this
file is the baseline, exactly, and the loss is an argument. Equation numbers are the paper's::

    L      = L_cls + lambda(s) L_reg                                                       (5)
    L_cls  = loss_{x in S}(p_x, y^s) + loss_{x in W}(E_m[p_x], y^w)
    L_reg  = MSE(p, p_teacher) on all clips, of frames and (in the baseline's code) of clips as well
    lambda = consistency_max exp(-5 (1 - min(s, S) / S)^2), s = 1, 2, ... optimizer steps, S = rampup_epochs
    lr     = the same ramp times the optimiser's rate
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.feature.mixup import mixup
from sed_lab.method.base import LossTerm, MakeOptimizer, Parts, Prediction, SedMethod
from sed_lab.types import Batch, Input, Part, at_least_float32


class MeanTeacher(SedMethod):
    """The DCASE 2021 task 4 baseline with any frame loss.

    The network gives frame logits ``[B, T, C]`` and clip logits ``[B, C]``; the teacher is a copy. The loss is used for
    strong and for weak labels, and mixup works on the front end's linear mel.

    Args:
        parts: of the method; ``optimizer``: its learning rate is the ramp's upper end.
        mixup: ``probability`` per batch, ``alpha`` of Beta(alpha, alpha), ``labels`` soft or hard.
        consistency_max: the consistency weight after its ramp.
        rampup_epochs: length of both ramps; 0 for none.
        ema_decay: largest decay of the teacher's moving average.
        teacher_train_mode: the baseline's teacher trains with dropout and batch statistics; False uses its evaluation
            mode.
        first_step_full_rate: the baseline's first update runs at the full rate, since its schedule starts after it.

    Raises:
        InputError: a value is out of range.
    """

    systems = ("student", "teacher")
    validation_losses = ("student/loss_strong", "student/loss_weak", "teacher/loss_strong", "teacher/loss_weak")
    depends_on_parts = True  # mixup finds its partners within a part
    takes_features = True

    def __init__(
        self,
        parts: Parts,
        optimizer: MakeOptimizer,
        mixup: Mapping[str, Any],
        consistency_max: float,
        rampup_epochs: float,
        ema_decay: float,
        teacher_train_mode: bool,
        first_step_full_rate: bool,
    ) -> None:
        super().__init__(parts, optimizer)
        self.student = parts.model
        self.teacher = copy.deepcopy(parts.model).requires_grad_(False)
        self.mixup_probability, self.mixup_alpha, self.mixup_labels = _check_mixup(mixup)
        self._rampup_steps = 0.0
        self.consistency_max, self.rampup_epochs, self.ema_decay = consistency_max, rampup_epochs, ema_decay
        self.teacher_train_mode, self.first_step_full_rate = teacher_train_mode, first_step_full_rate

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        x, strong, weak = self._mixed(batch)
        x = self.feature.scale(x)
        with torch.no_grad():  # the same input: teacher and student differ by dropout alone
            teacher_frame, teacher_clip = self.teacher(x)
        frame, clip = self.student(x)  # last, so that what backward needs is not kept during the teacher's pass
        w = self.class_weight
        terms = {  # (5)
            "loss_strong": LossTerm(self.loss(frame, strong, class_weight=w, mask=batch.has_strong), "strong"),  # S
            "loss_weak": LossTerm(self.loss(clip, weak, class_weight=w, mask=batch.has_weak), "weak"),  # W
        }
        consistency_strong = _probability_mse(frame, teacher_frame)
        consistency_weak = _probability_mse(clip, teacher_clip)  # the code's second term
        weight = self.consistency_max * self._ramp(self._step())  # lambda(s)
        terms["consistency"] = LossTerm(consistency_strong + consistency_weak, "all", weight)  # L_reg
        self.note("consistency_strong", consistency_strong, batch)
        self.note("consistency_weak", consistency_weak, batch)
        self.note("consistency_weight", weight, batch)
        self.note("lr", self.trainer.optimizers[0].param_groups[0]["lr"], batch)
        return terms

    def predict(self, x: Input) -> dict[str, Prediction]:
        return _probabilities(self._logits(x))

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Prediction]:
        logits = self._logits(batch)
        for system, (frame, clip) in logits.items():
            for kind, output, target, mask in (
                ("strong", frame, batch.strong, batch.has_strong),
                ("weak", clip, batch.weak, batch.has_weak),
            ):
                mean = self.loss(output, target, class_weight=self.class_weight, mask=mask)
                self.add_validation_loss(f"{system}/loss_{kind}", mean, mask.sum())
        return _probabilities(logits)

    def _logits(self, x: Input) -> dict[str, tuple[Tensor, Tensor]]:
        feature = self.feature(x.waveform) if x.feature is None else self.feature.scale(x.feature)
        return {"student": self.student(feature), "teacher": self.teacher(feature)}

    def _mixed(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Linear mel and targets; with mixup, strong clips are mixed among themselves and weak clips likewise."""
        mel = self.mel(batch)
        strong, weak = batch.strong, batch.weak
        if torch.rand(()) < self.mixup_probability:
            beta = torch.distributions.Beta(self.mixup_alpha, self.mixup_alpha)
            mel, weak = mixup(mel, weak, batch.has_weak, float(beta.sample()), self.mixup_labels)
            mel, strong = mixup(mel, strong, batch.has_strong, float(beta.sample()), self.mixup_labels)
        return mel, strong, weak

    def _step(self) -> int:
        """s: the number of this optimizer step, from 1."""
        return int(self.trainer.global_step) + 1

    def _ramp(self, s: int) -> float:
        """``exp(-5 (1 - min(s, S) / S)^2)`` with S optimizer steps in ``rampup_epochs``."""
        if self._rampup_steps == 0:
            return 1.0
        return math.exp(-5 * (1 - min(s / self._rampup_steps, 1)) ** 2)

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        self.trainer.fit_loop.setup_data()  # the ramps are in epochs, so their length is known with the loader's
        steps = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        self._rampup_steps = self.rampup_epochs * steps
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, steps_done: int) -> float:
        """The learning rate's factor in the next optimizer step."""
        return 1.0 if steps_done == 0 and self.first_step_full_rate else self._ramp(steps_done + 1)

    @torch.no_grad()
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # The baseline's hook (on_before_zero_grad under its Lightning versions) runs after the forward pass and before
        # the update, so the teacher averages the student as it was in this step's forward pass.
        s = self._step()
        decay = min(1 - 1 / (s + 1), self.ema_decay)
        for teacher, student in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            teacher.lerp_(student, 1 - decay)

    def on_train_batch_start(self, part: Part, batch_idx: int) -> None:
        super().on_train_batch_start(part, batch_idx)
        self.teacher.train(self.teacher_train_mode)


def _probabilities(logits: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Prediction]:
    return {
        system: Prediction(at_least_float32(frame).sigmoid(), clip.sigmoid())
        for system, (frame, clip) in logits.items()
    }


def _probability_mse(student: Tensor, teacher: Tensor) -> Tensor:
    return F.mse_loss(at_least_float32(student).sigmoid(), at_least_float32(teacher).sigmoid())


def _check_mixup(mixup: Mapping[str, Any]) -> tuple[float, float, str]:
    probability, alpha, labels = mixup["probability"], mixup["alpha"], mixup["labels"]
    if not 0 <= probability <= 1 or not alpha > 0:
        raise InputError(f"method.mixup: probability={probability}, alpha={alpha}; use 0..1 and above 0")
    if labels not in ("soft", "hard"):
        raise InputError(f"method.mixup.labels={labels!r} is unknown; use soft or hard")
    return float(probability), float(alpha), str(labels)
