"""Experiment files: ours are well-formed and compose, and what is wrong in one is said with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sed_lab.errors import InputError
from sed_lab.experiment.reader import read_experiment
from sed_lab.plan import check_columns, distinct, expand, experiment_files
from sed_lab.reproduce import reproduce

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
GOOD = """\
paper: p
item: t
title: T
place: table 1
base: [trainer=smoke]
scales:
  smoke: {seeds: [0, 1]}
columns:
  f1: {metric: student/event_f1/macro}
rows:
  a: {overrides: [loss=bce], paper: {f1: 0.5}}
  b: {overrides: [loss=tbfl], paper: {f1: [0.6, 0.1]}}
claims:
  - {id: 1, say: b beats a, better: b, than: a, column: f1}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "p" / "t.yaml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", experiment_files(EXPERIMENTS), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_experiment_composes_at_every_scale(path: Path) -> None:
    experiment = read_experiment(path)
    assert experiment.name == f"{path.parent.name}/{path.stem}"
    for scale in experiment.scales:
        jobs = expand(experiment.at(scale), scale)
        own = [row for row in experiment.at(scale).rows.values() if not row.mean_of]
        assert len(jobs) == len(own) * len(experiment.scale(scale).seeds)
        shown = {(job.folder, experiment.rows[job.row].system) for job in jobs}
        assert len(shown) == len(jobs)
        check_columns(experiment.at(scale), jobs)


def test_a_table_may_be_asked_for_with_more_runs_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    top = str(written(tmp_path, GOOD).parents[1])
    assert reproduce(["--folder", top, "--scale", "smoke", "--dry-run", "--seeds", "3"]) == 0
    assert "p/t: 6 of 6 runs to do" in capsys.readouterr().out
    with pytest.raises(InputError, match="--seeds 0: a table needs at least one run a row"):
        reproduce(["--folder", top, "--scale", "smoke", "--seeds", "0"])


def test_a_table_whose_folder_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    top = str(written(tmp_path, GOOD.replace("base:", "needs: sounds\nbase:")).parents[1])
    with pytest.raises(InputError, match=r"p/t reads the folder sounds, which is not here; link your recordings as"):
        reproduce(["p/t", "--folder", top, "--scale", "smoke", "--dry-run"])
    assert reproduce(["--folder", top, "--scale", "smoke", "--dry-run"]) == 0
    assert capsys.readouterr().out == "p/t left out: there is no folder sounds\n"
    (tmp_path / "sounds").mkdir()
    assert reproduce(["--folder", top, "--scale", "smoke", "--dry-run"]) == 0
    assert "p/t: 4 of 4 runs to do" in capsys.readouterr().out


def test_a_good_file_is_read(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path, GOOD))
    assert experiment.rows["a"].paper == {"f1": (0.5, None)}
    assert experiment.rows["b"].paper == {"f1": (0.6, 0.1)}
    (claim,) = experiment.claims
    assert (claim.kind, claim.rows, claim.columns) == ("better", ("b", "a"), ("f1",))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("than: a", "than: c", r"t\.yaml:14: claim 1 names row 'c'; known: a, b"),
        ("column: f1}", "column: f2}", r"t\.yaml:14: claim 1 names column 'f2'; known: f1"),
        ("  b: {", "  a: {", r"t\.yaml:12: rows\.a stands here a second time \(first on line 11\)"),
        ("title: T", "titel: T", r"t\.yaml:3: unknown key 'titel'"),
        ("title: T\n", "", r"the file needs 'title'"),
        ("seeds: [0, 1]", "seeds: [0, 0]", r"t\.yaml:7: seeds must be a list of different numbers"),
        ("better: b, than: a", "say: x", r"say stands here a second time"),
        ("better: b, than: a", "within: 0.1, row: b, best: a", r"t\.yaml:14: a claim is one of .*has best, within"),
        ("paper: {f1: 0.5}", "paper: {f1: high}", r"t\.yaml:11: a paper's number is a number, \[mean, sd\] or null"),
        ("paper: {f1: 0.5}", "paper: 3", r"t\.yaml:11: rows\.a\.paper must be a mapping"),
        ("[loss=bce]", "loss=bce", r"t\.yaml:11: rows\.a\.overrides must be a list of words"),
        ("rows:", "rows: [", r"not YAML"),
        ("event_f1/macro", "event_f1/makro", r"t\.yaml:9: no run writes a metric 'student/event_f1/makro'"),
        ("student/event_f1/macro", "'student/psds1/per_class/{class}'", r"t\.yaml:9: \{class\} stands for nothing"),
        ("than: a, column: f1}", "column: f1}", r"t\.yaml:14: claim 1 needs 'than'"),
        ("better: b, than: a", "above: b, value: high", r"t\.yaml:14: claim 1: value must be a number, not 'high'"),
        ("better: b, than: a", "above: b, value: 1, among: [a]", r"t\.yaml:14: unknown key 'among'"),
        (
            "better: b, than: a, column: f1",
            "most: b, than: a, column: f1, more_than: 1",
            r"t\.yaml:14: .*column 'f1'",
        ),
        ("overrides: [loss=bce]", "scales: [tiny], overrides: []", r"t\.yaml:11: no scale 'tiny'; known: smoke"),
        ("seeds: [0, 1]", "seeds: [a]", r"t\.yaml:7: scales\.smoke\.seeds\.0 must be a number, not 'a'"),
        (
            "seeds: [0, 1]",
            "minutes: long, seeds: [0]",
            r"t\.yaml:7: .*minutes must be a number, not 'long'",
        ),
        ("  smoke: {seeds: [0, 1]}", "  {}", r"t\.yaml:6: scales is empty; name at least one"),
        ("claims:", "figure: {kind: points}\nclaims:", r"t\.yaml:13: figure needs 'column'"),
        ("claims:", "figure: {kind: class_bars, column: f1}\nclaims:", r"t\.yaml:13: .* needs class-wise columns"),
        ("claims:", "figure: {kind: cake}\nclaims:", r"t\.yaml:13: no kind of figure 'cake'; known: points"),
        ("claims:", "figure: {kind: points, column: f2}\nclaims:", r"t\.yaml:13: the figure names column 'f2'"),
        ("claims:", "figure: {kind: relative}\nclaims:", r"t\.yaml:13: figure needs 'against'"),
        ("metric: student/event_f1/macro", "metric: '{system}/eer/macro'", r"t\.yaml:11: rows\.a needs 'system'"),
        (
            "claims:",
            "welch: 1\nclaims:",
            r"t\.yaml:13: welch is 1: input should be greater than or equal to 2",
        ),
        ("overrides: [loss=bce]", "at: {tiny: [a]}, overrides: []", r"t\.yaml:11: no scale 'tiny'; known: smoke"),
        ("overrides: [loss=bce]", "at: {mini: a}, overrides: []", r"t\.yaml:11: rows\.a\.at\.mini must be a list"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_experiment(written(tmp_path, GOOD.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("loss=tbfl", "loss.gama=1", r"t\.yaml:12: row 'b': unknown key 'loss\.gama'"),
        ("loss=tbfl", "loss=tbfll", r"t\.yaml:12: row 'b': loss=tbfll is unknown, did you mean 'tbfl'"),
        ("loss=tbfl", "loss=bce", r"t\.yaml:12: row 'b': row 'b' is the same run as row 'a'"),
        (
            "overrides: [loss=bce]",
            "system: teach, overrides: [loss=bce]",
            r"t\.yaml:11: row 'a' is of system 'teach'; the method has student, teacher",
        ),
        ("student/", "model/", r"t\.yaml:9: column 'f1' is of system 'model'; the method has student, teacher"),
        ("event_f1/macro", "logit/macro", r"t\.yaml:9: column 'f1' is of 'student/logit/macro', which neither the"),
        (
            "claims:",
            "figure: {draw: cake.cut}\nclaims:",
            r"t\.yaml: figure\.draw=cake\.cut: No module named 'cake'",
        ),
        ("claims:", "figure: {draw: cake}\nclaims:", r"t\.yaml: figure\.draw=cake: Empty module name; give a"),
        (
            "claims:",
            "figure: {draw: sed_lab.analysis.arora2019.sphere}\nclaims:",
            r"t\.yaml: figure\.draw=sed_lab\.analysis\.arora2019\.sphere: missing a required argument: 'iterations'",
        ),
        (
            "claims:",
            "figure: {draw: sed_lab.analysis.arora2019.cube}\nclaims:",
            r"t\.yaml: figure\.draw=.*has no attribute 'cube'; give a function's dotted name and what it takes",
        ),
        (
            "event_f1/macro",
            "event_f1/per_class/Cow/f1",
            r"t\.yaml:9: column 'f1' is of class 'Cow'; the dataset has",
        ),
    ],
)
def test_bad_overrides_are_refused_before_the_first_run(tmp_path: Path, old: str, new: str, message: str) -> None:
    written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        reproduce(["p/t", "--scale", "smoke", "--folder", str(tmp_path)])


@pytest.mark.parametrize(("text", "said"), [("", "must be a mapping"), ("- a", "must be a mapping"), ("a: 1", "'a'")])
def test_a_file_that_is_no_experiment(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=rf"t\.yaml:1: .*{said}"):
        read_experiment(written(tmp_path, text))


def test_unknown_experiments_and_scales_name_the_known_ones(tmp_path: Path) -> None:
    written(tmp_path, GOOD)
    with pytest.raises(InputError, match=r"no experiment 'p/x' in .*there are: p/t"):
        experiment_files(tmp_path, ["p/x"])
    with pytest.raises(InputError, match=r"no scale 'full'; it has smoke"):
        reproduce(["p/t", "--scale", "full", "--folder", str(tmp_path), "--dry-run"])


def test_dry_run_lists_runs_and_starts_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, GOOD)
    assert reproduce(["p/t", "--scale", "smoke", "--folder", str(tmp_path), "--dry-run"]) == 0
    assert "p/t: 4 of 4 runs to do" in capsys.readouterr().out


def test_a_row_of_other_scales_leaves_with_the_claims_that_need_it(tmp_path: Path) -> None:
    claims = """\
  - {id: 2, say: b is best, best: b, column: f1}
  - {id: 3, say: c beats a, better: c, than: a, column: f1}
"""
    text = GOOD.replace("claims:\n", "  c: {overrides: [loss=focal], scales: [mini]}\nclaims:\n") + claims
    experiment = read_experiment(written(tmp_path, text.replace("scales:\n", "scales:\n  mini: {seeds: [0]}\n", 1)))
    smoke, mini = experiment.at("smoke"), experiment.at("mini")
    assert (list(smoke.rows), list(mini.rows)) == (["a", "b"], ["a", "b", "c"])
    assert {claim.id: claim.rows for claim in smoke.claims} == {"1": ("b", "a"), "2": ("b", "a")}
    assert [claim.id for claim in mini.claims] == ["1", "2", "3"]


def test_rows_of_one_run_show_its_systems_and_add_overrides_at_a_scale(tmp_path: Path) -> None:
    text = GOOD.replace("student/event_f1/macro", "'{system}/event_f1/macro'")
    text = text.replace("overrides: [loss=bce]", "overrides: [], at: {smoke: [loss=bce]}, system: student")
    text = text.replace("overrides: [loss=tbfl]", "overrides: [], at: {smoke: [loss=bce]}, system: teacher")
    experiment = read_experiment(written(tmp_path, text)).at("smoke")
    assert {name: row.overrides for name, row in experiment.rows.items()} == {"a": ("loss=bce",), "b": ("loss=bce",)}
    jobs = expand(experiment, "smoke")
    assert len(jobs) == 4
    assert len(distinct(jobs)) == 2
    metrics = [row.metric(experiment.columns["f1"]) for row in experiment.rows.values()]
    assert metrics == ["student/event_f1/macro", "teacher/event_f1/macro"]
