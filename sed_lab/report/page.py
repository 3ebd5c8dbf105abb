"""One self-contained HTML file of a run: the answer, its figures, its test clips to look at and listen to, and then,
class by class and number by number, all that was measured.

    python -m sed_lab.report.page RUN [OUTPUT.html]

The file needs no server and no network; its content security policy forbids both. Clips come worst first: by their
event F1 over all classes (the run's collars), at equal F1 by the number of missed events and false alarms.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from sed_lab.errors import InputError, run_command
from sed_lab.files import write_text
from sed_lab.report.figure import curve_figures
from sed_lab.report.page_clip import ClipCards, clip_cards
from sed_lab.report.page_decoder import decoder_markup
from sed_lab.report.page_table import answer_markup, facts_markup, metrics_markup, per_class_markup
from sed_lab.report.run_folder import RunFolder, read_run
from sed_lab.report.style import COLOURS, INK, LINE, MUTED, svg_text
from sed_lab.run.trust import understood

Section = tuple[str, str, str]  # its address on the page, its title, its markup


def write_page(
    run: Path | RunFolder,
    output: Path | None = None,
    max_clips: int = 40,
    audio_budget: int = 8_000_000,
    analysis: Sequence[str] | None = None,
) -> Path:
    """Write the page of a finished run to ``output`` (default ``page.html`` in its folder), whole or not at all.

    Args:
        run: its folder, or what was read there.
        max_clips: so many test clips are shown; most of them the worst, the rest spread over the ranking.
        audio_budget: bytes of encoded audio to embed, worst clips first; clips beyond it are shown without sound.
        analysis: modules whose figures are shown too, see `sed_lab.report.figure.curve_figures`.

    Raises:
        InputError: the folder holds no run, one of its files cannot be understood, or the page cannot be written.
    """
    run = run if isinstance(run, RunFolder) else read_run(run)
    cards = clip_cards(run, max_clips, audio_budget)
    script = asset("page.js")
    before, after = _figures(run, analysis), _numbers(run)
    there = [*before, ("clips", "Test clips", ""), *after]
    data = {
        "classes": run.classes,
        "systems": run.systems,
        "threshold": run.threshold(),
        "judged": bool(run.truth),
        "clips": cards.data,
    }
    page = Template(asset("page.html")).substitute(
        title=escape(str(run.record.get("name") or run.path.resolve().name)),
        version=escape(str((run.record.get("code") or {}).get("sed_lab", ""))),
        css=asset("page.css"),
        script=script,
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        answer=answer_markup(run),
        jumps="".join(f'<a href="#{key}">{title}</a>' for key, title, _ in there),
        before=_sections(before),
        after=_sections(after),
        clips_note=_clips_note(run, cards),
        class_options=_class_options(run, cards),
        system_options="".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in run.systems),
        system_hidden=" hidden" if len(run.systems) < 2 else "",
        cards=cards.markup,
        data=script_json(data),
    )
    path = Path(output) if output else run.path / "page.html"
    write_text(path, page)
    return path


def script_json(value: Any) -> str:
    """JSON that may stand inside a ``<script>`` element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def asset(name: str) -> str:
    """The text of a file of this folder."""
    return files("sed_lab.report").joinpath(name).read_text(encoding="utf-8").rstrip("\n")


def _figures(run: RunFolder, analysis: Sequence[str] | None) -> list[Section]:
    drawings = [
        f'<figure aria-label="{escape(caption)}">{page_svg(svg_text(figure), name)}'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for name, (figure, caption) in curve_figures(run, analysis).items()
    ]
    return [("figures", "Figures", f'<div class="figures">{"".join(drawings)}</div>')] if drawings else []


def _numbers(run: RunFolder) -> list[Section]:
    parts = [
        ("classes", "Per class", per_class_markup(run)),
        ("decoder", "Decoder", decoder_markup(run)),
        ("metrics", "All numbers", metrics_markup(run)),
        ("run", "The run", facts_markup(run)),
    ]
    return [part for part in parts if part[2]]


def _sections(parts: Sequence[Section]) -> str:
    return "\n".join(
        f'<section aria-labelledby="{key}"><h2 id="{key}">{title}</h2>\n{body}\n</section>'
        for key, title, body in parts
    )


def page_svg(svg: str, name: str) -> str:
    """A figure for the page: colours become the page's own (light or dark), identifiers unique within it."""
    width = re.search(r' width="([\d.]+)pt" height="[\d.]+pt"', svg)
    if width:  # what is wider than a telephone scrolls by itself there; one panel alone is not to fill the page
        wide = ' class="wide"' if float(width[1]) > 400 else ""
        svg = svg.replace(width[0], f' role="img"{wide}', 1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", svg)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    named = {INK: "--ink", MUTED: "--muted", LINE: "--line"} | {colour: f"--c{i}" for i, colour in enumerate(COLOURS)}
    for colour, variable in named.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


def _clips_note(run: RunFolder, cards: ClipCards) -> str:
    if not cards.data:
        return '<p class="note">This run kept no scores or detections of test clips.</p>'
    if not run.truth:
        return (
            '<p class="note">The test clips have no strong labels: detections are shown without a verdict, by name.</p>'
        )
    onset, offset, share = run.collars()
    made = "Detections are those of each system's best decoder, tuned class by class. " if run.tuned else ""
    rule = (
        f"An event is found when a detection of its class begins within {onset:g} s of its onset and ends within "
        f"{offset:g} s or {share:.0%} of its length of its offset. A clip without events"
    )
    if run.weak:
        rule = "Whole clips are judged: true and found classes are drawn as long as the clip. A clip without a class"
    shown = len(cards.data)
    which = "All" if shown == cards.total else f"{shown} of"
    more = "" if shown == cards.total else "Most are the worst ones, the others are spread over the ranking. "
    quiet = f"{cards.silent} clips come without sound. " if cards.silent else ""
    return (
        f'<p class="note">{which} {cards.total} test clips, worst first. {more}{quiet}</p>'
        "<details><summary>How clips are judged</summary>"
        '<p class="note">By the clip\'s event F1 over all classes, 2·found / (2·found + missed + false alarms); at'
        f" equal F1 the clip with more errors first. {made}{rule} scores 1 when nothing is detected, else 0.</p>"
        "</details>"
    )


def _class_options(run: RunFolder, cards: ClipCards) -> str:
    """Classes with the number of shown clips in which they are true or detected."""
    counts = [0] * len(run.classes)
    for clip in cards.data:
        events = clip["truth"] + [event for system in clip["systems"].values() for event in system["detected"]]
        for index in {event[2] for event in events}:
            counts[index] += 1
    options = [
        f'<option value="{i}">{escape(label)} ({count})</option>'
        for i, (label, count) in enumerate(zip(run.classes, counts, strict=True))
        if count
    ]
    return '<option value="">all classes</option>' + "".join(options)


def main() -> None:
    """Write the page of the run named on the command line."""

    def command() -> None:
        if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):
            raise InputError("usage: python -m sed_lab.report.page RUN [OUTPUT.html], with RUN a finished run's folder")
        with understood(Path(sys.argv[1])):
            print(write_page(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else None))

    run_command(command)


if __name__ == "__main__":
    main()
