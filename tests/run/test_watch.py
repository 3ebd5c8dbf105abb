"""What the files of runs say of how far they are: half-written ones, shares and ends worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from sed_lab.files import write_json
from sed_lab.run.sweep import LEFT
from sed_lab.run.watch import Watched, all_left, look, percent, run_left, run_seconds, settle, share


def made(top: Path, rows: str = "aabb", stated: float | None = None) -> list[Watched]:
    """A run for each letter, which is its row."""
    runs = []
    for number, row in enumerate(rows):
        (top / f"{row}{number}").mkdir(parents=True, exist_ok=True)
        runs.append(Watched(row, number, top / f"{row}{number}", stated))
    return runs


def note(top: Path, number: int, status: str, reason: str = "") -> None:
    (top / ".sweep-77").mkdir(exist_ok=True)
    write_json(top / f".sweep-77/{number}.json", {"job": number, "status": status, "reason": reason})


def write(run: Watched, text: str) -> None:
    with (run.folder / "output.log").open("a") as file:
        file.write(text)


def set_to(run: Watched, status: str, **values: float) -> None:
    run.status = status
    for name, value in values.items():
        setattr(run, name, value)


def test_of_a_log_whole_lines_of_this_try_count(tmp_path: Path) -> None:
    write(made(tmp_path, "a")[0], "epoch 9/20  train/loss 0.9000  1.00 batches/s  11 s left\nepoch 10/20  train/lo")
    (run,) = made(tmp_path, "a")
    assert look([run], tmp_path, 100.0) == []  # no job has begun
    note(tmp_path, 0, "running")
    assert look([run], tmp_path, 101.0) == [run]
    assert (run.status, run.epoch, run.started) == ("running", 0, 101.0)
    write(run, "warning: 3 s left\nepoch 1/20  train/loss 0.2202  5.96 batches/s  42")
    assert look([run], tmp_path, 110.0) == []
    assert run.epoch == 0
    write(run, "2 s left\nepoch 2/20  train/loss 0.1000  val/objective 0.3  6.0 batches/s  at most 400 s left\nepo")
    look([run], tmp_path, 120.0)
    assert (run.first, run.epoch, run.epochs, run.loss, run.left, run.told) == (1, 2, 20, "0.1000", 400.0, 120.0)
    write(run, "ch 3/20  6.0 batches/s  380 s left\n")  # its loss was not finite
    look([run], tmp_path, 140.0)
    assert (run.first, run.epoch, run.loss, run.left, run.told) == (1, 3, "", 380.0, 140.0)
    (run.folder / "output.log").write_text("epoch 4/20  train/loss 0.5000  6.0 batches/s  9 s left\n")  # a shorter file
    look([run], tmp_path, 150.0)
    assert (run.epoch, run.loss) == (4, "0.5000")
    (run.folder / "output.log").unlink()
    assert look([run], tmp_path, 160.0) == []
    assert run.epoch == 4


def test_half_written_notes_change_nothing(tmp_path: Path) -> None:
    runs = made(tmp_path, "ab")
    note(tmp_path, 0, "running")
    (tmp_path / ".sweep-77/1.json").write_text('{"job": 1, "sta')
    (tmp_path / ".sweep-77/.1.json.99.part.json").write_text('{"job": 1')
    assert look(runs, tmp_path, 5.0) == [runs[0]]
    assert [run.status for run in runs] == ["running", "waiting"]
    note(tmp_path, 0, "failed", "no memory left")
    note(tmp_path, 1, "done")
    assert look(runs, tmp_path, 9.0) == runs
    assert [(run.status, run.reason, run.ended) for run in runs] == [
        ("failed", "no memory left", 9.0),
        ("done", "", 9.0),
    ]
    assert look(runs, tmp_path, 10.0) == []


def test_what_has_no_end_is_missing(tmp_path: Path) -> None:
    runs = made(tmp_path, "abc")
    note(tmp_path, 0, "done")
    note(tmp_path, 1, "running")
    write(runs[1], "epoch 1/20\nnumpy: cannot allocate 4 GiB\n")
    look(runs, tmp_path, 5.0)
    assert settle(runs, 7.0) == runs[1:]
    assert [run.status for run in runs] == ["done", "missing", "missing"]
    assert runs[1].reason == "killed, the last line of its output.log: numpy: cannot allocate 4 GiB"
    assert runs[2].reason == "never started"


def test_the_share_counts_epochs(tmp_path: Path) -> None:
    runs = made(tmp_path, "abcdefg")
    assert share(runs) == 0.0
    for run, status in zip(runs, ("done", "failed", "running", "running", "waiting", LEFT, "missing"), strict=True):
        run.status = status
    runs[2].epoch, runs[2].epochs = 15, 60
    # six runs count, of which three ended, one is a quarter through, one has told nothing, one waits
    assert share(runs) == pytest.approx(3.25 / 6)
    assert share(runs, before=4) == pytest.approx(7.25 / 10)
    runs[2].epoch = 9
    assert percent(runs[2:3]) == 15
    runs[2].epoch, runs[2].epochs = 29, 100
    assert percent(runs[2:3]) == 29  # 100 * 0.29 is 28.999999999999996


def test_a_run_that_trains_ends_as_it_says_and_after_what_follows_training(tmp_path: Path) -> None:
    runs = made(tmp_path, "aaab")
    set_to(runs[0], "running", started=1000.0, first=1, epoch=5, epochs=60, left=422.0, told=1100.0)
    assert run_left(runs[0], runs, 1110.0) == 412.0
    set_to(runs[1], "done", started=500.0, told=900.0, ended=930.0, first=1, epoch=60, epochs=60)
    set_to(runs[2], "done", started=500.0, told=950.0, ended=960.0, first=1, epoch=60, epochs=60)
    assert run_left(runs[0], runs, 1110.0) == 412.0 + 20.0  # tests took 30 and 10 s
    set_to(runs[3], "running", started=1000.0)
    assert run_left(runs[3], runs, 1110.0) == 460.0 - 110.0  # 430, 460 and 522 s are known of others
    assert run_left(runs[3], runs, 9999.0) == 0.0


def test_what_a_run_takes_is_learned_from_its_row_then_from_others(tmp_path: Path) -> None:
    runs = made(tmp_path, "aaabbc")
    runs[3].stated = runs[4].stated = 100.0
    assert run_seconds(runs[0], runs, 0.0) is None
    assert run_seconds(runs[4], runs, 0.0) == 100.0
    set_to(runs[3], "running", started=1000.0, first=1, epoch=2, epochs=8, left=180.0, told=1050.0)
    assert run_seconds(runs[4], runs, 1060.0) == 230.0  # of its row, by that run's own estimate
    assert run_seconds(runs[4], runs, 1300.0) == 300.0  # which it has outlived
    assert run_seconds(runs[0], runs, 1060.0) == 230.0  # nothing else is known
    runs[5].stated = 40.0
    assert run_seconds(runs[5], runs, 1060.0) == pytest.approx(40 * 2.3)  # runs take 2.3 times what was stated
    set_to(runs[0], "done", started=0.0, ended=50.0, first=1)
    set_to(runs[1], "done", started=0.0, ended=7.0, first=40)  # went on from an earlier try
    assert run_seconds(runs[2], runs, 1060.0) == 50.0


def test_the_end_of_all_is_that_of_the_last(tmp_path: Path) -> None:
    runs = made(tmp_path, "aaaaa")
    assert all_left(runs, 0.0, 2) is None
    set_to(runs[0], "running", started=0.0, first=1, epoch=1, epochs=2, left=30.0, told=50.0)
    set_to(runs[1], "running", started=0.0, first=1, epoch=1, epochs=2, left=70.0, told=50.0)
    # By their own estimates runs take 80 and 120 s, so 100. Two side by side are free after 30 and 70 s: the third run
    # ends after 130, the fourth after 170, the fifth after 230.
    assert all_left(runs, 50.0, 2) == 230.0
    assert all_left(runs, 50.0, 5) == 100.0  # three have been beside them
    for run in runs:
        run.stated = 60.0
    # the third would end after 30 + 60 by its plan, the fourth after 70 + 60, which is too late; so the fifth
    assert all_left(runs, 50.0, 2, end=50.0 + 100.0) == 130.0
    for run in runs:
        run.status = "done"
    assert all_left(runs, 50.0, 2) == 0.0
