"""Each described parameter takes what conf/ and experiments give it, and refuses every other kind of value in words."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sed_lab.errors import InputError
from sed_lab.parameter.check import TARGETS, check_config, described, shown
from sed_lab.parameter.kind import NAMES, SHARE, Kind, choice, either, named, number, or_null, pair, some_of, whole
from sed_lab.parameter.run import BATCH, GROUPS, METRIC, REPORT, ROOTS
from tests.test_conf import CONF, GIVEN, IS_LIST, OPTIONS

WRONG: list[Any] = [
    "abc",
    -3,
    1.5,
    True,
    [],
    None,
    {"a": -1},
    ["x", 1],
    float("inf"),
    float("nan"),
    "",
    0,
    [[1, 2]],
    {},
]
SPREAD = {"sed_lab.metric.measure.measure": METRIC, "sed_lab.clip.module.SedData": BATCH,
          "sed_lab.evaluate.report_run": REPORT}  # fmt: skip


@cache
def plain(name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = OmegaConf.to_container(compose(name, list(overrides)), resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


@pytest.mark.parametrize("target", sorted(GIVEN))
def test_what_is_described_are_the_keys_of_conf(target: str) -> None:
    taken = {"cache_features"} if target in SPREAD else set()  # the command takes it for itself
    assert set(SPREAD.get(target) or TARGETS[target]) - taken == set().union(*GIVEN[target].values()) - taken


@pytest.mark.parametrize(("root", "command"), [("config", "sed-train"), ("evaluate", "sed-evaluate")])
def test_every_key_of_the_root_is_described(root: str, command: str) -> None:
    assert plain(root).keys() - GROUPS == ROOTS[command].keys()


@pytest.mark.parametrize("name", sorted({path.stem for path in CONF.glob("*.yaml")} - {"jobs", "evaluate"}))
def test_primary_configurations_pass(name: str) -> None:
    check_config(plain(name), "sed-train")


@pytest.mark.slow
def test_every_option_passes() -> None:
    """Without composing each with all the others: an option stands by itself."""
    base = plain("config")
    for group, option in OPTIONS:
        if group not in IS_LIST or group == "hydra":
            continue
        own = plain(f"{group}/{option}")
        check_config({**base, **own}, "sed-train")


def test_every_wrong_value_of_every_key_is_refused_with_the_key_and_what_to_give() -> None:
    configs = [plain(name) for name in ("config", "park2022", "arora2019", "huang2021", "amiriparian2018", "aziz2020")]
    tried = 0
    for config in configs:
        for key, _, parameter in list(described(config, "sed-train")):
            for value in WRONG:
                if parameter.kind.fits(value):
                    continue
                tried += 1
                with pytest.raises(InputError) as caught:
                    check_config(changed(config, key, value), "sed-train")
                said = str(caught.value)
                assert key in said, said
                assert "\n" not in said, said
                assert len(said) < 400, said
                assert re.search(r"give |it has|did you mean", said), said
    assert tried > 3000


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    first, _, rest = key.partition(".")
    return {**config, first: changed(config[first], rest, value) if rest else value}


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (whole(1), [1, 10**9], [0, -1, 1.0, True, "1", None]),
        (whole(0, 9), [0, 9], [10]),
        (number(0), [0, 0.5, 3], [-1e-9, float("inf"), float("nan"), "0", False, [0]]),
        (number(above=0, below=1), [1e-9, 0.999], [0, 1]),
        (number(0, below=1), [0], [1]),
        (number(above=0, infinite=True), [float("inf")], [-float("inf"), float("nan")]),
        (SHARE, [0, 1, 0.5], [1.01, -0.01]),
        (choice("a", "b"), ["a"], ["c", "", None, ["a"], True]),
        (or_null(whole(1)), [None, 1], [0, "null"]),
        (some_of(whole(1), 1), [[1]], [[], [0], 1, "1", {"a": 1}]),
        (pair(whole(1), "two"), [[1, 2]], [[1], [1, 2, 3]]),
        (named(whole(0)), [{}, {"a": 0}], [{"a": -1}, [1]]),
        (either(SHARE, named(SHARE)), [0.5, {"a": 1}], [{"a": 2}, 2]),
        (NAMES, [[], ["a"]], ["a", [1], [""]]),
    ],
)  # fmt: skip
def test_kinds_tell_values_apart(kind: Kind, good: list[Any], bad: list[Any]) -> None:
    assert all(map(kind.fits, good))
    assert not any(map(kind.fits, bad)), [value for value in bad if kind.fits(value)]


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("batch.evaluation", 0, "batch.evaluation=0: give a whole number of at least 1 (clips that a device scores at"),
        ("batch", {"clips": {"weak": -1}}, "batch.clips.weak=-1: give a whole number of at least 0"),
        ("decoder.threshold", {"Dog": 2}, "decoder.threshold.Dog=2: give a number from 0 to 1"),
        ("method.augment", {"rol": True}, "unknown key 'method.augment.rol'; did you mean 'method.augment.roll'?"),
        ("dataset.snr", ["uniform", 3, 1], 'dataset.snr=["uniform", 3, 1]: give [const, v], [uniform, low, high]'),
        ("metric", 3, "metric=3: a group of settings is needed; give metric=OPTION"),
        ("logger", 3, "logger=3: it is a group of settings"),
        ("method.optimizer.lr", None, "method.optimizer.lr=null: give a number above 0 (learning rate)"),
        ("model", {"_target_": "sed_lab.model.crnn.CRNN", "poling": 1}, "did you mean 'model.pooling'?"),
    ],
)
def test_the_sentence_names_the_inner_key(key: str, value: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        check_config(changed(plain("config"), key, value), "sed-train")
    assert sentence in str(caught.value)


def test_classes_of_the_users_own_are_not_judged() -> None:
    own: dict[str, Any] = {"_target_": "my.Net", "size": -1, "part": {"_target_": "torch.optim.Adam", "lr": 1.0}}
    check_config(changed(plain("config"), "model", own), "sed-train")
    own["part"] = {"_target_": "torch.optim.Adam", "lr": 0}
    with pytest.raises(InputError, match=r"model\.part\.lr=0: give a number above 0"):
        check_config(changed(plain("config"), "model", own), "sed-train")


def test_long_values_are_cut() -> None:
    assert len(shown(["x" * 1000])) < 70
    assert [shown(None), shown("a\nb"), shown("")] == ["null", "a b", "''"]
