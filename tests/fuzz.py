"""Damaged files for every reader: valid ones with bytes or words changed, and words put together at random.

Only `InputError`, or a value, may come out, within seconds and `ROOM`.
``python -m tests.fuzz 5300`` tries so many for each reader,
100,000 in all, and prints what else came out, with the number that makes it again.
"""

from __future__ import annotations

import io
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from sed_lab.clip import annotation
from sed_lab.clip.audio import audio_info, read_audio
from sed_lab.clip.embedding_file import read_embeddings
from sed_lab.clip.tfrecord import EmbeddingRecord, Tally, encode_embedding, write_records
from sed_lab.errors import InputError
from sed_lab.experiment.reader import read_experiment
from sed_lab.files import read_json
from sed_lab.parameter.check import check_config
from sed_lab.scores import load_scores, read_scores_folder, save_scores
from sed_lab.types import Scores

SECONDS = 5.0  # of a processor that one case may take
ROOM = 2**30  # bytes of memory that a reader may take beyond what is loaded
Reader = Callable[[Path], Any]
TOKENS = [b"", b"\0", b"\t", b"\n", b"\r", b",", b"nan", b"inf", b"-1", b"1e999", b"0", b"9" * 30, b"\xff\xfe",
          b"\xc3", b"[", b"]", b"{", b"}", b'"', b":", b"null", b"true", b"- ", b"&a ", b"*a", b"<u8", b"|O", b"(",
          b")", b"!!python/name:os.system ", b"filename", b"onset", b"Dog", b"\xe2\x80\xa8", b"PK\x01\x02",
          b"RIFF", b"data"]  # fmt: skip
TABLE = b"filename\tonset\toffset\tevent_label\na.wav\t0.5\t1.25\tDog\nb.wav\t\t\t\nc.wav\t1\t2\tCat\n"
HERE = Path(__file__).resolve().parents[1]


def _made(write: Callable[[Path], Any], name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def _sound(kind: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(400) / 9).astype(np.float32), 8000, format=kind)
    return buffer.getvalue()


def _scores(path: Path) -> None:
    frame = tuple(np.full((4, 2), 0.25, np.float32) for _ in range(2))
    save_scores(path, Scores(("a", "b"), ("Dog", "Cat"), np.array([1.0, 1.0]), 0.25, frame, np.full((2, 2), 0.5)))


def _embeddings(path: Path) -> None:
    np.savez(path, a=np.zeros((10, 128), np.uint8))


def _records(path: Path) -> None:
    rows = tuple(bytes([i]) * 128 for i in range(10))
    write_records(path, [encode_embedding(EmbeddingRecord("abcdefghijk", 0.0, 10.0, (3,), rows))] * 2)


def _overrides(path: Path) -> Any:
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from sed_lab.app import conf_folder, sentence

    words = path.read_bytes().decode(errors="replace").replace("\0", "").split("\n")
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            config = OmegaConf.to_container(compose("loss/tbfl", [word for word in words if word]), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(sentence(error, "config")) from error
    return config


def _record(path: Path) -> Any:
    from sed_lab.run.detector import load_detector

    return load_detector(path.parent)


def _values(path: Path) -> Any:
    config = read_json(path)
    if not isinstance(config, dict):
        raise InputError("no mapping")
    return check_config(config, "sed-evaluate")


def _audio(path: Path) -> Any:
    if audio_info(path).duration > 100:  # which `read_audio` would fill up to what the header says
        raise InputError("too long for a test")
    return read_audio(path, 16000)


EXPERIMENT = next(iter(sorted((HERE / "experiments").glob("park2022/fig*.yaml")))).read_bytes()
GROUPS = {
    "feature": {"_target_": "sed_lab.dataset.toy.PointFeature", "dimensions": 2},
    "model": {"_target_": "sed_lab.model.embedding_net.RowFNN", "hidden": [2]},
    "loss": {"_target_": "sed_lab.loss.Focal", "gamma": 2.0, "alpha": None},
    "method": {"_target_": "sed_lab.method.park2022.MeanTeacher", "optimizer": {"_target_": "torch.optim.Adam"}},
    "decoder": {"_target_": "sed_lab.decoder.box.BoxDecoder", "threshold": 0.5},
}
FITTED = {"classes": ["Dog"], "clip_seconds": 1.0, "decided": {}, "decoder": {}, "tuned": None}
RECORD = json.dumps({"status": "complete", "name": "r", "config": GROUPS, "detector": FITTED}).encode()


def _checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(3), "b": torch.ones(2, 2)}, "encoder": None}, buffer)
    return buffer.getvalue()


CHECKPOINT = _checkpoint()
VALUES = json.dumps(
    {"decoder": {"_target_": "sed_lab.decoder.box.BoxDecoder", "threshold": 0.5}, "metric": {"collar": 1}}
)
READERS: dict[str, tuple[str, Callable[[], bytes], Reader]] = {
    "strong": ("a.tsv", lambda: TABLE, annotation.read_strong),
    "weak": ("a.tsv", lambda: b"filename\tevent_labels\na.wav\tDog,Cat\nb.wav\t\n", annotation.read_weak),
    "durations": ("a.tsv", lambda: b"filename\tduration\na.wav\t10\nb.wav\t2.5\n", annotation.read_durations),
    "detections": ("a.tsv", lambda: TABLE, annotation.read_detections),
    "unlabelled": ("a.tsv", lambda: b"filename\na.wav\n", annotation.read_unlabelled),
    "classes": ("a.txt", lambda: b"Dog\nCat\n", annotation.read_classes),
    "bank": ("a.tsv", lambda: b"event_label\tsource_clips\tsource_seconds\nDog\t3\t1.5\n", annotation.read_bank),
    "wav": ("a.wav", lambda: _sound("WAV"), _audio),
    "flac": ("a.flac", lambda: _sound("FLAC"), _audio),
    "scores": ("a.npz", lambda: _made(_scores, "a.npz"), load_scores),
    "folder of scores": ("a.tsv", lambda: b"onset\toffset\tDog\n0\t0.5\t0.1\n0.5\t1\t0.9\n",
                         lambda path: read_scores_folder(path.parent)),
    "tfrecord": ("a.tfrecord", lambda: _made(_records, "a.tfrecord"), lambda p: list(read_embeddings(p, Tally()))),
    "embeddings": ("a.npz", lambda: _made(_embeddings, "a.npz"), lambda p: list(read_embeddings(p, Tally()))),
    "experiment": ("a.yaml", lambda: EXPERIMENT, read_experiment),
    "json": ("run.json", lambda: RECORD, read_json),
    "record": ("run.json", lambda: RECORD, _record),
    "checkpoint": ("detector.ckpt", _checkpoint, _record),
    "values": ("a.json", VALUES.encode, _values),
    "overrides": ("a.txt", lambda: b"loss.gamma=1\n+loss.x=[1,2]\nloss.k={a:1}\n~loss.alpha", _overrides),
}  # fmt: skip


def damaged(valid: bytes, rng: random.Random) -> bytes:
    """``valid`` with some bytes changed, cut out, doubled or put in, or only words."""
    data = bytearray(valid)
    if rng.random() < 0.1:
        return b"".join(rng.choice(TOKENS) for _ in range(rng.randrange(1, 30)))
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(len(data) + 1)
        change = rng.randrange(6)
        if change == 0 and data:
            data[min(place, len(data) - 1)] = rng.randrange(256)
        elif change == 1:
            del data[place : place + rng.choice((1, 2, 8, 100))]
        elif change == 2:
            data[place:place] = rng.choice(TOKENS)
        elif change == 3:
            data[place:place] = data[place : place + rng.choice((1, 8, 60))]
        elif change == 4:
            del data[place:]
        elif data:
            place = min(place, len(data) - 1)
            data[place] ^= 1 << rng.randrange(8)
    return bytes(data)


def read(name: str, data: bytes, folder: Path) -> str:
    """What is wrong with how the reader takes ``data``; nothing where it gives a value or an `InputError`."""
    file, _, reader = READERS[name]
    for old in folder.iterdir():
        old.unlink()
    path = folder / file
    path.write_bytes(data)
    if name == "record":
        (folder / "detector.ckpt").write_bytes(CHECKPOINT)
    if name == "checkpoint":
        (folder / "run.json").write_bytes(RECORD)
    began = time.process_time()
    try:
        reader(path)
    except InputError as error:
        if "\n" in str(error) or len(str(error)) < 8:
            return f"no sentence: {error!s:.200}"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200}"
    took = time.process_time() - began
    return f"took {took:.1f} s" if took > SECONDS else ""


@contextmanager
def bounded() -> Iterator[None]:
    """Let the kernel refuse memory beyond `ROOM`: the error that a reader then ends with is a finding."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def fuzz(name: str, count: int, seed: int) -> dict[str, tuple[int, int]]:
    """What else came out of ``count`` cases: in words, with the number of the first such case and how many."""
    valid = READERS[name][1]()
    found: dict[str, tuple[int, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        read(name, valid, Path(folder))  # loads what the reader needs, which takes seconds in a new process
        for number in range(count):
            with bounded():
                fault = read(name, damaged(valid, random.Random(f"{name} {seed} {number}")), Path(folder))
            if fault:
                first, times = found.get(fault, (number, 0))
                found[fault] = (first, times + 1)
    return found


if __name__ == "__main__":
    each, start, faults = int(sys.argv[1]), time.monotonic(), 0
    for reader_name in READERS:
        for words, (first_case, times) in fuzz(reader_name, each, seed=0).items():
            faults += times
            print(f"{reader_name}, case {first_case} and {times - 1} more: {words}", flush=True)
    print(f"{each * len(READERS)} cases, {faults} findings, {time.monotonic() - start:.0f} s")
    sys.exit(1 if faults else 0)
