"""Convolutions 3x3 in C: against torch in double precision, on any number of threads, and where they are torch's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from sed_lab.model.crnn import convolve

FITTING = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def conv_of(n_in: int, n_out: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1, bias=bias).to(memory_format=torch.channels_last)


def close(ours: torch.Tensor | None, theirs: torch.Tensor | None) -> None:
    assert ours is not None
    assert theirs is not None
    assert ours.shape == theirs.shape
    error = (ours.double() - theirs).abs().max() / theirs.abs().max()
    assert error < 5e-5, error


def check(clips: int, n_in: int, n_out: int, frames: int, mels: int, bias: bool = True) -> None:
    """The output and each gradient within 5e-5 of the largest value of double precision's."""
    conv, x = conv_of(n_in, n_out, bias), torch.randn(clips, n_in, frames, mels, requires_grad=True)
    y = convolve(x, conv)
    double = [p.detach().double().requires_grad_() for p in (x, *conv.parameters())]
    expected = F.conv2d(*double, padding=1)
    grad = torch.randn_like(y)
    y.backward(grad)
    expected.backward(grad.double())
    close(y, expected)
    for ours, theirs in zip((x, *conv.parameters()), double, strict=True):
        close(ours.grad, theirs.grad)


@pytest.mark.parametrize(
    ("clips", "n_in", "n_out", "frames", "mels", "threads"),
    [
        (1, 16, 16, 4, 4, 1),  # one tile
        (2, 16, 32, 313, 64, 2),  # many, of which the last begins one frame before the end
        (3, 128, 128, 40, 2, 2),  # tiles half beyond the edge
        (67, 32, 16, 9, 7, 3),  # not as many clips in each group
        (2, 48, 80, 25, 33, 5),  # more threads than clips
    ],
)
def test_output_and_gradients_are_double_precision_s(
    clips: int, n_in: int, n_out: int, frames: int, mels: int, threads: int, compiled: list[str]
) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    check(clips, n_in, n_out, frames, mels)
    assert compiled == ["convolve", "convolve_kernel", "convolve"]


@FITTING
@given(
    st.integers(1, 4), st.sampled_from([16, 32]), st.sampled_from([16, 48]), st.integers(3, 30), st.integers(3, 11),
    st.booleans(),
)  # fmt: skip
def test_any_size(compiled: list[str], clips: int, n_in: int, n_out: int, frames: int, mels: int, bias: bool) -> None:
    compiled.clear()
    check(clips, n_in, n_out, frames, mels, bias)
    assert bool(compiled) is (-(-frames // 4) * -(-mels // 4) * 16 <= 2 * frames * mels)


def test_each_of_the_nine_weights_moves_the_map_its_way(compiled: list[str]) -> None:
    """Whole numbers, counted by hand: y[f, m] = x[f + i - 1, m + j - 1], zeros beyond the edge."""
    x = torch.arange(7 * 6.0).view(1, 1, 7, 6).expand(1, 16, 7, 6).contiguous()
    for i in range(3):
        for j in range(3):
            conv = conv_of(16, 16, bias=False)
            with torch.no_grad():
                conv.weight.zero_()
                conv.weight[3, 7, i, j] = 1
            expected = F.pad(x[0, 7], (1, 1, 1, 1))[i : i + 7, j : j + 6]
            y = convolve(x, conv).detach()
            torch.testing.assert_close(y[0, 3], expected, rtol=0, atol=1e-4)
            assert y.abs().sum() == y[0, 3].abs().sum()
    assert len(compiled) == 9


def test_threads_change_no_bit_of_ours(compiled: list[str]) -> None:
    """The kernel's gradient is turned back by torch's matrix product, whose last bits may depend on threads."""
    given, results = torch.randn(21, 16, 30, 6), []
    conv = conv_of(16, 32)
    for threads in (1, 2, 5, 40):
        torch.set_num_threads(threads)
        conv.zero_grad()
        x = given.clone().requires_grad_()
        y = convolve(x, conv)
        y.square().sum().backward()
        results.append((y.detach(), x.grad, conv.weight.grad.clone()))
    for y, grad_x, grad_weight in results[1:]:
        assert torch.equal(y, results[0][0])
        assert torch.equal(grad_x, results[0][1])
        close(grad_weight, results[0][2])


@pytest.mark.parametrize("of_x", [False, True])
def test_only_the_gradients_asked_for_are_computed(of_x: bool, compiled: list[str]) -> None:
    conv = conv_of(16, 16).requires_grad_(not of_x)
    x = torch.randn(2, 16, 8, 8, requires_grad=of_x)
    convolve(x, conv).sum().backward()
    assert compiled == ["convolve", "convolve" if of_x else "convolve_kernel"]
    assert (x.grad is None) is not of_x
    assert (conv.weight.grad is None) is (conv.bias.grad is None) is of_x  # type: ignore[union-attr]


def test_what_is_no_number_stays_in_its_clip(compiled: list[str]) -> None:
    x = torch.zeros(3, 16, 9, 9)
    x[1, 2, 4, 4] = torch.nan
    y = convolve(x, conv_of(16, 16))
    assert y[1, :, 3:6, 3:6].isnan().all()
    assert y[[0, 2]].isfinite().all()


@pytest.mark.parametrize(
    ("x", "conv"),
    [
        (torch.randn(2, 16, 8, 8, dtype=torch.float64), conv_of(16, 16).double()),
        (torch.randn(2, 1, 8, 8), conv_of(1, 16)),
        (torch.randn(2, 16, 8, 8), conv_of(16, 24)),
        (torch.randn(2, 16, 8, 1), conv_of(16, 16)),  # three of four tiles' numbers would lie beyond the edge
        (torch.randn(0, 16, 8, 8), conv_of(16, 16)),
    ],
)
def test_what_the_c_code_cannot_do_torch_does(x: torch.Tensor, conv: nn.Conv2d, compiled: list[str]) -> None:
    assert torch.equal(convolve(x, conv), conv(x))
    assert not compiled


def test_autocast_has_torch_s_in_bfloat16(compiled: list[str]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert convolve(torch.randn(2, 16, 8, 8), conv_of(16, 16)).dtype == torch.bfloat16
    assert not compiled
