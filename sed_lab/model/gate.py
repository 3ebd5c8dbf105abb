"""The CRNN's gate, dropout and pooling as one step, which on a CPU works in pieces that fit its caches."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional as F

from sed_lab.model.dropout import keep_mask

# Elements worked on at once, 1 MB: a few such tensors fit a core's second-level cache.
_PIECE = 2**18

_avg_pool_backward = torch.ops.aten.avg_pool2d_backward
_sigmoid_backward = torch.ops.aten.sigmoid_backward


def gated_pool(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, dropout: float, pool: tuple[int, int]
) -> torch.Tensor:
    """``avg_pool(dropout((weight x + bias) * sigmoid(x)))`` of ``x [B, C, F, M]``, the product over channels.

    ``dropout`` is the probability in effect (0 when evaluating). Outside autocast a CPU takes :class:`_GatedPool`,
    the same function with the same dropout distribution: of the intermediate tensors, each as large as ``x``, it keeps
    none for the backward pass except the dropout mask, one byte an element.
    """
    if x.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
        out: torch.Tensor = _GatedPool.apply(x, weight, bias, dropout, pool)
        return out
    gate = F.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)
    return F.avg_pool2d(F.dropout(gate * x.sigmoid(), dropout), pool)


class _GatedPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        dropout: float,
        pool: tuple[int, int],
    ) -> torch.Tensor:
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
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
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


def _pieces(x: torch.Tensor, pool: tuple[int, int]) -> list[tuple[slice, slice, slice]]:
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


def _rows(x: torch.Tensor) -> torch.Tensor:
    """``[B, C, F, M]`` in channels-last order as a matrix ``[B F M, C]``, without a copy."""
    return x.permute(0, 2, 3, 1).view(-1, x.shape[1])


def _like(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    batch, channels, frames, mels = x.shape
    return rows.view(batch, frames, mels, channels).permute(0, 3, 1, 2)
