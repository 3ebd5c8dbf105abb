"""Weights & Biases as a mirror of a run's folder: same metrics, tables and pictures; files stay the primary copy."""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from sed_lab.run.answer import answer
from sed_lab.run.charts import artifact, charts, figures, numbers, recordings

STEP = "trainer/global_step"  # what Lightning's logger plots everything against


class Mirror(WandbLogger):
    """Lightning's W&B logger, which keeps the best value of each curve, and what may leave this machine with it."""

    upload_audio = False
    upload_model = False
    seen: frozenset[str] = frozenset()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log; the first time a loss, or what is validated, comes, ask W&B to summarise it by its lowest or highest."""
        for name in sorted(metrics.keys() - self.seen):
            if best := best_of(name):
                self.experiment.define_metric(name, step_metric=STEP, summary=best)
        self.seen = self.seen.union(metrics)
        super().log_metrics(metrics, step)


def best_of(name: str) -> str | None:
    """Which value of a curve is its best one, ``min`` or ``max``; None where none is."""
    if "loss" in name:
        return "min"
    return "max" if name.startswith("val/") else None


def wandb_logger(
    folder: str,
    project: str,
    entity: str | None,
    name: str | None,
    group: str | None,
    job_type: str | None,
    tags: Sequence[str] | None,
    notes: str | None,
    mode: str,
    upload_audio: bool,
    upload_model: bool,
) -> Mirror:
    """A W&B logger for the run in ``folder``: online when logged in, else offline with one line on how to sync.

    The run's id is the folder's name, so a resumed run goes on in the same W&B run (online; offline runs cannot be
    resumed, a W&B limitation). What is None, W&B takes from its environment variables.
    """
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
    if mode == "offline":
        rank_zero_only(print)(f"W&B: not logged in, writing offline; later: wandb sync {folder}/wandb/offline-run-*")
    Path(folder).mkdir(parents=True, exist_ok=True)
    logger = Mirror(
        name=name or os.environ.get("WANDB_NAME") or Path(folder).name,
        id=Path(folder).name,
        save_dir=folder,
        project=project,
        entity=entity,
        group=group,
        job_type=job_type,
        tags=None if tags is None else list(tags),
        notes=notes,
        offline=mode == "offline",
        resume="allow" if mode == "online" else None,
    )
    logger.upload_audio, logger.upload_model = upload_audio, upload_model
    return logger


def _logged_in() -> bool:
    """Whether W&B's variables, or what ``wandb login`` left, give access to its own server or WANDB_BASE_URL."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    import wandb

    own = os.environ.get("WANDB_BASE_URL")
    hosts = [urlsplit(own or wandb.Settings().base_url).netloc, *([] if own else ["api.wandb.ai"])]  # its former one
    try:
        known = netrc.netrc(os.environ.get("NETRC"))
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
    return any(known.authenticators(host) for host in hosts)


def begin(loggers: Sequence[Any], config: Mapping[str, Any], options: Mapping[str, Any], setting: str) -> None:
    """Start the runs of the W&B loggers among ``loggers``, each with its whole configuration from the first second.

    Beside ``config``, W&B's configuration gets the ``options`` chosen in groups, and as ``setting`` the words that runs
    of other seeds share.
    """
    chosen = {group: option for group, option in options.items() if not group.startswith("hydra/")}
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_hyperparams({**config, "options": chosen, "setting": setting})
            if logger.experiment.resumed:  # what an earlier try ended with
                logger.experiment.summary["failure"] = None


def mirror(loggers: Sequence[Any], folder: Path, record: Mapping[str, Any]) -> None:
    """Send what a complete run measured and drew to the W&B loggers among ``loggers``.

    Recordings (those of the first test clips) and the model are sent by a logger that says so alone.
    """
    for logger in loggers:
        if not isinstance(logger, WandbLogger):
            continue
        run = logger.experiment
        run.summary.update(numbers(record))
        clips = record["config"]["report"]["page_clips"] if getattr(logger, "upload_audio", False) else 0
        best = next(iter(answer(record)), None)
        run.log({**charts(folder, best), **figures(folder), **recordings(folder, clips)})
        if getattr(logger, "upload_model", False):
            run.log_artifact(artifact(folder, record))


def address(loggers: Sequence[Any]) -> str | None:
    """Where W&B shows the run, for its record; None without a W&B logger and for one that writes offline."""
    runs = [logger.experiment for logger in loggers if isinstance(logger, WandbLogger)]
    return next((str(run.url) for run in runs if getattr(run, "url", None)), None)


def finish(loggers: Sequence[Any], record: Mapping[str, Any]) -> None:
    """Close W&B runs as the ``record`` says they ended; without it a failed job shows as finished.

    One that failed has the record's reason as ``failure`` in its summary, and exit code 1.
    """
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        import wandb

        if wandb.run is not None:
            failed = record.get("status") != "complete"
            if failed:
                wandb.run.summary["failure"] = record.get("reason")
            wandb.finish(exit_code=int(failed))
