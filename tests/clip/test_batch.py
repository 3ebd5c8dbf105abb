"""Batch composition: every clip once, ranks disjoint, the same global batch however it is divided."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sed_lab.clip.batch import CompositionSampler, CorpusLoader, Key, Request, evaluation_requests
from sed_lab.errors import InputError
from sed_lab.types import Clip, Event

SIZES = {"synthetic": 50, "weak": 23, "unlabelled": 61}
CLIPS = {"synthetic": 4, "weak": 3, "unlabelled": 5}


def keys(sampler: CompositionSampler) -> list[list[Key]]:
    return [list(request.keys) for request in sampler]


def test_steps_follow_the_smallest_subset() -> None:
    # DCASE 2021: min(10000 // 12, 1420 // 12, 14412 // 24) = 118
    sampler = CompositionSampler(
        {"synthetic": 10000, "weak": 1420, "unlabelled": 14412},
        {"synthetic": 12, "weak": 12, "unlabelled": 24},
        seed=42,
    )
    assert len(sampler) == 118


def test_one_epoch_repeats_no_clip_and_differs_from_the_next() -> None:
    sampler = CompositionSampler(SIZES, CLIPS, seed=1)
    first = [(k.subset, k.index) for batch in keys(sampler) for k in batch]
    assert len(first) == len(set(first)) == 7 * 12
    assert [(k.subset, k.index) for batch in keys(sampler) for k in batch] == first
    sampler.set_epoch(1)
    assert [(k.subset, k.index) for batch in keys(sampler) for k in batch] != first


def test_seed_changes_the_order() -> None:
    assert keys(CompositionSampler(SIZES, CLIPS, seed=1)) != keys(CompositionSampler(SIZES, CLIPS, seed=2))


def test_mode_all_ends_with_the_larger_subset_once_through() -> None:
    # Huang et al. 2021: 6373 synthetic and 1578 weak clips, 32 of each: 199 steps, the weak ones four times through
    sampler = CompositionSampler({"synthetic": 6373, "weak": 1578}, {"synthetic": 32, "weak": 32}, seed=3, epoch="all")
    assert len(sampler) == 6373 // 32 == 199
    times: dict[int, int] = {}
    passes = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = keys(sampler)
        assert all(len({(k.subset, k.index) for k in batch}) == 64 for batch in batches)  # none twice in a batch
        synthetic = [k.index for batch in batches for k in batch if k.subset == "synthetic"]
        assert len(set(synthetic)) == len(synthetic) == 199 * 32
        weak = [k for batch in batches for k in batch if k.subset == "weak"]
        passes += [k.epoch for k in weak]
        for key in weak:
            times[key.index] = times.get(key.index, 0) + 1
    # 398 batches of 49 a pass: the second epoch goes on in the fifth pass where the first one stopped
    assert passes == [i // 49 for i in range(398) for _ in range(32)]
    assert min(times.values()) >= 6
    assert max(times.values()) <= 9


def test_the_next_pass_is_another_permutation() -> None:
    sampler = CompositionSampler({"weak": 12, "synthetic": 60}, {"weak": 3, "synthetic": 3}, seed=0, epoch="all")
    weak = [k.index for batch in keys(sampler) for k in batch if k.subset == "weak"]
    turns = [weak[i : i + 12] for i in range(0, 60, 12)]
    assert all(sorted(turn) == list(range(12)) for turn in turns)
    assert len({tuple(turn) for turn in turns}) == 5


@given(
    world=st.integers(1, 5),
    accumulate=st.integers(1, 2),
    epoch=st.integers(0, 3),
    mode=st.sampled_from(["smallest", "all"]),
)
def test_parts_make_up_the_undivided_batch(world: int, accumulate: int, epoch: int, mode: str) -> None:
    whole = CompositionSampler(SIZES, CLIPS, seed=5, epoch=mode)
    whole.set_epoch(epoch)
    expected = [sorted((k.subset, k.index) for k in batch) for batch in keys(whole)]
    parts = []
    for rank in range(world):
        sampler = CompositionSampler(SIZES, CLIPS, 5, mode, rank, world, accumulate)
        sampler.set_epoch(epoch)
        parts.append(keys(sampler))
        assert len(parts[-1]) == len(sampler) == len(whole) * accumulate
    for step, batch in enumerate(expected):
        pieces = [parts[rank][step * accumulate + micro] for micro in range(accumulate) for rank in range(world)]
        assert sorted((k.subset, k.index) for piece in pieces for k in piece) == batch
        sizes = [len(piece) for piece in pieces]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ({"synthetic": 51}, r"batch.clips.synthetic=51, but the dataset has 50 synthetic clips; set it to at most 50$"),
        ({"strong": 1}, r"batch.clips.strong=1, but the dataset has 0 strong clips; set batch.clips.strong=0 or use"),
        ({"synthetic": 0}, "asks for no clip at all"),
    ],
)
def test_bad_composition_is_refused(clips: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CompositionSampler(SIZES, clips, seed=0)
    with pytest.raises(InputError, match="epoch='longest' is unknown"):
        CompositionSampler(SIZES, CLIPS, seed=0, epoch="longest")
    with pytest.raises(InputError, match="too few for 8 devices x 2 passes"):
        CompositionSampler(SIZES, CLIPS, seed=0, world=8, accumulate=2)


@given(size=st.integers(0, 40), batch=st.integers(1, 9), world=st.integers(1, 4))
def test_evaluation_sees_every_clip_once(size: int, batch: int, world: int) -> None:
    seen = [
        k.index for rank in range(world) for r in evaluation_requests("test", size, batch, rank, world) for k in r.keys
    ]
    assert sorted(seen) == list(range(size))


class Made:
    """A subset of made clips: audio is the clip's number."""

    def __init__(self, clips: list[Clip]) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def load(self, index: int, epoch: int) -> tuple[Clip, np.ndarray]:
        return self.clips[index], np.full(16, index, np.float32)


def made_loader() -> CorpusLoader:
    strong = [
        Clip(f"s{i}", Path(f"s{i}.wav"), 1.0, events=(Event(0.1, 0.25, "b"),), event_labels=("b",), synthetic=True)
        for i in range(4)
    ]
    weak = [Clip(f"w{i}", Path(f"w{i}.wav"), 0.5, event_labels=("a", "c")) for i in range(4)]
    bare = [Clip(f"u{i}", Path(f"u{i}.wav"), 1.0) for i in range(8)]
    return CorpusLoader(
        {"synthetic": Made(strong), "weak": Made(weak), "unlabelled": Made(bare)}, ("a", "b", "c"), 10, 0.1
    )


def test_batch_targets_and_masks() -> None:
    batch = made_loader()[Request((Key("synthetic", 1, 0), Key("weak", 2, 0), Key("unlabelled", 3, 0)))]
    assert batch.clip_id == ["s1", "w2", "u3"]
    assert batch.strong[0, :, 1].tolist() == [0, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert batch.strong.sum() == 2
    assert batch.weak.tolist() == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert batch.has_strong.tolist() == [True, False, False]
    assert batch.has_weak.tolist() == [False, True, False]
    assert batch.synthetic.tolist() == [True, False, False]
    assert batch.valid_frames.tolist() == [10, 5, 10]
    assert torch.equal(batch.audio[:, 0], torch.tensor([1.0, 2.0, 3.0]))


def test_shares_turn_part_means_into_the_global_mean() -> None:
    loader = made_loader()
    clips = {"synthetic": 3, "weak": 2, "unlabelled": 4}
    sizes = {"synthetic": 4, "weak": 4, "unlabelled": 8}
    whole, _ = loader[next(iter(CompositionSampler(sizes, clips, seed=0)))]
    parts = [loader[next(iter(CompositionSampler(sizes, clips, seed=0, rank=rank, world=2)))] for rank in range(2)]
    for share, mask in (("strong", "has_strong"), ("weak", "has_weak")):
        expected = whole.audio[getattr(whole, mask), 0].mean()
        terms = [p.audio[getattr(p, mask), 0].mean() * getattr(s, share) for p, s in parts if getattr(p, mask).any()]
        assert torch.stack(terms).sum() / 2 == pytest.approx(float(expected))
    assert sum(s.all * p.audio[:, 0].mean() for p, s in parts) / 2 == pytest.approx(float(whole.audio[:, 0].mean()))
