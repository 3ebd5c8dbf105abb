"""Kinds of values: in words for the user, and whether a value is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Kind:
    """What a value may be.

    ``words`` follow "give": ``a number from 0 to 1``. ``fits`` judges a plain value. ``each`` is the kind of a
    mapping's values, ``parts`` are those of a mapping with certain keys; either makes an error name the key within.
    """

    words: str
    fits: Callable[[Any], bool]
    each: Kind | None = None
    parts: Mapping[str, Parameter] | None = None


class Parameter(NamedTuple):
    """A key of the configuration: its kind, and its meaning with the unit, in one line."""

    kind: Kind
    meaning: str


Parameters = Mapping[str, Parameter]


def is_number(value: Any) -> bool:
    """Whether ``value`` is a number other than NaN; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def whole(least: int | None = None, most: int | None = None) -> Kind:
    """A whole number, not below ``least`` and not above ``most``."""

    def fits(value: Any) -> bool:
        right = isinstance(value, int) and not isinstance(value, bool)
        return right and (least is None or value >= least) and (most is None or value <= most)

    return Kind(f"a whole number{_range(least, most)}", fits)


def number(
    least: float | None = None, most: float | None = None, above: float | None = None, below: float | None = None,
    infinite: bool = False,
) -> Kind:  # fmt: skip
    """A number within limits, which belong to it (``least``, ``most``) or do not; finite unless ``infinite``."""

    def fits(value: Any) -> bool:
        return (
            is_number(value)
            and (infinite or math.isfinite(value))
            and (least is None or value >= least)
            and (most is None or value <= most)
            and (above is None or value > above)
            and (below is None or value < below)
        )

    if above is not None and (below is not None or most is not None):
        limits = f" above {above:g} and {f'below {below:g}' if most is None else f'at most {most:g}'}"
    elif above is not None:
        limits = f" above {above:g}"
    elif below is not None:
        limits = f" of at least {least:g} and below {below:g}"
    else:
        limits = _range(least, most)
    return Kind(f"a number{limits}{', inf too' if infinite else ''}", fits)


def _range(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}" if most < 1e6 else f" from {least:g} to {most}"
    return "" if least is None else f" of at least {least:g}"


def choice(*values: str | int) -> Kind:
    """One of some words."""
    return Kind(_or(list(map(str, values))), lambda value: not isinstance(value, bool) and value in values)


def _or(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def either(*kinds: Kind) -> Kind:
    """A value of any of ``kinds``."""
    inner = next((kind for kind in kinds if kind.each), Kind("", bool))
    return Kind(_or([kind.words for kind in kinds]), lambda value: any(kind.fits(value) for kind in kinds), inner.each)


def some_of(kind: Kind, least: int = 0, words: str = "") -> Kind:
    """A list of values of one kind, at least so many."""
    more = f" of at least {least}" if least > 1 else ""
    return Kind(
        words or f"a list{more}, each {kind.words}",
        lambda value: isinstance(value, list) and len(value) >= least and all(map(kind.fits, value)),
    )


def pair(kind: Kind, words: str) -> Kind:
    """A list of two of a kind."""
    return Kind(words, lambda value: isinstance(value, list) and len(value) == 2 and all(map(kind.fits, value)))


def named(kind: Kind, of: str = "name") -> Kind:
    """A mapping of names of the user's own to values of one kind."""
    return Kind(
        f"a mapping, each {of} to {kind.words}",
        lambda value: isinstance(value, dict) and all(map(kind.fits, value.values())),
        each=kind,
    )


def keys(parts: Parameters) -> Kind:
    """A mapping with certain keys, not all of which need to be there."""
    return Kind(
        f"a mapping with {', '.join(parts)}",
        lambda value: (
            isinstance(value, dict) and all(key in parts and parts[key].kind.fits(one) for key, one in value.items())
        ),
        parts=parts,
    )


NULL = Kind("null", lambda value: value is None)
YES_NO = Kind("true or false", lambda value: isinstance(value, bool))
TEXT = Kind("text", lambda value: isinstance(value, str) and bool(value.strip()) and "\0" not in value)
ANY_TEXT = Kind("text", lambda value: isinstance(value, str))
PATH = Kind("a path", TEXT.fits)
SHARE = number(0, 1)
EMPTY = Kind("[]", lambda value: value == [])
NODE = Kind("a mapping with _target_", lambda value: isinstance(value, dict) and "_target_" in value)
NAMES = some_of(TEXT, words="a list of names")
SEED = whole(0, 2**32 - 1)


def or_null(kind: Kind) -> Kind:
    """A value of ``kind``, or null."""
    return either(kind, NULL)


def per_class(kind: Kind) -> Kind:
    """One value for all classes, or one a class."""
    return either(kind, Kind("a mapping of one a class", named(kind).fits, each=kind))
