"""Corpora of soundscapes made on first use: once, whole, and in DESED's folder layout, to be read as DESED is."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import soundfile

from sed_lab.bank import base as bank
from sed_lab.bank import mixing, soundscape
from sed_lab.bank.base import Bank
from sed_lab.bank.mixing import LiveSoundscapes, mix, write_wav
from sed_lab.bank.recording import recorded
from sed_lab.bank.soundscape import Recipe, Specification, draw_recipe, write_recipes
from sed_lab.bank.source import note_source, replaced, source_word
from sed_lab.clip.annotation import write_bank, write_durations, write_strong, write_unlabelled, write_weak
from sed_lab.clip.audio import labels_of
from sed_lab.clip.intact import damaged, note_files
from sed_lab.clip.layout import SPLITS, Split, read_layout, soundbank_of
from sed_lab.errors import InputError, advice, some
from sed_lab.files import locked, write_json, write_text
from sed_lab.types import Corpus, Event
from sed_lab.waiting import track

SUBSETS = ("synthetic", "weak", "unlabelled", "synthetic_validation", "weak_validation", "validation", "test")


@dataclass(frozen=True)
class Part:
    """One subset to make, or a part of it: ``size`` soundscapes after ``specification`` from a split of a bank.

    ``first`` is the number of the first one; ``labelled`` are the classes whose events are annotated (None: all).
    ``recorded``: each is then kept as a recording of it (`sed_lab.bank.recording`).
    """

    subset: str
    bank: Bank
    split: str
    size: int
    specification: Specification
    first: int = 0
    labelled: tuple[str, ...] | None = None
    recorded: bool = False


@dataclass(frozen=True)
class Banks:
    """The two domains of a corpus: banks, what soundscapes to draw from them, and recordings per class (V_c).

    ``recorded``: soundscapes of the real domain are kept as recordings of them.
    """

    synthetic: Bank
    real: Bank
    synthetic_soundscapes: Specification
    real_soundscapes: Specification
    source_clips: Mapping[str, int]
    recorded: bool = False


@dataclass(frozen=True)
class Made:
    """What a corpus is made of: recordings per class and their mean seconds, in the order of classes, and its parts."""

    source_clips: Mapping[str, int]
    source_seconds: Mapping[str, float]
    parts: Sequence[Part]


def soundscape_corpus(
    cache: Path,
    name: str,
    settings: Mapping[str, Any],
    open_banks: Callable[[], Banks],
    live: bool = False,
    recordings: Sequence[Path] = (),
) -> Corpus:
    """The corpus of ``settings`` (which hold ``sizes``, ``seed``, ``sample_rate``, ``clip_seconds``), made once.

    With ``live`` the synthetic training subset is not on disk but mixed anew each epoch. ``open_banks`` is called
    only where something has to be mixed. ``recordings`` are the bank's, see `make_once`.

    Raises:
        InputError: every size is 0, ``cache`` cannot be written to, or what ``open_banks`` raises.
    """
    sizes, seed = settings["sizes"], settings["seed"]
    on_disk = {**sizes, "synthetic": 0} if live else sizes
    if not any(on_disk.values()):
        raise InputError(f"{name}: every subset has size 0; give at least one some soundscapes")
    open_once = functools.cache(open_banks)

    def open_parts() -> Made:
        banks = open_once()
        return Made(banks.source_clips, source_seconds(banks.synthetic, banks.source_clips), parts_of(banks, on_disk))

    corpus = made_corpus(cache, name, {**settings, "sizes": on_disk}, open_parts, recordings)
    if not live:
        return corpus
    banks = open_once()
    scenes = LiveSoundscapes(banks.synthetic, banks.synthetic_soundscapes, sizes["synthetic"], seed=seed)
    whole = replace(corpus, subsets={"synthetic": scenes, **corpus.subsets})
    return marked(whole, f"live {sizes['synthetic']}")


def made_corpus(
    cache: Path,
    name: str,
    settings: Mapping[str, Any],
    open_parts: Callable[[], Made],
    recordings: Sequence[Path] = (),
) -> Corpus:
    """The corpus of ``settings`` (which hold ``seed``, ``sample_rate``, ``clip_seconds``) below ``cache``, made once.

    ``open_parts`` is called only where it has to be made. ``recordings`` are the bank's, see `make_once`.

    Raises:
        InputError: ``cache`` cannot be written to, or what ``open_parts`` raises.
    """
    text = json.dumps({**settings, "code": code_of(bank, mixing, soundscape)}, sort_keys=True)
    folder = cache / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if not is_made(folder, recordings):
        made = open_parts()

        def write(beside: Path) -> Iterator[str]:
            write_text(beside / "metadata/classes.txt", "".join(f"{label}\n" for label in made.source_clips))
            write_bank(soundbank_of(beside), made.source_clips, made.source_seconds)
            for subset in dict.fromkeys(part.subset for part in made.parts):
                parts = [part for part in made.parts if part.subset == subset]
                yield from _write_subset(beside, SPLITS[subset], parts, settings["seed"])
            write_json(beside / "settings.json", json.loads(text))

        make_once(folder, write, sum(part.size for part in made.parts), recordings)
    rate, seconds = settings["sample_rate"], settings["clip_seconds"]
    corpus = read_layout(folder, sample_rate=rate, clip_seconds=seconds, weak_split=1.0, name=name)
    return marked(corpus, folder.name + source_word(folder))


def marked(corpus: Corpus, word: str) -> Corpus:
    """``corpus`` with a fingerprint that stands for ``word`` too, as the name of a made folder: settings and code."""
    return replace(corpus, fingerprint=hashlib.sha256(f"{corpus.fingerprint} {word}".encode()).hexdigest())


def sizes_of(sizes: Mapping[str, int]) -> dict[str, int]:
    """Soundscapes per subset: those given, 0 for the others; ``synthetic_test`` is there where it is given.

    Raises:
        InputError: an unknown subset, or a size that is no whole number of at least 0.
    """
    known = (*SUBSETS, "synthetic_test")
    if unknown := sorted(set(sizes) - set(known)):
        raise InputError(f"sizes names unknown subsets {', '.join(unknown)}; known are {', '.join(known)}")
    if wrong := [f"{subset}: {size!r}" for subset, size in sizes.items() if type(size) is not int or size < 0]:
        raise InputError(f"sizes: {', '.join(wrong)} must be a whole number of soundscapes, 0 to leave the subset out")
    return {**dict.fromkeys(SUBSETS, 0), **sizes}


def parts_of(banks: Banks, sizes: Mapping[str, int]) -> list[Part]:
    """The subsets of a corpus: which domain, which split of its bank. Weakly labelled clips hold an event each."""
    synthetic = (banks.synthetic, banks.synthetic_soundscapes, False)
    real = (banks.real, banks.real_soundscapes, banks.recorded)
    labelled = (banks.real, replace(banks.real_soundscapes, empty_share=0.0), banks.recorded)
    rows = (
        ("synthetic", "train", *synthetic),
        ("weak", "train", *labelled),
        ("unlabelled", "train", *real),
        ("synthetic_validation", "validation", *synthetic),
        ("weak_validation", "validation", *labelled),
        ("validation", "validation", *real),
        ("test", "test", *real),
        ("synthetic_test", "test", *synthetic),
    )
    return [
        Part(subset, source, split, sizes[subset], spec, recorded=kept)
        for subset, split, source, spec, kept in rows
        if sizes.get(subset)
    ]


def make_once(
    folder: Path, write: Callable[[Path], Iterator[str]], total: int, recordings: Sequence[Path] = ()
) -> None:
    """Make ``folder`` if it is not there: ``write`` fills the one it is given and yields for each of ``total`` files.

    A folder that is there is complete: it is made beside and renamed at the end, under a lock, so that a second
    process waits for the first one's result and a killed one leaves nothing but a hidden folder, removed next time.
    One that was damaged since, or whose ``recordings`` have other bytes by now, is made again, and that is said.

    Raises:
        InputError: it cannot be written, or what ``write`` raises.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock"), f"another process is making {folder}"):
            if not is_made(folder, recordings):
                if other := replaced(folder, recordings):
                    print(f"{folder}: {some(other)} was replaced since; made again", file=sys.stderr, flush=True)
                elif bad := damaged(folder):
                    print(f"{folder}: {some(bad)} is gone or damaged; made again", file=sys.stderr, flush=True)
                again = bool(other or source_word(folder))
                for left_over in folder.parent.glob(f".{folder.name}.*.part"):
                    shutil.rmtree(left_over)
                _make(folder, write, total)
                if recordings:
                    note_source(folder, recordings, again)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror or error}; {advice(error)}") from error
    except soundfile.SoundFileError as error:  # libsndfile does not say why
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"cannot make {folder}: {reason}; free some space or choose another folder") from error


def is_made(folder: Path, recordings: Sequence[Path] = ()) -> bool:
    """Whether ``folder`` is there, no file of it is gone or of another size than when it was made, and none of
    ``recordings`` was replaced since."""
    return folder.is_dir() and not damaged(folder) and not replaced(folder, recordings)


def code_of(*modules: ModuleType) -> str:
    """A hash of modules' source, for settings: another version of the code makes another corpus."""
    digest = hashlib.sha256()
    for module in modules:
        path = Path(str(module.__file__))
        for file in sorted(path.parent.glob("*.py")) if path.name == "__init__.py" else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _make(folder: Path, write: Callable[[Path], Iterator[str]], total: int) -> None:
    beside, former = (folder.with_name(f".{folder.name}.{os.getpid()}.{word}.part") for word in ("new", "former"))
    try:
        for _ in track(write(beside), total, f"making {folder.name}"):
            pass
        note_files(beside)
        if folder.is_dir():
            os.replace(folder, former)
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


def source_seconds(bank: Bank, classes: Iterable[str]) -> dict[str, float]:
    """Mean length of the training sounds of each class."""
    seconds = {}
    for name in classes:
        lengths = [len(bank.event("train", name, i)) for i in range(bank.event_count("train", name))]
        seconds[name] = sum(lengths) / len(lengths) / bank.sample_rate
    return seconds


def _write_subset(folder: Path, split: Split, parts: Sequence[Part], seed: int) -> Iterator[str]:
    """Write a subset into DESED's layout, and to ``recipes/`` what was mixed; gives each clip_id once written."""
    audio_folder = split.audio_in(folder)
    audio_folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Recipe] = []
    clips: dict[str, tuple[Event, ...]] = {}
    for part in parts:
        buffer = np.empty(round(part.specification.seconds * part.bank.sample_rate), dtype=np.float32)
        for index in range(part.first, part.first + part.size):
            recipe = draw_recipe(part.specification, part.bank, part.split, part.subset, index, seed)
            filename = f"{recipe.clip_id}.wav"
            audio, events = mix(recipe, part.bank, out=buffer)
            if part.recorded:
                rng = np.random.default_rng((seed, zlib.crc32(part.subset.encode()), index, 0, 1))
                audio = recorded(audio, part.bank.sample_rate, rng)
            labelled = part.labelled
            clips[filename] = tuple(e for e in events if labelled is None or e.event_label in labelled)
            write_wav(audio_folder / filename, audio, part.bank.sample_rate)
            drawn.append(recipe)
            yield recipe.clip_id
    if split.kind == "strong":
        write_strong(split.annotation_in(folder), clips)
        write_durations(split.durations_in(folder), dict.fromkeys(clips, parts[0].specification.seconds))
    elif split.kind == "weak":
        write_weak(split.annotation_in(folder), {name: labels_of(events) for name, events in clips.items()})
    else:
        write_unlabelled(split.annotation_in(folder), clips)
    write_recipes(folder / "recipes" / f"{parts[0].subset}.jsonl", drawn)
