"""On a real SLURM: a sweep of jobs with two tasks each, a job whose machine is taken away, two nodes with torchrun.

``make test-cluster`` runs them, as root, with Debian's slurm-wlm and munge; elsewhere they are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sed_lab.files import read_json
from tests.cluster.daemons import absent, cluster

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(absent()), reason=absent())]

TOY = [
    "--config-name", "arora2019", "dataset=toy_points", "feature=point", "model=clip_lstm", "model.n_units=3",
    "batch.clips.weak=64", "method.embedding_epochs=[1,1]", "method.centroid_epochs=1", "metric.bootstrap=20",
    "report.figures=false", "report.page=false",
]  # fmt: skip
LONG = [*TOY, "method.detector_epochs=40", "method.patience=40"]
SLURM = ["trainer=slurm", "trainer.accelerator=cpu", "trainer.devices=2"]
SECONDS = 900  # a busy machine loads PyTorch for minutes


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run with `LONG`, by two processes of this machine."""
    place = tmp_path_factory.mktemp("whole")
    words = [*LONG, "trainer=ddp_cpu", "trainer.devices=2"]
    done = subprocess.run(
        [sys.executable, "-m", "sed_lab.train", *words], cwd=place, env=settings(place), timeout=SECONDS, check=True
    )
    assert done.returncode == 0
    return only_run(place)


def settings(place: Path, environment: dict[str, str] | None = None) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {"SED_LAB_RUNS": str(place / "runs"), "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return {**os.environ, **(environment or {}), **own}


def only_run(place: Path) -> Path:
    (folder,) = (path.parent for path in (place / "runs").glob("*/run.json"))
    assert read_json(folder / "run.json")["status"] == "complete"
    return folder


def same(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, bit for bit, and the same numbers."""
    a, b = (torch.load(path / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for path in (one, other))
    numbers = [read_json(path / "metrics.json")["systems"] for path in (one, other)]
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) and numbers[0] == numbers[1]


def test_a_sweep_of_four_jobs_with_two_tasks_each(tmp_path: Path, slurm: dict[str, str]) -> None:
    launcher = ["hydra/launcher=submitit_slurm", "hydra.launcher.tasks_per_node=2", "hydra.launcher.partition=low"]
    done = subprocess.run(
        [sys.executable, "-m", "sed_lab.train", "-m", *TOY, "method.detector_epochs=1", *SLURM, *launcher,
         "seed=0,1,2,3"],
        cwd=tmp_path, env=settings(tmp_path, slurm), capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = [read_json(path) for path in sorted((tmp_path / "runs").glob("*/run.json"))]
    assert [(record["status"], record["seed"]) for record in records] == [("complete", seed) for seed in range(4)]
    assert "4 done, 0 failed, 0 missing" in done.stderr
    outputs = [path.read_text() for path in (tmp_path / "runs").glob("*/output.log")]
    assert all("over 2 devices x 1 passes" in output for output in outputs)


def test_a_job_whose_machine_is_taken_is_queued_again_and_ends_as_an_uninterrupted_one(
    tmp_path: Path, slurm: dict[str, str], uninterrupted: Path
) -> None:
    environment, output = settings(tmp_path, slurm), tmp_path / "output"
    words = " ".join(f"'{word}'" for word in [sys.executable, "-m", "sed_lab.train", *LONG, *SLURM])
    job = submit(
        environment, tmp_path, "low", ["--requeue", "--open-mode=append", f"--output={output}"], f"srun {words}"
    )
    until(lambda: output.exists() and "epoch 5/" in output.read_text())
    submit(environment, tmp_path, "high", ["--output=/dev/null"], "sleep 2", tasks=4)
    until(lambda: f"{job} PENDING" in queued(environment) or output.read_text().count("global batch") == 2)
    until(lambda: str(job) not in queued(environment))
    said = output.read_text()
    assert said.count("global batch") == 2, said  # it was begun twice
    assert said.count("epoch 4/") == 1, said  # and the second time went on where the first one was
    assert same(only_run(tmp_path), uninterrupted)


def submit(
    environment: dict[str, str], place: Path, partition: str, more: list[str], command: str, tasks: int = 2
) -> int:
    done = subprocess.run(
        ["sbatch", "--parsable", f"--partition={partition}", f"--ntasks-per-node={tasks}", "--nodes=1", *more,
         f"--wrap={command}"],
        cwd=place, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout)


def queued(environment: dict[str, str]) -> str:
    return subprocess.run(
        ["squeue", "-h", "-o", "%i %T"], env=environment, capture_output=True, text=True, check=True
    ).stdout


def until(what: object) -> None:
    end = time.monotonic() + SECONDS
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.3)


@pytest.fixture
def nodes() -> Iterator[list[str]]:
    """Two machines as network namespaces with a cable between them; their names."""
    if shutil.which("ip") is None:
        pytest.skip("needs iproute2")
    names = [f"sed_lab{os.getpid()}{end}" for end in "ab"]
    ends = [f"sed{os.getpid()}{end}" for end in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for number, (name, end) in enumerate(zip(names, ends, strict=True), 1):
            ip("link", "set", end, "netns", name, "name", "cable")
            ip("-n", name, "address", "add", f"10.213.7.{number}/24", "dev", "cable")
            for device in ("cable", "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def test_two_nodes_with_torchrun_train_what_one_machine_does(
    tmp_path: Path, nodes: list[str], uninterrupted: Path
) -> None:
    started = []
    for number, name in enumerate(nodes):
        command = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", "--nnodes=2"]
        command += [f"--node-rank={number}", "--master-addr=10.213.7.1", "--master-port=29531", "--nproc-per-node=1"]
        command += ["-m", "sed_lab.train", *LONG, "trainer=ddp_cpu", "trainer.devices=1", "trainer.num_nodes=2"]
        environment = {**settings(tmp_path), "GLOO_SOCKET_IFNAME": "cable", "TP_SOCKET_IFNAME": "cable"}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment))
    try:
        assert [process.wait(SECONDS) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
    assert same(only_run(tmp_path), uninterrupted)
