"""Recipes into sound: mixed while training, or written to disk. Same recipe and bank, same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from sed_lab.dataset.bank import Bank, CachedBank
from sed_lab.dataset.corpus import labels_of
from sed_lab.dataset.soundscape import Ingredient, Recipe, Specification, draw_recipe
from sed_lab.errors import InputError
from sed_lab.types import Clip, Event

PEAK = 0.99  # full scale is 1; a louder mixture is turned down as a whole, which keeps every SNR
FADE_SECONDS = 0.01  # at both ends of an event, as in Scaper


def mix(recipe: Recipe, bank: Bank) -> tuple[np.ndarray, tuple[Event, ...]]:
    """Audio ``[N]`` (float32, peak at most `PEAK`) and the strong labels of a recipe.

    The background's RMS is ``ref_db``, an event's RMS over its own length ``ref_db + snr`` (dB, full scale 0), both
    before the mixture is turned down to `PEAK` where it would clip.

    Raises:
        InputError: the bank has no such event or background, or it is silent.
    """
    rate = bank.sample_rate
    length, start = _samples(recipe.duration_ms, rate), _samples(recipe.background_start_ms, rate)
    # Twice the clip, so that a background is heard from another place each time.
    background = bank.background(recipe.split, recipe.background, 2 * recipe.duration_ms / 1000)[start : start + length]
    mixture = background * _gain(background, recipe.ref_db, f"background {recipe.background}", recipe)
    for ingredient in recipe.events:
        event = cut_event(ingredient, recipe, bank)
        event *= _gain(event, recipe.ref_db + ingredient.snr, f"{ingredient.event_label} {ingredient.index}", recipe)
        onset = _samples(ingredient.onset_ms, rate)
        mixture[onset : onset + len(event)] += event[: length - onset]
    peak = max(mixture.max(), -mixture.min())
    if peak > PEAK:
        mixture *= np.float32(PEAK / peak)
    return mixture, recipe.labels()


def cut_event(ingredient: Ingredient, recipe: Recipe, bank: Bank) -> np.ndarray:
    """The stretch of the bank's event that a recipe names, faded at both ends: a new array ``[N]``."""
    source = bank.event(recipe.split, ingredient.event_label, ingredient.index)
    start = _samples(ingredient.start_ms, bank.sample_rate)
    event = source[start : start + _samples(ingredient.duration_ms, bank.sample_rate)].copy()
    fade = min(round(FADE_SECONDS * bank.sample_rate), len(event) // 2)
    ramp = (np.arange(fade, dtype=np.float32) + 0.5) / max(1, fade)
    event[:fade] *= ramp
    event[len(event) - fade :] *= ramp[::-1]
    return event


def _samples(milliseconds: int, sample_rate: int) -> int:
    return round(milliseconds * sample_rate / 1000)


def _gain(audio: np.ndarray, level_db: float, what: str, recipe: Recipe) -> np.float32:
    """The factor that brings ``audio`` to an RMS of ``level_db``."""
    power = float(np.dot(audio, audio)) / max(1, len(audio))
    if power <= 0:
        raise InputError(f"soundscape {recipe.clip_id}: {what} of the bank's {recipe.split} split is silent; remove it")
    return np.float32(10 ** (level_db / 20) / power**0.5)


class LiveSoundscapes:
    """Soundscapes mixed while training, new ones each epoch (implements `sed_lab.types.Subset`).

    Those of an epoch depend on (``seed``, ``name``, index, epoch) only, whatever process loads them. ``clips`` are
    those of epoch 0; nothing lies on disk, so their paths name no file.
    """

    def __init__(
        self,
        bank: Bank,
        specification: Specification,
        size: int,
        split: str = "train",
        name: str = "synthetic",
        seed: int = 0,
        synthetic: bool = True,
    ) -> None:
        self.bank = bank if isinstance(bank, CachedBank) else CachedBank(bank)
        self.specification, self.size, self.split, self.name, self.seed = specification, size, split, name, seed
        self.synthetic = synthetic

    def __len__(self) -> int:
        return self.size

    @cached_property
    def clips(self) -> Sequence[Clip]:
        """Clips of epoch 0, with strong labels."""
        return tuple(self._clip(self.recipe(i, 0).labels(), i) for i in range(self.size))

    def recipe(self, index: int, epoch: int) -> Recipe:
        """What is mixed for clip ``index`` in ``epoch``."""
        return draw_recipe(self.specification, self.bank, self.split, self.name, index, self.seed, epoch)

    def load(self, index: int, epoch: int) -> tuple[Clip, np.ndarray]:
        """Clip ``index`` of ``epoch`` and its audio ``[N]``, float32."""
        audio, events = mix(self.recipe(index, epoch), self.bank)
        return self._clip(events, index), audio

    def _clip(self, events: tuple[Event, ...], index: int) -> Clip:
        clip_id = f"{self.name}_{index:06d}"
        return Clip(clip_id, Path(clip_id), self.specification.seconds, events, labels_of(events), self.synthetic)
