"""One kernel that updates all parameters, where torch's optimiser has one: on a GPU a step starts many otherwise."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch


def fused(make: Callable[..., torch.optim.Optimizer]) -> dict[str, bool]:
    """``{"fused": True}``, to be given to ``make``; nothing where it has no such kernel or was told how to go.

    A checkpoint goes on as it began: whether it is fused lies in the optimiser's state.
    """
    known = inspect.signature(make).parameters
    told = [name for name in ("fused", "foreach", "differentiable") if name in known and known[name].default]
    return {"fused": True} if "fused" in known and not told else {}
