"""The front end: waveform -> linear mel -> normalised log mel. Mixup works between the two steps."""

from __future__ import annotations

import torch
import torchaudio
from torch import nn

from sed_lab.errors import InputError

WINDOWS = {"hamming": torch.hamming_window, "hann": torch.hann_window}
SCALERS = ("clip_minmax", "none", "natural")
PAD_MODES = ("reflect", "constant")
TOGETHER = 16  # mel bins that one product makes on a CPU


class LogMel(nn.Module):
    """Log mel spectrogram of mono audio; conf/feature/log_mel.yaml has the settings of the DCASE 2021 task 4 baseline.

    Args:
        sample_rate: of the audio, Hz.
        n_fft, win_length, hop_length: samples. Frames are centred, so a clip of N samples gives
            ``F = N // hop_length + 1`` frames; without ``last_frame`` one less, each as long as a hop within the clip.
        pad_mode: what lies beyond a clip's ends: ``reflect``, or ``constant`` zeros.
        n_mels, f_min, f_max: mel bins M and the range they cover, Hz; ``f_max`` None means half the sample rate.
        window, periodic: ``hamming`` or ``hann``; the baseline's Hamming window is the symmetric one.
        power: 1 for magnitudes, 2 for energies.
        amin: floor of the linear mel before the logarithm.
        db_range: decibels are clamped to it; None clamps nothing.
        scaler: ``clip_minmax`` maps each clip's decibels to [0, 1]; ``none`` leaves decibels; ``natural`` is
            ``ln(mel + amin)`` as it is, for networks that normalise it themselves.
        mel_scale, mel_norm: ``htk`` or ``slaney``; filters of equal height (None) or of equal area (``slaney``).

    Raises:
        InputError: an unknown window, scaler or padding, or lengths that do not fit together.
    """

    mel_filters: torch.Tensor
    window_samples: torch.Tensor

    def __init__(
        self,
        sample_rate: int,
        n_fft: int,
        win_length: int,
        hop_length: int,
        n_mels: int,
        f_min: float,
        f_max: float | None,
        window: str,
        periodic: bool,
        power: float,
        amin: float,
        db_range: tuple[float, float] | None,
        scaler: str,
        mel_scale: str,
        mel_norm: str | None,
        pad_mode: str,
        last_frame: bool,
    ) -> None:
        super().__init__()
        f_max = sample_rate / 2 if f_max is None else f_max
        choices = {"window": (window, WINDOWS), "scaler": (scaler, SCALERS), "pad_mode": (pad_mode, PAD_MODES)}
        for name, (value, known) in choices.items():
            if value not in known:
                raise InputError(f"feature.{name}={value!r} is unknown; use one of {', '.join(known)}")
        if not 0 < win_length <= n_fft or hop_length <= 0:
            raise InputError(
                f"feature.win_length={win_length} and hop_length={hop_length} do not fit n_fft={n_fft};"
                " use 0 < win_length <= n_fft and hop_length > 0"
            )
        if not 0 <= f_min < f_max <= sample_rate / 2:
            raise InputError(
                f"feature.f_min={f_min} and f_max={f_max} do not fit sample_rate={sample_rate};"
                f" use 0 <= f_min < f_max <= {sample_rate / 2}"
            )
        self.sample_rate, self.n_fft, self.win_length, self.hop_length = sample_rate, n_fft, win_length, hop_length
        self.n_mels, self.power, self.amin, self.scaler = n_mels, power, amin, scaler
        self.pad_mode, self.last_frame = pad_mode, last_frame
        self.db_range = None if db_range is None else (float(db_range[0]), float(db_range[1]))
        mel = (f_min, f_max, n_mels, sample_rate, mel_norm, mel_scale)
        filters = torchaudio.functional.melscale_fbanks(n_fft // 2 + 1, *mel)
        # Both follow from the arguments, so they are not part of a checkpoint.
        self.register_buffer("mel_filters", filters, persistent=False)
        self.bands = [bins_of(filters[:, first : first + TOGETHER]) for first in range(0, n_mels, TOGETHER)]
        self.register_buffer("window_samples", WINDOWS[window](win_length, periodic=periodic), persistent=False)

    @property
    def hop_seconds(self) -> float:
        """Time from one feature frame to the next."""
        return self.hop_length / self.sample_rate

    def frames(self, n_samples: int) -> int:
        """Feature frames F of a clip of ``n_samples``."""
        return max(1, n_samples // self.hop_length + self.last_frame)

    def sizes(self, n_samples: int) -> dict[str, int]:
        """What a network may ask for by name."""
        return {"n_mels": self.n_mels, "n_frames": self.frames(n_samples)}

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Normalised log mel ``[B, F, M]`` of ``audio [B, N]``."""
        return self.scale(self.mel(audio))

    @torch.no_grad()
    def mel(self, audio: torch.Tensor) -> torch.Tensor:
        """Linear mel ``[B, F, M]`` of ``audio [B, N]``."""
        # Half precision would show in quiet bins. A clip's spectrum holds many times its own memory, so on a CPU one
        # clip at a time stays within the caches.
        at_once = len(audio) if audio.is_cuda else 1
        with torch.autocast(audio.device.type, enabled=False):
            return torch.cat([self._mel(part) for part in audio.float().split(at_once)])

    def _mel(self, audio: torch.Tensor) -> torch.Tensor:
        frame = (self.n_fft, self.hop_length, self.win_length, self.window_samples)
        spectrum = torch.stft(audio, *frame, center=True, pad_mode=self.pad_mode, return_complex=True)
        spectrum = spectrum[..., : self.frames(audio.shape[1])]
        # abs() guards against overflow, which audio is far from, and takes more than twice as long.
        energy = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
        magnitude = energy if self.power == 2 else energy.sqrt_() if self.power == 1 else energy.pow_(self.power / 2)
        if audio.is_cuda:
            return magnitude.transpose(1, 2) @ self.mel_filters
        # A filter covers few bins: most of the matrix is zeros, and that product takes three times as long.
        products = [
            magnitude[:, bins].transpose(1, 2) @ part[bins]
            for bins, part in zip(self.bands, self.mel_filters.split(TOGETHER, 1), strict=True)
        ]
        return torch.cat(products, 2)

    @torch.no_grad()
    def scale(self, mel: torch.Tensor) -> torch.Tensor:
        """Log of linear ``mel [B, F, M]`` as ``scaler`` says; same shape."""
        if self.scaler == "natural":
            return (mel + self.amin).log()
        decibel = mel.clamp(min=self.amin).log10_().mul_(20.0 / self.power)
        if self.db_range is not None:
            decibel.clamp_(*self.db_range)
        if self.scaler == "none":
            return decibel
        low, high = torch.aminmax(decibel.flatten(1), dim=1)
        low, high = low[:, None, None], high[:, None, None]
        return decibel.sub_(low).div_(high - low + 1e-8)


def bins_of(filters: torch.Tensor) -> slice:
    """From the first to the last bin of ``filters [bins, mels]`` that is not zero in all of them; none if all are."""
    there = filters.any(dim=1).nonzero().flatten()
    return slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, 0)
