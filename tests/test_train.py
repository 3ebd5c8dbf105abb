"""What sed-train refuses before it reads any data, and what it says of errors in the midst of training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from sed_lab.app import conf_folder, whole_mappings
from sed_lab.clip.audio import BadAudio, read_audio
from sed_lab.errors import InputError, describe
from sed_lab.run.identity import register_resolvers
from sed_lab.train import build, fit


def config(*overrides: str, name: str = "config") -> DictConfig:
    register_resolvers()
    whole_mappings()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose(name, overrides=["logger=[]", *overrides])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["dataset=desed"], r"dataset\.folder: not given, and has no default; add dataset\.folder="),
        (["dataset=soundbank"], r"dataset\.bank_folder: not given"),
        (["dataset=tut_rare"], r"dataset\.folder: not given"),
        (["dataset=dcase2018"], r"dataset\.folder: not given"),
        (["dataset=audioset_embeddings"], r"dataset\.folder: not given"),
        (["dataset=audioset_rare"], r"dataset\.folder: not given"),
        (["dataset=bank_rare_clips"], r"dataset\.bank_folder, dataset\.classes, dataset\.counts: not given"),
        (["trainer.max_epochs=0"], r"trainer\.max_epochs=0 trains nothing; give at least 1"),
        (["trainer=gpu"], r"trainer\.devices=1, but PyTorch finds no GPU here; use trainer=cpu"),
        (["trainer=ddp_cpu", "trainer.sync_batchnorm=true"], r"sync_batchnorm=true: PyTorch has it for GPUs only"),
        (["trainer=ddp"], r"trainer\.devices=auto, but PyTorch finds no GPU here"),
        (["+batch.clips.nights=4"], r"batch\.clips\.nights: that is no subset to train on; those are synthetic, weak"),
        (["+batch.clips.validation=4"], r"batch\.clips\.validation: that is no subset to train on"),
        (["+batch.clips.test=4"], r"batch\.clips\.test would train on the clips the run is judged on"),
    ],
)
def test_what_cannot_run_is_refused_before_data_is_read(
    words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any) -> None:
        raise AssertionError("data was read")

    monkeypatch.setattr("sed_lab.train.instantiate", read)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match=sentence):
        build(config(*words))


def test_a_subset_to_tune_on_that_nobody_knows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SED_LAB_CACHE", str(tmp_path))
    toy = ["dataset=toy_points", "feature=point", "model=clip_lstm", "batch.clips.weak=64"]
    with pytest.raises(
        InputError, match="dataset toy_points has no subset 'valdation'; it has weak, weak_validation, te"
    ):
        build(config(*toy, "tune_on=valdation", name="arora2019"))
    build(config(*toy, "tune_on=validation", name="arora2019"))  # the usual one may be absent


class Failing:
    """A trainer whose training ends with an error."""

    interrupted = False

    def __init__(self, error: Exception) -> None:
        self.error = error

    def fit(self, *_: Any, **__: Any) -> None:
        raise self.error


def data(paths: list[Path]) -> Any:
    return SimpleNamespace(
        corpus=SimpleNamespace(subsets={"weak": SimpleNamespace(clips=[SimpleNamespace(path=path) for path in paths])})
    )


def test_an_error_of_training_is_said_as_it_is(tmp_path: Path) -> None:
    clips = data([tmp_path / f"{n}.wav" for n in range(3000)])  # none is there, and the error is about none of them
    with pytest.raises(InputError, match=r"\Atraining diverged: the loss is nan\Z"):
        fit(Failing(InputError("training diverged: the loss is nan")), None, clips, tmp_path, False)  # type: ignore[arg-type]


def test_files_that_cannot_be_used_are_named_the_first_of_them(tmp_path: Path) -> None:
    bad = BadAudio(f"{tmp_path}/0.wav: does not exist; replace or remove the file")
    with pytest.raises(InputError) as one:
        fit(Failing(bad), None, data([tmp_path / "0.wav"]), tmp_path, False)  # type: ignore[arg-type]
    assert str(one.value) == str(bad)
    clips = data([tmp_path / f"{n}.{kind}" for kind in ("wav", "rows") for n in range(3000)])
    with pytest.raises(
        InputError, match=r"3000 audio files cannot be used, .*/0\.wav \(does not exist\); .* and 2995 mo"
    ):
        fit(Failing(bad), None, clips, tmp_path, False)  # type: ignore[arg-type]


class Files(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        return read_audio(Path("/nowhere/a.wav"), 16000)


def test_an_error_of_a_loading_process_has_no_traceback_in_it() -> None:
    with pytest.raises(BadAudio) as raised:
        list(torch.utils.data.DataLoader(Files(), num_workers=1))
    assert "Traceback" in str(raised.value)
    assert describe(raised.value) == "/nowhere/a.wav: does not exist; replace or remove the file"


def test_a_mapping_of_own_names_replaces_what_there_is() -> None:
    aziz = config("dataset.classes={Dog: 74, Cat: 76}", "dataset.counts={Dog: 5, Cat: 6}", name="aziz2020")
    assert dict(aziz.dataset.classes) == {"Dog": 74, "Cat": 76}
    assert dict(aziz.dataset.counts) == {"Dog": 5, "Cat": 6}
    assert dict(config("+dataset.classes={Speech: 0}", name="aziz2020").dataset.classes) == {"Speech": 0}
    counts = config("dataset.counts={weak: {a: 1}, test: {b: 2}}", name="arora2019").dataset.counts
    assert (dict(counts.weak), dict(counts.test)) == ({"a": 1}, {"b": 2})
    assert set(counts.weak_validation) == {"Dog", "babycry", "gunshot", "background"}  # not named, kept
    rare = config("method.timesteps={siren: [3]}", "decoder.threshold={siren: 0.4}", name="amiriparian2018")
    assert (dict(rare.method.timesteps), dict(rare.decoder.threshold)) == ({"siren": [3]}, {"siren": 0.4})
    merged = config("report={figures: false}", "dataset.sizes={test: 8}", "method.optimizer={lr: 0.1}", name="park2022")
    assert (merged.report.page, merged.report.figures) == (True, False)  # settings are merged as ever
    assert (merged.dataset.sizes.test, merged.dataset.sizes.weak) == (8, 300)
    assert (merged.method.optimizer.lr, merged.method.optimizer["_partial_"]) == (0.1, True)
