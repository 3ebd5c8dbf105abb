"""What networks have in common that keep the feature's grid of frames."""

from __future__ import annotations

from torch import nn


class SameFrames(nn.Module):
    """A network with an output frame for each feature frame, or of whole clips: labels lie on the feature's grid."""

    time_pooling = 1

    def frames(self, n_feature_frames: int) -> int:
        return n_feature_frames
