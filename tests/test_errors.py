"""How a command ends that is asked to: tidied up, with one line, and with the signal's number in its exit code."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Writes a file that is not whole yet, and is slow to tidy up.
COMMAND = """\
import sys, time
from pathlib import Path
from sed_lab.errors import run_command
from sed_lab.files import replacing

def work():
    with replacing(Path(sys.argv[1])) as beside:
        beside.write_text("half")
        try:
            print("at work", flush=True)
            time.sleep(60)
        finally:
            print("tidying up", flush=True)
            time.sleep(0.3)

run_command(work)
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGUSR2, 140), (signal.SIGINT, 130)]
)
def test_a_command_that_is_asked_to_end_leaves_nothing_half_written(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # what is ignored here would be ignored there
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(tmp_path / "file")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, ours)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(number)
    assert process.stdout.readline() == "tidying up\n"
    if number != signal.SIGINT:
        process.send_signal(signal.SIGTERM)  # clusters send more than one
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert error == "interrupted: finished files are kept, unfinished ones were not put in place\n"
    assert list(tmp_path.iterdir()) == []
