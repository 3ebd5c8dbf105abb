"""The share of a comparison's spread that is the choice of test clips, on made runs of which it is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sed_lab.experiment.reader import read_experiment
from sed_lab.experiment.table import Table, build_table
from sed_lab.files import write_json
from sed_lab.metric.groups import GROUPS, in_groups
from sed_lab.report.claim_text import evidence

SEEDS, CLIPS = 40, 100
FILE = f"""\
title: T
place: table 1
scales:
  mini: {{seeds: {[*range(SEEDS)]}}}
columns:
  f1: {{metric: model/event_f1/macro}}
  dog: {{metric: model/event_f1/per_class/Dog/f1}}
  psds: {{metric: model/psds1/exact}}
rows:
  a: {{overrides: []}}
  b: {{overrides: []}}
  c: {{overrides: []}}
  both: {{mean_of: [b, c]}}
claims:
  - {{id: 1, say: a beats b, better: a, than: b, column: f1}}
  - {{id: 2, say: a is above one half, above: a, value: 0.5, column: dog}}
  - {{id: 3, say: a beats the mean, better: a, than: both, column: f1}}
  - {{id: 4, say: a beats b, better: a, than: b, column: psds}}
  - {{id: 5, say: a beats b and c, best: a, among: [b, c], column: f1}}
  - {{id: 6, say: a gains more, gains: a, over: b, more_than_row: b, over_row: c, column: f1}}
"""


def runs(top: Path, noise: float, fingerprint: str = "{seed}", groups: bool = True) -> Table:
    """A run finds a dog in each clip with a chance that varies by ``noise`` between runs, half of them easy or hard for
    all rows alike."""
    (top / "p").mkdir(exist_ok=True)
    (top / "p/t.yaml").write_text(FILE)
    rng = np.random.default_rng(0)
    folders: dict[str, dict[int, Path]] = {row: {} for row in "abc"}
    for seed in range(SEEDS):
        common = rng.random(CLIPS)
        for row in folders:
            own = np.where(np.arange(CLIPS) % 40 < 20, common, rng.random(CLIPS))
            matched = own < 0.5 + noise * rng.standard_normal()
            folder = folders[row][seed] = top / f"{row}{seed}"
            counts = np.stack([np.ones(CLIPS), np.ones(CLIPS), matched], axis=1).reshape(-1, GROUPS, 3).sum(axis=0)
            f1 = float(matched.mean())
            block: dict[str, Any] = {"macro": f1, "per_class": {"Dog": {"f1": f1}}}
            block |= {"groups": in_groups(counts[:, None], ["Dog"])} if groups else {}
            settings = {"clips": CLIPS, "reference_events": CLIPS, "seconds": 1.0, "event_f1": {"zero_score": True}}
            systems = {"model": {"event_f1": block, "psds1": {"exact": f1}}}
            write_json(folder / "metrics.json", {"subset": "test", "settings": settings, "systems": systems})
            write_json(
                folder / "run.json", {"status": "complete", "dataset": {"fingerprint": fingerprint.format(seed=seed)}}
            )
    return build_table(read_experiment(top / "p/t.yaml").at("mini"), "mini", folders)


def shares(table: Table) -> dict[str, list[float | None]]:
    return {claim: [one.test_share for one in verdict.comparisons] for claim, verdict in table.verdicts.items()}


def test_the_share_is_what_the_runs_were_made_with(tmp_path: Path) -> None:
    # Of a difference, the clips' variance is 50 x 2 x 1/4 / 100^2 = .0025, that between runs twice the noise's.
    found = shares(runs(tmp_path, noise=0.00125**0.5))
    assert found["1"][0] == pytest.approx(0.5, abs=0.17)  # of 40 seeds; without pairing it would be 1
    # A row alone: 100 x 1/4 / 100^2 = .0025 and .00125.
    assert found["2"][0] == pytest.approx(2 / 3, abs=0.2)
    # Less a mean of two: (1 + 1/2) x 1/4 x 50 / 100^2 = .001875 and .001875.
    assert found["3"][0] == pytest.approx(0.5, abs=0.17)
    assert found["4"] == [None]
    assert found["5"][0] == found["1"][0]
    assert found["5"][1] == pytest.approx(0.5, abs=0.17)
    assert found["6"][0] == pytest.approx(0.5, abs=0.17)


def test_all_of_the_spread_or_nothing_of_it(tmp_path: Path) -> None:
    assert shares(runs(tmp_path, noise=0.0))["1"][0] == pytest.approx(0.9, abs=0.1)
    table = runs(tmp_path, noise=0.2)
    share = shares(table)["1"][0]
    assert share is not None
    assert share < 0.15
    assert f"; test clips {100 * share:.0f} % of the spread" in evidence(table.verdicts["1"])


def test_nothing_is_said_where_it_is_not_known(tmp_path: Path) -> None:
    same = shares(runs(tmp_path, noise=0.1, fingerprint="the same"))  # test clips that no seed draws are in no spread
    assert {one for found in same.values() for one in found} == {None}
    old = runs(tmp_path, noise=0.1, groups=False)
    assert {one for found in shares(old).values() for one in found} == {None}
    assert "test clips" not in evidence(old.verdicts["1"])
