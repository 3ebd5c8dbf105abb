"""docs/debugging.md: each habit of Lightning's works, or is refused with what to do instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from sed_lab.errors import InputError
from sed_lab.files import conf_folder, read_json
from sed_lab.run.identity import config_hash, register_resolvers
from sed_lab.run.refuse import NOT_IN_TRAINER, refuse_run
from tests.test_layout import ROOT
from tests.test_smoke import DEFAULT, sed

PAGE = (ROOT / "docs/debugging.md").read_text(encoding="utf-8")
ROWS = {row.split("|")[1].strip(): row for row in PAGE.splitlines() if row.startswith("| `")}
WORKING = {  # what shows that it did something
    "+trainer.limit_train_batches=2": "",
    "+trainer.profiler=simple": "Profiler Report",
    "+trainer.detect_anomaly=true": "",
    "+trainer.gradient_clip_val=1": "",
    "+trainer.deterministic=true": "",
    "+trainer.max_steps=1": "",
    "+trainer.max_time=00:01:00:00": "",
}


def composed(*words: str) -> object:
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides=[*words])


def test_the_page_names_all_that_works_and_all_that_is_refused() -> None:
    for word in WORKING:
        assert f"`{word}`" in PAGE
    refused = {name for cell, row in ROWS.items() if "refused" in row for name in re.findall(r"`(\w+)`", cell)}
    assert refused == NOT_IN_TRAINER.keys() - {"default_root_dir", "num_sanity_val_steps"}


@pytest.mark.parametrize("name", sorted(NOT_IN_TRAINER))
def test_what_is_refused_says_what_to_do_instead(name: str) -> None:
    with pytest.raises(InputError, match=rf"trainer\.{name} .*; \S+"):
        refuse_run(composed(f"+trainer.{name}=1"), conf_folder(), {})  # type: ignore[arg-type]


def test_a_learning_rate_finder_is_refused() -> None:
    finder = "+callbacks.finder={_target_: pytorch_lightning.callbacks.LearningRateFinder}"
    with pytest.raises(InputError, match="sed-search tries rates"):
        refuse_run(composed(finder), conf_folder(), {})  # type: ignore[arg-type]


def test_what_only_watches_makes_no_other_run() -> None:
    key = config_hash(composed())  # type: ignore[arg-type]
    same = {word: config_hash(composed(word)) == key for word in WORKING}  # type: ignore[arg-type]
    assert [word for word, alike in same.items() if alike] == [
        "+trainer.profiler=simple",
        "+trainer.detect_anomaly=true",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("word", WORKING)
def test_what_works_does(word: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = str(tmp_path_factory.getbasetemp() / "debugging-cache")
    done = sed("train", *DEFAULT, word, "report.figures=false", cwd=tmp_path, SED_LAB_CACHE=cache)
    assert done.returncode == 0, done.stderr
    assert WORKING[word] in done.stdout + done.stderr
    (record,) = (read_json(path) for path in (tmp_path / "runs").glob("*/run.json"))
    assert record["status"] == "complete"
