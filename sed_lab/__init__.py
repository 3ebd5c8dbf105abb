"""sed_lab: sound event detection when classes are rare or unbalanced.

The way data flows, and a good order to read in::

    types.py        the words: Clip, Event, Batch, Scores
    dataset/        a corpus, one file each, from audio and annotation files (clip/), or made from sounds (bank/)
    clip/           Clip -> Batch
    method/         Batch -> loss terms, Batch -> probabilities: one file a paper
                    (front ends in feature/, networks in model/, losses in loss.py)
    decoder/        scores -> events
    metric/         scores, events -> numbers
    analysis/       what one paper alone measures and draws
    run/            a run's parts, identity, record and jobs
    experiment/     a paper's table: rows, columns, claims
    report/         records and scores -> figures, tables, the page to look at and listen to clips
    train.py        one run, from configuration to record: the table of contents
    api.py          what ``import sed_lab`` gives: a trained run as a detector, detections measured
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sed_lab.api import Detector, Event, InputError, Scores, load, measure, read_annotations

# Where onnxruntime is installed Lightning imports it, and it then reports to its maker unless this is set. Its thread
# looks up hosts: a process forked meanwhile waits for ever when it does so too.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["Detector", "Event", "InputError", "Scores", "load", "measure", "read_annotations"]


def __getattr__(name: str) -> Any:
    """The names of `sed_lab.api`, imported when they are first asked for: importing sed_lab alone loads nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'sed_lab' has no attribute {name!r}")
    return getattr(import_module("sed_lab.api"), name)


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name not in __all__)]
