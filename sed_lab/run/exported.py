"""A trained run as a folder for others: weights as safetensors, the record without this machine's traces, the card.

``run.json`` keeps the form of a run's record, so that ``sed-predict`` and `sed_lab.load` take the folder like a run's;
``detector.json`` says to any other program what classes, rates, decoder and thresholds are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sed_lab.errors import InputError
from sed_lab.files import write_json
from sed_lab.run.detector import Detector
from sed_lab.run.record import read_record
from sed_lab.run.weights import EXPORTED, read_weights, weights_file, write_safetensors

OF_RECORD = ("name", "config_hash", "seed", "code", "versions", "systems", "dataset", "epochs", "best_epoch",
             "metrics")  # fmt: skip
OF_DETECTOR = ("classes", "clip_seconds", "frame_hop", "n_frames", "decided", "decoder", "tuned")
NOT_OF_CONFIG = ("dataset", "paths", "logger", "trainer", "report", "rerun")  # where data and files lay, how it ran
DESCRIPTION = "detector.json"


def check_target(folder: Path) -> None:
    """Refuse to write between other files; an earlier export may be replaced.

    Raises:
        InputError: the folder holds something else.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not (folder / DESCRIPTION).is_file():
        raise InputError(f"{folder} is not empty and no exported detector; name another folder")


def write_detector(run: Path, folder: Path, detector: Detector, onnx: Mapping[str, Any] | None) -> dict[str, Any]:
    """Write weights, record and description of ``run`` into ``folder``; the record that was written.

    ``onnx`` describes model.onnx, where there is one.

    Raises:
        InputError: safetensors is not installed.
    """
    record, weights = read_record(run), weights_file(run)
    assert record is not None  # its detector was loaded
    assert weights is not None
    write_safetensors(folder / EXPORTED, *read_weights(weights))
    config = {key: value for key, value in record["config"].items() if key not in NOT_OF_CONFIG}
    kept = {key: record[key] for key in OF_RECORD if key in record}
    own = {key: record["detector"][key] for key in OF_DETECTOR if key in record["detector"]}
    written = {"status": "exported", **kept, "config": config, "detector": own}
    write_json(folder / "run.json", written)
    write_json(folder / DESCRIPTION, describe(detector, onnx))
    return written


def describe(detector: Detector, onnx: Mapping[str, Any] | None) -> dict[str, Any]:
    """What another program needs to know: seconds, Hz, the classes in the order of the scores' columns."""
    frames = None if detector.method.clips_only else detector.frame_hop / detector.method.finer
    return {
        "system": detector.system,
        "classes": list(detector.classes),
        "sample_rate": detector.sample_rate,
        "window_seconds": detector.clip_seconds,
        "frame_hop": frames,
        "decoder": detector.decoder.settings(),
        "threshold": detector.threshold,
        "onnx": None if onnx is None else dict(onnx),
    }
