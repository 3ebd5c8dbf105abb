from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from sed_lab.clip.annotation import write_durations, write_strong, write_unlabelled, write_weak
from sed_lab.clip.corpus import class_statistics, statistics_rows, training_statistics
from sed_lab.clip.layout import LAYOUT, SPLITS, list_splits, read_layout, split_weak
from sed_lab.dataset.check import Looking, effect
from sed_lab.dataset.check_layout import Expected, check_layout, describe_layout
from sed_lab.dataset.desed import CLASSES, DESED_EXPECTED, DESED_SOURCE_CLIPS, FOREGROUND, check_desed
from sed_lab.errors import InputError
from sed_lab.types import BESIDE, TESTS, Event
from tests.configured import configured
from tests.made.corpora import record

read_desed = configured("dataset/desed")

METADATA = Path(__file__).resolve().parents[1] / "data" / "desed_metadata"
RATE = 2000  # enough for a test; nothing listens


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus of DESED's classes in its layout, FLAC and WAV, at 2 kHz."""
    root = tmp_path / "small"
    meta, audio = root / "metadata", root / "audio"
    names = [f"{i}.wav" for i in range(4)]
    soundscapes: dict[str, list[Event]] = {name: [Event(i, i + 2.5, "Speech")] for i, name in enumerate(names)}
    soundscapes["3.wav"] = []
    for place in ("train/synthetic21_train", "validation/synthetic21_validation"):
        write_strong(meta / place / "soundscapes.tsv", soundscapes)
        record(audio / place / "soundscapes", names)
    write_durations(meta / "validation/synthetic21_validation/durations.tsv", dict.fromkeys(names, 10.0))
    weak = [f"Y{i}_30.000_40.000.wav" for i in range(10)]
    write_weak(meta / "train/weak.tsv", {name: ["Dog", "Cat"][: 1 + i % 2] for i, name in enumerate(weak)})
    record(audio / "train/weak", weak)
    write_unlabelled(meta / "train/unlabel_in_domain.tsv", ["u.wav", "v.wav"])
    record(audio / "train/unlabel_in_domain", ["u.wav", "v.wav"])
    write_strong(meta / "validation/validation.tsv", {"t.wav": [Event(9.0, 10.115, "Frying")], "s.wav": []})
    record(audio / "validation/validation", ["t.flac", "s.flac"])
    write_strong(meta / "validation/tuning.tsv", {"r.flac": [Event(0.0, 1.0, "Blender")]})
    record(audio / "validation/tuning", ["r.flac"], seconds=4)
    return root


def test_subsets_clips_and_labels(corpus: Path) -> None:
    read = read_desed(corpus, RATE)
    sizes = {name: len(subset) for name, subset in read.subsets.items()}
    assert sizes == {
        "synthetic": 4,
        "weak": 9,
        "unlabelled": 2,
        "synthetic_validation": 4,
        "weak_validation": 1,
        "validation": 1,
        "test": 2,
    }
    assert (read.name, read.classes, read.sample_rate) == ("desed", CLASSES, RATE)
    assert read.source_clips == DESED_SOURCE_CLIPS
    synthetic = read.subsets["synthetic"].clips
    assert [clip.clip_id for clip in synthetic] == ["0", "1", "2", "3"]
    assert synthetic[1].events == (Event(1.0, 3.5, "Speech"),)
    assert synthetic[1].event_labels == ("Speech",)
    assert (synthetic[3].events, synthetic[3].event_labels) == ((), ())
    assert {name for name, subset in read.subsets.items() if subset.clips[0].synthetic} == {
        "synthetic",
        "synthetic_validation",
    }
    weak = read.subsets["weak"].clips[0]
    assert weak.events is None
    assert weak.event_labels
    unlabelled = read.subsets["unlabelled"].clips[0]
    assert (unlabelled.events, unlabelled.event_labels) == (None, None)
    assert read.subsets["validation"].clips[0].duration == 4.0


def test_annotated_wav_is_found_as_flac_and_its_event_is_cut_when_loaded(corpus: Path) -> None:
    test = read_desed(corpus, RATE).subsets["test"]
    assert [clip.path.name for clip in test.clips] == ["t.flac", "s.flac"]
    assert test.clips[0].events == (Event(9.0, 10.115, "Frying"),)  # as published scores are computed
    loaded, audio = test.load(0, 0)
    assert loaded.events == (Event(9.0, 10.0, "Frying"),)
    assert audio.shape == (10 * RATE,)


def test_only_training_subsets_are_cropped_at_random(corpus: Path) -> None:
    subsets = read_desed(corpus, RATE, clip_seconds=5.0).subsets

    def moves(name: str) -> bool:
        return any(not np.array_equal(subsets[name].load(0, 0)[1], subsets[name].load(0, n)[1]) for n in range(5))

    assert {name for name in subsets if moves(name)} == {"synthetic", "weak", "unlabelled"}


def test_copies_at_the_rate_are_made_once_and_read(corpus: Path) -> None:
    read = read_desed(corpus, 1000)
    folders = {clip.path.parent.name for subset in read.subsets.values() for clip in subset.clips}
    assert folders == {"soundscapes_1k", "weak_1k", "unlabel_in_domain_1k", "tuning_1k", "validation_1k"}
    assert read.subsets["synthetic"].load(0, 0)[1].shape == (10000,)
    again = read_desed(corpus, 1000)
    assert again.fingerprint == read.fingerprint
    on_the_fly = read_desed(corpus, 1000, resampled=False)
    assert on_the_fly.subsets["synthetic"].clips[0].path.parent.name == "soundscapes"
    np.testing.assert_allclose(
        on_the_fly.subsets["test"].load(0, 0)[1], read.subsets["test"].load(0, 0)[1], atol=1 / 32768
    )


def test_fingerprint_changes_with_an_annotation(corpus: Path) -> None:
    first = read_desed(corpus, RATE).fingerprint
    write_weak(corpus / "metadata/train/weak.tsv", {f"Y{i}_30.000_40.000.wav": ["Dog"] for i in range(10)})
    assert read_desed(corpus, RATE).fingerprint != first


def test_weak_split_is_the_baselines(tmp_path: Path) -> None:
    (tmp_path / "metadata/train").mkdir(parents=True)
    shutil.copy(METADATA / "weak.tsv", tmp_path / "metadata/train/weak.tsv")
    parts = split_weak(list_splits(tmp_path, CLASSES)["weak"], 0.9, 42)
    frame = pd.read_csv(METADATA / "weak.tsv", sep="\t")
    training = frame.sample(frac=0.9, random_state=42)
    held_out = frame.drop(training.index)
    assert (len(training), len(held_out)) == (1420, 158)
    assert set(parts["weak"].filenames) == set(training["filename"])
    assert list(parts["weak_validation"].filenames) == list(held_out["filename"])


def test_weak_split_is_over_listed_clips(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = {clip.clip_id for clip in read_desed(corpus, RATE, weak_split=0.5).subsets["weak"].clips}
    gone = sorted(whole)[0]
    (corpus / f"audio/train/weak/{gone}.wav").unlink()
    with caplog.at_level(logging.WARNING):
        left = {clip.clip_id for clip in read_desed(corpus, RATE, weak_split=0.5).subsets["weak"].clips}
    assert left == whole - {gone}
    assert "weak: 4 of 5 listed clips found in" in caplog.text


def test_weak_split_can_be_listed_or_off(corpus: Path) -> None:
    assert "weak_validation" not in read_desed(corpus, RATE, weak_split=1.0).subsets
    with pytest.raises(InputError, match=r"weak_split is 0\.0: needs a share"):
        read_desed(corpus, RATE, weak_split=0.0)
    write_weak(corpus / "metadata/train/weak.tsv", {f"Y{i}_30.000_40.000.wav": ["Dog"] for i in range(3)})
    write_weak(corpus / "metadata/train/weak_validation.tsv", {"Y7_30.000_40.000.wav": ["Cat"]})
    subsets = read_desed(corpus, RATE).subsets
    assert [clip.clip_id[:2] for clip in subsets["weak"].clips] == ["Y0", "Y1", "Y2"]
    assert [clip.clip_id[:2] for clip in subsets["weak_validation"].clips] == ["Y7"]


def test_other_classes_and_their_sound_bank(corpus: Path) -> None:
    assert read_layout(corpus, sample_rate=RATE).classes == ("Blender", "Cat", "Dog", "Frying", "Speech")
    order = ("Speech", "Frying", "Dog", "Cat", "Blender")
    (corpus / "metadata/classes.txt").write_text("\n".join(order))
    (corpus / "metadata/soundbank.tsv").write_text(
        "event_label\tsource_clips\n" + "".join(f"{label}\t{i + 1}\n" for i, label in enumerate(order))
    )
    read = read_layout(corpus, sample_rate=RATE, name="mine")
    assert (read.name, read.classes) == ("mine", order)
    assert read.source_clips == {"Speech": 1, "Frying": 2, "Dog": 3, "Cat": 4, "Blender": 5}
    statistics = class_statistics(read.subsets["synthetic"], read.classes, 0.5, 20, read.source_clips)
    assert statistics.active_frames.tolist() == [15, 0, 0, 0, 0]
    (corpus / "metadata/classes.txt").write_text("Speech\nFrying\n")
    with pytest.raises(InputError, match=r"weak\.tsv.*unknown event label 'Dog'.*also.*tuning\.tsv.*'Blender'"):
        read_layout(corpus, sample_rate=RATE)


def test_source_clips_are_counted_in_the_sound_bank(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert sum(DESED_SOURCE_CLIPS.values()) == 1009  # the foreground of the training sound bank
    with caplog.at_level(logging.WARNING):
        absent = read_desed(corpus, RATE)
    assert "foreground is not there: recordings per class (V_c) are the published ones, not counted" in caplog.text
    assert (absent.source_clips, absent.source_seconds) == (DESED_SOURCE_CLIPS, None)
    foreground = corpus / FOREGROUND
    for i, name in enumerate(CLASSES):
        record(foreground / name, [f"{k}.wav" for k in range(i + 1)], seconds=0.5)
    record(foreground / "Frying_nOff", ["0.wav"], seconds=1.3)  # another recording than Frying/0.wav
    record(foreground / "Frying_nOn_nOff", ["9.wav"], seconds=1.3)
    record(foreground / "Owl", ["0.wav"])
    counted = read_desed(corpus, RATE)
    assert counted.source_clips == {name: i + 1 + 2 * (name == "Frying") for i, name in enumerate(CLASSES)}
    assert counted.source_seconds is not None
    assert counted.source_seconds["Cat"] == 0.5
    assert counted.source_seconds["Frying"] == pytest.approx((7 * 0.5 + 2 * 1.3) / 9)
    shutil.rmtree(foreground / "Dog")
    with pytest.raises(InputError, match=r"foreground holds no recording of Dog; restore it, or set dataset.source_cl"):
        read_desed(corpus, RATE)


def test_source_clips_that_were_not_counted_are_not_shown_as_counted(corpus: Path) -> None:
    rows = {}
    for source in ("table1", "soundbank"):
        if source == "soundbank":
            for name in CLASSES:
                record(corpus / FOREGROUND / name, ["0.wav"], seconds=0.5)
        statistics = training_statistics(read_desed(corpus, RATE, source_clips=source), 0.5, 20)
        assert statistics is not None
        rows[source] = next(row for row in statistics_rows(statistics) if row["event_label"] == "Dog")
    published, counted = ([row[key] for key in ("V_c", "source_clips", "source_seconds")] for row in rows.values())
    assert (published, counted) == ([136, None, None], [1, 1, 0.5])


def test_source_clips_of_desed_can_be_given(corpus: Path) -> None:
    for name in CLASSES:
        record(corpus / FOREGROUND / name, ["0.wav"], seconds=0.5)
    assert read_desed(corpus, RATE, source_clips="table1").source_clips == DESED_SOURCE_CLIPS
    own = dict.fromkeys(CLASSES, 5)
    assert read_desed(corpus, RATE, source_clips=own).source_clips == own
    assert read_desed(corpus, RATE, source_clips=own).source_seconds is None
    listed = "".join(f"{name}\t{i + 1}\n" for i, name in enumerate(CLASSES))
    (corpus / "metadata/soundbank.tsv").write_text(f"event_label\tsource_clips\n{listed}")
    assert read_desed(corpus, RATE).source_clips == {name: i + 1 for i, name in enumerate(CLASSES)}
    with pytest.raises(InputError, match="source_clips is 'table2'; needs 'table1'"):
        read_desed(corpus, RATE, source_clips="table2")


def test_public_evaluation_clips_are_a_second_test(corpus: Path) -> None:
    assert "public" not in read_desed(corpus, RATE).subsets
    write_strong(corpus / "metadata/eval/public.tsv", {"p.wav": [Event(1.0, 2.0, "Dog")]})
    record(corpus / "audio/eval/public", ["p.wav"])
    public = read_desed(corpus, RATE).subsets["public"]
    assert public.clips[0].events == (Event(1.0, 2.0, "Dog"),)
    assert "public" in TESTS
    assert "public" in BESIDE


def test_unlabelled_clips_need_no_list_and_synthetic_ones_may_lie_in_dcase_synth(corpus: Path) -> None:
    (corpus / "metadata/train/unlabel_in_domain.tsv").unlink()
    for kind in ("metadata", "audio"):
        (corpus / f"dcase_synth/{kind}/train").mkdir(parents=True)
        (corpus / f"{kind}/train/synthetic21_train").rename(corpus / f"dcase_synth/{kind}/train/synthetic21_train")
    subsets = read_desed(corpus, RATE).subsets
    assert [clip.clip_id for clip in subsets["unlabelled"].clips] == ["u", "v"]
    assert "dcase_synth" in str(subsets["synthetic"].clips[0].path)


def test_missing_clips_are_a_warning_with_counts(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    (corpus / "audio/validation/validation/s.flac").unlink()
    shutil.rmtree(corpus / "audio/train/unlabel_in_domain")
    with caplog.at_level(logging.WARNING):
        subsets = read_desed(corpus, RATE).subsets
    assert len(subsets["test"]) == 1
    assert "unlabelled" not in subsets
    assert "test: 1 of 2 listed clips found in" in caplog.text
    assert "unlabelled: 0 of 2 listed clips found in" in caplog.text
    assert "the subset is left out" in caplog.text


def test_all_unreadable_clips_are_named(corpus: Path) -> None:
    (corpus / "audio/train/weak/Y3_30.000_40.000.wav").write_bytes(b"")
    (corpus / "audio/validation/validation/t.flac").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"2 of 23 audio files cannot be used.*Y3_30.*is empty.*t\.flac"):
        read_desed(corpus, RATE)
    with pytest.raises(InputError, match=r"Y3_30.*is empty.*also.*t\.flac"):  # the same while copies are made
        read_desed(corpus, 1000)


def test_wrong_annotations_of_several_files_are_said_at_once(corpus: Path) -> None:
    (corpus / "metadata/train/weak.tsv").write_text("filename\tlabels\n")
    write_strong(corpus / "metadata/validation/validation.tsv", {"t.wav": [Event(0, 1, "Bird")]})
    with pytest.raises(InputError, match=r"weak\.tsv, line 1: expected.*; also .*validation\.tsv, line 2: unknown"):
        read_desed(corpus, RATE)


@pytest.mark.parametrize(
    ("event", "fine"),
    [
        (Event(9.0, 11.0, "Dog"), True),  # as in DESED's public.tsv
        (Event(9.0, 11.2, "Dog"), False),
        (Event(9.9, 10.2, "Dog"), True),
        (Event(10.0, 10.5, "Dog"), False),
    ],
)
def test_event_past_the_end(corpus: Path, event: Event, fine: bool) -> None:
    write_strong(corpus / "metadata/validation/validation.tsv", {"t.wav": [event], "s.wav": []})
    if fine:
        assert read_desed(corpus, RATE).subsets["test"].load(0, 0)[0].events[0].offset == 10.0  # type: ignore[index]
        return
    with pytest.raises(InputError, match=r"validation\.tsv: 1 events lie past the end of their clips: t\.wav Dog"):
        read_desed(corpus, RATE)
    errors = {one.subset: one.errors for one in check_desed(corpus, RATE)}
    assert "past the end of their clips" in errors["test"][0]


def test_shortened_recording_is_a_warning(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    record(corpus / "audio/validation/validation", ["t.flac"], seconds=8.0)
    with caplog.at_level(logging.WARNING):
        test = read_desed(corpus, RATE).subsets["test"]
    assert "1 recordings end before their last event" in caplog.text
    assert test.load(0, 0)[0].duration == 8.0


def test_hard_errors(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is not a folder; name the one that holds audio/ and metadata/"):
        read_desed(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match="holds none of the known annotation files"):
        read_desed(tmp_path / "bare")
    shutil.copytree(corpus / "metadata", tmp_path / "silent/metadata")
    with pytest.raises(InputError, match="silent holds no audio that its annotations list; put the recordings in"):
        read_desed(tmp_path / "silent", RATE)
    record(corpus / "audio/validation/validation", ["t.wav"])
    write_strong(corpus / "metadata/validation/validation.tsv", {"t.wav": [], "t.flac": []})
    with pytest.raises(InputError, match="clips differ by folder or suffix only: t; keep one"):
        read_desed(corpus, RATE)
    (corpus / "metadata/train/weak.tsv").unlink()
    with pytest.raises(InputError, match=r"weak\.tsv does not exist, but .*weak holds 10 recordings; restore it"):
        read_desed(corpus, RATE)


def test_check_counts_names_and_says_what_it_means(corpus: Path) -> None:
    (corpus / "audio/train/weak/Y0_30.000_40.000.wav").unlink()
    record(corpus / "audio/train/weak", ["extra.wav"])
    (corpus / "audio/validation/validation/s.flac").write_bytes(b"nothing")
    nan = np.full(10 * RATE, np.nan, np.float32)
    soundfile.write(corpus / "audio/train/unlabel_in_domain/u.wav", nan, RATE, subtype="FLOAT")
    checks = {one.subset: one for one in check_layout(corpus, RATE, CLASSES, DESED_EXPECTED)}
    assert list(checks) == [
        split.subset for split in LAYOUT if split.subset not in ("weak_validation", "synthetic_test")
    ]
    weak = checks["weak"]
    assert (weak.expected, weak.listed, weak.found, weak.unlisted) == (1578, 10, 9, 1)
    assert weak.missing == ["Y0_30.000_40.000.wav"]
    assert "10 clips are listed where the published set has 1578" in weak.warnings
    assert any("is no known edition: Alarm_bell_ringing 0 (published 205)" in text for text in weak.warnings)
    assert [Path(path).name for path, _ in checks["test"].bad] == ["s.flac"]
    assert checks["unlabelled"].bad[0][1] == "holds NaN or infinite samples"
    assert "eval/public.tsv and" in checks["public"].warnings[0]
    assert not checks["public"].errors
    assert "1 recordings are shorter than 10 s" in checks["validation"].warnings[0]
    assert "not comparable with published" in effect(checks["test"])
    assert effect(weak) == "weak: 1569 of 1578 training clips (99.4 %) are missing; expect lower scores than published"
    assert effect(checks["synthetic_validation"]).endswith(
        "4 of 2500 clips choose the checkpoint; another one may be kept"
    )
    assert effect(checks["validation"]) == effect(checks["public"]) == ""
    quick = {one.subset: one for one in check_layout(corpus, RATE, CLASSES, how=Looking(decode=False))}
    assert not quick["unlabelled"].bad


def test_check_finds_wrong_rates_durations_and_empty_folders(corpus: Path) -> None:
    record(corpus / "audio/train/unlabel_in_domain", ["u.wav"], rate=4000)
    write_durations(corpus / "metadata/validation/validation_durations.tsv", {"t.wav": 9.0})
    shutil.rmtree(corpus / "audio/train/weak")
    (corpus / "metadata/validation/tuning.tsv").write_text("nothing")
    checks = {one.subset: one for one in check_layout(corpus, RATE, CLASSES, {"public": Expected(692)})}
    assert checks["unlabelled"].warnings == [
        "recordings differ in sample rate (1 at 4000 Hz, 1 at 2000 Hz); all are resampled"
    ]
    assert checks["test"].warnings == ["t.wav lasts 10.00 s but its durations file says 9.00 s"]
    assert "weak holds none of the 10 listed recordings" in checks["weak"].errors[0]
    assert "line 1: expected" in checks["validation"].errors[0]
    assert "are absent" in checks["public"].errors[0]
    with pytest.raises(InputError, match="nowhere is not a folder"):
        check_desed(corpus / "nowhere", RATE)


def test_check_looks_at_copies_where_the_originals_are_gone(corpus: Path) -> None:
    read_desed(corpus, 1000)
    shutil.rmtree(corpus / "audio/validation/validation")
    checks = {one.subset: one for one in check_layout(corpus, RATE, CLASSES)}
    assert (checks["test"].found, checks["test"].errors) == (2, [])
    assert len(read_desed(corpus, 1000).subsets["test"]) == 2


def test_real_annotations_are_the_expected_editions(tmp_path: Path) -> None:
    for subset in ("weak", "unlabelled", "test", "public"):
        place = SPLITS[subset].annotation_in(tmp_path)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(METADATA / place.name, place)
        SPLITS[subset].audio_in(tmp_path).mkdir(parents=True)
    checks = {one.subset: one for one in check_desed(tmp_path, RATE)}
    for subset in ("weak", "unlabelled", "test", "public"):
        assert checks[subset].listed == checks[subset].expected
        assert not checks[subset].warnings
        assert len(checks[subset].errors) == 1  # no audio
    described = describe_layout(tmp_path, CLASSES, 0.064, source_clips=DESED_SOURCE_CLIPS)
    assert list(described) == ["weak", "test", "public"]
    assert (described["test"].events.sum(), described["test"].total_clips) == (4224, 1168)
    assert described["weak"].clips.tolist() == list(DESED_EXPECTED["weak"].editions["2018"].values())
    assert not described["weak"].active_frames.any()
