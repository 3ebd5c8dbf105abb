"""What is taken of a run's folder, which may be anybody's: values, and the names of sed_lab's own classes.

A configuration that a user gives on the command line is the user's own, and may name any class. What is read back from
a folder may name only

- the classes and functions that the options of ``conf/`` name, each in its own group, and PyTorch's optimisers;
- those that a package defines which the user trusts by name (``--trust PACKAGE``, in sed-evaluate ``trust=[PACKAGE]``).

Names are compared whole, never followed attribute by attribute. Nothing in a record is an interpolation, links do not
lead out of the folder, and what does not have the form of a record is refused with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from sed_lab.errors import InputError, steers
from sed_lab.files import conf_folder
from sed_lab.run.parts import links_stay
from sed_lab.run.record import read_record

SETTINGS = {"_partial_": bool, "_recursive_": bool, "_convert_": str}  # Hydra's, beside ``_target_``
DEPTH = 12  # of a configuration; conf/ has four
LARGEST = 10**9  # no size in a configuration is larger
ANALYSIS = re.compile(r"sed_lab\.analysis\.\w+")
SUBSET = r"^\w[\w.-]*$"  # a subset's name is a folder's too


def _one_line(name: str) -> str:
    if not name or any(map(steers, name)):
        raise ValueError("is empty or holds control characters")
    return name


Name = Annotated[str, Field(max_length=1000), AfterValidator(_one_line)]
Subset = Annotated[str, Field(pattern=SUBSET)]
Seconds = Annotated[float, Field(ge=1e-3, le=86400, allow_inf_nan=False)]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Detector(_Form):
    classes: list[Name] = Field(default=[], min_length=1)
    clip_seconds: Seconds = 1.0
    decided: dict[str, Any] = {}
    decoder: dict[str, Any] = {}
    tuned: dict[str, Any] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class _Config(_Form):
    feature: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    loss: dict[str, Any] | None = None
    method: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None
    rival_decoder: dict[str, Any] | None = None
    metric: dict[str, Any] | None = None
    dataset: dict[str, Any] | None = None
    batch: dict[str, Any] | None = None
    tune_on: Subset | None = None
    also_score: list[Subset] = []
    analysis: list[Name] | None = None


class _Record(_Form):
    name: Name | None = None
    status: Name | None = None
    systems: list[Name] = []
    config: _Config = _Config()
    detector: _Detector | None = None
    dataset: dict[str, Any] = {}
    metrics: dict[str, Any] = {}


def foreign_record(folder: Path) -> dict[str, Any] | None:
    """The record of the run in ``folder``, if it has the form of one; None where there is none.

    Raises:
        InputError: a value is not what it must be, or a part of the folder is a link that leads out of it.
    """
    links_stay(folder)
    record = read_record(folder)
    if record is None:
        return None
    try:
        _Record.model_validate(record)
    except (ValidationError, RecursionError) as error:
        where, said = "", "is nested too deeply"
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_context=False)[0]
            where, said = ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")
        raise InputError(f"{folder}/run.json: {where}: {said[:1].lower()}{said[1:]}; restore the record") from None
    return record


def check_node(node: Any, group: str, where: str, trusted: Sequence[str] = ()) -> None:
    """Refuse a recorded part of a configuration that names what ``group`` may not, or is more than values.

    ``group`` is one of conf/'s, or empty where nothing at all may be named.

    Raises:
        InputError: it says where, what, and how to let it in.
    """
    within = _optimisers() if group == "method" else frozenset()
    _check(node, _of_group(group) if group else within, within, where, trusted)


def _check(
    node: Any, own: frozenset[str], within: frozenset[str], where: str, trusted: Sequence[str], depth: int = 0
) -> None:
    """``own`` may be named by ``node`` itself, ``within`` by what it holds."""
    if depth > DEPTH:
        _refuse(where, "is nested more deeply than any configuration")
    if isinstance(node, str) and "${" in node:
        _refuse(where, "holds an interpolation, which is not followed")
    if isinstance(node, str) and any(map(steers, node)):
        _refuse(where, "holds control characters")
    if isinstance(node, int | float) and abs(node) > LARGEST and node not in (float("inf"), float("-inf")):
        _refuse(where, f"is larger than {LARGEST:g}, which nothing needs")
    if isinstance(node, list):
        for number, value in enumerate(node):
            _check(value, within, within, f"{where}[{number}]", trusted, depth + 1)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == "_target_":
            _check_target(value, own, where, trusted)
        elif key.startswith("_") and type(value) is not SETTINGS.get(key):
            _refuse(f"{where}.{key}", "is no setting")
        elif "${" in key or any(map(steers, key)):
            _refuse(where, "has a key that is more than a name")
        else:
            _check(value, within, within, f"{where}.{key}", trusted, depth + 1)


def _refuse(where: str, said: str) -> NoReturn:
    raise InputError(f"run.json: {where} {said}; correct it")


def _check_target(target: Any, own: frozenset[str], where: str, trusted: Sequence[str]) -> None:
    if isinstance(target, str) and (target in own or _is_trusted(target, trusted)):
        return
    package = str(target).split(".")[0]
    door = f", or give --trust {package} (sed-evaluate: trust=[{package}]) if you trust all that this package holds"
    raise InputError(
        f"run.json: {where}._target_={target} is not sed_lab's own, so it is not loaded; correct it"
        f"{'' if package in ('sed_lab', 'torch') else door}"
    )


@cache
def _of_group(group: str) -> frozenset[str]:
    """What the options of a group of ``conf/`` name."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((conf_folder() / group).glob("*.yaml"))]
    return frozenset(name for text in texts for name in re.findall(r"^_target_: (\S+)$", text, re.MULTILINE))


@cache
def _optimisers() -> frozenset[str]:
    """PyTorch's optimisers, by the names that its package gives them."""
    from torch import optim

    classes = {name: value for name, value in vars(optim).items() if isinstance(value, type)}
    return frozenset(f"torch.optim.{name}" for name, value in classes.items() if issubclass(value, optim.Optimizer))


def _is_trusted(target: str, trusted: Sequence[str]) -> bool:
    """Whether ``target`` is a class or function that a trusted package itself defines, in the module it is named by.

    Raises:
        InputError: the package cannot be imported.
    """
    module, _, name = target.rpartition(".")
    if not any(module == package or module.startswith(f"{package}.") for package in trusted):
        return False
    try:
        found = vars(import_module(module)).get(name)
    except ImportError as error:
        raise InputError(f"{target} cannot be imported: {error}; install it, or put its folder on PYTHONPATH") from None
    home = getattr(found, "__module__", None) if callable(found) and hasattr(found, "__qualname__") else None
    return any(home == package or str(home).startswith(f"{package}.") for package in trusted)


def own_analyses(record: Mapping[str, Any], trusted: Sequence[str] = ()) -> list[str]:
    """The analyses a record names that are sed_lab's or in a trusted package: a run's files import nothing else."""
    named = [str(name) for name in record.get("config", {}).get("analysis") or ()]
    return [name for name in named if ANALYSIS.fullmatch(name) or name.split(".")[0] in trusted]


@contextmanager
def understood(folder: Path) -> Iterator[None]:
    """Say in a sentence that the files of a run do not fit together, where nothing more precise is known.

    Raises:
        InputError: instead of any other error; ``SED_LAB_DEBUG=1`` shows that one too.
    """
    try:
        yield
    except (InputError, OSError):
        raise
    except Exception as error:
        raise InputError(
            f"{folder}: a value in its files is not what sed_lab writes there, or does not fit what was asked for;"
            " restore the files, or look with SED_LAB_DEBUG=1"
        ) from error
