"""The toy's counts, its reproducibility, and that its classes are what they are said to be."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from sed_lab.types import Corpus
from tests.configured import configured

PointFeature = configured("feature/point")
toy_points = configured("dataset/toy_points")

COUNTS = {"weak": {"blue": 166, "green": 166, "red": 668}, "test": {"blue": 100, "green": 100, "red": 400}}
BLOBS = {"blue": 1, "green": 1, "red": 4}


def points(corpus: Corpus, subset: str) -> tuple[np.ndarray, list[str]]:
    loaded = [corpus.subsets[subset].load(i, 0) for i in range(len(corpus.subsets[subset]))]
    return np.stack([point for _, point in loaded]), [(clip.event_labels or ("",))[0] for clip, _ in loaded]


def test_points_are_counted_and_drawn_from_the_seed() -> None:
    corpus = toy_points(COUNTS, BLOBS, distance=8.0)
    x, labels = points(corpus, "weak")
    assert x.shape == (1000, 20)
    assert [labels.count(name) for name in corpus.classes] == [166, 166, 668]
    again, other = toy_points(COUNTS, BLOBS, distance=8.0), toy_points(COUNTS, BLOBS, distance=8.0, seed=1)
    assert np.array_equal(points(again, "weak")[0], x)
    assert not np.array_equal(points(other, "weak")[0], x)
    assert again.fingerprint == corpus.fingerprint != other.fingerprint


def test_fresh_points_are_of_the_same_distributions() -> None:
    corpus = toy_points(COUNTS, BLOBS, distance=8.0)
    (x, labels), (fresh, expected) = points(corpus, "weak"), points(corpus, "test")
    classifier = LogisticRegression(max_iter=1000).fit(x, labels)
    assert classifier.score(fresh, expected) > 0.95
    red = x[np.array(labels) == "red"]
    means = [red[i::4].mean(axis=0) for i in range(4)]
    assert all(abs(np.linalg.norm(mean) - 8) < 0.6 for mean in means)
    spread = np.concatenate([red[i::4] - means[i] for i in range(4)]).std(axis=0)
    assert np.allclose(spread, 1, atol=0.15)


def test_a_point_is_one_frame() -> None:
    feature = PointFeature(20)
    assert feature.frames(20) == 1
    assert feature(torch.ones(3, 20)).shape == (3, 1, 20)
