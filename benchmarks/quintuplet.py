"""Quintuplets and their triple-header hinge loss: what Arora et al. 2019 compare their loss with.

Source: C. Huang, Y. Li, C. C. Loy and X. Tang, "Learning deep representation for imbalanced classification", CVPR 2016.
With D the squared distance of unit vectors, an anchor i asks for

    D(i, p+) < D(i, p-) < D(i, p--) < D(i, n)

where p+ is the most distant sample of its cluster, p- the nearest of another cluster of its class, p-- the most distant
of its class, and n the nearest of another class. Finding them takes the similarity of every pair of samples.
"""

from __future__ import annotations

import math

import torch


@torch.no_grad()
def quintuplets(e: torch.Tensor, cluster: torch.Tensor, cluster_class: torch.Tensor, rows: int = 1024) -> torch.Tensor:
    """The indices of p+, p-, p-- and n for each anchor, ``[I, 4]``; -1 where there is none.

    Args:
        e: ``[I, E]`` unit vectors. cluster: ``[I]`` their clusters. cluster_class: ``[K]`` the clusters' classes.
        rows: anchors whose similarities are in memory at once.
    """
    label, found = cluster_class[cluster], []
    for start in range(0, len(e), rows):
        here = slice(start, start + rows)
        similarity = e[here] @ e.T
        same_cluster = cluster[here, None] == cluster
        same_class = label[here, None] == label
        other = same_class & ~same_cluster
        itself = torch.arange(len(similarity))
        same_cluster[itself, start + itself] = False
        within = same_class.clone()
        within[itself, start + itself] = False
        columns = [_farthest(similarity, same_cluster), _nearest(similarity, other)]
        columns += [_farthest(similarity, within), _nearest(similarity, ~same_class)]
        found.append(torch.stack(columns, 1))
    return torch.cat(found)


def triple_header_hinge(
    e: torch.Tensor, quintuplet: torch.Tensor, margins: tuple[float, float, float] = (0.1, 0.1, 0.1)
) -> torch.Tensor:
    """Mean over anchors of the three hinges ``max(0, g + D(i, nearer) - D(i, farther))``.

    Args:
        e: ``[I, E]`` unit vectors. quintuplet: ``[I, 4]`` as `quintuplets` finds them; a hinge with a -1 is left out.
        margins: g of the three hinges.
    """
    distance = 2 - 2 * (e[:, None] * e[quintuplet.clamp(min=0)]).sum(2)
    there = quintuplet >= 0
    hinges = torch.tensor(margins).to(e) + distance[:, :3] - distance[:, 1:]
    return (hinges.clamp(min=0) * (there[:, :3] & there[:, 1:])).sum(1).mean()


def _nearest(similarity: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    value, index = similarity.masked_fill(~mask, -math.inf).max(1)
    return torch.where(value == -math.inf, -1, index)


def _farthest(similarity: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    value, index = similarity.masked_fill(~mask, math.inf).min(1)
    return torch.where(value == math.inf, -1, index)
