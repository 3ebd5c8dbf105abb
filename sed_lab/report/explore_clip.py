"""The explorer's views as markup: a clip's lanes, the list of clips, the table of classes, the curves of one class.

Everything that a run names is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import numpy as np
from matplotlib.figure import Figure

from sed_lab.decoder.base import Decoder
from sed_lab.decoder.median import per_class
from sed_lab.report.clip_view import Verdict
from sed_lab.report.explored import Found
from sed_lab.report.sound import LogMelPicture
from sed_lab.report.style import COLOURS, MUTED, new_figure, styled, svg_text

SIDES = "AB"
MOST = 200  # clips in the list


def picture_markup(picture: LogMelPicture | None) -> str:
    """The spectrogram of a clip, as wide as its lanes."""
    if picture is None:
        return '<p class="silent">The sound of this clip is not there, so there is no spectrogram.</p>'
    ticks = "".join(
        f'<span class="hz" style="bottom:{at:.1%}">{hz / 1000:g} kHz</span>' for hz, at in picture.ticks.items()
    )
    image = base64.b64encode(picture.png()).decode("ascii")
    source = f"data:image/png;base64,{image}"
    return f'<div class="mel"><img alt="{picture.name}" draggable="false" src="{source}">{ticks}</div>'


def lanes_markup(sides: Sequence[tuple[Found, Decoder]], clip: int, seconds: float, column: int | None) -> str:
    """A lane a class: scores of each side, its threshold, true events, detections with their fate.

    A class is shown where it is true, detected, or scored over its threshold; the chosen one, ``column``, always and
    first.
    """
    verdicts = [found.verdict(clip) for found, _ in sides]
    scores = [
        found.system.scores.select([verdict.clip_id]) for (found, _), verdict in zip(sides, verdicts, strict=True)
    ]
    classes = sides[0][0].system.classes
    smooth = [decoder.smooth(own) for (_, decoder), own in zip(sides, scores, strict=True)]
    limits = [per_class(decoder.threshold, classes, "threshold") for _, decoder in sides]
    shown = {} if column is None else {column: None}
    for verdict, own, limit in zip(verdicts, scores, limits, strict=True):
        met = own.frame is not None and len(own.frame[0]) > 0
        loud = own.frame[0].max(axis=0) > limit if met and own.frame else np.zeros(len(classes), bool)
        shown |= {i: None for i, label in enumerate(classes) if label in verdict.labels or loud[i]}
    lanes = []
    for i in shown:
        drawn = []
        for number, (raw, own, limit) in enumerate(zip(scores, smooth, limits, strict=True)):
            if raw.frame is None or own.frame is None or raw.frame_hop is None:
                continue
            drawn.append(
                f'<path class="raw {SIDES[number]}" d="{_steps(raw.frame[0][:, i], raw.frame_hop, closed=True)}"/>'
                f'<path class="smooth {SIDES[number]}" d="{_steps(own.frame[0][:, i], raw.frame_hop)}"/>'
                f'<path class="limit {SIDES[number]}" d="M0 {1 - limit[i]:.3f}H{seconds:.3f}"/>'
            )
        there = any(classes[i] in verdict.labels for verdict in verdicts)
        bars = "".join(_bars(verdict, n, classes[i], seconds) for n, verdict in enumerate(verdicts) if there)
        chosen = " chosen" if i == column else ""
        lanes.append(
            f'<div class="lane{chosen}" data-class="{i}"><span class="label">{escape(classes[i])}</span>'
            f'<svg viewBox="0 0 {seconds:.3f} 1" preserveAspectRatio="none" aria-hidden="true">{"".join(drawn)}</svg>'
            f"{bars}</div>"
        )
    return "".join(lanes) or '<p class="silent">No class is true, detected or scored over its threshold here.</p>'


def _steps(values: np.ndarray, hop: float, closed: bool = False) -> str:
    """A path over frames, each as wide as ``hop``, upside down as pictures are."""
    changes = np.flatnonzero(np.append(True, np.diff(values) != 0))
    parts = [
        f"V{1 - values[t]:.3f}H{end * hop:.3f}" for t, end in zip(changes, [*changes[1:], len(values)], strict=True)
    ]
    return f"M0 1{''.join(parts)}{'V1Z' if closed else ''}"


def _bars(verdict: Verdict, number: int, label: str, seconds: float) -> str:
    """The rows of events under a lane: what is true and whether this side found it, and what it detected."""
    rows = [
        ("true", verdict.truth, verdict.hit, ("found", "missed")),
        ("detected", verdict.detected, verdict.correct, ("right", "false alarm")),
    ]
    out = []
    for what, events, fates, words in rows:
        spans = []
        for event, good in zip(events, fates, strict=True):
            if event.event_label == label:
                said = f"{SIDES[number]}: {what} {event.onset:.2f} to {event.offset:.2f} s, {words[not good]}"
                kind = words[not good].replace(" ", "-")
                left, wide = 100 * event.onset / seconds, 100 * (event.offset - event.onset) / seconds
                spans.append(
                    f'<span class="event {kind}" style="left:{left:.3f}%;width:{wide:.3f}%" title="{said}">'
                    f'<span class="sr">{said}</span></span>'
                )
        out.append(f'<div class="bar {what}"><i>{what} {SIDES[number]}</i>{"".join(spans)}</div>')
    return "".join(out)


def list_markup(sides: Sequence[Found], order: Sequence[int], current: int, column: int | None) -> str:
    """The clips in their order with the F1 of each side, at most `MOST`, the ``current`` one marked."""
    names = sides[0].system.scores.clip_id
    values = [side.by_clip(column) for side in sides]
    rows = []
    for clip in order[:MOST]:
        here = ' aria-current="true"' if clip == current else ""
        numbers = " ".join(f"<b>{value[clip]:.2f}</b>" for value in values)
        rows.append(
            f'<button type="button" data-clip="{clip}"{here}><span>{escape(names[clip])}</span>{numbers}</button>'
        )
    said = f"{len(order)} clips" if len(order) <= MOST else f"the first {MOST} of {len(order)} clips"
    return f'<p class="note">{said}, F1 {" and ".join(SIDES[: len(sides)])}</p><div class="clips">{"".join(rows)}</div>'


def classes_markup(sides: Sequence[Found], column: int | None) -> str:
    """Event F1 of each class and in all, of each side; with two, B less A."""
    results = [side.result() for side in sides]
    rows: list[tuple[str, list[float | None], str, int | None]] = [
        ("Macro", [one["macro"] for one in results], "", None)
    ]
    for number, label in enumerate(sides[0].system.classes):
        own = [result["per_class"][label] for result in results]
        rows.append((label, [row["f1"] for row in own], f"{own[0]['n_reference']:g}", number))
    head = "".join(f"<th>F1 {SIDES[number]}</th>" for number, _ in enumerate(sides))
    more = "<th>B - A</th>" if len(sides) > 1 else ""
    body = []
    for label, values, count, i in rows:
        cells = "".join(f"<td>{_number(value)}</td>" for value in values)
        if len(sides) > 1:
            first, second = values
            cells += "<td>none</td>" if first is None or second is None else f"<td>{second - first:+.3f}</td>"
        mark = ' class="chosen"' if i == column else ""
        name = escape(label) if i is None else f'<button type="button" data-class="{i}">{escape(label)}</button>'
        body.append(f"<tr{mark}><th>{name}</th><td>{count}</td>{cells}</tr>")
    return f"<table><thead><tr><th>Class</th><th>n</th>{head}{more}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def curves_markup(sides: Sequence[tuple[Found, Decoder]], column: int) -> str:
    """DET of clip scores, and both PSD-ROCs, of one class: A solid, B dashed."""
    return f'<div class="curves">{svg_text(_curves(sides, column))}</div>'


@styled
def _curves(sides: Sequence[tuple[Found, Decoder]], column: int) -> Figure:
    label = sides[0][0].system.classes[column]
    figure = new_figure(10.0, 3.3)
    left, *right = figure.subplots(1, 3)
    left.set(title=f"DET: {label}", xlabel="false-alarm rate of clips", ylabel="miss rate", xlim=(0, 1), ylim=(0, 1))
    left.plot([0, 1], [0, 1], color=MUTED, lw=0.7)
    for axes, name in zip(right, ("psds1", "psds2"), strict=True):
        axes.set(
            title=f"PSD-ROC, {name.upper()}", xlabel="effective false positives an hour", xlim=(0, 100), ylim=(0, 1)
        )
    for number, (found, decoder) in enumerate(sides):
        style = {"color": COLOURS[number], "ls": "-" if number == 0 else "--", "lw": 1.6}
        curve = found.system.det()
        if label in curve["per_class"]:
            left.plot(curve["false_alarm"], curve["per_class"][label]["miss"], label=SIDES[number], **style)
        for axes, psds in zip(right, found.system.psds(decoder).values(), strict=True):
            if label in psds.class_curves:
                x, y = psds.class_curves[label]
                area = f"{SIDES[number]}: area {psds.per_class[label]:.3f}"
                axes.step([0, *x, 100], [0, *y, y[-1] if len(y) else 0], where="post", label=area, **style)
    for axes in (left, *right):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best")
    return figure
