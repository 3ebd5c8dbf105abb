"""Kill a random process of runs on 2 and 4 devices at random moments: ``python -m tests.slow.kill_ranks --kills 30``.

After each kill no process of the run may be left within 20 s, its record must say which one was killed, and the command
must have ended with code 1. The same command given again at the end must complete the run. Not collected by pytest.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sed_lab.files import read_json

TOY = [
    "--config-name", "arora2019", "dataset=toy_points", "feature=point", "model=clip_lstm", "model.n_units=3",
    "batch.clips.weak=64", "method.embedding_epochs=[1,1]", "method.centroid_epochs=1", "method.detector_epochs=400",
    "method.patience=400", "report.figures=false", "report.page=false", "trainer=ddp_cpu",
]  # fmt: skip
LEFT = 20.0  # seconds within which all must have ended


def main() -> int:
    """Kill, look, and say what was found; the exit code is 1 where one kill did not end as it must."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=60.0, help="seconds after which a kill comes at the latest")
    given = parser.parse_args()
    draw, failures = random.Random(given.seed), 0
    with tempfile.TemporaryDirectory() as place:
        for number in range(given.kills):
            count = (2, 4)[number % 2]
            said = kill_one(Path(place), count, draw.randrange(count), draw.uniform(0.0, given.longest))
            failures += not said.startswith("ok")
            print(f"kill {number + 1} of {given.kills} (seed {given.seed}): {said}", flush=True)
    print(f"{given.kills - failures} of {given.kills} ended as they must")
    return 1 if failures else 0


def kill_one(place: Path, count: int, rank: int, after: float) -> str:
    """Start a run on ``count`` devices, kill process ``rank`` so many seconds later; what was found, in words."""
    environment = {**os.environ, "SED_LAB_RUNS": str(place / "runs"), "SED_LAB_CACHE": str(place / "cache"),
                   "OMP_NUM_THREADS": "1"}  # fmt: skip
    command = [sys.executable, "-m", "sed_lab.train", *TOY, f"trainer.devices={count}"]
    with (place / "output").open("w") as output:
        watching = subprocess.Popen(command, env=environment, cwd=place, stdout=output, stderr=output)
        processes: dict[int, int] = {}
        while len(processes) < count:
            if watching.poll() is not None:
                return f"it did not start: {(place / 'output').read_text()[-300:]}"
            time.sleep(0.1)
            processes = ranks_of(watching.pid)
        time.sleep(after)
        os.kill(processes[rank], signal.SIGKILL)
        killed = time.monotonic()
        try:
            code = watching.wait(LEFT)
        except subprocess.TimeoutExpired:
            watching.kill()
            return f"still there {LEFT:.0f} s after process {rank} of {count} was killed"
    took = time.monotonic() - killed
    left = [pid for pid in processes.values() if alive(pid)]
    records = [read_json(path) for path in (place / "runs").glob("*/run.json")]
    reasons = {str(record.get("reason")) for record in records if record["parts"] == count}
    facts = f"process {rank} of {count} killed after {after:.1f} s, all ended in {took:.1f} s, code {code}, {reasons}"
    told = any(reason.startswith(f"process {rank} of {count} was killed (SIGKILL)") for reason in reasons)
    early = not reasons  # before there was a record, the command says it
    said = f"process {rank} of {count} was killed (SIGKILL)" in (place / "output").read_text()
    return f"{'ok' if not left and code == 1 and said and (told or early) else 'WRONG'}: {facts}"


def ranks_of(watching: int) -> dict[int, int]:
    """The processes that a ``sed-train`` watches, by their number."""
    found = {}
    for pid in Path(f"/proc/{watching}/task/{watching}/children").read_text().split():
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        found |= {int(one[11:]): int(pid) for one in variables if one.startswith(b"LOCAL_RANK=")}
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be taken note of does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
