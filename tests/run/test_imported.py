"""The DCASE 2021 baseline's checkpoint: its network, written out with its own names, and the imported run agree."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.utilities.data import AttributeDict
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn

from sed_lab.clip.annotation import write_strong
from sed_lab.clip.audio import write_audio
from sed_lab.dataset.desed import CLASSES
from sed_lab.errors import InputError
from sed_lab.evaluate import measure_run
from sed_lab.files import read_json
from sed_lab.prepare import prepare
from sed_lab.run.assemble import build
from sed_lab.run.detector import load_detector
from sed_lab.run.scoring import note_measured, score_run
from sed_lab.scores import load_scores
from sed_lab.types import Event
from tests.configured import option

FILTERS = (16, 32, 64, 128, 128, 128, 128)
POOLING = ((2, 2), (2, 2), (1, 2), (1, 2), (1, 2), (1, 2), (1, 2))


class Glu(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) * x.sigmoid()


class Inner(nn.Module):
    """The baseline wraps its layers in a module of the same name: ``cnn.cnn.conv0``, ``rnn.rnn``."""

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__()
        self.add_module(name, module)


class Baseline(nn.Module):
    """The baseline's CRNN: ``[B, M, F]`` -> frame probabilities ``[B, C, T]``, clip probabilities ``[B, C]``."""

    def __init__(self, n_classes: int = 10) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, (n_in, n_out, pool) in enumerate(zip((1, *FILTERS), FILTERS, POOLING, strict=False)):
            layers[f"conv{i}"] = nn.Conv2d(n_in, n_out, 3, 1, 1)
            layers[f"batchnorm{i}"] = nn.BatchNorm2d(n_out, eps=0.001, momentum=0.99)
            layers[f"glu{i}"] = Glu(n_out)
            layers[f"pooling{i}"] = nn.AvgPool2d(pool)
        self.cnn = Inner("cnn", nn.Sequential(layers))
        self.rnn = Inner("rnn", nn.GRU(128, 128, 2, batch_first=True, bidirectional=True))
        self.dense, self.dense_softmax = nn.Linear(256, n_classes), nn.Linear(256, n_classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.cnn.cnn(x.transpose(1, 2).unsqueeze(1))  # type: ignore[operator,union-attr]
        x, _ = self.rnn.rnn(x.squeeze(-1).permute(0, 2, 1))  # type: ignore[operator,union-attr]
        strong = self.dense(x).sigmoid()
        attention = self.dense_softmax(x).softmax(-1).clamp(1e-7, 1)
        return strong.transpose(1, 2), (strong * attention).sum(1) / attention.sum(1)


def trained(seed: int) -> Baseline:
    """With batch statistics and weights that a fresh network has not."""
    torch.manual_seed(seed)
    network = Baseline()
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if name.endswith("running_mean"):
                tensor.normal_(0, 0.05)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
        network.dense.weight.mul_(8)
    return network.eval()


@pytest.fixture(scope="module")
def networks() -> dict[str, Baseline]:
    return {"student": trained(0), "teacher": trained(1)}


def as_lightning_saved(networks: dict[str, Baseline]) -> dict[str, Any]:
    """A checkpoint as Lightning 1.2 wrote them: classes as keys, settings of its own kind, other modules' buffers."""
    state = {f"sed_{s}.{name}": tensor for s, net in networks.items() for name, tensor in net.state_dict().items()}
    return {
        "epoch": 170,
        "global_step": 20178,
        "pytorch-lightning_version": "1.2.10",
        "state_dict": OrderedDict({**state, "mel_spec.mel_scale.fb": torch.zeros(1025, 128)}),
        "callbacks": {
            EarlyStopping: {"best_score": torch.tensor(1.0), "patience": 200},
            ModelCheckpoint: {"best_model_score": torch.tensor(1.0), "dirpath": "exp", "score": np.float64(1.0)},
        },
        "hparams_type": AttributeDict,
        "hyper_parameters": AttributeDict(training={"seed": 42}),
    }


@pytest.fixture(scope="module")
def imported(networks: dict[str, Baseline], tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("imported")
    torch.save(as_lightning_saved(networks), top / "baseline.ckpt")
    with pytest.raises(Exception, match="Weights only load failed"):  # which is why there are stand-ins
        torch.load(top / "baseline.ckpt", weights_only=True)
    assert prepare(["checkpoint", "dcase2021", str(top / "baseline.ckpt"), "-o", str(top / "runs/baseline")]) == 0
    return top / "runs/baseline"


def test_both_systems_give_what_the_baselines_network_gives(imported: Path, networks: dict[str, Baseline]) -> None:
    method = load_detector(imported).method
    feature = torch.rand(1, 200, 128)
    for name, network in networks.items():
        with torch.no_grad():
            strong, weak = network(feature.transpose(1, 2))
            frame, clip = getattr(method, name)(feature)
        assert strong.std() > 0.02
        torch.testing.assert_close(frame.sigmoid(), strong.transpose(1, 2), atol=2e-6, rtol=0)
        torch.testing.assert_close(clip.sigmoid(), weak, atol=2e-6, rtol=0)


@pytest.fixture(scope="module")
def desed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few clips in DESED's layout: a test, a public and a synthetic validation subset."""
    root = tmp_path_factory.mktemp("desed")
    places = ("validation/validation", "eval/public", "validation/synthetic21_validation/soundscapes")
    for seed, place in enumerate(places):
        events = {f"{place[:4]}{i}.wav": [Event(1.0 + i, 4.0 + i, CLASSES[i])] for i in range(3)}
        write_strong(root / f"metadata/{place}.tsv", events)
        for i, name in enumerate(events):
            noise = np.random.default_rng((seed, i)).normal(0, 0.1, 160000)
            write_audio(root / "audio" / place / name, noise.astype(np.float32), 16000)
    return root


def test_it_is_scored_and_measured_on_a_dataset_without_training(
    imported: Path, desed: Path, networks: dict[str, Baseline]
) -> None:
    node = OmegaConf.create({**option("dataset/desed"), "folder": str(desed)})
    record = read_json(imported / "run.json")
    config, tune_on = record["config"], record["config"]["tune_on"]
    score_run(imported, node, imported, tune_on, "cpu", ())
    subsets = {path.name for path in (imported / "scores").iterdir()}
    assert subsets == {"test", "public", "synthetic_validation"}
    metrics = measure_run(imported, build(config["decoder"]), config["metric"], tune_on)
    note_measured(imported, metrics)
    assert list(metrics["systems"]) == ["student", "teacher"]
    assert set(metrics["others"]) == {"public"}
    assert metrics["systems"]["teacher"]["psds1"]["exact"] is not None
    known = read_json(imported / "run.json")
    assert (known["status"], known["imported"]["file"]) == ("scored", "baseline.ckpt")
    tuned = metrics["systems"]["student"]["event_f1_tuned"]["threshold"]
    assert load_detector(imported).threshold == tuned
    # the scores are the network's on the front end's output
    stored = load_scores(imported / "scores/test/teacher.npz")
    feature, audio = build(config["feature"]), next(iter(build(node).subsets["test"].clips))
    assert audio.clip_id == stored.clip_id[0]
    wave = torch.from_numpy(build(node).subsets["test"].load(0, 0)[1])[None]
    with torch.no_grad():
        strong, _ = networks["teacher"](feature(wave).transpose(1, 2))
    assert stored.frame is not None
    np.testing.assert_allclose(stored.frame[0], strong[0].T.numpy(), atol=2e-6)
    score_run(imported, node, imported, None, "cpu", ())  # again, with fewer subsets: nothing old is left
    assert {path.name for path in (imported / "scores").iterdir()} == {"test", "public"}


def test_results_of_another_run_are_not_overwritten(imported: Path, desed: Path, tmp_path: Path) -> None:
    node = OmegaConf.create({**option("dataset/desed"), "folder": str(desed)})
    (tmp_path / "run.json").write_text('{"status": "complete", "name": "other"}')
    with pytest.raises(InputError, match="holds results of its own; name a folder for the new ones with output=FOLDER"):
        score_run(imported, node, tmp_path, None, "cpu", ())
    with pytest.raises(InputError, match=r"was trained with sample_rate 16000, but dataset desed has 8000"):
        score_run(imported, OmegaConf.merge(node, {"sample_rate": 8000}), imported, None, "cpu", ())
    with pytest.raises(InputError, match=r"dataset.folder is not given; add dataset.folder=\.\.\."):
        score_run(imported, OmegaConf.create({**node, "folder": "???"}), imported, None, "cpu", ())
    with pytest.raises(InputError, match="device=tpu is not there; use cpu"):
        score_run(imported, node, imported, None, "tpu", ())


class Evil:
    """A pickle that writes a file when it is loaded with Python's own pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_checkpoint_is_executed(networks: dict[str, Baseline], tmp_path: Path) -> None:
    content = as_lightning_saved(networks) | {"more": Evil(tmp_path / "made")}
    torch.save(content, tmp_path / "evil.ckpt")
    with pytest.raises(InputError, match=r"evil.ckpt cannot be read as a checkpoint"):
        prepare(["checkpoint", "dcase2021", str(tmp_path / "evil.ckpt"), "-o", str(tmp_path / "run")])
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "run").exists()


def test_what_is_no_such_checkpoint_is_refused(imported: Path, networks: dict[str, Baseline], tmp_path: Path) -> None:
    good = as_lightning_saved(networks)
    state = good["state_dict"]
    cases = {
        "text": (None, r"cannot be read as a checkpoint: .+; give a .ckpt file of PyTorch"),
        "empty": ({"state_dict": {}}, r"has no weights named sed_student. or sed_teacher."),
        "tensor": (torch.zeros(3), r"has no weights named"),
        "student": (
            {"state_dict": {name: value for name, value in state.items() if "teacher" not in name}},
            r"the DCASE 2021 task 4 baseline's network of 10 classes: 83 of 166 tensors differ, teacher.",
        ),
        "classes": (
            {"state_dict": {**state, "sed_student.dense.weight": torch.zeros(12, 256)}},
            r"1 of 166 tensors differ, student.frame_head.weight first; give the baseline's own file",
        ),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / f"{name}.ckpt"
        if content is None:
            path.write_text("not a checkpoint")
        else:
            torch.save(content, path)
        with pytest.raises(InputError, match=message):
            prepare(["checkpoint", "dcase2021", str(path), "-o", str(tmp_path / "run")])
    with pytest.raises(InputError, match=r"nowhere.ckpt cannot be read as a checkpoint: No such file or directory"):
        prepare(["checkpoint", "dcase2021", str(tmp_path / "nowhere.ckpt"), "-o", str(tmp_path / "run")])
    with pytest.raises(InputError, match=r"holds a run; name another folder with -o"):
        prepare(["checkpoint", "dcase2021", str(tmp_path / "empty.ckpt"), "-o", str(imported)])
