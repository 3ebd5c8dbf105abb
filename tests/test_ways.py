"""docs/ways.md: its commands, typed as they stand on small recordings; what they write is read by other parsers."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sed_eval
import soundfile

import sed_lab
from sed_lab.files import read_json
from tests.typed import Said, typed

pytestmark = pytest.mark.slow
PAGE = Path(__file__).resolve().parents[1] / "docs" / "ways.md"
FIRST = "Your annotated folder to events in Raven"
RATE, LEVEL = 16000, 0.3
# What makes the training small; the commands themselves are typed word for word.
SMALL = ("epochs=60", "validate_every=20", "dataset.clip_seconds=4", "batch.clips.synthetic=6", "report.page_clips=4",
         "report.figures=false")  # fmt: skip
Events = list[tuple[float, float, str]]


def blocks(heading: str) -> list[str]:
    """The code blocks of a section, in their order."""
    section = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (own,) = (part for part in section if part.startswith(f"{heading}\n"))
    found = re.findall(r"^```\w*\n(.*?)^```|((?:^ {4}\S[^\n]*\n)+)", own, re.MULTILINE | re.DOTALL)
    return [fenced or "".join(line[4:] for line in indented.splitlines(True)) for fenced, indented in found]


class Place:
    """Folders that stand for those of the page: ``/data`` and the one that commands are typed in."""

    def __init__(self, top: Path) -> None:
        self.data, self.here = top / "data", top / "here"
        self.run = ""
        self.said: list[Said] = []
        self.here.mkdir(parents=True)

    def own(self, text: str) -> str:
        return re.sub(r"/data(?=/)", str(self.data), text).replace("runs/NAME", self.run)

    def type(self, block: str) -> list[Said]:
        said = []
        for line in block.splitlines():
            words = shlex.split(self.own(line))
            said.append(typed(words[0], *words[1:], *(SMALL if words[0] == "sed-train" else ()), folder=self.here))
            assert said[-1].code == 0, said[-1].err
            if words[0] == "sed-train":
                self.run = re.findall(r"^run: (.+)$", said[-1].out, re.MULTILINE)[0]
        return said


def record(path: Path, seconds: float, events: Events, seed: int) -> None:
    """Noise, with a tone of 800 Hz for a beep and of 3 kHz for a whistle."""
    t = np.arange(round(seconds * RATE)) / RATE
    audio = np.random.default_rng(seed).normal(0, 0.02, len(t))
    for onset, offset, label in events:
        audio += LEVEL * np.sin(2 * np.pi * (800 if label == "beep" else 3000) * t) * ((t >= onset) & (t < offset))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, RATE)


def some_events(seconds: float, number: int) -> Events:
    starts = np.arange(0.5 + number % 3 / 4, seconds - 1, 2.0)
    return [(round(at, 3), round(at + 0.8, 3), ("beep", "whistle")[(i + number) % 2]) for i, at in enumerate(starts)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The folders, with the first way gone: there is a trained run."""
    found = Place(tmp_path_factory.mktemp("ways"))
    for number in range(10):
        path, events = found.data / f"mine/site{number % 2}/r{number}.wav", some_events(8.0, number)
        record(path, 8.0, events, number)
        rows = [f"{i}\t{a}\t{b}\t{label}\n" for i, (a, b, label) in enumerate(events, 1)]
        header = "Selection\tBegin Time (s)\tEnd Time (s)\tAnnotation\n"
        path.with_suffix(".Table.1.selections.txt").write_text(header + "".join(rows))
    record(found.data / "new/site/x.wav", 13.0, some_events(13.0, 20), 20)
    record(found.data / "new/y.wav", 6.0, [], 21)
    found.said = found.type(blocks(FIRST)[0])
    return found


def events_of(place: Place, name: str) -> Events:
    return [(e.onset, e.offset, e.event_label) for e in sed_lab.load(place.run).predict(place.data / name)]


def assert_equal(found: Events, expected: Events) -> None:
    assert [label for _, _, label in found] == [label for _, _, label in expected]
    times, wanted = (np.array([one[:2] for one in each]).reshape(-1, 2) for each in (found, expected))
    np.testing.assert_allclose(times, wanted, atol=6e-4)  # files have three decimals


def test_an_annotated_folder_becomes_events_in_raven(place: Place) -> None:
    checked, _, _, measured = place.said
    assert "events in recordings: beep" in checked.out
    assert "event_f1_class_tuned/macro" in measured.out
    for name in ("site/x", "y"):
        table = pd.read_csv(place.data / f"detections/{name}.selections.txt", sep="\t")
        rows = zip(table["Begin Time (s)"], table["End Time (s)"], table["Annotation"], strict=True)
        assert_equal([(float(a), float(b), str(label)) for a, b, label in rows], events_of(place, f"new/{name}.wav"))
    truth, found = some_events(13.0, 20), events_of(place, "new/site/x.wav")
    lists = [
        [{"event_onset": a, "event_offset": b, "event_label": label, "file": "x"} for a, b, label in each]
        for each in (truth, found)
    ]
    metric = sed_eval.sound_event.EventBasedMetrics(["beep", "whistle"], t_collar=0.25, percentage_of_length=0.5)
    metric.evaluate(*lists)
    assert metric.results_overall_metrics()["f_measure"]["f_measure"] > 0.7  # it has learnt


def test_the_page_and_the_one_on_own_recordings_say_the_same() -> None:
    own = (PAGE.parent / "own_recordings.md").read_text(encoding="utf-8")
    assert "".join(f"    {line}\n" for line in blocks(FIRST)[0].splitlines()) in own


def test_an_array_becomes_events(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.here)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(place.own(blocks("An array to events")[0]), "ways.md", "exec"), {})
    found = [(float(a), float(b), label) for a, b, label in map(str.split, said.getvalue().splitlines())]
    assert len(found) > 3
    assert_equal(found, events_of(place, "new/site/x.wav"))


def test_a_detector_works_where_there_is_no_run(place: Place) -> None:
    pytest.importorskip("safetensors")
    pytest.importorskip("onnxruntime")
    here, there = blocks("A detector for another machine")
    expected = events_of(place, "new/site/x.wav") + events_of(place, "new/y.wav")
    place.type(here)
    hidden = Path(place.run).rename(place.here / "hidden")
    mine = (place.data / "mine").rename(place.data / "hidden")
    try:
        place.type(there)
    finally:
        hidden.rename(place.run)
        mine.rename(place.data / "mine")
    with (place.data / "events.csv").open(newline="") as file:
        rows = [(float(r["onset"]), float(r["offset"]), r["event_label"]) for r in csv.DictReader(file)]
    assert_equal(rows, expected)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def handle_data(self, data: str) -> None:
        self.text += data


def test_scores_of_another_system_become_a_page(place: Place) -> None:
    """A system that finds the beep of ``a`` and hears one in ``b``, where there is none: F1 is 2 / 3."""
    place.data.joinpath("scores").mkdir()
    for name, active in (("a", (10, 20)), ("b", (30, 35))):
        record(place.data / f"recordings/{name}.wav", 4.0, [(1.0, 2.0, "beep")] if name == "a" else [], 3)
        lines = [f"{t / 10:.1f}\t{(t + 1) / 10:.1f}\t{0.9 if active[0] <= t < active[1] else 0.1}" for t in range(40)]
        (place.data / f"scores/{name}.tsv").write_text("\n".join(["onset\toffset\tbeep", *lines]) + "\n")
    (place.data / "truth.tsv").write_text("filename\tonset\toffset\tevent_label\na.wav\t1.0\t2.0\tbeep\n")
    place.type(blocks("Scores of another system to a page")[0])
    found = read_json(place.data / "page/metrics.json")["systems"]["system"]
    assert found["event_f1"]["macro"] == pytest.approx(2 / 3)
    page = _Text()
    page.feed((place.data / "page/page.html").read_text(encoding="utf-8"))
    assert "beep" in page.text
    assert "0.667" in page.text


def test_a_night_becomes_a_label_track(place: Place) -> None:
    record(place.data / "field/night.wav", 60.0, some_events(60.0, 7), 30)
    place.type(blocks("Three hours in the field to a label track")[0])
    lines = (place.data / "labels/night.labels.txt").read_text().splitlines()
    rows = [(float(a), float(b), label.rpartition(" ")[0]) for a, b, label in (line.split("\t") for line in lines)]
    assert len(rows) > 20
    assert_equal(rows, events_of(place, "field/night.wav"))
