"""The mixtures of TUT Rare Sound Events 2017, drawn and mixed as its synthesizer does (TUT-ARG, commit cdaead5).

One event or none in 30 s of background. From the same source data and parameters the same recipes, names, annotations
and samples come out, down to the synthesizer's habits:

- one random stream a subset; its classes take from it one after the other, each first its events (with replacement),
  then its backgrounds, the order of presence, an offset for each event drawn, and an event-to-background ratio for each
  mixture with an event;
- presence is exact: round(n p) mixtures hold an event;
- an event that is drawn twice is one thing with one offset, the last one drawn for it;
- the folder is named by the md5 of the parameters, a mixture by that of its recipe, as PyYAML wrote them before 5.1.

A source folder holds ``bgs/``, ``events/<class>/`` and ``cv_setup/{bgs,events}_<subset>.yaml``: a list of ``filepath,
classname, classid``, and by class a list of ``audio_filename, segment: [start, end]``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from sed_lab.clip.audio import read_audio
from sed_lab.errors import InputError
from sed_lab.files import write_text

CLASSES = ("babycry", "glassbreak", "gunshot")
SUBSETS = ("devtrain", "devtest", "evaltest")
SECONDS = 30.0
LEVEL = 0.2  # of every mixture, against clipping
Recipe = dict[str, Any]


@dataclass(frozen=True)
class Mixing:
    """What decides a set of mixtures: presence probability, number a class, EBRs [dB], seed; theirs by default."""

    event_presence_prob: float = 0.5
    mixtures_per_class: int = 500
    ebrs: tuple[int | float, ...] = (-6, 0, 6)
    seed: int = 42

    def __post_init__(self) -> None:
        if not 0 <= self.event_presence_prob <= 1:
            raise InputError(f"event_presence_prob={self.event_presence_prob} must lie between 0 and 1")
        if self.mixtures_per_class < 1 or not self.ebrs:
            raise InputError("mixtures_per_class must be at least 1, and ebrs name at least one ratio in dB")

    def folder(self) -> str:
        """The name of the folder of such mixtures."""
        return hashlib.md5(_yaml({**asdict(self), "ebrs": list(self.ebrs)}).encode()).hexdigest()


def draw_recipes(
    events: Mapping[str, Sequence[Mapping[str, Any]]],
    backgrounds: Sequence[Mapping[str, Any]],
    subset: str,
    mixing: Mixing,
    classes: Sequence[str] = CLASSES,
) -> dict[str, list[Recipe]]:
    """Recipes of each class, from the entries of events_<subset>.yaml and bgs_<subset>.yaml.

    Raises:
        InputError: a class has no event, or there is no background, or an event is longer than a mixture.
    """
    lacking = [name for name in classes if not events.get(name)]
    if lacking or not backgrounds:
        raise InputError(f"the sources of {subset} have no {', '.join(lacking) or 'background'} to mix")
    rng = np.random.RandomState(mixing.seed)
    return {name: _of_class(events[name], backgrounds, subset, name, mixing, rng) for name in classes}


def _of_class(
    events: Sequence[Mapping[str, Any]],
    backgrounds: Sequence[Mapping[str, Any]],
    subset: str,
    name: str,
    mixing: Mixing,
    rng: np.random.RandomState,
) -> list[Recipe]:
    n = mixing.mixtures_per_class
    present = round(n * mixing.event_presence_prob)
    drawn = rng.choice(len(events), present)
    under = rng.choice(len(backgrounds), n)
    flags = rng.permutation(np.append(np.ones(present), np.zeros(n - present))) > 0
    offsets: dict[int, float] = {}
    for index in drawn.tolist():
        start, end = events[index]["segment"]
        if end - start > SECONDS:
            file = events[index]["audio_filename"]
            raise InputError(f"{file}: an event of {end - start:g} s does not fit {SECONDS:g} s")
        offsets[index] = float((SECONDS - (end - start)) * rng.rand())  # of an event drawn again, again
    numbers, recipes = iter(drawn.tolist()), []
    for number, (background, flag) in enumerate(zip(under.tolist(), flags.tolist(), strict=True)):
        ground, words = backgrounds[background], ""
        recipe: Recipe = {"bg_path": ground["filepath"], "bg_classname": ground["classname"], "event_present": flag}
        if flag:
            index = next(numbers)
            start, end = map(float, events[index]["segment"])
            onset = offsets[index]
            recipe |= {
                "event_path": f"{name}/{events[index]['audio_filename']}",
                "event_class": name,
                "event_start_in_mixture_seconds": onset,
                "event_length_seconds": end - start,
                "scaling_factor": 1.0,
                "segment_start_seconds": start,
                "segment_end_seconds": end,
                "ebr": float(rng.choice(mixing.ebrs)),
            }
            words = f"\t{onset:.14f}\t{onset + end - start:.14f}\t{name}"
        digest = hashlib.md5(_yaml(recipe).encode()).hexdigest()
        recipe["mixture_audio_filename"] = f"mixture_{subset}_{name}_{number:03d}_{digest}.wav"
        recipe["annotation_string"] = recipe["mixture_audio_filename"] + words
        recipes.append(recipe)
    return recipes


def render(recipe: Mapping[str, Any], source: Path, sample_rate: int = 44100) -> np.ndarray:
    """The mixture ``[N]``: 0.2 (background + gain event), divided by its peak where that reaches 1.

    ``gain = 10^(EBR / 20) rms(background under the event) / rms(event)``.

    Raises:
        InputError: a recording cannot be read, the background is too short, or an event is silent.
    """
    mixture = read_audio(source / "bgs" / recipe["bg_path"], sample_rate).astype(np.float64)
    mixture = mixture[: round(SECONDS * sample_rate)]
    if recipe["event_present"]:
        path = source / "events" / recipe["event_path"]
        first, last = (int(recipe[f"segment_{end}_seconds"] * sample_rate) for end in ("start", "end"))
        event = read_audio(path, sample_rate).astype(np.float64)[first:last]
        start = int(recipe["event_start_in_mixture_seconds"] * sample_rate)
        under = mixture[start : start + len(event)]
        level = _rms(event)
        if level == 0 or len(under) < len(event):
            raise InputError(
                f"{path} is silent there, or {recipe['bg_path']} is shorter than {SECONDS:g} s; correct cv_setup"
            )
        under += event * 10 ** (recipe["ebr"] / 20) * _rms(under) / level
    mixture *= LEVEL
    peak = np.abs(mixture).max(initial=0)
    return mixture / peak if peak >= 1 else mixture


def write_mixtures(
    source: Path, target: Path, subset: str, mixing: Mixing, classes: Sequence[str] = CLASSES, sample_rate: int = 44100
) -> Iterator[str]:
    """Write ``<target>/{audio,meta}``; gives each file name once written. Its official name is `Mixing.folder`.

    Raises:
        InputError: as `draw_recipes` and `render`; cv_setup cannot be read.
    """
    events, backgrounds = (_read_yaml(source / "cv_setup" / f"{kind}_{subset}.yaml") for kind in ("events", "bgs"))
    recipes = draw_recipes(events, backgrounds, subset, mixing, classes)
    (target / "audio").mkdir(parents=True)
    for name, found in recipes.items():
        for recipe in found:
            path = target / "audio" / recipe["mixture_audio_filename"]
            soundfile.write(path, render(recipe, source, sample_rate), sample_rate, subtype="PCM_24")
            yield path.name
        write_text(target / "meta" / f"mixture_recipes_{subset}_{name}.yaml", _yaml(found))
        lines = "".join(f"{recipe['annotation_string']}\n" for recipe in found)
        write_text(target / "meta" / f"event_list_{subset}_{name}.csv", lines)
    write_text(target / "parameters.yaml", _yaml({**asdict(mixing), "ebrs": list(mixing.ebrs)}))


def _yaml(value: Any) -> str:
    """As PyYAML wrote by default before 5.1: the innermost collections on one line."""
    return str(yaml.safe_dump(value, default_flow_style=None))


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())}); restore it") from None


def _rms(audio: np.ndarray) -> float:
    return float(np.sqrt(np.mean(audio**2))) if len(audio) else 0.0
