"""How much of a number's spread is the choice of test clips: what it is without each of a few groups of clips.

The clips of a subset are dealt into `GROUPS` groups, always in the same way, so that two systems that were tested on
the same clips are compared without the same ones (the delete-a-group jackknife, Kott 2001). Of F1 and error rates
each group's counts are kept, of EER and accuracy the values without it: some kilobytes a run. PSDS has none: it would
have to be computed anew for each group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sed_lab.types import OTHER_TESTS

GROUPS = 20
FEWEST = 2 * GROUPS  # with fewer clips there are no groups
COUNTED = ("event_f1", "event_f1_tuned", "event_f1_class_tuned", "segment_f1", "segment_f1_class_tuned", "tagging_f1")


def groups_of(clips: int) -> np.ndarray:
    """The group ``[N]`` of each clip, the same for the same number of clips; all the same one where they are few."""
    return np.random.default_rng(0).permutation(clips) % GROUPS if clips >= FEWEST else np.zeros(clips, np.int64)


def in_groups(counts: np.ndarray, classes: Sequence[str]) -> dict[str, str]:
    """Counts ``[G, C, 3]`` of each group, of reference, detected and matched ones, as words by class for JSON."""
    return {label: " ".join(map(str, counts[:, i].astype(int).ravel())) for i, label in enumerate(classes)}


def as_words(values: Iterable[float | None]) -> str:
    """Numbers as words for JSON."""
    return " ".join("nan" if value is None or np.isnan(value) else f"{value:.6f}" for value in values)


def without_groups(metrics: Mapping[str, Any], name: str) -> np.ndarray | None:
    """What the number called ``name`` would be without each group, ``[G]``; None where that is not kept.

    ``metrics`` is what `sed_lab.metric.measure.measure` gives, ``name`` one of `flatten`'s, of a test subset.
    """
    subset, _, after = name.partition("/")
    one = metrics.get("others", {}).get(subset) if subset in OTHER_TESTS else metrics
    system, _, after = (after if subset in OTHER_TESTS else name).partition("/")
    kind, _, key = after.partition("/")
    block = ((one or {}).get("systems", {}).get(system) or {}).get(kind) or {}
    groups = block.get("groups")
    if not groups:
        return None
    if kind in COUNTED:
        return _counted(block, key, one["settings"][f"{kind.partition('_f1')[0]}_f1"])
    if key == "macro":
        found = _mean(np.array([_numbers(text) for text in groups.values()]), block["macro"])
    else:
        text = groups.get(key.removeprefix("per_class/").removesuffix("/eer"))
        found = None if text is None else _numbers(text)
    return None if found is None or np.isnan(found).any() else found


def f1_of(counts: np.ndarray, zero_score: bool) -> np.ndarray:
    """F1 of counts ``[..., 3]``, of reference, detected and matched ones; nan without reference, and without a match
    unless that is ``zero_score``."""
    reference, detected, matched = np.moveaxis(counts, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(reference > 0, 2 * matched / (reference + detected), np.nan)
    return f1 if zero_score else np.where(matched > 0, f1, np.nan)


def clips_in_words(metrics: Mapping[str, Any], name: str) -> str:
    """What tells one set of test clips from another of the same seed: subset, clips, reference events, seconds."""
    subset = name.partition("/")[0]
    one = metrics["others"][subset] if subset in OTHER_TESTS else metrics
    return " ".join(str(one["settings"][key]) for key in ("clips", "reference_events", "seconds")) + one["subset"]


def variance(without: np.ndarray) -> float:
    """The variance that a number has by the choice of clips, from its values without each group ``[G]``."""
    n = len(without)
    return float((n - 1) / n * ((without - without.mean()) ** 2).sum())


def _counted(block: Mapping[str, Any], key: str, settings: Mapping[str, Any]) -> np.ndarray | None:
    """A number that follows from counts, without each group; None where all groups together do not give it."""
    labels, part = [*block["groups"]], key
    if key.startswith("per_class/"):
        label, _, part = key.removeprefix("per_class/").rpartition("/")
        labels = [label] if label in labels else []
    if not labels:
        return None
    counts = np.array([_numbers(block["groups"][label]).reshape(-1, 3) for label in labels])  # [C, G, 3]
    whole = counts.sum(axis=1, keepdims=True)
    counts = np.concatenate([whole, whole - counts], axis=1)  # with all groups, then without each
    reference, detected, matched = np.moveaxis(counts, 2, 0)
    wrong = (reference - matched) + (detected - matched)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = f1_of(counts, settings.get("zero_score") is not False)
        rates = {"f1": f1, "precision": matched / detected, "recall": matched / reference}
        rates["error_rate"] = np.where(reference > 0, wrong / reference, np.nan)
        micro = 2 * matched.sum(axis=0) / (reference + detected).sum(axis=0)
    known: Any = block["per_class"][labels[0]].get(part) if key != part else block.get(key)
    if key != part:
        found = rates[part][0] if part in rates else None
    else:
        means = {"macro": f1, "error_rate_macro": rates["error_rate"]}
        found = np.nanmean(means[key], axis=0) if key in means and known is not None else None
        found = micro if key == "micro" else found
    if found is None or known is None or np.isnan(found).any() or abs(found[0] - known) > 1e-9:
        return None
    return np.asarray(found[1:])


def _mean(values: np.ndarray, known: float | None) -> np.ndarray | None:
    there = ~np.isnan(values).all(axis=1)
    return None if known is None or not there.any() else np.asarray(values[there].mean(axis=0))


def _numbers(text: str) -> np.ndarray:
    return np.array([float(word) for word in text.split()])
