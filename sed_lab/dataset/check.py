"""What all checks of corpora share: the findings on a subset, how recordings are looked at, and what findings mean.

Errors: an annotation that is missing or wrong, recordings that cannot be used, a subset without any recording.
Warnings: missing and unlisted recordings, other counts than the published ones, lengths and sample rates that differ.
Nothing of a corpus is changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sed_lab.clip.audio import AudioInfo, audio_info
from sed_lab.clip.audio_folder import check_audio

SHOWN = 5  # names spelled out in one message; the others are counted


@dataclass(frozen=True)
class Looking:
    """How to look: ``decode`` all audio or read headers only, by so many ``jobs`` (None: a thread a core), with
    ``progress`` shown or not."""

    decode: bool = True
    jobs: int | None = None
    progress: bool = False


@dataclass
class SplitCheck:
    """The findings on one subset; ``listed``, ``found`` and ``expected`` count clips.

    Attributes:
        used: as what: training, validation, test, or source of clips to be made; empty where they are divided later on.
        notes: what is no fault, such as counts of clips.
        rates: recordings at each sample rate in Hz. seconds: median length of the recordings.
    """

    subset: str
    audio: Path
    expected: int | None = None
    listed: int = 0
    found: int = 0
    unlisted: int = 0
    missing: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)  # file, reason
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    used: str = ""
    rates: dict[int, int] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def rate(self) -> int | None:
        """The sample rate of most recordings."""
        return max(self.rates, key=lambda rate: (self.rates[rate], -rate)) if self.rates else None


def look_at(check: SplitCheck, paths: Collection[Path], how: Looking) -> dict[Path, AudioInfo]:
    """Read recordings: what is wrong goes to ``check.bad``, the headers of all others are returned."""
    label = f"checking {check.subset}" if how.progress else ""
    bad = check_audio(sorted(paths), how.jobs, how.decode, label)
    check.bad += [(str(path), reason) for path, reason in bad]
    infos = {path: audio_info(path) for path in sorted({*paths} - {path for path, _ in bad})}
    check.rates = dict(Counter(info.sample_rate for info in infos.values()))
    lengths = sorted(info.duration for info in infos.values())
    check.seconds = lengths[len(lengths) // 2] if lengths else None
    if len(check.rates) > 1:
        named = ", ".join(f"{count} at {rate} Hz" for rate, count in Counter(check.rates).most_common())
        check.warnings.append(f"recordings differ in sample rate ({named}); all are resampled")
    return infos


def compare(checks: Sequence[SplitCheck], sample_rate: int, clip_seconds: float | None = None) -> None:
    """Warn where subsets differ from each other in sample rate or length; ``sample_rate`` is what they are read at."""
    known = {check.subset: rate for check in checks if (rate := check.rate)}
    for check in checks:
        rate = known.get(check.subset)
        higher = {name: other for name, other in known.items() if rate and other > rate}
        if rate and higher:
            text = f"recordings are at {rate} Hz where those of {_rates(higher)}"
            if rate >= sample_rate:
                check.notes.append(f"{text}; all are resampled to {sample_rate} Hz, so nothing is lost")
                continue
            check.warnings.append(
                f"{text}: read at {sample_rate} Hz they hold nothing above {rate // 2} Hz, by which a network tells "
                f"the subsets apart; set dataset.sample_rate={rate}, or the f_max of the features to {rate // 2}"
            )
    if clip_seconds is None:
        return
    usual = [check for check in checks if check.seconds and abs(check.seconds - clip_seconds) <= 0.5]
    for check in checks:
        if usual and check.seconds and abs(check.seconds - clip_seconds) > 0.5:
            fate = "cropped" if check.seconds > clip_seconds else "filled up with zeros"
            check.warnings.append(
                f"recordings last {check.seconds:.1f} s where those of {', '.join(one.subset for one in usual)} last "
                f"{clip_seconds:g} s; they are {fate}"
            )


def named(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _rates(known: Mapping[str, int]) -> str:
    by_rate: dict[int, list[str]] = {}
    for name, rate in known.items():
        by_rate.setdefault(rate, []).append(name)
    return " and ".join(f"{', '.join(names)} are at {rate} Hz" for rate, names in sorted(by_rate.items()))


def effect(check: SplitCheck) -> str:
    """What the findings mean for numbers measured on this corpus, in words; empty where they mean nothing."""
    usable = max(0, check.found - len(check.bad))
    whole = check.expected or check.listed
    if usable >= whole or not check.found:  # with nothing there, the error says enough
        return ""
    if check.used == "source":
        return f"{check.subset}: {usable} of {whole} are there to mix; what is made of them is not what others made"
    if not check.used:
        return f"{check.subset}: {usable} of {whole} clips are split and used; compare numbers on the same clips only"
    if check.used == "training":
        share = f"{whole - usable} of {whole} training clips ({100 * (whole - usable) / whole:.1f} %)"
        return f"{check.subset}: {share} are missing; expect lower scores than published"
    if check.used == "validation":
        return f"{check.subset}: {usable} of {whole} clips choose the checkpoint; another one may be kept"
    return (
        f"{check.subset}: {usable} of {whole} clips can be scored, so scores are not comparable with published ones; "
        "compare only systems scored on these very clips"
    )
