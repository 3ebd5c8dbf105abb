"""Recipes into sound: mixed while training, or written to disk. Same recipe and bank, same bytes."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.linalg.blas import saxpy

from sed_lab.bank.base import Bank, CachedBank
from sed_lab.bank.soundscape import Ingredient, Recipe, Specification, draw_recipe
from sed_lab.clip.audio import labels_of
from sed_lab.errors import InputError
from sed_lab.types import Clip, Event

PEAK = 0.99  # full scale is 1; a louder mixture is turned down as a whole, which keeps every SNR
FADE_SECONDS = 0.01  # at both ends of an event, as in Scaper


def mix(recipe: Recipe, bank: Bank, out: np.ndarray | None = None) -> tuple[np.ndarray, tuple[Event, ...]]:
    """Audio ``[N]`` (float32, peak at most `PEAK`) and the strong labels of a recipe.

    The background's RMS is ``ref_db``, an event's RMS over its own length ``ref_db + snr`` (dB, full scale 0), both
    before the mixture is turned down to `PEAK` where it would clip. ``out [N]`` takes the audio where given: the
    pages of a fresh array cost more than the mixing.

    Raises:
        InputError: the bank has no such event or background, or it is silent.
    """
    rate = bank.sample_rate
    length, start = _samples(recipe.duration_ms, rate), _samples(recipe.background_start_ms, rate)
    # Twice the clip, so that a background can start anywhere in it.
    background = bank.background(recipe.split, recipe.background, 2 * recipe.duration_ms / 1000)[start : start + length]
    gain = _gain([background], recipe.ref_db, f"background {recipe.background}", recipe)
    mixture = np.multiply(background, gain, out=out)
    for ingredient in recipe.events:
        first = _samples(ingredient.onset_ms, rate)
        parts = cut_event(ingredient, recipe, bank)
        what = f"{ingredient.event_label} {ingredient.index}"
        gain = _gain(parts, recipe.ref_db + ingredient.snr, what, recipe)
        for part in parts:
            saxpy(part, mixture[first : first + len(part)], a=gain)  # in place: mixture += gain * part
            first += len(part)
    peak = max(mixture.max(), -mixture.min())
    if peak > PEAK:
        mixture *= np.float32(PEAK / peak)
    return mixture, recipe.labels()


def cut_event(ingredient: Ingredient, recipe: Recipe, bank: Bank) -> list[np.ndarray]:
    """The stretch of the bank's event that a recipe names: its faded beginning, its middle, its faded end."""
    source = bank.event(recipe.split, ingredient.event_label, ingredient.index)
    first = _samples(ingredient.start_ms, bank.sample_rate)
    room = _samples(recipe.duration_ms, bank.sample_rate) - _samples(ingredient.onset_ms, bank.sample_rate)
    event = source[first : first + min(room, _samples(ingredient.duration_ms, bank.sample_rate))]
    fade = min(round(FADE_SECONDS * bank.sample_rate), len(event) // 2)
    ramp = (np.arange(fade, dtype=np.float32) + 0.5) / max(1, fade)
    stop = len(event) - fade
    return [part for part in (event[:fade] * ramp, event[fade:stop], event[stop:] * ramp[::-1]) if len(part)]


def _samples(milliseconds: int, sample_rate: int) -> int:
    return round(milliseconds * sample_rate / 1000)


def _gain(parts: Sequence[np.ndarray], level_db: float, what: str, recipe: Recipe) -> float:
    """The factor that brings the parts together to an RMS of ``level_db``."""
    power = sum(float(np.dot(part, part)) for part in parts) / max(1, sum(map(len, parts)))
    if power <= 0:
        raise InputError(f"soundscape {recipe.clip_id}: {what} of the bank's {recipe.split} split is silent; remove it")
    return 10 ** (level_db / 20) / power**0.5


def write_wav(path: Path, audio: np.ndarray, sample_rate: int) -> None:
    """Write ``[N]`` in [-`PEAK`, `PEAK`] as 16 bit PCM; ``audio`` is scaled in place.

    WAV and not FLAC: half of FLAC's bytes would be saved, but reading (each clip, each epoch) takes 3 times and
    writing 5 times as long. Not whole or nothing: for a folder that is put in place when it is complete.
    """
    np.multiply(audio, 32768, out=audio)
    np.rint(audio, out=audio)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, sample_rate, len(audio), "NONE", ""))
        file.writeframesraw(audio.astype("<i2").data)


class LiveSoundscapes:
    """Soundscapes mixed while training, new ones each epoch (implements `sed_lab.types.Subset`).

    Those of an epoch depend on (``seed``, index, epoch) only, whatever process loads them. ``clips`` are those of epoch
    0; nothing lies on disk, so their paths name no file.
    """

    def __init__(self, bank: Bank, specification: Specification, size: int, seed: int = 0) -> None:
        self.bank = bank if isinstance(bank, CachedBank) else CachedBank(bank)
        self.specification, self.size, self.seed = specification, size, seed
        self.clips: Sequence[Clip] = tuple(self._clip(self.recipe(i, 0).labels(), i) for i in range(size))

    def __len__(self) -> int:
        return self.size

    def recipe(self, index: int, epoch: int) -> Recipe:
        """What is mixed for clip ``index`` in ``epoch``."""
        return draw_recipe(self.specification, self.bank, "train", "synthetic", index, self.seed, epoch)

    def load(self, index: int, epoch: int) -> tuple[Clip, np.ndarray]:
        """Clip ``index`` of ``epoch`` and its audio ``[N]``, float32."""
        audio, events = mix(self.recipe(index, epoch), self.bank)
        return self._clip(events, index), audio

    def _clip(self, events: tuple[Event, ...], index: int) -> Clip:
        clip_id = f"synthetic_{index:06d}"
        return Clip(clip_id, Path(clip_id), self.specification.seconds, events, labels_of(events), synthetic=True)
