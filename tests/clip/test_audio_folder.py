from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sed_lab.clip.audio import read_audio, write_audio
from sed_lab.clip.audio_folder import (
    OURS,
    check_audio,
    find_audio,
    list_audio,
    resample_folder,
    resampled_path,
    usable_audio,
)
from sed_lab.errors import InputError


def noise(n: int, seed: int = 0, channels: int = 1) -> np.ndarray:
    audio = np.random.default_rng(seed).uniform(-0.5, 0.5, (n, channels)).astype(np.float32)
    return audio[:, 0] if channels == 1 else audio


def bad_files(folder: Path) -> dict[str, str]:
    """One file of every bad kind, and what must be said of it."""
    soundfile.write(folder / "good.wav", noise(16000), 16000)
    whole = (folder / "good.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
    soundfile.write(folder / "good.flac", noise(16000), 16000)
    whole = (folder / "good.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("<html>404 not found</html>" * 20)
    soundfile.write(folder / "nothing.wav", np.zeros(0, np.float32), 16000)
    broken = noise(16000)
    broken[500] = np.nan
    soundfile.write(folder / "nan.wav", broken, 16000, subtype="FLOAT")
    broken[500] = np.inf
    soundfile.write(folder / "inf.wav", broken, 16000, subtype="FLOAT")
    (folder / "folder.wav").mkdir()
    return {
        "cut.wav": "truncated, its header says 32000 bytes of samples but 15978 are there",
        "cut.flac": "",  # in the decoder's words, or as too few samples
        "empty.wav": r"is empty \(0 bytes\)",
        "text.wav": "cannot be read as audio",
        "nothing.wav": "holds no samples",
        "nan.wav": "holds NaN or infinite samples",
        "inf.wav": "holds NaN or infinite samples",
        "folder.wav": "is a folder, not an audio file",
        "absent.wav": "does not exist",
    }


def test_every_bad_file_is_named_with_its_reason(tmp_path: Path) -> None:
    expected = bad_files(tmp_path)
    for name, reason in expected.items():
        with pytest.raises(InputError, match=rf"{name}: {reason}.*; replace or remove the file"):
            read_audio(tmp_path / name, 16000)
    names = ["good.wav", *expected, "good.flac"]
    found = check_audio([tmp_path / name for name in names], jobs=3)
    assert [path.name for path, _ in found] == list(expected)
    assert all(reason and str(tmp_path) not in reason for _, reason in found)


def test_check_without_decoding_reads_headers_only(tmp_path: Path) -> None:
    bad_files(tmp_path)
    found = check_audio([tmp_path / name for name in ("nan.wav", "cut.wav", "good.wav")], decode=False)
    assert [path.name for path, _ in found] == ["cut.wav"]


def test_list_audio_is_sorted_and_skips_unfinished_files(tmp_path: Path) -> None:
    for name in ("b.wav", "a.flac", "c.OGG", ".d.wav.12.part.wav", "e.txt", "f.jams"):
        (tmp_path / name).touch()
    assert [path.name for path in list_audio(tmp_path)] == ["a.flac", "b.wav", "c.OGG"]
    with pytest.raises(InputError, match="nothing is not a folder"):
        list_audio(tmp_path / "nothing")


def full_disk(*_: object) -> None:  # in place of os.replace: a patched class upsets threads under Python 3.12.1
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for i in range(6):
        write_audio(tmp_path / f"source/{i}.{'flac' if i % 2 else 'wav'}", noise(22050, i, 1 + i % 2), 44100)
    return tmp_path / "source"


def test_resample_folder_makes_what_reading_gives(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert resample_folder(source, target, 16000, progress=False) == (6, 0)
    for path in list_audio(source):
        made = resampled_path(path, target)
        assert made.name == path.name
        np.testing.assert_allclose(read_audio(made, 16000), read_audio(path, 16000), atol=1 / 32768)
        assert soundfile.info(made).channels == 1


def test_resample_folder_resumes_and_renews(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    resample_folder(source, target, 16000, progress=False)
    (target / "0.wav").unlink()  # as if killed before it
    (target / ".1.flac.99.part.flac").write_bytes(b"half")  # left by a killed process
    later = (target / "2.wav").stat().st_mtime + 10
    os.utime(source / "2.wav", (later, later))  # downloaded again
    kept = (target / "3.flac").stat().st_mtime_ns
    assert resample_folder(source, target, 16000, progress=False) == (2, 4)
    assert (target / "3.flac").stat().st_mtime_ns == kept
    assert not list(target.glob(".*.part*"))


def test_copies_that_others_made_are_kept(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = tmp_path / "source_16k"
    resample_folder(source, target, 16000, progress=False)
    (target / OURS).unlink()  # as the baseline's own copies
    os.utime(target / "0.wav", (1, 1))
    (target / "1.flac").unlink()
    before = (target / "0.wav").stat().st_mtime_ns
    assert resample_folder(source, target, 16000, progress=False) == (1, 5)
    assert (target / "0.wav").stat().st_mtime_ns == before
    text = (
        "1 of 6 copies are older than their recordings and were not made by sed_lab: they are used as they are; remove"
    )
    assert f"{target}: {text} {target} to have them made again" in caplog.text
    (target / OURS).touch()
    caplog.clear()
    assert resample_folder(source, target, 16000, progress=False) == (1, 5)
    assert (target / "0.wav").stat().st_mtime_ns > before
    assert not caplog.text


def test_audio_is_found_in_folders_below(source: Path) -> None:
    write_audio(source / "a/b/x.wav", noise(100, 0), 2000)
    write_audio(source / ".a/y.wav", noise(100, 0), 2000)
    names = [path.relative_to(source).as_posix() for path in find_audio(source)]
    assert names == ["0.wav", "1.flac", "2.wav", "3.flac", "4.wav", "5.flac", "a/b/x.wav"]


def test_resample_folder_names_all_bad_files_after_doing_the_others(source: Path, tmp_path: Path) -> None:
    (source / "bad1.wav").write_bytes(b"no audio")
    (source / "bad2.wav").touch()
    with pytest.raises(InputError, match=r"2 of 8 audio files cannot be used: .*bad1\.wav \(.*bad2\.wav \(is empty"):
        resample_folder(source, tmp_path / "target", 16000, progress=False)
    assert len(list_audio(tmp_path / "target")) == 6


def test_resample_folder_without_audio_or_place(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no audio files"):
        resample_folder(tmp_path / "empty", tmp_path / "target", 16000)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write copies at 16000 Hz to .*set resampled to false"):
        resample_folder(source, tmp_path / "file/target", 16000)
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(InputError, match="No space left on device"):
        resample_folder(source, tmp_path / "target", 16000, progress=False)
    assert list_audio(tmp_path / "target") == []


def start_resampling(source: Path, target: Path) -> subprocess.Popen[str]:
    code = f"""
from pathlib import Path
from sed_lab.clip.audio_folder import resample_folder
print(resample_folder(Path({str(source)!r}), Path({str(target)!r}), 16000, 1, progress=False)[0])
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_two_processes_do_not_do_it_twice(source: Path, tmp_path: Path) -> None:
    both = [start_resampling(source, tmp_path / "target") for _ in range(2)]
    assert sorted(process.communicate(timeout=60)[0].strip() for process in both) == ["0", "6"]


def test_killed_resampling_leaves_whole_files_only(tmp_path: Path) -> None:
    for i in range(40):
        write_audio(tmp_path / f"source/{i}.wav", noise(441000, i), 44100)
    process = start_resampling(tmp_path / "source", tmp_path / "target")
    limit = time.monotonic() + 300
    while not list((tmp_path / "target").glob("[!.]*.wav")) and time.monotonic() < limit:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    there = list_audio(tmp_path / "target")
    assert there
    assert check_audio(there) == []
    made, kept = resample_folder(tmp_path / "source", tmp_path / "target", 16000, progress=False)
    assert (made + kept, kept) == (40, len(there))


def test_usable_audio_picks_the_folder_at_the_rate(source: Path) -> None:
    sibling = source.with_name("source_16k")
    assert usable_audio(source, 44100) == list_audio(source)
    assert not sibling.exists()
    assert usable_audio(source, 16000, resampled=False) == list_audio(source)
    assert [path.parent for path in usable_audio(source, 16000)] == [sibling] * 6
    for path in list_audio(source):
        path.unlink()
    assert len(usable_audio(source, 16000)) == 6  # only the copies are left
    source.rmdir()
    assert len(usable_audio(source, 16000)) == 6
    assert usable_audio(source, 8000) == []
