"""The stand-in for AudioSet's embeddings: made once, whole after an interruption, its records, labels and rows."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.compat.tensorflow_stub.errors import OutOfRangeError
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

from sed_lab.clip.embedding_store import EmbeddingStore
from sed_lab.clip.tfrecord import EmbeddingRecord, decode_embedding, write_records
from sed_lab.dataset import mini_embeddings as making
from sed_lab.dataset.mini_embeddings import clip_audio, mini_vggish
from sed_lab.errors import InputError
from sed_lab.types import Corpus
from tests.configured import configured, option

mini_embeddings = configured("dataset/mini_embeddings")

CLASSES = {"Speech": 0, "Animal": 72, "Music": 137, "Vehicle": 300}
COUNTS = {
    "Speech": 3, "Dog": 2, "Cat": 2, "Music": 3, "Vehicle": 3, "Speech+Dog": 1, "gunshot": 1, "babycry": 1,
}  # fmt: skip
LABELS = {  # as in class_labels_indices.csv: Dog is 74, Cat 81, Gunshot 427, Baby cry 23
    "Speech": (0,), "Dog": (72, 74), "Cat": (72, 81), "Music": (137,), "Vehicle": (300,), "Speech+Dog": (0, 72, 74),
    "gunshot": (427,), "babycry": (23,),
}  # fmt: skip
SHORT, SNR = 2, (0.0, 10.0)
SEED, OTHER_SEED = 1, 4  # with so few clips, not every seed puts all classes on both sides


@pytest.fixture(scope="module", autouse=True)
def small_stand_in() -> Iterator[None]:
    """A whitening of few clips, to be quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "FITTED_ON", 8)
        yield


def make(folder: Path, counts: dict[str, int] | None = None, **settings: Any) -> Corpus:
    return mini_embeddings(folder, counts or COUNTS, SHORT, SNR, CLASSES, **{"labels": "any", "seed": SEED, **settings})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    make(folder)
    return folder


def place_of(folder: Path) -> Path:
    (place,) = folder.glob("mini_embeddings-*")
    return place


def files(folder: Path) -> dict[str, bytes]:
    """All that is there but locks and the converted copy, whose name stands for the folder it lies in."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix in (".tfrecord", ".npz")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def payloads(path: Path) -> Iterator[bytes]:
    """A shard's records by TensorBoard's reader, which checks their checksums."""
    reader = PyRecordReader_New(str(path))
    while True:
        try:
            reader.GetNext()
        except OutOfRangeError:
            return
        yield reader.record()


def records_of(folder: Path) -> list[EmbeddingRecord]:
    shards = sorted((place_of(folder) / "audioset_v1_embeddings").glob("*/*.tfrecord"))
    return [decode_embedding(payload) for path in shards for payload in payloads(path)]


def test_the_files_are_those_of_a_release_in_small(made: Path) -> None:
    release = place_of(made) / "audioset_v1_embeddings"
    assert {path.name: len(list(path.glob("*.tfrecord"))) for path in release.iterdir()} == {"bal_train": 12, "eval": 8}
    records = records_of(made)
    assert len(records) == sum(COUNTS.values()) + SHORT
    assert len({record.video_id for record in records}) == len(records)
    assert {len(record.video_id) for record in records} == {11}
    assert all(record.end_seconds - record.start_seconds == 10 for record in records)


def test_every_sound_has_its_own_labels(made: Path) -> None:
    expected = Counter({LABELS[kind]: count for kind, count in COUNTS.items()})
    expected[0,] += SHORT  # the short ones are of speech
    assert Counter(record.labels for record in records_of(made)) == expected


def test_short_clips_are_there_and_left_out(made: Path) -> None:
    short = [record for record in records_of(made) if len(record.rows) != 10]
    assert len(short) == SHORT
    assert all(3 <= len(record.rows) <= 9 for record in short)
    (store,) = place_of(made).glob("audioset_embeddings-*")
    kept = EmbeddingStore(store)
    assert len(kept) == sum(COUNTS.values())
    assert not {record.video_id.encode() for record in short} & set(kept.video_id.tolist())


def test_rows_are_the_front_end_s_of_the_clip_s_own_sounds(made: Path) -> None:
    front_end = mini_vggish(made)
    kinds = [kind for kind, count in COUNTS.items() for _ in range(count)] + ["Speech"] * SHORT
    for record in records_of(made)[::4]:
        member = int(record.video_id[-5:])
        audio = clip_audio(kinds[member].split("+"), SNR, np.random.default_rng([SEED, 1, member]))
        rows = front_end(torch.from_numpy(audio)[None])[0].numpy()
        assert record.labels == LABELS[kinds[member]]
        stored = np.frombuffer(b"".join(record.rows), np.uint8).reshape(-1, 128)
        # With another number of threads a value may fall on the other side of a step.
        assert np.abs(rows[: len(stored)].astype(int) - stored).max() <= 2


def test_rows_use_the_eight_bits_and_differ(made: Path) -> None:
    rows = np.frombuffer(b"".join(row for record in records_of(made) for row in record.rows), np.uint8).reshape(-1, 128)
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert 100 < rows.mean() < 155  # whitened: around the middle
    assert rows.std(axis=0).min() > 10  # every one of the 128 values tells something


def test_the_clips_are_read_as_a_release_s(made: Path) -> None:
    corpus = make(made, row_exchange="none")
    assert (corpus.name, corpus.classes, corpus.sample_rate) == ("mini_embeddings", tuple(CLASSES), 16000)
    assert corpus.embedded_by == mini_vggish(made).name == "mini_vggish"
    found = [clip for part in ("weak", "test") for clip in corpus.subsets[part].clips]
    expected = {"Speech": ("Speech",), "Dog": ("Animal",), "Cat": ("Animal",), "Music": ("Music",),
                "Vehicle": ("Vehicle",), "Speech+Dog": ("Speech", "Animal")}  # fmt: skip
    wanted: Counter[tuple[str, ...]] = Counter()
    for kind, labels in expected.items():
        wanted[labels] += COUNTS[kind]
    assert Counter(clip.event_labels for clip in found) == wanted
    stored = {record.video_id: record.rows for record in records_of(made)}
    clip, rows = corpus.subsets["test"].load(0, 0)
    assert tuple(row.tobytes() for row in rows) == stored[clip.clip_id.split("_")[0]]


def test_classes_are_found_by_audioset_s_names(made: Path) -> None:
    before = files(made)
    corpus = mini_embeddings(made, COUNTS, SHORT, SNR, ["/m/0jbk", 0, "Music"], labels="any", seed=SEED)
    assert corpus.classes == ("Animal", "Speech", "Music")
    clips = [clip for part in ("weak", "test") for clip in corpus.subsets[part].clips if "copy" not in clip.clip_id]
    found = Counter(label for clip in clips for label in clip.event_labels or ())
    assert found == {"Animal": 5, "Speech": 4, "Music": 3}
    assert files(made) == before


def test_the_release_s_own_split_can_be_taken(made: Path) -> None:
    corpus = mini_embeddings(
        made, COUNTS, SHORT, SNR, ["Speech"], test_subsets=["eval"], row_exchange="none", seed=SEED
    )
    (place,) = made.glob("mini_embeddings-*")
    tested = sorted((place / "audioset_v1_embeddings/eval").glob("*.tfrecord"))
    there = {record.video_id for path in tested for record in map(decode_embedding, payloads(path))}
    assert {clip.clip_id.split("_")[0] for clip in corpus.subsets["test"].clips} <= there
    assert not {clip.clip_id.split("_")[0] for clip in corpus.subsets["weak"].clips} & there


def test_made_once(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("it is there already")

    monkeypatch.setattr(making, "clip_audio", never)
    before = files(made)
    first, again = make(made, row_exchange="none"), make(made)
    assert files(made) == before
    assert first.fingerprint != again.fingerprint  # chosen in another way from the same clips
    for change in ({"seed": 2}, {"counts": {**COUNTS, "Cat": 3}}):  # other clips would have to be made
        with pytest.raises(AssertionError, match="it is there already"):
            make(made, **change)


def test_an_interruption_leaves_nothing_and_the_next_one_makes_the_same_bytes(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 3

    def interrupted(path: Path, records: Iterable[bytes]) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return write_records(path, records)

    with monkeypatch.context() as patch:
        patch.setattr(making, "write_records", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path)
    assert [path.name.split("-")[0] for path in tmp_path.iterdir() if path.is_dir()] == ["mini_vggish"]
    fingerprint = make(tmp_path).fingerprint
    assert files(tmp_path) == files(made)
    assert fingerprint == make(made).fingerprint


def test_another_seed_gives_other_clips_through_the_same_front_end(made: Path, tmp_path: Path) -> None:
    (front_end,) = made.glob("mini_vggish-*")
    shutil.copytree(front_end, tmp_path / front_end.name)
    make(tmp_path, seed=OTHER_SEED)
    one, two = ({row for record in records_of(folder) for row in record.rows} for folder in (made, tmp_path))
    assert not one & two
    assert files(tmp_path / front_end.name) == files(front_end)


NAMES = ("test_subsets", "train_share", "per_class", "row_exchange")
SETTINGS = {key: option("dataset/mini_embeddings")[key] for key in NAMES}
SETTINGS |= {"labels": "any", "seed": SEED}
KILLED = f"""
import os, signal, sys
from pathlib import Path
from sed_lab.dataset import mini_embeddings as making
making.FITTED_ON = 8
real, left = making.write_records, [int(sys.argv[2])]
def killing(path, records):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(path, records)
making.write_records = killing
making.mini_embeddings(Path(sys.argv[1]), {COUNTS}, {SHORT}, {SNR}, {CLASSES}, **{SETTINGS})
"""


@pytest.mark.slow
def test_a_killed_process_leaves_no_trace(made: Path, tmp_path: Path) -> None:
    for shards in (1, 7):
        process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(shards)], check=False)
        assert process.returncode == -signal.SIGKILL
        assert not list(tmp_path.glob("mini_embeddings-*"))
        (part,) = tmp_path.glob(".mini_embeddings-*.part")
        assert len(list(part.glob("*/*/*.tfrecord"))) == shards
    make(tmp_path)
    assert records_of(tmp_path) == records_of(made)
    assert not list(tmp_path.glob(".*.part"))


def test_an_unknown_sound_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    said = r"dataset\.counts: no sound Cow, Owl; there are Speech, Dog, Cat, Music, Vehicle, gunshot, babycry"
    with pytest.raises(InputError, match=said):
        make(tmp_path, {"Speech": 3, "Owl+Cow": 2, "Dog+Cow": 1})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"cannot make .*file/below/mini_vggish-\w+: .*; free some space or choose another"
    ):
        make(tmp_path / "file" / "below")


def test_a_clip_is_ten_seconds_of_sounds_over_a_background_at_their_level() -> None:
    """What is heard at any level is the background and the sound alone, and 10 dB more are 3.16 times as much of it."""
    for name in ("Vehicle", "Dog"):
        clips = {
            level: clip_audio([name], (level, level), np.random.default_rng(4)) for level in (-200.0, 0.0, 10.0, 200.0)
        }
        for clip in clips.values():
            assert (clip.dtype, clip.shape) == (np.float32, (160000,))
            assert np.abs(clip).max() == pytest.approx(0.5, rel=1e-6)
        both = np.stack([clips[-200.0], clips[200.0]], axis=1).astype(np.float64)
        shares = []
        for level in (0.0, 10.0):
            (bed, sound), residual, *_ = np.linalg.lstsq(both, clips[level].astype(np.float64))
            assert residual[0] < 1e-9 * np.square(clips[level]).sum()
            shares.append(sound / bed)
        assert shares[1] / shares[0] == pytest.approx(10**0.5, rel=1e-4)
        loud = both[:, 1][np.abs(both[:, 1]) > 0.05 * 0.5]
        power = np.mean(np.square(shares[0] * loud)) / np.mean(np.square(both[:, 0]))
        assert 10 * np.log10(power) == pytest.approx(
            0.0, abs=0.5
        )  # 0 dB: as loud, where it is heard, as the background
