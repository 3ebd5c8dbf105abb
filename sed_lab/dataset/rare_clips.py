"""Weakly labelled ten-second clips of rare events among others: the embedded stand-in for AudioSet's dog barks, baby
cries and gun shots (Arora et al. 2019, section 4), and the same from any bank of recordings.

A clip holds one of the rare classes or, as background, none of them; in either there may be other sounds, which are
never labelled. How many clips of each class a subset has is said, not drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sed_lab.bank import folder as folder_bank
from sed_lab.bank.base import Bank, CachedBank
from sed_lab.bank.folder import FolderBank
from sed_lab.bank.making import Made, Part, code_of, made_corpus, source_seconds
from sed_lab.bank.procedural import backgrounds, bank, dsp, machines, textures, voices
from sed_lab.bank.procedural.bank import ProceduralBank
from sed_lab.bank.soundscape import Occurrence, Specification, distribution
from sed_lab.errors import InputError
from sed_lab.types import Corpus

BACKGROUND = "background"  # the key of clips without a rare event
CLASSES = ("Dog", "babycry", "gunshot")
OTHERS = ("Speech", "Cat", "Dishes", "Alarm_bell_ringing", "glassbreak", "Running_water", "Blender")
SPLITS = {"weak": "train", "weak_validation": "validation", "test": "test"}


def mini_rare_clips(
    folder: Path | str,
    counts: Mapping[str, Mapping[str, int]],
    instances: Mapping[str, int],
    snr: Sequence[Any],
    others: int,
    sample_rate: int,
    clip_seconds: float,
    seed: int,
) -> Corpus:
    """Clips of procedural sounds, made once below ``folder``.

    Args:
        counts: clips of each class, `BACKGROUND` included, in each of ``weak``, ``weak_validation`` and ``test``.
        instances: sounds of a class in the bank's train, validation and test splits.
        snr: dB of an event over the background; decides how hard it is.
        others: at most so many other sounds beside the rare one.

    Raises:
        InputError: an unknown subset or class, a count that is no whole number, a wrong distribution; ``folder``
            cannot be written to.
    """
    level = distribution(snr, "snr")
    code = code_of(bank, dsp, backgrounds, machines, textures, voices)
    settings = _settings(counts, CLASSES, snr, others, sample_rate, clip_seconds, seed)
    settings |= {"instances": dict(instances), "bank_code": code}

    def open_parts() -> Made:
        source = CachedBank(ProceduralBank((*CLASSES, *OTHERS), "real", sample_rate, seed, dict(instances)))
        specification = Specification(_nothing(source.classes), clip_seconds, snr=level)
        return _made(source, CLASSES, counts, specification, others)

    return made_corpus(Path(folder), "mini_rare_clips", settings, open_parts)


def bank_rare_clips(
    folder: Path | str,
    bank_folder: Path | str,
    classes: Sequence[str],
    counts: Mapping[str, Mapping[str, int]],
    folds: Mapping[str, Sequence[int]] | None,
    snr: Sequence[Any],
    others: int,
    sample_rate: int,
    clip_seconds: float,
    seed: int,
) -> Corpus:
    """The same from the recordings of ``bank_folder`` (see `FolderBank`): ``classes`` are rare, all others are not.

    Raises:
        InputError: as `mini_rare_clips` and `FolderBank`; the bank has no class beside the rare ones.
    """
    recordings = FolderBank(Path(bank_folder), None, None, sample_rate, folds, seed=seed)
    source = CachedBank(recordings)
    unknown = [name for name in classes if name not in source.classes]
    if unknown or len(set(classes)) == len(source.classes):
        raise InputError(
            f"dataset.classes={list(classes)}: choose some, not all, of the bank's {', '.join(source.classes)}"
        )
    settings = _settings(counts, classes, snr, others, sample_rate, clip_seconds, seed)
    files = [path for split in SPLITS.values() for path in recordings.paths(split)]
    listing = sorted((path.name, path.stat().st_size) for path in files)
    settings |= {"bank": listing, "folds": folds, "bank_code": code_of(folder_bank)}

    def open_parts() -> Made:
        specification = Specification(_nothing(source.classes), clip_seconds, snr=distribution(snr, "snr"))
        return _made(source, tuple(classes), counts, specification, others)

    return made_corpus(Path(folder), "bank_rare_clips", settings, open_parts, files)


def _settings(counts: Mapping[str, Mapping[str, int]], classes: Sequence[str], *rest: Any) -> dict[str, Any]:
    """What decides the corpus, checked."""
    known = {*classes, BACKGROUND}
    for subset, per_class in counts.items():
        if subset not in SPLITS:
            raise InputError(f"dataset.counts: unknown subset {subset!r}; use {', '.join(SPLITS)}")
        for name, count in per_class.items():
            if name not in known:
                raise InputError(f"dataset.counts.{subset}: unknown class {name!r}; use {', '.join(sorted(known))}")
            if type(count) is not int or count < 0:
                raise InputError(f"dataset.counts.{subset}.{name}={count!r} must be a whole number of clips")
    names = ("snr", "others", "sample_rate", "clip_seconds", "seed")
    values = dict(zip(names, rest, strict=True))
    plain = {subset: dict(per_class) for subset, per_class in counts.items()}
    return {"counts": plain, "classes": list(classes), **values, "snr": list(values["snr"])}


def _nothing(classes: Sequence[str]) -> Occurrence:
    """An occurrence to be filled in class by class."""
    count = len(classes)
    return Occurrence(tuple(classes), np.zeros(count), np.zeros((count, count)), np.ones(count, dtype=int))


def _made(
    source: Bank, rare: tuple[str, ...], counts: Mapping[str, Mapping[str, int]], empty: Specification, others: int
) -> Made:
    parts = []
    for subset, split in SPLITS.items():
        first = 0
        for name in (*rare, BACKGROUND):
            size = counts.get(subset, {}).get(name, 0)
            meets = _around(name, rare, source.classes, others)
            specification = replace(empty, occurrence=meets, empty_share=0.2 if name == BACKGROUND else 0.0)
            if size:
                parts.append(Part(subset, source, split, size, specification, first, rare))
            first += size
    number = {name: source.event_count("train", name) for name in rare}
    return Made(number, source_seconds(source, rare), parts)


def _around(name: str, rare: Sequence[str], classes: Sequence[str], others: int) -> Occurrence:
    """Class ``name``, or for the background any that is not rare, with 0 to ``others`` more that are not rare."""
    plain = np.array([label not in rare for label in classes], dtype=float)
    plain /= plain.sum()
    main = plain if name == BACKGROUND else np.array([float(label == name) for label in classes])
    more = np.full(len(classes), others + 1 if name != BACKGROUND else max(1, others))
    return Occurrence(tuple(classes), main, np.tile(plain, (len(classes), 1)), more)
