"""Encoders against the transformers library: its extractor's input, its network's output, times by gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from sed_lab.model.pretrained_encoder import Encoder, SpeechEncoder, encoder_of
from sed_lab.model.pretrained_files import describe, load_network
from tests.made.encoders import KINDS, saved

EXTRACTOR = {"ast": hf.ASTFeatureExtractor, "clap": hf.ClapFeatureExtractor, "clap_fused": hf.ClapFeatureExtractor}


def encoder(folder: Path, rate: int) -> Encoder:
    description = describe(folder)
    return encoder_of(description, rate, None, load_network(folder, description)).eval()


def audio_of(seconds: float, rate: int) -> np.ndarray:
    """Three clips of unlike level, with an offset."""
    noise = np.random.default_rng(0).normal(0.02, 1, (3, round(seconds * rate)))
    return (noise * [[0.5], [0.01], [0.2]]).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("ast", {}),
        ("ast", {"do_normalize": False}),
        ("wav2vec2", {}),
        ("wavlm", {"do_normalize": False}),
        ("clap", {}),
        ("clap", {"padding": "repeat"}),
        ("clap_fused", {"padding": "pad"}),
    ],
)
def test_the_input_is_that_of_the_librarys_extractor(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    rate = 48000 if "clap" in kind else 16000
    own = encoder(saved(tmp_path, kind, extractor=settings), rate)
    theirs = EXTRACTOR.get(kind, hf.Wav2Vec2FeatureExtractor).from_pretrained(tmp_path)
    audio = audio_of(0.9, rate)
    expected = theirs(list(audio), sampling_rate=rate, return_tensors="pt")
    made = own.prepare(torch.from_numpy(audio))
    # Their float64 against float32: of decibels for CLAP, of units for the others.
    atol = 1e-3 if "clap" in kind else 1e-4
    torch.testing.assert_close(made, expected[theirs.model_input_names[0]].float(), rtol=0, atol=atol)


@pytest.mark.parametrize("kind", ["ast", "wav2vec2"])
def test_embeddings_are_the_librarys_at_each_time(kind: str, tmp_path: Path) -> None:
    own = encoder(saved(tmp_path, kind), 16000)
    audio = audio_of(0.9, 16000)
    theirs = EXTRACTOR.get(kind, hf.Wav2Vec2FeatureExtractor).from_pretrained(tmp_path)
    network = (hf.ASTModel if kind == "ast" else hf.Wav2Vec2Model).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        out = network(theirs(list(audio), sampling_rate=16000, return_tensors="pt").input_values).last_hidden_state
        made = own(torch.from_numpy(audio))
    if kind == "ast":  # patches come row by row of frequency, behind two tokens
        high, wide = network.embeddings.get_shape(network.config)
        assert (high, wide) == (12, 12)
        out = torch.stack([out[:, [2 + row * wide + t for row in range(high)]].mean(1) for t in range(wide)], 1)
    torch.testing.assert_close(made, out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_each_embedding_has_a_time_and_all_that_trains_a_gradient(kind: str, tmp_path: Path) -> None:
    """What processes that train together wait for must be there, and a step must not draw from numpy."""
    own = encoder(saved(tmp_path, kind), 16000).train()  # CLAP resamples
    before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    made = own(torch.from_numpy(audio_of(1.0, 16000)))
    assert made.shape == (3, len(own.centres(16000)), own.n_embedding)
    made.square().sum().backward()
    assert [name for name, p in own.named_parameters() if p.requires_grad and p.grad is None] == []
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]


def heard_by(own: Encoder, number: int, seconds: float) -> tuple[float, float]:
    """The first and last second of audio that embedding ``number`` is made of before attention, by its gradient."""
    audio = torch.from_numpy(audio_of(seconds, 16000)[:1]).requires_grad_()
    if isinstance(own, SpeechEncoder):
        own.network.feature_extractor(audio)[0, :, number].sum().backward()
    else:
        own.network.embeddings.patch_embeddings(own.prepare(audio)).unflatten(1, (12, -1))[
            0, :, number
        ].sum().backward()
    assert audio.grad is not None
    (samples,) = audio.grad[0].nonzero(as_tuple=True)
    return samples[0].item() / 16000, (samples[-1].item() + 1) / 16000


@pytest.mark.parametrize("kind", ["ast", "wav2vec2"])
@pytest.mark.parametrize("number", [0, 3, 8])
def test_an_embeddings_time_is_the_middle_of_what_it_hears(kind: str, number: int, tmp_path: Path) -> None:
    changed = {"feat_extract_norm": "layer"} if kind == "wav2vec2" else {}  # one over time hears all of it
    own = encoder(saved(tmp_path, kind, **changed), 16000)
    start, end = heard_by(own, number, 1.0)
    assert own.centres(16000)[number].item() == pytest.approx((start + end) / 2, abs=2 / 16000)


def test_published_sizes_have_the_times_that_their_papers_say() -> None:
    """AST: patches of 16 frames every 10; speech: 25 ms every 20; CLAP: 32 embeddings of ten seconds."""
    made = {}
    for kind, config, network, extractor in (
        ("ast", hf.ASTConfig(num_hidden_layers=0), hf.ASTModel, hf.ASTFeatureExtractor()),
        ("speech", hf.Wav2Vec2Config(num_hidden_layers=0), hf.Wav2Vec2Model, hf.Wav2Vec2FeatureExtractor()),
        ("clap", hf.ClapAudioConfig(), hf.ClapAudioModel, hf.ClapFeatureExtractor()),
    ):
        with torch.device("meta"):
            shell = network(config)
        kinds = {"ast": "SpectrogramEncoder", "speech": "SpeechEncoder", "clap": "ClapEncoder"}
        cls = next(one for one in Encoder.__subclasses__() if one.__name__ == kinds[kind])
        made[kind] = cls(shell, extractor.to_dict(), 16000, None).centres(160000)
    torch.testing.assert_close(made["ast"][:2].float(), torch.tensor([0.0875, 0.1875]))
    assert len(made["ast"]) == 101
    torch.testing.assert_close(made["speech"][:2].float(), torch.tensor([0.0125, 0.0325]))
    assert len(made["speech"]) == 499
    assert len(made["clap"]) == 32
    assert made["clap"].diff().mean().item() == pytest.approx(10 / 1023 * 32, rel=1e-6)
    assert (made["clap"][0] + made["clap"][-1]).item() == pytest.approx(10.0)


@pytest.mark.parametrize("kind", ["wav2vec2", "clap"])
def test_a_burst_changes_the_embeddings_of_its_time_most(kind: str, tmp_path: Path) -> None:
    changed = {"feat_extract_norm": "layer"} if kind == "wav2vec2" else {}
    seconds = 2.0
    own = encoder(
        saved(tmp_path, kind, extractor={"do_normalize": False} if kind == "wav2vec2" else {}, **changed), 16000
    )
    quiet = torch.from_numpy(audio_of(seconds, 16000)[1:2])
    centres = own.centres(round(seconds * 16000))
    for at in (0.3, 0.95, 1.7):
        loud = quiet.clone()
        loud[:, round((at - 0.03) * 16000) : round((at + 0.03) * 16000)] *= 60
        with torch.no_grad():
            change = (own(loud) - own(quiet))[0].square().sum(1)
        found = centres[change.argmax()].item()
        assert abs(found - at) <= max(0.04, centres.diff().max().item()), (at, found)


@pytest.mark.parametrize("n_samples", [400, 719, 720, 16000, 159999])
def test_a_speech_encoder_has_as_many_times_as_the_library_says(n_samples: int, tmp_path: Path) -> None:
    own = encoder(saved(tmp_path, "wav2vec2"), 16000)
    assert len(own.centres(n_samples)) == int(own.network._get_feat_extract_output_lengths(n_samples))


def test_only_the_last_layers_are_its_top(tmp_path: Path) -> None:
    for kind, names in {
        "ast": {"layers.1", "layernorm"},
        "wav2vec2": {"encoder.layers.1"},
        "clap": {"audio_encoder.layers.1", "audio_encoder.norm"},
    }.items():
        own = encoder(saved(tmp_path / kind, kind), 16000)
        modules = {id(module): name for name, module in own.network.named_modules()}
        assert {modules[id(module)] for module in own.top(1)} == names


@pytest.mark.parametrize("n_samples", [9920, 44100])  # 3599.09 samples at 16 kHz, with 3600 of which comes another one
def test_resampled_clips_have_a_time_for_each_embedding(n_samples: int, tmp_path: Path) -> None:
    own = encoder(saved(tmp_path, "wav2vec2"), 44100)
    assert own(torch.zeros(1, n_samples)).shape[1] == len(own.centres(n_samples))
