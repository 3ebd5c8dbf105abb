"""Runs side by side: which are one row, what differs, intervals, and what is refused."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from sed_lab.clip.annotation import write_durations, write_strong
from sed_lab.compare import compare_runs, run_folders
from sed_lab.errors import InputError
from sed_lab.evaluate import measure_run
from sed_lab.files import read_json, write_json
from sed_lab.metric.measure import flatten
from sed_lab.report.compare_page import write_compare_page
from sed_lab.report.compared import Compared, compare
from sed_lab.scores import save_scores
from sed_lab.types import Event, Scores
from tests.configured import configured, option

CLASSES, CLIPS, HOP = ("Cat", "Dog <b>|"), 24, 0.1


def make(folder: Path, seed: int, noise: float, loss: str = "Binary", clips: int = 0, **metric: Any) -> Path:
    """A measured run whose scores are the truth in so much noise; seeds have other noise, ``clips`` other clips."""
    rng, draw = np.random.default_rng(clips), np.random.default_rng([seed, round(1000 * noise)])
    truth = {f"{i}.wav": tuple(
        Event(float(k), float(k) + float(rng.choice([1.0, 1.5])), str(rng.choice(CLASSES)))
        for k in (0, 2, 4) if rng.random() < 0.7) for i in range(CLIPS)}  # fmt: skip
    frames = []
    for events in truth.values():
        score = np.full((60, 2), 0.2) + draw.normal(0, noise, (60, 2))
        for event in events:
            score[round(event.onset / HOP) : round(event.offset / HOP), CLASSES.index(event.event_label)] += 0.6
        frames.append(score.clip(0, 1).astype(np.float32))
    names = tuple(name.removesuffix(".wav") for name in truth)
    scores = Scores(names, CLASSES, np.full(CLIPS, 6.0), HOP, tuple(frames), None)
    for subset in ("test", "validation"):
        write_strong(folder / "scores" / subset / "ground_truth.tsv", truth)
        write_durations(folder / "scores" / subset / "durations.tsv", dict.fromkeys(truth, 6.0))
        save_scores(folder / "scores" / subset / "model.npz", scores)
    identity = {
        "loss": {"_target_": loss, **({"k": 2} if loss == "Focal" else {})},
        "seed": seed,
        "dataset": {"seed": seed},
    }
    record = {"status": "complete", "name": folder.name, "seed": seed, "systems": ["model"], "identity": identity}
    write_json(folder / "run.json", record)
    settings = {**option("metric/default"), "exact_psds": False, "operating_points": 0, **metric}
    measured = measure_run(folder, configured("decoder/default")(), settings, "validation")
    detector = {"classes": list(CLASSES), "tuned": measured["tuned"]}
    write_json(folder / "run.json", {**record, "metrics": flatten(measured), "detector": detector})
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two settings of three seeds each, and what cannot be compared with them."""
    top = tmp_path_factory.mktemp("runs")
    made = {f"a{seed}": make(top / f"toy-Binary-seed{seed}-0123456789ab", seed, 0.15) for seed in range(3)}
    made |= {f"b{seed}": make(top / f"b{seed}", seed, 0.28, "Focal") for seed in range(3)}
    return made | {
        "clips": make(top / "clips", 0, 0.2, "Other", clips=1),
        "collar": make(top / "collar", 0, 0.2, "Other", collar=0.5),
        "alone": make(top / "alone", 7, 0.2, "Other"),
    }


@pytest.fixture(scope="module")
def found(runs: dict[str, Path]) -> Compared:
    return compare([path for name, path in runs.items() if name[0] in "ab" and name != "alone"], None)


def test_runs_that_differ_in_the_seed_only_are_one_row(found: Compared, runs: dict[str, Path]) -> None:
    assert [(row.label, row.system, [*row.runs]) for row in found.rows] == [
        ("toy-Binary", "model", [0, 1, 2]), ("loss=Focal", "model", [0, 1, 2])
    ]  # fmt: skip
    assert found.columns == ["event F1", "segment F1", "tagging F1", "EER"]
    metrics = [read_json(runs[f"a{seed}"] / "metrics.json") for seed in range(3)]
    assert found.values(found.rows[0], "event F1") == {
        seed: one["systems"]["model"]["event_f1_class_tuned"]["macro"] for seed, one in enumerate(metrics)
    }


def test_intervals_over_seeds_are_student_s_and_those_over_clips_have_the_difference_within(found: Compared) -> None:
    lines = found.lines["loss=Focal"]
    assert [(line.column, line.label) for line in lines[4:]] == [("event F1", label) for label in CLASSES]
    for line in lines:
        differences = [line.second[seed] - line.first[seed] for seed in range(3)]
        assert line.difference == pytest.approx(np.mean(differences))
        if np.ptp(differences) > 0:
            assert line.over_seeds == pytest.approx([*ttest_1samp(differences, 0).confidence_interval()])
        assert (line.over_clips is None) == (line.column == "EER")
    event = lines[0]
    assert event.difference is not None
    assert event.difference < -0.05  # the noisier scores are worse
    assert event.over_clips is not None
    assert event.over_clips[0] < event.difference < event.over_clips[1]


def test_without_a_seed_in_common_runs_on_the_same_clips_are_independent(
    runs: dict[str, Path],
) -> None:
    line = compare([runs["a0"], runs["a1"], runs["alone"]], None).lines["loss=Other"][0]
    assert (line.seeds, line.over_seeds) == ((), None)  # one run has no spread
    assert line.difference == pytest.approx(line.second[7] - np.mean([line.first[0], line.first[1]]))
    assert line.over_clips is not None


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ("clips", "clips was tested on other clips than .*seed0-0123456789ab; compare runs with the same ones"),
        ("collar", r"collar was measured with event_f1.collar=0.5, .*ab with 0.2; measure one again with sed-evaluate"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(other: str, sentence: str, runs: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=sentence):
        compare([runs["a0"], runs[other]], None)


def test_a_system_that_a_run_lacks_and_runs_without_numbers_are_refused(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="has no system 'teacher'; it has model"):
        compare([runs["a0"]], "teacher")
    with pytest.raises(InputError, match="nowhere is no folder of a run"):
        run_folders([str(tmp_path / "nowhere")], None)
    write_json(tmp_path / "failed" / "run.json", {"status": "failed", "reason": "out of\x1b[2Jmemory", "metrics": {}})
    (tmp_path / "multirun.yaml").touch()
    kept = run_folders([f"{tmp_path}/*", str(runs["a0"].parent / "b*"), str(runs["b1"])], runs["b2"])
    assert kept == [runs["b2"], runs["b0"], runs["b1"]]
    assert capsys.readouterr().err == f"left out: {tmp_path}/failed (failed: out of?[2Jmemory)\n"
    with pytest.raises(InputError, match="failed holds no run with numbers"):
        run_folders([str(runs["b1"])], tmp_path / "failed")


def test_the_command_prints_and_writes_all_of_it(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(runs[name]) for name in ("a0", "a1", "b0", "b1")]
    assert compare_runs([*words, "-o", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "second: loss=Focal; first: toy-Binary" in said
    with (tmp_path / "compare.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (4 + 2)
    (cell,) = [row for row in rows if (row["run"], row["number"], row["event_label"]) == ("loss=Focal", "event F1", "")]
    shown = re.search(r"event F1 +\S+ ± \S+ +(\S+) ± (\S+) +(\S+) +\[(\S+), (\S+)\] +\[(\S+), (\S+)\]", said)
    assert shown is not None
    names = ("mean", "sd", "difference", "seeds_low", "seeds_high", "clips_low", "clips_high")
    assert [float(word) for word in shown.groups()] == pytest.approx([float(cell[name]) for name in names], abs=6e-4)
    assert "| Dog <b>\\| (n = " in (tmp_path / "compare.md").read_text(encoding="utf-8")
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "Dog &lt;b&gt;|" in page
    assert "Dog <b>" not in page
    assert page.count("<svg") == 1


def test_one_row_alone_has_its_mean_and_no_differences(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare_runs([str(runs["a0"]), str(runs["a1"])]) == 0
    assert "difference" not in capsys.readouterr().out.lower()
    write_compare_page(compare([runs["a0"]], None), tmp_path / "page.html")
    assert "<svg" not in (tmp_path / "page.html").read_text(encoding="utf-8")
