"""W&B's local files as one table: what a dashboard shows of runs, before or without sending them.

``python -m sed_lab.report.offline runs`` reads every run below the folders given; of a run that was tried several
times, the last try.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sed_lab.errors import InputError, plain, run_command
from sed_lab.run.answer import COLUMNS, number, print_grid
from sed_lab.run.differing import leaves

BEGINS, BLOCK, HEADER = b":W&B", 2**15, 7  # how a file of W&B's begins; bytes of a block, and of what heads a part
WHOLE, LAST = 1, 4  # kinds of parts that end a record
KINDS = {"table-file": "table", "image-file": "picture", "audio-file": "recording", "audio": "recording"}
COLUMNS_SHOWN = 5  # of numbers, the first that any run has
NUMBERS = {"objective": "objective", **{f"answer/{key}": column for column, key in COLUMNS.items()}}


@dataclass(frozen=True)
class Tracked:
    """A run as W&B's file tells it; ``code`` is the exit code, None for one that has not ended, or was killed.

    ``config`` and ``summary`` are nested as W&B keeps them, ``history`` has a row a step, ``artifacts`` maps a name to
    the files in it.
    """

    path: Path
    name: str
    group: str
    job_type: str
    tags: tuple[str, ...]
    notes: str
    config: dict[str, Any]
    summary: dict[str, Any]
    history: list[dict[str, Any]]
    artifacts: dict[str, dict[str, Path]]
    code: int | None

    @property
    def state(self) -> str:
        """``finished``, ``failed``, or ``no end``."""
        return "no end" if self.code is None else "failed" if self.code else "finished"

    @property
    def charts(self) -> dict[str, Any]:
        """What W&B is to draw from tables, by name."""
        return self.config.get("_wandb", {}).get("visualize", {})

    @property
    def media(self) -> dict[str, str]:
        """Tables, pictures and recordings by name: which of these they are; not the tables behind charts."""
        found = {key: value.get("_type") for key, value in self.summary.items() if isinstance(value, dict)}
        behind = {f"{name}_table" for name in self.charts}
        return {key: KINDS[kind] for key, kind in found.items() if kind in KINDS and key not in behind}


def main() -> None:
    """``python -m sed_lab.report.offline FOLDER...``"""
    parser = argparse.ArgumentParser(prog="python -m sed_lab.report.offline", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="folders with runs, or with W&B's files, somewhere below")
    options = parser.parse_args()
    run_command(lambda: show(find(options.folders)))


def find(folders: Sequence[Path]) -> list[Tracked]:
    """The runs below ``folders``, by group and objective, highest first.

    Raises:
        InputError: there is none, or a file cannot be read.
    """
    files = sorted({file.resolve() for folder in folders for file in folder.rglob("*run-*/run-*.wandb")})
    newest = {file.stem: file for file in sorted(files, key=lambda file: file.parent.name.removeprefix("offline-"))}
    if not newest:
        raise InputError(
            f"no file of W&B's below {', '.join(map(str, folders))}; runs with logger=[csv,wandb] leave some"
        )
    runs = [read(file) for file in newest.values()]
    return sorted(runs, key=lambda run: (run.group, _below(_value(run, "objective")), run.name))


def read(path: Path) -> Tracked:
    """A run from W&B's file ``run-*.wandb``, as far as it was written.

    Raises:
        InputError: it is no such file, or damaged.
    """
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2

    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    artifacts: dict[str, dict[str, Path]] = {}
    form: Any = wandb_internal_pb2.Record  # type: ignore[attr-defined]
    run, code = form().run, None
    try:
        for data in records(path):
            record = form.FromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run = record.run
                _update(config, run.config.update)
            elif kind == "config":
                _update(config, record.config.update)
            elif kind == "summary":
                _update(summary, record.summary.update)
            elif kind == "history":
                history.append({})
                _update(history[-1], record.history.item)
            elif kind == "artifact":
                artifacts[record.artifact.name] = _files(record)
            elif kind == "exit":
                code = record.exit.exit_code
    except (DecodeError, ValueError):
        raise InputError(f"{path} is damaged; remove its folder, or write it again") from None
    name, tags = run.display_name or run.run_id, tuple(run.tags)
    return Tracked(path, name, run.run_group, run.job_type, tags, run.notes, config, summary, history, artifacts, code)


def records(path: Path) -> Iterator[bytes]:
    """The records of a file of W&B's, in LevelDB's log format: parts that end with their block, after 7 bytes.

    A part is headed by CRC (4 bytes), length (2) and kind (1). What was not written to its end is left out.

    Raises:
        InputError: the file cannot be read, or is none of W&B's.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not data.startswith(BEGINS):
        raise InputError(f"{path} is no file of W&B's; it would begin with {BEGINS.decode()}")
    at, parts = HEADER, b""
    while at + HEADER <= len(data):
        if (left := BLOCK - at % BLOCK) < HEADER:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        at += HEADER + length
        if at > len(data):
            return
        parts += data[at - length : at]
        if kind in (WHOLE, LAST):
            yield parts
            parts = b""


def _update(target: dict[str, Any], items: Any) -> None:
    for item in items:
        keys = [*item.nested_key] or [item.key]
        node = target
        for key in keys[:-1]:
            if not isinstance(node.get(key), dict):
                node[key] = {}
            node = node[key]
        node[keys[-1]] = json.loads(item.value_json)


def _files(record: Any) -> dict[str, Path]:
    return {entry.path: Path(entry.local_path) for entry in record.artifact.manifest.contents}


def settings_of(runs: Sequence[Tracked]) -> list[str]:
    """In words, what each run was configured to that others were not: options, seed, and keys of options alike."""
    found = [_settings(run.config) for run in runs]
    keys = dict.fromkeys(key for own in found for key in own)
    varied = [key for key in keys if len({repr(own.get(key)) for own in found}) > 1]
    options = {key for key in varied if "." not in key}
    shown = [key for key in varied if key in options or key.partition(".")[0] not in options]
    return [" ".join(f"{key}={own[key]}" for key in shown if key in own) for own in found]


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options by their groups, and other values by their keys; not what is only logged, reported or kept elsewhere."""
    left_out = ("_wandb", "options", "setting", "logger", "paths", "report")
    own = {key: value for key, value in config.items() if key not in left_out}
    chosen = {key: value for key, value in config.get("options", {}).items() if key not in left_out}
    return {**chosen, **dict(leaves(own))}


def _below(value: float | None) -> float:
    """What sorts the highest value first, and none at the end."""
    return math.inf if value is None else -value


def _value(run: Tracked, key: str) -> float | None:
    """A number of the summary; of a run that has not ended the objective is its highest one so far."""
    value = run.summary.get(key)
    if value is None and key == "objective":
        validated = run.summary.get("val/objective")
        value = validated.get("max") if isinstance(validated, dict) else validated
    return value if isinstance(value, int | float) else None


def grid_of(runs: Sequence[Tracked]) -> tuple[list[str], list[list[str]], int]:
    """Head and lines of the table, a line a run, and how many columns of words come before its numbers."""
    keys = [key for key in NUMBERS if any(_value(run, key) is not None for run in runs)][:COLUMNS_SHOWN]
    words = {"settings": settings_of(runs), "group": [run.group for run in runs], "state": [run.state for run in runs]}
    words = {name: column for name, column in words.items() if any(column)}
    head = [*words, *(NUMBERS[key] for key in keys), "there is", "run"]
    lines = []
    for run, *own in zip(runs, *words.values(), strict=True):
        counts = Counter(chart=len(run.charts), table=0, picture=0, recording=0, model=len(_models(run)))
        for key, kind in run.media.items():
            counts[kind] += run.summary[key].get("count", 1)
        there = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items() if count)
        lines.append([*own, *(number(_value(run, key)) for key in keys), there, run.name])
    return head, lines, len(words)


def _models(run: Tracked) -> list[str]:
    """Artifacts that hold a detector; W&B keeps each table as one too."""
    return [name for name, files in run.artifacts.items() if "detector.ckpt" in files]


def show(runs: Sequence[Tracked]) -> None:
    """The table of ``runs`` on the terminal, and why those failed that did."""
    head, lines, left = grid_of(runs)
    print_grid(head, lines, left=left)
    for run in runs:
        if run.state == "failed":
            print(plain(f"{run.name} failed: {run.summary.get('failure') or f'exit code {run.code}'}"), file=sys.stderr)


if __name__ == "__main__":
    main()
