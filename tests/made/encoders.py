"""Tiny encoders of the transformers library with random weights, in folders as it saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf

hf.logging.disable_progress_bar()
SPEECH = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
KINDS = ("ast", *SPEECH, "clap", "clap_fused")


def saved(folder: Path, kind: str, seed: int = 0, extractor: dict[str, Any] | None = None, **changed: Any) -> Path:
    """``folder`` with an encoder of ``kind``; ``extractor`` and ``changed`` are settings other than its usual ones."""
    torch.manual_seed(seed)
    network, settings = {"ast": _ast, "clap": _clap, "clap_fused": _fused}.get(kind, _speech)(kind, changed)
    settings = getattr(hf, settings)(**_EXTRACTORS.get(kind, {}) | (extractor or {}))
    network.save_pretrained(folder)
    settings.save_pretrained(folder)
    return folder


# One second of sound at most, so that tests are quick: 128 frames of 10 ms, and half of 2 s for CLAP.
_EXTRACTORS: dict[str, dict[str, Any]] = {
    "ast": {"max_length": 128},
    "clap": {"max_length_s": 2, "feature_size": 16, "truncation": "rand_trunc"},
    "clap_fused": {"max_length_s": 2, "feature_size": 16},
}
_LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def _ast(kind: str, changed: dict[str, Any]) -> tuple[Any, str]:
    return hf.ASTModel(hf.ASTConfig(**{**_LAYERS, "max_length": 128, **changed})), "ASTFeatureExtractor"


def _speech(kind: str, changed: dict[str, Any]) -> tuple[Any, str]:
    sizes = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    config = getattr(hf, f"{SPEECH[kind]}Config")(**{**_LAYERS, **sizes, **changed})
    return getattr(hf, f"{SPEECH[kind]}Model")(config), "Wav2Vec2FeatureExtractor"


def _clap(kind: str, changed: dict[str, Any]) -> tuple[Any, str]:
    """The whole of it, with its text encoder, as it is published."""
    sizes = {"patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 16}
    audio = {**sizes, "spec_size": 64, "num_mel_bins": 16, **changed}
    text = {**_LAYERS, "num_hidden_layers": 1, "vocab_size": 30}
    return hf.ClapModel(hf.ClapConfig(audio_config=audio, text_config=text)), "ClapFeatureExtractor"


def _fused(kind: str, changed: dict[str, Any]) -> tuple[Any, str]:
    return _clap(kind, {"enable_fusion": True, **changed})
