"""sed-reproduce --until decided: which rows get more runs, in which order, until when; with runs that only pretend."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sed_lab import reproduce as command
from sed_lab.errors import InputError
from sed_lab.experiment.reader import read_experiment
from sed_lab.files import read_json, write_json
from sed_lab.plan import Job, expand
from sed_lab.reproduce import reproduce
from sed_lab.run import jobs, sweep
from sed_lab.run.identity import run_name, run_names
from sed_lab.run.watch import Watched

FILE = """\
title: T
place: table 1
base: [trainer=smoke, "dataset.seed=${seed}"]
scales:
  smoke: {config: park2022, seeds: [0]}
  mini: {config: park2022, looks: [3, 6, 9], minutes: MINUTES, hardware: one core}
columns:
  f1: {metric: student/event_f1/macro}
rows:
  far: {overrides: [loss=bce]}
  base: {overrides: [loss=tbfl]}
  twin: {overrides: [loss=focal]}
  alone: {overrides: [loss=weighted_bce]}
claims:
  - {id: 1, say: far is better than base, better: far, than: base, column: f1}
  - {id: 2, say: twin is better than base, better: twin, than: base, column: f1}
"""
FACTS: dict[str, Any] = {
    "code": {"sed_lab": "0.1.0"},
    "versions": {"python": "3.11.7"},
    "hardware": {"processor": "p", "cores": 2, "threads": 1},
    "dataset": {"per_class": {}},
}
NOISE = (0.03, -0.01, -0.02, 0.02, 0.01, -0.03, 0.01, 0.02, -0.03)  # of a seed


def value(loss: str, seed: int) -> float:
    """BCE is better in every seed, focal is TBFL and some noise."""
    share = {"tbfl": 1.0, "bce": 1.2}.get(loss, -1.0)
    return {"bce": 0.8, "tbfl": 0.3, "focal": 0.3, "weighted_bce": 0.5}[loss] + share * NOISE[seed]


class Pretended:
    """Stands for the multirun: writes each job's record and remembers it; ``stop`` ends it in the middle."""

    def __init__(self, minutes: float = 2.0, stop: int | None = None, fail: str = "") -> None:
        self.ran: list[tuple[str, int]] = []
        self.minutes, self.stop, self.fail = minutes, stop, fail

    def __call__(self, waiting: list[Job], hydra: list[str], end: float | None = None) -> int:
        for job in (job for job in waiting if not job.complete):
            if self.stop is not None and len(self.ran) == self.stop:
                raise KeyboardInterrupt
            loss = re.search(r"loss=(\w+)", " ".join(job.arguments))
            assert loss is not None
            self.ran.append((f"{job.folder.parent.name}/{job.row}", job.seed))
            done = "failed" if job.row == self.fail else "complete"
            write_json(
                job.folder / "run.json",
                {
                    **FACTS,
                    "name": job.folder.name,
                    "status": done,
                    "reason": "no memory left",
                    "config_hash": job.folder.name.rpartition("-")[2],
                    "started": "2026-01-02T03:00:00+00:00",
                    "finished": f"2026-01-02T03:{int(self.minutes):02d}:00+00:00",
                    "metrics": {"student/event_f1/macro": value(loss[1], job.seed)},
                },
            )
            write_json(job.folder / "metrics.json", {"systems": {"student": {}}})
        return 0

    @property
    def seeds(self) -> dict[str, int]:
        """How many runs each row got."""
        return {row: sum(one == row for one, _ in self.ran) for row, _ in self.ran}


Lab = Callable[..., Path]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Experiment files of papers p, q..., with the minutes of their runs, in a folder that is worked in."""

    def made(papers: Mapping[str, float]) -> Path:
        for paper, minutes in papers.items():
            folder = tmp_path / "experiments" / paper
            folder.mkdir(parents=True)
            text = FILE.replace("MINUTES", str(minutes)).replace(
                "base: [", f"base: [trainer.max_epochs={3 + len(paper)}, "
            )
            (folder / "t.yaml").write_text(text)
        return tmp_path

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SED_LAB_RUNS", "runs")
    return made


def until(monkeypatch: pytest.MonkeyPatch, run: Pretended, *words: str) -> int:
    monkeypatch.setattr(command, "run_missing", run)
    return reproduce(["--until", "decided", *words])


def words_of(top: Path, paper: str = "p") -> dict[str, str]:
    table = json.loads((top / f"runs/tables/mini/{paper}/t/table.json").read_text())
    return {claim: one["word"] for claim, one in table["claims"].items()}


def test_only_rows_of_an_undecided_claim_get_more_seeds(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    top, run = lab({"p": 2.0}), Pretended()
    assert until(monkeypatch, run) == 0
    assert run.seeds == {"runs/far": 3, "runs/base": 9, "runs/twin": 9, "runs/alone": 3}
    assert len({*run.ran}) == len(run.ran)
    assert words_of(top) == {"1": "holds", "2": "undecided"}
    out = capsys.readouterr().out
    assert "p/t: look at 3 seeds, 12 runs, 24 min of runs" in out
    assert "at most 30 runs, 60 min of runs" in out  # of row alone, which no claim needs, three
    assert out.index("p/t, look at 3 seeds, all rows: 12 runs") < out.index("p/t, look at 6 seeds, claim 2: 6 runs")
    assert "1 of 2 claims decided; 1 are undecided and have no look left" in out
    text = (top / "runs/tables/mini/p/t/table.md").read_text()
    assert "- runs: 24 of 24 complete; seeds 0, 1, 2; 9 seeds of base, twin\n" in text
    assert re.search(r"- looks: at 3, 6, 9 seeds, two-sided level 0\.0\d+ at each; 3 taken\n", text)
    assert "far - base: +0.500" in text
    again = Pretended()
    assert until(monkeypatch, again) == 0
    assert again.ran == []
    assert words_of(top) == {"1": "holds", "2": "undecided"}


@pytest.mark.parametrize("stop", [7, 20])
def test_stopped_anywhere_and_called_again_it_ends_the_same(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    top, run, rest = lab({"p": 2.0}), Pretended(stop=stop), Pretended()
    with pytest.raises(KeyboardInterrupt):
        until(monkeypatch, run)
    assert until(monkeypatch, rest) == 0
    assert len(run.ran) == stop
    assert sorted(run.ran + rest.ran) == sorted({*run.ran, *rest.ran})  # no seed twice
    assert len(run.ran + rest.ran) == 24
    assert words_of(top) == {"1": "holds", "2": "undecided"}


def test_without_until_the_first_look_runs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    top, run = lab({"p": 2.0}), Pretended()
    monkeypatch.setattr(command, "run_missing", run)
    assert reproduce([]) == 0
    assert run.seeds == {"runs/far": 3, "runs/base": 3, "runs/twin": 3, "runs/alone": 3}
    assert reproduce(["--seeds", "4"]) == 0
    assert set(run.seeds.values()) == {4}
    text = (top / "runs/tables/mini/p/t/table.md").read_text()
    assert "- runs: 16 of 16 complete; seeds 0, 1, 2, 3\n" in text
    assert "far - base: +0.500 [+0.4" in text
    assert ", 3 |" in text  # the fourth seed is not looked at


def test_runs_are_watched_by_table_and_row_with_what_their_row_took(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab({"p": 2.0, "qq": 1.0})
    monkeypatch.delenv("WANDB_RUN_GROUP", raising=False)
    train, watched, groups = command.run_missing, [], []

    def run_shown(words: list[str], env: Any, runs: list[Watched], before: int, place: Path, end: float | None) -> int:
        assert [read_json(place / "jobs.json")[i]["folder"] for i in range(len(runs))] == [str(r.folder) for r in runs]
        watched.append((before, [(run.label, run.stated) for run in runs]))
        groups.append(env["WANDB_RUN_GROUP"])
        return 0

    monkeypatch.setattr(command, "run_shown", run_shown)
    assert reproduce(["p", "--seeds", "1"]) == 1
    monkeypatch.setattr(command, "run_missing", Pretended(minutes=7.0, fail="twin"))
    assert reproduce([]) == 1
    monkeypatch.setattr(command, "run_missing", train)
    assert reproduce(["--seeds", "4"]) == 1
    rows = ("far", "base", "twin", "alone")
    # Of 32 runs 18 are complete and took seven minutes each, not the file's. Those of twin failed: all four remain.
    lacking = {row: range(4) if row == "twin" else (3,) for row in rows}
    assert watched == [
        (0, [(f"{row} seed 0", 120.0) for row in rows]),
        (18, [(f"{table}/t {row} seed {seed}", (60.0 * minutes if row == "twin" else 420.0))
              for table, minutes in (("p", 2.0), ("qq", 1.0)) for row in rows for seed in lacking[row]]),
    ]  # fmt: skip
    assert groups == ["p/t", "p/t qq/t"]


def test_cheap_tables_come_first_and_then_cheap_claims(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab({"p": 2.0, "qq": 1.0})
    order: list[tuple[str, int]] = []

    class Ordered(Pretended):
        def __call__(self, waiting: list[Job], hydra: list[str], end: float | None = None) -> int:
            epochs = re.search(r"max_epochs=(\d)", " ".join(waiting[0].arguments))
            assert epochs is not None
            order.append(({"4": "p", "5": "qq"}[epochs[1]], len(waiting)))
            self.minutes = {"p": 2.0, "qq": 1.0}[order[-1][0]]
            return super().__call__(waiting, hydra, end)

    assert until(monkeypatch, Ordered()) == 0
    assert order == [("qq", 12), ("p", 12), ("qq", 6), ("qq", 6), ("p", 6), ("p", 6)]


def test_a_claim_in_reach_comes_before_a_cheaper_one_that_is_not(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    claim = "  - {id: 3, say: alone is better than base, better: alone, than: base, column: f1}\n"

    class Timed(Pretended):
        def __call__(self, waiting: list[Job], hydra: list[str], end: float | None = None) -> int:
            for job in waiting:
                self.minutes = 30 if job.row == "alone" else 2
                super().__call__([job], hydra, end)
            return 0

    file = lab({"p": 2.0}) / "experiments/p/t.yaml"
    file.write_text(file.read_text() + claim)
    assert until(monkeypatch, Timed()) == 0
    steps = re.findall(r"p/t, look at (\d) seeds, claim (\d): (\d) runs", capsys.readouterr().out)
    # At three seeds claim 3 (differences of .14, .22, .24) is nearly decided, claim 2 (-.06, .02, .04) far from it.
    assert steps == [("6", "3", "6"), ("6", "2", "3"), ("9", "2", "6")]


def test_no_run_starts_that_would_end_after_the_budget(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    top, run = lab({"p": 20.0}), Pretended(minutes=20)
    assert until(monkeypatch, run, "--minutes", "10") == 1  # nothing fits: the table is not complete
    assert run.ran == []
    assert "first looks lack 12 runs, 240 min of runs" in capsys.readouterr().out
    monkeypatch.setattr(command, "run_missing", run)
    assert reproduce([]) == 0  # now 20 minutes are known from records
    file = top / "experiments/p/t.yaml"
    file.write_text(file.read_text().replace("minutes: 20.0", "minutes: 1.0"))
    assert until(monkeypatch, run, "--minutes", "10") == 0
    assert set(run.seeds.values()) == {3}
    out = capsys.readouterr().out
    assert "1 of 2 claims decided; the next look at 1 undecided ones takes 6 runs, 120 min of runs" in out


def test_a_job_knows_when_it_is_too_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    monkeypatch.setattr(sweep, "run_process", lambda arguments, folder, number, gpus: ran.append(number))
    monkeypatch.setenv(sweep.SWEEP_VARIABLE, str(tmp_path))
    job = {"arguments": [], "folder": str(tmp_path / "a"), "gpus": 0}
    write_json(tmp_path / "jobs.txt", [{**job, "latest": 0.0}, {**job, "latest": 1e12}, {**job, "latest": None}])
    for number in range(3):
        jobs.task(type("Config", (), {"list": str(tmp_path / "jobs.txt"), "job": number})())  # type: ignore[arg-type]
    assert ran == [1, 2]
    assert read_json(tmp_path / "0.json")["status"] == sweep.LEFT


def test_a_run_that_fails_is_not_tried_again_in_the_same_call(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    top, run = lab({"p": 2.0}), Pretended()
    monkeypatch.setattr(command, "run_missing", run)
    assert reproduce([]) == 0
    broken = Pretended(fail="twin")
    assert until(monkeypatch, broken) == 1
    assert broken.seeds == {"runs/base": 3, "runs/twin": 3}
    text = (top / "runs/tables/mini/p/t/table.md").read_text()
    assert "| twin | 0.300 " in text  # of the first look, which is complete
    assert "missing: twin: seed 3, 4, 5: failed: no memory left" in " ".join(capsys.readouterr().out.split())
    assert words_of(top) == {"1": "holds", "2": "undecided"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", "5"], "--minutes goes with --until decided"),
        (["--until", "decided", "--minutes", "0"], "--minutes 0: give a number above 0"),
        (["--until", "decided", "--seeds", "5"], "drop one"),
        (["--until", "decided", "--scale", "smoke"], "no table asked for has looks at scale smoke"),
    ],
)
def test_what_does_not_go_together_is_refused(lab: Lab, words: list[str], message: str) -> None:
    lab({"p": 2.0})
    with pytest.raises(InputError, match=message):
        reproduce(words)


def test_a_dry_run_shows_the_plan_alone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    top, run = lab({"p": 2.0}), Pretended()
    assert until(monkeypatch, run, "--dry-run", "--minutes", "30") == 0
    assert run.ran == []
    assert not (top / "runs").exists()
    out = capsys.readouterr().out
    assert "p/t: look at 3 seeds, 12 runs, 24 min of runs" in out
    assert "; 30 min are given" in out


def test_numbers_of_smoke_runs_are_not_judged(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    top = lab({"p": 2.0})
    monkeypatch.setattr(command, "run_missing", Pretended())
    assert reproduce(["--scale", "smoke"]) == 0
    assert (
        "| 1. far is better than base | smoke: not judged |  |" in (top / "runs/tables/smoke/p/t/table.md").read_text()
    )
    assert (
        '<span class="verdict none">smoke: not judged</span>' in (top / "runs/tables/smoke/p/t/table.html").read_text()
    )


def test_names_of_many_seeds_are_those_of_each(lab: Lab) -> None:
    """Names made from two resolved configurations are those that sed-train gives each run."""
    from hydra import compose, initialize_config_dir

    from sed_lab.app import conf_folder

    top = lab({"p": 2.0})
    found = expand(read_experiment(top / "experiments/p/t.yaml").at("mini"), "mini")
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("park2022", overrides=["loss=bce"])
    for value in ("${seed}", 1):  # a seed that the data follow, and one of its own that equals one of the runs'
        cfg.dataset.seed = value
        names = run_names(cfg, (1, 4, 0), None)
        for seed, name in zip((1, 4, 0), names, strict=True):
            cfg.seed = seed
            assert run_name(cfg) == name
    assert len({job.folder for job in found}) == 36
