"""Rows of all devices: processes under DDP over gloo, uneven and empty shares, and what may not be forgotten."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sed_lab.errors import InputError
from sed_lab.method.base import LossTerm, Parts, Prediction, SedMethod
from sed_lab.method.gather import gather_rows
from sed_lab.method.huang2021 import frame_norm, inter_frame_distance
from sed_lab.types import Batch, Input, Part, Shares

CLIPS, FRAMES, HIDDEN = 24, 6, 5


class Pairs(nn.Module):
    """A projection and the distance loss of all devices' clips, as WeakSynthetic has it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.projection = nn.Linear(HIDDEN, 4).double()

    def forward(self, x: Tensor, weak: Tensor, frame: Tensor, clips: int) -> Tensor:
        z = self.projection(x)
        hinge, _ = inter_frame_distance(gather_rows(z), gather_rows(weak), gather_rows(frame), 0.1, "exact", False)
        share = len(x) * (dist.get_world_size() if dist.is_initialized() else 1) / clips
        return hinge + share * frame_norm(z)


def clips() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(CLIPS, FRAMES, HIDDEN, generator=generator, dtype=torch.float64)
    weak = nn.functional.one_hot(torch.arange(CLIPS) % 3, 3).double()
    frame = torch.randint(2, (CLIPS, FRAMES, 1), generator=generator) * weak[:, None]
    return x, weak, frame


def shares(world: int) -> list[slice]:
    """Uneven, and where there are four devices or more the second one has no clip at all."""
    bounds = [0, *sorted(torch.randperm(CLIPS - 1, generator=torch.Generator().manual_seed(world))[: world - 1] + 1)]
    if world > 3:
        bounds[2] = bounds[1]
    return [slice(int(a), int(b)) for a, b in zip(bounds, [*bounds[1:], CLIPS], strict=True)]


def process(rank: int, world: int, folder: Path) -> None:
    """One device: its loss and, after DDP, the gradient of its parameters, in a file."""
    dist.init_process_group("gloo", f"file://{folder}/{world}", rank=rank, world_size=world)
    model = nn.parallel.DistributedDataParallel(Pairs())
    loss = model(*(part[shares(world)[rank]] for part in clips()), CLIPS)
    loss.backward()
    found = [loss.item(), *(p.grad.flatten().tolist() for p in model.parameters())]
    dist.all_reduce(loss.detach_())
    (folder / f"{world}-{rank}.json").write_text(json.dumps([loss.item() / world, found[1] + found[2]]))
    os._exit(0)  # forked processes may wait for each other for ever when they take their group down


def test_processes_have_the_loss_and_the_gradient_of_one(tmp_path: Path) -> None:
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    given: dict[str, Any] = {"env": one_thread, "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run([sys.executable, __file__, str(tmp_path)], **given)
    assert done.returncode == 0, done.stderr
    model = Pairs()
    whole = model(*clips(), CLIPS)
    whole.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert gradient.norm() > 0
    for world in (1, 2, 4, 8):
        for rank in range(world):
            loss, found = json.loads((tmp_path / f"{world}-{rank}.json").read_text())
            assert loss == pytest.approx(whole.item(), abs=1e-12)
            torch.testing.assert_close(torch.tensor(found).double(), gradient, rtol=1e-6, atol=1e-9)


class Forgets(SedMethod):
    gathers = True
    over: Any = "all"
    calls = True

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        rows = self.gather(batch.weak) if self.calls else batch.weak
        return {"loss_pairs": LossTerm(rows.mean(), self.over)}

    def predict(self, x: Input) -> dict[str, Prediction]:
        return {}


class Undeclared(Forgets):
    gathers, over = False, "gathered"


class Claims(Forgets):
    over, calls = "gathered", False


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Forgets, r'Forgets gathers clips, but no term of its loss is over="gathered"'),
        (Undeclared, r"Undeclared gathers clips of all devices; declare it with gathers = True"),
        (Claims, r'loss_pairs: over="gathered", but nothing was gathered; use self.gather'),
    ],
)
def test_what_is_forgotten_is_refused_on_one_device_already(method: type[SedMethod], message: str) -> None:
    parts = Parts(nn.Identity(), nn.Linear(1, 1), None, ("a",))  # type: ignore[arg-type]
    made = method(parts, functools.partial(torch.optim.Adam))
    made.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    with pytest.raises(InputError, match=message):
        made.training_step(Part(SimpleNamespace(weak=torch.ones(2, 1), clip_id=["a", "b"]), Shares()), 0)  # type: ignore[arg-type]


if __name__ == "__main__":  # forked before anything was computed, so that torch is imported once
    import torch.multiprocessing as mp

    for number in (1, 2, 4, 8):
        mp.start_processes(process, (number, Path(sys.argv[1])), nprocs=number, start_method="fork")
