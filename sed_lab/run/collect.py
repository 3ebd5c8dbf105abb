"""The callback that gathers scores of all ranks: quick metrics while training, score files at the end.

Methods only produce predictions; decoding and measuring happen here and in evaluate.py, on scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch.distributed as dist

from sed_lab.clip.annotation import write_durations, write_strong, write_weak
from sed_lab.clip.audio import SUFFIXES
from sed_lab.clip.batch import encode_weak
from sed_lab.clip.module import SedData
from sed_lab.decoder.base import Decoder
from sed_lab.errors import InputError, some
from sed_lab.files import write_array, write_text
from sed_lab.metric.quick import quick_intersection_f1, quick_tagging_f1
from sed_lab.scores import save_scores
from sed_lab.types import Batch, Clip, Scores

FINER = "validation_step gives the network's own, predict as many times more as the method's attribute finer says"
Rows = dict[int, tuple[np.ndarray | None, np.ndarray | None]]  # clip index -> frame scores [T, C], clip scores [C]


class Evaluation(pl.Callback):
    """Collects ``{system: Prediction}`` of every evaluation step.

    Args:
        folder: the run's folder; test scores go to ``scores/<subset>/<system>.npz``.
        objective: names ``<subset>/<system>/<metric>`` whose sum is logged as ``val/objective``; metrics are
            ``tagging_f1`` (weak labels) and ``intersection_f1`` (strong labels), macro, at threshold 0.5. With
            ``<subset>/loss`` alone, the method logs ``val/objective`` itself, from its loss there. With none at all
            nothing is validated, and the last epoch's weights are kept.
        decoder: its median filter is used for the quick intersection F1.
        tune_on: the subset whose events fit the decoder's windows, where it asks for that.
        zero_score: whether a class with reference events and no true positive counts as F1 0 or is left out.
    """

    def __init__(
        self, folder: Path, objective: Iterable[str], decoder: Decoder, tune_on: str | None, zero_score: bool
    ) -> None:
        self.folder, self.objective, self.decoder, self.tune_on = folder, tuple(objective), decoder, tune_on
        self.zero_score = zero_score
        self.by_method = any(name.endswith("/loss") for name in self.objective)
        if self.by_method and len(self.objective) > 1:
            raise InputError(f"objective={list(self.objective)}: a loss stands alone; drop it or the others")
        self.rows: dict[tuple[str, str], Rows] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        corpus = _data(trainer).corpus
        held_out = corpus.subsets.get(self.tune_on or "")
        if held_out is not None:
            events = (event for clip in held_out.clips for event in clip.events or ())
            self.decoder = self.decoder.fit(events, corpus.classes)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        subset = (_data(trainer).test if trainer.testing else _data(trainer).validation)[dataloader_idx]
        for system, prediction in outputs.items():
            for scores in (prediction.frame, prediction.clip):
                if scores is not None and not scores.isfinite().all():
                    clips = [one for one, row in zip(batch.clip_id, scores, strict=True) if not row.isfinite().all()]
                    raise pl_module.diverged(f"{system}'s scores of {subset} clips {some(clips)} are not finite")
            rows, finer = self.rows.setdefault((subset, system), {}), pl_module.finer if trainer.testing else 1
            frame = None if prediction.frame is None else prediction.frame.float().cpu().numpy()
            wanted = _data(trainer).loader.n_frames * finer
            if frame is not None and frame.shape[1] != wanted:
                raise InputError(
                    f"{type(pl_module).__name__} gives {frame.shape[1]} frames a clip, not {wanted}: {FINER}"
                )
            clip = None if prediction.clip is None else prediction.clip.float().cpu().numpy()
            for row, index in enumerate(batch.index.tolist()):
                valid = int(batch.valid_frames[row]) * finer
                rows[index] = (None if frame is None else frame[row, :valid], None if clip is None else clip[row])

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        gathered = self._gather()
        values: dict[str, float] = {}
        if trainer.is_global_zero:
            for (subset, system), rows in gathered.items():
                for name, value in self._quick(_data(trainer), subset, rows).items():
                    values[f"val/{subset}/{system}/{name}"] = value
            if not self.by_method:
                values["val/objective"] = self._objective(values)
        values = trainer.strategy.broadcast(values)
        pl_module.log_dict(values, rank_zero_only=False, sync_dist=False)
        if not self.by_method:
            pl_module.log("val_objective", values["val/objective"], prog_bar=True, logger=False)

    def _objective(self, values: Mapping[str, float]) -> float:
        missing = [name for name in self.objective if f"val/{name}" not in values]
        if missing:
            known = ", ".join(sorted(name.removeprefix("val/") for name in values))
            raise InputError(f"objective names {', '.join(missing)}, which validation does not compute; it has {known}")
        return float(np.nansum([values[f"val/{name}"] for name in self.objective]))

    def _quick(self, data: SedData, subset: str, rows: Rows) -> dict[str, float]:
        clips = [data.corpus.subsets[subset].clips[index] for index in rows]
        scores = _scores(data, subset, rows, 1)
        values = {}
        if all(clip.events is not None for clip in clips) and scores.frame is not None:
            truth = {clip.clip_id: clip.events or () for clip in clips}
            values["intersection_f1"] = quick_intersection_f1(scores, truth, self.decoder, self.zero_score)
        values["tagging_f1"] = quick_tagging_f1(scores, {clip.clip_id: _labels(clip) for clip in clips})
        return values

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        gathered = self._gather()
        if trainer.is_global_zero:
            for (subset, system), rows in gathered.items():
                folder = self.folder / "scores" / subset
                save_scores(folder / f"{system}.npz", _scores(_data(trainer), subset, rows, pl_module.finer))
                clips = _data(trainer).corpus.subsets[subset]
                write_truth(folder, [clips.clips[index] for index in rows])
                if subset == "test" and clips.load(next(iter(rows)), 0)[1].ndim == 2:  # shown instead of audio
                    write_embeddings(folder, [clips.load(index, 0)[1] for index in rows])

    def _gather(self) -> dict[tuple[str, str], Rows]:
        """All ranks' rows, ordered by clip; a clip that came twice counts once."""
        parts: list[dict[tuple[str, str], Rows] | None] = [self.rows]
        if dist.is_available() and dist.is_initialized():
            parts = [None] * dist.get_world_size()
            dist.all_gather_object(parts, self.rows)
        merged: dict[tuple[str, str], Rows] = {}
        for part in parts:
            for key, rows in (part or {}).items():
                merged.setdefault(key, {}).update(rows)
        self.rows = {}
        return {key: dict(sorted(rows.items())) for key, rows in merged.items()}


def write_truth(folder: Path, clips: Iterable[Clip]) -> None:
    """Write what is known about the scored clips beside their scores: annotation and which classes it is about where
    these are not all, durations, where the audio lies."""
    clips = list(clips)
    if all(clip.events is not None for clip in clips):
        write_strong(folder / "ground_truth.tsv", {clip.path.name: clip.events or () for clip in clips})
    elif all(clip.event_labels is not None for clip in clips):
        write_weak(folder / "weak_labels.tsv", {clip.path.name: clip.event_labels or () for clip in clips})
    if about := {clip.path.name: clip.annotated for clip in clips if clip.annotated is not None}:
        write_weak(folder / "annotated.tsv", about)
    write_durations(folder / "durations.tsv", {clip.path.name: clip.duration for clip in clips})
    heard = [clip for clip in clips if clip.path.suffix.lower() in SUFFIXES]  # others are embeddings or points
    rows = "".join(f"{clip.path.name}\t{clip.path.resolve()}\n" for clip in heard)
    write_text(folder / "audio.tsv", "filename\tpath\n" + rows)


def write_embeddings(folder: Path, rows: Sequence[np.ndarray]) -> None:
    """Write the scored clips' rows, uint8 ``[10, 128]`` each, in the order of durations.tsv."""
    write_array(folder / "embedding.npy", np.stack(rows))


def _data(trainer: pl.Trainer) -> SedData:
    return trainer.datamodule  # type: ignore[attr-defined]


def _labels(clip: Clip) -> tuple[str, ...]:
    if clip.event_labels is not None:
        return clip.event_labels
    return tuple({event.event_label for event in clip.events or ()})


def _annotated(clip: Clip, data: SedData, row: tuple[Any, Any]) -> tuple[Any, Any]:
    """Scores of a clip, zero in the classes that its annotation is not about."""
    if clip.annotated is None:
        return row
    about = encode_weak(clip.annotated, data.corpus.classes)
    return tuple(None if part is None else part * about for part in row)  # type: ignore[return-value]


def _scores(data: SedData, subset: str, rows: Rows, finer: int) -> Scores:
    clips = [data.corpus.subsets[subset].clips[index] for index in rows]
    frame, clip = zip(*(_annotated(one, data, row) for one, row in zip(clips, rows.values(), strict=True)), strict=True)
    return Scores(
        clip_id=tuple(item.clip_id for item in clips),
        classes=data.corpus.classes,
        duration=np.array([min(item.duration, data.corpus.clip_seconds) for item in clips]),
        frame_hop=None if frame[0] is None else data.loader.frame_hop / finer,
        frame=None if frame[0] is None else frame,
        clip=None if clip[0] is None else np.stack(clip),
        name=f"{subset} scores",
    )
