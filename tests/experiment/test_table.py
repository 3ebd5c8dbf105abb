"""Tables from records: means, differences, missing runs, verdicts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sed_lab.errors import InputError
from sed_lab.experiment.reader import read_experiment
from sed_lab.experiment.table import Cell, build_table, ratio_of
from sed_lab.files import read_json, write_json
from sed_lab.report.claim_text import claims_grid
from sed_lab.report.drawing import draw, write_figure
from sed_lab.report.table_text import grid, markdown, print_table, write_table

FILE = """\
paper: p
item: t
title: T
place: table 1
scales:
  mini: {seeds: [0, 1]}
columns:
  f1: {metric: student/event_f1/macro, label: F1}
  dog: {metric: student/event_f1/per_class/Dog/f1}
rows:
  a: {label: A, overrides: [], paper: {f1: 0.5}}
  b: {label: B, overrides: []}
claims:
  - {id: 1, say: A beats B, better: a, than: b, column: f1}
"""


CLASSWISE = """\
paper: p
item: c
title: T
place: fig. 1
classes: [Cat, Dog, Cow]
scales:
  mini: {seeds: [0, 1, 2]}
columns:
  volume: {label: V_c, metric: "dataset/per_class/{class}/V_c", digits: 0, shared: true}
  all: {label: all, metric: student/event_f1/macro, of: f1}
  f1: {label: F1, metric: "student/event_f1/per_class/{class}/f1"}
rows:
  bce: {label: BCE, overrides: []}
  tbfl: {label: TBFL, overrides: [], paper: {f1: {Dog: 0.5}}}
relative: {of: tbfl, to: bce, columns: [f1]}
claims:
  - {id: 1, say: most improve, most: tbfl, than: bce, column: f1}
  - {id: 2, say: Cat is comparable, near: tbfl, to: bce, column: f1/Cat, within: 0.5, ours: true}
  - {id: 3, say: Dog is high, above: tbfl, value: 0.3, column: f1/Dog}
  - {id: 4, say: Dog is low, below: tbfl, value: 0.3, column: f1/Dog}
"""
FACTS: dict[str, Any] = {
    "status": "complete",
    "finished": "2026-01-02T03:04:05+00:00",
    "code": {"sed_lab": "0.1.0", "commit": "0123456789", "changed": False},
    "versions": {"python": "3.11.7", "torch": "2.0"},
    "hardware": {"processor": "a processor", "cores": 2, "threads": 1, "gpus": []},
    "training_seconds": 60.0,
}


def record(folder: Path, f1: float | None, per_class: Any = None, **facts: Any) -> Path:
    status = {**FACTS, "metrics": {"student/event_f1/macro": f1}} if f1 is not None else {}
    dataset = {"dataset": {"name": "toy", "per_class": {"Cat": {"V_c": 10}, "Dog": {"V_c": 30}, "Cow": {"V_c": 20}}}}
    write_json(folder / "run.json", {**status, **dataset, **facts})
    rows = {label: {"f1": value} for label, value in (per_class or {"Dog": (f1 or 0) / 2}).items()}
    counts = {"edges": [-1.0, 0.0, 1.0], "per_class": {label: {"counts": [3, 1]} for label in ("Cat", "Dog", "Cow")}}
    system = {"event_f1": {"macro": f1, "per_class": rows}, "logits": {"weak_validation": counts}}
    write_json(folder / "metrics.json", {"systems": {"student": system}})
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, dict[int, Path]]:
    values = {"a": (0.6, 0.8), "b": (0.1, 0.32)}
    return {row: {seed: record(tmp_path / f"{row}{seed}", f1) for seed, f1 in enumerate(values[row])} for row in values}


def experiment(tmp_path: Path) -> Any:
    (tmp_path / "t.yaml").write_text(FILE)
    return read_experiment(tmp_path / "t.yaml")


@pytest.fixture
def classwise(tmp_path: Path) -> dict[str, dict[int, Path]]:
    """Cat doubles in every seed, Dog rises by about 0.1 once in three, Cow has no reference events."""
    values = {
        "bce": [{"Cat": 0.1, "Dog": 0.4}, {"Cat": 0.2, "Dog": 0.5}, {"Cat": 0.15, "Dog": 0.6}],
        "tbfl": [{"Cat": 0.2, "Dog": 0.5}, {"Cat": 0.4, "Dog": 0.5}, {"Cat": 0.3, "Dog": 0.5}],
    }
    return {
        row: {s: record(tmp_path / f"{row}{s}", 0.5, {**one, "Cow": None}) for s, one in enumerate(found)}
        for row, found in values.items()
    }


def test_cells_differences_and_verdict(tmp_path: Path, folders: dict[str, dict[int, Path]]) -> None:
    table = build_table(experiment(tmp_path), "mini", folders)
    text = markdown(table)
    assert "| A | 0.700 ± 0.141 | 0.500 | 0.350 ± 0.071 |" in text
    assert "| B | 0.210 ± 0.156 |  | 0.105 ± 0.078 |" in text
    assert "| 1. A beats B | holds | a - b: +0.490 [+0.363, +0.617], 2 |" in text
    write_table(table, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    assert [row["difference"] for row in rows] == [""] * 4
    assert [(row["row"], row["column"], row["runs"]) for row in rows[:2]] == [("a", "f1", "2"), ("a", "dog", "2")]
    assert json.loads((tmp_path / "out" / "table.json").read_text())["claims"]["1"]["word"] == "holds"


@pytest.mark.parametrize(
    ("scales", "scale", "theirs"),
    [
        ("mini: {seeds: [0, 1]}", "mini", False),
        ("full: {seeds: [0, 1]}", "full", True),
        ("mini: {seeds: [0, 1], papers_data: true}", "mini", True),
        ("full: {seeds: [0, 1], papers_data: false}", "full", False),
    ],
)
def test_the_papers_numbers_are_compared_on_its_data_alone(
    tmp_path: Path, folders: dict[str, dict[int, Path]], scales: str, scale: str, theirs: bool
) -> None:
    text = FILE.replace("mini: {seeds: [0, 1]}", scales)
    text += "  - {id: 2, say: A is as printed, within: 0.1, row: a, column: f1}\n"
    (tmp_path / "t.yaml").write_text(text)
    table = build_table(read_experiment(tmp_path / "t.yaml").at(scale), scale, folders)
    head, lines = grid(table)
    assert head[1:] == (["F1", "paper", "difference"] if theirs else ["F1", "paper (its own data)"]) + ["dog"]
    assert lines[0][2:-1] == (["0.500", "+0.200"] if theirs else ["0.500"])
    assert [*table.verdicts] == (["1", "2"] if theirs else ["1"])


def test_a_failed_run_leaves_its_cell_empty_with_the_reason(
    tmp_path: Path, folders: dict[str, dict[int, Path]]
) -> None:
    record(folders["a"][1], None, status="failed", reason="no memory left")
    (folders["b"][0] / "run.json").unlink()
    table = build_table(experiment(tmp_path), "mini", folders)
    text = markdown(table)
    assert "| A | (seed 1: failed: no memory left) | 0.500 |" in text
    assert "| B | (seed 0: not run) |" in text
    assert "0.600" not in text  # never an average over fewer
    assert table.verdicts["1"].word == "undecided"


def test_the_numbers_come_with_where_they_are_from(tmp_path: Path, folders: dict[str, dict[int, Path]]) -> None:
    record(folders["b"][1], 0.32, finished="2026-01-05T00:00:00+00:00", code={"sed_lab": "0.2.0"})
    text = markdown(build_table(experiment(tmp_path), "mini", folders))
    assert "- command: `sed-reproduce p/t --scale mini`" in text
    assert "- runs: 4 of 4 complete; seeds 0, 1" in text
    assert "- data: toy" in text
    assert "- date: 2026-01-02 to 2026-01-05" in text
    assert "- code: sed_lab 0.1.0 (0123456); sed_lab 0.2.0" in text
    assert "- versions: python 3.11.7, torch 2.0" in text
    assert "- hardware: a processor, 2 cores, 1 thread a run" in text


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ({"folder": "~/cache"}, "procedural, toy"),
        ({"folder": "~/cache", "bank_folder": "sounds/esc10"}, "toy, from the recordings in esc10"),
        ({"folder": "copies/desed"}, "toy"),
    ],
)
def test_a_table_names_its_data(
    tmp_path: Path, folders: dict[str, dict[int, Path]], dataset: dict[str, str], words: str
) -> None:
    for by_seed in folders.values():
        for folder in by_seed.values():
            record(folder, 0.5, config={"dataset": dataset, "paths": {"cache": "~/cache"}})
    assert f"\n- data: {words}\n" in markdown(build_table(experiment(tmp_path), "mini", folders))


def test_a_table_says_where_the_best_validation_lay(
    tmp_path: Path, folders: dict[str, dict[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "best epoch" not in markdown(build_table(experiment(tmp_path), "mini", folders))
    for row, seed, best in (("a", 0, 12), ("a", 1, 12), ("b", 0, 7), ("b", 1, 12)):
        record(folders[row][seed], 0.5, epochs=12, best_epoch=best, objective=0.1)
    table = build_table(experiment(tmp_path), "mini", folders)
    said = "best epoch 7 to 12 of 12, the last in 3 of 4 runs: still rising (A 2 of 2, B 1 of 2)"
    assert f"\n{said}\n" in markdown(table)
    print_table(table)
    assert said in " ".join(capsys.readouterr().out.split())
    for by_seed in folders.values():
        for folder in by_seed.values():
            record(folder, 0.5, epochs=12, best_epoch=9, objective=0.1)
    assert "\nbest epoch 9 of 12\n" in markdown(build_table(experiment(tmp_path), "mini", folders))
    record(folders["a"][0], 0.5, epochs=12, best_epoch=12, objective=None)  # nothing was validated
    assert "\nbest epoch 9 of 12\n" in markdown(build_table(experiment(tmp_path), "mini", folders))


def test_why_a_run_was_refused_stands_in_its_cell(tmp_path: Path, folders: dict[str, dict[int, Path]]) -> None:
    (folders["b"][0] / "run.json").unlink()
    (folders["b"][0] / "output.log").write_text("reading\nerror: the corpus is not there\nbye\n")
    assert "| B | (seed 0: not run; error: the corpus is not there) |" in markdown(
        build_table(experiment(tmp_path), "mini", folders)
    )


def test_a_class_wise_table_has_a_line_a_class(tmp_path: Path, classwise: dict[str, dict[int, Path]]) -> None:
    (tmp_path / "c.yaml").write_text(CLASSWISE)
    table = build_table(read_experiment(tmp_path / "c.yaml"), "mini", classwise)
    head, lines = grid(table)
    assert head == ["class", "V_c", "F1, BCE", "F1, TBFL", "paper (its own data)", "F1, TBFL / BCE"]
    assert lines[0] == ["all", "", "0.500 ± 0.000", "0.500 ± 0.000", "", "1.00 ± 0.00"]
    assert lines[1] == ["Cat", "10", "0.150 ± 0.050", "0.300 ± 0.100", "", "2.00 ± 0.00"]
    # Dog: differences from the mean ratio 1 are 0.1, 0, -0.1; their deviation 0.1 over the mean 0.5
    assert lines[2] == ["Dog", "30", "0.500 ± 0.100", "0.500 ± 0.000", "0.500", "1.00 ± 0.20"]
    assert lines[3] == ["Cow", "20", "\u2013", "\u2013", "", "\u2013"]
    assert table.missing == []  # a class without reference events is no missing run
    words = {claim: verdict.word for claim, verdict in table.verdicts.items()}
    # Cat's mean rises, Dog's is the same, Cow has none; Cat rises by .1, .2, .15; Dog is .5 in all three seeds
    assert words == {"1": "undecided", "2": "holds", "3": "undecided", "4": "undecided"}
    lines = claims_grid(table)[1]
    assert lines[0][2] == (
        "tbfl - bce: +0.075 [-0.033, +0.183], 3 (better in 1 of 1 classes, sign test p = 1.000); 3 seeds can show 0.108"
    )
    assert lines[1][0] == "2. Cat is comparable (our question, not the paper's)"
    assert lines[2][2].startswith("tbfl - 0.3: +0.200 [-0.083, +0.200], 3 (+0.200 in every seed, sign test p = 0.250)")
    assert lines[2][2].endswith("; margin 0.1; 3 more would decide")  # half of 0.5 - 0.3; six coins fall alike


def test_a_class_wise_column_may_have_two_totals(tmp_path: Path, classwise: dict[str, dict[int, Path]]) -> None:
    more = '  low: {label: "low", metric: student/event_f1/macro, of: f1, digits: 1}\n  f1: '
    (tmp_path / "c.yaml").write_text(CLASSWISE.replace("  f1: ", more, 1))
    _, lines = grid(build_table(read_experiment(tmp_path / "c.yaml"), "mini", classwise))
    assert [line[0] for line in lines] == ["all", "low", "Cat", "Dog", "Cow"]
    assert (lines[0][2], lines[1][2]) == ("0.500 ± 0.000", "0.5 ± 0.0")


def test_the_easiest_class_is_found_within_a_row(tmp_path: Path, classwise: dict[str, dict[int, Path]]) -> None:
    two = CLASSWISE.replace("[Cat, Dog, Cow]", "[Cat, Dog]")
    claims = "".join(
        f"  - {{id: {label}{row}, say: easy, easiest: {label}, row: {row}, column: f1}}\n"
        for label in ("Dog", "Cat")
        for row in ("bce", "tbfl")
    )
    (tmp_path / "c.yaml").write_text(two + claims)
    table = build_table(read_experiment(tmp_path / "c.yaml"), "mini", classwise)
    words = {claim: verdict.word for claim, verdict in table.verdicts.items()}
    assert (words["Dogbce"], words["Catbce"], words["Dogtbfl"]) == ("holds", "fails", "undecided")
    (comparison,) = table.verdicts["Dogbce"].comparisons  # paired: .3, .3, .45
    assert (comparison.of, comparison.against, comparison.seeds) == ("Dog", "Cat", 3)
    assert comparison.difference == pytest.approx(0.35)
    (tmp_path / "c.yaml").write_text(two + claims.replace("easiest: Dog", "easiest: Cow"))
    with pytest.raises(InputError, match=r"claim Dogbce names class 'Cow'; known: Cat, Dog"):
        read_experiment(tmp_path / "c.yaml")


def test_welchs_interval_and_the_published_t_stand_beside(tmp_path: Path, folders: dict[str, dict[int, Path]]) -> None:
    text = FILE.replace("claims:", "welch: 20\nclaims:")
    for row, paper in (("a", "[0.331, 0.0218]"), ("b", "[0.315, 0.020]")):
        lines = [line for line in text.splitlines() if line.startswith(f"  {row}: ")]
        (line,) = lines
        new = line.split(", paper:")[0].rstrip("}") + f", paper: {{f1: {paper}}}}}"
        text = text.replace(line, new)
    (tmp_path / "t.yaml").write_text(text)
    table = build_table(read_experiment(tmp_path / "t.yaml"), "mini", folders)
    _, ((_, word, why),) = claims_grid(table)
    assert why.startswith("a - b: +0.490 [+0.363, +0.617], 2; unpaired [-0.")
    assert why.endswith("; t from the published values 2.4")
    assert word == "holds"  # by the paired interval: the rows share their seeds


def test_pictures_from_what_runs_keep(tmp_path: Path, classwise: dict[str, dict[int, Path]]) -> None:
    rng = np.random.default_rng(0)
    arrays = {"embedding": rng.normal(size=(40, 4)), "event_label": np.arange(40) % 3, "synthetic": np.arange(40) > 19}
    one = {
        "clip_id": "mixture_7", "event_label": "Cat", "frame_hop": 0.5, "posterior": [0.1, 0.6, 0.9, 0.2],
        "threshold": 0.8, "onset_threshold": 0.5, "reference": [[0.5, 1.5]], "detected": [[0.5, 1.5]],
    }  # fmt: skip
    for by_seed in classwise.values():
        for folder in by_seed.values():
            (folder / "embeddings").mkdir()
            np.savez(folder / "embeddings/frames.npz", **arrays)  # type: ignore[arg-type]
            write_json(folder / "curves.json", {"student": {"example": one}})
            record = read_json(folder / "run.json")
            write_json(folder / "run.json", {**record, "detector": {"classes": ["Cat", "Dog", "Cow"]}})
    for function, words in (
        ("huang2021.frames", ("BCE", "Cow", "synthetic")),
        ("amiriparian2018.clip", ("mixture_7", "detected onset")),
    ):
        text = CLASSWISE.replace("overrides: []", "system: student, overrides: []")
        text += f"figure: {{draw: sed_lab.analysis.{function}}}\n"
        (tmp_path / "c.yaml").write_text(text)
        table = build_table(read_experiment(tmp_path / "c.yaml"), "mini", classwise)
        _, svg = write_figure(table, tmp_path / function)
        assert all(word in svg.read_text() for word in words)


def test_the_deviation_of_a_ratio_against_simulation() -> None:
    draws = np.random.default_rng(0).normal([0.6, 0.5], 0.01, (20000, 2)) + np.random.default_rng(1).normal(
        0, 0.01, (20000, 1)
    )
    a, b = (Cell(dict(enumerate(draws[:, i]))) for i in (0, 1))
    found = ratio_of(a, b)
    assert found is not None
    assert found[0] == pytest.approx(1.2, abs=1e-3)
    assert found[1] == pytest.approx((draws[:, 0] / draws[:, 1]).std(ddof=1), rel=0.02)
    assert ratio_of(a, Cell({0: 0.0, 1: 0.0})) is None


@pytest.mark.parametrize(
    "figure",
    [
        "{kind: points, column: all}",
        "{kind: class_bars, column: f1}",
        "{kind: relative, columns: [f1], against: [volume]}",
        "{draw: sed_lab.analysis.park2022.histograms, subset: weak_validation}",
    ],
)
def test_every_kind_of_figure_is_drawn(tmp_path: Path, classwise: dict[str, dict[int, Path]], figure: str) -> None:
    (tmp_path / "c.yaml").write_text(CLASSWISE + f"figure: {figure}\n")
    table = build_table(read_experiment(tmp_path / "c.yaml"), "mini", classwise)
    png, svg = write_figure(table, tmp_path / "out")
    assert png.stat().st_size > 5000
    text = svg.read_text()
    assert "TBFL" in text
    if "column: f1" in figure or "columns" in figure:
        assert "Dog" in text


def test_a_figure_without_runs_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CLASSWISE + "figure: {kind: points, column: all}\n")
    empty = {row: {seed: tmp_path / f"{row}{seed}" for seed in range(3)} for row in ("bce", "tbfl")}
    table = build_table(read_experiment(tmp_path / "c.yaml"), "mini", empty)
    assert draw(table) is None
    assert "0 of 6 complete" in markdown(table)
    assert table.missing == [f"{row}: seed 0, 1, 2: not run" for row in ("bce", "tbfl")]


def test_a_run_that_two_rows_share_is_counted_once(tmp_path: Path, folders: dict[str, dict[int, Path]]) -> None:
    (tmp_path / "t.yaml").write_text(FILE)
    shared = build_table(read_experiment(tmp_path / "t.yaml"), "mini", {"a": folders["a"], "b": folders["a"]})
    assert "- runs: 2 of 2 complete; seeds 0, 1" in markdown(shared)
    assert "- training: 60 s a run, 2 min in all" in markdown(shared)


def test_the_terminal_table_keeps_names_whole(
    tmp_path: Path, folders: dict[str, dict[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    print_table(build_table(experiment(tmp_path), "mini", folders))
    out = capsys.readouterr().out
    assert "0.700 ± 0.141" in out
    assert "holds         1. A beats B" in out
