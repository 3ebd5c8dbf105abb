"""What is kept of composed rows is what composing gives, and is made anew when what decides it changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sed_lab import composed
from sed_lab.run.content import content_key
from sed_lab.run.identity import run_names

ROW = ("loss=bce_clipped", "dataset.seed=${seed}")


@pytest.fixture
def again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls ``row_runs`` as a new process would, and says how many rows had to be named."""
    monkeypatch.setenv("SED_LAB_CACHE", str(tmp_path / "cache"))
    named = []

    def counted(*given: Any) -> list[str]:
        named.append(given)
        return run_names(*given)

    monkeypatch.setattr(composed, "run_names", counted)

    def call(*overrides: str, kept: dict[str, str] | None = None) -> tuple[composed.RowRuns, int]:
        for one in (composed._store, content_key):
            one.cache_clear()
        named.clear()
        found = composed.row_runs("aziz2020", overrides, (0, 1, 2), kept)
        composed._keep(composed._store(composed._cache_folder()), composed._cache_folder() / "plans.json")
        return found, len(named)

    return call


Again = Callable[..., tuple[composed.RowRuns, int]]


def test_a_second_call_names_nothing_and_says_the_same(again: Again) -> None:
    first, named = again(*ROW)
    assert (named, len(set(first.names))) == (1, 3)
    assert again(*ROW) == (first, 0)
    assert again(*ROW, "batch.clips.weak=50")[1] == 1
    assert again(*ROW) == (first, 0)  # the other one is kept beside it


def test_what_is_composed_ahead_on_several_cores_is_what_one_gives(
    again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composed, "MANY", 2)
    rows = [("aziz2020", (*ROW, f"batch.clips.weak={clips}"), (0, 1, 2), None) for clips in (20, 50)]
    wrong = ("aziz2020", ("loss=none",), (0,), None)
    first = [again(*overrides)[0] for _, overrides, *_ in rows]
    composed._store(composed._cache_folder())["rows"].clear()
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    composed.compose_ahead([*rows, wrong])
    monkeypatch.setattr(composed, "_made", None)  # what is there is not made again
    assert [composed.row_runs(*row) for row in rows] == first
    assert len(composed._store(composed._cache_folder())["rows"]) == 2


def test_another_environment_configuration_or_file_is_not_what_was_kept(
    again: Again, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again(*ROW)
    monkeypatch.setenv("SED_LAB_RUNS", str(tmp_path / "elsewhere"))
    found, named = again(*ROW)
    assert (found.runs, named) == (str(tmp_path / "elsewhere"), 1)
    (tmp_path / "cache/plans.json").write_text("{half", encoding="utf-8")
    assert again(*ROW) == (found, 1)
    real = list(composed._code())
    monkeypatch.setattr(composed, "_code", lambda: [*real, b"another line of code"])
    assert again(*ROW) == (found, 1)


def test_data_that_changed_makes_other_runs(again: Again, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_HERE", str(tmp_path / "data"))
    row = (*ROW, "dataset=audioset_embeddings", "dataset.folder=${oc.env:DATA_HERE}", "feature=vggish")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/one.tfrecord").write_bytes(b"1")
    before, _ = again(*row)
    assert again(*row) == (before, 0)
    (tmp_path / "data/two.tfrecord").write_bytes(b"2")
    after, named = again(*row)
    assert named == 1
    assert not set(after.names) & set(before.names)
    there, _ = again(*row, kept={str(tmp_path / "data"): "0123456789abcdef"})
    assert not set(there.names) & set(after.names)
