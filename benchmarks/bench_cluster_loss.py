"""One pass over I clips: the triple-header cross-entropy (forward and backward) beside finding Huang's quintuplets.

Both work on the same unit vectors and clusters, in the paper's shares of dogs, babies, gun shots and background
(K = 22), on one thread. A figure of time and of similarities against I goes to results/cluster_loss.png and .svg.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.quintuplet import quintuplets
from sed_lab.method.arora2019 import count_clusters, triple_header
from sed_lab.method.cluster import cluster_classes
from sed_lab.report.style import COLOURS, new_figure, save, styled
from sed_lab.run.memory import keep_freed_memory

CLIPS = (13500, 2300, 4100, 36000)  # dogs, babies, gun shots, background
SIZES = (2250, 4500, 9000, 18000, 36000)
E = 128
RESULTS = Path(__file__).resolve().parents[1] / "results"


def run() -> dict[str, Any]:
    """Seconds and similarities of both sides at each size, and the exponents of their growth."""
    keep_freed_memory()  # else the peer's large tensors cost page faults beside their arithmetic
    torch.set_num_threads(1)  # threads help small sizes less than large ones
    counts = count_clusters(CLIPS)
    cluster_class = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    series: dict[str, list[float]] = {"clips": [], "ours": [], "peer": []}
    for size in SIZES:
        ours, peer = sides(size, counts, cluster_class)
        series["clips"].append(size)
        series["ours"].append(seconds(ours, 20))
        series["peer"].append(seconds(peer, 1))
    exponents = {side: growth(series["clips"], series[side]) for side in ("ours", "peer")}
    save(picture(series, len(cluster_class), exponents), RESULTS / "cluster_loss.png")
    save(picture(series, len(cluster_class), exponents), RESULTS / "cluster_loss.svg")
    what = f"a pass over {SIZES[-1]} clips, K = {len(cluster_class)}, E = {E}"
    row = {"what": what, "ours": series["ours"][-1], "peer": series["peer"][-1], "unit": "s",
           "name": "finding quintuplets (Huang et al. 2016)"}  # fmt: skip
    points, label = (
        F.normalize(torch.randn(sum(CLIPS), E)),
        torch.arange(len(CLIPS)).repeat_interleave(torch.tensor(CLIPS)),
    )
    start = time.perf_counter()
    cluster_classes(points, label, counts)
    clustering = {"what": f"clustering {len(points)} clips once", "ours": time.perf_counter() - start, "unit": "s"}
    similarities = {"ours": SIZES[-1] * len(cluster_class), "peer": SIZES[-1] ** 2}
    return {"rows": [row, clustering], "series": series, "exponents": exponents, "similarities": similarities}


def sides(size: int, counts: list[int], cluster_class: torch.Tensor) -> tuple[Callable[[], None], Callable[[], None]]:
    """Our pass over so many clips, and the peer's."""
    torch.manual_seed(0)
    of_class = torch.tensor([size * clips // sum(CLIPS) + 1 for clips in CLIPS])
    label = torch.arange(len(CLIPS)).repeat_interleave(of_class)[:size]
    first = torch.tensor([0, *counts]).cumsum(0)[label]
    cluster = first + torch.arange(size) % torch.tensor(counts)[label]
    e = F.normalize(torch.randn(size, E)).requires_grad_()
    w = F.normalize(torch.randn(len(cluster_class), E)) * 10

    def ours() -> None:
        triple_header(e @ w.T, cluster, cluster_class).backward()

    def peer() -> None:
        quintuplets(e, cluster, cluster_class)

    return ours, peer


def seconds(work: Callable[[], None], repeats: int) -> float:
    """The least of so many times, after one to warm up; the larger side is not repeated."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def growth(x: list[float], y: list[float]) -> float:
    """The exponent of ``y`` in ``x``, from the larger half of the sizes."""
    half = len(x) // 2
    return float(np.polyfit(np.log(x[half:]), np.log(y[half:]), 1)[0])


@styled
def picture(series: dict[str, list[float]], clusters: int, exponents: dict[str, float]) -> Any:
    """Time and number of similarities against the number of clips."""
    x = np.array(series["clips"])
    figure = new_figure(9.0, 3.8)
    labels = {"ours": "triple-header cross-entropy", "peer": "finding quintuplets"}
    panels: dict[str, Any] = {"seconds a pass": series, "similarities a pass": {"ours": x * clusters, "peer": x**2}}
    for place, (title, values) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, 2, place)
        for colour, side in zip(COLOURS, labels, strict=False):
            power = f", power {exponents[side]:.2f}" if place == 1 else ""
            axes.loglog(x, values[side], "o-", color=colour, ms=4, label=labels[side] + power)
        axes.set(title=title, xlabel="clips")
        axes.set_xticks(x, [f"{size:,}" for size in x], minor=False)
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return figure
