"""An encoder's embeddings on a grid of frames, and the front end that gives them beside linear mel, or the samples.

See `sed_lab.model.pretrained` for what the columns of its feature are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed_lab.model.pretrained_encoder import Encoder
from sed_lab.types import at_least_float32


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
    """Linear mel, if any, and beside it a frozen encoder's embeddings or the samples of each frame.

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
