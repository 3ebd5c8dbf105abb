"""The documents say what the descriptions say, and `--help` says it of each key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sed_lab.parameter.check import described, explained
from sed_lab.parameter.page import page
from sed_lab.parameter.run import BATCH, TRAIN
from tests.configured import CONF


def plain(name: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = OmegaConf.to_container(compose(name), resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_what_the_descriptions_make() -> None:
    assert (DOCS / "parameters.md").read_text(encoding="utf-8") == page(), "python -m sed_lab.parameter.page writes it"


def test_the_table_of_top_level_keys_names_what_is_described() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8").split("## Top-level keys")[1].split("\n## ")[0]
    named = {
        key for cell in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for key in re.findall(r"`([\w.]+)`", cell)
    }
    wanted = {*TRAIN, "rival_decoder", *(f"batch.{key}" for key in BATCH)} - {"batch", "paths"}
    assert named == wanted


def test_help_is_the_configuration_with_each_keys_meaning() -> None:
    config = plain("config")
    text = explained(config, "sed-train")
    assert OmegaConf.to_container(OmegaConf.create(text)) == config
    missing = [
        key
        for key, value, one in described(config, "sed-train")
        if not isinstance(value, dict) and f"  # {one.meaning}; {one.kind.words}\n" not in text
    ]
    assert not missing
    assert "  evaluation: 24  # clips that a device scores at once; a whole number of at least 1\n" in text
