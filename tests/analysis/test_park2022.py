"""Logit histograms against a plain loop, and clusters of made-up distributions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from sed_lab.analysis.park2022 import EDGES, NUMBERS, logit_histograms, measure
from sed_lab.clip.annotation import write_weak
from sed_lab.errors import InputError
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import could_be_metric, is_metric
from sed_lab.scores import save_scores
from sed_lab.types import Scores


def scores_of(*logits: np.ndarray, classes: tuple[str, ...] = ("Cat", "Dog")) -> Scores:
    frames = tuple((1 / (1 + np.exp(-each))).astype(np.float32) for each in logits)
    names = tuple(f"clip{i}" for i in range(len(frames)))
    return Scores(clip_id=names, classes=classes, duration=np.full(len(frames), 10.0), frame_hop=0.1, frame=frames)


def test_frames_of_clips_that_hold_the_class_are_counted() -> None:
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 4, (50, 2)) for _ in range(3)]
    scores = scores_of(*logits)
    found = logit_histograms(scores, {"clip0": ["Cat"], "clip1": ["Cat", "Dog"], "clip2": []})
    assert scores.frame is not None
    expected = [0] * (len(EDGES) - 1)
    for frame in (scores.frame[0], scores.frame[1]):
        for p in frame[:, 0].astype(float):
            x = min(max(math.log(p / (1 - p)), -12), 12)
            expected[min(int((x + 12) / 0.5), 47)] += 1
    cat = found["per_class"]["Cat"]
    assert cat["counts"] == expected
    assert (cat["clips"], cat["frames"]) == (2, 100)
    assert cat["positive_share"] == pytest.approx(np.mean([frame[:, 0] > 0.5 for frame in scores.frame[:2]]))
    assert found["per_class"]["Dog"]["frames"] == 50


def test_certain_posteriors_count_in_the_outermost_bins() -> None:
    frame = np.array([[0.0, 1.0]] * 4, np.float32)
    scores = Scores(clip_id=("a",), classes=("Cat", "Dog"), duration=np.array([1.0]), frame_hop=0.25, frame=(frame,))
    per_class = logit_histograms(scores, {"a": ["Cat", "Dog"]})["per_class"]
    assert (per_class["Cat"]["counts"][0], per_class["Dog"]["counts"][-1]) == (4, 4)
    assert (per_class["Cat"]["negative_peak"], per_class["Cat"]["positive_peak"]) == (1, 0)
    assert (per_class["Dog"]["negative_peak"], per_class["Dog"]["positive_peak"]) == (0, 1)


@pytest.mark.parametrize(
    ("centres", "shares", "peaks"),
    [
        ((-4.0, 3.0), (0.5, 0.5), (1, 1)),
        ((-4.0, 3.0), (0.8, 0.2), (1, 1)),
        ((-4.0, 3.0), (1.0, 0.0), (1, 0)),
        ((-4.0, 3.0), (0.0, 1.0), (0, 1)),
        ((-1.5, -0.5), (0.5, 0.5), (1, 0)),  # overlapping: one cluster
    ],
)
def test_clusters_are_peaks(centres: tuple[float, float], shares: tuple[float, float], peaks: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    parts = [rng.normal(centre, 0.8, round(4000 * share)) for centre, share in zip(centres, shares, strict=True)]
    found = logit_histograms(scores_of(np.concatenate(parts)[:, None], classes=("Cat",)), {"clip0": ["Cat"]})
    cat = found["per_class"]["Cat"]
    assert (cat["negative_peak"], cat["positive_peak"]) == peaks


def test_a_class_in_no_clip_has_no_numbers() -> None:
    cat = logit_histograms(scores_of(np.zeros((5, 2))), {"clip0": ["Dog"]})["per_class"]["Cat"]
    assert (cat["clips"], cat["positive_share"], cat["positive_peak"]) == (0, None, None)


def test_clip_scores_alone_have_no_histogram() -> None:
    scores = Scores(clip_id=("a",), classes=("Cat",), duration=np.array([1.0]), clip=np.array([[0.5]], np.float32))
    with pytest.raises(InputError, match="need frame scores"):
        logit_histograms(scores, {"a": ["Cat"]})


def test_scored_subsets_with_weak_labels_are_measured_for_each_system(tmp_path: Path) -> None:
    place = tmp_path / "scores/weak_validation"
    scores = scores_of(np.linspace(-3, 3, 20)[:, None] * [1, -1])
    for name in ("student", "teacher"):
        save_scores(place / f"{name}.npz", scores)
    write_weak(place / "weak_labels.tsv", {"clip0.wav": ("Cat",)})
    numbers, curves = measure(tmp_path, {"systems": {"student": {}, "teacher": {}}})
    assert (set(numbers), curves) == ({"student", "teacher"}, {})
    assert numbers["teacher"]["logits"]["weak_validation"] == logit_histograms(scores, {"clip0": ["Cat"]})
    found = flatten({"systems": numbers}, per_class=True)
    assert len(found) == 2 * (5 + 2)  # counts alone of a class in no clip
    for name in found:
        assert is_metric(name, NUMBERS)
        assert could_be_metric(name)
        assert not is_metric(name)
