"""The clip that a run keeps for a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sed_lab.analysis.amiriparian2018 import example, measure
from sed_lab.clip.annotation import write_durations, write_strong
from sed_lab.scores import save_scores
from sed_lab.types import Event, Scores
from tests.configured import configured

MedianDecoder = configured("decoder/default")
OnsetDecoder = configured("decoder/amiriparian2018", threshold=0.5)


def test_the_first_clip_with_an_event(tmp_path: Path) -> None:
    frame = np.zeros((2, 40, 2), np.float32)
    frame[1, 10:14, 1] = 0.6, 0.7, 0.9, 0.2
    scores = Scores(("a", "b"), ("Dog", "Cat"), np.full(2, 4.0), 0.1, tuple(frame))
    truth = {"a": (), "b": (Event(1.05, 1.4, "Cat"),)}
    decoder = OnsetDecoder({"Dog": 0.5, "Cat": 0.8}, 0.5)
    found = example(scores, truth, decoder)
    assert found is not None
    assert (found["clip_id"], found["event_label"], found["threshold"], found["onset_threshold"]) == (
        "b",
        "Cat",
        0.8,
        0.5,
    )
    assert found["posterior"][9:15] == [0.0, 0.6, 0.7, 0.9, 0.2, 0.0]
    assert found["detected"] == [[1.0, 1.3]]
    assert found["reference"] == [[1.05, 1.4]]
    assert example(scores, {"a": (), "b": ()}, OnsetDecoder()) is None
    names = ("mixture_devtest_babycry_012_a", "mixture_devtest_babycry_058_b")
    both = Scores(names, scores.classes, scores.duration, 0.1, (frame[1], frame[1]))
    shown = example(both, dict.fromkeys(names, truth["b"]), decoder)
    assert shown is not None
    assert shown["clip_id"] == names[1]  # the next after that of fig. 4
    shown = example(both, {names[0]: truth["b"], names[1]: ()}, decoder)
    assert shown is not None
    assert shown["clip_id"] == names[0]
    place = tmp_path / "scores/test"
    save_scores(place / "t3.npz", scores)
    write_strong(place / "ground_truth.tsv", {f"{name}.wav": events for name, events in truth.items()})
    write_durations(place / "durations.tsv", {"a.wav": 4.0, "b.wav": 4.0})
    state = {"feature.mean": 3, "best.0_t3.a": 4, "best.0_t3.norm.running_mean": 5, "best.1_t3.a": 4}
    torch.save({"state_dict": {name: torch.zeros(2, size) for name, size in state.items()}}, tmp_path / "detector.ckpt")
    sizes, _ = measure(tmp_path, {"systems": ["t3"], "settings": {"decoder": decoder.settings()}})
    assert sizes == {"t3": {"network": {"parameters": 8}}}
    (tmp_path / "detector.ckpt").unlink()
    assert measure(tmp_path, {"settings": {"decoder": decoder.settings()}}) == ({}, {"t3": {"example": found}})
    assert measure(tmp_path, {"settings": {"decoder": MedianDecoder().settings()}}) == ({}, {})
