"""Inter-frame distance loss for weakly supervised detection: Huang et al., ICASSP 2021. The formulas so far.

Frames of clips with the same labels are drawn together where they hold the same classes, and frames of clips without a
common label are pushed apart where they do not. Equation numbers are the paper's::

    dis(u, v) = u . v / D                                       a similarity, although called a distance     (1)
    L_norm    = |dis(z_it, z_it) - 1|                                                                       (2)
    L_IFD     = sum [dis_negative - dis_positive + a]_+ + sum L_norm,  a = 0.1                              (3)

Only frames at the same time are compared. A pair of clips is positive (identical label sets), negative (disjoint
ones) or neither, so the hinge joins two pairs that share an anchor frame (i, t): with G_ijt = dis(z_it, z_jt),

    P_it = {j != i : Y_j = Y_i and F_jt = F_it},   N_it = {l : Y_l & Y_i = 0 and F_lt != F_it}
    L_IFD = mean over anchors of mean over P x N of [G_ilt - G_ijt + a]_+  +  mean over frames of |G_iit - 1|

where an anchor has both a positive and a negative frame. The paper prints sums; means keep the term beside the others.
Labels are compared as whole vectors, and two silent frames are equal.
"""

from __future__ import annotations

from typing import Any

import torch

FRAMES_AT_ONCE = 4  # of which all triples of clips are in memory together
FORMS = ("exact", "mean")


def inter_frame_distance(
    z: torch.Tensor, weak: torch.Tensor, frame: torch.Tensor, margin: float = 0.1, form: str = "exact"
) -> tuple[torch.Tensor, torch.Tensor]:
    """L_IFD of a batch, and its number of anchors.

    Args:
        z: ``[B, T, D]`` projected frames.
        weak: ``[B, C]`` labels of the clips in {0, 1}.
        frame: ``[B, T, C]`` labels of the frames in {0, 1}: true ones, or pseudo labels without a gradient.
        margin: a.
        form: ``exact``, or ``mean``: the hinge of an anchor's mean negative and mean positive similarity, cheaper.

    Without any anchor the norm's term is left.
    """
    z = z.float()
    g = torch.einsum("itd,jtd->ijt", z, z) / z.shape[2]  # (1)
    norm = (g.diagonal().T - 1).abs().mean()  # (2)
    positive, negative = frame_pairs(weak, frame)
    n_positive, n_negative = positive.sum(1), negative.sum(1)  # [B, T]
    anchor = (n_positive > 0) & (n_negative > 0)
    anchors = anchor.sum()
    if form == "mean":
        near = (g * positive).sum(1) / n_positive.clamp(min=1)
        far = (g * negative).sum(1) / n_negative.clamp(min=1)
        hinge = ((far - near + margin).clamp(min=0) * anchor).sum() / anchors.clamp(min=1)
    else:
        weight = anchor / (n_positive * n_negative).clamp(min=1) / anchors.clamp(min=1)
        hinge = _TripleHinge.apply(g, positive, negative, weight, margin)
    return hinge + norm, anchors  # (3)


def frame_pairs(weak: torch.Tensor, frame: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which frame pairs are positive and which negative: booleans ``[B, B, T]``, anchor first (section 2.2.1)."""
    classes = 2 ** torch.arange(weak.shape[1], device=weak.device)
    clip_code = (weak.round().long() * classes).sum(1)
    frame_code = (frame.round().long() * classes).sum(2)
    same = clip_code[:, None] == clip_code
    disjoint = (clip_code[:, None] & clip_code) == 0
    equal = frame_code[:, None] == frame_code
    itself = torch.eye(len(weak), dtype=torch.bool, device=weak.device)
    return (same & ~itself)[..., None] & equal, (disjoint & ~same)[..., None] & ~equal


class _TripleHinge(torch.autograd.Function):
    """``sum_it w_it sum_{j in P, l in N} [G_ilt - G_ijt + a]_+`` with the gradient taken in the same pass.

    The loss is linear where its hinges are open, so its gradient in G is a count of them; nothing else is kept for the
    backward pass, and of the triples only those of a few frames are in memory.
    """

    @staticmethod
    def forward(
        ctx: Any, g: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, weight: torch.Tensor, margin: float
    ) -> torch.Tensor:
        total, gradient = g.new_zeros(()), torch.zeros_like(g)
        for start in range(0, g.shape[2], FRAMES_AT_ONCE):
            part = slice(start, start + FRAMES_AT_ONCE)
            s, w = g[..., part], weight[:, None, part]
            hinge = s[:, None] - s[:, :, None] + margin  # [i, j, l, t]
            open_ = (hinge > 0) & positive[:, :, None, part] & negative[:, None, :, part]
            hinge.mul_(open_)
            total += (hinge.sum((1, 2)) * w[:, 0]).sum()
            gradient[..., part] = w * (open_.sum(1) - open_.sum(2))
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return outer[0] * gradient, None, None, None, None
