"""From scores to PSDS1 and PSDS2: 200 clips of 156 frames and 10 classes, at 50 thresholds and exactly.

At 50 thresholds the peer decodes as the DCASE 2021 task 4 baseline does (each clip at each threshold: threshold, median
filter, runs, a small data frame, one growing table) and gives the tables to psds_eval. The exact score, another number,
is compared with sed_scores_eval. Both sides see the same scores and must give the same numbers. Boxes have no peer:
sed_scores_eval has none.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d, median_filter

from sed_lab.metric.event import event_f1, segment_f1
from sed_lab.metric.exact import psds_of_scores
from sed_lab.metric.psds import SCENARIOS, psds_from_points
from sed_lab.metric.quick import quick_intersection_f1, quick_tagging_f1
from sed_lab.metric.table import EventTable
from sed_lab.metric.tune import Rule, tune_by_class
from sed_lab.types import Event, Scores
from tests.configured import configured
from tests.metric.peers import psds_exact

MedianDecoder = configured("decoder/default")
BoxDecoder = configured("decoder/box")

CLASSES = ("Alarm_bell_ringing", "Blender", "Cat", "Dishes", "Dog", "Electric_shaver_toothbrush", "Frying",
           "Running_water", "Speech", "Vacuum_cleaner")  # fmt: skip
SECONDS = (1.6, 4.6, 1.1, 0.6, 1.0, 5.6, 8.9, 5.4, 1.5, 8.7)  # mean event length of each class
FRAMES, HOP, CLIPS, LENGTH = 156, 0.064, 200, 10.0
THRESHOLDS = np.arange(50) * 0.02 + 0.01
Truth = dict[str, tuple[Event, ...]]


def run() -> dict[str, Any]:
    """Seconds of each side; the values both sides came to are stored too and must agree."""
    scores, truth = made_scores(CLIPS, seed=1)
    durations = dict.fromkeys(truth, LENGTH)
    decoder = MedianDecoder(median_seconds=0.45)
    _warm_up()
    points, decode_s = timed(lambda: EventTable(*decoder.points(scores, THRESHOLDS)))
    ours, psds_s = timed(lambda: psds_from_points(points, truth, durations, CLASSES))
    smoothed, smooth_s = timed(lambda: decoder.smooth(scores))
    exact, exact_s = timed(lambda: psds_of_scores(smoothed, truth, durations))
    peer_exact, peer_exact_s = timed(lambda: psds_exact(smoothed, truth, durations))
    tables, peer_decode_s = timed(lambda: _decode_as_dcase2021(scores), repeats=1)
    peer, peer_psds_s = timed(lambda: _psds_eval(tables, truth), repeats=1)
    for name in SCENARIOS:
        for mine, theirs in ((ours[name].value, peer[name]), (exact[name].value, peer_exact[name].value)):
            if abs(mine - theirs) > 1e-9:
                raise AssertionError(f"{name}: ours {mine}, the peer's {theirs}")
    many, labels = made_scores(500, seed=2)
    weak = {clip_id: [event.event_label for event in events] for clip_id, events in labels.items()}
    _, quick_s = timed(lambda: (quick_intersection_f1(many, labels, decoder, True), quick_tagging_f1(many, weak)))
    found = decoder.decode(scores)
    _, event_s = timed(lambda: event_f1(found, truth, CLASSES), repeats=1)
    _, box_s = timed(lambda: BoxDecoder().decode(scores))
    _, tune_s = timed(lambda: _tune(*made_scores(600, seed=3)), repeats=1)
    _, segment_s = timed(lambda: segment_f1(found, truth, durations, CLASSES), repeats=1)
    what = "decode, PSDS1 and PSDS2 of 200 clips x 10 classes"
    row = {"unit": "s", "name": "decoding as DCASE 2021 task 4, psds_eval 0.5.3", "peer": peer_decode_s + peer_psds_s}
    return {
        "rows": [
            {**row, "what": f"{what}, 50 thresholds", "ours": decode_s + psds_s, "limit": 2.0},
            {"what": f"{what}, exact", "unit": "s", "name": "sed_scores_eval 0.0.4 (our filter)",
             "ours": smooth_s + exact_s, "peer": smooth_s + peer_exact_s, "limit": 0.85},
            {"what": "boxes of 200 clips x 10 classes, decoded", "ours": box_s, "unit": "s", "limit": 0.2},
            {"what": "median filter and boxes tuned on 600 clips x 10 classes", "ours": tune_s, "unit": "s"},
            {"what": "intersection and tagging F1 of 500 clips, every epoch", "ours": quick_s, "unit": "s",
             "limit": 0.3},
        ],
        "parts_s": {
            "decode": decode_s, "psds": psds_s, "smooth": smooth_s, "exact_psds": exact_s,
            "peer_exact_psds": peer_exact_s,
            "peer_decode": peer_decode_s, "peer_psds": peer_psds_s, "event_f1": event_s, "segment_f1": segment_s,
        },
        "psds_50_thresholds": {name: ours[name].value for name in SCENARIOS},
        "psds_exact": {name: exact[name].value for name in SCENARIOS},
        "events_at_50_thresholds": len(points),
    }  # fmt: skip


def made_scores(clips: int, seed: int) -> tuple[Scores, Truth]:
    """Clips with about three events each, and scores that follow them with blurred borders and correlated noise."""
    random = np.random.default_rng(seed)
    truth: Truth = {}
    frames = []
    for number in range(clips):
        active = np.zeros((FRAMES, len(CLASSES)))
        events: list[Event] = []
        for k in random.integers(0, len(CLASSES), random.integers(1, 6)):
            length = float(np.clip(random.exponential(SECONDS[k]), 0.3, LENGTH))
            onset = round(float(random.uniform(0, LENGTH - length)), 3)
            first, end = int(onset / HOP), int((onset + length) / HOP) + 1
            if not active[max(first - 1, 0) : end + 1, k].any():
                active[first:end, k] = 1
                events.append(Event(onset, round(onset + length, 3), CLASSES[k]))
        noise = gaussian_filter1d(random.standard_normal(active.shape), 3, axis=0)
        logit = 6 * gaussian_filter1d(active, 2, axis=0) - 3.5 + 5 * noise
        frames.append((1 / (1 + np.exp(-logit))).astype(np.float32))
        truth[f"clip_{number:04d}"] = tuple(sorted(events))
    clip = np.stack([frame.max(axis=0) for frame in frames])
    return Scores(tuple(truth), CLASSES, np.full(clips, LENGTH), HOP, tuple(frames), clip, "made scores"), truth


def timed(work: Callable[[], Any], repeats: int = 3) -> tuple[Any, float]:
    """The result, and the median of the seconds it took."""
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = work()
        spent.append(time.perf_counter() - began)
    return result, float(np.median(spent))


def _tune(scores: Scores, truth: Truth) -> None:
    rule = Rule(collar=0.2, offset_share=0.2, onset_only=False)
    for decoder in (MedianDecoder(), BoxDecoder()):
        tune_by_class(scores, truth, dict.fromkeys(truth, LENGTH), decoder, rule, psds=True, class_share=0.5)


def _warm_up() -> None:
    """Import the peers' packages before the clock starts."""
    scores, truth = made_scores(3, seed=0)
    psds_exact(MedianDecoder().smooth(scores), truth, dict.fromkeys(truth, LENGTH))
    _psds_eval(_decode_as_dcase2021(scores)[20:22], truth)


def _decode_as_dcase2021(scores: Scores) -> list[pd.DataFrame]:
    """One table of detections a threshold, built clip by clip."""
    tables = [pd.DataFrame() for _ in THRESHOLDS]
    for clip_id, frame in zip(scores.clip_id, scores.frame or (), strict=True):
        for number, threshold in enumerate(THRESHOLDS.astype(np.float32)):
            active = median_filter(frame > threshold, (7, 1))
            rows = []
            for k, label in enumerate(CLASSES):
                change = np.flatnonzero(np.diff(active[:, k].astype(np.int8), prepend=0, append=0))
                rows += [[label, *np.round(run * HOP, 6)] for run in change.reshape(-1, 2)]
            found = pd.DataFrame(rows, columns=["event_label", "onset", "offset"])
            found["filename"] = clip_id
            parts = [part for part in (tables[number], found) if len(part)]
            tables[number] = pd.concat(parts, ignore_index=True) if parts else found
    return tables


def _psds_eval(tables: list[pd.DataFrame], truth: Truth) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from psds_eval import PSDSEval

        rows = [[clip, e.onset, e.offset, e.event_label] for clip, events in truth.items() for e in events]
        reference = pd.DataFrame(rows, columns=["filename", "onset", "offset", "event_label"])
        metadata = pd.DataFrame({"filename": list(truth), "duration": LENGTH})
        values = {}
        for name, s in SCENARIOS.items():
            tool = PSDSEval(s.dtc, s.gtc, s.cttc, ground_truth=reference, metadata=metadata)
            for table in tables:
                tool.add_operating_point(table)
            values[name] = float(tool.psds(s.alpha_ct, s.alpha_st, s.max_efpr).value)
    return values


if __name__ == "__main__":
    import json

    print(json.dumps(run(), indent=1))
