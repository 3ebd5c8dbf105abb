"""Convolutions 3x3 and 5x5 in C: against torch in double precision, on any number of threads, where torch has them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from sed_lab.model.crnn import convolve

FITTING = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def conv_of(n_in: int, n_out: int, bias: bool = True, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, size, padding=size // 2, bias=bias).to(memory_format=torch.channels_last)


def close(ours: torch.Tensor | None, theirs: torch.Tensor | None, tolerance: float) -> None:
    assert ours is not None
    assert theirs is not None
    assert ours.shape == theirs.shape
    error = (ours.double() - theirs).norm() / theirs.norm()
    assert error < tolerance, error


def check(clips: int, n_in: int, n_out: int, frames: int, mels: int, bias: bool = True, size: int = 3) -> None:
    """Against double precision; a kernel's gradient sums thousands of products that mostly cancel."""
    conv, x = conv_of(n_in, n_out, bias, size), torch.randn(clips, n_in, frames, mels, requires_grad=True)
    y = convolve(x, conv)
    double = [p.detach().double().requires_grad_() for p in (x, *conv.parameters())]
    expected = F.conv2d(*double, padding=size // 2)
    grad = torch.randn_like(y)
    y.backward(grad)
    expected.backward(grad.double())
    close(y, expected, 6e-6)
    close(x.grad, double[0].grad, 6e-6)
    for ours, theirs in zip(conv.parameters(), double[1:], strict=True):
        close(ours.grad, theirs.grad, 5e-5)


@pytest.mark.parametrize("size", [3, 5])
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
    clips: int, n_in: int, n_out: int, frames: int, mels: int, threads: int, size: int, compiled: list[str]
) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    check(clips, n_in, n_out, frames, mels, size=size)
    assert compiled == ["convolve", "convolve_kernel", "convolve"]


@FITTING
@given(
    st.integers(1, 4), st.sampled_from([16, 32]), st.sampled_from([16, 48]), st.integers(3, 30), st.integers(3, 11),
    st.booleans(), st.sampled_from([3, 5]),
)  # fmt: skip
def test_any_size(
    compiled: list[str], clips: int, n_in: int, n_out: int, frames: int, mels: int, bias: bool, size: int
) -> None:
    compiled.clear()
    check(clips, n_in, n_out, frames, mels, bias, size)
    edge = {3: 4, 5: 2}[size]
    assert bool(compiled) is (-(-frames // edge) * -(-mels // edge) * edge**2 <= 2 * frames * mels)


@pytest.mark.parametrize("size", [3, 5])
def test_each_weight_moves_the_map_its_way(size: int, compiled: list[str]) -> None:
    """Whole numbers, counted by hand: y[f, m] = x[f + i - size // 2, m + j - size // 2], zeros beyond the edge."""
    x = torch.arange(7 * 6.0).view(1, 1, 7, 6).expand(1, 16, 7, 6).contiguous()
    padded = F.pad(x[0, 7], (size // 2,) * 4)
    for i in range(size):
        for j in range(size):
            conv = conv_of(16, 16, False, size)
            with torch.no_grad():
                conv.weight.zero_()
                conv.weight[3, 7, i, j] = 1
            y = convolve(x, conv).detach()
            torch.testing.assert_close(y[0, 3], padded[i : i + 7, j : j + 6], rtol=0, atol=1e-4)
            assert not y[0, [c for c in range(16) if c != 3]].any()
    assert len(compiled) == size**2


def test_threads_change_no_bit_of_ours(compiled: list[str]) -> None:
    """The kernel's gradient is turned back by torch's matrix product, whose last bits may depend on threads."""
    maps, results = torch.randn(21, 16, 30, 6), []
    conv = conv_of(16, 32)
    for threads in (1, 2, 5, 40):
        torch.set_num_threads(threads)
        conv.zero_grad()
        x = maps.clone().requires_grad_()
        y = convolve(x, conv)
        y.square().sum().backward()
        results.append((y.detach(), x.grad, conv.weight.grad.clone()))
    for y, grad_x, grad_weight in results[1:]:
        assert torch.equal(y, results[0][0])
        assert torch.equal(grad_x, results[0][1])
        close(grad_weight, results[0][2], 5e-5)


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
        (torch.randn(2, 16, 8, 8), nn.Conv2d(16, 16, 3)),
        (torch.randn(2, 16, 8, 8), nn.Conv2d(16, 16, 3, padding=1, stride=2)),
        (torch.randn(2, 16, 8, 8), nn.Conv2d(16, 16, 3, padding=1, dilation=2)),
        (torch.randn(2, 32, 8, 8), nn.Conv2d(32, 32, 3, padding=1, groups=2)),
        (torch.randn(2, 16, 8, 8), nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular")),
        (torch.randn(2, 16, 8, 8), nn.Conv2d(16, 16, (3, 5), padding=(1, 2))),
        (torch.randn(2, 16, 8, 8), nn.Conv2d(16, 16, 7, padding=3)),
    ],
)
def test_what_the_c_code_cannot_do_torch_does(x: torch.Tensor, conv: nn.Conv2d, compiled: list[str]) -> None:
    assert torch.equal(convolve(x, conv), conv(x))
    assert not compiled


def test_autocast_has_torch_s_in_bfloat16(compiled: list[str]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert convolve(torch.randn(2, 16, 8, 8), conv_of(16, 16)).dtype == torch.bfloat16
    assert not compiled
