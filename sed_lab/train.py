"""sed-train: one run, from configuration to record. Read ``train`` as the table of contents.

As a Hydra app it takes overrides (``sed-train loss=bce seed=1``), sweeps (``sed-train -m loss=bce,tbfl seed=0,1``), and
Hydra's own flags (``--cfg job``, ``--help``, shell completion). Heavy libraries are imported when training begins, so
that ``--help`` answers at once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sed_lab.app import conf_folder, run_hydra
from sed_lab.errors import InputError, describe, run_command, some
from sed_lab.run import ranks, sweep
from sed_lab.run import record as run
from sed_lab.run.assemble import (
    Assembly,
    Facts,
    assemble,
    method_class,
    rival_of,
    use_cached_features,
)
from sed_lab.run.assemble import build as instantiate
from sed_lab.run.identity import devices, is_complete, notice, provenance
from sed_lab.run.process import queue_again, rank
from sed_lab.run.refuse import objective_of, refuse_run, refuse_values, try_measuring

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from sed_lab.clip.module import SedData
    from sed_lab.decoder.base import Decoder
    from sed_lab.method.base import SedMethod


def main() -> None:
    """The console script."""
    run_command(_run)


def _run() -> int:
    try:
        run_hydra(task, "config", _before)
    except KeyboardInterrupt:
        queue_again()
        raise
    return 1 if sweep.outcome["failed"] else 0


def _before(cfg: DictConfig, name: str) -> None:
    """What Hydra's folder for the run, ``name``, waits for: that the run can begin, or is there already."""
    if cfg.rerun or not is_complete(Path(cfg.paths.runs) / name, cfg):
        refuse_run(cfg, conf_folder(), dict(cfg.hydra.runtime.choices))


def task(cfg: DictConfig) -> float | None:
    """What Hydra calls for each job: in a sweep a fresh process, else the run itself."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        return sweep.run_job(cfg)
    refuse_values(cfg, "sed-train")
    folder = Path(hydra.runtime.output_dir)
    if ranks.watched():
        with ranks.telling(folder):
            train(cfg, folder)
        return None
    with run.alone(folder) if rank() == 0 else nullcontext():
        if rank() == 0 and (said := notice(folder, cfg)):
            print(said)
        if cfg.rerun or not is_complete(folder, cfg):
            if count := ranks.to_start(cfg.trainer, devices(cfg.trainer)):
                ranks.run(count, folder)
            else:
                train(cfg, folder)
    return None


def train(cfg: DictConfig, folder: Path) -> None:
    """Train, test, measure and report one run in ``folder``; its record says how it ended."""
    from sed_lab.run.memory import keep_freed_memory

    keep_freed_memory()
    import pytorch_lightning as pl

    from sed_lab.run.keep import best_epoch, save_detector

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    record = run.start_record(folder, cfg, provenance(cfg)) if rank() == 0 else {}
    loggers: list[Any] = []
    try:
        started, used = time.monotonic(), time.process_time()
        data, made = build(cfg)
        method = made.method
        dataset = {"name": data.corpus.name, "fingerprint": data.corpus.fingerprint}
        if record:
            record["systems"] = list(method.systems)  # the one a run is judged by comes first
        run.note_data(folder, record, dataset, cfg.rerun)
        loggers = [instantiate(node) for node in (cfg.logger or {}).values()]
        trainer = build_trainer(cfg, folder, data, made.decoder, loggers)
        fit(trainer, method, data, folder, resume=not cfg.rerun)
        seconds, used = time.monotonic() - started, time.process_time() - used
        trainer.test(method, data, ckpt_path=str(folder / "checkpoints" / "best.ckpt"), verbose=False)
        if trainer.is_global_zero:
            save_detector(method, folder)
            record["epochs"] = trainer.current_epoch
            record["processor_seconds"] = round(used, 2)  # of this process until trained, all threads
            record["best_epoch"] = best_epoch(folder / "checkpoints" / "best.ckpt")
            best = trainer.checkpoint_callback.best_model_score  # type: ignore[union-attr]
            record["objective"] = None if best is None else float(best)
            finish(cfg, folder, record, data, made, loggers, seconds)
    except BaseException as error:
        if rank() == 0:
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else describe(error)
            run.finish_record(folder, record, "failed", reason=reason)
        raise
    finally:
        from sed_lab.run.track import finish as finish_tracking

        finish_tracking(loggers, failed=record.get("status") != "complete")


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


def build_trainer(cfg: DictConfig, folder: Path, data: SedData, decoder: Decoder, loggers: list[Any]) -> pl.Trainer:
    """Lightning's trainer with this run's callbacks; the global batch decides the accumulation."""
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.utilities import rank_zero_only

    from sed_lab.run.collect import Evaluation
    from sed_lab.run.keep import BestWeights
    from sed_lab.run.progress import Bars, History, PlainProgress, on_terminal, quiet

    objective, checkpoints = objective_of(cfg), folder / "checkpoints"
    keep = partial(ModelCheckpoint, checkpoints, save_on_train_epoch_end=True, enable_version_counter=False)
    callbacks = [
        Evaluation(folder, objective, decoder, cfg.tune_on, cfg.metric.zero_score),
        History(folder / "history.csv"),
        # Where nothing is validated, the last epoch's are the best weights.
        BestWeights(checkpoints, cfg.trainer.check_val_every_n_epoch) if objective else keep("best", mode="max"),
        keep("last"),
        Bars() if on_terminal() else PlainProgress(),
    ]
    quiet()
    trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=loggers,
        enable_progress_bar=on_terminal(),
        default_root_dir=str(folder),
        use_distributed_sampler=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
    )
    # Lightning's own handlers wait for other processes within a signal; `run_command` ends all alike.
    trainer._signal_connector.register_signal_handlers = lambda: None
    trainer.accumulate_grad_batches = data.accumulation(trainer.world_size)
    parts = trainer.world_size * trainer.accumulate_grad_batches
    if parts > 1:
        rank_zero_only(print)(
            f"global batch {dict(cfg.batch.clips)} over {trainer.world_size} devices x"
            f" {trainer.accumulate_grad_batches} passes; logged losses are those of one device,"
            " and batch normalisation sees each part by itself"
        )
    return trainer


def fit(trainer: pl.Trainer, method: SedMethod, data: SedData, folder: Path, resume: bool) -> None:
    """Train, going on from ``last.ckpt`` where an earlier try left one."""
    from sed_lab.clip.audio import SUFFIXES, BadAudio
    from sed_lab.clip.audio_folder import check_audio

    last = folder / "checkpoints" / "last.ckpt"
    try:
        trainer.fit(method, data, ckpt_path=str(last) if resume and last.exists() else None, weights_only=True)
    except SystemExit:  # how Lightning ends on Ctrl-C
        raise KeyboardInterrupt from None
    except BadAudio as error:  # all of them are named, not the first only
        clips = (clip for subset in data.corpus.subsets.values() for clip in subset.clips)
        bad = check_audio([clip.path for clip in clips if clip.path.suffix.lower() in SUFFIXES])
        if len(bad) > 1:
            named = some((f"{path} ({reason})" for path, reason in bad), "; ")
            raise InputError(f"{len(bad)} audio files cannot be used, replace or remove them: {named}") from error
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt


def finish(
    cfg: DictConfig,
    folder: Path,
    record: dict[str, Any],
    data: SedData,
    made: Assembly,
    loggers: list[Any],
    seconds: float,
) -> None:
    """Measure from the stored scores, draw, mirror, and close the record."""
    from sed_lab.clip.corpus import statistics_rows, training_statistics
    from sed_lab.evaluate import measure_run, report_run
    from sed_lab.metric.measure import flatten
    from sed_lab.run.track import address, mirror
    from sed_lab.run.tuned import best_in_words

    record["detector"] = {
        "classes": data.corpus.classes,
        "clip_seconds": data.corpus.clip_seconds,
        "frame_hop": made.frame_hop,
        "n_frames": made.n_frames,
        "decided": made.method.decided(),
    }
    if statistics := training_statistics(data.corpus, made.frame_hop, made.n_frames):
        rows = statistics_rows(statistics)
        record["dataset"]["per_class"] = {row.pop("event_label"): row for row in rows}
    record["training_seconds"] = round(seconds, 2)
    steps = len(data.sampler()) * record["epochs"]
    record["clips_per_second"] = round(steps * sum(data.clips.values()) / seconds, 2)
    rival = rival_of(cfg)
    measured = measure_run(folder, made.decoder, dict(cfg.metric), cfg.tune_on, cfg.analysis, rival=rival)
    record["detector"]["decoder"] = measured["settings"]["decoder"]  # with the windows taken from held-out events
    record["detector"]["tuned"] = measured.get("tuned")
    metrics = flatten(measured)
    record["wandb"] = address(loggers)
    run.finish_record(folder, record, "complete", metrics=metrics)
    page = report_run(folder, cfg.analysis, **cfg.report)
    mirror(loggers, folder, record["config"], metrics)
    print(f"kept weights: {run.best_in_words(record)}")
    if said := best_in_words(measured.get("tuned")):
        print(f"best: {said}")
    print(f"run: {folder}")
    if page:
        print(f"page: {page}")


if __name__ == "__main__":
    main()
