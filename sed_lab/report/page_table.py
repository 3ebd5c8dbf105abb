"""The page's facts and tables as markup; every value that came from outside is escaped here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from html import escape
from typing import Any

from sed_lab.report.run_folder import RunFolder
from sed_lab.report.table_text import code_of, hardware_of

NAMES = {
    "psds1": "PSDS scenario 1",
    "psds2": "PSDS scenario 2",
    "event_f1": "Event F1",
    "event_f1_tuned": "Event F1, tuned threshold",
    "event_f1_class_tuned": "Event F1, tuned class by class",
    "intersection_f1": "Intersection F1",
    "segment_f1": "Segment F1",
    "tagging_f1": "Tagging F1",
    "eer": "Equal error rate",
    "accuracy": "Accuracy",
}
PARTS = {
    "exact": "exact",
    "operating_points": "50 thresholds",
    "macro": "macro",
    "micro": "micro",
    "error_rate": "error rate",
    "error_rate_macro": "error rate, mean of classes",
    "threshold": "threshold",
    "argmax": "argmax",
    "element_wise": "element-wise",
    "precision": "macro precision",
    "reported": "as the paper reports it",
}


def tiles_markup(run: RunFolder) -> str:
    """The few numbers one looks for first, of the first system."""
    systems = run.metrics.get("systems") or {}
    name = next(iter(systems), None)
    if name is None:
        return ""
    wanted = (
        ("psds1", "exact", "PSDS1"),
        ("psds2", "exact", "PSDS2"),
        ("event_f1", "macro", "event F1, macro"),
        ("event_f1_class_tuned", "macro", "event F1, tuned class by class"),
        ("segment_f1", "macro", "segment F1, macro"),
        ("tagging_f1", "macro", "tagging F1, macro"),
        ("accuracy", "argmax", "argmax accuracy"),
        ("accuracy", "element_wise", "element-wise accuracy"),
    )
    found = [(label, number(part(systems[name], key, kind))) for key, kind, label in wanted]
    tiles = "".join(f"<li><b>{value}</b><span>{label}</span></li>" for label, value in found if value != "\u2013")
    return f'<ul class="tiles" aria-label="Main results, {escape(name)}">{tiles}</ul>' if tiles else ""


def facts_markup(run: RunFolder) -> str:
    """What was run, on what, when and how long."""
    record, config = run.record, run.config
    dataset = record.get("dataset") or {}
    status = str(record.get("status", ""))
    facts = [
        ("Dataset", dataset.get("name") or target(config.get("dataset"))),
        ("Dataset fingerprint", str(dataset.get("fingerprint") or "")[:12]),
        ("Method", target(config.get("method"))),
        ("Model", target(config.get("model"))),
        ("Loss", target(config.get("loss"))),
        ("Decoder", target(config.get("decoder"))),
        ("Seed", record.get("seed")),
        ("Config hash", record.get("config_hash")),
        ("Status", f"{status}: {record['reason']}" if record.get("reason") else status),
        ("Date", moment(record.get("started"))),
        ("Duration", duration_of(record)),
        ("Training", rate_of(record)),
        ("Hardware", hardware_of(record["hardware"]) if "hardware" in record else None),
        ("Code", code_of(record["code"]) if "code" in record else None),
    ]
    items = "".join(
        f"<div><dt>{key}</dt><dd>{escape(str(value))}</dd></div>" for key, value in facts if value not in (None, "")
    )
    link = str(record.get("wandb") or "")
    if link.startswith("http"):
        items += f'<div><dt>W&amp;B</dt><dd><a href="{escape(link)}">{escape(link)}</a></dd></div>'
    command = record.get("command")
    if command:
        items += f'<div class="wide"><dt>Command</dt><dd><code>{escape(str(command))}</code></dd></div>'
    versions = ", ".join(f"{key} {value}" for key, value in (record.get("versions") or {}).items())
    if versions:
        items += f'<div class="wide"><dt>Versions</dt><dd>{escape(versions)}</dd></div>'
    folded = (
        f"<details><summary>Full configuration</summary><pre>{escape(outline(config))}</pre></details>"
        if config
        else ""
    )
    return f'<dl class="facts">{items}</dl>{folded}'


def metrics_markup(run: RunFolder) -> str:
    """One row a metric, one column a system, the settings folded below."""
    systems = run.metrics.get("systems") or {}
    names = tuple(systems)
    rows = []
    for key in dict.fromkeys(
        [*(k for k in NAMES if any(k in systems[n] for n in names)), *(k for n in names for k in systems[n])]
    ):
        kinds = dict.fromkeys(kind for n in names for kind in scalars(systems[n].get(key)))
        for kind in kinds:
            title = NAMES.get(key, key) + (f", {PARTS.get(kind, kind.replace('_', ' '))}" if kind else "")
            rows.append([title, *(number(part(systems[n], key, kind)) for n in names)])
    if not rows:
        return ""
    settings = run.metrics.get("settings")
    folded = (
        f"<details><summary>Settings of these metrics</summary><pre>{escape(outline(settings))}</pre></details>"
        if settings
        else ""
    )
    return table(["Metric", *names], rows) + folded


def per_class_markup(run: RunFolder) -> str:
    """Counts and rates of every class of the first system, F1 of the others, most frequent class first.

    They are of events, or of clips where the first system gives no events.
    """
    systems = run.metrics.get("systems") or {}
    names = tuple(systems)
    kind = "event_f1" if names and part(systems[names[0]], "event_f1", "per_class") else "tagging_f1"
    tables = {name: part(systems[name], kind, "per_class") or {} for name in names}
    if not names or not tables[names[0]]:
        return ""
    first = tables[names[0]]
    psds = {key: part(systems[names[0]], key, "per_class") or {} for key in ("psds1", "psds2")}
    psds = {key: values for key, values in psds.items() if values}
    last = "error_rate" if kind == "event_f1" else "eer"
    eers = part(systems[names[0]], "eer", "per_class") or {}
    head = ["Class", "True events" if kind == "event_f1" else "Clips", "Detected", "F1", "Precision", "Recall"]
    head += ["Error rate" if last == "error_rate" else "Equal error rate"]
    head += [f"F1, {name}" for name in names[1:]] + [key.upper() for key in psds]
    rows = []
    for label in sorted(first, key=lambda label: -(first[label].get("n_reference") or 0)):
        row = [
            label,
            *(number(round(first[label].get(key) or 0)) for key in ("n_reference", "n_detected")),
            *(number(first[label].get(key)) for key in ("f1", "precision", "recall")),
            number((first if last == "error_rate" else eers).get(label, {}).get(last)),
        ]
        row += [number((tables[name].get(label) or {}).get("f1")) for name in names[1:]]
        rows.append(row + [number(values.get(label)) for values in psds.values()])
    based = "Event based" if kind == "event_f1" else "Of whole clips"
    note = f'<p class="note">{based}, {escape(names[0])}; a dash means not defined (no true events).</p>'
    return table(head, rows) + note


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column names its rows; it scrolls sideways by itself on narrow screens."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(head[0])} table">'
        f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def number(value: Any) -> str:
    """Three decimals, whole numbers as they are, a dash for what is not defined."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, float) and math.isnan(value))
    ):
        return value if isinstance(value, str) else "\u2013"
    return f"{value:d}" if isinstance(value, int) else f"{value:.3f}"


def part(metrics: Mapping[str, Any], key: str, kind: str) -> Any:
    """``metrics[key][kind]``; ``kind`` "" stands for the value itself."""
    value = metrics.get(key)
    return (value if kind == "" else None) if not isinstance(value, Mapping) else value.get(kind)


def scalars(value: Any) -> list[str]:
    """Keys under which a metric holds single numbers."""
    if isinstance(value, Mapping):
        return [key for key, item in value.items() if isinstance(item, int | float) and not isinstance(item, bool)]
    return [""] if isinstance(value, int | float) and not isinstance(value, bool) else []


def target(node: Any) -> str:
    """The name of the class a configuration group stands for."""
    return str(node.get("_target_", "")).rsplit(".", 1)[-1] if isinstance(node, Mapping) else str(node or "")


def moment(text: Any) -> str:
    """A time of the record, to the minute."""
    try:
        return datetime.fromisoformat(str(text)).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return "" if text is None else str(text)


def duration_of(record: Mapping[str, Any]) -> str:
    """From start to end, or the seconds the record states."""
    seconds = record.get("seconds")
    with suppress(KeyError, TypeError, ValueError):
        took = datetime.fromisoformat(record["finished"]) - datetime.fromisoformat(record["started"])
        seconds = seconds or took.total_seconds()
    return spell(seconds) if isinstance(seconds, int | float) else ""


def rate_of(record: Mapping[str, Any]) -> str:
    """Training time and throughput."""
    seconds, rate = record.get("training_seconds"), record.get("clips_per_second") or record.get("throughput")
    parts = [spell(seconds)] if isinstance(seconds, int | float) else []
    return ", ".join([*parts, *([f"{rate:.3g} clips/s"] if isinstance(rate, int | float) else [])])


def spell(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def outline(value: Any) -> str:
    """Nested settings as indented lines, lists on one line."""
    lines: list[str] = []

    def walk(node: Mapping[str, Any], depth: int) -> None:
        for key, item in node.items():
            if isinstance(item, Mapping) and item:
                lines.append(f"{'  ' * depth}{key}:")
                walk(item, depth + 1)
            else:
                lines.append(f"{'  ' * depth}{key}: {item if isinstance(item, str) else json.dumps(item, default=str)}")

    if isinstance(value, Mapping):
        walk(value, 0)
        return "\n".join(lines)
    return json.dumps(value, indent=1, default=str)
