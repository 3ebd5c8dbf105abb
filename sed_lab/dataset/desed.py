"""DESED as used in DCASE 2021 task 4: its classes, its counts, how to read and to check it.

Source: DCASE-REPO/DESED_task (branch dcase21_sed_baseline) and turpaultn/DESED 0686178, whose annotation files were
counted for `DESED_EXPECTED`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sed_lab.clip.audio_folder import list_audio
from sed_lab.clip.layout import read_headers, read_layout
from sed_lab.dataset.check import Looking, SplitCheck
from sed_lab.dataset.check_layout import Expected, check_layout
from sed_lab.errors import InputError
from sed_lab.types import Corpus

log = logging.getLogger(__name__)

FOREGROUND = "audio/train/soundbank/foreground"
CUT = re.compile(r"(_nOn)?(_nOff)?$")  # recordings that begin or end within the sound

CLASSES = (
    "Alarm_bell_ringing",
    "Blender",
    "Cat",
    "Dishes",
    "Dog",
    "Electric_shaver_toothbrush",
    "Frying",
    "Running_water",
    "Speech",
    "Vacuum_cleaner",
)


def _per_class(counts: Sequence[int]) -> dict[str, int]:
    return dict(zip(CLASSES, counts, strict=True))


# Recordings per class in the training sound bank, V_c: Park & Elhilali 2022, Table 1 (sum 1009).
DESED_SOURCE_CLIPS = _per_class((190, 98, 88, 109, 136, 56, 64, 68, 128, 72))

_WEAK = (205, 134, 173, 184, 214, 103, 171, 343, 550, 167)  # clips; three rows of weak.tsv name a label twice
_VALIDATION_4239 = (420, 94, 341, 559, 570, 65, 94, 237, 1752, 92)
_VALIDATION_4251 = (420, 96, 341, 567, 570, 65, 94, 237, 1754, 92)
_PUBLIC = (196, 84, 240, 488, 441, 108, 90, 109, 913, 96)

# Clips, and labels per class of the annotation files; validation.tsv was corrected once, so two editions are around.
DESED_EXPECTED = {
    "synthetic": Expected(10000),
    "weak": Expected(1578, {"2018": _per_class(_WEAK)}),
    "unlabelled": Expected(14412),
    "synthetic_validation": Expected(2500),
    "test": Expected(1168, {"4239 rows": _per_class(_VALIDATION_4239), "4251 rows": _per_class(_VALIDATION_4251)}),
    "public": Expected(692, {"2765 rows": _per_class(_PUBLIC)}, optional=True),
}


def read_desed(
    folder: Path | str,
    sample_rate: int,
    clip_seconds: float,
    weak_split: float,
    weak_split_seed: int,
    resampled: bool,
    source_clips: Mapping[str, int] | str,
    seed: int,
) -> Corpus:
    """DESED from ``folder``, which holds ``audio/`` and ``metadata/`` of the 2021 layout.

    Subsets synthetic, weak, unlabelled, synthetic_validation, weak_validation, test (the real validation set of 1168
    clips) and public (a second test), as far as they are there; arguments as `sed_lab.clip.layout.read_layout`.

    ``source_clips`` is a count for every class; or ``table1``, of Park & Elhilali 2022; or ``soundbank``:
    metadata/soundbank.tsv, else counted in audio/train/soundbank with the recordings' mean length (`count_soundbank`),
    else, which is said, those of ``table1``. Only counted ones come with a length.

    Raises:
        InputError: as `read_layout`, or a recording of the sound bank cannot be used.
    """
    if isinstance(source_clips, str) and source_clips not in ("table1", "soundbank"):
        raise InputError(f"source_clips is {source_clips!r}; needs 'table1', 'soundbank' or a count for every class")
    split = (weak_split, weak_split_seed)
    corpus = read_layout(folder, CLASSES, sample_rate, clip_seconds, *split, resampled, seed=seed, name="desed")
    if source_clips != "soundbank":
        given = DESED_SOURCE_CLIPS if isinstance(source_clips, str) else source_clips
        return replace(corpus, source_clips=given, source_seconds=None)
    if corpus.source_clips is not None:
        return corpus
    if (foreground := Path(folder) / FOREGROUND).is_dir():
        clips, seconds = count_soundbank(foreground)
        return replace(corpus, source_clips=clips, source_seconds=seconds)
    log.warning("%s is not there: recordings per class (V_c) are the published ones, not counted", foreground)
    return replace(corpus, source_clips=DESED_SOURCE_CLIPS)


def count_soundbank(foreground: Path) -> tuple[dict[str, int], dict[str, float]]:
    """Recordings of each class in DESED's training sound bank (V_c), and their mean length in seconds.

    A class's recordings lie in the folder of its name and in those of cut sounds: ``Frying_nOff``, ``Frying_nOn_nOff``.

    Raises:
        InputError: a class has no recording, or recordings cannot be used (all are named).
    """
    lengths: dict[str, list[float]] = {name: [] for name in CLASSES}
    found = {
        path: CUT.sub("", folder.name)
        for folder in sorted(foreground.iterdir())
        if folder.is_dir() and CUT.sub("", folder.name) in lengths
        for path in list_audio(folder)
    }
    for path, info in read_headers(found).items():
        lengths[found[path]].append(info.duration)
    if silent := [name for name in CLASSES if not lengths[name]]:
        raise InputError(
            f"{foreground} holds no recording of {', '.join(silent)}; restore it, or set dataset.source_clips=table1"
        )
    clips = {name: len(one) for name, one in lengths.items()}
    return clips, {name: sum(one) / len(one) for name, one in lengths.items()}


def check_desed(folder: Path | str, sample_rate: int, how: Looking = Looking()) -> list[SplitCheck]:  # noqa: B008
    """What is there, missing and wrong in a copy of DESED, against the published counts; see `check_layout`."""
    return check_layout(Path(folder), sample_rate, CLASSES, DESED_EXPECTED, how=how)
