"""Where the optimiser is fused, and that checkpoints go on with either kind."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sed_lab.method.base import SedMethod

ADAM = partial(torch.optim.Adam, lr=0.1)


class Own(torch.optim.Optimizer):
    def __init__(self, params: Iterable[torch.Tensor], lr: float) -> None:
        super().__init__(params, {"lr": lr})


@pytest.mark.parametrize(
    ("make", "device", "clip", "expected"),
    [
        (ADAM, "cuda", None, True),
        (partial(torch.optim.AdamW, lr=0.1, weight_decay=0.01), "cuda:1", None, True),
        (ADAM, "cpu", None, None),
        (ADAM, "cuda", 1.0, None),
        (partial(ADAM, foreach=True), "cuda", None, None),
        (partial(Own, lr=0.1), "cuda", None, None),
    ],
)
def test_it_is_fused_on_a_gpu_where_nothing_speaks_against_it(
    make: Any, device: str, clip: float | None, expected: bool | None
) -> None:
    p, trainer = torch.nn.Parameter(torch.zeros(2)), SimpleNamespace(gradient_clip_val=clip)
    method: Any = SimpleNamespace(
        make_optimizer=make, device=torch.device(device), trainer=trainer, parameter_groups=lambda: [p]
    )
    (group,) = SedMethod.configure_optimizers(method).param_groups
    assert group.get("fused") is expected


@pytest.mark.parametrize(("before", "after"), [(True, None), (None, True)])
def test_a_checkpoint_goes_on_whichever_kind_made_it(before: bool | None, after: bool | None) -> None:
    def train(optimizer: torch.optim.Optimizer, p: torch.Tensor) -> None:
        for number in range(3):
            optimizer.zero_grad()
            ((p - number) ** 4).sum().backward()
            optimizer.step()

    p = torch.nn.Parameter(torch.linspace(-1, 1, 7))
    first = ADAM([p], fused=before)
    train(first, p)
    state, q = copy.deepcopy(first.state_dict()), torch.nn.Parameter(p.detach().clone())
    second = ADAM([q], fused=after)
    second.load_state_dict(state)
    train(first, p)
    train(second, q)
    torch.testing.assert_close(q, p)
