"""The DCASE 2021 task 4 baseline's training step in plain PyTorch: the reference of the benchmarks.

Written from the published description, with the building blocks its users run (torchaudio, nn.Dropout, contiguous
memory, no allocator settings): what sed_lab's own step is compared with.
"""

from __future__ import annotations

import copy
import math
import random

import numpy as np
import torch
import torchaudio
from torch import nn

FILTERS = (16, 32, 64, 128, 128, 128, 128)
POOLING = ((2, 2), (2, 2), (1, 2), (1, 2), (1, 2), (1, 2), (1, 2))


class PlainGate(nn.Module):
    """Linear(x) * sigmoid(x) over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) * self.sigmoid(x)


class PlainCRNN(nn.Module):
    """``[B, M, F]`` log mel -> frame probabilities ``[B, C, T]`` and clip probabilities ``[B, C]``."""

    def __init__(self, n_classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out, pool in zip((1, *FILTERS), FILTERS, POOLING, strict=False):
            layers += [
                nn.Conv2d(n_in, n_out, 3, padding=1),
                nn.BatchNorm2d(n_out, eps=1e-3, momentum=0.99),
                PlainGate(n_out),
                nn.Dropout(0.5),
                nn.AvgPool2d(pool),
            ]
        self.cnn = nn.Sequential(*layers)
        self.gru = nn.GRU(128, 128, 2, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.5)
        self.strong = nn.Linear(256, n_classes)
        self.attention = nn.Linear(256, n_classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.cnn(x.transpose(1, 2).unsqueeze(1))
        x, _ = self.gru(x.squeeze(-1).permute(0, 2, 1))
        x = self.dropout(x)
        strong = self.strong(x).sigmoid()
        attention = self.attention(x).softmax(-1).clamp(1e-7, 1)
        return strong.transpose(1, 2), (strong * attention).sum(1) / attention.sum(1)


class PlainFrontEnd(nn.Module):
    """Waveform -> linear mel; :meth:`log` -> per-clip min-max scaled decibels."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(
            16000, n_fft=2048, win_length=2048, hop_length=256, f_min=0, f_max=8000, n_mels=128,
            window_fn=torch.hamming_window, wkwargs={"periodic": False}, power=1,
        )  # fmt: skip

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return self.mel(audio)

    def log(self, mel: torch.Tensor) -> torch.Tensor:
        to_db = torchaudio.transforms.AmplitudeToDB(stype="amplitude")
        to_db.amin = 1e-5
        decibel = to_db(mel).clamp(-50, 80)
        low, high = decibel.amin((1, 2), keepdim=True), decibel.amax((1, 2), keepdim=True)
        return (decibel - low) / (high - low + 1e-8)


class PlainMeanTeacher:
    """One :meth:`step` is a training step: 12 synthetic, 12 weak and 24 unlabelled clips, in this order."""

    def __init__(self, steps_of_rampup: int = 5900, device: str = "cpu") -> None:
        self.front_end, self.student = PlainFrontEnd().to(device), PlainCRNN().to(device)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.student.parameters(), 1e-3, betas=(0.9, 0.999))
        self.s, self.rampup = 1, steps_of_rampup

    def step(self, audio: torch.Tensor, strong: torch.Tensor, weak: torch.Tensor) -> float:
        """``audio [4 n, N]``, ``strong [n, C, T]``, ``weak [n, C]`` (n = 12 in the baseline) -> loss."""
        n = len(strong)
        mel = self.front_end(audio)
        if random.random() < 0.5:
            mel[n : 2 * n], weak = self._mixup(mel[n : 2 * n], weak)
            mel[:n], strong = self._mixup(mel[:n], strong)
        p_strong, p_weak = self.student(self.front_end.log(mel))
        with torch.no_grad():
            t_strong, t_weak = self.teacher(self.front_end.log(mel))
        bce, mse = nn.BCELoss(), nn.MSELoss()
        ramp = math.exp(-5 * (1 - min(self.s, self.rampup) / self.rampup) ** 2)
        loss = bce(p_strong[:n], strong) + bce(p_weak[n : 2 * n], weak)
        loss = loss + 2 * ramp * (mse(p_strong, t_strong) + mse(p_weak, t_weak))
        decay = min(1 - 1 / (self.s + 1), 0.999)
        for teacher, student in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            teacher.data.mul_(decay).add_(student.data, alpha=1 - decay)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.s += 1
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-3 * math.exp(-5 * (1 - min(self.s, self.rampup) / self.rampup) ** 2)
        return float(loss.detach())

    @staticmethod
    def _mixup(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        c, order = float(np.random.beta(0.2, 0.2)), torch.randperm(len(x))
        return c * x + (1 - c) * x[order], (c * y + (1 - c) * y[order]).clamp(0, 1)
