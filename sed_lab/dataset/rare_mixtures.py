"""Half-minute mixtures with one rare event or none: the embedded stand-in for TUT Rare Sound Events 2017, and the same
from any bank of recordings. Sources are written as that corpus has them, then drawn and mixed by its own recipe.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile
import yaml

from sed_lab.bank import folder as folder_bank
from sed_lab.bank import procedural as _procedural
from sed_lab.bank import recipe as rare_recipe
from sed_lab.bank.base import SPLITS, Bank
from sed_lab.bank.folder import FolderBank
from sed_lab.bank.making import code_of, make_once, marked
from sed_lab.bank.procedural.bank import ProceduralBank
from sed_lab.bank.recipe import CLASSES, SECONDS, write_mixtures
from sed_lab.dataset.tut_rare import mixing_of, mixtures_corpus
from sed_lab.errors import InputError
from sed_lab.files import write_text
from sed_lab.types import Corpus

# Subset of the corpus: the recipe's name for it, the bank's split, and which of the split's sounds (first, step).
SUBSETS = {
    "synthetic": ("devtrain", "train", 0, 1),
    "validation": ("devvalidation", "validation", 0, 1),
    "devtest": ("devtest", "test", 0, 2),
    "test": ("evaltest", "test", 1, 2),
}


def mini_rare_mixtures(
    folder: Path | str,
    mixtures: Mapping[str, Mapping[str, Any]],
    instances: Mapping[str, int],
    sample_rate: int,
    seed: int,
) -> Corpus:
    """Mixtures of procedural baby cries, breaking glass and gun shots, made once below ``folder``.

    Args:
        mixtures: `Mixing`'s arguments for ``synthetic`` (training), ``validation``, ``devtest`` and ``test``; no two
            draw the same sounds.
        instances: sounds of a class in the bank's train, validation and test splits.

    Raises:
        InputError: an unknown subset or parameter; ``folder`` cannot be written to.
    """
    settings = {"mixtures": _plain(mixtures), "instances": dict(instances), "rate": sample_rate, "seed": seed}
    settings["code"] = code_of(_procedural, rare_recipe)

    def open_bank() -> Bank:
        return ProceduralBank(CLASSES, "real", sample_rate, seed, dict(instances))

    return _made(Path(folder), "mini_rare_mixtures", settings, open_bank, CLASSES)


def bank_rare_mixtures(
    folder: Path | str,
    bank_folder: Path | str,
    classes: Sequence[str],
    mixtures: Mapping[str, Mapping[str, Any]],
    backgrounds: Sequence[str] | None,
    folds: Mapping[str, Sequence[int]] | None,
    sample_rate: int,
    seed: int,
) -> Corpus:
    """The same from the recordings of ``bank_folder`` (see `FolderBank`): events of ``classes`` over ``backgrounds``.

    Raises:
        InputError: as `mini_rare_mixtures` and `FolderBank`.
    """
    bank = FolderBank(Path(bank_folder), classes, backgrounds, sample_rate, folds, seed=seed)
    listing = sorted((path.name, path.stat().st_size) for split in SPLITS for path in bank.paths(split))
    settings: dict[str, Any] = {"mixtures": _plain(mixtures), "backgrounds": backgrounds, "folds": folds}
    settings |= {"classes": list(bank.classes), "rate": sample_rate, "seed": seed, "bank": listing}
    settings["code"] = code_of(folder_bank, rare_recipe)
    return _made(Path(folder), "bank_rare_mixtures", settings, lambda: bank, bank.classes)


def write_sources(
    bank: Bank, target: Path, subset: str, split: str, first: int, step: int, classes: Sequence[str]
) -> Iterator[str]:
    """Write a split's sounds as a source folder for `write_mixtures`; gives each name once written.

    Raises:
        InputError: the split has no sound to take.
    """
    events: dict[str, list[Any]] = {}
    for name in classes:
        for index in range(first, bank.event_count(split, name), step):
            audio = bank.event(split, name, index)
            path = target / "events" / name / f"{split}_{index:03d}.wav"
            _write(path, audio, bank.sample_rate)
            segment = [0.0, min(len(audio) / bank.sample_rate, SECONDS)]
            events.setdefault(name, []).append({"audio_filename": path.name, "segment": segment})
            yield path.name
    grounds = []
    for index in range(first, bank.background_count(split), step):
        path = target / "bgs" / f"{split}_{index:03d}.wav"
        _write(path, bank.background(split, index, SECONDS), bank.sample_rate)
        grounds.append({"filepath": path.name, "classname": "background", "classid": 0})
        yield path.name
    for kind, found in (("events", events), ("bgs", grounds)):
        write_text(target / "cv_setup" / f"{kind}_{subset}.yaml", yaml.safe_dump(found))


def _made(
    cache: Path, name: str, settings: Mapping[str, Any], open_bank: Callable[[], Bank], classes: Sequence[str]
) -> Corpus:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:12]
    folder = cache / f"{name}-{digest}"
    mixings = {subset: mixing_of(given) for subset, given in settings["mixtures"].items()}
    if not folder.is_dir():
        bank = open_bank()
        total = sum(one.mixtures_per_class for one in mixings.values()) * len(classes)
        total += sum(map(bank.background_count, SPLITS))
        total += sum(bank.event_count(split, label) for split in SPLITS for label in classes)
        make_once(folder, lambda beside: _write_all(bank, beside, mixings, classes), total)
    sets = {subset: [folder / SUBSETS[subset][0] / mixing.folder()] for subset, mixing in mixings.items()}
    origin = {subset: SUBSETS[subset][0] for subset in mixings}
    return marked(mixtures_corpus(name, sets, origin, classes, settings["rate"], settings["seed"]), folder.name)


def _write_all(bank: Bank, target: Path, mixings: Mapping[str, Any], classes: Sequence[str]) -> Iterator[str]:
    for subset, mixing in mixings.items():
        listed, split, first, step = SUBSETS[subset]
        if subset == "test" and "devtest" not in mixings:
            first, step = 0, 1  # nothing to share the split's sounds with
        yield from write_sources(bank, target / "source_data", listed, split, first, step, classes)
        where = target / listed / mixing.folder()
        yield from write_mixtures(target / "source_data", where, listed, mixing, classes, bank.sample_rate)


def _plain(mixtures: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    if unknown := set(mixtures) - set(SUBSETS):
        raise InputError(f"dataset.mixtures names {', '.join(sorted(unknown))}; known: {', '.join(SUBSETS)}")
    for given in mixtures.values():
        mixing_of(given)
    return {subset: {k: list(v) if k == "ebrs" else v for k, v in given.items()} for subset, given in mixtures.items()}


def _write(path: Path, audio: Any, sample_rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, sample_rate, subtype="PCM_24")
