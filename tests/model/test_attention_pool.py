"""Attention pooling against its formulas written out, and what it promises of time and of its start."""

from __future__ import annotations

import pytest
import torch

from sed_lab.errors import InputError
from sed_lab.model.attention_pool import AttentionPool


def net(**changes: object) -> AttentionPool:
    torch.manual_seed(0)
    given = {"n_classes": 3, "n_mels": 8, "filters": (6, 5), "kernels": (5, 3), "pooling": (4, 2), **changes}
    return AttentionPool(**given)  # type: ignore[arg-type]


def test_pooling_is_the_formula_term_by_term() -> None:
    model, x = net().double(), torch.randn(2, 7, 5, dtype=torch.float64)
    with torch.no_grad():
        model.attention.weight.normal_()
        model.attention.bias.normal_()
        frame, clip = model.pool(x)
        for b in range(2):
            for c in range(3):
                g = [float(model.attention.weight[c] @ x[b, t] + model.attention.bias[c]) for t in range(7)]
                e = torch.tensor([value / 5 for value in g], dtype=torch.float64).exp()
                h = sum((e[t] / e.sum() * x[b, t] for t in range(7)), torch.zeros(5, dtype=torch.float64))
                assert frame[b, :, c].tolist() == pytest.approx(g)
                assert float(clip[b, c]) == pytest.approx(float(model.clip_weight[c] @ h + model.clip_bias[c]))


def test_every_frame_of_the_feature_is_a_frame_of_the_output() -> None:
    model = net()
    frame, clip = model(torch.randn(2, 33, 8))
    assert frame.shape == (2, 33, 3)
    assert clip.shape == (2, 3)
    assert model.frames(33) == 33
    assert model.time_pooling == 1
    assert not frame.any()  # the frame decision begins undecided: probability 0.5


def test_the_papers_size_keeps_500_frames() -> None:
    model = net(n_classes=10, n_mels=64, filters=(160, 160, 160), kernels=(5, 5, 3), pooling=(4, 4, 4))
    convolutions = 25 * 160 + 160 + 25 * 160 * 160 + 160 + 9 * 160 * 160 + 160
    norms = 3 * 2 * 160 + 2 * 64
    assert sum(p.numel() for p in model.parameters()) == convolutions + norms + 2 * (160 * 10 + 10)
    assert model.encode(torch.randn(1, 500, 64)).shape == (1, 500, 160)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"reduces mel 8-fold, but the feature has 64 bins"):
        net(n_mels=64)
    with pytest.raises(InputError, match=r"one entry of each a block"):
        net(kernels=(5,))
