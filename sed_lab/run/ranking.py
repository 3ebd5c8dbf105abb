"""The runs of a sweep, ranked by the objective: what they override, mean and deviation over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sed_lab.run.answer import COLUMNS, answer, mean_sd, number
from sed_lab.run.differing import differing
from sed_lab.run.record import read_record

TEST_COLUMNS = 2  # of the test clips, beside the objective
NOT_RANKED = "in the order of their jobs: with another {} objectives are not comparable"
RANKED = "ranked by the objective, measured in validation; what stands right of it is of the test clips"


@dataclass(frozen=True)
class Setting:
    """Jobs that override the same but the seed: their ``seeds``, the ``records`` of those that are done, in words why
    others are not, and the folder of each."""

    words: str
    seeds: list[str]
    records: list[Mapping[str, Any]]
    wrong: list[str]
    folders: list[Path]

    def values(self, column: str = "") -> list[float]:
        """A number of `COLUMNS` of each run's best system on the test clips, or the objective."""
        if not column:
            return [float(one["objective"]) for one in self.records if one.get("objective") is not None]
        best = [next(iter(answer(one).values()), {}) for one in self.records]
        return [own[column] for own in best if column in own]


def settings_of(jobs: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """The jobs of a sweep by what they override beside the seed, in their order.

    A job has ``folder``, ``status``, ``reason`` and ``overrides``; what all jobs override alike is left out of the
    words, and a job of which no overrides are known goes by its folder.
    """
    split = [dict(word.partition("=")[::2] for word in job["overrides"]) for job in jobs]
    varied = {
        key for own in split for key in own if key != "seed" and any(other.get(key) != own[key] for other in split)
    }
    found: dict[str, Setting] = {}
    for job, own in zip(jobs, split, strict=True):
        words = " ".join(f"{key}={value}" for key, value in own.items() if key in varied)
        words = words or ("" if own else Path(job["folder"]).name)
        setting = found.setdefault(words, Setting(words, [], [], [], []))
        setting.seeds.append(own.get("seed", ""))
        setting.folders.append(Path(job["folder"]))
        record = read_record(Path(job["folder"])) if job["status"] == "done" else None
        if record is None:
            setting.wrong.append(job["status"])
        else:
            setting.records.append(record)
    return list(found.values())


def ranked(settings: Sequence[Setting]) -> tuple[list[Setting], str]:
    """Settings by their mean objective, highest first, and in words how they are ordered.

    What has no objective, or a run that is not done, comes after those that have all: a mean over fewer runs than were
    asked for would be compared with one over all of them. Without a common objective they stay in their order.
    """
    whole = [one for one in settings if not one.wrong and len(one.values()) == len(one.records)]
    if kind := _differing([record for one in whole for record in one.records]):
        return list(settings), NOT_RANKED.format(kind)
    order = sorted(whole, key=lambda one: -statistics.fmean(one.values()))
    return [*order, *(one for one in settings if one not in whole)], RANKED if whole else "nothing was validated"


def _differing(records: Sequence[Mapping[str, Any]]) -> str:
    """What makes objectives of other kinds, if anything: the data they are measured on, or what they sum."""
    kinds = [_kind(record) for record in records]
    seeds = [record["seed"] for record in records]
    for kind, seed in zip(kinds[1:], seeds[1:], strict=True):
        if keys := differing(kinds[0], kind, seeds[0], seed):
            return keys[0].partition(".")[0]
    return ""


def _kind(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run's configuration its objective depends on, beside how good it is."""
    config = record["config"]
    own = config.get("objective")
    method = config["method"]["_target_"] if own is None else None  # whose objective it then is
    zero_score = (config.get("metric") or {}).get("zero_score")
    loss = config.get("loss") if (record.get("objective") or 0) < 0 else None  # the objective is that loss, negative
    kind = {"dataset": config.get("dataset"), "objective": own, "method": method, "metric": zero_score}
    return {**kind, "loss": loss}


def grid_of(settings: Sequence[Setting]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the table of `ranked` settings."""
    seeded, single = any(any(one.seeds) for one in settings), all(len(one.folders) == 1 for one in settings)
    columns = [column for column in COLUMNS if any(one.values(column) for one in settings)][:TEST_COLUMNS]
    head = ["run", *(["seeds"] if seeded else []), "objective", *columns, *(["folder"] if single else [])]
    lines = []
    for one in settings:
        missing = f" ({', '.join(f'{one.wrong.count(word)} {word}' for word in dict.fromkeys(one.wrong))})"
        line = [(one.words or "all") + (missing if one.wrong else "")]
        line += [", ".join(one.seeds)] if seeded else []
        line += [mean_sd(one.values(column)) or number(None) for column in ("", *columns)]
        lines.append([*line, *([one.folders[0].name] if single else [])])
    return head, lines
