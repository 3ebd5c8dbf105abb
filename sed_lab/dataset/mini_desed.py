"""The embedded corpus: DESED in small, from procedural sounds; nothing is downloaded.

Class shares, co-occurrence and durations follow DESED, so that what makes it unbalanced is there: two events in five
are Speech, four classes last nearly the whole clip, and the classes have 56 to 190 recordings behind them, scaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sed_lab.bank.base import CachedBank
from sed_lab.bank.making import Banks, code_of, sizes_of, soundscape_corpus
from sed_lab.bank.procedural import backgrounds, bank, dsp, machines, textures, voices
from sed_lab.bank.procedural.bank import ProceduralBank
from sed_lab.bank.soundscape import Occurrence, Specification, distribution, occurrence
from sed_lab.dataset.desed import CLASSES, DESED_SOURCE_CLIPS
from sed_lab.errors import InputError
from sed_lab.types import Corpus

# DESED's event_occurences_train.json (turpaultn/DESED 0686178), variants for cut events averaged: every class heads a
# tenth of the soundscapes, followed by up to so many other events of these classes.
_MEETS: dict[str, tuple[int, dict[str, float]]] = {
    "Alarm_bell_ringing": (
        13,
        {"Alarm_bell_ringing": 0.5, "Cat": 0.02, "Dishes": 0.01, "Dog": 0.05, "Running_water": 0.02, "Speech": 0.4},
    ),
    "Blender": (
        8,
        {
            "Blender": 0.27,
            "Dishes": 0.14,
            "Frying": 0.01,
            "Running_water": 0.02,
            "Speech": 0.55,
            "Vacuum_cleaner": 0.01,
        },
    ),
    "Cat": (
        9,
        {"Alarm_bell_ringing": 0.02, "Cat": 0.6, "Dishes": 0.02, "Dog": 0.05, "Running_water": 0.01, "Speech": 0.3},
    ),
    "Dishes": (
        12,
        {"Blender": 0.02, "Cat": 0.01, "Dishes": 0.53, "Frying": 0.06, "Running_water": 0.02, "Speech": 0.36},
    ),
    "Dog": (
        14,
        {"Alarm_bell_ringing": 0.01, "Cat": 0.02, "Dishes": 0.01, "Dog": 0.58, "Running_water": 0.01, "Speech": 0.36}
        | {"Vacuum_cleaner": 0.01},
    ),
    "Electric_shaver_toothbrush": (5, {"Alarm_bell_ringing": 0.02, "Electric_shaver_toothbrush": 0.27, "Speech": 0.71}),
    "Frying": (14, {"Blender": 0.01, "Dishes": 0.44, "Frying": 0.08, "Speech": 0.47}),
    "Running_water": (
        10,
        {"Alarm_bell_ringing": 0.02, "Blender": 0.01, "Cat": 0.01, "Dishes": 0.14, "Dog": 0.02, "Running_water": 0.34}
        | {"Speech": 0.46},
    ),
    "Speech": (
        14,
        {"Alarm_bell_ringing": 0.05, "Blender": 0.02, "Cat": 0.05, "Dishes": 0.16, "Dog": 0.11, "Frying": 0.03}
        | {"Electric_shaver_toothbrush": 0.01, "Running_water": 0.02, "Speech": 0.54, "Vacuum_cleaner": 0.01},
    ),
    "Vacuum_cleaner": (5, {"Blender": 0.02, "Dog": 0.19, "Speech": 0.59, "Vacuum_cleaner": 0.2}),
}


def desed_occurrence() -> Occurrence:
    """Which of DESED's classes meet, and how often."""
    table = {
        name: {"proba": 0.1, "co-occurences": {"max_events": most, "classes": list(w), "probas": list(w.values())}}
        for name, (most, w) in _MEETS.items()
    }
    return occurrence(table, CLASSES)


def mini_desed(
    folder: Path | str,
    sizes: Mapping[str, int],
    bank_share: float,
    snr: Sequence[Any],
    real_snr: Sequence[Any],
    empty_share: float,
    sample_rate: int,
    clip_seconds: float,
    live: bool,
    seed: int,
) -> Corpus:
    """Soundscapes of DESED's ten classes from procedural sounds, made once below ``folder``.

    The synthetic domain is clean and strongly labelled; the "real" one (weak, unlabelled, weak_validation, validation,
    test) has other timbres, rooms, backgrounds and the lower ``real_snr``. Every split draws its own sounds. A class
    has ``bank_share`` times as many training sounds as DESED's sound bank has recordings of it (Table 1), so their
    imbalance is kept. ``snr``, ``real_snr`` and ``bank_share`` decide how hard it is. ``sizes`` are soundscapes per
    subset; with ``live`` the synthetic subset is mixed anew each epoch.

    Raises:
        InputError: a wrong distribution, size or share; ``folder`` cannot be written to.
    """
    if not 0 < bank_share <= 1:
        raise InputError(f"dataset.bank_share={bank_share} must be above 0 and at most 1")
    levels = {"snr": distribution(snr, "snr"), "real_snr": distribution(real_snr, "real_snr")}
    settings = {
        "sizes": sizes_of(sizes),
        "bank_share": bank_share,
        "snr": list(snr),
        "real_snr": list(real_snr),
        "empty_share": empty_share,
        "sample_rate": sample_rate,
        "clip_seconds": clip_seconds,
        "seed": seed,
        "bank_code": code_of(bank, dsp, backgrounds, machines, textures, voices),
    }
    train = {name: max(4, round(bank_share * count)) for name, count in DESED_SOURCE_CLIPS.items()}

    def open_banks() -> Banks:
        def domain(name: str) -> CachedBank:
            instances: dict[str, int | Mapping[str, int]] = {"train": train, "validation": 12, "test": 16}
            return CachedBank(ProceduralBank(CLASSES, name, sample_rate, seed, instances))

        meets = desed_occurrence()
        synthetic = Specification(meets, clip_seconds, snr=levels["snr"])
        real = Specification(meets, clip_seconds, snr=levels["real_snr"], empty_share=empty_share)
        return Banks(domain("synthetic"), domain("real"), synthetic, real, train)

    return soundscape_corpus(Path(folder), "mini_desed", settings, open_banks, live)
