"""The page's part on detections: which decoder made them, what it was chosen by, and its settings class by class."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from sed_lab.decoder.box import NO_ABS, NO_REL
from sed_lab.report.page_table import number, table
from sed_lab.report.run_folder import RunFolder
from sed_lab.run.tuned import best_in_words, in_words

SETTINGS = {
    "threshold": "Threshold",
    "median_seconds": "Median window, s",
    "step_seconds": "Step filter, s",
    "merge_abs": "Joined across falls below",
    "merge_rel": "Joined across ratios below",
}
NONE = {"merge_abs": NO_ABS, "merge_rel": NO_REL}  # limits that no scores reach


def decoder_markup(run: RunFolder) -> str:
    """One sentence on the detections, one on what was tried, and the best system's settings; nothing where no decoder
    was tuned."""
    if not run.tuned:
        return ""
    name = run.tuned["system"]
    own = run.tuned["systems"][name]
    settings = own[own["best"]]["decoder"]
    said = f"Detections of {name} are made by {best_in_words(run.tuned, name)}; sed-predict uses the same by default"
    tried = [
        f"{system}, {in_words(one[which]['decoder']['decoder'])} {number(one[which]['event_f1'])}"
        for system, one in run.tuned["systems"].items()
        for which in ("configured", "rival")
        if which in one
    ]
    on = f"Event F1 on {run.tuned['on']}: {'; '.join(tried)}"
    lead = f'<p class="note">{escape(said)}. {escape(on)}.</p>'
    return lead + _settings_table(settings)


def _settings_table(settings: Mapping[str, Any]) -> str:
    by_class = {key: value for key, value in settings.items() if isinstance(value, Mapping)}
    labels = dict.fromkeys(label for value in by_class.values() for label in value)
    order = sorted(by_class, key=lambda key: list(SETTINGS).index(key) if key in SETTINGS else len(SETTINGS))
    rows = [[label, *(_cell(key, by_class[key].get(label)) for key in order)] for label in labels]
    return table(["Class", *(SETTINGS.get(key, key.replace("_", " ")) for key in order)], rows)


def _cell(key: str, value: Any) -> str:
    return "no limit" if key in NONE and value == NONE[key] else number(value)
