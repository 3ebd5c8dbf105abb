"""Half-minute mixtures with one rare event or none: the embedded stand-in for TUT Rare Sound Events 2017, and the same
from any bank of recordings. Sources are written as that corpus has them, then drawn and mixed by its own recipe.

As in that corpus' field recordings, other sounds are heard in the backgrounds, unlabelled: without them a detector
learns to fire on everything that is not steady noise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import soundfile
import yaml

from sed_lab.bank import folder as folder_bank
from sed_lab.bank import procedural as _procedural
from sed_lab.bank import recipe as rare_recipe
from sed_lab.bank import scene as rare_scene
from sed_lab.bank.base import SPLITS, Bank, CachedBank
from sed_lab.bank.folder import FolderBank
from sed_lab.bank.making import code_of, is_made, make_once, marked
from sed_lab.bank.procedural.bank import ProceduralBank
from sed_lab.bank.recipe import CLASSES, SECONDS, Mixing, write_mixtures
from sed_lab.bank.scene import Others, Share, scene
from sed_lab.bank.soundscape import distribution
from sed_lab.bank.source import source_word
from sed_lab.clip.annotation import read_strong, write_strong
from sed_lab.clip.audio import ClipFiles, labels_of, read_audio
from sed_lab.clip.corpus import fingerprint
from sed_lab.clip.layout import read_headers
from sed_lab.dataset.tut_rare import mixing_of, mixtures_corpus
from sed_lab.errors import InputError
from sed_lab.files import write_text
from sed_lab.types import Clip, Corpus, Event

# Subset of the corpus: the recipe's name for it, the bank's split, and which of the split's sounds (first, step).
SUBSETS = {
    "synthetic": ("devtrain", "train", 0, 1),
    "validation": ("devvalidation", "validation", 0, 1),
    "devtest": ("devtest", "test", 0, 2),
    "test": ("evaltest", "test", 1, 2),
}
RECORDINGS = "recordings"  # the subset of the test split's recordings as they are


@dataclass(frozen=True)
class Sources:
    """What a corpus is made from: sounds of ``classes`` over ``scenes`` (how many a split) with ``others`` in them.

    ``backgrounds``: of a split, where the bank has as many as it is asked for.
    """

    bank: Bank
    classes: tuple[str, ...]
    scenes: Mapping[str, int]
    others: Others | None
    seed: int
    backgrounds: Mapping[str, int] | None = None


def mini_rare_mixtures(
    folder: Path | str,
    mixtures: Mapping[str, Mapping[str, Any]],
    instances: Mapping[str, int],
    scenes: Mapping[str, int],
    other_classes: Sequence[str],
    others: int,
    snr: Sequence[Any],
    sample_rate: int,
    seed: int,
) -> Corpus:
    """Mixtures of procedural baby cries, breaking glass and gun shots, made once below ``folder``.

    Args:
        mixtures: `Mixing`'s arguments for ``synthetic`` (training), ``validation``, ``devtest`` and ``test``; no two
            draw the same sounds. ``seed`` is added to theirs.
        instances: sounds of a class in the bank's train, validation and test splits.
        scenes: backgrounds of each split.
        other_classes, others, snr: at most so many other sounds in a background, of these classes, dB over it.

    Raises:
        InputError: an unknown subset or parameter; ``folder`` cannot be written to.
    """
    heard = _others(other_classes, others, snr)
    settings = {"mixtures": _plain(mixtures), "instances": dict(instances), "scenes": dict(scenes)}
    settings |= {"others": [list(other_classes), others, list(snr)], "rate": sample_rate, "seed": seed}
    settings["code"] = code_of(_procedural, rare_recipe, rare_scene)

    def open_sources() -> Sources:
        names = (*CLASSES, *(heard.classes if heard else ()))
        bank = CachedBank(ProceduralBank(names, "real", sample_rate, seed, dict(instances)))
        return Sources(bank, CLASSES, scenes, heard, seed, backgrounds=scenes)

    return _made(Path(folder), "mini_rare_mixtures", settings, open_sources, CLASSES)


def bank_rare_mixtures(
    folder: Path | str,
    bank_folder: Path | str,
    classes: Sequence[str],
    mixtures: Mapping[str, Mapping[str, Any]],
    backgrounds: Sequence[str] | None,
    scenes: Mapping[str, int],
    other_classes: Sequence[str] | None,
    others: int,
    snr: Sequence[Any],
    folds: Mapping[str, Sequence[int]] | None,
    sample_rate: int,
    seed: int,
) -> Corpus:
    """The same from the recordings of ``bank_folder`` (see `FolderBank`): events of ``classes`` over ``backgrounds``.

    ``other_classes`` None: every class of the bank that is neither. A further subset, ``recordings``, holds the test
    split's recordings of ``classes`` and of all other classes as they are, whether or not training heard others.

    Raises:
        InputError: as `mini_rare_mixtures` and `FolderBank`.
    """
    bank = FolderBank(Path(bank_folder), classes, backgrounds, sample_rate, folds, seed=seed, others=None)
    chosen = bank.further(other_classes)
    listing = sorted((path.name, path.stat().st_size) for split in SPLITS for path in bank.paths(split))
    settings: dict[str, Any] = {"mixtures": _plain(mixtures), "backgrounds": backgrounds, "folds": folds}
    settings |= {"classes": list(bank.classes), "scenes": dict(scenes), "others": [list(chosen), others, list(snr)]}
    settings |= {"rate": sample_rate, "seed": seed, "bank": listing}
    settings["code"] = code_of(folder_bank, rare_recipe, rare_scene)
    sources = Sources(CachedBank(bank), bank.classes, scenes, _others(chosen, others, snr), seed)
    return _made(Path(folder), "bank_rare_mixtures", settings, lambda: sources, bank.classes, bank)


def write_sources(sources: Sources, target: Path, subset: str, shared: bool) -> Iterator[str]:
    """Write what a corpus' subset is mixed from as a source folder for `write_mixtures`; gives each name once written.

    ``shared``: whether there is a subset ``devtest`` to share the test split's sounds with.
    """
    listed, split, first, step = SUBSETS[subset]
    if subset == "test" and not shared:
        first, step = 0, 1
    bank = Share(sources.bank, first, step, None if sources.backgrounds is None else sources.backgrounds[split])
    events: dict[str, list[Any]] = {}
    for name in sources.classes:
        for index in range(bank.event_count(split, name)):
            audio = bank.event(split, name, index)
            path = target / "events" / name / f"{listed}_{index:03d}.wav"
            _write(path, audio, bank.sample_rate)
            segment = [0.0, min(len(audio) / bank.sample_rate, SECONDS)]
            events.setdefault(name, []).append({"audio_filename": path.name, "segment": segment})
            yield path.name
    grounds, words = [], (sources.seed, list(SUBSETS).index(subset))
    for index in range(len(range(first, sources.scenes[split], step))):
        path = target / "bgs" / f"{listed}_{index:03d}.wav"
        _write(path, scene(bank, split, index, SECONDS, sources.others, words), bank.sample_rate)
        grounds.append({"filepath": path.name, "classname": "background", "classid": 0})
        yield path.name
    for kind, found in (("events", events), ("bgs", grounds)):
        write_text(target / "cv_setup" / f"{kind}_{listed}.yaml", yaml.safe_dump(found))


def write_recordings(bank: FolderBank, target: Path) -> Iterator[str]:
    """Write the test split's recordings as they are, and the events in them of the bank's classes; gives each name."""
    clips: dict[str, list[Event]] = {}
    for path, label, runs in bank.recordings("test"):
        name = f"{label}_{path.stem}.wav"
        _write(target / "audio" / name, read_audio(path, bank.sample_rate), bank.sample_rate)
        times = [(start / bank.sample_rate, stop / bank.sample_rate) for start, stop in runs]
        clips[name] = [Event(*one, label) for one in times if label in bank.classes]
        yield name
    write_strong(target / "ground_truth.tsv", clips)


def read_recordings(folder: Path) -> tuple[list[Clip], list[Path]]:
    """Clips that `write_recordings` wrote, annotated for every class, and the files behind them."""
    truth = read_strong(folder / "ground_truth.tsv")
    headers = read_headers(folder / "audio" / name for name in truth)
    clips = [
        Clip(path.stem, path, headers[path].duration, events, labels_of(events))
        for path, events in ((folder / "audio" / name, events) for name, events in truth.items())
    ]
    return clips, [folder / "ground_truth.tsv", *headers]


def _made(
    cache: Path,
    name: str,
    settings: Mapping[str, Any],
    open_sources: Callable[[], Sources],
    classes: Sequence[str],
    recordings: FolderBank | None = None,
) -> Corpus:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:12]
    folder, seed, rate = cache / f"{name}-{digest}", settings["seed"], settings["rate"]
    mixings = {subset: mixing_of(given) for subset, given in settings["mixtures"].items()}
    mixings = {subset: replace(one, seed=one.seed + seed) for subset, one in mixings.items()}
    files = [] if recordings is None else [path for split in SPLITS for path in recordings.paths(split)]
    if not is_made(folder, files):
        total = sum(one.mixtures_per_class for one in mixings.values()) * len(classes)
        make_once(folder, lambda beside: _write_all(open_sources(), beside, mixings, recordings), total, files)
    sets = {subset: [folder / SUBSETS[subset][0] / mixing.folder()] for subset, mixing in mixings.items()}
    origin = {subset: SUBSETS[subset][0] for subset in mixings}
    corpus = mixtures_corpus(name, sets, origin, classes, rate, seed)
    if recordings is not None:
        clips, files = read_recordings(folder / RECORDINGS)
        subsets = {**corpus.subsets, RECORDINGS: ClipFiles(clips, rate, SECONDS, seed=seed)}
        corpus = marked(replace(corpus, subsets=subsets), fingerprint(files))
    return marked(corpus, folder.name + source_word(folder))


def _write_all(
    sources: Sources, target: Path, mixings: Mapping[str, Mixing], recordings: FolderBank | None
) -> Iterator[str]:
    for subset, mixing in mixings.items():
        listed = SUBSETS[subset][0]
        for _ in write_sources(sources, target / "source_data", subset, shared="devtest" in mixings):
            pass
        where, rate = target / listed / mixing.folder(), sources.bank.sample_rate
        yield from write_mixtures(target / "source_data", where, listed, mixing, sources.classes, rate, "PCM_16")
    if recordings is not None:
        for _ in write_recordings(recordings, target / RECORDINGS):
            pass


def _others(classes: Sequence[str], most: int, snr: Sequence[Any]) -> Others | None:
    if type(most) is not int or most < 0:
        raise InputError(f"dataset.others={most!r} must be a whole number of sounds, 0 for none")
    return Others(tuple(classes), most, distribution(snr, "dataset.snr")) if classes and most else None


def _plain(mixtures: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    if unknown := set(mixtures) - set(SUBSETS):
        raise InputError(f"dataset.mixtures names {', '.join(sorted(unknown))}; known: {', '.join(SUBSETS)}")
    for given in mixtures.values():
        mixing_of(given)
    return {subset: {k: list(v) if k == "ebrs" else v for k, v in given.items()} for subset, given in mixtures.items()}


def _write(path: Path, audio: Any, sample_rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, sample_rate, subtype="PCM_16")
