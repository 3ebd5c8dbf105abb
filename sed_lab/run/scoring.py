"""A trained run's detector on another dataset: scores in a folder of their own, to be measured as a run's."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from sed_lab.errors import InputError
from sed_lab.files import read_json, write_json
from sed_lab.metric.measure import flatten
from sed_lab.run.assemble import build
from sed_lab.run.detector import Detector, load_detector

if TYPE_CHECKING:
    from sed_lab.clip.module import SedData
    from sed_lab.types import Corpus


def score_run(
    run: Path, dataset: DictConfig, target: Path, tune_on: str | None, device: str, trusted: Sequence[str]
) -> None:
    """Score the test subsets of ``dataset``, and ``tune_on`` where it is there, with the detector in ``run``.

    Every system of the run scores. Scores, annotations and a record go to ``target``, which may be ``run`` itself
    where that has no scores of its own: an imported detector. Nothing is trained.

    Raises:
        InputError: ``target`` holds another run's results, or dataset and detector do not go together.
    """
    import pytorch_lightning as pl
    import torch

    from sed_lab.run.collect import Evaluation
    from sed_lab.run.progress import Bars, PlainProgress, on_terminal, quiet

    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"device={device} is not there; use cpu{' or cuda' if torch.cuda.is_available() else ''}")
    if missing := sorted(OmegaConf.missing_keys(dataset)):
        raise InputError(f"dataset.{missing[0]} is not given; add dataset.{missing[0]}=...")
    detector = load_detector(run, trusted=trusted, decoder="run", threshold="fixed")
    record = read_json(run / "run.json")
    _refuse_other_results(run, target)
    corpus = build(dataset)
    _check_fit(run, detector, corpus)
    workers = record["config"]["batch"]["workers"] if device == "cuda" else 0
    data = _data(record, detector, corpus, tune_on, workers)
    shutil.rmtree(target / "scores", ignore_errors=True)  # of another dataset, with other subsets
    quiet()
    evaluation = Evaluation(target, (), detector.decoder, tune_on, record["config"]["metric"]["zero_score"])
    trainer = pl.Trainer(
        accelerator=device,
        devices=1,
        callbacks=[evaluation, Bars() if on_terminal() else PlainProgress()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=on_terminal(),
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=str(target),
    )
    trainer.test(detector.method, data, verbose=False)
    scored = {
        "status": "scored",
        "name": target.name,
        "detector_of": record.get("detector_of", run.name),
        "config": {**record["config"], "dataset": OmegaConf.to_container(dataset, resolve=True)},
        "dataset": {"name": corpus.name, "fingerprint": corpus.fingerprint},
        "metrics": {},
    }
    write_json(target / "run.json", {**record, **scored})


def _data(record: Mapping[str, Any], detector: Detector, corpus: Corpus, tune_on: str | None, workers: int) -> SedData:
    """The clips to score: of the test subsets, and of those that thresholds and analyses need."""
    from sed_lab.clip.module import SedData
    from sed_lab.types import BESIDE, TESTS

    config = record["config"]
    wanted = dict.fromkeys((tune_on, *config["also_score"]))
    beside = [name for name in wanted if name and name in corpus.subsets and name not in TESTS]
    return SedData(
        corpus,
        n_frames=detector.n_frames,
        frame_hop=detector.frame_hop,
        validation=(),
        test=[*beside, "test", *(name for name in BESIDE if name in corpus.subsets)],
        seed=record["seed"],
        clips={},
        epoch="smallest",
        per_class=False,
        evaluation=config["batch"]["evaluation"],
        max_clips_per_device=None,
        workers=workers,
    )


def _check_fit(run: Path, detector: Detector, corpus: Corpus) -> None:
    for key, own, asked in (
        ("classes", list(detector.classes), list(corpus.classes)),
        ("sample_rate", detector.sample_rate, corpus.sample_rate),
        ("clip_seconds", detector.clip_seconds, corpus.clip_seconds),
    ):
        if own != asked:
            raise InputError(f"{run} was trained with {key} {own}, but dataset {corpus.name} has {asked}; set it alike")


def note_measured(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write what was measured of a scored run into its record; `sed-predict` takes a tuned threshold from there."""
    record = read_json(folder / "run.json")
    decoder = metrics["settings"]["decoder"]
    record = {**record, "metrics": flatten(dict(metrics)), "detector": {**record["detector"], "decoder": decoder}}
    write_json(folder / "run.json", record)


def note_tuned(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write which tuned decoders the run's new page shows into its record, from where `sed-predict` takes them."""
    record = read_json(folder / "run.json")
    if "detector" in record:
        record["detector"] = {**record["detector"], "tuned": metrics.get("tuned")}
        write_json(folder / "run.json", record)


def _refuse_other_results(run: Path, target: Path) -> None:
    """Raise where scores of ``target`` would be lost, unless they were made by scoring the same detector."""
    known = read_json(target / "run.json") if (target / "run.json").exists() else {}
    status, of = known.get("status", "scored"), known.get("detector_of", run.name)
    if status not in ("imported", "scored") or of != run.name:
        raise InputError(f"{target} holds results of its own; name a folder for the new ones with output=FOLDER")
