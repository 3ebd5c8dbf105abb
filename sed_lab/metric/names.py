"""The names under which a run writes its numbers, so that a table asking for another one is refused before it runs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sed_lab.types import BESIDE

_RATES = "f1|precision|recall|n_reference|n_detected"
_ALARMS = "per_hour|per_hour_without_target|false_alarm_rate|detection_rate"
_OF_A_SYSTEM = (
    r"event_f1(_tuned|_class_tuned|_optimistic)?/(macro|micro|error_rate|error_rate_macro)",
    r"event_f1_(tuned|optimistic)/threshold",
    rf"event_f1(_tuned|_class_tuned|_optimistic)?/per_class/[^/]+/({_RATES}|error_rate)",
    rf"false_alarms(_class_tuned)?/({_ALARMS})",
    rf"false_alarms(_class_tuned)?/per_class/[^/]+/({_ALARMS})",
    r"(event_f1|psds[12])_class_tuned/held_out/(configured|rival)",
    r"segment_f1(_class_tuned)?/(macro|micro|error_rate|error_rate_macro)",
    rf"segment_f1(_class_tuned)?/per_class/[^/]+/({_RATES}|error_rate)",
    r"(intersection_f1|tagging_f1|eer)/(macro|micro)",
    r"tagging_f1/exact_match|eer/macro_(low|high)",
    r"accuracy/(argmax|element_wise|precision|collapsed|reported)",
    r"ranking/(map|auc|d_prime)",
    rf"(intersection_f1|tagging_f1)/per_class/[^/]+/({_RATES})",
    r"eer/per_class/[^/]+/(eer|low|high|n_reference)",
    r"ranking/per_class/[^/]+/(average_precision|auc|d_prime|n_reference)",
    r"psds[12]/(exact|operating_points)",
    r"psds[12]_class_tuned/exact",
    r"psds[12](_class_tuned)?/per_class/[^/]+",
)
_OF_A_CLASS = "clips|events|seconds|mean_seconds|m_c|r_c|frame_share|V_c|source_clips|source_seconds"
_OF_THE_DATA = (rf"dataset/per_class/[^/]+/({_OF_A_CLASS})",)
_SYSTEM = rf"(({'|'.join(BESIDE)})/)?[a-z0-9_]+"  # which systems there are is the method's to say
_NAME = re.compile("|".join([rf"{_SYSTEM}/({'|'.join(_OF_A_SYSTEM)})", *_OF_THE_DATA]))
_ADDED = re.compile(rf"{_SYSTEM}/(?!(event|segment|intersection|tagging)_f1|eer/|false_alarms/|ranking/|psds)[^/]+/.+")


def is_metric(name: str, more: Iterable[str] = ()) -> bool:
    """Whether runs write a number called ``name``, such as ``student/event_f1/per_class/Dog/f1``.

    ``more`` are patterns of what analyses add to a system, their ``NUMBERS``.
    """
    return bool(_NAME.fullmatch(name)) or any(re.fullmatch(f"{_SYSTEM}/({pattern})", name) for pattern in more)


def could_be_metric(name: str) -> bool:
    """Whether ``name`` is a metric, or of a kind that an analysis might add."""
    return is_metric(name) or _ADDED.fullmatch(name) is not None


def system_in(name: str) -> str:
    """The system a metric's name speaks of, or ``dataset``."""
    parts = name.split("/")
    return parts[1] if parts[0] in BESIDE else parts[0]


def class_in(name: str) -> str | None:
    """The class a metric's name speaks of; None for one that speaks of all."""
    _, _, after = name.partition("/per_class/")
    return after.split("/")[0] or None
