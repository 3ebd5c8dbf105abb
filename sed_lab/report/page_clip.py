"""The test clips of the page: what each card shows, as markup for the reader and as data for its script."""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from sed_lab.report.clip_view import Verdict, choose, judge, judge_run, shown_classes
from sed_lab.report.run_folder import RunFolder
from sed_lab.report.sound import LogMelMaker, LogMelPicture, clip_audio, encode_audio, rows_picture
from sed_lab.types import Event
from sed_lab.waiting import track

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipCards:
    """Cards as markup, the data they are drawn from, and how many test clips there are in all."""

    markup: str
    data: list[dict[str, Any]]
    total: int
    silent: int


def clip_cards(run: RunFolder, max_clips: int, audio_budget: int) -> ClipCards:
    """Cards of the clips chosen by :func:`choose`, judged by the run's first system.

    Encoded audio is embedded, worst clip first, until ``audio_budget`` bytes are spent.
    """
    verdicts = {system: judge_run(run, system) for system in run.systems}
    if not verdicts or max_clips <= 0:
        return ClipCards("", [], len(next(iter(verdicts.values()), ())), 0)
    first = next(iter(verdicts.values()))
    chosen = choose(first.values(), max_clips)
    if not run.truth:
        chosen = sorted(chosen, key=lambda verdict: verdict.clip_id)
    maker = LogMelMaker(run.config.get("feature"))
    markup, data, left, silent = [], [], audio_budget, 0
    for number, verdict in enumerate(track(chosen, len(chosen), "putting test clips on the page")):
        sound, picture, duration = seen_and_heard(run, verdict, maker)
        source = None
        if sound is not None:
            kind, packed = encode_audio(sound, maker.sample_rate)
            if len(packed) <= left:
                left -= len(packed)
                source = _uri(kind, packed)
        silent += source is None
        markup.append(_card(number, verdict, duration, picture, source, bool(run.truth)))
        own = {
            name: of.get(verdict.clip_id) or judge(verdict.clip_id, verdict.truth, ()) for name, of in verdicts.items()
        }
        results = {system: _result(run, system, its) for system, its in own.items()}
        facts = {"id": verdict.clip_id, "duration": round(duration, 4), "truth": _events(verdict.truth, run.classes)}
        data.append({**facts, "systems": results})
    return ClipCards("\n".join(markup), data, len(first), silent)


def seen_and_heard(
    run: RunFolder, verdict: Verdict, maker: LogMelMaker
) -> tuple[np.ndarray | None, LogMelPicture | None, float]:
    """A clip's sound ``[N]`` and picture, None where there is none, and the seconds it lasts.

    They are as the run says, else as heard, else up to its last event.
    """
    sound = clip_audio(run.audio.get(verdict.clip_id), maker.sample_rate)
    heard = None if sound is None else len(sound) / maker.sample_rate
    picture = None if sound is None else maker.picture(sound)
    if verdict.clip_id in run.embedding:
        picture = rows_picture(run.embedding[verdict.clip_id])
    ends = [event.offset for event in (*verdict.truth, *verdict.detected)]
    return sound, picture, run.duration.get(verdict.clip_id) or heard or max(ends, default=1.0)


def verdict_markup(verdict: Verdict, judged: bool) -> str:
    """The one-line summary of a clip."""
    if not judged:
        return f"{len(verdict.detected)} detected"
    parts = [f"{verdict.hits} found"]
    for count, what in ((verdict.misses, "missed"), (verdict.false_alarms, "false alarm")):
        text = f"{count} {what}{'s' if what == 'false alarm' and count != 1 else ''}"
        parts.append(f'<span class="some">{text}</span>' if count else text)
    return f"F1 <b>{verdict.f1:.2f}</b> · " + " · ".join(parts)


def _result(run: RunFolder, system: str, verdict: Verdict) -> dict[str, Any]:
    """One system's view of a clip: its detections with their fate, and the posteriors worth showing as bytes."""
    frame, clip = run.posteriors(system, verdict.clip_id)
    seen = frame if frame is not None else None if clip is None else clip[None]
    shown = shown_classes(verdict, run.classes, seen) if seen is not None else []
    return {
        "f1": round(verdict.f1, 4),
        "verdict": verdict_markup(verdict, bool(run.truth)),
        "hit": list(verdict.hit),
        "correct": list(verdict.correct),
        "detected": _events(verdict.detected, run.classes),
        "hop": run.scores[system].frame_hop if system in run.scores else None,
        "shown": [
            {
                "class": index,
                "clip": None if clip is None else round(float(clip[index]), 3),
                "posterior": None if frame is None else _bytes(frame[:, index]),
            }
            for index in shown
        ],
    }


def _card(
    number: int, verdict: Verdict, duration: float, picture: LogMelPicture | None, audio: str | None, judged: bool
) -> str:
    name = escape(verdict.clip_id)
    mel = ""
    if picture is not None:
        ticks = "".join(
            f'<span class="hz" style="bottom:{at:.1%}">{hz / 1000:g} kHz</span>' for hz, at in picture.ticks.items()
        )
        image = _uri("image/png", picture.png())
        mel = (
            f'<div class="row mel"><div class="name" aria-hidden="true"><span class="what">{picture.name}</span>'
            f'{ticks}</div><div class="field"><img loading="lazy" decoding="async" draggable="false" '
            f'alt="{picture.name} of {name}" src="{image}"></div></div>'
        )
    if audio:
        player = f'<audio controls preload="none" aria-label="Sound of {name}" src="{audio}"></audio>'
    else:
        player = '<p class="silent">The sound of this clip is not in this file.</p>'
    return f"""<article class="clip" data-clip="{number}" aria-labelledby="clip-{number}">
<div class="clip-head"><h3 id="clip-{number}">{name}</h3>
<span class="verdict">{verdict_markup(verdict, judged)}</span></div>
<div class="stage" tabindex="0" role="slider" aria-label="Position in {name}"
 aria-valuemin="0" aria-valuemax="{duration:.2f}" aria-valuenow="0">
{mel}
<div class="drawn"></div>
<div class="row axis"><div class="name"></div><div class="field">{_axis(duration)}</div></div>
<div class="cursor" aria-hidden="true"></div>
</div>
<p class="sr events-text"></p>
<div class="player"><span class="now" aria-hidden="true">{duration:.2f} s</span>{player}</div>
</article>"""


def _axis(duration: float) -> str:
    """Five to eleven ticks at round seconds."""
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if duration / s <= 10.5), 3600)
    times = [i * step for i in range(int(duration / step + 1e-6) + 1)]
    last = len(times) - 1
    marks = [
        f'<span style="left:{100 * t / duration:.3f}%">{t:g}{" s" if i == last else ""}</span>'
        for i, t in enumerate(times)
    ]
    return "".join(marks)


def _events(events: tuple[Event, ...], classes: tuple[str, ...]) -> list[list[float]]:
    place = {label: i for i, label in enumerate(classes)}
    return [[round(e.onset, 3), round(e.offset, 3), place[e.event_label]] for e in events]


def _bytes(values: np.ndarray) -> str:
    """Probabilities ``[T]`` in steps of 1/255, base64."""
    return base64.b64encode(np.round(values * 255).astype(np.uint8).tobytes()).decode("ascii")


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
