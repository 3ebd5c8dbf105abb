"""The front end against librosa, and its edges."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from sed_lab.errors import InputError
from tests.configured import configured

LogMel = configured("feature/log_mel")


def noise(seconds: float, clips: int = 2, rate: int = 16000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    audio = torch.randn(clips, int(seconds * rate), generator=generator) * 0.1
    return audio * torch.linspace(0, 1, audio.shape[1])  # from silence up, so that floors matter


def librosa_mel(audio: torch.Tensor, *, norm: str | None, htk: bool, power: float, window: np.ndarray) -> np.ndarray:
    spectrum = librosa.stft(
        audio.numpy().astype(np.float64), n_fft=2048, hop_length=256, window=window, center=True, pad_mode="reflect"
    )
    filters = librosa.filters.mel(
        sr=16000, n_fft=2048, n_mels=128, fmin=0, fmax=8000, htk=htk, norm=norm, dtype=np.float64
    )
    return np.swapaxes(filters @ np.abs(spectrum) ** power, -1, -2)


def test_baseline_settings_agree_with_librosa() -> None:
    audio = noise(1.0)
    window = np.hamming(2048)  # numpy's is the symmetric one
    mel = librosa_mel(audio, norm=None, htk=True, power=1, window=window)
    feature = LogMel()
    np.testing.assert_allclose(feature.mel(audio).numpy(), mel, rtol=1e-3, atol=1e-4)
    decibel = np.clip(20 * np.log10(np.maximum(mel, 1e-5)), -50, 80)
    low, high = decibel.min((1, 2), keepdims=True), decibel.max((1, 2), keepdims=True)
    np.testing.assert_allclose(feature(audio).numpy(), (decibel - low) / (high - low), atol=1e-4)


def test_the_natural_logarithm_at_44_khz_agrees_with_librosa() -> None:
    """Huang et al. 2021: frames of 40 ms every 20 ms, zeros beyond the ends, 500 of them in 10 s."""
    audio = noise(2.0, clips=1, rate=44100)
    feature = LogMel(
        44100, 2048, 1764, 882, 64, 0.0, 22050.0, "hann", True, 1.0, 2.2e-16, scaler="natural", mel_scale="slaney",
        mel_norm="slaney", pad_mode="constant", last_frame=False,
    )  # fmt: skip
    assert feature.frames(441000) == 500
    mel = librosa.feature.melspectrogram(
        y=audio[0].double().numpy(), sr=44100, n_fft=2048, hop_length=882, win_length=1764, window="hann", center=True,
        pad_mode="constant", power=1.0, n_mels=64, fmin=0.0, fmax=22050.0,
    )  # fmt: skip
    found = feature(audio)[0].double().numpy()
    assert found.shape == (100, 64)
    np.testing.assert_allclose(np.exp(found), mel.T[:100] + 2.2e-16, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found[10:], np.log(mel.T[10:100] + 2.2e-16), atol=2e-3)
    with pytest.raises(InputError, match=r"feature.pad_mode='wrap' is unknown; use one of reflect, constant"):
        LogMel(pad_mode="wrap")


def test_slaney_filters_energies_and_a_periodic_window_agree_with_librosa() -> None:
    audio = noise(0.5)
    feature = LogMel(window="hann", periodic=True, power=2, mel_scale="slaney", mel_norm="slaney", scaler="none")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    mel = librosa_mel(audio, norm="slaney", htk=False, power=2, window=window)
    np.testing.assert_allclose(feature.mel(audio).numpy(), mel, rtol=1e-3, atol=1e-6)
    expected = np.clip(10 * np.log10(np.maximum(mel, 1e-5)), -50, 80)
    np.testing.assert_allclose(feature(audio).numpy(), expected, atol=1e-2)


def test_ten_seconds_give_626_frames_of_16_ms() -> None:
    feature = LogMel()
    assert feature(noise(10.0, clips=1)).shape == (1, 626, 128)
    assert feature.frames(160000) == 626
    assert feature.hop_seconds == 0.016
    assert (feature.n_mels, feature.hop_length, feature.sample_rate) == (128, 256, 16000)


def test_every_clip_is_scaled_by_itself() -> None:
    audio = noise(0.5, clips=3)
    feature = LogMel()
    together = feature(audio)
    for clip, alone in zip(together, audio, strict=True):
        torch.testing.assert_close(clip, feature(alone[None])[0])
        assert clip.min() == 0
        assert clip.max() == pytest.approx(1)


def test_silence_is_zero_and_not_nan() -> None:
    assert torch.equal(LogMel()(torch.zeros(1, 8000)), torch.zeros(1, 32, 128))


def test_decibels_are_clamped() -> None:
    feature = LogMel(scaler="none")
    mel = torch.tensor([[[0.0, 1e-5, 1.0, 1e9]]])
    assert feature.scale(mel).flatten().tolist() == pytest.approx([-50, -50, 0, 80])
    assert LogMel(scaler="none", db_range=None).scale(mel).flatten().tolist() == pytest.approx([-100, -100, 0, 180])


def test_half_precision_regions_do_not_reach_the_front_end() -> None:
    audio = noise(0.5)
    feature = LogMel()
    expected = feature(audio)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(feature(audio), expected)


def test_checkpoints_hold_nothing_of_it() -> None:
    assert LogMel().state_dict() == {}


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match=r"feature.window='kaiser' is unknown; use one of hamming, hann"):
        LogMel(window="kaiser")
    with pytest.raises(InputError, match=r"feature.scaler='standard' is unknown; use one of clip_minmax, none"):
        LogMel(scaler="standard")
    with pytest.raises(InputError, match=r"feature.win_length=4096 and hop_length=256 do not fit n_fft=2048"):
        LogMel(win_length=4096)
    with pytest.raises(InputError, match=r"feature.f_min=0.0 and f_max=8000.0 do not fit sample_rate=8000"):
        LogMel(sample_rate=8000)


@pytest.mark.parametrize(
    ("n_fft", "n_mels", "f_max"), [(2048, 40, 3000.0), (256, 128, None), (512, 16, 8000.0), (64, 5, None)]
)
@pytest.mark.filterwarnings("ignore:At least one mel filterbank has all zero values")
def test_products_in_bands_are_the_product_with_all_filters(n_fft: int, n_mels: int, f_max: float | None) -> None:
    """Also where mel bins do not divide evenly, where some of them hold no bin at all, and beyond the last filter."""
    feature = LogMel(n_fft=n_fft, win_length=n_fft, hop_length=n_fft // 4, n_mels=n_mels, f_max=f_max)
    audio = noise(0.5)
    given = (n_fft, n_fft // 4, n_fft, feature.window_samples.double())
    spectrum = torch.stft(audio.double(), *given, center=True, pad_mode="reflect", return_complex=True).abs()
    whole = torch.einsum("bkf,km->bfm", spectrum, feature.mel_filters.double())
    assert bool((whole == 0).all(dim=(0, 1)).any()) == (n_fft == 256)  # filters between two bins
    torch.testing.assert_close(feature.mel(audio).double(), whole, rtol=1e-4, atol=1e-5)
