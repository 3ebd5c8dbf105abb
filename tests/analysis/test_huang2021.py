"""How near two domains lie: against loops over pairs, and what it may not depend on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sed_lab.analysis.huang2021 import NUMBERS, domain_similarity, frames_of_run, measure, spaces
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import is_metric


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
    within = []
    for c in range(4):
        for domain in (False, True):
            rows = [x[i] / np.linalg.norm(x[i]) for i in np.flatnonzero((synthetic == domain) & (label == c))]
            within += [np.mean([a @ b for i, a in enumerate(rows) for b in rows[:i]])] if len(rows) > 1 else []
    found = domain_similarity(x, label, synthetic)
    gap, domain_gap = np.mean(same) - np.mean(other), np.mean(within) - np.mean(same)
    assert tuple(found.values()) == pytest.approx((np.mean(same), np.mean(other), gap, np.mean(nearest), domain_gap))
    assert list(found) == ["same_class", "other_class", "gap", "nearest", "domain_gap"]


def test_frames_that_share_a_direction_are_next_to_each_other() -> None:
    label = np.repeat([0, 1, 2], 4)
    x = np.eye(3)[label] * np.linspace(1, 9, 12)[:, None]  # length does not matter
    found = domain_similarity(x, label, np.arange(12) % 2 == 0)
    assert found == pytest.approx({"same_class": 1, "other_class": 0, "gap": 1, "nearest": 1, "domain_gap": 0})


def test_a_common_mean_hides_what_differs_and_a_domain_that_is_moved_is_a_domain_gap() -> None:
    rng = np.random.default_rng(0)
    label, synthetic = np.repeat(np.arange(4), 20), np.arange(80) % 2 == 0
    embedding = 5 + np.eye(4)[label] @ rng.normal(size=(4, 8)) + 0.1 * rng.normal(size=(80, 8))
    kept = {"embedding": embedding, "event_label": label, "synthetic": synthetic}
    found = {name: domain_similarity(x, label, synthetic) for name, x in spaces(kept).items()}
    assert set(found) == {"raw", "centred"}
    assert found["raw"]["gap"] < 0.1 < 0.5 < found["centred"]["gap"]
    assert abs(found["centred"]["domain_gap"]) < 0.05
    moved = embedding + synthetic[:, None] * rng.normal(size=8)
    apart = domain_similarity(moved - moved.mean(0), label, synthetic)
    assert apart["domain_gap"] > apart["gap"] / 3


def test_a_run_is_measured_in_each_space_it_has(tmp_path: Path) -> None:
    x, label, synthetic = made()
    (tmp_path / "embeddings").mkdir()
    for own in ({}, {"projection": x[:, :3]}):
        np.savez(tmp_path / "embeddings/frames.npz", embedding=x, event_label=label, synthetic=synthetic, **own)
        found, _ = measure(tmp_path, {"systems": ["model"]})
        assert set(found["model"]["embedding"]) == {"raw", "centred", *own}
        names = flatten({"systems": found})
        assert len(names) == 5 * len(found["model"]["embedding"])
        assert all(is_metric(name, NUMBERS) for name in names), names


def test_a_class_of_one_domain_takes_no_part() -> None:
    x, label, synthetic = made()
    alone = np.append(x, x[:1], 0), np.append(label, 9), np.append(synthetic, True)
    assert domain_similarity(*alone) == domain_similarity(x, label, synthetic)
    assert domain_similarity(x, label, np.ones(40, bool)) == {}


def test_a_run_without_frames(tmp_path: Path) -> None:
    assert frames_of_run(tmp_path) is None
