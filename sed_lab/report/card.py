"""A model card: what an exported detector is, what it was trained and measured on, how to use it, and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NUMBERS = {
    "event_f1_class_tuned/macro": "event F1, decoder tuned class by class on held-out clips",
    "event_f1/macro": "event F1, decoder as configured",
    "segment_f1_class_tuned/macro": "segment F1, tuned class by class",
    "segment_f1/macro": "segment F1",
    "intersection_f1/macro": "intersection F1",
    "psds1/exact": "PSDS1",
    "psds2/exact": "PSDS2",
    "tagging_f1/macro": "tagging F1 of clips",
    "eer/macro": "EER of clips",
}
COUNTS = {"clips": "clips", "events": "events", "seconds": "seconds"}


def card(record: Mapping[str, Any], described: Mapping[str, Any], metrics: Mapping[str, Any] | None) -> str:
    """The card as Markdown, of a record, `sed_lab.run.exported.describe` and metrics.json, where there is one."""
    config, system = record["config"], described["system"]
    made_by = ", ".join(str(config[part]["_target_"]).rsplit(".", 1)[-1] for part in ("method", "model", "feature"))
    decoder = described["decoder"]["decoder"]
    return (
        "\n\n".join(
            [
                f"# {_plain(record['name'])}",
                f"A detector of {len(described['classes'])} classes of sound events, trained with sed_lab:"
                f" {', '.join(map(_plain, described['classes']))}. Method, network and front end are {made_by};"
                f" the system is {system}, whose scores become events by {decoder}.",
                "## Use",
                *_use(described),
                "## Data",
                *_data(record),
                "## Numbers",
                *_numbers(record, system, metrics),
                "## Limits",
                *_limits(described),
            ]
        )
        + "\n"
    )


def _use(described: Mapping[str, Any]) -> list[str]:
    rate, seconds = described["sample_rate"], described["window_seconds"]
    lines = [
        "With sed_lab and its extra `export`, as a run's folder:",
        "    sed-predict FOLDER recording.wav",
        '    import sed_lab\n    sed_lab.load("FOLDER").predict(audio, rate)',
        "`detector.json` has classes, decoder, settings and thresholds; `detector.safetensors` has the weights.",
    ]
    onnx = described["onnx"]
    if onnx is None:
        return [*lines, "There is no ONNX model of it."]
    length = (
        f"any length from {onnx['shortest']} samples on" if onnx["any_length"] else "about the training clips' length"
    )
    outputs = " and ".join(f"`{name}` {shape}" for name, shape in onnx["outputs"].items())
    return [
        *lines,
        f"`model.onnx` takes `audio` [batch, samples], mono float32 in [-1, 1] at {rate} Hz, of"
        f" {length}, and gives {outputs} in [0, 1]. Give it windows of {seconds:g} s, as in"
        " training. Smoothing and thresholds, as `detector.json` has them, come after it.",
    ]


def _data(record: Mapping[str, Any]) -> list[str]:
    data = record.get("dataset") or {}
    lines = [f"Trained on `{data.get('name', 'unknown')}`, fingerprint `{str(data.get('fingerprint'))[:16]}`."]
    rows = {label: [row.get(name) for name in COUNTS] for label, row in (data.get("per_class") or {}).items() if row}
    if rows:
        lines.append("Strongly labelled training clips:")
        lines.append(_table(("class", *COUNTS.values()), [(label, *map(_number, row)) for label, row in rows.items()]))
    return lines


def _numbers(record: Mapping[str, Any], system: str, metrics: Mapping[str, Any] | None) -> list[str]:
    found = record.get("metrics") or {}
    rows = [
        (words, _number(found[f"{system}/{name}"])) for name, words in NUMBERS.items() if f"{system}/{name}" in found
    ]
    if not rows:
        return ["It was not measured."]
    lines = [
        "On the test clips of the same corpus, mean over classes, one training:",
        _table(("measure", "value"), rows),
    ]
    own = (metrics or {}).get("systems", {}).get(system, {})
    block = own.get("event_f1_class_tuned") or own.get("event_f1") or {}
    if per_class := block.get("per_class"):
        columns = {"f1": "event F1", "precision": "precision", "recall": "recall", "n_reference": "reference events"}
        body = [(label, *(_number(row.get(key)) for key in columns)) for label, row in per_class.items()]
        lines.append(_table(("class", *columns.values()), body))
    return lines


def _limits(described: Mapping[str, Any]) -> list[str]:
    half = described["sample_rate"] / 2000
    return [
        f"- It knows its {len(described['classes'])} classes and no others: another sound is taken for one of them or"
        f" for none.\n- Recordings are resampled to {2 * half:g} kHz: it hears nothing above {half:g} kHz.\n"
        f"- It saw windows of {described['window_seconds']:g} s; what takes longer to be told apart is not.\n"
        "- The numbers hold for recordings such as those test clips. On others, with other microphones, rooms or"
        " backgrounds, measure first: `sed-evaluate detections=FILE truth=FILE durations=FILE`.\n"
        "- Scores are not calibrated probabilities, and thresholds were chosen for event F1: a monitor that must miss"
        " nothing, or alarm seldom, needs others."
    ]


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plain(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
