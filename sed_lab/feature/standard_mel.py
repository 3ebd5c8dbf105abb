"""A log mel front end normalised with the training set's own mean and deviation of each mel bin (Arora et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch

from sed_lab.errors import InputError
from sed_lab.feature.log_mel import LogMel


class StandardLogMel(LogMel):
    """``(log(mel + log_offset) - mean) / deviation``, per mel bin over the frames of the training clips.

    Mean and deviation are computed once by :meth:`fit` and lie in checkpoints. The paper states 64 mel bins, frames of
    25 ms every 10 ms and normalisation with training statistics; range and offset are VGGish's, which has the same
    front end.

    Args:
        log_offset: added to the linear mel before the natural logarithm.
        others: as `LogMel`.

    Raises:
        InputError: as `LogMel`; an offset that is not above 0.
    """

    window: ClassVar[str] = "hann"
    mean: torch.Tensor
    deviation: torch.Tensor
    fitted: torch.Tensor  # whether fit was called

    def __init__(
        self,
        sample_rate: int,
        n_fft: int,
        win_length: int,
        hop_length: int,
        n_mels: int,
        f_min: float,
        f_max: float,
        log_offset: float,
    ) -> None:
        given = (sample_rate, n_fft, win_length, hop_length, n_mels, f_min, f_max)
        super().__init__(
            *given,
            window=self.window,
            periodic=True,
            power=1.0,
            amin=log_offset,
            db_range=None,
            scaler="natural",
            mel_scale="htk",
            mel_norm=None,
            pad_mode="reflect",
            last_frame=True,
        )
        if not log_offset > 0:
            raise InputError(f"feature.log_offset={log_offset} must be above 0; VGGish uses 0.01")
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("deviation", torch.ones(n_mels))
        self.register_buffer("fitted", torch.tensor(False))

    @torch.no_grad()
    def fit(self, parts: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Take mean and deviation from ``(linear mel [B, F, M], seconds [B])``, part by part; padding beyond a clip's
        seconds is left out.

        Raises:
            InputError: there is no frame at all.
        """
        count, average, squares = 0, torch.zeros(self.n_mels).double(), torch.zeros(self.n_mels).double()
        for mel, seconds in parts:
            values = super().scale(mel).double()
            frames = (seconds / self.hop_seconds).ceil().clamp(1, values.shape[1]).to(values.device)
            inside = torch.arange(values.shape[1], device=values.device)[None, :] < frames[:, None]
            chosen = values[inside]
            part, count = len(chosen), count + len(chosen)
            if part:
                # Chan, Golub and LeVeque 1979: sums of squares about means, so that no digits are lost.
                shift = chosen.mean(0).cpu() - average
                inner = chosen.var(0, correction=0).cpu() * part
                squares = squares + inner + shift**2 * part * (count - part) / count
                average = average + shift * part / count
        if count == 0:
            raise InputError("there is no training audio to take the front end's mean and deviation from")
        self.mean.copy_(average)
        self.deviation.copy_((squares / count).sqrt().clamp(min=1e-5))
        self.fitted.fill_(True)

    @torch.no_grad()
    def scale(self, mel: torch.Tensor) -> torch.Tensor:
        """Normalised log of linear ``mel [B, F, M]``; same shape."""
        return (super().scale(mel) - self.mean) / self.deviation


class HammingLogMel(StandardLogMel):
    """`StandardLogMel` with a periodic Hamming window, as DCASE 2017's baseline system has it ("hamming_asymmetric").

    Source: TUT-ARG/DCASE2017-baseline-system 0bdb885, dcase_framework/features.py.
    """

    window = "hamming"
