"""A trained run as a `Detector`: from its record and its checkpoint alone, without running what comes with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from sed_lab.errors import InputError
from sed_lab.files import conf_folder
from sed_lab.run.assemble import Assembly, Facts, assemble, build
from sed_lab.run.parts import is_changed

if TYPE_CHECKING:
    from sed_lab.decoder.base import Decoder, Threshold

NEEDED = {"classes", "clip_seconds", "decided", "decoder"}  # of a record's ``detector``
OPTIONS = {"median": "default", "box": "box"}  # of group decoder, by what `sed-predict` calls them


@dataclass(frozen=True)
class Detector(Assembly):
    """A trained run, ready to score audio; times in seconds. ``words`` say what its decoder is."""

    classes: tuple[str, ...]
    sample_rate: int
    clip_seconds: float
    threshold: Threshold
    system: str
    words: str


def load_detector(
    folder: Path,
    system: str | None = None,
    threshold: str | None = None,
    device: str = "cpu",
    vggish: Sequence[Path] | None = None,
    trusted: Sequence[str] = (),
    audio: bool = True,
    decoder: str | None = None,
) -> Detector:
    """The weights of the run or exported detector in ``folder``, its front end, the best system and decoder it notes.

    ``decoder`` and ``threshold`` ask for others, as `sed_lab.run.decoding.choose` says.
    ``vggish``, weights and PCA, stand for the run's own where it was trained on VGGish's embeddings. Without ``audio``
    no recordings will come, only embeddings, and a front end's files are not needed.

    Nothing that comes with the run is executed: the checkpoint is read as tensors, the record may name only what
    `sed_lab.run.trust` lets in, and of tuned decoders only numbers are taken. Nothing is downloaded, and what a front
    end makes for itself lies in one's own cache.

    Raises:
        InputError: no finished run, a damaged one, or one that names what is not sed_lab's nor of a ``trusted``
            package; a system, decoder or threshold the run does not have.
    """
    from sed_lab.run.decoding import KINDS, choose, noted
    from sed_lab.run.trust import foreign_record, understood
    from sed_lab.run.weights import read_weights, weights_file

    record, checkpoint = foreign_record(folder), weights_file(folder)
    if record is None or not (record.get("detector") or {}).keys() >= NEEDED or checkpoint is None:
        raise InputError(f"{folder} is not a finished run (no run.json or detector.ckpt); give runs/NAME")
    if is_changed(record, checkpoint):
        raise InputError(f"{checkpoint} is not the file that run.json was written for; restore it, or train again")
    state, encoder = read_weights(checkpoint)
    classes, clip_seconds = tuple(record["detector"]["classes"]), float(record["detector"]["clip_seconds"])
    facts = Facts(classes, clip_seconds, class_weight=state.get("class_weight"), description=encoder)
    with understood(folder):
        made = _recorded(record, facts, vggish, trusted, state)
        made.method.load_detector_state(state)
        tuned = noted(record, made.decoder, classes, made.method.systems)
    if audio and hasattr(made.method.feature, "open"):
        made.method.feature.open()  # a bad file is said now, not at the first recording
    system = system or tuned.system
    if system not in made.method.systems:
        raise InputError(f"--system {system}: this run has {', '.join(made.method.systems)}")
    if decoder in KINDS and made.method.clips_only:
        raise InputError(f"--decoder {decoder}: this run scores whole clips, which have no onsets; leave it out")
    chosen = choose(record, made.decoder, tuned, system, decoder, threshold, _option)
    return Detector(
        method=made.method.to(device).eval(),
        decoder=chosen.decoder,
        frame_hop=made.frame_hop,
        n_frames=made.n_frames,
        classes=classes,
        sample_rate=made.method.feature.sample_rate,
        clip_seconds=clip_seconds,
        threshold=chosen.threshold,
        system=system,
        words=chosen.words,
    )


def _recorded(
    record: dict[str, Any],
    facts: Facts,
    vggish: Sequence[Path] | None,
    trusted: Sequence[str],
    state: Mapping[str, Any],
) -> Assembly:
    """What a record's configuration names, with what its method and decoder took from the data."""
    from sed_lab.run.trust import check_node
    from sed_lab.run.weights import loss_of

    config, taken = dict(record["config"]), record["detector"]
    for group in ("feature", "model", "method", "decoder"):
        if not config.get(group):
            raise InputError(f"run.json: config.{group} is not there; restore the record")
        check_node(config[group], group, group, trusted)
    for key in ("decided", "decoder"):
        check_node(taken[key], "", f"detector.{key}", trusted)
    if "folder" in config["feature"]:  # where the front end would make its files
        cache = OmegaConf.load(conf_folder() / "paths" / "default.yaml").cache
        config["feature"] = {**config["feature"], "folder": str(cache)}
    if "download" in config["model"]:
        config["model"] = {**config["model"], "download": False}
    config["loss"] = loss_of(partial(_loss, config.get("loss"), trusted), state)
    if vggish:
        config["feature"] = _vggish(config["feature"], vggish, str(record.get("name")))
    fitted = {name: value for name, value in taken["decoder"].items() if name != "decoder"}
    known = replace(facts, decided=taken["decided"])
    return assemble({**config, "decoder": {**config["decoder"], **fitted}}, known, seed=0)


def _loss(node: Any, trusted: Sequence[str]) -> Any:
    from sed_lab.run.trust import check_node

    check_node(node, "loss", "loss", trusted)
    if not node:
        raise InputError("run.json: config.loss is not there, and this method predicts by it; restore the record")
    return build(node)


def _option(kind: str) -> Decoder:
    """The decoder of a kind as ``conf/`` has it."""
    return build(OmegaConf.load(conf_folder() / "decoder" / f"{OPTIONS[kind]}.yaml"))


def _vggish(settings: dict[str, Any], vggish: Sequence[Path], name: str) -> dict[str, Any]:
    if not settings["_target_"].endswith(".VggishEmbedding"):
        raise InputError(f"--vggish: {name} was not trained on VGGish's embeddings; leave it out")
    weights, pca = map(str, vggish)
    return {"_target_": "sed_lab.feature.vggish.VggishEmbedding", "weights": weights, "pca": pca}
