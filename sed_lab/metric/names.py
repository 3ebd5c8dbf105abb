"""The names under which a run writes its numbers, so that a table asking for another one is refused before it runs."""

from __future__ import annotations

import re

from sed_lab.types import BESIDE

_RATES = "f1|precision|recall|n_reference|n_detected"
_COUNTS = "clips|frames|positive_share|positive_peak|negative_peak"
_OF_A_SYSTEM = (
    r"event_f1(_tuned|_class_tuned)?/(macro|micro|error_rate|error_rate_macro)",
    r"event_f1_tuned/threshold",
    rf"event_f1(_tuned|_class_tuned)?/per_class/(?P<a>[^/]+)/({_RATES}|error_rate)",
    r"segment_f1/(macro|micro|error_rate|error_rate_macro)",
    rf"segment_f1/per_class/(?P<b>[^/]+)/({_RATES}|error_rate)",
    r"(intersection_f1|tagging_f1|eer)/(macro|micro)",
    r"tagging_f1/exact_match|eer/macro_(low|high)",
    r"accuracy/(argmax|element_wise|precision|reported|(argmax|element_wise)_gap)",
    rf"(intersection_f1|tagging_f1)/per_class/(?P<c>[^/]+)/({_RATES})",
    r"eer/per_class/(?P<d>[^/]+)/(eer|low|high|n_reference)",
    r"psds[12]/(exact|operating_points)",
    r"psds[12]/per_class/(?P<e>[^/]+)",
    r"embedding/(same_class|other_class|gap|nearest)",
    rf"logits/[^/]+/per_class/(?P<f>[^/]+)/({_COUNTS})",
)
_OF_THE_DATA = (
    r"dataset/per_class/(?P<g>[^/]+)/(clips|events|seconds|mean_seconds|m_c|r_c|frame_share|V_c|source_seconds)",
)
_SYSTEM = rf"(({'|'.join(BESIDE)})/)?[a-z0-9_]+"  # which systems there are is the method's to say
_NAME = re.compile("|".join([rf"{_SYSTEM}/({'|'.join(_OF_A_SYSTEM)})", *_OF_THE_DATA]))


def is_metric(name: str) -> bool:
    """Whether runs write a number called ``name``, such as ``student/event_f1/per_class/Dog/f1``."""
    return _NAME.fullmatch(name) is not None


def system_in(name: str) -> str:
    """The system a metric's name speaks of, or ``dataset``."""
    parts = name.split("/")
    return parts[1] if parts[0] in BESIDE else parts[0]


def class_in(name: str) -> str | None:
    """The class a metric's name speaks of; None for one that speaks of all."""
    found = _NAME.fullmatch(name)
    return next(filter(None, found.groupdict().values()), None) if found else None
