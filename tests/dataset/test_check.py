"""What ``sed-prepare check`` finds in every corpus: small ones in the published layouts, with one thing wrong each."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sed_lab.bank.recipe import Mixing
from sed_lab.clip.annotation import write_strong, write_weak
from sed_lab.clip.audio import write_audio
from sed_lab.dataset.desed import CLASSES
from sed_lab.errors import InputError
from sed_lab.prepare import prepare
from sed_lab.types import Event
from tests.configured import configured, option
from tests.made import corpora
from tests.made.corpora import record

METADATA = Path(__file__).resolve().parents[1] / "data" / "desed_metadata"
RATE = 2000  # nothing listens
Made = Callable[[str], Path]
Captured = pytest.CaptureFixture[str]
CORPORA: dict[str, tuple[str, Callable[[Path], Path]]] = {  # what check calls it, and how it is made
    "desed": ("desed", lambda at: corpora.desed(at, RATE)),
    "layout": ("layout", lambda at: corpora.desed(at, RATE)),
    "dcase2018": ("dcase2018", lambda at: corpora.dcase2018(at, rate=RATE, made_rate=800)),
    "as_desed": ("dcase2018", lambda at: corpora.dcase2018(at, own=False, rate=RATE)),
    "tut_rare": ("tut_rare", lambda at: corpora.tut_rare(at, rate=RATE)),
    "audioset": ("audioset_rare", lambda at: corpora.audioset(at, each=10, rate=RATE)),
    "embeddings": ("audioset_embeddings", corpora.audioset_embeddings),
    "esc10": ("soundbank", corpora.esc10),
    "esc50": ("soundbank", corpora.esc50),
}


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk with room for every corpus, whatever is free here."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**12))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Each corpus, made once."""
    top = tmp_path_factory.mktemp("made")

    def of(name: str) -> Path:
        if not (top / name).is_dir():
            CORPORA[name][1](top / name)
        return top / name

    return of


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Made:
    """A copy of a corpus, to be harmed."""

    def of(name: str) -> Path:
        shutil.copytree(made(name), tmp_path / "top" / name)
        return tmp_path / "top" / name

    return of


def checked(corpus: str, folder: Path, capsys: Captured, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the findings by subset."""
    code = prepare(["check", corpus, str(folder), "--json", *options])
    return code, {one["subset"]: one for one in json.loads(capsys.readouterr().out)}


def said(findings: dict[str, Any], *kinds: str) -> str:
    """All texts of these kinds, errors and corrupt files by default."""
    return "\n".join(
        text if isinstance(text, str) else " ".join(text)
        for one in findings.values()
        for kind in kinds or ("errors", "bad")
        for text in one[kind]
    )


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_is_checked_whole(
    name: str, made: Made, tmp_path: Path, capsys: Captured, work_shown: list[str]
) -> None:
    corpus, folder = CORPORA[name][0], made(name)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, whole = checked(corpus, folder, capsys)
    assert (code, said(whole)) == (0, "")
    missing = tmp_path / "missing.tsv"
    code, quick = checked(corpus, folder, capsys, "--quick", "--jobs", "1", "--missing", str(missing))
    assert (code, said(quick), missing.read_text()) == (0, "", "")
    for subset, one in whole.items():
        assert one["listed"] == quick[subset]["listed"] > 0 or subset == "unbal_train"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert prepare(["check", corpus, str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no errors"
    assert any(words.startswith("checking ") for words in work_shown)


@pytest.mark.parametrize("name", CORPORA)
def test_empty_and_truncated_files_are_errors_in_every_corpus(name: str, copied: Made, capsys: Captured) -> None:
    corpus, folder = CORPORA[name][0], copied(name)
    suffixes = (".tfrecord",) if name == "embeddings" else (".wav", ".ogg")
    empty, cut = [path for path in sorted(folder.rglob("*")) if path.suffix in suffixes][:2]
    empty.write_bytes(b"")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    code, found = checked(corpus, folder, capsys)
    assert code == 2
    assert f"{empty} is empty (0 bytes)" in said(found)
    assert str(cut) in said(found)
    code, found = checked(corpus, folder, capsys, "--quick")
    assert code == 2
    assert f"{empty} is empty (0 bytes)" in said(found)


def test_what_only_decoding_finds_is_left_to_the_long_check(copied: Made, capsys: Captured) -> None:
    folder = copied("audioset")
    flac = next(folder.rglob("*.flac"))
    flac.write_bytes(flac.read_bytes()[:5000])
    assert checked("audioset_rare", folder, capsys, "--quick")[0] == 0
    code, found = checked("audioset_rare", folder, capsys)
    assert code == 2
    assert str(flac) in said(found)


LEVELS = {
    "desed": ("audio", "metadata/ and audio/"),
    "dcase2018": ("metadata/train", "metadata/ and audio/"),
    "tut_rare": ("data/source_data", "data/source_data, data/mixture_data or generated_data"),
    "audioset": ("audio", "AudioSet's *segments.csv and audio/"),
    "embeddings": ("eval", "bal_train/, eval/, unbal_train/, or what was made of them"),
    "esc50": ("audio", "meta/esc50.csv"),
}


@pytest.mark.parametrize("name", LEVELS)
def test_the_folder_above_or_below_that_was_meant_is_named(name: str, made: Made, tmp_path: Path) -> None:
    corpus, folder = CORPORA[name][0], made(name)
    inner, what = LEVELS[name]
    (tmp_path / "data/later").mkdir(parents=True)
    (tmp_path / "data/later" / name).symlink_to(folder)
    for named, meant in ((folder / inner, folder), (tmp_path / "data", tmp_path / "data/later" / name)):
        with pytest.raises(InputError) as raised:
            prepare(["check", corpus, str(named)])
        assert str(raised.value) == f"{named} does not hold {what}, but {meant} does; name that folder"
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/part.1.zip").touch()
    with pytest.raises(InputError, match=r"bare (does not|holds no)"):
        prepare(["check", corpus, str(tmp_path / "bare")])


def test_a_reader_names_the_folder_too_and_archives_are_to_be_unpacked(made: Made, tmp_path: Path) -> None:
    folder = made("desed")
    with pytest.raises(InputError, match=rf"holds none of the known .*; name {folder}, which holds metadata/"):
        configured("dataset/desed")(folder / "audio")
    (tmp_path / "audioset_metadata.tar.gz").touch()
    with pytest.raises(InputError, match=r"does not hold metadata/ and audio/; unpack audioset_metadata"):
        prepare(["check", "desed", str(tmp_path)])


def test_a_folder_without_a_corpus_of_the_layout_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    with pytest.raises(InputError, match=r"holds none of the known annotation files, such as"):
        prepare(["check", "layout", str(tmp_path)])


def test_jobs_are_at_least_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--jobs 0 needs to be 1 or more"):
        prepare(["check", "desed", str(tmp_path), "--jobs", "0"])


# Subsets beside each other.


def without_soundscapes(folder: Path, *names: str) -> Path:
    for name in names:
        for kind in ("metadata", "audio"):
            shutil.rmtree(folder / kind / "train" / name, ignore_errors=True)
    return folder


def test_rates_that_differ_between_subsets_are_a_domain_gap(copied: Made, capsys: Captured) -> None:
    folder = without_soundscapes(copied("dcase2018"), "synthetic21_train")
    _, found = checked("dcase2018", folder, capsys, "--quick")
    (warning,) = (text for text in found["synthetic"]["warnings"] if "Hz" in text)
    assert warning == (
        "recordings are at 800 Hz where those of weak, validation, test, synthetic_test are at 2000 Hz: read at "
        f"{option('dataset/dcase2018')['sample_rate']} Hz they hold nothing above 400 Hz, by which a network tells the "
        "subsets apart; set dataset.sample_rate=800, or the f_max of the features to 400"
    )
    assert "Hz" not in said({name: one for name, one in found.items() if name != "synthetic"}, "warnings")
    assert found["synthetic"]["rates"] == {"800": 20}


def test_rates_above_the_one_that_is_read_at_lose_nothing(copied: Made, capsys: Captured) -> None:
    folder = copied("desed")
    for place, rate in (("validation/validation", 32000), ("eval/public", 16000)):
        for path in (folder / "audio" / place).iterdir():
            write_audio(path, np.zeros(10 * rate, np.float32), rate)
    _, found = checked("desed", folder, capsys, "--quick")
    assert not [text for text in found["public"]["warnings"] if "Hz" in text]
    assert "all are resampled to 16000 Hz, so nothing is lost" in found["public"]["notes"][0]
    assert "where those of test are at 32000 Hz and public are at 16000 Hz" not in said(found, "warnings")
    assert "hold nothing above 1000 Hz" in said(found, "warnings")


def test_lengths_that_differ_between_subsets(copied: Made, capsys: Captured) -> None:
    folder = copied("desed")
    names = [path.name for path in (folder / "audio/train/unlabel_in_domain").iterdir()]
    record(folder / "audio/train/unlabel_in_domain", names, seconds=4)
    _, found = checked("layout", folder, capsys, "--quick")
    assert found["unlabelled"]["seconds"] == 4
    warning = next(text for text in found["unlabelled"]["warnings"] if "where" in text)
    others = "synthetic, weak, synthetic_validation, test, public"
    assert warning.startswith(f"recordings last 4.0 s where those of {others} last 10 s; they are filled up")
    assert "12 recordings are shorter than 10 s; zeros are added" in found["unlabelled"]["warnings"]
    record(folder / "audio/train/unlabel_in_domain", names[:2], seconds=25)
    record(folder / "audio/eval/public", [next((folder / "audio/eval/public").iterdir()).name], seconds=25)
    _, found = checked("layout", folder, capsys, "--quick")
    assert "2 recordings are longer than 10 s; a part is drawn each epoch" in found["unlabelled"]["warnings"]
    assert "1 recordings are longer than 10 s; only their first 10 s count" in found["public"]["warnings"]


def test_unlisted_recordings_and_clips_that_also_train(copied: Made, capsys: Captured) -> None:
    folder = copied("as_desed")  # whose test and validation clips share a folder
    record(folder / "audio/validation/validation", ["x.wav", "y.wav"])
    write_strong(folder / "metadata/validation/test_dcase2018.tsv", {corpora.youtube(100, 1)[0]: [Event(0, 1, "Dog")]})
    (folder / "audio/train/weak" / corpora.youtube(100, 1)[0]).rename(
        folder / "audio/validation/validation" / corpora.youtube(100, 1)[0]
    )
    code, found = checked("dcase2018", folder, capsys, "--quick")
    assert code == 0
    counts = {name: one["unlisted"] for name, one in found.items()}
    assert counts == {"synthetic": 0, "weak": 0, "validation": 12, "test": 0, "synthetic_test": 0}
    assert "12 recordings in" in said(found, "warnings")
    assert "x.wav" in said({"": found["validation"]}, "warnings") or "and 7 more" in said(found, "warnings")
    leaked = f"1 clips are also in weak, which trains: {corpora.youtube(100, 1)[0]}; take them out"
    assert leaked in found["validation"]["warnings"]


def test_recordings_in_another_folder_are_found(copied: Made, capsys: Captured) -> None:
    folder = copied("desed")
    place = folder / "audio/train/weak"
    place.rename(folder / "audio/train/beside")
    place.mkdir()
    (folder / "audio/train/beside").rename(place / "weak")
    code, found = checked("desed", folder, capsys, "--quick")
    assert code == 2
    (error,) = found["weak"]["errors"]
    assert error == f"{place} holds none of the 20 listed recordings; 20 of them lie in {place}/weak, so move them"


def test_clips_that_differ_by_suffix_only(copied: Made, capsys: Captured) -> None:
    folder = copied("desed")
    write_weak(folder / "metadata/train/weak.tsv", {"a.wav": ["Dog"], "a.flac": ["Dog"]})
    record(folder / "audio/train/weak", ["a.wav"])
    code, found = checked("desed", folder, capsys, "--quick")
    assert code == 2
    assert "clips differ by folder or suffix only: a" in found["weak"]["errors"][0]


# Copies at another rate.


def test_copies_are_looked_at_and_older_ones_that_others_made_are_told(copied: Made, capsys: Captured) -> None:
    folder = copied("desed")
    copies = folder / "audio/train/weak_16k"
    shutil.copytree(folder / "audio/train/weak", copies)
    first, second, *_ = sorted(copies.iterdir())
    os.utime(first, (1, 1))
    second.write_bytes(b"")
    code, found = checked("desed", folder, capsys, "--quick")
    assert code == 2
    assert found["weak"]["bad"] == [[str(second), "is empty (0 bytes)"]]
    assert "1 of 20 copies are older than their recordings and were not made by sed_lab" in said(found, "warnings")
    assert f"remove {copies} to have them made again" in said(found, "warnings")


def test_unlabelled_copies_without_a_list_or_originals_count(copied: Made, capsys: Captured) -> None:
    folder = copied("desed")
    (folder / "metadata/train/unlabel_in_domain.tsv").unlink()
    (folder / "audio/train/unlabel_in_domain").rename(folder / "audio/train/unlabel_in_domain_2k")
    _, found = checked("desed", folder, capsys, "--quick")
    assert (found["unlabelled"]["listed"], found["unlabelled"]["found"]) == (12, 12)
    assert len(configured("dataset/desed")(folder, RATE).subsets["unlabelled"]) == 12


# Editions.


def test_the_test_clips_of_2018_have_908_events(copied: Made, capsys: Captured) -> None:
    folder = copied("as_desed")
    place = folder / "metadata/validation/test_dcase2018.tsv"
    for added, known in (({}, True), ({"Blender": 2, "Dishes": 8, "Speech": 2}, True), ({"Cat": 1}, False)):
        rows = [f"Y00pbt6aJV8Y_350.000_360.000.wav\t0\t1\t{label}\n" for label, n in added.items() for _ in range(n)]
        place.write_text((METADATA / place.name).read_text().rstrip("\n") + "\n" + "".join(rows))
        _, found = checked("dcase2018", folder, capsys, "--quick")
        warnings = [text for text in found["validation"]["warnings"] if "edition" in text]
        assert (warnings == []) is known


@pytest.mark.parametrize("name", ["dcase2018", "as_desed"])
def test_soundscapes_to_train_on_have_to_be_there(name: str, copied: Made, capsys: Captured) -> None:
    folder = without_soundscapes(copied(name), "synthetic20", "synthetic21_train")
    shutil.rmtree(folder / "dcase_synth", ignore_errors=True)
    code, found = checked("dcase2018", folder, capsys, "--quick")
    assert code == 2
    assert "soundscapes.tsv and" in found["synthetic"]["errors"][0]


def test_soundscapes_below_dcase_synth_are_read(made: Made) -> None:
    read = configured("dataset/dcase2018")(made("as_desed"), RATE)
    assert len(read.subsets["synthetic"]) == 20
    assert "dcase_synth" in str(read.subsets["synthetic"].clips[0].path)
    assert read.classes == CLASSES


# TUT Rare Sound Events.


def test_mixtures_that_are_to_be_made_are_told(copied: Made, capsys: Captured) -> None:
    folder = copied("tut_rare")
    shutil.rmtree(folder / "data/mixture_data/devtest")
    _, found = checked("tut_rare", folder, capsys, "--quick")
    assert "1500 mixtures (6 GB) are made of data/source_data before the first training" in found["devtest"]["warnings"]
    event = next((folder / "data/source_data/events/gunshot").glob("devtest*"))
    event.unlink()
    code, found = checked("tut_rare", folder, capsys, "--quick")
    assert code == 2
    assert found["events devtest"]["missing"] == [f"gunshot/{event.name}"]
    assert f"cannot be made: source recordings are missing, gunshot/{event.name}" in found["devtest"]["errors"][0]
    shutil.rmtree(folder / "data/source_data")
    code, found = checked("tut_rare", folder, capsys, "--quick")
    assert code == 2
    assert "1500 mixtures are not there, nor" in found["devtest"]["errors"][0]


def test_room_for_the_mixtures_is_asked_for(made: Made, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    code, found = checked("tut_rare", made("tut_rare"), capsys, "--quick")
    assert code == 2
    assert "1 GB are free in" in said(found)


def test_an_evaluation_set_that_is_not_there_is_an_error_and_one_beside_is_looked_at(
    copied: Made, capsys: Captured
) -> None:
    folder = copied("tut_rare").rename(copied("esc10").parent / "TUT-rare-sound-events-2017-development")
    evaltest = folder / "data/mixture_data/evaltest"
    beside = folder.with_name("TUT-rare-sound-events-2017-evaluation") / "data/mixture_data/evaltest"
    beside.parent.mkdir(parents=True)
    evaltest.rename(beside)
    code, found = checked("tut_rare", folder, capsys, "--quick")
    assert (code, found["evaltest bbb81504"]["found"]) == (0, 6)
    shutil.rmtree(beside)
    code, found = checked("tut_rare", folder, capsys, "--quick")
    assert code == 2
    (error,) = found["evaltest"]["errors"]
    assert error.endswith(f"unpack the archives of the evaluation set into {folder}, or test with dataset.test=devtest")


def test_withdrawn_mixtures_and_screened_backgrounds_are_told(copied: Made, capsys: Captured) -> None:
    folder = copied("tut_rare")
    place = next((folder / "data/mixture_data/devtest").iterdir())
    names = [f"mixture_devtest_babycry_{number:03d}_abc.wav" for number in (37, 38, 154)]
    for name in names:
        shutil.copy(next((place / "audio").iterdir()), place / "audio" / name)
    (place / "meta/event_list_devtest_babycry.csv").write_text("".join(f"{name}\n" for name in names))
    (folder / "data/source_data/bgs/bg_screening.csv").write_text("file,b,g,s\naudio/b000_0_30.wav,x,,\n")
    _, found = checked("tut_rare", folder, capsys, "--quick")
    warnings = said(found, "warnings")
    assert "2 mixtures that the patch of June 2017 withdrew are listed" in warnings
    assert f"{names[1]}, {names[2]}" in warnings
    assert "1 backgrounds are marked in bg_screening.csv as holding babycry: b000_0_30.wav" in warnings
    (folder / "data/source_data/bgs/bg_screening.csv").unlink()
    _, found = checked("tut_rare", folder, capsys, "--quick")
    assert "bg_screening.csv is absent" in said(found, "warnings")


def test_sources_that_do_not_fit_their_lists(copied: Made, capsys: Captured) -> None:
    folder = copied("tut_rare")
    source = folder / "data/source_data"
    record(source / "events/babycry", ["devtrain0.wav"], seconds=0.5)
    record(source / "bgs/audio", ["a000_0_30.wav"], seconds=20)
    shutil.copy(source / "cv_setup/bgs_devtrain.yaml", source / "cv_setup/bgs_devtest.yaml")
    (source / "cv_setup/events_devtest.yaml").write_text("babycry: [{audio_filename: a.wav}]")
    code, found = checked("tut_rare", folder, capsys)
    assert code == 2
    assert "devtrain0.wav lasts 0.50 s but its event ends at 1.10 s" in found["events devtrain"]["errors"][0]
    assert "1 backgrounds are shorter than 30 s: a000_0_30.wav" in found["backgrounds devtrain"]["errors"]
    assert "does not hold a list of audio_filename and segment" in found["events devtest"]["errors"][0]
    assert "2 files are in devtrain too, so test sounds train" in said(found, "warnings")


def test_mixtures_beside_their_lists(copied: Made, capsys: Captured) -> None:
    folder = copied("tut_rare")
    place = next((folder / "data/mixture_data/devtest").iterdir())
    gone, short, *_ = sorted((place / "audio").iterdir())
    record(place / "audio", [short.name], seconds=3)
    record(place / "audio", ["other.wav", "another_old_dontuse.wav"], seconds=30)
    gone.unlink()
    (place / "meta/event_list_devtest_gunshot.csv").unlink()
    code, found = checked("tut_rare", folder, capsys)
    assert code == 2
    one = found["devtest 20b25538"]
    assert one["missing"] == [gone.name]
    assert "event_list_devtest_gunshot.csv does not exist" in one["errors"][0]
    assert f"1 mixtures do not last 30 s: {short.name}" in one["warnings"]


@pytest.mark.parametrize("own", [True, False])
def test_both_arrangements_of_mixtures_are_known(own: bool, copied: Made, capsys: Captured) -> None:
    folder = copied("tut_rare")
    if not own:
        for place in list((folder / "data/mixture_data").glob("dev*/*")):
            (folder / "generated_data").mkdir(exist_ok=True)
            place.rename(folder / f"generated_data/mixtures_{place.parent.name}_{Mixing().baseline_folder()}")
    code, found = checked("tut_rare", folder, capsys, "--quick")
    assert code == 0
    digest = "20b25538" if own else "0367e094"
    assert [found[f"{name} {digest}"]["found"] for name in ("devtrain", "devtest")] == [6, 6]
    assert "1500 mixtures" not in said({"": found[f"devtest {digest}"]}, "warnings")


# AudioSet.


def test_no_recording_of_a_class_is_an_error(copied: Made, capsys: Captured) -> None:
    folder = copied("audioset")
    for path in (folder / "audio").rglob("*made0000[01]*"):
        path.unlink()
    code, found = checked("audioset_rare", folder, capsys, "--quick")
    assert code == 2
    assert found["Dog"]["errors"] == [f"{folder}/audio holds none of the 10 listed recordings"]
    shutil.rmtree(folder / "audio")
    with pytest.raises(InputError, match=r"audio is not a folder; put the recordings there"):
        prepare(["check", "audioset_rare", str(folder)])
    record(folder / "bal_train", ["-made000001.wav"])
    with pytest.raises(InputError, match=rf"audio is not a folder; move or link {folder}/bal_train into it"):
        prepare(["check", "audioset_rare", str(folder)])


def test_shortened_lists_and_recordings_in_none(copied: Made, capsys: Captured) -> None:
    folder = copied("audioset")
    path = folder / "eval_segments.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    record(folder / "audio/eval", ["Ynobody_1.000_2.000.wav"], seconds=10)
    code, found = checked("audioset_rare", folder, capsys, "--quick")
    assert code == 0
    count = len(lines) - 3
    assert f"{path} lists {count - 2} clips where its header says {count}" in found["background"]["warnings"]
    assert found["background"]["unlisted"] == 3
    assert "3 recordings are in no list and are not used: " in said(found, "warnings")


def test_recordings_in_sub_folders_train(made: Made) -> None:
    read = configured("dataset/audioset_rare")(made("audioset"), sample_rate=RATE)
    assert sum(len(subset) for subset in read.subsets.values()) == 50
    assert {clip.path.parent.name for clip in read.subsets["weak"].clips} == {"bal_train", "eval"}


def test_shards_that_are_no_shards(copied: Made, capsys: Captured) -> None:
    folder = copied("embeddings")
    packed, empty, linked, *_ = sorted((folder / "eval").iterdir())
    packed.write_bytes(b"\x1f\x8b\x08\x00" + bytes(60))
    empty.write_bytes(b"")
    linked.unlink()
    linked.symlink_to(folder / "nowhere")
    code, found = checked("audioset_embeddings", folder, capsys)
    assert code == 2
    assert found["eval"]["errors"] == [
        f"{packed}: is compressed by gzip; unpack it (gunzip), then name the folder again",
        f"{empty} is empty (0 bytes); restore it",
        f"{linked}: cannot be read (No such file or directory); restore it or its permissions",
    ]
    assert found["bal_train"]["errors"] == []
    assert found["eval"]["found"] > 0
    shutil.rmtree(folder / "bal_train")
    for path in (folder / "eval").iterdir():
        path.rename(path.with_name(f"{path.name}.gz"))
    code, found = checked("audioset_embeddings", folder, capsys)
    assert code == 2
    assert "holds 6 *.tfrecord.gz; unpack them with gunzip" in found["eval"]["errors"][0]


def test_a_converted_folder_is_checked_too(made: Made, tmp_path: Path, capsys: Captured) -> None:
    assert prepare(["embeddings", str(made("embeddings")), str(tmp_path / "store")]) == 0
    capsys.readouterr()
    code, found = checked("audioset_embeddings", tmp_path / "store", capsys)
    assert code == 0
    assert {name: (one["listed"], one["found"]) for name, one in found.items()} == {
        "bal_train": (120, 110), "eval": (120, 110),
    }  # fmt: skip
    assert found["eval"]["notes"] == ["clips of 10 rows: Speech 28, Animal 27, Music 27, Vehicle 28"]
    (tmp_path / "store/embedding.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"embedding.bin has 0 bytes, not"):
        prepare(["check", "audioset_embeddings", str(tmp_path / "store")])


# Sound banks.


def test_a_bank_says_its_roles_and_what_does_not_belong(copied: Made, capsys: Captured) -> None:
    folder = copied("esc10")
    code, found = checked("soundbank", folder, capsys)
    assert code == 0
    role = "a background (by its name), not an event; dataset.classes lists the classes that are events"
    assert found["Rain"]["notes"] == [role]
    assert "events of 5 sources in train" in found["Dog_bark"]["notes"][0]
    for path in sorted((folder / "009 - Rooster").iterdir())[1:]:
        path.unlink()
    record(folder / "009 - Rooster/more", ["a.wav"])
    code, found = checked("soundbank", folder, capsys)
    assert code == 2
    assert "no recording of Rooster in" in said(found)
    assert "1 sources; a class needs 3 at least, one a split" in found["Rooster"]["warnings"]
    assert "1 recordings lie in no class's folder and are not used: 009 - Rooster/more/a.wav" in said(found, "warnings")
    with pytest.raises(InputError, match=r"Rooster/more holds 1 recordings but no folders of classes"):
        prepare(["check", "soundbank", str(folder / "009 - Rooster/more")])
    with pytest.raises(InputError, match=rf"has no recordings in its own folders, but {folder} has; name that folder"):
        prepare(["check", "soundbank", str(folder.parent)])


def test_a_bank_whose_table_is_lost_or_lists_more(copied: Made) -> None:
    folder = copied("esc50")
    gone = next((folder / "audio").iterdir())
    gone.unlink()
    with pytest.raises(InputError, match=rf"audio lacks {gone.name} listed in .*esc50.csv; unpack the archive again"):
        prepare(["check", "soundbank", str(folder)])
    (folder / "meta/esc50.csv").unlink()
    with pytest.raises(InputError, match=r"has one folder, audio/, but no meta/esc50.csv, which gives the classes"):
        prepare(["check", "soundbank", str(folder)])


def test_a_silent_recording_is_not_corrupt(copied: Made, capsys: Captured) -> None:
    folder = copied("esc10")
    soundfile.write(next((folder / "001 - Dog bark").iterdir()), np.zeros(44100), 44100)
    assert checked("soundbank", folder, capsys)[0] == 0
