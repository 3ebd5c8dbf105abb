"""One clip as a person judges it: which events were hit, missed or made up, and which clips are the worst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from sed_lab.report.run_folder import RunFolder
from sed_lab.types import Event

TIME_DECIMALS = 6  # as in sed_scores_eval: 2.7 - 2.5 counts as within 0.2
ALL_DECIMALS = 17  # of a double: nothing is rounded, as in sed_eval


@dataclass(frozen=True)
class Verdict:
    """A clip's events with their fate: ``hit[i]`` for each true event, ``correct[j]`` for each detection."""

    clip_id: str
    truth: tuple[Event, ...]
    detected: tuple[Event, ...]
    hit: tuple[bool, ...]
    correct: tuple[bool, ...]

    @property
    def hits(self) -> int:
        return sum(self.hit)

    @property
    def misses(self) -> int:
        return len(self.hit) - self.hits

    @property
    def false_alarms(self) -> int:
        return len(self.correct) - sum(self.correct)

    @property
    def f1(self) -> float:
        """Event F1 of this clip over all classes; 1 where there was nothing to find and nothing was reported."""
        errors = self.misses + self.false_alarms
        return 2 * self.hits / (2 * self.hits + errors) if self.hits or errors else 1.0

    @property
    def labels(self) -> frozenset[str]:
        """Classes that are true or detected here."""
        return frozenset(event.event_label for event in (*self.truth, *self.detected))


def judge(
    clip_id: str,
    truth: Iterable[Event],
    detected: Iterable[Event],
    onset_collar: float = 0.2,
    offset_collar: float = 0.2,
    offset_share: float = 0.2,
    decimals: int = TIME_DECIMALS,
) -> Verdict:
    """Match detections to true events of the same class, as many as possible, each at most once.

    An onset must lie within ``onset_collar`` seconds, an offset within the larger of ``offset_collar`` seconds and
    ``offset_share`` of the true event's length (the event-based measure of Mesaros et al. 2016); with an infinite
    ``offset_collar`` it may lie anywhere. Differences are rounded to ``decimals``.
    """
    true, found = tuple(truth), tuple(detected)
    if not true or not found:
        return Verdict(clip_id, true, found, (False,) * len(true), (False,) * len(found))
    near = np.zeros((len(true), len(found)), dtype=bool)
    for i, event in enumerate(true):
        slack = max(offset_collar, offset_share * (event.offset - event.onset))
        for j, other in enumerate(found):
            late = abs(round(other.onset - event.onset, decimals))
            long = abs(round(other.offset - event.offset, decimals))
            same = event.event_label == other.event_label
            near[i, j] = same and late <= onset_collar and long <= round(slack, decimals)
    partner = maximum_bipartite_matching(csr_matrix(near), perm_type="column")
    taken = {int(j) for j in partner if j >= 0}
    return Verdict(
        clip_id, true, found, tuple(bool(j >= 0) for j in partner), tuple(j in taken for j in range(len(found)))
    )


def judge_run(run: RunFolder, system: str) -> dict[str, Verdict]:
    """Every test clip of a run, by clip_id."""
    detected = run.detections.get(system, {})
    ids = list(dict.fromkeys([*run.truth, *(run.scores[system].clip_id if system in run.scores else ()), *detected]))
    return {i: judge(i, run.truth.get(i, ()), detected.get(i, ()), *run.collars()) for i in ids}


def worst_first(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Lowest F1 first; at equal F1 more errors first, then by name."""
    return sorted(verdicts, key=lambda v: (v.f1, -(v.misses + v.false_alarms), v.clip_id))


def choose(verdicts: Iterable[Verdict], count: int) -> list[Verdict]:
    """The ``count`` clips to show, worst first: three quarters are the worst there are, the rest are the worst clip of
    every class not yet seen and then clips spread evenly over the remaining ranking, so that successes show as well.
    """
    ranked = worst_first(verdicts)
    if len(ranked) <= count:
        return ranked
    chosen, rest = ranked[: max(1, count * 3 // 4)], ranked[max(1, count * 3 // 4) :]
    for verdict in list(rest):
        seen = frozenset().union(*(v.labels for v in chosen))
        if len(chosen) < count and verdict.labels - seen:
            chosen.append(verdict)
            rest.remove(verdict)
    places: list[int] = []
    if rest:
        places = np.linspace(0, len(rest) - 1, num=count - len(chosen)).round().astype(int).tolist()
    return worst_first([*chosen, *(rest[i] for i in places)])


def shown_classes(verdict: Verdict, classes: Sequence[str], frame: np.ndarray | None, above: float = 0.2) -> list[int]:
    """Indices of the classes worth a line: true, detected or, in ``frame [T, C]``, scored over ``above`` anywhere."""
    loud = set() if frame is None or not len(frame) else set(np.flatnonzero(frame.max(axis=0) > above).tolist())
    return [i for i, label in enumerate(classes) if label in verdict.labels or i in loud]
