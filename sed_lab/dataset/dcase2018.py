"""DCASE 2018 task 4 with DCASE 2019's synthetic set, as Huang et al. (2021) use them.

Weak clips of 2018 train; its 288 strongly labelled test clips validate (``validation``), its 880 evaluation clips test
(``test``), the 2045 soundscapes of 2019 are a second test subset (``synthetic_test``). The paper mixed 6373 training
soundscapes from DCASE 2020's material, which are not published: here those of 2020 or 2021 train (``synthetic``). Their
sound bank also made the soundscapes of 2019, so ``synthetic_test`` holds recordings heard in training, as in the paper.

Two arrangements are known, and each part is looked for in both: 2018's own (``metadata/test``, ``metadata/eval``, files
``.csv``) and DESED's (``metadata/validation/test_dcase2018.tsv``, ``eval_dcase2018.tsv``, audio in ``audio/validation``
or below it); soundscapes may lie below ``dcase_synth/``, as from 2022 on. Unlabelled clips do not take part.
"""

from __future__ import annotations

from pathlib import Path

from sed_lab.clip.layout import Split, read_layout
from sed_lab.dataset.check import Looking, SplitCheck
from sed_lab.dataset.check_layout import Expected, check_layout
from sed_lab.dataset.desed import CLASSES, DESED_EXPECTED
from sed_lab.types import Corpus

# Paths below metadata/ and audio/ (the same where it is empty), the first that is there.
PATHS: dict[str, tuple[tuple[str, str], ...]] = {
    "synthetic": (("train/synthetic20/soundscapes", ""), ("train/synthetic21_train/soundscapes", "")),
    "weak": (("train/weak", ""), ("weak", "train/weak")),
    "validation": (
        ("validation/test_dcase2018", "validation/validation"),
        ("validation/test_dcase2018", "validation"),
        ("test/test", "test"),
        ("test", ""),
    ),
    "test": (
        ("validation/eval_dcase2018", "validation/validation"),
        ("validation/eval_dcase2018", "validation"),
        ("eval/eval", "eval"),
        ("eval", ""),
    ),
    "synthetic_test": (("train/synthetic", ""),),
}
_TEST = dict(zip(CLASSES, (112, 38, 95, 114, 120, 28, 24, 76, 253, 36), strict=True))
_TEST_2018 = dict(zip(CLASSES, (112, 40, 95, 122, 120, 28, 24, 76, 255, 36), strict=True))
_EVAL = dict(zip(CLASSES, (308, 56, 246, 445, 450, 37, 70, 161, 1499, 56), strict=True))
_SYNTHETIC_2019 = dict(zip(CLASSES, (755, 540, 547, 814, 516, 230, 137, 157, 2132, 204), strict=True))
# Counted in turpaultn/DESED 0686178 (896 events of the test clips) and in turpaultn/DCASE2019_task4 90d35b6 (908).
DCASE2018_EXPECTED = {
    "synthetic": Expected(None),  # of 2020 there are several editions
    "weak": DESED_EXPECTED["weak"],
    "validation": Expected(288, {"896 rows": _TEST, "908 rows": _TEST_2018}),
    "test": Expected(880, {"3343 rows": _EVAL}),
    "synthetic_test": Expected(2045, {"6032 rows": _SYNTHETIC_2019}),
}


def dcase2018_layout(folder: Path) -> tuple[Split, ...]:
    """Where the subsets lie in ``folder``; for what is absent, where it would lie."""
    splits = []
    for subset, paths in PATHS.items():
        kind = "weak" if subset == "weak" else "strong"
        made, training = subset.startswith("synthetic"), subset in ("synthetic", "weak")
        known = [Split(subset, kind, path, made, training, audio) for path, audio in paths]
        places = (folder, folder / "dcase_synth") if made else (folder,)
        there = [split for split in known if any(split.annotation_in(place).is_file() for place in places)]
        with_audio = [split for split in there if any(split.audio_in(place).is_dir() for place in places)]
        splits.append((with_audio or there or known)[0])
    return tuple(splits)


def read_dcase2018(folder: Path | str, sample_rate: int, clip_seconds: float, resampled: bool, seed: int) -> Corpus:
    """The corpus below ``folder``; arguments as `sed_lab.clip.layout.read_layout`. All weak clips train.

    Raises:
        InputError: as `read_layout`.
    """
    layout = dcase2018_layout(Path(folder))
    given = (folder, CLASSES, sample_rate, clip_seconds)
    return read_layout(*given, weak_split=1.0, resampled=resampled, seed=seed, name="dcase2018", layout=layout)


def check_dcase2018(folder: Path | str, sample_rate: int, how: Looking = Looking()) -> list[SplitCheck]:  # noqa: B008
    """What is there, missing and wrong in a copy, against the published counts; see `check_layout`."""
    folder = Path(folder)
    return check_layout(folder, sample_rate, CLASSES, DCASE2018_EXPECTED, how=how, layout=dcase2018_layout(folder))
