"""sed-predict: a trained run and audio files of any length, rate and channel count, or embeddings -> events.

The front end and the network are the run's own; so are system, decoder and thresholds, those that its page calls best
unless others are asked for. A long recording is scored in windows of the training
length on a fixed grid; around each join a second window, centred on it, takes over, so that no event is cut where a
window happens to end and everything a second away from a join is exactly what the window alone gives.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sed_lab.errors import InputError, plain, run_command
from sed_lab.run.detector import Detector, load_detector

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from sed_lab.detection.inputs import Recording
    from sed_lab.types import Event, Scores

CROSSFADE = 1.0  # seconds before and after a join over which the centred window takes over
WINDOWS_AT_ONCE = 8  # bounds the memory, whatever the recording's length
EMBEDDINGS_AT_ONCE = 500  # clips


def script() -> None:
    """The console script: its process does nothing else."""
    run_command(lambda: predict_command(_arguments(), alone=True))


def main() -> None:
    """The command in a process that may go on to train."""
    run_command(lambda: predict_command(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sed-predict",
        description="Detect sound events in audio files with a trained run. What is done already is skipped.",
    )
    parser.add_argument("run", type=Path, help="a run's folder, as runs/NAME")
    parser.add_argument(
        "audio",
        nargs="+",
        help="audio files, folders (searched in depth), patterns ('data/**/*.wav'), or - for a list on standard input;"
        " for a run on embeddings also .tfrecord files as AudioSet's, or .npz files with an array uint8 [10, 128] for"
        " each clip",
    )
    _add_outputs(parser)
    _add_choices(parser)
    return parser.parse_args()


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write one table of all events here (default: to the terminal)",
    )
    parser.add_argument(
        "--per-file", type=Path, metavar="FOLDER",
        help="write a file for each recording into this folder, under its path below the folder that was given",
    )  # fmt: skip
    parser.add_argument(
        "--format", action="append", default=[], metavar="NAME",
        help="tsv, csv, json, audacity (label track) or raven (selection table); with --per-file several, with commas"
        " (default: by the suffix of -o, else tsv)",
    )  # fmt: skip
    parser.add_argument(
        "--scores", type=Path, metavar="FOLDER", help="write frame scores, one sed_scores_eval TSV a recording"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FOLDER", help="draw a picture of each recording: spectrum, posteriors, events"
    )
    parser.add_argument(
        "--embeddings", type=Path, metavar="FOLDER", help="write VGGish's embeddings, one TFRecord as AudioSet's a file"
    )


def _add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--decoder",
        help="best: the one that was best on held-out clips, tuned class by class (default, where the run has one);"
        " run: as configured; median or box: that kind, as tuned where the run tuned it",
    )
    parser.add_argument(
        "--threshold",
        help="a number between 0 and 1; 'tuned': as chosen on held-out clips (default, where the run has such);"
        " 'fixed': as configured, and with it the decoder, unless --decoder says otherwise",
    )
    parser.add_argument(
        "--system",
        help="which of the run's systems (student, teacher); default: the best on held-out clips, else the first",
    )
    parser.add_argument(
        "--vggish",
        type=Path,
        nargs=2,
        metavar=("WEIGHTS", "PCA"),
        help="VGGish's weights (.pth or .npz) and vggish_pca_params.npz, for a run that was trained on embeddings",
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="a package of yours that defines the method, network, ... of the run; code of no other is loaded",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")


def predict_command(arguments: argparse.Namespace, alone: bool = False) -> int:
    """Score and decode every file; exit code 1 where some could not be read, the rest done.

    A process that is ``alone`` for this does it without Lightning, unless somebody's own classes may need it.
    """
    from sed_lab.clip.embedding_file import SUFFIXES
    from sed_lab.detection.inputs import find_recordings
    from sed_lab.detection.job import detect_all
    from sed_lab.detection.output import output_of
    from sed_lab.run.weights import weights_file

    recordings = find_recordings(arguments.audio)
    places = (arguments.scores, arguments.plot, arguments.embeddings)
    output = output_of(arguments.output, arguments.per_file, arguments.format, *places, len(recordings))
    embeddings = [one for one in recordings if one.path.suffix in SUFFIXES]
    if alone and not arguments.trust:
        from sed_lab.method.module import only_predicts

        only_predicts()
    detector = load_detector(
        arguments.run,
        arguments.system,
        arguments.threshold,
        arguments.device,
        arguments.vggish,
        arguments.trust,
        audio=len(embeddings) < len(recordings),
        decoder=arguments.decoder,
    )
    _refuse_misfits(arguments, detector, embeddings)
    words = _in_words(detector)
    print(plain(f"{detector.system} of {arguments.run.name}, {words}"), file=sys.stderr)
    weights = weights_file(arguments.run)
    assert weights is not None  # the detector was loaded from it
    about = {"run": arguments.run.name, "system": detector.system, "decoder": words, "classes": detector.classes}
    key = {**about, "settings": detector.decoder.settings(), "threshold": detector.threshold, "output": vars(output)}
    key |= {"weights": [weights.stat().st_size, weights.stat().st_mtime_ns], "vggish": arguments.vggish}
    score = partial(_score_recording, detector)
    unreadable = detect_all(detector, score, recordings, output, about, key)
    for path, reason in unreadable:
        print(plain(f"not read: {path}: {reason}"), file=sys.stderr)
    return 1 if unreadable else 0


def _refuse_misfits(arguments: argparse.Namespace, detector: Detector, embeddings: Sequence[Recording]) -> None:
    from sed_lab.feature.vggish import VggishEmbedding

    if embeddings and detector.method.takes != "features of embedding rows":
        raise InputError(
            f"{embeddings[0].path}: {arguments.run.name} was not trained on embeddings; give it recordings"
        )
    if arguments.embeddings and not isinstance(getattr(detector.method, "feature", None), VggishEmbedding):
        raise InputError(f"--embeddings: {arguments.run.name} was not trained on embeddings; leave it out")
    if embeddings and (arguments.plot or arguments.embeddings):
        raise InputError(f"{embeddings[0].path}: --plot and --embeddings need recordings; give those alone")


def _in_words(detector: Detector) -> str:
    """Decoder and thresholds: ``boxes, tuned class by class on validation: Cat 0.31, Dog 0.2``."""
    threshold = detector.threshold
    each = threshold.items() if isinstance(threshold, Mapping) else [("threshold", threshold)]
    return f"{detector.words}: {', '.join(f'{name} {value:.3g}' for name, value in each)}"


def _score_recording(detector: Detector, path: Path, heard: Callable[[float], None]) -> list[Scores]:
    from sed_lab.clip.embedding_file import SUFFIXES

    return list(score_embeddings(detector, path)) if path.suffix in SUFFIXES else [score_file(detector, path, heard)]


def score_file(detector: Detector, path: Path, heard: Callable[[float], None] | None = None) -> Scores:
    """Frame scores of a whole recording, in bounded memory; of a detector of clips, a frame is as long as its clips.

    ``heard`` is told how many more seconds are scored, as they are.

    Raises:
        InputError: the file cannot be read.
    """
    from sed_lab.clip.audio import audio_info, read_audio

    def part(start: float) -> np.ndarray:
        return read_audio(path, detector.sample_rate, start, detector.clip_seconds)

    return _score_parts(detector, path.stem, audio_info(path).duration, part, str(path), heard)


def score_array(detector: Detector, audio: ArrayLike, rate: float, name: str) -> Scores:
    """Frame scores of a recording in memory, as `score_file`; `sed_lab.clip.array.mono` says what ``audio`` may be.

    Raises:
        InputError: it is not that.
    """
    from sed_lab.clip.array import mono, resampled

    own, samples = mono(audio, name), round(detector.clip_seconds * detector.sample_rate)
    at_rate = resampled(own, rate, detector.sample_rate, name)

    def part(start: float) -> np.ndarray:
        first = round(start * detector.sample_rate)
        return at_rate[first : first + samples]

    return _score_parts(detector, name, len(own) / rate, part, name)


def _score_parts(
    detector: Detector,
    clip_id: str,
    duration: float,
    part: Callable[[float], np.ndarray],
    name: str,
    heard: Callable[[float], None] | None = None,
) -> Scores:
    """Frame scores of ``duration`` seconds; ``part`` gives the samples from a time on, of a window or what is left."""
    from sed_lab.types import Scores

    hop = detector.clip_seconds if detector.method.clips_only else detector.frame_hop / detector.method.finer
    windows = max(1, int(np.ceil((duration - detector.clip_seconds) / detector.clip_seconds - 1e-6)) + 1)
    starts = [k * detector.clip_seconds for k in range(windows)]
    total = max(1, int(np.ceil(duration / hop)))
    frame = np.zeros((total, len(detector.classes)), np.float32)
    weight = np.zeros((total, 1), np.float32)
    half = detector.clip_seconds / 2
    plan = [(start, False) for start in starts]
    plan += [] if detector.method.clips_only else [(start + half, True) for start in starts[:-1]]
    plan.sort()
    for i in range(0, len(plan), WINDOWS_AT_ONCE):
        batch = plan[i : i + WINDOWS_AT_ONCE]
        audio = np.stack([_window(detector, part(start)) for start, _ in batch])
        for (start, centred), scores in zip(batch, _score(detector, audio), strict=True):
            first = int(start / hop + 0.5 + 1e-6)  # halves upwards, as round() would not: all windows alike
            keep = min(len(scores), total - first)
            middle = start + (np.arange(keep) + 0.5) * hop
            share = _share(middle, detector.clip_seconds, windows, centred)[:, None]
            frame[first : first + keep] += share * scores[:keep]
            weight[first : first + keep] += share
        if heard is not None:
            heard(duration * len(batch) / len(plan))
    frame /= np.maximum(weight, 1e-6)
    np.clip(frame, 0, 1, out=frame)  # in place: of a day, scores alone fill much memory
    return Scores((clip_id,), detector.classes, np.array([duration]), hop, (frame,), name=name)


def score_embeddings(detector: Detector, path: Path) -> Iterator[Scores]:
    """Scores of each clip of a file of embeddings, as one frame as long as the clip; what is left out is said.

    Raises:
        InputError: the file cannot be read.
    """
    import torch

    from sed_lab.clip.embedding_file import read_embeddings
    from sed_lab.clip.tfrecord import ROWS, Tally
    from sed_lab.types import Input, Scores

    tally, seconds = Tally(), detector.clip_seconds
    clips = read_embeddings(path, tally)
    while batch := list(islice(clips, EMBEDDINGS_AT_ONCE)):
        with torch.inference_mode():
            x = Input(embedding=torch.from_numpy(np.stack([rows for _, rows in batch])).to(detector.method.device))
            clip = detector.method.predict(x)[detector.system].clip
        assert clip is not None
        for (name, _), row in zip(batch, clip.float().cpu().numpy(), strict=True):
            yield Scores((name,), detector.classes, np.array([seconds]), seconds, (row[None],), name=f"{path}: {name}")
    other = tally.rows.total() - tally.rows[ROWS]
    if other or tally.damaged:
        print(
            f"{path}: left out {other} clips that have not {ROWS} rows, {tally.damaged} damaged records",
            file=sys.stderr,
        )


def detect(detector: Detector, scores: Scores) -> tuple[Event, ...]:
    """Events of a recording, as the run's decoder finds them in those of any length."""
    return tuple(one.event for one in detector.decoder.decode_recording(scores, detector.threshold))


def _share(middle: np.ndarray, clip_seconds: float, windows: int, centred: bool) -> np.ndarray:
    """How much of each frame (its middle in seconds) a window on the grid, or one centred on a join, decides."""
    if windows == 1:
        return np.ones(len(middle), np.float32)
    before = np.floor(middle / clip_seconds)  # the number of the last join
    around = np.stack([before, before + 1]).clip(1, windows - 1) * clip_seconds
    distance = np.abs(middle - around).min(axis=0)
    grid = np.clip((distance - CROSSFADE / 2) / (CROSSFADE / 2), 0, 1)
    return (1 - grid if centred else np.maximum(grid, 1e-4)).astype(np.float32)


def _window(detector: Detector, audio: np.ndarray) -> np.ndarray:
    return np.pad(audio, (0, round(detector.clip_seconds * detector.sample_rate) - len(audio)))


def _score(detector: Detector, audio: np.ndarray) -> np.ndarray:
    """Frame scores ``[B, T, C]`` of windows ``[B, N]``; of a detector of clips, one frame a window."""
    import torch

    from sed_lab.types import Input

    with torch.inference_mode():
        x = Input(audio=torch.from_numpy(audio).to(detector.method.device))
        prediction = detector.method.predict(x)[detector.system]
    clip = None if prediction.clip is None else prediction.clip.float().cpu().numpy()
    if prediction.frame is None:
        assert clip is not None
        return clip[:, None]
    return detector.decoder.gate(prediction.frame.float().cpu().numpy(), clip)


if __name__ == "__main__":
    script()
