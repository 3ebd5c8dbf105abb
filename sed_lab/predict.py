"""sed-predict: a trained run and audio files of any length, rate and channel count -> events.

The front end, the network and the thresholds are the run's own. A long recording is scored in windows of the training
length on a fixed grid; around each join a second window, centred on it, takes over, so that no event is cut where a
window happens to end and everything a second away from a join is exactly what the window alone gives.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sed_lab.app import asked_for
from sed_lab.errors import InputError, run_command
from sed_lab.files import write_text

if TYPE_CHECKING:
    import torch

    from sed_lab.method.base import SedMethod
    from sed_lab.types import Event, Scores

CROSSFADE = 1.0  # seconds before and after a join over which the centred window takes over
WINDOWS_AT_ONCE = 8  # bounds the memory, whatever the recording's length
ALLOWED_TARGETS = ("sed_lab.", "torch.optim.")


@dataclass(frozen=True)
class Detector:
    """A trained run, ready to score audio; times in seconds."""

    method: SedMethod
    classes: tuple[str, ...]
    sample_rate: int
    clip_seconds: float
    frame_hop: float
    n_frames: int
    decoder: Any
    clip_gate: float | None  # applied to each window, as the run did to its clips
    threshold: float | Mapping[str, float]
    system: str


def main() -> None:
    """The console script."""
    run_command(lambda: predict_command(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sed-predict", description="Detect sound events in audio files with a trained run."
    )
    parser.add_argument("run", type=Path, help="a run's folder, as runs/NAME")
    parser.add_argument("audio", type=Path, nargs="+", help="audio files, or folders of them")
    parser.add_argument("-o", "--output", type=Path, help="write one table of events here (default: to the terminal)")
    parser.add_argument("--per-file", type=Path, metavar="FOLDER", help="write a table for each file into this folder")
    parser.add_argument(
        "--scores", type=Path, metavar="FOLDER", help="write frame scores, one sed_scores_eval TSV a file"
    )
    parser.add_argument(
        "--threshold",
        default="run",
        help="a number; 'tuned' or 'fixed' as in the run's metrics; default: tuned where the run has it, else fixed",
    )
    parser.add_argument("--system", help="which of the run's systems (student, teacher); default: the first")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    return parser.parse_args()


def predict_command(arguments: argparse.Namespace) -> int:
    """Score and decode every file; exit code 1 where some could not be read, the rest done."""
    from sed_lab.dataset.audio import track
    from sed_lab.memory import keep_freed_memory
    from sed_lab.scores import joined, write_scores_folder

    keep_freed_memory()
    files = find_audio(arguments.audio)
    detector = load_detector(arguments.run, arguments.system, arguments.threshold, arguments.device)
    threshold = detector.threshold
    each = threshold.items() if isinstance(threshold, Mapping) else [("threshold", threshold)]
    said = ", ".join(f"{name} {value:g}" for name, value in each)
    print(f"{detector.system} of {arguments.run.name}, {said}", file=sys.stderr)
    rows: list[tuple[str, Event]] = []
    scored: list[Scores] = []
    unreadable: list[tuple[Path, str]] = []
    for path in track(files, len(files), "detecting events"):
        try:
            scores = score_file(detector, path)
        except InputError as error:
            unreadable.append((path, str(error)))
            continue
        events = detect(detector, scores)
        rows += [(str(path), event) for event in events]
        if arguments.per_file:
            write_text(arguments.per_file / f"{path.stem}.tsv", event_table([(path.name, event) for event in events]))
        if arguments.scores:
            scored.append(scores)
    if scored:
        write_scores_folder(arguments.scores, joined(scored))
    if arguments.output:
        write_text(arguments.output, event_table(rows))
    elif not arguments.per_file:
        print(event_table(rows), end="")
    for path, reason in unreadable:
        print(f"not read: {path}: {reason}", file=sys.stderr)
    return 1 if unreadable else 0


def find_audio(places: Sequence[Path]) -> list[Path]:
    """The files named, and all audio files of the folders named, in sorted order.

    Raises:
        InputError: a place does not exist, a folder holds no audio, or two files share a name without suffix.
    """
    from sed_lab.dataset.audio import list_audio

    files: list[Path] = []
    for place in places:
        if not place.exists():
            raise InputError(f"{place} does not exist; give audio files or folders")
        found = list_audio(place) if place.is_dir() else [place]
        if not found:
            raise InputError(f"{place} holds no audio files (wav, flac, ogg, mp3); give another folder")
        files += [path for path in found if path not in files]
    return files


def load_detector(folder: Path, system: str | None = None, threshold: str = "run", device: str = "cpu") -> Detector:
    """The best checkpoint of the run in ``folder``, its front end, decoder and threshold.

    Nothing that could run code is loaded: the checkpoint is read with ``weights_only=True``, and every ``_target_`` of
    the recorded configuration must belong to sed_lab or torch.optim.

    Raises:
        InputError: no finished run, a foreign ``_target_``, an unknown system, or a threshold the run does not have.
    """
    import torch
    from hydra.utils import instantiate

    from sed_lab.run import read_record

    record = read_record(folder)
    checkpoint = folder / "detector.ckpt"
    if record is None or not checkpoint.exists():
        raise InputError(f"{folder} is not a finished run (no run.json or detector.ckpt); give runs/NAME")
    config, facts = record["config"], record["detector"]
    for group in ("feature", "model", "loss", "method", "decoder"):
        check_targets(config[group], group)
    feature = instantiate(config["feature"], _convert_="all")
    n_frames = feature.frames(round(facts["clip_seconds"] * feature.sample_rate))
    sizes = {"n_classes": len(facts["classes"]), "n_mels": feature.n_mels, "n_frames": n_frames}
    model = instantiate(config["model"], **asked_for(config["model"]["_target_"], sizes), _convert_="all")
    loss = instantiate(config["loss"], _convert_="all")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    make = instantiate(config["method"], _partial_=True, _convert_="all")
    known = {"feature": feature, "model": model, "loss": loss, "classes": facts["classes"], "seed": 0}
    known |= {name: state.get(name) for name in ("class_weight", "weak_labels")}
    method = make(**asked_for(config["method"]["_target_"], known))
    method.load_detector_state(state)
    system = system or method.outputs[0]
    if system not in method.outputs:
        raise InputError(f"--system {system}: this run has {', '.join(method.outputs)}")
    # The windows are those the run took from its held-out events; the clip gate is shut window by window.
    taken = {"median_seconds", "median_share"} & set(facts["decoder"])
    own = {name: facts["decoder"][name] for name in taken} | ({"clip_gate": None} if taken else {})
    decoder = instantiate({**config["decoder"], **own}, _convert_="all")
    return Detector(
        method=method.to(device).eval(),
        classes=tuple(facts["classes"]),
        sample_rate=feature.sample_rate,
        clip_seconds=facts["clip_seconds"],
        frame_hop=facts["frame_hop"],
        n_frames=facts["n_frames"],
        decoder=decoder,
        clip_gate=config["decoder"].get("clip_gate"),
        threshold=_threshold(record, threshold, system, decoder),
        system=system,
    )


def check_targets(node: Any, where: str) -> None:
    """Refuse a configuration whose ``_target_`` is not on the allow list.

    Raises:
        InputError: it names the key and the target.
    """
    if isinstance(node, dict):
        target = node.get("_target_")
        if target is not None and not str(target).startswith(ALLOWED_TARGETS):
            raise InputError(
                f"run.json: {where}._target_={target} is not sed_lab's own, so it is not loaded; correct it"
            )
        for key, value in node.items():
            check_targets(value, f"{where}.{key}")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            check_targets(value, f"{where}[{place}]")


def _threshold(record: dict[str, Any], asked: str, system: str, decoder: Any) -> Any:
    tuned = record.get("metrics", {}).get(f"{system}/event_f1_tuned/threshold")
    if asked == "tuned" and tuned is None:
        raise InputError("--threshold tuned: this run tuned none; use --threshold fixed or a number")
    if asked in ("run", "tuned") and tuned is not None:
        return tuned
    if asked in ("run", "fixed"):
        return decoder.threshold
    try:
        return float(asked)
    except ValueError:
        raise InputError(f"--threshold {asked}: use a number between 0 and 1, tuned or fixed") from None


def score_file(detector: Detector, path: Path) -> Scores:
    """Frame scores of a whole recording, in bounded memory; of a detector of clips, a frame is as long as its clips.

    Raises:
        InputError: the file cannot be read.
    """
    from sed_lab.dataset.audio import audio_info
    from sed_lab.types import Scores

    info = audio_info(path)
    hop = detector.clip_seconds if detector.method.clips_only else detector.frame_hop
    windows = max(1, int(np.ceil((info.duration - detector.clip_seconds) / detector.clip_seconds - 1e-6)) + 1)
    starts = [k * detector.clip_seconds for k in range(windows)]
    total = max(1, int(np.ceil(info.duration / hop)))
    frame = np.zeros((total, len(detector.classes)), np.float32)
    weight = np.zeros((total, 1), np.float32)
    half = detector.clip_seconds / 2
    plan = [(start, False) for start in starts]
    plan += [] if detector.method.clips_only else [(start + half, True) for start in starts[:-1]]
    for batch in _batches(sorted(plan), WINDOWS_AT_ONCE):
        audio = np.stack([_window(detector, path, start) for start, _ in batch])
        for (start, centred), scores in zip(batch, _score(detector, audio), strict=True):
            first = round(start / hop)
            keep = min(len(scores), total - first)
            middle = start + (np.arange(keep) + 0.5) * hop
            share = _share(middle, detector.clip_seconds, windows, centred)[:, None]
            frame[first : first + keep] += share * scores[:keep]
            weight[first : first + keep] += share
    frame = np.clip(frame / np.maximum(weight, 1e-6), 0, 1)
    return Scores((path.stem,), detector.classes, np.array([info.duration]), hop, (frame,), name=str(path))


def detect(detector: Detector, scores: Scores) -> tuple[Event, ...]:
    """Events of a recording; a decoder that finds one event a clip looks at stretches as long as the run's clips."""
    from sed_lab.decoder import OnsetDecoder
    from sed_lab.types import Event

    (clip_id,), (frame,) = scores.clip_id, scores.frame or ()
    if not isinstance(detector.decoder, OnsetDecoder):
        found: tuple[Event, ...] = detector.decoder.decode(scores, threshold=detector.threshold)[clip_id]
        return found
    assert scores.frame_hop is not None
    step, events = round(detector.clip_seconds / scores.frame_hop), []
    for first in range(0, len(frame), step):
        start = first * scores.frame_hop
        seconds = np.minimum(detector.clip_seconds, scores.duration - start)
        if seconds[0] > 0:
            part = replace(scores, frame=(frame[first : first + step],), duration=seconds)
            for event in detector.decoder.decode(part, threshold=detector.threshold)[clip_id]:
                onset, offset = round(start + event.onset, 6), round(start + event.offset, 6)
                events.append(Event(onset, offset, event.event_label))
    return tuple(events)


def _share(middle: np.ndarray, clip_seconds: float, windows: int, centred: bool) -> np.ndarray:
    """How much of each frame (its middle in seconds) a window on the grid, or one centred on a join, decides."""
    joins = np.arange(1, windows) * clip_seconds
    if len(joins) == 0:
        return np.ones(len(middle), np.float32)
    distance = np.abs(middle[:, None] - joins[None]).min(axis=1)
    grid = np.clip((distance - CROSSFADE / 2) / (CROSSFADE / 2), 0, 1)
    return (1 - grid if centred else np.maximum(grid, 1e-4)).astype(np.float32)


def _window(detector: Detector, path: Path, start: float) -> np.ndarray:
    from sed_lab.dataset.audio import fit_length, read_audio

    audio = read_audio(path, detector.sample_rate, start, detector.clip_seconds)
    return fit_length(audio, None, round(detector.clip_seconds * detector.sample_rate), detector.sample_rate)[0]


def _score(detector: Detector, audio: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        batch = _batch(torch.from_numpy(audio).to(detector.method.device), detector)
        prediction = detector.method.predict(batch)[detector.system]
    scores, clip = prediction.frame, prediction.clip
    if detector.method.clips_only:
        assert clip is not None
        scores = clip[:, None]
    assert scores is not None
    if detector.clip_gate is not None:
        assert clip is not None
        scores = scores * (clip >= detector.clip_gate)[:, None]
    return scores.float().cpu().numpy()


def _batch(audio: torch.Tensor, detector: Detector) -> Any:
    import torch

    from sed_lab.types import Batch

    n, t, c = len(audio), detector.n_frames, len(detector.classes)
    no = torch.zeros(n, dtype=torch.bool)
    return Batch(
        strong=torch.zeros(n, t, c),
        weak=torch.zeros(n, c),
        has_strong=no,
        has_weak=no,
        synthetic=no,
        valid_frames=torch.full((n,), t),
        index=torch.arange(n),
        clip_id=[str(i) for i in range(n)],
        audio=audio,
    )


def _batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def event_table(rows: Sequence[tuple[str, Event]]) -> str:
    """Events as a TSV text: ``filename onset offset event_label``, seconds with three decimals."""
    lines = [f"{name}\t{event.onset:.3f}\t{event.offset:.3f}\t{event.event_label}\n" for name, event in rows]
    return "filename\tonset\toffset\tevent_label\n" + "".join(lines)


if __name__ == "__main__":
    main()
