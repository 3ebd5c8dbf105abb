"""A disk without room: each kind of file is written whole or not at all, why is said, and with room it is the same."""

from __future__ import annotations

import io
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.figure import Figure

from sed_lab.bank.making import make_once
from sed_lab.bank.mixing import write_wav
from sed_lab.clip.audio import write_audio
from sed_lab.clip.feature_cache import cached_features
from sed_lab.clip.tfrecord import write_records
from sed_lab.errors import InputError
from sed_lab.evaluate import write_measured
from sed_lab.files import write_json
from sed_lab.report.style import save
from sed_lab.run.checkpoint import write_checkpoint
from sed_lab.run.collect import write_embeddings, write_truth
from sed_lab.run.keep import save_detector
from sed_lab.scores import save_scores, write_scores_folder
from sed_lab.types import Clip, Event, Scores
from tests.clip.test_feature_cache import corpus_of
from tests.configured import configured

StandardLogMel = configured("feature/standardised_mel_small")
NOISE = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
IDS, CLASSES = ("a", "b"), ("Dog", "Cat")
SCORES: Scores = Scores(IDS, CLASSES, np.array([2.0, 2.0]), 0.1, tuple(NOISE[:80].reshape(2, 20, 2) ** 2))
EVENTS = {name: tuple(Event(0.1 * i, 0.1 * i + 0.05, "Dog") for i in range(40)) for name in IDS}
METRICS: dict[str, Any] = {"subset": "test", "systems": {}, "classes": [], "settings": {}}


@contextmanager
def room(n_bytes: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a disk that is full then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with redirect_stderr(io.StringIO()):  # what tests print goes to a file too
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def corpus(folder: Path) -> None:
    def write(beside: Path) -> Iterator[str]:
        beside.mkdir()
        for name in ("one.wav", "two.wav"):
            write_wav(beside / name, NOISE.copy(), 16000)
            yield name

    make_once(folder / "corpus-1", write, 2)


def mixtures(folder: Path) -> None:
    """As `sed_lab.bank.recipe` writes them: by libsndfile, which hides why it failed."""

    def write(beside: Path) -> Iterator[str]:
        beside.mkdir()
        soundfile.write(beside / "one.wav", NOISE, 44100, subtype="PCM_24")
        yield "one.wav"

    make_once(folder / "mixtures", write, 1)


def features(folder: Path) -> None:
    place = folder.with_name("recordings")
    mel = StandardLogMel().mel
    cached_features(corpus_of(place), "weak", mel, {}, folder)


def detector(folder: Path) -> None:
    torch.manual_seed(0)
    state = torch.nn.Linear(9, 9).state_dict()
    save_detector(SimpleNamespace(feature=None, detector_state=lambda: state), folder)  # type: ignore[arg-type]


def figure(folder: Path) -> None:
    drawn = Figure(figsize=(2, 1))
    drawn.add_subplot().plot(NOISE[:50])
    save(drawn, folder / "figures" / "figure.png")


def truth(folder: Path) -> None:
    clips = [Clip(name, Path(f"/nowhere/{name}.wav"), 2.0, events, None) for name, events in EVENTS.items()]
    write_truth(folder / "scores" / "test", clips)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "checkpoint": lambda folder: write_checkpoint({"weights": torch.arange(900.0)}, folder / "checkpoints/last.ckpt"),
    "detector": detector,
    "scores": lambda folder: save_scores(folder / "scores/test/model.npz", SCORES),
    "score tables": lambda folder: write_scores_folder(folder / "scores", SCORES),
    "annotation": truth,
    "embeddings": lambda folder: write_embeddings(folder, [np.full((10, 128), 7, np.uint8)] * 3),
    "record": lambda folder: write_json(folder / "run.json", {"status": "running", "losses": NOISE[:99]}),
    "measures and detections": lambda folder: write_measured(folder, {"model": EVENTS}, None, METRICS, {}),  # type: ignore[arg-type, dict-item]
    "figure": figure,
    "recording": lambda folder: write_audio(folder / "a.flac", NOISE, 16000),
    "records": lambda folder: write_records(folder / "a.tfrecord", [NOISE.tobytes()]),
    "features": features,
    "made corpus": corpus,
    "made mixtures": mixtures,
}


def left(folder: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.endswith(".lock")}


@pytest.mark.parametrize("kind", WRITERS)
def test_what_finds_no_room_is_not_half_there(kind: str, tmp_path: Path) -> None:
    write = WRITERS[kind]
    write(tmp_path / "roomy")
    whole = left(tmp_path / "roomy")
    largest = max(map(len, whole.values()))
    for share in (0.0, 0.5, 0.99):
        tight = tmp_path / f"tight {share}"
        for already in ("nothing", "an earlier one"):
            if already != "nothing":
                write(tight)
                assert left(tight) == whole
                if kind in ("features", "made corpus", "made mixtures"):
                    continue  # there already
            with room(int(largest * share)), pytest.raises(InputError) as refused:
                write(tight)
            found, said = left(tight), str(refused.value)
            assert all(whole[name] == content for name, content in found.items())
            assert len(found) < len(whole) or already != "nothing"
            assert said.startswith(("cannot write", "cannot make"))
            assert said.endswith("; free some space or choose another folder")
            assert str(tight) in said
            assert "\n" not in said
            assert not [path for path in tight.rglob("*") if ".part" in path.name]
