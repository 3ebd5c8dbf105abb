"""The block behind a convolution: its C code against torch in double precision, its dropout, its limits."""

from __future__ import annotations

import ctypes
import importlib.util
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sed_lab.model import compiled as compiled_code
from sed_lab.model import crnn
from sed_lab.model.crnn import keep_bits, norm_gated_pool
from tests.configured import configured

CRNN = configured("model/crnn")


def parts(channels: int, training: bool) -> tuple[nn.BatchNorm2d, nn.Linear]:
    norm, gate = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.3).train(training), nn.Linear(channels, channels)
    for one in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(one)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm, gate


def mask_of(n: int, dropout: float) -> torch.Tensor:
    bits = keep_bits(n, dropout)[:, None] >> torch.arange(8)
    return (bits & 1).flatten()[:n]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("channels", "frames", "mels", "pool", "training", "dropout", "threads"),
    [
        (16, 21, 8, (2, 2), True, 0.5, 2),  # a frame is left out
        (32, 13, 9, (2, 2), True, 0.0, 1),  # a mel too
        (128, 11, 2, (1, 2), False, 0.0, 3),
        (48, 9, 5, (2, 1), True, 0.25, 4),  # more threads than clips
        (64, 40, 128, (1, 2), True, 0.3, 2),  # more than is worked on at once
    ],
)
def test_values_gradients_and_statistics_are_the_definition_s(
    channels: int, frames: int, mels: int, pool: tuple[int, int], training: bool, dropout: float, threads: int,
    half: bool, compiled: list[str],
) -> None:  # fmt: skip
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    norm, gate = parts(channels, training)
    true_norm, true_gate = deepcopy(norm).double(), deepcopy(gate).double()
    y = torch.randn(3, channels, frames, mels) * 2 + 0.5
    y = (y.bfloat16() if half else y).requires_grad_()
    torch.manual_seed(1)
    out = norm_gated_pool(y, norm, gate, dropout, pool)
    assert compiled == ["forward"]
    assert out.dtype == y.dtype

    true_y = y.detach().double().requires_grad_()
    z = true_norm(true_y)
    expected = true_gate(z.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) * z.sigmoid()
    if dropout:
        torch.manual_seed(1)
        kept = mask_of(y.numel(), dropout).view(3, frames, mels, channels).permute(0, 3, 1, 2)
        expected = expected * kept / (1 - dropout)
    expected = F.avg_pool2d(expected, pool)
    assert out.shape == expected.shape

    grad = torch.randn_like(out)
    out.backward(grad)
    expected.backward(grad.double())
    exact, rounded = ("running_mean", "running_var", "num_batches_tracked"), 8e-3 if half else 3e-6
    close(out, expected, rounded)
    close(y.grad, true_y.grad, rounded)
    for ours, theirs in ((norm, true_norm), (gate, true_gate)):
        for name, parameter in ours.named_parameters():
            close(parameter.grad, theirs.get_parameter(name).grad, rounded)
    for name in exact:
        torch.testing.assert_close(norm.get_buffer(name), true_norm.get_buffer(name), check_dtype=False)


def close(ours: torch.Tensor | None, theirs: torch.Tensor | None, tolerance: float) -> None:
    assert ours is not None
    assert theirs is not None
    error = (ours.double() - theirs).norm() / theirs.norm()
    assert error < tolerance, error


def test_a_network_under_autocast_takes_it_in_bfloat16(compiled: list[str]) -> None:
    torch.manual_seed(0)
    given = {"n_mels": 8, "filters": (16, 32, 16), "pooling": ((2, 2), (2, 2), (1, 2)), "gru_cells": 5}
    model = CRNN(n_classes=3, conv_dropout=0.0, dropout=0.0, **given)
    x = torch.rand(2, 16, 8)
    expected = model(x)[0]
    seen: list[torch.dtype] = []
    model.blocks[1].register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        frame, clip = model(x)
    (frame.sum() + clip.sum()).backward()
    exact = ["forward", "convolve", "forward", "convolve", "forward"]  # bfloat16's convolutions are torch's
    assert compiled == [*exact, *["forward"] * 3, *["backward", "norm_backward"] * 3]
    assert seen == [torch.bfloat16]
    torch.testing.assert_close(frame.float(), expected, atol=0.05, rtol=0.05)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("clips", [5, 67])  # 67: not as many in each group
def test_threads_change_no_bit_of_ours(clips: int, training: bool, compiled: list[str]) -> None:
    """Also with more threads than groups. In training torch's statistics may change gradients in their last bits."""
    given = torch.randn(clips, 16, 12, 8)
    results = []
    for threads in (1, 2, 5, 40):
        torch.manual_seed(0)
        torch.set_num_threads(threads)
        norm, gate = parts(16, training)
        y = given.clone().requires_grad_()
        out = norm_gated_pool(y, norm, gate, 0.5, (2, 2))
        out.square().sum().backward()
        results.append((out.detach(), y.grad, gate.weight.grad, norm.weight.grad))
    for other in results[1:]:
        if training:
            torch.testing.assert_close(other, results[0])
            assert torch.equal(other[0], results[0][0])
        else:
            assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


def test_what_a_thread_meets_reaches_the_caller(compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in whichever thread; the next call works."""
    torch.set_num_threads(2)
    norm, gate = parts(16, False)
    y = torch.randn(32, 16, 12, 8)
    expected = norm_gated_pool(y, norm, gate, 0.0, (2, 2))

    class Broken:
        @staticmethod
        def forward(*given: object) -> None:
            raise OSError("broken")

    with monkeypatch.context() as context:
        context.setattr(crnn, "library", lambda: Broken)
        with pytest.raises(OSError, match="broken"):
            norm_gated_pool(y, norm, gate, 0.0, (2, 2))
    assert torch.equal(norm_gated_pool(y, norm, gate, 0.0, (2, 2)), expected)


def test_what_is_no_number_stays_none(compiled: list[str]) -> None:
    norm, gate = parts(16, False)
    y = torch.zeros(2, 16, 2, 2)
    y[0, 3, 0, 0] = torch.nan
    out = norm_gated_pool(y, norm, gate, 0.0, (2, 2))
    assert out[0].isnan().all()
    assert out[1].isfinite().all()


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_far_values_saturate(size: float, compiled: list[str]) -> None:
    norm, gate = nn.BatchNorm2d(16).eval(), nn.Linear(16, 16)
    y = torch.full((1, 16, 1, 2), size)
    y[..., 1] = -size
    out = norm_gated_pool(y, norm, gate, 0.0, (1, 1))
    plain = F.linear(norm(y).permute(0, 2, 3, 1), gate.weight, gate.bias).permute(0, 3, 1, 2)
    torch.testing.assert_close(out[..., 0], plain[..., 0], rtol=1e-4, atol=0)
    assert (out[..., 1].abs() <= plain[..., 1].abs() * 1e-30).all()


@pytest.mark.parametrize(
    ("change", "y"),
    [
        (lambda norm: norm.double(), torch.randn(2, 16, 4, 4, dtype=torch.float64)),
        (lambda norm: norm, torch.randn(2, 12, 4, 4)),  # channels that are no multiple of 16
        (lambda norm: nn.BatchNorm2d(16, momentum=None), torch.randn(2, 16, 4, 4)),  # a plain mean over all batches
        (lambda norm: nn.BatchNorm2d(16, track_running_stats=False), torch.randn(2, 16, 4, 4)),
        (lambda norm: nn.InstanceNorm2d(16), torch.randn(2, 16, 4, 4)),
    ],
)
def test_what_the_c_code_cannot_do_torch_does(change, y: torch.Tensor, compiled: list[str]) -> None:  # type: ignore[no-untyped-def]
    norm, gate = parts(y.shape[1], True)
    norm, gate = change(norm), gate.to(y.dtype)
    expected = deepcopy(norm)(y)
    expected = F.avg_pool2d(gate(expected.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) * expected.sigmoid(), (2, 2))
    torch.testing.assert_close(norm_gated_pool(y, norm, gate, 0.0, (2, 2)), expected)
    assert not compiled


def test_code_of_another_version_is_not_used(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_code, "_VERSION", 0)
    with pytest.warns(UserWarning, match="is of another version of sed_lab and not used; install sed_lab again"):
        assert compiled_code.load(library._name) is None


def test_code_that_is_not_built_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    compiled_code.library.cache_clear()
    try:
        with pytest.warns(UserWarning, match="C code of convolution blocks is not built"):
            assert compiled_code.library() is None
    finally:
        compiled_code.library.cache_clear()


@pytest.mark.parametrize("p", [0.5, 0.25, 3 / 256, 0.3])
def test_dropout_s_bits_are_independent_draws(p: float) -> None:
    torch.manual_seed(0)
    n = 400_000
    kept = mask_of(n, p).double()
    sigma = (p * (1 - p) / n) ** 0.5
    assert abs(kept.mean().item() - (1 - p)) < 5 * sigma
    # Neighbours, elements of one byte or of one word, and halves.
    for lag in (1, 2, 7, 8, 63, 64, n // 8, n // 2):
        pairs = (kept[lag:] * kept[:-lag]).mean().item()
        assert abs(pairs - (1 - p) ** 2) < 6 * sigma
    for phase in range(8):  # no bit of a byte and no byte of a word stands out
        assert abs(kept[phase::8].mean().item() - (1 - p)) < 5 * sigma * 8**0.5
        eighth = kept[phase * n // 8 : (phase + 1) * n // 8]
        assert abs(eighth.mean().item() - (1 - p)) < 5 * sigma * 8**0.5


def test_dropout_s_bits_follow_the_seed_and_fit_any_length() -> None:
    for n in (1, 15, 64, 65):
        for p in (0.5, 0.25, 0.3):
            torch.manual_seed(1)
            first = keep_bits(n, p)
            torch.manual_seed(1)
            assert torch.equal(first, keep_bits(n, p))
            assert first.shape == (-(-n // 8),)
