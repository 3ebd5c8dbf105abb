"""A few hundred damaged files for every reader; the slow test tries 100,000 in all. `tests.fuzz` makes them."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.fuzz import READERS, ROOM, fuzz, read

SLOW = {"overrides"}  # each is composed
CORPUS: list[tuple[str, bytes]] = [  # found, and kept
    ("experiment", b"paper: \xf3\n"),
    ("experiment", b"[" * 3000),
    ("json", b"[" * 100_000),
    ("json", b"\xff\xfe"),
    ("record", b"[1]"),
    ("record", b'{"config": []}'),
    ("record", b'{"status": "complete", "config": {}}'),
    ("checkpoint", b""),
    ("checkpoint", b"PK\x03\x04"),
    ("checkpoint", b"\x80\x02}q\x00."),
    ("folder of scores", b"onset\toffset\tB\xfcro\n0\t1\t0.5\n"),
    ("scores", b"PK\x05\x06" + b"\0" * 18),
    ("scores", b"\x93NUMPY\x01\0v\0{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }" + b" " * 40),
]


@pytest.mark.parametrize("name", sorted(READERS))
def test_damaged_files_end_in_a_sentence(name: str) -> None:
    assert not fuzz(name, 4 if name in SLOW else 40, seed=1)


@pytest.mark.parametrize(("name", "data"), CORPUS, ids=range(len(CORPUS)))
def test_what_was_found_stays_found(name: str, data: bytes, tmp_path: Path) -> None:
    assert not read(name, data, tmp_path)


def test_the_search_finds_what_is_no_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(path: Path) -> None:
        path.read_text(encoding="utf-8").index("event_label")

    file, valid, _ = READERS["strong"]
    monkeypatch.setitem(READERS, "strong", (file, valid, careless))
    found = fuzz("strong", 200, seed=0)
    assert any(words.startswith("ValueError: substring not found") for words in found)
    assert any(words.startswith("UnicodeDecodeError") for words in found)


def test_the_search_finds_what_takes_too_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(path: Path) -> int:
        return len(bytearray(2 * ROOM if path.stat().st_size % 2 else ROOM // 1024))

    file, valid, _ = READERS["strong"]
    monkeypatch.setitem(READERS, "strong", (file, valid, greedy))
    limits = resource.getrlimit(resource.RLIMIT_AS)
    ((words, (_, times)),) = fuzz("strong", 20, seed=0).items()
    assert words.startswith("MemoryError")
    assert 0 < times < 20
    assert resource.getrlimit(resource.RLIMIT_AS) == limits


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(READERS))
def test_a_hundred_thousand_damaged_files(name: str) -> None:
    each = 200 if name in SLOW else -(-99_800 // (len(READERS) - len(SLOW)))
    assert not fuzz(name, each, seed=0)
