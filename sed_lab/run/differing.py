"""In which values two configurations differ, where one that follows the seed is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

ABSENT = object()  # stands for the value of a key that is not there


def differing(a: Mapping[str, Any], b: Mapping[str, Any], seed_a: int, seed_b: int) -> list[str]:
    """The keys, dotted, whose values differ; not those called ``seed`` that are the runs' own."""
    first, second = dict(leaves(a)), dict(leaves(b))
    pairs = {key: (first.get(key, ABSENT), second.get(key, ABSENT)) for key in (first | second)}
    followed = {key for key, pair in pairs.items() if key.endswith("seed") and pair == (seed_a, seed_b)}
    return [key for key, (x, y) in pairs.items() if x != y and key not in followed]


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values of a configuration with their dotted keys; a list counts as one."""
    if isinstance(node, Mapping) and node:
        for name, inner in node.items():
            yield from leaves(inner, f"{key}.{name}".lstrip("."))
    else:
        yield key, node
