"""Quintuplets against the sentences that define them, searched by hand for every anchor."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from benchmarks.quintuplet import quintuplets, triple_header_hinge


def by_hand(e: torch.Tensor, cluster: torch.Tensor, classes: torch.Tensor) -> list[list[int]]:
    label = classes[cluster].tolist()
    ids = cluster.tolist()
    found = []
    for i in range(len(e)):
        near = [float(e[i] @ e[j]) for j in range(len(e))]

        def pick(choice: list[int], farthest: bool, near: list[float] = near) -> int:
            if not choice:
                return -1
            return (min if farthest else max)(choice, key=near.__getitem__)

        everyone = [j for j in range(len(e)) if j != i]
        found.append(
            [
                pick([j for j in everyone if ids[j] == ids[i]], farthest=True),
                pick([j for j in everyone if ids[j] != ids[i] and label[j] == label[i]], farthest=False),
                pick([j for j in everyone if label[j] == label[i]], farthest=True),
                pick([j for j in everyone if label[j] != label[i]], farthest=False),
            ]
        )
    return found


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 30), seed=st.integers(0, 1000), rows=st.integers(1, 7))
def test_each_anchor_gets_what_the_definition_says(n: int, seed: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    classes = torch.tensor([0, 0, 1, 2])
    cluster = torch.randint(4, (n,), generator=generator)
    e = F.normalize(torch.randn(n, 5, generator=generator, dtype=torch.float64))
    assert quintuplets(e, cluster, classes, rows).tolist() == by_hand(e, cluster, classes)


def test_the_hinges_by_hand() -> None:
    # At 0, 90, 180 and 180 degrees; squared distances from the first: 0, 2, 4, 4.
    e = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [-1.0, 0.0]])
    nothing = [-1, -1, -1, -1]
    one = torch.tensor([[1, 2, 1, 3], nothing, nothing, nothing])
    # max(0, .1 + 2 - 4) + max(0, .2 + 4 - 2) + max(0, .3 + 2 - 4), of four anchors
    assert torch.isclose(triple_header_hinge(e, one, (0.1, 0.2, 0.3)), torch.tensor(2.2 / 4))
    # Without a p+ there is no first hinge: .1 + 2 - 2 of the others would be .2 + 4 - 2 and .3 + 2 - 2.
    without = torch.tensor([[-1, 2, 1, 1], nothing, nothing, nothing])
    assert torch.isclose(triple_header_hinge(e, without, (0.1, 0.2, 0.3)), torch.tensor((2.2 + 0.3) / 4))
