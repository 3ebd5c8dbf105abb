"""Which decoder and threshold a trained run predicts with: the best that its record notes, or what is asked for.

A record comes with a run and may be anybody's. Of what it notes, only numbers are taken; the class that they are given
to is one of sed_lab's decoders, or that of the run's configuration where this is trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sed_lab.decoder.base import Decoder, Threshold
from sed_lab.decoder.box import BoxDecoder
from sed_lab.decoder.median import MedianDecoder
from sed_lab.decoder.onset import OnsetDecoder
from sed_lab.errors import InputError
from sed_lab.run.tuned import in_words

OWN: tuple[type[Decoder], ...] = (MedianDecoder, BoxDecoder, OnsetDecoder)
KINDS: dict[str, type[Decoder]] = {"median": MedianDecoder, "box": BoxDecoder}
ASKED = ("best", "run", *KINDS)


@dataclass(frozen=True)
class Decoding:
    """A decoder, the threshold that it takes, and what it is, in words."""

    decoder: Decoder
    threshold: Threshold
    words: str


@dataclass(frozen=True)
class Noted:
    """What a record notes (see `sed_lab.run.tuned`): the best system, and each one's tuned decoders, best first."""

    on: str
    system: str
    decoders: Mapping[str, tuple[Decoder, ...]]


def noted(record: Mapping[str, Any], configured: Decoder, classes: Sequence[str], systems: Sequence[str]) -> Noted:
    """The tuned decoders that a record notes, none where it notes nothing; the best system is then the first.

    Raises:
        InputError: it notes something else than numbers, or for other classes, or a decoder that is not sed_lab's.
    """
    tuned = record["detector"].get("tuned")
    if tuned is None:
        return Noted("", systems[0], {})
    allowed = {kind.__name__: kind for kind in (*OWN, type(configured))}
    try:
        on, best, found = str(tuned["on"]), tuned["system"], {}
        for system, own in tuned["systems"].items():
            order = sorted(own.keys() - {"best"}, key=lambda which: which != own["best"])
            where = f"detector.tuned.systems.{system}"
            found[system] = tuple(
                _decoder(own[which]["decoder"], allowed, classes, f"{where}.{which}.decoder") for which in order
            )
        known = {*found} <= {*systems} and best in found and all(found.values())
    except (KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise InputError(
            "run.json: detector.tuned does not note decoders of the run's systems; correct it, or take it out"
        )
    return Noted(on, best, found)


def of_record(
    record: Mapping[str, Any], classes: Sequence[str], systems: Sequence[str], trusted: Sequence[str] = ()
) -> dict[str, list[Decoding]]:
    """What each of a run's ``systems`` may find events by: tuned class by class, best first, then as configured.

    Raises:
        InputError: the record describes no decoder, or one that is not sed_lab's nor of a ``trusted`` package.
    """
    from sed_lab.run.assemble import build
    from sed_lab.run.trust import check_node

    config, taken = record.get("config", {}), (record.get("detector") or {}).get("decoder", {})
    plain = []
    for group in ("decoder", "rival_decoder"):
        node = config.get(group)
        check_node(node, "decoder", group, trusted)
        if node and "_target_" in node:
            plain.append(node)
    if not plain:
        raise InputError("run.json: config.decoder is not there; restore the record")
    check_node(taken, "", "detector.decoder")
    own = {name: value for name, value in taken.items() if name != "decoder"}
    configured, *rivals = [build({**node, **(own if node is plain[0] else {})}) for node in plain]
    found = noted({"detector": {}, **record}, configured, classes, systems)
    given: dict[str, list[Decoding]] = {}
    for system in systems:
        tuned = found.decoders.get(system, ())
        given[system] = [Decoding(one, one.threshold, f"{_words(one)}, tuned by class") for one in tuned]
        untuned = [one for one in rivals if type(one) not in {type(other) for other in tuned}]
        given[system] += [Decoding(one, one.threshold, f"{_words(one)}, not tuned") for one in (configured, *untuned)]
    return given


def choose(
    record: Mapping[str, Any],
    configured: Decoder,
    found: Noted,
    system: str,
    decoder: str | None,
    threshold: str | None,
    option: Callable[[str], Decoder],
) -> Decoding:
    """What ``sed-predict``'s ``--decoder`` and ``--threshold`` ask for; None: what the run's page calls best.

    ``option`` gives the untuned decoder of a kind, for a run that has none of it.

    Raises:
        InputError: they ask for what the run does not have, or for what contradicts itself.
    """
    if decoder not in (None, *ASKED):
        raise InputError(f"--decoder {decoder}: use {', '.join(ASKED[:-1])} or {ASKED[-1]}")
    number = None if threshold in (None, "tuned", "fixed") else _threshold(str(threshold))
    there = found.decoders.get(system, ())
    if decoder is None:
        decoder = "best" if there and threshold != "fixed" else "run"
    if decoder == "best" and not there:
        raise InputError("--decoder best: this run tuned no decoder class by class; use --decoder run")
    if decoder == "best" and threshold == "fixed":
        raise InputError("--decoder best has tuned thresholds; use --decoder run with --threshold fixed")
    wanted = KINDS.get(decoder)
    tuned = [one for one in there if wanted is None or type(one) is wanted]
    if decoder == "run" or (type(configured) is wanted and (threshold == "fixed" or not tuned)):
        value, words = _of_run(record, configured, system, threshold)
        return Decoding(configured, value if number is None else number, f"{_words(configured)}, {words}")
    if tuned and threshold != "fixed":
        value = tuned[0].threshold if number is None else number
        return Decoding(tuned[0], value, f"{_words(tuned[0])}, tuned class by class on {found.on}")
    if threshold == "tuned":
        raise InputError(f"--threshold tuned: this run tuned no {decoder} decoder; use --threshold fixed or a number")
    plain = option(decoder)
    return Decoding(plain, plain.threshold if number is None else number, f"{_words(plain)}, not tuned")


def _of_run(record: Mapping[str, Any], decoder: Decoder, system: str, asked: str | None) -> tuple[Threshold, str]:
    """The threshold of the decoder as configured: the run's tuned one, unless the decoder keeps its own."""
    tuned = record.get("metrics", {}).get(f"{system}/event_f1_tuned/threshold")
    if asked == "tuned" and tuned is None:
        raise InputError("--threshold tuned: this run tuned none; use --threshold fixed or a number")
    if tuned is not None and (asked == "tuned" or (asked is None and not decoder.keeps_threshold)):
        return _number(tuned, "metrics", f"{system}/event_f1_tuned/threshold"), "as configured, one threshold tuned"
    return decoder.threshold, "as configured"


def _threshold(asked: str) -> float:
    try:
        value = float(asked)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise InputError(f"--threshold {asked}: use a number between 0 and 1, tuned or fixed")
    return value


def _words(decoder: Decoder) -> str:
    return in_words(type(decoder).__name__)


def _decoder(
    settings: Mapping[str, Any], allowed: Mapping[str, type[Decoder]], classes: Sequence[str], where: str
) -> Decoder:
    """The decoder that recorded ``settings`` describe: a class of those ``allowed``, and numbers."""
    name, values = settings["decoder"], {key: value for key, value in settings.items() if key != "decoder"}
    kind = allowed.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InputError(f"run.json: {where}.decoder={name} is not sed_lab's own, so it is not loaded; correct it")
    asked = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    if differing := sorted({*values} ^ {*asked}):
        raise InputError(f"run.json: {where}.{differing[0]}: {name} takes {', '.join(asked)}; correct it")
    for key, value in values.items():
        if isinstance(value, Mapping) and {*value} == {*classes}:
            values[key] = {label: _number(value[label], where, f"{key}.{label}") for label in classes}
        elif value is not None or "None" not in asked[key]:
            values[key] = int(_number(value, where, key)) if asked[key] == "int" else _number(value, where, key)
    return kind(**values)


def _number(value: Any, where: str, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"run.json: {where}.{key} is no number, nor one for each of the run's classes; correct it")
    return float(value)
