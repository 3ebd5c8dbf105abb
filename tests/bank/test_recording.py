"""A recording of a soundscape: nothing moves in time, levels and bands are those of a device, each clip has its own."""

from __future__ import annotations

import numpy as np

from sed_lab.bank.mixing import PEAK
from sed_lab.bank.recording import LEVEL, recorded

RATE = 16000


def soundscape(seed: int = 0) -> np.ndarray:
    """Background at -50 dB with a burst of 0.5 s at 4 s, 20 dB above it."""
    rng = np.random.default_rng(seed)
    audio = 10 ** (-50 / 20) * rng.standard_normal(10 * RATE)
    audio[4 * RATE : 4 * RATE + RATE // 2] *= 10
    return audio.astype(np.float32)


def test_a_recording_is_as_long_has_another_level_and_the_same_onset() -> None:
    for seed in range(5):
        audio = soundscape()
        before = audio.copy()
        found = recorded(audio, RATE, np.random.default_rng(seed))
        assert np.array_equal(audio, before)
        assert (found.shape, found.dtype) == (audio.shape, np.float32)
        assert np.abs(found).max() <= PEAK
        assert LEVEL[0] - 0.1 <= 20 * np.log10(found.std()) <= LEVEL[1] + 0.1
        energy = np.square(found).reshape(-1, RATE // 100).sum(1)
        onset = int(np.flatnonzero(energy > 4 * np.median(energy))[0])
        assert abs(onset - 400) <= 2  # frames of 10 ms


def test_what_lies_beside_the_loudest_is_left_out() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(4 * RATE) / RATE)
    rng = np.random.default_rng(0)
    noise = 1e-3 * rng.standard_normal(len(tone))

    def beside(audio: np.ndarray) -> float:  # the band 100 Hz beside the tone, to the tone, in dB
        power = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
        hertz = np.fft.rfftfreq(len(audio), 1 / RATE)
        return float(10 * np.log10(power[(hertz > 1080) & (hertz < 1200)].mean() / power.max()))

    from sed_lab.bank.recording import _encoded

    assert beside(_encoded(tone + noise, rng)) < beside(tone + noise) - 10


def test_devices_differ_from_clip_to_clip_and_the_same_draws_give_the_same_samples() -> None:
    def spectrum(seed: int) -> np.ndarray:
        found = recorded(soundscape(), RATE, np.random.default_rng(seed))
        power = np.abs(np.fft.rfft(found)) ** 2
        return 10 * np.log10([part.mean() for part in np.array_split(power, 16)])

    assert np.array_equal(spectrum(1), spectrum(1))
    spectra = np.stack([spectrum(seed) for seed in range(8)])
    spectra -= spectra.mean(1, keepdims=True)
    assert spectra.std(0).max() > 2  # dB
    assert spectra[:, -1].mean() < spectra[:, 4].mean() - 3  # nothing of it hears the highest band well
