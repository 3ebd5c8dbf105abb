"""Batch norm, gate, dropout and average pooling of a convolution block, on a CPU in one pass over its memory.

Passes over memory are what such a block costs there: torch's own operations take a dozen, gated_norm.c one forward and
two backward, and keep only what the convolution gave and a bit an element for dropout. The C file is compiled when
sed_lab is installed, if there is a compiler, once for each kind of processor; where it is missing, on other devices
and for other types than float32 and bfloat16, torch's operations do the same.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

_VERSION = 1  # of gated_norm.c, which says the same
_LANES = 16  # channels that the C code works on at once
# Which of the compiled ones a processor runs best, by torch's name for what it can.
_BUILT = {"AVX512": ("avx512", "avx2", "any"), "AVX2": ("avx2", "any")}


def norm_gated_pool(y: Tensor, norm: nn.Module, gate: nn.Linear, dropout: float, pool: tuple[int, int]) -> Tensor:
    """``avg_pool(dropout((W z + b) * sigmoid(z)))`` with ``z = norm(y)`` and the product over channels.

    Args:
        y: ``[B, C, F, M]``; the result is ``[B, C, F // pool[0], M // pool[1]]`` of the same type. Statistics, gate and
            sums are in float32 whatever ``y`` is.
        norm: batch norm of C channels; in training its running statistics move on as `torch.nn.BatchNorm2d`'s.
        gate: W and b, ``[C, C]`` and ``[C]``.
        dropout: the probability in effect, 0 when evaluating.
        pool: frames and mels that are pooled into one.
    """
    library = _library()
    if library is None or type(norm) is not nn.BatchNorm2d or not _fits(y, norm):
        z = norm(y)
        gated = F.linear(z.permute(0, 2, 3, 1), gate.weight, gate.bias).permute(0, 3, 1, 2)
        return F.avg_pool2d(F.dropout(gated * z.sigmoid(), dropout), pool)
    if norm.training:
        running = norm.running_mean, norm.running_var
        with torch.no_grad():
            mean, variance = torch.ops.aten.batch_norm_update_stats(y, *running, norm.momentum)
            norm.get_buffer("num_batches_tracked").add_(1)
    else:
        mean, variance = norm.running_mean, norm.running_var
    inverse = (variance + norm.eps).rsqrt()
    keep = keep_bits(y.numel(), dropout) if dropout else None
    return _NormGatedPool.apply(
        *(y, norm.weight, norm.bias, gate.weight, gate.bias, mean, inverse),
        *(norm.training, keep, 1 - dropout, pool, library),
    )  # fmt: skip


def keep_bits(n: int, dropout: float) -> Tensor:
    """Bytes whose first ``n`` bits, lowest first, are each independently 1 with probability ``1 - dropout``.

    torch draws one 32-bit number an element, on one thread. For a dropout of 1/2 each bit of a random 64-bit word is
    such a draw; for other multiples of 1/256 each byte compared with ``256 dropout`` is one. Both are exact; any other
    one goes to torch.
    """
    if dropout == 0.5:
        return _random_bytes(-(-n // 8))
    if (256 * dropout) % 1:
        kept = torch.empty(n, dtype=torch.bool).bernoulli_(1 - dropout)
    else:
        kept = _random_bytes(n) >= int(256 * dropout)
    return torch.from_numpy(np.packbits(kept.numpy(), bitorder="little"))


def _random_bytes(n: int) -> Tensor:
    # Without its lower end random_() leaves the sign bit zero.
    return torch.empty(-(-n // 8), dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)[:n]


class _NormGatedPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, *given: Any) -> Tensor:
        gamma, beta, weight, bias, mean, inverse, training, keep, kept, pool, library = given
        y = y.permute(0, 2, 3, 1).contiguous()
        clips, frames, mels, channels = y.shape
        scale = gamma * inverse
        shared = scale, beta - mean * scale, mean, weight.contiguous(), weight.t().contiguous(), bias
        out = y.new_empty(clips, frames // pool[0], mels // pool[1], channels)
        _run(library.forward, y, shared, keep, kept, pool, {"out": out})
        ctx.save_for_backward(y, inverse, keep, *shared)
        ctx.rest = training, kept, pool, library
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, inverse, keep, *shared = ctx.saved_tensors
        training, kept, pool, library = ctx.rest
        scale, mean, channels = shared[0], shared[2], y.shape[3]
        grad_y, grad = torch.empty_like(y), grad.permute(0, 2, 3, 1).to(y.dtype).contiguous()
        tensors = {"grad": grad, "grad_y": grad_y}
        sums = _run(library.backward, y, shared, keep, kept, pool, tensors)
        grad_bias, grad_beta, product = sums[channels:]
        grad_gamma = product * inverse
        if training:  # the statistics depend on y too (Ioffe & Szegedy 2015, section 3)
            n = y.numel() // channels
            slope = scale * inverse * grad_gamma / n
            offset = scale * grad_beta / n - slope * mean
            _run(library.norm_backward, y, shared, keep, kept, pool, tensors, offset, slope)
        else:
            grad_y.mul_(scale)
        return grad_y.permute(0, 3, 1, 2), grad_gamma, grad_beta, sums[:channels], grad_bias, *[None] * 7


class _Block(ctypes.Structure):
    """``block`` of gated_norm.c."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("clips", "frames", "mels", "channels")),
        *((name, ctypes.c_long) for name in ("pool_frames", "pool_mels", "half")),
        ("kept", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("scale", "shift", "mean", "weight", "turned", "bias")),
        *((name, ctypes.c_void_p) for name in ("y", "keep", "out", "grad", "grad_y")),
        *((name, ctypes.c_void_p) for name in ("sums", "scratch", "offset", "slope")),
    ]


def _run(
    function: Any,
    y: Tensor,
    shared: tuple[Tensor, ...],
    keep: Tensor | None,
    kept: float,
    pool: tuple[int, int],
    tensors: dict[str, Tensor],
    *norm: Tensor,
) -> Tensor:
    """Call ``function`` for shares of the clips, a thread each; the sums it made, ``[C + 3, C]``."""
    clips, frames, mels, channels = y.shape
    threads = min(torch.get_num_threads(), clips)
    sums = torch.zeros(threads, channels + 3, channels)
    rows = max(1, 4096 // (pool[0] * mels * channels)) * pool[0] * mels  # 16 kB of each intermediate
    scratch = torch.empty(threads, 3, rows, channels)
    tensors = {"y": y, **tensors} | ({} if keep is None else {"keep": keep})
    blocks = []
    for k in range(threads):
        first, last = clips * k // threads, clips * (k + 1) // threads
        block = _Block(last - first, frames, mels, channels, *pool, y.dtype == torch.bfloat16, kept)
        for name, tensor in zip(("scale", "shift", "mean", "weight", "turned", "bias"), shared, strict=True):
            setattr(block, name, tensor.data_ptr())
        for name, tensor in tensors.items():
            setattr(block, name, tensor.data_ptr() + first * (tensor.nbytes // clips))
        block.sums, block.scratch = sums[k].data_ptr(), scratch[k].data_ptr()
        if norm:
            block.offset, block.slope = (tensor.data_ptr() for tensor in norm)
        blocks.append(block)
    if threads == 1:
        function(blocks[0], rows)
    else:
        list(_threads(threads).map(function, blocks, [rows] * threads))
    return sums.sum(0)


def _fits(y: Tensor, norm: nn.BatchNorm2d) -> bool:
    plain = y.device.type == "cpu" and y.dtype in (torch.float32, torch.bfloat16) and not torch.onnx.is_in_onnx_export()
    usual = norm.affine and norm.track_running_stats and norm.momentum is not None
    return plain and usual and norm.weight.dtype == torch.float32 and y.shape[1] % _LANES == 0 and y.numel() > 0


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled C file, of what was built the one that suits this processor; None without one."""
    for kind in _BUILT.get(torch.backends.cpu.get_cpu_capability(), ("any",)):
        found = importlib.util.find_spec(f"sed_lab.model._gated_norm_{kind}")
        if found and found.origin:
            return load(found.origin)
    return None


def load(path: str) -> ctypes.CDLL | None:
    """A compiled gated_norm.c; None if it is of another version of sed_lab."""
    library = ctypes.CDLL(path)
    if library.version() != _VERSION:
        warnings.warn(f"{path} is of another version of sed_lab and not used; install sed_lab again", stacklevel=2)
        return None
    for name in ("forward", "backward", "norm_backward"):
        function = getattr(library, name)
        function.argtypes, function.restype = [ctypes.POINTER(_Block), ctypes.c_long], None
    return library


_threads = cache(ThreadPoolExecutor)
os.register_at_fork(after_in_child=_threads.cache_clear)  # a child has no threads of its parent's
