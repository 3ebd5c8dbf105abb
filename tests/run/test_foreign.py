"""Other systems' scores and detections: measured as they are, as sed_scores_eval does, or refused with names."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sed_lab import evaluate
from sed_lab.errors import InputError
from sed_lab.files import read_json
from sed_lab.metric import measure as measuring
from sed_lab.run.foreign import read_system
from sed_lab.scores import save_scores
from sed_lab.types import Scores
from tests.configured import configured
from tests.metric.peers import event_lists, sed_scores_eval

measure = configured("metric/default", measuring.measure)
Plain = configured("decoder/plain")
DATA = Path(__file__).resolve().parents[1] / "data"
SHOWN = "report={figures: false, page: false, page_clips: 0}"
Evaluate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sed_evaluate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """The command, in this process: exit code, what it printed, and what it said was wrong."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["sed-evaluate", *words])
        with pytest.raises(SystemExit) as end:
            evaluate.main()
        return (int(end.value.code or 0), *capsys.readouterr())

    return run


def words(**files: Any) -> list[str]:
    return [f"{name}={value}" for name, value in files.items()]


@pytest.fixture
def synth120(tmp_path: Path) -> dict[str, Path]:
    with zipfile.ZipFile(DATA / "synth120/scores.zip") as archive:
        archive.extractall(tmp_path / "scores")
    place = DATA / "synth120"
    files = {"truth": place / "ground_truth.tsv", "durations": place / "audio_durations.tsv"}
    return {"scores": tmp_path / "scores", **files}


def test_scores_of_another_system_are_measured_as_they_are(sed_evaluate: Evaluate, synth120: dict[str, Path]) -> None:
    code, _, error = sed_evaluate(*words(**synth120), SHOWN, "output=out")
    assert code == 0, error
    expected = read_json(DATA / "synth120/expected.json")
    found = read_json(Path("out/metrics.json"))["systems"]["system"]
    for ours, theirs in (("psds1", "scenario1"), ("psds2", "scenario2")):
        exact = expected["sed_scores_eval"][f"psds_{theirs}"]
        assert found[ours]["exact"] == pytest.approx(exact["alpha_st1"], abs=1e-9)
        assert found[ours]["per_class"] == pytest.approx(exact["single_class_psds"], abs=1e-9)
        approximate = expected["psds_eval_50_thresholds"][f"via_sed_scores_eval_approximate_psds_{theirs}"]
        assert found[ours]["operating_points"] == pytest.approx(approximate, abs=1e-6)
    code, _, error = sed_evaluate(*words(**synth120), SHOWN, "decoder=default", "output=smoothed")
    assert code == 0, error
    smoothed = read_json(Path("smoothed/metrics.json"))["systems"]["system"]
    assert smoothed["psds1"]["exact"] != pytest.approx(found["psds1"]["exact"], abs=1e-3)  # where it is asked for


def test_boxes_of_another_system_s_scores_are_those_of_the_authors_tool(sed_evaluate: Evaluate, tmp_path: Path) -> None:
    with zipfile.ZipFile(DATA / "scores_made/scores.zip") as archive:
        archive.extractall(tmp_path / "made")
    place = DATA / "scores_made"
    given = {"scores": next(path.parent for path in (tmp_path / "made").rglob("*.tsv")), "truth":
             place / "ground_truth.tsv", "durations": place / "durations.tsv"}  # fmt: skip
    code, _, error = sed_evaluate(*words(**given), SHOWN, "decoder=box", "output=boxes")
    assert code == 0, error
    metrics = read_json(Path("boxes/metrics.json"))
    assert "tuned" not in metrics
    assert metrics["settings"]["decoder"]["decoder"] == "BoxDecoder"
    expected = read_json(DATA / "sebbs/scores_made.json")["settings"][0]  # filter of .5 s, limits 1 and 2
    for name in ("psds1", "psds2"):
        assert metrics["systems"]["system"][name]["exact"] == pytest.approx(expected[name], abs=0.001)


CLASSES = ("Dog", "Speech")


@pytest.fixture
def beyond(tmp_path: Path) -> dict[str, Path]:
    """Clips of 3.9 or 4 s whose last frames end at 4.096 s, with speech at the end of every fourth."""
    rng, hop = np.random.default_rng(3), 0.128
    (tmp_path / "scores").mkdir()
    truth, seconds = ["filename\tonset\toffset\tevent_label"], ["filename\tduration"]
    for clip in range(20):
        seconds.append(f"{clip:02d}.wav\t{4.0 if clip % 4 else 3.9}")
        late = clip % 4 == 1
        truth.append(f"{clip:02d}.wav\t{3.5 if late else 1.0}\t{3.9 if late else 2.5}\t{CLASSES[clip % 2]}")
        scores = rng.random((32, 2)).round(2) * 0.5
        scores[slice(28, 32) if late else slice(8, 20), clip % 2] += rng.choice([0.3, 0.45])
        lines = [f"{t * hop:.3f}\t{(t + 1) * hop:.3f}\t{a:.3f}\t{b:.3f}" for t, (a, b) in enumerate(scores)]
        (tmp_path / f"scores/{clip:02d}.tsv").write_text("\n".join(["\t".join(["onset", "offset", *CLASSES]), *lines]))
    for name, lines in (("truth", truth), ("durations", seconds)):
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return {"scores": tmp_path / "scores", "truth": tmp_path / "truth.tsv", "durations": tmp_path / "durations.tsv"}


def read(files: Mapping[str, Path], **changed: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"scores": None, "detections": None, "operating_points": None, "classes": None}
    return read_system(**{**given, **files, **changed})


def test_frames_beyond_the_clip_count_as_in_sed_scores_eval(beyond: dict[str, Path]) -> None:
    given = read(beyond)
    decoder = Plain()
    metrics, _ = measure(**given, decoder=decoder, offset_share=0.2)
    found = metrics["systems"]["system"]
    truth, seconds = event_lists(given["truth"]), given["durations"]
    with sed_scores_eval() as tool:
        theirs = tool.io.lazy_sed_scores_loader(beyond["scores"])
        for name, more in (("psds1", {}), ("psds2", {"cttc_threshold": 0.3, "alpha_ct": 0.5})):
            limit = {"psds1": 0.7, "psds2": 0.1}[name]
            value, per_class, *_ = tool.intersection_based.psds(
                theirs, truth, seconds, dtc_threshold=limit, gtc_threshold=limit, alpha_st=1.0, unit_of_time="hour",
                max_efpr=100.0, **more,
            )  # fmt: skip
            assert found[name]["exact"] == pytest.approx(value, abs=1e-9)
            assert found[name]["per_class"] == pytest.approx(dict(per_class), abs=1e-9)
        f1, *_ = tool.collar_based.fscore(
            theirs, truth, 0.5, onset_collar=0.2, offset_collar=0.2, offset_collar_rate=0.2
        )
        ours = found["event_f1"]["per_class"]
        assert {label: ours[label]["f1"] for label in CLASSES} == pytest.approx({label: f1[label] for label in CLASSES})
        f1, *_ = tool.segment_based.fscore(theirs, truth, seconds, 0.5, segment_length=1.0)
        ours = found["segment_f1"]["per_class"]
        assert {label: ours[label]["f1"] for label in CLASSES} == pytest.approx({label: f1[label] for label in CLASSES})
    assert 0 < found["psds1"]["exact"] < found["psds2"]["exact"] < 1
    ends = [event.offset for events in decoder.decode(given["systems"]["system"]).values() for event in events]
    assert max(ends) == 4.096


def table(path: Path, *rows: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["filename\tonset\toffset\tevent_label", *rows]) + "\n")
    return path


@pytest.fixture
def detected(tmp_path: Path) -> dict[str, Path]:
    """Detections of two clips; ``c`` is in the durations alone."""
    place = tmp_path / "events"
    detections = table(place / "detections.tsv", "x/a.wav\t1.1\t2\tDog", "c.wav\t5\t6\tDog")
    (place / "durations.tsv").write_text("filename\tduration\na.wav\t10\nb.wav\t10\nc.wav\t10\n")
    truth = table(place / "truth.tsv", "a.wav\t1\t2\tDog", "b.wav")
    return {"detections": detections, "truth": truth, "durations": place / "durations.tsv"}


def test_a_clip_of_the_durations_alone_has_no_event(
    detected: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, _ = measure(**read(detected), decoder=Plain())
    assert "1 of the 3 clips of" in capsys.readouterr().out
    assert metrics["settings"]["clips"] == 3
    row = metrics["systems"]["system"]["event_f1"]["per_class"]["Dog"]
    assert (row["precision"], row["recall"], row["n_detected"]) == (0.5, 1.0, 2)  # the false alarm in c counts


def test_durations_may_be_the_folder_of_the_recordings(detected: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no audio"):
        read(detected, durations=tmp_path / "events")
    for name, samples in (("x/a.wav", 80000), ("b.flac", 79992), ("x/y/c.wav", 80000)):
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "mine" / name, np.zeros(samples), 8000)
    given = read(detected, durations=tmp_path / "mine")
    assert given["durations"] == {"a": 10.0, "b": 9.999, "c": 10.0}
    assert given["systems"] == read(detected)["systems"]


@pytest.mark.parametrize("name", ["detections", "truth"])
def test_clips_that_nobody_knows_are_refused_by_name(detected: dict[str, Path], tmp_path: Path, name: str) -> None:
    rows = [f"{clip}.wav\t1\t2\tDog" for clip in ("a", *"pqrstuvw")]
    with pytest.raises(
        InputError, match=rf"{name}.tsv has 8 clips that .*durations.tsv does not list: p, q, r, s, t and"
    ):
        read({**detected, name: table(tmp_path / f"{name}.tsv", *rows)})


def test_scores_of_unknown_clips_and_without_a_duration_are_refused(beyond: dict[str, Path]) -> None:
    lines = beyond["durations"].read_text().splitlines(keepends=True)
    beyond["durations"].write_text("".join(line for line in lines if not line.startswith("07")))
    rows = beyond["truth"].read_text().splitlines(keepends=True)
    beyond["truth"].write_text("".join(row for row in rows if not row.startswith("07")))
    with pytest.raises(InputError, match=r"scores has 1 clips that .*durations.tsv does not list: 07; add them"):
        read(beyond)
    (beyond["scores"] / "07.tsv").unlink()
    (beyond["scores"] / "08.tsv").unlink()
    with pytest.raises(InputError, match="system has no scores of 1 annotated clips, 08 first"):
        measure(**read(beyond), decoder=Plain())


@pytest.mark.parametrize("name", ["detections", "truth", "durations"])
def test_two_files_of_one_stem_are_refused(detected: dict[str, Path], name: str) -> None:
    row = "y/a.flac\t10\n" if name == "durations" else "y/a.flac\t7\t8\tDog\n"
    detected[name].write_text(detected[name].read_text() + row)
    with pytest.raises(InputError, match=rf"{name}.tsv: (x/)?a.wav and y/a.flac are one clip by their names"):
        read(detected)


def test_classes_are_declared_or_those_of_the_truth(detected: dict[str, Path], tmp_path: Path) -> None:
    table(detected["detections"], "a.wav\t1\t2\tDog", "b.wav\t5\t6\tCat")
    with pytest.raises(InputError, match=r"detections.tsv has events of Cat, not among the classes Dog; declare every"):
        read(detected)
    (tmp_path / "classes.txt").write_text("Dog\nCat\nBell\n")
    for declared in (["Dog", "Cat", "Bell"], tmp_path / "classes.txt"):
        metrics, _ = measure(**read(detected, classes=declared), decoder=Plain())
        found = metrics["systems"]["system"]["event_f1"]
        assert list(found["per_class"]) == ["Dog", "Cat", "Bell"]
        assert (found["macro"], found["micro"]) == (1.0, pytest.approx(2 / 3))  # the cat is a false alarm
        assert metrics["settings"]["classes_without_reference"] == ["Cat", "Bell"]
    with pytest.raises(InputError, match="the ground truth has events of Dog, not among the classes Cat"):
        measure(**read(detected, detections=table(tmp_path / "no.tsv"), classes=["Cat"]), decoder=Plain())
    table(detected["truth"], "a.wav", "b.wav")
    with pytest.raises(InputError, match="holds no event that would tell the classes; declare them by classes="):
        read(detected)


def test_columns_of_scores_are_the_declared_classes(beyond: dict[str, Path]) -> None:
    plain = read(beyond)["systems"]["system"]
    turned = read(beyond, classes=["Speech", "Dog"])["systems"]["system"]
    assert turned.classes == ("Speech", "Dog")
    assert np.array_equal(turned.frame[3], plain.frame[3][:, ::-1])
    with pytest.raises(InputError, match="scores scores Speech, not among the declared classes; declare them too"):
        read(beyond, classes=["Dog"])
    with pytest.raises(InputError, match="scores has no scores of the declared classes Cat; leave them out"):
        read(beyond, classes=["Dog", "Speech", "Cat"])


def test_operating_points_that_hold_nothing_are_refused(detected: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere holds no \.tsv table; give one table for each threshold"):
        read(detected, operating_points=tmp_path / "nowhere")
    table(tmp_path / "points/0.5.tsv")
    table(tmp_path / "points/0.9.tsv", "a.wav")
    with pytest.raises(InputError, match="points holds 2 tables without an event"):
        read(detected, operating_points=tmp_path / "points")
    table(tmp_path / "points/0.1.tsv", "a.wav\t1\t2\tDog")
    metrics, _ = measure(**read(detected, operating_points=tmp_path / "points"), decoder=Plain())
    assert metrics["systems"]["system"]["psds1"]["operating_points"] == 1.0
    table(tmp_path / "points/0.2.tsv", "z.wav\t1\t2\tDog")
    with pytest.raises(InputError, match=r"0.2.tsv has 1 clips that .* does not list: z"):
        read(detected, operating_points=tmp_path / "points")


@pytest.mark.parametrize("kind", ["scores", "detections", "clips"])
def test_another_system_has_a_page(
    sed_evaluate: Evaluate, beyond: dict[str, Path], detected: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    files = beyond if kind == "scores" else detected
    if kind == "clips":
        del files["detections"]
        files["scores"] = tmp_path / "clips.npz"
        clip = np.array([[0.9], [0.1], [0.6]], np.float32)
        save_scores(files["scores"], Scores(("a", "b", "c"), ("Dog",), np.full(3, 10.0), clip=clip))
    (tmp_path / "audio").mkdir()
    first = "00" if kind == "scores" else "a"
    soundfile.write(tmp_path / f"audio/{first}.wav", np.random.default_rng(0).normal(0, 0.1, 64000), 16000)
    shown = "report={figures: false, page: true, page_clips: 40}"
    code, said, error = sed_evaluate(*words(**files), shown, "output=out", "audio=audio")
    assert code == 0, error
    assert "page: out/page.html" in said
    page = Path("out/page.html").read_text()
    assert page.count("<audio controls") == 1
    assert page.count("<article class=") == (20 if kind == "scores" else 3)
    assert "sed-evaluate" in page
    code, said, error = sed_evaluate(*words(**files), shown, "output=silent")
    assert code == 0, error
    assert "<audio controls" not in Path("silent/page.html").read_text()
