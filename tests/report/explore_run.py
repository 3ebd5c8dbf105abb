"""Fabricated runs that can be explored: with decoders, and metrics settings, in their records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sed_lab.files import read_json, write_json

MEDIAN = {
    "_target_": "sed_lab.decoder.median.MedianDecoder", "threshold": 0.5, "median_seconds": 0.45, "median_share": None,
    "median_passes": 1, "clip_gate": None, "min_event_seconds": 0.0, "merge_gap_seconds": 0.0,
}  # fmt: skip
BOX = {
    "_target_": "sed_lab.decoder.box.BoxDecoder",
    "threshold": 0.4,
    "step_seconds": 0.48,
    "merge_abs": 0.3,
    "merge_rel": 2.0,
}


def explorable(make_run: Callable[..., Path], event_f1: dict[str, Any] | None = None, **given: Any) -> Path:
    """A run's folder, whose metrics have the settings ``event_f1``."""
    folder = make_run(**given)
    record = read_json(folder / "run.json")
    record["config"] |= {"decoder": MEDIAN, "rival_decoder": BOX}
    write_json(folder / "run.json", record)
    metrics = read_json(folder / "metrics.json")
    metrics["settings"]["event_f1"] = {"collar": 0.2, "offset_share": 0.2, **(event_f1 or {})}
    metrics["settings"] |= dict.fromkeys(("onset_collar", "offset_collar"), 0.25) if event_f1 else {}
    write_json(folder / "metrics.json", metrics)
    return folder
