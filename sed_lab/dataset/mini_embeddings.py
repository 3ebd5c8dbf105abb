"""The embedded stand-in for AudioSet's embeddings: procedural clips through a VGGish with random weights, written as
AudioSet's are, so that the demo runs on the very reader of the released files.

The published network cannot come with sed_lab. The stand-in has its layers at a fraction of their widths, weights drawn
from a seed, and a whitening fitted to its own rows of other clips: rows tell sounds apart, though not as VGGish does.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np
import torch

from sed_lab.bank.making import code_of, make_once, marked
from sed_lab.bank.procedural import backgrounds, dsp, scenes, textures, voices
from sed_lab.bank.procedural.dsp import Rng, uniform
from sed_lab.clip.tfrecord import EmbeddingRecord, encode_embedding, write_records
from sed_lab.dataset.audioset_embeddings import SECONDS, read_audioset_embeddings
from sed_lab.dataset.audioset_labels import LABELS
from sed_lab.errors import InputError
from sed_lab.feature import vggish
from sed_lab.feature.vggish import CELLS, EMBEDDING, LAYERS, VggishEmbedding, embed, network_of, read_weights
from sed_lab.files import replacing, write_text
from sed_lab.types import Corpus

RATE = 16000
# Sounds, their AudioSet labels, and whether they go on or come several times in a clip.
SOUNDS = {
    "Speech": (voices.speech, (0,), 2.0),
    "Dog": (voices.dog, (72, 74), 1.2),
    "Cat": (voices.cat, (72, 81), 1.2),
    "Music": (scenes.music, (137,), None),
    "Vehicle": (scenes.vehicle, (300,), None),
    "gunshot": (textures.gunshot, (427,), 1.2),
    "babycry": (voices.babycry, (23,), 2.0),
}
LIST = """index,mid,display_name
0,/m/09x0r,Speech
23,/t/dd00002,"Baby cry, infant cry"
72,/m/0jbk,Animal
74,/m/0bt9lr,Dog
81,/m/01yrx,Cat
137,/m/04rlf,Music
300,/m/07yv9,Vehicle
427,/m/032s66,"Gunshot, gunfire"
"""  # these labels' lines of AudioSet's own list
BEDS = tuple(kind for kind in backgrounds.KINDS if kind != "babble")
FITTED_ON = 120  # clips that the stand-in's whitening is taken from
SHARDS = {"bal_train": 12, "eval": 8}


def mini_embeddings(
    folder: Path | str,
    counts: Mapping[str, int],
    short: int,
    snr: Sequence[float],
    classes: Sequence[object] | Mapping[str, object],
    labels: str,
    test_subsets: Sequence[str] | None,
    train_share: float,
    per_class: int | None,
    row_exchange: str,
    seed: int,
) -> Corpus:
    """Embeddings of procedural clips, made once below ``folder`` and read as AudioSet's.

    Args:
        counts: clips of each combination of sounds, as ``Speech`` or ``Speech+Music``.
        short: so many more of fewer than ten rows, which no classifier uses.
        snr: lowest and highest dB of a sound over the background; decides how hard it is.
        others: as `read_audioset_embeddings`.

    Raises:
        InputError: an unknown sound; ``folder`` cannot be written to; what `read_audioset_embeddings` raises.
    """
    if unknown := {sound for key in counts for sound in key.split("+")} - set(SOUNDS):
        raise InputError(f"dataset.counts: no sound {', '.join(sorted(unknown))}; there are {', '.join(SOUNDS)}")
    if not all(type(count) is int and count >= 0 for count in (*counts.values(), short)):
        raise InputError(f"dataset.counts={dict(counts)}, short={short}: counts must be whole numbers of clips")
    if not isinstance(snr, Sequence) or len(snr) != 2 or not snr[0] <= snr[1]:
        raise InputError(f"dataset.snr={snr} must be the lowest and the highest dB, as [-5, 15]")
    said = json.dumps({"counts": dict(counts), "short": short, "snr": [*snr], "seed": seed, "code": _code()})
    made = Path(folder) / f"mini_embeddings-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    kinds = [key for key, count in counts.items() for _ in range(count)] + ["Speech"] * short
    if not made.is_dir():
        front_end = mini_vggish(folder)
        make_once(made, lambda beside: _write(beside, kinds, short, snr, seed, front_end), len(kinds))
    training = [name for name in SHARDS if name not in (test_subsets or ())]
    choice = (labels, training, test_subsets, train_share, per_class, row_exchange, seed)
    place = made / "audioset_v1_embeddings"
    read = read_audioset_embeddings(place, made, classes, *choice, "mini_embeddings", MiniVggish.name)
    return marked(read, made.name)


class MiniVggish(VggishEmbedding):
    """The stand-in as a front end, which no rows of VGGish's are to be mixed with."""

    name = "mini_vggish"


def mini_vggish(folder: Path | str) -> VggishEmbedding:
    """The front end of `mini_embeddings`, with the stand-in's two files, made once below ``folder``.

    Raises:
        InputError: ``folder`` cannot be written to.
    """
    stand_ins = Path(folder) / f"mini_vggish-{_code()}"
    if not stand_ins.is_dir():
        make_once(stand_ins, _write_stand_in, FITTED_ON)
    return MiniVggish(str(stand_ins / "weights.npz"), str(stand_ins / "vggish_pca_params.npz"))


def clip_audio(sounds: Sequence[str], snr: Sequence[float], rng: Rng) -> np.ndarray:
    """Ten seconds of ``sounds`` over a background: float32 ``[160000]``, peak .5."""
    bed = backgrounds.background(rng, SECONDS, RATE, BEDS[rng.integers(len(BEDS))], uniform(rng, 0, 1))
    out = bed / bed.std()
    for name in sounds:
        model, _, seconds = SOUNDS[name]
        track = np.zeros(len(out))
        times = [0.0] if seconds is None else rng.uniform(0, SECONDS - 0.5, int(rng.integers(2, 6)))
        for start in times:
            length = SECONDS if seconds is None else uniform(rng, 0.5, 1.5) * seconds
            sound = model(rng, length, RATE, uniform(rng, -0.5, 1))
            first = int(start * RATE)
            track[first : first + len(sound)] += sound[: len(track) - first] / (np.abs(sound).max() + 1e-9)
        loud = np.abs(track) > 0.05
        out += 10 ** (uniform(rng, *snr) / 20) * track / (np.sqrt(np.mean(track[loud] ** 2)) + 1e-9)
    return (0.5 * out / np.abs(out).max()).astype(np.float32)


def _write(
    beside: Path, kinds: Sequence[str], short: int, snr: Sequence[float], seed: int, front_end: VggishEmbedding
) -> Iterator[str]:
    """Write the clips in an order drawn from ``seed`` into shards, and the list of labels; gives each video's name."""
    order = np.random.default_rng(seed).permutation(len(kinds))
    shards = [(subset, number) for subset, count in SHARDS.items() for number in range(count)]
    for (subset, number), members in zip(shards, np.array_split(order, len(shards)), strict=True):
        records = []
        for member in map(int, members):
            rng = np.random.default_rng([seed, 1, member])
            sounds = kinds[member].split("+")
            audio = torch.from_numpy(clip_audio(sounds, snr, rng))
            with one_thread():
                rows = front_end(audio[None])[0].numpy()
            if member >= len(kinds) - short:
                rows = rows[: rng.integers(3, 10)]
            name = f"{number:02d}mini{member:05d}"
            start = float(10 * rng.integers(0, 30))
            numbers = tuple(sorted({label for sound in sounds for label in SOUNDS[sound][1]}))
            given = tuple(row.tobytes() for row in rows)
            records.append(EmbeddingRecord(name, start, start + SECONDS, numbers, given))
            yield name
        path = beside / "audioset_v1_embeddings" / subset / f"{number:02d}.tfrecord"
        write_records(path, map(encode_embedding, records))
    write_text(beside / LABELS, LIST)


@contextmanager
def one_thread() -> Iterator[None]:
    """On the CPU, one thread of torch's: more make so small a network slower, the more so beside other processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write_stand_in(beside: Path) -> Iterator[str]:
    """Write the stand-in's weights and whitening; gives the sounds of each clip it is fitted to."""
    kinds, clips = [*SOUNDS, "Speech+Music", "Vehicle+Speech", "Music+Dog"], []
    for number in range(FITTED_ON):
        kind = kinds[number % len(kinds)]
        clips.append(clip_audio(kind.split("+"), (-5, 20), np.random.default_rng([0, 2, number])))
        yield kind
    with one_thread():
        stand_in(beside, clips)


def stand_in(
    folder: Path,
    sounds: Iterable[np.ndarray | torch.Tensor],
    seed: int = 0,
    widths: Sequence[int] = (16, 32, 64, 64, 128, 128),
    dense: Sequence[int] = (256, 256),
) -> None:
    """Write ``weights.npz`` and ``vggish_pca_params.npz`` of a small network, to use where VGGish's cannot be had.

    The network has VGGish's form with random weights (He et al. 2015; biases 0), never trained. The PCA is fitted to
    its rows of ``sounds``, each component whitened to mean 0 and deviation 1 over them, as the published one is over
    its own data. On one machine the same arguments give the same files.

    Args:
        folder: made if it is not there. sounds: clips ``[N]`` at 16 kHz, taken one by one.
        seed: of the weights. widths, dense: as `VggishNetwork`.

    Raises:
        InputError: there are no sounds, one is too short, or a file cannot be written.
    """
    with replacing(folder / "weights.npz") as weights, replacing(folder / "vggish_pca_params.npz") as pca:
        np.savez(weights, **_random_weights(seed, widths, dense))  # type: ignore[arg-type]
        network = network_of(read_weights(weights))
        means, covariance = _moments(embed(network, torch.as_tensor(sound)).double().numpy() for sound in sounds)
        variances, vectors = np.linalg.eigh(covariance)
        variances, vectors = variances[::-1], vectors[:, ::-1]
        # Eigenvectors have no sign of their own: the largest entry decides it, whatever the library.
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(EMBEDDING)])
        # Where so few or so like sounds leave no variance, rounding errors are not blown up to a deviation of 1.
        scales = np.sqrt(np.maximum(variances, max(variances[0] * 1e-8, 1e-12)))
        np.savez(pca, pca_eigen_vectors=(vectors / scales).T.astype(np.float32), pca_means=means.astype(np.float32))


def _random_weights(seed: int, widths: Sequence[int], dense: Sequence[int]) -> dict[str, np.ndarray]:
    """TensorFlow's variables of a network with weights of deviation ``sqrt(2 / inputs)`` and biases 0."""
    rng = np.random.default_rng(seed)
    convolutions = [(3, 3, n_in, n_out) for n_in, n_out in pairwise((1, *widths))]
    layers = [*convolutions, *pairwise((CELLS * widths[-1], *dense, EMBEDDING))]
    variables = {}
    for name, shape in zip(LAYERS.values(), layers, strict=True):
        deviation = np.float32((2 / prod(shape[:-1])) ** 0.5)
        variables[f"{name}/weights"] = rng.standard_normal(shape, np.float32) * deviation
        variables[f"{name}/biases"] = np.zeros(shape[-1], np.float32)
    return variables


def _moments(parts: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``[128]`` and covariance ``[128, 128]`` of all rows of ``parts``, float64 ``[R, 128]`` each."""
    count, means, products = 0, np.zeros(EMBEDDING), np.zeros((EMBEDDING, EMBEDDING))
    for rows in parts:
        # Chan, Golub and LeVeque 1979: products about means, so that no digits are lost.
        shift, both = rows.mean(0) - means, count + len(rows)
        inner = rows - rows.mean(0)
        products += inner.T @ inner + np.outer(shift, shift) * (count * len(rows) / both)
        means, count = means + shift * len(rows) / both, both
    if count == 0:
        raise InputError("there are no sounds to fit the stand-in for VGGish's PCA to; give at least one")
    return means, products / count


def _code() -> str:
    return code_of(sys.modules[__name__], vggish, backgrounds, dsp, scenes, textures, voices)
