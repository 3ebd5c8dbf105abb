"""The LightningDataModule: a corpus, a batch composition and a frame grid become loaders for each rank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from sed_lab.clip.batch import CompositionSampler, CorpusLoader, as_is, evaluation_requests
from sed_lab.clip.compose import by_class, whole_subsets
from sed_lab.clip.feature_cache import Mel, cached_features, unchanging
from sed_lab.errors import InputError
from sed_lab.types import Batch, Corpus, Part


class SedData(pl.LightningDataModule):
    """Loaders over ``corpus``.

    Args:
        clips: clips of each subset in one global batch (all devices and accumulation steps together).
        n_frames, frame_hop: the output frame grid of the model, frames and seconds.
        validation, test: names of the subsets scored in each validation and at the end.
        epoch: ``smallest`` or ``all``, see :class:`CompositionSampler`.
        per_class: whether a batch holds equally many clips of each class that clips are annotated for.
        evaluation: clips a device scores at once.
        max_clips_per_device: above it the global batch is accumulated over several passes.
        workers: loading processes per device.
    """

    def __init__(
        self,
        corpus: Corpus,
        clips: Mapping[str, int],
        n_frames: int,
        frame_hop: float,
        validation: Iterable[str],
        test: Iterable[str],
        seed: int,
        epoch: str,
        per_class: bool,
        evaluation: int,
        max_clips_per_device: int | None,
        workers: int,
    ) -> None:
        super().__init__()
        self.corpus, self.clips, self.seed, self.epoch = corpus, dict(clips), seed, epoch
        self.evaluation, self.max_clips_per_device, self.workers = evaluation, max_clips_per_device, workers
        self.validation, self.test = tuple(validation), tuple(test)
        for name in (*self.validation, *self.test):
            if name not in corpus.subsets:
                known = ", ".join(corpus.subsets)
                raise InputError(f"dataset {corpus.name} has no subset {name!r}; it has {known}")
        self.streams = (by_class if per_class else whole_subsets)(corpus.subsets, self.clips)
        self.loader = CorpusLoader(corpus.subsets, corpus.classes, n_frames, frame_hop)
        self._load, self._training_order = True, None  # type: bool, CompositionSampler | None
        self._begins = (0, 0)  # the epoch that training begins or goes on with, and how many batches of it are done

    def use_cached_features(self, mel: Mel, settings: Mapping[str, Any], cache: Path) -> None:
        """Give batches `sed_lab.clip.feature_cache`'s linear mel instead of audio from now on.

        Raises:
            InputError: as `cached_features`.
        """
        kept = {name: cached_features(self.corpus, name, mel, settings, cache) for name in self._used}
        self.loader.subsets = {**self.loader.subsets, **kept}

    @property
    def _used(self) -> list[str]:
        trained = (name for name, count in self.clips.items() if count)
        return list(dict.fromkeys((*trained, *self.validation, *self.test)))

    @property
    def unchanging(self) -> bool:
        """Whether all clips that are used are the same in every epoch."""
        return all(unchanging(self.corpus.subsets[name]) for name in self._used if name in self.corpus.subsets)

    def load_training_clips(self, load: bool) -> None:
        """Whether training batches bring more than labels, from the next epoch on."""
        self._load = load
        if self._training_order is not None:
            self._training_order.load = load

    def go_on_at(self, epoch: int, done: int) -> None:
        """Let training batches begin with those of ``epoch`` after the first ``done``; called before they are made."""
        self._begins = (epoch, done)

    def accumulation(self, devices: int) -> int:
        """Passes over which a global batch is accumulated on so many devices."""
        if self.max_clips_per_device is None:
            return 1
        return max(1, -(-sum(self.clips.values()) // (devices * self.max_clips_per_device)))

    def sampler(self, rank: int = 0, world: int = 1) -> CompositionSampler:
        """The training order of one rank."""
        clips, members = self.streams
        sizes = {name: len(numbers) for name, (_, numbers) in members.items()}
        accumulate = self.accumulation(world)
        return CompositionSampler(sizes, clips, self.seed, self.epoch, rank, world, accumulate, members)

    def train_dataloader(self) -> DataLoader[Part]:
        assert self.trainer is not None
        order = self.sampler(self.trainer.global_rank, self.trainer.world_size)
        order.go_on_at(*self._begins)  # loading processes fetch ahead, before Lightning tells the epoch
        order.load, self._training_order = self._load, order
        return self._loader(order)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        return [self._evaluation_loader(name) for name in self.validation]

    def test_dataloader(self) -> list[DataLoader[Batch]]:
        return [self._evaluation_loader(name) for name in self.test]

    def every_clip(self, subset: str, rank: int = 0, world: int = 1) -> DataLoader[Batch]:
        """Each clip of a subset once, in order, in batches for evaluation; with ``world`` ranks a share for each."""
        return self._loader(evaluation_requests(subset, len(self.corpus.subsets[subset]), self.evaluation, rank, world))

    def _evaluation_loader(self, subset: str) -> DataLoader[Batch]:
        assert self.trainer is not None
        return self.every_clip(subset, self.trainer.global_rank, self.trainer.world_size)

    def _loader(self, sampler: Any) -> DataLoader[Any]:
        # Batches are made whole by the dataset, so the loader neither batches nor collates.
        return DataLoader(
            self.loader,
            batch_size=None,
            sampler=sampler,
            collate_fn=as_is,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )
