"""Kill a random process of runs on 2 and 4 devices at random moments: ``python -m tests.slow.kill_ranks --kills 30``.

After each kill no process of the run may be left within 20 s, those that load its data included; its record must say
which one was killed, and the command must have ended with code 1. The next kill's command goes on with the run. A
moment is the processor time that the process to be killed has used, not the clock's: on a busy machine, too, half of
the kills meet a training. Not collected by pytest.
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
    "batch.clips.weak=64", "method.embedding_epochs=[1,1]", "method.centroid_epochs=1", "method.detector_epochs=4000",
    "method.patience=4000", "trainer.max_epochs=8004", "report.figures=false", "report.page=false", "trainer=ddp_cpu",
]  # fmt: skip
LEFT = 20.0  # seconds within which all must have ended
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Kill, look, and say what was found; the exit code is 1 where one kill did not end as it must."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=14.0, help="processor seconds a process is killed at, at most")
    given = parser.parse_args()
    draw, failures = random.Random(given.seed), 0
    with tempfile.TemporaryDirectory() as place:
        for number in range(given.kills):
            count = (2, 4)[number % 2]
            loading = number // 2 % 2  # processes that load the data, for each of the run's
            said = kill_one(Path(place), count, loading, draw.randrange(count), draw.uniform(0.0, given.longest))
            failures += not said.startswith("ok")
            print(f"kill {number + 1} of {given.kills} (seed {given.seed}): {said}", flush=True)
    print(f"{given.kills - failures} of {given.kills} ended as they must")
    return 1 if failures else 0


def kill_one(place: Path, count: int, loading: int, rank: int, after: float) -> str:
    """Start a run on ``count`` devices, kill process ``rank`` after so many processor seconds; what was found."""
    environment = {**os.environ, "SED_LAB_RUNS": str(place / "runs"), "SED_LAB_CACHE": str(place / "cache"),
                   "OMP_NUM_THREADS": "1"}  # fmt: skip
    command = [sys.executable, "-m", "sed_lab.train", *TOY, f"trainer.devices={count}", f"batch.workers={loading}"]
    with (place / "output").open("w") as output:
        watching = subprocess.Popen(command, env=environment, cwd=place, stdout=output, stderr=output)
        processes: dict[int, int] = {}
        while len(processes) < count or used(processes[rank]) < after:
            if watching.poll() is not None:
                return f"WRONG: it ended before: {(place / 'output').read_text()[-300:]}"
            time.sleep(0.1)
            processes = ranks_of(watching.pid)
        epoch, stamps = epochs(place, count), {path: path.stat().st_mtime_ns for path in records(place, count)}
        os.kill(processes[rank], signal.SIGKILL)
        killed = time.monotonic()
        while watching.poll() is None or of_run(place):
            if time.monotonic() - killed > LEFT:
                found = [waits(pid) for pid in of_run(place)]
                watching.kill()
                return f"WRONG: {LEFT:.0f} s after process {rank} of {count} was killed there are: {found}"
            time.sleep(0.1)
    took = time.monotonic() - killed
    reasons = [str(read_json(path).get("reason")) for path in stamps if path.stat().st_mtime_ns > stamps[path]]
    facts = f"process {rank} of {count} ({loading} loading) killed after {after:.1f} s, {epoch} epochs, all ended in"
    facts = f"{facts} {took:.1f} s, code {watching.returncode}, {reasons or 'no record yet'}"
    wanted = f"process {rank} of {count} was killed (SIGKILL)"
    told = len(reasons) == len(stamps) and all(reason.startswith(wanted) for reason in reasons)
    said = wanted in (place / "output").read_text()  # also where there is no record yet
    return f"{'ok' if watching.returncode == 1 and said and told else 'WRONG'}: {facts}"


def ranks_of(watching: int) -> dict[int, int]:
    """The processes that a ``sed-train`` watches, by their number."""
    found: dict[int, int] = {}
    for pid in Path(f"/proc/{watching}/task/{watching}/children").read_text().split():
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        found |= {int(one[11:]): int(pid) for one in variables if one.startswith(b"LOCAL_RANK=")}
    return found


def of_run(place: Path) -> list[int]:
    """Every process that runs for a command started in ``place``; not those that have ended and wait to be noticed."""
    marks, found = f"SED_LAB_RUNS={place / 'runs'}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marks in (folder / "environ").read_bytes().split(b"\0") and stat(int(folder.name))[0] != "Z":
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def records(place: Path, count: int) -> list[Path]:
    """The records of runs on so many devices."""
    return [path for path in (place / "runs").glob("*/run.json") if read_json(path)["parts"] == count]


def epochs(place: Path, count: int) -> int:
    """How many epochs of the run on so many devices are in its history."""
    histories = [path.parent / "history.csv" for path in records(place, count)]
    return sum(path.read_text().count("\n") - 1 for path in histories if path.exists())


def stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def used(pid: int) -> float:
    """The processor seconds that a process has used; 0 where it is gone."""
    try:
        return (int(stat(pid)[11]) + int(stat(pid)[12])) / TICKS
    except OSError:
        return 0.0


def waits(pid: int) -> str:
    """A process that should have ended: what it runs, its state, what it waits for, what it has used."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:60]
        return f"{pid} ({words}) {stat(pid)[0]} {Path(f'/proc/{pid}/wchan').read_text()} {used(pid):.1f} s used"
    except OSError:
        return f"{pid}, just gone"


if __name__ == "__main__":
    sys.exit(main())
