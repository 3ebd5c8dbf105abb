"""Scoring clips with the DCASE 2021 network, waveform to probabilities: clips per second of both sides.

python -m benchmarks.bench_inference --clips 24 --repeats 5
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.dcase2021 import PlainCRNN, PlainFrontEnd
from benchmarks.sides import both, command_line, processor, report


def plain(clips: int) -> Callable[[], object]:
    """The plain baseline: one model, evaluation mode, mel included."""
    front_end, model, audio = PlainFrontEnd(), PlainCRNN().eval(), torch.randn(clips, 160000) * 0.1

    def score() -> None:
        with torch.no_grad():
            model(front_end.log(front_end(audio)))

    return score


def ours(clips: int) -> Callable[[], object]:
    """The same by sed_lab."""
    from benchmarks.assembled import method_of
    from sed_lab.run.memory import keep_freed_memory

    keep_freed_memory()
    method, audio = method_of("dcase2021").eval(), torch.randn(clips, 160000) * 0.1
    feature, model = method.feature, method.student

    def score() -> None:
        with torch.no_grad():
            frame, clip = model(feature(audio))
            frame.sigmoid(), clip.sigmoid()

    return score


SIDES = {"plain baseline": plain, "sed_lab": ours}


def run(clips: int = 24, repeats: int = 5, threads: int = 2) -> dict[str, Any]:
    """Clips per second, both sides."""
    results = both("bench_inference", SIDES, clips, repeats, threads)
    report(results, clips)
    theirs, mine = (clips / measured["seconds"] for measured in results.values())
    what = f"inference, one model, mel included, {threads} threads{processor()}"
    return {
        "rows": [
            {"what": what, "ours": mine, "peer": theirs, "name": "plain baseline", "unit": "clips/s", "times": 2.8}
        ],
        "sides": results,
    }


if __name__ == "__main__":
    options = command_line((__doc__ or "").splitlines()[0], SIDES, clips=24, repeats=5)
    run(options.clips, options.repeats, options.threads)
