"""Soundscapes as recipes: what to mix is drawn here, from distributions and co-occurrence statistics; see mixing.py.

The vocabulary of distributions is Scaper's (Salamon et al., WASPAA 2017), as plain lists: ``[const, v]``,
``[uniform, low, high]``, ``[normal, mean, sd]``, ``[truncnorm, mean, sd, low, high]``, ``[choose, [v, ...]]``.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from sed_lab.bank.base import Bank
from sed_lab.errors import InputError
from sed_lab.files import write_text
from sed_lab.types import Event

_PARAMETERS = {
    "const": ("v",),
    "uniform": ("low", "high"),
    "normal": ("mean", "sd"),
    "truncnorm": ("mean", "sd", "low", "high"),
    "choose": ("[v, ...]",),
}
TRIES = 10  # onsets drawn for an event before it is left out of a crowded soundscape


@dataclass(frozen=True, slots=True)
class Distribution:
    """A checked distribution to draw from."""

    kind: str
    parameters: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> float:
        """One value."""
        p = self.parameters
        if self.kind == "const":
            return float(p[0])
        if self.kind == "uniform":
            return float(p[0] + (p[1] - p[0]) * rng.random())
        if self.kind == "normal":
            return float(p[0] + p[1] * rng.standard_normal())
        if self.kind == "choose":
            return float(p[rng.integers(len(p))])
        mean, sd, low, high = p
        below, above = ndtr((low - mean) / sd), ndtr((high - mean) / sd)
        return float(np.clip(mean + sd * ndtri(below + (above - below) * rng.random()), low, high))


def distribution(value: Sequence[Any], key: str) -> Distribution:
    """Check ``value``, a list of the vocabulary above; ``key`` is its name in messages.

    Raises:
        InputError: an unknown kind, a wrong number of parameters, no number, low above high, or sd not above 0.
    """
    forms = "; ".join(f"[{kind}, {', '.join(names)}]" for kind, names in _PARAMETERS.items())
    if isinstance(value, str) or not isinstance(value, Sequence) or not value or value[0] not in _PARAMETERS:
        raise InputError(f"{key}: {value!r} is no distribution; write one of {forms}")
    kind, *parameters = value
    if len(parameters) != len(_PARAMETERS[kind]):
        raise InputError(f"{key}: {list(value)!r} needs the form [{kind}, {', '.join(_PARAMETERS[kind])}]")
    if kind == "choose":
        if isinstance(parameters[0], str) or not isinstance(parameters[0], Sequence) or not parameters[0]:
            raise InputError(f"{key}: {list(value)!r} needs a list of values to choose from, as [choose, [1, 2]]")
        parameters = list(parameters[0])
    if not all(isinstance(p, Real) and not isinstance(p, bool) and np.isfinite(float(p)) for p in parameters):
        raise InputError(f"{key}: {list(value)!r} holds something that is not a finite number")
    if kind in ("normal", "truncnorm") and parameters[1] <= 0:
        raise InputError(f"{key}: {list(value)!r} has sd {parameters[1]}; it must be above 0")
    if kind in ("uniform", "truncnorm") and parameters[-2] > parameters[-1]:
        raise InputError(f"{key}: {list(value)!r} has its low bound above its high bound; swap them")
    return Distribution(kind, tuple(float(p) for p in parameters))


@dataclass(frozen=True)
class Occurrence:
    """Which classes meet, in the order of ``classes``.

    A soundscape's main class follows ``main [C]``; ``0 .. max_events[c] - 1`` (uniform) further events follow row c of
    ``companion [C, C]``, as in DESED's generator (github.com/turpaultn/DESED, generate_co_occurence).
    """

    classes: tuple[str, ...]
    main: np.ndarray
    companion: np.ndarray
    max_events: np.ndarray


def occurrence(statistics: Mapping[str, Any], classes: Sequence[str], key: str = "occurrence") -> Occurrence:
    """Read statistics of the form of DESED's event_occurences_train.json.

    ``{class: {proba, co-occurences: {max_events, classes, probas}}}``; entries of one class for cut events (``_nOn``,
    ``_nOff``, ``_nOn_nOff``) are averaged by their proba, and ``mean_events`` is ignored as DESED's generator does.

    Raises:
        InputError: an unknown class, a missing key, probabilities that are negative or sum to 0.
    """
    index = {name: i for i, name in enumerate(classes)}
    main, most = np.zeros(len(classes)), np.zeros(len(classes))
    companion = np.zeros((len(classes), len(classes)))
    for name, entry in statistics.items():
        try:
            proba, beside = float(entry["proba"]), entry["co-occurences"]
            row = index[_base(name)]
            weights = np.zeros(len(classes))
            for other, share in zip(beside["classes"], beside["probas"], strict=True):
                weights[index[_base(other)]] += float(share)
            events = float(beside["max_events"])
        except KeyError as error:
            raise InputError(f"{key}: {name} names or lacks {error}; classes are {', '.join(classes)}") from None
        except (TypeError, ValueError) as error:
            form = "DESED's event_occurences_train.json"
            raise InputError(f"{key}: {name} is not of the form of {form} ({error})") from None
        if proba < 0 or (weights < 0).any() or weights.sum() <= 0 or events < 1:
            raise InputError(f"{key}: {name} needs probabilities of at least 0, not all 0, and max_events above 0")
        main[row] += proba
        most[row] += proba * events
        companion[row] += proba * weights / weights.sum()
    if main.sum() <= 0:
        raise InputError(f"{key} gives every class probability 0; give at least one a proba above 0")
    held = np.maximum(main, 1e-12)
    companion[main == 0] = 1.0  # never drawn
    companion /= companion.sum(axis=1, keepdims=True)
    return Occurrence(tuple(classes), main / main.sum(), companion, np.maximum(1, np.rint(most / held)).astype(int))


def even_occurrence(classes: Sequence[str], max_events: int = 5, repeat: float = 0.5) -> Occurrence:
    """Every class as often; a further event is of the main class with probability ``repeat``, else any other."""
    count = len(classes)
    companion = np.full((count, count), (1 - repeat) / max(1, count - 1))
    np.fill_diagonal(companion, repeat if count > 1 else 1.0)
    return Occurrence(tuple(classes), np.full(count, 1 / count), companion, np.full(count, max_events))


def _base(name: str) -> str:
    for suffix in ("_nOn_nOff", "_nOn", "_nOff"):
        name = name.removesuffix(suffix)
    return name


@dataclass(frozen=True)
class Specification:
    """What soundscapes to draw. Levels are dB of the RMS, full scale 0.

    ``ref_db`` is the background's level and ``snr`` an event's level above it, over the event's own length (Scaper
    measures loudness in LUFS; RMS needs no filter and is what a test can measure back). ``event_time`` is an onset
    in seconds; an event that would end after the clip is moved forward, and one longer than the clip cut out of its
    middle, as in Scaper. ``empty_share`` of the soundscapes hold no event. At most ``polyphony`` events sound at once.
    Labels shorter than ``min_event_seconds`` are lengthened to it, and events of one class stay ``min_gap_seconds``
    apart (DESED's post-processing merges them instead; psds_eval refuses those that overlap).
    """

    occurrence: Occurrence
    seconds: float = 10.0
    ref_db: Distribution = Distribution("const", (-50.0,))
    snr: Distribution = Distribution("uniform", (6.0, 30.0))
    event_time: Distribution = Distribution("truncnorm", (5.0, 2.0, 0.25, 10.0))
    empty_share: float = 0.0
    polyphony: int = 4
    min_event_seconds: float = 0.25
    min_gap_seconds: float = 0.15

    def __post_init__(self) -> None:
        seconds, shortest = self.seconds, self.min_event_seconds
        if seconds <= shortest:
            raise InputError(f"seconds: {seconds} s is not longer than the shortest event, {shortest} s")
        if not 0 <= self.empty_share <= 1:
            raise InputError(f"empty_share: {self.empty_share} is not a share between 0 and 1")
        if self.polyphony < 1:
            raise InputError(f"polyphony: {self.polyphony} must be at least 1 event at once")


@dataclass(frozen=True, slots=True)
class Ingredient:
    """One event of a recipe: a stretch of a bank's event, put at ``onset``. Times are whole milliseconds."""

    event_label: str
    index: int
    start_ms: int  # where the stretch begins in the bank's event
    duration_ms: int
    onset_ms: int
    snr: float  # dB above the background


@dataclass(frozen=True, slots=True)
class Recipe:
    """All there is to know of one soundscape; mixing it twice gives the same samples."""

    clip_id: str
    split: str
    duration_ms: int
    background: int
    background_start_ms: int
    ref_db: float
    min_event_ms: int
    events: tuple[Ingredient, ...]

    def labels(self) -> tuple[Event, ...]:
        """The strong labels, in seconds, sorted by onset."""
        ends = (e.onset_ms + max(e.duration_ms, self.min_event_ms) for e in self.events)
        spans = zip(self.events, ends, strict=True)
        return tuple(sorted(Event(e.onset_ms / 1000, end / 1000, e.event_label) for e, end in spans))


def draw_recipe(
    specification: Specification, bank: Bank, split: str, subset: str, index: int, seed: int, epoch: int = 0
) -> Recipe:
    """The soundscape that (seed, subset, index, epoch) stands for; other soundscapes need not be drawn before it."""
    spec, rates = specification, specification.occurrence
    rng = np.random.default_rng((seed, zlib.crc32(subset.encode()), index, epoch))
    duration = round(1000 * spec.seconds)
    background = int(rng.integers(bank.background_count(split)))
    start, ref_db = int(rng.integers(duration + 1)), spec.ref_db.draw(rng)
    placed: list[Ingredient] = []
    if rng.random() >= spec.empty_share:
        main = _pick(rates.main, rng)
        further = int(rng.integers(rates.max_events[main]))
        for label in (main, *(_pick(rates.companion[main], rng) for _ in range(further))):
            ingredient = _draw_event(spec, bank, split, rates.classes[label], placed, rng)
            if ingredient is not None:
                placed.append(ingredient)
    clip_id, shortest = f"{subset}_{index:06d}", round(1000 * spec.min_event_seconds)
    return Recipe(clip_id, split, duration, background, start, ref_db, shortest, tuple(placed))


def _pick(shares: np.ndarray, rng: np.random.Generator) -> int:
    return min(int(np.searchsorted(shares.cumsum(), rng.random(), side="right")), len(shares) - 1)


def _draw_event(
    spec: Specification, bank: Bank, split: str, label: str, placed: Sequence[Ingredient], rng: np.random.Generator
) -> Ingredient | None:
    """An event that fits beside those already placed, or None after `TRIES` onsets."""
    clip_ms, shortest, gap = (round(1000 * s) for s in (spec.seconds, spec.min_event_seconds, spec.min_gap_seconds))
    index, snr = int(rng.integers(bank.event_count(split, label))), spec.snr.draw(rng)
    available = max(1, 1000 * len(bank.event(split, label, index)) // bank.sample_rate)
    duration = min(available, clip_ms)
    start, room = int(rng.integers(available - duration + 1)), max(duration, shortest)
    for _ in range(TRIES):
        onset = int(min(max(1000 * spec.event_time.draw(rng), 0), clip_ms - room))
        if _fits(onset, onset + room, label, placed, shortest, gap, spec.polyphony):
            return Ingredient(label, index, start, duration, onset, snr)
    return None


def _fits(
    onset: int, offset: int, label: str, placed: Sequence[Ingredient], shortest: int, gap: int, polyphony: int
) -> bool:
    spans = [(e.onset_ms, e.onset_ms + max(e.duration_ms, shortest), e.event_label) for e in placed]
    if any(name == label and onset < b + gap and a < offset + gap for a, b, name in spans):
        return False
    # The number of events at once peaks where one begins.
    begins = [onset, *(a for a, _, _ in spans if onset < a < offset)]
    return all(sum(a <= t < b for a, b, _ in spans) < polyphony for t in begins)


def write_recipes(path: Path, recipes: Iterable[Recipe]) -> None:
    """One JSON object a line."""
    write_text(path, "".join(json.dumps(asdict(recipe)) + "\n" for recipe in recipes))
