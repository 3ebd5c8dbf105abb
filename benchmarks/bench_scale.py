"""What a million clips, or a corpus of AudioSet's size, costs.

Exact PSDS1 and PSDS2 of many clips and classes are measured alone. What is done with metadata is measured a clip, of
10,000 (as the peer) and of a million clips: a cost that grows with their number would show.
Scores and metadata are made up.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from sed_lab.clip.annotation import read_strong, write_strong
from sed_lab.clip.batch import CompositionSampler
from sed_lab.clip.corpus import class_statistics
from sed_lab.metric.exact import psds_of_scores
from sed_lab.metric.intersection import intersection_f1
from sed_lab.types import Clip, Event, Scores

FRAMES, HOP = 156, 0.064
SIZES = ((1_000, 407), (10_000, 50))  # clips and classes: AudioSet's strong labels have 407
FEW, MANY = 10_000, 1_000_000  # clips


def run() -> dict[str, Any]:
    """Processor seconds of each size, with the memory held at most so far."""
    rows: list[dict[str, Any]] = []
    for clips, classes in SIZES:
        scores, truth = made_scores(clips, classes)
        started = time.process_time()
        psds_of_scores(scores, truth, dict.fromkeys(truth, FRAMES * HOP))
        took = time.process_time() - started
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        what = f"exact PSDS1 and PSDS2 of {clips:,} clips x {classes} classes"
        rows += [
            {"what": what, "ours": took, "unit": "s", "limit": 45},
            {"what": "memory with the scores", "ours": held, "unit": "GB", "limit": 2},
        ]
    few, many = metadata_costs(FEW), metadata_costs(MANY)
    name = f"of {FEW:,} clips"
    rows += [{"what": f"{what}, a clip of {MANY:,}", "ours": cost, "peer": few[what], "name": name, "unit": "us",
              "better": "lower"} for what, cost in many.items()]  # fmt: skip
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    rows.append({"what": f"memory with the events of {MANY:,} clips", "ours": held, "unit": "GB"})
    return {"rows": rows}


@dataclass
class Listed:
    """A subset of which there is metadata alone."""

    clips: Sequence[Clip]

    def __len__(self) -> int:
        return len(self.clips)

    def load(self, index: int, epoch: int) -> tuple[Clip, np.ndarray]:
        """The clip, of silence."""
        return self.clips[index], np.zeros(1, np.float32)


def metadata_costs(clips: int) -> dict[str, float]:
    """Processor microseconds a clip of what a run does with annotations before and after training."""
    random = np.random.default_rng(0)
    classes = tuple(f"class_{k:02d}" for k in range(50))
    label, onset = random.integers(0, len(classes), (clips, 3)), random.uniform(0, 8, (clips, 3)).round(3)
    offset = (onset + random.uniform(0.3, 2, (clips, 3))).round(3)
    made = {
        f"{number:07d}.wav": [Event(a, b, classes[k]) for a, b, k in zip(*row, strict=True)]
        for number, row in enumerate(zip(onset.tolist(), offset.tolist(), label.tolist(), strict=True))
    }
    costs = {}

    def measured(what: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = work()
        costs[what] = (time.process_time() - started) / clips * 1e6
        return result

    with tempfile.TemporaryDirectory() as folder:
        write_strong(Path(folder) / "strong.tsv", made)
        truth = measured("annotations read", lambda: read_strong(Path(folder) / "strong.tsv", classes))
    listed = Listed([Clip(name, Path(name), 10.0, events, None) for name, events in truth.items()])
    measured("class statistics", lambda: class_statistics(listed, classes, HOP, FRAMES))
    sampler = CompositionSampler({"synthetic": clips}, {"synthetic": 32}, seed=0)
    measured("an epoch's batches drawn", lambda: sum(1 for _ in sampler))
    durations = dict.fromkeys(truth, 10.0)
    measured("intersection F1", lambda: intersection_f1(truth, truth, durations, classes))
    return costs


def made_scores(clips: int, classes: int) -> tuple[Scores, dict[str, tuple[Event, ...]]]:
    """Scores that follow the events with blurred borders and noise, so that nearly every frame is a run of its own."""
    random = np.random.default_rng(1)
    names = tuple(f"class_{k:03d}" for k in range(classes))
    truth, frames = {}, []
    for number in range(clips):
        active = np.zeros((FRAMES, classes), np.float32)
        events = []
        for k in random.integers(0, classes, random.integers(5, 15)):
            length = float(np.clip(random.exponential(2), 0.3, 9.9))
            onset = round(float(random.uniform(0, 10 - length)), 3)
            first, end = int(onset / HOP), int((onset + length) / HOP) + 1
            if not active[max(first - 1, 0) : end + 1, k].any():
                active[first:end, k] = 1
                events.append(Event(onset, round(onset + length, 3), names[k]))
        noise = gaussian_filter1d(random.standard_normal((FRAMES, classes)).astype(np.float32), 2, axis=0)
        logit = 6 * gaussian_filter1d(active, 2, axis=0) - 3.5 + 4 * noise
        frames.append((1 / (1 + np.exp(-logit))).astype(np.float32))
        truth[f"{number:06d}"] = tuple(sorted(events))
    return Scores(tuple(truth), names, np.full(clips, FRAMES * HOP), HOP, tuple(frames), None, "made scores"), truth
