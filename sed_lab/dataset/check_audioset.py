"""What is there, missing and wrong in a copy of AudioSet: its segment lists and recordings, or its embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sed_lab.clip.audio_folder import find_audio, in_threads
from sed_lab.clip.embedding_store import INDEX, SHARDS, EmbeddingStore, list_shards
from sed_lab.clip.place import refuse_elsewhere
from sed_lab.clip.tfrecord import ROWS, Damage, Tally, count_records, read_clips
from sed_lab.dataset.audioset_rare import clips_by_class, read_segments, segment_lists
from sed_lab.dataset.check import Looking, SplitCheck, compare, look_at, named
from sed_lab.dataset.rare_clips import BACKGROUND
from sed_lab.errors import InputError
from sed_lab.waiting import track


def check_audioset_rare(
    folder: Path,
    classes: Mapping[str, Sequence[str]],
    exclude: Sequence[str],
    sample_rate: int,
    how: Looking = Looking(),  # noqa: B008
) -> list[SplitCheck]:
    """Of each class's listed clips the recordings there are, what is wrong with them, and which clips have none.

    Raises:
        InputError: as `read_audioset_rare`; ``folder`` is not the one that holds the lists.
    """
    refuse_elsewhere(folder, ("*segments.csv", "audio"), "AudioSet's *segments.csv and audio/")
    audio = folder / "audio"
    if not audio.is_dir():
        there = sorted({path.parent for path in find_audio(folder)})
        hint = f"move or link {named([str(path) for path in there])} into it" if there else "put the recordings there"
        raise InputError(f"{audio} is not a folder; {hint}")
    checks, used = [], set()
    for name, (segments, paths) in clips_by_class(folder, classes, exclude).items():
        missing = [one.ytid for one in segments if one not in paths]
        check = SplitCheck(name, audio, listed=len(segments), found=len(paths), missing=missing)
        if segments and not paths:
            check.errors.append(f"{audio} holds none of the {len(segments)} listed recordings")
        elif not segments:
            check.errors.append(f"the lists in {folder} name no clip of it")
        look_at(check, set(paths.values()), how)
        used |= set(paths.values())
        checks.append(check)
    background = next(check for check in checks if check.subset == BACKGROUND)
    if left := _unlisted(folder, [path for path in find_audio(audio) if path not in used]):
        background.unlisted = len(left)
        which = named([path.relative_to(audio).as_posix() for path in left])
        background.warnings.append(f"{len(left)} recordings are in no list and are not used: {which}")
    background.warnings += [text for path in segment_lists(folder) if (text := _shortened(path))]
    compare(checks, sample_rate)
    return checks


def _unlisted(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Those of the recordings whose video no list names; others are of clips that are left out."""
    if not paths:
        return []
    known = {one.ytid for path in segment_lists(folder) for one in read_segments(path)}

    def videos(stem: str) -> set[str]:
        cut = {stem, stem.rpartition("_")[0], stem.rpartition("_")[0].rpartition("_")[0]}
        return cut | {name[1:] for name in cut if name.startswith("Y")}

    return [path for path in paths if known.isdisjoint(videos(path.stem))]


def _shortened(path: Path) -> str:
    """What is to be said of a list with another number of lines than its own header says."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = sum(bool(line.strip()) and not line.startswith("#") for line in lines)
    words = [word for line in lines[:5] if line.startswith("#") for word in line.strip("# ").split(", ")]
    said = [word.partition("=")[2] for word in words if word.startswith("num_segs=")]
    return "" if not said or said[0] == str(found) else f"{path} lists {found} clips where its header says {said[0]}"


@dataclass
class _Found:
    """What one shard holds: records (where only headers are read), or clips; ``of_class`` counts those of ten rows."""

    tally: Tally = field(default_factory=Tally)
    records: int = 0
    of_class: Counter[str] = field(default_factory=Counter)
    error: str = ""


def check_embeddings(
    folder: Path,
    classes: Mapping[str, int],
    how: Looking = Looking(),  # noqa: B008
) -> list[SplitCheck]:
    """Read every shard of the released ``folder`` and say what is in it, subset by subset; nothing is written.

    ``listed`` counts records. ``found`` counts clips of ten rows and damaged records: as with recordings, the usable
    ones are those found that are not bad. ``expected`` is not given, as only the number of shards is published. Headers
    alone say how many records there are, not of how many rows. Of a converted folder the sizes of its files and what
    its index says are looked at.

    Args:
        classes: the number of AudioSet's label for each class, to count its clips.

    Raises:
        InputError: there is none of the subsets; a converted folder is not complete.
    """
    refuse_elsewhere(folder, (*SHARDS, INDEX), f"{', '.join(f'{name}/' for name in SHARDS)}, or what was made of them")
    if (folder / INDEX).is_file():
        return _check_store(folder, classes)
    checks = [SplitCheck(name, folder / name) for name in SHARDS]
    for check in checks:
        if not check.audio.is_dir():
            check.warnings.append(f"{check.audio} is absent")
            continue
        try:
            paths = [shard.path for shard in list_shards(folder, check.subset, broken=True)]
        except InputError as error:
            check.errors.append(str(error))
            continue
        _check_shards(check, paths, classes, how)
    return checks


def _check_shards(check: SplitCheck, paths: Sequence[Path], classes: Mapping[str, int], how: Looking) -> None:
    def look(path: Path) -> _Found:
        found = _Found()
        try:
            if path.exists() and not path.stat().st_size:
                raise InputError(f"{path} is empty (0 bytes); restore it")
            if not how.decode:
                found.records = count_records(path, found.tally.take)
                return found
            for record in read_clips(path, found.tally):
                found.of_class.update(name for name, label in classes.items() if label in record.labels)
        except InputError as error:
            found.error = str(error)
        return found

    rows: Counter[int] = Counter()
    of_class, records = Counter(dict.fromkeys(classes, 0)), 0
    results = in_threads(look, paths, how.jobs)
    for path, one in zip(paths, track(results, len(paths), f"checking {check.subset}", how.progress), strict=True):
        check.errors += [one.error] if one.error else []
        check.bad += _damage(path, one.tally)
        rows += one.tally.rows
        of_class.update(one.of_class)
        records += one.records + one.tally.rows.total() + one.tally.damaged
    check.listed = records
    check.found = (rows[ROWS] if how.decode else records - len(check.bad)) + len(check.bad)
    if len(paths) != SHARDS[check.subset]:
        check.warnings.append(f"{len(paths)} files are there where the published set has {SHARDS[check.subset]}")
    if not how.decode:
        return
    if others := {count: found for count, found in sorted(rows.items()) if count != ROWS}:
        said = ", ".join(f"{found} of {count}" for count, found in others.items())
        check.warnings.append(f"{sum(others.values())} clips have not {ROWS} rows and are left out: {said}")
    _say_classes(check, of_class)


def _damage(path: Path, tally: Tally) -> list[tuple[str, str]]:
    found = [(str(path), str(one)) for one in tally.damage]
    if tally.damaged > len(tally.damage):
        found.append((str(path), f"{tally.damaged - len(tally.damage)} more damaged records"))
    return found


def _say_classes(check: SplitCheck, of_class: Mapping[str, int]) -> None:
    if of_class:
        check.notes.append(f"clips of {ROWS} rows: {', '.join(f'{name} {n}' for name, n in of_class.items())}")


def _check_store(folder: Path, classes: Mapping[str, int]) -> list[SplitCheck]:
    store = EmbeddingStore(folder)
    checks = []
    for number, name in enumerate(store.subsets):
        one = store.index["subsets"][name]
        check = SplitCheck(name, folder, listed=one["records"], found=one["kept"])
        if one["damaged"]:
            lost = [str(Damage(row["position"], row["reason"], row["rest_lost"])) for row in one["damage"]]
            check.warnings.append(f"{one['damaged']} records were damaged and left out: {named(lost)}")
        if one["shards"] != SHARDS.get(name):
            published = f"where the published set has {SHARDS.get(name)}"
            check.warnings.append(f"{one['shards']} files were converted {published}")
        if not one["kept"]:
            check.errors.append(f"{folder} holds no clip of {name}")
        here = store.subset == number
        _say_classes(check, {label: int((store.has_label(n) & here).sum()) for label, n in classes.items()})
        checks.append(check)
    return checks
