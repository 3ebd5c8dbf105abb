"""VGGish against loops written from its description, published values and files that must be refused."""

from __future__ import annotations

import math
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sed_lab.dataset.mini_embeddings import stand_in
from sed_lab.errors import InputError
from sed_lab.feature import vggish
from sed_lab.feature.embedded import embedded
from sed_lab.feature.vggish import VggishNetwork, log_mel_patches, quantise, read_pca, read_weights
from tests.configured import configured

VggishEmbedding = configured("feature/vggish")

VARIABLES = ["conv1", "conv2", "conv3/conv3_1", "conv3/conv3_2", "conv4/conv4_1", "conv4/conv4_2"]
DENSE = ["fc1/fc1_1", "fc1/fc1_2", "fc2"]
TORCH_NAMES = [*(f"features.{n}" for n in (0, 3, 6, 8, 11, 13)), *(f"embeddings.{n}" for n in (0, 2, 4))]
WIDTHS, HIDDEN = (2, 3, 4, 3, 5, 2), (7, 6)


def naive_log_mel(audio: np.ndarray) -> np.ndarray:
    """Frames ``[F, 64]``, frame by frame and bin by bin."""
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / 400) for n in range(400)]

    def mel(hertz: float) -> float:
        return 1127.0 * math.log(1.0 + hertz / 700.0)

    step = (mel(7500.0) - mel(125.0)) / 65
    weights = np.zeros((257, 64))
    for k in range(1, 257):  # without the constant
        for m in range(64):
            low = mel(125.0) + m * step
            rising, falling = (mel(k * 31.25) - low) / step, (low + 2 * step - mel(k * 31.25)) / step
            weights[k, m] = max(0.0, min(rising, falling))
    rows = []
    start = 0
    while start + 400 <= len(audio):
        rows.append(np.log(np.abs(np.fft.rfft(audio[start : start + 400] * window, n=512)) @ weights + 0.01))
        start += 160
    return np.array(rows)


def tiny_variables(seed: int = 0) -> dict[str, np.ndarray]:
    """A network of few channels by TensorFlow's names, with biases."""
    rng = np.random.default_rng(seed)
    shapes = [(3, 3, n_in, n_out) for n_in, n_out in zip((1, *WIDTHS[:-1]), WIDTHS, strict=True)]
    shapes += [(24 * WIDTHS[-1], HIDDEN[0]), HIDDEN, (HIDDEN[1], 128)]
    variables = {}
    for name, shape in zip(VARIABLES + DENSE, shapes, strict=True):
        variables[f"vggish/{name}/weights"] = rng.normal(0, 0.5, shape).astype(np.float32)
        variables[f"vggish/{name}/biases"] = rng.normal(0, 0.3, shape[-1]).astype(np.float32)
    return variables


def torch_state(variables: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The same in torchvggish's layout: ``[out, in, height, width]`` and ``[out, in]``."""
    state = {}
    for ours, name in zip(TORCH_NAMES, VARIABLES + DENSE, strict=True):
        weight = variables[f"vggish/{name}/weights"]
        weight = np.einsum("hwio->oihw", weight) if weight.ndim == 4 else np.einsum("io->oi", weight)
        state[f"{ours}.weight"] = torch.from_numpy(weight.copy())
        state[f"{ours}.bias"] = torch.from_numpy(variables[f"vggish/{name}/biases"])
    return state


def naive_network(variables: dict[str, np.ndarray], patch: np.ndarray) -> np.ndarray:
    """TensorFlow's own order of things: time, mel, channel, with loops over places."""
    x = patch[:, :, None].astype(float)
    for name in VARIABLES:
        weights, height, width = variables[f"vggish/{name}/weights"], *x.shape[:2]
        padded = np.zeros((height + 2, width + 2, x.shape[2]))
        padded[1:-1, 1:-1] = x
        sums = np.zeros((height, width, weights.shape[3])) + variables[f"vggish/{name}/biases"]
        for row in range(3):
            for column in range(3):
                sums += padded[row : row + height, column : column + width] @ weights[row, column]
        x = np.maximum(sums, 0)
        if name not in ("conv3/conv3_1", "conv4/conv4_1"):
            x = np.maximum(np.maximum(x[::2, ::2], x[1::2, ::2]), np.maximum(x[::2, 1::2], x[1::2, 1::2]))
    flat = np.array([x[t, m, c] for t in range(6) for m in range(4) for c in range(x.shape[2])])
    for name in DENSE:
        flat = flat @ variables[f"vggish/{name}/weights"] + variables[f"vggish/{name}/biases"]
        flat = flat if name == "fc2" else np.maximum(flat, 0)
    return flat


@pytest.fixture(scope="module")
def sounds() -> list[np.ndarray]:
    """Clips of 3 s: tones, noises and pulses at several levels."""
    rng = np.random.default_rng(0)
    time = np.arange(48000) / 16000
    clips = []
    for _ in range(50):
        tone = np.sin(2 * np.pi * rng.uniform(100, 6000) * time * (1 + rng.uniform(-0.2, 0.2) * time))
        pulses = rng.standard_normal(48000) * (np.sin(2 * np.pi * rng.uniform(1, 8) * time) > 0)
        levels = 10 ** rng.uniform(-3, -0.5, 2)
        clips.append((levels[0] * tone + levels[1] * pulses).astype(np.float32))
    return clips


@pytest.fixture(scope="module")
def folder(sounds: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in's files."""
    path = tmp_path_factory.mktemp("vggish")
    stand_in(path, sounds)
    return path


# log mel


def test_log_mel_is_what_loops_give() -> None:
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((2, 40000)) * np.array([[0.3], [0.001]])
    patches = log_mel_patches(torch.from_numpy(audio))
    assert patches.shape == (2, 2, 96, 64)  # 248 frames: 56 are left over
    assert patches.dtype == torch.float32
    for clip in range(2):
        assert patches[clip].flatten(0, 1).numpy() == pytest.approx(naive_log_mel(audio[clip])[:192], abs=1e-4)


def test_log_mel_of_the_smoke_test() -> None:
    """Issue 9248 of tensorflow/models prints what VGGish's own code gives for its 1 kHz sine; the first bins, as the
    last ones show its resampler."""
    patches = log_mel_patches(torch.sin(2 * torch.pi * 1000 * torch.arange(48000, dtype=torch.float64) / 16000)[None])
    assert patches.shape == (1, 3, 96, 64)
    published = [-4.48303714, -4.27112599, -4.1703935]
    assert patches[0, :, :, :3].flatten(0, 1).numpy() == pytest.approx(np.tile(published, (288, 1)), abs=5e-4)


@pytest.mark.parametrize(
    ("n_samples", "rows"),
    [(0, 0), (399, 0), (400, 0), (15599, 0), (15600, 1), (30959, 1), (30960, 2), (160000, 10), (480000, 31)],
)
def test_rows_of_a_clip(n_samples: int, rows: int) -> None:
    """10 s are 998 frames, of which ten patches of 96 are kept."""
    assert VggishEmbedding().frames(n_samples) == rows
    assert log_mel_patches(torch.zeros(1, n_samples)).shape == (1, rows, 96, 64)
    if rows == 10:
        assert len(naive_log_mel(np.zeros(n_samples))) == 998


def test_silence_is_the_logarithm_of_a_hundredth() -> None:
    assert log_mel_patches(torch.zeros(1, 15600)).numpy() == pytest.approx(math.log(0.01), abs=1e-6)


def test_mixed_precision_changes_nothing() -> None:
    audio = torch.randn(1, 15600, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = log_mel_patches(audio)
    assert torch.equal(mixed, log_mel_patches(audio))


# network


def test_the_published_network_has_72_million_weights() -> None:
    with torch.device("meta"):
        network = VggishNetwork()
    assert sum(weight.numel() for weight in network.parameters()) == 72_141_184
    assert list(network.state_dict()) == [f"{name}.{kind}" for name in TORCH_NAMES for kind in ("weight", "bias")]


def test_network_is_what_loops_give_from_both_formats(tmp_path: Path) -> None:
    variables = tiny_variables()
    np.savez(tmp_path / "weights.npz", **variables)  # type: ignore[arg-type]
    torch.save(torch_state(variables), tmp_path / "weights.pth")
    torch.save(torch_state(variables), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    patches = torch.randn(2, 96, 64, generator=torch.Generator().manual_seed(0))
    expected = np.stack([naive_network(variables, patch) for patch in patches.numpy()])
    assert (expected < 0).any()  # so that a last ReLU would show
    for name in ("weights.npz", "weights.pth", "old.pt"):
        network = vggish.network_of(read_weights(tmp_path / name))
        assert network(patches).numpy() == pytest.approx(expected, abs=1e-4)


def test_a_last_relu_is_not_there(tmp_path: Path) -> None:
    variables = tiny_variables()
    variables["vggish/fc2/weights"][:] = 0
    variables["vggish/fc2/biases"][:] = -1.5
    np.savez(tmp_path / "weights.npz", **variables)  # type: ignore[arg-type]
    network = vggish.network_of(read_weights(tmp_path / "weights.npz"))
    assert torch.equal(network(torch.zeros(1, 96, 64)), torch.full((1, 128), -1.5))


# eight bits


def test_quantised_values_by_hand() -> None:
    values = [-9.0, -2.0, -1.99, -0.01, 0.0, 0.007, 0.008, 1.0, 1.98, 1.99, 2.0, 7.0]
    expected = [0, 0, 0, 126, 127, 127, 128, 191, 253, 254, 255, 255]  # 63.75 (x + 2) without its fraction
    embedding = torch.zeros(1, 128)
    embedding[0, : len(values)] = torch.tensor(values)
    rows = quantise(embedding, torch.eye(128), torch.zeros(128))
    assert rows.dtype == torch.uint8
    assert rows[0, : len(values)].tolist() == expected


def test_quantising_takes_the_means_first_and_the_matrix_from_the_left() -> None:
    matrix = torch.zeros(128, 128)
    matrix[0, 1] = 0.5  # component 0 is half of what value 1 has over its mean
    means = torch.zeros(128)
    means[1] = 3.0
    embedding = torch.zeros(1, 128)
    embedding[0, 1] = 5.0
    rows = quantise(embedding, matrix, means)
    assert rows[0, 0] == 191  # 63.75 * 3 = 191.25
    assert rows[0, 1:].unique().tolist() == [127]


# files


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_pickles_are_not_run(tmp_path: Path) -> None:
    trap, sprung = Trap(tmp_path / "sprung"), tmp_path / "sprung"
    pickle.loads(pickle.dumps(trap))
    assert sprung.exists()  # the trap works
    sprung.unlink()
    variables = tiny_variables()
    variables["vggish/conv2/weights"] = np.array([trap], dtype=object)
    np.savez(tmp_path / "weights.npz", allow_pickle=True, **variables)  # type: ignore[arg-type]
    np.savez(tmp_path / "pca.npz", pca_eigen_vectors=np.array([trap], dtype=object), pca_means=np.zeros(128))
    torch.save({**torch_state(tiny_variables()), "features.0.bias": trap}, tmp_path / "weights.pth")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(trap))
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(trap))
    for name in ("weights.npz", "weights.pth", "bare.pt", "bare.npz"):
        said = "cannot be read as .npz" if name.endswith("z") else "cannot be read, as .* objects, which are never run"
        with pytest.raises(InputError, match=f"{name}:? .*{said}"):
            read_weights(tmp_path / name)
    with pytest.raises(InputError, match=r"weights\.npz .* \(vggish/conv2/weights\.npy holds neither"):
        read_weights(tmp_path / "weights.npz")
    with pytest.raises(InputError, match=r"pca\.npz .* \(pca_eigen_vectors\.npy holds neither"):
        read_pca(tmp_path / "pca.npz")
    assert not sprung.exists()


def changed(key: str, value: object) -> dict[str, object]:
    return {**tiny_variables(), key: value}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("vggish/fc3", np.zeros(1), "also holds vggish/fc3; its names must be vggish/conv1/weights, "),
        ("vggish/conv1/biases", np.zeros(3), "vggish/conv1/biases has the shape [3], but must have [2]"),
        (
            "vggish/conv2/weights",
            np.zeros((3, 3, 9, 3)),
            "vggish/conv2/weights has the shape [3, 3, 9, 3], but must have [3, 3, 2, any] to fit",
        ),
        ("vggish/conv2/weights", np.zeros((3, 3, 2, 0)), "[3, 3, 2, 0], but must have [3, 3, 2, any]"),
        ("vggish/conv2/weights", np.zeros((3, 3, 2)), "[3, 3, 2], but must have [3, 3, 2, any]"),
        ("vggish/conv2/weights", np.zeros((5, 5, 2, 3)), "[5, 5, 2, 3], but must have [3, 3, 2, any]"),
        ("vggish/fc1/fc1_1/weights", np.zeros((47, 7)), "[47, 7], but must have [48, any]"),
        ("vggish/fc2/weights", np.zeros((6, 127)), "vggish/fc2/weights has the shape [6, 127], but must have [6, 128]"),
        ("vggish/fc2/biases", np.full(128, np.nan), "vggish/fc2/biases must hold finite floating-point numbers"),
        ("vggish/fc2/biases", np.full(128, np.inf), "vggish/fc2/biases must hold finite floating-point numbers"),
        ("vggish/fc2/biases", np.full(128, 1e300), "vggish/fc2/biases must hold finite floating-point numbers"),
        ("vggish/fc2/biases", np.zeros(128, int), "vggish/fc2/biases must hold finite floating-point numbers"),
        ("vggish/fc2/biases", np.full(128, "a"), "vggish/fc2/biases must hold finite floating-point numbers"),
    ],
)
def test_arrays_that_are_not_vggish(key: str, value: np.ndarray, sentence: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", **changed(key, value))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"weights\.npz:? .*{re.escape(sentence)}"):
        read_weights(tmp_path / "weights.npz")


def test_tensors_that_are_not_vggish(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for key, value, sentence in (
        ("features.3.weight", torch.zeros(3, 9, 3, 3), r"\[3, 9, 3, 3\], but must have \[any, 2, 3, 3\]"),
        ("embeddings.4.weight", torch.zeros(129, 6), r"\[129, 6\], but must have \[128, 6\]"),
        ("features.0.bias", torch.full((2,), torch.nan), "features.0.bias must hold finite"),
        ("features.0.bias", torch.zeros(2).to_sparse(), "cannot be read"),
        ("features.0.bias", "two", "features.0.bias has the shape"),
        ("extra", torch.zeros(2), "also holds extra"),
    ):
        torch.save({**torch_state(tiny_variables()), key: value}, path)
        with pytest.raises(InputError, match=rf"weights\.pth.*{sentence}"):
            read_weights(path)
    for nothing in (torch.zeros(3), [torch.zeros(3)], 7):
        torch.save(nothing, path)
        with pytest.raises(InputError, match=r"weights\.pth.*(cannot be read|lacks features\.0\.weight)"):
            read_weights(path)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz does not exist"):
        read_weights(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"vggish_model\.ckpt is not a \.npz.*numpy\.savez.*load_checkpoint"):
        read_weights(tmp_path / "vggish_model.ckpt")
    np.savez(tmp_path / "whole.npz", **tiny_variables())  # type: ignore[arg-type]
    whole = (tmp_path / "whole.npz").read_bytes()
    np.save(tmp_path / "array.npy", np.zeros(3))
    for content in (b"", b"text", whole[: len(whole) // 2], (tmp_path / "array.npy").read_bytes()):
        for name in ("bad.npz", "bad.pth"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(InputError, match=rf"{name}(:?.* cannot be read| lacks)"):
                read_weights(tmp_path / name)
    lacking = tiny_variables()
    del lacking["vggish/conv4/conv4_1/biases"]
    np.savez(tmp_path / "bad.npz", **lacking)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"bad\.npz lacks vggish/conv4/conv4_1/biases"):
        read_weights(tmp_path / "bad.npz")
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as file:
        file.writestr("pca_eigen_vectors.npy", "no array")
        file.writestr("pca_means.npy", "no array")
    with pytest.raises(InputError, match=r"bad\.npz"):
        read_pca(tmp_path / "bad.npz")


def test_pca_takes_both_shapes_of_means_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "vggish_pca_params.npz"
    matrix, means = np.arange(128.0 * 128).reshape(128, 128), np.arange(128.0)
    for shape in ((128,), (128, 1)):
        np.savez(path, pca_eigen_vectors=matrix, pca_means=means.reshape(shape))
        read = read_pca(path)
        assert torch.equal(read[0], torch.from_numpy(matrix).float())
        assert torch.equal(read[1], torch.from_numpy(means).float())
    np.savez(path, pca_eigen_vectors=matrix[:, :100], pca_means=means)
    with pytest.raises(InputError, match=r"pca_eigen_vectors has the shape \[128, 100\], but must have \[128, 128\]"):
        read_pca(path)
    np.savez(path, pca_eigen_vectors=matrix, pca_means=means[None])
    with pytest.raises(InputError, match=r"pca_means has the shape \[1, 128\], but must have \[128\]"):
        read_pca(path)
    np.savez(path, pca_eigen_vectors=matrix)
    with pytest.raises(InputError, match="lacks pca_means"):
        read_pca(path)


def test_torchvggish_s_pca_of_numpy_s_arrays_is_read_and_nothing_else_in_it(tmp_path: Path) -> None:
    path = tmp_path / "vggish_pca_params-970ea276.pth"
    matrix, means = np.arange(128.0 * 128).reshape(128, 128), np.arange(128.0)[:, None]
    for kind in ("f4", "f8"):
        torch.save({"pca_eigen_vectors": matrix.astype(kind), "pca_means": means.astype(kind)}, path)
        read = read_pca(path)
        assert torch.equal(read[0], torch.from_numpy(matrix).float())
        assert torch.equal(read[1], torch.from_numpy(means[:, 0]).float())
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    (name,) = (name for name in parts if name.endswith("data.pkl"))
    parts[name] = parts[name].replace(b"numpy._core", b"numpy.core")  # as numpy 1 wrote it
    assert b"numpy.core" in parts[name]
    with zipfile.ZipFile(path, "w") as file:
        for other, text in parts.items():
            file.writestr(other, text)
    assert torch.equal(read_pca(path)[0], torch.from_numpy(matrix).float())
    sprung = tmp_path / "sprung"
    for bad in (np.array([Trap(sprung)], dtype=object), Trap(sprung), np.array(["text"])):
        torch.save({"pca_eigen_vectors": bad, "pca_means": means}, path)
        with pytest.raises(InputError, match=r"970ea276\.pth: .*cannot be read"):
            read_pca(path)
    assert not sprung.exists()


def test_numbers_of_other_widths_are_read(tmp_path: Path) -> None:
    variables = {name: value.astype(">f8") for name, value in tiny_variables().items()}
    np.savez(tmp_path / "weights.npz", **variables)  # type: ignore[arg-type]
    weights = read_weights(tmp_path / "weights.npz")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert torch.equal(weights["embeddings.4.bias"], torch.from_numpy(tiny_variables()["vggish/fc2/biases"]))


# front end


def test_a_recording_gives_ten_rows_for_each_ten_seconds(folder: Path, tmp_path: Path) -> None:
    feature = VggishEmbedding(str(folder / "weights.npz"), str(folder / "vggish_pca_params.npz"))
    audio = np.random.default_rng(3).normal(0, 0.1, 16000 * 24).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", audio, 16000, subtype="FLOAT")
    records = list(embedded(tmp_path / "noise.wav", feature))
    assert [(one.video_id, one.start_seconds, one.end_seconds) for one in records] == [
        ("noise", 0, 10), ("noise", 10, 20), ("noise", 20, 24),
    ]  # fmt: skip
    filled = np.concatenate([audio, np.zeros(16000 * 6, np.float32)]).reshape(3, 160000)
    expected = [feature(torch.from_numpy(clip)[None])[0].numpy() for clip in filled]
    found = [np.stack([np.frombuffer(row, np.uint8) for row in one.rows]) for one in records]
    np.testing.assert_array_equal(found, expected)
    assert len({row.tobytes() for rows in found for row in rows}) > 3


def test_rows_of_a_batch(folder: Path, sounds: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    feature = VggishEmbedding(str(folder / "weights.npz"), str(folder / "vggish_pca_params.npz"))
    assert (feature.sample_rate, feature.hop_length) == (16000, 15360)
    assert feature.sizes(160000) == {"n_rows": 10, "n_values": 128}
    audio = torch.from_numpy(np.stack(sounds[:3]))
    rows = feature(audio)
    assert rows.shape == (3, 3, 128)
    assert rows.dtype == torch.uint8
    # in one go, without the class
    matrix, means = read_pca(folder / "vggish_pca_params.npz")
    network = vggish.network_of(read_weights(folder / "weights.npz"))
    whole = quantise(network(log_mel_patches(audio).flatten(0, 1)), matrix, means).view(3, 3, 128)
    assert (rows.int() - whole.int()).abs().max() <= 1
    assert torch.equal(feature(audio[1:2])[0], rows[1])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(feature(audio.requires_grad_()), rows)
    assert feature(audio[:0]).shape == (0, 3, 128)
    monkeypatch.setattr(vggish, "_ROWS_AT_ONCE", 2)
    assert (feature(audio).int() - rows.int()).abs().max() <= 1


def test_files_are_read_once_and_late(folder: Path, tmp_path: Path) -> None:
    for name in ("weights.npz", "vggish_pca_params.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    feature = VggishEmbedding(str(tmp_path / "weights.npz"), str(tmp_path / "vggish_pca_params.npz"))
    audio = torch.rand(1, 16000, generator=torch.Generator().manual_seed(0))
    rows = feature(audio)
    (tmp_path / "weights.npz").unlink()
    assert torch.equal(feature(audio), rows)
    missing = VggishEmbedding(str(tmp_path / "weights.npz"), str(tmp_path / "vggish_pca_params.npz"))
    with pytest.raises(InputError, match=r"weights\.npz does not exist"):
        missing(audio)


def test_it_is_no_module() -> None:
    assert not isinstance(VggishEmbedding(), torch.nn.Module)


def test_what_the_front_end_cannot_do(folder: Path) -> None:
    with pytest.raises(InputError, match=r"feature\.sample_rate=44100 cannot be used; VGGish takes audio at 16000"):
        VggishEmbedding(sample_rate=44100)
    for given in ({}, {"weights": "w.npz"}, {"pca": "p.npz"}):
        with pytest.raises(
            InputError, match=r"feature\.weights and feature\.pca.*vggish_model\.ckpt.*_pca_params\.npz"
        ):
            VggishEmbedding(**given)(torch.zeros(1, 16000))
    feature = VggishEmbedding(str(folder / "weights.npz"), str(folder / "vggish_pca_params.npz"))
    with pytest.raises(InputError, match=r"0\.500 s is too short for VGGish; use clips of at least 0\.975 s"):
        feature(torch.zeros(1, 8000))


# stand-in


def test_the_stand_in_is_the_same_twice(folder: Path, sounds: list[np.ndarray], tmp_path: Path) -> None:
    stand_in(tmp_path / "again", (torch.from_numpy(sound) for sound in sounds))
    stand_in(tmp_path / "other", sounds[:3], seed=1, widths=(2,) * 6, dense=(4, 4))
    for name in ("weights.npz", "vggish_pca_params.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (folder / name).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["vggish_pca_params.npz", "weights.npz"]


def test_the_stand_ins_rows_are_white(folder: Path, sounds: list[np.ndarray]) -> None:
    matrix, means = read_pca(folder / "vggish_pca_params.npz")
    network = vggish.network_of(read_weights(folder / "weights.npz"))
    rows = network(log_mel_patches(torch.from_numpy(np.stack(sounds))).flatten(0, 1))
    assert rows.shape == (150, 128)
    white = ((rows - means) @ matrix.T).double().numpy()
    assert white.mean(0) == pytest.approx(0, abs=0.01)
    assert white.std(0) == pytest.approx(1, abs=0.01)
    assert np.corrcoef(white.T) == pytest.approx(np.eye(128), abs=0.02)
    scales = np.linalg.norm(matrix.numpy(), axis=1)  # one over the deviations, the largest deviation first
    assert (np.diff(scales) > 0).all()
    assert (matrix.max(1).values > -matrix.min(1).values).all()  # the sign is settled, not the library's


def test_few_sounds_are_not_blown_up(sounds: list[np.ndarray], tmp_path: Path) -> None:
    """Two clips have six rows: at most five directions; the other components must stay in the middle."""
    stand_in(tmp_path, sounds[:2])
    feature = VggishEmbedding(str(tmp_path / "weights.npz"), str(tmp_path / "vggish_pca_params.npz"))
    rows = feature(torch.from_numpy(np.stack(sounds[:2]))).flatten(0, 1)
    assert rows[:, :5].float().std(0).min() > 20
    assert (rows[:, 5:].int() - 127).abs().max() <= 1


def test_the_stand_in_needs_sounds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no sounds to fit"):
        stand_in(tmp_path, [])
    with pytest.raises(InputError, match=r"0\.062 s is too short"):
        stand_in(tmp_path, [np.zeros(1000, np.float32)])
    assert list(tmp_path.iterdir()) == []
