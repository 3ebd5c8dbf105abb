"""A SLURM of this one machine for tests: munged, slurmctld and a slurmd for each of its nodes, as root, on Debian.

Everything lies in one folder and ends with the ``with`` block; a SLURM that runs here already is left alone, since the
ports and the munge socket are others.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = {"munged": "munge", **dict.fromkeys(("slurmctld", "slurmd", "sbatch", "srun"), "slurm-wlm")}
NODES = ("first", "second")
# A node's name is an address as well, where a job's processes meet; only the daemons and their jobs know it.
KNOWING = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"']
CPUS = 4  # of each node, whatever the machine has: tests are about processes, not about their speed
CONF = """\
ClusterName=sedlab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
SlurmctldPort=26817
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmctldParameters=enable_configless
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=30
ReturnToService=2
{nodes}
PartitionName=low Nodes=first Default=YES PriorityTier=1 State=UP
PartitionName=high Nodes=first PriorityTier=10 State=UP
PartitionName=both Nodes=ALL PriorityTier=1 State=UP
"""


def absent() -> str:
    """Why there can be no SLURM here, in words; empty where there can."""
    if os.geteuid() != 0:
        return "needs root, to start munged and slurmd"
    missing = sorted({package for name, package in PROGRAMS.items() if shutil.which(name) is None})
    return f"needs {' and '.join(missing)} (Debian: apt-get install slurm-wlm munge)" if missing else ""


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which ``sbatch`` and ``srun`` find a cluster of `NODES`; its files lie in ``folder``.

    Partition ``low`` is the first node; jobs of ``high`` take it from those of ``low``, which are queued again.
    ``both`` is both nodes.

    Raises:
        RuntimeError: it does not come up; the message is the end of the daemons' logs.
    """
    host = os.uname().nodename.split(".")[0]
    for name in ("state", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir(parents=True)
    rows = (f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={26820 + i} CPUs={CPUS} RealMemory=1000"
            for i, node in enumerate(NODES))  # fmt: skip
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, folder=folder, nodes="\n".join(rows)))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munged += [f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed"]
    hosts = folder / "hosts"
    hosts.write_text(Path("/etc/hosts").read_text() + f"\n127.0.0.1 {' '.join(NODES)}\n")
    slurmds = [[*KNOWING, str(hosts), "slurmd", "-D", "-N", node] for node in NODES]
    commands = [munged, ["slurmctld", "-D"], *slurmds]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (folder / "daemons.log").open("ab") as log:
                started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            time.sleep(1)
        _wait_until_idle(folder, environment, started)
        yield environment
    finally:
        if len(started) == len(commands):
            subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True, check=False, timeout=30)
            _wait_until_free(environment)
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def _wait_until_idle(folder: Path, environment: dict[str, str], started: list[subprocess.Popen[bytes]]) -> None:
    for _ in range(60):
        if any(process.poll() is not None for process in started):
            break
        found = subprocess.run(["sinfo", "-h", "-p", "both", "-t", "idle", "-o", "%D"], env=environment,
                               capture_output=True, text=True, check=False)  # fmt: skip
        if found.stdout.strip() == str(len(NODES)):
            return
        time.sleep(1)
    logs = (path.read_text(errors="replace")[-1000:] for path in sorted(folder.glob("*.log")))
    raise RuntimeError("SLURM did not come up: " + "\n".join(logs))


def _wait_until_free(environment: dict[str, str]) -> None:
    """Until no job is left, so that the daemons end none of a job's processes too late."""
    for _ in range(40):
        left = subprocess.run(["squeue", "-h"], env=environment, capture_output=True, text=True, check=False)
        if not left.stdout.strip():
            return
        time.sleep(1)
