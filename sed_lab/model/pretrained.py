"""A frame head on a pretrained encoder, alone or beside convolutions on log mel: the network, and its front end.

A frozen encoder is part of the front end, which gives its embeddings in the place of linear mel, so that they can be
kept (`sed_lab.clip.feature_cache`) and lie in no training checkpoint and no copy of the network. One that is fine-tuned
is part of the network, and the front end passes it the samples. Both come as columns of a feature ``[B, F, M + K]``
beside M columns of mel (0 without convolutions): K the length of an embedding, or the samples of a frame. Mixing clips
or shifting them in time thus means the same for all columns.

F frames of the feature, E embeddings of a clip, D their length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.model.crnn import CRNN, clip_logits
from sed_lab.model.pretrained_encoder import Encoder, encoder_of
from sed_lab.model.pretrained_files import describe, find, load_network
from sed_lab.model.pretrained_frames import EncoderFrontEnd, FrameEncoder, onto_frames


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
        if filters:
            block = (conv_dropout, batch_norm_momentum, batch_norm_eps)
            self.blocks = _convolutions(self.n_mels, filters, pooling, *block)
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


def _convolutions(
    n_mels: int,
    filters: Sequence[int],
    pooling: Sequence[tuple[int, int]],
    dropout: float,
    batch_norm_momentum: float,
    batch_norm_eps: float,
) -> nn.ModuleList:
    """A CRNN's; its GRU has no place for embeddings."""
    whole = CRNN(
        n_classes=1,
        n_mels=n_mels,
        filters=filters,
        pooling=pooling,
        gated=True,
        strided=False,
        conv_dropout=dropout,
        input_dropout=0.0,
        dropout=0.0,
        gru_cells=1,
        gru_layers=1,
        batch_norm_momentum=batch_norm_momentum,
        batch_norm_eps=batch_norm_eps,
        attention_over=None,
        attention_floor=0.0,
    )
    return whole.blocks


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
