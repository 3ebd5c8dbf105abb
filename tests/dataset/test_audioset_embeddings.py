"""A small release of embeddings: which clips are taken, who trains and who tests, and what copies of them are like."""

from __future__ import annotations

import logging
import pickle
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed_lab.clip.embedding_store import convert
from sed_lab.clip.tfrecord import EmbeddingRecord, encode_embedding, write_records
from sed_lab.dataset.audioset_embeddings import RowClips
from sed_lab.dataset.embedding_split import clips_by_class, exchanged
from sed_lab.errors import InputError
from sed_lab.types import Clip, Corpus
from tests.configured import configured

read_audioset_embeddings = configured("dataset/audioset_embeddings")

CLASSES = {"Speech": 0, "Animal": 72, "Music": 137, "Vehicle": 300}
# Labels of the clips of each subset. Dog is 74: with Animal's own label a clip is of Animal, without it it is not.
LABELS: dict[str, list[tuple[tuple[int, ...], int]]] = {
    "bal_train": [((0,), 40), ((72, 74), 24), ((137, 500), 30), ((300,), 24), ((74,), 4), ((0, 137), 5), ((), 2)],
    "eval": [((0, 1), 34), ((72,), 22), ((137,), 26), ((300, 301), 22), ((300, 137, 9), 4), ((0, 72), 3), ((7,), 2)],
    "unbal_train": [((0,), 6), ((72,), 3), ((137,), 3), ((300,), 3)],
}
NORMAL = ("bal_train", "eval")


def draw_records() -> dict[str, list[EmbeddingRecord]]:
    """Every third clip comes from the video before it; every seventh has not ten rows. All rows differ."""
    rng, found, number = np.random.default_rng(0), {}, 0
    for subset, groups in LABELS.items():
        found[subset] = []
        for labels, count in groups:
            for i in range(count):
                number += 1
                video, start = (f"-_v{number - 1:07d}", 40.5) if i % 3 == 2 else (f"-_v{number:07d}", 10.0 * (i % 7))
                rows = rng.integers(0, 256, ({3: 9, 7: 11}.get(number % 14, 10), 128), dtype=np.uint8)
                given = tuple(row.tobytes() for row in rows)
                found[subset].append(EmbeddingRecord(video, start, start + 10, labels, given))
    return found


RECORDS = draw_records()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of some shards for each subset."""
    folder = tmp_path_factory.mktemp("release") / "audioset_v1_embeddings"
    for subset, records in RECORDS.items():
        for i in range(3):
            write_records(folder / subset / f"{i}.tfrecord", map(encode_embedding, records[i::3]))
    return folder


def read(place: Path, cache: Path | None = None, **settings: Any) -> Corpus:
    return read_audioset_embeddings(place, cache or place.parent / "cache", CLASSES, **settings)


def id_of(record: EmbeddingRecord) -> str:
    return f"{record.video_id}_{record.start_seconds:g}"


def wanted(labels: str, subsets: Sequence[str] = NORMAL) -> dict[str, EmbeddingRecord]:
    """The clips to be taken, found by looking at each."""
    records = [record for subset in subsets for record in RECORDS[subset] if len(record.rows) == 10]
    counts = [len(set(CLASSES.values()) & set(record.labels)) for record in records]
    there = [n == 1 if labels == "single" else n > 0 for n in counts]
    return {id_of(record): record for record, yes in zip(records, there, strict=True) if yes}


def clips_of(corpus: Corpus, part: str) -> list[Clip]:
    return list(corpus.subsets[part].clips)


def source_of(clip: Clip) -> str:
    """The clip's own name, or that of the one it is a copy of."""
    return re.sub(r"_copy\d+$", "", clip.clip_id)


def video_of(clip: Clip) -> str:
    return source_of(clip).rpartition("_")[0]


def is_copy(clip: Clip) -> bool:
    return "_copy" in clip.clip_id


def counted(clips: Iterable[Clip]) -> Counter[str]:
    return Counter(label for clip in clips for label in clip.event_labels or ())


# Which clips.


@pytest.mark.parametrize("labels", ["single", "any"])
def test_a_clip_is_of_a_class_by_that_very_label_and_has_ten_rows(place: Path, labels: str) -> None:
    corpus = read(place, labels=labels, row_exchange="none", per_class=None)
    expected = wanted(labels)
    assert 150 < len(expected) < sum(len(RECORDS[subset]) for subset in NORMAL)
    training, test = clips_of(corpus, "weak"), clips_of(corpus, "test")
    found = {clip.clip_id: clip for clip in (*training, *test)}
    assert found.keys() <= expected.keys()
    assert {video_of(clip) for clip in training}.isdisjoint(video_of(clip) for clip in test)
    if labels == "any":
        assert found.keys() == expected.keys()
    assert (corpus.classes, corpus.name) == (tuple(CLASSES), "audioset_embeddings")
    assert (corpus.clip_seconds, corpus.sample_rate) == (10.0, 16000)
    for name, clip in found.items():
        there = tuple(label for label, number in CLASSES.items() if number in expected[name].labels)
        assert clip.event_labels == there
        assert (clip.duration, clip.events, len(there) == 1 or labels == "any") == (10.0, None, True)


@pytest.mark.parametrize("labels", ["single", "any"])
@pytest.mark.parametrize("row_exchange", ["training", "before_split", "none"])
def test_the_rows_of_a_clip_are_those_that_were_stored(place: Path, labels: str, row_exchange: str) -> None:
    corpus = read(place, labels=labels, row_exchange=row_exchange)
    assert list(corpus.subsets) == ["weak", "training", "test"]
    originals = copies = moved = 0
    for part, subset in corpus.subsets.items():
        assert len(subset) == len(subset.clips) > 0
        for i in range(len(subset)):
            clip, rows = subset.load(i, epoch=i)
            stored = wanted(labels)[source_of(clip)].rows
            assert clip == subset.clips[i]
            assert (rows.dtype, rows.shape) == (np.uint8, (10, 128))
            given = tuple(row.tobytes() for row in rows)
            if is_copy(clip):
                copies += 1
                moved += given != stored
                assert Counter(given) == Counter(stored)
            else:
                originals += 1
                assert given == stored
        ids = [clip.clip_id for clip in subset.clips]
        assert len(set(ids)) == len(ids), part
    assert originals > 100
    assert (copies > 20) == (row_exchange != "none")
    assert moved >= copies - 1  # of 3 628 800 orders, that of the rows themselves hardly comes up


def test_the_training_clips_are_also_there_to_be_measured(place: Path) -> None:
    corpus = read(place)
    assert clips_of(corpus, "training") == clips_of(corpus, "weak")
    for i in (0, len(corpus.subsets["weak"]) - 1):
        ours, theirs = (corpus.subsets[part].load(i, 0)[1] for part in ("weak", "training"))
        np.testing.assert_array_equal(ours, theirs)


def test_clips_are_a_sequence_and_can_be_sent_to_another_process(place: Path) -> None:
    subset = read(place).subsets["weak"]
    clips = list(subset.clips)
    assert [subset.clips[-1], *subset.clips[3:7], *subset.clips[9:2:-3]] == [clips[-1], *clips[3:7], *clips[9:2:-3]]
    with pytest.raises(IndexError):
        subset.clips[len(subset)]
    other = pickle.loads(pickle.dumps(subset))
    assert isinstance(other, RowClips)
    assert list(other.clips) == clips
    last = len(clips) - 1  # a copy
    np.testing.assert_array_equal(other.load(last, 0)[1], subset.load(last, 0)[1])


# The split.

seeds = st.integers(0, 2**31)


@settings(max_examples=20)
@given(seeds, st.sampled_from(["training", "none"]), st.sampled_from(["single", "any"]))
def test_sixty_percent_of_the_videos_train_and_no_video_does_both(
    place: Path, seed: int, row_exchange: str, labels: str
) -> None:
    corpus = read(place, seed=seed, row_exchange=row_exchange, labels=labels)
    expected = wanted(labels)
    videos = {record.video_id for record in expected.values()}
    assert len(videos) < len(expected)  # some have two clips
    training, test = clips_of(corpus, "weak"), clips_of(corpus, "test")
    ours, theirs = {video_of(clip) for clip in training}, {video_of(clip) for clip in test}
    assert len(ours) == round(0.6 * len(videos))
    assert not ours & theirs
    assert {source_of(clip) for clip in training} == {name for name in expected if expected[name].video_id in ours}
    assert not any(map(is_copy, test))
    rest = [record for record in expected.values() if record.video_id not in ours]
    if labels == "any":
        assert {clip.clip_id for clip in test} == set(map(id_of, rest))
        return
    numbers = [sum(number in record.labels for record in rest) for number in CLASSES.values()]
    assert counted(test) == dict.fromkeys(CLASSES, min(numbers))  # as many of each class


def test_another_share_and_other_subsets(place: Path) -> None:
    corpus = read(place, train_share=0.25, subsets=["unbal_train", "eval"], labels="any", per_class=None)
    expected = wanted("any", ("unbal_train", "eval"))
    ours = {video_of(clip) for clip in clips_of(corpus, "weak")}
    assert len(ours) == round(0.25 * len({record.video_id for record in expected.values()}))
    found = {source_of(clip) for part in ("weak", "test") for clip in clips_of(corpus, part)}
    assert found == expected.keys()


def test_audioset_s_own_split_trains_on_some_subsets_and_tests_on_others(place: Path) -> None:
    corpus = read(place, subsets=["bal_train", "unbal_train"], test_subsets=["eval"], labels="any", per_class=None)
    training, test = clips_of(corpus, "weak"), clips_of(corpus, "test")
    assert {clip.clip_id for clip in test} == wanted("any", ("eval",)).keys()
    assert {source_of(clip) for clip in training} == wanted("any", ("bal_train", "unbal_train")).keys()
    assert not any(map(is_copy, test))
    single = read(place, subsets=["bal_train"], test_subsets=["eval"], per_class=8)
    assert counted(clips_of(single, "test")) == counted(clips_of(single, "weak")) == dict.fromkeys(CLASSES, 8)
    assert {clip.clip_id for clip in clips_of(single, "test")} <= wanted("single", ("eval",)).keys()
    other = read(place, subsets=["bal_train"], test_subsets=["unbal_train"], per_class=8)
    assert other.fingerprint != single.fingerprint


def test_a_video_that_tests_does_not_train(tmp_path: Path) -> None:
    rows = (bytes(128),) * 10
    for subset, videos in (("bal_train", "abcd"), ("eval", "dxyz")):
        records = [EmbeddingRecord(v, 10.0 * len(subset), 0.0, (72 * (i % 2),), rows) for i, v in enumerate(videos)]
        write_records(tmp_path / "release" / subset / "0.tfrecord", map(encode_embedding, records))
    settings: dict[str, Any] = {"labels": "any", "subsets": ["bal_train"], "test_subsets": ["eval"]}
    classes = {"Speech": 0, "Animal": 72}
    corpus = read_audioset_embeddings(tmp_path / "release", tmp_path, classes, row_exchange="none", **settings)
    assert {video_of(clip) for clip in clips_of(corpus, "weak")} == set("abc")
    assert {video_of(clip) for clip in clips_of(corpus, "test")} == set("dxyz")


# Copies.


@settings(max_examples=20)
@given(seeds, st.sampled_from([None, 1, 9, 14, 5000]))
def test_every_class_is_filled_up_to_the_largest(place: Path, seed: int, per_class: int | None) -> None:
    corpus = read(place, seed=seed, per_class=per_class)
    training, test = clips_of(corpus, "weak"), clips_of(corpus, "test")
    every = clips_of(read(place, seed=seed, per_class=None, row_exchange="none"), "weak")
    size = min(max(counted(every).values()), per_class or 10**6)
    assert counted(training) == dict.fromkeys(CLASSES, size)
    originals = [clip for clip in training if not is_copy(clip)]
    assert counted(originals) == {label: min(size, number) for label, number in counted(every).items()}
    assert {clip.clip_id for clip in originals} <= {clip.clip_id for clip in every}
    times = Counter(source_of(clip) for clip in training if is_copy(clip))
    assert times.keys() <= {clip.clip_id for clip in originals}
    for label in CLASSES:  # each is copied as often as the others of its class, or once more
        often = [times[clip.clip_id] for clip in originals if label in (clip.event_labels or ())]
        assert max(often) - min(often) <= 1
    rest = counted(clips_of(read(place, seed=seed, per_class=None, row_exchange="none"), "test"))
    assert counted(test) == {label: min(number, per_class or 10**6) for label, number in rest.items()}


@settings(max_examples=10)
@given(seeds)
def test_with_several_classes_a_clip_every_class_still_has_as_many_as_the_largest(place: Path, seed: int) -> None:
    every = counted(clips_of(read(place, seed=seed, labels="any", row_exchange="none"), "weak"))
    training = clips_of(read(place, seed=seed, labels="any"), "weak")
    assert min(counted(training).values()) >= max(every.values())
    assert any(len(clip.event_labels or ()) > 1 for clip in training)
    assert len({clip.clip_id for clip in training}) == len(training)


def test_without_exchange_there_are_no_copies(place: Path) -> None:
    training = clips_of(read(place, row_exchange="none"), "weak")
    assert not any(map(is_copy, training))
    assert len(set(counted(training).values())) > 1


@settings(max_examples=30)
@given(st.integers(0, 30), seeds)
def test_rows_are_exchanged_as_in_a_loop_over_copies(count: int, seed: int) -> None:
    other = np.random.default_rng(seed)
    draws = [other.integers(10, size=count) for _ in range(10)]
    expected = []
    for copy in range(count):
        order = list(range(10))
        for a in range(10):
            b = int(draws[a][copy])
            order[a], order[b] = order[b], order[a]
        expected.append(order)
    found = exchanged(count, np.random.default_rng(seed))
    assert found.shape == (count, 10)
    assert found.tolist() == expected
    assert all(sorted(order) == list(range(10)) for order in found.tolist())


class Draws:
    """A generator that gives one row and keeps what it was asked for."""

    def __init__(self, row: int) -> None:
        self.row, self.asked = row, []  # type: ignore[var-annotated]

    def integers(self, low: int, high: int | None = None, size: int = 0) -> np.ndarray:
        self.asked.append((0, low) if high is None else (low, high))
        return np.full(size, self.row)


@pytest.mark.parametrize(
    ("row", "expected"),
    [(0, [9, 0, 1, 2, 3, 4, 5, 6, 7, 8]), (9, [9, 0, 1, 2, 3, 4, 5, 6, 7, 8])],
)
def test_each_row_is_exchanged_with_one_of_the_ten(row: int, expected: list[int]) -> None:
    draws: Any = Draws(row)
    assert exchanged(2, draws).tolist() == [expected, expected]
    assert draws.asked == [(0, 10)] * 10  # never with an eleventh


# The paper's order.


def leaks_of(corpus: Corpus) -> int:
    ours = {video_of(clip) for clip in clips_of(corpus, "weak")}
    return sum(video_of(clip) in ours for clip in clips_of(corpus, "test"))


def test_the_paper_s_order_puts_copies_on_both_sides_and_says_so(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    for seed in range(3):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            corpus = read(place, row_exchange="before_split", seed=seed)
        training, test = clips_of(corpus, "weak"), clips_of(corpus, "test")
        (said,) = (one.getMessage() for one in caplog.records if one.levelno == logging.WARNING)
        assert said.startswith(
            f"row_exchange=before_split leaks: {leaks_of(corpus)} of {len(test)} test clips are rows"
        )
        same = {source_of(clip) for clip in training} & {source_of(clip) for clip in test if is_copy(clip)}
        assert len(same) > 5  # copies of one clip on both sides
        most = max(counted(wanted_clips()).values())
        assert counted([*training, *test]) == dict.fromkeys(CLASSES, most)  # filled up before
        assert len(training) == round(0.6 * 4 * most)
        originals = Counter(source_of(clip) for clip in (*training, *test) if not is_copy(clip))
        assert originals == dict.fromkeys(wanted("single"), 1)
        shares = [f"{sum(map(is_copy, part))} of {len(part)} clips are copies" for part in (training, test)]
        logged = [one.getMessage() for one in caplog.records if one.getMessage().startswith(("weak: ", "test: "))]
        assert [line.split("; ")[1] for line in logged] == [f"{share} with rows exchanged" for share in shares]


def wanted_clips() -> list[Clip]:
    """Clips as they are to be taken, of exactly one class."""
    return [
        Clip(name, Path(name), 10.0, event_labels=tuple(key for key in CLASSES if CLASSES[key] in record.labels))
        for name, record in wanted("single").items()
    ]


@pytest.mark.parametrize("row_exchange", ["training", "none"])
def test_other_orders_do_not_leak_and_do_not_warn(
    place: Path, caplog: pytest.LogCaptureFixture, row_exchange: str
) -> None:
    with caplog.at_level(logging.INFO):
        corpus = read(place, row_exchange=row_exchange)
    assert leaks_of(corpus) == 0
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    training, numbers = clips_of(corpus, "weak"), counted(clips_of(corpus, "weak"))
    said = ", ".join(f"{label} {numbers[label]}" for label in CLASSES)
    copies = sum(map(is_copy, training))
    assert f"weak: {said}; {copies} of {len(training)} clips are copies with rows exchanged" in caplog.text
    assert re.search(r"test: Speech (\d+), Animal \1, Music \1, Vehicle \1; 0 of \d+ clips are copies", caplog.text)


def test_clips_that_are_left_out_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    payloads = list(map(encode_embedding, RECORDS["bal_train"]))
    write_records(tmp_path / "release/bal_train/0.tfrecord", [b"no clip", *payloads, b"nor this"])
    other = sum(len(record.rows) != 10 for record in RECORDS["bal_train"])
    assert other > 5
    with caplog.at_level(logging.INFO):
        read(tmp_path / "release", tmp_path / "cache", subsets=["bal_train"], labels="any")
    ten = len(payloads) - other
    assert f"bal_train: {ten} clips of ten rows; {other} of other numbers of rows are left out" in caplog.text
    (warning,) = (one.getMessage() for one in caplog.records if one.levelno == logging.WARNING)
    assert warning.startswith("bal_train: 2 damaged records left out; ")


# Fingerprints, and the folder.


def described(corpus: Corpus) -> Mapping[str, Any]:
    return {
        part: [(clip.clip_id, subset.load(i, 0)[1].tobytes()) for i, clip in enumerate(subset.clips)]
        for part, subset in corpus.subsets.items()
    }


def test_a_fingerprint_stands_for_the_choices_and_the_clips(place: Path, tmp_path: Path) -> None:
    first = read(place)
    again = read(place, tmp_path, seed=0)
    assert again.fingerprint == first.fingerprint
    assert described(again) == described(first)
    changes: list[dict[str, Any]] = [
        {"seed": 1}, {"labels": "any"}, {"subsets": ["eval"]}, {"train_share": 0.5}, {"per_class": 9},
        {"per_class": None}, {"row_exchange": "none"}, {"row_exchange": "before_split"},
    ]  # fmt: skip
    others = [read(place, **change) for change in changes]
    others.append(read_audioset_embeddings(place, place.parent / "cache", {**CLASSES, "Animal": 74}))
    prints = {corpus.fingerprint for corpus in (first, *others)}
    assert len(prints) == len(changes) + 2
    assert described(others[0]) != described(first)


def test_another_release_has_another_fingerprint(place: Path, tmp_path: Path) -> None:
    for subset in NORMAL:
        records = RECORDS[subset]
        changed = EmbeddingRecord(
            records[0].video_id, records[0].start_seconds, 10.0, records[0].labels, records[1].rows[:10]
        )
        records = [changed, *records[1:]] if subset == "eval" else records
        for i in range(3):
            path = tmp_path / "other" / subset / f"{i}.tfrecord"
            write_records(path, map(encode_embedding, records[i::3]))
    assert read(tmp_path / "other", tmp_path / "cache").fingerprint != read(place).fingerprint


def test_the_release_is_converted_once(place: Path, tmp_path: Path) -> None:
    release, cache = tmp_path / "release", tmp_path / "cache"
    (release / "bal_train").mkdir(parents=True)
    (release / "eval").mkdir()
    for subset in NORMAL:
        for path in (place / subset).glob("*.tfrecord"):
            (release / subset / path.name).write_bytes(path.read_bytes())
    first = read(release, cache)
    (store,) = cache.iterdir()
    assert store.name.startswith("audioset_embeddings-")
    for path in release.glob("*/*.tfrecord"):
        path.unlink()  # what is not read again need not be there
    again = read(release, cache, subsets=["eval", "bal_train"], seed=0)
    assert described(again)["weak"] == described(first)["weak"]
    assert read(release, cache, seed=5).fingerprint != first.fingerprint
    assert list(cache.iterdir()) == [store]
    with pytest.raises(InputError, match=r"release/eval holds no \*\.tfrecord"):
        read(release, cache, subsets=["eval"])  # others are converted apart


def test_a_converted_folder_is_used_as_it_is(place: Path, tmp_path: Path) -> None:
    convert(place, tmp_path / "store", ("eval", "unbal_train", "bal_train"), progress=False)
    corpus = read(tmp_path / "store", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    ids = {part: sorted({source_of(clip) for clip in clips_of(corpus, part)}) for part in ("weak", "test")}
    assert set(ids["weak"]) | set(ids["test"]) <= wanted("single").keys()  # nothing of unbal_train
    convert(place, tmp_path / "part", ("eval",), progress=False)
    with pytest.raises(InputError, match=r"part holds eval, not bal_train; choose other subsets"):
        read(tmp_path / "part", tmp_path / "cache")


def test_the_order_of_conversion_does_not_matter_to_who_is_there(place: Path, tmp_path: Path) -> None:
    convert(place, tmp_path / "store", ("eval", "bal_train"), progress=False)
    settings: dict[str, Any] = {"labels": "any", "row_exchange": "none"}
    ours, theirs = read(place, **settings), read(tmp_path / "store", **settings)
    everything: dict[str, set[str]] = defaultdict(set)
    for name, corpus in (("ours", ours), ("theirs", theirs)):
        for part in ("weak", "test"):
            everything[name] |= {clip.clip_id for clip in clips_of(corpus, part)}
    assert everything["ours"] == everything["theirs"] == wanted("any").keys()


# What is refused.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": "all"}, r"dataset\.labels='all' is unknown; use single, any"),
        ({"row_exchange": "both"}, r"dataset\.row_exchange='both' is unknown; use training, before_split, none"),
        ({"train_share": 1.0}, r"dataset\.train_share=1\.0 must lie between 0 and 1"),
        ({"train_share": 0.0}, r"dataset\.train_share=0\.0 must lie between 0 and 1"),
        ({"per_class": 0}, r"per_class=0 above 0"),
        ({"test_subsets": ["eval"]}, r"test_subsets names eval, which also trains; take it out of dataset\.subsets"),
        (
            {"subsets": ["bal_train"], "test_subsets": ["eval"], "row_exchange": "before_split"},
            r"row_exchange=before_split draws its own test clips; set dataset\.test_subsets=null",
        ),
        ({"subsets": ["bal_train", "test"]}, r"test holds no \*\.tfrecord"),
    ],
)
def test_what_cannot_be_is_refused(place: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(place, tmp_path / "cache", **change)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent is not a folder; name audioset_v1_embeddings, or what was converted"):
        read(tmp_path / "absent", tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty/bal_train holds no \*\.tfrecord; unpack AudioSet's features\.tar\.gz"):
        read(tmp_path / "empty", tmp_path / "cache")


@pytest.mark.parametrize("row_exchange", ["training", "before_split", "none"])
@pytest.mark.parametrize("labels", ["single", "any"])
def test_a_class_without_clips_is_named(place: Path, row_exchange: str, labels: str) -> None:
    classes = {"Speech": 0, "Cow": 91}
    with pytest.raises(InputError, match=r"_embeddings: weak has no clip of Cow; every class needs one, so"):
        read_audioset_embeddings(place, place.parent / "cache", classes, labels, row_exchange=row_exchange)


@pytest.mark.parametrize("row_exchange", ["none", "training"])
@pytest.mark.parametrize("seed", range(4))
def test_no_class_exceeds_its_number_where_clips_have_several(tmp_path: Path, row_exchange: str, seed: int) -> None:
    rows = (bytes(128),) * 10
    kinds = [(0,)] * 60 + [(72,)] * 50 + [(0, 72)] * 50
    records = [EmbeddingRecord(f"v{i}", 0.0, 10.0, labels, rows) for i, labels in enumerate(kinds)]
    write_records(tmp_path / "release/eval/0.tfrecord", map(encode_embedding, records))
    classes = {"Speech": 0, "Animal": 72}
    settings: dict[str, Any] = {"per_class": 20, "row_exchange": row_exchange, "seed": seed}
    corpus = read_audioset_embeddings(tmp_path / "release", tmp_path, classes, "any", ["eval"], **settings)
    for part in ("weak", "test"):
        assert max(counted(clips_of(corpus, part)).values()) <= 20


@pytest.mark.parametrize("seed", range(6))
def test_in_the_paper_s_order_a_copy_s_name_is_its_own_on_both_sides(place: Path, seed: int) -> None:
    corpus = read(place, row_exchange="before_split", seed=seed)
    names = [clip.clip_id for part in ("weak", "test") for clip in clips_of(corpus, part)]
    assert any("_copy" in name for name in names)
    assert len(set(names)) == len(names)


def test_the_lacking_class_is_named_where_classes_are_made_even(tmp_path: Path) -> None:
    rows = (bytes(128),) * 10
    records = [EmbeddingRecord(f"v{i}", 0.0, 10.0, (72 if i == 0 else 0,), rows) for i in range(20)]
    write_records(tmp_path / "release/eval/0.tfrecord", map(encode_embedding, records))
    for seed in range(4):
        with pytest.raises(InputError, match=r"has no clip of Animal; every class needs one"):
            read_audioset_embeddings(
                tmp_path / "release", tmp_path, {"Speech": 0, "Animal": 72}, "single", ["eval"], seed=seed
            )


def test_of_five_hundred_classes_without_clips_some_are_named_and_the_others_counted(place: Path) -> None:
    with pytest.raises(InputError) as error:
        read_audioset_embeddings(place, place.parent / "cache", [*range(527)], "any")
    assert len(str(error.value)) < len(str(place)) + 150
    assert "weak has no clip of 2, 3, 4, 5, 6, 7, 8, 10, 11, 12 and 508 more; every class" in str(error.value)


def test_many_classes_are_said_in_a_few_words(place: Path) -> None:
    counts = np.array([[True] * 12] * 3)
    said = clips_by_class(place, "weak", np.array([0, 2]), counts, [f"c{i}" for i in range(12)])
    assert said == "12 classes of 2 to 2 clips"


def test_classes_by_name_are_those_by_number(place: Path, tmp_path: Path) -> None:
    mapped = read(place)
    text = "index,mid,display_name\n0,/m/09x0r,Speech\n72,/m/0jbk,Animal\n137,/m/04rlf,Music\n300,/m/07yv9,Vehicle\n"
    (tmp_path / "class_labels_indices.csv").write_text(text)
    (tmp_path / "release").symlink_to(place)
    for classes in (["Speech", "/m/0jbk", 137, {"Vehicle": 300}], [0, "72", "Music", "Vehicle"]):
        named = read_audioset_embeddings(tmp_path / "release", place.parent / "cache", classes)
        assert (named.classes, named.fingerprint) == (mapped.classes, mapped.fingerprint)
    two = read_audioset_embeddings(tmp_path / "release", place.parent / "cache", ["Vehicle", "Music"])
    assert two.classes == ("Vehicle", "Music")
    assert counted(clips_of(two, "weak")).keys() == {"Vehicle", "Music"}
    assert two.embedded_by == "vggish"


def test_no_class_at_all_is_refused(place: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.classes is empty"):
        read_audioset_embeddings(place, place.parent / "cache", {})


def test_a_class_without_test_clips_is_named(tmp_path: Path) -> None:
    rows = (bytes(128),) * 10
    records = [EmbeddingRecord(f"v{i}", 0.0, 10.0, (0,), rows) for i in range(10)]
    records += [EmbeddingRecord("one", 10.0 * i, 10.0 * i + 10, (72,), rows) for i in range(5)]  # of a single video
    write_records(tmp_path / "release/eval/0.tfrecord", map(encode_embedding, records))
    said = set()
    for seed in range(8):
        with pytest.raises(InputError, match=r"release: (weak|test) has no clip of Animal; every class") as error:
            read_audioset_embeddings(
                tmp_path / "release", tmp_path, {"Speech": 0, "Animal": 72}, "any", ["eval"], seed=seed
            )
        said.add(re.findall(r": (weak|test) has", str(error.value))[0])
    assert said == {"weak", "test"}
