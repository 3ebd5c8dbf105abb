"""sed_lab in Python: a trained run finds events in files and arrays, and detections are measured.

``import sed_lab`` gives these names. They keep their meaning from version to version; all other modules may change.
Times are seconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sed_lab.clip.annotation import clip_id_of
from sed_lab.errors import InputError, some
from sed_lab.scores import joined
from sed_lab.types import Event, Scores

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from sed_lab.decoder.base import Decoder
    from sed_lab.run.detector import Detector as TrainedRun

__all__ = ["Detector", "Event", "InputError", "Scores", "load", "measure", "read_annotations"]

Found = Scores | Mapping[str, Scores] | Mapping[str, Sequence[Event]]
"""What can be measured: scores of several recordings, scores by recording, or events by recording."""
SYSTEM = "system"


class Detector:
    """A trained run that finds events in recordings; `load` makes one.

    Attributes:
        classes: event labels, in the order of the columns of scores.
        sample_rate: what recordings are resampled to, Hz.
        clip_seconds: the length of the windows in which they are scored.
        system: which of the run's systems this is.
        decoder: what turns its scores into events, in words.
        threshold: one number, or one for each class.
    """

    def __init__(self, run: TrainedRun) -> None:
        self._run = run
        self.classes, self.sample_rate, self.clip_seconds = run.classes, run.sample_rate, run.clip_seconds
        self.system, self.decoder, self.threshold = run.system, run.words, run.threshold

    def __repr__(self) -> str:
        return f"<sed_lab detector of {', '.join(self.classes)}: {self.system}, {self.decoder}>"

    def predict(self, audio: str | os.PathLike[str] | ArrayLike, rate: float | None = None) -> tuple[Event, ...]:
        """Events of a recording in time order, each with ``onset``, ``offset`` and ``event_label``: those that
        ``sed-predict`` finds in the same file.

        Args:
            audio: a file's path, or samples ``[N]`` or ``[N, channels]`` (channels last) of any length: int16, int32,
                uint8, or floats in [-1, 1]. Channels are averaged.
            rate: samples a second; of an array, and only of an array.

        Raises:
            InputError: the file cannot be read; an array without ``rate``, or not as said.
        """
        from sed_lab.predict import detect

        return detect(self._run, self.scores(audio, rate))

    def scores(self, audio: str | os.PathLike[str] | ArrayLike, rate: float | None = None) -> Scores:
        """Scores of a recording: ``scores.frame[0]`` is ``[T, C]``, frame t from ``t * scores.frame_hop`` seconds on.

        Of a detector of whole clips a frame is as long as its clips. Arguments and errors are those of `predict`.
        """
        from sed_lab.predict import score_array, score_file

        if isinstance(audio, (str, os.PathLike)):
            if rate is not None:
                raise InputError(f"{os.fspath(audio)}: a file has a rate of its own; leave rate out")
            return score_file(self._run, Path(audio))
        if rate is None:
            raise InputError("an array has no rate of its own; give rate, its samples a second, as 44100")
        return score_array(self._run, audio, rate, "array")

    def own_decoder(self) -> Decoder:
        """The decoder with its thresholds, for `measure` of scores that this detector gave."""
        gate = {"clip_gate": None} if hasattr(self._run.decoder, "clip_gate") else {}  # it stood before the scores
        return replace(self._run.decoder, threshold=self.threshold, **gate)  # type: ignore[type-var]


def load(
    run: str | os.PathLike[str],
    *,
    system: str | None = None,
    decoder: str | None = None,
    threshold: float | str | None = None,
    device: str = "cpu",
    trust: Sequence[str] = (),
    vggish: Sequence[str | os.PathLike[str]] | None = None,
) -> Detector:
    """The detector of a trained run's folder, by the decoder that was best on its held-out clips.

    Args:
        run: the folder, as ``runs/NAME``, of which ``run.json`` and ``detector.ckpt`` are enough; or one that
            ``sed-export`` wrote.
        system, decoder, threshold, device, trust, vggish: as the options of ``sed-predict``.

    Raises:
        InputError: it is no finished run, or does not have what is asked for.
    """
    from sed_lab.run.detector import load_detector

    asked = None if threshold is None else str(threshold)
    files = None if vggish is None else [Path(path) for path in vggish]
    return Detector(load_detector(Path(run), system, asked, device, files, trust, decoder=decoder))


def read_annotations(path: str | os.PathLike[str]) -> dict[str, tuple[Event, ...]]:
    """Events by file name, of a table ``filename onset offset event_label``; a file with empty fields holds no event.

    Other columns, any order and commas instead of tabs are taken, as tools write them. ``sed-predict -o`` writes such
    tables too.

    Raises:
        InputError: the file is missing, or rows are wrong; it names the lines.
    """
    from sed_lab.clip.annotation import read_detections

    return read_detections(Path(path))


def measure(
    found: Found,
    truth: Mapping[str, Sequence[Event]],
    durations: Mapping[str, float],
    *,
    detector: Detector | None = None,
    classes: Sequence[str] | None = None,
    settings: Sequence[str] = (),
) -> dict[str, Any]:
    """Event, segment and intersection F1, of scores also PSDS, tagging F1, EER and ranking; docs/metrics.md explains.

    ``measure(...)["event_f1"]["macro"]`` is one number, ``["event_f1"]["per_class"]`` has each class, ``["settings"]``
    says how it was measured. Recordings go by the names of their files, without folder and suffix.

    Args:
        found: events or scores by recording, or scores of several. A recording that is not there holds no event.
        truth: the reference; a recording that is not there holds no event.
        durations: seconds of every recording that counts.
        detector: whose decoder and thresholds turn scores into events; None: those of ``sed-evaluate scores=``,
            without a filter, at 0.5.
        classes: in a fixed order; None: those of the scores, or the labels of ``truth``.
        settings: words of ``sed-evaluate``, as ``metric.collar=0.5`` or ``decoder=box``.

    Raises:
        InputError: a recording without a duration or scores, an unknown label or setting.
    """
    from sed_lab.metric.measure import measure as measured
    from sed_lab.run.assemble import build
    from sed_lab.run.foreign import in_order, labels_of, refuse_unknown
    from sed_lab.run.stored import by_clip

    config = _evaluate(tuple(settings))
    seconds = {name: float(value) for name, value in by_clip(durations).items()}
    annotated = {name: tuple(events) for name, events in by_clip(truth).items()}
    refuse_unknown("truth", annotated, seconds, "durations")
    reference: dict[str, tuple[Event, ...]] = {name: annotated.get(name, ()) for name in seconds}
    known = tuple(classes if classes is not None else sorted(labels_of(reference)))
    system: Scores | dict[str, tuple[Event, ...]]
    scores, events = _kinds(found)
    if scores is not None:
        refuse_unknown("found", scores.clip_id, seconds, "durations")
        system = scores if classes is None else in_order(scores, known)
    else:
        detected = by_clip(events)
        refuse_unknown("found", detected, seconds, "durations")
        system = {name: tuple(detected.get(name, ())) for name in seconds}
        if unknown := sorted(labels_of(system) - set(known)):
            raise InputError(f"found has events of {some(unknown)}, not among the classes {some(known)}; give classes")
    decoder = build(config["decoder"]) if detector is None else detector.own_decoder()
    metrics, _ = measured(
        {SYSTEM: system}, reference, seconds, decoder, classes=None if scores is not None else known, **config["metric"]
    )
    return {**metrics["systems"][SYSTEM], "settings": metrics["settings"]}


def _kinds(found: Found) -> tuple[Scores | None, Mapping[str, Sequence[Event]]]:
    """Either scores of all recordings, or events by recording."""
    if isinstance(found, Scores):
        return found, {}
    by_name = {name: one for name, one in found.items() if isinstance(one, Scores)}
    if not by_name:
        return None, {name: one for name, one in found.items() if not isinstance(one, Scores)}
    if len(by_name) < len(found):
        raise InputError("found holds scores of some recordings and events of others; give one kind")
    if several := [name for name, one in by_name.items() if len(one.clip_id) != 1]:
        raise InputError(f"found[{several[0]!r}] holds scores of several recordings; give them as they are")
    return joined([replace(one, clip_id=(clip_id_of(name),)) for name, one in by_name.items()]), {}


def _evaluate(words: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of ``sed-evaluate`` with some words of its command line."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from sed_lab.app import sentence
    from sed_lab.composed import composed

    try:
        config = composed("evaluate", words)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(sentence(error, "evaluate")) from None
    return {key: OmegaConf.to_container(config[key]) for key in ("decoder", "metric")}
