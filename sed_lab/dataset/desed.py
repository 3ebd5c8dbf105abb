"""DESED as used in DCASE 2021 task 4: its classes, its counts, how to read and to check it.

Source: DCASE-REPO/DESED_task (branch dcase21_sed_baseline) and turpaultn/DESED 0686178, whose annotation files were
counted for `DESED_EXPECTED`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sed_lab.dataset.layout import read_layout
from sed_lab.errors import InputError
from sed_lab.types import Corpus

DESED_CLASSES = (
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

# Recordings per class in the training sound bank, V_c: Park & Elhilali 2022, Table 1 (sum 1009).
DESED_SOURCE_CLIPS = dict(zip(DESED_CLASSES, (190, 98, 88, 109, 136, 56, 64, 68, 128, 72), strict=True))


def read_desed(
    folder: Path | str,
    sample_rate: int = 16000,
    clip_seconds: float = 10.0,
    weak_split: float = 0.9,
    weak_split_seed: int = 42,
    resampled: bool = True,
    source_clips: Mapping[str, int] | str = "table1",
    jobs: int | None = None,
    seed: int = 0,
) -> Corpus:
    """DESED from ``folder``, which holds ``audio/`` and ``metadata/`` of the 2021 layout.

    Subsets synthetic, weak, unlabelled, synthetic_validation, weak_validation, test (the real validation set of 1168
    clips) and public, as far as they are there; arguments as `sed_lab.dataset.layout.read_layout`, and
    ``source_clips`` is ``table1`` (of Park & Elhilali 2022), ``soundbank`` (metadata/soundbank.tsv) or a mapping.

    Raises:
        InputError: as `read_layout`.
    """
    if isinstance(source_clips, str) and source_clips not in ("table1", "soundbank"):
        raise InputError(f"source_clips is {source_clips!r}; needs 'table1', 'soundbank' or a count for every class")
    counts: Mapping[str, int] | None = None if isinstance(source_clips, str) else source_clips
    return read_layout(
        folder,
        DESED_CLASSES,
        sample_rate,
        clip_seconds,
        weak_split,
        weak_split_seed,
        resampled,
        DESED_SOURCE_CLIPS if source_clips == "table1" else counts,
        jobs,
        seed,
        name="desed",
    )
