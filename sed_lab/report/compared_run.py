"""A run among others: what it was tested on, and its counts in each test clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from sed_lab.metric.clip import clip_scores, clip_targets
from sed_lab.metric.resampling import drawn_f1, event_counts, segment_counts, tagging_counts
from sed_lab.metric.tune import Rule
from sed_lab.report.run_folder import RunFolder
from sed_lab.run.content import digest
from sed_lab.run.trust import understood

OF_DATA = ("clips", "seconds", "reference_events", "merged_reference_events", "classes", "classes_without_reference")
AGREE = 1e-6  # by how much clips counted here may miss the number that was measured


@dataclass(frozen=True)
class Run:
    """A measured run, and by system and score its counts in each test clip, as far as it kept what they are made of."""

    folder: RunFolder
    counts: dict[tuple[str, str], np.ndarray | None] = field(default_factory=dict)
    drawn: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    @property
    def record(self) -> Mapping[str, Any]:
        return self.folder.record

    @property
    def seed(self) -> int:
        return int(self.record.get("seed", 0))

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.folder.metrics["settings"]

    @cached_property
    def tested_on(self) -> str:
        """What tells its test clips from others: their events and durations, or what was noted of them."""
        folder = self.folder
        if folder.truth:
            rows = [
                f"{clip} {folder.duration.get(clip)} {sorted(folder.truth[clip])}\0" for clip in sorted(folder.truth)
            ]
            return digest(rows)
        fingerprint = self.record.get("dataset", {}).get("fingerprint")
        return " ".join(str(one) for one in (fingerprint, *(self.settings.get(key) for key in OF_DATA)))

    def per_class(self, system: str, score: str) -> Mapping[str, float | None]:
        """F1 by class of a system."""
        block = self.folder.measured.get(system, {}).get(score, {})
        return {label: row.get("f1") for label, row in block.get("per_class", {}).items()}

    def draws(self, system: str, score: str) -> np.ndarray | None:
        """F1 ``[B, C]`` of each class over drawn test clips; None where that is not known of a score."""
        key = system, score
        if key not in self.counts:
            self.counts[key] = counts_of(self.folder, system, score)
        counts = self.counts[key]
        if counts is not None and key not in self.drawn:
            self.drawn[key] = drawn_f1(counts, _zero_score(self.settings, score))
        return self.drawn.get(key)


def counts_of(run: RunFolder, system: str, score: str) -> np.ndarray | None:
    """Counts ``[N, C, 3]`` of a score in each test clip, of clips in their order by name.

    None for a score that is no F1, where the run kept no detections or scores, or where they do not come to the
    number that was measured: what was counted is then something else.
    """
    settings, classes = run.metrics["settings"], run.metrics["settings"]["classes"]
    clips = sorted(run.truth)
    truth = {clip: run.truth[clip] for clip in clips}
    with understood(run.path):
        counts = _counts(run, system, score, truth, settings, classes)
        known = run.measured[system][score].get("macro") if counts is not None else None
        if counts is None or known is None:
            return None
        whole = drawn_f1(counts.sum(0, keepdims=True), _zero_score(settings, score), draws=1)
        return counts if abs(np.nanmean(whole) - known) < AGREE else None


def _counts(
    run: RunFolder, system: str, score: str, truth: Mapping[str, Any], settings: Mapping[str, Any], classes: list[str]
) -> np.ndarray | None:
    if score == "tagging_f1" and system in run.scores:
        scores = run.scores[system].select([*truth])
        labels = {clip: sorted({event.event_label for event in events}) for clip, events in truth.items()}
        target = clip_targets(labels, scores.clip_id, classes)
        return tagging_counts(clip_scores(scores)[0], target, settings["tagging_f1"]["threshold"])
    if run.weak or system not in run.detections or score != run.shown(score.removesuffix("_class_tuned"), system):
        return None  # detections are of the decoder that detects
    found = run.detections[system]
    if score.startswith("event_f1") and settings["event_f1"]["matching"] == "optimal":
        rule = {key: settings["event_f1"][key] for key in Rule.__annotations__}
        return event_counts(found, truth, classes, Rule(**rule))  # type: ignore[typeddict-item]
    if score.startswith("segment_f1"):
        return segment_counts(found, truth, run.duration, classes, settings["segment_f1"]["segment_seconds"])
    return None


def _zero_score(settings: Mapping[str, Any], score: str) -> bool:
    own = settings.get(f"{score.partition('_f1')[0]}_f1", {})
    return own.get("zero_score") is not False
