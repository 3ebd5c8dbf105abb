"""Processes of one run: all end when one does or their sed-train is killed, and the record has the right reason."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from sed_lab.errors import InputError
from sed_lab.files import read_json
from sed_lab.run import ranks
from sed_lab.run.process import rank

# Stands for the process of one device: it notes its number, says what it is told to, and then does what it is told to.
ACTOR = """\
#!{python}
import json, os, pathlib, signal, sys, time
folder, number = pathlib.Path({folder!r}), os.environ["LOCAL_RANK"]
(folder / f".pid{{number}}").write_text(str(os.getpid()))
(folder / f".pid{{number}}").rename(folder / f"pid{{number}}")
while len(list(folder.glob("pid*"))) < int(os.environ["WORLD_SIZE"]):
    time.sleep(0.01)
said, then = json.loads((folder / "parts.json").read_text())[int(number)]
if said:
    (folder / f".rank{{number}}.json").write_text(json.dumps({{**said, "time": time.time()}}))
if then == "waits":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
    sys.exit(0)
if then == "ends when asked":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    (folder / "listens").touch()
    time.sleep(60)
    sys.exit(0)
if isinstance(then, float):
    time.sleep(then)
elif then < 0:
    os.kill(os.getpid(), -then)
    time.sleep(60)
else:
    sys.exit(then)
"""
COMMAND = "import sys; from pathlib import Path; from sed_lab.run import ranks; sys.executable = {actor!r};\
 ranks.GRACE = 0.5; ranks.run({count}, Path({folder!r}))"
BAD = {"code": 2, "said": "a.wav is no recording", "noticed": False}
LOST = {"code": 1, "said": "RuntimeError: Connection closed by peer", "noticed": True}
HANGS = {"code": 1, "said": "RuntimeError: Timed out waiting 60000ms for recv", "noticed": True}


def start(folder: Path, *parts: tuple[object, object]) -> subprocess.Popen[str]:
    """A ``sed-train`` whose processes play these parts: what each says, and what it does then."""
    (folder / "parts.json").write_text(json.dumps(parts))
    (folder / "run.json").write_text(json.dumps({"status": "running"}))
    actor = folder / "actor"
    actor.write_text(ACTOR.format(python=sys.executable, folder=str(folder)))
    actor.chmod(0o755)
    code = COMMAND.format(actor=str(actor), count=len(parts), folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def running(folder: Path) -> list[int]:
    """The processes that are left, of those that had noted their number."""
    pids = [int(path.read_text()) for path in folder.glob("pid*")]
    return [
        pid for pid in pids if Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()
    ]


@pytest.mark.parametrize(
    ("parts", "code", "reason"),
    [
        (((LOST, 1), (BAD, 2)), 2, "a.wav is no recording"),
        (((LOST, 1), (None, -9), (LOST, 1), (None, "waits")), 1, "process 1 of 4 was killed (SIGKILL); the machine"),
        (((HANGS, 1), (None, "waits")), 1, "process 1 of 2 did not answer within trainer.strategy.timeout_minutes"),
    ],
)
def test_one_process_ends_all_and_the_record_has_its_reason(
    tmp_path: Path, parts: tuple[tuple[object, object], ...], code: int, reason: str
) -> None:
    process = start(tmp_path, *parts)
    _, error = process.communicate(timeout=60)
    record = read_json(tmp_path / "run.json")
    assert (process.returncode, record["status"]) == (code, "failed")
    assert record["reason"].startswith(reason)
    assert error == f"error: {record['reason']}\n"
    assert not running(tmp_path)
    assert not list(tmp_path.glob(".rank*"))


def end(number: int, code: int, word: dict[str, object] | None = None, at: float = 0.0) -> ranks.End:
    return ranks.End(number, code, **({"said": word["said"], "noticed": word["noticed"], "time": at} if word else {}))  # type: ignore[arg-type]


KILLED = "was killed (SIGKILL); the machine may have been out of memory"


@pytest.mark.parametrize(
    ("ends", "silent", "code", "reason"),
    [
        ([end(0, 2, BAD, 1.0), end(1, 1, LOST, 0.5)], [], 2, "a.wav is no recording"),
        ([end(0, 1, LOST, 0.5), end(1, 2, BAD, 1.0)], [], 2, "a.wav is no recording"),
        ([end(0, 2, {**BAD, "said": "later"}, 2.0), end(1, 2, BAD, 1.0)], [], 2, "a.wav is no recording"),
        ([end(0, 1, LOST), end(1, -9)], [], 1, f"process 1 of 2 {KILLED}"),
        ([end(0, -9), end(1, 1, LOST)], [], 1, f"process 0 of 2 {KILLED}"),
        ([end(0, -9), end(1, -11)], [0], 1, "process 1 of 2 was killed (SIGSEGV)"),
        ([end(0, -6), end(1, -9)], [1], 1, "process 1 of 2 did not answer within trainer.strategy.timeout_minutes"),
        ([end(0, 1, HANGS), end(1, -9), end(2, -9)], [1, 2], 1, "process 1 and 2 of 3 did not answer within"),
        ([end(0, 1, LOST), end(1, 1, LOST)], [], 1, "RuntimeError: Connection closed by peer"),
        ([end(0, 0), end(1, 3)], [], 1, "process 1 of 2 ended with code 3"),
    ],
)
def test_a_process_s_own_word_comes_first_then_a_kill_then_what_others_noticed(
    ends: list[ranks.End], silent: list[int], code: int, reason: str
) -> None:
    said, given = ranks.verdict(ends, silent)
    assert said.startswith(reason)
    assert given == code


def test_when_all_end_well_so_does_the_run(tmp_path: Path) -> None:
    process = start(tmp_path, (None, 0.2), (None, 0))
    assert (process.communicate(timeout=60)[1], process.returncode) == ("", 0)
    assert read_json(tmp_path / "run.json")["status"] == "running"  # which the first process itself makes complete


def test_processes_end_with_the_one_that_watches_them(tmp_path: Path) -> None:
    process = start(tmp_path, (None, "waits"), (None, "waits"))
    until(lambda: len(running(tmp_path)) == 2)
    time.sleep(0.1)
    process.kill()
    process.communicate()
    until(lambda: not running(tmp_path))


def test_a_signal_is_passed_on_and_a_second_one_kills(tmp_path: Path) -> None:
    process = start(tmp_path, (None, "ends when asked"), (None, "waits"))
    until(lambda: (tmp_path / "listens").exists() and len(running(tmp_path)) == 2)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    until(lambda: len(running(tmp_path)) == 1)  # it heard; the other one goes on with its step
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not running(tmp_path)
    assert read_json(tmp_path / "run.json")["reason"] == "interrupted"


def until(what: object, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("environment", "number"),
    [
        ({}, 0),
        ({"LOCAL_RANK": "1"}, 1),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, 1),
        ({"RANK": "3", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, 3),
        ({"SLURM_PROCID": "2"}, 2),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, 1),
    ],
)
def test_a_process_knows_its_number(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], number: int) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert rank() == number


@pytest.mark.parametrize(
    ("trainer", "devices", "environment", "count"),
    [
        ({"strategy": "ddp"}, 4, {}, 4),
        ({"strategy": {"_target_": "sed_lab.run.ranks.ddp", "timeout_minutes": 3}}, 4, {}, 4),
        ({"strategy": {"_target_": "other.Strategy"}}, 4, {}, 0),
        ({"strategy": "ddp"}, 1, {}, 0),
        ({"strategy": "auto"}, 2, {}, 0),
        ({"strategy": "ddp", "num_nodes": 2}, 2, {}, 0),
        ({"strategy": "ddp"}, 2, {"RANK": "0", "WORLD_SIZE": "2"}, 0),
        ({"strategy": "ddp"}, 2, {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "mine"}, 0),
        ({"strategy": "ddp"}, 2, {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "bash"}, 2),
    ],
)
def test_processes_are_started_where_no_other_program_has(
    monkeypatch: pytest.MonkeyPatch, trainer: dict[str, object], devices: int, environment: dict[str, str], count: int
) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_NTASKS", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ranks.to_start(trainer, devices) == count


@pytest.mark.parametrize(
    ("error", "code", "noticed"),
    [
        (InputError("a recv of a.wav timed out"), 2, False),  # its own, whatever words
        (RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer [127.0.0.1]:1"), 1, True),
        (ValueError("no such class"), 1, False),
    ],
)
def test_a_watched_process_leaves_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, noticed: bool
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.delenv("SED_LAB_DEBUG", raising=False)
    with pytest.raises(SystemExit) as left, ranks.telling(tmp_path):
        raise error
    word = read_json(tmp_path / ".rank1.json")
    assert (left.value.code, word["code"], word["noticed"]) == (code, code, noticed)
    assert str(error) in word["said"]


def test_a_time_limit_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"trainer\.strategy\.timeout_minutes=0: give a number of minutes above 0"):
        ranks.ddp(timeout_minutes=0)
    assert ranks.ddp(timeout_minutes=0.5)._timeout == timedelta(seconds=30)
