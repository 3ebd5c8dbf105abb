"""Batches of equally many clips of every class: no class is absent, ranks disjoint, nothing repeated in an epoch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sed_lab.clip.batch import CompositionSampler, Key
from sed_lab.clip.compose import by_class, whole_subsets
from sed_lab.errors import InputError
from sed_lab.types import Clip

CLASSES = ("cry", "glass", "shot")
COUNTS = {"cry": 9, "glass": 8, "shot": 11}


class Listed:
    """A subset of clips that are never loaded."""

    def __init__(self, clips: list[Clip]) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def load(self, index: int, epoch: int) -> tuple[Clip, np.ndarray]:
        raise AssertionError


def subsets() -> dict[str, Listed]:
    about = [label for label, count in COUNTS.items() for _ in range(count)]
    np.random.default_rng(0).shuffle(about)
    mixtures = [Clip(f"m{i}", Path(f"m{i}.wav"), 30.0, (), (), annotated=(label,)) for i, label in enumerate(about)]
    weak = [Clip(f"w{i}", Path(f"w{i}.wav"), 10.0, event_labels=("cry",)) for i in range(20)]
    return {"synthetic": Listed(mixtures), "weak": Listed(weak)}


def batches(
    clips: dict[str, int], epoch: int = 0, rank: int = 0, world: int = 1, mode: str = "smallest"
) -> list[list[Key]]:
    streams = by_class(subsets(), clips)
    sizes = {name: len(numbers) for name, (_, numbers) in streams.members.items()}
    sampler = CompositionSampler(sizes, streams.clips, 1, mode, rank, world, 1, streams.members)
    sampler.set_epoch(epoch)
    return [list(request.keys) for request in sampler]


def classes_of(keys: list[Key]) -> Counter[str]:
    clips = subsets()["synthetic"].clips
    return Counter(str((clips[key.index].annotated or ("",))[0]) for key in keys if key.subset == "synthetic")


@pytest.mark.parametrize("mode", ["smallest", "all"])
def test_every_batch_holds_equally_many_clips_of_each_class(mode: str) -> None:
    for epoch in range(3):
        for keys in batches({"synthetic": 6, "weak": 2}, epoch, mode=mode):
            assert classes_of(keys) == dict.fromkeys(CLASSES, 2)
            assert sum(key.subset == "weak" for key in keys) == 2


def test_an_epoch_repeats_no_clip_and_another_has_another_order() -> None:
    first, again, other = (batches({"synthetic": 3}, epoch) for epoch in (0, 0, 1))
    assert first == again
    assert len(first) == 8  # as many as the smallest class has
    seen = [key.index for keys in first for key in keys]
    assert len(seen) == len(set(seen)) == 24
    assert seen != [key.index for keys in other for key in keys]
    # Orders of classes are drawn apart: their clips do not go hand in hand from epoch to epoch.
    place = {
        label: [i for i, clip in enumerate(subsets()["synthetic"].clips) if clip.annotated == (label,)]
        for label in CLASSES
    }
    order = [
        [place[label].index(key.index) for keys in first for key in keys if key.index in place[label]]
        for label in CLASSES
    ]
    assert order[0] != order[1]


@pytest.mark.parametrize("world", [2, 3, 6])
def test_ranks_share_the_same_global_batch(world: int) -> None:
    whole = batches({"synthetic": 6})
    parts = [batches({"synthetic": 6}, rank=rank, world=world) for rank in range(world)]
    for step, keys in enumerate(whole):
        dealt = [key for part in parts for key in part[step]]
        assert sorted(key.index for key in dealt) == sorted(key.index for key in keys)
        assert {len(part[step]) for part in parts} == {6 // world}


def test_clips_about_all_classes_stay_whole_and_what_cannot_be_is_refused() -> None:
    assert by_class(subsets(), {"weak": 4}).clips == whole_subsets(subsets(), {"weak": 4}).clips == {"weak": 4}
    with pytest.raises(InputError, match=r"batch.clips.synthetic=4 cannot hold equally many clips of .*multiple of 3"):
        by_class(subsets(), {"synthetic": 4})
    with pytest.raises(InputError, match=r"batch.clips.synthetic=27 takes 9 clips of glass, but the dataset has 8"):
        by_class(subsets(), {"synthetic": 27})
