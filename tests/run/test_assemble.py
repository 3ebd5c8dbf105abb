"""What fits together: every method with every network, before any data is read."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sed_lab.app import conf_folder
from sed_lab.errors import InputError
from sed_lab.method.base import LossTerm, total_loss
from sed_lab.run.assemble import Facts, assemble, build, check_fit, method_class
from sed_lab.run.identity import register_resolvers
from sed_lab.train import composition
from sed_lab.types import Shares

METHODS = sorted(path.stem for path in (conf_folder() / "method").glob("*.yaml"))
MODELS = sorted(path.stem for path in (conf_folder() / "model").glob("*.yaml"))
FRAMES = {"crnn", "crnn_plain", "crnn_small", "attention_pool", "attention_pool_small", "pretrained", "pretrained_crnn"}
FITTING = {
    "amiriparian2018": {
        "chunk_cnn",
        "chunk_cnn_small",
        "chunk_crnn",
        "chunk_crnn_small",
        "chunk_rnn",
        "chunk_rnn_small",
        "context_fnn",
    },
    "arora2019": {"clip_cnn", "clip_cnn_small", "clip_lstm", "clip_lstm_small"},
    "arora2019_baseline": {"clip_cnn", "clip_cnn_small", "clip_lstm", "clip_lstm_small"},
    "aziz2020": {"embedding_cnn", "embedding_fnn", "embedding_mean"},
    "huang2021": {"attention_pool", "attention_pool_small", "pretrained", "pretrained_crnn"},
    "park2022": FRAMES,
    "park2022_short": FRAMES,
    "supervised": FRAMES,
}


def config_of(*overrides: str) -> dict[str, Any]:
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", overrides=list(overrides))
        groups = ("dataset", "feature", "model", "loss", "method", "decoder")
        return {group: OmegaConf.to_container(cfg[group], resolve=True) for group in groups}


@cache
def model_of(name: str) -> Any:
    return config_of(f"model={name}")["model"]


@pytest.mark.parametrize("method", METHODS)
def test_every_network_fits_or_is_refused_with_those_that_do(method: str) -> None:
    whole = config_of(f"method={method}")
    for model in MODELS:
        config, chosen = {**whole, "model": model_of(model)}, {"method": method, "model": model}
        if model in FITTING[method]:
            check_fit(config, conf_folder(), chosen)
            continue
        with pytest.raises(InputError) as refused:
            check_fit(config, conf_folder(), chosen)
        said = str(refused.value)
        takes = method_class(config).takes
        assert said.startswith(f"method={method} needs a model with {takes}, but model={model} has")
        assert all(f"model={name}" in said for name in FITTING[method])
        paper = method.split("_")[0]
        assert (f"or --config-name {paper}" in said) == (conf_folder() / f"{paper}.yaml").exists()


def test_the_refusal_names_the_configuration_that_has_it() -> None:
    with pytest.raises(
        InputError,
        match="method=huang2021 needs a model with encoded frames and their pooling, but model=crnn_small has frame and"
        " clip logits; use model=attention_pool or model=attention_pool_small or model=pretrained or"
        " model=pretrained_crnn, or --config-name huang2021",
    ):
        check_fit(
            config_of("method=huang2021", "model=crnn_small"),
            conf_folder(),
            {"method": "huang2021", "model": "crnn_small"},
        )


def test_front_end_and_corpus_must_have_one_rate() -> None:
    with pytest.raises(InputError, match=r"feature.sample_rate=16000 but dataset.sample_rate=44100; set both alike"):
        assemble(config_of("feature=log_mel_small"), Facts(("Dog",), 10.0, sample_rate=44100), seed=0)


@pytest.mark.parametrize(
    ("embedded_by", "feature", "front_end"),
    [("vggish", "mini_vggish", "MiniVggish"), ("mini_vggish", "vggish", "VggishEmbedding")],
)
def test_embeddings_of_another_front_end_are_refused(
    embedded_by: str, feature: str, front_end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sed_lab.dataset.mini_embeddings.FITTED_ON", 1)
    words = ["method=aziz2020", "model=embedding_mean", "loss=bce", f"feature={feature}", f"paths.cache={tmp_path}"]
    said = (
        f"the dataset holds embeddings of feature={embedded_by}, but {front_end} would embed recordings otherwise;"
        f" set feature={embedded_by}"
    )
    with pytest.raises(InputError, match=said):
        assemble(config_of(*words), Facts(("Dog",), 10.0, 16000, embedded_by=embedded_by), seed=0)
    assemble(config_of(*words), Facts(("Dog",), 10.0, 16000, embedded_by=feature), seed=0)


def test_a_front_end_of_audio_does_not_go_with_embeddings() -> None:
    with pytest.raises(InputError, match=r"embeddings of feature=vggish, but LogMel would embed"):
        assemble(config_of("feature=log_mel"), Facts(("Dog",), 10.0, 16000, embedded_by="vggish"), seed=0)


def test_a_trained_detector_is_made_without_its_data() -> None:
    config = config_of("method=arora2019", "feature=standardised_mel", "model=clip_lstm", "loss=weighted_bce")
    facts = Facts(("Dog", "Cat"), 10.0, class_weight=torch.ones(2), decided={"cluster_counts": [2, 1, 3]})
    made = assemble(config, facts, seed=0)
    assert made.method.state_dict()["network.clusters.weight"].shape == (6, 128)
    assert made.method.decided() == {"cluster_counts": [2, 1, 3], "pretrained": None}
    assert not any("weak_labels" in name for name in made.method.detector_state())  # no training label leaves with it


def test_subsets_that_a_method_cannot_use_are_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert composition({"synthetic": 8, "weak": 2, "unlabelled": 0}, ("weak",)) == {"weak": 2}
    assert "trains on weak clips; left out of its batches: synthetic (8)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("over", "of_class"), [("strong", None), ("weak", None), ("all", None), (None, None), ("strong", 1)]
)
def test_means_of_parts_are_weighed_by_their_clips(over: str | None, of_class: int | None) -> None:
    shares = Shares(strong=0.5, weak=1.5, all=0.75, strong_of_class=(0.0, 2.0), parts=2)
    factor = {"strong": 0.5, "weak": 1.5, "all": 0.75, None: 1.0}[over] if of_class is None else 2.0
    term = LossTerm(torch.tensor(3.0), over, 0.1, of_class)  # type: ignore[arg-type]
    assert float(total_loss({"a": term, "b": LossTerm(torch.tensor(1.0), None)}, shares)) == pytest.approx(
        0.3 * factor + 1
    )


def test_what_a_part_refuses_is_said_in_its_own_words(tmp_path: Path) -> None:
    """Not in those of the error that its sentence was made from."""
    with pytest.raises(InputError, match=r"none\.json does not exist"):
        build({"_target_": "sed_lab.files.read_json"}, path=tmp_path / "none.json")
    with pytest.raises(InputError, match=r"none\.json does not exist"):
        build({"_target_": "sed_lab.files.read_json", "path": {"_target_": "pathlib.Path", "_args_": ["none.json"]}})
