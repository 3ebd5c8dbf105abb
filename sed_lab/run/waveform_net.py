"""A detector as one network from waveform to posteriors, written as ONNX and compared with the run.

The front end's Fourier transform becomes a convolution with windowed cosines and sines, which every runtime has.
Methods that predict from the features of a log mel front end can be written so; what cannot is refused.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.feature.log_mel import LogMel
from sed_lab.files import replacing
from sed_lab.types import Input

if TYPE_CHECKING:
    from sed_lab.method.base import Prediction
    from sed_lab.run.detector import Detector

MODEL = "model.onnx"
OPSET = 17
TOLERANCE = 1e-4  # of a posterior
ONE_PASS = ("frame and clip logits", "encoded frames and their pooling", "one embedding a clip")
"""What methods take of networks that see a whole clip at once; others go over it piece by piece, as long as it is."""
MISSING = "writing model.onnx needs onnx and onnxruntime; install them with pip install 'sed_lab[export]', or give"
WITHOUT = "--without-onnx writes what sed-predict takes"
LENGTHS = (1.0, 0.5, 1.37, 2.0)  # of the training clips', at which the two are compared


class ConvolvedMel(nn.Module):
    """`LogMel.mel`: linear mel ``[B, F, M]`` of ``audio [B, N]``, by a convolution.

    A frame's spectrum is its product with ``window[n] cos(2 pi k n / n_fft)`` and the sine, k = 0 ... n_fft / 2.
    """

    basis: Tensor
    mel_filters: Tensor

    def __init__(self, feature: LogMel) -> None:
        super().__init__()
        n, before = feature.n_fft, (feature.n_fft - feature.win_length) // 2
        window = torch.zeros(n, dtype=torch.float64)
        window[before : before + feature.win_length] = feature.window_samples.double().cpu()
        turns = (
            torch.outer(torch.arange(n // 2 + 1), torch.arange(n)).remainder(n).double() / n
        )  # exact, unlike k n / n
        angle = 2 * math.pi * turns
        self.register_buffer("basis", (torch.cat([angle.cos(), angle.sin()]) * window)[:, None].float())
        self.register_buffer("mel_filters", feature.mel_filters.cpu())
        self.hop_length, self.margin, self.pad_mode = feature.hop_length, n // 2, feature.pad_mode
        self.power, self.last_frame = feature.power, feature.last_frame

    @property
    def shortest(self) -> int:
        """The fewest samples that it takes."""
        return max(self.margin + 1, self.hop_length)

    def forward(self, audio: Tensor) -> Tensor:
        padded = F.pad(audio[:, None], (self.margin, self.margin), mode=self.pad_mode)
        parts = F.conv1d(padded, self.basis, stride=self.hop_length)
        real, imaginary = parts.chunk(2, dim=1)
        energy = real.square() + imaginary.square()
        magnitude = energy.pow(self.power / 2) if self.power != 2 else energy
        return (magnitude if self.last_frame else magnitude[..., :-1]).transpose(1, 2) @ self.mel_filters


class WaveformNet(nn.Module):
    """``audio [B, N]`` -> posteriors of one system: frames ``[B, T, C]`` and clips ``[B, C]``, or one of the two."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.mel, self.method, self.system = ConvolvedMel(detector.method.feature), detector.method, detector.system

    def forward(self, audio: Tensor) -> tuple[Tensor, ...]:
        return _given(self.method.predict(Input(feature=self.mel(audio)))[self.system])


def _given(prediction: Prediction) -> tuple[Tensor, ...]:
    return tuple(one for one in (prediction.frame, prediction.clip) if one is not None)


def write_onnx(detector: Detector, path: Path) -> dict[str, Any]:
    """Write ``detector`` as ONNX with any batch and length, once onnxruntime gives what the run gives.

    Returns what `sed_lab.run.exported.describe` says of it: names, shapes, fewest samples, largest difference, and
    whether the network itself takes clips of any length.

    Raises:
        InputError: onnx or onnxruntime is not installed, or the detector cannot be written so, or differs by more than
            `TOLERANCE`.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError:
        raise InputError(f"{MISSING} --without-onnx") from None
    method = detector.method
    words = f"{type(method).__name__} on {type(method.feature).__name__}"
    if not (method.takes_features and method.takes in ONE_PASS and isinstance(method.feature, LogMel)):
        raise InputError(
            f"{words} cannot be written as ONNX, only networks of whole clips behind a log mel front end; {WITHOUT}"
        )
    method.cpu().eval()
    audio = torch.from_numpy(next(_sounds(detector)))
    with torch.inference_mode():
        found = method.predict(Input(audio=audio))[detector.system]
    shapes = {"frame": {0: "batch", 1: "frames"}, "clip": {0: "batch"}}
    names = [name for name in shapes if getattr(found, name) is not None]
    axes = {"audio": {0: "batch", 1: "samples"}, **{name: shapes[name] for name in names}}
    net = WaveformNet(detector).eval()
    with replacing(path) as beside:
        try:
            with warnings.catch_warnings(), redirect_stdout(StringIO()), torch.no_grad():  # it prints failed graphs
                warnings.simplefilter("ignore")  # of constants and of the exporter's age: what comes out is compared
                torch.onnx.export(
                    net, (audio,), str(beside), input_names=["audio"], output_names=names, dynamic_axes=axes,
                    opset_version=OPSET, dynamo=False,
                )  # fmt: skip
            largest, everywhere = _largest_difference(beside, detector)
        except InputError:
            raise
        except Exception as error:  # of two large libraries: whatever it is, there is no model
            said = str(error).strip().split("\n")[0][:200]
            raise InputError(f"{words} cannot be written as ONNX ({said}); {WITHOUT}") from error
        if not largest <= TOLERANCE:
            raise InputError(f"{words} as ONNX differs from the run by {largest:.2g}, so it is not written; {WITHOUT}")
    dimensions = {"frame": "[batch, frames, classes]", "clip": "[batch, classes]"}
    outputs = {name: dimensions[name] for name in names}
    size = {"shortest": net.mel.shortest, "any_length": everywhere}
    return {"outputs": outputs, "opset": OPSET, **size, "largest_difference": largest}


def session(path: Path) -> Any:
    """The model in ``path``, to be run with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _largest_difference(path: Path, detector: Detector) -> tuple[float, bool]:
    """Between the posteriors of the model and of the run, over made sounds of those lengths that the network takes;
    and whether it takes them all."""
    model, largest, everywhere = session(path), 0.0, True
    for audio in _sounds(detector):
        try:
            with torch.inference_mode():
                wanted = _given(detector.method.predict(Input(audio=torch.from_numpy(audio)))[detector.system])
        except RuntimeError:  # layers sized for the training clips; theirs is the first length, tried before
            everywhere = False
            continue
        for ours, theirs in zip(model.run(None, {"audio": audio}), wanted, strict=True):
            if ours.shape != theirs.shape:
                return math.inf, everywhere
            largest = max(largest, float(np.abs(ours - theirs.numpy()).max()))
    return largest, everywhere


def _sounds(detector: Detector) -> Iterator[np.ndarray]:
    """Made sounds ``[B, N]``: tones, clicks and noise, loud, quiet and silent."""
    rng = np.random.default_rng(0)
    for number, length in enumerate(LENGTHS):
        samples = round(length * detector.clip_seconds * detector.sample_rate)
        t = np.arange(samples) / detector.sample_rate
        rows = []
        for level in (0.5, 1e-3, 0.0)[: 1 + 2 * (number % 2)]:
            tone = np.sin(2 * np.pi * rng.uniform(100, detector.sample_rate / 3) * t) * (np.sin(2 * np.pi * t) > 0)
            rows.append(level * (tone + 0.1 * rng.standard_normal(samples) + (rng.random(samples) < 1e-4)))
        yield np.stack(rows).astype(np.float32)
