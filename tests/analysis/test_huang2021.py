"""How near two domains lie: against loops over pairs, and what it may not depend on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sed_lab.analysis.huang2021 import domain_similarity, frames_of_run


def made(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(40, 5)), rng.integers(0, 4, 40), rng.random(40) > 0.4


def test_against_loops_over_pairs() -> None:
    x, label, synthetic = made()
    same, other, nearest = [], [], []
    for c in range(4):
        near, far, found = [], [], []
        for i in np.flatnonzero(~synthetic & (label == c)):
            cosine = {j: x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for j in np.flatnonzero(synthetic)}
            near += [value for j, value in cosine.items() if label[j] == c]
            far += [value for j, value in cosine.items() if label[j] != c]
            found.append(label[max(cosine, key=cosine.__getitem__)] == c)
        same.append(np.mean(near))
        other.append(np.mean(far))
        nearest.append(np.mean(found))
    found = domain_similarity(x, label, synthetic)
    expected = (np.mean(same), np.mean(other), np.mean(same) - np.mean(other), np.mean(nearest))
    assert tuple(found.values()) == pytest.approx(expected)
    assert list(found) == ["same_class", "other_class", "gap", "nearest"]


def test_frames_that_share_a_direction_are_next_to_each_other() -> None:
    label = np.repeat([0, 1, 2], 4)
    x = np.eye(3)[label] * np.linspace(1, 9, 12)[:, None]  # length does not matter
    found = domain_similarity(x, label, np.arange(12) % 2 == 0)
    assert found == pytest.approx({"same_class": 1, "other_class": 0, "gap": 1, "nearest": 1})


def test_a_class_of_one_domain_takes_no_part() -> None:
    x, label, synthetic = made()
    alone = np.append(x, x[:1], 0), np.append(label, 9), np.append(synthetic, True)
    assert domain_similarity(*alone) == domain_similarity(x, label, synthetic)
    assert domain_similarity(x, label, np.ones(40, bool)) == {}


def test_a_run_without_frames(tmp_path: Path) -> None:
    assert frames_of_run(tmp_path) is None
