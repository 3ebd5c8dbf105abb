"""What a user sees while runs train, from a multirun that only pretends: plain lines, and a terminal's."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from sed_lab.run import show
from sed_lab.run.show import Lines, all_in_words, picture, run_shown, status_in_words
from sed_lab.run.sweep import LEFT
from sed_lab.run.watch import Watched

ROOT = Path(__file__).resolve().parents[2]
# Two runs side by side: one trains three epochs, the other fails in colour; a third is never started.
PRETENDED = """\
import json, pathlib, sys, time
top, code = pathlib.Path(sys.argv[1]), int(sys.argv[2])
notes = top / ".sweep-5"
notes.mkdir()
def note(number, status, reason=""):
    part = notes / f".{number}.part"
    part.write_text(json.dumps({"status": status, "reason": reason}))
    part.replace(notes / f"{number}.json")
def until_shown():
    first = int((top / "looked").read_text() or 0)
    while int((top / "looked").read_text() or first) < first + 3:
        time.sleep(0.01)
note(0, "running")
note(1, "running")
for epoch in (1, 2, 3):
    with (top / "a/output.log").open("a") as log:
        print(f"epoch {epoch}/3  train/loss 0.{epoch}000  5.96 batches/s  {90 - 30 * epoch} s left", file=log)
    until_shown()
note(1, "failed", "\\x1b[31mno memory\\r left\\x1b[0m")
print("the launcher says this", flush=True)
print("and this is wrong", file=sys.stderr, flush=True)
note(0, "done")
sys.exit(code)
"""


LOOK = show.look


def look_and_count(runs: list[Watched], place: Path, now: float) -> list[Watched]:
    """Look, and let the pretended multirun know."""
    changed = LOOK(runs, place, now)
    count = int((place / "looked").read_text())
    (place / ".looked").write_text(str(count + 1))
    (place / ".looked").replace(place / "looked")
    return changed


def made(top: Path) -> list[Watched]:
    for name in "abc":
        (top / name).mkdir()
    (top / "looked").write_text("0")
    return [Watched(f"row_{name}", 0, top / name, None) for name in "abc"]


def test_without_a_terminal_plain_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(show, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(show, "look", look_and_count)
    monkeypatch.setenv("FORCE_COLOR", "1")
    command = [sys.executable, "-c", PRETENDED, str(tmp_path), "3"]
    assert run_shown(command, os.environ, made(tmp_path), 1, tmp_path, None) == 3
    out, err = capfd.readouterr()
    assert all(c.isprintable() or c == "\n" for c in out + err)
    lines = [re.sub(r"in \d s$|ends .*", "", line) for line in out.splitlines()]
    assert lines[:2] == ["row_a seed 0 started", "row_b seed 0 started"]
    assert lines[2].startswith("1 of 4 runs done, 33 %, about ")
    assert lines[3:] == ["the launcher says this", "row_a seed 0 done ", "1 done, 1 failed, 1 missing, "]
    assert err.splitlines() == [
        "and this is wrong",
        f"row_b seed 0 failed: no memory left ({tmp_path}/b/output.log)",
        f"row_c seed 0 missing: never started ({tmp_path}/c/output.log)",
    ]


def test_what_starts_nothing_is_not_told_of(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('error: bad words')"]
    assert run_shown(command, os.environ, made(tmp_path), 0, tmp_path, None) == 1
    assert capfd.readouterr() == ("", "error: bad words\n")


def test_an_interruption_ends_the_multirun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "POLL_SECONDS", 0.02)
    begun: list[subprocess.Popen[bytes]] = []
    started = subprocess.Popen

    def start(*args: object, **kwargs: object) -> subprocess.Popen[bytes]:
        begun.append(started(*args, **kwargs))  # type: ignore[call-overload]
        return begun[-1]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(show, "look", stop)
    with pytest.raises(KeyboardInterrupt):
        run_shown([sys.executable, "-c", "import time; time.sleep(60)"], os.environ, made(tmp_path), 0, tmp_path, None)
    assert [process.returncode for process in begun] == [-9]


def test_on_a_terminal_lines_change_and_what_the_multirun_prints_stays(tmp_path: Path) -> None:
    made(tmp_path)
    code = f"""\
import os, sys
from pathlib import Path
from tests.run.test_show import look_and_count, show, Watched
top = Path({str(tmp_path)!r})
show.POLL_SECONDS, show.look = 0.02, look_and_count
runs = [Watched("row_" + name, 0, top / name, None) for name in "abc"]
sys.exit(show.run_shown([sys.executable, "-c", {PRETENDED!r}, str(top), "3"], os.environ, runs, 1, top, None))
"""
    main, end = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "90", "LINES": "20"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=end, stdout=end, stderr=end, env=env)
    os.close(end)
    said = b""
    while True:
        try:
            said += os.read(main, 65536)
        except OSError:  # it has ended
            break
    os.close(main)
    assert process.wait(30) == 3
    text = said.decode()
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is there again
    assert "\x1b[1A\x1b[2K" in text  # lines are replaced
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(r"row_a seed 0 +epoch 2/3 +loss 0.2000 +30 s left", plain)
    assert re.search(r"row_b seed 0 +starts", plain)
    assert re.search(r"1 of 4 runs done, 41 %, about \d+ s left, ends \d\d:\d\d", plain)
    for line in ("the launcher says this", "and this is wrong", "1 done, 1 failed, 1 missing, in"):
        assert plain.count(line) == 1
    assert "row_b seed 0 failed: no memory left (" in plain


def test_the_picture_is_no_higher_than_the_terminal(tmp_path: Path) -> None:
    runs = [Watched("row", seed, tmp_path, None, "running") for seed in range(40)]
    for height, shown in ((50, 40), (10, 6), (4, 0)):
        console = Console(file=io.StringIO(), width=40, height=height)
        console.print(picture(runs, "40 runs " * 9, 0.0, height))
        lines = [line for line in console.file.getvalue().splitlines() if line.strip()]  # type: ignore[attr-defined]
        assert len(lines) < height
        assert sum(line.startswith("row seed") for line in lines) == shown
        assert (f"and {40 - shown} more that train" in lines) == (shown < 40)
        assert lines[-1].startswith("40 runs 40 runs")


def test_lines_on_all_runs_stand_at_tenths_and_a_minute_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Watched("row", 0, tmp_path, None, "running", epochs=100)
    lines = Lines([run], 0, None)
    said = []
    for now, epoch in ((1000, 5), (1010, 9), (1020, 10), (1030, 25), (1079, 29), (1080, 29), (1200, 29), (1300, 30)):
        run.epoch = epoch
        lines([], float(now))
        said += [now] if f" {epoch} %" in capsys.readouterr().out else []
    assert said == [1020, 1080, 1300]


def test_words_on_all_runs_and_on_one(tmp_path: Path) -> None:
    runs = [Watched("row", seed, tmp_path, None) for seed in range(5)]
    for run, status in zip(runs, ("done", "failed", LEFT, "running", "waiting"), strict=True):
        run.status = status
    runs[3].epoch, runs[3].epochs = 1, 2
    noon = datetime(2026, 3, 4, 12, 0).timestamp()
    assert all_in_words(runs, 4, None, noon) == "5 of 9 runs done, 1 failed, 1 not started, 81 %"
    assert all_in_words(runs, 4, 40 * 60.0, noon).endswith("81 %, about 40 min left, ends 12:40")
    assert all_in_words(runs, 4, 13 * 3600.0, noon).endswith("about 13.0 h left, ends Thu 05 Mar, 01:00")
    runs[0].started, runs[0].ended, runs[2].reason = 10.0, 310.0, "it would end too late"
    assert [status_in_words(runs[i]) for i in (0, 2, 3)] == [
        "row seed 0 done in 5 min", "row seed 2 not started: it would end too late", "row seed 3 started",
    ]  # fmt: skip
