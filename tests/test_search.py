"""sed-search without training: what is tried, when a run is stopped, who was killed, what is refused."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir

from sed_lab import search
from sed_lab.errors import InputError
from sed_lab.files import conf_folder, write_json
from sed_lab.run.space import Axis, split, words_of
from sed_lab.search import Watch, read_plan, samples, validated

optuna = pytest.importorskip("optuna")
study_of = pytest.importorskip("sed_lab.run.study")


def test_words_with_several_values_are_what_is_tried() -> None:
    words = ["loss=bce,tbfl", "epochs=range(10,40,10)", "method.optimizer.lr=tag(log, interval(1e-4, 1e-2))",
             "model.dropout=interval(0, 0.5)", "model.gru_cells=int(interval(8, 64))", "trainer=smoke",
             "feature=glob(*small, exclude=standard*)", "validate_every=choice(1,2)",
             "batch.workers=range(0.5,2,0.5)"]  # fmt: skip
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        base, axes = split(words, {"decoder.threshold": "interval(0.2, 0.8)"})
    assert base == ["trainer=smoke"]
    small = sorted(path.stem for path in (conf_folder() / "feature").glob("*small.yaml") if path.stem[0] != "s")
    assert axes == {
        "decoder.threshold": Axis((), 0.2, 0.8),
        "loss": Axis(("bce", "tbfl")),
        "epochs": Axis((), 10, 30, 10),
        "method.optimizer.lr": Axis((), 1e-4, 1e-2, None, True),
        "model.dropout": Axis((), 0.0, 0.5),
        "model.gru_cells": Axis((), 8, 64, 1),
        "feature": Axis(tuple(small)),
        "validate_every": Axis(("1", "2")),
        "batch.workers": Axis(("0.5", "1.0", "1.5")),
    }
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask(
        {key: axis.distribution() for key, axis in axes.items()}
    )
    assert trial.params["epochs"] in (10, 20, 30)
    assert 1e-4 <= trial.params["method.optimizer.lr"] <= 1e-2
    assert isinstance(trial.params["model.gru_cells"], int)
    assert words_of({"a": 0.00123456789, "b": 3, "c": "bce"}) == ["a=0.00123457", "b=3", "c=bce"]
    assert samples({"a": Axis(("x", "y", "z")), "b": Axis((), 1, 4, 1)}) == [
        ["a=x", "b=1"],
        ["a=y", "b=4"],
        ["a=z", "b=4"],
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["loss=bce"], "nothing is to be tried"),
        (["seed=0,1"], "seed: trials that differ in it cannot be compared by their objective"),
        (["dataset.snr=0,1"], r"dataset\.snr: trials that differ"),
        (["loss=bce,tbf"], "loss=tbf is unknown, did you mean 'tbfl'"),
        (["model.dropout=interval(0,2)"], r"model\.dropout=2\.0: give a number"),
        (["model.dropout=interval(1,0)"], r"model\.dropout: interval\(1\.0, 0\.0\) is empty"),
        (["epochs=range(5,1)"], "the range is empty"),
        (["loss=bce,tbfl", "search.trails=3"], r"unknown key 'search\.trails'; did you mean 'search\.trials'"),
        (["loss=bce,tbfl", "search.trials=0"], r"search\.trials=0: give a whole number of at least 1"),
        (["loss=bce,tbfl", "search.study=a/b"], r"search\.study=a/b: give letters, digits"),
        (["loss=bce,tbfl", "search=tp"], "search=tp is unknown, did you mean 'tpe'"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(words: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_plan("config", None, words)


def test_losses_are_not_searched_by_the_loss_itself() -> None:
    with pytest.raises(InputError, match="loss: the objective is the loss itself"):
        read_plan("arora2019", None, ["loss=bce,weighted_bce"])


def a_study(tmp_path: Path, **changed: Any) -> Any:
    settings = {
        "study": "s",
        "sampler": "random",
        "seed": 0,
        "pruner": "median",
        "pruner_trials": 2,
        "pruner_epochs": 0,
    }
    return study_of.open_study(tmp_path / "study", {**settings, **changed}, ["trainer=smoke"], {"x": Axis((), 0, 1)})


def test_a_run_is_stopped_where_it_is_worse_than_others_were(tmp_path: Path) -> None:
    study, axes = a_study(tmp_path), {"x": Axis((), 0, 1).distribution()}
    for value in (0.5, 0.6, 0.7):
        trial = study.ask(axes)
        trial.report(value, 10)
        study.tell(trial, value)
    history, stop = tmp_path / "history.csv", threading.Event()
    watch = Watch(study.ask(axes), tmp_path, 20, stop)
    assert not watch.ends()  # before there is a history
    history.write_text("epoch,train/loss,val/objective\n8,1.0,\n9,0.9,0.65\n")
    assert validated(history) == [(10, 0.65)]
    assert not watch.ends()
    worse = Watch(study.ask(axes), tmp_path, 20, stop)
    history.write_text("epoch,train/loss,val/objective\n8,1.0,\n9,0.9,0.55\n")
    assert worse.ends()
    assert worse.pruned == "stopped after epoch 10: below the median of others there"
    assert not Watch(study.ask(axes), tmp_path, 10, stop).ends()  # it is trained, and only to be tested
    stop.set()
    assert watch.ends()  # with all others
    assert not watch.pruned


def test_trials_of_dead_processes_are_tried_again_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    study, axes = a_study(tmp_path), {"x": Axis((), 0, 1).distribution()}
    own, dead, elsewhere = (study.ask(axes) for _ in range(3))
    own.set_user_attr("by", study_of.me())
    dead.set_user_attr("by", f"{socket.gethostname()} {os.getpid()} 1")  # the number is another process's by now
    elsewhere.set_user_attr("by", "another-machine 1 1")
    assert study_of.give_up_killed(study) == 1
    assert [trial.number for trial in study_of.accounted(study)] == [own.number, elsewhere.number]
    assert study.ask(axes).params == dead.params
    assert study_of.give_up_killed(study) == 0


def test_another_search_under_the_same_name_is_refused(tmp_path: Path) -> None:
    a_study(tmp_path)
    with pytest.raises(InputError, match=r"study s in .* was begun with other words \(epochs=3, values of y\)"):
        study_of.open_study(
            tmp_path / "study", {"study": "s"}, ["trainer=smoke", "epochs=3"], {"x": Axis((), 0, 1), "y": Axis(("a",))}
        )
    assert a_study(tmp_path).user_attrs["asked"]["base"] == ["trainer=smoke"]  # the same one goes on


def test_a_run_that_is_complete_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its history is worse than others', and it must not be stopped for that: its record would be lost."""
    monkeypatch.setattr("sed_lab.run.sweep.run_process", lambda *_: pytest.fail("it was run"))
    monkeypatch.setenv("SED_LAB_RUNS", str(tmp_path))
    plan = read_plan("config", None, ["loss=bce,bce"])
    monkeypatch.setattr(search, "is_complete", lambda folder, cfg: True)
    monkeypatch.setattr(search, "read_record", lambda folder: {"objective": 0.25})
    study, loss = a_study(tmp_path), {"loss": Axis(("bce",)).distribution()}
    trial = study.ask(loss)
    search.run_trial(plan, study, trial)
    assert [(one.state.name, one.value) for one in study.trials] == [("COMPLETE", 0.25)]


def test_failed_trials_end_nothing_and_the_best_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SED_LAB_RUNS", str(tmp_path))

    def run(arguments: Any, folder: Path, number: int, gpus: int, ends: Any) -> tuple[float | None, str]:
        dropout = float(dict(word.split("=", 1) for word in arguments if "=" in word)["model.dropout"])
        if number == 2:
            return None, "out of memory"
        config = {"objective": None, "method": {"_target_": "m"}}
        write_json(folder / "run.json", {"seed": 0, "objective": dropout, "metrics": {}, "config": config})
        return dropout, ""

    monkeypatch.setattr("sed_lab.run.sweep.run_process", run)
    words = ["search.study=made", "search.trials=4", "search.workers=2", "model.dropout=interval(0,0.9)", "loss=bce"]
    assert search.search(words) == 0
    said = capsys.readouterr()
    assert "4 of 4 trials: 3 done, 0 stopped early, 1 failed" in said.out
    assert "trial 2 failed: out of memory" in said.err
    rows = (tmp_path / "search-made" / "trials.csv").read_text().splitlines()
    assert rows[0] == "trial,status,objective,model.dropout,epochs_validated,reason,folder"
    best = max(float(row.split(",")[2]) for row in rows[1:] if row.split(",")[1] == "done")
    (line,) = [line for line in said.out.splitlines() if line.startswith("best: ")]
    assert f"objective {best:.4f}" in line
    assert f"'model.dropout={best}'" in said.out  # the command that trains it
    assert {path.name for path in (tmp_path / "search-made").glob("*.png")} == {"history.png"}  # few for an importance
