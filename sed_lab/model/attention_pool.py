"""Attention pooling of embeddings, the frame decision taken from the attention score (Huang et al. 2021, branch 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sed_lab.errors import InputError
from sed_lab.model.crnn import convolve
from sed_lab.model.grid import SameFrames


class AttentionPool(SameFrames):
    """Blocks of convolution, batch norm and ReLU that keep the time, and a pooling of frames for each class.

    With frames ``x_t [H]`` of a clip, for each class c::

        g_ct = u_c . x_t + b_c      frame logit, 0 at the start
        a_ct = softmax_t(g_ct / H)
        clip logit = q_c . sum_t a_ct x_t + d_c

    The paper names only attention pooling; form and sizes are those of the group's published base.

    Args:
        n_classes, n_mels: C and M.
        filters, kernels, pooling: channels, kernel edge and mel pooling of each block; mel must be pooled to 1.

    Raises:
        InputError: the lists differ in length, or mel is not pooled to 1.
    """

    gives = ("frame and clip logits", "encoded frames and their pooling")
    normalises_batches = True

    def __init__(
        self, n_classes: int, n_mels: int, filters: Sequence[int], kernels: Sequence[int], pooling: Sequence[int]
    ) -> None:
        super().__init__()
        if not len(filters) == len(kernels) == len(pooling):
            raise InputError("model.filters, model.kernels and model.pooling need one entry of each a block")
        if math.prod(pooling) != n_mels:
            raise InputError(
                f"model.pooling reduces mel {math.prod(pooling)}-fold, but the feature has {n_mels} bins; its numbers"
                " must multiply to feature.n_mels"
            )
        self.n_classes, self.n_hidden = n_classes, filters[-1]
        self.input_norm = nn.BatchNorm1d(n_mels)
        layers: list[nn.Module] = []
        for n_in, n_out, kernel, pool in zip((1, *filters), filters, kernels, pooling, strict=False):
            layers += [nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2), nn.BatchNorm2d(n_out)]
            layers += [nn.MaxPool2d((1, pool)), nn.ReLU()]  # the same as ReLU first, which has more to work on
        self.blocks = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.attention = nn.Linear(self.n_hidden, n_classes)
        nn.init.zeros_(self.attention.weight)
        nn.init.zeros_(self.attention.bias)
        self.clip_weight = nn.Parameter(torch.empty(n_classes, self.n_hidden))
        self.clip_bias = nn.Parameter(torch.zeros(n_classes))
        nn.init.xavier_uniform_(self.clip_weight)

    def encode(self, feature: Tensor) -> Tensor:
        """``[B, F, M]`` -> ``[B, T, H]``."""
        x = self.input_norm(feature.transpose(1, 2)).transpose(1, 2)[:, None]
        for layer in self.blocks:
            x = convolve(x, layer) if isinstance(layer, nn.Conv2d) else layer(x)
        return x.squeeze(3).transpose(1, 2)

    def pool(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Frame logits ``[B, T, C]`` and clip logits ``[B, C]`` of ``x [B, T, H]``."""
        g = self.attention(x)
        a = (g / self.n_hidden).softmax(1)
        h = torch.einsum("btc,bth->bch", a, x)
        return g, (h * self.clip_weight).sum(2) + self.clip_bias

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Frame logits ``[B, T, C]`` and clip logits ``[B, C]`` of ``feature [B, F, M]``."""
        return self.pool(self.encode(feature))
