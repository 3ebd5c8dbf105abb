"""A detector made by hand: two classes, heard as the wave's upper and lower half, weaker near a window's ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from sed_lab.decoder.base import Decoder
from sed_lab.method.base import Prediction
from sed_lab.run.detector import Detector

HOP, SECONDS, RATE = 0.1, 4.0, 8000
STEP = round(HOP * RATE)  # samples of a frame
CLASSES = ("up", "down")


def levels(audio: torch.Tensor) -> torch.Tensor:
    """The mean of each half of the wave in each frame ``[B, T, 2]``."""
    frames = audio.reshape(len(audio), -1, STEP)
    return torch.stack([frames.clamp(min=0).mean(2), (-frames).clamp(min=0).mean(2)], dim=2).clamp(max=1)


def predict(x: Any) -> dict[str, Prediction]:
    """Scores that fall off within .4 s of the window's ends, as a network's may."""
    scores = levels(x.waveform)
    at = (torch.arange(scores.shape[1]) + 0.5) * HOP
    near = torch.minimum(at, scores.shape[1] * HOP - at).div(0.4).clamp(max=1)
    return {"net": Prediction(scores * near[None, :, None], None)}


def detector(decoder: Decoder) -> Detector:
    """The detector with a decoder and its threshold."""
    method: Any = SimpleNamespace(clips_only=False, finer=1, device="cpu", predict=predict)
    threshold = decoder.threshold
    return Detector(method, decoder, HOP, round(SECONDS / HOP), CLASSES, RATE, SECONDS, threshold, "net", "made")


def wave(events: list[tuple[int, int, int, float]], frames: int) -> np.ndarray:
    """Audio of so many frames, in which (class, first frame, frames, level) are heard over a quiet rest."""
    level = np.full((frames, 2), 0.02, np.float32)
    for label, first, length, value in events:
        level[first : first + length, label] = np.maximum(level[first : first + length, label], value)
    half = np.repeat(level, STEP, axis=0)  # halves take turns, each for every second sample, at twice its mean
    return np.where(np.arange(len(half)) % 2, -2 * half[:, 1], 2 * half[:, 0]).astype(np.float32)
