from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from sed_lab.clip.audio import ClipFiles, audio_info, labels_of, move_events, read_audio, write_audio
from sed_lab.clip.audio_folder import list_audio
from sed_lab.errors import InputError
from sed_lab.types import Clip, Event, Subset


def noise(n: int, seed: int = 0, channels: int = 1) -> np.ndarray:
    audio = np.random.default_rng(seed).uniform(-0.5, 0.5, (n, channels)).astype(np.float32)
    return audio[:, 0] if channels == 1 else audio


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of noise at several rates."""
    folder = tmp_path_factory.mktemp("recordings")
    for rate in (8000, 16000, 22050, 44100, 48000):
        soundfile.write(folder / f"{rate}.wav", noise(2 * rate), rate, subtype="FLOAT")
    return folder


@pytest.mark.parametrize("suffix", ["wav", "WAV", "flac", "ogg", "mp3"])
def test_formats_are_read(tmp_path: Path, suffix: str) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32) / 2
    soundfile.write(tmp_path / f"a.{suffix}", tone, 16000, format=suffix.upper())
    audio = read_audio(tmp_path / f"a.{suffix}", 16000)
    assert audio.dtype == np.float32
    assert len(audio) >= 16000
    spectrum = np.abs(np.fft.rfft(audio[:16000]))
    assert spectrum.argmax() == 440
    assert list_audio(tmp_path) == [tmp_path / f"a.{suffix}"]


def test_stereo_becomes_the_mean(tmp_path: Path) -> None:
    both = noise(8000, channels=2)
    soundfile.write(tmp_path / "a.wav", both, 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav", 16000), (both[:, 0] + both[:, 1]) / 2, atol=1e-7)
    info = audio_info(tmp_path / "a.wav")
    assert (info.duration, info.sample_rate, info.channels, info.frames) == (0.5, 16000, 2, 8000)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampling_is_soxr(recordings: Path, rate: int) -> None:
    expected = soxr.resample(noise(2 * rate), rate, 16000)
    audio = read_audio(recordings / f"{rate}.wav", 16000)
    assert len(audio) == 32000
    np.testing.assert_allclose(audio, expected, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([8000, 16000, 22050, 44100, 48000]), st.integers(0, 31_999), st.integers(1, 32_000))
def test_part_equals_slice_of_the_whole(recordings: Path, rate: int, first: int, count: int) -> None:
    whole = read_audio(recordings / f"{rate}.wav", 16000)
    part = read_audio(recordings / f"{rate}.wav", 16000, first / 16000, count / 16000)
    assert len(part) == min(count, 32000 - first)
    np.testing.assert_allclose(part, whole[first : first + count], atol=2e-5)


@pytest.mark.parametrize(("rate", "allowed"), [(16000, 8000), (44100, 22050 + 2 * 4410 + 882)])
def test_only_the_part_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int, allowed: int) -> None:
    soundfile.write(tmp_path / "a.wav", noise(10 * rate), rate)
    decoded, read = [], soundfile.read

    def counting(path: str, frames: int, *rest: object, **options: object) -> object:
        decoded.append(frames)
        return read(path, frames, *rest, **options)

    monkeypatch.setattr(soundfile, "read", counting)
    assert len(read_audio(tmp_path / "a.wav", 16000, 4.0, 0.5)) == 8000
    assert 0.5 * rate <= sum(decoded) <= allowed


def test_whole_and_part_have_the_length_asked_for(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(44101), 44100)  # 16000.36 samples at 16 kHz
    assert len(read_audio(tmp_path / "a.wav", 16000)) in (16000, 16001)
    assert len(read_audio(tmp_path / "a.wav", 16000, 0.9, 5.0)) in (1600, 1601)
    with pytest.raises(InputError, match=r"start 1\.5 s is outside the file, which has 1\.000 s"):
        read_audio(tmp_path / "a.wav", 16000, 1.5)
    with pytest.raises(InputError, match=r"start -1\.0 s is outside"):
        read_audio(tmp_path / "a.wav", 16000, -1.0)


def test_unreadable_file_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="permission denied"):
        read_audio(tmp_path / "a.wav", 16000)


def test_wav_of_a_stream_with_unknown_length_is_read(tmp_path: Path) -> None:
    """ffmpeg writing to a pipe cannot fill in the lengths."""
    soundfile.write(tmp_path / "a.wav", noise(16000), 16000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(content)
    assert len(read_audio(tmp_path / "a.wav", 16000)) == 16000


def test_events_move_along_with_a_crop() -> None:
    events = [Event(0.0, 1.0, "gone"), Event(0.5, 1.5, "cut"), Event(1.25, 9.0, "cut too"), Event(3.0, 4.0, "gone")]
    assert move_events(events, 1.0, 2.0) == (Event(0.0, 0.5, "cut"), Event(0.25, 2.0, "cut too"))
    assert move_events(events[:1], 0.0, 2.0) == (events[0],)


@given(st.floats(0, 8), st.floats(0.001, 5), st.floats(0, 8), st.floats(0.5, 4))
def test_moved_event_is_what_is_heard_of_it(onset: float, length: float, start: float, seconds: float) -> None:
    moved = move_events([Event(onset, onset + length, "Dog")], start, seconds)
    heard = min(onset + length, start + seconds) - max(onset, start)
    assert sum(event.offset - event.onset for event in moved) == pytest.approx(max(0.0, heard), abs=1e-9)
    assert all(0 <= event.onset < event.offset <= seconds for event in moved)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_written_audio_is_read_again(tmp_path: Path, suffix: str) -> None:
    write_audio(tmp_path / f"deep/a{suffix}", noise(1000), 16000)
    np.testing.assert_allclose(read_audio(tmp_path / f"deep/a{suffix}", 16000), noise(1000), atol=1 / 32768)
    assert soundfile.info(tmp_path / f"deep/a{suffix}").subtype == "PCM_16"


def test_bad_audio_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the audio holds NaN or infinite samples"):
        write_audio(tmp_path / "a.wav", np.array([0, np.nan], np.float32), 16000)
    with pytest.raises(InputError, match=r"cannot write .*a\.xyz as PCM_16 at 16000 Hz"):
        write_audio(tmp_path / "a.xyz", noise(10), 16000)
    assert list(tmp_path.iterdir()) == []


def full_disk(*_: object) -> None:  # in place of os.replace: a patched class upsets threads under Python 3.12.1
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_audio(tmp_path / "a.wav", noise(10), 16000)
    old = (tmp_path / "a.wav").read_bytes()
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(InputError, match=r"cannot write .*a\.wav: No space left on device; free some space"):
        write_audio(tmp_path / "a.wav", noise(20), 16000)
    assert (tmp_path / "a.wav").read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for i in range(6):
        write_audio(tmp_path / f"source/{i}.{'flac' if i % 2 else 'wav'}", noise(22050, i, 1 + i % 2), 44100)
    return tmp_path / "source"


def start_resampling(source: Path, target: Path) -> subprocess.Popen[str]:
    code = f"""
from pathlib import Path
from sed_lab.clip.audio_folder import resample_folder
print(resample_folder(Path({str(source)!r}), Path({str(target)!r}), 16000, 1, progress=False)[0])
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


# clips loaded from files

RATE = 1000


def ramp(path: Path, seconds: float) -> Path:
    """A recording whose samples say where they are: sample n is n / 32768 (16 bits hold it exactly)."""
    write_audio(path, np.arange(round(seconds * RATE), dtype=np.float32) / 32768, RATE)
    return path


def samples(audio: np.ndarray) -> list[int]:
    return np.rint(audio * 32768).astype(int).tolist()


@pytest.fixture
def long_clip(tmp_path: Path) -> Clip:
    events = (Event(0.0, 25.0, "Cat"), Event(1.0, 1.5, "Dog"))
    return Clip("long", ramp(tmp_path / "long.wav", 25), 25.0, events, ("Cat", "Dog"))


def test_short_clip_is_padded_at_the_end(tmp_path: Path) -> None:
    clip = Clip("a", ramp(tmp_path / "a.wav", 4), 4.0, (Event(3.0, 4.115, "Dog"),), ("Dog",), synthetic=True)
    loaded, audio = ClipFiles([clip], RATE, 10.0).load(0, 0)
    assert audio.shape == (10 * RATE,)
    assert audio.dtype == np.float32
    assert samples(audio) == [*range(4000), *([0] * 6000)]
    assert loaded == clip


def test_long_clip_is_cropped_at_its_start_in_evaluation(long_clip: Clip) -> None:
    subset: Subset = ClipFiles([long_clip], RATE, 10.0)
    loaded, audio = subset.load(0, 7)
    assert samples(audio) == list(range(10000))
    assert loaded.events == (Event(0.0, 10.0, "Cat"), Event(1.0, 1.5, "Dog"))
    assert loaded.duration == 10.0


def test_random_crop_moves_labels_along(long_clip: Clip) -> None:
    subset = ClipFiles([long_clip], RATE, 10.0, random_crop=True, seed=3)
    starts = []
    for epoch in range(60):
        loaded, audio = subset.load(0, epoch)
        heard = samples(audio)
        assert heard == list(range(heard[0], heard[0] + 10000))
        starts.append(heard[0])
        start = heard[0] / RATE
        dog = [event for event in loaded.events or () if event.event_label == "Dog"]
        if start < 1.5:
            assert dog[0].onset == pytest.approx(max(0, 1 - start))
            assert dog[0].offset == pytest.approx(1.5 - start)
            assert loaded.event_labels == ("Cat", "Dog") or dog[0].onset == 0
        else:
            assert not dog
            assert loaded.event_labels == ("Cat",)
    assert min(starts) < 3000
    assert max(starts) > 12000
    assert max(starts) <= 15000


def test_crop_depends_on_seed_index_and_epoch_only(long_clip: Clip) -> None:
    def start(seed: int, index: int, epoch: int) -> int:
        return samples(ClipFiles([long_clip, long_clip], RATE, 10.0, True, seed).load(index, epoch)[1])[0]

    assert start(1, 0, 5) == start(1, 0, 5)
    assert len({start(1, 0, 5), start(2, 0, 5), start(1, 1, 5), start(1, 0, 6)}) == 4


def test_weak_and_unlabelled_clips_keep_what_they_have(tmp_path: Path, long_clip: Clip) -> None:
    weak = Clip("weak", long_clip.path, 25.0, None, ("Dog",))
    unlabelled = Clip("unlabelled", long_clip.path, 25.0)
    subset = ClipFiles([weak, unlabelled], RATE, 10.0, random_crop=True)
    assert (subset.load(0, 0)[0].events, subset.load(0, 0)[0].event_labels) == (None, ("Dog",))
    assert (subset.load(1, 0)[0].events, subset.load(1, 0)[0].event_labels) == (None, None)


def test_a_bad_file_is_named_when_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"a\.wav: cannot be read as audio"):
        ClipFiles([Clip("a", tmp_path / "a.wav", 10.0)], RATE, 10.0).load(0, 0)


def test_labels_of_events() -> None:
    assert labels_of([Event(3, 4, "Dog"), Event(1, 2, "Cat"), Event(0.5, 1, "Dog")]) == ("Dog", "Cat")
