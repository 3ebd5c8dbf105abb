"""What is there, missing and wrong in a copy of TUT Rare Sound Events 2017: source data, and sets of mixtures."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sed_lab.bank.recipe import CLASSES, SECONDS, Mixing
from sed_lab.clip.audio import AudioInfo
from sed_lab.clip.audio_folder import list_audio
from sed_lab.clip.place import refuse_elsewhere
from sed_lab.dataset.check import Looking, SplitCheck, compare, look_at, named
from sed_lab.dataset.tut_rare import EVALTEST, WITHDRAWN, mixing_of, read_event_list
from sed_lab.errors import InputError

SUBSETS = ("devtrain", "devtest", "evaltest")
# Single events of each class, from the readme of either part; those of the evaluation part come as mixtures only.
UNIQUE_EVENTS = {
    "devtrain": {"babycry": 106, "glassbreak": 96, "gunshot": 134},
    "devtest": {"babycry": 42, "glassbreak": 43, "gunshot": 53},
}
MIXTURES = 500  # of a class in each set
# Mixtures of baby cries over backgrounds in which a baby cries anyway, withdrawn in June 2017.
AFFECTED = {"devtrain": (66, 67, 99, 145, 152, 164, 216, 332, 392), "devtest": (38, 154, 161, 225)}
BYTES = SECONDS * 44100 * 3  # of a mixture, 24 bits
MARKS = ("data/source_data", "data/mixture_data", "generated_data")
Entries = dict[Path, list[tuple[float, float]]]  # files of events and their segments


def check_tut_rare(
    folder: Path,
    sample_rate: int,
    train: Sequence[Mapping[str, Any]],
    test: str,
    how: Looking = Looking(),  # noqa: B008
) -> list[SplitCheck]:
    """The source data by split, then each set of mixtures, and which are still to be made; ``train`` and ``test`` are
    `read_tut_rare`'s.

    Raises:
        InputError: ``folder`` is not the corpus's; the one above or below that is is named.
    """
    refuse_elsewhere(folder, MARKS, "data/source_data, data/mixture_data or generated_data")
    sources = _check_sources(folder / "data/source_data", how)
    beside = folder.with_name(folder.name.replace("development", "evaluation"))
    sets = []
    for subset in SUBSETS:
        places = dict.fromkeys((folder, beside)) if subset == "evaltest" else (folder,)
        found = [_check_mixtures(subset, path, how) for place in places for path in folders_of_mixtures(place, subset)]
        empty = SplitCheck(subset, folder / "data/mixture_data" / subset, used=_use_of(subset))
        sets += found or [empty]
        if subset == "evaltest" and not found:
            text = f"{empty.audio} is absent; unpack the archives of the evaluation set into {folder}"
            (empty.errors if test == subset else empty.warnings).append(f"{text}, or test with dataset.test=devtest")
    wanted = [("devtrain", mixing_of(given)) for given in train] + [(subset, Mixing()) for subset in SUBSETS[:2]]
    checks = sources + sets
    _say_what_is_to_be_made(folder, wanted, checks)
    compare(checks, sample_rate)
    return checks


def folders_of_mixtures(folder: Path, subset: str) -> list[Path]:
    """The sets of mixtures of a subset, in both arrangements."""
    found = [*folder.glob(f"data/mixture_data/{subset}/*"), *folder.glob(f"generated_data/mixtures_{subset}_*")]
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def _use_of(subset: str) -> str:
    return "training" if subset == "devtrain" else "test"


def _say_what_is_to_be_made(folder: Path, wanted: Sequence[tuple[str, Mixing]], checks: Sequence[SplitCheck]) -> None:
    """Mixtures that are made from the source data before training begins, and whether that is possible."""
    total = 0
    for subset in SUBSETS[:2]:
        check = next(one for one in checks if one.subset.split()[0] == subset)
        gaps = [name for one in checks if one.subset.split()[1:] == [subset] for name in one.missing]
        there = {path.name.rpartition("_")[2] for path in folders_of_mixtures(folder, subset)}
        lacking = {one for name, one in wanted if name == subset and not {one.folder(), one.baseline_folder()} & there}
        count = sum(one.mixtures_per_class for one in lacking) * len(CLASSES)
        total += count
        setup = [folder / "data/source_data/cv_setup" / f"{kind}_{subset}.yaml" for kind in ("events", "bgs")]
        if count and not all(path.is_file() for path in setup):
            where = f"{setup[0]} and {setup[1].name}"
            check.errors.append(f"{count} mixtures are not there, nor {where} to make them; unpack the source data")
        elif count and gaps:
            check.errors.append(f"{count} mixtures cannot be made: source recordings are missing, {named(gaps)}")
        elif count:
            size = f"{count * BYTES / 1e9:.2g} GB"
            check.warnings.append(f"{count} mixtures ({size}) are made of data/source_data before the first training")
    if (free := shutil.disk_usage(folder).free) < total * BYTES:
        text = f"{free / 1e9:.2g} GB are free in {folder} where mixtures of {total * BYTES / 1e9:.2g} GB are to be made"
        checks[0].errors.append(f"{text}; make room")


def _check_sources(source: Path, how: Looking) -> list[SplitCheck]:
    if not source.is_dir():
        return []
    checks = []
    screened = _screening(source / "bgs/bg_screening.csv")
    used: dict[str, list[set[Path]]] = {"events": [], "backgrounds": []}
    for subset in SUBSETS[:2]:
        unique = sum(UNIQUE_EVENTS[subset].values())
        events = SplitCheck(f"events {subset}", source / "events", expected=unique, used="source")
        grounds = SplitCheck(f"backgrounds {subset}", source / "bgs", used="source")
        try:
            of_class = _events(source, subset)
            used["events"].append(set(_files(of_class)))
            _check_events(events, of_class, UNIQUE_EVENTS[subset], how)
        except InputError as error:
            events.errors.append(str(error))
        try:
            paths = _backgrounds(source, subset)
            used["backgrounds"].append(set(paths))
            _check_backgrounds(grounds, paths, screened, how)
        except InputError as error:
            grounds.errors.append(str(error))
        checks += [events, grounds]
    for kind, check in zip(used, checks[2:], strict=True):
        both = sorted(path.name for path in set.intersection(*used[kind])) if len(used[kind]) == 2 else []
        if both:
            check.warnings.append(f"{len(both)} files are in devtrain too, so test sounds train: {named(both)}")
    if screened is None:
        checks[1].warnings.append(f"{source}/bgs/bg_screening.csv is absent; it says in which backgrounds a baby cries")
    return checks


def _check_events(
    check: SplitCheck, of_class: Mapping[str, Entries], published: Mapping[str, int], how: Looking
) -> None:
    for label, entries in of_class.items():
        counts = {len(entries), sum(map(len, entries.values()))}
        if published[label] not in counts:
            said = " in ".join(map(str, sorted(counts, reverse=True)))
            check.warnings.append(f"{said} files of {label} where the published set has {published[label]} events")
    files = _files(of_class)
    check.listed = sum(len(segments) for segments in files.values())
    infos = _found(check, files, how)
    check.found = sum(len(segments) for path, segments in files.items() if path.exists())
    for path, info in infos.items():
        late = [end for _, end in files[path] if end > info.duration + 0.01]
        if late:
            check.errors.append(f"{path} lasts {info.duration:.2f} s but its event ends at {max(late):.2f} s")


def _check_backgrounds(
    check: SplitCheck, paths: Sequence[Path], screened: Mapping[str, set[str]] | None, how: Looking
) -> None:
    check.listed = len(paths)
    infos = _found(check, paths, how)
    check.found = sum(path.exists() for path in paths)
    short = [path.name for path, info in infos.items() if info.duration < SECONDS - 0.01]
    if short:
        check.errors.append(f"{len(short)} backgrounds are shorter than {SECONDS:g} s: {named(short)}")
    names = {path.name for path in paths}
    for label, marked in (screened or {}).items():
        if both := sorted(marked & names):
            text = f"{len(both)} backgrounds are marked in bg_screening.csv as holding {label}: {named(both)}"
            check.warnings.append(f"{text}; mixtures of {label} over them were withdrawn")


def _check_mixtures(subset: str, place: Path, how: Looking) -> SplitCheck:
    digest = place.name.rpartition("_")[2]
    official = digest in (Mixing().folder(), Mixing().baseline_folder(), EVALTEST)
    name = f"{subset} {digest[:8]}"
    check = SplitCheck(name, place / "audio", used=_use_of(subset))
    audio = {path.name: path for path in _audio_in(check.audio)}
    listed: dict[str, float] = {}
    for label in CLASSES:
        try:
            rows = read_event_list(place / "meta" / f"event_list_{subset}_{label}.csv", label)
        except InputError as error:
            check.errors.append(str(error))
            continue
        if official and label == "babycry":
            _check_affected(check, subset, rows)
        listed |= {file: max((event.offset for event in events), default=0.0) for file, events in rows.items()}
    check.listed = len(listed)
    check.missing = [file for file in listed if file not in audio]
    found = {audio[file]: end for file, end in listed.items() if file in audio}
    check.found = len(found)
    if listed and not found:
        check.errors.append(f"{check.audio} holds none of the {len(listed)} listed mixtures; restore it")
    elif official:
        whole = MIXTURES * len(CLASSES)
        check.expected = min(whole, max(len(listed), whole - len(AFFECTED.get(subset, ()))))
    infos = look_at(check, found, how)
    late = [path.name for path, info in infos.items() if found[path] > info.duration + 0.01]
    if late:
        check.errors.append(f"{len(late)} events end after their mixture: {named(late)}")
    other = [path.name for path, info in infos.items() if abs(info.duration - SECONDS) > 0.01]
    if other:
        check.warnings.append(f"{len(other)} mixtures do not last {SECONDS:g} s: {named(other)}")
    left = [file for file, path in audio.items() if path not in found and WITHDRAWN not in file]
    if left and not check.errors:
        check.unlisted = len(left)
        check.warnings.append(f"{len(left)} mixtures in {check.audio} are in no list and are not used: {named(left)}")
    return check


def _check_affected(check: SplitCheck, subset: str, rows: Mapping[str, Any]) -> None:
    starts = tuple(f"mixture_{subset}_babycry_{number:03d}_" for number in AFFECTED.get(subset, ()))
    if affected := [file for file in rows if file.startswith(starts)] if starts else []:
        check.warnings.append(
            f"{len(affected)} mixtures that the patch of June 2017 withdrew are listed (a baby cries in their "
            f"background); take them out of event_list_{subset}_babycry.csv: {named(affected)}"
        )


def _events(source: Path, subset: str) -> dict[str, Entries]:
    path = source / "cv_setup" / f"events_{subset}.yaml"
    listed = _read(path)
    try:
        found: dict[str, Entries] = {label: {} for label in CLASSES}
        for label in CLASSES:
            for entry in listed[label]:
                start, end = map(float, entry["segment"])
                file = source / "events" / label / entry["audio_filename"]
                found[label].setdefault(file, []).append((start, end))
    except (KeyError, TypeError, ValueError):
        form = "a list of audio_filename and segment: [start, end] for each of " + ", ".join(CLASSES)
        raise InputError(f"{path} does not hold {form}; restore it") from None
    return found


def _backgrounds(source: Path, subset: str) -> list[Path]:
    path = source / "cv_setup" / f"bgs_{subset}.yaml"
    try:
        return [source / "bgs" / entry["filepath"] for entry in _read(path)]
    except (KeyError, TypeError):
        raise InputError(f"{path} does not hold a list of filepath and classname; restore it") from None


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())}); restore it") from None


def _screening(path: Path) -> dict[str, set[str]] | None:
    """Names of the backgrounds that hold sounds of each class; None where the list is not there."""
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))[1:]
    except (OSError, UnicodeDecodeError):
        return None
    marked = ((label, row[0]) for row in rows for label, mark in zip(CLASSES, row[1:], strict=False) if mark.strip())
    found: dict[str, set[str]] = {label: set() for label in CLASSES}
    for label, name in marked:
        found[label].add(Path(name).name)
    return found


def _files(of_class: Mapping[str, Entries]) -> Entries:
    return {path: segments for entries in of_class.values() for path, segments in entries.items()}


def _audio_in(folder: Path) -> list[Path]:
    return list_audio(folder) if folder.is_dir() else []


def _found(check: SplitCheck, paths: Any, how: Looking) -> dict[Path, AudioInfo]:
    there = [path for path in paths if path.exists()]
    check.missing = [path.relative_to(check.audio).as_posix() for path in paths if not path.exists()]
    if not there:
        check.errors.append(f"{check.audio} holds none of the {len(paths)} listed recordings; unpack it")
    return look_at(check, set(there), how)
