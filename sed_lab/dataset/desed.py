"""DESED as used in DCASE 2021 task 4: its classes, its counts, how to read and to check it.

Source: DCASE-REPO/DESED_task (branch dcase21_sed_baseline) and turpaultn/DESED 0686178, whose annotation files were
counted for `DESED_EXPECTED`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sed_lab.clip.layout import read_layout
from sed_lab.dataset.check import Looking, SplitCheck
from sed_lab.dataset.check_layout import Expected, check_layout
from sed_lab.errors import InputError
from sed_lab.types import Corpus

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
    clips) and public, as far as they are there; arguments as `sed_lab.clip.layout.read_layout`, and
    ``source_clips`` is ``table1`` (of Park & Elhilali 2022), ``soundbank`` (metadata/soundbank.tsv) or a mapping.

    Raises:
        InputError: as `read_layout`.
    """
    if isinstance(source_clips, str) and source_clips not in ("table1", "soundbank"):
        raise InputError(f"source_clips is {source_clips!r}; needs 'table1', 'soundbank' or a count for every class")
    table = DESED_SOURCE_CLIPS if source_clips == "table1" else None
    counts = table if isinstance(source_clips, str) else source_clips
    split = (weak_split, weak_split_seed)
    return read_layout(folder, CLASSES, sample_rate, clip_seconds, *split, resampled, counts, seed, "desed")


def check_desed(folder: Path | str, sample_rate: int, how: Looking = Looking()) -> list[SplitCheck]:  # noqa: B008
    """What is there, missing and wrong in a copy of DESED, against the published counts; see `check_layout`."""
    return check_layout(Path(folder), sample_rate, CLASSES, DESED_EXPECTED, how=how)
