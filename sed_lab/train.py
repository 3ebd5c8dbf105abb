"""sed-train: one run, from configuration to record. Read ``train`` as the table of contents.

As a Hydra app it takes overrides (``sed-train loss=bce seed=1``), sweeps (``sed-train -m loss=bce,tbfl seed=0,1``), and
Hydra's own flags (``--cfg job``, ``--help``, shell completion). Heavy libraries are imported when training begins, so
that ``--help`` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sed_lab.app import conf_folder, run_hydra
from sed_lab.errors import InputError, describe, run_command
from sed_lab.files import write_json
from sed_lab.run import ranks, sweep
from sed_lab.run import record as run
from sed_lab.run.answer import print_answer
from sed_lab.run.assemble import (
    Assembly,
    Facts,
    assemble,
    method_class,
    rival_of,
    use_cached_features,
)
from sed_lab.run.assemble import build as instantiate
from sed_lab.run.fitting import build_trainer, fit, history_of
from sed_lab.run.identity import devices, is_complete, notice, provenance
from sed_lab.run.parts import MEASURED, links_stay, lost_in_words, lost_parts, trains_again
from sed_lab.run.process import queue_again, rank
from sed_lab.run.refuse import objective_of, refuse_run, refuse_values, try_measuring
from sed_lab.waiting import shown

if TYPE_CHECKING:
    from sed_lab.clip.module import SedData
    from sed_lab.decoder.base import Decoder


def main() -> None:
    """The console script."""
    run_command(_run)


def _run() -> int:
    try:
        run_hydra(task, "config", _before)
    except KeyboardInterrupt:
        sweep.show_interrupted()
        queue_again()
        raise
    return 1 if sweep.outcome["failed"] else 0


def _before(cfg: DictConfig, name: str) -> None:
    """What Hydra's folder for the run, ``name``, waits for: that the run can begin, or is there already."""
    if cfg.rerun or not is_complete(Path(cfg.paths.runs) / name, cfg):
        with shown("loading PyTorch, and checking the configuration"):
            refuse_run(cfg, conf_folder(), dict(cfg.hydra.runtime.choices))


def task(cfg: DictConfig) -> float | None:
    """What Hydra calls for each job: in a sweep a fresh process, else the run itself."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        return sweep.run_job(cfg)
    refuse_values(cfg, "sed-train")
    folder = Path(hydra.runtime.output_dir)
    links_stay(folder)
    if ranks.watched():
        with ranks.telling(folder):
            train(cfg, folder)
        return None
    with run.alone(folder) if rank() == 0 else nullcontext():
        complete = not cfg.rerun and is_complete(folder, cfg)
        lost = lost_parts(folder, cfg.report) if complete else []
        if rank() == 0 and (said := lost_in_words(folder, lost) or notice(folder, cfg)):
            print(said)
        if not complete or trains_again(lost):
            if count := ranks.to_start(cfg.trainer, devices(cfg.trainer)):
                ranks.run(count, folder)
            else:
                train(cfg, folder)
        elif rank() == 0:
            page = report_again(cfg, folder, lost) if lost else folder / "page.html"
            print_answer(folder, run.read_record(folder) or {}, page if page and page.exists() else None)
    return None


def train(cfg: DictConfig, folder: Path) -> None:
    """Train, test, measure and report one run in ``folder``; its record says how it ended."""
    from sed_lab.run.memory import keep_freed_memory

    keep_freed_memory()
    import pytorch_lightning as pl

    from sed_lab.run.checkpoint import make_ready
    from sed_lab.run.keep import best_epoch, save_detector
    from sed_lab.run.track import begin
    from sed_lab.run.track import finish as finish_tracking

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    if rank() == 0 and not cfg.rerun:
        make_ready(folder)
    record = run.start_record(folder, cfg, provenance(cfg)) if rank() == 0 else {}
    loggers: list[Any] = []
    try:
        loggers = [instantiate(node) for node in (cfg.get("logger") or {}).values()]
        if record:
            begin(loggers, record["config"], run.choices(), sweep.words_of(HydraConfig.get(), "seed"))
        used = run.processor_time()
        data, made = build(cfg)
        method = made.method
        dataset = {"name": data.corpus.name, "fingerprint": data.corpus.fingerprint}
        if record:
            record["systems"] = list(method.systems)  # the one a run is judged by comes first
        run.note_data(folder, record, dataset, cfg.rerun)
        trainer = build_trainer(cfg, folder, objective_of(cfg), data, made.decoder, loggers)
        fit(trainer, method, data, folder, resume=not cfg.rerun)
        history = history_of(trainer)
        seconds, used = history.seconds(), used - history.used_before
        record["processor_seconds"] = round(run.processor_time() - used, 2)  # until trained
        best = folder / "checkpoints" / "best.ckpt"
        trainer.test(method, data, ckpt_path=str(best), weights_only=True, verbose=False)
        if trainer.is_global_zero:
            sha256 = save_detector(method, folder)
            record["epochs"] = trainer.current_epoch
            record["best_epoch"] = best_epoch(best)
            score = trainer.checkpoint_callback.best_model_score  # type: ignore[union-attr]
            record["objective"] = None if score is None else float(score)
            finish(cfg, folder, record, data, made, loggers, seconds, used, sha256)
    except BaseException as error:
        if rank() == 0:
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else describe(error)
            with suppress(InputError):  # where a full disk has no room even for that, why is what is said
                run.finish_record(folder, record, "failed", reason=reason)
        raise
    finally:
        finish_tracking(loggers, record)


def build(cfg: DictConfig) -> tuple[SedData, Assembly]:
    """The corpus as batches, and the method with what it is made of, as the configuration names them."""
    import torch

    from sed_lab.clip.corpus import training_statistics, weak_labels
    from sed_lab.clip.module import SedData
    from sed_lab.types import BESIDE, TESTS, VALIDATION

    refuse_run(cfg, conf_folder(), run.choices())
    objective = objective_of(cfg)
    corpus = instantiate(cfg.dataset)
    facts = Facts(
        classes=corpus.classes,
        clip_seconds=corpus.clip_seconds,
        sample_rate=corpus.sample_rate,
        statistics=partial(training_statistics, corpus),
        weak_labels=torch.from_numpy(weak_labels(corpus)),
        embedded_by=corpus.embedded_by,
    )
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    made = assemble({str(group): node for group, node in config.items()}, facts, cfg.seed)
    try_measuring(corpus.classes, made, rival_of(cfg), cfg.metric)
    asked = [name for name in dict.fromkeys((cfg.tune_on, *cfg.also_score)) if name is not None]
    if unknown := [name for name in asked if name not in (*VALIDATION, *corpus.subsets)]:
        known = ", ".join(corpus.subsets)
        raise InputError(f"tune_on or also_score: dataset {corpus.name} has no subset {unknown[0]!r}; it has {known}")
    beside = [name for name in asked if name in corpus.subsets and name not in TESTS]
    batch = {**cfg.batch, "clips": composition(cfg.batch.clips, method_class(cfg).trains_on)}
    cached = batch.pop("cache_features")
    data = SedData(
        corpus,
        n_frames=made.n_frames,
        frame_hop=made.frame_hop,
        validation=dict.fromkeys(name.split("/")[0] for name in objective),
        test=[*beside, "test", *(name for name in BESIDE if name in corpus.subsets)],
        seed=cfg.seed,
        **batch,
    )
    if cached is not False:
        device = "cuda" if cfg.trainer.accelerator in ("gpu", "cuda") else "cpu"
        use_cached_features(config["feature"], data, made.method, Path(cfg.paths.cache), device, cached)
    return data, made


def composition(clips: Mapping[str, int], trains_on: Sequence[str]) -> dict[str, int]:
    """The clips of a global batch that the method can train on; what is left out is said."""
    from pytorch_lightning.utilities import rank_zero_only

    left_out = [f"{name} ({count})" for name, count in clips.items() if count and name not in trains_on]
    if left_out:
        rank_zero_only(print)(
            f"this method trains on {', '.join(trains_on)} clips; left out of its batches: {', '.join(left_out)}"
        )
    return {name: count for name, count in clips.items() if name in trains_on}


def finish(
    cfg: DictConfig,
    folder: Path,
    record: dict[str, Any],
    data: SedData,
    made: Assembly,
    loggers: list[Any],
    seconds: float,
    used: float,
    sha256: str,
) -> None:
    """Measure from the stored scores, draw, mirror, and close the record: a run is complete when all of it is there.

    Training took ``seconds``; processor time is counted from ``used`` on.
    """
    from sed_lab.clip.corpus import statistics_rows, training_statistics
    from sed_lab.evaluate import report_run
    from sed_lab.run.track import address, mirror

    record["detector"] = {
        "classes": data.corpus.classes,
        "clip_seconds": data.corpus.clip_seconds,
        "frame_hop": made.frame_hop,
        "n_frames": made.n_frames,
        "decided": made.method.decided(),
        "sha256": sha256,
    }
    if statistics := training_statistics(data.corpus, made.frame_hop, made.n_frames):
        rows = statistics_rows(statistics)
        record["dataset"]["per_class"] = {row.pop("event_label"): row for row in rows}
    record["training_seconds"] = round(seconds, 2)
    steps = len(data.sampler()) * record["epochs"]
    record["clips_per_second"] = round(steps * sum(data.clips.values()) / seconds, 2)
    _measure(cfg, folder, record, made.decoder)
    record["wandb"] = address(loggers)
    record.update(run.ending("complete"))
    page = report_run(folder, cfg.analysis, record=record, **cfg.report)
    with shown("passing results to loggers"):
        mirror(loggers, folder, record)
    processes = made.method.trainer.world_size  # they do the same work
    record["core_minutes"] = round((run.processor_time() - used) * processes / 60, 3)
    write_json(folder / "run.json", record)
    print_answer(folder, record, page)


def _measure(cfg: DictConfig, folder: Path, record: dict[str, Any], decoder: Decoder) -> None:
    """Measure from the stored scores, and note in the record what belongs there."""
    from sed_lab.evaluate import measure_run
    from sed_lab.metric.measure import flatten

    measured = measure_run(folder, decoder, dict(cfg.metric), cfg.tune_on, cfg.analysis, rival=rival_of(cfg))
    record["detector"]["decoder"] = measured["settings"]["decoder"]  # with the windows taken from held-out events
    record["detector"]["tuned"] = measured.get("tuned")
    record["metrics"] = flatten(measured)


def report_again(cfg: DictConfig, folder: Path, lost: Sequence[str]) -> Path | None:
    """Make what a complete run has ``lost`` and its scores suffice for: measures, figures, page, whose path it gives.
    Nothing is trained."""
    from sed_lab.evaluate import report_run

    record = run.read_record(folder) or {}
    if set(lost) & set(MEASURED):
        _measure(cfg, folder, record, instantiate(cfg.decoder))
        write_json(folder / "run.json", record)
    return report_run(folder, cfg.analysis, **cfg.report)


if __name__ == "__main__":
    main()
