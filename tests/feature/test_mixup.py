"""Mixup: who is mixed with whom, and what becomes of the labels."""

from __future__ import annotations

import itertools

import pytest
import torch

from sed_lab.feature.mixup import mixup

MASK = torch.tensor([True, False, True, False, True])


def example() -> tuple[torch.Tensor, torch.Tensor]:
    # Clip i is all 10^i, so that a mixture shows its parts.
    scale = 10.0 ** torch.arange(5)
    return scale[:, None, None].expand(5, 2, 3).clone(), torch.eye(5)


@pytest.mark.parametrize("labels", ["soft", "hard"])
def test_mixes_inside_the_mask_and_labels_follow(labels: str) -> None:
    feature, target = example()
    rows = [0, 2, 4]
    expected = {}
    for order in itertools.permutations(rows):
        mixed = 0.7 * feature[rows] + 0.3 * feature[list(order)]
        own, other = (0.7, 0.3) if labels == "soft" else (1, 1)
        y = (own * target[rows] + other * target[list(order)]).clamp(0, 1)
        expected[order] = (mixed, y)
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        x, y = mixup(feature, target, MASK, 0.7, labels)
        matches = [o for o, (a, b) in expected.items() if torch.allclose(x[rows], a) and torch.allclose(y[rows], b)]
        assert len(matches) == 1
        seen.add(matches[0])
        assert torch.equal(x[~MASK], feature[~MASK])
        assert torch.equal(y[~MASK], target[~MASK])
    assert len(seen) == 6  # every permutation happens


def test_inputs_are_left_as_they_are() -> None:
    feature, target = example()
    before = feature.clone(), target.clone()
    mixup(feature, target, MASK, 0.5)
    assert torch.equal(feature, before[0])
    assert torch.equal(target, before[1])


@pytest.mark.parametrize("mask", [torch.zeros(5, dtype=torch.bool), torch.eye(5)[0].bool()])
def test_nothing_to_mix_with(mask: torch.Tensor) -> None:
    feature, target = example()
    x, y = mixup(feature, target, mask, 0.5)
    assert torch.equal(x, feature)
    assert torch.equal(y, target)
