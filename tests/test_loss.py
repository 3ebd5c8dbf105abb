"""Losses against the paper's definitions computed by hand, and their safety at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.loss import TABLE_1, Binary, WeightedBinary, probability, time_balanced_weight
from sed_lab.types import ClassStatistics
from tests.configured import configured

Categorical = configured("loss/categorical")
ClassBalancedFocal = configured("loss/class_balanced_focal")
ClippedBinary = configured("loss/bce_clipped")
ClippedCategorical = configured("loss/categorical_clipped")
Focal = configured("loss/focal")
TimeBalancedFocal = configured("loss/tbfl")

SOURCES, SHARES = np.array(list(TABLE_1.values())).T
# Weights computed separately with exact arithmetic from Table 1, classes in alphabetical order.
WEIGHTS = {
    32: [1.568591] * 5 + [0.532313, 0.401459, 0.530629, 0.162453, 0.530193],
    100: [1.713998, 1.044087, 1.724516, 1.720731, 1.717592, 0.508011, 0.379860, 0.546266, 0.185143, 0.459795],
    1000: [1.270844, 1.031312, 1.549917, 1.297155, 1.421141, 0.851304, 0.715032, 0.795093, 0.357045, 0.711157],
    10000: [0.532367, 0.888140, 1.010050, 0.817772, 0.696270, 1.547189, 1.353791, 1.274156, 0.676895, 1.203369],
    math.inf: [0.464748, 0.901042, 1.003433, 0.810111, 0.649280, 1.576824, 1.379721, 1.298561, 0.689860, 1.226419],
}
P = torch.tensor([[0.9, 0.2, 0.6], [0.3, 0.7, 0.05]], dtype=torch.float64)
Y = torch.tensor([[1, 0, 1], [0, 1, 0]], dtype=torch.float64)
W = torch.tensor([0.5, 1, 1.5], dtype=torch.float64)


def statistics(**changes: object) -> ClassStatistics:
    values: dict[str, object] = {
        "classes": ("cat", "dog", "speech"),
        "active_frames": np.array([100, 300, 600]),
        "total_frames": 2000,
        "events": np.array([10, 20, 70]),
        "event_seconds": np.array([5.0, 15.0, 30.0]),
        "clips": np.array([8, 16, 64]),
        "total_clips": 80,
        "source_clips": np.array([4, 10, 20]),
    }
    return ClassStatistics(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("k", WEIGHTS)
def test_time_balanced_weights_of_table_1(k: float) -> None:
    weight = time_balanced_weight(SHARES, SOURCES, k)
    np.testing.assert_allclose(weight.numpy(), WEIGHTS[k], atol=1e-6)
    assert weight.sum().item() == pytest.approx(10, abs=1e-5)


def test_order_of_classes_flips_between_k_1000_and_infinity() -> None:
    names = list(TABLE_1)
    at_1000, at_inf = (time_balanced_weight(SHARES, SOURCES, k) for k in (1000, math.inf))
    assert names[int(at_1000.argmin())] == "Speech"
    assert names[int(at_inf.argmin())] == "Alarm_bell_ringing"
    assert names[int(at_inf.argmax())] == "Electric_shaver_toothbrush"


def test_weights_with_the_held_out_sources() -> None:
    kept = np.array([177, 89, 78, 99, 121, 51, 56, 59, 117, 62])
    expected = [1.228239, 1.014340, 1.520230, 1.265826, 1.383802, 0.874439, 0.763022, 0.830086, 0.367895, 0.752120]
    np.testing.assert_allclose(time_balanced_weight(SHARES, kept, 1000).numpy(), expected, atol=1e-6)


def test_exponent_is_not_lost_to_binary_rounding() -> None:
    # 10000 * 0.1551 is 1550.9999999999998: with the floor at 1550 both weights would differ.
    weight = time_balanced_weight(np.array([0.1551, 0.8449]), np.array([1000.0, 1000.0]), 10000)
    raw = [(1 / 1000) / (1 - 0.999**n) for n in (1551, 8449)]
    np.testing.assert_allclose(weight.numpy(), 2 * np.array(raw) / sum(raw), rtol=1e-6)


def test_too_small_k_counts_as_one_sample_or_is_refused() -> None:
    weight = time_balanced_weight(SHARES, SOURCES, 1)
    np.testing.assert_allclose(weight.numpy(), np.ones(10), rtol=1e-6)
    with pytest.raises(InputError, match=r"floor\(k r_c\) = 0 for cat, dog; use a larger k"):
        TimeBalancedFocal(k=2, strict=True).class_weight(statistics())


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 5000)), min_size=2, max_size=12),
    st.floats(0.5, 1e5),
)
def test_weights_are_finite_positive_and_sum_to_the_classes(rows: list[tuple[int, int]], k: float) -> None:
    frames, sources = np.array(rows, float).T
    weight = time_balanced_weight(frames, sources, k)
    assert torch.isfinite(weight).all()
    assert (weight > 0).all()
    assert weight.sum().item() == pytest.approx(len(rows), rel=1e-5)


def test_weights_from_a_dataset_and_from_the_table() -> None:
    n = [100, 300, 600]
    raw = [(1 / v) / (1 - (1 - 1 / v) ** m) for v, m in zip((4, 10, 20), n, strict=True)]
    weight = TimeBalancedFocal(k=1000).class_weight(statistics())
    np.testing.assert_allclose(weight.numpy(), 3 * np.array(raw) / sum(raw), rtol=1e-6)
    desed = statistics(classes=tuple(TABLE_1))
    table = TimeBalancedFocal(k=1000, statistics="table1").class_weight(desed)
    np.testing.assert_allclose(table.numpy(), WEIGHTS[1000], atol=1e-6)


def test_class_balanced_weight_uses_all_data_as_volume() -> None:
    raw = [(1 / 100) / (1 - 0.99**n) for n in (10, 20, 70)]
    weight = ClassBalancedFocal().class_weight(statistics())
    np.testing.assert_allclose(weight.numpy(), 3 * np.array(raw) / sum(raw), rtol=1e-6)
    by_clips = ClassBalancedFocal(samples="clips").class_weight(statistics())
    raw = [(1 / 88) / (1 - (87 / 88) ** n) for n in (8, 16, 64)]
    np.testing.assert_allclose(by_clips.numpy(), 3 * np.array(raw) / sum(raw), rtol=1e-6)


def test_losses_without_weights_have_none() -> None:
    assert Binary().class_weight(statistics()) is None
    assert Focal().class_weight(statistics()) is None


@pytest.mark.parametrize(
    ("gamma", "weighted", "plain"),
    [(0.0, 0.27566910, 0.26732881), (1.0, 0.08679047, 0.07934411), (2.0, 0.03006569, 0.02600686)],
)
def test_loss_vector(gamma: float, weighted: float, plain: float) -> None:
    loss = TimeBalancedFocal(gamma=gamma)
    assert loss(P.logit(), Y, class_weight=W).item() == pytest.approx(weighted, abs=1e-8)
    assert loss(P.logit(), Y).item() == pytest.approx(plain, abs=1e-8)


def test_loss_vector_with_soft_targets() -> None:
    soft = torch.tensor([[0.5, 0, 1], [0, 0.25, 0]], dtype=torch.float64)
    assert TimeBalancedFocal(gamma=2)(P.logit(), soft, class_weight=W).item() == pytest.approx(0.17746478, abs=1e-8)


def test_gamma_0_is_binary_cross_entropy_exactly_and_alpha_half_is_half_of_it() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(4, 7, 3) * 5, torch.rand(4, 7, 3)
    reference = F.binary_cross_entropy_with_logits(logits, target)
    assert torch.equal(TimeBalancedFocal(gamma=0)(logits, target), reference)
    assert torch.equal(TimeBalancedFocal(gamma=0)(logits, target, class_weight=torch.ones(3)), reference)
    assert torch.equal(Binary()(logits, target), reference)
    torch.testing.assert_close(Focal(gamma=0, alpha=0.5)(logits, target), reference / 2)
    torch.testing.assert_close(
        Focal(gamma=2, alpha=0.5)(logits, target), Focal(gamma=2)(logits, target) / 2, rtol=1e-6, atol=0
    )


def test_alpha_weighs_positives_and_negatives() -> None:
    p, gamma, alpha = 0.3, 2.0, 0.25
    logit = torch.tensor([[math.log(p / (1 - p))]], dtype=torch.float64)
    loss = Focal(gamma, alpha)
    assert loss(logit, torch.ones(1, 1)).item() == pytest.approx(-alpha * (1 - p) ** gamma * math.log(p))
    assert loss(logit, torch.zeros(1, 1)).item() == pytest.approx(-(1 - alpha) * p**gamma * math.log(1 - p))


def test_weighted_binary_weighs_positives_only() -> None:
    loss = WeightedBinary()
    weight = loss.class_weight(statistics())
    assert weight.tolist() == [8, 4, 1]
    expected = -(weight * Y * P.log() + (1 - Y) * (1 - P).log()).mean()
    torch.testing.assert_close(loss(P.logit(), Y, class_weight=weight), expected)


def test_weights_of_arora2019_count_the_background_as_a_class() -> None:
    # 70 % of 13.5K, 2.3K and 4.1K clips beside 36.0K without any of the classes.
    clips = np.array([9450, 1610, 2870])
    weight = WeightedBinary().class_weight(statistics(clips=clips, total_clips=39130, empty_clips=25200))
    assert weight.tolist() == pytest.approx([2.6667, 15.6522, 8.7805], abs=1e-4)
    without = WeightedBinary().class_weight(statistics(clips=clips, total_clips=13930))
    assert without.tolist() == pytest.approx([1, 9450 / 1610, 9450 / 2870], abs=1e-4)


LOSSES = [Binary(), WeightedBinary(), Focal(), Focal(alpha=0.25), ClassBalancedFocal(), TimeBalancedFocal()]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_mask_chooses_clips_and_an_empty_one_gives_zero_with_zero_gradient(loss: Binary) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(5, 4, 3, requires_grad=True), torch.rand(5, 4, 3)
    mask = torch.tensor([True, False, True, False, False])
    weight = torch.tensor([0.5, 1, 1.5])
    chosen = loss(logits, target, class_weight=weight, mask=mask)
    torch.testing.assert_close(chosen, loss(logits[mask], target[mask], class_weight=weight))
    empty = loss(logits, target, mask=torch.zeros(5, dtype=torch.bool))
    assert empty.item() == 0
    (gradient,) = torch.autograd.grad(empty, logits)
    assert gradient.count_nonzero() == 0


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_saturated_and_half_precision_logits_are_safe(loss: Binary) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        logits = torch.tensor([[-1e4, 1e4, -80.0, 80.0, 0.0]], dtype=dtype).requires_grad_()
        for target in (torch.zeros(1, 5), torch.ones(1, 5), torch.full((1, 5), 0.3)):
            value = loss(logits, target)
            (gradient,) = torch.autograd.grad(value, logits)
            assert value.dtype == torch.float32
            assert torch.isfinite(value)
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_gradient(loss: Binary) -> None:
    torch.manual_seed(0)
    logits = (torch.randn(2, 3, 3, dtype=torch.float64) * 3).requires_grad_()
    target = torch.rand(2, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, target, class_weight=W), (logits,))


# Keras's losses of clipped probabilities: twenty logits by hand, five clips of four classes, some far out.
LOGITS = np.array(
    [
        [2.0, -1.0, 0.5, 0.0],
        [16.0, -16.2, 3.0, -4.0],  # 1 - p of the first is 1.1e-7, just inside; p of the second 9.2e-8, just outside
        [40.0, -40.0, 900.0, -900.0],  # all saturated
        [30.0, 29.0, -20.0, 1.0],
        [0.0, 0.0, 0.0, 17.0],
    ]
)
ONE_HOT = np.eye(4)[[0, 1, 2, 3, 0]]
EPSILON = 1e-7


def keras_binary(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each element's loss, and its gradient: 0 where the output was clipped."""
    p = 1 / (1 + np.exp(-z))
    clipped = np.clip(p, EPSILON, 1 - EPSILON)
    return -(y * np.log(clipped) + (1 - y) * np.log(1 - clipped)), np.where(p == clipped, p - y, 0)


def keras_categorical(z: np.ndarray, y: np.ndarray, sparse: bool) -> tuple[np.ndarray, np.ndarray]:
    """Each clip's loss, and its gradient by way of dL / dp_c and the softmax's derivative."""
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    clipped = np.clip(p, EPSILON, 1 - EPSILON)
    total = clipped.sum(1, keepdims=True) if sparse else np.ones((len(z), 1))
    slope = np.where(p == clipped, (1 / total if sparse else 0) - y / clipped, 0)
    return np.log(total[:, 0]) - np.log((clipped * y).sum(1)), p * (slope - (slope * p).sum(1, keepdims=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", ["binary", "categorical", "sparse"])
@np.errstate(over="ignore")
def test_clipped_losses_are_keras_s_and_saturated_outputs_have_no_gradient(kind: str, dtype: torch.dtype) -> None:
    loss = ClippedBinary() if kind == "binary" else ClippedCategorical(sparse=kind == "sparse")
    by_hand = keras_binary(LOGITS, ONE_HOT) if kind == "binary" else None
    values, slopes = by_hand or keras_categorical(LOGITS, ONE_HOT, kind == "sparse")
    z = torch.tensor(LOGITS, dtype=dtype, requires_grad=True)
    found = loss(z, torch.tensor(ONE_HOT, dtype=dtype))
    (gradient,) = torch.autograd.grad(found, z)
    exact = dtype == torch.float64
    assert found.item() == pytest.approx(values.mean(), rel=1e-9 if exact else 0.02)
    np.testing.assert_allclose(gradient.numpy(), slopes / values.size, rtol=1e-6, atol=1e-14 if exact else 2e-8)
    assert not gradient[2].any()  # however wrong it may be, what is saturated stays
    if kind == "binary":
        assert values[2].tolist() == pytest.approx([-math.log(1e-7), 1e-7, 1e-7, 1e-7], rel=1e-6)
        assert gradient[1, 1] == 0 != gradient[1, 0]
    elif kind == "sparse":
        assert values[3] == pytest.approx(math.log(1 + 1e-7 + 1e-7) - math.log(1e-7), abs=1e-6)


def test_within_the_limits_clipped_losses_are_the_others() -> None:
    torch.manual_seed(0)
    logits, target = 3 * torch.randn(6, 4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)[[0, 1, 2, 3, 0, 2]]
    weight = torch.tensor([0.5, 1, 1.5, 2], dtype=torch.float64)
    for clipped, plain in (
        (ClippedBinary(), Binary()),
        (ClippedCategorical(), Categorical()),
        (ClippedCategorical(sparse=True), Categorical(sparse=True)),
    ):
        found, wanted = (one(logits, target, class_weight=weight) for one in (clipped, plain))
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
        assert torch.equal(probability(clipped, logits), probability(plain, logits))
    for wrong in (0.0, 0.5, 1, True, None):
        for one in (ClippedBinary, ClippedCategorical):
            with pytest.raises(InputError, match=r"loss\.epsilon=.* must be a number between 0 and 0\.5"):
                one(epsilon=wrong)


def test_k_may_be_written_as_text() -> None:
    for text in ("inf", ".inf", "+inf"):
        assert TimeBalancedFocal(k=text).k == math.inf  # type: ignore[arg-type]


def test_bad_values_are_refused() -> None:
    with pytest.raises(InputError, match=r"loss.gamma=-1 must be a number of at least 0"):
        Focal(gamma=-1)
    with pytest.raises(InputError, match=r"loss.alpha=1.0 is outside \(0, 1\)"):
        Focal(alpha=1.0)
    with pytest.raises(InputError, match=r"loss.samples='seconds' is unknown; use events, clips or frames"):
        ClassBalancedFocal(samples="seconds")
    with pytest.raises(InputError, match=r"loss.k=0.0 must be above 0"):
        TimeBalancedFocal(k=0)
    with pytest.raises(InputError, match=r"loss.k='many' is not a number"):
        TimeBalancedFocal(k="many")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"loss.statistics='paper' is unknown; use dataset or table1"):
        TimeBalancedFocal(statistics="paper")


def test_statistics_that_do_not_suffice_are_named() -> None:
    for loss in (TimeBalancedFocal(), ClassBalancedFocal(), WeightedBinary()):
        with pytest.raises(InputError, match=r"labelled training clips, of which this dataset has none"):
            loss.class_weight(None)
    with pytest.raises(InputError, match=r"set loss.statistics=table1"):
        TimeBalancedFocal().class_weight(statistics(source_clips=None))
    with pytest.raises(InputError, match=r"knows DESED's classes only, not cat, dog, speech"):
        TimeBalancedFocal(statistics="table1").class_weight(statistics())
    with pytest.raises(InputError, match=r"no active frames of dog, so this loss has no weight for them"):
        TimeBalancedFocal().class_weight(statistics(active_frames=np.array([1, 0, 2])))
