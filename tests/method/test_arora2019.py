"""The paper's formulas: printed counts, numbers worked out by hand, gradients against a naive double loop."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sed_lab.errors import InputError
from sed_lab.method.arora2019 import cluster_weight, count_clusters, log_v, triple_header

CLASSES = torch.tensor([0, 0, 1, 2, 2, 2])
H = torch.tensor(
    [
        [0.9, 0.4, -0.2, 0.1, 0.7, -0.5],
        [0.2, 0.8, 0.1, 0.3, -0.1, 0.6],
        [-0.3, 0.5, 0.95, 0.2, 0.1, 0.0],
        [0.1, 0.2, 0.3, 0.6, 0.55, 0.4],
    ],
    dtype=torch.float64,
)
K = torch.tensor([0, 1, 2, 3])


def naive(h: torch.Tensor, cluster: torch.Tensor, classes: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
    """Eq. 5 to 9 as they are written, term by term."""
    total = torch.zeros((), dtype=h.dtype)
    w = [sum(1.0 for other in classes if other == mine) for mine in classes]
    for i, k in enumerate(cluster.tolist()):
        same = [j for j in range(len(classes)) if j != k and classes[j] == classes[k]]
        other = [j for j in range(len(classes)) if classes[j] != classes[k]]
        below = torch.exp(alpha * h[i, k])
        if same:
            below = below + torch.exp(alpha * h[i, max(same, key=lambda j: h[i, j].item())] - 5)
        if other:
            below = below + torch.exp(alpha * h[i, max(other, key=lambda j: h[i, j].item())] - 0)
        total = total - max(w) / w[k] * torch.log(torch.exp(alpha * h[i, k]) / below)
    return total / len(cluster)


@pytest.mark.parametrize(
    ("clips", "expected"),
    [
        ((13500, 2300, 4100, 36000), [5, 1, 1, 15]),  # the paper's counts; its ratio 6:1:2:16 is rounded
        ((166, 166, 668), [1, 1, 4]),
        ((167, 167, 666), [1, 1, 3]),
        ((1610, 1610, 805, 20930), [2, 2, 1, 26]),
    ],
)
def test_cluster_counts(clips: tuple[int, ...], expected: list[int]) -> None:
    assert count_clusters(clips) == expected


def test_an_empty_class_cannot_be_clustered() -> None:
    with pytest.raises(InputError, match="classes of 3, 0 clips"):
        count_clusters((3, 0))


def test_weights_count_the_clusters_of_a_class() -> None:
    weight = cluster_weight(CLASSES)
    assert weight[K].tolist() == [1.5, 1.5, 3.0, 1.0]
    per_class = cluster_weight(torch.repeat_interleave(torch.arange(4), torch.tensor([5, 1, 1, 15])))
    assert [float(per_class[k]) for k in (0, 5, 6, 7)] == [3.0, 15.0, 15.0, 1.0]


@pytest.mark.parametrize(
    ("alpha", "v", "mean"),
    [
        (1.0, [0.54860127, 0.54871834, 0.61063923, 0.5723353], 0.95965181),
        (10.0, [0.88076186, 0.88078412, 0.98901306, 0.94888018], 0.11662052),
    ],
)
def test_numbers_worked_out_by_hand(alpha: float, v: list[float], mean: float) -> None:
    assert log_v(H, K, CLASSES, alpha).exp().tolist() == pytest.approx(v, abs=1e-6)
    assert float(triple_header(H, K, CLASSES, alpha)) == pytest.approx(mean, abs=1e-6)
    assert float(naive(H, K, CLASSES, alpha)) == pytest.approx(mean, abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(0, 999))
def test_value_and_gradient_are_those_of_the_double_loop(clips: int, counts: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    classes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    cluster = torch.randint(len(classes), (clips,), generator=generator)
    ours = torch.randn(clips, len(classes), generator=generator).mul(3).requires_grad_()
    theirs = ours.detach().double().requires_grad_()
    a, b = triple_header(ours, cluster, classes), naive(theirs, cluster, classes)
    a.backward()
    b.backward()
    assert a.item() == pytest.approx(b.item(), rel=1e-5, abs=1e-6)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-6)


def test_extreme_products_stay_finite() -> None:
    h = torch.tensor([[300.0, -300.0, 0.0]], requires_grad=True)
    loss = triple_header(h, torch.tensor([1]), torch.tensor([0, 0, 1]))
    loss.backward()
    assert math.isfinite(loss.item())
    assert h.grad is not None
    assert bool(h.grad.isfinite().all())
