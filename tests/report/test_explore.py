"""The explorer without its page: numbers equal to those that runs are measured by, names that stay names."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sed_lab import explore
from sed_lab.decoder.base import Decoder
from sed_lab.decoder.box import BoxDecoder
from sed_lab.decoder.median import MedianDecoder
from sed_lab.errors import InputError
from sed_lab.files import read_json, write_json
from sed_lab.metric.measure import measure
from sed_lab.metric.table import event_table
from sed_lab.report.explore_clip import classes_markup, lanes_markup, list_markup
from sed_lab.report.explore_page import part_of
from sed_lab.report.explored import System, moved, ranked, read_systems, sliders, value_of
from sed_lab.types import Event, Scores
from tests.configured import option
from tests.report.explore_run import MEDIAN, explorable

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def systems(make_run: MakeRun) -> list[System]:
    return read_systems([explorable(make_run), explorable(make_run, seed=0, name="other")])


@pytest.mark.parametrize("settings", [{}, {"collar": 0.25, "onset_only": True, "zero_score": False}], ids=str)
def test_numbers_are_those_that_runs_are_measured_by(make_run: MakeRun, settings: dict[str, Any]) -> None:
    system = read_systems([explorable(make_run, settings, n_clips=12)])[0]
    classes, truth = system.classes, system.run.truth
    metric = {**option("metric/default"), **settings, "operating_points": 0, "bootstrap": 0}
    starts = [system.start(number) for number in range(len(system.decodings))]
    assert [type(one) for one in starts] == [MedianDecoder, BoxDecoder]
    moves = [moved(moved(one, "threshold", 0.3, classes), "threshold", 0.62, classes, "Dog") for one in starts]
    for decoder in (*starts, *moves, moved(starts[0], "median_seconds", 1.0, classes, classes[2])):
        found = system.found(decoder)
        metrics, curves = measure({"s": system.scores}, truth, system.run.duration, decoder, **metric)
        theirs, ours = metrics["systems"]["s"]["event_f1"], found.result()
        assert found.detected.sum() > 5
        assert ours["macro"] == pytest.approx(theirs["macro"], abs=1e-12)
        assert ours["micro"] == pytest.approx(theirs["micro"], abs=1e-12)
        for label in classes:
            own, other = ours["per_class"][label], theirs["per_class"][label]
            assert (own["n_reference"], own["n_detected"]) == (other["n_reference"], other["n_detected"])
            assert own["f1"] == (None if other["f1"] is None else pytest.approx(other["f1"], abs=1e-12))
        assert found.by_clip() == pytest.approx([found.verdict(i).f1 for i in range(12)])
        for name, psds in system.psds(decoder).items():
            assert psds.per_class == pytest.approx(metrics["systems"]["s"][name]["per_class"], abs=1e-12)
        assert system.det() == curves["s"]["det"]


def test_one_class_moves_alone(systems: list[System]) -> None:
    system, decoder = systems[0], systems[0].start()
    own = moved(decoder, "threshold", 0.99, system.classes, "Dog")
    column = system.classes.index("Dog")
    before, after = system.found(decoder).detected.sum(0), system.found(own).detected.sum(0)
    assert before[column] > after[column] == 0
    assert np.array_equal(np.delete(before, column), np.delete(after, column))
    assert value_of(own, "threshold", system.classes, "Dog") == 0.99
    assert value_of(own, "threshold", system.classes) == 0.5
    assert system.found(moved(own, "threshold", 0.5, system.classes)).detected.sum(0).tolist() == before.tolist()


def test_events_have_the_fate_that_counts_give_them(systems: list[System]) -> None:
    for only in (False, True):
        for system in systems:
            ruled = replace(system, rule={**system.rule, "onset_only": only})
            found = ruled.found(ruled.start())
            verdicts = [found.verdict(clip) for clip in range(len(ruled.scores.clip_id))]
            assert 0 < found.hits.sum() < found.reference.sum()
            assert [one.hits for one in verdicts] == found.hits.sum(1).tolist()
            assert [sum(one.correct) for one in verdicts] == [one.hits for one in verdicts]
            assert [len(one.correct) for one in verdicts] == found.detected.sum(1).tolist()


def test_clips_are_ordered_by_what_is_wrong_with_them(systems: list[System]) -> None:
    a, b = systems[0].found(systems[0].start()), systems[1].found(systems[1].start())
    by_f1 = a.by_clip()[ranked([a, b], "a")]
    assert by_f1[0] < by_f1[-1]
    assert (np.diff(by_f1) >= 0).all()
    assert (np.diff(b.by_clip()[ranked([a, b], "b")]) >= 0).all()
    assert (np.diff(np.abs(a.by_clip() - b.by_clip())[ranked([a, b], "difference")]) <= 0).all()
    assert [a.system.scores.clip_id[i] for i in ranked([a], "name")] == sorted(a.system.scores.clip_id)
    dogs = {i for i, clip in enumerate(a.system.scores.clip_id) if "Dog" in a.verdict(i).labels}
    assert {*ranked([a], "a", a.system.classes.index("Dog"))} == dogs
    assert 0 < len(dogs) < len(a.system.scores.clip_id)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def test_names_with_markup_stay_names(systems: list[System]) -> None:
    system = systems[0]
    decoder = moved(system.start(), "threshold", 0.01, system.classes)
    found, clip = system.found(decoder), next(i for i, name in enumerate(system.scores.clip_id) if "<i>" in name)
    page = _Tags()
    page.feed(lanes_markup([(found, decoder)] * 2, clip, 4.0, None))
    page.feed(list_markup([found], [clip], clip, None) + classes_markup([found, found], 1))
    assert page.tags <= {*("div", "span", "svg", "path", "i", "p", "b", "button")} | {
        *("table", "thead", "tbody", "tr", "th", "td")
    }
    assert "Speech </script><b>&'\"" in page.text.split("\n")
    assert system.scores.clip_id[clip] in page.text.split("\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: [path.unlink() for path in (folder / "scores/test").glob("*.npz")], "has no scores"),
        (lambda folder: (folder / "scores/test/ground_truth.tsv").unlink(), "has no true events"),
        (lambda folder: _set(folder, "decoder", {**MALICE}), "is not sed_lab's own"),
        (lambda folder: _set(folder, "decoder", None), "config.decoder is not there"),
        (lambda folder: (folder / "run.json").unlink(), "holds no run.json"),
    ],
)
def test_what_cannot_be_explored_is_said(make_run: MakeRun, spoil: Callable[[Path], Any], said: str) -> None:
    folder = explorable(make_run)
    spoil(folder)
    with pytest.raises(InputError, match=said):
        read_systems([folder])


def test_a_decoder_of_a_trusted_package_is_explored(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "explored_decoders.py").write_text(
        "from dataclasses import dataclass\nfrom sed_lab.decoder.median import MedianDecoder\n\n"
        "@dataclass(frozen=True)\nclass Own(MedianDecoder):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    folder = explorable(make_run)
    _set(folder, "decoder", {**MEDIAN, "_target_": "explored_decoders.Own"})
    with pytest.raises(InputError, match="give --trust explored_decoders"):
        read_systems([folder])
    system = read_systems([folder], ["explored_decoders"])[0]
    own = system.start()
    assert type(own).__name__ == "Own"
    assert system.found(own).detected.sum() > 5


MALICE = {"_target_": "os.system", "command": "true"}


def _set(folder: Path, key: str, value: Any) -> None:
    record = read_json(folder / "run.json")
    record["config"][key] = value
    if value is None:
        del record["config"]["rival_decoder"]
    write_json(folder / "run.json", record)


def test_runs_on_other_clips_are_not_compared(make_run: MakeRun) -> None:
    folders = [explorable(make_run), explorable(make_run, n_clips=7)]
    with pytest.raises(InputError, match="not tested on the same clips"):
        read_systems(folders)


def test_the_command_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--port 70000 cannot be used"):
        explore._free(70000)
    monkeypatch.setattr(explore, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"install sed_lab\[explore\]"):
        explore.explore([str(tmp_path)])


def test_a_part_of_a_sound_is_what_a_browser_asks_for() -> None:
    content = bytes(range(10))
    assert part_of(content, "")[::2] == (200, content)
    assert part_of(content, "bytes=0-")[::2] == (206, content)
    status, headers, found = part_of(content, "bytes=2-4")
    assert (status, headers["Content-Range"], found) == (206, "bytes 2-4/10", b"\2\3\4")
    assert part_of(content, "bytes=8-99")[::2] == (206, b"\x08\x09")
    assert part_of(content, "bytes=10-")[::2] == (416, b"")
    assert part_of(content, "bytes=-3,4-")[::2] == (200, content)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_move_is_followed_at_once(make_run: MakeRun, number: int) -> None:
    """200 clips of 10 s and 10 classes on one core: less than 0.3 s, whatever is moved."""
    rng, n, c = np.random.default_rng(0), 200, 10
    some = read_systems([explorable(make_run)])[0]
    classes, ids = tuple(f"c{i}" for i in range(c)), tuple(f"clip{i}" for i in range(n))
    frame = tuple(np.repeat(rng.random((26, c)), 6, axis=0).astype(np.float32) for _ in ids)
    scores = Scores(ids, classes, np.full(n, 10.0), 0.064, frame)
    truth = {i: tuple(Event(at, at + 1.0, classes[k]) for k, at in enumerate(rng.uniform(0, 9, c))) for i in ids}
    run = replace(some.run, truth=truth, duration=dict.fromkeys(ids, 10.0))
    system = replace(some, run=run, scores=scores, reference=event_table([truth], ids, classes), _kept={})
    decoder: Decoder = system.start(number)
    for slider in (*sliders(decoder), *sliders(decoder)):
        decoder = moved(decoder, slider.name, (slider.least + slider.most) / 2, classes)
        start = time.process_time()
        found = system.found(decoder)
        ranked([found], "a")
        list_markup([found], range(n), 0, None)
        assert time.process_time() - start < 0.3, slider.name
