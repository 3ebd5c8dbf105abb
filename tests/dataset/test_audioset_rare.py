"""AudioSet's lists in their real format, a few seconds of audio, and what is chosen from them."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sed_lab.dataset.audioset_rare import SHARES, _in_ratio, read_segments
from sed_lab.dataset.check_audioset import check_audioset_rare
from sed_lab.errors import InputError
from sed_lab.prepare import prepare
from tests.configured import configured, option

read_audioset_rare = configured("dataset/audioset_rare")

LABELS = """index,mid,display_name
22,/m/0463cq4,"Crying, sobbing"
23,/t/dd00002,"Baby cry, infant cry"
74,/m/0bt9lr,Dog
75,/m/05tny_,Bark
137,/m/04rlf,Music
427,/m/032s66,"Gunshot, gunfire"
"""
HEAD = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=4, num_segs=4, num_unique_labels=3, num_positive_labels=5
# YTID, start_seconds, end_seconds, positive_labels
"""
CLASSES = {"Dog": ["Dog", "Bark"], "babycry": ["Baby cry, infant cry"], "gunshot": ["/m/032s66"]}
EXCLUDE = ["Crying, sobbing"]


@pytest.fixture
def audioset(tmp_path: Path) -> Path:
    """20 dogs, 10 babies, 10 guns, 40 of music, one of two classes, one that the background excludes."""
    mids = ["/m/0bt9lr,/m/05tny_"] * 20 + ["/t/dd00002,/m/0463cq4"] * 10 + ["/m/032s66,/m/04rlf"] * 10
    mids += ["/m/04rlf"] * 40 + ["/m/0bt9lr,/t/dd00002", "/m/0463cq4"]
    rows = [f'--id_{i:03d}, {i}.000, {i + 10}.000, "{labels}"\n' for i, labels in enumerate(mids)]
    (tmp_path / "balanced_train_segments.csv").write_text(HEAD + "".join(rows[:50]))
    (tmp_path / "eval_segments.csv").write_text(HEAD + "".join(rows[49:]))  # one video stands in both
    (tmp_path / "class_labels_indices.csv").write_text(LABELS)
    (tmp_path / "audio").mkdir()
    for i in range(len(mids)):
        names = (f"--id_{i:03d}", f"Y--id_{i:03d}_{i}.000_{i + 10}.000", f"--id_{i:03d}_{i}_{i + 10}")
        soundfile.write(tmp_path / "audio" / f"{names[i % 3]}.wav", np.zeros(160), 16000)
    return tmp_path


def counted(corpus: object) -> dict[str, Counter[str]]:
    return {
        name: Counter((clip.event_labels or ("background",))[0] for clip in subset.clips)
        for name, subset in corpus.subsets.items()  # type: ignore[attr-defined]
    }


def test_the_lists_are_read_as_they_are_published(audioset: Path) -> None:
    segments = read_segments(audioset / "balanced_train_segments.csv")
    assert len(segments) == 50
    assert segments[0].ytid == "--id_000"
    assert (segments[3].start, segments[3].end) == (3.0, 13.0)
    assert segments[0].mids == {"/m/0bt9lr", "/m/05tny_"}


def test_every_class_is_split_70_20_10(audioset: Path) -> None:
    corpus = read_audioset_rare(audioset, CLASSES, EXCLUDE)
    assert corpus.classes == ("Dog", "babycry", "gunshot")
    assert counted(corpus) == {
        "weak": {"Dog": 14, "babycry": 7, "gunshot": 7, "background": 28},
        "weak_validation": {"Dog": 4, "babycry": 2, "gunshot": 2, "background": 8},
        "test": {"Dog": 2, "babycry": 1, "gunshot": 1, "background": 4},
    }
    ids = [clip.clip_id for subset in corpus.subsets.values() for clip in subset.clips]
    assert len(set(ids)) == len(ids) == 80
    assert not {name for name in ids if "id_080" in name or "id_081" in name}  # of two classes; excluded
    again = read_audioset_rare(audioset, CLASSES, EXCLUDE)
    assert again.fingerprint == corpus.fingerprint
    other = read_audioset_rare(audioset, CLASSES, EXCLUDE, seed=1)
    assert other.fingerprint != corpus.fingerprint
    assert counted(other) == counted(corpus)


def test_another_ratio_leaves_the_test_clips_as_they_are(audioset: Path) -> None:
    every = read_audioset_rare(audioset, CLASSES, EXCLUDE)
    counts = {"weak": {"Dog": 7, "gunshot": 3, "babycry": 99}, "weak_validation": {"background": 0}}  # at most
    fewer = read_audioset_rare(audioset, CLASSES, EXCLUDE, counts)
    assert counted(fewer)["weak"] == {"Dog": 7, "babycry": 7, "gunshot": 3, "background": 28}
    assert counted(fewer)["weak_validation"] == {"Dog": 4, "babycry": 2, "gunshot": 2}
    assert [clip.clip_id for clip in fewer.subsets["test"].clips] == [c.clip_id for c in every.subsets["test"].clips]
    kept = {clip.clip_id for clip in fewer.subsets["weak"].clips}
    assert kept < {clip.clip_id for clip in every.subsets["weak"].clips}


def test_a_ratio_takes_the_most_clips_that_have_it(audioset: Path) -> None:
    every = read_audioset_rare(audioset, CLASSES, EXCLUDE)
    ratio = {"Dog": 2, "babycry": 2, "gunshot": 1, "background": 3}
    corpus = read_audioset_rare(audioset, CLASSES, EXCLUDE, ratio=ratio)
    assert counted(corpus)["weak"] == {"Dog": 6, "babycry": 6, "gunshot": 3, "background": 9}  # 7 // 2 times
    assert counted(corpus)["weak_validation"] == {"Dog": 2, "babycry": 2, "gunshot": 1, "background": 3}
    assert [clip.clip_id for clip in corpus.subsets["test"].clips] == [c.clip_id for c in every.subsets["test"].clips]
    next((audioset / "audio").glob("*id_021*")).unlink()  # a lost video is no reason to refuse
    assert counted(read_audioset_rare(audioset, CLASSES, EXCLUDE, ratio=ratio))["weak"]["Dog"] == 6
    sizes = {"Dog": 9450, "babycry": 1610, "gunshot": 2870, "background": 25200}
    assert option("dataset/audioset_rare")["counts"]["weak"] == sizes
    downsampled = {"Dog": 1610, "babycry": 1610, "gunshot": 805, "background": 20930}  # 805 times
    assert _in_ratio(sizes, {"Dog": 2, "babycry": 2, "gunshot": 1, "background": 26}, "weak") == downsampled


def test_no_more_than_the_papers_clips_are_taken_of_a_whole_audioset() -> None:
    """70, 20 and 10 % of 13.5K, 2.3K, 4.1K and 36.0K."""
    totals = {"Dog": 13500, "babycry": 2300, "gunshot": 4100, "background": 36000}
    counts = option("dataset/audioset_rare")["counts"]
    assert counts == {
        subset: {name: round(SHARES[subset] * total) for name, total in totals.items()} for subset in SHARES
    }


def test_recordings_may_lie_in_folders(audioset: Path) -> None:
    before = read_audioset_rare(audioset, CLASSES, EXCLUDE)
    for number, path in enumerate(sorted((audioset / "audio").iterdir())):
        inner = audioset / "audio" / ("bal_train" if number % 2 else "eval/a")
        inner.mkdir(parents=True, exist_ok=True)
        path.rename(inner / path.name)
    assert counted(read_audioset_rare(audioset, CLASSES, EXCLUDE)) == counted(before)
    for path in (audioset / "audio").rglob("*.wav"):
        path.rename(path.with_stem(f"x{path.stem}"))
    with pytest.raises(InputError, match=r"audio holds none of the 20 listed clips of Dog; recordings are called YTID"):
        read_audioset_rare(audioset, CLASSES, EXCLUDE)


def test_missing_recordings_are_counted(
    audioset: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for i in (0, 3, 21):
        next((audioset / "audio").glob(f"*id_{i:03d}*")).unlink()
    dog, baby, gun, background = check_audioset_rare(audioset, CLASSES, EXCLUDE, 16000)
    assert (dog.subset, dog.listed, dog.found, dog.missing) == ("Dog", 20, 18, ["--id_000", "--id_003"])
    assert (baby.found, gun.found, background.found) == (9, 10, 40)
    with caplog.at_level(logging.WARNING):
        read_audioset_rare(audioset, CLASSES, EXCLUDE)
    assert f"Dog: 18 of 20 listed clips found in {audioset}/audio" in caplog.text
    labels = "".join(f'{i},/m/x{i},"{name}"\n' for i, name in enumerate(("Machine gun", "Fusillade", "Artillery fire",
        "Cap gun", "Yip", "Howl", "Bow-wow", "Growling", "Whimper (dog)")))  # fmt: skip
    (audioset / "class_labels_indices.csv").write_text(LABELS + labels)
    assert prepare(["check", "audioset_rare", str(audioset)]) == 0
    printed = capsys.readouterr().out
    assert "warning: Dog: 18 of 20 found; not --id_000, --id_003" in printed
    assert "no errors" in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": {"Dog": ["Dogg"]}}, r"dataset.classes.Dog: 'Dogg' is no label of AudioSet's"),
        ({"classes": {"background": ["Dog"]}}, r"none of them called background"),
        ({"exclude": ["Cry"]}, r"dataset.exclude: 'Cry' is no label"),
        ({"ratio": {"Dog": 2, "gunshot": 1}}, r"must give each of Dog, babycry, background, gunshot a whole number"),
        ({"ratio": dict.fromkeys([*CLASSES, "background"], 0.5)}, r"a whole number above 0"),
        (
            {"ratio": {"Dog": 1, "babycry": 1, "gunshot": 1, "background": 26}},
            r"does not fit into the clips of weak_validation: 4 Dog, 2 babycry, 8 background, 2 gunshot",
        ),
        ({"counts": {"train": {"Dog": 1}}}, r"dataset.counts: unknown 'train'; use weak, weak_validation, test"),
        ({"counts": {"weak": {"Cat": 1}}}, r"dataset.counts: unknown 'Cat'"),
    ],
)
def test_what_cannot_be_is_refused(audioset: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_audioset_rare(audioset, **{"classes": CLASSES, "exclude": EXCLUDE, **change})  # type: ignore[arg-type]


def test_a_broken_list_is_named_with_its_line(audioset: Path) -> None:
    path = audioset / "eval_segments.csv"
    path.write_text(path.read_text() + 'abc, 1.0, two, "/m/04rlf"\n')
    with pytest.raises(InputError, match=r"eval_segments.csv:37: expected YTID, start_seconds"):
        read_audioset_rare(audioset, CLASSES, EXCLUDE)
    path.unlink()
    (audioset / "balanced_train_segments.csv").unlink()
    with pytest.raises(InputError, match=r"holds no \*segments.csv"):
        read_audioset_rare(audioset, CLASSES, EXCLUDE)
    (audioset / "class_labels_indices.csv").write_text("index,id,display_name\n0,/m/0bt9lr,Dog\n")
    with pytest.raises(InputError, match=r"class_labels_indices.csv: no column 'mid'"):
        read_audioset_rare(audioset, CLASSES, EXCLUDE)
    (audioset / "class_labels_indices.csv").unlink()
    with pytest.raises(InputError, match=r"class_labels_indices.csv: cannot be read"):
        read_audioset_rare(audioset, CLASSES, EXCLUDE)
