"""The procedural bank: reproducible in any process, splits apart, each class what it should be, two domains."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from scipy import signal

from sed_lab.bank.procedural.bank import DESED_TEN, DOMAINS, SOUNDS, SPLITS, ProceduralBank
from sed_lab.errors import InputError

RATE = 16000
BANKS = {domain: ProceduralBank(tuple(SOUNDS), domain) for domain in DOMAINS}


def digest(audio: np.ndarray) -> str:
    return hashlib.sha256(audio.tobytes()).hexdigest()


def spectrum(audio: np.ndarray) -> np.ndarray:
    _, density = signal.welch(audio, RATE, nperseg=512)
    return density + 1e-12


def flatness(audio: np.ndarray) -> float:
    density = spectrum(audio)
    return float(np.exp(np.log(density).mean()) / density.mean())


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("label", SOUNDS)
def test_every_sound_is_finite_peaks_at_one_and_fades(domain: str, label: str) -> None:
    for index in range(2):
        audio = BANKS[domain].event("train", label, index)
        assert audio.dtype == np.float32
        assert np.isfinite(audio).all()
        assert np.abs(audio).max() == pytest.approx(1, abs=1e-6)
        assert np.abs(audio[:8]).max() < 0.1
        assert np.abs(audio[-8:]).max() < 0.1
        assert 0.3 * RATE <= len(audio) < 26 * RATE
        assert audio.std() > 0.01


def test_same_samples_in_another_process_and_order() -> None:
    code = (
        "import hashlib; from sed_lab.bank.procedural.bank import ProceduralBank as B\n"
        "b = B(('Dog', 'Speech'), 'real', seed=5); b.event('test', 'Speech', 3); b.background('train', 2, 1.0)\n"
        "print(hashlib.sha256(b.event('train', 'Dog', 7).tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert digest(ProceduralBank(("Dog",), "real", seed=5).event("train", "Dog", 7)) == other


def test_splits_domains_seeds_and_indices_share_no_sound() -> None:
    seen = [digest(BANKS[d].event(s, "Dishes", i)) for d in DOMAINS for s in SPLITS for i in range(4)]
    seen += [digest(ProceduralBank(("Dishes",), seed=1).event("train", "Dishes", i)) for i in range(4)]
    seen += [digest(BANKS[d].background(s, i, 1.0)) for d in DOMAINS for s in SPLITS for i in range(4)]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("label", DESED_TEN)
def test_mean_duration_follows_table_1(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Park & Elhilali 2022, Table 1, last column; the model is replaced by silence of the drawn length: 400 draws.
    expected = [1.45, 4.14, 1.35, 0.66, 1.13, 8.67, 9.38, 6.66, 1.54, 9.46][DESED_TEN.index(label)]
    _, mean, spread = SOUNDS[label]
    monkeypatch.setitem(SOUNDS, label, (lambda rng, seconds, rate, shift: np.ones(int(seconds * rate)), mean, spread))
    bank = ProceduralBank((label,), instances={"train": 400})
    lengths = [len(bank.event("train", label, i)) / RATE for i in range(400)]
    assert np.mean(lengths) == pytest.approx(expected, rel=0.15)
    assert np.std(lengths) > 0.2 * expected


def test_classes_sound_as_they_should() -> None:
    def mean(label: str, measure) -> float:  # type: ignore[no-untyped-def]
        return float(np.mean([measure(BANKS["synthetic"].event("train", label, i)) for i in range(6)]))

    assert mean("Alarm_bell_ringing", flatness) < 0.1 * mean("Frying", flatness)
    assert mean("Cat", flatness) < mean("Running_water", flatness)

    def high_share(audio: np.ndarray) -> float:
        density = spectrum(audio)
        return float(density[len(density) // 3 :].sum() / density.sum())

    assert mean("Frying", high_share) > 0.3
    assert mean("Blender", high_share) < mean("Frying", high_share)
    assert mean("gunshot", lambda a: float(np.abs(a[: len(a) // 4]).sum() / np.abs(a).sum())) > 0.5


def test_a_barks_pitch_falls() -> None:
    def pitch(piece: np.ndarray) -> float:
        correlation = signal.correlate(piece, piece, method="fft")[len(piece) - 1 :]
        lags = np.arange(RATE // 700, RATE // 120)
        return RATE / float(lags[np.argmax(correlation[lags])])

    falls = 0
    for index in range(12):
        bark = BANKS["synthetic"].event("train", "Dog", index)[: int(0.15 * RATE)].astype(float)
        falls += pitch(bark[200:1100]) > pitch(bark[1300:2200])
    assert falls >= 8


def test_domains_differ_but_keep_the_meaning() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(domain: str, split: str) -> tuple[np.ndarray, list[str]]:
        rows, labels = [], []
        for label in ("Alarm_bell_ringing", "Blender", "Cat", "Dishes", "Dog", "Frying", "Running_water", "Speech"):
            for index in range(10):
                _, _, image = signal.spectrogram(
                    BANKS[domain].event(split, label, index)[: 3 * RATE], RATE, nperseg=512
                )
                bands = np.log(np.stack([part.sum(axis=0) for part in np.array_split(image, 24)]) + 1e-8)
                rows.append(np.concatenate([bands.mean(axis=1), bands.std(axis=1)]))
                labels.append(label)
        return np.stack(rows), labels

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(*features("synthetic", "train"))
    same, other = (model.score(*features(domain, "test")) for domain in DOMAINS)
    assert same > 0.8
    assert 1.5 / 8 < other < same - 0.05


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="no sound model for Dragon; there are Alarm_bell_ringing"):
        ProceduralBank(("Dragon",))
    with pytest.raises(InputError, match="domain 'lunar' is unknown"):
        ProceduralBank(domain="lunar")
    with pytest.raises(InputError, match="instances name dev; splits are train"):
        ProceduralBank(instances={"dev": 3})
