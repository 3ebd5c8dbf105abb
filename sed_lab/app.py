"""Starting a Hydra app so that its errors are one sentence: unknown keys, groups and options name the nearest known."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sed_lab.errors import InputError
from sed_lab.files import conf_folder
from sed_lab.run.content import digest
from sed_lab.run.identity import register_resolvers, run_name
from sed_lab.run.refuse import refuse_values

OWN_NAMES = {"classes", "counts", "timesteps", "threshold", "onset_threshold", "median_seconds",
             "step_seconds", "merge_abs", "merge_rel"}  # fmt: skip
"""Keys, within a group, of mappings from names of the user's own, of classes for most."""

UNREAD = "cannot be read; write KEY=VALUE, and quote what holds blanks, commas, brackets or braces"
FORMS = {
    r"Could not append to config\. An item is already at '([^']+)'": "+{0}=...: the key is there; use {0}=...",
    r"^([\w/@]+) appears more than once in the final defaults list": "+{0}=...: the group is there; use {0}=...",
    r"Additional config directory '([^']+)' not found": "--config-dir {0}: there is no such folder",
    r"Could not delete from config\. The value of '([^']+)' is": "~{0}=...: it has another value; use ~{0}",
    r"Could not delete from config\. '([^']+)' does not exist": "~{0}: there is no such key; drop the word",
    r"(?s)^(?:no viable|mismatched|extraneous|token recognition)[^']*'(.*)'.*?\s+See http": (
        f"{{0!r}} on the command line {UNREAD}"
    ),
    r"(?s)Ambiguous value for argument '(.*?)'\s+1": "{0}: several values; use KEY=[A,B] for a list, -m for a run each",
    r"(?s)Error parsing override '(.*?)'\s+(.*?)\s+See http": f"{{0!r}} ({{1}}) {UNREAD}",
    r"(?s) raised while resolving interpolation: .*full_key: (\S+)": "{0}: ${{...}} cannot be replaced so; give a text",
}
"""What Hydra says, as a pattern, and how it is said to the user."""


def whole_mappings() -> None:
    """Let a mapping that goes by names of the user's own replace the one there is, as a list does.

    Hydra merges the two: ``dataset.classes={Dog: 74}`` would leave the other classes in. Of a mapping of mappings, such
    as the counts of each subset, each inner one is replaced. Mappings of settings (`OWN_NAMES` lists the others) are
    merged as ever.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.override_parser.types import Override

    merging = ConfigLoaderImpl._apply_overrides_to_config
    if merging.__name__ == "replacing":
        return

    def replacing(overrides: list[Override], cfg: DictConfig) -> None:
        for override in overrides:
            key, value = override.key_or_group, override.value()
            node = OmegaConf.select(cfg, key, throw_on_missing=False)
            own = set(key.split(".")[1:]) & OWN_NAMES and isinstance(node, (DictConfig, ListConfig))
            if own and isinstance(value, dict) and not override.is_delete():
                for inner, mapping in _innermost(key, value):
                    OmegaConf.update(cfg, inner, mapping, merge=False, force_add=True)
            else:
                merging([override], cfg)

    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(replacing)  # type: ignore[method-assign]


def _innermost(key: str, mapping: dict[Any, Any]) -> Iterator[tuple[str, dict[Any, Any]]]:
    """The mappings of plain values in ``mapping``, with their keys; itself where it holds any plain value."""
    if mapping and all(isinstance(value, dict) for value in mapping.values()):
        for name, inner in mapping.items():
            yield from _innermost(f"{key}.{name}", inner)
    else:
        yield key, mapping


def run_hydra(
    task: Callable[[DictConfig], Any], config_name: str, before: Callable[[DictConfig, str], None] | None = None
) -> None:
    """Run ``task`` as a Hydra app; ``before`` looks at a run and its name before Hydra makes the folder.

    Raises:
        InputError: an override names an unknown key, group or option, or cannot be parsed; or what ``before`` raises.
    """
    register_resolvers()
    whole_mappings()
    refused: list[Exception] = []
    if before is not None:
        _look_first(before, refused)
    if {"--help", "-h"} & set(sys.argv):
        _quick_help()
        _help_with_meanings(f"sed-{'evaluate' if config_name == 'evaluate' else 'train'}")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors come out here instead of Hydra's own printing
    errors: list[Exception] = []

    def guarded(cfg: DictConfig) -> Any:
        # Kept from Hydra, which would print the overrides around the one sentence the user is to read.
        try:
            return task(cfg)
        except Exception as error:  # Ctrl-C ends a sweep, too
            errors.append(error)
            return None

    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(guarded)()
    except (HydraException, OmegaConfBaseException) as error:
        if refused:
            raise refused[0] from None
        raise InputError(sentence(error, config_name)) from error
    except TypeError as error:  # Hydra's, of [A, 1] for options
        raise InputError(
            "options of a group are names; give GROUP=OPTION, or GROUP=[A,B] where it takes several"
        ) from error
    except ValueError as error:
        if isinstance(error.__cause__, OSError):  # no room for train.log, or no right to write it
            raise error.__cause__ from None
        if "Config group override" not in str(error) or any(word.startswith("=") for word in sys.argv[1:]):
            raise InputError("a word on the command line cannot be read; write each as KEY=VALUE") from error
        raise InputError(
            "GROUP=null: a group takes the name of an option; ~GROUP leaves it out, as ~decoder@rival_decoder"
        ) from error
    if errors:
        raise errors[0]


def _look_first(before: Callable[[DictConfig, str], None], refused: list[Exception]) -> None:
    """Let ``${run_name:}``, which Hydra asks for before it makes a folder, refuse a run; why is put into ``refused``.

    The job of a sweep gets a name whatever its values are: it is refused in a process and a folder of its own.
    """

    looked: set[str] = set()

    def name(_root_: DictConfig) -> str:
        mode = OmegaConf.select(_root_, "hydra.mode")
        try:
            refuse_values(_root_, "sed-train")
            found: str = run_name(_root_)
            if mode == RunMode.RUN and found not in looked:  # Hydra asks several times
                looked.add(found)
                before(_root_, found)
        except Exception as error:
            if mode == RunMode.MULTIRUN:
                return f"refused-{digest([' '.join(_root_.hydra.overrides.task)])}"
            refused.append(error)
            raise
        return found

    OmegaConf.register_new_resolver("run_name", name, replace=True)


def _quick_help() -> None:
    """Let Hydra's help look at the configuration folders once instead of once a group, which takes half a second."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    slow, found = ConfigLoaderImpl._parse_overrides_and_create_caching_repo, {}

    def once(self: Any, config_name: Any, overrides: list[str]) -> Any:
        key = (config_name, tuple(overrides))
        if key not in found:
            found[key] = slow(self, config_name, overrides)
        return found[key]

    ConfigLoaderImpl._parse_overrides_and_create_caching_repo = once  # type: ignore[method-assign]


def _help_with_meanings(command: str) -> None:
    """Let Hydra's help say of each key what it means and takes."""
    from hydra._internal.hydra import Hydra

    from sed_lab.parameter.check import explained

    plain_help = Hydra.get_help

    def with_meanings(self: Any, help_cfg: DictConfig, cfg: DictConfig, args_parser: Any, resolve: bool) -> str:
        text, config = plain_help(self, help_cfg, cfg, args_parser, resolve), OmegaConf.to_container(cfg)
        assert isinstance(config, dict)
        more = explained({str(key): value for key, value in config.items()}, command)
        return str(text).replace(OmegaConf.to_yaml(cfg, resolve=resolve), more)

    Hydra.get_help = with_meanings  # type: ignore[method-assign]


def sentence(error: Exception, config_name: str) -> str:
    """What Hydra refuses, as one sentence with the nearest known key, group or option."""
    text = str(error)
    for form, said in FORMS.items():
        if found := re.search(form, f"{text}\n{error.__cause__ or ''}"):
            return said.format(*found.groups())
    if found := re.search(r"Could not override '([^']+)'\.\n", text):
        return _unknown_key(error, found[1], config_name)
    if found := re.search(r"Cannot find primary config '([^']+)'", text):
        names = sorted({path.stem for folder in _folders() for path in folder.glob("*.yaml")} - {"jobs"})
        return f"--config-name {found[1]} is unknown{_nearest(found[1], names)}; there are: {', '.join(names)}"
    if found := re.search(r"Could not find '([\w/]+)/([^'/]*)'", text):
        group, name = found.groups()
        known = sorted({path.stem for folder in _folders() for path in (folder / group).glob("*.yaml")})
        return f"{group}={name} is unknown{_nearest(name, known)}; known: {', '.join(known)}"
    if found := re.search(r"Could not (?:override|delete)\.? '?([\w/@]+)'?\.? ?No match in the defaults list", text):
        group, known = found[1], _known_groups(config_name)
        if any((folder / group).is_dir() for folder in _folders()[:-1]):
            return f"group {group!r} is not among those that {config_name} chooses from; add it with +{group}=OPTION"
        return f"unknown group {group!r}{_nearest(group, known)}; known groups: {', '.join(known)}"
    return " ".join(str(error.__cause__ or error).split())


def _unknown_key(error: Exception, key: str, config_name: str) -> str:
    """A key on the command line that is not there: the nearest, or that + adds it."""
    known = _known_keys(config_name)
    if key in known:  # what is unknown lies within it
        inner = re.search(r"full_key: (\S+)", str(error.__cause__))
        key = inner.group(1) if inner else key
    near = [one for one in known if not one.endswith("_") and not key.startswith(f"{one}.")]
    new = f"; a new key takes +{key}=..." if key.rpartition(".")[0] in known else ""
    command = "evaluate" if "evaluate" in Path(sys.argv[0]).name else "train"
    given = _given()
    named = f" --config-name {given.config_name}" if given.config_name else ""
    folder = f" --config-dir {given.config_dir}" if given.config_dir else ""
    return (
        f"unknown key {key!r} on the command line{_nearest(key, near)}{new};"
        f" `sed-{command}{folder}{named} --cfg job` shows all keys"
    )


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


def _given() -> Any:
    """The command line, as Hydra takes it apart."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser().parse_known_args()[0]


def _folders() -> list[Path]:
    """Where configurations lie: the folder that the command line names, if any, and the one of sed_lab."""
    given = _given().config_dir
    return [*([Path(given).absolute()] if given else []), conf_folder()]


def _at_hand(config_name: str) -> Any:
    """The configuration that the command line names, or ``config_name``, with Hydra's own part; None where none is."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    given = _given()
    choices = [word for word in given.overrides if re.fullmatch(r"[\w/]+=[\w\[\],]+", word)]
    search = [f"hydra.searchpath=[file://{conf_folder()}]"] if given.config_dir else []
    for overrides in (choices, []):
        try:
            with initialize_config_dir(str(_folders()[0]), version_base="1.3"):
                return compose(given.config_name or config_name, [*search, *overrides], return_hydra_config=True)
        except (HydraException, OmegaConfBaseException):
            continue
    return None


def _known_keys(config_name: str) -> list[str]:
    """The keys of the configuration at hand."""
    config = _at_hand(config_name)
    plain = {} if config is None else OmegaConf.to_container(config, resolve=False)
    return [key for key in _keys(plain) if key.split(".")[0] != "hydra"]


def _known_groups(config_name: str) -> list[str]:
    """The groups that the configuration at hand chooses from."""
    config = _at_hand(config_name)
    chosen = {} if config is None else config.hydra.runtime.choices
    return sorted(str(group) for group in chosen if not str(group).startswith("hydra/"))


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}"
        yield from _keys(value, f"{prefix}{key}.")
