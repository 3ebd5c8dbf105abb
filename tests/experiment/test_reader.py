"""Experiment files: ours are well-formed and compose, and what is wrong in one is said with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sed_lab.errors import InputError
from sed_lab.experiment.reader import read_experiment
from sed_lab.experiment.spec import Experiment
from sed_lab.plan import check_columns, distinct, expand, experiment_files, placing_words
from sed_lab.reproduce import reproduce

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
GOOD = """\
paper: p
item: t
title: T
place: table 1
base: [trainer=smoke]
scales:
  smoke: {config: park2022, seeds: [0, 1]}
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


FILES = experiment_files(EXPERIMENTS)
NAMES = [f"{path.parent.name}/{path.stem}" for path in FILES]
LARGE = 20  # rows; each takes a tenth of a second to compose, at every scale


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_experiment_composes_at_its_first_and_last_scale(path: Path) -> None:
    experiment = read_experiment(path)
    scales = [*experiment.scales]
    composes(experiment, scales[:1] if len(experiment.rows) > LARGE else [*{scales[0], scales[-1]}])


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_experiment_composes_at_every_scale(path: Path) -> None:
    experiment = read_experiment(path)
    composes(experiment, [*experiment.scales])


def composes(experiment: Experiment, scales: list[str]) -> None:
    assert experiment.name == f"{experiment.path.parent.name}/{experiment.path.stem}"
    for scale in scales:
        own = experiment.scale(scale).config != "config"
        assert own or experiment.paper == "default", "a paper names its own: the default may change"
        jobs = expand(experiment.at(scale), scale)
        own = [row for row in experiment.at(scale).rows.values() if not row.mean_of]
        assert len(jobs) == len(own) * len(experiment.scale(scale).every)
        shown = {(job.folder, experiment.rows[job.row].system) for job in jobs}
        assert len(shown) == sum(not row.same_run for row in own) * len(experiment.scale(scale).every)
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
        ("better: b, than: a", "most: b, than: a, more_than: 1", r"t\.yaml:14: unknown key 'more_than'"),
        ("better: b, than: a", "ratio: b, to: a, value: 1, within: 0.1", r"t\.yaml:14: unknown key 'ratio'"),
        ("better: b, than: a", "ours: 1, better: b, than: a", r"t\.yaml:14: claims\.0\.ours is 1"),
        (
            "better: b, than: a",
            "follows: c, rather_than: d, way: sideways, of: b, to: a",
            r"t\.yaml:14: claim 1: way must be up or down, not 'sideways'",
        ),
        ("better: b, than: a", "follows: c, rather_than: d, of: b, to: a", r"t\.yaml:14: claim 1 needs 'way'"),
        ("better: b, than: a", "trades: b, than: a, against: f2", r"t\.yaml:14: claim 1 names column 'f2'"),
        (
            "metric: student/event_f1/macro",
            "metric: student/event_f1_optimistic/macro",
            r"t\.yaml:9: the label of 'student/event_f1_optimistic/macro' must say 'optimistic'",
        ),
        (
            "metric: student/event_f1/macro",
            "metric: student/event_f1_optimistic/macro, label: optimistic",
            r"t\.yaml:14: claim 1 is judged by an optimistic number; take the tuned one",
        ),
        ("better: b, than: a", "above: b, value: 1, among: [a]", r"t\.yaml:14: unknown key 'among'"),
        (
            "better: b, than: a, column: f1",
            "most: b, than: a, column: f1",
            r"t\.yaml:14: .*column 'f1'",
        ),
        ("overrides: [loss=bce]", "scales: [tiny], overrides: []", r"t\.yaml:11: no scale 'tiny'; known: smoke"),
        ("seeds: [0, 1]", "seeds: [a]", r"t\.yaml:7: scales\.smoke\.seeds\.0 must be a number, not 'a'"),
        (
            "seeds: [0, 1]",
            "minutes: long, seeds: [0]",
            r"t\.yaml:7: .*minutes must be a number, not 'long'",
        ),
        ("  smoke: {config: park2022, seeds: [0, 1]}", "  {}", r"t\.yaml:6: scales is empty; name at least one"),
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
        ("loss=tbfl", "loss=bce", r"t\.yaml:12: row 'b': row 'b' is the same run as row 'a'; .* same_run: true"),
        ("b: {", "b: {same_run: true, ", r"t\.yaml:12: .* row 'b' says same_run, and no row before it is that run"),
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


@pytest.mark.parametrize(
    "words", [["logger=[csv,wandb]", "logger.wandb.project=x"], ["batch.workers=3"], ["paths.runs=r"]]
)
def test_words_that_change_no_result_reach_the_runs(tmp_path: Path, words: list[str]) -> None:
    experiment = read_experiment(written(tmp_path, GOOD)).at("smoke")
    plain = expand(experiment, "smoke")
    placed = expand(experiment, "smoke", None, placing_words(words, [experiment], "smoke"))
    assert [job.folder.name for job in placed] == [job.folder.name for job in plain]
    assert all(
        job.arguments == (*old.arguments[:-1], *words, old.arguments[-1])
        for job, old in zip(placed, plain, strict=True)
    )
    assert placed[0].folder.parent == Path("r" if words == ["paths.runs=r"] else plain[0].folder.parent)


def test_another_device_takes_nothing_of_another_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    text = GOOD.replace("seeds: [0, 1]", "seeds: [0, 1], minutes: 7, hardware: a GPU")
    written(tmp_path, text.replace("base: [trainer=smoke]", "base: [trainer=gpu, trainer.max_epochs=7]"))
    experiment = read_experiment(tmp_path / "p/t.yaml").at("smoke")
    words = placing_words(["trainer=cpu"], [experiment], "smoke")
    assert set(words) >= {"trainer.accelerator=cpu", "trainer.devices=1"}
    assert not any("epoch" in word or "precision" in word for word in words)
    (plain, *_), (placed, *_) = expand(experiment, "smoke"), expand(experiment, "smoke", None, words)
    assert plain.folder == placed.folder
    assert [(job.gpus, job.minutes) for job in (plain, placed)] == [(1, 7.0), (0, None)]
    given = ["p/t", "--scale", "smoke", "--folder", str(tmp_path)]
    with pytest.raises(InputError, match="runs need 1 GPU each, and this machine offers 0; launcher=submitit"):
        reproduce(given)
    assert reproduce([*given, "--dry-run"]) == 0
    assert "about 28 min with 1 side by side (7 min a run on a GPU)" in capsys.readouterr().out
    assert reproduce([*given, "--dry-run", "trainer=cpu"]) == 0
    assert capsys.readouterr().out.endswith("p/t: 4 of 4 runs to do\n")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("loss=focal", r"t\.yaml:11: row 'a': loss=focal makes another run of it: .*sed-train all others"),
        ("trainer.max_epochs=1000", r"row 'a': trainer\.max_epochs=1000 makes another run"),
        ("trainer=ddp_cpu", r"row 'a': trainer\.devices=2 makes another run"),  # batches are normalised in halves
        ("seed=3", r"seed=3: a table has seeds of its own; --seeds N takes 0 to N - 1"),
        ("trainer=cup", r"trainer=cup is unknown, did you mean 'cpu'"),
        ("trainer.divices=1", r"unknown key 'trainer\.divices' .* `sed-train --cfg job` shows all keys"),
    ],
)
def test_words_that_change_a_result_or_are_unknown_are_refused(tmp_path: Path, word: str, message: str) -> None:
    written(tmp_path, GOOD)
    with pytest.raises(InputError, match=message):
        reproduce(["p/t", "--scale", "smoke", "--folder", str(tmp_path), "--dry-run", "batch.workers=0", word])


def test_folders_that_are_missing_are_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SED_LAB_DESED", str(tmp_path / "nowhere"))
    text = GOOD.replace(
        "base: [trainer=smoke]", "base: [dataset=desed, 'dataset.folder=${oc.env:SED_LAB_DESED,desed}']"
    )
    written(tmp_path, text).with_name("u.yaml").write_text(text.replace("item: t", "item: u"))
    line = f"SED_LAB_DESED: there is no folder {tmp_path}/nowhere, which is to hold the data of desed for p/t, p/u"
    given = ["p", "--scale", "smoke", "--folder", str(tmp_path)]
    assert reproduce([*given, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"missing: {line}\n")
    assert "p/t: 4 of 4 runs to do\n" in out
    assert out.endswith("in all: 4 of 4 distinct runs to do; what 4 of them take is not known\n")
    with pytest.raises(InputError, match=rf"^{line}; docs/data.md says what these folders hold$"):
        reproduce(given)
    (tmp_path / "nowhere").mkdir()
    assert reproduce([*given, "--dry-run"]) == 0
    assert "missing" not in capsys.readouterr().out


def test_a_run_of_two_tables_is_counted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD.replace("seeds: [0, 1]", "seeds: [0, 1], steps: 3000, step_seconds: 0.2, hardware: one core")
    path = written(tmp_path, text)
    path.with_name("u.yaml").write_text(text.replace("item: t", "item: u").replace("loss=tbfl", "loss=focal"))
    assert reproduce(["--scale", "smoke", "--folder", str(tmp_path), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.count("p/t: 4 of 4 runs to do") == out.count("p/u: 4 of 4 runs to do") == 1
    assert "(10 min a run on one core: 3,000 steps of 0.2 s, an estimate)" in out
    assert "in all: 6 of 6 distinct runs to do, 60 min of runs, about" in out


def test_estimates_of_a_paper_are_of_one_speed() -> None:
    """Where nothing was measured, steps of the same network take the same time at every scale."""
    for path in EXPERIMENTS.glob("*/scale.yaml"):
        scales = yaml.safe_load(path.read_text())["scales"]
        if path.parent.name == "default":  # which is for small machines alone
            continue
        assert len({scales[name]["step_seconds"] for name in ("medium", "full")}) == 1, path
        assert all("minutes" not in scales[name] and scales[name]["steps"] for name in ("medium", "full")), path


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


SHARED = """\
base: [trainer=smoke]
settings:
  tbfl: {smoke: [loss=tbfl, loss.k=7], mini: [loss=tbfl]}
scales:
  smoke: {seeds: [0, 1], overrides: [seed=0], minutes: 2, hardware: one core}
  mini: {seeds: [0, 1, 2], overrides: [trainer.max_epochs=3], minutes: 5}
"""
TABLE = """\
title: T
place: table 1
base: [report.page=false]
scales:
  mini: {seeds: [4], overrides: [report.figures=false]}
columns:
  f1: {metric: student/event_f1/macro}
rows:
  a: {overrides: [loss=bce]}
  b: {use: [tbfl], at: {smoke: [loss.k=9]}}
"""


def both(folder: Path, table: str = TABLE, shared: str = SHARED) -> Path:
    path = written(folder, table)
    path.with_name("scale.yaml").write_text(shared, encoding="utf-8")
    return path


def test_what_tables_share_is_joined_with_the_table(tmp_path: Path) -> None:
    experiment = read_experiment(both(tmp_path))
    assert (experiment.name, experiment.base) == ("p/t", ("trainer=smoke", "report.page=false"))
    smoke, mini = experiment.scale("smoke"), experiment.scale("mini")
    assert (smoke.seeds, smoke.overrides, smoke.minutes, smoke.hardware) == ((0, 1), ("seed=0",), 2, "one core")
    assert (mini.seeds, mini.minutes) == ((4,), 5)
    assert mini.overrides == ("trainer.max_epochs=3", "report.figures=false")
    assert experiment.at("smoke").rows["b"].overrides == ("loss=tbfl", "loss.k=7", "loss.k=9")
    assert experiment.at("mini").rows["b"].overrides == ("loss=tbfl",)
    assert [path.name for path in experiment_files(tmp_path)] == ["t.yaml"]


def test_a_table_may_use_a_setting_have_fewer_sizes_or_stand_alone(tmp_path: Path) -> None:
    path = both(tmp_path, TABLE + "use: [tbfl]\nonly: [smoke]\n")
    experiment = read_experiment(path)
    assert list(experiment.scales) == ["smoke"]
    assert experiment.scale("smoke").overrides == ("seed=0", "loss=tbfl", "loss.k=7")
    path.write_text(TABLE.replace("use: [tbfl]", "overrides: []") + "alone: true\n")
    experiment = read_experiment(path)
    assert (experiment.base, list(experiment.scales)) == (("report.page=false",), ["mini"])


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("scale", "seeds: [0, 1], ", "", r"scale\.yaml:5: scales\.smoke needs 'seeds'"),
        (
            "scale",
            "minutes: 5",
            "minits: 5",
            r"scale\.yaml:6: unknown key 'minits', did you mean 'minutes'\?; known: ",
        ),
        ("scale", "settings:", "rows: {a: {}}\nsettings:\nx:", r"scale\.yaml:4: unknown key 'x'; known: alone, base"),
        (
            "scale",
            "base: [trainer=smoke]",
            "base: trainer=smoke\nbase: []",
            r"scale\.yaml:2: base stands here a second",
        ),
        ("t", "use: [tbfl]", "use: [tbfll]", r"t\.yaml:10: no setting 'tbfll'; known: tbfl"),
        ("t", "title: T", "papper: p", r"t\.yaml:1: unknown key 'papper', did you mean 'paper'\?; known: "),
        ("t", "seeds: [4]", "seeds: 4", r"t\.yaml:5: scales\.mini\.seeds must be a list"),
        ("t", "{overrides: [loss=bce]}", "3", r"t\.yaml:9: rows\.a must be a mapping"),
        ("t", "place: table 1", "place: table 1\nonly: [tiny]", r"t\.yaml:3: no scale 'tiny'; known: smoke, mini"),
        ("t", "place: table 1", "place: [1]", r"t\.yaml:2: place is \[1\]: input should be a valid string"),
        ("t", "place: table 1", "place: 1\nfigure: {kind: points, column: [f1]}", r"t\.yaml:3: figure\.column is"),
        ("t", "place: table 1", "place: 1\nrelative: {of: a, to: b, columns: 3}", r"relative\.columns must be a list"),
    ],
)
def test_what_is_wrong_in_either_file_is_said_of_that_file(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    texts = {"scale": SHARED, "t": TABLE}
    texts[file] = texts[file].replace(old, new, 1)
    with pytest.raises(InputError, match=message):
        read_experiment(both(tmp_path, texts["t"], texts["scale"]))


GRID = """\
title: T
place: table 1
scales:
  smoke: {seeds: [0]}
  mini: {seeds: [0]}
columns:
  f1: {metric: "{system}/event_f1/macro"}
grid:
  loss:
    bce: {label: BCE, overrides: [loss=bce]}
    tbfl: {label: TBFL, overrides: [loss=tbfl], at: {mini: [loss.k=7]}}
  system:
    s: {label: student, system: student}
    t: {system: teacher, scales: [mini]}
rows:
  tbfl_s: {paper: {f1: 0.5}, note: a misprint}
  mean: {label: mean, mean_of: [bce_*, tbfl_s]}
"""


def test_rows_of_a_grid_are_every_combination(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path, GRID))
    rows = experiment.rows
    assert list(rows) == ["bce_s", "bce_t", "tbfl_s", "tbfl_t", "mean"]
    assert [row.label for row in rows.values()] == ["BCE, student", "BCE", "TBFL, student", "TBFL", "mean"]
    assert [row.system for row in rows.values()] == ["student", "teacher", "student", "teacher", ""]
    assert (rows["tbfl_s"].paper, rows["tbfl_s"].note) == ({"f1": (0.5, None)}, "a misprint")
    assert rows["mean"].mean_of == ("bce_s", "bce_t", "tbfl_s")
    assert list(experiment.at("smoke").rows) == ["bce_s", "tbfl_s", "mean"]
    assert experiment.at("smoke").rows["mean"].mean_of == ("bce_s", "tbfl_s")
    assert experiment.at("mini").rows["tbfl_t"].overrides == ("loss=tbfl", "loss.k=7")
    assert len(expand(experiment.at("mini"), "mini")) == 4
    path = tmp_path / "p/t.yaml"
    path.write_text(GRID.replace("  tbfl_s: {paper", "  tbfl_x: {paper"))
    with pytest.raises(InputError, match=r"t\.yaml:16: rows\.tbfl_x needs 'overrides'"):
        read_experiment(path)
    path.write_text(GRID.replace("[bce_*, tbfl_s]", "[bce_*, x_*]"))
    with pytest.raises(InputError, match=r"t\.yaml:17: row 'mean' is a mean of row 'x_\*'; known: bce_s, bce_t"):
        read_experiment(path)
