"""Recordings in memory: arrays of any sample type, mono or of several channels, as files would be read."""

from __future__ import annotations

import math

import numpy as np
import soxr
from numpy.typing import ArrayLike

from sed_lab.errors import InputError

FULL_SCALE = {"int16": 2.0**15, "int32": 2.0**31}
LOUDEST = 16.0  # beyond it, floats are integers' values that nobody divided; full scale is 1
FLOATS = ("float16", "float32", "float64")


def mono(audio: ArrayLike, name: str) -> np.ndarray:
    """Samples ``[N]``, float32 in [-1, 1], of ``audio [N]`` or ``[N, channels]``: the mean over its channels.

    Integers are divided by their type's full scale, as libsndfile does when it reads a file; floats are taken as they
    are. Channels come last, as soundfile and SciPy read them; librosa's and torchaudio's ``[channels, N]`` is refused,
    since its transpose is meant.

    Raises:
        InputError: another shape or sample type, no sample, one that is NaN or infinite, floats far beyond full scale.
    """
    given = np.asarray(audio)
    kind = given.dtype.name
    if kind not in (*FULL_SCALE, *FLOATS, "uint8"):
        raise InputError(f"{name}: samples of type {kind}; give int16, int32, uint8 or floats in [-1, 1]")
    if given.ndim not in (1, 2) or given.size == 0:
        raise InputError(f"{name}: an array of shape {given.shape}; give samples [N] or [N, channels]")
    if given.ndim == 2 and given.shape[1] > given.shape[0]:
        raise InputError(
            f"{name}: an array of shape {given.shape} would be {given.shape[0]} samples of {given.shape[1]} channels;"
            " channels come last, so give audio.T"
        )
    samples: np.ndarray = given.astype(np.float32)
    if kind in FULL_SCALE:
        samples /= np.float32(FULL_SCALE[kind])
    elif kind == "uint8":
        samples = (samples - 128) / 128
    if not np.isfinite(samples).all():
        raise InputError(f"{name}: holds NaN or infinite samples; correct or cut them")
    if (peak := float(np.abs(samples).max())) > LOUDEST:
        raise InputError(f"{name}: floats up to {peak:.6g}, where full scale is 1; divide int16 samples by 32768")
    return samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)


def resampled(samples: np.ndarray, rate: float, sample_rate: int, name: str) -> np.ndarray:
    """``samples [N]`` of ``rate`` Hz at ``sample_rate``, by soxr (HQ).

    Raises:
        InputError: ``rate`` is not a number above 0.
    """
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(f"{name}: a rate of {rate} Hz; give samples per second, as 44100")
    return samples if rate == sample_rate else soxr.resample(samples, rate, sample_rate)
