"""A frame head on a pretrained encoder, alone or beside convolutions on log mel: the network, and its front end.

A frozen encoder is part of the front end, which gives its embeddings in the place of linear mel, so that they can be
kept (`sed_lab.clip.feature_cache`) and lie in no training checkpoint and no copy of the network. One that is fine-tuned
is part of the network, and the front end passes it the samples. Both come as columns of a feature ``[B, F, M + K]``
beside M columns of mel (0 without convolutions): K the length of an embedding, or the samples of a frame. Mixing clips
or shifting them in time thus means the same for all columns.

F frames of the feature, E embeddings of a clip, D their length.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.model.crnn import CRNN, clip_logits
from sed_lab.model.pretrained_encoder import Encoder, encoder_of
from sed_lab.model.pretrained_files import describe, find, load_network
from sed_lab.types import at_least_float32


class Pretrained(nn.Module):
    """Layer norm, an optional bidirectional GRU, linear frame logits and attention clip logits on an encoder's output.

    Without ``filters`` an output frame lasts ``frame_seconds``, whatever the front end's frames. With them a `CRNN`'s
    convolutions are beside the encoder, its embeddings join what these give before the GRU, and output frames are the
    convolutions'. Embeddings are brought onto the grid by `onto_frames`.

    Args:
        n_classes: C. n_samples: of every clip. feature: the front end of group ``feature``.
        encoder: a folder, or a name of the local Hugging Face cache. download: fetch what the cache lacks.
        frozen: its weights stay; else they are trained with ``encoder_lr``, in its last ``train_layers`` layers (None:
            in all that it has).
        frame_seconds: length of an output frame without ``filters``.
        description: of the encoder of a trained detector, whose weights are loaded afterwards, instead of ``encoder``.
        others: as `CRNN`; ``gru_layers`` 0 is no GRU.

    Raises:
        InputError: the encoder cannot be had, or clips are longer than it takes; values do not fit together.
    """

    gives = ("frame and clip logits", "encoded frames and their pooling")
    normalises_batches = True  # convolutions beside it, and a fine-tuned CLAP

    def __init__(
        self,
        n_classes: int,
        n_samples: int,
        feature: Any,
        encoder: str,
        download: bool,
        frozen: bool,
        encoder_lr: float,
        train_layers: int | None,
        frame_seconds: float,
        filters: Sequence[int],
        pooling: Sequence[tuple[int, int]],
        conv_dropout: float,
        dropout: float,
        gru_cells: int,
        gru_layers: int,
        batch_norm_momentum: float,
        batch_norm_eps: float,
        attention_over: str | None,
        attention_floor: float,
        description: str | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise InputError(f"model.dropout={dropout} must be in [0, 1)")
        if attention_over not in ("classes", "frames", None):
            raise InputError(f"model.attention_over={attention_over!r} is unknown; use classes, frames or null")
        rate, log_mel = feature.sample_rate, feature if filters else None
        own, description = _opened(encoder, download, description, rate, None if frozen else encoder_lr)
        self.n_classes, self.n_samples, self.dropout = n_classes, n_samples, dropout
        self.attention_over, self.attention_floor = attention_over, attention_floor
        if filters and not hasattr(feature, "n_mels"):
            raise InputError(
                "model.filters: these convolutions take mel, which this feature has not; use a log mel one"
            )
        self.n_mels, self.blocks = feature.n_mels if filters else 0, nn.ModuleList()
        if filters:  # a CRNN's; its GRU has no place for embeddings
            rest = (0.0, dropout, 1, 1, batch_norm_momentum, batch_norm_eps, attention_over, attention_floor)
            self.blocks = CRNN(n_classes, self.n_mels, filters, pooling, True, conv_dropout, *rest).blocks
        self.time_pooling = math.prod(pool[0] for pool in pooling) if filters else 1
        hop, n_frames = _grid(frame_seconds, n_samples, rate)
        if filters:
            hop, n_frames = feature.hop_length, feature.frames(n_samples)
        framed = _framed(own, encoder, n_samples, n_frames, hop / rate)
        if frozen or train_layers is not None:
            framed.requires_grad_(False)
        for layer in own.top(train_layers) if train_layers is not None and not frozen else ():
            layer.requires_grad_(True)
        framed.train(not frozen)  # the library gives it for evaluation
        self._front_end = [EncoderFrontEnd(rate, hop, n_frames, log_mel, framed if frozen else None, description)]
        self.encoder = None if frozen else framed
        self.norm = nn.LayerNorm(own.n_embedding)
        width = own.n_embedding + (filters[-1] if filters else 0)
        self.gru = nn.GRU(width, gru_cells, gru_layers, batch_first=True, bidirectional=True) if gru_layers else None
        self.n_hidden = 2 * gru_cells if gru_layers else width
        self.frame_head = nn.Linear(self.n_hidden, n_classes)
        self.attention_head = nn.Linear(self.n_hidden, n_classes) if attention_over else None

    @staticmethod
    def check(encoder: str, download: bool, frozen: bool, encoder_lr: float, train_layers: int | None) -> None:
        """Refuse what cannot be had or does not fit, without loading weights.

        Raises:
            InputError: there is no such encoder or library; a rate or a number of layers that trains nothing.
        """
        describe(find(encoder, download))
        if not encoder_lr > 0:
            raise InputError(f"model.encoder_lr={encoder_lr} must be above 0; model.frozen=true trains no encoder")
        if train_layers is not None and (frozen or train_layers < 1):
            raise InputError(
                f"model.train_layers={train_layers} with model.frozen={str(frozen).lower()}: give at least 1 and"
                " model.frozen=false, or null"
            )

    def take_front_end(self) -> EncoderFrontEnd:
        """The front end, once: it is the method's from then on, and copies of the network do not copy it."""
        return self._front_end.pop()

    def frames(self, n_feature_frames: int) -> int:
        """Output frames T for F feature frames."""
        return n_feature_frames // self.time_pooling

    def encode(self, feature: Tensor) -> Tensor:
        """What the heads see ``[B, T, H]`` of ``feature [B, F, M + K]``."""
        mel, carried = feature[..., : self.n_mels], feature[..., self.n_mels :]
        if self.encoder is not None:
            audio = carried.flatten(1)[:, : self.n_samples]
            carried = self.encoder(F.pad(audio, (0, self.n_samples - audio.shape[1])))
        x = self.norm(F.avg_pool1d(carried.transpose(1, 2), self.time_pooling).transpose(1, 2))
        if self.n_mels:
            y = mel.unsqueeze(1).contiguous(memory_format=torch.channels_last)
            for block in self.blocks:
                y = block(y)
            x = torch.cat([x, y.squeeze(3).transpose(1, 2)], 2)
        if self.gru is not None:
            x, _ = self.gru(x)
        return F.dropout(x, self.dropout, self.training)

    def pool(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Frame logits ``[B, T, C]`` and clip logits ``[B, C]`` of ``x [B, T, H]``."""
        frame_logits = self.frame_head(x)
        attention = None if self.attention_head is None else self.attention_head(x)
        return frame_logits, clip_logits(frame_logits, attention, self.attention_over, self.attention_floor)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Frame logits ``[B, T, C]`` and clip logits ``[B, C]`` of ``feature [B, F, M + K]``."""
        return self.pool(self.encode(feature))


class FrameEncoder(nn.Module):
    """An encoder with its embeddings on a grid of frames, ``audio [B, N]`` -> ``[B, F, D]``, by `onto_frames`."""

    weights: Tensor

    def __init__(self, encoder: Encoder, weights: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("weights", weights.float(), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        embeddings = at_least_float32(self.encoder(audio))
        with torch.autocast(audio.device.type, enabled=False):
            return self.weights @ embeddings


class EncoderFrontEnd(nn.Module):
    """Linear mel, if any, and beside it a frozen encoder's embeddings or the samples of each frame; see the module.

    The encoder is no module of it: it would lie in every checkpoint, and be trained.

    Args:
        sample_rate, hop_length, n_frames: of the grid, in Hz, samples, F.
        log_mel: the front end that gives mel and scales it; None: no mel.
        encoder: a frozen one; None: samples.
        description: of the encoder, to make it again.
    """

    def __init__(
        self,
        sample_rate: int,
        hop_length: int,
        n_frames: int,
        log_mel: Any,
        encoder: FrameEncoder | None,
        description: str,
    ) -> None:
        super().__init__()
        self.sample_rate, self.hop_length, self.n_frames = sample_rate, hop_length, n_frames
        self.log_mel, self.description = log_mel, description
        self.n_mels = 0 if log_mel is None else log_mel.n_mels
        self._encoder = [] if encoder is None else [encoder]  # a list hides it from the module
        self.passes_samples = encoder is None  # so that there is nothing worth keeping

    @property
    def power(self) -> float:
        """Of the mel columns, 1 for magnitudes, 2 for energies; 1 without them, as samples add up as they are."""
        return 1.0 if self.log_mel is None else float(self.log_mel.power)

    @property
    def hop_seconds(self) -> float:
        """Time from one feature frame to the next."""
        return self.hop_length / self.sample_rate

    def frames(self, n_samples: int) -> int:
        """Feature frames F; clips are all as long as the network was made for."""
        return self.n_frames

    def forward(self, audio: Tensor) -> Tensor:
        """The network's feature ``[B, F, M + K]`` of ``audio [B, N]``."""
        return self.scale(self.mel(audio))

    @torch.no_grad()
    def mel(self, audio: Tensor) -> Tensor:
        """Linear mel and embeddings or samples ``[B, F, M + K]`` of ``audio [B, N]``."""
        columns = [] if self.log_mel is None else [self.log_mel.mel(audio)]
        columns.append(self._embeddings(audio) if self._encoder else self._samples(audio))
        return torch.cat(columns, 2)

    def _embeddings(self, audio: Tensor) -> Tensor:
        encoder = self._encoder[0].to(audio.device)
        # On a CPU one clip at a time, so that a clip's are the same whatever is computed with it.
        at_once = len(audio) if audio.is_cuda else 1
        with torch.autocast(audio.device.type, enabled=False):
            return torch.cat([encoder(part) for part in audio.float().split(at_once)])

    def _samples(self, audio: Tensor) -> Tensor:
        n_samples = self.n_frames * self.hop_length
        return F.pad(audio, (0, n_samples - audio.shape[1])).unflatten(1, (self.n_frames, self.hop_length))

    @torch.no_grad()
    def scale(self, mel: Tensor) -> Tensor:
        """``mel [B, F, M + K]`` with its first M columns as the log mel front end scales them; same shape."""
        if self.log_mel is None:
            return mel
        return torch.cat([self.log_mel.scale(mel[..., : self.n_mels]), mel[..., self.n_mels :]], 2)

    @property
    def fitted(self) -> bool:
        """Whether there is nothing, or nothing more, to fit."""
        return bool(getattr(self.log_mel, "fitted", True))

    def fit(self, parts: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Fit the log mel front end to ``(mel [B, F, M + K], seconds [B])``, part by part."""
        self.log_mel.fit((mel[..., : self.n_mels], seconds) for mel, seconds in parts)

    def fixed_state(self) -> dict[str, Tensor]:
        """The frozen encoder's weights, which `state_dict` leaves out."""
        return dict(self._encoder[0].state_dict()) if self._encoder else {}

    def load_fixed_state(self, state: Mapping[str, Tensor]) -> None:
        """Take what :meth:`fixed_state` gave."""
        if self._encoder:
            self._encoder[0].load_state_dict(state)

    def decides(self) -> dict[str, Any]:
        """What decides the values of :meth:`mel` beside the settings of the log mel front end."""
        digest = hashlib.sha256(self.description.encode())
        for name, value in self.fixed_state().items():
            digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        return {"encoder": digest.hexdigest(), "hop_length": self.hop_length, "n_mels": self.n_mels}


def _opened(
    encoder: str, download: bool, description: str | None, rate: int, learning_rate: float | None
) -> tuple[Encoder, str]:
    """The encoder with its weights, or without them from its description, and the description."""
    if description is not None:
        return encoder_of(description, rate, learning_rate), description
    folder = find(encoder, download)
    description = describe(folder)
    return encoder_of(description, rate, learning_rate, load_network(folder, description)), description


def _framed(own: Encoder, name: str, n_samples: int, n_frames: int, hop: float) -> FrameEncoder:
    seconds = n_samples / own.rate
    if own.max_seconds is not None and seconds > own.max_seconds:
        raise InputError(
            f"clips of {seconds:g} s are longer than the {own.max_seconds:g} s that model.encoder={name} takes; use a"
            " dataset of shorter clips, or another encoder"
        )
    return FrameEncoder(own, onto_frames(own.centres(n_samples), n_frames, hop, seconds))


def _grid(frame_seconds: float, n_samples: int, rate: int) -> tuple[int, int]:
    hop_length = round(frame_seconds * rate)
    if not 0 < hop_length <= n_samples:
        raise InputError(
            f"model.frame_seconds={frame_seconds} does not fit clips of {n_samples / rate:g} s; use for example 0.064"
        )
    return hop_length, math.ceil(n_samples / hop_length)


def onto_frames(centres: Tensor, n_frames: int, hop: float, end: float) -> Tensor:
    """Weights ``[F, E]`` that bring embeddings onto frames: rows sum to 1.

    Frame t covers ``[t, t + 1) hop``. An embedding's weight falls in a straight line from the frame's middle to nothing
    one frame, or one embedding's step, away, whichever is longer: linear interpolation where embeddings are further
    apart than frames, a triangular average of them where they are closer. A frame that reaches none takes the nearest.

    Args:
        centres: ``[E]`` where embeddings lie, seconds, in order. n_frames, hop: F and their length, seconds.
        end: of the clip, seconds: embeddings further on are of what fills it up, and left out.
    """
    centres = centres.double()
    reach = max(hop, (centres[1:] - centres[:-1]).max().item() if len(centres) > 1 else 0.0)
    distance = ((torch.arange(n_frames).double() + 0.5)[:, None] * hop - centres[None]).abs()
    distance[:, 1:] = distance[:, 1:].masked_fill(centres[None, 1:] > end, math.inf)
    weights = (1 - distance / reach).clamp(min=0)
    alone = weights.sum(1) == 0
    weights[alone] = F.one_hot(distance[alone].argmin(1), len(centres)).double()
    return weights / weights.sum(1, keepdim=True)
