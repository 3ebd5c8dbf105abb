"""sed-train: one run, from configuration to record. Read ``train`` as the table of contents.

As a Hydra app it takes overrides (``sed-train loss=bce seed=1``), sweeps (``sed-train -m loss=bce,tbfl seed=0,1``), and
Hydra's own flags (``--cfg job``, ``--help``, shell completion). Heavy libraries are imported when training begins, so
that ``--help`` answers at once.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from sed_lab.app import run_hydra
from sed_lab.errors import InputError, describe, run_command
from sed_lab.run import record as run
from sed_lab.run import sweep
from sed_lab.run.assemble import asked_for

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from sed_lab.clip.module import SedData
    from sed_lab.method.base import SedMethod


def main() -> None:
    """The console script."""
    run_command(_run)


def _run() -> int:
    run_hydra(task, "config")
    return 1 if sweep.outcome["failed"] else 0


def task(cfg: DictConfig) -> float | None:
    """What Hydra calls for each job: in a sweep a fresh process, else the run itself."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        return sweep.run_job(cfg)
    folder = Path(hydra.runtime.output_dir)
    with run.alone(folder) if _is_first_rank() else nullcontext():
        if run.is_complete(folder, cfg) and not cfg.rerun:
            print(f"already complete: {folder} (rerun=true trains it again)")
        else:
            train(cfg, folder)
    return None


def train(cfg: DictConfig, folder: Path) -> None:
    """Train, test, measure and report one run in ``folder``; its record says how it ended."""
    from sed_lab.run.memory import keep_freed_memory

    keep_freed_memory()
    import pytorch_lightning as pl

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    record = run.start_record(folder, cfg) if _is_first_rank() else {}
    loggers: list[Any] = []
    try:
        started = time.monotonic()
        data, method = build(cfg)
        loggers = [_instantiate(node) for node in (cfg.logger or {}).values()]
        trainer = build_trainer(cfg, folder, data, loggers)
        fit(trainer, method, data, folder, resume=not cfg.rerun)
        seconds = time.monotonic() - started
        trainer.test(method, data, ckpt_path=str(folder / "checkpoints" / "best.ckpt"), verbose=False)
        if trainer.is_global_zero:
            save_detector(method, folder)
            record["epochs"] = trainer.current_epoch
            best = trainer.checkpoint_callback.best_model_score  # type: ignore[union-attr]
            record["objective"] = None if best is None else float(best)
            finish(cfg, folder, record, data, loggers, seconds)
    except BaseException as error:
        if _is_first_rank():
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else describe(error)
            run.finish_record(folder, record, "failed", reason=reason)
        raise
    finally:
        from sed_lab.run.track import finish as finish_tracking

        finish_tracking(loggers, failed=record.get("status") != "complete")


def build(cfg: DictConfig) -> tuple[SedData, SedMethod]:
    """Corpus, front end, network, loss and method, as the configuration names them."""
    from sed_lab.clip.module import SedData
    from sed_lab.types import BESIDE, TESTS

    refuse_test_clips(cfg)
    corpus = _instantiate(cfg.dataset)
    feature = _instantiate(cfg.feature)
    if feature.sample_rate != corpus.sample_rate:
        raise InputError(
            f"feature.sample_rate={feature.sample_rate} but dataset.sample_rate={corpus.sample_rate}; set both alike"
        )
    n_feature_frames = feature.frames(round(corpus.clip_seconds * corpus.sample_rate))
    sizes = {"n_classes": len(corpus.classes), "n_mels": feature.n_mels, "n_frames": n_feature_frames}
    model = _instantiate(cfg.model, **asked_for(cfg.model._target_, sizes))
    loss = _instantiate(cfg.loss)
    n_frames = model.frames(n_feature_frames)
    frame_hop = feature.hop_length * model.time_pooling / corpus.sample_rate
    validation = dict.fromkeys(name.split("/")[0] for name in cfg.objective)
    beside = [
        name for name in dict.fromkeys((cfg.tune_on, cfg.logits_on)) if name in corpus.subsets and name not in TESTS
    ]
    data = SedData(
        corpus,
        n_frames=n_frames,
        frame_hop=frame_hop,
        validation=validation,
        test=[*beside, "test", *(name for name in BESIDE if name in corpus.subsets)],
        seed=cfg.seed,
        **cfg.batch,
    )
    known = {
        "feature": feature,
        "model": model,
        "loss": loss,
        "class_weight": loss.class_weight(data.class_statistics()),
        "weak_labels": data.weak_labels(),
        "classes": corpus.classes,
        "seed": cfg.seed,
    }
    return data, _instantiate(cfg.method, **asked_for(cfg.method._target_, known))


def refuse_test_clips(cfg: DictConfig) -> None:
    """Refuse a configuration that trains on test clips, or chooses a checkpoint or threshold by them.

    Raises:
        InputError: with the key that names a test subset.
    """
    from sed_lab.types import TESTS

    if cfg.tune_on in TESTS:
        raise InputError(
            f"tune_on={cfg.tune_on} would choose the threshold on the clips it is judged on; use another subset"
        )
    for name in TESTS:
        if any(item.split("/")[0] == name for item in cfg.objective):
            raise InputError(f"objective names {name}, whose clips the run is judged on; use another subset")
        if cfg.batch.clips.get(name):
            raise InputError(f"batch.clips.{name} would train on the clips the run is judged on; use another subset")


def build_trainer(cfg: DictConfig, folder: Path, data: SedData, loggers: list[Any]) -> pl.Trainer:
    """Lightning's trainer with this run's callbacks; the global batch decides the accumulation."""
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.utilities import rank_zero_only

    from sed_lab.run.collect import Evaluation
    from sed_lab.run.progress import Bars, History, PlainProgress, on_terminal, quiet

    every = min(cfg.trainer.check_val_every_n_epoch, cfg.trainer.max_epochs)
    keep: dict[str, Any] = {
        "dirpath": folder / "checkpoints",
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    best = "val/objective" if cfg.objective else None  # None: the last epoch's
    callbacks = [
        Evaluation(folder, cfg.objective, _instantiate(cfg.decoder), cfg.tune_on),
        History(folder / "history.csv", every),
        ModelCheckpoint(filename="best", monitor=best, mode="max", every_n_epochs=every if best else 1, **keep),
        ModelCheckpoint(filename="last", every_n_epochs=1, **keep),
        Bars() if on_terminal() else PlainProgress(),
    ]
    quiet()
    trainer = _instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=loggers,
        enable_progress_bar=on_terminal(),
        default_root_dir=str(folder),
        use_distributed_sampler=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=every,
        log_every_n_steps=10,
    )
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
    last = folder / "checkpoints" / "last.ckpt"
    try:
        trainer.fit(method, data, ckpt_path=str(last) if resume and last.exists() else None, weights_only=True)
    except SystemExit:  # how Lightning ends on Ctrl-C
        raise KeyboardInterrupt from None
    except InputError as error:
        from sed_lab.clip.audio import check_audio

        bad = check_audio([clip.path for subset in data.corpus.subsets.values() for clip in subset.clips])
        if len(bad) > 1:
            names = "; ".join(f"{path} ({reason})" for path, reason in bad)
            raise InputError(f"{len(bad)} audio files cannot be used, replace or remove them: {names}") from error
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt


def save_detector(method: SedMethod, folder: Path) -> None:
    """Write detector.ckpt: the weights that predict, without what only training needs."""
    import torch

    from sed_lab.files import replacing

    with replacing(folder / "detector.ckpt") as beside:
        torch.save({"state_dict": method.detector_state()}, beside)


def finish(
    cfg: DictConfig, folder: Path, record: dict[str, Any], data: SedData, loggers: list[Any], seconds: float
) -> None:
    """Measure from the stored scores, draw, mirror, and close the record."""
    from sed_lab.clip.corpus import statistics_rows
    from sed_lab.evaluate import measure_run, report_run
    from sed_lab.metric.measure import flatten
    from sed_lab.run.track import address, mirror

    record["detector"] = {
        "classes": data.corpus.classes,
        "clip_seconds": data.corpus.clip_seconds,
        "frame_hop": data.loader.frame_hop,
        "n_frames": data.loader.n_frames,
    }
    record["dataset"] = {"name": data.corpus.name, "fingerprint": data.corpus.fingerprint}
    if statistics := data.class_statistics():
        rows = statistics_rows(statistics)
        record["dataset"]["per_class"] = {row.pop("event_label"): row for row in rows}
    record["training_seconds"] = round(seconds, 2)
    steps = len(data.sampler()) * record["epochs"]
    record["clips_per_second"] = round(steps * sum(data.clips.values()) / seconds, 2)
    measured = measure_run(folder, _instantiate(cfg.decoder), dict(cfg.metric), cfg.tune_on)
    record["detector"]["decoder"] = measured["settings"]["decoder"]  # with the windows taken from held-out events
    metrics = flatten(measured)
    record["wandb"] = address(loggers)
    run.finish_record(folder, record, "complete", metrics=metrics)
    page = report_run(folder, **cfg.report)
    config = record["config"]
    mirror(loggers, folder, config, metrics)
    print(f"run: {folder}")
    if page:
        print(f"page: {page}")


def _instantiate(node: DictConfig, **given: Any) -> Any:
    from hydra.utils import instantiate

    try:
        # Objects are given to the call, not to Hydra, which would take a dataclass for a configuration.
        return instantiate(node, _partial_=True, _convert_="all")(**given)
    except Exception as error:
        cause = error.__cause__
        if isinstance(cause, (InputError, OSError)):
            raise cause from None
        raise


def _is_first_rank() -> bool:
    from pytorch_lightning.utilities.rank_zero import rank_zero_only

    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


if __name__ == "__main__":
    main()
