"""The CRNN against its definition written out with torch's own functions, in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.model.crnn import ConvBlock, clip_logits
from tests.configured import configured

CRNN = configured("model/crnn")

SMALL = {"n_mels": 8, "filters": (4, 6, 8), "pooling": ((2, 2), (2, 2), (1, 2)), "gru_cells": 5}


def small(**changes: object) -> CRNN:
    torch.manual_seed(0)
    return CRNN(**{"n_classes": 3, "conv_dropout": 0.0, "dropout": 0.0, **SMALL, **changes})  # type: ignore[arg-type]


def written_out(model: CRNN, x: torch.Tensor, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Frame and clip probabilities of the baseline's network without dropout, as its description says."""
    parameter = dict(model.named_parameters())
    buffer = dict(model.named_buffers())
    x = x[:, None]
    for i, pool in enumerate(SMALL["pooling"]):  # type: ignore[arg-type]
        x = F.conv2d(x, parameter[f"blocks.{i}.conv.weight"], parameter[f"blocks.{i}.conv.bias"], padding=1)
        if training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        else:
            mean, var = buffer[f"blocks.{i}.norm.running_mean"], buffer[f"blocks.{i}.norm.running_var"]
        x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-3).sqrt()
        x = x * parameter[f"blocks.{i}.norm.weight"][:, None, None] + parameter[f"blocks.{i}.norm.bias"][:, None, None]
        linear = torch.einsum("dc,bctm->bdtm", parameter[f"blocks.{i}.gate.weight"], x)
        linear = linear + parameter[f"blocks.{i}.gate.bias"][:, None, None]
        x = F.avg_pool2d(linear * torch.sigmoid(x), pool)
    x, _ = model.gru(x[:, :, :, 0].permute(0, 2, 1))
    p = torch.sigmoid(F.linear(x, model.frame_head.weight, model.frame_head.bias))
    a = torch.softmax(F.linear(x, model.attention_head.weight, model.attention_head.bias), dim=2).clamp(1e-7, 1)
    return p, (p * a).sum(1) / a.sum(1)


@pytest.mark.parametrize("training", [True, False])
def test_values_and_gradients_are_the_definition_s(training: bool) -> None:
    model = small().double().train(training)
    x = torch.randn(3, 22, 8, dtype=torch.float64)
    frame, clip = model(x)
    p, weak = written_out(model, x, training)
    torch.testing.assert_close(frame.sigmoid(), p)
    torch.testing.assert_close(clip.sigmoid(), weak)
    ours = torch.autograd.grad((frame.sigmoid() ** 2).sum() + clip.sigmoid().sum(), list(model.parameters()))
    theirs = torch.autograd.grad((p**2).sum() + weak.sum(), list(model.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-7)


def test_size_of_the_baseline() -> None:
    model = CRNN(n_classes=10, n_mels=128)
    assert sum(p.numel() for p in model.parameters()) == 1_112_420
    assert model.time_pooling == 4
    assert model.frames(626) == 156
    with torch.no_grad():
        frame, clip = model.eval()(torch.randn(1, 626, 128))
    assert frame.shape == (1, 156, 10)
    assert clip.shape == (1, 10)


@pytest.mark.parametrize("momentum", [0.99, 0.1])
def test_batch_norm_momentum_weighs_the_new_batch(momentum: float) -> None:
    model = small(batch_norm_momentum=momentum)
    seen = []
    model.blocks[0].conv.register_forward_hook(lambda module, args, output: seen.append(output))
    model(torch.randn(4, 16, 8))
    expected = momentum * seen[0].mean((0, 2, 3))  # the running mean starts at 0
    torch.testing.assert_close(model.blocks[0].norm.running_mean, expected)


def test_attention_over_frames_or_classes() -> None:
    classes, frames = small().eval(), small(attention_over="frames").eval()
    x = torch.randn(2, 16, 8)
    logits: list[torch.Tensor] = []
    frames.attention_head.register_forward_hook(lambda module, args, output: logits.append(output))
    frame, clip = frames(x)
    expected = (frame.sigmoid() * logits[0].softmax(1)).sum(1)  # weights of a class sum to 1 over frames
    torch.testing.assert_close(clip.sigmoid(), expected)
    assert not torch.allclose(classes(x)[1], clip)


def test_without_attention_a_clip_is_the_mean_of_its_frames() -> None:
    model = small(attention_over=None)
    x = torch.randn(2, 16, 8)
    frame, clip = model(x)
    torch.testing.assert_close(clip.sigmoid(), frame.sigmoid().mean(1))
    (frame.sum() + clip.sum()).backward()
    assert all(p.grad is not None for p in model.parameters())  # nothing is left over that processes would wait for


def test_clip_logits_stay_exact_where_probabilities_saturate() -> None:
    model = small()
    frame = torch.tensor([[[40.0, -40.0, 200.0], [42.0, -42.0, 200.0]]])
    even = torch.zeros(1, 2, 3)
    clip = clip_logits(frame, even, model.attention_over, model.attention_floor)
    # log of the mean odds, in double precision
    p, q = frame.double().sigmoid().mean(1), (-frame.double()).sigmoid().mean(1)
    torch.testing.assert_close(clip[0, :2].double(), (p.log() - q.log())[0, :2], rtol=1e-6, atol=0)
    assert torch.isfinite(clip).all()


def test_bfloat16_regions_give_nearly_the_same() -> None:
    model = small(conv_dropout=0.5).eval()
    x = torch.rand(2, 16, 8)
    frame, clip = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half_frame, half_clip = model(x)
        model.train()(x)[1].sum().backward()
    assert half_clip.dtype == torch.float32
    torch.testing.assert_close(half_frame.float(), frame, atol=0.05, rtol=0.05)
    torch.testing.assert_close(half_clip, clip, atol=0.05, rtol=0.05)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_the_same() -> None:
    model = small().train()
    x = torch.rand(4, 32, 8)
    expected = model(x)
    for a, b in zip(model.cuda()(x.cuda()), expected, strict=True):
        torch.testing.assert_close(a.cpu(), b, atol=1e-3, rtol=1e-3)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match=r"model.filters has 2 entries and model.pooling 3; give one of each"):
        small(filters=(4, 6))
    with pytest.raises(InputError, match=r"reduces frequency 8-fold, but the feature has 16 mel bins"):
        small(n_mels=16)
    with pytest.raises(
        InputError, match=r"model.conv_dropout=1.0, input_dropout=0.0 and dropout=0.0 must be in \[0, 1\)"
    ):
        small(conv_dropout=1.0)
    with pytest.raises(InputError, match=r"model.attention_over='time' is unknown; use classes, frames or null"):
        small(attention_over="time")


def test_model_drops_in_training_and_not_in_evaluation() -> None:
    model = small(conv_dropout=0.5, dropout=0.5)
    x = torch.randn(2, 16, 8)
    assert not torch.equal(model(x)[0], model(x)[0])
    model.eval()
    assert torch.equal(model(x)[0], model(x)[0])


def test_batch_norm_can_be_shared_between_devices() -> None:
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(small())
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in converted.modules()) == 3


def test_an_ungated_block_is_pooled_before_norm_and_relu() -> None:
    torch.manual_seed(0)
    block = ConvBlock(3, 5, (2, 4), False, False, 0.0, 0.1, 1e-5)
    x = torch.randn(6, 3, 8, 12)
    got = block(x)
    y = F.conv2d(x, block.conv.weight, padding=1).unflatten(2, (4, 2)).unflatten(4, (3, 4)).mean((3, 5))
    y = (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(got, y.clamp(min=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", [(4, 2), (3, 1), (2, 5)])
def test_a_strided_block_sees_what_its_frame_stands_for_and_half_as_much_around(
    pool: tuple[int, int],
) -> None:
    block = ConvBlock(1, 1, pool, False, True, 0.0, 0.1, 1e-5).eval()
    nn.init.ones_(block.conv.weight)
    seen = torch.zeros(1, 1, 26, 21, requires_grad=True)
    got = block(seen + 1.0)
    assert got.shape == (1, 1, 26 // pool[0], 21 // pool[1])
    i, j = 2, 2
    got[0, 0, i, j].backward()
    rows, columns = (seen.grad[0, 0].sum(1 - axis).nonzero().squeeze(1) for axis in (0, 1))
    for found, at, size in ((rows, i, pool[0]), (columns, j, pool[1])):
        assert found.tolist() == [*range(at * size - size // 2, (at + 1) * size + size // 2)]


def test_gates_and_a_strided_convolution_exclude_each_other() -> None:
    with pytest.raises(InputError, match=r"model\.strided=true"):
        small(strided=True)


def test_the_gru_s_input_is_dropped_in_training_alone() -> None:
    torch.manual_seed(0)
    network = CRNN(3, 8, filters=(4, 6), pooling=((2, 4), (1, 2)), gru_cells=4, conv_dropout=0, dropout=0,
                   input_dropout=0.5, gated=False)  # fmt: skip
    x = torch.randn(2, 8, 8)
    assert not torch.equal(network(x)[0], network(x)[0])
    network.eval()
    assert torch.equal(network(x)[0], network(x)[0])
