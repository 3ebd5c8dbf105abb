"""An exported detector gives the run's events: as a folder of safetensors, and as ONNX from waveform to posteriors.

Posteriors of ONNX differ in their last digits, which can move an event only where two edges are as good as each other.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import sed_lab
from sed_lab.export import main
from sed_lab.feature.log_mel import LogMel
from sed_lab.files import read_json, write_json
from sed_lab.method.base import Prediction
from sed_lab.predict import detect, score_file
from sed_lab.run.detector import Detector, load_detector
from sed_lab.run.weights import read_weights, write_safetensors
from tests.configured import configured
from tests.made.runs import noted, sound, untrained
from tests.typed import typed

onnx = pytest.importorskip("onnx")  # of the extra `export`, as is onnxruntime
pytest.importorskip("onnxruntime")

from sed_lab.run.waveform_net import ConvolvedMel, session  # noqa: E402

EVIL = "somebody.package.Loss"


def export(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["sed-export", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = noted(untrained(tmp_path_factory.mktemp("runs") / "mini"), sound(8.0))
    record = read_json(folder / "run.json")
    record["dataset"]["per_class"] = {"Cat": {"clips": 3, "events": 5, "seconds": 7.25}}
    record["metrics"] = {"model/event_f1/macro": 0.4321}
    write_json(folder / "run.json", record)
    return folder


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "mini"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert export(monkeypatch, run, folder) == 0
    return folder


def by_onnx(folder: Path, like: Detector) -> Detector:
    """The detector whose posteriors are those of model.onnx; windows and decoder are the run's."""
    model, described = session(folder / "model.onnx"), read_json(folder / "detector.json")

    def predict(x: Any) -> dict[str, Prediction]:
        found = dict(zip(described["onnx"]["outputs"], model.run(None, {"audio": x.audio.numpy()}), strict=True))
        tensors = {name: torch.from_numpy(array) for name, array in found.items()}
        return {described["system"]: Prediction(tensors.get("frame"), tensors.get("clip"))}

    method: Any = SimpleNamespace(
        clips_only=described["frame_hop"] is None, finer=like.method.finer, device="cpu", predict=predict
    )
    return replace(like, method=method)


def recordings(folder: Path, seconds: Sequence[float]) -> list[Path]:
    paths = []
    for number, length in enumerate(seconds):
        rate = (16000, 22050, 44100)[number % 3]
        paths.append(folder / f"{number}.wav")
        soundfile.write(paths[-1], sound(length, rate, number), rate)
    return paths


def assert_same_events(run: Path, exported: Path, paths: Sequence[Path]) -> int:
    own, other = sed_lab.load(run), sed_lab.load(exported)
    plain = load_detector(run)
    model = by_onnx(exported, plain)
    count = 0
    for path in paths:
        events = own.predict(path)
        assert other.predict(path) == events
        assert detect(model, score_file(model, path)) == events == detect(plain, score_file(plain, path))
        count += len(events)
    return count


def test_safetensors_and_onnx_give_the_run_s_events(run: Path, exported: Path, tmp_path: Path) -> None:
    assert assert_same_events(run, exported, recordings(tmp_path, (2.5, 9.1))) > 5


def test_the_command_takes_what_was_exported(run: Path, exported: Path, tmp_path: Path) -> None:
    (path,) = recordings(tmp_path, (9.1,))
    said = [typed("sed-predict", str(folder), str(path), folder=tmp_path) for folder in (run, exported)]
    assert [one.code for one in said] == [0, 0], said[1].err
    assert len(said[0].out.splitlines()) > 3
    assert said[0].out == said[1].out


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("config",), ("park2022",), ("huang2021",), ("arora2019", "method.cluster_counts=[2,2,1]")], ids=" ".join
)
def test_twenty_recordings_have_the_same_events_however_exported(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, *overrides = words
    run = untrained(tmp_path / "run", *overrides, config=config)
    run = run if config == "arora2019" else noted(run, sound(8.0))  # of whole clips: nothing is tuned
    assert export(monkeypatch, run, tmp_path / "exported") == 0
    paths = recordings(tmp_path, np.linspace(0.5, 15.0, 20).tolist())
    assert assert_same_events(run, tmp_path / "exported", paths) > 20


def test_what_is_exported_needs_the_folder_alone(exported: Path, run: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "run.json", "detector.json", "detector.safetensors", "model.onnx", "README.md"
    }  # fmt: skip
    state, kept = read_weights(run / "detector.ckpt")[0], read_weights(exported / "detector.safetensors")[0]
    assert state.keys() == kept.keys()
    assert all(torch.equal(state[name], kept[name]) for name in state)
    text = json.dumps(read_json(exported / "run.json"))
    assert str(run.parent) not in text  # neither caches nor data of this machine
    described = read_json(exported / "detector.json")
    own = sed_lab.load(run)
    assert described["classes"] == list(own.classes)
    assert described["threshold"] == own.threshold
    assert (described["sample_rate"], described["window_seconds"]) == (16000, 4.0)
    model = onnx.load(exported / "model.onnx")
    onnx.checker.check_model(model)
    dims = [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", "samples"]


def test_the_card_says_data_numbers_and_limits(exported: Path) -> None:
    text = (exported / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# mini\n")
    for said in (
        "| Cat | 3 | 5 | 7.250 |", "| event F1, decoder as configured | 0.432 |", "Alarm, Cat, Dog",
        "resampled to 16 kHz: it hears nothing above 8 kHz", "fingerprint `0000000000000000`",
        "`frame` [batch, frames, classes]", "BoxDecoder",
    ):  # fmt: skip
        assert said in text


@pytest.mark.parametrize(
    "changed", [{}, {"power": 1.0}, {"win_length": 800, "pad_mode": "constant"}, {"last_frame": False, "power": 1.5}]
)
def test_the_convolution_is_the_front_end(changed: dict[str, Any]) -> None:
    feature = configured("feature/log_mel", LogMel)(
        **{"sample_rate": 16000, "n_fft": 1024, "win_length": 1024, "hop_length": 256, "n_mels": 40, **changed}
    )
    audio = torch.from_numpy(np.stack([sound(1.3, seed=seed) for seed in (0, 1)])).float()
    ours, theirs = ConvolvedMel(feature)(audio), feature.mel(audio)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_no_loss_is_needed_to_predict(run: Path, exported: Path, tmp_path: Path) -> None:
    for folder in (run, exported):
        other = tmp_path / folder.parent.name
        shutil.copytree(folder, other)
        record = read_json(other / "run.json")
        record["config"]["loss"] = {"_target_": EVIL, "alpha": 1}
        write_json(other / "run.json", record)
        audio = sound(3.0)
        assert sed_lab.load(other).predict(audio, 16000) == sed_lab.load(run).predict(audio, 16000)


def test_a_method_that_predicts_by_its_loss_asks_whether_that_is_trusted(tmp_path: Path) -> None:
    words = ("dataset=mini_embeddings", "feature=vggish", "feature.weights=null", "feature.pca=null")
    run = untrained(tmp_path / "run", *words, config="aziz2020", seconds=10.0)
    record = read_json(run / "run.json")
    rows = torch.zeros(1, 10, 128, dtype=torch.uint8)
    from sed_lab.types import Input

    found = load_detector(run, audio=False).method.predict(Input(embedding=rows))["model"]
    assert found.clip is not None
    record["config"]["loss"] = {"_target_": EVIL}
    write_json(run / "run.json", record)
    method = load_detector(run, audio=False).method
    with pytest.raises(sed_lab.InputError, match=f"loss._target_={EVIL} is not sed_lab's own"):
        method.predict(Input(embedding=rows))


def test_a_loss_with_weights_of_its_own_is_part_of_the_detector() -> None:
    from sed_lab.run.weights import loss_of

    made: list[int] = []

    def make() -> Any:
        made.append(1)
        return abs

    lazy = loss_of(make, {"network.w": 0})
    assert not made
    assert (lazy(-3), lazy(-2), made) == (3, 2, [1])
    assert loss_of(lambda: "made", {"loss.w": 0}) == "made"


def test_weights_are_read_back_as_they_are(tmp_path: Path) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    state = {"a": whole, "b": whole.t(), "c": torch.tensor(True), "d": torch.tensor([2**40])}
    write_safetensors(tmp_path / "x.safetensors", state, '{"kind": "é"}')
    found, encoder = read_weights(tmp_path / "x.safetensors")
    assert encoder == '{"kind": "é"}'
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) and found[name].dtype == state[name].dtype for name in state)
    (tmp_path / "y.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(sed_lab.InputError, match="cannot be read"):
        read_weights(tmp_path / "y.safetensors")


def test_other_files_are_left_alone_and_an_earlier_export_is_replaced(
    run: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    assert export(monkeypatch, run, tmp_path / "mine") == 2
    assert "is not empty and no exported detector; name another folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    again = shutil.copytree(exported, tmp_path / "again")
    assert export(monkeypatch, run, again, "--without-onnx") == 0
    assert not (again / "model.onnx").exists()
    assert "There is no ONNX model of it." in (again / "README.md").read_text(encoding="utf-8")
    assert read_json(again / "detector.json")["onnx"] is None


def test_what_cannot_be_onnx_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = untrained(tmp_path / "run", config="amiriparian2018", classes=("babycry", "glassbreak", "gunshot"))
    assert export(monkeypatch, run, tmp_path / "exported") == 2
    said = capsys.readouterr().err
    assert "RareEnsemble on StandardLogMel cannot be written as ONNX" in said
    assert "--without-onnx writes what sed-predict takes" in said
    assert not (tmp_path / "exported").exists()


def test_a_missing_extra_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library, said in (("onnxruntime", "needs onnx and onnxruntime"), ("safetensors.torch", "needs safetensors")):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, library, None)
            words = ["--without-onnx"] if "safe" in library else []
            assert export(patched, run, tmp_path / "exported", *words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "pip install 'sed_lab[export]'" in error


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="a process's threads are not listed here")
def test_onnxruntime_starts_no_thread_that_reports() -> None:
    """It does by itself, except where CI or this variable is set."""
    kept = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
    code = "import os, sed_lab, onnxruntime; print(len(os.listdir('/proc/self/task')))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**kept, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
