"""A plain supervised CRNN in plain PyTorch: the yardstick of ``make bench ARGS=quality``.

log(mel + 1e-4) of 64 bands standardised over the training set, four convolutions with batch normalisation, ReLU and
average pooling, one bidirectional GRU, binary cross-entropy on frames of 128 ms, clips rolled in time at random, Adam.
It takes nothing of sed_lab's networks, losses, features or training loops.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

RATE, N_FFT, HOP, BANDS, FRAMES = 16000, 1024, 512, 64, 312  # of 10 s
POOLED = 4  # spectrogram frames in a frame of the output
HOP_SECONDS = HOP * POOLED / RATE


class PlainCRNN(nn.Module):
    """Frame logits ``[B, F / 4, C]`` of standardised log mel ``[B, F, 64]``."""

    def __init__(self, n_classes: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for filters, pool in ((16, (2, 2)), (32, (2, 2)), (64, (1, 4)), (64, (1, 4))):
            layers += [nn.Conv2d(channels, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
            layers += [nn.AvgPool2d(pool)]
            channels = filters
        self.convolutions = nn.Sequential(*layers)
        self.gru = nn.GRU(channels, 64, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(128, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolutions(x[:, None].contiguous(memory_format=torch.channels_last))
        x, _ = self.gru(self.dropout(x.squeeze(3).transpose(1, 2)))
        return self.out(self.dropout(x))


def mel(audio: np.ndarray) -> Tensor:
    """Mel energies ``[I, 312, 64]`` of int16 ``audio [I, N]``."""
    filters = torchaudio.functional.melscale_fbanks(N_FFT // 2 + 1, 0.0, RATE / 2, BANDS, RATE)
    window, out = torch.hann_window(N_FFT), []
    for part in torch.from_numpy(audio).split(16):
        spectrum = torch.stft(part.float() / 32768, N_FFT, HOP, N_FFT, window, return_complex=True).abs()[..., :FRAMES]
        out.append(spectrum.square().transpose(1, 2) @ filters)
    return torch.cat(out)


def train(
    x: Tensor, y: Tensor, *, processor_seconds: float, seed: int, lr: float, batch: int, dropout: float
) -> PlainCRNN:
    """A network trained on ``x [I, 312, 64]`` and ``y [I, 78, C]`` until this process has used so much time more."""
    torch.manual_seed(seed)
    rng, began = np.random.default_rng(seed), time.process_time()
    network = PlainCRNN(y.shape[2], dropout)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr)
    while True:
        order = rng.permutation(len(x))
        for first in range(0, len(x) - batch + 1, batch):
            done = (time.process_time() - began) / processor_seconds
            if done >= 1:
                return network.eval()
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 + math.cos(math.pi * done)) / 2
            rows = order[first : first + batch]
            shifts = rng.integers(0, FRAMES // POOLED, batch)
            rolled = [(x[i].roll(int(s) * POOLED, 0), y[i].roll(int(s), 0)) for i, s in zip(rows, shifts, strict=True)]
            features, targets = (torch.stack(one) for one in zip(*rolled, strict=True))
            loss = F.binary_cross_entropy_with_logits(network(features), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def main() -> None:
    """Train on ``train.npz`` (audio, target) of a folder and write ``<name>.scores.npy`` of each other ``.npz``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processor-seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    began = time.process_time()
    with np.load(given.folder / "train.npz") as file:
        x, y = (mel(file["audio"]) + 1e-4).log(), torch.from_numpy(file["target"]).float()
    mean, deviation = x.mean(), x.std()
    left = given.processor_seconds - (time.process_time() - began)
    network = train(
        (x - mean) / deviation, y, processor_seconds=left, seed=given.seed, lr=given.lr, batch=given.batch,
        dropout=given.dropout,
    )  # fmt: skip
    for path in sorted(given.folder.glob("*.npz")):
        if path.stem != "train":
            with np.load(path) as file, torch.inference_mode():
                features = ((mel(file["audio"]) + 1e-4).log() - mean) / deviation
                scores = torch.cat([network(part).sigmoid() for part in features.split(50)])
            np.save(path.with_suffix(".scores.npy"), scores.numpy())


if __name__ == "__main__":
    main()
