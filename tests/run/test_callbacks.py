"""Callbacks of Lightning's: which make another run, and which have nothing to go by."""

from __future__ import annotations

from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from sed_lab.errors import InputError
from sed_lab.files import conf_folder
from sed_lab.run.identity import config_hash, identity, register_resolvers
from sed_lab.run.refuse import refuse_run


def composed(*words: str, name: str = "config") -> Any:
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose(name, overrides=list(words))


def test_what_changes_a_result_makes_another_run_and_what_watches_does_not() -> None:
    none, watched, stopped = (
        composed(*words)
        for words in ((), ("callbacks=[learning_rate]",), ("callbacks=[learning_rate,early_stopping]",))
    )
    assert "callbacks" not in identity(none)
    assert config_hash(none) == config_hash(watched)
    kept = identity(stopped)["callbacks"]
    assert [*kept] == ["early_stopping"]
    assert (kept["early_stopping"]["_target_"], kept["early_stopping"]["patience"]) == ("EarlyStopping", 3)
    assert config_hash(stopped) != config_hash(none)


@pytest.mark.parametrize(
    ("words", "name", "sentence"),
    [
        (
            ["callbacks=[early_stopping]", "objective=[]"],
            "config",
            r"with objective=\[\] nothing is validated that it",
        ),
        (
            ["callbacks=[early_stopping]"],
            "huang2021",
            "WeakSynthetic ends its training by a rule of its own",
        ),
        (
            ["callbacks=[learning_rate]", "logger=[]"],
            "config",
            "without a logger the learning rate goes nowhere",
        ),
        (
            ["callbacks=[early_stopping]", "callbacks.early_stopping.patience=0"],
            "config",
            "patience=0: give a",
        ),
        *(
            (["callbacks=[weight_averaging]"], name, "averages weights or trains in phases by itself; leave it out")
            for name in ("park2022", "huang2021", "arora2019", "amiriparian2018")
        ),
        (
            ["+callbacks.mine={_target_: pytorch_lightning.callbacks.EMAWeightAveraging}"],
            "config",
            "what it averages would not be what is tested; use",
        ),
        (
            ["+trainer.callbacks=[]"],
            "config",
            r"trainer\.callbacks is not for a run; callbacks are chosen",
        ),
        (["+trainer.accumulate_grad_batches=2"], "config", r"for a run; batch\.max_clips_per_device=N computes"),
    ],
)
def test_what_has_nothing_to_go_by_is_refused(words: list[str], name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        refuse_run(composed(*words, name=name), conf_folder(), {})
