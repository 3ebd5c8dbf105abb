"""The embedded corpus of Huang et al. 2021's task: weak clips of one domain, strong ones of another; no downloads.

`sed_lab.dataset.mini_desed` with a wider gap between its domains: clips of the real one are recordings of soundscapes,
by another device in another room each. In the encoder of a baseline after 12 epochs frames of one class are more alike
within a domain than across by .21 (cosines less the common mean), where classes lie .44 apart; without recording it was
.06 where classes lay .61 apart (8 epochs; seed 0 both).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sed_lab.bank.making import marked
from sed_lab.bank.soundscape import Ingredient, Recipe
from sed_lab.clip.audio import ClipFiles
from sed_lab.dataset.mini_desed import desed_soundscapes
from sed_lab.errors import InputError
from sed_lab.types import Corpus


def mini_weak_synthetic(
    folder: Path | str,
    sizes: Mapping[str, int],
    bank_share: float,
    snr: Sequence[Any],
    real_snr: Sequence[Any],
    empty_share: float,
    sample_rate: int,
    clip_seconds: float,
    live: bool,
    recorded: bool,
    true_events: bool,
    seed: int,
) -> Corpus:
    """Soundscapes as `mini_desed`'s; with ``recorded`` the real domain's are kept as recordings of them.

    With ``true_events`` the weak clips carry their strong labels too, which no real corpus has: to see what a method
    could gain if it labelled their frames without a mistake.

    Raises:
        InputError: as `mini_desed`; ``true_events`` without weak clips.
    """
    if true_events and not sizes.get("weak"):
        raise InputError(
            "dataset.true_events=true is about weak clips, of which there are none; set dataset.sizes.weak"
        )
    given = (sizes, bank_share, snr, real_snr, empty_share, sample_rate, clip_seconds, live, seed)
    corpus = desed_soundscapes(Path(folder), "mini_weak_synthetic", *given, recorded=recorded)
    return with_true_events(corpus) if true_events else corpus


def with_true_events(corpus: Corpus) -> Corpus:
    """``corpus``, which was made, with the events of its weak clips from the recipes beside them."""
    weak = corpus.subsets["weak"]
    recipes = weak.clips[0].path.parents[3] / "recipes" / "weak.jsonl"
    events = {}
    for line in recipes.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        recipe = Recipe(**{**row, "events": tuple(Ingredient(**one) for one in row["events"])})
        events[recipe.clip_id] = recipe.labels()
    clips = [replace(clip, events=events[clip.clip_id]) for clip in weak.clips]
    strong = ClipFiles(clips, corpus.sample_rate, corpus.clip_seconds)
    return marked(replace(corpus, subsets={**corpus.subsets, "weak": strong}), "true events")
