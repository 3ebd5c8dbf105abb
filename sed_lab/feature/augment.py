"""Augmentation of linear mel spectrograms with their frame labels, drawn for each clip from torch's generator.

All take ``mel [B, F, M]`` before the logarithm, and where they change levels its ``power``: 1 for magnitudes, 2 for
energies, so that decibels mean the same for both.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def roll_in_time(mel: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Turn each clip and its labels ``target [B, T, C]`` around in time by a random number of label frames.

    A label frame is ``F // T`` feature frames; those that fill none stay at the end.
    """
    clips, frames, pooled = len(mel), mel.shape[1] // target.shape[1], target.shape[1]
    shift = torch.randint(pooled, (clips, 1)).to(mel.device)
    source = (torch.arange(pooled, device=mel.device) - shift) % pooled  # [B, T]
    within = (source[:, :, None] * frames + torch.arange(frames, device=mel.device)).flatten(1)
    turned = mel[:, : pooled * frames].gather(1, within[:, :, None].expand(-1, -1, mel.shape[2]))
    rolled = target.gather(1, source[:, :, None].expand(-1, -1, target.shape[2]))
    return torch.cat([turned, mel[:, pooled * frames :]], 1), rolled


def random_filter(mel: Tensor, limit_db: float, points: int, power: float) -> Tensor:
    """Give each clip a random frequency response: ``points`` levels within ``limit_db``, linear in between.

    FilterAugment of Nam, Kim and Park (ICASSP 2022), its linear type, with points at equal distances.
    """
    levels = (2 * torch.rand(len(mel), 1, points) - 1) * limit_db
    response = F.interpolate(levels, mel.shape[2], mode="linear", align_corners=True)  # [B, 1, M]
    return mel * _ratio(response, power).to(mel)


def _ratio(level_db: Tensor, power: float) -> Tensor:
    return 10 ** (level_db * power / 20)
