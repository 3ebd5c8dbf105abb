"""Pretrained encoders of the transformers library: audio in, embeddings at known times out.

Each kind makes its network's input in batches of tensors, equal to what the library's own feature extractor makes clip
by clip, and says where on the time axis each embedding lies. transformers is imported when an encoder is made.

B clips, N samples, E embeddings of a clip, D their length.
"""

from __future__ import annotations

import importlib
import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

from sed_lab.errors import InputError

# Keys of config.json that name code, formats of weights or labels, not the network.
LEFT_OUT = {"architectures", "auto_map", "quantization_config", "attn_implementation", "experts_implementation"}
LEFT_OUT |= {"dtype", "torch_dtype", "transformers_version", "id2label", "label2id"}
EXTRA = "pip install -c constraints.txt '.[pretrained]'"
_WINDOW, _HOP, _N_FFT = 400, 160, 512  # samples: Kaldi's frames of 25 ms every 10 ms at 16 kHz


class Encoder(nn.Module):
    """What all kinds share.

    Args:
        network: the library's. settings: of its feature extractor. rate: of the audio that comes, Hz; it is resampled
            where the encoder's differs.
        learning_rate: of its parameters, where the method's optimiser trains them; None: it does not.
    """

    max_seconds: float | None = None  # of a clip; None: any length

    def __init__(self, network: Any, settings: Mapping[str, Any], rate: int, learning_rate: float | None) -> None:
        super().__init__()
        self.network, self.rate, self.learning_rate = network, rate, learning_rate
        self.sample_rate = int(settings["sampling_rate"])
        self.resample = torchaudio.transforms.Resample(rate, self.sample_rate)
        self.n_embedding = self._length()

    def _length(self) -> int:
        return int(self.network.config.hidden_size)

    def forward(self, audio: Tensor) -> Tensor:
        """Embeddings ``[B, E, D]`` of ``audio [B, N]``."""
        with torch.autocast(audio.device.type, enabled=False):
            x = self.prepare(self.resample(audio.float()))
        return self.embed(x)

    @abstractmethod
    def prepare(self, audio: Tensor) -> Tensor:
        """The network's input from audio at its own rate, as the library's feature extractor makes it."""

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Embeddings ``[B, E, D]`` of the network's input."""

    @abstractmethod
    def centres(self, n_samples: int) -> Tensor:
        """The middle of what each embedding is made of directly, in seconds ``[E]``, of clips of N samples."""

    @abstractmethod
    def top(self, n_layers: int) -> list[nn.Module]:
        """The last ``n_layers`` layers, and a normalisation after them."""


class SpeechEncoder(Encoder):
    """Wav2Vec2, HuBERT and WavLM: convolutions on the waveform, then a transformer; 20 ms a frame as published.

    The extractor's normalisation to zero mean and unit variance is over the clip as it comes, with the silence that
    fills up a short recording.
    """

    def __init__(self, network: Any, settings: Mapping[str, Any], rate: int, learning_rate: float | None) -> None:
        super().__init__(network, settings, rate, learning_rate)
        self.normalise = bool(settings["do_normalize"])
        if hasattr(network, "masked_spec_embed"):  # nothing is masked, see `quietened`
            network.masked_spec_embed.requires_grad_(False)

    def prepare(self, audio: Tensor) -> Tensor:
        if not self.normalise:
            return audio
        return (audio - audio.mean(1, keepdim=True)) / (audio.var(1, correction=0, keepdim=True) + 1e-7).sqrt()

    def embed(self, x: Tensor) -> Tensor:
        return self.network(x).last_hidden_state

    def centres(self, n_samples: int) -> Tensor:
        config, hop, width = self.network.config, 1, 1
        left = -(-n_samples * self.sample_rate // self.rate)  # as many as resampling gives
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            left, width, hop = (left - kernel) // stride + 1, width + (kernel - 1) * hop, hop * stride
        return (torch.arange(left).double() * hop + width / 2) / self.sample_rate

    def top(self, n_layers: int) -> list[nn.Module]:
        encoder = self.network.encoder
        after = [encoder.layer_norm] if self.network.config.do_stable_layer_norm else []  # else it is before them
        return [*encoder.layers[-n_layers:], *after]


class SpectrogramEncoder(Encoder):
    """AST: patches of a Kaldi filter bank of fixed length; as published 128 bins, 16 x 16 frames and bins every 10.

    An embedding is the mean over frequency of the patches at one time, every 100 ms as published; the class and
    distillation tokens are dropped. A clip is filled up to the fixed length with zeros, as the extractor does.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, network: Any, settings: Mapping[str, Any], rate: int, learning_rate: float | None) -> None:
        super().__init__(network, settings, rate, learning_rate)
        config = network.config
        self.max_length, n_mels = int(config.max_length), int(config.num_mel_bins)
        if (self.max_length, n_mels) != (settings["max_length"], settings["num_mel_bins"]):
            raise InputError(
                f"model.encoder: its feature extractor gives {settings['max_length']} frames of"
                f" {settings['num_mel_bins']} bins, but its network takes {self.max_length} of {n_mels}; use files that"
                " were saved together"
            )
        self.max_seconds = self.max_length * _HOP / self.sample_rate
        normal = bool(settings["do_normalize"])
        self.mean, self.scale = float(settings["mean"]) * normal, float(2 * settings["std"]) if normal else 1.0
        banks, _ = torchaudio.compliance.kaldi.get_mel_banks(
            n_mels, _N_FFT, float(self.sample_rate), 20.0, 0.0, 100.0, -500.0, 1.0
        )
        self.register_buffer("filters", F.pad(banks, (0, 1)).T.contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(_WINDOW, periodic=False), persistent=False)

    def prepare(self, audio: Tensor) -> Tensor:
        frames = F.pad(audio, (0, max(0, _WINDOW - audio.shape[1]))).unfold(1, _WINDOW, _HOP)
        frames = frames - frames.mean(2, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], 2)
        spectrum = torch.fft.rfft((frames - 0.97 * before) * self.window, _N_FFT).abs().square()
        bank = (spectrum @ self.filters).clamp(min=torch.finfo(torch.float32).eps).log()[:, : self.max_length]
        return (F.pad(bank, (0, 0, 0, self.max_length - bank.shape[1])) - self.mean) / self.scale

    def embed(self, x: Tensor) -> Tensor:
        config = self.network.config
        high = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        return self.network(x).last_hidden_state[:, 2:].unflatten(1, (high, -1)).mean(1)

    def centres(self, n_samples: int) -> Tensor:
        config = self.network.config
        wide = (config.max_length - config.patch_size) // config.time_stride + 1
        width = _HOP * (config.patch_size - 1) + _WINDOW  # samples of a patch
        return (torch.arange(wide).double() * config.time_stride * _HOP + width / 2) / self.sample_rate

    def top(self, n_layers: int) -> list[nn.Module]:
        return [*self.network.layers[-n_layers:], self.network.layernorm]


class ClapEncoder(Encoder):
    """CLAP's audio encoder, HTSAT: as published ten seconds of 64 log mel bins at 48 kHz, an embedding every 0.31 s.

    An embedding is the mean over frequency of the last stage's. Shorter clips are filled up as the extractor does it,
    by repetition or with zeros.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, network: Any, settings: Mapping[str, Any], rate: int, learning_rate: float | None) -> None:
        from transformers.audio_utils import mel_filter_bank

        super().__init__(network, settings, rate, learning_rate)
        self.max_seconds = float(settings["max_length_s"])
        self.n_samples = round(self.max_seconds * self.sample_rate)
        self.hop, self.n_fft, self.padding = settings["hop_length"], settings["fft_window_size"], settings["padding"]
        self.fusion = settings["truncation"] == "fusion"
        span = (settings["feature_size"], settings["frequency_min"], settings["frequency_max"], self.sample_rate)
        scale = (None, "htk") if self.fusion else ("slaney", "slaney")
        filters = mel_filter_bank(self.n_fft // 2 + 1, *span, *scale)
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(self.n_fft), persistent=False)
        own = network.audio_encoder
        if own.enable_fusion:  # what joins the parts of longer clips, of which there are none
            own.patch_embed.fusion_model.requires_grad_(False)
            own.patch_embed.mel_conv2d.requires_grad_(False)

    def _length(self) -> int:
        return int(self.network.audio_encoder.num_features)

    def prepare(self, audio: Tensor) -> Tensor:
        if self.padding != "pad":
            times = self.n_samples // audio.shape[1] + (self.padding == "repeat")
            audio = audio.repeat(1, times)[:, : self.n_samples]
        audio = F.pad(audio, (0, self.n_samples - audio.shape[1]))
        frame = (self.n_fft, self.hop, self.n_fft, self.window)
        spectrum = torch.stft(audio, *frame, center=True, pad_mode="reflect", return_complex=True).abs().square()
        decibel = 10 * (spectrum.transpose(1, 2) @ self.filters).clamp(min=1e-10).log10()
        return decibel[:, None].expand(-1, 4 if self.fusion else 1, -1, -1)

    def embed(self, x: Tensor) -> Tensor:
        longer = torch.zeros(len(x), 1, dtype=torch.bool, device=x.device)
        return self.network(input_features=x, is_longer=longer).last_hidden_state.mean(2).transpose(1, 2)

    def centres(self, n_samples: int) -> Tensor:
        config = self.network.config
        width = config.spec_size * config.spec_size // config.num_mel_bins  # the frames are stretched to so many
        each = config.patch_stride[1] * 2 ** (len(config.depths) - 1)  # of which an embedding is made
        frames = 1 + self.n_samples // self.hop
        middle = (torch.arange(width // each).double() + 0.5) * each - 0.5
        return middle * (frames - 1) / (width - 1) * self.hop / self.sample_rate

    def top(self, n_layers: int) -> list[nn.Module]:
        return [*self.network.audio_encoder.layers[-n_layers:], self.network.audio_encoder.norm]


# model_type of the library's config.json: the kind, and the library's class of network.
KINDS: dict[str, tuple[type[Encoder], str]] = {
    "audio-spectrogram-transformer": (SpectrogramEncoder, "ASTModel"),
    "wav2vec2": (SpeechEncoder, "Wav2Vec2Model"),
    "hubert": (SpeechEncoder, "HubertModel"),
    "wavlm": (SpeechEncoder, "WavLMModel"),
    "clap_audio_model": (ClapEncoder, "ClapAudioModel"),
}


def library() -> Any:
    """The transformers library, its progress bars and tables of weights switched off.

    Raises:
        InputError: it is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise InputError(f"model=pretrained needs the transformers library; install it with {EXTRA}") from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def network_class(model_type: str) -> Any:
    """The library's class for one of `KINDS`."""
    library()
    return getattr(importlib.import_module("transformers"), KINDS[model_type][1])


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a ``config.json`` says what the network is, at any depth: nothing that could load code."""
    return {
        key: plain(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in LEFT_OUT and not key.startswith("_")
    }


def quietened(described: Mapping[str, Any]) -> Any:
    """The library's configuration of an encoder, without what drops layers or masks its input at random.

    Dropout stays; what is left out draws from numpy, or leaves layers without a gradient.
    """
    config = network_class(described["model_type"]).config_class.from_dict(plain(described))
    for name, value in {"layerdrop": 0.0, "apply_spec_augment": False, "add_adapter": False}.items():
        if hasattr(config, name):
            setattr(config, name, value)
    return config


def encoder_of(description: str, rate: int, learning_rate: float | None, network: Any = None) -> Encoder:
    """An encoder from its description, the text of `sed_lab.model.pretrained_files.describe`.

    Without ``network`` its weights are drawn at random, for those of a trained detector.
    """
    known = json.loads(description)
    kind = KINDS[known["config"]["model_type"]][0]
    if network is None:
        network = network_class(known["config"]["model_type"])(quietened(known["config"]))
    return kind(network, known["extractor"], rate, learning_rate)
