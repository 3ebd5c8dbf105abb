"""The inter-frame distance loss: the note's vector, a naive triple loop in both forms, what its gradient does."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sed_lab.method import huang2021
from sed_lab.method.huang2021 import frame_norm, frame_pairs, inter_frame_distance

V = torch.tensor([[1.0, 1, 0, 0], [0.5, 1, 0.5, 0], [-1, 0, 1, 2]], dtype=torch.float64)


def naive(
    z: torch.Tensor, weak: torch.Tensor, frame: torch.Tensor, a: float, form: str, active_only: bool
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """The sets and sums as they are written, one triple after another: the hinge, the norm, the number of anchors."""
    clips, frames, dimensions = z.shape
    labels = [set(torch.nonzero(row).flatten().tolist()) for row in weak]
    held = [[set(torch.nonzero(row).flatten().tolist()) for row in clip] for clip in frame]

    def dis(i: int, j: int, t: int) -> torch.Tensor:
        return (z[i, t] * z[j, t]).sum() / dimensions

    means = []
    for i in range(clips):
        for t in range(frames):
            p = [j for j in range(clips) if j != i and labels[j] == labels[i] and held[j][t] == held[i][t]]
            p = [j for j in p if held[j][t] or not active_only]
            n = [
                k
                for k in range(clips)
                if labels[k] != labels[i] and not labels[k] & labels[i] and held[k][t] != held[i][t]
            ]
            if not p or not n:
                continue
            if form == "exact":
                terms = [(dis(i, k, t) - dis(i, j, t) + a).clamp(min=0) for j in p for k in n]
                means.append(torch.stack(terms).mean())
            else:
                near, far = (torch.stack([dis(i, j, t) for j in side]).mean() for side in (p, n))
                means.append((far - near + a).clamp(min=0))
    norm = torch.stack([(dis(i, i, t) - 1).abs() for i in range(clips) for t in range(frames)]).mean()
    return torch.stack(means).mean() if means else 0 * z.sum(), norm, len(means)


def batch(clips: int, frames: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weak = torch.randint(2, (clips, 2), generator=generator).float()
    frame = torch.randint(2, (clips, frames, 2), generator=generator).float() * weak[:, None]
    z = torch.randn(clips, frames, 3, generator=generator)
    return z.requires_grad_(), weak, frame


@pytest.mark.parametrize("active_only", [False, True])
@pytest.mark.parametrize("form", ["exact", "mean"])
@settings(max_examples=20, deadline=None)
@given(clips=st.integers(1, 6), frames=st.integers(1, 6), seed=st.integers(0, 10_000), at_once=st.sampled_from([3, 64]))
def test_values_and_gradients_are_those_of_the_triple_loop(
    form: str, active_only: bool, clips: int, frames: int, seed: int, at_once: int
) -> None:
    z, weak, frame = batch(clips, frames, seed)
    with patch.object(huang2021, "PAIRS_AT_ONCE", at_once):
        hinge, anchors = inter_frame_distance(z, weak, frame, 0.1, form, active_only)
    expected_hinge, expected_norm, count = naive(z, weak, frame, 0.1, form, active_only)
    assert anchors == count
    for found, expected in ((hinge, expected_hinge), (frame_norm(z), expected_norm)):
        (gradient,) = torch.autograd.grad(found, z, retain_graph=True)
        (expected_gradient,) = torch.autograd.grad(expected, z, retain_graph=True)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-4)


def test_the_vector_worked_out_by_hand() -> None:
    # dis01 .375, dis02 -.25, dis12 0; norms .5, .625, .5. Clips 0 and 1 alike, clip 2 of another class.
    z = V[:, None].float()
    assert frame_norm(z).item() == pytest.approx((0.5 + 0.625 + 0.5) / 3)
    weak = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    hinge, anchors = inter_frame_distance(z, weak, weak[:, None], 0.1, "exact", False)
    # Anchor 0: [-.25 - .375 + .1]_+ = 0; anchor 1: [0 - .375 + .1]_+ = 0; anchor 2 has no positive.
    assert (anchors.item(), hinge.item()) == (2, 0)
    weak = torch.tensor([[1.0, 0], [0, 1], [1, 0]])
    hinge, anchors = inter_frame_distance(z, weak, weak[:, None], 0.1, "exact", False)
    # Anchor 0: [.375 + .25 + .1]_+ = .725; anchor 2: [0 + .25 + .1]_+ = .35.
    assert (anchors.item(), hinge.item()) == (2, pytest.approx((0.725 + 0.35) / 2))


def test_partly_overlapping_clips_are_no_pair_and_silence_equals_silence() -> None:
    weak = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]])
    frame = torch.zeros(4, 1, 3)
    frame[2, 0, 2] = 1
    positive, negative = frame_pairs(weak, frame, False)
    assert not positive[0, 1].any()
    assert not negative[0, 1].any()
    assert negative[0, 2].all()
    assert not negative[0, 3].any()  # both are silent
    assert not positive[2, 3].any()  # the same clip labels, other frame labels


def test_silent_frames_are_no_pair_where_an_event_is_asked_for() -> None:
    weak = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    frame = torch.zeros(3, 2, 2)
    frame[:2, 1, 0] = 1  # silent at the first time, both hold the class at the second
    for active_only, silent in ((False, True), (True, False)):
        positive, negative = frame_pairs(weak, frame, active_only)
        assert positive[0, 1].tolist() == [silent, True]
        assert negative[0, 2].tolist() == [False, True]  # frames that differ are never both silent


def test_the_hinge_falls_when_a_positive_pair_aligns() -> None:
    z, weak, frame = batch(6, 4, 3)
    weak = torch.tensor([[1.0, 0]] * 3 + [[0, 1.0]] * 3)
    frame = weak[:, None].repeat(1, 4, 1)
    aligned = z.detach().clone()
    aligned[1] = aligned[0]
    before, after = (inter_frame_distance(one, weak, frame, 0.1, "exact", False)[0] for one in (z, aligned))
    assert after < before


@pytest.mark.parametrize("form", ["exact", "mean"])
def test_without_an_anchor_the_norm_is_left(form: str) -> None:
    z, weak, frame = batch(3, 4, 0)
    hinge, anchors = inter_frame_distance(z, torch.ones_like(weak), frame * 0 + 1, 0.1, form, False)
    assert (anchors, hinge) == (0, 0)
    torch.testing.assert_close(frame_norm(z), (z.square().mean(2) - 1).abs().mean())
    (hinge + frame_norm(z)).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
