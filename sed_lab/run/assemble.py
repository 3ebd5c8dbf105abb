"""A trained run as a detector: its front end, network, decoder and threshold, read without running foreign code."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sed_lab.errors import InputError

if TYPE_CHECKING:
    from sed_lab.method.base import SedMethod

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


def load_detector(
    folder: Path,
    system: str | None = None,
    threshold: str = "run",
    device: str = "cpu",
    vggish: Sequence[Path] | None = None,
) -> Detector:
    """The best checkpoint of the run in ``folder``, its front end, decoder and threshold.

    ``vggish``, weights and PCA, stand for the run's own where it was trained on embeddings.

    Nothing that could run code is loaded: the checkpoint is read with ``weights_only=True``, and every ``_target_`` of
    the recorded configuration must belong to sed_lab or torch.optim.

    Raises:
        InputError: no finished run, a foreign ``_target_``, an unknown system, or a threshold the run does not have.
    """
    import torch
    from hydra.utils import instantiate

    from sed_lab.run.record import read_record

    record = read_record(folder)
    checkpoint = folder / "detector.ckpt"
    if record is None or not checkpoint.exists():
        raise InputError(f"{folder} is not a finished run (no run.json or detector.ckpt); give runs/NAME")
    config, facts = record["config"], record["detector"]
    for group in ("feature", "model", "loss", "method", "decoder"):
        check_targets(config[group], group)
    feature = _front_end(config["feature"], vggish, folder)
    n_frames = feature.frames(round(facts["clip_seconds"] * feature.sample_rate))
    sizes = {"n_classes": len(facts["classes"]), "n_mels": feature.n_mels, "n_frames": n_frames}
    sizes |= {"n_rows": n_frames, "n_values": feature.n_mels}  # of embeddings
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


def _front_end(settings: dict[str, Any], vggish: Sequence[Path] | None, folder: Path) -> Any:
    import torch
    from hydra.utils import instantiate

    from sed_lab.feature.vggish import VggishEmbedding

    if vggish and "vggish" not in settings["_target_"]:
        raise InputError(f"--vggish: {folder} was not trained on embeddings; leave it out")
    if vggish:
        weights, pca = map(str, vggish)
        settings = {"_target_": "sed_lab.feature.vggish.VggishEmbedding", "weights": weights, "pca": pca}
    feature = instantiate(settings, _convert_="all")
    if isinstance(feature, VggishEmbedding):
        feature(torch.zeros(1, feature.sample_rate))  # it reads its files now, so that a bad one is said at once
    return feature


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


def asked_for(target: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``known`` that the class or function called ``target`` takes, by its own signature and its bases'."""
    from hydra.utils import get_object

    found = get_object(target)
    makers = found.__mro__ if isinstance(found, type) else (found,)
    names = {name for maker in makers if maker is not object for name in inspect.signature(maker).parameters}
    return {name: value for name, value in known.items() if name in names}
