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
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sed_lab.errors import InputError
from sed_lab.files import conf_folder
from sed_lab.run.identity import register_resolvers

OWN_NAMES = {"classes", "counts", "timesteps", "threshold", "onset_threshold", "median_seconds",
             "step_seconds", "merge_abs", "merge_rel"}  # fmt: skip
"""Keys, within a group, of mappings from names of the user's own, of classes for most."""


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


def run_hydra(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Run ``task`` as a Hydra app.

    Raises:
        InputError: an override names an unknown key, group or option, or cannot be parsed.
    """
    register_resolvers()
    whole_mappings()
    if {"--help", "-h"} & set(sys.argv):
        _quick_help()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors come out here instead of Hydra's own printing
    errors: list[BaseException] = []

    def guarded(cfg: DictConfig) -> Any:
        # Kept from Hydra, which would print the overrides around the one sentence the user is to read.
        try:
            return task(cfg)
        except BaseException as error:
            errors.append(error)
            return None

    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(guarded)()
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(sentence(error, config_name)) from error
    except ValueError as error:
        if "Config group override" not in str(error):
            raise
        raise InputError(
            "GROUP=null: a group takes the name of an option; ~GROUP leaves it out, as ~decoder@rival_decoder"
        ) from error
    if errors:
        raise errors[0]


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


def sentence(error: Exception, config_name: str) -> str:
    """What Hydra refuses, as one sentence with the nearest known key, group or option."""
    override = re.search(r"Could not override '([^']+)'", str(error))
    if override:
        key, known = override.group(1), _known_keys(config_name)
        if key in known:  # what is unknown lies within it
            inner = re.search(r"full_key: (\S+)", str(error.__cause__))
            key = inner.group(1) if inner else key
        near = [one for one in known if not one.endswith("_") and not key.startswith(f"{one}.")]
        new = f"; a new key takes +{key}=..." if key.rpartition(".")[0] in known else ""
        return (
            f"unknown key {key!r} on the command line{_nearest(key, near)}{new};"
            f" `sed-{'evaluate' if 'evaluate' in Path(sys.argv[0]).name else 'train'} --cfg job` shows all keys"
        )
    option = re.search(r"Could not find '([^']+)/([^'/]+)'", str(error))
    if option:
        group, name = option.groups()
        known = sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))
        return f"{group}={name} is unknown{_nearest(name, known)}; known: {', '.join(known)}"
    group_missing = re.search(r"Could not override '?([\w/]+)'?\. ?No match in the defaults list", str(error))
    if group_missing:
        known = sorted(path.name for path in conf_folder().iterdir() if path.is_dir())
        return f"unknown group {group_missing.group(1)!r}; known groups: {', '.join(known)}"
    return " ".join(str(error.__cause__ or error).split())


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


def _known_keys(config_name: str) -> list[str]:
    """The keys of the configuration that the command line names, or of ``config_name``."""
    from hydra import compose, initialize_config_dir
    from hydra._internal.utils import get_args_parser
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    given, _ = get_args_parser().parse_known_args()
    name = given.config_name or config_name
    choices = [word for word in given.overrides if re.fullmatch(r"[\w/]+=[\w\[\],]+", word)]
    for folder in (given.config_dir, str(conf_folder())):
        for overrides in (choices, []) if folder else ():
            try:
                with initialize_config_dir(str(Path(folder).absolute()), version_base="1.3"):
                    return list(_keys(OmegaConf.to_container(compose(name, overrides=overrides), resolve=False)))
            except (HydraException, OmegaConfBaseException):
                continue
    return []


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}"
        yield from _keys(value, f"{prefix}{key}.")
