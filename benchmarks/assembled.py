"""A method as a primary configuration describes it, for made-up classes and clips; no data is read."""

from __future__ import annotations

from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sed_lab.app import conf_folder
from sed_lab.run.assemble import Assembly, Facts, assemble

TEN_CLASSES = Facts(tuple(f"class {number}" for number in range(10)), clip_seconds=10.0)


def assembly_of(primary: str, *overrides: str, facts: Facts = TEN_CLASSES) -> Assembly:
    """The method with its front end and its network at their first weights, and its grid of frames."""
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose(primary, overrides=list(overrides))
    groups = ("feature", "model", "loss", "method", "decoder")
    return assemble({group: OmegaConf.to_container(cfg[group]) for group in groups}, facts, seed=0)


def method_of(primary: str, *overrides: str) -> Any:
    """The method alone, for ten classes and clips of ten seconds."""
    return assembly_of(primary, *overrides).method
