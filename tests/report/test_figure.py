"""Figures show the numbers they were given: bars, staircases, curves and events are read back from the drawing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from sed_lab.files import read_json, write_json
from sed_lab.metric.det import det
from sed_lab.report import figure, style
from sed_lab.report.clip_view import judge
from sed_lab.report.page import write_page
from sed_lab.report.run_folder import read_run
from sed_lab.types import Event

PNG = b"\x89PNG"


def width_and_height(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head.startswith(PNG)
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def test_bars_are_as_long_as_the_classes_f1() -> None:
    def table(cat: float | None, dog: float) -> dict[str, Any]:
        per_class = {"Cat": {"f1": cat, "n_reference": 7}, "Dog": {"f1": dog, "n_reference": 31}}
        return {"event_f1": {"per_class": per_class}}

    drawn = figure.per_class_f1({"systems": {"zeta": table(0.25, 0.5), "alpha": table(None, 0.75)}})
    (axes,) = drawn.axes
    lengths = [[round(bar.get_width(), 9) for bar in bars] for bars in axes.containers]
    assert lengths == [[0.25, 0.5], [0, 0.75]]  # systems in the order of the metrics, the rarer class at the bottom
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["Cat  (n = 7)", "Dog  (n = 31)"]
    assert sorted(text.get_text() for text in axes.texts) == ["0.25", "0.50", "0.75", "none"]


def test_learning_curves_leave_out_epochs_without_a_value() -> None:
    history = [{"epoch": e, "train/loss": 1 / (e + 1)} | ({"val/objective": e / 4} if e % 2 else {}) for e in range(4)]
    losses, measures = figure.learning_curves(history).axes
    (loss,) = losses.get_lines()
    np.testing.assert_allclose(loss.get_xydata(), [[1, 1], [2, 1 / 2], [3, 1 / 3], [4, 1 / 4]])
    (measure,) = measures.get_lines()
    np.testing.assert_allclose(measure.get_xydata(), [[2, 0.25], [4, 0.75]])


def test_psd_roc_draws_the_staircase_that_is_integrated() -> None:
    per_class = {"a_$x$": {"efpr": [0, 5], "etpr": [0, 1]}}
    curve = {"efpr": [0.0, 10.0, 60.0], "etpr": [0.1, 0.4, 0.8], "per_class": per_class}
    drawn = figure.psd_roc({"student": {"psds1": curve, "psds2": {}}}, {"systems": {"student": {"psds1": {}}}})
    (axes,) = drawn.axes
    thin, thick = axes.get_lines()
    assert thick.get_drawstyle() == "steps-post"
    np.testing.assert_array_equal(thick.get_xydata(), [[0, 0.1], [10, 0.4], [60, 0.8]])
    np.testing.assert_array_equal(thin.get_xydata(), [[0, 0], [5, 1]])
    assert ">a_$x$<" in style.svg_text(drawn)


def test_clip_picture_fills_what_is_right_and_hatches_the_rest() -> None:
    truth = [Event(1.0, 2.0, "Dog"), Event(3.0, 3.5, "Cat")]
    detected = [Event(1.1, 2.1, "Dog"), Event(0.2, 0.6, "Cat")]
    posteriors = np.zeros((10, 3))
    drawn = figure.clip_picture(
        judge("c.wav", truth, detected), ["Cat", "Cow", "Dog"], 5.0, np.ones(500), None, posteriors, 0.5, 0.5
    )
    _, posterior, events = drawn.axes
    boxes = {
        (round(box.get_x(), 6), round(box.get_width(), 6)): box.get_hatch() is None
        for box in events.patches
        if isinstance(box, Rectangle)
    }
    assert boxes == {(1.0, 1.0): True, (1.1, 1.0): True, (3.0, 0.5): False, (0.2, 0.4): False}
    assert [tick.get_text() for tick in events.get_yticklabels()] in (["Cat", "Dog"], ["Dog", "Cat"])
    assert posterior.get_xlim() == events.get_xlim() == (0.0, 5.0)
    np.testing.assert_allclose(posterior.get_lines()[0].get_xdata()[:2], [0.25, 0.75])  # middles of 0.5 s frames
    assert drawn.axes[0].get_title(loc="left") == "c.wav   F1 0.50: 1 hit, 1 missed, 1 false alarms"


@pytest.mark.parametrize("index", range(9))
def test_classes_are_told_apart_by_colour_and_line(index: int) -> None:
    assert figure.class_style(index) not in [figure.class_style(other) for other in range(9) if other != index]


def test_write_figures_of_a_run(run_folder: Path, tmp_path: Path) -> None:
    written = figure.write_figures(Path(shutil.copytree(run_folder, tmp_path / "run")), n_clips=3)
    names = {path.name for path in written}
    curves = {f"{name}.{kind}" for name in ("learning_curves", "per_class_f1", "psd_roc") for kind in ("png", "svg")}
    assert names == curves | {"clip_01.png", "clip_02.png", "clip_03.png"}
    for path in written:
        if path.suffix == ".png":
            width, height = width_and_height(path)
            assert width > 600
            assert height > 200


def test_analyses_add_figures_but_a_record_s_foreign_ones_are_not_imported(
    make_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(n_clips=2)
    (tmp_path / "own_figures.py").write_text(
        "from sed_lab.report.figure import per_class_f1\n"
        "def figures(run):\n    return {'again': (per_class_f1(run.metrics), 'The same <again>')}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    record = read_json(folder / "run.json")
    record["config"]["analysis"] = ["own_figures", "sed_lab.analysis.arora2019"]
    write_json(folder / "run.json", record)
    write_json(folder / "curves.json", {"student": {"det": det(np.eye(4), np.eye(4, dtype=bool), "abcd")}})
    assert set(figure.curve_figures(read_run(folder))) == {"learning_curves", "per_class_f1", "trade_off"}
    assert "The same" not in write_page(folder).read_text()
    assert "own_figures" not in sys.modules
    assert {path.name for path in figure.write_figures(folder, ["own_figures"], 0)} >= {"again.png", "again.svg"}
    assert "The same &lt;again&gt;" in write_page(folder, analysis=["own_figures"]).read_text()


def test_the_same_run_gives_the_same_bytes(run_folder: Path) -> None:
    def drawn() -> list[str]:
        return [style.svg_text(picture) for picture, _ in figure.curve_figures(read_run(run_folder)).values()]

    assert drawn() == drawn()
