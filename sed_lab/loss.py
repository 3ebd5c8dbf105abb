"""Losses on logits: binary and categorical cross-entropy, focal, class-balanced focal and time-balanced focal.

All are called ``loss(logits, target, *, class_weight=None, mask=None)`` with logits and soft targets ``[B, ..., C]``
and return the mean over classes, frames and the clips of ``mask [B]`` (0, with a gradient of zeros, where the mask is
empty). ``class_weight(statistics)`` gives the weights ``[C]`` the loss is meant to be called with, or None;
``statistics`` is None for a dataset without labelled training clips. Everything is computed from logits in at
least float32, so bfloat16 and saturated outputs are safe; the clipped losses alone stop learning from the latter.

Sources: Park & Elhilali, "Time-balanced focal loss for audio event detection" (ICASSP 2022), equations as numbered
there; Arora et al. (ICASSP 2019) for :class:`WeightedBinary`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.types import ClassStatistics

# Table 1 of Park & Elhilali 2022: V_c (source clips) and r_c (share of active frames) of DESED's training set.
TABLE_1 = {
    "Alarm_bell_ringing": (190, 0.0368),
    "Blender": (98, 0.0526),
    "Cat": (88, 0.0322),
    "Dishes": (109, 0.0388),
    "Dog": (136, 0.0334),
    "Electric_shaver_toothbrush": (56, 0.1165),
    "Frying": (64, 0.1551),
    "Running_water": (68, 0.1002),
    "Speech": (128, 0.3130),
    "Vacuum_cleaner": (72, 0.1212),
}


class Loss(ABC):
    """A loss by its value in each element, of which the mean is taken."""

    def __call__(
        self, logits: Tensor, target: Tensor, *, class_weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        return masked_mean(self.elements(logits, target, class_weight, mask), mask)

    @abstractmethod
    def elements(self, logits: Tensor, target: Tensor, class_weight: Tensor | None, mask: Tensor | None) -> Tensor:
        """The loss of each element ``[B, ..., C]``, or of all classes ``[B, ...]``; outside ``mask`` it is not used."""

    def class_weight(self, statistics: ClassStatistics | None) -> Tensor | None:
        """The weights ``[C]`` that the loss is meant to be called with; most losses have none."""
        return None


@dataclass(frozen=True)
class Binary(Loss):
    """Binary cross-entropy; ``class_weight``, where one is given, weighs positives and negatives of a class."""

    def elements(self, logits: Tensor, target: Tensor, class_weight: Tensor | None, mask: Tensor | None) -> Tensor:
        return _weighted(focal(logits, target, 0.0), class_weight)


@dataclass(frozen=True)
class WeightedBinary(Loss):
    """``-(w_c y log p + (1 - y) log(1 - p))``, ``w_c = max_c n_c / n_c`` over clips (Arora et al. 2019, eq. 2).

    Only positive targets carry the weight. Clips of no class are a class of their own in the maximum, as in the paper's
    section 3; the paper says only that w_c is inversely proportional to n_c.
    """

    def class_weight(self, statistics: ClassStatistics | None) -> Tensor:
        statistics = _needed(statistics)
        clips = _counts(statistics.clips, statistics, "clips")
        return torch.tensor(max(clips.max(), statistics.empty_clips) / clips, dtype=torch.float32)

    def elements(self, logits: Tensor, target: Tensor, class_weight: Tensor | None, mask: Tensor | None) -> Tensor:
        logits, target = _same_float(logits, target)
        weight = None if class_weight is None else class_weight.to(logits)
        return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="none")


@dataclass(frozen=True)
class Categorical(Loss):
    """``-sum_c y_c log softmax(z)_c`` for clips of exactly one class, Keras's categorical cross-entropy (Aziz, sec. V).

    ``sparse`` takes the class's number instead of the vector ``y``, as Keras's sparse categorical cross-entropy: the
    same loss by the other way. Probabilities are then `exclusive`: a softmax, not sigmoids.

    Raises:
        InputError: a target is not one class.
    """

    sparse: bool
    exclusive = True

    def elements(self, logits: Tensor, target: Tensor, class_weight: Tensor | None, mask: Tensor | None) -> Tensor:
        logits, target = _same_float(logits, target)
        of_mask = target if mask is None else target[mask]
        if not ((of_mask.sum(-1) == 1) & (of_mask.amax(-1) == 1)).all():
            raise InputError("a categorical loss needs clips of exactly one class; use loss=bce, or such a dataset")
        number = target.argmax(-1)
        log_p = self.log_probability(logits)
        values = -log_p.gather(-1, number[..., None])[..., 0] if self.sparse else -(target * log_p).sum(-1)
        return values if class_weight is None else values * class_weight.to(values)[number]

    def log_probability(self, logits: Tensor) -> Tensor:
        """``log softmax(z)``."""
        return F.log_softmax(logits, -1)


@dataclass(frozen=True)
class ClippedBinary(Loss):
    """Binary cross-entropy of ``sigmoid(z)`` clipped to ``[epsilon, 1 - epsilon]``, as Keras 2 had it (Aziz, sec. V).

    An output beyond has a constant loss, and no gradient leads back from it.
    """

    epsilon: float

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)

    def elements(self, logits: Tensor, target: Tensor, class_weight: Tensor | None, mask: Tensor | None) -> Tensor:
        logits, target = _same_float(logits, target)
        p = logits.sigmoid().clamp(self.epsilon, 1 - self.epsilon)
        return _weighted(-(target * p.log() + (1 - target) * (1 - p).log()), class_weight)


@dataclass(frozen=True)
class ClippedCategorical(Categorical):
    """`Categorical` of ``softmax(z)`` clipped to ``[epsilon, 1 - epsilon]``, as Keras 2 had it (Aziz, sec. V).

    With ``sparse``, it made the clipped ones sum to one again: ``log sum_c p_c - log p_y``.
    """

    epsilon: float

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)

    def log_probability(self, logits: Tensor) -> Tensor:
        """``log clip(softmax(z))``; with ``sparse`` less the logarithm of their sum."""
        log_p = logits.softmax(-1).clamp(self.epsilon, 1 - self.epsilon).log()
        return F.log_softmax(log_p, -1) if self.sparse else log_p


def probability(loss: Loss, logits: Tensor) -> Tensor:
    """Probabilities ``[..., C]`` as the loss reads logits: a softmax over exclusive classes, else sigmoids."""
    return logits.float().softmax(-1) if getattr(loss, "exclusive", False) else logits.float().sigmoid()


@dataclass(frozen=True)
class Focal(Loss):
    """Focal loss (eq. 1): ``-a y (1-p)^g log p - (1-a)(1-y) p^g log(1-p)``.

    ``alpha`` None leaves out both factors, so gamma 0 is binary cross-entropy; alpha 0.5 is half of that.
    """

    gamma: float
    alpha: float | None

    def __post_init__(self) -> None:
        if not (isinstance(self.gamma, (int, float)) and 0 <= self.gamma < math.inf):
            raise InputError(f"loss.gamma={self.gamma!r} must be a number of at least 0")
        if self.alpha is not None and not 0 < self.alpha < 1:
            raise InputError(f"loss.alpha={self.alpha} is outside (0, 1); use null for none")

    def elements(self, logits: Tensor, target: Tensor, class_weight: Tensor | None, mask: Tensor | None) -> Tensor:
        return _weighted(focal(logits, target, self.gamma, self.alpha), class_weight)


@dataclass(frozen=True)
class ClassBalancedFocal(Focal):
    """Focal loss weighted by the inverse effective number of samples (Cui et al. 2019; eq. 2 and 3).

    ``1/eps_c = (1 - b) / (1 - b^{n_c})`` with ``b = (N - 1) / N``, N all samples, scaled to a sum of C so that the
    learning rate keeps its meaning. ``samples`` says what n_c counts: ``events``, ``clips`` or ``frames``.
    """

    samples: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples not in ("events", "clips", "frames"):
            raise InputError(f"loss.samples={self.samples!r} is unknown; use events, clips or frames")

    def class_weight(self, statistics: ClassStatistics | None) -> Tensor:
        statistics = _needed(statistics)
        counted = {"events": statistics.events, "clips": statistics.clips, "frames": statistics.active_frames}
        n = _counts(counted[self.samples], statistics, self.samples)
        return _scaled(inverse_effective_number(n, np.full_like(n, n.sum())))


@dataclass(frozen=True)
class TimeBalancedFocal(Focal):
    """Time-balanced focal loss (eq. 4): focal loss with weights from sound sources and active time.

    Args:
        gamma: focusing exponent; the paper's best is 2.
        alpha: balancing factor of eq. 1; eq. 4 has none.
        k: turns a class's share of active frames into a number of samples; the paper's best is 1000, ``inf`` leaves
            only the number of sources.
        statistics: ``dataset`` counts on the training annotations, ``table1`` takes the paper's Table 1.
        strict: refuse a k for which ``floor(k r_c)`` is 0; otherwise it counts as 1.
    """

    k: float
    statistics: str
    strict: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "k", _number(self.k, "loss.k"))
        if not self.k > 0:
            raise InputError(f"loss.k={self.k} must be above 0; the paper uses 1000, inf is allowed")
        if self.statistics not in ("dataset", "table1"):
            raise InputError(f"loss.statistics={self.statistics!r} is unknown; use dataset or table1")

    def class_weight(self, statistics: ClassStatistics | None) -> Tensor:
        statistics = _needed(statistics)
        if self.statistics == "table1":
            unknown = [name for name in statistics.classes if name not in TABLE_1]
            if unknown:
                raise InputError(
                    f"loss.statistics=table1 knows DESED's classes only, not {', '.join(unknown)}; use dataset"
                )
            sources, shares = np.array([TABLE_1[name] for name in statistics.classes], np.float64).T
        else:
            if statistics.source_clips is None:
                raise InputError(
                    "loss=tbfl needs the number of source clips of each class, which this dataset does not state;"
                    " give source_clips in the dataset's configuration or set loss.statistics=table1"
                )
            sources = _counts(statistics.source_clips, statistics, "source clips")
            shares = _counts(statistics.active_frames, statistics, "active frames")
        return time_balanced_weight(shares, sources, self.k, self.strict, statistics.classes)


def time_balanced_weight(
    active_frames: np.ndarray,
    source_clips: np.ndarray,
    k: float,
    strict: bool = False,
    classes: tuple[str, ...] | None = None,
) -> Tensor:
    """Class weights ``[C]`` of eq. 4: ``(1 - b_c) / (1 - b_c^floor(k r_c))``, ``b_c = (V_c - 1) / V_c``, sum C.

    Args:
        active_frames: ``[C]`` m_c, or shares r_c of it (normalised here only if they are counts, so printed shares
            that sum to 0.9998 stay as printed).
        source_clips: ``[C]`` V_c.
        k: scale of the exponent; ``inf`` gives weights in proportion to ``1 / V_c``.
        strict, classes: with ``strict``, an exponent of 0 is an error naming its classes.

    Raises:
        InputError: an exponent is 0 and ``strict`` is set.
    """
    active = np.asarray(active_frames, np.float64)
    shares = active if active.sum() <= 1 + 1e-6 else active / active.sum()
    sources = np.asarray(source_clips, np.float64)
    if math.isinf(k):
        return _scaled(1 / sources)
    # 10000 * 0.1551 is 1550.9999999999998 in binary.
    samples = np.floor(k * shares + 1e-9)
    if strict and (samples < 1).any():
        names = classes or tuple(map(str, range(len(samples))))
        bad = ", ".join(name for name, n in zip(names, samples, strict=True) if n < 1)
        raise InputError(f"loss.k={k:g} gives floor(k r_c) = 0 for {bad}; use a larger k or strict=false")
    return _scaled(inverse_effective_number(np.maximum(samples, 1), sources))


def inverse_effective_number(samples: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """``1 / eps_c`` of eq. 2, with ``b_c = (V_c - 1) / V_c``."""
    beta = (volume - 1) / volume
    return np.asarray((1 - beta) / (1 - beta**samples))


def focal(logits: Tensor, target: Tensor, gamma: float, alpha: float | None = None) -> Tensor:
    """The focal loss of each element, from logits; ``gamma`` 0 is torch's binary cross-entropy itself."""
    logits, target = _same_float(logits, target)
    if gamma == 0 and alpha is None:
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    positive, negative = F.softplus(-logits), F.softplus(logits)  # -log p, -log(1 - p)
    on, off = target * positive, (1 - target) * negative
    if gamma:
        on, off = on * torch.exp(-gamma * negative), off * torch.exp(-gamma * positive)
    return on + off if alpha is None else alpha * on + (1 - alpha) * off


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of ``values [B, ...]`` over the clips of ``mask [B]``; 0, still in the graph, where there is none."""
    if mask is None:
        return values.mean()
    chosen = values[mask]
    return chosen.mean() if chosen.numel() else chosen.sum()


def _weighted(values: Tensor, class_weight: Tensor | None) -> Tensor:
    return values if class_weight is None else values * class_weight.to(values)


def _same_float(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits, target.to(logits.dtype)


def _scaled(raw: np.ndarray) -> Tensor:
    return torch.tensor(raw * (len(raw) / raw.sum()), dtype=torch.float32)


def _needed(statistics: ClassStatistics | None) -> ClassStatistics:
    if statistics is None:
        raise InputError(
            "this loss weighs classes by their labelled training clips, of which this dataset has none;"
            " use loss=bce or loss=focal"
        )
    return statistics


def _counts(values: np.ndarray, statistics: ClassStatistics, what: str) -> np.ndarray:
    counts = np.asarray(values, np.float64)
    missing = [name for name, count in zip(statistics.classes, counts, strict=True) if not count > 0]
    if missing:
        raise InputError(
            f"the training set has no {what} of {', '.join(missing)}, so this loss has no weight for them;"
            " remove these classes from the dataset or use loss=bce or loss=focal"
        )
    return counts


def _check_epsilon(epsilon: float) -> None:
    if not (isinstance(epsilon, float) and 0 < epsilon < 0.5):
        raise InputError(f"loss.epsilon={epsilon!r} must be a number between 0 and 0.5; Keras has 1.0e-7")


def _number(value: object, key: str) -> float:
    """``value`` as a float; Hydra's command line hands on ``.inf`` as text."""
    try:
        return float(str(value).removeprefix("+").replace(".inf", "inf"))
    except ValueError:
        raise InputError(f"{key}={value!r} is not a number") from None
