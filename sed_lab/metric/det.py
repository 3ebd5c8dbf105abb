"""Detection error trade-off (DET) and equal error rate (EER) of clip scores, with intervals by bootstrap over clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from sed_lab.metric.event import mean
from sed_lab.metric.groups import GROUPS, as_words, groups_of
from sed_lab.metric.intersection import number

Rule = Literal["interpolated", "nearest"]
GRID = np.linspace(0, 1, 201)  # false-alarm rates at which DET curves are stored
INTERVAL = (2.5, 97.5)  # percentiles of the bootstrap


def det_curve(
    scores: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """False-alarm and miss rate ``[..., X]`` of one class at every threshold, from (0, 1) to (1, 0), ties as one.

    Args:
        scores: ``[N]``, any real numbers; a clip is accepted when its score is at least the threshold.
        target: boolean ``[N]``.
        weight: ``[..., N]`` how often each clip counts, once where it is not given.
    """
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    last = np.append(np.diff(scores[order].astype(np.float64)) != 0, True) if len(order) else np.zeros(0, bool)
    weight = np.ones(len(scores)) if weight is None else weight
    rates = []
    for chosen in (~target, target):
        counted = np.cumsum((weight * chosen)[..., order], axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = counted[..., last] / counted[..., -1:]
        rates.append(np.concatenate([np.zeros((*share.shape[:-1], 1)), share], axis=-1))
    return rates[0], 1 - rates[1]


def equal_error_rate(scores: np.ndarray, target: np.ndarray, rule: Rule = "interpolated") -> float:
    """Where the false-alarm rate equals the miss rate; nan when either class of clips is empty.

    ``interpolated``: linear between the two points of the full curve where the difference changes sign.
    ``nearest``: the mean of both rates at the threshold where they differ least (torchmetrics' rule).
    """
    target = target.astype(bool)
    if target.all() or not target.any():
        return float("nan")
    return float(_crossing(*det_curve(scores, target), rule))


def _crossing(alarm: np.ndarray, miss: np.ndarray, rule: Rule) -> np.ndarray:
    """The EER of each curve ``[..., X]``."""
    gap = alarm - miss

    def at(values: np.ndarray, index: np.ndarray) -> np.ndarray:
        return np.asarray(np.take_along_axis(values, index, axis=-1)[..., 0])

    if rule == "nearest":
        best = np.argmin(np.abs(gap[..., 1:]), axis=-1, keepdims=True) + 1
        return (at(alarm, best) + at(miss, best)) / 2
    after = np.argmax(gap >= 0, axis=-1, keepdims=True)
    before = after - 1
    share = -at(gap, before) / (at(gap, after) - at(gap, before))
    return at(alarm, before) + share * (at(alarm, after) - at(alarm, before))


def eer(
    scores: np.ndarray, target: np.ndarray, classes: Sequence[str], rule: Rule = "interpolated", bootstrap: int = 0
) -> dict[str, Any]:
    """EER from arrays ``[N, C]``: per class against all other clips, their mean, and pooled over clips and classes.

    Classes that no clip or every clip holds have none (None) and are left out of the mean. With ``bootstrap`` so many
    draws of clips, with replacement, give ``low`` and ``high``, the ends of 95 % intervals. With clips enough,
    ``groups`` are the values without each of `sed_lab.metric.groups`.
    """
    target = target.astype(bool)
    per_class: dict[str, Any] = {
        label: {"eer": number(equal_error_rate(scores[:, i], target[:, i], rule)), "n_reference": float(n)}
        for i, (label, n) in enumerate(zip(classes, target.sum(axis=0), strict=True))
    }
    result: dict[str, Any] = {
        "macro": mean([row["eer"] for row in per_class.values()]),
        "micro": number(equal_error_rate(scores.ravel(), target.ravel(), rule)),
        "per_class": per_class,
    }
    if bootstrap and len(scores):
        drawn = np.concatenate(
            [
                np.stack([_crossing(*curve, rule) for curve in _curves(scores, target, weight)])
                for weight in _draws(len(scores), bootstrap)
            ],
            axis=1,
        )
        for row, values in zip(per_class.values(), drawn, strict=True):
            row["low"], row["high"] = (number(value) for value in _interval(values))
        there = [i for i, row in enumerate(per_class.values()) if row["eer"] is not None]
        if there:
            result["macro_low"], result["macro_high"] = (number(v) for v in _interval(drawn[there].mean(axis=0)))
    group = groups_of(len(scores))
    if group.any():
        kept = group != np.arange(GROUPS)[:, None]
        without = [as_words(_crossing(*curve, rule)) for curve in _curves(scores, target, kept)]
        result["groups"] = dict(zip(classes, without, strict=True))
    return result


def det(scores: np.ndarray, target: np.ndarray, classes: Sequence[str], bootstrap: int = 0) -> dict[str, Any]:
    """DET curves from ``[N, C]`` on `GRID`: ``{"false_alarm": [G], "per_class": {label: {"miss": [G]}}, "mean"}``.

    Miss rates lie on straight lines between a curve's points; ``mean`` is over the classes that have a curve, at equal
    false-alarm rates. With ``bootstrap`` each has ``low`` and ``high`` too, 95 % intervals over draws of clips.
    """
    target = target.astype(bool)
    there = [i for i in range(len(classes)) if target[:, i].any() and not target[:, i].all()]
    curves = np.array([np.interp(GRID, *det_curve(scores[:, i], target[:, i])) for i in there])
    bands = np.empty((len(there), 0, len(GRID)))
    if bootstrap and there:
        parts = [
            np.array([[np.interp(GRID, a, m) for a, m in zip(*curve, strict=True)] for curve in found])
            for weight in _draws(len(scores), bootstrap)
            for found in [_curves(scores[:, there], target[:, there], weight)]
        ]
        bands = np.concatenate(parts, axis=1)

    def block(curve: np.ndarray, band: np.ndarray) -> dict[str, list[float]]:
        values = {"miss": curve}
        if len(band):
            values["low"], values["high"] = _interval(band)
        return {name: [round(float(value), 5) for value in row] for name, row in values.items()}

    per_class = {classes[i]: block(curve, band) for i, curve, band in zip(there, curves, bands, strict=True)}
    whole = block(curves.mean(axis=0), bands.mean(axis=0)) if there else None
    return {"false_alarm": [round(float(x), 5) for x in GRID], "per_class": per_class, "mean": whole}


def _draws(clips: int, replicates: int, seed: int = 0, at_once: int = 100) -> Iterator[np.ndarray]:
    """How often each clip was drawn, ``[R, N]`` in portions; the same draws for the same number of clips."""
    rng = np.random.default_rng(seed)
    for start in range(0, replicates, at_once):
        yield rng.multinomial(clips, np.full(clips, 1 / clips), size=min(at_once, replicates - start))


def _curves(scores: np.ndarray, target: np.ndarray, weight: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The curves ``[R, X]`` of every class under draws ``[R, N]``; nan where a draw has no clip of one kind."""
    return [det_curve(scores[:, i], target[:, i], weight) for i in range(scores.shape[1])]


def _interval(values: np.ndarray) -> np.ndarray:
    """The interval's ends over the first axis, draws without a value left out."""
    if not np.isfinite(values).any():
        return np.full((2, *values.shape[1:]), np.nan)
    return np.asarray(np.nanpercentile(values, INTERVAL, axis=0))
