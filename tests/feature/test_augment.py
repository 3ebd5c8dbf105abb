"""Augmentation against a search over all possibilities, and by what must stay the same."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from sed_lab.feature.augment import random_filter, roll_in_time


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 4), st.integers(0, 3), st.integers(0, 2**31))
def test_a_rolled_clip_and_its_labels_stay_together(clips: int, pooled: int, ratio: int, rest: int, seed: int) -> None:
    torch.manual_seed(seed)
    rest = min(rest, pooled - 1)
    mel = torch.arange(clips * (pooled * ratio + rest) * 2.0).view(clips, -1, 2)
    target = torch.arange(clips * pooled * 3.0).view(clips, pooled, 3)
    rolled, labels = roll_in_time(mel, target)
    for clip in range(clips):
        fitting = [
            k for k in range(pooled)
            if torch.equal(labels[clip], target[clip].roll(k, 0))
            and torch.equal(rolled[clip, : pooled * ratio], mel[clip, : pooled * ratio].roll(k * ratio, 0))
        ]  # fmt: skip
        assert fitting
    assert torch.equal(rolled[:, pooled * ratio :], mel[:, pooled * ratio :])


def test_every_shift_comes_and_clips_are_shifted_by_themselves() -> None:
    torch.manual_seed(0)
    target = torch.eye(6).expand(600, 6, 6)
    _, labels = roll_in_time(torch.zeros(600, 6, 1), target)
    shifts = labels[:, 0].argmax(1)
    assert torch.bincount(shifts, minlength=6).min() > 60


def test_a_filter_is_straight_between_its_points_and_the_same_in_all_frames() -> None:
    torch.manual_seed(2)
    mel = torch.rand(30, 6, 9).double() + 0.1
    filtered = random_filter(mel, 4.0, 3, 2.0)
    response = 10 * (filtered / mel).log10()
    torch.testing.assert_close(response, response[:, :1].expand_as(response))
    one = response[:, 0]
    assert one.abs().max() <= 4
    assert one.abs().max() > 3
    bends = one[:, 2:] - 2 * one[:, 1:-1] + one[:, :-2]  # points are the bins 0, 4 and 8
    torch.testing.assert_close(bends[:, [0, 1, 2, 4, 5, 6]], torch.zeros(30, 6).double(), atol=1e-5, rtol=0)
    assert bends[:, 3].abs().max() > 1


def test_a_filter_has_the_same_decibels_for_magnitudes_and_energies() -> None:
    magnitude = torch.rand(3, 4, 8).double() + 0.1
    torch.manual_seed(3)
    one = random_filter(magnitude, 6.0, 4, 1.0)
    torch.manual_seed(3)
    torch.testing.assert_close(random_filter(magnitude**2, 6.0, 4, 2.0), one**2)
