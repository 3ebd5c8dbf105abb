"""A run's identity: the same data in two folders is one run; changed data, code and parts are noticed."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from sed_lab.app import conf_folder
from sed_lab.bank import making
from sed_lab.clip.module import SedData
from sed_lab.errors import InputError
from sed_lab.files import write_json
from sed_lab.run import content
from sed_lab.run import identity as run
from sed_lab.run.record import start_record
from sed_lab.train import composition
from tests.configured import configured, option

mini_desed = configured("dataset/mini_desed")


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("park2022", overrides=["logger=[]", *overrides])


BASE = config()


@pytest.mark.parametrize(
    "override",
    [
        "logger=[csv,wandb]",
        "analysis=[]",
        "paths.runs=/elsewhere",
        "paths.cache=/elsewhere",
        "batch.workers=4",
        "batch.cache_features=true",
        "trainer.accelerator=gpu",
        "trainer.strategy=ddp",
        "trainer.checkpoint_minutes=null",
        "~trainer.checkpoint_minutes",
        "trainer.strategy={timeout_minutes: 5}",
        "+trainer.sync_batchnorm=false",
        "report.page=false",
        "rerun=true",
        "model._target_=elsewhere.CRNN",
        "method.optimizer._target_=mine.Adam",
    ],
)
def test_identity_leaves_out_what_cannot_change_the_result(override: str) -> None:
    assert run.config_hash(config(override)) == run.config_hash(BASE)


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "loss=bce",
        "loss.gamma=1.0",
        "loss.k=inf",
        "trainer.max_epochs=31",
        "trainer.precision=bf16-mixed",
        "dataset.seed=3",
        "batch.clips.weak=11",
        "batch.epoch=all",
        "decoder.threshold=0.4",
        "+trainer.limit_train_batches=2",
        "+trainer.sync_batchnorm=true",
        "model._target_=sed_lab.model.crnn.Other",
    ],
)
def test_identity_holds_everything_else(override: str) -> None:
    assert run.config_hash(config(override)) != run.config_hash(BASE)


def test_identity_can_be_kept_as_json() -> None:
    cfg = config("loss.k=inf")
    kept = json.loads(json.dumps(run.identity(cfg), allow_nan=False))
    assert kept == run.identity(cfg)
    assert kept["loss"]["k"] == "inf"


def test_name_tells_what_was_run() -> None:
    assert run.run_name(config("seed=7")).startswith("mini_desed-MeanTeacher-TimeBalancedFocal-seed7-")


# Data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of two recordings and an annotation, last changed a minute ago."""
    folder = tmp_path / "data"
    (folder / "audio").mkdir(parents=True)
    for name, size in (("a.wav", 10), ("b.wav", 20)):
        (folder / "audio" / name).write_bytes(bytes(size))
    (folder / "strong.tsv").write_text("a.wav\t0.0\t1.0\tDog\n")
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 60,) * 2)
    return folder


def key(folder: Path, cache: Path | None = None, leave_out: tuple[Path, ...] = ()) -> str:
    """The content key as a new process finds it."""
    content.content_key.cache_clear()
    return content.content_key(folder.absolute(), cache or folder.parent / "cache", leave_out)


def asked(folder: Path | str, *overrides: str) -> DictConfig:
    """A run on the recordings of ``folder``, as a new process asks for it."""
    content.content_key.cache_clear()
    return config("dataset=soundbank", f"dataset.bank_folder='{folder}'", *overrides)


def test_the_same_data_in_two_folders_is_one_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = run.run_name(asked(data))
    shutil.copytree(data, tmp_path / "moved/copy")
    (tmp_path / "link").symlink_to(data)
    assert {run.run_name(asked(tmp_path / where)) for where in ("moved/copy", "link", "moved/../data")} == {name}
    monkeypatch.chdir(tmp_path)
    assert run.run_name(asked("data")) == name
    assert str(tmp_path) not in json.dumps(run.identity(asked(data)))


def test_an_encoder_counts_by_the_bytes_of_its_weights_and_a_name_by_itself(tmp_path: Path) -> None:
    def asked_with(encoder: Path | str, *overrides: str) -> str:
        content.content_key.cache_clear()
        return run.config_hash(config("model=pretrained", f"model.encoder={encoder}", *overrides))

    for name, byte in (("one", b"a"), ("same", b"a"), ("other", b"b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(b"x" * content.READ + byte)  # the last of many bytes
    assert asked_with(tmp_path / "one") == asked_with(tmp_path / "same") != asked_with(tmp_path / "other")
    assert asked_with(tmp_path / "one", "model.frozen=false") != asked_with(tmp_path / "one")
    assert asked_with(tmp_path / "one", "model.download=true") == asked_with(tmp_path / "one")
    assert asked_with("lab/ast") != asked_with("lab/hubert")
    assert str(tmp_path) not in json.dumps(
        run.identity(config("model=pretrained", f"model.encoder={tmp_path / 'one'}"))
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda data: (data / "strong.tsv").write_text("a.wav\t0.0\t2.0\tDog\n"),  # as long as before
        lambda data: (data / "audio/a.wav").write_bytes(bytes(11)),
        lambda data: (data / "audio/c.wav").write_bytes(b""),
        lambda data: (data / "audio/a.wav").rename(data / "audio/d.wav"),
        lambda data: (data / "audio/b.wav").unlink(),
    ],
)
def test_changed_data_is_another_run(data: Path, change: Callable[[Path], Any]) -> None:
    before = run.run_name(asked(data))
    change(data)
    assert run.run_name(asked(data)) != before


def test_what_is_no_data_changes_nothing(data: Path, tmp_path: Path) -> None:
    before = key(data)
    (data / "README.md").write_text("read me")
    (data / "audio/.lock").touch()
    (data / ".hidden").mkdir()
    (data / ".hidden/x.wav").touch()
    for made in ("audio_16k", "mixtures", "runs/x"):  # resampled copies, mixtures made here, runs
        (data / made).mkdir(parents=True)
        (data / made / "a.wav").touch()
    (data / "mixtures/.made").touch()
    (data / "round").symlink_to(data / "audio")  # a second way to the same folder
    os.utime(data / "strong.tsv")
    assert key(data, leave_out=(data / "runs",)) == before
    assert key(data) != before
    (data / "audio_16k").rename(data / "other_16k")  # these recordings are there at this rate only
    assert key(data, leave_out=(data / "runs",)) != before


def test_a_made_folder_is_data_where_it_is_named(data: Path, tmp_path: Path) -> None:
    before = key(data)
    (data / ".made").touch()
    assert key(data) == before


def test_a_single_file_counts_by_its_bytes(data: Path, tmp_path: Path) -> None:
    """Weights of a front end, or statistics of a corpus: named without a slash too."""
    (data / "weights.pth").write_bytes(b"1")
    first = run.config_hash(asked(data, "feature=vggish", f"feature.weights={data}/weights.pth"))
    (tmp_path / "other.pth").write_bytes(b"1")
    again = asked(data, "feature=vggish", f"feature.weights={tmp_path}/other.pth")
    assert run.config_hash(again) == first
    (tmp_path / "other.pth").write_bytes(b"2")
    content.content_key.cache_clear()
    assert run.config_hash(again) != first


def test_annotations_are_read_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = key(data)
    read: list[Path] = []
    counted = content._counted
    monkeypatch.setattr(content, "_counted", lambda place, files: read.append(place) or counted(place, files))
    assert key(data) == first
    assert read == []
    (data / "strong.tsv").write_text("a.wav\t0.0\t3.0\tDog\n")
    second = key(data)
    assert second != first
    assert read == [data]
    assert key(data) == second
    assert len(read) == 2  # just changed: it may change again within the same tick of the clock
    (kept,) = (tmp_path / "cache/keys").glob("*.json")
    kept.write_text("{")
    assert key(data) == second
    assert key(data, Path("/dev/null/cache")) == second  # a cache that cannot be written to


def test_data_that_is_not_here_has_the_key_that_was_kept(data: Path, tmp_path: Path) -> None:
    known, there = key(data), asked(data)
    gone = asked("/nowhere/data")
    assert run.identity(gone)["dataset"]["bank_folder"] == "content absent"
    assert run.config_hash(gone, {"/nowhere/data": known}) == run.config_hash(there)
    assert run.config_hash(there, {str(data): "0"}) != run.config_hash(there)  # records are of the data they name
    (tmp_path / "empty").mkdir()
    assert key(tmp_path / "empty") == "absent"


def test_data_that_cannot_be_read_is_one_sentence(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("sed_lab.run.content.os.scandir", refused)
    with pytest.raises(InputError, match=r"data: Permission denied; make the data readable"):
        key(data)


@pytest.mark.slow
def test_thirty_thousand_files_take_two_seconds(tmp_path: Path) -> None:
    for number in range(30_000):
        folder = tmp_path / f"data/{number // 3000}"
        if number % 3000 == 0:
            folder.mkdir(parents=True)
        (folder / f"{number}.wav").touch()
    started = time.monotonic()
    assert key(tmp_path / "data") != "absent"
    seconds = time.monotonic() - started
    print(f"30,000 files: {seconds:.2f} s")
    assert seconds < 2


# Parts of the global batch


@pytest.mark.parametrize(
    ("overrides", "visible", "expected"),
    [
        ([], "", 1),
        (["trainer.devices=2"], "", 2),
        (["trainer.devices=auto"], "0,1,2", 1),  # on the CPU
        (["trainer.accelerator=gpu", "trainer.devices=auto"], "0,1,2", 3),
        (["trainer.accelerator=auto", "trainer.devices=-1"], "0,1", 2),
        (["trainer.accelerator=gpu", "trainer.devices=[0,2]", "trainer.num_nodes=2"], "0,1,2", 4),
        (["trainer.accelerator=gpu", "trainer.devices='0,2'"], "0,1,2", 2),
        (["batch.max_clips_per_device=5"], "", 3),  # twelve clips
        (["batch.max_clips_per_device=5", "trainer.devices=2"], "", 4),
        (["batch.max_clips_per_device=100"], "", 1),
        (["batch.max_clips_per_device=5", "method=arora2019"], "", 1),  # which trains on the two weak ones alone
    ],
)
def test_parts_are_devices_times_passes(
    overrides: list[str], visible: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    cfg = config(*overrides)
    devices, passes = run.divided(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    assert devices * passes == run.provenance(cfg)["parts"] == expected
    if cfg.batch.max_clips_per_device:
        data = SedData.__new__(SedData)
        data.clips = composition(cfg.batch.clips, get_class(cfg.method._target_).trains_on)
        data.max_clips_per_device = cfg.batch.max_clips_per_device
        assert (data.accumulation(devices), devices) == (passes, cfg.trainer.devices)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package outside sed_lab with methods and networks."""
    folder = tmp_path / "outside"
    (folder / "theirs").mkdir(parents=True)
    (folder / "theirs/__init__.py").touch()
    (folder / "theirs/method.py").write_text(
        "from . import pairs\nclass Plain: pass\nclass Pairs:\n    depends_on_parts = True\n"
        "class Gathers:\n    gathers = True\n"
    )
    (folder / "theirs/pairs.py").write_text("import json\n")
    (folder / "theirs/net.py").write_text("class Unsaid: pass\nclass Without:\n    normalises_batches = False\n")
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == "theirs"]:  # of another test
        monkeypatch.delitem(sys.modules, name)
    content._sources.cache_clear()
    content._imports.cache_clear()
    return folder / "theirs"


@pytest.mark.parametrize(
    ("method", "network", "counts"),
    [("Plain", "Without", False), ("Pairs", "Without", True), ("Plain", "Unsaid", True)],
)
@pytest.mark.parametrize("divided", ["trainer.devices=2", "batch.max_clips_per_device=6"])
def test_parts_count_where_something_depends_on_them(
    package: Path, method: str, network: str, counts: bool, divided: str
) -> None:
    words = [f"method._target_=theirs.method.{method}", f"model._target_=theirs.net.{network}"]
    whole, halves = config(*words), config(*words, divided)
    assert (run.config_hash(whole) != run.config_hash(halves)) is counts
    assert run.identity(halves).get("parts") == (2 if counts else None)


def test_passes_count_and_devices_do_not_where_clips_are_gathered(package: Path) -> None:
    words = ["method._target_=theirs.method.Gathers", "model._target_=theirs.net.Without"]
    whole, devices = config(*words), config(*words, "trainer.devices=2")
    passes, both = (
        config(*words, *more)
        for more in (["batch.max_clips_per_device=6"], ["trainer.devices=2", "batch.max_clips_per_device=3"])
    )
    assert run.config_hash(whole) == run.config_hash(devices)
    assert run.config_hash(whole) != run.config_hash(passes) == run.config_hash(both)
    assert [run.identity(one).get("passes") for one in (whole, devices, passes, both)] == [None, None, 2, 2]


def test_a_decoder_s_rival_counts_and_papers_have_none() -> None:
    primary = {file.stem for file in conf_folder().glob("*.yaml")} - {"config", "evaluate", "jobs"}
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        words = ([], ["rival_decoder.step_seconds=0.3"], ["rival_decoder=null"])
        given, other, none = (compose("config", overrides=["logger=[]", *more]) for more in words)
        assert len({run.config_hash(one) for one in (given, other, none)}) == 3
        assert "rival_decoder" not in run.identity(none)  # as in runs of before there were any
        assert {name for name in primary if compose(name).get("rival_decoder")} == set()


# Code


def test_changed_code_is_noticed_part_by_part(package: Path) -> None:
    words = ["logger=[]", "method._target_=theirs.method.Plain", "model._target_=theirs.net.Without"]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", overrides=words)

    def hashes() -> dict[str, str]:
        content._sources.cache_clear()
        content._imports.cache_clear()
        found: dict[str, str] = run.provenance(cfg)["code_hash"]
        return found

    before = hashes()
    assert set(before) == {"method", "model", "loss", "feature", "dataset", "decoder", "rival_decoder", "shared"}
    for file, part in (("net.py", "model"), ("method.py", "method"), ("pairs.py", "method")):
        (package / file).write_text((package / file).read_text() + "# changed\n")
        now = hashes()
        assert {name for name in before if before[name] != now[name]} == {part}, file
        before = now


def test_code_counts_in_one_place_and_is_not_imported() -> None:
    names = {group: BASE[group]["_target_"] for group in run.CODE if group in BASE}
    found = {part: set(content._sources(name)) for part, name in names.items()}
    assert {"sed_lab.method.park2022", "sed_lab.method.base"} <= found["method"]
    assert {"sed_lab.bank.mixing", "sed_lab.bank.procedural.voices"} <= found["dataset"]
    assert content._module("nowhere.Thing") == ("nowhere", None)
    assert content._module("json.decoder.JSONDecoder")[0] == "json.decoder"


# What is said


@pytest.fixture
def complete(data: Path, tmp_path: Path) -> Path:
    """A complete run on ``data``."""
    cfg = asked(data)
    folder = tmp_path / "runs" / run.run_name(cfg)
    write_json(folder / "run.json", {**start_record(folder, cfg, run.provenance(cfg)), "status": "complete"})
    return folder


def with_other_code(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", {**record, "code_hash": {**record["code_hash"], "method": "0", "model": "0"}})


def test_a_complete_run_by_other_code_says_so(complete: Path, data: Path) -> None:
    again = "rerun=true trains it again)"
    assert run.notice(complete, asked(data)) == f"already complete: {complete} ({again}"
    with_other_code(complete)
    said = "made by other code: method, model changed since"
    assert run.notice(complete, asked(data)) == f"already complete: {complete} ({said}; {again}"
    assert run.notice(complete, asked(data, "rerun=true")) == ""


def test_a_run_that_goes_on_with_other_code_says_so(complete: Path, data: Path) -> None:
    cfg = asked(data)
    write_json(complete / "run.json", {**json.loads((complete / "run.json").read_text()), "status": "failed"})
    (complete / "checkpoints").mkdir()
    (complete / "checkpoints/last.ckpt").touch()
    assert run.notice(complete, cfg) == ""
    with_other_code(complete)
    said = "made by other code: method, model changed since; rerun=true starts anew"
    assert run.notice(complete, cfg) == f"going on with {complete} ({said})"


def test_new_data_in_the_same_folder_is_said_to_be_a_new_run(complete: Path, data: Path) -> None:
    (data / "audio/c.wav").touch()
    cfg = asked(data)
    folder = complete.with_name(run.run_name(cfg))
    assert run.notice(folder, cfg) == f"{data} has changed since {complete}; this is a new run"
    other = asked(data, "trainer.max_epochs=2")
    assert run.notice(complete.with_name(run.run_name(other)), other) == ""


def test_a_run_does_not_go_on_with_a_changed_folder(complete: Path, data: Path) -> None:
    """Where hydra.run.dir names the run's folder."""
    (complete / "checkpoints").mkdir()
    (complete / "checkpoints/last.ckpt").touch()
    (data / "audio/c.wav").touch()
    cfg = asked(data)
    with pytest.raises(InputError, match=f"{data} has changed since {complete} was begun; restore it, or rerun=true"):
        start_record(complete, cfg, run.provenance(cfg))
    start_record(complete, asked(data, "rerun=true"), run.provenance(cfg))


@pytest.mark.parametrize("status", ["complete", "failed"])
def test_a_recording_replaced_by_one_of_its_size_is_said(data: Path, tmp_path: Path, status: str) -> None:
    """Its name and size are all that counts of a recording, so it stays the same run."""
    cfg, folder = asked(data), tmp_path / "run"
    folder.mkdir()
    write_json(folder / "run.json", {"status": status, **run.provenance(cfg)})
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/last.ckpt").touch()
    said = f"files of {data} were replaced, or written again, since"
    assert said not in run.notice(folder, cfg)
    (data / "audio/b.wav").write_bytes(bytes([7]) * 20)
    again = asked(data)
    assert run.config_hash(again) == run.config_hash(cfg)
    assert said in run.notice(folder, again)
    assert run.notice(folder, again).startswith("already complete" if status == "complete" else "going on with")


def test_made_data_has_another_fingerprint_where_the_code_that_makes_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = dict.fromkeys(option("dataset/mini_desed")["sizes"], 0) | {"weak": 1}
    made = [mini_desed(tmp_path, sizes, bank_share=0.05)]
    monkeypatch.setattr(making, "code_of", lambda *modules: "changed")
    made.append(mini_desed(tmp_path, sizes, bank_share=0.05))
    assert made[0].fingerprint != made[1].fingerprint
    assert all((path / ".made").exists() for path in tmp_path.iterdir() if path.name.startswith("mini_desed"))
