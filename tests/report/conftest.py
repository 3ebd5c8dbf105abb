"""A fabricated finished run: beeps in noise, a student and a teacher that are right most of the time."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sed_lab.clip.annotation import write_durations, write_strong
from sed_lab.files import write_json
from sed_lab.report.clip_view import judge
from sed_lab.scores import save_scores
from sed_lab.types import Event, Scores

CLASSES = (
    "Alarm_bell_ringing",
    "Dog",
    "Speech </script><b>&'\"",
    "Running_water",
    "Cat",
    "Dishes",
    "Frying",
    "Blender",
    "Vacuum",
)
HOP, RATE = 0.064, 16000


def fabricate_run(
    folder: Path, n_clips: int = 8, seconds: float = 4.0, name: str = "fabricated", seed: int = 0
) -> Path:
    """Write every file of a run's folder; clip 0 has a nasty name, clip 1 no event."""
    rng = np.random.default_rng(seed)
    truth: dict[str, tuple[Event, ...]] = {}
    for i in range(n_clips):
        file = "nasty <i>'&\"$x.wav" if i == 0 else f"clip_{i:03d}.wav"
        truth[file] = () if i == 1 else _some_events(rng, seconds)
    scores_folder = folder / "scores" / "test"
    (folder / "audio").mkdir(parents=True)
    paths = {file: folder / "audio" / f"{i}.wav" for i, file in enumerate(truth)}
    for file, path in paths.items():
        soundfile.write(path, _sound(rng, truth[file], seconds), RATE)
    write_strong(scores_folder / "ground_truth.tsv", truth)
    write_durations(scores_folder / "durations.tsv", dict.fromkeys(truth, seconds))
    rows = "".join(f"{file}\t{path}\n" for file, path in paths.items())
    (scores_folder / "audio.tsv").write_text("filename\tpath\n" + rows, encoding="utf-8")
    systems = {}
    for system, error in (("student", 0.35), ("teacher", 0.2)):
        detected = {file: _wobbled(rng, events, seconds, error) for file, events in truth.items()}
        write_strong(folder / "detections" / "test" / f"{system}.tsv", detected)
        save_scores(scores_folder / f"{system}.npz", _scores(rng, detected, seconds))
        systems[system] = _metrics(truth, detected, rng)
    settings = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_share": 0.2, "psds1": {"dtc": 0.7, "gtc": 0.7}}
    write_json(folder / "metrics.json", {"subset": "test", "settings": settings, "systems": systems})
    write_json(folder / "curves.json", {system: {p: _curve(rng) for p in ("psds1", "psds2")} for system in systems})
    write_json(folder / "run.json", _record(name))
    _write_history(folder / "history.csv", rng)
    return folder


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make_run(n_clips=..., seconds=..., name=...)`` writes a run into a new folder."""
    return lambda **settings: fabricate_run(tmp_path_factory.mktemp("run") / "run", **settings)


@pytest.fixture(scope="session")
def run_folder(make_run: Callable[..., Path]) -> Iterator[Path]:
    """One small run, not to be changed: what one test wrote into it another would find."""
    folder = make_run()
    there = sorted(folder.rglob("*"))
    yield folder
    assert sorted(folder.rglob("*")) == there, "a test wrote into the run that all share; let it copy the folder"


def _some_events(rng: np.random.Generator, seconds: float) -> tuple[Event, ...]:
    events = []
    for _ in range(int(rng.integers(1, 5))):
        onset = float(rng.uniform(0, seconds - 0.6))
        offset = min(seconds, onset + float(rng.choice([0.4, 0.9, 2.5])))
        events.append(Event(round(onset, 3), round(offset, 3), CLASSES[int(rng.integers(len(CLASSES) - 1))]))
    return tuple(sorted(events))


def _sound(rng: np.random.Generator, events: tuple[Event, ...], seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    sound = 0.01 * rng.standard_normal(len(time))
    for event in events:
        active = (time >= event.onset) & (time < event.offset)
        pitch = 300 * 1.5 ** CLASSES.index(event.event_label)
        sound += 0.2 * active * np.sin(2 * np.pi * pitch * time) * (1 + 0.5 * np.sin(2 * np.pi * 4 * time))
    return sound.clip(-1, 1)


def _wobbled(rng: np.random.Generator, events: tuple[Event, ...], seconds: float, error: float) -> tuple[Event, ...]:
    found = []
    for event in events:
        if rng.random() > error:
            onset = max(0.0, event.onset + float(rng.normal(0, 0.08)))
            found.append(
                Event(
                    onset, max(onset + 0.1, min(seconds, event.offset + float(rng.normal(0, 0.1)))), event.event_label
                )
            )
    if rng.random() < error:
        onset = float(rng.uniform(0, seconds - 0.5))
        found.append(Event(onset, onset + 0.4, CLASSES[int(rng.integers(len(CLASSES)))]))
    return tuple(sorted(found))


def _scores(rng: np.random.Generator, detected: dict[str, tuple[Event, ...]], seconds: float) -> Scores:
    frames = []
    middle = (np.arange(int(seconds / HOP)) + 0.5) * HOP
    for events in detected.values():
        level = np.full((len(middle), len(CLASSES)), -4.0) + rng.normal(0, 0.6, (len(middle), len(CLASSES)))
        for event in events:
            level[(middle >= event.onset) & (middle < event.offset), CLASSES.index(event.event_label)] += 6.5
        smooth = np.apply_along_axis(np.convolve, 0, level, np.ones(5) / 5, "same")
        frames.append((1 / (1 + np.exp(-smooth))).astype(np.float32))
    ids = tuple(file.removesuffix(".wav") for file in detected)
    clip = np.stack([frame.max(axis=0) for frame in frames])
    return Scores(ids, CLASSES, np.full(len(ids), seconds), HOP, tuple(frames), clip)


def _metrics(
    truth: dict[str, tuple[Event, ...]], found: dict[str, tuple[Event, ...]], rng: np.random.Generator
) -> dict[str, Any]:
    per_class = {}
    for label in CLASSES:
        only = [
            {f: tuple(e for e in events if e.event_label == label) for f, events in side.items()}
            for side in (truth, found)
        ]
        verdicts = [judge(file, only[0][file], only[1][file]) for file in truth]
        hits, n, m = (
            sum(v.hits for v in verdicts),
            sum(len(v.truth) for v in verdicts),
            sum(len(v.detected) for v in verdicts),
        )
        per_class[label] = {
            "f1": 2 * hits / (n + m) if n else None,
            "precision": hits / m if m else None,
            "recall": hits / n if n else None,
            "error_rate": (n + m - 2 * hits) / n if n else None, "n_reference": n, "n_detected": m,
        }  # fmt: skip
    f1 = [row["f1"] for row in per_class.values() if row["f1"] is not None]
    whole = {"macro": float(np.mean(f1)), "micro": float(np.mean(f1)) * 1.05}
    psds = {label: float(rng.uniform(0, 0.8)) for label in CLASSES}
    return {
        "event_f1": {**whole, "per_class": per_class},
        "event_f1_tuned": {"macro": whole["macro"] + 0.01, "micro": whole["micro"], "threshold": 0.42},
        "segment_f1": {"macro": 0.61, "micro": 0.66},
        "intersection_f1": {"macro": 0.55, "micro": 0.57},
        "psds1": {"exact": 0.321, "operating_points": 0.312, "per_class": psds},
        "psds2": {"exact": 0.512, "operating_points": 0.502, "per_class": psds},
        "tagging_f1": {"macro": 0.71, "micro": 0.74},
    }


def _curve(rng: np.random.Generator) -> dict[str, Any]:
    def staircase() -> tuple[list[float], list[float]]:
        return [0.0, *np.sort(rng.uniform(0, 100, 20)).tolist()], [0.0, *np.sort(rng.beta(4, 3, 20)).tolist()]

    efpr, etpr = staircase()
    per_class = {label: dict(zip(("efpr", "etpr"), staircase(), strict=True)) for label in CLASSES}
    return {"efpr": efpr, "etpr": etpr, "per_class": per_class}


def _record(name: str) -> dict[str, Any]:
    feature = {"_target_": "sed_lab.feature.log_mel.LogMel", "sample_rate": RATE, "n_fft": 1024, "win_length": 1024}
    config = {
        "seed": 3,
        "dataset": {"_target_": "sed_lab.dataset.toy.Toy", "classes": list(CLASSES)},
        "method": {"_target_": "sed_lab.method.park2022.Park2022", "consistency_weight": 2.0},
        "loss": {"_target_": "sed_lab.loss.BCE"},
        "feature": {**feature, "hop_length": 256, "n_mels": 64},
        "decoder": {"threshold": 0.5},
    }
    return {
        "status": "complete", "name": name, "config_hash": "0123456789ab", "seed": 3, "config": config,
        "command": "sed-train dataset=toy method=park2022 'name=<x>'", "started": "2026-03-01T12:00:00+00:00",
        "finished": "2026-03-01T12:34:56+00:00", "code": {"sed_lab": "0.1.0", "commit": "f" * 40, "changed": True},
        "versions": {"python": "3.11.9", "torch": "2.11.0", "numpy": "2.3.5"},
        "hardware": {"machine": "x86_64", "cores": 2, "threads": 2, "processor": "A processor", "gpus": []},
        "dataset": {"name": "toy", "fingerprint": "a" * 64}, "training_seconds": 1850.0, "clips_per_second": 31.4,
        "metrics": {"objective": 1.2},
    }  # fmt: skip


def _write_history(path: Path, rng: np.random.Generator) -> None:
    names = ["epoch", "step", "seconds", "train/loss", "train/loss_strong", "train/loss_weak", "train/lr"]
    names += ["val/validation/student/intersection_f1", "val/weak_validation/student/tagging_f1", "val/objective"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for epoch in range(20):
            fall, rise = 0.6 * 0.9**epoch, 1 - 0.9**epoch
            noise = rng.normal(0, 0.02, 6)
            values = [fall + noise[0], fall * 0.6 + noise[1], fall * 0.4 + noise[2], 0.001]
            measured = [0.5 * rise + noise[3], 0.7 * rise + noise[4], 1.2 * rise + noise[5]]
            writer.writerow([epoch, epoch * 10, epoch * 4.2, *values, *(measured if epoch % 2 else ["", "", ""])])
