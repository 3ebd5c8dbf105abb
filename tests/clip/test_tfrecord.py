"""TFRecord files against TensorBoard's writer, clips against an encoder written out by hand, all kinds of damage."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c as masked_by_tensorboard
from tensorboard.summary.writer.record_writer import RecordWriter

from sed_lab.clip import tfrecord
from sed_lab.clip.tfrecord import (
    Damage,
    EmbeddingRecord,
    Tally,
    count_records,
    decode_embedding,
    encode_embedding,
    masked_crc32c,
    read_clips,
    read_records,
    write_records,
)
from sed_lab.errors import InputError

ROW = bytes(range(128))
CLIP = EmbeddingRecord("--4gqARaEJE", 30.0, 40.0, (0, 137, 300), (ROW, ROW[::-1], bytes(128)))
CONTEXT = ("video_id", "start_time_seconds", "end_time_seconds", "labels")
clips = st.builds(
    EmbeddingRecord,
    video_id=st.text(st.characters(max_codepoint=127), max_size=12),
    start_seconds=st.floats(width=32, allow_nan=False),
    end_seconds=st.floats(width=32, allow_nan=False),
    labels=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(tuple),
    rows=st.lists(st.binary(min_size=128, max_size=128), max_size=11).map(tuple),
)


def write_by_tensorboard(path: Path, records: Sequence[bytes]) -> None:
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for record in records:
            writer.write(record)


def read(path: Path) -> tuple[list[bytes], list[Damage]]:
    damage: list[Damage] = []
    return [record for _, record in read_records(path, damage.append)], damage


# Protobuf's wire format, as plain as can be.


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    if number < 128:
        return bytes([number])
    return bytes([number & 127 | 128]) + varint(number >> 7)


def chunk(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def of_bytes(*values: bytes) -> bytes:
    return chunk(1, b"".join(chunk(1, value) for value in values))


def of_floats(*values: float, packed: bool = True) -> bytes:
    parts = [struct.pack("<f", value) for value in values]
    return chunk(2, chunk(1, b"".join(parts)) if packed else b"".join(varint(1 << 3 | 5) + part for part in parts))


def of_ints(*values: int, packed: bool = True) -> bytes:
    parts = [varint(value) for value in values]
    return chunk(3, chunk(1, b"".join(parts)) if packed else b"".join(varint(1 << 3) + part for part in parts))


def entry(key: str, value: bytes) -> bytes:
    return chunk(1, chunk(1, key.encode()) + chunk(2, value))


def features_of(record: EmbeddingRecord, packed: bool = True) -> dict[str, bytes]:
    return {
        "video_id": of_bytes(record.video_id.encode()),
        "start_time_seconds": of_floats(record.start_seconds, packed=packed),
        "end_time_seconds": of_floats(record.end_seconds, packed=packed),
        "labels": of_ints(*record.labels, packed=packed),
    }


def rows_of(record: EmbeddingRecord) -> bytes:
    return b"".join(chunk(1, of_bytes(row)) for row in record.rows)


def example_of(features: dict[str, bytes], rows: bytes | None) -> bytes:
    context = chunk(1, b"".join(entry(key, value) for key, value in features.items()))
    return context + (b"" if rows is None else chunk(2, entry("audio_embedding", rows)))


def by_hand(record: EmbeddingRecord, packed: bool = True) -> bytes:
    return example_of(features_of(record, packed), rows_of(record))


# The file.


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # this and the next three: RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_known_checksums(data: bytes, crc: int) -> None:
    assert google_crc32c.value(data) == crc
    bits = f"{crc:032b}"
    rotated = int(bits[-15:] + bits[:-15], 2)
    assert masked_crc32c(data) == (rotated + 0xA282EAD8) % 2**32 == masked_by_tensorboard(data)


@given(records=st.lists(st.binary(max_size=300), max_size=6))
def test_files_are_the_same_as_tensorboards(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("records")
    write_by_tensorboard(folder / "theirs", records)
    assert write_records(folder / "ours", iter(records)) == len(records)
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()
    assert read(folder / "theirs") == (records, [])


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "one.tfrecord"
    write_records(path, [b"old"])
    with pytest.raises(TypeError):
        write_records(path, [b"new", None])  # type: ignore[list-item]
    assert read(path) == ([b"old"], [])
    assert [one.name for one in tmp_path.iterdir()] == ["one.tfrecord"]


def test_a_flipped_byte_is_found_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "flipped.tfrecord"
    records = [b"first", b"the second one", b"third one"]
    write_by_tensorboard(path, records)
    whole = path.read_bytes()
    starts = [0, 16 + len(records[0]), 32 + len(records[0]) + len(records[1])]
    for position in range(len(whole)):
        hit = sum(start <= position for start in starts) - 1
        in_head = position - starts[hit] < 12
        for flip in (1, 128, 255):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ flip]) + whole[position + 1 :])
            found, damage = read(path)
            assert found == (records[:hit] if in_head else records[:hit] + records[hit + 1 :])
            part = "length" if in_head else "data"
            assert damage == [Damage(starts[hit], f"wrong checksum of the {part}", rest_lost=in_head)]


def test_a_missing_end_is_found_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "cut.tfrecord"
    records = [b"first", b"", b"third one"]
    write_by_tensorboard(path, records)
    whole = path.read_bytes()
    ends = [0, 21, 37, 62]
    assert len(whole) == ends[-1]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        found, damage = read(path)
        count = sum(end <= length for end in ends) - 1
        assert found == records[:count]
        lost = [Damage(ends[count], "the file ends within the record", rest_lost=True)]
        assert damage == ([] if length in ends else lost)


@pytest.mark.parametrize("length", [200, 2**30, 2**40, 2**63, 2**64 - 1])
def test_a_wild_length_with_a_right_checksum_is_not_allocated(tmp_path: Path, length: int) -> None:
    path = tmp_path / "wild.tfrecord"
    write_by_tensorboard(path, [b"first"])
    head = struct.pack("<Q", length)
    with path.open("ab") as file:
        file.write(head + struct.pack("<I", masked_by_tensorboard(head)) + bytes(100))
    tracemalloc.start()
    found = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == ([b"first"], [Damage(21, "the file ends within the record", rest_lost=True)])
    assert peak < 2**21


@pytest.mark.parametrize("content", [b"YTID, start_seconds, end_seconds\n", bytes(4096), b"\x1f\x8b"])
def test_other_files_give_no_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other").write_bytes(content)
    found, damage = read(tmp_path / "other")
    assert not found
    assert [(one.position, one.rest_lost) for one in damage] == [(0, True)]


def test_records_are_counted_by_their_headers(tmp_path: Path) -> None:
    path = tmp_path / "some.tfrecord"
    write_records(path, [b"first", b"", b"third one"])
    text = bytearray(path.read_bytes())
    text[14] ^= 1  # in the data of the first
    damage: list[Damage] = []
    path.write_bytes(text)
    assert count_records(path, damage.append) == 3
    assert not damage
    path.write_bytes(text[:-1])
    assert count_records(path, damage.append) == 2
    assert damage == [Damage(37, "the file ends within the record", rest_lost=True)]


def test_a_record_whose_length_begins_like_gzip_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.tfrecord"
    write_records(path, [bytes(0x088B1F)])
    assert path.read_bytes()[:3] == b"\x1f\x8b\x08"
    assert len(read(path)[0][0]) == 0x088B1F


def test_a_file_is_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "long.tfrecord"
    write_records(path, (bytes(5000) for _ in range(2000)))
    damage: list[Damage] = []
    tracemalloc.start()
    assert sum(len(record) for _, record in read_records(path, damage.append)) == 10_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.tfrecord", tmp_path):
        with pytest.raises(InputError, match=f"{path}: cannot be read"):
            read(path)
    (tmp_path / "file").touch()
    with pytest.raises((InputError, OSError)):
        write_records(tmp_path / "file" / "below.tfrecord", [b""])


# The clip.


@given(record=clips, packed=st.booleans())
def test_a_clip_comes_back(record: EmbeddingRecord, packed: bool) -> None:
    payload = encode_embedding(record)
    assert decode_embedding(payload) == record
    assert encode_embedding(record) == payload
    assert decode_embedding(by_hand(record, packed)) == record


def test_what_is_written_can_be_read_by_hand() -> None:
    """Every part of the encoding by hand stands in ours, whatever the order of keys."""
    payload = encode_embedding(CLIP)
    assert len(payload) == len(by_hand(CLIP))
    for key, value in features_of(CLIP).items():
        assert entry(key, value) in payload
    assert payload.endswith(chunk(2, entry("audio_embedding", rows_of(CLIP))))


@given(seed=st.integers(0, 2**32), packed=st.booleans())
def test_order_and_unknown_fields_do_not_matter(seed: int, packed: bool) -> None:
    draw = random.Random(seed)
    unknown = [
        chunk(9, b"what"),
        varint(10 << 3) + varint(2**40),
        varint(11 << 3 | 5) + b"four",
        varint(12 << 3 | 1) + ROW[:8],
    ]
    features = list(features_of(CLIP, packed).items())
    features += [("other", of_bytes(b"x", b"y")), ("none", b""), ("Video_id", of_ints(1))]
    draw.shuffle(features)
    lists = [entry("audio_embedding", rows_of(CLIP)), entry("rgb", chunk(1, of_floats(1.0))), *unknown]
    draw.shuffle(lists)
    context = [entry(key, value + draw.choice(unknown)) for key, value in features] + unknown
    parts = [chunk(1, b"".join(context)), chunk(2, b"".join(lists)), *unknown]
    draw.shuffle(parts)
    assert decode_embedding(b"".join(parts)) == CLIP


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        *[(key, None, f"no {key}") for key in CONTEXT],
        ("video_id", of_ints(1), "video_id is no bytes_list"),
        ("video_id", of_bytes(), "video_id holds 0 values, not one"),
        ("video_id", of_bytes(b"one", b"two"), "video_id holds 2 values, not one"),
        ("video_id", of_bytes(b"\xffabcdefghij"), "is not ASCII"),
        ("start_time_seconds", of_ints(30), "start_time_seconds is no float_list"),
        ("end_time_seconds", of_floats(1, 2), "end_time_seconds holds 2 values"),
        ("labels", of_floats(1), "labels is no int64_list"),
        ("labels", b"", "labels is no int64_list"),
        ("rows", None, "no audio_embedding"),
        ("rows", chunk(1, of_bytes(ROW)) + chunk(1, of_bytes(ROW[1:])), "row 1 of audio_embedding holds 127 bytes"),
        ("rows", chunk(1, of_bytes(ROW + b"x")), "row 0 of audio_embedding holds 129 bytes"),
        ("rows", chunk(1, of_bytes(ROW, ROW)), "row 0 of audio_embedding holds 2 values"),
        ("rows", chunk(1, of_floats(*range(128))), "row 0 of audio_embedding holds 0 values"),
        ("rows", chunk(1, b""), "row 0 of audio_embedding holds 0 values"),
    ],
)
def test_what_is_no_clip_is_refused_with_a_reason(key: str, value: bytes | None, reason: str) -> None:
    parts: dict[str, bytes | None] = {**features_of(CLIP), "rows": rows_of(CLIP), key: value}
    rows = parts.pop("rows")
    with pytest.raises(ValueError, match=reason):
        decode_embedding(example_of({name: part for name, part in parts.items() if part is not None}, rows))


@given(payload=st.binary(max_size=200), seed=st.integers(0, 2**32))
def test_other_data_is_refused_or_gives_a_clip_but_nothing_else(payload: bytes, seed: int) -> None:
    draw = random.Random(seed)
    spoilt = bytearray(by_hand(CLIP))
    for _ in range(3):
        spoilt[draw.randrange(len(spoilt))] = draw.randrange(256)
    for data in (payload, bytes(spoilt), bytes(spoilt[: draw.randrange(len(spoilt))])):
        try:
            record = decode_embedding(data)
        except ValueError:
            continue
        assert all(len(row) == 128 for row in record.rows)


def test_a_clip_that_cannot_be_read_again_is_not_encoded() -> None:
    for record in (
        EmbeddingRecord("a", 0.0, 10.0, (), (ROW[1:],)),
        EmbeddingRecord("ä", 0.0, 10.0, (), ()),
        EmbeddingRecord("a", 0.0, 10.0, (2**63,), ()),
    ):
        with pytest.raises(ValueError):
            encode_embedding(record)


# Clips of a file.


def clip(video_id: str, rows: int = 10, labels: tuple[int, ...] = (0, 526)) -> EmbeddingRecord:
    return EmbeddingRecord(video_id, 0.0, 10.0, labels, (ROW,) * rows)


def test_whole_clips_are_given_and_the_others_counted(tmp_path: Path) -> None:
    usual = [
        clip("abc"),
        clip("short", rows=4),
        clip("-_-_-_-_-_-", labels=()),
        clip("none", rows=0),
        clip("s", rows=4),
    ]
    odd = [clip("twelve_chars"), clip(""), clip("a\0"), clip("b", labels=(-1,)), clip("c", labels=(2**15,))]
    odd += [clip("d", labels=(1,) * 256)]
    payloads = [by_hand(record) for record in (*usual, *odd)]
    write_by_tensorboard(tmp_path / "ab.tfrecord", [*payloads, b"\xff", payloads[0]])
    tally = Tally()
    assert list(read_clips(tmp_path / "ab.tfrecord", tally)) == [usual[0], usual[2], usual[0]]
    assert tally.rows == {10: 3, 4: 2, 0: 1}
    assert tally.damaged == len(odd) + 1
    starts = [sum(len(one) + 16 for one in payloads[:i]) for i in range(len(payloads) + 1)]
    assert [one.position for one in tally.damage] == starts[len(usual) :]
    said = [str(one) for one in tally.damage]
    assert said[0] == f"record at byte {starts[5]}: video_id 'twelve_chars' is not of 1 to 11 characters"
    assert said[3] == f"record at byte {starts[8]}: not up to 255 labels of 0 to 32767"
    assert said[-1] == f"record at byte {starts[-1]}: not a SequenceExample"
    assert tally.checksum == google_crc32c.value(payloads[0] + payloads[2] + payloads[0])


def test_however_much_is_damaged_the_first_are_named_and_all_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfrecord, "NAMED", 3)
    path = tmp_path / "ab.tfrecord"
    write_by_tensorboard(path, [b"\xff"] * 5 + [by_hand(CLIP)])
    tally = Tally()
    assert not list(read_clips(path, tally))
    assert tally.damaged == 5
    assert [one.position for one in tally.damage] == [0, 17, 34]
    with path.open("r+b") as file:
        file.truncate(5 * 17 + 40)
    tally = Tally()
    assert not list(read_clips(path, tally))
    assert (tally.damaged, len(tally.damage)) == (6, 3)
