"""TFRecord files of AudioSet's embeddings, without TensorFlow.

A file is a row of records ``[u64 length][u32 checksum of length][data][u32 checksum of data]``, little endian, both
checksums masked CRC32C. The data is a ``tf.train.SequenceExample``: context ``video_id``, ``start_time_seconds``,
``end_time_seconds``, ``labels``; feature list ``audio_embedding``, one value of 128 bytes for each second.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from sed_lab.errors import InputError
from sed_lab.files import replacing

ROWS, WIDTH = 10, 128  # of a whole clip; bytes of a row
SECONDS = 10.0  # of AudioSet's clips; ten rows are 9.6 s of them
ID_LENGTH = 11  # of a video
NAMED = 20  # damaged records of a file that are named; all are counted
_HEADER = struct.Struct("<QI")
_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_BUFFER = 1 << 18
_GZIP = b"\x1f\x8b\x08"


@dataclass(frozen=True)
class Damage:
    """A record that cannot be used: the byte offset at which it starts, why, and whether the rest went with it."""

    position: int
    reason: str
    rest_lost: bool

    def __str__(self) -> str:
        lost = "; the rest of the file is lost" if self.rest_lost else ""
        return f"record at byte {self.position}: {self.reason}{lost}"


@dataclass(frozen=True, slots=True)
class EmbeddingRecord:
    """A clip: its video, seconds within it, numbers of its labels, and its rows of 128 bytes, one for each second."""

    video_id: str
    start_seconds: float
    end_seconds: float
    labels: tuple[int, ...]
    rows: tuple[bytes, ...]


@dataclass
class Tally:
    """What a shard held: clips by their number of rows, damaged records (the first ones named), a checksum of clips."""

    rows: Counter[int] = field(default_factory=Counter)
    damaged: int = 0
    damage: list[Damage] = field(default_factory=list)
    checksum: int = 0

    def take(self, one: Damage) -> None:
        """Count a damaged record."""
        self.damaged += 1
        if len(self.damage) < NAMED:
            self.damage.append(one)


def read_records(path: Path, report: Callable[[Damage], None]) -> Iterator[tuple[int, bytes]]:
    """The byte offset and the data of each record that is intact, one after the other; ``report`` is told the others.

    After wrong data the next record is read. A wrong length, or an end before the record's, ends the file.

    Raises:
        InputError: the file cannot be read, or is compressed.
    """
    yield from _records(path, report, with_data=True)


def count_records(path: Path, report: Callable[[Damage], None]) -> int:
    """How many records a file has by their headers alone; ``report`` is told of wrong lengths and a missing end.

    Raises:
        InputError: as `read_records`.
    """
    return sum(1 for _ in _records(path, report, with_data=False))


def write_records(path: Path, records: Iterable[bytes]) -> int:
    """Write a file of ``records``, whole or not at all; returns how many there were.

    Raises:
        InputError: it cannot be written.
    """
    count = 0
    with replacing(path) as beside, beside.open("wb") as file:
        for data in records:
            length = _LENGTH.pack(len(data))
            file.write(_HEADER.pack(len(data), masked_crc32c(length)))
            file.write(data)
            file.write(_CHECKSUM.pack(masked_crc32c(data)))
            count += 1
    return count


def masked_crc32c(data: bytes) -> int:
    """The checksum of TFRecord files: CRC32C, rotated and with a constant added, so that it may be summed itself."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def decode_embedding(payload: bytes) -> EmbeddingRecord:
    """The clip in a record's data. Unknown fields and keys are skipped.

    Raises:
        ValueError: it is no such SequenceExample; the message is a short reason.
    """
    try:
        example = _sequence_example().FromString(payload)
    except DecodeError:
        raise ValueError("not a SequenceExample") from None
    context = example.context.feature
    video_id = _single(context, "video_id", "bytes_list")
    if not video_id.isascii():
        raise ValueError(f"video_id {video_id!r} is not ASCII")
    start, end = (_single(context, f"{name}_time_seconds", "float_list") for name in ("start", "end"))
    labels = tuple(_values(context, "labels", "int64_list"))
    if "audio_embedding" not in example.feature_lists.feature_list:
        raise ValueError("no audio_embedding")
    rows = []
    for number, feature in enumerate(example.feature_lists.feature_list["audio_embedding"].feature):
        row = feature.bytes_list.value
        if len(row) != 1 or len(row[0]) != WIDTH:
            found = f"{len(row[0])} bytes" if len(row) == 1 else f"{len(row)} values of bytes"
            raise ValueError(f"row {number} of audio_embedding holds {found}, not {WIDTH} bytes")
        rows.append(row[0])
    return EmbeddingRecord(video_id.decode("ascii"), start, end, labels, tuple(rows))


def encode_embedding(record: EmbeddingRecord) -> bytes:
    """The data that `decode_embedding` reads; the same bytes for the same clip. Seconds are kept as float32.

    Raises:
        ValueError: a row is not 128 bytes, the id is not ASCII, or a label is no int64.
    """
    if any(len(row) != WIDTH for row in record.rows):
        raise ValueError(f"each row needs {WIDTH} bytes")
    example = _sequence_example()()
    context = example.context.feature
    context["video_id"].bytes_list.value.append(record.video_id.encode("ascii"))
    context["start_time_seconds"].float_list.value.append(record.start_seconds)
    context["end_time_seconds"].float_list.value.append(record.end_seconds)
    context["labels"].int64_list.SetInParent()  # says what kind of list it is even if there is no label
    context["labels"].int64_list.value.extend(record.labels)
    features = example.feature_lists.feature_list["audio_embedding"].feature
    for row in record.rows:
        features.add().bytes_list.value.append(row)
    data: bytes = example.SerializeToString(deterministic=True)
    return data


def read_clips(path: Path, tally: Tally) -> Iterator[EmbeddingRecord]:
    """The clips of exactly ten rows of a shard; what else it holds is counted in ``tally``.

    Raises:
        InputError: the file cannot be read.
    """
    for position, payload in read_records(path, tally.take):
        try:
            record = decode_embedding(payload)
            _refuse_unusual(record)
        except ValueError as error:
            tally.take(Damage(position, str(error), rest_lost=False))
            continue
        tally.rows[len(record.rows)] += 1
        if len(record.rows) == ROWS:
            tally.checksum = google_crc32c.extend(tally.checksum, payload)
            yield record


def _records(path: Path, report: Callable[[Damage], None], with_data: bool) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb", buffering=_BUFFER) as file:
            size = os.fstat(file.fileno()).st_size
            if _is_gzip(file.read(_HEADER.size)):
                raise InputError(f"{path}: is compressed by gzip; unpack it (gunzip), then name the folder again")
            file.seek(0)
            yield from _located(file, size, report, with_data)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); restore it or its permissions") from None


def _is_gzip(header: bytes) -> bool:
    """Whether these bytes begin a gzip file. A length of 559 903 begins so too, but has a checksum."""
    if not header.startswith(_GZIP):
        return False
    return len(header) < _HEADER.size or masked_crc32c(header[: _LENGTH.size]) != _HEADER.unpack(header)[1]


def _located(
    file: BinaryIO, size: int, report: Callable[[Damage], None], with_data: bool
) -> Iterator[tuple[int, bytes]]:
    position = 0
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            report(Damage(position, "the file ends within the record", rest_lost=True))
            return
        length, checksum = _HEADER.unpack(header)
        if masked_crc32c(header[: _LENGTH.size]) != checksum:
            report(Damage(position, "wrong checksum of the length", rest_lost=True))
            return
        follow = length + _CHECKSUM.size
        # Asked before reading: a length that is wrong in spite of its checksum would be allocated.
        there = position + _HEADER.size + follow <= size
        if there and not with_data:
            file.seek(follow, os.SEEK_CUR)
            yield position, b""
            position += _HEADER.size + follow
            continue
        block = file.read(follow) if there else b""
        if len(block) < follow:
            report(Damage(position, "the file ends within the record", rest_lost=True))
            return
        data = block[:length]
        if masked_crc32c(data) == _CHECKSUM.unpack_from(block, length)[0]:
            yield position, data
        else:
            report(Damage(position, "wrong checksum of the data", rest_lost=False))
        position += _HEADER.size + follow


def _refuse_unusual(record: EmbeddingRecord) -> None:
    """Raise ValueError for what no clip of AudioSet's is like; what is left fits into small integers."""
    if not 0 < len(record.video_id) <= ID_LENGTH or "\0" in record.video_id:
        raise ValueError(f"video_id {record.video_id!r} is not of 1 to {ID_LENGTH} characters")
    if len(record.labels) > 255 or not all(0 <= label < 2**15 for label in record.labels):
        raise ValueError(f"not up to 255 labels of 0 to {2**15 - 1}")


def _values(context: Any, key: str, kind: str) -> Any:
    if key not in context:
        raise ValueError(f"no {key}")
    feature = context[key]
    if not feature.HasField(kind):
        raise ValueError(f"{key} is no {kind}")
    return getattr(feature, kind).value


def _single(context: Any, key: str, kind: str) -> Any:
    values = _values(context, key, kind)
    if len(values) != 1:
        raise ValueError(f"{key} holds {len(values)} values, not one")
    return values[0]


@cache
def _sequence_example() -> Any:
    """The class of ``tf.train.SequenceExample``, in a pool of its own: TensorFlow may be loaded beside it."""
    file = FileDescriptorProto(name="sequence_example.proto", package="sed_lab", syntax="proto3")
    scalars = {"Bytes": "TYPE_BYTES", "Float": "TYPE_FLOAT", "Int64": "TYPE_INT64"}
    for name, scalar in scalars.items():
        _add_field(file.message_type.add(name=f"{name}List"), "value", 1, scalar, repeated=True)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(scalars, start=1):
        _add_field(feature, f"{name.lower()}_list", number, f"{name}List").oneof_index = 0
    _add_field(file.message_type.add(name="FeatureList"), "feature", 1, "Feature", repeated=True)
    for name, key, value in (("Features", "feature", "Feature"), ("FeatureLists", "feature_list", "FeatureList")):
        features = file.message_type.add(name=name)
        entry = features.nested_type.add(name=f"{value}Entry")  # protobuf's form of a map from string to value
        entry.options.map_entry = True
        _add_field(entry, "key", 1, "TYPE_STRING")
        _add_field(entry, "value", 2, value)
        _add_field(features, key, 1, f"{name}.{value}Entry", repeated=True)
    example = file.message_type.add(name="SequenceExample")
    _add_field(example, "context", 1, "Features")
    _add_field(example, "feature_lists", 2, "FeatureLists")
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("sed_lab.SequenceExample"))


def _add_field(message: DescriptorProto, name: str, number: int, kind: str, repeated: bool = False) -> Any:
    """Add a field; ``kind`` is a scalar (TYPE_...) or the name of a message."""
    label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    field = message.field.add(name=name, number=number, label=label)
    if kind.startswith("TYPE_"):
        field.type = FieldDescriptorProto.Type.Value(kind)
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".sed_lab.{kind}"
    return field
