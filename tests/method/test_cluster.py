"""Spherical k-means: against plain loops, and what must hold for any points."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from sed_lab.errors import InputError
from sed_lab.method import cluster
from sed_lab.method.cluster import BALANCE, assign_with_room, cluster_classes, mean_cosine, spherical_kmeans


def unit(n: int, dimensions: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(n, dimensions, generator=torch.Generator().manual_seed(seed)))


def greedy(similarity: np.ndarray, room: int) -> list[int]:
    """All pairs in falling order, a pair is taken when the point is free and the cluster has room."""
    n, k = similarity.shape
    pairs = sorted((-similarity[i, j], i, j) for i in range(n) for j in range(k))
    ids, left = [-1] * n, [room] * k
    for _, i, j in pairs:
        if ids[i] < 0 and left[j]:
            ids[i] = j
            left[j] -= 1
    return ids


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 1000), st.booleans())
def test_the_assignment_is_the_greedy_one(n: int, k: int, seed: int, ties: bool) -> None:
    similarity = np.random.default_rng(seed).normal(size=(n, k)).astype(np.float32)
    similarity = np.round(similarity) if ties else similarity
    room = math.ceil(n / k) + seed % 2
    assert assign_with_room(torch.from_numpy(similarity), torch.eye(k), room).tolist() == greedy(similarity, room)


def test_blocks_do_not_change_the_assignment(monkeypatch: pytest.MonkeyPatch) -> None:
    points, centroids = unit(90, 5, 0), unit(7, 5, 1)
    whole = assign_with_room(points, centroids, 13)
    monkeypatch.setattr(cluster, "BLOCK", 30)
    assert torch.equal(assign_with_room(points, centroids, 13), whole)


class Largest(TorchDispatchMode):
    """The numbers in the largest tensor that an operation gives."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple | list) else [result]:
            self.numbers = max(self.numbers, one.numel() if isinstance(one, torch.Tensor) else 0)
        return result


@pytest.mark.parametrize("balance", BALANCE)
def test_no_table_of_points_and_clusters_is_ever_whole(balance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "BLOCK", 2**14)
    points = unit(3000, 8, 0)
    with Largest() as largest:
        spherical_kmeans(points, 60, balance=balance, iterations=3)
    assert largest.numbers <= points.numel() < 3000 * 60 / 5


@pytest.mark.slow
def test_the_memory_of_many_points_and_clusters_is_bounded() -> None:
    """200,000 points, 400 clusters: a table of both is 320 MB in float32, and ranks of its pairs are 640 MB more."""
    code = (
        "import resource, torch\n"
        "from sed_lab.method.cluster import spherical_kmeans\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "points = torch.nn.functional.normalize(torch.randn(200_000, 64))\n"
        "spherical_kmeans(points[:500], 5)\n"
        "before = peak()\n"
        "spherical_kmeans(points, 400, balance='alternate', iterations=2)\n"
        "print(peak() - before)\n"
    )
    megabytes = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert int(megabytes) < 300


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(1, 8), st.integers(0, 1000))
def test_alternating_never_lowers_the_mean_cosine(n: int, k: int, seed: int) -> None:
    points = unit(n, 5, seed)
    found = {balance: spherical_kmeans(points, min(k, n), seed, balance) for balance in BALANCE}
    assert mean_cosine(points, *found["alternate"]) >= mean_cosine(points, *found["greedy"])
    assert torch.bincount(found["alternate"][0]).max() <= math.ceil(n / min(k, n))


def test_alternating_brings_points_nearer_to_their_centroids() -> None:
    # Nine groups, the largest a hundred times the smallest, to be shared by nine clusters of equal size.
    sizes = torch.tensor([200, 100, 60, 40, 20, 10, 6, 4, 2])
    points = F.normalize(unit(9, 12, 0).repeat_interleave(sizes, 0) + 0.4 * unit(442, 12, 1))
    greedy, alternate = (mean_cosine(points, *spherical_kmeans(points, 9, 0, one)) for one in ("greedy", "alternate"))
    assert alternate > greedy + 0.01


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(1, 8), st.integers(0, 1000), st.sampled_from(["greedy", "alternate"]))
def test_every_point_has_one_cluster_and_sizes_are_bounded(n: int, k: int, seed: int, balance: str) -> None:
    k = min(k, n)
    points = unit(n, 5, seed)
    ids, centroids = spherical_kmeans(points, k, seed, balance)
    sizes = torch.bincount(ids, minlength=k)
    room = math.ceil(n / k)
    assert ids.shape == (n,)
    assert sizes.sum() == n
    assert sizes.max() <= room
    assert sizes.min() >= max(1, n - (k - 1) * room)
    assert torch.allclose(centroids.norm(dim=1), torch.ones(k), atol=1e-5)
    for number in range(k):
        assert torch.allclose(centroids[number], F.normalize(points[ids == number].sum(0), dim=0), atol=1e-5)


def test_clear_groups_are_found_whatever_the_seed() -> None:
    centres = torch.eye(4)
    points = F.normalize(centres.repeat_interleave(25, 0) + 0.05 * torch.randn(100, 4))
    for seed in range(10):
        ids, _ = spherical_kmeans(points, 4, seed)
        groups = ids.view(4, 25)
        assert (groups == groups[:, :1]).all()
        assert sorted(groups[:, 0].tolist()) == [0, 1, 2, 3]


def test_without_balance_the_objective_is_a_local_maximum() -> None:
    points = unit(200, 6, 3)
    ids, centroids = spherical_kmeans(points, 5, 1, balance="none")
    assert torch.equal((points @ centroids.T).argmax(1), ids)  # no point gains by moving


def test_equal_points_still_fill_every_cluster() -> None:
    points = F.normalize(torch.ones(9, 3))
    ids, _ = spherical_kmeans(points, 3)
    assert torch.bincount(ids, minlength=3).tolist() == [3, 3, 3]


def test_the_same_seed_gives_the_same_clusters() -> None:
    points = unit(300, 8, 0)
    a, b, c = (spherical_kmeans(points, 7, seed) for seed in (5, 5, 6))
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], c[0])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="3 points cannot make 4 clusters"):
        spherical_kmeans(unit(3, 2, 0), 4)
    with pytest.raises(InputError, match="balance='fair' is unknown; use greedy, alternate or none"):
        spherical_kmeans(unit(3, 2, 0), 2, balance="fair")
    with pytest.raises(InputError, match="2 clusters of 1 points have no room for 3"):
        assign_with_room(torch.zeros(3, 2), torch.eye(2), 1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 25), min_size=1, max_size=4), st.integers(0, 1000))
def test_each_cluster_holds_one_class_and_every_point_one_cluster(clips: list[int], seed: int) -> None:
    counts = [n // min(clips) for n in clips]
    order = torch.randperm(sum(clips), generator=torch.Generator().manual_seed(seed))
    label = torch.arange(len(clips)).repeat_interleave(torch.tensor(clips))[order]
    points = unit(sum(clips), 4, seed)
    ids, centroids = cluster_classes(points, label, counts, seed)
    assert centroids.shape == (sum(counts), 4)
    assert sorted(set(ids.tolist())) == list(range(sum(counts)))  # none is empty
    owner = torch.arange(len(clips)).repeat_interleave(torch.tensor(counts))
    assert torch.equal(owner[ids], label)
    for c, (n, k) in enumerate(zip(clips, counts, strict=True)):
        sizes = torch.bincount(ids[label == c], minlength=sum(counts))[owner == c]
        room = math.ceil(n / k)
        assert sizes.sum() == n
        assert max(1, n - (k - 1) * room) <= sizes.min() <= sizes.max() <= room
    again = cluster_classes(points, label, counts, seed)
    assert torch.equal(again[0], ids)
    assert torch.equal(again[1], centroids)
