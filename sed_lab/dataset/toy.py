"""The toy of Arora et al. 2019, section 3.1: points in 20 dimensions of three classes, one four times as large.

The paper states 1000 points, x in R^20, three classes in the ratio 1 : 1 : 4 and an LSTM of three units; how the points
were drawn is not stated. Here each of ``blobs`` normal distributions of a class has a centre drawn at random.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sed_lab.types import Clip, Corpus, Subset

CLASSES = ("blue", "green", "red")


class Points:
    """Points as clips whose audio are their coordinates (implements `sed_lab.types.Subset`)."""

    def __init__(self, clips: list[Clip], points: np.ndarray) -> None:
        self.clips: Sequence[Clip] = clips
        self.points = points

    def __len__(self) -> int:
        return len(self.clips)

    def load(self, index: int, epoch: int) -> tuple[Clip, np.ndarray]:
        """Clip ``index`` and its point ``[D]``."""
        return self.clips[index], self.points[index]


def toy_points(
    counts: Mapping[str, Mapping[str, int]], blobs: Mapping[str, int], dimensions: int, distance: float, seed: int
) -> Corpus:
    """A corpus of points with weak labels.

    Args:
        counts: points of each class in each subset. blobs: normal distributions that make up a class, deviation 1.
        distance: of their centres from the origin, each in a direction drawn at random.
    """
    rng = np.random.default_rng(seed)
    centres = {name: rng.standard_normal((blobs[name], dimensions)) for name in CLASSES}
    subsets: dict[str, Subset] = {}
    for subset, per_class in counts.items():
        clips, points = [], []
        for name in CLASSES:
            for number in range(per_class[name]):
                centre = centres[name][number % blobs[name]]
                points.append(centre / np.linalg.norm(centre) * distance + rng.standard_normal(dimensions))
                clip_id = f"{name}_{number:04d}"
                clips.append(Clip(clip_id, Path(f"{clip_id}.point"), 1.0, event_labels=(name,)))
        subsets[subset] = Points(clips, np.array(points, np.float32))
    said = json.dumps({"counts": {k: dict(v) for k, v in counts.items()}, "blobs": dict(blobs), "seed": seed,
                       "dimensions": dimensions, "distance": distance}, sort_keys=True)  # fmt: skip
    fingerprint = hashlib.sha256(said.encode()).hexdigest()
    return Corpus("toy_points", CLASSES, 1.0, dimensions, subsets, fingerprint)


class PointFeature(nn.Module):
    """A front end that takes a point for one frame: ``[B, D]`` to ``[B, 1, D]``."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.sample_rate = self.hop_length = self.n_mels = dimensions

    def frames(self, n_samples: int) -> int:
        return n_samples // self.hop_length

    def sizes(self, n_samples: int) -> dict[str, int]:
        return {"n_mels": self.n_mels, "n_frames": self.frames(n_samples)}

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return audio[:, None]
