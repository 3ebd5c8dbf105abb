"""One recording of 24 hours scored and decoded as `sed-predict` does it, beside one hour: memory at most, and speed.

The detector is the default one (``sed-train`` without arguments) with its first weights, for ten classes, predicting at
the network's own rate of frames, not four times that. Recordings are 16 kHz WAV files: a minute of noise every hour,
silence between.
"""

from __future__ import annotations

import resource
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.assembled import TEN_CLASSES, assembly_of
from sed_lab.predict import detect, score_file
from sed_lab.run.detector import Detector

RATE = 16000
HOURS = (1, 24)


def run(hours: tuple[int, int] = HOURS) -> dict[str, Any]:
    """Gigabytes this process has held once the short recording, and then the long one, is done."""
    torch.set_num_threads(1)
    detector = default_detector()
    held, taken, seen = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in hours:
            path = Path(folder) / f"{number}.wav"
            write_recording(path, number)
            started = time.process_time()
            scores = score_file(detector, path)
            seen.append(len(detect(detector, scores)))
            taken.append(time.process_time() - started)
            held.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
            assert scores.frame is not None
            size = scores.frame[0].nbytes / 1e9
            del scores
            path.unlink()
    short, long = hours
    return {
        "rows": [
            {"what": f"memory to detect events in {long} hours, of which {size:.2f} GB are scores", "ours": held[1],
             "peer": held[0], "name": f"in {short} h", "unit": "GB"},
            {"what": f"times faster than real time, of {long} hours, one core", "ours": 3600 * long / taken[1],
             "peer": 3600 * short / taken[0], "name": f"of {short} h", "unit": "times", "better": "higher"},
        ],
        "processor_seconds": taken,
        "events": seen,
    }  # fmt: skip


def default_detector() -> Detector:
    """``sed-train``'s own, untrained, in one pass."""
    made = assembly_of("config", "method.finer_scores=false")
    made.method.eval()
    rate, seconds = made.method.feature.sample_rate, TEN_CLASSES.clip_seconds
    about: dict[str, Any] = {"threshold": 0.5, "system": made.method.systems[0], "words": "untrained"}
    return Detector(
        made.method, made.decoder, made.frame_hop, made.n_frames, TEN_CLASSES.classes, rate, seconds, **about
    )


def write_recording(path: Path, hours: int) -> None:
    """16-bit mono WAV; the silence takes no room on the disk where the file system has holes."""
    noise = (np.random.default_rng(0).standard_normal(60 * RATE) * 3000).astype("<i2").tobytes()
    size = hours * 3600 * RATE * 2
    with path.open("wb") as file:
        file.write(struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE"))
        file.write(struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16, b"data", size))
        for hour in range(hours):
            file.seek(44 + hour * 3600 * RATE * 2)
            file.write(noise)
        file.truncate(44 + size)
