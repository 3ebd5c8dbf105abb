"""The explorer's page: controls of nicegui around the views of `sed_lab.report.explore_clip`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from importlib.resources import files
from typing import Any

from sed_lab.decoder.base import Decoder
from sed_lab.errors import plain
from sed_lab.report.explore_clip import (
    MOST,
    SIDES,
    classes_markup,
    curves_markup,
    lanes_markup,
    list_markup,
    picture_markup,
)
from sed_lab.report.explored import ORDERS, Found, Slider, System, moved, ranked, sliders, value_of
from sed_lab.report.sound import LogMelMaker, clip_audio, encode_audio

HOSTS = ["127.0.0.1", "localhost"]
LEGEND = (
    '<p class="note">Line: score after the filter or the boxes; dotted: threshold; pale: the score itself. '
    "Full green: found, right; empty red: missed; striped: false alarm. n, p: next and previous clip, space: play and "
    "pause, c, C: class, 0: all.</p>"
)
WARNING = (
    "Settings moved here are judged on the clips they are chosen by: that F1 is no held-out result. Choose on other "
    "clips what you report."
)


def serve(systems: Sequence[System], port: int, show: bool) -> None:
    """Serve the page on 127.0.0.1 until the process is ended; with ``show``, open it in a browser."""
    from fastapi import Request, Response
    from nicegui import app, ui
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)  # no other name leads here: DNS rebinding
    seen = _Clips(systems)

    def sound(clip: int, request: Request) -> Response:
        found = seen.sound(clip)
        if found is None:
            return Response(status_code=404)
        status, headers, packed = part_of(found[1], request.headers.get("range", ""))
        return Response(packed, status_code=status, headers=headers, media_type=found[0])

    sound.__annotations__ |= {"request": Request, "return": Response}  # names of this function, which it cannot look up
    app.get("/sound/{clip}")(sound)

    def page() -> None:
        _Page(ui, systems, seen)

    try:
        ui.run(
            page, host="127.0.0.1", port=port, title="sed-explore", show=show, reload=False,
            show_welcome_message=False, uvicorn_logging_level="error",
        )  # fmt: skip
    except KeyboardInterrupt:  # Ctrl-C is how it ends
        return


def part_of(content: bytes, asked: str) -> tuple[int, dict[str, str], bytes]:
    """What a header ``Range: bytes=FIRST-LAST`` asks for, as status, headers and bytes; without it all of them.

    A browser needs it to go to a time in a sound.
    """
    headers = {"Accept-Ranges": "bytes"}
    found = re.fullmatch(r"bytes=(\d{1,12})-(\d{0,12})", asked.strip())
    if found is None:
        return 200, headers, content
    first, last = int(found[1]), min(int(found[2] or len(content)), len(content) - 1)
    if first > last:
        return 416, headers | {"Content-Range": f"bytes */{len(content)}"}, b""
    return 206, headers | {"Content-Range": f"bytes {first}-{last}/{len(content)}"}, content[first : last + 1]


class _Clips:
    """Sound and picture of the clips, of the first run that has them."""

    def __init__(self, systems: Sequence[System]) -> None:
        self.runs = list({id(system.run): system.run for system in systems}.values())
        self.clip_id = systems[0].scores.clip_id
        self.maker = LogMelMaker(self.runs[0].config.get("feature"))
        self.audio = lru_cache(4)(self._audio)
        self.picture = lru_cache(32)(self._picture)

    def _audio(self, clip: int) -> Any:
        if not 0 <= clip < len(self.clip_id):
            return None
        paths = [run.audio.get(self.clip_id[clip]) for run in self.runs]
        path = next((path for path in paths if path is not None and path.is_file()), None)
        return None if path is None else clip_audio(path, self.maker.sample_rate)

    def sound(self, clip: int) -> tuple[str, bytes] | None:
        """The clip's media type and sound, None where there is none."""
        audio = self.audio(clip)
        return None if audio is None else encode_audio(audio, self.maker.sample_rate)

    def _picture(self, clip: int) -> str:
        audio = self.audio(clip)
        return picture_markup(None if audio is None else self.maker.picture(audio))


class _Side:
    """What one side shows: a system, the decoder as it was last moved, and what that finds."""

    def __init__(self, system: System) -> None:
        self.system, self.number = system, 0
        self.set_to(system.start())

    def set_to(self, decoder: Decoder) -> None:
        self.decoder: Decoder = decoder
        self.found: Found = self.system.found(decoder)


class _Page:
    """One open page: which clip and class, and one or two sides."""

    def __init__(self, ui: Any, systems: Sequence[System], clips: _Clips) -> None:
        self.ui, self.systems, self.clips = ui, systems, clips
        self.classes = systems[0].classes
        other = next((system for system in systems if system.run is not systems[0].run), None)
        self.sides = [_Side(system) for system in (systems[0], other) if system is not None]
        self.column: int | None = None
        self.order = "a"
        self.clip = self.ranking()[0]
        here = files("sed_lab.report")
        ui.add_css(here.joinpath("explore.css").read_text(encoding="utf-8"))
        ui.add_body_html(f"<script>{here.joinpath('explore.js').read_text(encoding='utf-8')}</script>")
        ui.on("explore", lambda event: self.told(event.args))
        self.build()
        self.show_clip()
        self.show_numbers()

    def ranking(self) -> list[int]:
        return ranked([side.found for side in self.sides], self.order, self.column) or [0]

    def html(self, content: str = "") -> Any:
        return self.ui.html(content, sanitize=False)  # every name in it is escaped

    def build(self) -> None:
        """The empty page."""
        ui = self.ui
        labels = {-1: "all classes", **dict(enumerate(map(plain, self.classes)))}
        with ui.element("main").classes("explorer"):
            with ui.column().classes("gap-1 w-full"):
                orders = ORDERS if len(self.sides) > 1 else {key: ORDERS[key] for key in ("a", "name")}
                choose = ui.select(orders, value=self.order, label="Order", on_change=self.set_order)
                choose.props("dense").classes("w-full order")
                self.chooser = ui.select(labels, value=-1, label="Class", on_change=self.set_class)
                self.chooser.props("dense").classes("w-full class-of")
                self.list = self.html().classes("w-full")
            with ui.column().classes("gap-1 w-full"):
                self.head = self.html()
                self.player = ui.audio("").props("preload=auto")
                self.view = self.html().classes("w-full")
                self.html(LEGEND)
                with ui.expansion("Curves of the class", on_value_change=self.show_curves).classes("w-full") as opened:
                    self.curves = self.html().classes("w-full")
                self.opened = opened
            with ui.column().classes("gap-2 w-full"):
                self.controls = [
                    ui.column().classes(f"gap-0 side {SIDES[number]}") for number in range(len(self.sides))
                ]
                for number in range(len(self.sides)):
                    self.build_controls(number)
                self.html(f'<p class="note">{WARNING}</p>')
                self.table = self.html().classes("w-full")

    def build_controls(self, number: int) -> None:
        """System, decoder and sliders of a side, by what it is set to."""
        ui, side, box = self.ui, self.sides[number], self.controls[number]
        box.clear()
        names = {
            i: plain(f"{system.name} of {system.run.path.resolve().name}") for i, system in enumerate(self.systems)
        }
        ways = {i: way.words for i, way in enumerate(side.system.decodings)}
        label = None if self.column is None else self.classes[self.column]
        with box:
            system = ui.select(names, value=self.systems.index(side.system), label=SIDES[number])
            system.props("dense options-dense").classes("w-full")
            system.on_value_change(partial(self.set_system, number))
            way = ui.select(ways, value=side.number, label="Decoder", on_change=partial(self.set_decoder, number))
            way.props("dense options-dense").classes("w-full")
            ui.label(f"Sliders set {'all classes alike' if label is None else plain(label) + ' alone'}").classes("note")
            for slider in sliders(side.decoder):
                value = value_of(side.decoder, slider.name, self.classes, label)
                shown = ui.label().classes("text-sm").mark(f"{slider.name}-{SIDES[number]}")
                several = label is None and isinstance(getattr(side.decoder, slider.name), Mapping)
                shown.text = _said(slider, value) + (" (median of classes)" if several else "")
                bar = ui.slider(
                    min=slider.least,
                    max=slider.most,
                    step=slider.step,
                    value=min(max(value, slider.least), slider.most),
                )
                bar.props(f'aria-label="{slider.words}"').classes(f"{slider.name}-{SIDES[number]}")
                bar.on_value_change(partial(self.move, number, slider, shown))
            ui.button("As the run has it", on_click=partial(self.reset, number)).props("flat dense no-caps size=sm")

    def move(self, number: int, slider: Slider, shown: Any, event: Any) -> None:
        """A slider has moved: events and F1 follow."""
        side, value = self.sides[number], float(event.value)
        if slider.beyond is not None and value >= slider.most:
            value = slider.beyond
        label = None if self.column is None else self.classes[self.column]
        side.set_to(moved(side.decoder, slider.name, value, self.classes, label))
        shown.text = _said(slider, value)
        self.show_lanes()
        self.show_numbers()

    def reset(self, number: int) -> None:
        side = self.sides[number]
        side.set_to(side.system.start(side.number))
        self.changed(number)

    def set_system(self, number: int, event: Any) -> None:
        self.sides[number] = _Side(self.systems[event.value])
        self.changed(number)

    def set_decoder(self, number: int, event: Any) -> None:
        self.sides[number].number = event.value
        self.reset(number)

    def changed(self, number: int) -> None:
        self.build_controls(number)
        self.show_lanes()
        self.show_numbers()

    def set_order(self, event: Any) -> None:
        self.order = event.value
        self.go(self.ranking()[0])

    def set_class(self, event: Any) -> None:
        self.column = None if event.value < 0 else int(event.value)
        for number in range(len(self.sides)):
            self.build_controls(number)
        self.go(self.ranking()[0])

    def told(self, what: dict[str, Any]) -> None:
        """What the page's script reports: a key, or a click on a clip or class."""
        if isinstance(clip := what.get("clip"), int) and 0 <= clip < len(self.clips.clip_id):
            self.go(clip)
        elif isinstance(column := what.get("class"), int) and 0 <= column < len(self.classes):
            self.chooser.value = -1 if column == self.column else column
        elif (key := what.get("key")) in ("next", "previous"):
            there = self.ranking()[:MOST]
            at = there.index(self.clip) + (1 if key == "next" else -1) if self.clip in there else 0
            self.go(there[min(max(at, 0), len(there) - 1)])
        elif key in ("class", "class back", "all"):
            now = -1 if self.column is None else self.column
            step = {"class": 1, "class back": -1, "all": 0}[key]
            self.chooser.value = (now + 1 + step) % (len(self.classes) + 1) - 1 if step else -1

    def go(self, clip: int) -> None:
        self.clip = clip
        self.show_clip()
        self.show_numbers()

    def show_clip(self) -> None:
        """Name, sound and picture of the clip, then its lanes."""
        self.player.set_source(f"/sound/{self.clip}" if self.clips.audio(self.clip) is not None else "")
        self.show_lanes()

    def show_lanes(self) -> None:
        seconds = max(float(self.sides[0].system.scores.duration[self.clip]), 1e-3)
        sides = [(side.found, side.decoder) for side in self.sides]
        lanes = lanes_markup(sides, self.clip, seconds, self.column)
        self.view.content = (
            f'<div class="stage" data-seconds="{seconds:.4f}">{self.clips.picture(self.clip)}{lanes}'
            '<div class="cursor"></div></div>'
        )

    def show_numbers(self) -> None:
        found = [side.found for side in self.sides]
        self.list.content = list_markup(found, self.ranking(), self.clip, self.column)
        self.table.content = classes_markup(found, self.column)
        self.head.content = _head(found, self.clip, self.column)
        self.show_curves()

    def show_curves(self) -> None:
        """The curves, where they are open."""
        if not self.opened.value:
            return
        if self.column is None:
            self.curves.content = '<p class="note">Choose a class first: c, or a name in the table.</p>'
            return
        self.curves.content = curves_markup([(side.found, side.decoder) for side in self.sides], self.column)


def _said(slider: Slider, value: float) -> str:
    none = slider.beyond is not None and value > slider.most
    return f"{slider.words}: {'no limit' if none else f'{value:.2f}'}"


def _head(found: Sequence[Found], clip: int, column: int | None) -> str:
    from html import escape

    numbers = []
    for number, side in enumerate(found):
        macro = side.result()["macro"]
        own = f"{side.by_clip(column)[clip]:.2f}"
        said = "none" if macro is None else f"{macro:.3f}"
        numbers.append(f'<b class="macro-{SIDES[number]}">{SIDES[number]} {said}</b>, this clip {own}')
    name = escape(found[0].system.scores.clip_id[clip])
    return f'<h1 class="text-base font-medium">{name}</h1><p class="note">Event F1: {"; ".join(numbers)}</p>'
