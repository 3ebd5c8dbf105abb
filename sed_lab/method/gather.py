"""Rows of every device's clips in one pass, for losses that couple clips (pairs, clusters), with their gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def devices() -> tuple[int, int]:
    """This process's number among those that train together, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather_rows(rows: Tensor) -> Tensor:
    """``[B, ...]`` of each device -> ``[sum of B, ...]`` in the order of devices, on all; B may differ, or be 0.

    Every device must go on to compute the same loss of what it gets. The gradient in its own rows is then the number
    of devices times that loss's, since DDP divides the sum over devices by their number: parameters get the gradient
    of one device that has all rows. Nothing is sent in the backward pass.
    """
    rank, world = devices()
    return rows if world == 1 else _Gather.apply(rows, rank, world)


def _rows_of_devices(rows: Tensor, world: int) -> list[Tensor]:
    own = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(own) for _ in range(world)]
    dist.all_gather(counts, own)
    numbers = [int(count) for count in counts]
    padded = rows.new_zeros((max(numbers), *rows.shape[1:]))  # collectives want one shape
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    return [part[:number] for part, number in zip(parts, numbers, strict=True)]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, rank: int, world: int) -> Tensor:
        parts = _rows_of_devices(rows.detach(), world)
        first = sum(map(len, parts[:rank]))
        ctx.own, ctx.world = slice(first, first + len(rows)), world
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        return outer[0][ctx.own] * ctx.world, None, None
