"""What a million clips, or a corpus of AudioSet's size, costs: exact PSDS1 and PSDS2 of many clips and classes.

There is no peer: sed_scores_eval would need more than 150 GB for the first. Scores are made up, ten events a clip.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from sed_lab.metric.exact import psds_of_scores
from sed_lab.types import Event, Scores

FRAMES, HOP = 156, 0.064
SIZES = ((1_000, 407), (10_000, 50))  # clips and classes: AudioSet's strong labels have 407


def run() -> dict[str, Any]:
    """Processor seconds of each size, with the memory held at most so far."""
    rows = []
    for clips, classes in SIZES:
        scores, truth = made_scores(clips, classes)
        started = time.process_time()
        psds_of_scores(scores, truth, dict.fromkeys(truth, FRAMES * HOP))
        took = time.process_time() - started
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        what = f"exact PSDS1 and PSDS2 of {clips:,} clips x {classes} classes"
        rows += [
            {"what": what, "ours": took, "unit": "s"},
            {"what": "memory with the scores", "ours": held, "unit": "GB"},
        ]
    return {"rows": rows, "budget": {"s": 45, "GB": 2}}


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
