"""The pictures of a run: learning curves, per-class F1, PSD-ROC, and a clip with all that is known about it.

Every function returns a matplotlib Figure made without pyplot (no display, no global state).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from sed_lab.report.clip_view import Verdict, choose, judge_run, shown_classes
from sed_lab.report.page_clip import seen_and_heard
from sed_lab.report.run_folder import RunFolder, read_run
from sed_lab.report.sound import LogMelMaker, LogMelPicture
from sed_lab.report.style import COLOURS, DASHES, INK, LINE, MUTED, class_style, new_figure, save, styled
from sed_lab.run.record import analyses
from sed_lab.run.trust import own_analyses

WIDTH = 4.6  # inches of a figure whose letters can be read on a telephone: panels stand below each other


@styled
def learning_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Losses and validation measures against epochs; ``history`` holds a row an epoch.

    Its columns are ``epoch``, counted from 0 (drawn from 1), ``train/...`` and ``val/...``.
    """
    keys = list(dict.fromkeys(key for row in history for key in row if key.startswith(("train/", "val/"))))
    losses = [key for key in keys if "loss" in key]
    measures = [key for key in keys if key.startswith("val/") and "loss" not in key]
    panels = [(title, found) for title, found in (("Loss", losses), ("Validation", measures)) if found]
    figure = new_figure(WIDTH, 4.2 * max(1, len(panels)))
    for place, (title, found) in enumerate(panels, start=1):
        axes = figure.add_subplot(len(panels), 1, place)
        for number, key in enumerate(found):
            points = [(row.get("epoch", i) + 1, row[key]) for i, row in enumerate(history) if key in row]
            colour, dash = class_style(number)
            x, y = zip(*points, strict=True)
            axes.plot(x, y, dash, color=colour, lw=1.5, marker="o" if len(points) < 12 else "", ms=3, label=key)
        axes.set(title=title, xlabel="epoch")
        axes.margins(x=0.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1 if len(found) < 8 else 2)
    return figure


@styled
def per_class_f1(metrics: Mapping[str, Any]) -> Figure:
    """Event F1 of each class and system as bars, rarest class at the bottom, with its number of reference events.

    It is that of decoders tuned class by class where the run has such.
    """
    systems, tuned = metrics.get("systems", {}), metrics.get("tuned") or {}
    kinds = {name: "event_f1_class_tuned" if name in tuned.get("systems", {}) else "event_f1" for name in systems}
    names = [name for name in systems if (systems[name].get(kinds[name]) or {}).get("per_class")]
    tables = {name: systems[name][kinds[name]]["per_class"] for name in names}
    counts = {label: row.get("n_reference") or 0 for table in tables.values() for label, row in table.items()}
    labels = sorted(counts, key=lambda label: counts[label])
    figure = new_figure(WIDTH, 1.1 + 0.42 * max(1, len(labels)))
    axes = figure.add_subplot()
    height = 0.8 / max(1, len(names))
    for number, name in enumerate(names):
        values = [tables[name].get(label, {}).get("f1") for label in labels]
        places = np.arange(len(labels)) + 0.4 - height * (number + 0.5)
        axes.barh(places, [value or 0 for value in values], height * 0.92, color=COLOURS[number], label=name)
        for place, value in zip(places, values, strict=True):
            text = "none" if value is None else f"{value:.2f}"
            axes.text((value or 0) + 0.008, place, text, va="center", fontsize=7.5, color=MUTED)
    axes.set_yticks(range(len(labels)), [f"{label}  (n = {counts[label]:g})" for label in labels])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(visible=False, axis="y")
    how = ", decoders tuned class by class" if tuned else ""
    axes.set(title="Event F1 per class", xlabel=f"F1{how}\nn: reference events", xlim=(0, 1))
    if len(names) > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(names), borderaxespad=0.1)
    return figure


@styled
def psd_roc(curves: Mapping[str, Any], metrics: Mapping[str, Any]) -> Figure:
    """PSD-ROC of both scenarios: effective TP rate over effective FP rate, with one thin line a class.

    The staircases are drawn as they are integrated (Bilen et al. 2020; exact ones after Ebbers et al. 2022). Thin
    lines belong to the first system.
    """
    names = [name for name in ("psds1", "psds2") if any(found.get(name) for found in curves.values())]
    first = next(iter(curves))
    figure = new_figure(WIDTH, 3.4 * max(1, len(names)) + 0.6)
    handles: dict[str, Any] = {}
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(len(names), 1, place)
        for order, (system, found) in enumerate(curves.items()):
            curve = found.get(name) or {}
            for number, (label, line) in enumerate(curve.get("per_class", {}).items() if order == 0 else ()):
                colour, dash = class_style(number)
                x, y = line["efpr"], line["etpr"]
                (handles[label],) = axes.plot(x, y, dash, color=colour, lw=0.9, alpha=0.85, drawstyle="steps-post")
            if curve:
                x, y, dash = curve["efpr"], curve["etpr"], DASHES[order % len(DASHES)]
                (handles[system],) = axes.plot(x, y, dash, color=INK, lw=2.2, drawstyle="steps-post", zorder=3)
        value = metrics.get("systems", {}).get(first, {}).get(name, {}).get("exact")
        of = f"{first}, decoder as configured" if metrics.get("tuned") else first
        axes.set(title=name.upper() + ("" if value is None else f"  {value:.3f}  ({of})"))
        axes.set(xlabel="effective FP rate [per hour]", ylabel="effective TP rate", ylim=(0, 1.02), xlim=(0, 100))
    if handles:
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2)
    return figure


@styled
def clip_picture(
    verdict: Verdict,
    classes: Sequence[str],
    duration: float,
    audio: np.ndarray | None = None,
    log_mel: LogMelPicture | None = None,
    posteriors: np.ndarray | None = None,
    frame_hop: float = 1.0,
    threshold: float | None = None,
) -> Figure:
    """One clip over one time axis: audio ``[N]``, log-mel ``[F, M]``, posteriors ``[T, C]``, true, detected events."""
    shown = shown_classes(verdict, classes, posteriors)
    rows = max(1, len(shown))
    parts = [("audio", 0.6, audio is not None), ("log_mel", 1.5, log_mel is not None)]
    parts += [("posterior", 1.3, posteriors is not None), ("events", 0.25 + 0.34 * rows, True)]
    heights = {name: height for name, height, there in parts if there}
    figure = new_figure(8.0, 0.9 + sum(heights.values()))
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=list(heights.values()))[:, 0]
    where = dict(zip(heights, panels, strict=True))
    for axes in panels:
        axes.set_xlim(0, duration)
        axes.grid(visible=False)
    if audio is not None:
        _draw_audio(where["audio"], audio, duration)
    if log_mel is not None:
        log_mel.draw(where["log_mel"], duration)
    if posteriors is not None:
        _draw_posteriors(where["posterior"], posteriors, frame_hop, classes, shown, threshold)
    _draw_events(where["events"], verdict, classes, shown)
    panels[0].set_title(
        f"{verdict.clip_id}   F1 {verdict.f1:.2f}: {verdict.hits} hit, {verdict.misses} missed, "
        f"{verdict.false_alarms} false alarms"
    )
    panels[-1].set_xlabel("time [s]")
    return figure


def write_figures(run: Path | RunFolder, analysis: Sequence[str] | None = None, n_clips: int = 6) -> list[Path]:
    """Draw every figure the run has material for into ``figures`` of its folder; returns the files.

    Curves come as PNG and SVG, clips as PNG: half of them the worst ones, half spread over the ranking. ``analysis`` as
    in `curve_figures`.
    """
    run = run if isinstance(run, RunFolder) else read_run(run)
    written = []
    for name, (figure, _) in curve_figures(run, analysis).items():
        written += [save(figure, run.path / "figures" / f"{name}.{suffix}") for suffix in ("png", "svg")]
    if n_clips and (run.detections or run.truth):
        written += _write_clip_pictures(run, n_clips)
    return written


def curve_figures(run: RunFolder, analysis: Sequence[str] | None = None) -> dict[str, tuple[Figure, str]]:
    """Learning curves, per-class F1 and PSD-ROC by name, with captions, as far as the run has their numbers.

    Modules named by ``analysis`` add theirs; where none are given, sed_lab's own that the record names.
    """
    figures = {}
    if any(key.startswith(("train/", "val/")) for row in run.history for key in row):
        words = "Losses and validation measures, epoch by epoch"
        figures["learning_curves"] = learning_curves(run.history), words
    if any((system.get("event_f1") or {}).get("per_class") for system in run.metrics.get("systems", {}).values()):
        figures["per_class_f1"] = per_class_f1(run.metrics), "Event F1 of each class, most frequent class at the top"
    if any(system.get(name) for system in run.curves.values() for name in ("psds1", "psds2")):
        words = "PSD-ROC of both scenarios: thick lines are the systems, thin lines the classes of the first system"
        words += "; of the decoder as configured" if run.tuned else ""
        curves = {name: run.curves[name] for name in dict.fromkeys((*run.systems, *run.curves)) if name in run.curves}
        figures["psd_roc"] = psd_roc(curves, run.metrics), words
    for module in analyses(own_analyses(run.record) if analysis is None else analysis):
        if hasattr(module, "figures"):
            figures |= module.figures(run)
    return figures


def _draw_audio(axes: Axes, audio: np.ndarray, duration: float) -> None:
    """Lowest and highest sample of 1500 slices: the shape of the wave without its samples."""
    parts = np.array_split(audio, min(len(audio), 1500)) if len(audio) else []
    time = (np.arange(len(parts)) + 0.5) * duration / max(1, len(parts))
    axes.fill_between(time, [part.min() for part in parts], [part.max() for part in parts], color=MUTED, lw=0.3)
    axes.set(yticks=[], ylabel="audio")


def _draw_posteriors(
    axes: Axes, frame: np.ndarray, hop: float, classes: Sequence[str], shown: Sequence[int], threshold: float | None
) -> None:
    time = (np.arange(len(frame)) + 0.5) * hop
    for index in shown:
        colour, dash = class_style(index)
        axes.plot(time, frame[:, index], dash, color=colour, lw=1.3)
    if threshold is not None:
        axes.axhline(threshold, color=MUTED, lw=0.7, ls=(0, (1, 3)))
    axes.set(ylim=(0, 1.02), yticks=[0, 0.5, 1], ylabel="posterior")


def _draw_events(axes: Axes, verdict: Verdict, classes: Sequence[str], shown: Sequence[int]) -> None:
    """A row a class: true events above, detections below; filled where they meet, hatched where they do not."""
    row = {classes[index]: len(shown) - 1 - place for place, index in enumerate(shown)}
    colour = {classes[index]: class_style(index)[0] for index in shown}
    for events, good, lift in ((verdict.truth, verdict.hit, 0.04), (verdict.detected, verdict.correct, -0.40)):
        for event, right in zip(events, good, strict=True):
            if event.event_label in row:
                corner, length = (event.onset, row[event.event_label] + lift), event.offset - event.onset
                shade = colour[event.event_label]
                kind: dict[str, Any] = {"facecolor": shade} if right else {"fill": False, "hatch": "/////"}
                axes.add_patch(Rectangle(corner, length, 0.36, edgecolor=shade, lw=1, **kind))
    for place in range(len(shown)):
        axes.axhline(place + 0.5, color=LINE, lw=0.7)
    axes.set(ylim=(-0.5, max(1, len(shown)) - 0.5))
    axes.set_yticks(list(row.values()), list(row))
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    words = "upper: truth, lower: detected; hatched: missed or false alarm"
    axes.annotate(
        words, (1, 0), (0, -14), "axes fraction", "offset points", ha="right", va="top", fontsize=7.5, color=MUTED
    )


def _write_clip_pictures(run: RunFolder, n_clips: int) -> list[Path]:
    system = run.systems[0]
    maker, written = LogMelMaker(run.config.get("feature")), []
    hop = run.scores[system].frame_hop if system in run.scores else None
    for rank, verdict in enumerate(choose(judge_run(run, system).values(), n_clips), start=1):
        sound, picture, length = seen_and_heard(run, verdict, maker)
        frame, _ = run.posteriors(system, verdict.clip_id)
        figure = clip_picture(verdict, run.classes, length, sound, picture, frame, hop or 1.0, run.threshold())
        written.append(save(figure, run.path / "figures" / f"clip_{rank:02d}.png"))
    return written
