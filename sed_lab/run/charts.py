"""What Weights & Biases shows of a finished run: numbers, per-class table, charts, pictures, recordings, the model.

Charts are drawn by W&B from their points (``wandb.plot``), so that those of several runs lie over each other there.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sed_lab.files import read_json, write_json
from sed_lab.run.answer import COLUMNS, answer, decoder_in_words, tuned_of
from sed_lab.run.tuned import in_words

if TYPE_CHECKING:
    import wandb

PSDS = ("psds1", "psds2")
BARS = ("event_f1_class_tuned", "event_f1", "tagging_f1")  # the first that a run has is drawn class by class
OF_CLIPS = ("tagging_f1", "eer", "ranking", "accuracy")  # measured from scores of clips, without a decoder
FACTS = ("objective", "best_epoch", "epochs", "training_seconds")  # of the record
BAR, BAR_TITLE = "charts/per_class_f1", "F1 of each class, best system"
X_TITLE = "effective FP rate [per hour]"
WORDS = ("subset", "system", "metric", "event_label")  # columns of per_class.csv that hold no numbers


def numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    """A complete run's summary: every metric as ``test/...``, and as ``answer/...`` those that runs are compared by.

    The latter are of the best system on held-out clips by the decoder that detects, as `sed_lab.run.answer` says, so
    that they have the same names whatever systems a method has.
    """
    found: dict[str, Any] = {f"test/{name}": value for name, value in record["metrics"].items()}
    found |= {name: record[name] for name in FACTS if record.get(name) is not None}
    for system, values in list(answer(record).items())[:1]:
        found |= {"answer/system": system, "answer/decoder": decoder_in_words(tuned_of(record), system)}
        found |= {f"answer/{COLUMNS[column]}": value for column, value in values.items()}
    return found


def charts(folder: Path, best: str | None) -> dict[str, Any]:
    """The per-class table, and charts: F1 class by class of the system ``best``, and the PSD-ROC of each scenario."""
    import wandb

    metrics, curves = read_json(folder / "metrics.json"), read_json(folder / "curves.json")
    found: dict[str, Any] = {}
    if rows := _per_class(folder / "per_class.csv", metrics):
        found["per_class"] = wandb.Table(columns=[*rows[0]], data=[[*row.values()] for row in rows])
    if bars := _bars(rows, metrics["subset"], best):
        table = wandb.Table(columns=["event_label", "F1"], data=bars)
        found[BAR] = wandb.plot.bar(table, "event_label", "F1", BAR_TITLE)
    for name in PSDS:
        lines = {system: own[name] for system, own in curves.items() if own.get(name)}
        if lines:
            x, y = zip(*(staircase(line["efpr"], line["etpr"]) for line in lines.values()), strict=True)
            found[f"charts/{name}"] = wandb.plot.line_series(x, y, [*lines], curve_title(name), X_TITLE)
    return found


def curve_title(name: str) -> str:
    """The title of the PSD-ROC of one of `PSDS`."""
    return f"PSD-ROC of {name.upper()}: effective TP rate, by the decoder as configured"


def _per_class(path: Path, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of per_class.csv, and after the metric the decoder that it was measured by."""
    with path.open(encoding="utf-8", newline="") as file:
        read = [*csv.DictReader(file)]
    rows = []
    for row in read:
        named = {**{name: row[name] for name in WORDS}, "decoder": measured_by(metrics, row["system"], row["metric"])}
        rows.append(named | {name: float(text) if text else None for name, text in row.items() if name not in WORDS})
    return rows


def measured_by(metrics: Mapping[str, Any], system: str, metric: str) -> str:
    """The decoder behind a metric of a system, in words; empty for one that is measured without any.

    ``metrics`` is what `sed_lab.evaluate.measure_run` writes.
    """
    own = metrics["systems"].get(system, {}).get(metric, {}).get("decoder")
    if own:
        return f"{in_words(own['decoder'])}, tuned class by class"
    general = metrics["settings"].get("decoder")
    if general is None or metric in OF_CLIPS:
        return ""
    how = {"event_f1_tuned": "threshold tuned", "event_f1_optimistic": "threshold best on the test clips"}
    return f"{in_words(general['decoder'])}, {how.get(metric, 'as configured')}"


def _bars(rows: Sequence[Mapping[str, Any]], subset: str, system: str | None) -> list[list[Any]]:
    """Class and F1 of a system by the decoder that detects, or of whole clips; none where no class has one."""
    for metric in BARS:
        named = {"subset": subset, "system": system, "metric": metric}
        own = [row for row in rows if named.items() <= row.items() and row["f1"] is not None]
        if own:
            return [[row["event_label"], row["f1"]] for row in own]
    return []


def staircase(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """The corners of a curve that is constant up to its next point, as W&B joins points by straight lines."""
    corners = [(x[0], y[0])]
    for place, level in zip(x[1:], y[1:], strict=True):
        corners += [(place, corners[-1][1]), (place, level)]
    return [corner[0] for corner in corners], [corner[1] for corner in corners]


def figures(folder: Path) -> dict[str, Any]:
    """The pictures that the run has drawn."""
    import wandb

    return {f"figures/{path.stem}": wandb.Image(str(path)) for path in sorted((folder / "figures").glob("*.png"))}


def recordings(folder: Path, count: int) -> dict[str, Any]:
    """The first ``count`` test clips, to listen to; none of a corpus that has no recordings."""
    import wandb

    listed = folder / "scores" / "test" / "audio.tsv"
    rows = listed.read_text(encoding="utf-8").splitlines()[1:] if listed.exists() else []
    clips = [row.split("\t") for row in rows[:count]]
    return {"audio": [wandb.Audio(path, caption=name) for name, path in clips]} if clips else {}


def artifact(folder: Path, record: Mapping[str, Any]) -> wandb.Artifact:
    """What predicts, detector.ckpt and the ``record`` as run.json, as one artifact: a folder for sed-predict."""
    import wandb

    facts = {name: record[name] for name in FACTS if record.get(name) is not None}
    made = wandb.Artifact(re.sub(r"[^\w.-]", "_", folder.name), "model", metadata=facts)
    made.add_file(str(folder / "detector.ckpt"))
    with TemporaryDirectory() as place:  # run.json itself says complete only once this is sent
        write_json(Path(place) / "run.json", dict(record))
        made.add_file(str(Path(place) / "run.json"))
    return made
