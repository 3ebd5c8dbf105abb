"""Augmentation of features and labels."""

from __future__ import annotations

import torch


def mixup(
    feature: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, coefficient: float, labels: str = "soft"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix the clips of ``mask`` with one another; the others stay as they are.

    ``x = c x + (1 - c) x[permuted]`` with one coefficient c for all and a random partner within the mask (the clip
    itself among them), as the DCASE 2021 task 4 baseline does on linear mel.

    Args:
        feature: ``[B, F, M]``, linear (before the logarithm).
        target: ``[B, ...]`` in [0, 1].
        mask: ``[B]`` booleans.
        coefficient: c in [0, 1].
        labels: ``soft`` mixes targets with the same c, ``hard`` adds them; both are clamped to [0, 1].
    """
    rows = mask.nonzero().squeeze(1)
    if len(rows) < 2:
        return feature, target
    # Drawn on the CPU, so that a seed gives the same partners on every device.
    partners = rows[torch.randperm(len(rows)).to(rows.device)]
    c = coefficient
    mixed = c * feature[rows] + (1 - c) * feature[partners]
    own, other = (c, 1 - c) if labels == "soft" else (1.0, 1.0)
    mixed_target = (own * target[rows] + other * target[partners]).clamp(0, 1)
    return feature.index_copy(0, rows, mixed), target.index_copy(0, rows, mixed_target)
