"""What sed-predict decodes with: the best that a record notes, what is asked for, and nothing that is no number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from sed_lab.decoder.base import Decoder
from sed_lab.decoder.box import BoxDecoder
from sed_lab.decoder.median import MedianDecoder
from sed_lab.errors import InputError
from sed_lab.method.base import Prediction
from sed_lab.predict import detect, score_file
from sed_lab.run.decoding import choose, noted
from sed_lab.run.detector import Detector, _option
from sed_lab.run.trust import check_node
from sed_lab.types import Scores
from tests.configured import configured

Median, Box, Onset = (configured(f"decoder/{name}") for name in ("default", "box", "amiriparian2018"))
CLASSES = ("Cat", "Dog")
SYSTEMS = ("student", "teacher")


def per_class(low: float, high: float) -> dict[str, float]:
    return {"Cat": low, "Dog": high}


def record_of(best: str = "rival", metrics: dict[str, float] | None = None) -> dict[str, Any]:
    """Of a run whose teacher is best on validation, by boxes or by a median filter; as JSON keeps it."""
    median = Median(threshold=per_class(0.3, 0.4), median_seconds=per_class(0.2, 1.0))
    box = Box(threshold=per_class(0.15, 0.25), step_seconds=per_class(0.32, 0.48))
    own = {
        "best": best,
        "configured": {"event_f1": 0.5, "decoder": median.settings()},
        "rival": {"event_f1": 0.6, "decoder": box.settings()},
    }
    tuned = {"on": "validation", "system": "teacher", "systems": {"student": own, "teacher": own}}
    found: dict[str, Any] = json.loads(json.dumps({"metrics": metrics or {}, "detector": {"tuned": tuned}}))
    return found


def choice(record: dict[str, Any], asked: str | None, threshold: str | None, own: Decoder = Median()) -> Any:  # noqa: B008
    there = noted(record, own, CLASSES, SYSTEMS)
    return choose(record, own, there, there.system, asked, threshold, _option)


def test_the_best_that_is_noted_predicts_unless_something_else_is_asked_for() -> None:
    tuned = {"teacher/event_f1_tuned/threshold": 0.7}
    record = record_of(metrics=tuned)
    assert noted(record, Median(), CLASSES, SYSTEMS).system == "teacher"
    box, median = per_class(0.15, 0.25), per_class(0.3, 0.4)
    for asked, threshold, kind, value, seconds in (
        (None, None, BoxDecoder, box, per_class(0.32, 0.48)),
        ("best", "tuned", BoxDecoder, box, per_class(0.32, 0.48)),
        ("box", None, BoxDecoder, box, per_class(0.32, 0.48)),
        (None, "0.6", BoxDecoder, 0.6, per_class(0.32, 0.48)),
        ("box", "fixed", BoxDecoder, 0.5, 0.5),  # as conf/decoder/box.yaml has it
        ("median", None, MedianDecoder, median, per_class(0.2, 1.0)),
        ("median", "fixed", MedianDecoder, 0.5, 0.45),
        (None, "fixed", MedianDecoder, 0.5, 0.45),
        ("run", None, MedianDecoder, 0.7, 0.45),
        ("run", "tuned", MedianDecoder, 0.7, 0.45),
        ("run", "fixed", MedianDecoder, 0.5, 0.45),
        ("run", "0.2", MedianDecoder, 0.2, 0.45),
    ):
        found = choice(record, asked, threshold)
        assert (type(found.decoder), found.threshold) == (kind, value), (asked, threshold)
        assert getattr(found.decoder, "step_seconds" if kind is BoxDecoder else "median_seconds") == seconds
    assert choice(record, None, None).words == "boxes, tuned class by class on validation"
    assert type(choice(record_of("configured"), None, None).decoder) is MedianDecoder


def test_a_record_without_tuned_decoders_predicts_as_ever() -> None:
    """And so does a decoder with thresholds of its own."""
    old: dict[str, Any] = {"metrics": {"student/event_f1_tuned/threshold": 0.95}, "detector": {}}
    own = per_class(0.8, 0.5)
    onset = Onset(threshold=own)
    for decoder, threshold, value in (
        (Median(), None, 0.95), (Median(), "fixed", 0.5), (Median(), "0.3", 0.3),
        (onset, None, own), (onset, "tuned", 0.95), (onset, "fixed", own), (onset, "0.3", 0.3),
    ):  # fmt: skip
        found = choice(old, None, threshold, decoder)
        assert (found.decoder, found.threshold) == (decoder, value)
    assert choice(old, "median", None).threshold == 0.95  # the run's own is one
    assert choice(old, "box", None).decoder == Box()
    assert choice({"detector": {}}, None, None).threshold == 0.5


@pytest.mark.parametrize(
    ("record", "asked", "threshold", "message"),
    [
        (record_of(), "boxes", None, "--decoder boxes: use best, run, median or box$"),
        (record_of(), "best", "fixed", "--decoder best has tuned thresholds; use --decoder run with --threshold fixed"),
        ({"detector": {}}, "best", None, "--decoder best: this run tuned no decoder class by class; use --decoder run"),
        ({"detector": {}}, "box", "tuned", "--threshold tuned: this run tuned no box decoder; use --threshold fixed"),
        ({"detector": {}}, None, "tuned", "--threshold tuned: this run tuned none; use --threshold fixed or a number"),
        (record_of(), "run", "tuned", "--threshold tuned: this run tuned none; use --threshold fixed or a number"),
        *((record_of(), None, bad, "use a number between 0 and 1, tuned or fixed") for bad in ("high", "nan", "1.5")),
    ],
)
def test_what_contradicts_itself_is_refused(
    record: dict[str, Any], asked: str | None, threshold: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        choice(record, asked, threshold)


def put(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(tuned: dict[str, Any]) -> None:
        for key in path[:-1]:
            tuned = tuned[key]
        tuned[path[-1]] = value

    return change


RIVAL = ("systems", "teacher", "rival", "decoder")
EVIL = {"_target_": "os.system", "command": "touch evil"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            put(*RIVAL, "decoder", value="os.system"),
            "decoder.decoder=os.system is not sed_lab's own, so it is not load",
        ),
        (put(*RIVAL, "decoder", value="Decoder"), "is not sed_lab's own"),
        (put(*RIVAL, "decoder", value=EVIL), "is not sed_lab's own"),
        (put(*RIVAL, "decoder", value=["BoxDecoder"]), "is not sed_lab's own"),
        (
            put(*RIVAL, "_target_", value="os.system"),
            "rival.decoder._target_: BoxDecoder takes threshold, step_seconds",
        ),
        (
            put(*RIVAL, "threshold", value=EVIL),
            "rival.decoder.threshold is no number, nor one for each of the run's cl",
        ),
        (put(*RIVAL, "threshold", value="${oc.env:HOME}"), "rival.decoder.threshold is no number"),
        (put(*RIVAL, "threshold", value=None), "rival.decoder.threshold is no number"),
        (put(*RIVAL, "merge_abs", value=float("nan")), "rival.decoder.merge_abs is no number"),
        (put(*RIVAL, "merge_rel", value=True), "rival.decoder.merge_rel is no number"),
        (put(*RIVAL, "step_seconds", value={"Cat": 0.3, "Dog": EVIL}), r"rival.decoder.step_seconds.Dog is no number"),
        (put(*RIVAL, "step_seconds", value={"Cat": 0.3, "Cow": 0.3}), r"rival.decoder.step_seconds is no number"),
        (put(*RIVAL, value="BoxDecoder"), "detector.tuned does not note decoders of the run's systems; correct it"),
        (put("systems", value=[EVIL]), "does not note decoders of the run's systems"),
        (put("systems", "other", value={"best": "x"}), "does not note decoders of the run's systems"),
        (put("system", value="assistant"), "does not note decoders of the run's systems"),
        (put("system", value=EVIL), "does not note decoders of the run's systems"),
    ],
)
def test_a_record_can_give_a_decoder_nothing_but_numbers(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = record_of()
    change(record["detector"]["tuned"])
    with pytest.raises(InputError, match=message):
        choice(record, None, None)
    assert not list(tmp_path.iterdir())


def test_what_a_method_took_from_the_data_names_no_code_either() -> None:
    with pytest.raises(InputError, match=r"detector.decided._target_=os.system is not sed_lab's own"):
        check_node(EVIL, "", "detector.decided")


HOP, SECONDS, RATE = 0.1, 4.0, 16000


def edged(audio: torch.Tensor) -> torch.Tensor:
    """The loudness of each frame ``[B, T]``, falling off within .4 s of the window's ends as a network's scores may."""
    loud = audio.abs().reshape(len(audio), -1, round(HOP * RATE)).mean(2)
    at = (torch.arange(loud.shape[1]) + 0.5) * HOP
    return loud * torch.minimum(at, loud.shape[1] * HOP - at).div(0.4).clamp(max=1)


def test_boxes_of_a_long_recording_lie_where_they_lie_in_the_whole_files_scores(tmp_path: Path) -> None:
    level = np.full(103, 0.05)
    for a, b, value in ((12, 20, 0.6), (30, 52, 0.9), (76, 84, 0.5), (90, 97, 0.8)):  # two across joins, at 4 and 8 s
        level[a:b] = value
    audio = np.repeat(level, round(HOP * RATE)) * np.where(np.arange(round(103 * HOP * RATE)) % 2, 1, -1)
    soundfile.write(tmp_path / "long.wav", audio, RATE, subtype="FLOAT")
    box = Box(threshold=0.3)
    method: Any = SimpleNamespace(
        clips_only=False,
        finer=1,
        device="cpu",
        predict=lambda x: {"net": Prediction(edged(x.waveform)[..., None], None)},
    )
    detector = Detector(method, box, HOP, 40, ("Cat",), RATE, SECONDS, 0.3, "net", "boxes")
    scores = score_file(detector, tmp_path / "long.wav")
    padded = np.append(audio, np.zeros(RATE))  # behind the end nothing falls off: the last window goes on
    whole = edged(torch.from_numpy(padded)[None].float())[0, :103, None].numpy()
    expected = box.decode(Scores(("long",), ("Cat",), np.array([10.3]), HOP, (whole,)))["long"]
    found = detect(detector, scores)
    assert [event.event_label for event in found] == ["Cat"] * 4
    times, wanted = (np.array([(event.onset, event.offset) for event in events]) for events in (found, expected))
    np.testing.assert_allclose(times, wanted, atol=1e-6)
    np.testing.assert_allclose(times, [(1.2, 2.0), (3.0, 5.2), (7.6, 8.4), (9.0, 9.7)], atol=1e-6)
    cut = edged(torch.from_numpy(np.append(audio, np.zeros(round(1.7 * RATE)))).float().reshape(3, -1))
    cut = cut.reshape(-1)[:103, None].numpy()  # window by window, without a crossfade, events end at the joins
    naive = box.decode(Scores(("long",), ("Cat",), np.array([10.3]), HOP, (cut,)))["long"]
    assert any(abs(event.offset - 4.0) < 0.5 for event in naive)
