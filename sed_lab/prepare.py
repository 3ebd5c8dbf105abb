"""``sed-prepare``: look at and prepare a corpus on disk. One function a subcommand; heavy imports wait inside it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sed_lab.errors import InputError, run_command

if TYPE_CHECKING:
    from sed_lab.dataset.check import SplitCheck

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


CORPORA = {
    "desed": "DESED, DCASE 2021 task 4, folder with audio/ and metadata/",
    "dcase2018": "DCASE 2018 task 4 with 2019's synthetic set, folder with audio/ and metadata/",
    "tut_rare": "TUT Rare Sound Events 2017, folder with data/ (or the baseline's generated_data/)",
    "audioset_rare": "AudioSet's segment lists and recordings, folder with *segments.csv and audio/",
    "audioset_embeddings": "AudioSet's embeddings, folder with bal_train/, eval/, unbal_train/, or what was made of it",
    "soundbank": "your own sounds, a folder for each class, or ESC-10 or ESC-50",
    "folder": "your own recordings, annotated beside them: Raven, Audacity, TSV, CSV",
    "layout": "your own data in DESED's layout",
}


def main() -> None:
    """Entry point of ``sed-prepare``."""
    run_command(lambda: prepare(sys.argv[1:]))


def prepare(arguments: list[str]) -> int:
    """Run one subcommand; returns the exit code."""
    parser = argparse.ArgumentParser(prog="sed-prepare", description="Check, describe and prepare a corpus.")
    commands = parser.add_subparsers(title="subcommands", required=True, metavar="COMMAND")
    for add in (_add_check, _add_stats, _add_resample, _add_embeddings, _add_checkpoint, _add_cache):
        add(commands)
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code


def _add_check(commands: Commands) -> None:
    parser = commands.add_parser(
        "check",
        help="say what is there, missing and wrong in a corpus",
        description="Say what is there, missing and wrong, subset by subset. Exit code 0: complete, or warnings only; "
        "2: errors (wrong folder, annotations, corrupt recordings, no audio).",
        epilog="; ".join(f"{name}: {what}" for name, what in CORPORA.items()),
    )
    parser.add_argument("corpus", choices=tuple(CORPORA), metavar="CORPUS", help=", ".join(CORPORA))
    parser.add_argument(
        "folder", type=Path, help="what dataset.folder is set to (soundbank: bank_folder, folder: audio_folder)"
    )
    parser.add_argument("--quick", action="store_true", help="read headers only, do not decode the audio")
    parser.add_argument("--jobs", type=int, help="threads (default: all cores)")
    parser.add_argument("--missing", type=Path, metavar="FILE", help="write all missing recordings to this file")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=check)


def check(options: argparse.Namespace) -> int:
    """``sed-prepare check CORPUS FOLDER``."""
    from sed_lab.files import write_text

    if options.jobs is not None and options.jobs < 1:
        raise InputError(f"--jobs {options.jobs} needs to be 1 or more")
    checks = _checks_of(options)
    if options.missing:
        write_text(options.missing, "".join(f"{one.subset}\t{name}\n" for one in checks for name in one.missing))
    if options.json:
        print(json.dumps([dataclasses.asdict(one) for one in checks], indent=1, default=str))
    else:
        _print_checks(checks)
    return 2 if any(one.errors or one.bad for one in checks) else 0


def _checks_of(options: argparse.Namespace) -> list[SplitCheck]:
    """The findings on the corpus, with the settings that its option of dataset= has."""
    from omegaconf import OmegaConf

    from sed_lab.app import conf_folder
    from sed_lab.clip.layout import classes_of
    from sed_lab.dataset.audioset_labels import numbered
    from sed_lab.dataset.check import Looking
    from sed_lab.dataset.check_audioset import check_audioset_rare, check_embeddings
    from sed_lab.dataset.check_folder import check_folder
    from sed_lab.dataset.check_layout import check_layout
    from sed_lab.dataset.check_soundbank import check_soundbank
    from sed_lab.dataset.check_tut_rare import check_tut_rare
    from sed_lab.dataset.dcase2018 import check_dcase2018
    from sed_lab.dataset.desed import check_desed

    folder, how = options.folder, Looking(not options.quick, options.jobs, progress=True)
    option = "desed" if options.corpus == "layout" else options.corpus
    settings = OmegaConf.load(conf_folder() / "dataset" / f"{option}.yaml")
    if options.corpus == "desed":
        return check_desed(folder, settings.sample_rate, how)
    if options.corpus == "dcase2018":
        return check_dcase2018(folder, settings.sample_rate, how)
    if options.corpus == "tut_rare":
        return check_tut_rare(folder, settings.sample_rate, settings.train, settings.test, how)
    if options.corpus == "audioset_rare":
        return check_audioset_rare(folder, settings.classes, settings.exclude, settings.sample_rate, how)
    if options.corpus == "audioset_embeddings":
        return check_embeddings(folder, numbered(settings.classes, folder), how)
    if options.corpus == "soundbank":
        cut = (settings.event_range_db, settings.event_gap_seconds)
        return check_soundbank(folder, settings.sample_rate, *cut, how)
    if options.corpus == "folder":
        return check_folder(folder, settings.sample_rate, settings.clip_seconds, settings.shares, settings.seed, how)
    return check_layout(folder, settings.sample_rate, classes_of(folder), how=how)


def _print_checks(checks: list[SplitCheck]) -> None:
    from sed_lab.dataset.check import effect

    columns = ("subset", "expected", "listed", "found", "missing", "unlisted", "corrupt")
    rows = [
        (one.subset, one.expected or "-", one.listed, one.found, len(one.missing), one.unlisted, len(one.bad))
        for one in checks
    ]
    _print_table(columns, rows)
    for one in checks:
        for text in one.errors:
            print(f"error: {one.subset}: {text}")
        for path, reason in one.bad:
            print(f"error: {one.subset}: {path} {reason}")
        if one.missing and one.found:
            more = f" and {len(one.missing) - 5} more (--missing FILE lists them)" if len(one.missing) > 5 else ""
            print(f"warning: {one.subset}: {one.found} of {one.listed} found; not {', '.join(one.missing[:5])}{more}")
        for text in one.warnings:
            print(f"warning: {one.subset}: {text}")
        for text in one.notes:
            print(f"note: {one.subset}: {text}")
    for text in filter(None, map(effect, checks)):
        print(f"effect: {text}")
    n_errors = sum(len(one.errors) + len(one.bad) for one in checks)
    print(f"{n_errors} errors" if n_errors else "no errors")


def _add_stats(commands: Commands) -> None:
    parser = commands.add_parser(
        "stats",
        help="count events, frames and durations per class",
        description="Per class of every labelled split: clips, events, seconds, active frames m_c, their share r_c and "
        "recordings in the sound bank V_c (Park & Elhilali 2022). Reads annotations only.",
    )
    parser.add_argument("folder", type=Path, help="a corpus in DESED's layout (metadata/ is enough)")
    parser.add_argument("--frame-hop", type=float, default=0.064, help="seconds of an output frame (default: 0.064)")
    parser.add_argument("--clip-seconds", type=float, default=10.0, help="length of a clip (default: 10)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=stats)


def stats(options: argparse.Namespace) -> int:
    """``sed-prepare stats FOLDER``."""
    from sed_lab.clip.annotation import read_bank
    from sed_lab.clip.corpus import statistics_rows
    from sed_lab.clip.layout import known_classes, soundbank_of
    from sed_lab.dataset.check_layout import describe_layout
    from sed_lab.dataset.desed import CLASSES, DESED_SOURCE_CLIPS

    if not (options.frame_hop > 0 and options.clip_seconds >= options.frame_hop):
        raise InputError(f"--frame-hop {options.frame_hop} needs to be above 0 and at most --clip-seconds")
    classes = known_classes(options.folder)
    source_clips = DESED_SOURCE_CLIPS if classes == CLASSES else None
    if soundbank_of(options.folder).is_file():
        source_clips, _ = read_bank(soundbank_of(options.folder), classes)
    described = describe_layout(options.folder, classes, options.frame_hop, options.clip_seconds, source_clips)
    if options.json:
        print(json.dumps({name: statistics_rows(one) for name, one in described.items()}, indent=1))
        return 0
    for name, one in described.items():
        rows = statistics_rows(one)
        print(f"{name}: {one.total_clips} clips, {int(one.events.sum())} events, {one.total_frames} frames")
        _print_table(tuple(rows[0]), [tuple("-" if v is None else v for v in row.values()) for row in rows])
    return 0


def _add_resample(commands: Commands) -> None:
    parser = commands.add_parser(
        "resample",
        help="copy a folder of recordings at another sample rate",
        description="Write mono 16 bit copies; files already there are kept, so an interrupted call can be repeated.",
    )
    parser.add_argument("source", type=Path, help="folder of recordings")
    parser.add_argument("target", type=Path, help="folder for the copies, made where absent")
    parser.add_argument("--sample-rate", type=int, default=16000, help="in Hz (default: 16000)")
    parser.add_argument("--jobs", type=int, help="threads (default: all cores)")
    parser.set_defaults(run=resample)


def resample(options: argparse.Namespace) -> int:
    """``sed-prepare resample SOURCE TARGET``."""
    from sed_lab.clip.audio_folder import resample_folder

    made, kept = resample_folder(options.source, options.target, options.sample_rate, options.jobs)
    print(f"{made} recordings written to {options.target}, {kept} were there")
    return 0


def _add_embeddings(commands: Commands) -> None:
    parser = commands.add_parser(
        "embeddings",
        help="convert AudioSet's embeddings to a form that is read at once",
        description="Write the clips of ten rows of audioset_v1_embeddings (TFRecords) into a folder that training maps"
        " into memory: 1.3 kB a clip. Damaged records are left out and named in its index.json. An interrupted call can"
        " be repeated and goes on where it was.",
    )
    parser.add_argument("source", type=Path, help="audioset_v1_embeddings, which holds bal_train/, eval/, unbal_train/")
    parser.add_argument("target", type=Path, help="folder to write, to be named as dataset.folder")
    parser.add_argument("--subsets", nargs="+", metavar="NAME", help="which of them (default: all that are there)")
    parser.set_defaults(run=embeddings)


def embeddings(options: argparse.Namespace) -> int:
    """``sed-prepare embeddings SOURCE TARGET``."""
    from sed_lab.clip.embedding_store import SHARDS, convert

    subsets = options.subsets or [name for name in SHARDS if (options.source / name).is_dir()]
    index = convert(options.source, options.target, subsets or list(SHARDS))
    columns = ("subset", "shards", "records", "ten rows", "other", "damaged")
    rows = []
    for name, one in index["subsets"].items():
        other = one["records"] - one["kept"] - one["damaged"]
        rows.append((name, one["shards"], one["records"], one["kept"], other, one["damaged"]))
    _print_table(columns, rows)
    for name, one in index["subsets"].items():
        for damage in one["damage"]:
            lost = "; the rest of the file is lost" if damage["rest_lost"] else ""
            print(f"skipped: {name}/{damage['file']}: record at byte {damage['position']}: {damage['reason']}{lost}")
    return 0


def _add_checkpoint(commands: Commands) -> None:
    parser = commands.add_parser(
        "checkpoint",
        help="make a run of a published checkpoint",
        description="Write a run's folder from a published checkpoint: its weights, nothing that could run code."
        " sed-predict detects with it, and `sed-evaluate run=FOLDER dataset=desed dataset.folder=...` scores and"
        " measures it.",
    )
    parser.add_argument("system", choices=("dcase2021",), help="dcase2021: the DCASE 2021 task 4 baseline")
    parser.add_argument("file", type=Path, help="the baseline's Lightning checkpoint, a .ckpt file")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="as runs/NAME")
    parser.set_defaults(run=checkpoint)


def checkpoint(options: argparse.Namespace) -> int:
    """``sed-prepare checkpoint SYSTEM FILE -o FOLDER``."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from sed_lab.app import conf_folder
    from sed_lab.dataset.desed import CLASSES
    from sed_lab.run.imported import import_baseline

    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = OmegaConf.to_container(compose(options.system, overrides=["logger=[]"]), resolve=True)
    assert isinstance(config, dict)
    import_baseline(options.file, options.output, {str(key): value for key, value in config.items()}, CLASSES)
    print(f"{options.output}: student and teacher of {options.file.name}")
    return 0


def _add_cache(commands: Commands) -> None:
    parser = commands.add_parser(
        "cache",
        help="compare what was made in the cache with the checksums noted when it was made",
        description="Read all corpora and features that sed_lab made below a folder; name the files that are gone or"
        " damaged. A run itself looks at sizes only. Exit code 2: some are damaged.",
    )
    parser.add_argument("folder", type=Path, help="the cache folder, or one that was made there")
    parser.set_defaults(run=check_cache)


def check_cache(options: argparse.Namespace) -> int:
    """``sed-prepare cache FOLDER``."""
    from sed_lab.clip.intact import damaged, made_below
    from sed_lab.errors import some

    made = list(made_below(options.folder))
    if not made:
        raise InputError(f"{options.folder} holds nothing that sed_lab made; name the folder that SED_LAB_CACHE names")
    bad = {folder: names for folder in made if (names := damaged(folder, read=True))}
    for folder, names in bad.items():
        print(f"error: {folder}: {some(names)} is gone or damaged; remove this folder, and it is made again")
    print(f"{len(made)} made folders, {len(bad)} of them damaged")
    return 2 if bad else 0


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=SIMPLE, pad_edge=False)
    for column in table.columns:
        column.justify, column.no_wrap = "right", True
    table.columns[0].justify = "left"
    for row in rows:
        table.add_row(*map(str, row))
    needed = Console(width=1000).measure(table).maximum  # names stay whole in a narrow window or a pipe
    Console(width=max(needed, Console().width)).print(table)


if __name__ == "__main__":
    main()
