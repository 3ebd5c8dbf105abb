"""What comes with a run, a checkpoint or a score file runs no code, reads no secret, and ends in a sentence."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from sed_lab import evaluate, files, predict
from sed_lab.app import conf_folder
from sed_lab.clip.annotation import write_durations, write_strong
from sed_lab.detection.table import Found, rounded, table_text
from sed_lab.errors import InputError, run_command
from sed_lab.files import read_json, write_json
from sed_lab.report import page
from sed_lab.run.assemble import Facts, assemble
from sed_lab.run.checkpoint import write_checkpoint
from sed_lab.run.detector import load_detector
from sed_lab.run.identity import register_resolvers
from sed_lab.run.trust import check_node
from sed_lab.scores import save_scores
from sed_lab.types import Event, Scores
from tests.made.attacks import ATTACKS, SECRET, Attack, Place

CLASSES = ("Dog", "Cat")


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a small untrained network, and scores of six clips."""
    folder = tmp_path_factory.mktemp("harmless") / "run"
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", overrides=["model=crnn_small", "feature=log_mel_small", "logger=[]"])
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    made = assemble(config, Facts(CLASSES, 2.0), seed=0)
    sha256 = write_checkpoint({"state_dict": made.method.detector_state(), "encoder": None}, folder / "detector.ckpt")
    decoder = {"decoder": "MedianDecoder", **{k: v for k, v in config["decoder"].items() if k != "_target_"}}
    write_json(folder / "run.json", {
        "name": "run", "status": "complete", "command": "sed-train", "code": {"sed_lab": "0"}, "versions": {},
        "systems": ["model"], "seed": 0, "config": config, "metrics": {}, "detector": {
            "classes": CLASSES, "clip_seconds": 2.0, "decided": {}, "decoder": decoder, "sha256": sha256},
    })  # fmt: skip
    rng = np.random.default_rng(0)
    for subset in ("test", "validation"):
        names = tuple(f"{subset}{i}" for i in range(6))
        frames = tuple(rng.random((40, 2)).astype(np.float32) for _ in names)
        place = folder / "scores" / subset
        save_scores(place / "model.npz", Scores(names, CLASSES, np.full(6, 4.0), 0.1, frames))
        truth = {f"{name}.wav": (Event(1.0, 2.0, CLASSES[i % 2]),) for i, name in enumerate(names)}
        write_strong(place / "ground_truth.tsv", truth)
        write_durations(place / "durations.tsv", dict.fromkeys(truth, 4.0))
    soundfile.write(folder.parent / "a.wav", rng.normal(0, 0.1, 16000 * 3), 16000)
    return folder


@pytest.fixture(scope="module")
def evaluating() -> Iterator[DictConfig]:
    """sed-evaluate's configuration, composed once."""
    words = ["report.figures=false", "report.page_clips=2"]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("evaluate", overrides=words, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    yield cfg
    HydraConfig.instance().cfg = None


@pytest.fixture
def place(harmless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy to attack, and a secret beside it and in the environment."""
    monkeypatch.setenv("SED_LAB_SECRET", SECRET)
    monkeypatch.setattr(files, "UNPACKED_BYTES", 2**20)
    shutil.copytree(harmless, tmp_path / "run")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text(f"{SECRET}\n")
    return Place(tmp_path / "run", tmp_path / "canary", outside)


def run(command: str, place: Place, cfg: DictConfig, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command on the run, in this process."""
    given = {"predict": ["sed-predict", str(place.run), __file__], "page": ["page", str(place.run)]}
    monkeypatch.setattr(sys, "argv", given.get(command, ["sed-evaluate"]))
    test = place.run / "scores" / "test"
    named: dict[str, Any] = {"run": str(place.run), "scores": None, "truth": None, "durations": None}
    if command == "scores":
        named = {"scores": test / "model.npz", "truth": test / "ground_truth.tsv", "durations": test / "durations.tsv"}
        named = {"run": None, "output": str(place.run / "out"), **{key: str(path) for key, path in named.items()}}
    changed = OmegaConf.merge(cfg, named)
    assert isinstance(changed, DictConfig)
    call = {"predict": predict.main, "page": page.main}.get(
        command, lambda: run_command(lambda: evaluate.task(changed))
    )
    with pytest.raises(SystemExit) as ended:
        call()
    return int(ended.value.code or 0)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "attack", ATTACKS, ids=[f"{one.command}: {one.name}".encode("unicode_escape").decode()[:70] for one in ATTACKS]
)
def test_an_attack_ends_in_a_sentence(
    attack: Attack,
    place: Place,
    evaluating: DictConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    attack.prepare(place)
    before = snapshot(place.outside)
    code = run(attack.command, place, evaluating, monkeypatch)
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert not place.canary.exists()
    assert snapshot(place.outside) == before
    if attack.command == "predict" and "loss" in attack.name and code == 1:
        assert "not read: " in err  # no loss is made of it: this method predicts without one, and goes on to the audio
        return
    assert code == 2, err
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert line.isprintable()
    assert len(line) < 1500
    assert "allow_pickle" not in line
    assert "weights_only=False" not in line


def test_there_are_attacks_of_every_kind() -> None:
    assert len({(one.name, one.command) for one in ATTACKS}) == len(ATTACKS) > 150
    assert {one.command for one in ATTACKS} == {"predict", "evaluate", "page", "scores"}


def test_the_harmless_run_is_taken(
    place: Place,
    evaluating: DictConfig,
    harmless: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Else the attacks would be refused for another reason."""
    assert load_detector(place.run).classes == CLASSES
    for command in ("scores", "evaluate", "page"):
        if command == "page":
            assert run(command, place, evaluating, monkeypatch) == 0
        else:
            assert run(command, place, evaluating, monkeypatch) == 0, capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["sed-predict", str(place.run), str(harmless.parent / "a.wav")])
    with pytest.raises(SystemExit) as ended:
        predict.main()
    assert ended.value.code == 0, capsys.readouterr().err
    record = read_json(place.run / "run.json")
    del record["detector"]["sha256"]  # as in records of before there were checksums
    write_json(place.run / "run.json", record)
    assert load_detector(place.run).classes == CLASSES


def test_names_with_markup_are_shown_as_they_are(
    place: Place, evaluating: DictConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for subset in ("test", "validation"):
        scores = place.run / "scores" / subset
        (scores / "model.npz").rename(scores / "[red]<b>x[&].npz")
    assert run("evaluate", place, evaluating, monkeypatch) == 0, capsys.readouterr().err
    assert "[red]<b>x[&]" in capsys.readouterr().out
    text = (place.run / "page.html").read_text()
    assert "[red]&lt;b&gt;x[&amp;]" in text
    assert "<b>x" not in text


@pytest.mark.parametrize("name", ["a\nb.wav\t0\t1\tDog", "a\x1b[2J", "\u202egod", "\u2028", "\x9b31m"])
def test_a_file_s_name_forges_no_row_of_a_table(name: str) -> None:
    found = [Found(name, 2.0, (rounded(0.0, 1.0, "Dog", 0.5),))]
    for kind, columns in (("tsv", slice(1, None)), ("raven", slice(3, 5))):
        (_, row) = table_text(kind, found, {}, 8000).splitlines()
        assert row.split("\t")[columns][:2] == ["0.000", "1.000"]
        assert all(sign.isprintable() or sign == "\t" for sign in row)


PACKAGE = """
from functools import partial
from os import system
from sed_lab.method.supervised import Supervised as Theirs

class Own(Theirs):
    pass

hidden = partial(system, "true")
"""


def test_a_trusted_package_is_the_only_door(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_of_trust.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    record = read_json(place.run / "run.json")
    record["config"]["method"]["_target_"] = "mine_of_trust.Own"
    (place.run / "run.json").write_text(json.dumps(record))
    with pytest.raises(
        InputError, match=r"method\._target_=mine_of_trust\.Own is not .* or give --trust mine_of_trust"
    ):
        load_detector(place.run)
    assert "mine_of_trust" not in sys.modules
    for other in ("mine", "mine_of", "mine_of_trust_too", ""):
        with pytest.raises(InputError, match="is not sed_lab's own"):
            load_detector(place.run, trusted=[other])
    assert type(load_detector(place.run, trusted=["mine_of_trust"]).method).__name__ == "Own"
    for name in ("system", "Theirs", "partial", "hidden", "nothing", "__doc__", "__builtins__"):
        with pytest.raises(InputError, match="is not sed_lab's own"):
            check_node({"_target_": f"mine_of_trust.{name}"}, "method", "method", ["mine_of_trust"])
    for name in ("none.Own", "Own.predict", "system.__call__"):  # attributes are not followed
        with pytest.raises(InputError, match=rf"mine_of_trust\.{name} cannot be imported"):
            check_node({"_target_": f"mine_of_trust.{name}"}, "method", "method", ["mine_of_trust"])


@pytest.mark.parametrize("group", ["feature", "model", "loss", "method", "decoder"])
def test_every_option_of_ours_is_let_in_by_its_own_group_alone(group: str) -> None:
    nodes = [yaml.safe_load(path.read_text()) for path in sorted((conf_folder() / group).glob("*.yaml"))]
    own = [{key: node[key] for key in ("_target_", "optimizer") if key in node} for node in nodes if "_target_" in node]
    assert own
    for node in own:
        check_node(node, group, group)
        with pytest.raises(InputError, match="is not sed_lab's own"):
            check_node(node, "loss" if group != "loss" else "decoder", group)


def test_what_a_recorded_front_end_makes_lies_in_ones_own_cache(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setenv("SED_LAB_CACHE", str(place.run.parent / "cache"))
    monkeypatch.setattr("sed_lab.dataset.mini_embeddings.make_once", lambda where, *_: asked.append(str(where)))
    record = read_json(place.run / "run.json")
    target = "sed_lab.dataset.mini_embeddings.mini_vggish"
    record["config"]["feature"] = {"_target_": target, "folder": str(place.outside)}
    (place.run / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError):  # the network is not one of embeddings
        load_detector(place.run)
    assert [Path(one).parent for one in asked] == [place.run.parent / "cache"]
    assert os.listdir(place.outside) == ["secret.txt"]
