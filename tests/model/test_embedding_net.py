"""Networks on rows of embeddings: the note's table of shapes and counts, plain loops, rows that are not read."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sed_lab.errors import InputError
from sed_lab.loss import Binary
from sed_lab.method.aziz2020 import RowClassifier
from sed_lab.method.base import Parts
from sed_lab.model.embedding_net import keras_start
from tests.configured import configured

VggishEmbedding = configured("feature/vggish")
RowCNN = configured("model/embedding_cnn", n_rows=10, n_values=128)
RowFNN = configured("model/embedding_fnn", n_rows=10, n_values=128)
MeanRow = configured("model/embedding_mean", n_values=128)

CLASSES = ("Speech", "Animal", "Music", "Vehicle")


def classifier(model: nn.Module) -> RowClassifier:
    """The network with its four outputs, as the method makes it."""
    parts = Parts(VggishEmbedding(), model, Binary(), CLASSES)
    return RowClassifier(parts, functools.partial(torch.optim.Adam, lr=1e-3), normalise=True, multi_output=False)


def weights_of(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def shapes_of(model: nn.Module) -> list[tuple[int, ...]]:
    """Height, width and channels after each convolution and pooling."""
    found: list[tuple[int, ...]] = []
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d)):
            module.register_forward_hook(lambda _m, _x, y: found.append((*y.shape[2:], y.shape[1])))
    model(torch.rand(2, 10, 128))
    return found


VALID = [(5, 62, 16), (4, 61, 16), (4, 61, 32), (3, 60, 32), (3, 60, 32)]
SAME = [(5, 64, 16), (4, 63, 16), (4, 63, 32), (3, 62, 32), (3, 62, 32)]


@pytest.mark.parametrize(
    ("padding", "last_pooling", "shapes", "features", "total"),
    [
        ("valid", False, VALID, 5760, 32436),
        ("valid", True, [*VALID, (2, 59, 32)], 3776, 24500),
        ("same", False, SAME, 5952, 33204),
        ("same", True, [*SAME, (2, 61, 32)], 3904, 25012),
    ],
)
def test_shapes_and_counts_are_those_of_the_note(
    padding: str, last_pooling: bool, shapes: list[tuple[int, ...]], features: int, total: int
) -> None:
    model = RowCNN(padding=padding, last_pooling=last_pooling)
    assert shapes_of(model) == shapes
    assert [weights_of(one) for one in model.modules() if isinstance(one, nn.Conv2d)] == [112, 3104, 6176]
    assert model.n_features == features == model(torch.rand(3, 10, 128)).shape[1]
    assert weights_of(classifier(model)) == total


def test_the_dense_network_has_three_layers_of_the_note_s_count() -> None:
    model = RowFNN()
    assert [tuple(one.weight.shape) for one in model.modules() if isinstance(one, nn.Linear)] == [
        (10, 1280), (100, 10), (1000, 100),
    ]  # fmt: skip
    assert model(torch.rand(3, 10, 128)).shape == (3, 1000)
    assert weights_of(classifier(model)) == 118914
    assert weights_of(classifier(RowFNN(hidden=(10,)))) == 1281 * 10 + 11 * 4  # the other reading: one hidden layer


def test_the_mean_row_and_its_outputs_are_a_logistic_regression() -> None:
    model = MeanRow()
    method = classifier(model)
    assert (weights_of(model), weights_of(method), model.n_features) == (0, 129 * 4, 128)
    rows = torch.rand(3, 10, 128)
    np.testing.assert_allclose(model(rows).numpy(), rows.numpy().mean(axis=1), atol=1e-6)
    torch.testing.assert_close(model(rows), model(rows.flip(1)))  # the order of seconds does not matter


def convolved(x: np.ndarray, layer: Any, stride: int, left: int, right: int) -> np.ndarray:
    """``[in, H, W]`` through a layer one row high and six values wide, then ReLU, place by place."""
    weight, bias = (one.detach().double().numpy() for one in (layer.weight, layer.bias))
    x = np.pad(x, ((0, 0), (0, 0), (left, right)))
    height, width = len(range(0, x.shape[1], stride)), len(range(0, x.shape[2] - 5, stride))
    out = np.zeros((len(weight), height, width))
    for i in range(height):
        for j in range(width):
            patch = x[:, stride * i, stride * j : stride * j + 6]
            out[:, i, j] = [
                max(0.0, float((kernel[:, 0] * patch).sum()) + b) for kernel, b in zip(weight, bias, strict=True)
            ]
    return out


def pooled(x: np.ndarray) -> np.ndarray:
    """The largest of each 2 x 2 values, a step of one to the next."""
    height, width = x.shape[1] - 1, x.shape[2] - 1
    return np.array([[[c[i : i + 2, j : j + 2].max() for j in range(width)] for i in range(height)] for c in x])


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("last_pooling", [False, True])
def test_the_cnn_against_loops_over_places(padding: str, last_pooling: bool) -> None:
    torch.manual_seed(0)
    model = RowCNN(8, 18, last_pooling, padding)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # biases that are not 0
    layers = [one for one in model.modules() if isinstance(one, nn.Conv2d)]
    rows = torch.rand(1, 8, 18)
    side = 2 if padding == "same" else 0  # 18 values: (9 - 1) * 2 + 6 - 18 = 4 zeros
    x = pooled(convolved(rows.double().numpy(), layers[0], 2, side, side))
    # Six values one by one: five zeros in all, the odd one on the right, as TensorFlow has it.
    x = convolved(pooled(convolved(x, layers[1], 1, 2, 3)), layers[2], 1, 2, 3)
    expected = pooled(x) if last_pooling else x
    found = model(rows).detach()
    assert expected.any()
    np.testing.assert_allclose(found[0].numpy(), expected.reshape(-1), atol=1e-5)


def test_the_dense_network_against_products_of_matrices() -> None:
    torch.manual_seed(0)
    model = RowFNN(3, 4, (5, 2))
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.rand_like(parameter)
    rows = torch.rand(6, 3, 4)
    x = rows.double().numpy().reshape(6, 12)
    for layer in (one for one in model.modules() if isinstance(one, nn.Linear)):
        weight, bias = (one.detach().double().numpy() for one in (layer.weight, layer.bias))
        x = np.maximum(x @ weight.T + bias, 0)
    np.testing.assert_allclose(model(rows).detach().numpy(), x, atol=1e-5)


@functools.cache
def cnn(padding: str) -> nn.Module:
    torch.manual_seed(0)
    return RowCNN(10, 24, padding=padding)


@settings(max_examples=30)
@given(st.sets(st.integers(0, 9), min_size=1), st.integers(0, 10**6), st.sampled_from(["valid", "same"]))
def test_every_second_row_never_reaches_the_cnn(changed: set[int], seed: int, padding: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.rand(1, 10, 24, generator=generator)
    other = rows.clone()
    other[:, sorted(changed)] = torch.rand(1, len(changed), 24, generator=generator)
    with torch.no_grad():
        same = torch.equal(cnn(padding)(rows), cnn(padding)(other))
    assert same == (not changed & {0, 2, 4, 6, 8})


def test_only_rows_1_3_5_7_9_have_gradients_in_the_cnn_and_all_in_the_dense_network() -> None:
    for model, read in ((cnn("valid"), [True, False] * 5), (RowFNN(10, 24), [True] * 10)):
        rows = torch.rand(4, 10, 24, requires_grad=True)
        (gradient,) = torch.autograd.grad(model(rows).square().sum(), rows)
        assert gradient.abs().sum((0, 2)).gt(0).tolist() == read


def test_layers_start_as_keras_starts_them() -> None:
    torch.manual_seed(0)
    inputs_and_outputs = {  # of a weight: kernel places times channels, or units
        "cnn": [(6, 6 * 16), (6 * 16, 6 * 32), (6 * 32, 6 * 32), (5760, 4)],
        "fnn": [(1280, 10), (10, 100), (100, 1000), (1000, 4)],
    }
    for name, model in (("cnn", RowCNN()), ("fnn", RowFNN())):
        layers = [one for one in classifier(model).modules() if isinstance(one, (nn.Conv2d, nn.Linear))]
        for layer, sides in zip(layers, inputs_and_outputs[name], strict=True):
            limit = (6 / sum(sides)) ** 0.5
            weight = layer.weight.detach().double()
            assert 0.9 * limit < float(weight.abs().max()) <= limit * (1 + 1e-6)
            assert float(weight.mean().abs()) < 4 * limit / (3 * weight.numel()) ** 0.5
            assert float(weight.square().mean()) == pytest.approx(limit**2 / 3, rel=4 / weight.numel() ** 0.5)
            assert layer.bias is not None
            assert not layer.bias.any()


def test_layers_without_a_bias_start_so_too_and_others_stay() -> None:
    torch.manual_seed(0)
    layer, norm = nn.Linear(300, 300, bias=False), nn.BatchNorm1d(3)
    keras_start(layer)
    keras_start(norm)
    assert 0.099 < float(layer.weight.detach().abs().max()) <= 0.1  # torch's own bound is 0.058
    assert norm.weight.tolist() == [1.0] * 3


def test_labels_lie_on_the_rows_own_grid() -> None:
    for model in (cnn("valid"), RowFNN()):
        assert (model.frames(10), model.time_pooling) == (10, 1)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("last_pooling", [False, True])
def test_what_the_poolings_leave_of_few_rows(padding: str, last_pooling: bool) -> None:
    for rows in (7, 8, 11):
        model = RowCNN(rows, 24, last_pooling, padding)
        height = (rows + 1) // 2 - 2 - last_pooling  # every second row, and one less after each pooling
        width = (12 if padding == "same" else 10) - 2 - last_pooling
        assert model(torch.rand(1, rows, 24)).shape == (1, height * width * 32)
    with pytest.raises(InputError, match=r"the CNN of rows needs at least 7 of them a clip, not 6; use longer clips"):
        RowCNN(6, 24, last_pooling, padding)


def test_an_unknown_padding_is_refused() -> None:
    with pytest.raises(InputError, match=r"model\.padding='full' is unknown; use valid or same"):
        RowCNN(padding="full")
