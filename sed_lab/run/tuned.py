"""Decoders tuned on a run's held-out clips: those tried, which is the better one, and what a run notes of them.

What a run notes (``tuned`` in metrics.json and, to predict, in run.json's ``detector``)::

    on: validation             the subset that it was tuned on
    system: teacher            the system with the best event F1 there
    systems:
      teacher:
        best: rival            the better one there; the configured decoder wins ties
        configured: {event_f1: 0.61, decoder: {...}}
        rival: {event_f1: 0.66, decoder: {...}}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sed_lab.clip.annotation import read_durations
from sed_lab.decoder.base import Decoder
from sed_lab.metric.tune import Rule, Tuned, tune_by_class, tune_threshold
from sed_lab.run.stored import by_clip, read_truth
from sed_lab.scores import load_scores
from sed_lab.types import Scores
from sed_lab.waiting import track

WORDS = {"MedianDecoder": "median filter", "BoxDecoder": "boxes"}


@dataclass(frozen=True)
class Choice:
    """What was tuned of one system: the one threshold of its decoder as configured, and decoders class by class.

    ``tried`` has, under ``configured`` and ``rival``, a tuned decoder for each score by its name.
    """

    threshold: float
    tried: Mapping[str, Mapping[str, Tuned[Decoder]]]

    def best(self, score: str) -> str:
        """``configured``, or ``rival`` where that is better."""
        return max(self.tried, key=lambda name: _value(self.tried[name][score]))

    @property
    def decoders(self) -> dict[str, Decoder]:
        """The best one for each score; none where nothing can be tuned."""
        scores = next(iter(self.tried.values()), {})
        return {score: self.tried[self.best(score)][score].decoder for score in scores}

    def held_out(self, score: str) -> dict[str, float | None]:
        """What each of them reaches on the clips it was tuned on; None where these hold no event."""
        return {name: _number(tuned[score].value) for name, tuned in self.tried.items()}


def tune_systems(
    folder: Path,
    tune_on: str | None,
    systems: Mapping[str, Scores],
    decoder: Decoder,
    rival: Decoder | None,
    metric: Mapping[str, Any],
) -> tuple[Decoder, dict[str, Choice]]:
    """``decoder`` fitted, and what was tuned of each of ``systems``, on the run's stored scores of subset ``tune_on``.

    Nothing is where the run has no scores and events of it, or a system no frame scores. A decoder without tunable
    settings has no rival: its task is another. ``metric`` are the settings of `sed_lab.metric.measure.measure`.
    """
    tuning = folder / "scores" / str(tune_on)
    if not (tuning / "ground_truth.tsv").exists():
        return decoder, {}
    truth, durations = read_truth(tuning / "ground_truth.tsv"), by_clip(read_durations(tuning / "durations.tsv"))
    events, classes = [event for found in truth.values() for event in found], next(iter(systems.values())).classes
    given = {"configured": decoder.fit(events, classes)}
    if rival is not None and decoder.tunable and rival != decoder:
        given["rival"] = rival.fit(events, classes)
    rule = Rule(**{name: metric[name] for name in ("collar", "offset_share", "onset_only")})  # type: ignore[typeddict-item]
    found = {}
    for name, scores in track(systems.items(), len(systems), f"tuning decoders on {tune_on}"):
        if scores.frame is not None:
            held_out = load_scores(tuning / f"{name}.npz")
            tried = {
                which: tune_by_class(held_out, truth, durations, one, rule, metric["exact_psds"], metric["class_share"])
                for which, one in given.items()
                if one.tunable
            }
            found[name] = Choice(tune_threshold(held_out, truth, given["configured"], **rule), tried)
    return given["configured"], found


def note(metrics: dict[str, Any], tune_on: str | None, tuned: Mapping[str, Choice]) -> None:
    """Add to ``metrics`` what was tuned, as the module says, and to each score what it was on the clips tuned on."""
    systems = {
        name: {
            "best": choice.best("event_f1"),
            **{
                which: {"event_f1": _number(own["event_f1"].value), "decoder": own["event_f1"].decoder.settings()}
                for which, own in choice.tried.items()
            },
        }
        for name, choice in tuned.items()
        if choice.tried
    }
    if systems:
        best = max(systems, key=lambda name: _value(tuned[name].tried[str(systems[name]["best"])]["event_f1"]))
        metrics["tuned"] = {"on": tune_on, "system": best, "systems": systems}
    for one in (metrics, *metrics.get("others", {}).values()):
        for name in systems:
            for score in tuned[name].decoders:
                if block := one["systems"][name].get(f"{score}_class_tuned"):
                    block["held_out"] = tuned[name].held_out(score)


def best_in_words(tuned: Mapping[str, Any] | None, system: str | None = None) -> str:
    """How a system, else the best one, finds events: ``teacher, boxes, tuned class by class on validation``.

    ``tuned`` is what a run notes; empty where that is nothing.
    """
    name = system or (tuned or {}).get("system", "")
    own = (tuned or {}).get("systems", {}).get(name)
    if not tuned or not own:
        return ""
    said = f"{in_words(own[own['best']]['decoder']['decoder'])}, tuned class by class on {tuned['on']}"
    return said if system else f"{name}, {said}"


def in_words(decoder: str) -> str:
    """What a decoder, named by its class, works with."""
    return WORDS.get(decoder, decoder)


def _value(tuned: Tuned[Decoder]) -> float:
    return -1.0 if math.isnan(tuned.value) else round(tuned.value, 12)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
