"""``sed-train`` as it is shipped beside a plain CRNN: the same clips, the same processor time, three seeds.

Corpora: soundscapes from the recordings in the folder that SED_LAB_BENCH_BANK names (ESC-10: rain, sea waves and fire
are backgrounds, the rest are events), and mini_desed. A seed draws the corpus, the weights and the order of the clips.
The yardstick (benchmarks/plain_crnn.py) gets the processor time that ``sed-train`` takes to train, with reading and
validation. Detectors of the recordings are judged again on soundscapes mixed otherwise: 0 to 20 dB, in rooms, denser.

Every tuned number is tuned on the subset ``validation``, never on test clips. The yardstick's scores are decoded with a
median filter, tuned class by class, and in a second row by boxes, so that a difference can be told from the decoder's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from benchmarks.plain_crnn import FRAMES, HOP_SECONDS, POOLED
from sed_lab.app import conf_folder
from sed_lab.clip.batch import encode_strong
from sed_lab.decoder.base import Decoder
from sed_lab.experiment.interval import t_interval
from sed_lab.files import read_json, write_json
from sed_lab.metric.event import event_f1, segment_f1
from sed_lab.metric.exact import psds_of_scores
from sed_lab.metric.tune import Rule, tune_by_class
from sed_lab.run.identity import register_resolvers
from sed_lab.run.stored import scored
from sed_lab.types import Corpus, Scores

SEEDS = tuple(int(seed) for seed in os.environ.get("SED_LAB_BENCH_SEEDS", "0,1,2").split(","))
BANK = os.environ.get("SED_LAB_BENCH_BANK")
ESC10 = ("dataset=soundbank", f"dataset.bank_folder='{BANK}'", "dataset.backgrounds=[Rain,Sea waves,Fire crackling]")
CORPORA = {**({"recordings": ESC10} if BANK else {}), "mini_desed": ("dataset=mini_desed",)}
OTHERWISE = ("dataset.snr=[uniform,0,20]", "dataset.real_snr=[uniform,0,20]", "dataset.room=true",
             "dataset.max_events=9", "dataset.polyphony=4")  # fmt: skip
TEST_CLIPS = 400  # with the shipped 150, most of the spread is the test's
COLLARS: Rule = {"collar": 0.2, "offset_share": 0.2, "onset_only": False}
COLUMNS = ("event_f1_fixed", "event_f1_class_tuned", "segment_f1_fixed", "segment_f1_class_tuned", "psds1", "psds2")
NAMES = {"event_f1_fixed": "event F1 at 0.5", "event_f1_class_tuned": "event F1, class-tuned",
         "segment_f1_fixed": "segment F1 at 0.5", "segment_f1_class_tuned": "segment F1, class-tuned",
         "psds1": "PSDS1", "psds2": "PSDS2"}  # fmt: skip
SHOWN = ("event_f1_fixed", "event_f1_class_tuned", "segment_f1_fixed", "psds1", "psds2")
Measured = dict[str, float]
Subsets = dict[str, dict[str, Any]]  # of a system: scores, truth and durations by subset


def run() -> dict[str, Any]:
    """Means over the seeds of both sides by corpus and number, and every seed's own."""
    seeds = [
        {"corpus": corpus, "seed": seed, **_one(overrides, seed)}
        for corpus, overrides in CORPORA.items()
        for seed in SEEDS
    ]
    return {"rows": _rows(seeds), "intervals": _intervals(seeds), "seeds": seeds, "test_clips": TEST_CLIPS}


def _one(overrides: Sequence[str], seed: int) -> dict[str, Any]:
    """Both sides on one corpus with one seed: processor seconds, and numbers by test set and side."""
    words = [*overrides, f"dataset.sizes.test={TEST_CLIPS}", f"dataset.seed={seed}", f"seed={seed}"]
    tests = {"test": words}
    if overrides == ESC10:
        tests["otherwise"] = [*words, *OTHERWISE]
    corpora = {name: _corpus(given) for name, given in tests.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run("sed_lab.train", *words, f"paths.runs={folder / 'runs'}")
        (run_folder,) = (folder / "runs").glob("*-seed*")
        used = read_json(run_folder / "run.json")["processor_seconds"]
        ours = {subset: _stored(run_folder, subset) for subset in ("validation", "test")}
        if "otherwise" in tests:
            target = folder / "otherwise"
            more = [*(word for word in tests["otherwise"] if word.startswith("dataset")), f"output={target}"]
            _run("sed_lab.evaluate", f"run={run_folder}", *more, "report={figures: false, page: false, page_clips: 0}")
            ours["otherwise"] = _stored(target, "test")
        plain = _yardstick(corpora, folder / "plain", used, seed)
    ours_of, plain_of = _numbers(ours, tests), _numbers(plain, tests)
    measured = {
        test: {"sed-train": ours_of[test]["best"], "sed-train, median": ours_of[test]["median"],
               "plain CRNN": plain_of[test]["median"], "plain CRNN, boxes": plain_of[test]["box"]}
        for test in tests
    }  # fmt: skip
    print(f"{overrides[0]} seed {seed}: {used:.0f} s of processor time each", flush=True)
    for test, sides in measured.items():
        for side, row in sides.items():
            print(f"  {test:10} {side:20} " + " ".join(f"{row[name]:.3f}" for name in COLUMNS), flush=True)
    return {"processor_seconds": used, "numbers": measured}


def _run(module: str, *words: str) -> None:
    subprocess.run([sys.executable, "-m", module, *words], check=True, stdout=subprocess.DEVNULL)


def _corpus(words: Sequence[str]) -> Corpus:
    """The corpus, made where it was not yet: no side pays for that."""
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config: DictConfig = compose("config", overrides=list(words))
    return instantiate(config.dataset, _convert_="all")


def _stored(folder: Path, subset: str) -> dict[str, Any]:
    found = scored(folder, subset)
    return {"scores": next(iter(found["systems"].values())), "truth": found["truth"], "durations": found["durations"]}


def _yardstick(corpora: Mapping[str, Corpus], folder: Path, seconds: float, seed: int) -> Subsets:
    """The plain network, trained for ``seconds`` of processor time on the clips of ``synthetic`` and scored."""
    folder.mkdir()
    main = corpora["test"]
    wanted = {"train": (main, "synthetic"), "validation": (main, "validation")}
    wanted |= {test: (corpus, "test") for test, corpus in corpora.items()}
    known: Subsets = {}
    for name, (corpus, subset) in wanted.items():
        loaded = [corpus.subsets[subset].load(index, 0) for index in range(len(corpus.subsets[subset]))]
        audio = np.stack([np.round(np.clip(one, -1, 1) * 32767).astype(np.int16) for _, one in loaded])
        clips = [clip for clip, _ in loaded]
        frames = FRAMES // POOLED
        target = [encode_strong(clip.events or (), corpus.classes, frames, HOP_SECONDS) for clip in clips]
        np.savez(folder / f"{name}.npz", audio=audio, target=np.stack(target))
        known[name] = {
            "truth": {clip.clip_id: clip.events or () for clip in clips},
            "durations": {clip.clip_id: clip.duration for clip in clips},
        }
    threads = os.environ.get("OMP_NUM_THREADS", "2")
    options = ["--processor-seconds", str(seconds), "--seed", str(seed), "--threads", threads]
    _run("benchmarks.plain_crnn", str(folder), *options)
    del known["train"]
    for name, of in known.items():
        rows = np.load(folder / f"{name}.scores.npy")
        length = np.array(list(of["durations"].values()))
        of["scores"] = Scores(tuple(of["truth"]), main.classes, length, HOP_SECONDS, tuple(rows))
    return known


def _numbers(system: Subsets, tests: Mapping[str, Any]) -> dict[str, dict[str, Measured]]:
    """By test set: numbers by the median filter, by boxes, and for each score by the one that is better for it on
    validation, as `sed-train` chooses."""
    held, fixed = system["validation"], _option("decoder/default")
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        share = compose("metric/default").metric.class_share
    tuned = {
        name: tune_by_class(held["scores"], held["truth"], held["durations"], decoder, COLLARS, True, share)
        for name, decoder in (("median", fixed), ("box", _option("decoder/box")))
    }
    chosen = {name: {score: one.decoder for score, one in of.items()} for name, of in tuned.items()}
    chosen["best"] = {
        score: max((of[score] for of in tuned.values()), key=lambda one: one.value).decoder for score in tuned["box"]
    }
    return {test: {name: _measure(system[test], fixed, of) for name, of in chosen.items()} for test in tests}


def _option(name: str) -> Any:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return instantiate(compose(name).decoder, _convert_="all")


def _measure(of: Mapping[str, Any], fixed: Decoder, tuned: Mapping[str, Decoder]) -> Measured:
    scores, truth, durations = of["scores"], of["truth"], of["durations"]
    found = {}
    for name, decoder in (("fixed", fixed), ("class_tuned", tuned["event_f1"])):
        events = decoder.decode(scores)
        found[f"event_f1_{name}"] = event_f1(
            events, truth, scores.classes, **COLLARS, matching="optimal", zero_score=True
        )["macro"]
        found[f"segment_f1_{name}"] = segment_f1(
            events, truth, durations, scores.classes, segment_seconds=1.0, zero_score=True
        )["macro"]
    for name in ("psds1", "psds2"):
        found[name] = psds_of_scores(scores, truth, durations, decoder=tuned[name])[name].value
    return found


def _differences(seeds: Sequence[dict[str, Any]]) -> dict[tuple[str, str], dict[str, dict[str, list[float]]]]:
    """Values by (corpus, test set), side and number, a list over the seeds."""
    table: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = {}
    for one in seeds:
        for test, sides in one["numbers"].items():
            for side, values in sides.items():
                for column in COLUMNS:
                    lists = table.setdefault((one["corpus"], test), {}).setdefault(side, {})
                    lists.setdefault(column, []).append(values[column])
    return table


def _rows(seeds: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "what": f"{corpus}, {test}: {column}, mean of {len(ours)} seeds",
            "ours": fmean(ours),
            "peer": fmean(sides["plain CRNN"][column]),
            "name": "plain CRNN",
            "unit": "",
            "better": "higher",
        }
        for (corpus, test), sides in _differences(seeds).items()
        for column, ours in sides["sed-train"].items()
    ]


def _intervals(seeds: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Paired differences to the plain CRNN with Student's 95 % interval, of every other side."""
    found = []
    for (corpus, test), sides in _differences(seeds).items():
        for side, columns in sides.items():
            for column, values in columns.items():
                plain = sides["plain CRNN"][column]
                apart = [mine - theirs for mine, theirs in zip(values, plain, strict=True)]
                interval = t_interval(apart) if side != "plain CRNN" else None
                found.append({"corpus": corpus, "test": test, "side": side, "number": column, "mean": fmean(values),
                              "difference": fmean(apart), "interval": interval, "values": values})  # fmt: skip
    return found


def markdown(result: Mapping[str, Any]) -> str:
    """The tables of docs/default.md: means over the seeds, and what `sed-train` is ahead by, with its interval."""
    cells: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for one in result["intervals"]:
        cells.setdefault((one["corpus"], one["test"], one["side"]), {})[one["number"]] = one
    head = "".join(f" {NAMES[column]} |" for column in SHOWN)
    rule = "| --- | --- |" + " --- |" * len(SHOWN)
    lines = [f"| test | detector |{head}", rule]
    for (corpus, test, side), of in cells.items():
        lines.append(f"| {_called(corpus, test)} | {side} |" + "".join(f" {of[c]['mean']:.3f} |" for c in SHOWN))
    lines += ["", f"| test | sed-train ahead of |{head}", rule]
    for (corpus, test, side), of in cells.items():
        if side.startswith("plain"):
            ours = cells[corpus, test, "sed-train"]
            apart = [_apart(ours[column]["values"], of[column]["values"]) for column in SHOWN]
            lines.append(f"| {_called(corpus, test)} | {side} |" + "".join(f" {one} |" for one in apart))
    return "\n".join(lines) + "\n"


def _called(corpus: str, test: str) -> str:
    return f"{corpus}, mixed otherwise" if test == "otherwise" else corpus


def _apart(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Mean and 95 % interval of paired differences, in points."""
    apart = [100 * (mine - other) for mine, other in zip(ours, theirs, strict=True)]
    interval = t_interval(apart)
    words = f" [{interval[0]:+.1f}, {interval[1]:+.1f}]" if interval else ""
    return f"{fmean(apart):+.1f}{words}"


if __name__ == "__main__":
    write_json(Path(sys.argv[1]), run())
