"""What a search may try: Hydra's own words for several values, read as ranges to draw from.

``a,b``, ``choice(a,b)`` and ``glob(*)`` are choices; ``range(1,9)`` are whole numbers, ``interval(1e-4,1e-2)`` numbers
between two, both by their logarithm as ``tag(log, interval(1e-4,1e-2))``; ``int(interval(8,64))`` are whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from sed_lab.errors import InputError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIGITS = 6  # significant ones of a number that is tried
FIXED = ("seed", "objective", "metric", "dataset", "paths", "rerun", "hydra")  # trials would not be comparable


@dataclass(frozen=True)
class Axis:
    """What may be tried of one key: ``choices`` as they are written, or numbers from ``low`` to ``high``."""

    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: int | None = None  # of whole numbers
    log: bool = False

    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if self.step is not None:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=self.step)
        return FloatDistribution(self.low, self.high, log=self.log)


def split(words: Sequence[str], space: Mapping[str, str]) -> tuple[list[str], dict[str, Axis]]:
    """The words that all trials share, and what is tried of the keys of others and of ``space``, by key.

    Call it where Hydra is initialised, which knows the options that a glob stands for.

    Raises:
        InputError: a key cannot be searched over, a range is empty, or nothing is to be tried.
    """
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    parsed = parser.parse_overrides([*(f"{key}={value}" for key, value in space.items()), *words])
    axes = {one.get_key_element(): _axis(one) for one in parsed if one.is_sweep_override()}
    if not axes:
        raise InputError(
            "nothing is to be tried; give several values of a key, as 'loss=bce,tbfl' or 'x=interval(0,1)'"
        )
    for key in axes:
        if key.lstrip("+~").partition(".")[0].partition("@")[0] in FIXED:
            raise InputError(f"{key}: trials that differ in it cannot be compared by their objective; give one value")
    return [str(one.input_line) for one in parsed if not one.is_sweep_override()], axes


def _axis(one: Override) -> Axis:
    value, key = one.value(), one.get_key_element()
    if one.is_choice_sweep():
        return Axis(tuple(dict.fromkeys(one.sweep_string_iterator())))
    log = isinstance(value, (RangeSweep, IntervalSweep)) and "log" in value.tags
    if isinstance(value, RangeSweep) and isinstance(value.range(), range):
        numbers = sorted(value.range())
        if not numbers:
            raise InputError(f"{one.input_line}: the range is empty; give range(FIRST, END) with END beyond FIRST")
        step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
        if log and (step != 1 or numbers[0] < 1):
            raise InputError(f"{one.input_line}: by the logarithm only steps of 1 from 1 on; leave out tag(log, ...)")
        return Axis((), numbers[0], numbers[-1], step, log)
    if isinstance(value, RangeSweep):
        return Axis(tuple(one.sweep_string_iterator()))
    assert isinstance(value, IntervalSweep)
    low, high = value.start, value.end
    if low is None or high is None or not low < high or (log and low <= 0):
        raise InputError(
            f"{key}: interval({low}, {high}) is empty, or not above 0 for its logarithm; give LOW below HIGH"
        )
    whole = isinstance(low, int) and isinstance(high, int)
    return Axis((), low, high, 1 if whole else None, log)


def words_of(values: Mapping[str, Any]) -> list[str]:
    """The words of a trial; numbers are rounded to `DIGITS`, so that they can be typed again."""
    return [
        f"{key}={float(f'{value:.{DIGITS}g}')!r}" if isinstance(value, float) else f"{key}={value}"
        for key, value in values.items()
    ]
