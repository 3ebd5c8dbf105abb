"""Spherical k-means: against plain loops, and what must hold for any points."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.method.cluster import assign_with_room, cluster_classes, spherical_kmeans


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
    assert assign_with_room(torch.from_numpy(similarity), room).tolist() == greedy(similarity, room)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(1, 8), st.integers(0, 1000))
def test_every_point_has_one_cluster_and_sizes_are_bounded(n: int, k: int, seed: int) -> None:
    k = min(k, n)
    points = unit(n, 5, seed)
    ids, centroids = spherical_kmeans(points, k, seed)
    sizes = torch.bincount(ids, minlength=k)
    room = math.ceil(n / k)
    assert ids.shape == (n,)
    assert sizes.sum() == n
    assert sizes.max() <= room
    assert sizes.min() >= max(1, n - (k - 1) * room)
    assert torch.allclose(centroids.norm(dim=1), torch.ones(k), atol=1e-5)
    for cluster in range(k):
        assert torch.allclose(centroids[cluster], F.normalize(points[ids == cluster].sum(0), dim=0), atol=1e-5)


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
    with pytest.raises(InputError, match="balance='fair' is unknown; use greedy or none"):
        spherical_kmeans(unit(3, 2, 0), 2, balance="fair")
    with pytest.raises(InputError, match="2 clusters of 1 points have no room for 3"):
        assign_with_room(torch.zeros(3, 2), 1)


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
