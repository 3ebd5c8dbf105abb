"""Encoders of whole clips: feature ``[B, F, M]`` to unit vectors ``[B, E]`` (Arora et al. 2019, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.model.grid import SameFrames


class LSTMEncoder(SameFrames):
    """The last state of a one-layer LSTM, divided by its length.

    Args:
        n_mels: M. n_units: E, the paper's 128.
        forget_bias: of the forget gates at the start, as in Keras 1. Torch's own, near 0, forgets a clip's beginning
            within some frames, and hundreds of frames are then slow to learn from (Jozefowicz et al. 2015).
    """

    gives = ("one embedding a clip",)
    normalises_batches = False

    def __init__(self, n_mels: int, n_units: int, forget_bias: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_mels, n_units, batch_first=True)
        bias = dict(self.lstm.named_parameters())
        with torch.no_grad():
            bias["bias_hh_l0"].zero_()
            bias["bias_ih_l0"].zero_()
            bias["bias_ih_l0"][n_units : 2 * n_units] = forget_bias  # gates come as input, forget, cell, output
        self.n_embedding = n_units

    def forward(self, feature: Tensor) -> Tensor:
        """``[B, F, M]`` -> ``[B, E]``."""
        # On a CPU in float32: oneDNN has no LSTM in bfloat16 for processors with AVX2 alone.
        with torch.autocast("cpu", enabled=False):
            _, (state, _) = self.lstm(feature)
        return F.normalize(state[-1])


class CNNEncoder(SameFrames):
    """Two convolution layers with ReLU, batch norm, max pooling and dropout, flattened and divided by its length.

    Convolutions have no padding: with 64 mel bins E is then 128, as the LSTM's, for every clip of 536 to 1035 frames;
    the paper does not say which padding it used.

    Args:
        n_mels, n_frames: M and F of the feature; F is fixed, as the network is flattened.
        filters, kernel: channels of the two layers and the edge of their kernels.
        pooling: (time, frequency) pooling of each layer.
        dropout: after each pooling.

    Raises:
        InputError: nothing is left of so short a clip, or of so few mel bins.
    """

    gives = ("one embedding a clip",)
    normalises_batches = True

    def __init__(
        self,
        n_mels: int,
        n_frames: int,
        filters: Sequence[int],
        kernel: int,
        pooling: Sequence[Sequence[int]],
        dropout: float,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, size = 1, [n_frames, n_mels]
        for n_out, pool in zip(filters, pooling, strict=True):
            layers += [nn.Conv2d(channels, n_out, kernel), nn.ReLU(), nn.BatchNorm2d(n_out)]
            layers += [nn.MaxPool2d((pool[0], pool[1])), nn.Dropout(dropout)]
            channels, size = n_out, [(length - kernel + 1) // by for length, by in zip(size, pool, strict=True)]
        if min(size) < 1:
            raise InputError(
                f"the CNN encoder leaves nothing of {n_frames} frames x {n_mels} mel bins; use longer clips, more bins"
                " or a smaller model.pooling"
            )
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.n_embedding = channels * size[0] * size[1]

    def forward(self, feature: Tensor) -> Tensor:
        """``[B, F, M]`` -> ``[B, E]``."""
        return F.normalize(self.layers(feature[:, None]).flatten(1))


def load_encoder(encoder: nn.Module, checkpoint: Path) -> None:
    """Give ``encoder`` the weights that a trained run's ``network.encoder`` has in its ``checkpoint``.

    Raises:
        InputError: the file cannot be read, or holds no encoder of these shapes.
    """
    prefix = "network.encoder."
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        encoder.load_state_dict(own)
    except (OSError, RuntimeError, KeyError, TypeError, UnpicklingError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no such encoder"
        raise InputError(
            f"{checkpoint}: {reason}; give detector.ckpt of a run with the same model and feature"
        ) from None
