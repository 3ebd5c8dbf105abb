"""The mixtures of TUT Rare Sound Events 2017, drawn and mixed as its synthesizer does (TUT-ARG, commit cdaead5).

One event or none in 30 s of background. From the same source data and parameters the same recipes, names, annotations
and samples come out, down to the synthesizer's habits (the name of a mixture with an event holds the event's gain to
its last digit, which a sum of another NumPy may round otherwise):

- one random stream a subset; its classes take from it one after the other, each first its events (with replacement),
  then its backgrounds, the order of presence, an offset for each event drawn, and an event-to-background ratio for each
  mixture with an event;
- presence is exact: round(n p) mixtures hold an event;
- an event that is drawn twice is one thing with one offset, the last one drawn for it;
- the folder is named by the md5 of the parameters, a mixture by that of its recipe, as PyYAML wrote them before 5.1;
- mixtures over backgrounds that hold the class by nature are withdrawn (`screened`): their recipes stay, their audio
  and their rows in the event lists do not.

A source folder holds ``bgs/``, ``events/<class>/`` and ``cv_setup/{bgs,events}_<subset>.yaml``: a list of ``filepath,
classname, classid``, and by class a list of ``audio_filename, segment: [start, end]``. The baseline system (TUT-ARG,
DCASE2017-baseline-system 0bdb885) makes the same mixtures in a folder of another name, `Mixing.baseline_folder`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from sed_lab.clip.audio import audio_info, read_audio
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

    def baseline_folder(self) -> str:
        """The hash in the name of the folder that the challenge's baseline system keeps such mixtures in."""
        how = {"fs": 44100, "bitdepth": 24, "length_seconds": SECONDS, "anticlipping_factor": LEVEL}
        given = {**asdict(self), "ebr_list": list(self.ebrs), "mixture": how}
        del given["ebrs"]
        return hashlib.md5(json.dumps(given, sort_keys=True).encode()).hexdigest()


def draw_recipes(
    events: Mapping[str, Sequence[Mapping[str, Any]]],
    backgrounds: Sequence[Mapping[str, Any]],
    subset: str,
    mixing: Mixing,
    classes: Sequence[str] = CLASSES,
) -> dict[str, list[Recipe]]:
    """Recipes of each class, from the entries of events_<subset>.yaml and bgs_<subset>.yaml; `named` completes them.

    Raises:
        InputError: a class has no event, or there is no background, or an event is longer than a mixture.
    """
    lacking = [name for name in classes if not events.get(name)]
    if lacking or not backgrounds:
        raise InputError(f"the sources of {subset} have no {', '.join(lacking) or 'background'} to mix")
    rng = np.random.RandomState(mixing.seed)
    return {name: _of_class(events[name], backgrounds, name, mixing, rng) for name in classes}


def _of_class(
    events: Sequence[Mapping[str, Any]],
    backgrounds: Sequence[Mapping[str, Any]],
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
    for background, flag in zip(under.tolist(), flags.tolist(), strict=True):
        ground = backgrounds[background]
        recipe: Recipe = {"bg_path": ground["filepath"], "bg_classname": ground["classname"], "event_present": flag}
        if flag:
            index = next(numbers)
            start, end = events[index]["segment"]
            recipe |= {
                "event_path": f"{name}/{events[index]['audio_filename']}",
                "event_class": name,
                "event_start_in_mixture_seconds": offsets[index],
                "event_length_seconds": float(end - start),
                "segment_start_seconds": start,
                "segment_end_seconds": end,
            }
        recipe["ebr"] = float(rng.choice(mixing.ebrs)) if flag else -math.inf
        recipes.append(recipe)
    return recipes


def named(recipe: Recipe, subset: str, label: str, number: int) -> Recipe:
    """``recipe``, with its ``scaling_factor`` where it has an event, and its file name and annotation."""
    name = f"mixture_{subset}_{label}_{number:03d}_{hashlib.md5(_yaml(recipe).encode()).hexdigest()}.wav"
    words = [name]
    if recipe["event_present"]:
        onset = recipe["event_start_in_mixture_seconds"]
        words += [str(onset), str(onset + recipe["event_length_seconds"]), recipe["event_class"]]
    return {**recipe, "mixture_audio_filename": name, "annotation_string": "\t".join(words)}


def render(recipe: Mapping[str, Any], source: Path, sample_rate: int = 44100) -> tuple[np.ndarray, float | None]:
    """The mixture ``[N]``, 0.2 (background + gain event), divided by its peak where that reaches 1; and the gain, None
    without an event.

    ``gain = 10^(EBR / 20) / (rms(event) / rms(background under the event))``.

    Raises:
        InputError: a recording cannot be read, the background is too short, or an event is silent.
    """
    gain, mixture = None, _mono(source / "bgs" / recipe["bg_path"], sample_rate)[: round(SECONDS * sample_rate)]
    if recipe["event_present"]:
        path = source / "events" / recipe["event_path"]
        first, last = (int(recipe[f"segment_{end}_seconds"] * sample_rate) for end in ("start", "end"))
        event = _mono(path, sample_rate)[first:last]
        onset = recipe["event_start_in_mixture_seconds"] * sample_rate
        under = mixture[int(onset) : int(onset + len(event))]
        level, ground = _rms(event), _rms(under)
        if not level > 0 or len(under) < len(event):
            raise InputError(
                f"{path} is silent there, or {recipe['bg_path']} is shorter than {SECONDS:g} s; correct cv_setup"
            )
        # A silent background has an event of gain 0, as in the synthesizer.
        gain = float(10 ** (recipe["ebr"] / 20) / (level / ground)) if ground > 0 else 0.0
        under += gain * event
    mixture = mixture * LEVEL
    peak = np.abs(mixture).max(initial=0)
    return (mixture / peak if peak >= 1 else mixture), gain


def screened(source: Path, classes: Sequence[str]) -> dict[str, set[str]]:
    """Backgrounds that hold a class by nature, of each class, as ``bgs/bg_screening.csv`` lists them; none without it.

    Its first column is the recording; a mark in the column of a class, in their order, withdraws that class's mixtures.

    Raises:
        InputError: a row of the list is too short.
    """
    path = source / "bgs" / "bg_screening.csv"
    found: dict[str, set[str]] = {name: set() for name in classes}
    if not path.is_file():
        return found
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if number > 1 and row:
                if len(row) <= len(classes):
                    raise InputError(
                        f"{path}, line {number}: needs a file and a column for each of {', '.join(classes)}"
                    )
                for name, mark in zip(classes, row[1:], strict=False):
                    if mark.strip():
                        found[name].add(row[0].removeprefix("audio/"))
    return found


def write_mixtures(
    source: Path,
    target: Path,
    subset: str,
    mixing: Mixing,
    classes: Sequence[str] = CLASSES,
    sample_rate: int = 44100,
    subtype: str = "PCM_24",
) -> Iterator[str]:
    """Write ``<target>/{audio,meta}``; gives each file name once written. Its official name is `Mixing.folder`.

    Raises:
        InputError: as `draw_recipes` and `render`; cv_setup cannot be read.
    """
    events, backgrounds = (_read_yaml(source / "cv_setup" / f"{kind}_{subset}.yaml") for kind in ("events", "bgs"))
    drawn = draw_recipes(events, backgrounds, subset, mixing, classes)
    withdrawn = screened(source, classes)
    (target / "audio").mkdir(parents=True)
    for label, recipes in drawn.items():
        written, lines = [], []
        for number, recipe in enumerate(recipes):
            mixture, gain = render(recipe, source, sample_rate)
            whole = named(recipe if gain is None else {**recipe, "scaling_factor": gain}, subset, label, number)
            written.append(whole)
            if recipe["bg_path"].removeprefix("audio/") in withdrawn[label]:
                continue
            lines.append(f"{whole['annotation_string']}\n")
            path = target / "audio" / whole["mixture_audio_filename"]
            soundfile.write(path, mixture, sample_rate, subtype=subtype)
            yield path.name
        write_text(target / "meta" / f"mixture_recipes_{subset}_{label}.yaml", yaml.safe_dump(written))
        write_text(target / "meta" / f"event_list_{subset}_{label}.csv", "".join(lines))
    write_text(target / "parameters.yaml", _yaml({**asdict(mixing), "ebrs": list(mixing.ebrs)}))


def _mono(path: Path, sample_rate: int) -> np.ndarray:
    """As the synthesizer reads: doubles, the mean over channels."""
    if audio_info(path).sample_rate != sample_rate:
        return read_audio(path, sample_rate).astype(np.float64)
    audio, _ = soundfile.read(str(path))
    if not np.isfinite(audio).all():
        raise InputError(f"{path} holds NaN or infinite samples; replace or remove the file")
    return audio if audio.ndim == 1 else audio.mean(axis=1)


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
