"""The end of a sweep: which runs come first, by hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict

from sed_lab.files import conf_folder, write_json
from sed_lab.run import sweep
from sed_lab.run.answer import UNDEFINED, answer
from sed_lab.run.identity import register_resolvers
from sed_lab.run.ranking import grid_of, ranked, settings_of

TUNED = {"on": "validation", "system": "teacher", "systems": {"teacher": {}, "student": {}}}


def job(
    folder: Path, words: str, objective: float | None, f1: float = 0.5, status: str = "done", more: Any = None
) -> Any:
    seed = int(dict(word.split("=", 1) for word in words.split()).get("seed", 0))
    config = {"dataset": {"_target_": "a", "seed": seed, "clips": 9}, "objective": None, "method": {"_target_": "m"}}
    metrics = {"student/event_f1/macro": 0.9, "teacher/event_f1_class_tuned/macro": f1, "teacher/event_f1/macro": 0.1}
    record = {"seed": seed, "objective": objective, "metrics": metrics, "systems": ["student", "teacher"]}
    write_json(folder / "run.json", {**record, "detector": {"tuned": TUNED}, "config": {**config, **(more or {})}})
    return {"job": 0, "folder": str(folder), "status": status, "reason": "", "overrides": words.split()}


def test_settings_are_ranked_by_their_mean_over_seeds(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path / "a0", "trainer=smoke loss=a seed=0", 0.2, 0.30),
        job(tmp_path / "b0", "trainer=smoke loss=b seed=0", 0.3, 0.40),
        job(tmp_path / "c0", "trainer=smoke loss=c seed=0", 0.9),
        job(tmp_path / "a1", "trainer=smoke loss=a seed=1", 0.4, 0.32),
        job(tmp_path / "b1", "trainer=smoke loss=b seed=1", 0.5, 0.50),
        job(tmp_path / "c1", "trainer=smoke loss=c seed=1", 0.9, status="failed"),
    ]
    order, how = ranked(settings_of(jobs))
    assert how.startswith("ranked by the objective")
    head, lines = grid_of(order)
    assert head == ["run", "seeds", "objective", "event F1"]
    # means of 0.3, 0.5 and 0.2, 0.4; their deviation with n - 1 is sqrt(0.02); of the F1 sqrt(0.005) and sqrt(0.0002)
    assert lines == [
        ["loss=b", "0, 1", "0.400 ± 0.141", "0.450 ± 0.071"],
        ["loss=a", "0, 1", "0.300 ± 0.141", "0.310 ± 0.014"],
        ["loss=c (1 failed)", "0, 1", "0.900", "0.500"],  # a mean over fewer runs takes no rank
    ]


def test_runs_of_one_seed_have_their_folders_and_no_deviation(tmp_path: Path) -> None:
    jobs = [job(tmp_path / name, f"lr={name} trainer=smoke", value) for name, value in (("1", 0.1), ("2", 0.2))]
    head, lines = grid_of(ranked(settings_of(jobs))[0])
    assert (head, lines) == (
        ["run", "objective", "event F1", "folder"], [["lr=2", "0.200", "0.500", "2"], ["lr=1", "0.100", "0.500", "1"]]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        ({"objective": ["x/m/tagging_f1"]}, "objective"),
        ({"method": {"_target_": "n"}}, "method"),
        ({"dataset": {"_target_": "b", "seed": 0, "clips": 9}}, "dataset"),
        ({"metric": {"zero_score": False}}, "metric"),
    ],
)
def test_objectives_of_other_kinds_are_not_compared(other: dict[str, Any], kind: str, tmp_path: Path) -> None:
    jobs = [job(tmp_path / "a", "x=a", 0.2), job(tmp_path / "b", "x=b", 0.3, more=other)]
    order, how = ranked(settings_of(jobs))
    assert [one.words for one in order] == ["x=a", "x=b"]
    assert how == f"in the order of their jobs: with another {kind} objectives are not comparable"


def test_objectives_that_are_losses_are_compared_for_one_loss_only(tmp_path: Path) -> None:
    for value, expected in (
        (-0.2, "with another loss objectives are not comparable"),
        (0.2, "ranked by the objective"),
    ):
        jobs = [job(tmp_path / name, f"loss={name}", value, more={"loss": {"_target_": name}}) for name in "ab"]
        assert expected in ranked(settings_of(jobs))[1]
    jobs = [job(tmp_path / name, f"lr={name}", -0.2, more={"loss": {"_target_": "a"}}) for name in "ab"]
    assert "ranked by the objective" in ranked(settings_of(jobs))[1]


def test_without_validation_there_is_no_rank(tmp_path: Path) -> None:
    order, how = ranked(settings_of([job(tmp_path / name, f"x={name}", None) for name in "ab"]))
    assert ([one.words for one in order], how) == (["x=a", "x=b"], "nothing was validated")
    assert grid_of(order)[1][0] == ["x=a", UNDEFINED, "0.500", "a"]


def test_the_answer_is_that_of_the_decoder_that_detects_and_the_best_system_comes_first(tmp_path: Path) -> None:
    record = {
        "systems": ["student", "teacher"],
        "detector": {"tuned": {**TUNED, "systems": {"teacher": {}}}},
        "metrics": {
            "student/event_f1/macro": 0.2,
            "student/eer/macro": 0.1,
            "teacher/event_f1/macro": 0.3,
            "teacher/event_f1_class_tuned/macro": 0.4,
            "teacher/eer/macro": 0.2,
        },
    }
    expected = {"teacher": {"event F1": 0.4, "EER": 0.2}, "student": {"event F1": 0.2, "EER": 0.1}}
    assert (answer(record), [*answer(record)]) == (expected, ["teacher", "student"])
    assert answer({"status": "failed"}) == {}


def test_the_grid_is_that_of_hydra_whatever_form_its_values_have() -> None:
    losses = sorted(path.stem for path in (conf_folder() / "loss").glob("*bce*.yaml"))
    assert len(losses) > 1
    cases = {
        ("loss=bce,tbfl", "seed=0,1", "trainer=smoke"): [
            [f"loss={loss}", f"seed={seed}", "trainer=smoke"] for loss in ("bce", "tbfl") for seed in (0, 1)
        ],
        ("seed=range(0,3)",): [[f"seed={seed}"] for seed in range(3)],
        ("loss=glob(*bce*)",): [[f"loss={loss}"] for loss in losses],
        ("loss=choice(bce,focal)", "seed=4"): [["loss=bce", "seed=4"], ["loss=focal", "seed=4"]],
        ("trainer=smoke",): [["trainer=smoke"]],
    }
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("jobs", return_hydra_config=True)
        for words, expected in cases.items():
            config.hydra.overrides.task = [*words]
            assert sweep.grid(config) == expected
        config.hydra.overrides.task = ["seed=1"]
        with open_dict(config):
            config.hydra.sweeper.params = {"loss": "bce,focal"}  # as a file of the user's may say
        assert sweep.grid(config) == [["loss=bce", "seed=1"], ["loss=focal", "seed=1"]]
        config.hydra.sweeper._target_ = "hydra_plugins.other.Sweeper"
        assert sweep.grid(config) == []


def test_a_sweep_that_is_interrupted_says_what_it_came_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(sweep.SWEEP_VARIABLE, raising=False)
    monkeypatch.setattr(sweep, "grid", lambda config: [["loss=bce"], ["loss=tbfl"], ["loss=focal"]])
    monkeypatch.setenv(sweep.GROUP_VARIABLE, "mine")
    config = {"sweep": {"dir": str(tmp_path)}, "job": {"config_name": "config"}, "overrides": {"task": []}}
    sweep.SweepReport(show=True).on_multirun_start(OmegaConf.create({"hydra": config}))
    job(tmp_path / "a", "loss=bce", 0.2)
    sweep.note(tmp_path / "a", 0, "done")
    (tmp_path / "b").mkdir()
    sweep.note(tmp_path / "b", 1, "running")
    sweep.show_interrupted()
    assert os.environ[sweep.GROUP_VARIABLE] == "mine"
    said = capsys.readouterr()
    assert "loss=bce" in said.out
    assert "0.200" in said.out
    assert [line for line in said.err.splitlines() if line.startswith("job")] == [
        f"job 1 loss=tbfl missing: killed without a word ({tmp_path}/b/output.log)",
        "job 2 loss=focal missing: never started",
    ]
    assert "1 done, 0 failed, 2 missing" in said.err
    assert not [*tmp_path.glob(".sweep-*")]
    sweep.show_interrupted()  # outside a sweep there is nothing to say
    assert capsys.readouterr() == ("", "")
