"""AudioSet's embeddings from audio: VGGish, its PCA and its eight bits, as tensorflow/models' research/audioset/vggish.

A row covers 0.975 s and comes every 0.96 s, so that a clip of 10 s gives ten rows of 128 numbers from 0 to 255. The
network's weights and the PCA are files of the user's.

B clips, N samples at 16 kHz, R rows of a clip, P rows or patches of whatever clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sed_lab.errors import InputError
from sed_lab.files import read_arrays

SAMPLE_RATE = 16000  # Hz
WINDOW, HOP, N_FFT = 400, 160, 512  # samples
PATCH_FRAMES, MEL_BINS, MEL_RANGE = 96, 64, (125.0, 7500.0)  # range in Hz
ROW_HOP = PATCH_FRAMES * HOP  # samples from one row to the next
ROW_SAMPLES = ROW_HOP - HOP + WINDOW  # samples of one row
EMBEDDING = 128
CELLS = (PATCH_FRAMES // 16) * (MEL_BINS // 16)  # places left of a patch after four poolings
_ROWS_AT_ONCE = 16

LAYERS = {  # torchvggish's name of a layer: TensorFlow's
    "features.0": "vggish/conv1",
    "features.3": "vggish/conv2",
    "features.6": "vggish/conv3/conv3_1",
    "features.8": "vggish/conv3/conv3_2",
    "features.11": "vggish/conv4/conv4_1",
    "features.13": "vggish/conv4/conv4_2",
    "embeddings.0": "vggish/fc1/fc1_1",
    "embeddings.2": "vggish/fc1/fc1_2",
    "embeddings.4": "vggish/fc2",
}


@torch.no_grad()
def log_mel_patches(audio: torch.Tensor) -> torch.Tensor:
    """VGGish's input ``[B, R, 96, 64]`` of ``audio [B, N]`` at 16 kHz (vggish_input.py, mel_features.py).

    Magnitudes of frames of 400 samples every 160 (periodic Hann window, FFT of 512, nothing padded), 64 mel bins, and
    the natural logarithm of 0.01 more. What is left after the last whole patch is dropped; R may be 0.
    """
    with torch.autocast(audio.device.type, enabled=False):
        audio = audio.float()
        n_rows = rows_of(audio.shape[1])
        if n_rows == 0:
            return audio.new_zeros(len(audio), 0, PATCH_FRAMES, MEL_BINS)
        frames = audio[:, : n_rows * ROW_HOP - HOP + WINDOW].unfold(1, WINDOW, HOP)
        window = torch.hann_window(WINDOW, periodic=True, device=audio.device)
        mel = torch.fft.rfft(frames * window, N_FFT).abs() @ _mel_matrix().to(audio.device)
        return (mel + 0.01).log().unflatten(1, (n_rows, PATCH_FRAMES))


def rows_of(n_samples: int) -> int:
    """Rows R of a clip of ``n_samples`` at 16 kHz: patches of 96 of its ``1 + (N - 400) // 160`` frames."""
    return max(0, 1 + (n_samples - WINDOW) // HOP) // PATCH_FRAMES


@cache
def _mel_matrix() -> torch.Tensor:
    """VGGish's triangles ``[257, 64]``: straight over mel, where torchaudio's are straight over Hz."""
    bins = 1127 * np.log1p(np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1) / 700)[:, None]
    lowest, highest = 1127 * np.log1p(np.array(MEL_RANGE) / 700)
    edges = np.linspace(lowest, highest, MEL_BINS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    matrix = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clip(min=0)
    matrix[0] = 0
    return torch.from_numpy(matrix).float()


class VggishNetwork(nn.Module):
    """VGGish up to its embedding: ``[P, 96, 64]`` log mel patches to ``[P, 128]``.

    No ReLU follows the last layer. Until August 2020 tensorflow/models gave the embedding after one, and ports of that
    time, such as torchvggish, still do; its authors then took it out (pull request 9080), as AudioSet's released
    embeddings had never seen it. They say there that one still does not get the released numbers exactly: the coding of
    the videos' sound, its resampling and details of the features differ.

    Args:
        widths: channels of the six convolutions. dense: sizes of the two hidden layers. The defaults are as published.
    """

    def __init__(
        self, widths: Sequence[int] = (64, 128, 256, 256, 512, 512), dense: Sequence[int] = (4096, 4096)
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (n_in, n_out) in enumerate(pairwise((1, *widths))):
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
            if number not in (2, 4):  # the third and fifth convolution lead to another at once
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        sizes = pairwise((CELLS * widths[-1], *dense, EMBEDDING))
        hidden = [layer for n_in, n_out in sizes for layer in (nn.Linear(n_in, n_out), nn.ReLU())]
        self.embeddings = nn.Sequential(*hidden[:-1])

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """``[P, 96, 64]`` -> ``[P, 128]``."""
        x = self.features(patches[:, None])
        return self.embeddings(x.permute(0, 2, 3, 1).flatten(1))  # TensorFlow's order: time, mel, channel


def network_of(weights: Mapping[str, torch.Tensor]) -> VggishNetwork:
    """The network of :func:`read_weights`'s result, on the CPU, without gradients, channels last for speed."""
    sizes = [len(weights[f"{layer}.bias"]) for layer in LAYERS]
    with torch.device("meta"):  # so that 72 million weights are not first drawn at random
        network = VggishNetwork(sizes[:6], sizes[6:8])
    network.load_state_dict(dict(weights), assign=True)
    return network.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@torch.no_grad()
def embed(network: VggishNetwork, clip: torch.Tensor) -> torch.Tensor:
    """Embeddings ``[R, 128]`` of one clip ``[N]``, some rows at a time, so that a long clip needs little memory.

    Raises:
        InputError: the clip is shorter than a row.
    """
    if rows_of(len(clip)) == 0:
        raise InputError(
            f"a clip of {len(clip) / SAMPLE_RATE:.3f} s is too short for VGGish; use clips of at least"
            f" {ROW_SAMPLES / SAMPLE_RATE} s"
        )
    parts = clip.unfold(0, ROW_SAMPLES, ROW_HOP).split(_ROWS_AT_ONCE)
    with torch.autocast(clip.device.type, enabled=False):
        return torch.cat([network(log_mel_patches(part)[:, 0]) for part in parts])


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The network's weights from a file, by torchvggish's names, float32; nothing in the file is run.

    Args:
        path: ``.pth`` or ``.pt`` with torchvggish's names and layouts, or ``.npz`` with TensorFlow's (convolutions
            ``[height, width, in, out]``, dense layers ``[in, out]``). Sizes are free as long as they fit together.

    Raises:
        InputError: another kind of file, names or shapes that are not VGGish's, objects, values that are not finite.
    """
    if path.suffix not in (".npz", ".pth", ".pt"):
        raise InputError(
            f"{path} is not a .npz, .pth or .pt file; save the variables of a TensorFlow or Keras checkpoint as .npz by"
            " their names, with numpy.savez('vggish.npz', **{name: reader.get_tensor(name) for name in"
            " reader.get_variable_to_shape_map()}) of reader = tf.train.load_checkpoint('vggish_model.ckpt')"
        )
    tensorflow = path.suffix == ".npz"
    bases = tuple(LAYERS.values() if tensorflow else LAYERS)
    ends = ("/weights", "/biases") if tensorflow else (".weight", ".bias")
    stored = _stored(path, [base + end for base in bases for end in ends])
    weights: dict[str, torch.Tensor] = {}
    n_in = 1
    for layer, base in zip(LAYERS, bases, strict=True):
        n_in *= CELLS if layer == "embeddings.0" else 1
        n_out = EMBEDDING if layer == "embeddings.4" else 0
        kernel = (3, 3) if layer.startswith("features") else ()
        shape = (*kernel, n_in, n_out) if tensorflow else (n_out, n_in, *kernel)
        weight = _checked(path, base + ends[0], stored, shape)
        if tensorflow:
            weight = weight.permute(3, 2, 0, 1) if kernel else weight.T
        n_in = len(weight)
        weights[f"{layer}.weight"] = weight.contiguous()
        weights[f"{layer}.bias"] = _checked(path, base + ends[1], stored, (n_in,))
    return weights


_RECONSTRUCT = np.zeros(0).__reduce__()[0]  # makes an array of its bytes, whatever numpy calls the module
# What torchvggish's PCA, a .pth of numpy's arrays, is made of: the only classes beside torch's own that are loaded.
_ARRAYS: list[Any] = [
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8")),
    *((_RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
]


def _stored(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """The file's arrays, whose names must be ``keys``."""
    if not path.is_file():
        raise InputError(f"{path} does not exist or is no file; correct the path")
    arrays, key = {}, "the list of names"
    try:
        with path.open("rb") as opened:
            if path.suffix in (".pth", ".pt"):
                with torch.serialization.safe_globals(_ARRAYS):
                    file = torch.load(opened, map_location="cpu", weights_only=True)
            else:
                file = read_arrays(path)
            wrong = [f"lacks {name}" for name in keys if name not in file]
            wrong += [f"also holds {name}" for name in file if name not in keys]
            if wrong:
                raise InputError(f"{path} {wrong[0]}; its names must be {', '.join(keys)}, with nothing else")
            for key in keys:
                arrays[key] = np.asarray(file[key])
    except InputError:
        raise
    except Exception:  # a damaged file can raise anything; what numpy and torch say of pickles is how to run them
        raise InputError(
            f"{path}: {key} cannot be read, as the file is damaged, of another kind, or holds objects, which are never"
            " run; save plain arrays of numbers in it"
        ) from None
    return arrays


def _checked(path: Path, key: str, arrays: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> torch.Tensor:
    """One of the file's arrays as float32, if it is finite and of the ``shape``, where 0 is any size."""
    array = arrays[key]
    fitting = tuple(want or n for n, want in zip(array.shape, shape, strict=False))
    if array.shape != fitting or len(fitting) != len(shape) or 0 in fitting:
        raise InputError(
            f"{path}: {key} has the shape {list(array.shape)}, but must have"
            f" [{', '.join(str(want or 'any') for want in shape)}] to fit the rest; use a file of VGGish's"
        )
    with np.errstate(over="ignore"):
        value = array.astype(np.float32, copy=False) if array.dtype.kind == "f" else np.full(1, np.nan)
    if not np.isfinite(value).all():
        raise InputError(f"{path}: {key} must hold finite floating-point numbers; fetch or save the file again")
    return torch.from_numpy(value)


def read_pca(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrix ``[128, 128]`` and means ``[128]`` of ``vggish_pca_params.npz``, or of torchvggish's ``.pth``, float32.

    Raises:
        InputError: as :func:`read_weights`.
    """
    stored = _stored(path, ["pca_eigen_vectors", "pca_means"])
    if stored["pca_means"].shape == (EMBEDDING, 1):
        stored["pca_means"] = stored["pca_means"][:, 0]
    matrix = _checked(path, "pca_eigen_vectors", stored, (EMBEDDING, EMBEDDING))
    return matrix, _checked(path, "pca_means", stored, (EMBEDDING,))


def quantise(embedding: torch.Tensor, matrix: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """Eight bits of a whitened embedding: ``[P, 128]`` -> uint8 ``[P, 128]`` (vggish_postprocess.py).

    ``floor(255 (clip(matrix (embedding - means), -2, 2) + 2) / 4)``; torchvggish rounds instead.
    """
    with torch.autocast(embedding.device.type, enabled=False):
        whitened = (embedding - means) @ matrix.T
    return ((whitened.clamp(-2, 2) + 2) * (255 / 4)).to(torch.uint8)


class VggishEmbedding:
    """A front end that gives AudioSet's embeddings: ``audio [B, N]`` to uint8 ``[B, R, 128]``.

    No module: 72 million fixed weights would lie in every checkpoint. A clip's rows do not depend on what else is in
    the batch. On a GPU whose convolutions round to TF32, PyTorch's default, they may be some steps from a CPU's.

    Args:
        weights: path of the network's weights, as :func:`read_weights` takes them.
        pca: path of ``vggish_pca_params.npz``.
        sample_rate: of the audio, Hz; only 16000 can be used.

    Raises:
        InputError: another sample rate; when audio comes, a path that is not set, a bad file, or too short a clip.
    """

    hop_length = ROW_HOP
    name = "vggish"
    """Whose embeddings it gives, as group ``feature``'s option is called; a dataset of embeddings names the same."""

    def __init__(self, weights: str | None, pca: str | None, sample_rate: int = SAMPLE_RATE) -> None:
        if sample_rate != SAMPLE_RATE:
            raise InputError(f"feature.sample_rate={sample_rate} cannot be used; VGGish takes audio at {SAMPLE_RATE}")
        self.weights, self.pca, self.sample_rate = weights, pca, sample_rate
        self._read: tuple[VggishNetwork, torch.Tensor, torch.Tensor] | None = None

    def frames(self, n_samples: int) -> int:
        return rows_of(n_samples)

    def sizes(self, n_samples: int) -> dict[str, int]:
        return {"n_rows": self.frames(n_samples), "n_values": EMBEDDING}

    def __call__(self, audio: torch.Tensor) -> torch.Tensor:
        """``audio [B, N]`` -> uint8 ``[B, R, 128]`` on the same device."""
        network, matrix, means = self.open(audio.device)
        rows = torch.empty(len(audio), self.frames(audio.shape[1]), EMBEDDING, dtype=torch.uint8, device=audio.device)
        for index, clip in enumerate(audio):
            rows[index] = quantise(embed(network, clip), matrix, means)
        return rows

    def open(self, device: torch.device | str = "cpu") -> tuple[VggishNetwork, torch.Tensor, torch.Tensor]:
        if self.weights is None or self.pca is None:
            raise InputError(
                "rows of embeddings from audio need feature.weights and feature.pca, the paths of VGGish's weights"
                " (variables of vggish_model.ckpt as .npz, or vggish-10086976.pth) and vggish_pca_params.npz; set both"
                " (sed-predict: --vggish WEIGHTS PCA), or use what holds embeddings"
            )
        if self._read is None:
            self._read = (network_of(read_weights(Path(self.weights))), *read_pca(Path(self.pca)))
        network, matrix, means = self._read
        if matrix.device != torch.device(device):
            self._read = (network.to(device), matrix.to(device), means.to(device))
        return self._read
