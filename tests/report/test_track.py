"""W&B beside the run's own files: where it goes, what it gets, how it is closed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from sed_lab.clip.audio import SUFFIXES
from sed_lab.run import track as tracking


@pytest.fixture(autouse=True)
def logged_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_SILENT", "true")


def test_logged_in_where_wandb_login_left_its_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not tracking._logged_in()
    (tmp_path / "home").mkdir()
    place = tmp_path / "home" / ".netrc"
    place.write_text("machine api.wandb.ai login user password key\n")
    place.chmod(0o600)
    assert tracking._logged_in()
    place.unlink()
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert tracking._logged_in()


def level_db_records(data: bytes) -> Iterator[bytes]:
    """What a ``.wandb`` file holds: LevelDB's log format (blocks of 32 KiB, CRC 4, length 2, type 1) after 7 bytes."""
    position, parts = 7, b""
    while position + 7 <= len(data):
        if (left := 2**15 - position % 2**15) < 7:
            position += left
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or last part
            yield parts
            parts = b""


@pytest.mark.parametrize("upload_audio", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_offline_run_gets_metrics_table_and_figures_and_audio_where_asked(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    run_folder: Path,
    upload_audio: bool,
) -> None:
    import wandb
    from wandb.proto import wandb_internal_pb2

    from sed_lab.report.figure import write_figures

    run_folder = Path(shutil.copytree(run_folder, tmp_path / "copy" / run_folder.name))
    write_figures(run_folder, n_clips=1)
    (run_folder / "per_class.csv").write_text("event_label,f1\nDog,0.5\n")
    settings = {"entity": None, "group": None, "tags": ["test"], "mode": "auto", "upload_audio": upload_audio}
    logger = tracking.wandb_logger(str(run_folder), "sed_lab", **settings)  # type: ignore[arg-type]
    assert f"W&B: not logged in, writing offline; later: wandb sync {run_folder}/wandb/offline-run-*" in (
        capsys.readouterr().out
    )
    logger.log_metrics({"train/loss": 0.25}, step=3)
    tracking.mirror([logger], run_folder, {"seed": 7, "report": {"page_clips": 1}}, {"student/event_f1/macro": 0.5})
    assert tracking.address([logger]) is None  # offline: nothing to link to
    tracking.finish([logger], failed=False)
    wandb.teardown()  # as at a process's end: W&B's own process writes the store's last block when it is told to end

    (folder,) = (run_folder / "wandb").glob("offline-run-*")
    assert folder.name.endswith(f"-{run_folder.name}")
    (store,) = folder.glob("run-*.wandb")
    history, summary, exit_code = {}, {}, None
    for data in level_db_records(store.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        history |= {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        summary |= {item.key or "/".join(item.nested_key): item.value_json for item in record.summary.update}
        exit_code = record.exit.exit_code if record.HasField("exit") else exit_code
    assert history["train/loss"] == "0.25"
    assert summary["test/student/event_f1/macro"] == "0.5"
    kinds = {key.removesuffix("/_type"): value for key, value in history.items() if key.endswith("/_type")}
    assert kinds["per_class"] == '"table-file"'
    assert kinds["figures/per_class_f1"] == kinds["figures/clip_01"] == '"image-file"'
    assert exit_code == 0
    media = {path.suffix for path in (folder / "files" / "media").rglob("*") if path.is_file()}
    assert {".png", ".json"} <= media
    audio = [path for path in folder.rglob("*") if path.suffix in SUFFIXES]
    assert len(audio) == upload_audio
    named = (run_folder / "scores/test/audio.tsv").read_text().splitlines()[1].split("\t")[1]
    assert all(path.read_bytes() == Path(named).read_bytes() for path in audio)


def test_the_address_of_an_online_run_is_kept() -> None:
    class Online(tracking.WandbLogger):
        def __init__(self) -> None:
            pass

        @property
        def experiment(self) -> SimpleNamespace:  # type: ignore[override]
            return SimpleNamespace(url="web:entity/project/run")

    assert tracking.address([object(), Online()]) == "web:entity/project/run"
    assert tracking.address([object()]) is None
