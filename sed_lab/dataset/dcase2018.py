"""DCASE 2018 task 4 with DCASE 2019's synthetic set, as Huang et al. (2021) use them.

Weak clips of 2018 train; its 288 strongly labelled test clips validate (``validation``), its 880 evaluation clips test
(``test``), the 2045 soundscapes of 2019 are a second test subset (``synthetic_test``). The paper mixed 6373 training
soundscapes from DCASE 2020's material, which are not published: here so many of 2020's or 2021's train (``synthetic``).
Their sound bank also made the soundscapes of 2019, so ``synthetic_test`` holds recordings heard in training, as in the
paper.

Two arrangements are known, and each part is looked for in both: 2018's own (``metadata/test``, ``metadata/eval``, files
``.csv``) and DESED's (``metadata/validation/test_dcase2018.tsv``, ``eval_dcase2018.tsv``, audio in ``audio/validation``
or below it); soundscapes may lie below ``dcase_synth/``, as from 2022 on. Unlabelled clips do not take part.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from sed_lab.clip.audio import ClipFiles, audio_info
from sed_lab.clip.audio_folder import list_audio
from sed_lab.clip.layout import Listing, Split, list_splits, read_layout
from sed_lab.dataset.check import Looking, SplitCheck
from sed_lab.dataset.check_layout import Expected, check_layout
from sed_lab.dataset.desed import CLASSES, DESED_EXPECTED
from sed_lab.errors import InputError
from sed_lab.types import Corpus

log = logging.getLogger(__name__)

# Paths below metadata/ and audio/ (the same where it is empty), the first that is there.
PATHS: dict[str, tuple[tuple[str, str], ...]] = {
    "synthetic": (("train/synthetic21_train/soundscapes", ""), ("train/synthetic20/soundscapes", "")),
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
# 2021's are at 44.1 kHz, as the real clips; 2020's generator wrote 16 kHz.
SOUNDSCAPES = dict(zip(("synthetic21", "synthetic20"), PATHS["synthetic"], strict=True))
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


def dcase2018_layout(folder: Path, soundscapes: str = "") -> tuple[Split, ...]:
    """Where the subsets lie in ``folder``; for what is absent, where it would lie.

    ``soundscapes`` names those that train, a key of `SOUNDSCAPES`; with none it is those that are there.
    """
    splits = []
    chosen = {"synthetic": (SOUNDSCAPES[soundscapes],)} if soundscapes else {}
    for subset, paths in {**PATHS, **chosen}.items():
        kind = "weak" if subset == "weak" else "strong"
        made, training = subset.startswith("synthetic"), subset in ("synthetic", "weak")
        known = [Split(subset, kind, path, made, training, audio) for path, audio in paths]
        places = (folder, folder / "dcase_synth") if made else (folder,)
        there = [split for split in known if any(split.annotation_in(place).is_file() for place in places)]
        with_audio = [split for split in there if any(split.audio_in(place).is_dir() for place in places)]
        splits.append((with_audio or there or known)[0])
    return tuple(splits)


def read_dcase2018(
    folder: Path | str,
    sample_rate: int,
    clip_seconds: float,
    resampled: bool,
    soundscapes: str,
    soundscape_count: int | None,
    seed: int,
) -> Corpus:
    """The corpus below ``folder``; arguments as `sed_lab.clip.layout.read_layout`. All weak clips train.

    ``soundscapes`` is a key of `SOUNDSCAPES`; ``soundscape_count`` of them, drawn by ``seed``, train (None: all).

    Raises:
        InputError: as `read_layout`; unknown or absent soundscapes; recordings of one subset lack the frequencies that
            another's have at ``sample_rate``.
    """
    if soundscapes not in SOUNDSCAPES:
        known = " or ".join(SOUNDSCAPES)
        raise InputError(f"dataset.soundscapes={soundscapes} is unknown; use {known} (2019's are the synthetic test)")
    layout = dcase2018_layout(Path(folder), soundscapes)
    listings = list_splits(Path(folder), CLASSES, layout)
    if "synthetic" not in listings:
        other = " or ".join(name for name in SOUNDSCAPES if name != soundscapes)
        absent = layout[0].annotation_in(Path(folder))
        raise InputError(f"{absent} is absent; restore it, or set dataset.soundscapes={other}")
    refuse_missing_band(listings, sample_rate)
    given = (folder, CLASSES, sample_rate, clip_seconds)
    corpus = read_layout(*given, weak_split=1.0, resampled=resampled, seed=seed, name="dcase2018", layout=layout)
    if soundscape_count is None or "synthetic" not in corpus.subsets:
        return corpus
    clips = corpus.subsets["synthetic"].clips
    if soundscape_count > len(clips):
        log.warning("dataset.soundscape_count=%d, but there are %d; all of them train", soundscape_count, len(clips))
    count = min(soundscape_count, len(clips))
    drawn = np.sort(np.random.default_rng(seed).permutation(len(clips))[:count])
    synthetic = ClipFiles([clips[i] for i in drawn], sample_rate, clip_seconds, random_crop=True, seed=seed)
    return replace(corpus, subsets={**corpus.subsets, "synthetic": synthetic})


def refuse_missing_band(listings: Mapping[str, Listing], sample_rate: int) -> None:
    """Refuse recordings at a lower rate than ``sample_rate`` beside others at a higher one.

    Read at the higher rate they are silent above half of their own: a network would tell the domains apart by it.

    Raises:
        InputError: with the rate at which all subsets hold the same frequencies.
    """
    rates = {name: rate for name, listing in listings.items() if (rate := usual_rate(listing.audio)) is not None}
    lowest = min(rates.values(), default=sample_rate)
    if lowest < sample_rate and max(rates.values()) > lowest:
        found = ", ".join(f"{name} {rate} Hz" for name, rate in rates.items())
        remedy = f"set dataset.sample_rate={lowest} and a feature of that rate, such as feature=ln_mel_16k"
        raise InputError(
            f"recordings differ in sample rate ({found}): read at {sample_rate} Hz some are silent above"
            f" {lowest // 2} Hz, by which a network tells the domains apart; {remedy}"
        )


def usual_rate(folder: Path, looked_at: int = 20) -> int | None:
    """The sample rate of most of a folder's first recordings in Hz; None without any."""
    rates: Counter[int] = Counter()
    for path in list_audio(folder)[:looked_at] if folder.is_dir() else ():
        with suppress(InputError):  # `read_layout` names bad files
            rates[audio_info(path).sample_rate] += 1
    return rates.most_common(1)[0][0] if rates else None


def check_dcase2018(folder: Path | str, sample_rate: int, how: Looking = Looking()) -> list[SplitCheck]:  # noqa: B008
    """What is there, missing and wrong in a copy, against the published counts; see `check_layout`."""
    folder = Path(folder)
    return check_layout(folder, sample_rate, CLASSES, DCASE2018_EXPECTED, how=how, layout=dcase2018_layout(folder))
