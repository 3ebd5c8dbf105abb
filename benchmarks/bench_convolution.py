"""Convolutions that keep a map's size, forward and backward: ours beside PyTorch's own, and both's rounding.

The layers are those of the DCASE 2021 network behind its first one, and of huang2021's encoder, both sides by
turns. Rounding is the largest difference to double precision, as a share of the largest value, of output and gradients.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.sides import processor
from sed_lab.model.crnn import convolve
from sed_lab.run.memory import keep_freed_memory

# A kernel's edge, channels in and out, frames and mels.
LAYERS = ((3, 16, 32, 313, 64), (3, 32, 64, 156, 32), (3, 128, 128, 156, 8), (5, 160, 160, 500, 40))


def run(clips: int = 8, repeats: int = 5, threads: int = 2) -> dict[str, Any]:
    """The best of some times of each side, in seconds."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    rows, errors = [], []
    for size, n_in, n_out, frames, mels in LAYERS:
        conv = nn.Conv2d(n_in, n_out, size, padding=size // 2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x, grad = (torch.randn(clips, n, frames, mels).to(memory_format=torch.channels_last) for n in (n_in, n_out))
        x.requires_grad_()
        sides: dict[str, Callable[[Tensor], Tensor]] = {"ours": partial(convolve, conv=conv), "peer": conv}
        turns = [{name: seconds(side, x, conv, grad) for name, side in sides.items()} for _ in range(repeats)]
        best = {name: min(turn[name] for turn in turns) for name in sides}
        what = f"convolution {size}x{size}, {n_in} to {n_out} channels, {frames} x {mels}, {clips} clips{processor()}"
        rows.append({"what": what, **best, "unit": "s", "name": "PyTorch"})
        errors.append({name: rounding(side, x[:1].detach(), conv, grad[:1]) for name, side in sides.items()})
    worst = {name: max(error[name] for error in errors) for name in ("ours", "peer")}
    what = "their rounding, at most, as a share of the largest value"
    rows.append({"what": what, **worst, "unit": "", "better": "lower", "name": "PyTorch"})
    return {"rows": rows, "threads": threads}


def seconds(side: Callable[[Tensor], Tensor], x: Tensor, conv: nn.Conv2d, grad: Tensor) -> float:
    """Of a forward and a backward pass."""
    start = time.perf_counter()
    torch.autograd.grad(side(x), (x, *conv.parameters()), grad)
    return time.perf_counter() - start


def rounding(side: Callable[[Tensor], Tensor], x: Tensor, conv: nn.Conv2d, grad: Tensor) -> float:
    """The largest of output's and gradients'."""
    given = (x.requires_grad_(), *conv.parameters())
    double = [tensor.detach().double().requires_grad_() for tensor in given]
    found, exact = side(x), F.conv2d(double[0], double[1], double[2], padding=conv.kernel_size[0] // 2)
    pairs = [(found, exact)]
    pairs += zip(
        torch.autograd.grad(found, given, grad), torch.autograd.grad(exact, double, grad.double()), strict=True
    )
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)
