"""What a run came to, in a few numbers: of each system, by the decoder that detects."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sed_lab.errors import plain, visible
from sed_lab.run.record import best_in_words, minutes_of
from sed_lab.waiting import time_in_words

UNDEFINED = "\u2013"  # a class without reference events has no F1
COLUMNS = {
    "event F1": "event_f1/macro",
    "segment F1": "segment_f1/macro",
    "PSDS1": "psds1/exact",
    "PSDS2": "psds2/exact",
    "tagging F1": "tagging_f1/macro",
    "EER": "eer/macro",
    "argmax accuracy": "accuracy/argmax",
    "element-wise accuracy": "accuracy/element_wise",
}
"""What is looked for first, where a run has it."""


def answer(record: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By system, the best on held-out clips first, the numbers of `COLUMNS` on the test clips that a record has.

    They are of decoders tuned class by class where the system has such, else of the decoder as configured.
    """
    metrics, tuned = record.get("metrics") or {}, tuned_of(record)
    first = (*((tuned["system"],) if tuned else ()), *record.get("systems", ()))
    found = {}
    for system in dict.fromkeys(first):
        named = {column: name_of(system, column, system in tuned.get("systems", {})) for column in COLUMNS}
        plain_ones = {column: name_of(system, column, False) for column in COLUMNS}
        values = {column: metrics.get(named[column], metrics.get(plain_ones[column])) for column in COLUMNS}
        found[system] = {column: float(value) for column, value in values.items() if value is not None}
    return {system: values for system, values in found.items() if values}


def name_of(system: str, column: str, tuned: bool) -> str:
    """The name of a number of `COLUMNS` as records have it, ``tuned`` class by class or not."""
    score, _, key = COLUMNS[column].partition("/")
    return f"{system}/{score}{'_class_tuned' if tuned else ''}/{key}"


def tuned_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a record notes of decoders tuned class by class, as `sed_lab.run.tuned` says; empty where nothing was."""
    return (record.get("detector") or {}).get("tuned") or {}


def answer_grid(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """`answer` as head and lines of a table, with the decoder of each system in words; no lines where it is empty."""
    tuned, found = tuned_of(record), answer(record)
    columns = [column for column in COLUMNS if any(column in values for values in found.values())]
    lines = [
        [system, decoder_in_words(tuned, system), *(number(values.get(column)) for column in columns)]
        for system, values in found.items()
    ]
    return ["test clips", "decoder", *columns], lines


def beside_answer(record: Mapping[str, Any]) -> dict[str, str]:
    """What the numbers of an answer are of, in words: the decoders tuned, the weights kept, and the time it took."""
    tuned, said, minutes = tuned_of(record), best_in_words(record), minutes_of(record)
    facts = {}
    if tuned:
        facts["decoders"] = f"tuned class by class on {tuned['on']}, where {tuned['system']} was best"
    if said:
        facts["kept weights"] = said
    if minutes is not None:
        trained = record.get("training_seconds")
        facts["time"] = time_in_words(60 * minutes) + (
            "" if trained is None else f", training {time_in_words(trained)}"
        )
    return facts


def print_answer(folder: Path, record: Mapping[str, Any], page: Path | None) -> None:
    """The answer of a complete run as a table, which weights and decoders it is of, the time, and where all lies."""
    head, lines = answer_grid(record)
    if lines:
        print_grid(head, lines, left=2)
    for name, said in beside_answer(record).items():
        print(plain(f"{name}: {said}"))
    print(f"run: {folder}")
    if page:
        print(f"page: {page}")


def decoder_in_words(tuned: Mapping[str, Any], system: str) -> str:
    """What decodes ``system``: the kind of the one tuned class by class, else the decoder as configured."""
    from sed_lab.run.tuned import in_words

    own = tuned.get("systems", {}).get(system)
    return in_words(str(own[own["best"]]["decoder"]["decoder"])) if own else "as configured"


def mean_sd(values: Sequence[float], digits: int = 3) -> str:
    """``0.413 ± 0.039``, or the number alone where there is one only; empty where there is none."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}"


def number(value: float | None) -> str:
    """Three decimals; a dash where there is no number."""
    return UNDEFINED if value is None else f"{value:.3f}"


def print_grid(
    head: Sequence[str], lines: Iterable[Sequence[str]], left: int = 1, title: str = "", stderr: bool = False
) -> None:
    """A table on the terminal, its first ``left`` columns of words; cells stay whole in a narrow one."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(visible(title)) if title else None, box=SIMPLE, pad_edge=False)
    for number_, name in enumerate(head):
        table.add_column(Text(visible(name)), justify="left" if number_ < left else "right", no_wrap=True)
    for line in lines:
        table.add_row(*(Text(visible(cell)) for cell in line))  # what stands in records is never markup
    console = Console(stderr=stderr)
    needed = Console(width=1000).measure(table).maximum
    Console(stderr=stderr, width=max(needed, console.width)).print(table)
