"""A small release of embeddings, converted: what is kept, interruptions at every place, damage, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sed_lab.clip import embedding_store
from sed_lab.clip.embedding_store import EmbeddingStore, convert
from sed_lab.clip.tfrecord import EmbeddingRecord, Tally, encode_embedding, write_records
from sed_lab.clip.tfrecord import read_clips as real_read_clips
from sed_lab.dataset.check import Looking
from sed_lab.dataset.check_audioset import check_embeddings
from sed_lab.errors import InputError
from sed_lab.files import locked

SUBSETS = ("bal_train", "eval", "unbal_train")
SHARDS = {"bal_train": ("--", "-A", "a0"), "eval": ("zZ", "__"), "unbal_train": ("00", "aB", "ab")}  # not in order


def draw_clips(count: int, seed: int) -> list[EmbeddingRecord]:
    """Clips, every fifth of them short, ids of 1 to 11 characters, up to three labels or none."""
    rng = np.random.default_rng(seed)
    clips = []
    for i in range(count):
        rows = tuple(row.tobytes() for row in rng.integers(0, 256, (3 if i % 5 == 4 else 10, 128), dtype=np.uint8))
        labels = tuple(sorted({int(one) for one in rng.choice([0, 72, 137, 300, 526], rng.integers(0, 4))}))
        start = float(np.float32(rng.uniform(0, 600)))
        clips.append(EmbeddingRecord(f"{seed:02d}_{i:08d}"[: 4 + i % 8], start, start + 10, labels, rows))
    return clips


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """3 + 2 + 3 shards of 7 to 14 clips; one shard is empty."""
    folder = tmp_path / "audioset_v1_embeddings"
    for seed, (subset, names) in enumerate(SHARDS.items()):
        for i, name in enumerate(names):
            count = 0 if name == "__" else 7 + 2 * seed + i
            write_records(folder / subset / f"{name}.tfrecord", map(encode_embedding, draw_clips(count, 10 * seed + i)))
        (folder / subset / f"._{name}.tfrecord").write_bytes(b"of a Macintosh")
    return folder


def kept_clips(folder: Path, subsets: Sequence[str] = SUBSETS) -> list[tuple[str, EmbeddingRecord]]:
    """What is to be kept, in order."""
    return [
        (subset, clip)
        for subset in subsets
        for name in sorted(SHARDS[subset])
        for clip in real_read_clips(folder / subset / f"{name}.tfrecord", Tally())
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_the_clips_of_ten_rows_are_there_in_order(release: Path, tmp_path: Path) -> None:
    index = convert(release, tmp_path / "store", progress=False)
    store = EmbeddingStore(tmp_path / "store")
    kept = kept_clips(release)
    assert 50 < len(store) == len(kept)
    assert store.embedding.shape == (len(kept), 10, 128)
    assert store.embedding.dtype == np.uint8
    assert store.embedding.tobytes() == b"".join(row for _, clip in kept for row in clip.rows)
    assert [one.decode() for one in store.video_id] == [clip.video_id for _, clip in kept]
    assert store.start_seconds.tolist() == [clip.start_seconds for _, clip in kept]
    assert [store.subsets[number] for number in store.subset] == [subset for subset, _ in kept]
    for label in (0, 72, 137, 300, 526, 1, 40000, -1):
        has = store.has_label(label)
        assert has.dtype == np.bool_
        assert has.tolist() == [label in clip.labels for _, clip in kept]
    assert store.index == index
    assert store.fingerprint == index["fingerprint"]


def test_the_index_says_what_was_found(release: Path, tmp_path: Path) -> None:
    index = convert(release, tmp_path / "store", progress=False)
    blank = {"damaged": 0, "damage": []}
    assert index["version"] == 1
    assert index["subsets"] == {
        "bal_train": {"shards": 3, "records": 24, "kept": 21, "rows": {"10": 21, "3": 3}, **blank},
        "eval": {"shards": 2, "records": 9, "kept": 8, "rows": {"10": 8, "3": 1}, **blank},
        "unbal_train": {"shards": 3, "records": 36, "kept": 30, "rows": {"10": 30, "3": 6}, **blank},
    }
    labels = sum(len(clip.labels) for _, clip in kept_clips(release))
    assert index["totals"] == {"shards": 8, "records": 69, "kept": 59, "damaged": 0, "labels": labels}
    lines = [json.loads(line) for line in (tmp_path / "store/journal.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines[:3]] == ["--.tfrecord", "-A.tfrecord", "a0.tfrecord"]
    assert lines[-1]["labels"] == labels
    assert lines[4]["size"] == (release / "eval/zZ.tfrecord").stat().st_size


def test_a_subset_alone_and_another_order(release: Path, tmp_path: Path) -> None:
    convert(release, tmp_path / "store", ("eval", "bal_train"), progress=False)
    store = EmbeddingStore(tmp_path / "store")
    assert store.subsets == ("eval", "bal_train")
    assert store.subset.tolist() == [0] * 8 + [1] * 21
    convert(release, tmp_path / "store", ("bal_train",))
    with pytest.raises(InputError, match="store was converted without unbal_train; name another folder"):
        convert(release, tmp_path / "store")


def test_a_complete_folder_is_returned_without_reading(release: Path, tmp_path: Path) -> None:
    index = convert(release, tmp_path / "store", progress=False)
    shutil.rmtree(release)
    assert convert(release, tmp_path / "store") == index


def test_the_fingerprint_follows_the_content(release: Path, tmp_path: Path) -> None:
    first = convert(release, tmp_path / "one", progress=False)["fingerprint"]
    shutil.copytree(release, tmp_path / "copy")
    assert convert(tmp_path / "copy", tmp_path / "two", progress=False)["fingerprint"] == first
    path = release / "eval/zZ.tfrecord"
    clips = draw_clips(9, 99)
    write_records(path, map(encode_embedding, clips))
    second = convert(release, tmp_path / "three", progress=False)["fingerprint"]
    write_records(path, map(encode_embedding, clips[::-1]))  # as long, and as many
    third = convert(release, tmp_path / "four", progress=False)["fingerprint"]
    assert len({first, second, third}) == 3


def test_damage_is_left_out_and_listed(release: Path, tmp_path: Path) -> None:
    clips = draw_clips(4, 5)
    payloads = [encode_embedding(clip) for clip in clips]
    long = EmbeddingRecord("twelve_chars", 0.0, 10.0, (0,), clips[0].rows)
    path = release / "bal_train/-A.tfrecord"
    write_records(path, [payloads[0], b"no clip", encode_embedding(long), *payloads[1:]])
    text = bytearray(path.read_bytes())
    starts = np.cumsum([0] + [len(one) + 16 for one in (payloads[0], b"no clip", encode_embedding(long), payloads[1])])
    text[starts[3] + 500] ^= 1
    path.write_bytes(text[:-1])
    index = convert(release, tmp_path / "store", progress=False)
    name = "-A.tfrecord"
    last = int(starts[4]) + len(payloads[2]) + 16
    assert index["subsets"]["bal_train"]["damage"] == [
        {"file": name, "position": starts[1], "reason": "not a SequenceExample", "rest_lost": False},
        {"file": name, "position": starts[2], "reason": "video_id 'twelve_chars' is not of 1 to 11 characters",
         "rest_lost": False},
        {"file": name, "position": starts[3], "reason": "wrong checksum of the data", "rest_lost": False},
        {"file": name, "position": last, "reason": "the file ends within the record", "rest_lost": True},
    ]  # fmt: skip
    assert (index["subsets"]["bal_train"]["damaged"], index["totals"]["damaged"]) == (4, 4)
    store = EmbeddingStore(tmp_path / "store")
    assert len(store) == len(kept_clips(release)) == index["totals"]["kept"]
    assert store.embedding.tobytes() == b"".join(row for _, clip in kept_clips(release) for row in clip.rows)


def test_a_conversion_stopped_anywhere_goes_on(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after every so many clips, again and again, the files are those of one that was not stopped."""
    convert(release, tmp_path / "whole", progress=False)
    expected = contents(tmp_path / "whole")
    monkeypatch.setattr(embedding_store, "CHUNK", 3)
    convert(release, tmp_path / "chunks", progress=False)
    assert contents(tmp_path / "chunks") == expected
    left = 0

    def stopping(path: Path, tally: Tally) -> Iterator[EmbeddingRecord]:
        nonlocal left
        for clip in real_read_clips(path, tally):
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            yield clip

    monkeypatch.setattr(embedding_store, "read_clips", stopping)
    for step in (1, 4, 5, 10, 13, 30):
        target = tmp_path / f"stopped_{step}"
        for stops in range(100):
            left = step + stops  # one more each time: a shard is not begun anew for ever
            try:
                convert(release, target, progress=False)
            except KeyboardInterrupt:
                assert not (target / "index.json").exists()
            else:
                break
        assert stops > 0
        assert contents(target) == expected


KILLED = """
import os, signal, sys
from pathlib import Path
from sed_lab.clip import embedding_store
source, target = map(Path, sys.argv[1:])
embedding_store.CHUNK = 3
real = embedding_store.read_clips
def killing(path, tally):
    for clip in real(path, tally):
        killing.left -= 1
        if killing.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        yield clip
embedding_store.read_clips = killing
for killing.left in (2, 5, 6, 9, 8, 16, 18, 20, 10):  # of 59: within shards, at their ends, and at the very last clip
    if not os.fork():
        embedding_store.convert(source, target, progress=False)
        os._exit(0)
    assert os.wait()[1] == signal.SIGKILL
killing.left = 11  # so many the last shard holds: what was done before is not done again
embedding_store.convert(source, target, progress=False)
"""


def test_a_killed_conversion_goes_on(release: Path, tmp_path: Path) -> None:
    convert(release, tmp_path / "whole", progress=False)
    subprocess.run([sys.executable, "-c", KILLED, release, tmp_path / "killed"], check=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_an_incomplete_line_of_the_journal_is_ignored(release: Path, tmp_path: Path) -> None:
    convert(release, tmp_path / "store", progress=False)
    expected = contents(tmp_path / "store")
    journal = expected["journal.jsonl"]
    for length in (*range(0, len(journal), 61), len(journal) - 1, len(journal)):
        (tmp_path / "store/index.json").unlink()
        (tmp_path / "store/journal.jsonl").write_bytes(journal[:length])
        convert(release, tmp_path / "store", progress=False)
        assert contents(tmp_path / "store") == expected


@pytest.mark.parametrize("name", ["embedding.bin", "labels.bin", "subset.bin"])
def test_what_a_power_cut_took_is_converted_again(release: Path, tmp_path: Path, name: str) -> None:
    convert(release, tmp_path / "store", progress=False)
    expected = contents(tmp_path / "store")
    for length in (len(expected[name]) - 1, len(expected[name]) // 2, 0):
        (tmp_path / "store/index.json").unlink()
        os.truncate(tmp_path / "store" / name, length)
        convert(release, tmp_path / "store", progress=False)
        assert contents(tmp_path / "store") == expected
    (tmp_path / "store/index.json").unlink()
    (tmp_path / "store" / name).unlink()
    convert(release, tmp_path / "store", progress=False)
    assert contents(tmp_path / "store") == expected


def interrupted(release: Path, target: Path) -> None:
    """``target`` as a conversion leaves it that was stopped after a few shards."""
    convert(release, target, progress=False)
    (target / "index.json").unlink()
    lines = (target / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (target / "journal.jsonl").write_bytes(b"".join(lines[:4]))


def test_other_shards_than_before_are_refused(release: Path, tmp_path: Path) -> None:
    target = tmp_path / "store"
    interrupted(release, target)
    before = contents(target)
    changed = release / "bal_train/-A.tfrecord"
    text = changed.read_bytes()
    changed.write_bytes(text + b"x")
    size = len(text)
    with pytest.raises(InputError, match=rf"-A.tfrecord has {size + 1} bytes but had {size} when it was converted"):
        convert(release, target, progress=False)
    changed.write_bytes(text)
    (release / "bal_train/-B.tfrecord").write_bytes(text)
    with pytest.raises(InputError, match="store was begun with other shards; remove it"):
        convert(release, target, progress=False)
    (release / "bal_train/-B.tfrecord").unlink()
    with pytest.raises(InputError, match="store was begun with other shards"):
        convert(release, target, ("eval", "bal_train"), progress=False)
    assert contents(target) == before
    for line in (b"{\n", b"5\n", b"{}\n"):
        (target / "journal.jsonl").write_bytes(line + before["journal.jsonl"])
        with pytest.raises(InputError, match=r"journal.jsonl is damaged \(.*\); remove .*store and convert again"):
            convert(release, target, progress=False)
    (target / "journal.jsonl").write_bytes(before["journal.jsonl"])
    convert(release, target, progress=False)


def test_a_source_without_shards_is_named_and_nothing_is_made(release: Path, tmp_path: Path) -> None:
    shutil.rmtree(release / "eval")
    for source in (release, tmp_path / "absent"):
        with pytest.raises(InputError, match=rf"{source}/\w+ holds no \*.tfrecord; unpack AudioSet's features.tar.gz"):
            convert(source, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_shards_that_are_no_shards_are_named(release: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    convert(release, tmp_path / "store", ("eval",), progress=False)
    assert f"{release}/eval/__.tfrecord is empty (0 bytes): its clips are missing" in caplog.text
    linked = release / "eval/aa.tfrecord"
    linked.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=f"^{linked}: links that lead nowhere; restore the files, or remove the links"):
        convert(release, tmp_path / "other", ("eval",), progress=False)
    linked.unlink()
    for path in (release / "eval").glob("[!.]*"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match=r"eval/__.tfrecord: is compressed by gzip; unpack it \(gunzip\)"):
        convert(release, tmp_path / "packed", ("eval",), progress=False)
    for path in (release / "eval").glob("[!.]*"):
        path.rename(path.with_name(f"{path.name}.gz"))
    with pytest.raises(InputError, match=r"eval holds 2 \*.tfrecord.gz; unpack them with gunzip .*/eval/\*.gz"):
        convert(release, tmp_path / "named", ("eval",), progress=False)
    (release / "eval/aa.tfrecord").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"none of the 1 files holds a clip \(they are empty\); restore them, then remove"
    ):
        convert(release, tmp_path / "void", ("eval",), progress=False)
    (release / "eval/aa.tfrecord").write_bytes(b"nothing at all")
    with pytest.raises(
        InputError, match=r"none of the 1 files holds a clip \(aa.tfrecord: wrong checksum of the length\)"
    ):
        convert(release, tmp_path / "nothing", ("eval",), progress=False)


def test_an_unreadable_shard_stops_the_conversion_until_it_can_be_read(release: Path, tmp_path: Path) -> None:
    path = release / "eval/zZ.tfrecord"
    text = path.read_bytes()
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=rf"{path}: cannot be read \(Is a directory\)"):
        convert(release, tmp_path / "store", progress=False)
    path.rmdir()
    path.write_bytes(text)
    convert(release, tmp_path / "store", progress=False)
    assert len(EmbeddingStore(tmp_path / "store")) == 59


def test_a_full_disk_is_one_sentence_and_can_be_resumed(release: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))  # no file may be longer; 31 of 59 clips fit
    try:
        with pytest.raises(InputError, match=r"cannot write .*store: File too large; free some space or name another"):
            convert(release, tmp_path / "store", progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(InputError, match="no complete folder"):
        EmbeddingStore(tmp_path / "store")
    convert(release, tmp_path / "store", progress=False)
    convert(release, tmp_path / "whole", progress=False)
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*file/store: Not a directory"):
        convert(release, tmp_path / "file/store", progress=False)


def test_a_second_process_waits_and_takes_the_result(release: Path, tmp_path: Path) -> None:
    target = tmp_path / "store"
    convert(release, tmp_path / "made", progress=False)
    code = "import sys; from pathlib import Path; from sed_lab.clip.embedding_store import convert;"
    code += "print(convert(*map(Path, sys.argv[1:]))['fingerprint'])"
    with locked(target / ".lock", ""):
        command = [sys.executable, "-c", code, str(release), str(target)]
        second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stderr is not None
        assert second.stderr.readline() == f"another process is converting into {target}; waiting for it\n"
        for name, content in contents(tmp_path / "made").items():
            (target / name).write_bytes(content)
        times = {path: path.stat().st_mtime_ns for path in target.glob("*.*")}
    out, err = second.communicate(timeout=60)
    assert out.strip() == EmbeddingStore(target).fingerprint
    assert not err  # no progress: it converted nothing
    assert {path: path.stat().st_mtime_ns for path in target.glob("*.*")} == times


def test_progress_counts_shards(release: Path, tmp_path: Path, work_shown: list[str]) -> None:
    convert(release, tmp_path / "store")
    convert(release, tmp_path / "quiet", progress=False)
    assert work_shown == ["converting into store: 8 of 8"]


def test_memory_does_not_grow_with_the_number_of_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_store, "CHUNK", 50)
    clips = [encode_embedding(clip) for clip in draw_clips(100, 0)]
    peaks = []
    for times in (1, 5, 25):  # 100, 500 and 2500 records of a shard; rows alone are 2.8 MB in the last
        write_records(tmp_path / str(times) / "eval/aa.tfrecord", clips * times)
        tracemalloc.start()
        convert(tmp_path / str(times), tmp_path / f"store_{times}", ("eval",), progress=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1] < 10**6
    tracemalloc.start()
    store = EmbeddingStore(tmp_path / "store_25")
    assert tracemalloc.get_traced_memory()[1] < 10**5
    tracemalloc.stop()
    assert len(store) == 2000


def test_a_store_is_read_only_and_travels_as_its_folder(release: Path, tmp_path: Path) -> None:
    convert(release, tmp_path / "store", progress=False)
    store = EmbeddingStore(tmp_path / "store")
    assert isinstance(store.embedding.base, np.memmap)  # mapped, not read
    with pytest.raises(ValueError, match="read-only"):
        store.embedding[0, 0, 0] = 1
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent).embedding, store.embedding)


def test_a_store_may_be_empty(tmp_path: Path) -> None:
    short = EmbeddingRecord("abc", 0.0, 9.0, (), (bytes(128),) * 9)
    write_records(tmp_path / "eval/aa.tfrecord", [encode_embedding(short)])
    convert(tmp_path, tmp_path / "store", ("eval",), progress=False)
    store = EmbeddingStore(tmp_path / "store")
    assert (len(store), store.embedding.shape, store.has_label(0).shape) == (0, (0, 10, 128), (0,))


def test_clips_may_have_no_labels(tmp_path: Path) -> None:
    clips = [EmbeddingRecord("abc", 0.0, 10.0, (), (bytes(128),) * 10)] * 3
    write_records(tmp_path / "eval/aa.tfrecord", map(encode_embedding, clips))
    convert(tmp_path, tmp_path / "store", ("eval",), progress=False)
    assert not EmbeddingStore(tmp_path / "store").has_label(0).any()


def test_a_folder_that_is_not_as_it_was_written_is_refused(release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with pytest.raises(InputError, match=r"store is no complete folder of embeddings: it has no index.json"):
        EmbeddingStore(folder)
    convert(release, folder, progress=False)
    for name in ("embedding.bin", "labels.bin", "video_id.bin"):
        size = (folder / name).stat().st_size
        os.truncate(folder / name, size - 1)
        with pytest.raises(InputError, match=rf"{name} has {size - 1} bytes, not {size}; remove .*store and convert"):
            EmbeddingStore(folder)
        os.truncate(folder / name, size)
    (folder / "subset.bin").unlink()
    with pytest.raises(InputError, match=r"subset.bin has no bytes, not 59"):
        EmbeddingStore(folder)
    for index, message in (({"version": 2}, "is not of version 1"), ([], "is not of version 1"), ("{", "is not JSON")):
        (folder / "index.json").write_text(index if isinstance(index, str) else json.dumps(index))
        with pytest.raises(InputError, match=message):
            EmbeddingStore(folder)


def test_a_check_counts_what_a_conversion_would(
    release: Path, capsys: pytest.CaptureFixture[str], work_shown: list[str]
) -> None:
    shutil.rmtree(release / "unbal_train")
    shard = release / "bal_train/a0.tfrecord"
    text = bytearray(shard.read_bytes())
    text[100] ^= 1
    shard.write_bytes(text)
    before = {path: path.stat().st_mtime_ns for path in release.rglob("*")}
    classes = {"Speech": 0, "Vehicle": 300}
    balanced, evaluated, absent = check_embeddings(release, classes)
    assert (balanced.subset, balanced.audio, balanced.expected) == ("bal_train", release / "bal_train", None)
    usable = [clip for _, clip in kept_clips(release, ["bal_train"])]
    assert (balanced.listed, balanced.found, len(usable)) == (24, 21, 20)
    assert balanced.bad == [(str(shard), "record at byte 0: wrong checksum of the data")]
    speech, vehicle = (sum(label in clip.labels for clip in usable) for label in classes.values())
    assert balanced.warnings == [
        "3 files are there where the published set has 4070",
        "3 clips have not 10 rows and are left out: 3 of 3",
    ]
    assert balanced.notes == [f"clips of 10 rows: Speech {speech}, Vehicle {vehicle}"]
    assert (evaluated.listed, evaluated.found, evaluated.bad) == (9, 8, [])
    assert evaluated.errors == [f"{release}/eval/__.tfrecord is empty (0 bytes); restore it"]
    assert absent.warnings == [f"{release}/unbal_train is absent"]
    assert {path: path.stat().st_mtime_ns for path in release.rglob("*")} == before
    assert not capsys.readouterr().err
    assert not work_shown
    check_embeddings(release, classes, Looking(progress=True))
    assert "checking eval: 2 of 2" in work_shown


def test_a_check_goes_on_after_what_cannot_be_read(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (release / "eval").iterdir():
        path.unlink()
    (release / "bal_train/b0.tfrecord").mkdir()
    write_records(release / "bal_train/c0.tfrecord", [b"\xff"] * 25)
    checks: list[Any] = check_embeddings(release, {})
    balanced, evaluated, unbalanced = checks
    assert (balanced.listed, balanced.found, len(balanced.bad)) == (49, 42, 21)
    assert balanced.bad[-1] == (str(release / "bal_train/c0.tfrecord"), "5 more damaged records")
    assert balanced.errors == [
        f"{release}/bal_train/b0.tfrecord: cannot be read (Is a directory); restore it or its permissions"
    ]
    assert "holds no *.tfrecord" in evaluated.errors[0]
    assert (unbalanced.found, unbalanced.errors) == (30, [])
    with pytest.raises(InputError, match=r"absent is not a folder; name the one that holds bal_train/, eval/"):
        check_embeddings(tmp_path / "absent", {})
