"""Several runs as one Markdown table: mean and standard deviation over seeds, from their records alone.

``python -m sed_lab.report.summary runs/*`` prints it; README's table of the default run is written this way.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sed_lab.errors import InputError, run_command
from sed_lab.files import read_json
from sed_lab.metric.names import system_in
from sed_lab.report.table_text import bullets, origin
from sed_lab.run.answer import mean_sd

COLUMNS = {  # those that no run has are left out
    "event F1, tuned class by class": "event_f1_class_tuned/macro",
    "segment F1, tuned class by class": "segment_f1_class_tuned/macro",
    "PSDS1, tuned class by class": "psds1_class_tuned/exact",
    "PSDS2, tuned class by class": "psds2_class_tuned/exact",
    "event F1": "event_f1/macro",
    "event F1, tuned threshold": "event_f1_tuned/macro",
    "segment F1": "segment_f1/macro",
    "intersection F1": "intersection_f1/macro",
    "PSDS1": "psds1/exact",
    "PSDS2": "psds2/exact",
}


def summary(folders: Iterable[Path]) -> str:
    """A Markdown table with a row a (dataset, loss, system) of the complete runs in ``folders``, and their origin.

    Raises:
        InputError: none of the folders holds a complete run.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for folder in folders:
        record = read_json(folder / "run.json") if (folder / "run.json").exists() else {}
        if record.get("status") == "complete":
            config = record["config"]
            dataset, loss = (config[group]["_target_"].rsplit(".", 1)[-1] for group in ("dataset", "loss"))
            for system in sorted({system_in(name) for name in record["metrics"]}):
                groups[dataset, loss, system].append(record)
    if not groups:
        raise InputError("no complete run among the folders given; name folders below runs/")
    complete = list({record["name"]: record for found in groups.values() for record in found}.values())
    commands = dict.fromkeys(_command(record["command"]) for record in complete)
    there = {name for record in complete for name in record["metrics"]}
    columns = {
        title: name for title, name in COLUMNS.items() if any(f"{system}/{name}" in there for _, _, system in groups)
    }
    lines = [bullets({"command": "`, `".join(commands), **origin(complete)})]
    lines.append("| dataset | loss | system | seeds | " + " | ".join(columns) + " | training |")
    lines.append("|" + " --- |" * (len(columns) + 5))
    for (dataset, loss, system), records in sorted(groups.items()):
        seeds = ", ".join(str(record["seed"]) for record in sorted(records, key=lambda record: record["seed"]))
        metrics = [record["metrics"] for record in records]
        cells = [
            mean_sd([m[f"{system}/{name}"] for m in metrics if m.get(f"{system}/{name}") is not None])
            for name in columns.values()
        ]
        seconds = np.mean([record["training_seconds"] for record in records])
        lines.append(f"| {dataset} | {loss} | {system} | {seeds} | {' | '.join(cells)} | {seconds:.0f} s |")
    return "\n".join(lines) + "\n"


def _command(text: str) -> str:
    """What was asked for, without the seed and what a sweep added."""
    words = [word for word in text.split()[1:] if not word.startswith(("seed=", "hydra.", "-"))]
    return " ".join(["sed-train", *(word for word in words if word != "config")])


def main() -> None:
    """``python -m sed_lab.report.summary FOLDER...``"""
    run_command(lambda: print(summary([Path(word) for word in sys.argv[1:]]), end=""))


if __name__ == "__main__":
    main()
