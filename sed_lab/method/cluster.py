"""Spherical k-means with clusters of nearly equal size (Banerjee et al. 2005; Arora et al. 2019, section 3).

Everything is seeded and runs on the device of its points; cost is linear in points x clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sed_lab.errors import InputError

BALANCE = ("greedy", "none")


def spherical_kmeans(
    points: Tensor, clusters: int, seed: int = 0, balance: str = "greedy", iterations: int = 50
) -> tuple[Tensor, Tensor]:
    """Cluster unit vectors ``points [N, E]`` by cosine: cluster of each point ``[N]`` and unit centroids ``[K, E]``.

    k-means++ start, then points go to the nearest centroid and centroids to the direction of their points' sum, until
    nothing changes; a cluster left empty starts again at the point farthest from its centroid. With ``balance``
    ``greedy`` a last assignment gives every cluster room for ``ceil(N / K)`` points only, nearest pairs first, so sizes
    lie in ``[N - (K - 1) ceil(N / K), ceil(N / K)]``.

    Raises:
        InputError: there are fewer points than clusters, or ``balance`` is unknown.
    """
    if balance not in BALANCE:
        raise InputError(f"balance={balance!r} is unknown; use {' or '.join(BALANCE)}")
    if not 1 <= clusters <= len(points):
        raise InputError(f"{len(points)} points cannot make {clusters} clusters; ask for 1 to {len(points)}")
    centroids = _start(points, clusters, torch.Generator().manual_seed(seed))
    ids = torch.full((len(points),), -1, device=points.device)
    for _ in range(iterations):
        found = _without_empty((points @ centroids.T).argmax(1), points, centroids)
        if torch.equal(found, ids):
            break
        ids = found
        centroids = _centroids(points, ids, clusters)
    if balance == "greedy":
        ids = assign_with_room(points @ centroids.T, math.ceil(len(points) / clusters))
        ids = _without_empty(ids, points, centroids)
        centroids = _centroids(points, ids, clusters)
    return ids, centroids


def cluster_classes(
    points: Tensor, point_class: Tensor, counts: Sequence[int], seed: int = 0, balance: str = "greedy"
) -> tuple[Tensor, Tensor]:
    """Cluster the points of each class by themselves: cluster of each point ``[N]`` and centroids ``[K, E]``.

    Args:
        points: ``[N, E]`` unit vectors. point_class: ``[N]``, from 0.
        counts: clusters of each class; those of the first class come first.

    Raises:
        InputError: as `spherical_kmeans`.
    """
    ids = torch.full((len(points),), -1, device=points.device)
    centroids, first = [], 0
    for number, clusters in enumerate(counts):
        mine = point_class.to(points.device) == number
        inside, found = spherical_kmeans(points[mine], clusters, seed + number, balance)
        ids[mine] = inside + first
        centroids.append(found)
        first += clusters
    return ids, torch.cat(centroids)


def assign_with_room(similarity: Tensor, room: int) -> Tensor:
    """The cluster ``[N]`` of each point, nearest pairs of ``similarity [N, K]`` first, at most ``room`` points each.

    Points ask their nearest cluster that has not turned them away; a cluster keeps the nearest ``room`` of those who
    ask. With one similarity for both sides that ends where taking all pairs in falling order does. Equal similarities
    are taken in the order of points, then of clusters.

    Raises:
        InputError: there is not room for all points.
    """
    n, k = similarity.shape
    if n > room * k:
        raise InputError(f"{k} clusters of {room} points have no room for {n}")
    # Every pair's rank in the falling order, so that nothing is equal.
    rank = torch.empty(n * k, dtype=torch.int64, device=similarity.device)
    rank[similarity.flatten().argsort(descending=True, stable=True)] = torch.arange(n * k, device=similarity.device)
    rank = rank.view(n, k)
    open_to = rank.clone()  # n * k where a cluster has turned the point away
    while True:
        asked = open_to.argmin(1)
        counts = torch.bincount(asked, minlength=k)
        if (counts <= room).all():
            return asked
        for cluster in torch.nonzero(counts > room).flatten().tolist():
            askers = torch.nonzero(asked == cluster).flatten()
            farthest = rank[askers, cluster].argsort()[room:]
            open_to[askers[farthest], cluster] = n * k


def _start(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """k-means++: each next centroid is a point drawn with a chance that grows with its distance from those there."""
    draws = torch.rand(clusters, generator=generator).tolist()  # drawn on the CPU: the same on every device
    chosen = [min(int(draws[0] * len(points)), len(points) - 1)]
    distance = 1 - points @ points[chosen[0]]
    for draw in draws[1:]:
        distance = distance.clamp(min=0)
        distance[chosen] = 0
        reached = distance.double().cumsum(0)
        index = int(torch.searchsorted(reached, reached[-1] * draw, right=True))
        chosen.append(min(index, len(points) - 1))
        distance = torch.minimum(distance, 1 - points @ points[chosen[-1]])
    return points[chosen]


def _centroids(points: Tensor, ids: Tensor, clusters: int) -> Tensor:
    sums = torch.zeros(clusters, points.shape[1], dtype=points.dtype, device=points.device)
    return F.normalize(sums.index_add_(0, ids, points))


def _without_empty(ids: Tensor, points: Tensor, centroids: Tensor) -> Tensor:
    """Give each empty cluster the point farthest from its own centroid, taken from a cluster that has others."""
    ids = ids.clone()
    counts = torch.bincount(ids, minlength=len(centroids))
    for cluster in torch.nonzero(counts == 0).flatten().tolist():
        near = (points * centroids[ids]).sum(1)
        near[counts[ids] < 2] = math.inf
        farthest = int(near.argmin())
        counts[ids[farthest]] -= 1
        ids[farthest] = cluster
        counts[cluster] = 1
    return ids
