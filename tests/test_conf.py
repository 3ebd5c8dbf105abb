"""Every YAML of conf/ fits the code it names, and every option of every group composes with the root config."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from sed_lab.run.fitting import OWN
from sed_lab.run.identity import NOT_IDENTITY_BATCH

TOP = Path(__file__).resolve().parents[1]
CONF = TOP / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
# Hydra's own words in a node; everything else is an argument of its _target_.
HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
ROOT = OmegaConf.load(CONF / "config.yaml")
# group -> True where config.yaml chooses a list of options, `logger: [csv]`
IS_LIST = {
    str(g).partition("@")[0]: OmegaConf.is_list(v)
    for entry in ROOT.defaults
    if OmegaConf.is_dict(entry)
    for g, v in entry.items()
}
OPTIONS = [
    (file.parent.relative_to(CONF).as_posix(), file.stem)
    for file in FILES
    if file.parent != CONF and file.relative_to(CONF).parts[0] != "hydra"
]


def nodes(value: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping of a plain config that has a _target_, with its dotted place."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield place or "top", value
        for key, item in value.items():
            yield from nodes(item, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from nodes(item, f"{place}[{index}]")


def plain(file: Path) -> Any:
    return OmegaConf.to_container(OmegaConf.load(file), resolve=False)


def binding_error(node: dict[str, Any]) -> str | None:
    """What is wrong with a node's target or keys, as one sentence; None when they fit.

    Arguments may be missing: train.py fills in what only the data can say, such as the number of classes.
    """
    try:
        target = get_object(node["_target_"])
    except Exception as error:
        return f"{node['_target_']} does not import: {' '.join(str(error).split())[:300]}"
    signature = inspect.signature(target)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if node["_target_"].startswith("sed_lab.") and inspect.Parameter.VAR_KEYWORD in kinds:
        return f"{node['_target_']} takes **kwargs, so a misspelt key would pass: name its arguments"
    ours = {"defaults"} | ({OWN} if node["_target_"] == "pytorch_lightning.Trainer" else set())
    arguments = {key: value for key, value in node.items() if key not in HYDRA_KEYS and key not in ours}
    try:
        signature.bind_partial(*node.get("_args_", []), **arguments)
    except TypeError as error:
        return f"{node['_target_']}: {error}; it takes {', '.join(signature.parameters)}"
    return None


def test_every_node_binds_to_its_target() -> None:
    errors = [
        f"conf/{file.relative_to(CONF)}, {place}: {error}"
        for file in FILES
        for place, node in nodes(plain(file))
        if (error := binding_error(node))
    ]
    assert not errors, "\n" + "\n".join(errors)


# Parts of the root config without a _target_ of their own: a command spreads them into this call.
SPREAD = {
    "metric": "sed_lab.metric.measure.measure",
    "batch": "sed_lab.clip.module.SedData",
    "report": "sed_lab.evaluate.report_run",
}
TAKEN = {"batch": {"cache_features"}}  # what the command takes for itself


def without(values: dict[str, Any], names: set[str]) -> dict[str, Any]:
    assert names <= values.keys()
    return {key: value for key, value in values.items() if key not in names}


@pytest.mark.parametrize("part", SPREAD)
def test_parts_without_target_bind_to_the_call_they_are_spread_into(part: str) -> None:
    files = sorted((CONF / part).glob("*.yaml"))
    parts = {file.name: plain(file) for file in files} or {"config.yaml": plain(CONF / "config.yaml")[part]}
    errors = [
        f"{file}: {error}"
        for file, values in parts.items()
        if (error := binding_error({"_target_": SPREAD[part], **without(values, TAKEN.get(part, set()))}))
    ]
    assert not errors, "\n".join(errors)


def given_to_targets() -> dict[str, dict[str, set[str]]]:
    """Which parameters each file gives to each class or function of sed_lab's: target -> ``group/option`` -> names."""
    given: dict[str, dict[str, set[str]]] = {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = {(group, option): compose(f"{group}/{option}") for group, option in OPTIONS}
    for (group, option), config in composed.items():
        plain_config = OmegaConf.to_container(config, resolve=False)
        found = list(nodes(plain_config))
        if group in SPREAD:
            found.append((group, {"_target_": SPREAD[group], **plain_config[group]}))  # type: ignore[call-overload, index]
        for _, node in found:
            if node["_target_"].startswith("sed_lab."):
                given.setdefault(node["_target_"], {})[f"{group}/{option}"] = set(node) - HYDRA_KEYS
    for part in set(SPREAD) - {group for group, _ in OPTIONS}:
        given[SPREAD[part]] = {"config": set(ROOT[part])}
    return given


GIVEN = given_to_targets()


@pytest.mark.parametrize("target", sorted(GIVEN))
def test_defaults_stand_in_yaml_or_in_the_signature_never_in_both(target: str) -> None:
    """Two places drift apart. What a file of conf/ gives has no default in the code, not in a parent's either."""
    found = get_object(target)
    makers = [base for base in found.__mro__ if "__init__" in vars(base)] if isinstance(found, type) else [found]
    defaults = {
        f"{name}={parameter.default!r} of {maker.__qualname__}": name
        for maker in makers
        if maker.__module__.startswith("sed_lab.")
        for name, parameter in inspect.signature(maker).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    in_yaml = set().union(*GIVEN[target].values())
    twice = [place for place, name in defaults.items() if name in in_yaml]
    assert not twice, f"conf/ gives them too, take the default away: {', '.join(twice)}"


@pytest.mark.parametrize("target", sorted(GIVEN))
def test_files_of_one_target_give_the_same_parameters(target: str) -> None:
    in_yaml = set().union(*GIVEN[target].values())
    lacking = {file: sorted(in_yaml - names) for file, names in GIVEN[target].items() if in_yaml - names}
    assert not lacking, f"a base file gives them all, the others start from it by their defaults list: {lacking}"


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "pathlib.Path"}, None),
        ({"_target_": "fractions.Fraction", "numerator": 1, "_partial_": True}, None),
        ({"_target_": "fractions.Fraction", "numeratr": 1}, "unexpected keyword argument 'numeratr'"),
        ({"_target_": "fractions.Frction"}, "does not import"),
    ],
)
def test_the_binding_check_finds_errors(node: dict[str, Any], message: str | None) -> None:
    error = binding_error(node)
    assert (error is None) if message is None else (error is not None and message in error)


def test_every_group_of_the_root_config_has_options() -> None:
    folders = {group for group, _ in OPTIONS} | {"hydra"}
    assert set(IS_LIST) <= folders, f"config.yaml names groups without a folder: {sorted(set(IS_LIST) - folders)}"


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=[f"{group}={option}" for group, option in OPTIONS])
def test_every_option_composes(group: str, option: str) -> None:
    choice = f"[{option}]" if IS_LIST.get(group) else option
    prefix = "" if group in IS_LIST else "+"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=[f"{prefix}{group}={choice}"])
    dangling = dangling_interpolations(config)
    assert not dangling, f"{group}={option}: nothing stands at {', '.join(dangling)}"


@pytest.mark.parametrize("name", sorted(file.stem for file in CONF.glob("*.yaml")))
def test_every_root_config_composes(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert not dangling_interpolations(compose(name))


def dangling_interpolations(config: DictConfig) -> list[str]:
    """The ``${a.b}`` of a composed config that name no node; resolvers (``${env:HOME}``) are left alone."""
    text = OmegaConf.to_yaml(config, resolve=False)
    names = set(re.findall(r"\$\{([A-Za-z_][\w.]*)\}", text))
    return sorted(name for name in names if not exists(config, name))


def exists(config: DictConfig, name: str) -> bool:
    """Whether a dotted name stands in the config, be its value null, ??? or an interpolation of its own."""
    *parents, last = name.split(".")
    node: Any = OmegaConf.select(config, ".".join(parents)) if parents else config
    return OmegaConf.is_dict(node) and last in OmegaConf.to_container(node, resolve=False)  # type: ignore[operator]


# Primary configurations build on config.yaml, and the default may change at any time.
PRIMARY = sorted(path.stem for path in CONF.glob("*.yaml") if "config" in (plain(path).get("defaults") or []))
COMMON = {"seed", "logger", "paths", "report", "rerun", "hydra"}  # of no paper: config.yaml gives them to all


def otherwise(value: Any) -> Any:
    """Another value in every place."""
    if isinstance(value, dict):
        return {key: otherwise(item) for key, item in value.items()}
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, (int, float)) else ["another"] if isinstance(value, list) else "another"


@pytest.fixture(scope="module")
def another_default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of conf/ whose root config chooses another option of each group and another value of each key."""
    folder = tmp_path_factory.mktemp("another") / "conf"
    shutil.copytree(CONF, folder)
    root = plain(CONF / "config.yaml")
    for key in root.keys() - COMMON - {"defaults", "batch"}:
        root[key] = otherwise(root[key])
    root["batch"] |= {key: otherwise(root["batch"][key]) for key in root["batch"].keys() - {*NOT_IDENTITY_BATCH}}
    for entry in (entry for entry in root["defaults"] if isinstance(entry, dict)):
        ((group, chosen),) = entry.items()
        if group not in COMMON:
            options = group.partition("@")[0]
            entry[group] = next(name for place, name in OPTIONS if place == options and name != chosen)
    OmegaConf.save(root, folder / "config.yaml")
    return folder


def composed(folder: Path, name: str) -> dict[str, Any]:
    with initialize_config_dir(str(folder), version_base="1.3"):
        return OmegaConf.to_container(compose(name), resolve=False)  # type: ignore[return-value]


@pytest.mark.parametrize("name", PRIMARY)
def test_a_primary_configuration_stays_the_same_whatever_the_default_is(name: str, another_default: Path) -> None:
    now, then = composed(CONF, name), composed(another_default, name)
    differing = sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))
    assert not differing, f"conf/{name}.yaml takes {', '.join(differing)} from config.yaml: state all of it there"


def test_the_other_default_differs_in_all_that_is_not_common(another_default: Path) -> None:
    now, then = composed(CONF, "config"), composed(another_default, "config")
    assert {key for key in now if now[key] != then[key]} == now.keys() - COMMON
    assert all(now["batch"]["clips"][name] != then["batch"]["clips"][name] for name in now["batch"]["clips"])
    assert {"amiriparian2018", "arora2019", "aziz2020", "dcase2021", "huang2021", "park2022"} <= set(PRIMARY)
