"""A configuration compared with the descriptions of its parameters, before anything is read or made."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sed_lab.errors import InputError, some
from sed_lab.parameter.data import DATASETS, FEATURES
from sed_lab.parameter.kind import Kind, Parameter, Parameters
from sed_lab.parameter.method import METHODS
from sed_lab.parameter.network import LOSSES, MODELS, OPTIMIZERS
from sed_lab.parameter.run import CALLBACKS, DECODERS, GROUPS, LOGGERS, NEEDED, ROOTS, SPREAD, TRAINERS

TARGETS: dict[str, Parameters] = {
    **DATASETS, **FEATURES, **MODELS, **LOSSES, **METHODS, **OPTIMIZERS, **DECODERS, **TRAINERS, **LOGGERS,
    **CALLBACKS,
}  # fmt: skip
"""By the class or function that takes them."""
OPEN = ("pytorch_lightning.", "torch.")  # libraries' classes take more than is described here
HYDRA = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
SHOWN = 60  # characters of a value in a message


def check_config(config: Mapping[str, Any], command: str) -> None:
    """Refuse the first value of ``config``, plain and resolved, that is none of its parameter's.

    ``command`` is ``sed-train`` or ``sed-evaluate``. Not judged are classes of the user's own, values that are not
    given (``???``), and those that only a run resolves (``${...}``).

    Raises:
        InputError: a value is of another kind or out of range, or a key is none of its class.
    """
    for key, value, parameter in described(config, command):
        _check(key, value, parameter.kind, parameter.meaning)


def described(config: Mapping[str, Any], command: str) -> Iterator[tuple[str, Any, Parameter]]:
    """Keys of ``config`` with their values and descriptions, in its order.

    Raises:
        InputError: a key is unknown to the class it is given to.
    """
    root = ROOTS[command]
    if absent := [key for key in (*root, *SPREAD) if key not in config and key in {*root, *NEEDED[command]}]:
        raise InputError(f"{absent[0]}: there is no such key any more; leave out what deletes it, as ~{absent[0]}")
    for group in NEEDED[command]:
        if not isinstance(config.get(group), dict):
            raise InputError(f"{group}={shown(config.get(group))}: a group of settings is needed; give {group}=OPTION")
    for key, value in config.items():
        if key in root:
            yield key, value, root[key]
            if isinstance(value, dict) and key in SPREAD:
                yield from _given(key, value, SPREAD[key])
        elif key in SPREAD:
            yield from _given(key, value, SPREAD[key])
        elif isinstance(value, dict):
            yield from _nodes(key, value)
        elif key in GROUPS and value is not None:
            chosen = f"an option is chosen by decoder@{key}={shown(value)}"
            said = chosen if key == "rival_decoder" else f"it is a group of settings; give {key}.KEY=VALUE"
            raise InputError(f"{key}={shown(value)}: {said}")


def _nodes(key: str, node: Mapping[str, Any]) -> Iterator[tuple[str, Any, Parameter]]:
    """Of a node with ``_target_`` and all within it."""
    target = str(node.get("_target_", ""))
    known = TARGETS.get(target)
    given = {name: value for name, value in node.items() if name not in HYDRA}
    if known is not None:
        more = target.startswith(OPEN)
        yield from _given(key, {k: v for k, v in given.items() if k in known} if more else given, known)
    for name, value in given.items():
        if isinstance(value, dict):
            yield from _nodes(f"{key}.{name}", value)


def _given(key: str, values: Any, known: Parameters) -> Iterator[tuple[str, Any, Parameter]]:
    if not isinstance(values, dict):
        raise InputError(f"{key}={shown(values)}: it has the keys {', '.join(known)}; give one of them, as {key}.KEY=")
    for name, value in values.items():
        if name not in known:
            raise InputError(unknown(f"{key}.{name}", known))
        yield f"{key}.{name}", value, known[name]


def unknown(key: str, known: Iterable[str]) -> str:
    """That ``key`` is none of the ``known`` ones beside it, and which is nearest."""
    before, _, name = key.rpartition(".")
    close = difflib.get_close_matches(name, list(map(str, known)), n=1, cutoff=0.5)
    there = some(known) or "no keys"
    return f"unknown key {key!r}; " + (f"did you mean {f'{before}.{close[0]}'!r}?" if close else f"it has {there}")


def _check(key: str, value: Any, kind: Kind, meaning: str) -> None:
    if kind.fits(value) or value == "???" or (isinstance(value, str) and "${" in value):
        return
    if isinstance(value, dict) and kind.parts is not None:
        for name, inner in value.items():
            if name not in kind.parts:
                raise InputError(unknown(f"{key}.{name}", kind.parts))
            _check(f"{key}.{name}", inner, *kind.parts[name])
        return
    if isinstance(value, dict) and kind.each is not None:
        for name, inner in value.items():
            _check(f"{key}.{name}", inner, kind.each, meaning)
        return
    raise InputError(f"{key}={shown(value)}: give {kind.words} ({meaning})")


def shown(value: Any) -> str:
    """A value as it is written in YAML, on one line and not long."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = " ".join(text.split()) if text.strip() else repr(text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def explained(config: Mapping[str, Any], command: str) -> str:
    """``config`` as YAML, each described key with its kind and meaning behind it."""
    about = {key: f"{one.meaning}; {one.kind.words}" for key, _, one in described(config, command)}
    return "".join(f"{line}\n" for line in _lines(config, "", about))


def _lines(node: Mapping[str, Any], key: str, about: Mapping[str, str]) -> Iterator[str]:
    indent = "  " * key.count(".")
    for name, value in node.items():
        inner = f"{key}{name}"
        said = f"  # {about[inner]}" if inner in about else ""
        if isinstance(value, dict) and (inner not in about or any(one.startswith(f"{inner}.") for one in about)):
            yield f"{indent}{name}:"
            yield from _lines(value, f"{inner}.", about)
        else:
            yield f"{indent}{name}: {_flow(value)}{said}"


def _flow(value: Any) -> str:
    """A value in YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    if isinstance(value, str):
        return value if re.fullmatch(r"[\w./${}: -]*[\w.}]", value) and ": " not in value else json.dumps(value)
    return json.dumps(value)
