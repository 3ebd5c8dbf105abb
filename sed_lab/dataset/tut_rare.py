"""TUT Rare Sound Events 2017 (DCASE 2017 task 2) as it lies on disk, and mixtures of `sed_lab.bank.recipe`.

A set of mixtures is a folder with ``audio/`` and ``meta/event_list_<subset>_<class>.csv`` (tab separated, no header:
filename, and onset, offset, label where an event is in it). Two arrangements are known, whose hashes of the same
parameters differ (`Mixing.folder`, `Mixing.baseline_folder`)::

    data/mixture_data/<subset>/<hash>/                  the published one
    generated_data/mixtures_<subset>_<hash>/            the baseline system's

A mixture belongs to one class: only this class is annotated in it, and only this class's detector is judged on it. The
mixtures that the patch of June 2017 withdrew (``*_old_dontuse``) are left out. Sets of the development set that are not
there are mixed from its source data; the evaluation set (zenodo 1160455) is published as mixtures only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from sed_lab.bank.making import is_made, make_once
from sed_lab.bank.recipe import CLASSES, SECONDS, Mixing, write_mixtures
from sed_lab.clip.audio import ClipFiles, labels_of
from sed_lab.clip.audio_folder import list_audio
from sed_lab.clip.corpus import fingerprint
from sed_lab.clip.layout import read_headers
from sed_lab.errors import InputError
from sed_lab.types import Clip, Corpus, Event

log = logging.getLogger(__name__)
WITHDRAWN = "_old_dontuse"
EVALTEST = "bbb81504db15a03680a0044474633b67"  # the published evaluation mixtures' folder
DEFAULT = Mixing()  # of devtest and of the devtrain mixtures that validate


def read_tut_rare(
    folder: Path | str, train: Sequence[Mapping[str, Any]], sample_rate: int, test: str, seed: int
) -> Corpus:
    """Subsets ``synthetic`` (training), ``validation`` (the default devtrain mixtures), ``devtest`` and ``test``.

    Sets that are missing are noticed before the first one is made.

    Args:
        folder: the development set's, with ``data/source_data`` where mixtures are to be made; the evaluation set lies
            in it too, or beside it in ``TUT-rare-sound-events-2017-evaluation``.
        train: parameters of the training mixtures, `Mixing`'s arguments; made on first use. Amiriparian et al. train on
            twice as many as the default ones, which validate: other seeds, but the same source sounds.
        test: ``evaltest``, or ``devtest`` where the evaluation set is not there.

    Raises:
        InputError: ``folder`` is something else, ``train`` names the validation mixtures, or a set is not there and
            cannot be made, or its lists are wrong.
    """
    folder = Path(folder)
    if not any((folder / name).is_dir() for name in ("data/source_data", "data/mixture_data", "generated_data")):
        raise InputError(
            f"{folder} is not TUT Rare Sound Events 2017: it holds neither data/source_data nor data/mixture_data nor"
            " generated_data; name the unpacked folder TUT-rare-sound-events-2017-development"
        )
    wanted = [mixing_of(given) for given in train]
    if DEFAULT in wanted:
        raise InputError(
            f"dataset.train names the default mixtures (seed {DEFAULT.seed}), which validate; give it another seed"
        )
    places = (folder, folder.with_name(folder.name.replace("development", "evaluation")))
    evaltest = [place for one in places for place in _sets_of(one, "evaltest", (EVALTEST, EVALTEST))]
    if test == "evaltest" and not evaltest:
        raise InputError(
            f"{folder} holds no mixtures data/mixture_data/evaltest/{EVALTEST}; unpack the archives of the evaluation"
            " set there or beside it, or test on the development set with dataset.test=devtest"
        )
    asked = [("devtrain", mixing) for mixing in wanted] + [("devtrain", DEFAULT), ("devtest", DEFAULT)]
    for subset, mixing in asked:
        _refuse_missing(folder, subset, mixing)
    *trained, validation, devtest = (_made_set(folder, subset, mixing) for subset, mixing in asked)
    tested = evaltest[0] if test == "evaltest" else devtest
    sets = {"synthetic": trained, "validation": [validation], "devtest": [devtest], "test": [tested]}
    origin = {"synthetic": "devtrain", "validation": "devtrain", "devtest": "devtest", "test": test}
    return mixtures_corpus("tut_rare", sets, origin, CLASSES, sample_rate, seed)


def mixtures_corpus(
    name: str,
    sets: Mapping[str, Sequence[Path]],
    origin: Mapping[str, str],
    classes: Sequence[str],
    sample_rate: int,
    seed: int = 0,
) -> Corpus:
    """A corpus of sets of mixtures: ``sets[subset]`` are folders, ``origin[subset]`` is the name in their lists."""
    subsets, files = {}, []
    for subset, folders in sets.items():
        clips: list[Clip] = []
        for folder in folders:
            found, used = read_set(folder, origin[subset], classes)
            clips += found
            files += used
        subsets[subset] = ClipFiles(clips, sample_rate, SECONDS, seed=seed)
    return Corpus(name, tuple(classes), SECONDS, sample_rate, subsets, fingerprint(files))


def read_set(folder: Path, subset: str, classes: Sequence[str]) -> tuple[list[Clip], list[Path]]:
    """The clips of a set, and the files behind them. Recordings that are not there are counted in a warning.

    Raises:
        InputError: no list is there, a row is wrong, or no listed recording is there.
    """
    there = {path.name: path for path in list_audio(folder / "audio")}
    clips, files, listed = [], [], 0
    for label in classes:
        event_list = folder / "meta" / f"event_list_{subset}_{label}.csv"
        rows = read_event_list(event_list, label)
        listed += len(rows)
        headers = read_headers(there[name] for name in rows if name in there)
        for name, events in rows.items():
            if path := there.get(name):
                duration, labels = headers[path].duration, labels_of(events)
                clips.append(Clip(path.stem, path, duration, events, labels, synthetic=True, annotated=(label,)))
        files += [event_list, *headers]
    if not clips:
        raise InputError(f"{folder / 'audio'} holds none of the {listed} listed mixtures; restore it")
    if len(clips) < listed:
        log.warning("%s: %d of %d listed mixtures found; scores are of these only", folder, len(clips), listed)
    return clips, files


def read_event_list(path: Path, label: str) -> dict[str, tuple[Event, ...]]:
    """Events by file name; a row of a file name alone is a mixture without an event.

    Raises:
        InputError: the list is missing, or rows are wrong, with their lines.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise InputError(f"{path} does not exist; restore the lists of this set of mixtures") from None
    clips: dict[str, tuple[Event, ...]] = {}
    for number, line in enumerate(lines, 1):
        words = [word.strip() for word in line.split("\t")]
        name = Path(words[0]).name
        if not name or WITHDRAWN in name:
            continue
        try:
            if any(words[1:]):
                onset, offset, found = words[1:]
                if found != label:
                    raise ValueError(f"label {found!r} in the list of {label}")
                clips[name] = (*clips.get(name, ()), Event(float(onset), float(offset), label))
            else:
                clips.setdefault(name, ())
        except (ValueError, InputError) as error:
            raise InputError(f"{path}, line {number}: {error}; a row is filename, onset, offset, {label}") from None
    return clips


def mixing_of(given: Mapping[str, Any]) -> Mixing:
    """`Mixing` from a configuration's mapping.

    Raises:
        InputError: a key it does not have, or as `Mixing`.
    """
    known = [field.name for field in fields(Mixing)]
    if unknown := set(given) - set(known):
        raise InputError(f"mixtures have no {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return Mixing(**{**given, **({"ebrs": tuple(given["ebrs"])} if "ebrs" in given else {})})


def _sets_of(folder: Path, subset: str, digests: tuple[str, str]) -> list[Path]:
    """Folders of a set that are there, by its hash in the published and in the baseline's arrangement."""
    own, baseline = digests
    known = (folder / f"data/mixture_data/{subset}/{own}", folder / f"generated_data/mixtures_{subset}_{baseline}")
    return [path for path in known if path.is_dir()]


def _refuse_missing(folder: Path, subset: str, mixing: Mixing) -> None:
    setup = [folder / "data/source_data/cv_setup" / f"{kind}_{subset}.yaml" for kind in ("events", "bgs")]
    if not _sets_of(folder, subset, (mixing.folder(), mixing.baseline_folder())) and not all(map(Path.is_file, setup)):
        raise InputError(
            f"{folder} holds no mixtures data/mixture_data/{subset}/{mixing.folder()}, and no {setup[0].name} and"
            f" {setup[1].name} in data/source_data/cv_setup to mix them from; unpack the archives of the source data"
        )


def _made_set(folder: Path, subset: str, mixing: Mixing) -> Path:
    """The folder of a set of the development set's mixtures, made where it is not there."""
    found = _sets_of(folder, subset, (mixing.folder(), mixing.baseline_folder()))
    if found and is_made(found[0]):
        return found[0]
    target = folder / "data" / "mixture_data" / subset / mixing.folder()
    write = partial(write_mixtures, folder / "data" / "source_data", subset=subset, mixing=mixing)
    make_once(target, write, mixing.mixtures_per_class * len(CLASSES))
    return target
