"""The bank: so many instances of each class and split, in one of two domains, all from one seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import signal

from sed_lab.bank.base import SPLITS
from sed_lab.bank.procedural import backgrounds, machines, textures, voices
from sed_lab.bank.procedural.dsp import Rng, coloured, finished, uniform
from sed_lab.errors import InputError

# Sound model, mean event duration in seconds (Park & Elhilali 2022, Table 1; notes of TUT Rare Sound Events 2017 for
# the last three) and spread of its logarithm.
SOUNDS: dict[str, tuple[Callable[[Rng, float, int, float], np.ndarray], float, float]] = {
    "Alarm_bell_ringing": (machines.alarm_bell, 1.45, 0.6),
    "Blender": (machines.blender, 4.14, 0.5),
    "Cat": (voices.cat, 1.35, 0.4),
    "Dishes": (textures.dishes, 0.66, 0.5),
    "Dog": (voices.dog, 1.13, 0.6),
    "Electric_shaver_toothbrush": (machines.shaver, 8.67, 0.35),
    "Frying": (textures.frying, 9.38, 0.35),
    "Running_water": (textures.running_water, 6.66, 0.5),
    "Speech": (voices.speech, 1.54, 0.55),
    "Vacuum_cleaner": (machines.vacuum, 9.46, 0.35),
    "babycry": (voices.babycry, 2.3, 0.4),
    "glassbreak": (textures.glassbreak, 1.2, 0.35),
    "gunshot": (textures.gunshot, 1.3, 0.35),
}
DESED_TEN = tuple(SOUNDS)[:10]
DOMAINS = ("synthetic", "real")
BACKGROUNDS = {"train": 18, "validation": 6, "test": 12}


class ProceduralBank:
    """Sounds made on demand (implements `sed_lab.bank.base.Bank`).

    The same (seed, domain, split, class, index) gives the same samples in any order and process; splits never share an
    instance. The ``real`` domain shifts the models' parameters and adds a small room, a microphone and compression.

    Args:
        classes: event classes, of `SOUNDS`.
        domain: ``synthetic`` or ``real``.
        sample_rate: Hz.
        seed: of everything.
        instances: number of sounds of a class in each split, one number or one a class.

    Raises:
        InputError: an unknown class, domain or split.
    """

    def __init__(
        self,
        classes: Sequence[str] = DESED_TEN,
        domain: str = "synthetic",
        sample_rate: int = 16000,
        seed: int = 0,
        instances: Mapping[str, int | Mapping[str, int]] | None = None,
    ) -> None:
        if unknown := [name for name in classes if name not in SOUNDS]:
            raise InputError(f"no sound model for {', '.join(unknown)}; there are {', '.join(SOUNDS)}")
        if domain not in DOMAINS:
            raise InputError(f"domain {domain!r} is unknown; use {' or '.join(DOMAINS)}")
        instances = {"train": 40, "validation": 15, "test": 20} if instances is None else instances
        if other := set(instances) - set(SPLITS):
            raise InputError(f"instances name {', '.join(other)}; splits are {', '.join(SPLITS)}")
        self.classes, self.domain, self.sample_rate, self.seed = tuple(classes), domain, sample_rate, seed
        self.instances = dict(instances)

    def event_count(self, split: str, event_label: str) -> int:
        count = self.instances[split]
        return count[event_label] if isinstance(count, Mapping) else count

    def event(self, split: str, event_label: str, index: int) -> np.ndarray:
        """Sound ``index`` of the class: float32 ``[N]``, peak 1, faded at both ends."""
        model, mean, spread = SOUNDS[event_label]
        rng = self._rng(split, list(SOUNDS).index(event_label), index)
        seconds = float(np.clip(mean * np.exp(spread * rng.standard_normal() - spread**2 / 2), 0.3, 25))
        real = self.domain == "real"
        audio = model(rng, seconds, self.sample_rate, uniform(rng, 0.5, 1.5) if real else uniform(rng, -0.3, 0.3))
        return finished(self._recorded(rng, audio) if real else audio, self.sample_rate)

    def background_count(self, split: str) -> int:
        return BACKGROUNDS[split]

    def background(self, split: str, index: int, seconds: float) -> np.ndarray:
        """Background ``index``: float32 ``[N]``, peak 1."""
        rng = self._rng(split, len(SOUNDS), index)
        kind = backgrounds.KINDS[index % len(backgrounds.KINDS)]
        audio = backgrounds.background(rng, seconds, self.sample_rate, kind, 1.0 if self.domain == "real" else 0.0)
        return finished(audio, self.sample_rate, fade=0.001)

    def _rng(self, split: str, kind: int, index: int) -> Rng:
        entropy = [self.seed, DOMAINS.index(self.domain), SPLITS.index(split), kind, index]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))

    def _recorded(self, rng: Rng, audio: np.ndarray) -> np.ndarray:
        """As a phone in a small room hears it: reflections, a coloured response, gentle compression."""
        rate = self.sample_rate
        tail = int(uniform(rng, 0.08, 0.35) * rate)
        room = coloured(rng, tail, 0.6) * np.exp(-6.9 * np.arange(tail) / tail) * uniform(rng, 0.02, 0.08)
        room[0] = 1
        wet = signal.fftconvolve(audio, room)[: len(audio) + tail // 3]
        low, high = uniform(rng, 60, 250), uniform(rng, 4500, 7800)
        wet = signal.sosfilt(signal.butter(1, [low, high], "bandpass", fs=rate, output="sos"), wet)
        drive = uniform(rng, 1, 3)
        return np.tanh(drive * wet / (np.abs(wet).max() + 1e-9)) / np.tanh(drive)
