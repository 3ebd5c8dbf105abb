"""Clustering as many clips as AudioSet holds, in the paper's shares of its four classes: time, and memory at most.

It is what each iteration of Arora et al. 2019 does once. Points are random unit vectors, among which there are no
clusters to find.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.bench_cluster_loss import CLIPS, E
from sed_lab.method.arora2019 import count_clusters
from sed_lab.method.cluster import cluster_classes

TIMES = 25  # the paper's clips: 1,397,500


def run(times: int = TIMES) -> dict[str, Any]:
    """Processor seconds, and the memory with the points themselves and everything loaded."""
    torch.set_num_threads(1)
    clips = [count * times for count in CLIPS]
    points = F.normalize(torch.randn(sum(clips), E, generator=torch.Generator().manual_seed(0)))
    label = torch.arange(len(clips)).repeat_interleave(torch.tensor(clips))
    counts = count_clusters(clips)
    start = time.process_time()
    cluster, _ = cluster_classes(points, label, counts)
    took = time.process_time() - start
    sizes = torch.bincount(cluster, minlength=sum(counts))
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    what = f"clustering {len(points):,} clips x {E} into {sum(counts)}, one core"
    return {
        "rows": [
            {"what": what, "ours": took, "unit": "s"},
            {"what": f"memory with the {points.nbytes / 1e9:.2f} GB of points", "ours": held, "unit": "GB", "limit": 8},
        ],
        "sizes": [int(sizes.min()), int(sizes.max())],
    }
