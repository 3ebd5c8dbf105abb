"""What every method is to the trainer: loss terms, predictions with names, an optimiser, reproducible random numbers.

A method says in :meth:`SedMethod.losses` what it learns from a batch, and what each term is a mean over; nothing else
knows that a global batch may lie on several devices and accumulation passes.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from sed_lab.errors import InputError, some
from sed_lab.loss import Loss
from sed_lab.method.fused import fused
from sed_lab.method.gather import gather_rows
from sed_lab.method.module import module_class
from sed_lab.types import Batch, Input, Part, Shares

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule
else:
    LightningModule = module_class()

BLOWN_UP = 1000.0  # a mean loss of an epoch so many times the untrained network's has diverged, though it is finite
FIXED = "fixed."  # in front of names of a detector's state that its method's state lacks
MakeOptimizer = Callable[..., torch.optim.Optimizer]


@dataclass(frozen=True)
class Prediction:
    """Probabilities of one system: ``frame [B, T, C]`` and/or ``clip [B, C]``."""

    frame: Tensor | None = None
    clip: Tensor | None = None


@dataclass(frozen=True)
class LossTerm:
    """One named part of a method's loss.

    ``value`` is a mean over the batch's strongly labelled clips (``over`` "strong"), its weakly labelled ones ("weak"),
    all of them ("all"), or over no clips (None: a penalty on weights). What couples clips is of the clips of all
    devices ("gathered": made of what :meth:`SedMethod.gather` gave). ``of_class`` narrows "strong" to the clips whose
    labels are about that class. ``weight`` is its factor in the loss.
    """

    value: Tensor
    over: Literal["strong", "weak", "all", "gathered"] | None
    weight: float = 1.0
    of_class: int | None = None

    def share(self, shares: Shares) -> float:
        """The factor that makes the value this part's share of a mean over the global batch."""
        if self.over is None:
            return 1.0
        if self.of_class is not None:
            return 1.0 if shares.strong_of_class is None else shares.strong_of_class[self.of_class]
        return float(getattr(shares, self.over))


def total_loss(terms: Mapping[str, LossTerm], shares: Shares) -> Tensor:
    """The loss of one part of a global batch: the mean of all parts' is the loss of the whole."""
    total: Tensor | float = 0.0
    for term in terms.values():
        total = total + term.weight * term.value * term.share(shares)
    return torch.as_tensor(total)


@dataclass(frozen=True)
class Parts:
    """What a method is made of, as the configuration names it and the corpus demands.

    ``class_weight [C]`` is the loss's, or None; ``weak_labels``, boolean ``[I, C]``, are those of the training clips of
    subset ``weak``, and None where a trained detector is made again.
    """

    feature: Any
    model: Any
    loss: Loss
    classes: tuple[str, ...]
    class_weight: Tensor | None = None
    weak_labels: Tensor | None = None
    seed: int = 0


class SedMethod(LightningModule):
    """One paper's training: subclasses add :meth:`losses` and :meth:`predict`, and declare what they are.

    Nothing here measures: evaluation steps return :meth:`predict`'s result and `sed_lab.run.collect` gathers it.

    Args:
        parts: front end, network, loss and what the corpus says; the feature, the loss and the class weights become
            attributes, the network is for the subclass to keep.
        optimizer: makes the optimiser from the parameters that need gradients.
    """

    systems: tuple[str, ...] = ("model",)
    """Names of the systems :meth:`predict` gives, the one to report first."""

    takes: str = "frame and clip logits"
    """What it needs of a network: one of those that `sed_lab.model` lists."""

    trains_on: tuple[str, ...] = ("synthetic", "weak", "unlabelled")
    """The subsets it can train on; the others' clips are left out of its batches."""

    objective: tuple[str, ...] | None = None
    """What it is validated by where the configuration names nothing; None: `default_objective`."""

    clips_only = False
    """Whether :meth:`predict` gives no frames."""

    stops_early = False
    """Whether training may end before the trainer's last epoch."""

    depends_on_parts = False
    """Whether a global batch in several parts trains otherwise than in one, beside batch normalisation."""

    gathers = False
    """Whether its loss couples clips that it gathers from all devices: then accumulation passes change it, and devices
    do not."""

    rests = False
    """Whether a step may leave parameters without a gradient, which processes that train together must know."""

    takes_features = False
    """Whether it reads clips by :meth:`mel` and :meth:`features` alone, so that linear mel may stand for audio."""

    training_only: tuple[str, ...] = ()
    """Names of the modules that :meth:`predict` does not use."""

    finer: int = 1
    """Frames of :meth:`predict` for each of the network's; while validating, a method gives the network's own."""

    validation_losses: tuple[str, ...] = ()
    """Names given to :meth:`add_validation_loss`; fixed, so that a rank without clips still takes part in the sum."""

    class_weight: Tensor | None

    def __init__(self, parts: Parts, optimizer: MakeOptimizer) -> None:
        super().__init__()
        self.feature, self.loss, self.classes, self.seed = parts.feature, parts.loss, parts.classes, parts.seed
        self.make_optimizer = optimizer
        self.register_buffer("class_weight", parts.class_weight)
        self._validation_sums = torch.zeros(len(self.validation_losses), 2)
        self.trained_on: tuple[str, ...] = ()  # the last batch's clips
        self.untrained_loss: float | None = None  # before the first step; unknown to a run that goes on
        self._untrained = False
        self.validation_loss: dict[str, float] = {}  # means over the last validation's clips, of all ranks
        self._gathered = False  # in this step

    @classmethod
    def default_objective(cls) -> tuple[str, ...]:
        """What a run is validated by where its configuration names nothing: names as of `run.collect.Evaluation`."""
        if cls.objective is not None:
            return cls.objective
        frames = () if cls.clips_only else (f"synthetic_validation/{cls.systems[0]}/intersection_f1",)
        return (f"weak_validation/{cls.systems[0]}/tagging_f1", *frames)

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        """The terms of the loss by name, on this part of the global batch."""

    @abstractmethod
    def predict(self, x: Input) -> dict[str, Prediction]:
        """Probabilities of every system in :attr:`systems`."""

    def features(self, x: Input) -> Tensor:
        """The front end's features ``[B, F, M]``, from audio or from linear mel kept of it."""
        return self.feature(x.waveform) if x.feature is None else self.feature.scale(x.feature)

    def mel(self, x: Input) -> Tensor:
        """The front end's linear mel ``[B, F, M]``, of audio or kept."""
        return self.feature.mel(x.waveform) if x.feature is None else x.feature

    def decided(self) -> dict[str, Any]:
        """Constructor arguments that the training data decided, to make the detector again without it."""
        return {}

    def training_step(self, part: Part, batch_idx: int) -> Tensor:
        batch, shares = part
        self._gathered = False
        terms = self.losses(batch)
        self._check_gathering(terms)
        loss = total_loss(terms, shares)
        self.trained_on = tuple(batch.clip_id)
        if not loss.isfinite():
            raise self.diverged(f"the loss is {loss.item()}")
        if self._untrained:
            self.untrained_loss, self._untrained = loss.item(), False
        self.log("loss", loss, prog_bar=True, logger=False, batch_size=len(batch))
        self.note("loss", loss, batch)
        for name, term in terms.items():
            self.note(name, term.value * term.share(shares), batch)
        if self.rests:
            loss = loss + 0 * torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum()
        return loss

    def gather(self, rows: Tensor) -> Tensor:
        """Rows ``[B, ...]`` of this device's clips -> those of all devices' in this pass, see `gather_rows`.

        A term made of them is ``over="gathered"``.

        Raises:
            InputError: the method does not declare that it :attr:`gathers`.
        """
        if not self.gathers:
            raise InputError(f"{type(self).__name__} gathers clips of all devices; declare it with gathers = True")
        self._gathered = True
        return gather_rows(rows)

    def _check_gathering(self, terms: Mapping[str, LossTerm]) -> None:
        coupled = [name for name, term in terms.items() if term.over == "gathered"]
        if coupled and not self._gathered:
            raise InputError(f'{", ".join(coupled)}: over="gathered", but nothing was gathered; use self.gather')
        if self._gathered and not coupled:
            said = 'no term of its loss is over="gathered"; name the one that is made of them'
            raise InputError(f"{type(self).__name__} gathers clips, but {said}")

    def note(self, name: str, value: Tensor | float, batch: Batch) -> None:
        """Log a number as ``train/<name>``, its mean over an epoch's batches."""
        if not isinstance(value, Tensor):
            # Filled in there: copied to the device, it would wait for the device.
            value = torch.full((), value, dtype=torch.get_default_dtype(), device=self.device)
        self.log(f"train/{name}", value, on_step=False, on_epoch=True, batch_size=len(batch))

    def diverged(self, what: str) -> InputError:
        """The one sentence on training that led to numbers that are none; ``what`` they are, and where."""
        rates = [optimizer.param_groups[0]["lr"] for optimizer in self.trainer.optimizers]  # none while testing
        rate = f" at a learning rate of {rates[0]:g}" if rates else ""
        clips = f", the last batch of clips {some(self.trained_on)}" if self.trained_on else ""
        return InputError(
            f"training diverged: {what} after {self.trainer.global_step} steps, in epoch {self.current_epoch + 1}{rate}"
            f"{clips}; lower method.optimizer.lr, or look for a recording that is not as the others"
        )

    def on_train_epoch_end(self) -> None:
        """End a run that has diverged, also where nothing is validated."""
        loss = self.trainer.callback_metrics["train/loss"].item()
        if self.untrained_loss is not None and loss > BLOWN_UP * max(self.untrained_loss, 1.0):
            raise self.diverged(f"the loss rose from {self.untrained_loss:.3g} to {loss:.3g}")
        bad = [name for name, p in self.named_parameters() if not p.isfinite().all()]
        if bad:
            raise self.diverged(f"the weights {some(bad)} are not finite")

    def detector_state(self) -> dict[str, Tensor]:
        """The state without modules that only training needs, with the front end's part that no checkpoint holds."""
        own = tuple(f"{name}." for name in self.training_only)
        state = {name: value for name, value in self.state_dict().items() if not name.startswith(own)}
        fixed = self.feature.fixed_state() if hasattr(self.feature, "fixed_state") else {}
        return {**state, **{f"{FIXED}{name}": value for name, value in fixed.items()}}

    def load_detector_state(self, state: dict[str, Tensor]) -> None:
        """Take what :meth:`detector_state` gave, and drop the modules that only training needs."""
        for name in self.training_only:
            setattr(self, name, None)
        if fixed := {name.removeprefix(FIXED): value for name, value in state.items() if name.startswith(FIXED)}:
            self.feature.load_fixed_state(fixed)
        self.load_state_dict({name: value for name, value in state.items() if not name.startswith(FIXED)})

    def on_train_batch_start(self, part: Part, batch_idx: int) -> None:
        # Dropout, mixup and the like must not depend on how many numbers were drawn before: seeded by step, a resumed
        # run draws what an uninterrupted one does, without random states in checkpoints. Ranks draw differently.
        step = self.trainer.fit_loop.epoch_loop.total_batch_idx
        seed = _seed(self.seed, step, self.global_rank)
        # torch.manual_seed would also write down the stack for every kind of device that is not in use, in each step.
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def common_draws(self) -> torch.Generator:
        """Random numbers that are the same in every part of a global batch."""
        return torch.Generator().manual_seed(_seed(self.seed, self.trainer.global_step, 2**32))

    def add_validation_loss(self, name: str, mean: Tensor, clips: Tensor) -> None:
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
            if not math.isfinite(mean):
                raise self.diverged(f"the validation loss {name} is {mean}")
            self.log(f"val/{name}", mean, sync_dist=True)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Prediction]:
        return self.predict(batch)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Prediction]:
        return self.predict(batch)

    @property
    def data(self) -> Any:
        """The trainer's `sed_lab.clip.module.SedData`."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def on_fit_start(self) -> None:
        """Fit a front end that has statistics to the first subset the batches take."""
        self._untrained = self.trainer.global_step == 0
        if hasattr(self.feature, "fit") and not bool(self.feature.fitted):
            subset = next(name for name in self.trains_on if self.data.clips.get(name))
            if self.trainer.is_global_zero:
                hop = self.data.loader.frame_hop
                batches = self.data.every_clip(subset)
                self.feature.fit((self._mel(one), one.valid_frames * hop) for one in batches)
            self.feature.load_state_dict(self.from_first(self.feature.state_dict()))

    def _mel(self, x: Input) -> Tensor:
        return self.feature.mel(x.waveform.to(self.device)) if x.feature is None else x.feature.to(self.device)

    def from_first(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The first process's tensors, on the CPU, in every process."""
        mine = {name: tensor.cpu() for name, tensor in tensors.items()}
        return dict(self.trainer.strategy.broadcast(mine))

    def configure_optimizers(self) -> Any:
        # Lightning does not clip the gradients of a fused optimiser in mixed precision.
        fuses = self.device.type == "cuda" and not self.trainer.gradient_clip_val
        return self.make_optimizer(self.parameter_groups(), **(fused(self.make_optimizer) if fuses else {}))

    def parameter_groups(self) -> list[Any]:
        """The parameters to train; where modules have a ``learning_rate`` of their own, in groups, theirs last."""
        rest = {id(p): p for p in self.parameters() if p.requires_grad}
        groups = []
        for module in self.modules():
            if (rate := getattr(module, "learning_rate", None)) is not None:
                own = [rest.pop(id(p)) for p in module.parameters() if id(p) in rest]
                groups += [{"params": own, "lr": rate}] if own else []
        return [{"params": list(rest.values())}, *groups] if groups else list(rest.values())


def _seed(*words: int) -> int:
    state = np.random.SeedSequence(words).generate_state(2)
    return int(state[0]) << 32 | int(state[1])
