"""Embedding clusters with a triple-header cross-entropy: Arora et al., ICASSP 2019. The formulas so far.

A class is a distinct value of the label vector, so clips of the background are a class of their own. Each class is
clustered in the embedding's space, a large class into several clusters, and the embedding learns to name the cluster of
a clip. Equation numbers are the paper's::

    K_c      = floor(I_c / min I_c')                                         clusters of class c (section 3)
    h_ik     = <e_i, W_k>                                                                                (4)
    v_ik     = e^{a h_ik} / (e^{a h_ik} + e^{a h_ik' - b'} + e^{a h_ik'' - b''})                         (5)
    k'       = the best other cluster of the same class, k'' = the best cluster of another class    (6), (7)
    L        = - sum_i max_k(w_k) / w_{k_i} log v_{i k_i},  w_k = K_{c_k}                           (8), (9)

The margins b' = 5 and b'' = 0 are subtracted inside the rivals' exponents as printed, so a rival of the same class is
discounted by e^-5 and one of another class counts whole. In (6) and (7) the paper's index j reads i.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from sed_lab.errors import InputError


def cluster_counts(clips: Sequence[int]) -> list[int]:
    """K_c of each class from its number of clips: as often as the smallest class fits into it.

    Raises:
        InputError: a class has no clip.
    """
    if not clips or min(clips) < 1:
        raise InputError(f"classes of {', '.join(map(str, clips))} clips: every class needs one to be clustered")
    return [count // min(clips) for count in clips]


def cluster_weight(cluster_class: torch.Tensor) -> torch.Tensor:
    """``max(w) / w_k`` of eq. 8 and 9 for each cluster ``[K]``: classes count alike with few or many."""
    w = (cluster_class[:, None] == cluster_class[None, :]).sum(1).float()
    return w.max() / w


def log_v(
    h: torch.Tensor,
    cluster: torch.Tensor,
    cluster_class: torch.Tensor,
    alpha: float = 1.0,
    same_margin: float = 5.0,
    other_margin: float = 0.0,
) -> torch.Tensor:
    """``log v_{i k_i}`` of eq. 5 for each clip ``[B]``, stable for any h.

    Args:
        h: ``[B, K]`` products with the centroids (eq. 4).
        cluster: ``[B]`` the clip's own cluster k_i.
        cluster_class: ``[K]`` the class of each cluster.
        alpha: scale of h; 1 where the centroids' lengths hold it, as in training.
        same_margin, other_margin: b' and b''.

    A class with one cluster has no same-class rival, and that term is left out.
    """
    h = h.float() * alpha
    own = h.gather(1, cluster[:, None])
    same = cluster_class[cluster][:, None] == cluster_class[None, :]
    itself = torch.arange(h.shape[1], device=h.device)[None, :] == cluster[:, None]
    rival_same = h.masked_fill(~same | itself, -math.inf).amax(1, keepdim=True) - same_margin
    rival_other = h.masked_fill(same, -math.inf).amax(1, keepdim=True) - other_margin
    return (own - torch.logsumexp(torch.cat([own, rival_same, rival_other], 1), 1, keepdim=True)).squeeze(1)


def triple_header(
    h: torch.Tensor,
    cluster: torch.Tensor,
    cluster_class: torch.Tensor,
    alpha: float = 1.0,
    same_margin: float = 5.0,
    other_margin: float = 0.0,
) -> torch.Tensor:
    """Triple-header cross-entropy (eq. 8), mean over the batch; arguments as `log_v`. Its cost is that of ``B x K``."""
    weight = cluster_weight(cluster_class)[cluster]
    return -(weight * log_v(h, cluster, cluster_class, alpha, same_margin, other_margin)).mean()
