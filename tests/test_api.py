"""sed_lab in Python: the same events as the command, from files and arrays; what cannot be meant is refused."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile
import torch

import sed_lab
from sed_lab.app import conf_folder
from sed_lab.clip.array import mono, resampled
from sed_lab.errors import InputError
from sed_lab.files import read_json
from sed_lab.predict import main
from sed_lab.types import Event, Scores
from tests.made.runs import CLASSES, noted, sound, untrained

RATE = 16000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a decoder tuned class by class: each class is found about half of the time."""
    return noted(untrained(tmp_path_factory.mktemp("runs") / "mini"), sound(8.0))


@pytest.fixture(scope="module")
def detector(run: Path) -> sed_lab.Detector:
    return sed_lab.load(run)


def said_by_the_command(run: Path, path: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[tuple[str, ...]]:
    target = path.with_suffix(".tsv")
    monkeypatch.setattr(sys, "argv", ["sed-predict", str(run), str(path), "-o", str(target), *words])
    with pytest.raises(SystemExit) as ended, redirect_stderr(io.StringIO()):
        main()
    assert ended.value.code == 0
    return [tuple(line.split("\t")[1:4]) for line in target.read_text().splitlines()[1:]]


def as_written(events: tuple[Event, ...]) -> list[tuple[str, ...]]:
    return [(f"{event.onset:.3f}", f"{event.offset:.3f}", event.event_label) for event in events]


def test_a_path_gives_what_the_command_gives(
    run: Path, detector: sed_lab.Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.stack([sound(11.3, 22050), sound(11.3, 22050, 1)], 1), 22050)
    said = said_by_the_command(run, path, monkeypatch)
    assert len(said) > 2
    assert as_written(detector.predict(path)) == as_written(detector.predict(str(path))) == said
    fixed = sed_lab.load(str(run), threshold=0.5, decoder="median")
    assert as_written(fixed.predict(path)) == said_by_the_command(
        run, path, monkeypatch, "--decoder", "median", "--threshold", "0.5"
    )
    assert as_written(fixed.predict(path)) != said
    assert (detector.classes, detector.sample_rate, detector.clip_seconds) == (CLASSES, RATE, 4.0)
    assert isinstance(detector.threshold, dict)
    assert detector.threshold.keys() == {*CLASSES}
    assert detector.decoder == "boxes, tuned class by class on validation"


@pytest.mark.parametrize(
    ("subtype", "dtype"), [("PCM_16", "int16"), ("PCM_32", "int32"), ("FLOAT", "float32"), ("DOUBLE", "float64")]
)
@pytest.mark.parametrize("channels", [1, 2])
def test_an_array_of_any_type_is_the_file_that_holds_it(
    detector: sed_lab.Detector, tmp_path: Path, subtype: str, dtype: str, channels: int
) -> None:
    """At the detector's own rate to the last bit: what soundfile reads is what it wrote."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([sound(5.2, seed=k) for k in range(channels)], 1), RATE, subtype=subtype)
    audio, rate = soundfile.read(path, dtype=dtype)
    assert audio.dtype == dtype
    ours, theirs = detector.scores(audio, rate), detector.scores(path)
    assert ours.frame is not None
    assert theirs.frame is not None
    np.testing.assert_array_equal(ours.frame[0], theirs.frame[0])
    assert np.ptp(ours.frame[0]) > 0.05
    assert detector.predict(audio, rate) == detector.predict(path)


def test_an_array_of_another_rate_is_the_file_of_that_rate(detector: sed_lab.Detector, tmp_path: Path) -> None:
    audio = sound(9.7, 44100)
    soundfile.write(tmp_path / "a.wav", audio, 44100, subtype="FLOAT")
    ours, theirs = detector.scores(audio, 44100), detector.scores(tmp_path / "a.wav")
    assert ours.frame is not None
    assert theirs.frame is not None
    assert ours.frame[0].shape == theirs.frame[0].shape
    np.testing.assert_allclose(ours.frame[0], theirs.frame[0], atol=1e-4)  # in blocks there, in one piece here
    assert ours.duration == theirs.duration == pytest.approx([9.7])
    assert len(detector.predict(audio, 44100)) == len(detector.predict(tmp_path / "a.wav"))


def test_an_array_may_be_shorter_than_a_frame_and_a_tensor(detector: sed_lab.Detector) -> None:
    assert detector.scores(np.zeros(1, np.int16), 8000).frame[0].shape == (1, 3)  # type: ignore[index]
    audio = sound(1.0).astype(np.float32)
    assert detector.predict(torch.from_numpy(audio), RATE) == detector.predict(audio, RATE)
    assert detector.predict(audio.tolist(), RATE) == detector.predict(audio.astype(np.float64), RATE)


def test_mono_scales_and_averages() -> None:
    assert mono(np.array([-32768, 16384], np.int16), "x").tolist() == [-1.0, 0.5]
    assert mono(np.array([-(2**31), 2**30], np.int32), "x").tolist() == [-1.0, 0.5]
    assert mono(np.array([0, 128, 192], np.uint8), "x").tolist() == [-1.0, 0.0, 0.5]
    assert mono(np.array([[0.5, 0.0], [1.0, -0.5]]), "x").tolist() == [0.25, 0.25]
    assert mono(np.array([[0.5], [0.25]]), "x").tolist() == [0.5, 0.25]
    assert len(resampled(np.zeros(100, np.float32), 22050, 44100, "x")) == 200


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.zeros((2, 16000)), RATE, "would be 2 samples of 16000 channels; channels come last, so give audio.T"),
        (np.zeros(0), RATE, r"shape \(0,\); give samples \[N\]"),
        (np.zeros((2, 3, 4)), RATE, "give samples"),
        (np.zeros(9, bool), RATE, "samples of type bool; give int16"),
        (np.zeros(9, np.int64), RATE, "samples of type int64"),
        (np.array([0.0, np.nan]), RATE, "NaN or infinite"),
        (np.array([0.0, 12000.0]), RATE, "floats up to 12000, where full scale is 1; divide int16 samples by 32768"),
        (np.zeros(9), None, "an array has no rate of its own; give rate"),
        (np.zeros(9), 0, "a rate of 0 Hz"),
        (np.zeros(9), float("nan"), "a rate of nan Hz"),
        ("x.wav", RATE, "x.wav: a file has a rate of its own; leave rate out"),
        ("nowhere.wav", None, "nowhere.wav: does not exist"),
    ],
)
def test_what_cannot_be_meant_is_refused(detector: sed_lab.Detector, audio: Any, rate: Any, message: str) -> None:
    with pytest.raises(sed_lab.InputError, match=message):
        detector.predict(audio, rate)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a finished run"):
        sed_lab.load(str(tmp_path))


TRUTH = {"x/a.wav": (Event(0.0, 1.0, "Cat"), Event(2.0, 3.0, "Dog")), "b.wav": (Event(1.0, 2.0, "Cat"),)}
DURATIONS = {"a.wav": 4.0, "b.wav": 4.0, "c.wav": 4.0}
FOUND = {"a.wav": [Event(0.1, 1.1, "Cat"), Event(0.0, 1.0, "Dog")], "c.wav": [Event(0.0, 1.0, "Cat")]}


def test_events_are_counted() -> None:
    """By hand, within .2 s: of Cat one of two is found and one found for nothing; Dog is found where it is not."""
    measured = sed_lab.measure(FOUND, TRUTH, DURATIONS)
    rows = measured["event_f1"]["per_class"]
    assert (rows["Cat"]["f1"], rows["Dog"]["f1"], measured["event_f1"]["macro"]) == (0.5, 0.0, 0.25)
    strict = sed_lab.measure(FOUND, TRUTH, DURATIONS, settings=["metric.collar=0.05", "metric.offset_share=0.0"])
    assert (strict["event_f1"]["macro"], strict["settings"]["event_f1"]["collar"]) == (0.0, 0.05)


def made_scores(clip_id: str, *active: tuple[int, int, int]) -> Scores:
    frame = np.full((40, 2), 0.1, np.float32)
    for first, end, column in active:
        frame[first:end, column] = 0.9
    return Scores((clip_id,), ("Cat", "Dog"), np.array([4.0]), 0.1, (frame,))


def test_scores_are_measured_by_recording() -> None:
    found = {
        "a.wav": made_scores("array", (0, 10, 0), (20, 30, 1)),
        "folder/b.wav": made_scores("array"),
        "c.wav": made_scores("array"),
    }
    measured = sed_lab.measure(found, TRUTH, DURATIONS)
    rows = measured["event_f1"]["per_class"]
    assert rows["Dog"]["f1"] == 1.0
    assert rows["Cat"]["f1"] == pytest.approx(2 / 3)  # one of two found, none for nothing
    assert 0 < measured["psds1"]["exact"] < 1
    turned = sed_lab.measure(found, TRUTH, DURATIONS, classes=("Dog", "Cat"))
    assert turned["event_f1"]["per_class"] == rows


def test_a_detector_s_scores_are_measured_by_its_decoder(detector: sed_lab.Detector, tmp_path: Path) -> None:
    names, paths = ("a", "b"), [tmp_path / "a.wav", tmp_path / "b.wav"]
    for number, path in enumerate(paths):
        soundfile.write(path, sound(7.5, seed=number), RATE)
    durations = dict.fromkeys(names, 7.5)
    events = {path.name: detector.predict(path) for path in paths}
    assert all(events.values())
    by_scores = sed_lab.measure(
        {path.name: detector.scores(path) for path in paths}, events, durations, detector=detector
    )
    assert by_scores["event_f1"]["macro"] == 1.0  # against its own events
    assert sed_lab.measure(events, events, durations)["event_f1"]["macro"] == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sed_lab.measure({"z": ()}, TRUTH, DURATIONS), "found has 1 clips that durations does not list: z"),
        (lambda: sed_lab.measure({}, {"z": ()}, DURATIONS), "truth has 1 clips that durations does not list: z"),
        (lambda: sed_lab.measure({"a": [Event(0, 1, "Cow")]}, TRUTH, DURATIONS), "found has events of Cow"),
        (lambda: sed_lab.measure({"a": made_scores("x")}, TRUTH, DURATIONS), "no scores of 2 annotated clips"),
        (lambda: sed_lab.measure({"a": made_scores("x"), "b": ()}, TRUTH, DURATIONS), "give one kind"),
        (lambda: sed_lab.measure({}, TRUTH, DURATIONS, settings=["metric.colar=1"]), "metric.collar"),
        (lambda: sed_lab.measure({"a.wav": (), "x/a.wav": ()}, TRUTH, DURATIONS), "are one clip by their names"),
    ],
)
def test_what_cannot_be_measured_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_annotations_are_read_as_tools_write_them(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("event_label,filename,onset,offset\nCat,a.wav,0.5,1.25\n,b.wav,,\n")
    assert sed_lab.read_annotations(str(path)) == {"a.wav": (Event(0.5, 1.25, "Cat"),), "b.wav": ()}
    with pytest.raises(InputError, match="does not exist"):
        sed_lab.read_annotations(tmp_path / "none.tsv")


def test_the_package_s_names_are_all_there() -> None:
    assert {*sed_lab.__all__} <= {*dir(sed_lab)}
    assert all(getattr(sed_lab, name) is not None for name in sed_lab.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        sed_lab.lod  # noqa: B018
    assert (Path(sed_lab.__file__).parent / "py.typed").exists()


def test_the_notebook_runs(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells in order, as Jupyter would; nothing in it is the output of an earlier run."""
    cells = read_json(conf_folder().parent / "docs" / "array_to_events.ipynb")["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in code)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mini").symlink_to(run)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    try:
        for number, cell in enumerate(code):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    finally:
        plt.close("all")
    assert names["measured"]["event_f1"]["macro"] >= 0
    assert names["frame"].shape[1] == len(CLASSES)
