"""The embedded corpus: DESED in small, from procedural sounds; nothing is downloaded.

Class shares, co-occurrence and durations follow DESED, so that what makes it unbalanced is there: two events in five
are Speech, four classes last nearly the whole clip, and the classes have 56 to 190 recordings behind them, scaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sed_lab.bank import recording
from sed_lab.bank.base import CachedBank
from sed_lab.bank.making import Banks, code_of, sizes_of, soundscape_corpus
from sed_lab.bank.procedural import backgrounds, bank, dsp, machines, textures, voices
from sed_lab.bank.procedural.bank import ProceduralBank
from sed_lab.bank.soundscape import Occurrence, Specification, distribution, occurrence
from sed_lab.dataset.desed import CLASSES, DESED_SOURCE_CLIPS
from sed_lab.errors import InputError
from sed_lab.types import Corpus

# DESED's event_occurences_train.json (turpaultn/DESED 0686178), variants for cut events averaged: every class heads a
# tenth of the soundscapes, followed by up to so many other events, of each class in so many percent.
_MOST = (13, 8, 9, 12, 14, 5, 14, 10, 14, 5)
_PERCENT = (
    (50, 0, 2, 1, 5, 0, 0, 2, 40, 0),  # Alarm_bell_ringing
    (0, 27, 0, 14, 0, 0, 1, 2, 55, 1),  # Blender
    (2, 0, 60, 2, 5, 0, 0, 1, 30, 0),  # Cat
    (0, 2, 1, 53, 0, 0, 6, 2, 36, 0),  # Dishes
    (1, 0, 2, 1, 58, 0, 0, 1, 36, 1),  # Dog
    (2, 0, 0, 0, 0, 27, 0, 0, 71, 0),  # Electric_shaver_toothbrush
    (0, 1, 0, 44, 0, 0, 8, 0, 47, 0),  # Frying
    (2, 1, 1, 14, 2, 0, 0, 34, 46, 0),  # Running_water
    (5, 2, 5, 16, 11, 1, 3, 2, 54, 1),  # Speech
    (0, 2, 0, 0, 19, 0, 0, 0, 59, 20),  # Vacuum_cleaner
)


def desed_occurrence() -> Occurrence:
    """Which of DESED's classes meet, and how often."""
    table = {}
    for name, most, percent in zip(CLASSES, _MOST, _PERCENT, strict=True):
        beside = {"max_events": most, "classes": CLASSES, "probas": [share / 100 for share in percent]}
        table[name] = {"proba": 0.1, "co-occurences": beside}
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
    given = (sizes, bank_share, snr, real_snr, empty_share, sample_rate, clip_seconds, live, seed)
    return desed_soundscapes(Path(folder), "mini_desed", *given, recorded=False)


def desed_soundscapes(
    folder: Path,
    name: str,
    sizes: Mapping[str, int],
    bank_share: float,
    snr: Sequence[Any],
    real_snr: Sequence[Any],
    empty_share: float,
    sample_rate: int,
    clip_seconds: float,
    live: bool,
    seed: int,
    recorded: bool,
) -> Corpus:
    """The corpus called ``name`` of `mini_desed`'s soundscapes, those of the real domain kept as recordings of them
    where ``recorded`` (`sed_lab.bank.recording`).

    Raises:
        InputError: as `mini_desed`.
    """
    if not 0 < bank_share <= 1:
        raise InputError(f"dataset.bank_share={bank_share} must be above 0 and at most 1")
    level, real_level = distribution(snr, "snr"), distribution(real_snr, "real_snr")
    settings = {"sizes": sizes_of(sizes), "bank_share": bank_share, "snr": list(snr), "real_snr": list(real_snr)}
    settings |= {"empty_share": empty_share, "sample_rate": sample_rate, "clip_seconds": clip_seconds, "seed": seed}
    settings["bank_code"] = code_of(bank, dsp, backgrounds, machines, textures, voices)
    settings |= {"recorded": code_of(recording)} if recorded else {}
    train = {name: max(4, round(bank_share * count)) for name, count in DESED_SOURCE_CLIPS.items()}

    def open_banks() -> Banks:
        def domain(name: str) -> CachedBank:
            instances: dict[str, int | Mapping[str, int]] = {"train": train, "validation": 12, "test": 16}
            return CachedBank(ProceduralBank(CLASSES, name, sample_rate, seed, instances))

        meets = desed_occurrence()
        synthetic = Specification(meets, clip_seconds, snr=level)
        real = Specification(meets, clip_seconds, snr=real_level, empty_share=empty_share)
        return Banks(domain("synthetic"), domain("real"), synthetic, real, train, recorded)

    return soundscape_corpus(folder, name, settings, open_banks, live)
