"""Rows of embeddings into classes: scaling, losses and heads against sums by hand, torch, and naive loops."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.loss import Binary, probability
from sed_lab.method.aziz2020 import RowClassifier
from sed_lab.method.base import Parts
from sed_lab.types import Batch, Part, Shares
from tests.configured import configured

VggishEmbedding = configured("feature/vggish")
Categorical = configured("loss/categorical")
ClippedCategorical = configured("loss/categorical_clipped")
Focal = configured("loss/focal")
RowCNN = configured("model/embedding_cnn", n_rows=10, n_values=128)
RowFNN = configured("model/embedding_fnn", n_rows=10, n_values=128)

CLASSES = ("Speech", "Animal", "Music", "Vehicle")
ONE_HOT = torch.eye(4)[[2, 0, 3, 0, 1]]
SEVERAL = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]])


def method_of(loss: Any = None, model: Any = None, feature: Any = None, **settings: Any) -> RowClassifier:
    torch.manual_seed(0)
    model = RowFNN(hidden=(6, 5)) if model is None else model
    optimizer = functools.partial(torch.optim.Adam, lr=1e-3)
    feature = VggishEmbedding() if feature is None else feature
    weight = settings.pop("class_weight", None)
    parts = Parts(feature, model, Binary() if loss is None else loss, CLASSES, weight)
    method = RowClassifier(parts, optimizer, **{"normalise": True, "multi_output": False, **settings})
    for parameter in method.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # biases that are not 0
    method.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return method


def batch_of(weak: torch.Tensor = ONE_HOT, **given: Any) -> Batch:
    clips = len(weak)
    if not given:
        rows = torch.randint(0, 256, (clips, 10, 128), generator=torch.Generator().manual_seed(3))
        given = {"embedding": rows.to(torch.uint8)}
    yes = torch.ones(clips, dtype=torch.bool)
    return Batch(
        strong=torch.zeros(clips, 10, 4), weak=weak, has_strong=~yes, has_weak=yes, synthetic=~yes,
        valid_frames=torch.full((clips,), 10), index=torch.arange(clips), clip_id=[f"c{i}" for i in range(clips)],
        **given,
    )  # fmt: skip


def linear(x: np.ndarray, layer: nn.Module) -> np.ndarray:
    weight, bias = (one.detach().double().numpy() for one in (layer.weight, layer.bias))
    return np.asarray(x @ weight.T + bias)


def logits_by_hand(method: RowClassifier, rows: np.ndarray) -> np.ndarray:
    """Every layer of a dense network and of its outputs, one after the other, in float64."""
    x = rows.reshape(len(rows), -1)
    for layer in method.model.modules():
        if isinstance(layer, nn.Linear):
            x = np.maximum(linear(x, layer), 0)
    return np.concatenate([linear(x, head) for head in method.heads.values()], axis=1)


def clip_scores(method: RowClassifier, batch: Batch) -> np.ndarray:
    with torch.no_grad():
        found = method.predict(batch)
    assert list(found) == list(method.systems) == ["model"]
    assert found["model"].frame is None
    assert found["model"].clip is not None
    return found["model"].clip.numpy()


# Input and output.


@pytest.mark.parametrize("multi_output", [False, True])
@pytest.mark.parametrize("normalise", [True, False])
def test_eight_bits_are_divided_by_255_or_taken_as_they_are(normalise: bool, multi_output: bool) -> None:
    method, batch = method_of(normalise=normalise, multi_output=multi_output), batch_of()
    assert batch.embedding is not None
    batch.embedding[1] //= 9  # a quiet clip is not scaled up by its own range
    rows = batch.embedding.numpy().astype(np.float64)
    expected = logits_by_hand(method, rows / 255 if normalise else rows)
    found = torch.cat(method(batch), dim=1).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 if normalise else 1e-2)
    np.testing.assert_allclose(clip_scores(method, batch), 1 / (1 + np.exp(-expected)), atol=1e-3)


@pytest.mark.parametrize("loss", [Categorical(), Categorical(sparse=True)])
def test_exclusive_classes_share_one_and_others_have_their_own_probability(loss: Categorical) -> None:
    exclusive, own, batch = method_of(loss), method_of(Binary()), batch_of()
    logits = torch.cat(own(batch), dim=1).detach().double().numpy()  # the same weights
    powers = np.exp(logits)
    found = clip_scores(exclusive, batch)
    np.testing.assert_allclose(found, powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(clip_scores(own, batch), powers / (1 + powers), atol=1e-6)
    np.testing.assert_allclose(clip_scores(method_of(Focal()), batch), powers / (1 + powers), atol=1e-6)
    assert probability(loss, torch.zeros(2, 4).bfloat16()).dtype == torch.float32


class RowsOfAudio:
    """A front end that gives ten rows of a clip's first samples, and counts its calls."""

    called = 0

    def __call__(self, audio: torch.Tensor) -> torch.Tensor:
        self.called += 1
        return audio[:, :1280].unflatten(1, (10, 128)).to(torch.uint8)


def test_audio_goes_through_the_front_end_and_embeddings_past_it() -> None:
    feature: Any = RowsOfAudio()
    method, batch = method_of(feature=feature), batch_of()
    assert batch.embedding is not None
    audio = F.pad(batch.embedding.flatten(1).float(), (0, 50), value=7.0)
    expected = clip_scores(method, batch)
    assert feature.called == 0
    np.testing.assert_array_equal(clip_scores(method, batch_of(audio=audio)), expected)
    assert feature.called == 1


def test_other_features_are_no_rows_of_embeddings() -> None:
    method, batch = method_of(), batch_of(feature=torch.zeros(5, 10, 64))
    said = r"this method works on rows of embeddings, but the dataset gives none; choose another"
    for step in (method.predict, lambda one: method.training_step(Part(one, Shares()), 0)):
        with pytest.raises(InputError, match=said):
            step(batch)


# The categorical losses.


def naive_categorical(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """``-log(exp z_y / sum_c exp z_c)``, clip by clip, and their mean."""
    total = torch.zeros((), dtype=logits.dtype)
    for z, y in zip(logits.flatten(0, -2), target.flatten(0, -2), strict=True):
        place = y.tolist().index(1)
        share = z[place].exp() / sum(value.exp() for value in z)
        total = total - (1.0 if weight is None else weight[place]) * share.log()
    return total / math.prod(logits.shape[:-1])


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(2, 5), st.sampled_from([(), (3,)]), st.booleans(), st.integers(0, 999))
def test_categorical_and_sparse_categorical_are_one_loss_with_one_gradient(
    clips: int, classes: int, frames: tuple[int, ...], weighted: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = 3 * torch.randn(clips, *frames, classes, generator=generator, dtype=torch.float64)
    numbers = torch.randint(classes, (clips, *frames), generator=generator)
    weight = torch.rand(classes, generator=generator, dtype=torch.float64) + 0.5 if weighted else None
    target = F.one_hot(numbers, classes).float()
    values, gradients = [], []
    for compute in (
        lambda x: Categorical()(x, target, class_weight=weight),
        lambda x: Categorical(sparse=True)(x, target, class_weight=weight),
        lambda x: F.cross_entropy(x.flatten(0, -2), numbers.flatten(), weight, reduction="sum") / numbers.numel(),
        lambda x: naive_categorical(x, target, weight),
    ):
        logits = z.clone().requires_grad_()
        value = compute(logits)
        values.append(value.item())
        gradients.append(torch.autograd.grad(value, logits)[0])
    assert values == pytest.approx([values[0]] * 4, rel=1e-9)
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("network", [RowCNN, functools.partial(RowFNN, hidden=(6, 5))], ids=["cnn", "fnn"])
def test_training_by_categorical_and_by_sparse_categorical_gives_the_same_bits(
    network: Callable[[], nn.Module],
) -> None:
    torch.manual_seed(0)
    model = network()
    start = {name: value.clone() for name, value in model.state_dict().items()}

    def trained(loss: Any, steps: int, optimizer_of: Callable[..., torch.optim.Optimizer]) -> torch.Tensor:
        model.load_state_dict(start)
        method = method_of(loss, model)
        optimizer = optimizer_of(method.parameters(), lr=1e-2)
        for _ in range(steps):
            optimizer.zero_grad()
            method.training_step(Part(batch_of(), Shares()), 0).backward()
            optimizer.step()
        return torch.cat([parameter.detach().flatten() for parameter in method.parameters()])

    adam, sgd = torch.optim.Adam, torch.optim.SGD
    assert torch.equal(trained(Categorical(), 20, adam), trained(Categorical(sparse=True), 20, adam))
    assert not torch.equal(trained(Categorical(), 20, adam), trained(Binary(), 20, adam))
    # Clipped, Keras took the sparse one's logarithm on another way: the same but for rounding, which tables share.
    # Adam's first step is as long for a gradient that is only rounding as for any other, so SGD takes it here.
    one, other = (trained(ClippedCategorical(sparse=sparse), 1, sgd) for sparse in (False, True))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-7)
    assert not torch.equal(one, torch.cat([value.flatten() for value in start.values()]))


def test_the_loss_of_a_clip_by_hand() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    first = -math.log(math.e**2 / (math.e + math.e**2 + 1 + 1 / math.e))
    for sparse in (False, True):
        value = Categorical(sparse)(logits, torch.eye(4)[[1, 3]])
        assert value.item() == pytest.approx((first + math.log(4)) / 2, rel=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("target", [[1, 0, 1, 0], [0, 0, 0, 0], [0.5, 0.5, 0, 0], [1, 1, 1, 1]])
def test_clips_of_several_classes_or_none_have_no_categorical_loss(sparse: bool, target: list[float]) -> None:
    targets = torch.stack([ONE_HOT[0], torch.tensor(target), ONE_HOT[1]])
    said = r"a categorical loss needs clips of exactly one class; use loss=bce, or such a dataset"
    with pytest.raises(InputError, match=said):
        Categorical(sparse)(torch.zeros(3, 4), targets)
    with pytest.raises(InputError, match=said):
        method_of(Categorical(sparse)).training_step(Part(batch_of(targets), Shares()), 0)
    mask = torch.tensor([True, False, True])  # a clip that is left out may have any labels
    assert Categorical(sparse)(torch.zeros(3, 4), targets, mask=mask).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("sparse", [False, True])
def test_a_mask_chooses_clips_and_an_empty_one_gives_no_gradient(sparse: bool) -> None:
    torch.manual_seed(0)
    loss, weight = Categorical(sparse), torch.tensor([0.5, 1.0, 1.5, 2.0])
    logits, mask = torch.randn(5, 4, requires_grad=True), torch.tensor([True, False, True, False, True])
    chosen = loss(logits, ONE_HOT, class_weight=weight, mask=mask)
    torch.testing.assert_close(chosen, naive_categorical(logits[mask], ONE_HOT[mask], weight))
    empty = loss(logits, SEVERAL, mask=torch.zeros(5, dtype=torch.bool))
    assert empty.item() == 0
    (gradient,) = torch.autograd.grad(empty, logits)
    assert gradient.count_nonzero() == 0


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saturated_logits_have_finite_categorical_losses(sparse: bool, dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4, 80.0, 0.0]], dtype=dtype).requires_grad_()
    for place in range(4):
        value = Categorical(sparse)(logits, torch.eye(4)[[place]])
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(float((logits[0, 0].float() - logits[0, place].float()).detach()))
        assert torch.isfinite(gradient).all()


def test_a_categorical_loss_asks_for_no_weights() -> None:
    assert Categorical().class_weight(None) is None


# One step.


def bce_by_hand(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return -(y * torch.log(1 / (1 + torch.exp(-z))) + (1 - y) * torch.log(1 - 1 / (1 + torch.exp(-z))))


def gradients(method: RowClassifier, loss: torch.Tensor) -> Mapping[str, torch.Tensor]:
    names, parameters = zip(*method.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True))


def hand_logits(method: RowClassifier, batch: Batch) -> torch.Tensor:
    """The same logits in the graph, from the network's parts."""
    assert batch.embedding is not None
    features = method.model(batch.embedding.float() / 255)
    return torch.cat([F.linear(features, head.weight, head.bias) for head in method.heads.values()], dim=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 1.0, 2.0, 3.0])])
def test_several_outputs_have_the_sum_of_their_losses(weight: torch.Tensor | None) -> None:
    method, batch = method_of(multi_output=True, class_weight=weight), batch_of(SEVERAL)
    z = hand_logits(method, batch)
    w = torch.ones(4) if weight is None else weight
    expected = sum(w[c] * bce_by_hand(z[:, c], SEVERAL[:, c]).mean() for c in range(4))
    assert isinstance(expected, torch.Tensor)
    found = method.training_step(Part(batch, Shares()), 0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    ours, theirs = gradients(method, found), gradients(method, expected)
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-4, atol=1e-6)
        assert gradient.any(), name  # every head and every layer of the shared network learns


def test_one_output_has_the_mean_over_classes() -> None:
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0])
    for given_weight in (None, weight):
        method, batch = method_of(class_weight=given_weight), batch_of(SEVERAL)
        each = bce_by_hand(hand_logits(method, batch), SEVERAL)
        expected = (each if given_weight is None else each * weight).mean()
        torch.testing.assert_close(method.training_step(Part(batch, Shares()), 0), expected, rtol=1e-5, atol=1e-6)


def test_categorical_steps_are_those_of_cross_entropy() -> None:
    batch = batch_of()
    numbers = ONE_HOT.argmax(dim=1)
    for loss in (Categorical(), Categorical(sparse=True)):
        method = method_of(loss)
        expected = F.cross_entropy(hand_logits(method, batch), numbers)
        found = method.training_step(Part(batch, Shares()), 0)
        torch.testing.assert_close(found, expected)
        theirs = gradients(method, expected)
        for name, gradient in gradients(method, found).items():
            torch.testing.assert_close(gradient, theirs[name])


def test_heads_are_named_and_in_the_order_of_the_classes() -> None:
    method = method_of(multi_output=True)
    assert list(method.heads) == ["is_Speech", "is_Animal", "is_Music", "is_Vehicle"]
    for number, head in enumerate(method.heads.values()):
        assert isinstance(head, nn.Linear)
        assert tuple(head.weight.shape) == (1, 5)
        head.weight.data.zero_()
        head.bias.data.fill_(number - 1.0)
    expected = 1 / (1 + np.exp(-np.arange(-1.0, 3.0)))
    np.testing.assert_allclose(clip_scores(method, batch_of()), np.tile(expected, (5, 1)), atol=1e-6)
    assert [tuple(head.weight.shape) for head in method_of().heads.values()] == [(4, 5)]


def test_a_head_learns_from_its_own_class_alone() -> None:
    method = method_of(multi_output=True)
    other = SEVERAL.clone()
    other[:, 2] = 1 - other[:, 2]
    both = [gradients(method, method.training_step(Part(batch_of(weak), Shares()), 0)) for weak in (SEVERAL, other)]
    changed = {name for name in both[0] if not torch.equal(both[0][name], both[1][name])}
    assert {name for name in changed if name.startswith("heads.")} == {"heads.is_Music.weight", "heads.is_Music.bias"}


def test_a_part_of_a_batch_counts_by_its_share() -> None:
    method, batch = method_of(), batch_of()
    whole = method.training_step(Part(batch, Shares()), 0)
    torch.testing.assert_close(method.training_step(Part(batch, Shares(all=0.25)), 0), whole / 4)


@pytest.mark.parametrize("sparse", [False, True])
def test_several_outputs_and_exclusive_classes_are_refused(sparse: bool) -> None:
    said = r"method\.multi_output=true has a head of one unit for each class; use it with loss=bce"
    with pytest.raises(InputError, match=said):
        method_of(Categorical(sparse), multi_output=True)


def test_the_optimiser_has_network_and_heads_and_lowers_the_loss() -> None:
    method, batch = method_of(multi_output=True), batch_of(SEVERAL)
    optimizer = method.configure_optimizers()
    assert {id(one) for group in optimizer.param_groups for one in group["params"]} == set(map(id, method.parameters()))
    before = method.training_step(Part(batch, Shares()), 0)
    before.backward()
    optimizer.step()
    assert method.training_step(Part(batch, Shares()), 0) < before


def test_the_cnn_is_classified_as_the_dense_network_is() -> None:
    method, batch = method_of(Categorical(), RowCNN()), batch_of()
    scores = clip_scores(method, batch)
    assert scores.shape == (5, 4)
    assert len(np.unique(scores.round(6), axis=0)) == 5  # each clip has its own
    assert batch.embedding is not None
    batch.embedding[:, 1::2] = 0  # rows that it does not read
    np.testing.assert_array_equal(clip_scores(method, batch), scores)
