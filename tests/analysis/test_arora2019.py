"""DET and sphere pictures: what stands in them, drawn from blocks and files as runs leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sed_lab.analysis.arora2019 import NUMBERS, det_figure, measure, spheres
from sed_lab.errors import InputError
from sed_lab.experiment.reader import read_experiment
from sed_lab.experiment.table import build_table
from sed_lab.files import write_json
from sed_lab.metric.det import det
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import is_metric
from sed_lab.report.drawing import draw
from sed_lab.report.style import svg_text

CLASSES = ("Dog", "gunshot")
FILE = """\
paper: p
item: t
title: T
place: fig. 1
classes: [Dog, gunshot]
scales:
  mini: {{seeds: [0]}}
columns:
  all: {{label: all, metric: "{{system}}/eer/macro", of: eer}}
  eer: {{label: EER, metric: "{{system}}/eer/per_class/{{class}}/eer"}}
rows:
  one: {{label: First, overrides: [], system: proposed1}}
  two: {{label: Second, overrides: [], system: proposed2}}
figure: {figure}
"""


def block(seed: int, bootstrap: int = 0) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    target = rng.random((80, 2)) < 0.3
    return det(rng.random((80, 2)) + 0.4 * target, target, CLASSES, bootstrap)


@pytest.mark.parametrize("axes", ["linear", "probit"])
def test_a_panel_a_class_and_a_line_a_system(axes: str) -> None:
    figure = det_figure({"B": [block(0, 20), block(1, 20)], "P2": [block(2, 20)]}, CLASSES, axes)
    panels = figure.axes
    assert [panel.get_title(loc="left") for panel in panels] == ["Dog", "gunshot", "mean of the classes"]
    for panel in panels:
        lines = [line for line in panel.lines if line.get_label() in ("B", "P2")]
        assert len(lines) == 2
        assert len(panel.collections) == 2  # a band each
    assert "P2" in svg_text(figure)
    if axes == "linear":
        first = next(line for line in panels[0].lines if line.get_label() == "B")
        expected = np.mean([run["per_class"]["Dog"]["miss"] for run in (block(0), block(1))], axis=0)  # type: ignore[index]
        np.testing.assert_allclose(np.asarray(first.get_ydata(), float), expected, atol=1e-5)


def test_tables_draw_the_curves_of_each_rows_system(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(FILE.format(figure="{draw: sed_lab.analysis.arora2019.trade_off, axes: linear}"))
    run = tmp_path / "run"
    facts = {"status": "complete", "finished": "2026-01-02", "code": {"sed_lab": "0"}, "versions": {}, "hardware": {}}
    write_json(run / "run.json", {**facts, "metrics": {"proposed1/eer/macro": 0.2}})
    folders = {"one": {0: run}, "two": {0: run}}
    assert draw(build_table(read_experiment(tmp_path / "t.yaml"), "mini", folders)) is None  # kept without curves
    write_json(run / "curves.json", {"proposed1": {"det": block(0)}, "proposed2": {"det": block(1)}})
    figure = draw(build_table(read_experiment(tmp_path / "t.yaml"), "mini", folders))
    assert figure is not None
    assert {line.get_label() for line in figure.axes[0].lines} >= {"First", "Second"}


def kept(folder: Path, iteration: int, size: int = 3) -> None:
    rng = np.random.default_rng(iteration)
    e = rng.standard_normal((30, size))
    cluster = np.arange(30) % 3
    np.savez(folder / f"iteration_{iteration}.npz", embedding=e / np.linalg.norm(e, axis=1, keepdims=True),
             cluster=cluster, clip_class=(cluster > 0).astype(int), cluster_class=np.array([0, 1, 1]))  # fmt: skip


def test_every_point_is_on_its_sphere_and_every_cluster_has_a_shade(tmp_path: Path) -> None:
    for iteration in (0, 2):
        kept(tmp_path, iteration)
    figure = spheres(tmp_path, [0, 2], ["blue", "red"])
    assert [axes.get_title() for axes in figure.axes] == [
        "before learning",
        "after 2 iterations",
        "the same from behind",
    ]
    for axes in figure.axes:
        labels = [points.get_label() for points in axes.collections if not str(points.get_label()).startswith("_")]
        assert labels == ["blue", "red, cluster 1", "red, cluster 2"]
    with pytest.raises(InputError, match=r"iteration_5.npz is not there; train with method.keep_embeddings=true"):
        spheres(tmp_path, [5], ["blue", "red"])
    kept(tmp_path, 5, size=4)
    with pytest.raises(InputError, match=r"embeddings of 4 numbers are on no sphere"):
        spheres(tmp_path, [5], ["blue", "red"])


ROWS = """epoch,step,seconds,train/phase,train/loss_centroids,train/loss_embedding,train/loss_constant,train/loss_output
0,4,1,0,2.5,,1.5,
1,8,3,1,2.5,2.0,1.5,
2,12,9,1,2.5,1.6,1.5,
3,16,12,2,2.4,1.6,1.5,
4,20,20,3,2.4,1.2,1.5,
5,24,22,3,2.4,0.9,1.5,
6,28,24.4,3,2.4,0.6,1.5,
7,32,90,4,2.4,0.6,1.5,0.7
8,36,99,5,2.4,0.6,1.5,0.5
"""


def test_the_last_embedding_loss_stands_beside_that_of_a_constant_one(tmp_path: Path) -> None:
    """Later phases repeat what was logged last; the pace is that of epochs one after the other in a phase."""
    (tmp_path / "history.csv").write_text(ROWS)
    write_json(tmp_path / "run.json", {"config": {"batch": {"clips": {"weak": 50}}}})
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 2), torch.nn.BatchNorm2d(3))
    state = {f"network.encoder.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": {**state, "network.output.bias": torch.zeros(9)}}, tmp_path / "detector.ckpt")
    measured, curves = measure(tmp_path, {"systems": {"proposed2": {}, "proposed1": {}}})
    assert curves == {}
    assert measured["proposed1"] == measured["proposed2"]
    assert measured["proposed1"]["embedding_loss"] == {"last": 0.6, "constant": 1.5, "share": pytest.approx(0.4)}
    # 6 s, 2 s and 2.4 s of 4 steps of 50 clips; 3 weights of 4, 3 biases, 3 scales and 3 shifts
    assert measured["proposed1"]["cost"] == {"encoder_parameters": 21, "ms_a_clip": pytest.approx(12.0)}
    names = flatten({"systems": measured})
    assert all(is_metric(name, NUMBERS) for name in names)
    (tmp_path / "history.csv").write_text("epoch,step,seconds,train/phase,train/loss_weak\n0,4,1,0,0.7\n")
    assert measure(tmp_path, {"systems": {"model": {}}}) == ({}, {})  # the baseline learns no embedding
