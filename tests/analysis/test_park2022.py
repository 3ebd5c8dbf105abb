"""Logit histograms against a plain loop, and clusters of made-up distributions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from sed_lab.analysis.park2022 import (
    EDGES,
    FIGURE_1,
    NUMBERS,
    distances,
    event_shares,
    example,
    logit_histograms,
    measure,
    roll_of,
)
from sed_lab.clip.annotation import write_durations, write_strong, write_weak
from sed_lab.errors import InputError
from sed_lab.experiment.reader import read_experiment
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import could_be_metric, is_metric
from sed_lab.scores import save_scores
from sed_lab.types import Event, Scores

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


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
    assert (cat["both_peaks"], cat["negative_only"]) == (int(peaks == (1, 1)), int(peaks == (1, 0)))


def test_two_clusters_below_0_are_not_one() -> None:
    rng = np.random.default_rng(2)
    logits = np.concatenate([rng.normal(centre, 0.5, 2000) for centre in (-7.0, -2.0)])[:, None]
    cat = logit_histograms(scores_of(logits, classes=("Cat",)), {"clip0": ["Cat"]})["per_class"]["Cat"]
    assert (cat["negative_peak"], cat["negative_only"]) == (1, 0)


def test_a_class_in_no_clip_has_no_numbers() -> None:
    cat = logit_histograms(scores_of(np.zeros((5, 2))), {"clip0": ["Dog"]})["per_class"]["Cat"]
    assert (cat["clips"], cat["positive_share"], cat["positive_peak"], cat["both_peaks"]) == (0, None, None, None)


def test_histograms_differ_within_long_and_within_short_classes() -> None:
    counts = {"Fan": [10, 0], "Mower": [5, 5], "Bell": [4, 4], "Bark": [0, 8], "Cough": [2, 6], "Owl": [0, 0]}
    per_class = {label: {"counts": found, "frames": sum(found)} for label, found in counts.items()}
    shares = {"Fan": 0.9, "Mower": 0.8, "Bell": 0.2, "Bark": 0.1, "Cough": 0.5, "Owl": 0.1, "Frog": 0.7}
    found = distances(per_class, shares)
    assert found == pytest.approx({"distance_long": 0.5, "distance_short": (0.5 + 0.25 + 0.25) / 3})
    assert distances(per_class, {"Fan": 0.9, "Owl": 0.1}) == {"distance_long": None, "distance_short": None}
    truth = {"a": (Event(0.0, 4.0, "Fan"), Event(1.0, 2.0, "Bell")), "b": (Event(0.0, 2.0, "Fan"),), "c": ()}
    assert event_shares(truth, {"a": 4.0, "b": 4.0, "c": 4.0}) == {"Fan": 0.75, "Bell": 0.25}


def test_the_example_is_the_papers_clip_or_the_most_unequal_one() -> None:
    truth = {
        "even": (Event(0.0, 5.0, "Fan"), Event(5.0, 9.0, "Bell")),
        "uneven": (Event(0.0, 9.0, "Fan"), Event(1.0, 1.5, "Bell"), Event(3.0, 3.5, "Bell")),
        "alone": (Event(0.0, 9.0, "Fan"),),
        "silent": (),
    }
    seconds = dict.fromkeys([*truth, FIGURE_1], 10.0)
    events = [["Fan", 0.0, 9.0], ["Bell", 1.0, 1.5], ["Bell", 3.0, 3.5]]
    assert example(truth, seconds) == {"clip_id": "uneven", "seconds": 10.0, "events": events}
    printed = {FIGURE_1: (Event(0.0, 10.0, "Frying"), Event(3.286, 3.541, "Dishes"))}
    found = example({**truth, **printed}, seconds)
    assert found is not None
    assert found["events"] == [["Frying", 0.0, 10.0], ["Dishes", 3.286, 3.541]]
    assert example({"alone": truth["alone"], "silent": ()}, seconds) is None
    bars = roll_of(found, ("Dishes", "Dog", "Frying")).axes[0].patches
    assert [(round(bar.get_y() + bar.get_height() / 2), bar.get_width()) for bar in bars] == [
        (2, 10.0),
        (0, pytest.approx(0.255)),
    ]


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
    expected = logit_histograms(scores, {"clip0": ["Cat"]})
    assert numbers["teacher"]["logits"]["weak_validation"] == {
        **expected, "distance_long": None, "distance_short": None
    }  # fmt: skip
    found = flatten({"systems": numbers}, per_class=True)
    assert len(found) == 2 * (7 + 2)  # counts alone of a class in no clip
    test = tmp_path / "scores/test"
    save_scores(test / "student.npz", scores)
    write_strong(test / "ground_truth.tsv", {"clip0.wav": [Event(0.0, 9.0, "Cat"), Event(1.0, 2.0, "Dog")]})
    write_durations(test / "durations.tsv", {"clip0.wav": 10.0})
    _, curves = measure(tmp_path, {"systems": {"student": {}, "teacher": {}}})
    assert curves["student"]["label_roll"]["events"] == [["Cat", 0.0, 9.0], ["Dog", 1.0, 2.0]]
    for name in found:
        assert is_metric(name, NUMBERS)
        assert could_be_metric(name)
        assert not is_metric(name)


def test_event_f1_stands_beside_its_fixed_and_its_optimistic_form() -> None:
    """Claims are judged at the tuned threshold; that the optimistic one says so is checked where files are read."""
    kinds = {"fig2a": "macro", "fig2b": "macro", "fig3": "per_class"}
    for item, part in kinds.items():
        experiment = read_experiment(EXPERIMENTS / f"park2022/{item}.yaml")
        metrics = {column.metric.split("/")[1] for column in experiment.columns.values() if part in column.metric}
        assert metrics >= {"event_f1", "event_f1_tuned", "event_f1_optimistic"}, item
        judged = {
            experiment.columns[name].metric.split("/")[1] for claim in experiment.claims for name in claim.columns
        }
        assert judged == {"event_f1_tuned"}, item
