"""The convolutional recurrent network of the DCASE 2021 task 4 baseline (also 2022 and 2023).

Its gate, dropout and pooling are one step, `gated_pool`, which on a CPU works in pieces that fit the caches, with masks
that cost little there (`keep_mask`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.types import at_least_float32

# Elements worked on at once, 1 MB: a few such tensors fit a core's second-level cache.
_PIECE = 2**18

_avg_pool_backward = torch.ops.aten.avg_pool2d_backward
_sigmoid_backward = torch.ops.aten.sigmoid_backward
_LOW_BITS = 0x0101010101010101  # the lowest bit of each of a word's eight bytes


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
        return gated_pool(self.norm(self.conv(x)), self.gate.weight, self.gate.bias, dropout, self.pool)


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


def gated_pool(x: Tensor, weight: Tensor, bias: Tensor, dropout: float, pool: tuple[int, int]) -> Tensor:
    """``avg_pool(dropout((weight x + bias) * sigmoid(x)))`` of ``x [B, C, F, M]``, the product over channels.

    ``dropout`` is the probability in effect (0 when evaluating). Outside autocast a CPU takes :class:`_GatedPool`,
    the same function with the same dropout distribution: of the intermediate tensors, each as large as ``x``, it keeps
    none for the backward pass except the dropout mask, one byte an element.
    """
    if x.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and not torch.onnx.is_in_onnx_export():
        return _GatedPool.apply(x, weight, bias, dropout, pool)
    gate = F.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)
    return F.avg_pool2d(F.dropout(gate * x.sigmoid(), dropout), pool)


class _GatedPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dropout: float, pool: tuple[int, int]) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        batch, channels, frames, mels = x.shape
        pooled = x.new_empty(batch, frames // pool[0], mels // pool[1], channels).permute(0, 3, 1, 2)
        masks = []
        for clips, span, pooled_span in _pieces(x, pool):
            piece = x[clips, :, span]
            rows = _rows(piece)
            gate = torch.addmm(bias, rows, weight.t()).mul_(rows.sigmoid())
            if dropout:
                masks.append(keep_mask(rows.shape, dropout))
                gate.mul_(masks[-1].view(torch.uint8))
            pooled[clips, :, pooled_span] = F.avg_pool2d(_like(gate, piece), pool)
        ctx.save_for_backward(x, weight, bias)
        ctx.masks, ctx.pool, ctx.keep = masks, pool, 1 - dropout
        return pooled.mul_(1 / ctx.keep) if dropout else pooled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        grad_x, grad_weight, grad_bias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
        grad = grad.contiguous(memory_format=torch.channels_last) / ctx.keep
        for i, (clips, span, pooled_span) in enumerate(_pieces(x, ctx.pool)):
            piece = x[clips, :, span]
            rows = _rows(piece)
            d = _avg_pool_backward(grad[clips, :, pooled_span], piece, ctx.pool, ctx.pool, (0, 0), False, True, None)
            d = _rows(d.contiguous(memory_format=torch.channels_last))
            if ctx.masks:
                d.mul_(ctx.masks[i].view(torch.uint8))
            gate, sigmoid = torch.addmm(bias, rows, weight.t()), rows.sigmoid()
            d_sigmoid = _sigmoid_backward(gate.mul_(d), sigmoid)
            d_gate = d.mul_(sigmoid)
            torch.addmm(d_sigmoid, d_gate, weight, out=_rows(grad_x[clips, :, span]))
            grad_weight.addmm_(d_gate.t(), rows)
            grad_bias += d_gate.sum(0)
        return grad_x, grad_weight, grad_bias, None, None


def _pieces(x: Tensor, pool: tuple[int, int]) -> list[tuple[slice, slice, slice]]:
    """Clips, frames and pooled frames of each piece: several whole clips, or some frames of one clip.

    Either way a piece of a channels-last tensor is contiguous. The last piece of a clip takes the frames that do not
    fill one, and with them those that pooling leaves out.
    """
    batch, channels, frames, mels = x.shape
    clips = _PIECE // max(channels * frames * mels, 1)
    if clips > 1:
        return [(slice(i, i + clips), slice(None), slice(None)) for i in range(0, batch, clips)]
    length = max(1, _PIECE // (channels * mels * pool[0])) * pool[0]
    bounds = [*range(0, max(frames - frames % length, 1), length), frames]
    spans = [(slice(a, b), slice(a // pool[0], b // pool[0])) for a, b in pairwise(bounds)]
    return [(slice(i, i + 1), span, pooled_span) for i in range(batch) for span, pooled_span in spans]


def _rows(x: Tensor) -> Tensor:
    """``[B, C, F, M]`` in channels-last order as a matrix ``[B F M, C]``, without a copy."""
    return x.permute(0, 2, 3, 1).view(-1, x.shape[1])


def _like(rows: Tensor, x: Tensor) -> Tensor:
    batch, channels, frames, mels = x.shape
    return rows.view(batch, frames, mels, channels).permute(0, 3, 1, 2)


def keep_mask(shape: tuple[int, ...], p: float) -> Tensor:
    """Booleans of ``shape``, each independently True with probability ``1 - p``.

    torch draws one 32-bit number an element, on one thread: half of a CPU training step of the DCASE 2021 baseline.
    For ``p`` = 1/2 each bit of a random 64-bit word is such a draw; for other multiples of 1/256 each byte compared
    with ``256 p`` is one. Both are exact; any other ``p`` goes to torch.
    """
    if (256 * p) % 1:
        return torch.empty(shape, dtype=torch.bool).bernoulli_(1 - p)
    count = math.prod(shape)
    if p == 0.5:
        words = _random_words(-(-count // 64))
        planes = torch.stack([words >> bit for bit in range(8)]).bitwise_and_(_LOW_BITS)
        return planes.view(torch.bool).view(-1)[:count].view(shape)
    draws = _random_words(-(-count // 8)).view(torch.uint8)[:count]
    return (draws >= int(256 * p)).view(shape)


def _random_words(count: int) -> Tensor:
    # Without its lower end random_() leaves the sign bit zero.
    return torch.empty(count, dtype=torch.int64).random_(-(2**63), None)
