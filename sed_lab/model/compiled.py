"""The C code of convolution blocks (gated_norm.c, winograd.c): which of what was built, what it is given, its threads.

It is compiled where sed_lab is installed, if there is a compiler, for each kind of processor.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch

LANES = 16  # numbers of channels are multiples of it
_VERSION = 3  # of both files
# Which of the compiled ones a processor runs best, by torch's name for what it can.
_BUILT = {"AVX512": ("avx512", "avx2", "any"), "AVX2": ("avx2", "any")}


def _turned(size: int) -> torch.Tensor:
    """What makes a kernel's 36 numbers, G w G', of its ``size**2`` (Lavin & Gray 2016): ``[36, size**2]``."""
    powers = [[point**j / by for j in range(size)] for point, by in ((0, 4), (1, -6), (-1, -6), (2, 24), (-2, 24))]
    g = torch.tensor([*powers, [0.0] * (size - 1) + [1.0]], dtype=torch.float64)
    return torch.kron(g, g).float()


TURNED = {size: _turned(size) for size in (3, 5)}
# What torch's convolutions of unchanged size have as kernel, padding, stride, dilation, groups and padding mode.
SAME = {((size, size), (size // 2, size // 2), (1, 1), (1, 1), 1, "zeros") for size in TURNED}


def _fields(kind: type, names: str) -> list[tuple[str, type]]:
    return [(name, kind) for name in names.split()]


class GatedNorm(ctypes.Structure):
    """``block`` of gated_norm.c."""

    _fields_ = [
        *_fields(ctypes.c_long, "clips frames mels channels pool_frames pool_mels half rows"),
        ("kept", ctypes.c_float),
        *_fields(
            ctypes.c_void_p, "scale shift mean weight turned bias y keep out grad grad_y sums scratch offset slope"
        ),
    ]


class Convolution(ctypes.Structure):
    """``convolution`` of winograd.c."""

    _fields_ = [
        *_fields(ctypes.c_long, "clips frames mels n_in n_out edge"),
        *_fields(ctypes.c_void_p, "x kernel bias y grad sums scratch"),
    ]


@cache
def library() -> ctypes.CDLL | None:
    """The compiled code, of what was built the one that suits this processor; None without one."""
    for kind in _BUILT.get(torch.backends.cpu.get_cpu_capability(), ("any",)):
        found = importlib.util.find_spec(f"sed_lab.model._compiled_{kind}")
        if found and found.origin:
            return load(found.origin)
    warnings.warn(
        "the C code of convolution blocks is not built, so that PyTorch computes them, slower;"
        " install sed_lab again where there is a C compiler",
        stacklevel=2,
    )
    return None


def load(path: str) -> ctypes.CDLL | None:
    """Compiled code; None if it is of another version of sed_lab."""
    found = ctypes.CDLL(path)
    if found.version() != _VERSION:
        warnings.warn(f"{path} is of another version of sed_lab and not used; install sed_lab again", stacklevel=2)
        return None
    functions = {GatedNorm: ("forward", "backward", "norm_backward"), Convolution: ("convolve", "convolve_kernel")}
    for block, names in functions.items():
        for name in names:
            function = getattr(found, name)
            function.argtypes, function.restype = [ctypes.POINTER(block)], None
    found.convolve_scratch.argtypes, found.convolve_scratch.restype = [ctypes.c_long] * 2, ctypes.c_long
    return found


threads = cache(ThreadPoolExecutor)
os.register_at_fork(after_in_child=threads.cache_clear)  # a child has no threads of its parent's
