"""The page's facts and tables as markup; every value that came from outside is escaped here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from sed_lab.metric.measure import flatten
from sed_lab.report.run_folder import RunFolder
from sed_lab.report.table_text import code_in_words, hardware_in_words
from sed_lab.run.answer import UNDEFINED, answer_grid, beside_answer

GROUPS = {
    "Events": {
        "event_f1_class_tuned": "Event F1, tuned class by class",
        "event_f1": "Event F1",
        "event_f1_tuned": "Event F1, tuned threshold",
        "event_f1_optimistic": "Event F1, optimistic: threshold chosen on the test clips",
        "intersection_f1": "Intersection F1",
    },
    "Segments": {
        "segment_f1_class_tuned": "Segment F1, tuned class by class",
        "segment_f1": "Segment F1",
    },
    "PSDS": {
        "psds1_class_tuned": "PSDS scenario 1, tuned class by class",
        "psds2_class_tuned": "PSDS scenario 2, tuned class by class",
        "psds1": "PSDS scenario 1",
        "psds2": "PSDS scenario 2",
    },
    "False alarms": {
        "false_alarms_class_tuned": "False alarms, tuned class by class",
        "false_alarms": "False alarms",
    },
    "Whole clips": {
        "tagging_f1": "Tagging F1",
        "eer": "Equal error rate",
        "ranking": "Ranking of clips",
        "accuracy": "Accuracy",
    },
}
WORDS = 28  # letters of a cell that is no number
OTHERS = "Others"  # what analyses add
PARTS = {
    "exact": "exact",
    "operating_points": "50 thresholds",
    "macro": "macro",
    "micro": "micro",
    "error_rate": "error rate",
    "error_rate_macro": "error rate, mean of classes",
    "threshold": "threshold",
    "map": "mAP",
    "auc": "mean AUC",
    "d_prime": "d'",
    "per_hour": "in an hour",
    "per_hour_without_target": "in an hour of clips without the class",
    "false_alarm_rate": "share of clips without the class",
    "detection_rate": "share of clips with it that have a detection",
    "argmax": "argmax",
    "element_wise": "element-wise",
    "precision": "macro precision",
    "collapsed": "one answer to all clips",
    "reported": "as the paper reports it",
}


def answer_markup(run: RunFolder) -> str:
    """What the run came to, with the numbers and names that `sed_lab.run.answer` prints: of the first system large,
    where there are more of all as a table, and in words what they are of.
    """
    record = {**run.record, "systems": run.measured, "detector": {"tuned": run.tuned}}
    record["metrics"] = flatten(run.metrics) if run.measured else {}
    head, lines = answer_grid(record)
    facts = beside_answer(record)
    if (status := record.get("status", "complete")) != "complete":
        facts = {"status": f"{status}: {record['reason']}" if record.get("reason") else status, **facts}
    tiles = ""
    if lines:
        system, decoder, *values = lines[0]
        shown = [(name, value) for name, value in zip(head[2:], values, strict=True) if value != UNDEFINED]
        items = "".join(f"<li><b>{value}</b><span>{escape(name)}</span></li>" for name, value in shown)
        said = f"Test clips, {system}, decoder: {decoder}"
        tiles = f'<p class="of">{escape(said)}</p><ul class="tiles" aria-label="{escape(said)}">{items}</ul>'
    items = "".join(
        f"<div><dt>{escape(key.capitalize())}</dt><dd>{escape(said)}</dd></div>" for key, said in facts.items()
    )
    own = f'<dl class="facts">{items}</dl>' if items else ""
    return tiles + (table(head, lines) if len(lines) > 1 else "") + own


def facts_markup(run: RunFolder) -> str:
    """What was run, on what, when and how."""
    record, config = run.record, run.config
    dataset, link, rate = record.get("dataset", {}), str(record.get("wandb")), record.get("clips_per_second")
    started = datetime.fromisoformat(record["started"]) if "started" in record else None
    facts = {
        "Dataset": dataset.get("name") or target(config.get("dataset")),
        "Dataset fingerprint": dataset.get("fingerprint", "")[:12],
        **{group.capitalize(): target(config.get(group)) for group in ("method", "model", "loss")},
        "Decoder, as configured": target(config.get("decoder")),
        "Seed": record.get("seed", ""),
        "Config hash": record.get("config_hash", ""),
        "Date": f"{started:%Y-%m-%d %H:%M %Z}".strip() if started else "",
        "Speed": f"{rate:.3g} clips/s in training" if rate else "",
        "Hardware": hardware_in_words(record["hardware"]) if "hardware" in record else "",
        "Code": code_in_words(record["code"]),
    }
    shown = {key: escape(str(value)) for key, value in facts.items() if value != ""}
    items = "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in shown.items())
    if link.startswith("http"):
        items += f'<div><dt>W&amp;B</dt><dd><a href="{escape(link)}">{escape(link)}</a></dd></div>'
    items += f'<div class="wide"><dt>Command</dt><dd><code>{escape(record["command"])}</code></dd></div>'
    versions = ", ".join(f"{key} {value}" for key, value in record["versions"].items())
    items += f'<div class="wide"><dt>Versions</dt><dd>{escape(versions)}</dd></div>'
    return f'<dl class="facts">{items}</dl>{folded("Full configuration", config)}'


def metrics_markup(run: RunFolder) -> str:
    """Every number there is, in groups to unfold: a row a number, a column a system; the settings last."""
    known = {key for names in GROUPS.values() for key in names}
    others = {key: key for system in run.measured.values() for key in system if key not in known}
    parts = []
    for group, names in {**GROUPS, OTHERS: others}.items():
        rows = [row for key, title in names.items() for row in _metric_rows(run, key, title)]
        if rows:
            summary = f"<summary>{group} <small>{len(rows)} numbers</small></summary>"
            parts.append(f"<details>{summary}{table(['Metric', *run.measured], rows)}</details>")
    note = (
        '<p class="note">Tuned class by class: each by the decoder that was best for it on held-out clips, every class'
        " with its own settings. All others: by the decoder as configured.</p>"
    )
    settings = folded("Settings of these metrics", run.metrics.get("settings", {}))
    return (note if run.tuned else "") + "".join(parts) + settings if parts else ""


def _metric_rows(run: RunFolder, key: str, title: str) -> Iterator[list[str]]:
    systems = run.measured.values()
    for kind in dict.fromkeys(kind for system in systems for kind in scalars(system.get(key))):
        name = title + (f", {PARTS.get(kind, kind.replace('_', ' '))}" if kind else "")
        yield [name, *(number(part(system, key, kind)) for system in systems)]


def per_class_markup(run: RunFolder) -> str:
    """Counts and rates of every class of the first system, F1 of the others, most frequent class first.

    They are of events, or of clips where the first system gives no events.
    """
    name, system = next(iter(run.measured.items()), ("", {}))
    of_events = bool(part(system, "event_f1", "per_class"))
    kinds = [run.shown("event_f1", one) if of_events else "tagging_f1" for one in run.measured]
    measured = zip(run.measured.values(), kinds, strict=True)
    first, *others = [part(one, kind, "per_class") or {} for one, kind in measured] or [{}]
    if not first:
        return ""
    psds = {key: part(system, run.shown(key, name), "per_class") for key in ("psds1", "psds2")}
    psds = {key: values for key, values in psds.items() if values}
    rates = {label: row.get("error_rate") for label, row in first.items()}
    if not of_events:
        rates = {label: row["eer"] for label, row in (part(system, "eer", "per_class") or {}).items()}
    head = ["Class", "True events" if of_events else "Clips", "Detected", "F1", "Precision", "Recall"]
    head += ["Error rate" if of_events else "Equal error rate"]
    head += [f"F1, {name}" for name in [*run.measured][1:]] + [key.upper() for key in psds]
    rows = []
    for label, found in sorted(first.items(), key=lambda item: -(item[1].get("n_reference") or 0)):
        row = [label, *(number(round(found.get(key) or 0)) for key in ("n_reference", "n_detected"))]
        values = [*(found.get(key) for key in ("f1", "precision", "recall")), rates.get(label)]
        values += [other.get(label, {}).get("f1") for other in others] + [one.get(label) for one in psds.values()]
        rows.append(row + [number(value) for value in values])
    based = "Event based" if of_events else "Of whole clips"
    based += ", decoders tuned class by class" if of_events and run.is_tuned(name) else ""
    note = f'<p class="note">{based}, {escape(name)}; a dash means not defined (no true events).</p>'
    return table(head, rows) + note


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table whose first column names its rows.

    Columns of words break their lines. On narrow screens a table of more than three columns stands row by row, each
    cell under its column's name.
    """
    rows = list(lines)
    words = [any(len(row[place]) > WORDS for row in rows) for place in range(len(head))]
    style = [' class="words"' if of_words else "" for of_words in words]
    top = "".join(f'<th scope="col"{one}>{escape(cell)}</th>' for cell, one in zip(head, style, strict=True))
    body = "".join(
        f'<tr><th scope="row"{style[0]}>{escape(row[0])}</th>'
        + "".join(
            f'<td data-of="{escape(name)}"{one}>{escape(cell)}</td>'
            for name, cell, one in zip(head[1:], row[1:], style[1:], strict=True)
        )
        + "</tr>"
        for row in rows
    )
    many = " many" if len(head) > 3 else ""
    return (
        f'<div class="scroll{many}" tabindex="0" role="region" aria-label="{escape(head[0])} table">'
        f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def number(value: Any) -> str:
    """Three decimals, whole numbers as they are, a dash for what is not defined."""
    if not is_number(value):
        return value if isinstance(value, str) else UNDEFINED
    return f"{value:d}" if isinstance(value, int) else f"{value:.3f}"


def part(metrics: Mapping[str, Any], key: str, kind: str) -> Any:
    """``metrics[key][kind]``; ``kind`` "" stands for the value itself."""
    value = metrics.get(key)
    return (value if kind == "" else None) if not isinstance(value, Mapping) else value.get(kind)


def scalars(value: Any) -> list[str]:
    """Keys under which a metric holds single numbers."""
    if isinstance(value, Mapping):
        return [key for key, item in value.items() if is_number(item)]
    return [""] if is_number(value) else []


def is_number(value: Any) -> bool:
    """Whether a value of a metrics record is one; a truth value is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def target(node: Any) -> str:
    """The name of the class a configuration group stands for, or a decoder's settings name."""
    return (
        str(node.get("_target_", node.get("decoder", ""))).rsplit(".", 1)[-1]
        if isinstance(node, Mapping)
        else str(node or "")
    )


def folded(title: str, settings: Mapping[str, Any]) -> str:
    """Settings to unfold; nothing where there are none."""
    return f"<details><summary>{title}</summary><pre>{escape(outline(settings))}</pre></details>" if settings else ""


def outline(settings: Mapping[str, Any], indent: str = "") -> str:
    """Nested settings as indented lines, lists on one line."""
    lines = []
    for key, item in settings.items():
        if isinstance(item, Mapping) and item:
            lines += [f"{indent}{key}:", outline(item, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {item if isinstance(item, str) else json.dumps(item)}")
    return "\n".join(lines)
