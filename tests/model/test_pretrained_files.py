"""Files of encoders: read and never run, found and never fetched, whole or refused in one sentence."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from sed_lab.errors import InputError
from sed_lab.model.pretrained_encoder import encoder_of
from sed_lab.model.pretrained_files import describe, find, load_network
from tests.made.encoders import saved


@pytest.fixture(scope="module")
def ast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("ast"), "ast")


@pytest.fixture
def copy(ast: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ast, tmp_path / "copy"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sockets that cannot be made; what tried to."""
    asked: list[str] = []

    def refuse(*args: Any, **kwargs: Any) -> None:
        asked.append(repr(args))
        raise OSError("no network in tests")

    monkeypatch.setattr("socket.socket", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    return asked


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ast: Path) -> Path:
    """A local Hugging Face cache that holds ``lab/tiny`` as its tools lay it out."""
    repository = tmp_path / "hub" / "models--lab--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("c0ffee")
    shutil.copytree(ast, repository / "snapshots" / "c0ffee")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_folder_and_a_name_in_the_local_cache_are_found_without_the_network(
    ast: Path, hub: Path, no_network: list[str]
) -> None:
    assert find(str(ast), download=False) == ast
    found = find("lab/tiny", download=False)
    assert found == hub / "models--lab--tiny" / "snapshots" / "c0ffee"
    load_network(found, describe(found))
    assert no_network == []


def test_what_the_cache_lacks_is_fetched_only_if_asked(hub: Path, no_network: list[str]) -> None:
    with pytest.raises(InputError, match=r"model.encoder=lab/other is neither a folder .* `hf download lab/other`, or"):
        find("lab/other", download=False)
    assert no_network == []
    with pytest.raises(InputError, match=r"model.encoder=lab/other could not be downloaded"):
        find("lab/other", download=True)
    assert no_network != []  # the test would notice


@pytest.mark.parametrize("name", ["/no/such/folder", "a folder", "a/b/c", "???"])
def test_what_is_neither_folder_nor_name_is_refused_in_one_sentence(
    hub: Path, name: str, no_network: list[str]
) -> None:
    with pytest.raises(InputError, match="is neither a folder nor in the local Hugging Face cache"):
        find(name, download=False)
    assert no_network == []


def test_without_the_library_one_is_told_what_to_install(ast: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        InputError, match=r"needs the transformers library; install it with pip install .*\[pretrained\]"
    ):
        find(str(ast), download=False)


def test_code_beside_the_weights_is_not_run_and_settings_that_name_some_are_left_out(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config |= {"auto_map": {"AutoModel": "evil.Model"}, "_attn_implementation": "evil/kernels", "dtype": "float16"}
    (copy / "config.json").write_text(json.dumps(config | {"attn_implementation": "evil/kernels"}))
    (copy / "evil.py").write_text("raise SystemExit('run')\n")
    description = describe(copy)
    network = load_network(copy, description)
    assert type(network) is hf.ASTModel
    assert network.dtype == torch.float32
    assert "evil" not in description
    named = json.loads(description)  # as a detector from elsewhere may have it
    named["config"] |= {"_attn_implementation": "evil/kernels", "attn_implementation": "evil/kernels"}
    assert "evil" not in encoder_of(json.dumps(named), 16000, None).network.config.to_json_string()


def test_pickled_weights_are_not_read(copy: Path) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no weights as \.safetensors, the only ones that are read"):
        describe(copy)


def test_weights_that_are_not_all_there_are_refused_and_never_drawn_at_random(copy: Path) -> None:
    state = load_file(copy / "model.safetensors")
    name = next(name for name in state if name.endswith("layernorm.weight"))
    del state[name]
    save_file(state, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"its weights lack layernorm.weight, which would be random"):
        load_network(copy, describe(copy))
    (copy / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"its weights cannot be read \(.*\); fetch or save them again"):
        load_network(copy, describe(copy))


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("config.json", None, "has no config.json; give a folder as the transformers library saves it"),
        ("preprocessor_config.json", None, "has no preprocessor_config.json; give a folder"),
        ("config.json", "{", r"config.json cannot be read \("),
        ("config.json", "[]", "config.json holds no settings"),
        ("config.json", '{"model_type": "bert"}', "an encoder of type bert cannot be used; use AST, Wav2Vec2, HuBERT"),
    ],
)
def test_files_that_cannot_be_used_are_named(copy: Path, file: str, text: str | None, said: str) -> None:
    if text is None:
        (copy / file).unlink()
    else:
        (copy / file).write_text(text)
    with pytest.raises(InputError, match=said):
        describe(copy)


def test_extractor_and_network_must_have_one_length(tmp_path: Path) -> None:
    description = describe(saved(tmp_path, "ast", extractor={"max_length": 100}))
    with pytest.raises(InputError, match="gives 100 frames of 128 bins, but its network takes 128 of 128"):
        encoder_of(description, 16000, None)


def test_claps_audio_encoder_is_read_out_of_the_whole_with_its_weights(tmp_path: Path) -> None:
    whole = hf.ClapModel.from_pretrained(saved(tmp_path, "clap"))
    network = load_network(tmp_path, describe(tmp_path))
    assert type(network) is hf.ClapAudioModel
    expected = whole.audio_model.state_dict()
    assert expected.keys() == network.state_dict().keys()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_an_encoder_saved_with_a_head_is_read_without_it(tmp_path: Path) -> None:
    classifier = hf.ASTForAudioClassification(hf.ASTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2))
    classifier.save_pretrained(tmp_path)
    hf.ASTFeatureExtractor().save_pretrained(tmp_path)
    network = load_network(tmp_path, describe(tmp_path))
    own = classifier.audio_spectrogram_transformer.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())
