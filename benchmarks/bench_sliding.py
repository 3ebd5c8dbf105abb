"""A 30 s clip through baby cry's ensemble (t5 + t9 + t50) on one thread, beside every chunk computed by itself.

Front end included on both sides; the paper's front end and network, with random weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn

from benchmarks.sides import both, command_line, report
from sed_lab.app import conf_folder
from sed_lab.method.amiriparian2018 import sliding_ensemble
from sed_lab.run.memory import keep_freed_memory

SECONDS, TIMESTEPS, AT_ONCE = 30, (5, 9, 50), 256
Score = Callable[[nn.Module, torch.Tensor, int], torch.Tensor]


def every_chunk(network: nn.Module, x: torch.Tensor, timesteps: int) -> torch.Tensor:
    """The sliding ensemble as it is written down: all chunks in batches, then the mean of each frame."""
    total, count = torch.zeros(len(x)), torch.zeros(len(x))
    chunks = x.unfold(0, timesteps, 1).transpose(1, 2)
    for first in range(0, len(chunks), AT_ONCE):
        q = network(chunks[first : first + AT_ONCE]).sigmoid()
        for k in range(timesteps):
            total[first + k : first + k + len(q)] += q[:, k]
            count[first + k : first + k + len(q)] += 1
    return total / count


def work(clips: int, score: Score) -> Callable[[], object]:
    """One repetition: so many clips, one after the other."""
    keep_freed_memory()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("amiriparian2018", overrides=["feature=standardised_mel_rare", "model=chunk_crnn"])
    feature = instantiate(cfg.feature)
    networks = {t: instantiate(cfg.model, n_mels=feature.n_mels, _convert_="all").eval() for t in TIMESTEPS}
    audio = torch.randn(clips, SECONDS * feature.sample_rate) * 0.1

    def repetition() -> None:
        with torch.inference_mode():
            for one in audio:
                x = feature(one[None])[0]
                torch.stack([score(network, x, t) for t, network in networks.items()]).mean(0)

    return repetition


def ours(clips: int) -> Callable[[], object]:
    """Convolutions shared between chunks, the LSTM through all chunks at once."""
    return work(clips, sliding_ensemble)


def plain(clips: int) -> Callable[[], object]:
    """Every chunk by itself."""
    return work(clips, every_chunk)


SIDES = {"every chunk": plain, "sed_lab": ours}


def run(clips: int = 1, repeats: int = 3, threads: int = 1) -> dict[str, Any]:
    """Seconds of a clip, both sides."""
    results = both("bench_sliding", SIDES, clips, repeats, threads)
    report(results, clips)
    theirs, mine = results.values()
    what = f"a clip of {SECONDS} s through t5 + t9 + t50, {threads} thread"
    rate = SECONDS * clips / mine["seconds"]
    return {
        "rows": [
            {"what": what, "ours": mine["seconds"], "peer": theirs["seconds"], "name": "every chunk", "unit": "s"},
            {"what": "times faster than real time", "ours": rate, "unit": "times", "better": "higher"},
        ],
        "sides": results,
    }


if __name__ == "__main__":
    options = command_line((__doc__ or "").splitlines()[0], SIDES, clips=1, repeats=3)
    run(options.clips, options.repeats, options.threads)
