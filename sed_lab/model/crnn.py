"""The convolutional recurrent network of the DCASE 2021 task 4 baseline (also 2022 and 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.model.gate import gated_pool
from sed_lab.types import at_least_float32


class ConvBlock(nn.Module):
    """Convolution 3x3, batch norm, gate ``Linear(x) * sigmoid(x)`` over channels, dropout, average pooling."""

    def __init__(
        self, n_in: int, n_out: int, pool: tuple[int, int], dropout: float, momentum: float, eps: float
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.norm = nn.BatchNorm2d(n_out, eps=eps, momentum=momentum)
        self.gate = nn.Linear(n_out, n_out)
        self.pool, self.dropout = pool, dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, F, M]`` -> ``[B, C', F // pool[0], M // pool[1]]``."""
        x = self.norm(self.conv(x))
        dropout = self.dropout if self.training else 0.0
        return gated_pool(x, self.gate.weight, self.gate.bias, dropout, self.pool)


class CRNN(nn.Module):
    """Seven gated convolution blocks, a two-layer bidirectional GRU, a frame head and an attention head.

    Defaults are the DCASE 2021 baseline's, its quirks included: 1,112,420 parameters for ten classes and 128 mel bins.

    Args:
        n_classes, n_mels: C and M.
        filters, pooling: channels and (time, frequency) pooling of each block; frequency must be pooled to 1.
        conv_dropout, dropout: after each gate, and on the GRU's output.
        gru_cells, gru_layers: cells of one direction, layers.
        batch_norm_momentum: torch's convention. The baseline's 0.99 keeps practically the last batch's statistics for
            evaluation; torch's own default is 0.1.
        batch_norm_eps: of the same layers.
        attention_over: the softmax that weighs frames runs over ``classes`` (baseline) or ``frames``.
        attention_floor: attention weights are clamped from below to it.

    Raises:
        InputError: ``filters`` and ``pooling`` differ in length, frequency is not pooled to 1, a dropout is outside
            [0, 1), or ``attention_over`` is unknown.
    """

    gives = ("frame and clip logits",)
    normalises_batches = True

    def __init__(
        self,
        n_classes: int,
        n_mels: int = 128,
        filters: Sequence[int] = (16, 32, 64, 128, 128, 128, 128),
        pooling: Sequence[tuple[int, int]] = ((2, 2), (2, 2), (1, 2), (1, 2), (1, 2), (1, 2), (1, 2)),
        conv_dropout: float = 0.5,
        dropout: float = 0.5,
        gru_cells: int = 128,
        gru_layers: int = 2,
        batch_norm_momentum: float = 0.99,
        batch_norm_eps: float = 1e-3,
        attention_over: str = "classes",
        attention_floor: float = 1e-7,
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
        if not (0 <= conv_dropout < 1 and 0 <= dropout < 1):
            raise InputError(f"model.conv_dropout={conv_dropout} and model.dropout={dropout} must be in [0, 1)")
        if attention_over not in ("classes", "frames"):
            raise InputError(f"model.attention_over={attention_over!r} is unknown; use classes or frames")
        self.n_classes, self.attention_over, self.attention_floor = n_classes, attention_over, attention_floor
        self.time_pooling = math.prod(pool[0] for pool in pooling)
        self.dropout = dropout
        self.blocks = nn.ModuleList(
            ConvBlock(n_in, n_out, (pool[0], pool[1]), conv_dropout, batch_norm_momentum, batch_norm_eps)
            for n_in, n_out, pool in zip((1, *filters), filters, pooling, strict=False)
        )
        self.gru = nn.GRU(filters[-1], gru_cells, gru_layers, batch_first=True, bidirectional=True)
        self.frame_head = nn.Linear(2 * gru_cells, n_classes)
        self.attention_head = nn.Linear(2 * gru_cells, n_classes)

    def frames(self, n_feature_frames: int) -> int:
        """Output frames T for F feature frames."""
        for block in self.blocks:
            assert isinstance(block, ConvBlock)
            n_feature_frames //= block.pool[0]
        return n_feature_frames

    def forward(self, feature: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frame logits ``[B, T, C]`` and clip logits ``[B, C]`` of ``feature [B, F, M]``."""
        x = feature.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x)
        x, _ = self.gru(x.squeeze(3).transpose(1, 2))
        x = F.dropout(x, self.dropout, self.training)
        frame_logits = self.frame_head(x)
        return frame_logits, self._pool(frame_logits, self.attention_head(x))

    def _pool(self, frame_logits: torch.Tensor, attention_logits: torch.Tensor) -> torch.Tensor:
        """Clip logits: the attention-weighted mean of frame probabilities, turned back into a logit."""
        # Half precision cannot hold probabilities near 1, whose logits the losses need.
        frame_logits, attention_logits = at_least_float32(frame_logits), at_least_float32(attention_logits)
        attention = attention_logits.softmax(-1 if self.attention_over == "classes" else -2)
        attention = attention.clamp(self.attention_floor, 1)
        weight = attention / attention.sum(1, keepdim=True)
        # Both sides are sums of positive terms, so neither log loses digits the way log(1 - p) would.
        present = (weight * frame_logits.sigmoid()).sum(1)
        absent = (weight * (-frame_logits).sigmoid()).sum(1)
        tiny = torch.finfo(present.dtype).tiny
        return present.clamp(min=tiny).log() - absent.clamp(min=tiny).log()
