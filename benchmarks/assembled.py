"""A method as a primary configuration describes it, for ten classes and clips of ten seconds; no data is read."""

from __future__ import annotations

from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sed_lab.app import conf_folder
from sed_lab.run.assemble import Facts, assemble

CLASSES = tuple(f"class {number}" for number in range(10))


def method_of(primary: str, *overrides: str) -> Any:
    """The method with its front end and its network at their first weights."""
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose(primary, overrides=list(overrides))
    groups = ("feature", "model", "loss", "method", "decoder")
    config = {group: OmegaConf.to_container(cfg[group]) for group in groups}
    return assemble(config, Facts(CLASSES, clip_seconds=10.0), seed=0).method
