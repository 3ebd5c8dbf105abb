"""The convolutional recurrent network of the DCASE 2021 task 4 baseline (also 2022 and 2023).

What follows a convolution is one step, see `sed_lab.model.gated_norm`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.model.gated_norm import norm_gated_pool
from sed_lab.types import at_least_float32


class ConvBlock(nn.Module):
    """Convolution 3x3, batch norm, gate ``Linear(x) * sigmoid(x)`` over channels, dropout, average pooling.

    Without ``gated``: convolution, average pooling, batch norm, ReLU, dropout. Pooled first, what follows works on a
    fraction of the memory. ``strided``: instead of being pooled, the convolution moves by ``pool`` and sees half as
    much again on either side, so that an output frame's centre is that of the frames it stands for.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        pool: tuple[int, int],
        gated: bool,
        strided: bool,
        dropout: float,
        momentum: float,
        eps: float,
    ) -> None:
        super().__init__()
        self.strided = strided
        if strided:
            half = pool[0] // 2, pool[1] // 2
            kernel = pool[0] + 2 * half[0], pool[1] + 2 * half[1]
            self.conv = nn.Conv2d(n_in, n_out, kernel, stride=pool, padding=half, bias=gated)
        else:
            self.conv = nn.Conv2d(n_in, n_out, 3, padding=1, bias=gated)
        self.norm = nn.BatchNorm2d(n_out, eps=eps, momentum=momentum)
        self.gate = nn.Linear(n_out, n_out) if gated else None
        self.pool, self.dropout = pool, dropout

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, F, M]`` -> ``[B, C', F // pool[0], M // pool[1]]``."""
        dropout = self.dropout if self.training else 0.0
        if self.gate is None:
            y = self.conv(x) if self.strided else F.avg_pool2d(self.conv(x), self.pool)
            return F.dropout(self.norm(y).relu(), dropout)
        return norm_gated_pool(self.conv(x), self.norm, self.gate, dropout, self.pool)


class CRNN(nn.Module):
    """Seven gated convolution blocks, a two-layer bidirectional GRU, a frame head and an attention head.

    With conf/model/crnn.yaml it is the DCASE 2021 baseline's, its quirks included: 1,112,420 parameters for ten classes
    and 128 mel bins.

    Args:
        n_classes, n_mels: C and M.
        filters, pooling: channels and (time, frequency) pooling of each block; frequency must be pooled to 1.
        gated: the kind of block, see `ConvBlock`.
        strided: whether the first convolution moves by its pooling, which on a CPU saves time.
        conv_dropout, input_dropout, dropout: in each block, on the GRU's input and on its output.
        gru_cells, gru_layers: cells of one direction, layers.
        batch_norm_momentum: torch's convention. The baseline's 0.99 keeps practically the last batch's statistics for
            evaluation; torch's own default is 0.1.
        batch_norm_eps: of the same layers.
        attention_over: the softmax that weighs frames runs over ``classes`` (baseline) or ``frames``; None: no
            attention, clip probabilities are the plain mean over frames.
        attention_floor: attention weights are clamped from below to it.

    Raises:
        InputError: ``filters`` and ``pooling`` differ in length, frequency is not pooled to 1, a dropout is outside
            [0, 1), ``attention_over`` is unknown, or a gated network is to be ``strided``.
    """

    gives = ("frame and clip logits",)
    normalises_batches = True

    def __init__(
        self,
        n_classes: int,
        n_mels: int,
        filters: Sequence[int],
        pooling: Sequence[tuple[int, int]],
        gated: bool,
        strided: bool,
        conv_dropout: float,
        input_dropout: float,
        dropout: float,
        gru_cells: int,
        gru_layers: int,
        batch_norm_momentum: float,
        batch_norm_eps: float,
        attention_over: str | None,
        attention_floor: float,
    ) -> None:
        super().__init__()
        if len(filters) != len(pooling):
            raise InputError(
                f"model.filters has {len(filters)} entries and model.pooling {len(pooling)}; give one of each per block"
            )
        if math.prod(pool[1] for pool in pooling) != n_mels:
            raise InputError(
                f"model.pooling reduces frequency {math.prod(pool[1] for pool in pooling)}-fold, but the feature has"
                f" {n_mels} mel bins; the second numbers of model.pooling must multiply to feature.n_mels"
            )
        if not all(0 <= probability < 1 for probability in (conv_dropout, input_dropout, dropout)):
            raise InputError(
                f"model.conv_dropout={conv_dropout}, input_dropout={input_dropout} and dropout={dropout} must be in"
                " [0, 1)"
            )
        if gated and strided:
            raise InputError("model.strided=true: a gated block is pooled behind its gate; use model.gated=false")
        if attention_over not in ("classes", "frames", None):
            raise InputError(f"model.attention_over={attention_over!r} is unknown; use classes, frames or null")
        self.n_classes, self.attention_over, self.attention_floor = n_classes, attention_over, attention_floor
        self.time_pooling = math.prod(pool[0] for pool in pooling)
        self.input_dropout, self.dropout = input_dropout, dropout
        self.blocks = nn.ModuleList(
            ConvBlock(
                *(n_in, n_out, (pool[0], pool[1]), gated, strided and i == 0),
                *(conv_dropout, batch_norm_momentum, batch_norm_eps),
            )
            for i, (n_in, n_out, pool) in enumerate(zip((1, *filters), filters, pooling, strict=False))
        )
        # As the features: a convolution needs no copy of its weights.
        self.blocks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.gru = nn.GRU(filters[-1], gru_cells, gru_layers, batch_first=True, bidirectional=True)
        self.frame_head = nn.Linear(2 * gru_cells, n_classes)
        self.attention_head = nn.Linear(2 * gru_cells, n_classes) if attention_over else None

    def frames(self, n_feature_frames: int) -> int:
        """Output frames T for F feature frames."""
        for block in self.blocks:
            assert isinstance(block, ConvBlock)
            n_feature_frames //= block.pool[0]
        return n_feature_frames

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Frame logits ``[B, T, C]`` and clip logits ``[B, C]`` of ``feature [B, F, M]``."""
        x = feature.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x)
        x = F.dropout(x.squeeze(3).transpose(1, 2), self.input_dropout, self.training)
        x, _ = self.gru(x)
        x = F.dropout(x, self.dropout, self.training)
        frame_logits = self.frame_head(x)
        attention = None if self.attention_head is None else self.attention_head(x)
        return frame_logits, clip_logits(frame_logits, attention, self.attention_over, self.attention_floor)


def clip_logits(frame_logits: Tensor, attention_logits: Tensor | None, over: str | None, floor: float) -> Tensor:
    """Clip logits ``[B, C]``: the (attention-weighted) mean of frame probabilities, turned back into a logit.

    Args:
        frame_logits, attention_logits: ``[B, T, C]``; without attention the mean is plain.
        over, floor: `CRNN`'s ``attention_over`` and ``attention_floor``.
    """
    # Half precision cannot hold probabilities near 1, whose logits the losses need.
    frame_logits = at_least_float32(frame_logits)
    if attention_logits is None:
        weight = torch.full_like(frame_logits, 1 / frame_logits.shape[1])
    else:
        attention = at_least_float32(attention_logits).softmax(-1 if over == "classes" else -2).clamp(floor, 1)
        weight = attention / attention.sum(1, keepdim=True)
    # Both sides are sums of positive terms, so neither log loses digits the way log(1 - p) would.
    present = (weight * frame_logits.sigmoid()).sum(1)
    absent = (weight * (-frame_logits).sigmoid()).sum(1)
    tiny = torch.finfo(present.dtype).tiny
    return present.clamp(min=tiny).log() - absent.clamp(min=tiny).log()
