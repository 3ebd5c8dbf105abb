"""From a soundscape to a recording of it: what real clips have and mixed ones do not, another one for each clip.

Real clips of sound event corpora are videos that people put on the web: heard in a room, by the microphone of a phone,
brought to a level, encoded. Scaper's soundscapes are none of it, and their backgrounds lie at one level.
"""

from __future__ import annotations

import numpy as np
from scipy import signal
from scipy.fft import irfft, next_fast_len, rfft

from sed_lab.bank.mixing import PEAK

RT60 = (0.15, 0.4)  # seconds until the reverberation has fallen by 60 dB
DIRECT = (1.0, 10.0)  # dB of the direct sound over the reverberation
LOW_CUT, HIGH_CUT = (100.0, 325.0), (3500.0, 7000.0)  # Hz of the microphone, 12 dB an octave
TILT = (-3.5, 1.0)  # dB an octave around 1 kHz
PEAKS, PEAK_DB = 3, 6.5  # resonances of the device and their most
NOISE = (-17.0, -4.0)  # dB of the device's noise below the clip
LEVEL = (-28.0, -16.0)  # dB of the clip's RMS, full scale 0
DRIVE = (0.4, 1.5)  # of the limiter
MASKED = (28.0, 43.0)  # dB below the loudest of its band and moment at which the codec leaves a bin out
WINDOW = 512  # samples of the codec


def recorded(audio: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """``audio [N]`` as a phone in a small room records it and a video site keeps it: float32, peak at most `PEAK`.

    Nothing is moved in time: the direct sound stays where it was, and labels with it.
    """
    heard = _filtered(audio, _room(sample_rate, rng), sample_rate, rng)
    heard /= np.sqrt(np.mean(heard**2)) + 1e-9
    noise = signal.lfilter([1], [1, -rng.uniform(0, 0.9)], rng.standard_normal(len(heard)))
    heard += noise / noise.std() * 10 ** (rng.uniform(*NOISE) / 20)
    drive = rng.uniform(*DRIVE)
    encoded = _encoded(np.tanh(drive * heard / 4) * 4 / drive, rng)
    encoded *= 10 ** (rng.uniform(*LEVEL) / 20) / (np.sqrt(np.mean(encoded**2)) + 1e-9)
    return (encoded * min(1.0, PEAK / (np.abs(encoded).max() + 1e-9))).astype(np.float32)


def _room(sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A unit impulse and, 2 to 10 ms later, exponentially falling noise."""
    rt60, direct = rng.uniform(*RT60), rng.uniform(*DIRECT)
    time = np.arange(round(rt60 * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    tail *= 10 ** (-direct / 20) / np.sqrt(np.sum(tail**2))
    return np.concatenate(([1.0], np.zeros(round(rng.uniform(0.002, 0.010) * sample_rate) - 1), tail))


def _filtered(audio: np.ndarray, room: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    n = next_fast_len(len(audio) + len(room) - 1, real=True)
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / sample_rate), 20)
    octaves = np.log2(frequency / 1000)
    gain = rng.uniform(*TILT) * octaves
    gain -= 10 * np.log10(1 + (rng.uniform(*LOW_CUT) / frequency) ** 4)
    gain -= 10 * np.log10(1 + (frequency / rng.uniform(*HIGH_CUT)) ** 4)
    for _ in range(PEAKS):
        centre, width = rng.uniform(-2, 2), rng.uniform(0.2, 0.6)
        gain += rng.uniform(-PEAK_DB, PEAK_DB) * np.exp(-0.5 * ((octaves - centre) / width) ** 2)
    return irfft(rfft(audio, n) * rfft(room, n) * 10 ** (gain / 20), n)[: len(audio)]


def _encoded(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Without the bins that a louder one nearby hides, as codecs of low rates leave them out."""
    _, _, bins = signal.stft(audio, nperseg=WINDOW, padded=True)
    power = np.abs(bins) ** 2
    around = 2 * (WINDOW // 32) + 1
    loudest = np.lib.stride_tricks.sliding_window_view(np.pad(power, ((around // 2,) * 2, (0, 0))), around, 0).max(2)
    bins[power < loudest * 10 ** (-rng.uniform(*MASKED) / 10)] = 0
    return signal.istft(bins, nperseg=WINDOW)[1][: len(audio)]
