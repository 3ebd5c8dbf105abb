"""Lightning's trainer for a run, and training from where an earlier try left off."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from sed_lab.errors import InputError, plain, some

BFLOAT16 = {"amx_bf16", "avx512_bf16", "bf16"}  # flags of processors
OWN = "checkpoint_minutes"  # of group trainer, and not Lightning's

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from sed_lab.clip.module import SedData
    from sed_lab.decoder.base import Decoder
    from sed_lab.method.base import SedMethod
    from sed_lab.run.progress import History


def build_trainer(
    cfg: DictConfig, folder: Path, objective: Sequence[str], data: SedData, decoder: Decoder, loggers: list[Any]
) -> pl.Trainer:
    """Lightning's trainer with this run's callbacks; the global batch decides the accumulation."""
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.utilities import rank_zero_only

    from sed_lab.run.assemble import build
    from sed_lab.run.collect import Evaluation
    from sed_lab.run.keep import BestWeights, WholeCheckpoints
    from sed_lab.run.progress import Bars, History, PlainProgress, TimeLeft, on_terminal, quiet
    from sed_lab.run.resume import Resuming

    checkpoints = folder / "checkpoints"
    keep = partial(ModelCheckpoint, checkpoints, save_on_train_epoch_end=True, enable_version_counter=False)
    callbacks = [
        Evaluation(folder, objective, decoder, cfg.tune_on, cfg.metric.zero_score),
        History(folder / "history.csv"),
        # Where nothing is validated, the last epoch's are the best weights.
        BestWeights(checkpoints, cfg.trainer.check_val_every_n_epoch) if objective else keep("best", mode="max"),
        keep("last"),
        Resuming(checkpoints / "last.ckpt", cfg.trainer.get(OWN)),
        *([TimeLeft(), Bars()] if on_terminal() else [PlainProgress()]),
        *(build(node) for node in (cfg.get("callbacks") or {}).values()),
    ]
    quiet()
    trainer = build(
        {key: value for key, value in cfg.trainer.items() if key != OWN},
        callbacks=callbacks,
        logger=loggers,
        enable_progress_bar=on_terminal(),
        default_root_dir=str(folder),
        use_distributed_sampler=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
    )
    trainer.strategy.checkpoint_io = WholeCheckpoints()
    # Lightning's own handlers wait for other processes within a signal; `run_command` ends all alike.
    trainer._signal_connector.register_signal_handlers = lambda: None
    if (
        "bf16" in str(cfg.trainer.get("precision"))
        and trainer.strategy.root_device.type == "cpu"
        and not has_bfloat16()
    ):
        rank_zero_only(print)(
            f"trainer.precision={cfg.trainer.precision}: this processor has no instructions for bfloat16 (AMX,"
            " AVX512-BF16), so that a step takes several times as long as with trainer.precision=32-true"
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


def has_bfloat16(described: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor multiplies bfloat16 numbers, as Linux describes it; true where nothing does."""
    return not described.exists() or not BFLOAT16.isdisjoint(described.read_text(encoding="utf-8").split())


def fit(trainer: pl.Trainer, method: SedMethod, data: SedData, folder: Path, resume: bool) -> None:
    """Train, going on from ``last.ckpt`` where an earlier try left one.

    Raises:
        InputError: audio cannot be used, training diverges, or ``last.ckpt`` does not hold what this run writes there.
    """
    from sed_lab.clip.audio import SUFFIXES, BadAudio
    from sed_lab.clip.audio_folder import check_audio
    from sed_lab.run.resume import Resuming

    last = folder / "checkpoints" / "last.ckpt"
    resumed = resume and last.exists()
    try:
        trainer.fit(method, data, ckpt_path=str(last) if resumed else None, weights_only=True)
    except SystemExit:  # how Lightning ends on Ctrl-C
        raise KeyboardInterrupt from None
    except BadAudio as error:  # all of them are named, not the first only
        clips = (clip for subset in data.corpus.subsets.values() for clip in subset.clips)
        paths = [clip.path for clip in clips if clip.path.suffix.lower() in SUFFIXES]
        bad = check_audio(paths, label="looking for other recordings that cannot be used")
        if len(bad) > 1:
            named = some((f"{path} ({reason})" for path, reason in bad), "; ")
            raise InputError(f"{len(bad)} audio files cannot be used, replace or remove them: {named}") from error
        raise
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:
        if resumed and _of(trainer, Resuming).restoring:
            said = plain(str(error))
            raise InputError(
                f"{last}: training cannot go on from what it holds ({said}); restore it, or train anew with rerun=true"
            ) from error
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt


def history_of(trainer: pl.Trainer) -> History:
    """What knows how long training took, earlier tries included."""
    from sed_lab.run.progress import History

    history: History = _of(trainer, History)
    return history


def _of(trainer: pl.Trainer, kind: type) -> Any:
    return next(one for one in trainer.callbacks if isinstance(one, kind))  # type: ignore[attr-defined]
