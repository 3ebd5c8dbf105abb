"""Spherical k-means with clusters of nearly equal size (Banerjee et al. 2005; Arora et al. 2019, section 3).

Everything is seeded and runs on the device of its points. Time is linear in points x clusters, memory in points and in
clusters: no table of both is ever whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sed_lab.errors import InputError

BALANCE = ("greedy", "alternate", "none")
BLOCK = 2**21  # similarities held at once


def spherical_kmeans(
    points: Tensor, clusters: int, seed: int = 0, balance: str = "greedy", iterations: int = 50
) -> tuple[Tensor, Tensor]:
    """Cluster unit vectors ``points [N, E]`` by cosine: cluster of each point ``[N]`` and unit centroids ``[K, E]``.

    k-means++ start, then points go to the nearest centroid and centroids to the direction of their points' sum, until
    nothing changes; a cluster left empty starts again at the point farthest from its centroid. With ``balance``
    ``greedy`` a last assignment gives every cluster room for ``ceil(N / K)`` points only, nearest pairs first, so sizes
    lie in ``[N - (K - 1) ceil(N / K), ceil(N / K)]``. With ``alternate`` centroids then follow their points, and the
    assignment is made again, as long as the mean cosine of points with their own centroid rises.

    Raises:
        InputError: there are fewer points than clusters, or ``balance`` is unknown.
    """
    if balance not in BALANCE:
        raise InputError(f"balance={balance!r} is unknown; use {', '.join(BALANCE[:-1])} or {BALANCE[-1]}")
    if not 1 <= clusters <= len(points):
        raise InputError(f"{len(points)} points cannot make {clusters} clusters; ask for 1 to {len(points)}")
    centroids = _start(points, clusters, torch.Generator().manual_seed(seed))
    ids = torch.full((len(points),), -1, device=points.device)
    for _ in range(iterations):
        nearest = torch.empty_like(ids)
        for rows in _blocks(len(points), clusters):
            nearest[rows] = (points[rows] @ centroids.T).argmax(1)
        found = _without_empty(nearest, points, centroids)
        if torch.equal(found, ids):
            break
        ids = found
        centroids = _centroids(points, ids, clusters)
    if balance == "none":
        return ids, centroids
    ids, centroids = _balanced(points, centroids)
    for _ in range(iterations if balance == "alternate" else 0):
        further = _balanced(points, centroids)
        if mean_cosine(points, *further) <= mean_cosine(points, ids, centroids):
            break
        ids, centroids = further
    return ids, centroids


def mean_cosine(points: Tensor, ids: Tensor, centroids: Tensor) -> float:
    """Mean over ``points [N, E]`` of the cosine with the centroid of the own cluster ``[N]``."""
    return float(_own_cosine(points, ids, centroids).double().mean())


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


def assign_with_room(points: Tensor, centroids: Tensor, room: int) -> Tensor:
    """The cluster ``[N]`` of each of ``points [N, E]``, nearest pairs with ``centroids [K, E]`` first, at most ``room``
    points each.

    Points ask the nearest cluster that would have them; a cluster keeps the nearest ``room`` of those who ask, and
    once it is full has nobody farther than the farthest of these. With one similarity for both sides that ends where
    taking all pairs in falling order does. Equal similarities are taken in the order of points, then of clusters.

    Raises:
        InputError: there is not room for all points.
    """
    n, k = len(points), len(centroids)
    if n > room * k:
        raise InputError(f"{k} clusters of {room} points have no room for {n}")
    device = points.device
    ids, near = torch.empty(n, dtype=torch.int64, device=device), torch.empty(n, device=device)
    least = torch.full((k,), -math.inf, device=device)  # similarity of the farthest point of a full cluster
    last = torch.full((k,), n, device=device)  # and the number of that point
    members = [torch.empty(0, dtype=torch.int64, device=device)] * k
    free = torch.arange(n, device=device)
    while len(free):
        ids[free], near[free] = _nearest_open(points, centroids, free, least, last)
        counts = torch.bincount(ids[free], minlength=k).tolist()
        asking = free[ids[free].argsort(stable=True)].split(counts)
        turned_away = [free[:0]]
        for cluster in (number for number, count in enumerate(counts) if count):
            inside = torch.cat([members[cluster], asking[cluster]]).sort().values
            inside = inside[near[inside].argsort(descending=True, stable=True)]
            members[cluster] = inside[:room]
            turned_away.append(inside[room:])
            if len(inside) >= room:
                last[cluster] = inside[room - 1]
                least[cluster] = near[inside[room - 1]]
        free = torch.cat(turned_away)
    return ids


def _nearest_open(
    points: Tensor, centroids: Tensor, free: Tensor, least: Tensor, last: Tensor
) -> tuple[Tensor, Tensor]:
    """For the points ``free [A]`` the nearest cluster that would have each, and the similarity."""
    ids, near = torch.empty_like(free), torch.empty(len(free), device=free.device)
    for rows in _blocks(len(free), len(centroids)):
        part = free[rows]
        # Rounded from more digits, so that a pair has one similarity whatever else is in its block.
        similarity = (points[part].double() @ centroids.double().T).float()
        shut = (similarity < least) | ((similarity == least) & (part[:, None] >= last))
        near[rows], ids[rows] = similarity.masked_fill_(shut, -math.inf).max(1)
    return ids, near


def _balanced(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Clusters of nearly equal size around ``centroids``, and their own centroids."""
    ids = assign_with_room(points, centroids, math.ceil(len(points) / len(centroids)))
    ids = _without_empty(ids, points, centroids)
    return ids, _centroids(points, ids, len(centroids))


def _blocks(rows: int, width: int) -> Iterator[slice]:
    """So many rows in parts: a table of a part with ``width`` columns holds at most `BLOCK` numbers.

    Results are written into tensors that are there before: between the blocks' own they would scatter the memory.
    """
    step = max(1, BLOCK // width)
    yield from (slice(first, first + step) for first in range(0, rows, step))


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


def _own_cosine(points: Tensor, ids: Tensor, centroids: Tensor) -> Tensor:
    cosine = torch.empty(len(points), device=points.device)
    for rows in _blocks(*points.shape):
        cosine[rows] = (points[rows] * centroids[ids[rows]]).sum(1)
    return cosine


def _without_empty(ids: Tensor, points: Tensor, centroids: Tensor) -> Tensor:
    """Give each empty cluster the point farthest from its own centroid, taken from a cluster that has others."""
    counts = torch.bincount(ids, minlength=len(centroids))
    empty = torch.nonzero(counts == 0).flatten().tolist()
    if not empty:
        return ids
    ids, near = ids.clone(), _own_cosine(points, ids, centroids)
    for cluster in empty:
        farthest = int(near.masked_fill(counts[ids] < 2, math.inf).argmin())
        counts[ids[farthest]] -= 1
        ids[farthest] = cluster
        counts[cluster] = 1
    return ids
