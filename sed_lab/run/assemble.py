"""Front end, network, loss, method and decoder from a configuration and a corpus's facts, for training and for loading.

What cannot go together is refused here, before any data is read.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from sed_lab.errors import InputError
from sed_lab.run.content import code_hashes

if TYPE_CHECKING:
    import torch

    from sed_lab.clip.module import SedData
    from sed_lab.decoder.base import Decoder
    from sed_lab.method.base import SedMethod
    from sed_lab.types import ClassStatistics

logging.getLogger("hydra._internal.utils").disabled = True  # it tells of classes that are not there, as we do


@dataclass(frozen=True)
class Facts:
    """What a method must know of a corpus, or of the corpus its detector was trained on.

    ``statistics`` counts the training clips on a grid of frames (hop in seconds, number); ``weak_labels [I, C]`` are
    those of subset ``weak``; ``embedded_by`` is the corpus's. A trained detector needs none of these: it has
    ``class_weight``, in ``decided`` what the method took from the data, and in ``description`` what its network's
    pretrained encoder is, if it has one.
    """

    classes: tuple[str, ...]
    clip_seconds: float
    sample_rate: int | None = None
    statistics: Callable[[float, int], ClassStatistics | None] | None = None
    weak_labels: torch.Tensor | None = None
    class_weight: torch.Tensor | None = None
    decided: Mapping[str, Any] | None = None
    embedded_by: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class Assembly:
    """A method with its decoder, and the grid of frames it gives: hop in seconds, frames of a whole clip."""

    method: SedMethod
    decoder: Decoder
    frame_hop: float
    n_frames: int


def assemble(config: Mapping[str, Any], facts: Facts, seed: int) -> Assembly:
    """Build what ``config`` names in its groups feature, model, loss, method and decoder.

    Raises:
        InputError: the corpus has another sample rate than the front end, or holds embeddings of another one; a
            constructor refuses its values.
    """
    from sed_lab.method.base import Parts

    feature = build(config["feature"])
    if facts.embedded_by not in (None, getattr(feature, "name", None)):
        raise InputError(
            f"the dataset holds embeddings of feature={facts.embedded_by}, but {type(feature).__name__} would embed"
            f" recordings otherwise; set feature={facts.embedded_by}"
        )
    if facts.sample_rate not in (None, feature.sample_rate):
        raise InputError(
            f"feature.sample_rate={feature.sample_rate} but dataset.sample_rate={facts.sample_rate}; set both alike"
        )
    n_samples = round(facts.clip_seconds * feature.sample_rate)
    known = {"n_classes": len(facts.classes), "n_samples": n_samples, **feature.sizes(n_samples)}
    known |= {"feature": feature, "description": facts.description}
    model = build(config["model"], **asked_for(config["model"]["_target_"], known))
    if hasattr(model, "take_front_end"):  # it needs one of its own, made with the configuration's
        feature = model.take_front_end()
    loss = build(config["loss"]) if isinstance(config["loss"], Mapping) else config["loss"]  # of a detector
    n_frames = model.frames(feature.frames(n_samples))
    frame_hop = feature.hop_length * model.time_pooling / feature.sample_rate
    weight = facts.class_weight
    if facts.statistics is not None:
        weight = loss.class_weight(facts.statistics(frame_hop, n_frames))
    parts = Parts(feature, model, loss, facts.classes, weight, facts.weak_labels, seed)
    method = build({**config["method"], **(facts.decided or {})}, parts=parts)
    return Assembly(method, build(config["decoder"]), frame_hop, n_frames)


def rival_of(config: Mapping[str, Any]) -> Decoder | None:
    """The decoder that is tuned beside the configured one, where ``config`` names one.

    Raises:
        InputError: it is an option's name, and not that option's settings.
    """
    node = config.get("rival_decoder")
    if isinstance(node, str):
        raise InputError(f"rival_decoder={node}: an option is chosen by decoder@rival_decoder={node}")
    return build(node) if node else None


def build(node: Any, **given: Any) -> Any:
    """The object a configuration node describes; its own errors come out as they are."""
    try:
        # Objects are given to the call, not to Hydra, which would take a dataclass for a configuration.
        return instantiate(node, _partial_=True, _convert_="all")(**given)
    except InputError:
        raise
    except Exception as error:
        cause = error.__cause__
        if isinstance(cause, (InputError, OSError)):
            raise cause from None
        raise


def use_cached_features(
    settings: Mapping[str, Any], data: SedData, method: SedMethod, cache: Path, device: str, wanted: bool | None
) -> None:
    """Give ``method`` the linear mel of its front end's ``settings``, kept below ``cache``, instead of audio.

    It is computed on the CPU; an encoder's embeddings on ``device``, which then decides them too. ``wanted`` None does
    so where method, front end and clips allow it, and nothing elsewhere.

    Raises:
        InputError: method or front end work on the waveform itself, or as `sed_lab.clip.feature_cache.cached_features`.
    """
    waveform = not hasattr(method.feature, "mel") or getattr(method.feature, "passes_samples", False)
    if wanted is None and (waveform or not method.takes_features or not data.unchanging):
        return
    if waveform or not method.takes_features:
        word = "front end" if method.takes_features else "method"
        raise InputError(f"batch.cache_features=true: this {word} works on the waveform itself; set it to false")
    front_end, more, mel = method.feature, {}, method.feature.mel
    if hasattr(front_end, "decides"):
        more = {**front_end.decides(), "device": device}

        def mel(audio: torch.Tensor) -> torch.Tensor:
            return front_end.to(device).mel(audio.to(device)).cpu()

    own = type(front_end).__module__
    code = code_hashes({"feature": settings["_target_"], "own": own, "audio": "sed_lab.clip.audio"}, ())
    data.use_cached_features(mel, {**settings, **more, "code": code}, cache)


def method_class(config: Mapping[str, Any]) -> type[SedMethod]:
    """The class that ``config["method"]`` names."""
    return get_object(config["method"]["_target_"])


def check_fit(config: Mapping[str, Any], conf: Path, chosen: Mapping[str, str]) -> None:
    """Compare what the method takes with what the network gives, before any data is read.

    Args:
        config: of the run. conf: folder of the configuration, to name what fits. chosen: option of each group.

    Raises:
        InputError: they do not fit; it names what does.
    """
    takes, gives = method_class(config).takes, _gives(config["model"]["_target_"])
    if takes in gives:
        return
    method, model = (chosen.get(group, config[group]["_target_"].rsplit(".")[-1]) for group in ("method", "model"))
    fitting = [path.stem for path in sorted((conf / "model").glob("*.yaml")) if takes in _gives(_target(path))]
    chooses = re.compile(rf"override method: {re.escape(method.split('_')[0])}(_\w+)?$", re.MULTILINE)
    primary = [path.stem for path in sorted(conf.glob("*.yaml")) if chooses.search(path.read_text(encoding="utf-8"))]
    remedy = f"use model={' or model='.join(fitting)}" if fitting else "give a network whose `gives` says so"
    raise InputError(
        f"method={method} needs a model with {takes}, but model={model} has {' and '.join(gives) or 'said nothing'};"
        f" {remedy}{''.join(f', or --config-name {name}' for name in primary)}"
    )


def check_network(config: Mapping[str, Any]) -> None:
    """Let the network that ``config`` names look at its values, where it has a ``check``, before any data is read.

    Raises:
        InputError: what it refuses.
    """
    if check := getattr(get_object(config["model"]["_target_"]), "check", None):
        check(**_taken([check], config["model"]))


def _gives(target: str) -> tuple[str, ...]:
    return tuple(getattr(get_object(target), "gives", ()))


def _target(path: Path) -> str:
    node = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(node, dict)
    return str(node.get("_target_") or _target(path.with_name(f"{node['defaults'][0]}.yaml")))


def asked_for(target: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``known`` that the class or function called ``target`` takes, by its own signature and its bases'."""
    found = get_object(target)
    makers = found.__mro__ if isinstance(found, type) else (found,)
    return _taken([maker for maker in makers if maker is not object], known)


def _taken(makers: Sequence[Callable[..., Any]], known: Mapping[str, Any]) -> dict[str, Any]:
    names = {name for maker in makers for name in inspect.signature(maker).parameters}
    return {name: value for name, value in known.items() if name in names}
