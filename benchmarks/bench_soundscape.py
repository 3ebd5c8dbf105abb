"""10 s soundscapes drawn, mixed and written at 16 kHz on one core, beside a plain loop that does the same work.

The plain loop is what one writes first (and what Scaper does inside): open the source files of each soundscape, scale
them by their RMS, add them up, write with soundfile. Both read the same sources from disk for the first time here.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sed_lab.bank.base import CachedBank
from sed_lab.bank.folder import FolderBank
from sed_lab.bank.mixing import mix, write_wav
from sed_lab.bank.soundscape import Recipe, Specification, draw_recipe, even_occurrence

RATE, SECONDS, CLIPS = 16000, 10, 800
CLASSES = {"Dog": 1.1, "Speech": 1.5, "Dishes": 0.7, "Running_water": 6.7, "Frying": 11.0}  # seconds


def run() -> dict[str, Any]:
    """Soundscapes per second, ours and the plain loop's; the same recipes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_sources(folder / "bank")
        began = time.perf_counter()
        bank = FolderBank(folder / "bank", sample_rate=RATE)
        opening = time.perf_counter() - began
        specification = Specification(even_occurrence(bank.classes, max_events=9), SECONDS)
        recipes = [draw_recipe(specification, bank, "train", "synthetic", i, 0) for i in range(CLIPS // 8)]
        plain = _plain_loop(bank, recipes, folder / "plain")
        cached = CachedBank(bank)
        cold = _ours(cached, specification, folder / "cold")
        warm = _ours(cached, specification, folder / "warm")
        events = float(np.mean([len(recipe.events) for recipe in recipes]))
    row = {"what": "10 s soundscapes mixed and written, one core", "unit": "1/s", "name": "plain loop over files"}
    return {
        "rows": [{**row, "ours": cold, "peer": plain, "limit": 400}],
        "ours_with_sources_in_memory": warm,
        "opening_the_bank_s": opening,
        "events_per_soundscape": events,
    }


def _write_sources(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for label, seconds in {**CLASSES, "noise": 10.0}.items():
        (folder / label).mkdir(parents=True)
        for i in range(30):
            sound = 0.1 * rng.standard_normal(round(seconds * RATE)).astype(np.float32)
            soundfile.write(folder / label / f"{label}{i}.wav", sound, RATE, subtype="PCM_16")


def _ours(bank: CachedBank, specification: Specification, folder: Path) -> float:
    folder.mkdir()
    buffer = np.empty(SECONDS * RATE, dtype=np.float32)
    began = time.perf_counter()
    for index in range(CLIPS):
        recipe = draw_recipe(specification, bank, "train", "synthetic", index, 0)
        audio, _ = mix(recipe, bank, out=buffer)
        write_wav(folder / f"{index}.wav", audio, RATE)
    return CLIPS / (time.perf_counter() - began)


def _plain_loop(bank: FolderBank, recipes: list[Recipe], folder: Path) -> float:
    folder.mkdir()
    began = time.perf_counter()
    for number, recipe in enumerate(recipes):
        length = SECONDS * RATE
        start = round(recipe.background_start_ms * RATE / 1000)
        background = bank.background(recipe.split, recipe.background, 2 * SECONDS)[start : start + length]
        mixture = background / np.sqrt(np.mean(background**2)) * 10 ** (recipe.ref_db / 20)
        for e in recipe.events:
            begin, n = round(e.start_ms * RATE / 1000), round(e.duration_ms * RATE / 1000)
            sound = bank.event(recipe.split, e.event_label, e.index)[begin : begin + n]
            sound = sound / np.sqrt(np.mean(sound**2)) * 10 ** ((recipe.ref_db + e.snr) / 20)
            onset = round(e.onset_ms * RATE / 1000)
            mixture = mixture + np.pad(sound, (onset, length - onset - len(sound)))
        mixture = mixture / max(1.0, np.abs(mixture).max())
        soundfile.write(folder / f"{number}.wav", mixture, RATE)
    return len(recipes) / (time.perf_counter() - began)


if __name__ == "__main__":
    print(run())
