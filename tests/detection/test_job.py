"""A job of many recordings: nothing is lost, nothing is done twice, and what cannot be read is said at the end."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sed_lab.detection.inputs import find_recordings
from sed_lab.detection.job import detect_all
from sed_lab.detection.output import Output
from sed_lab.detection.picture import spectrum
from sed_lab.predict import score_file
from sed_lab.types import Scores
from tests.configured import configured
from tests.detection.made import RATE, detector, wave

median = configured("decoder/default")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "in"
    for name, sounds in (
        ("a/x.wav", [(0, 10, 20, 0.6)]),
        ("b/x.wav", [(1, 5, 10, 0.5)]),
        ("silent.wav", []),
        ("x.wav", [(0, 30, 30, 0.8), (1, 60, 9, 0.4)]),
    ):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / name, wave(sounds, 80), RATE, subtype="FLOAT")
    (place / "broken.wav").write_bytes(b"RIFFnothing")
    return place


class Job:
    """Calls of detect_all with a made detector, and which files it was asked for the scores of."""

    def __init__(self, folder: Path, out: Path, key: str = "one", stop_at: str = "", plots: bool = False) -> None:
        self.asked: list[str] = []
        made = detector(median(threshold=0.3))

        def score(path: Path, heard: Callable[[float], None]) -> list[Scores]:
            if path.parent.name == stop_at:
                raise KeyboardInterrupt
            self.asked.append(path.relative_to(folder).as_posix())
            return [score_file(made, path, heard)]

        pictures = out / "plots" if plots else None
        self.output = Output(out / "all.tsv", "tsv", out / "each", ("tsv", "audacity"), out / "scores", pictures, None)
        self.run = lambda: detect_all(
            made, score, find_recordings([str(folder)]), self.output, {"run": "made"}, {"key": key}
        )


def rows(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines(), "excel-tab"))[1:]


def test_each_recording_has_its_files_and_none_is_lost(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unreadable = Job(folder, tmp_path / "out", plots=True).run()
    assert [(path.name, reason.split(";")[0]) for path, reason in unreadable] == [
        ("broken.wav", "cannot be read as audio (Format not recognised)")
    ]
    out = tmp_path / "out"
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    stems = ("a/x", "b/x", "silent", "x")
    assert written == {"all.tsv", ".all.tsv.done", "scores_durations.tsv"} | {
        name
        for stem in stems
        for name in (f"each/{stem}.tsv", f"each/{stem}.labels.txt", f"scores/{stem}.tsv", f"plots/{stem}.png")
    }
    assert rows(out / "each/x.tsv") == [
        ["x.wav", "3.000", "6.000", "up", "0.8000"],
        ["x.wav", "6.000", "6.900", "down", "0.4000"],
    ]
    assert rows(out / "each/silent.tsv") == []
    every = [(name, *rest) for stem in stems for name, *rest in rows(out / f"each/{stem}.tsv")]
    assert [tuple(row) for row in rows(out / "all.tsv")] == [(str(folder / name), *rest) for name, *rest in every]
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("detecting events: 5 of 5 files, 0.01 of 0.01 h, ")
    assert last.endswith(" x real time")


def test_what_is_done_is_skipped_and_what_is_not_is_done(folder: Path, tmp_path: Path) -> None:
    stopped = Job(folder, tmp_path / "out", stop_at="b")
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    assert stopped.asked == ["a/x.wav"]
    assert [row[0] for row in rows(tmp_path / "out/all.tsv")] == [str(folder / "a/x.wav")]  # what is done is there
    with (tmp_path / "out/.all.tsv.done").open("a") as file:
        file.write('["x.wav", [1')  # as a killed process leaves it
    again = Job(folder, tmp_path / "out")
    again.run()
    assert again.asked == ["b/x.wav", "broken.wav", "silent.wav", "x.wav"]
    table = (tmp_path / "out/all.tsv").read_text()
    third = Job(folder, tmp_path / "out")
    third.run()
    assert third.asked == ["broken.wav"]
    assert (tmp_path / "out/all.tsv").read_text() == table
    (tmp_path / "out/each/x.labels.txt").unlink()
    soundfile.write(folder / "b/x.wav", wave([], 80), RATE)
    soundfile.write(folder / "new.wav", wave([], 80), RATE)
    fourth = Job(folder, tmp_path / "out")
    fourth.run()
    assert fourth.asked == ["b/x.wav", "broken.wav", "new.wav", "x.wav"]  # changed, unread, new, without its labels
    names = [Path(row[0]).relative_to(folder).as_posix() for row in rows(tmp_path / "out/all.tsv")]
    assert names == ["a/x.wav", "x.wav", "x.wav"]


def test_another_detector_begins_anew(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Job(folder, tmp_path / "out").run()
    other = Job(folder, tmp_path / "out", key="two")
    other.run()
    assert len(other.asked) == 5
    assert "made by another detector or with other settings" in capsys.readouterr().err
    first = json.loads((tmp_path / "out/.all.tsv.done").read_text().splitlines()[0])
    assert first == {"key": "two"}


def test_a_spectrum_shows_where_the_sound_is(tmp_path: Path) -> None:
    time = np.arange(60 * RATE) / RATE
    sound = 1e-3 * np.random.default_rng(0).standard_normal(len(time))
    sound[30 * RATE : 45 * RATE] += 0.3 * np.sin(2 * np.pi * 1000 * time)[30 * RATE : 45 * RATE]
    soundfile.write(tmp_path / "a.wav", sound, RATE)
    picture = spectrum(tmp_path / "a.wav", RATE)
    loud = picture.values > 0.9
    columns, bands = np.flatnonzero(loud.any(axis=1)) / len(loud), np.flatnonzero(loud.any(axis=0)) / loud.shape[1]
    assert (columns.min(), columns.max()) == pytest.approx((0.5, 0.75), abs=0.01)
    assert bands.mean() == pytest.approx(picture.ticks[1000], abs=0.03)
