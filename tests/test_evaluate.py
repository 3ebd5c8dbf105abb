"""Measuring a run's folder: two test subsets, each against its own annotation."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from sed_lab.analysis.huang2021 import NUMBERS, domain_similarity
from sed_lab.clip.annotation import read_detections, write_durations, write_strong
from sed_lab.decoder.base import Decoder
from sed_lab.errors import InputError
from sed_lab.evaluate import main, measure_run
from sed_lab.files import read_json, write_json
from sed_lab.metric import measure as measuring
from sed_lab.metric.event import event_f1, segment_f1
from sed_lab.metric.measure import flatten
from sed_lab.metric.names import class_in, is_metric, system_in
from sed_lab.metric.tune import tune_decoder
from sed_lab.run.refuse import refuse_test_clips
from sed_lab.run.stored import read_truth
from sed_lab.scores import load_scores, save_scores
from sed_lab.types import Event, Scores
from tests.configured import configured, option

MedianDecoder = configured("decoder/default")
BoxDecoder = configured("decoder/box")
OnsetDecoder = configured("decoder/amiriparian2018")
BOX = "sed_lab.decoder.box.BoxDecoder"
RULE = {"collar": 0.2, "offset_share": 0.2, "onset_only": False}

measure = configured("metric/default", measuring.measure)
METRIC = option("metric/default")

CLASSES = ("Cat", "Dog")


def scored(folder: Path, subset: str, seed: int) -> tuple[Scores, dict[str, tuple[Event, ...]]]:
    rng = np.random.default_rng(seed)
    names = tuple(f"{subset}{i}" for i in range(6))
    truth = {name: (Event(1.0, 2.0, CLASSES[i % 2]),) if i < 5 else () for i, name in enumerate(names)}
    frame = []
    for name in names:
        array = rng.random((40, 2)).astype(np.float32) * 0.6
        for event in truth[name]:
            array[10:20, CLASSES.index(event.event_label)] += 0.4
        frame.append(array)
    scores = Scores(names, CLASSES, np.full(6, 4.0), 0.1, tuple(frame), np.stack([a.max(0) for a in frame]))
    place = folder / "scores" / subset
    save_scores(place / "model.npz", scores)
    write_strong(place / "ground_truth.tsv", {f"{name}.wav": events for name, events in truth.items()})
    write_durations(place / "durations.tsv", {f"{name}.wav": 4.0 for name in names})
    return scores, truth


def test_windows_come_from_the_held_out_subset(tmp_path: Path) -> None:
    for seed, subset in enumerate(("test", "validation")):
        scored(tmp_path, subset, seed)
    decoder = MedianDecoder(median_share=0.5)
    fitted = measure_run(tmp_path, decoder, METRIC, "validation", target=tmp_path / "a")
    given = measure_run(tmp_path, MedianDecoder(median_seconds={"Cat": 0.5, "Dog": 0.5}), METRIC, "validation")
    assert fitted["systems"] == given["systems"]
    assert fitted["settings"]["decoder"]["median_seconds"] == {"Cat": 0.5, "Dog": 0.5}
    with pytest.raises(InputError, match=r"median_share needs events of held-out clips; name a subset with strong"):
        measure_run(tmp_path, decoder, METRIC, "weak", target=tmp_path / "b")


def blurred(folder: Path, subset: str, seed: int) -> None:
    """Scores that rise by .4 in events: of system ``a`` from 0, with noise, of ``b`` from each clip's own floor."""
    rng = np.random.default_rng(seed)
    names = tuple(f"{subset}{i}" for i in range(20))
    truth, frames = {}, {"a": [], "b": []}
    for i, name in enumerate(names):
        onset, length, label = rng.uniform(1, 4), rng.uniform(0.8, 4), CLASSES[i % 2]
        truth[name] = (Event(round(onset, 1), round(onset + length, 1), label),)
        for system, floor, noise in (("a", 0.0, 0.3), ("b", rng.uniform(0, 0.5), 0.005)):
            array = np.full((100, 2), floor)
            array[round(onset * 10) : round((onset + length) * 10), i % 2] += 0.4
            frames[system].append(np.clip(array + rng.normal(0, noise, (100, 2)), 0, 1).astype(np.float32))
    place = folder / "scores" / subset
    for system, found in frames.items():
        save_scores(place / f"{system}.npz", Scores(names, CLASSES, np.full(20, 10.0), 0.1, tuple(found)))
    write_strong(place / "ground_truth.tsv", {f"{name}.wav": events for name, events in truth.items()})
    write_durations(place / "durations.tsv", {f"{name}.wav": 10.0 for name in names})


def macro_f1(folder: Path, subset: str, system: str, decoder: Decoder) -> float:
    scores = load_scores(folder / "scores" / subset / f"{system}.npz")
    truth = read_truth(folder / "scores" / subset / "ground_truth.tsv")
    return float(event_f1(decoder.decode(scores), truth, CLASSES)["macro"])


def test_the_decoder_that_is_better_on_held_out_events_makes_the_detections(tmp_path: Path) -> None:
    for seed, subset in enumerate(("test", "validation")):
        blurred(tmp_path, subset, seed)
    pair = {"configured": MedianDecoder(), "rival": BoxDecoder()}
    metric = {**METRIC, "class_share": 1.0}  # as `tune_decoder`
    metrics = measure_run(tmp_path, pair["configured"], metric, "validation", rival=pair["rival"])
    tuned = metrics["tuned"]
    assert (tuned["on"], tuned["system"]) == ("validation", "b")
    for system in ("a", "b"):
        truth, scores = (read_truth(tmp_path / "scores/validation/ground_truth.tsv"),
                         load_scores(tmp_path / f"scores/validation/{system}.npz"))  # fmt: skip
        own = {which: tune_decoder(scores, truth, decoder, **RULE) for which, decoder in pair.items()}
        held_out = {which: macro_f1(tmp_path, "validation", system, decoder) for which, decoder in own.items()}
        best = max(held_out, key=lambda which: held_out[which])
        noted = tuned["systems"][system]
        assert noted["best"] == best == {"a": "configured", "b": "rival"}[system]  # as the material is made
        block = metrics["systems"][system]["event_f1_class_tuned"]
        assert block["held_out"] == pytest.approx(held_out)
        assert {which: noted[which]["event_f1"] for which in own} == pytest.approx(held_out)
        assert {which: noted[which]["decoder"] for which in own} == {which: own[which].settings() for which in own}
        assert block["decoder"] == own[best].settings()
        assert block["macro"] == pytest.approx(macro_f1(tmp_path, "test", system, own[best]))
        test = load_scores(tmp_path / f"scores/test/{system}.npz")
        for place, decoder in (("test", own[best]), ("test_fixed", MedianDecoder())):
            stored = read_detections(tmp_path / f"detections/{place}/{system}.tsv")
            assert stored == {clip: events for clip, events in decoder.decode(test).items() if events}
        found = segment_f1(own[best].decode(test), read_truth(tmp_path / "scores/test/ground_truth.tsv"),
                           dict.fromkeys(test.clip_id, 10.0), CLASSES)  # fmt: skip
        assert metrics["systems"][system]["segment_f1_class_tuned"]["macro"] == pytest.approx(found["macro"])
    assert all(is_metric(name) for name in flatten(metrics, per_class=True))
    write_strong(tmp_path / "scores/test/ground_truth.tsv", {f"test{i}.wav": () for i in range(20)})
    again = measure_run(tmp_path, pair["configured"], metric, "validation", rival=pair["rival"])
    assert again["tuned"] == tuned  # whatever the test's events are
    alone = measure_run(tmp_path, pair["configured"], metric, "validation")
    assert {*alone["tuned"]["systems"]["a"]} == {"best", "configured"}
    untuned = measure_run(tmp_path, pair["configured"], metric, None, rival=pair["rival"])
    assert "tuned" not in untuned
    assert not (tmp_path / "detections/test_fixed").exists()


def test_the_configured_decoder_wins_ties_and_decoders_of_another_task_have_no_rival(tmp_path: Path) -> None:
    for seed, subset in enumerate(("test", "validation")):
        blurred(tmp_path, subset, seed)
    same = MedianDecoder(threshold=0.4)  # tuned, they differ in nothing
    tuned = measure_run(tmp_path, MedianDecoder(), METRIC, "validation", rival=same)["tuned"]
    assert {own["best"] for own in tuned["systems"].values()} == {"configured"}
    onset = OnsetDecoder(threshold={"Cat": 0.5, "Dog": 0.5})
    metrics = measure_run(tmp_path, onset, METRIC, "validation", rival=BoxDecoder())
    assert "tuned" not in metrics
    assert "event_f1_class_tuned" not in metrics["systems"]["a"]


def test_kept_frames_are_measured(tmp_path: Path) -> None:
    scored(tmp_path, "test", 0)
    rng = np.random.default_rng(0)
    arrays = {"embedding": rng.normal(size=(30, 4)), "event_label": np.arange(30) % 3, "synthetic": np.arange(30) > 14}
    (tmp_path / "embeddings").mkdir()
    np.savez(tmp_path / "embeddings/frames.npz", **arrays)  # type: ignore[arg-type]
    assert "embedding" not in measure_run(tmp_path, MedianDecoder(), METRIC, None)["systems"]["model"]
    metrics = measure_run(tmp_path, MedianDecoder(), METRIC, None, ["sed_lab.analysis.huang2021"])
    raw = domain_similarity(arrays["embedding"], arrays["event_label"], arrays["synthetic"])
    assert metrics["systems"]["model"]["embedding"]["raw"] == raw
    assert all(is_metric(name, NUMBERS) for name in flatten(metrics))


def test_an_analysis_of_one_s_own_adds_numbers_and_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(tmp_path, "test", 0)
    (tmp_path / "code").mkdir()
    (tmp_path / "code/own_analysis.py").write_text(
        "def measure(folder, metrics):\n"
        "    psds = metrics['systems']['model']['psds1']['exact']\n"
        "    return {'model': {'psds1': {'twice': 2 * psds}, 'size': {'clips': 6}}}, {'model': {'x': {'y': [1.0]}}}\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "code")
    plain = measure_run(tmp_path, MedianDecoder(), METRIC, None)["systems"]["model"]
    found = measure_run(tmp_path, MedianDecoder(), METRIC, None, ["own_analysis"])["systems"]["model"]
    assert found == {**plain, "psds1": {**plain["psds1"], "twice": 2 * plain["psds1"]["exact"]}, "size": {"clips": 6}}
    assert set(read_json(tmp_path / "curves.json")["model"]) == {"psds1", "psds2", "det", "x"}
    with pytest.raises(InputError, match=r"analysis=no_such: No module named 'no_such'; name modules as those of sed"):
        measure_run(tmp_path, MedianDecoder(), METRIC, None, ["no_such"])


def test_a_second_test_subset_is_measured_by_itself(tmp_path: Path) -> None:
    decoder = MedianDecoder(median_seconds=0.3)
    given = {subset: scored(tmp_path, subset, seed) for seed, subset in enumerate(("test", "synthetic_test"))}
    metrics = measure_run(tmp_path, decoder, {**METRIC, "collar": 0.3}, None)
    for subset, (scores, truth) in given.items():
        block = metrics if subset == "test" else metrics["others"][subset]
        expected, _ = measure({"model": scores}, truth, dict.fromkeys(truth, 4.0), decoder, subset=subset, collar=0.3)
        assert block["systems"] == expected["systems"], subset
        assert block["subset"] == subset
    assert metrics["systems"] != metrics["others"]["synthetic_test"]["systems"]
    assert read_json(tmp_path / "metrics.json")["others"].keys() == {"synthetic_test"}
    flat = flatten(metrics, per_class=True)
    assert all(is_metric(name) for name in flat), [name for name in flat if not is_metric(name)]
    name = "synthetic_test/model/event_f1/per_class/Dog/f1"
    assert flat[name] == metrics["others"]["synthetic_test"]["systems"]["model"]["event_f1"]["per_class"]["Dog"]["f1"]
    assert (system_in(name), class_in(name)) == ("model", "Dog")
    assert (system_in("model/event_f1/macro"), class_in("model/event_f1/macro")) == ("model", None)
    with (tmp_path / "per_class.csv").open() as file:
        assert {row["subset"] for row in csv.DictReader(file)} == {"test", "synthetic_test"}


def test_a_run_is_measured_by_its_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, subset in enumerate(("test", "synthetic_validation")):
        scored(tmp_path / "run", subset, seed)
    own = {"_target_": "sed_lab.decoder.median.MedianDecoder", **option("decoder/default"), "median_seconds": 0.3}
    metric = {**METRIC, "collar": 0.4, "psds_method": "interpolated"}
    del metric["class_share"]
    record = {"config": {"decoder": own, "metric": metric, "analysis": [], "tune_on": "synthetic_validation"}}
    write_json(tmp_path / "run/run.json", record)

    def sed_evaluate(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["sed-evaluate", f"run={tmp_path}/run", f"output={tmp_path}/out", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return (int(end.value.code or 0), *capsys.readouterr())

    code, said, error = sed_evaluate()
    assert code == 0, error
    assert "no more and left out: metric.psds_method=interpolated\n" in said
    assert "did not have yet: metric.class_share=0.5\n" in said
    measured = read_json(tmp_path / "out/metrics.json")
    assert measured["settings"]["event_f1"]["collar"] == 0.4
    decoder = MedianDecoder(median_seconds=0.3)
    expected = measure_run(tmp_path / "run", decoder, {**METRIC, "collar": 0.4}, "synthetic_validation")
    assert measured["systems"] == expected["systems"]  # tuned where the run says
    assert "event_f1_tuned" in measured["systems"]["model"]
    code, _, error = sed_evaluate("tune_on=validation")
    assert code == 2
    assert "has no scores of it; it has synthetic_validation, test" in error


def test_an_old_run_gets_boxes_and_notes_them_for_predicting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    for seed, subset in enumerate(("test", "validation")):
        blurred(run, subset, seed)
    own = {"_target_": "sed_lab.decoder.median.MedianDecoder", **option("decoder/default")}
    config = {"decoder": own, "metric": METRIC, "analysis": [], "tune_on": "validation"}
    facts = {"versions": {}, "command": "", "code": {"sed_lab": "0"}}
    write_json(run / "run.json", {"config": config, "detector": {"decoder": MedianDecoder().settings()}, **facts})

    def sed_evaluate(*words: str) -> tuple[dict[str, Any], dict[str, Any]]:
        monkeypatch.setattr("sys.argv", ["sed-evaluate", f"run={run}", "report.figures=false", *words])
        with pytest.raises(SystemExit) as end:
            main()
        said, error = capsys.readouterr()
        assert not end.value.code, error
        assert said.index("event_f1_class_tuned/macro") < said.index("event_f1/macro")
        assert "best: " in said
        return read_json(run / "metrics.json")["tuned"]["systems"]["b"], read_json(run / "run.json")["detector"]

    tuned, detector = sed_evaluate()
    assert (tuned["best"], "rival" in tuned) == ("configured", False)
    tuned, detector = sed_evaluate("decoder@rival_decoder=box", "rival_decoder.step_seconds=0.3")
    assert (tuned["best"], detector["tuned"]["systems"]["b"]) == ("rival", tuned)
    assert "Detections of b are made by boxes, tuned class by class on validation" in (run / "page.html").read_text()
    write_json(run / "run.json", {"config": {**config, "rival_decoder": option("decoder/box") | {"_target_": BOX}},
                                  "detector": detector, **facts})  # fmt: skip
    assert "rival" in sed_evaluate()[0]  # the run's own
    assert "rival" not in sed_evaluate("rival_decoder=null")[0]
    tuned, detector = sed_evaluate("decoder=box")  # its rival is the same
    assert ("rival" in tuned, tuned["configured"]["decoder"]["decoder"]) == (False, "BoxDecoder")
    monkeypatch.setattr("sys.argv", ["sed-evaluate", f"run={run}", "rival_decoder=box"])
    with pytest.raises(SystemExit):
        main()
    assert "rival_decoder=box: an option is chosen by decoder@rival_decoder=box" in capsys.readouterr().err


@pytest.mark.parametrize("subset", ["test", "synthetic_test", "public"])
def test_test_clips_choose_and_train_nothing(tmp_path: Path, subset: str) -> None:
    method = {"_target_": "sed_lab.method.aziz2020.RowClassifier"}
    good = {
        "method": method,
        "tune_on": "validation",
        "objective": ["validation/model/tagging_f1"],
        "batch": {"clips": {"weak": 4}},
    }
    refuse_test_clips(OmegaConf.create(good), good["objective"])
    for change, message in (
        ({"tune_on": subset}, f"tune_on={subset} would choose the threshold"),
        ({"objective": [f"{subset}/model/tagging_f1"]}, f"objective names {subset}, whose clips"),
        ({"batch": {"clips": {"weak": 4, subset: 2}}}, f"batch.clips.{subset} would train on the clips"),
    ):
        changed = {**good, **change}
        with pytest.raises(InputError, match=message):
            refuse_test_clips(OmegaConf.create(changed), changed["objective"])
    scored(tmp_path, "test", 0)
    scored(tmp_path, "synthetic_test", 1)
    with pytest.raises(InputError, match=f"tune_on={subset} would choose the threshold"):
        measure_run(tmp_path, MedianDecoder(), METRIC, subset)
    assert not (tmp_path / "metrics.json").exists()
