"""Batches that hold equally many clips of every class, where each clip is about one class only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sed_lab.errors import InputError
from sed_lab.types import Subset


class Streams(NamedTuple):
    """What a batch is composed of: so many ``clips`` of each stream, each with its ``members``.

    A stream is a subset, or the part of one that is about a class: the subset's name and clip numbers ``[n]``.
    """

    clips: dict[str, int]
    members: dict[str, tuple[str, np.ndarray]]


def whole_subsets(subsets: Mapping[str, Subset], clips: Mapping[str, int]) -> Streams:
    """A stream for every subset."""
    known = {name: (name, np.arange(len(subset))) for name, subset in subsets.items()}
    return Streams(dict(clips), known)


def by_class(subsets: Mapping[str, Subset], clips: Mapping[str, int]) -> Streams:
    """A stream for each of the classes that a subset's clips are annotated for, with an equal share of its clips.

    A subset whose clips are about all classes stays whole.

    Raises:
        InputError: a subset's number of clips cannot be shared out equally, or a class has fewer clips than its share.
    """
    found = whole_subsets(subsets, {})
    for name, count in clips.items():
        about = [clip.annotated for clip in subsets[name].clips] if count and name in subsets else []
        groups = list(dict.fromkeys(about))
        if len(groups) < 2:
            found.clips[name] = count
            continue
        words = [" and ".join(group or ("all",)) for group in groups]
        if count % len(groups):
            raise InputError(
                f"batch.clips.{name}={count} cannot hold equally many clips of {', '.join(words)}; set it to a multiple"
                f" of {len(groups)}, or batch.per_class=false"
            )
        for number, (group, word) in enumerate(zip(groups, words, strict=True)):
            members = np.array([index for index, one in enumerate(about) if one == group])
            if len(members) < count // len(groups):
                raise InputError(
                    f"batch.clips.{name}={count} takes {count // len(groups)} clips of {word}, but the dataset has"
                    f" {len(members)}; set a smaller number"
                )
            stream = f"{number} {name}"  # an order is drawn from a stream's first letters
            found.clips[stream] = count // len(groups)
            found.members[stream] = (name, members)
    return found
