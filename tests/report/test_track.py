"""W&B beside the run's own files: where it goes, what it gets, how it is closed; read back from what W&B wrote."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from sed_lab.errors import InputError
from sed_lab.files import conf_folder, read_json
from sed_lab.report import dashboard, offline
from sed_lab.run import track as tracking
from sed_lab.run.answer import COLUMNS, UNDEFINED
from sed_lab.run.charts import measured_by, staircase

VARIABLES = ("API_KEY", "MODE", "PROJECT", "ENTITY", "NAME", "RUN_GROUP", "JOB_TYPE", "TAGS", "NOTES")
CONFIG: dict[str, Any] = {
    "seed": 7, "loss": {"_target_": "sed_lab.loss.Binary", "gamma": [1, 2]}, "report": {"page_clips": 1},
    "classes": "x" * 40_000,
}  # fmt: skip
OPTIONS = {"loss": "bce", "hydra/launcher": "joblib"}
RECORD = {
    "status": "complete", "config": CONFIG, "systems": ["student", "teacher"],
    "objective": 0.6, "best_epoch": 2, "epochs": 3, "training_seconds": 9.5,
    "metrics": {"student/event_f1/macro": 0.5, "student/psds1/exact": 0.25, "teacher/event_f1/macro": 0.75},
}  # fmt: skip


def forget_account(patch: pytest.MonkeyPatch, home: Path) -> None:
    for name in (*(f"WANDB_{name}" for name in VARIABLES), "NETRC"):
        patch.delenv(name, raising=False)
    patch.setenv("HOME", str(home))
    patch.setenv("WANDB_SILENT", "true")


@pytest.fixture(autouse=True)
def logged_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_account(monkeypatch, tmp_path / "home")


def logger_of(folder: Path, **said: Any) -> tracking.Mirror:
    """The logger that conf/logger/wandb.yaml configures; ``said`` is what a command line changes."""
    node = OmegaConf.load(conf_folder() / "logger/wandb.yaml").wandb
    values: Any = OmegaConf.to_container(OmegaConf.merge(node, {"folder": str(folder), **said}), resolve=True)
    del values["_target_"]
    return tracking.wandb_logger(**values)


def test_logged_in_where_wandb_login_left_its_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import wandb
    from wandb.sdk.lib.wbauth import write_netrc_auth

    assert not tracking._logged_in()
    place = tmp_path / "home" / ".netrc"
    place.parent.mkdir()
    for host in (wandb.Settings().base_url, "https://api.wandb.ai"):  # the latter of older versions
        write_netrc_auth(host=host, api_key="0" * 40)
        assert tracking._logged_in()
        monkeypatch.setenv("WANDB_BASE_URL", "https://ours.example")
        assert not tracking._logged_in()
        monkeypatch.delenv("WANDB_BASE_URL")
        place.unlink()
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert tracking._logged_in()


def test_the_project_is_that_of_the_command_line_else_of_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert logger_of(tmp_path).name == "sed_lab"
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    assert logger_of(tmp_path).name == "theirs"
    assert logger_of(tmp_path, project="mine").name == "mine"


@pytest.fixture(scope="module")
def tracked(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that W&B has written offline below a folder: a ``complete`` one, and one that ``failed`` at once."""
    import wandb

    from sed_lab.report.figure import write_figures

    top = tmp_path_factory.mktemp("tracked")
    folder = Path(shutil.copytree(run_folder, top / "complete"))
    write_figures(folder, n_clips=1)
    (folder / "detector.ckpt").write_bytes(b"weights")
    (folder / "per_class.csv").write_text(
        "subset,system,metric,event_label,f1,psds\n"
        + "test,student,event_f1,Dog,0.5,\ntest,student,event_f1,Cat,,\ntest,student,psds1,Dog,,0.125\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        forget_account(patch, top / "home")
        for name, value in {"TAGS": "a,b", "NOTES": "of the variable", "RUN_GROUP": "seed=0,1", "NAME": "x"}.items():
            patch.setenv(f"WANDB_{name}", value)
        logger = logger_of(folder, name="said", notes="said too", job_type="train", upload_model=True)
        tracking.begin([logger], CONFIG, OPTIONS, "loss=bce")
        for step, (loss, objective) in enumerate(((0.5, 0.25), (0.125, 0.75), (0.25, 0.5))):
            logger.log_metrics({"train/loss": loss, "val/objective": objective, "train/lr": 0.001}, step=step)
        tracking.mirror([logger], folder, RECORD)
        assert tracking.address([logger]) is None  # offline: nothing to link to
        tracking.finish([logger], RECORD)
        logger = logger_of(top / "failed", tags=[])
        tracking.begin([logger], {**CONFIG, "seed": 8}, OPTIONS, "loss=bce")
        tracking.finish([logger], {"status": "failed", "reason": "the disk is full"})
        wandb.teardown()  # as at a process's end: W&B's own process writes the last block when it is told to end
    return top


@pytest.fixture(scope="module")
def complete(tracked: Path) -> offline.Tracked:
    (path,) = (tracked / "complete/wandb").glob("offline-run-*-complete/run-complete.wandb")
    return offline.read(path)


@pytest.fixture(scope="module")
def failed(tracked: Path) -> offline.Tracked:
    (path,) = (tracked / "failed/wandb").glob("offline-run-*-failed/run-failed.wandb")
    return offline.read(path)


def test_a_run_has_its_configuration_from_the_start_and_one_that_fails_says_why(
    complete: offline.Tracked, failed: offline.Tracked
) -> None:
    own = {key: value for key, value in complete.config.items() if key != "_wandb"}
    assert own == {**CONFIG, "options": {"loss": "bce"}, "setting": "loss=bce"}
    assert {**CONFIG, "seed": 8}.items() <= failed.config.items()
    assert (failed.history, failed.summary["failure"], failed.code) == ([], "the disk is full", 1)
    assert (failed.state, complete.state, complete.code) == ("failed", "finished", 0)
    assert "failure" not in complete.summary


def test_what_is_said_comes_before_w_and_b_s_variables(complete: offline.Tracked, failed: offline.Tracked) -> None:
    assert (complete.name, complete.group, complete.job_type) == ("said", "seed=0,1", "train")
    assert (complete.tags, complete.notes) == (("a", "b"), "said too")
    assert (failed.name, failed.group, failed.job_type) == ("x", "seed=0,1", "")
    assert (failed.tags, failed.notes) == ((), "of the variable")


def test_curves_are_summarised_by_their_best_value_and_numbers_by_the_best_system(complete: offline.Tracked) -> None:
    curve = [(row["train/loss"], row["val/objective"], row["trainer/global_step"]) for row in complete.history[:3]]
    assert curve == [(0.5, 0.25, 0), (0.125, 0.75, 1), (0.25, 0.5, 2)]
    assert complete.summary["train/loss"] == {"min": 0.125}
    assert complete.summary["val/objective"] == {"max": 0.75}
    assert complete.summary["train/lr"] == 0.001
    expected = {
        "test/student/event_f1/macro": 0.5, "test/teacher/event_f1/macro": 0.75, "test/student/psds1/exact": 0.25,
        "answer/system": "student", "answer/event_f1/macro": 0.5, "answer/psds1/exact": 0.25,
        "answer/decoder": "as configured", "objective": 0.6, "best_epoch": 2, "training_seconds": 9.5,
    }  # fmt: skip
    assert expected.items() <= complete.summary.items()


def table(run: offline.Tracked, key: str) -> dict[str, Any]:
    """A table as W&B keeps it in a file of its own."""
    assert run.summary[key]["_type"] == "table-file"
    return json.loads((run.path.parent / "files" / run.summary[key]["path"]).read_text(encoding="utf-8"))


def test_the_table_of_classes_is_that_of_the_run(complete: offline.Tracked, tracked: Path) -> None:
    sent = table(complete, "per_class")
    rows = [dict(zip(sent["columns"], row, strict=True)) for row in sent["data"]]
    with (tracked / "complete/per_class.csv").open() as file:
        listed = [*csv.DictReader(file)]
    assert all(row.pop("decoder") == "" for row in rows)  # this run's metrics name none
    assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows] == listed
    assert complete.charts["charts/per_class_f1"]["panel_config"]["panelDefId"] == "wandb/bar/v0"
    assert table(complete, "charts/per_class_f1_table")["data"] == [["Dog", 0.5]]


@pytest.mark.parametrize("name", ["psds1", "psds2"])
def test_the_chart_of_a_psd_roc_is_the_curve_that_is_integrated(
    complete: offline.Tracked, tracked: Path, name: str
) -> None:
    spec = complete.charts[f"charts/{name}"]["panel_config"]
    assert spec["panelDefId"] == "wandb/lineseries/v0"
    sent = table(complete, f"charts/{name}_table")
    rows = [dict(zip(sent["columns"], row, strict=True)) for row in sent["data"]]
    places = np.random.default_rng(0).uniform(0, 100, 50)
    for system, curves in read_json(tracked / "complete/curves.json").items():
        x, y = (np.array(curves[name][axis]) for axis in ("efpr", "etpr"))
        own = [row for row in rows if row[spec["fieldSettings"]["lineKey"]] == system]
        line = [[row[spec["fieldSettings"][axis]] for row in own] for axis in ("step", "lineVal")]
        inside = places[places < x[-1]]
        assert len(inside) > 5
        expected = [y[x <= place][-1] for place in inside]  # what was reached up to there
        np.testing.assert_allclose(np.interp(inside, *line), expected, rtol=1e-12)


def test_pictures_are_sent_and_no_recording(complete: offline.Tracked) -> None:
    assert complete.media["figures/per_class_f1"] == complete.media["figures/clip_01"] == "picture"
    assert complete.media["per_class"] == "table"
    assert {"picture", "table"} == set(complete.media.values())
    assert not list(complete.path.parent.rglob("*.wav"))


@pytest.mark.slow
def test_recordings_are_sent_where_asked(run_folder: Path, tmp_path: Path) -> None:
    import wandb

    run_folder = Path(shutil.copytree(run_folder, tmp_path / "heard"))
    (run_folder / "per_class.csv").write_text("subset,system,metric,event_label,f1\n")
    logger = logger_of(run_folder, upload_audio=True)
    tracking.mirror([logger], run_folder, RECORD)
    tracking.finish([logger], RECORD)
    wandb.teardown()
    (run,) = offline.find([run_folder])
    assert run.media["audio"] == "recording"
    assert "1 recording" in offline.grid_of([run])[1][0][-2]
    (sent,) = run.path.parent.rglob("*.wav")
    named = (run_folder / "scores/test/audio.tsv").read_text().splitlines()[1].split("\t")[1]
    assert sent.read_bytes() == Path(named).read_bytes()


def test_the_model_is_an_artifact_of_what_predicts_where_asked(
    complete: offline.Tracked, failed: offline.Tracked
) -> None:
    (files,) = (files for files in complete.artifacts.values() if "detector.ckpt" in files)
    assert set(files) == {"detector.ckpt", "run.json"}
    assert files["detector.ckpt"].read_bytes() == b"weights"
    assert read_json(files["run.json"]) == RECORD
    assert failed.artifacts == {}


def test_where_nobody_is_logged_in_it_is_said_how_to_sync(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger_of(tmp_path)
    said = capsys.readouterr().out
    assert said == f"W&B: not logged in, writing offline; later: wandb sync {tmp_path}/wandb/offline-run-*\n"


def test_the_address_of_an_online_run_is_kept() -> None:
    class Online(tracking.WandbLogger):
        def __init__(self) -> None:
            pass

        @property
        def experiment(self) -> SimpleNamespace:  # type: ignore[override]
            return SimpleNamespace(url="web:entity/project/run")

    assert tracking.address([object(), Online()]) == "web:entity/project/run"
    assert tracking.address([object()]) is None


def panels_of(section: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [panel["config"] for panel in section["panels"] if panel["viewType"] == kind]


def asked_for(config: dict[str, Any]) -> tuple[Any, ...]:
    """What a chart is drawn by: its preset, columns, texts, and the fields of runs that it asks for."""
    (runs,) = config["userQuery"]["queryFields"]
    fields = {field["name"]: [(arg["name"], arg["value"]) for arg in field.get("args", [])] for field in runs["fields"]}
    return config["panelDefId"], config["fieldSettings"], config["stringSettings"], fields


def test_the_dashboard_shows_what_runs_send(complete: offline.Tracked) -> None:
    pytest.importorskip("wandb_workspaces")
    view = dashboard.workspace("team", "project", "mine")._spec
    assert (view["entity"], view["project"], view["displayName"]) == ("team", "project", "mine")
    section = view["spec"]["section"]
    parts = {part["name"]: part for part in section["panelBankConfig"]["sections"]}
    (runs,) = section["runSets"]
    assert [(key["section"], key["name"]) for key in runs["grouping"]] == [
        ("run", "group"),
        ("config", "setting.value"),
    ]
    (key,) = runs["sort"]["keys"]
    assert (key["key"], key["ascending"]) == ({"section": "summary", "name": "objective"}, False)
    columns = {name.removeprefix("summary:") for name, shown in runs["runFeed"]["columnPinned"].items() if shown}
    bars = [bar["metrics"] for bar in panels_of(parts["Leaders"], "Bar Chart")]
    assert bars[:2] == [["objective"], ["answer/event_f1/macro"]]
    assert {"objective", "answer/event_f1/macro", "answer/psds1/exact", "answer/system"} <= columns & set(
        complete.summary
    )
    known = {"run:displayName", "failure", *(f"answer/{key}" for key in COLUMNS.values())}
    assert not columns - known - set(complete.summary)
    drawn = [asked_for(one) for part in ("Classes", "PSD-ROC") for one in panels_of(parts[part], "Vega2")]
    logged = [asked_for(one["panel_config"]) for one in complete.charts.values()]
    assert len(drawn) == len(logged) == 3
    assert all(one in logged for one in drawn)
    (table,) = panels_of(parts["Classes"], "Weave")
    assert complete.media[table["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]] == "table"
    lines = {key for line in panels_of(parts["Training"], "Run History Line Plot") for key in line["metrics"]}
    assert lines == {"val/objective", "train/loss"} <= {key for row in complete.history for key in row}
    (pictures,) = panels_of(parts["Pictures"], "Media Browser")
    assert all(complete.media[key] == "picture" for key in pictures["mediaKeys"])


@pytest.mark.parametrize("project", ["project", "team/", "/project", "team/project/runs"])
def test_a_dashboard_needs_a_project(project: str) -> None:
    pytest.importorskip("wandb_workspaces")
    with pytest.raises(InputError, match="names no project; give TEAM/PROJECT"):
        dashboard.save(project, "mine")


def test_a_dashboard_without_a_login_says_so() -> None:
    pytest.importorskip("wandb_workspaces")
    with pytest.raises(InputError, match=r"W&B does not take a dashboard for team/project: .*wandb login"):
        dashboard.save("team/project", "mine")


def test_offline_runs_are_shown_as_a_table(tracked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = offline.find([tracked, tracked / "complete"])
    head, lines, left = offline.grid_of(runs)
    assert (head[:left], head[left:]) == (
        ["settings", "group", "state"], ["objective", "event F1", "PSDS1", "there is", "run"],
    )  # fmt: skip
    there = "3 charts, 1 table, 4 pictures, 1 model"
    assert lines == [
        ["seed=7", "seed=0,1", "finished", "0.600", "0.500", "0.250", there, "said"],
        ["seed=8", "seed=0,1", "failed", *[UNDEFINED] * 3, "", "x"],
    ]
    offline.show(runs[1:])
    said = capsys.readouterr()
    assert "x failed: the disk is full" in said.err
    assert "objective" not in said.out


def test_w_and_b_s_own_reader_finds_the_same(complete: offline.Tracked, failed: offline.Tracked) -> None:
    for run in (complete, failed):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(run.path)]
        told = json.loads(subprocess.run(command, capture_output=True, check=True, text=True, timeout=600).stdout)
        own = {key: value for key, value in run.config.items() if key != "_wandb"}
        assert {key: value for key, value in told["config"].items() if key != "_wandb"} == own
        assert {**told["summary"], "_wandb": None} == {**run.summary, "_wandb": None}
        assert (told["name"], told["tags"], told["notes"]) == (run.name, list(run.tags), run.notes)
        assert (told["exit_code"], told["state"]) == (run.code, run.state)


def test_of_several_tries_the_last_one_is_shown(tracked: Path, tmp_path: Path) -> None:
    (first,) = (tracked / "failed/wandb").glob("offline-run-*-failed")
    for name in ("offline-run-20200101_000000-failed", "run-20990101_000000-failed"):
        shutil.copytree(first, tmp_path / name)
    (run,) = offline.find([tmp_path])
    assert run.path.parent.name == "run-20990101_000000-failed"


def test_a_file_that_is_being_written_is_read_as_far_as_it_goes(complete: offline.Tracked, tmp_path: Path) -> None:
    data = complete.path.read_bytes()
    assert len(data) > offline.BLOCK  # with a record that goes over blocks
    (tmp_path / "run-x.wandb").write_bytes(data[:-60])
    running = offline.read(tmp_path / "run-x.wandb")
    assert (running.state, running.name, running.history) == ("no end", "said", complete.history)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: b"text", "is no file of W&B's"),
        (lambda data: data[:7] + b"\0" * 4 + b"\4\0\1\xff\xff\xff\xff", "is damaged"),
    ],
)
def test_another_file_is_refused(
    complete: offline.Tracked, tmp_path: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "wandb/run-1-x/run-x.wandb"
    path.parent.mkdir(parents=True)
    path.write_bytes(change(complete.path.read_bytes()))
    with pytest.raises(InputError, match=said):
        offline.find([tmp_path])
    with pytest.raises(InputError, match=r"no file of W&B's below .*/empty"):
        offline.find([tmp_path / "empty"])


def test_steps_have_both_their_corners() -> None:
    assert staircase([0, 2, 5], [0.1, 0.3, 0.4]) == ([0, 2, 2, 5, 5], [0.1, 0.1, 0.3, 0.3, 0.4])
    assert staircase([0], [0.5]) == ([0], [0.5])


def test_the_decoder_behind_a_metric_is_named() -> None:
    tuned = {"decoder": {"decoder": "BoxDecoder", "threshold": {"Dog": 0.5}}}
    metrics = {
        "settings": {"decoder": {"decoder": "MedianDecoder", "threshold": 0.5}},
        "systems": {"student": {"event_f1": {}, "event_f1_class_tuned": tuned, "eer": {}}},
    }
    expected = {
        "event_f1": "median filter, as configured",
        "event_f1_class_tuned": "boxes, tuned class by class",
        "event_f1_tuned": "median filter, threshold tuned",
        "eer": "",
    }
    assert {metric: measured_by(metrics, "student", metric) for metric in expected} == expected
