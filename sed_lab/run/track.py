"""Weights & Biases as a mirror of a run's folder: same metrics, tables and pictures; files stay the primary copy."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only


class Mirror(WandbLogger):
    """Lightning's W&B logger, and whether recordings may leave this machine with it."""

    upload_audio = False


def wandb_logger(
    folder: str,
    project: str,
    entity: str | None,
    group: str | None,
    tags: list[str] | None,
    mode: str,
    upload_audio: bool,
) -> Mirror:
    """A W&B logger for the run in ``folder``: online when logged in, else offline with one line on how to sync.

    The run's id is the folder's name, so a resumed run goes on in the same W&B run (online; offline runs cannot be
    resumed, a W&B limitation).
    """
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
    if mode == "offline":
        rank_zero_only(print)(f"W&B: not logged in, writing offline; later: wandb sync {folder}/wandb/offline-run-*")
    Path(folder).mkdir(parents=True, exist_ok=True)
    name = Path(folder).name
    logger = Mirror(
        name=name,
        id=name,
        save_dir=folder,
        project=project,
        entity=entity,
        group=group,
        tags=tags or [],
        offline=mode == "offline",
        resume="allow" if mode == "online" else None,
    )
    logger.upload_audio = upload_audio
    return logger


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def mirror(loggers: list[Any], folder: Path, config: dict[str, Any], metrics: dict[str, float]) -> None:
    """Send the run's configuration, final metrics, per-class table and figures to the W&B loggers among ``loggers``.

    Recordings are sent by a logger with ``upload_audio`` alone: those of the first test clips.
    """
    for logger in loggers:
        if not isinstance(logger, WandbLogger):
            continue
        import pandas as pd
        import wandb

        run = logger.experiment
        run.config.update(config, allow_val_change=True)
        run.summary.update({f"test/{name}": value for name, value in metrics.items()})
        if (folder / "per_class.csv").exists():
            run.log({"per_class": wandb.Table(dataframe=pd.read_csv(folder / "per_class.csv"))})
        if getattr(logger, "upload_audio", False):
            listed = (folder / "scores" / "test" / "audio.tsv").read_text(encoding="utf-8").splitlines()[1:]
            clips = [row.split("\t") for row in listed[: config["report"]["page_clips"]]]
            run.log({"audio": [wandb.Audio(path, caption=name) for name, path in clips]})
        run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in sorted((folder / "figures").glob("*.png"))})


def address(loggers: list[Any]) -> str | None:
    """Where W&B shows the run, for its record; None without a W&B logger and for one that writes offline."""
    runs = [logger.experiment for logger in loggers if isinstance(logger, WandbLogger)]
    return next((str(run.url) for run in runs if getattr(run, "url", None)), None)


def finish(loggers: list[Any], failed: bool) -> None:
    """Close W&B runs with the exit code they deserve; without it a failed job shows as finished."""
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        import wandb

        if wandb.run is not None:
            wandb.finish(exit_code=1 if failed else 0)
