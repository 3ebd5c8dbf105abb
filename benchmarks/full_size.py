"""A training step of each paper's full-size network, as docs/devices.md lists them, on made-up clips on any device.

A step is front end, losses, backward, the method's own hook and its optimiser, on clips that are on the device before
the clock starts. Lightning and the loader take no part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.assembled import assembly_of
from sed_lab.method.base import SedMethod
from sed_lab.run.assemble import Facts
from sed_lab.types import Batch, Part, Shares


@dataclass(frozen=True)
class FullSize:
    """A paper's configuration, and the clips of one global batch.

    ``seconds`` of a clip; ``clips``: how many have strong labels, weak ones and none. ``about``: each clip is labelled
    for one class alone; ``rows``: clips are rows of embeddings. ``labelled``: weakly labelled training clips of each
    class and of none, for a method that counts them; ``phase``: the number of the one to measure, where there are some.
    """

    primary: str
    overrides: tuple[str, ...]
    classes: tuple[str, ...]
    seconds: float
    clips: tuple[int, int, int]
    about: bool = False
    rows: bool = False
    labelled: tuple[int, ...] = ()
    phase: int | None = None


NUMBERED = tuple(f"class {number}" for number in range(10))
RARE = ("babycry", "glassbreak", "gunshot")
PAPERS = {
    "park2022": FullSize("dcase2021", ("loss=tbfl",), NUMBERED, 10.0, (12, 12, 24)),
    "arora2019": FullSize(
        "arora2019", (), ("Dog", "babycry", "gunshot"), 10.0, (0, 512, 0),
        labelled=(9450, 1610, 2870, 25200), phase=1,  # of the embedding: encoder and clusters
    ),
    "huang2021": FullSize("huang2021", ("feature=ln_mel_16k", "model=attention_pool"), NUMBERED, 10.0, (32, 32, 0)),
    "amiriparian2018": FullSize(
        "amiriparian2018", ("feature=standardised_mel_rare", "model=chunk_crnn"), RARE, 30.0, (9, 0, 0), about=True
    ),
    "aziz2020": FullSize("aziz2020", ("feature=vggish",), ("Speech", "Animal", "Music", "Vehicle"), 10.0, (0, 20, 0),
                         rows=True),
}  # fmt: skip


class Step:
    """One training step of a paper's method on ``device``; calling it trains once.

    With ``mixed`` it runs under autocast to bfloat16, as ``trainer.precision=bf16-mixed``.
    """

    def __init__(self, paper: FullSize, device: str, mixed: bool = False) -> None:
        torch.manual_seed(0)
        weak = labels_of(paper.labelled) if paper.labelled else None
        weight = torch.ones(len(paper.classes))
        facts = Facts(paper.classes, paper.seconds, class_weight=weight, weak_labels=weak)
        made = assembly_of(paper.primary, *paper.overrides, facts=facts)
        self.method = cast(Any, made.method.to(device).train())
        self.device, self.mixed = device, mixed
        # As much of a trainer as a step asks for; losses that begin later take part.
        self.trainer: Any = SimpleNamespace(global_step=0, current_epoch=1000, optimizers=[], gradient_clip_val=None)
        self.method._trainer = self.trainer
        self.method.log = self.method.log_dict = lambda *args, **kwargs: None
        if paper.phase is not None:
            self.method.progress["phase"] = paper.phase
            self.method.embedding, self.method.cluster = (
                one.to(device) for one in (self.method.embedding, self.method.cluster)
            )
        self.optimizer: Any = SedMethod.configure_optimizers(self.method)  # without a schedule
        self.trainer.optimizers.append(self.optimizer)
        samples = round(paper.seconds * self.method.feature.sample_rate)
        self.batch = batch_of(paper, made.n_frames, samples, device)

    @property
    def clips(self) -> int:
        """How many a step takes."""
        return len(self.batch)

    def __call__(self) -> None:
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.mixed):
            loss = self.method.training_step(Part(self.batch, Shares()), 0)
        self.optimizer.zero_grad()
        loss.backward()
        self.method.on_before_optimizer_step(self.optimizer)
        self.optimizer.step()
        self.trainer.global_step += 1


def labels_of(clips: tuple[int, ...]) -> Tensor:
    """``[I, C]``: so many clips of each class, the last ones of none."""
    number = torch.arange(len(clips)).repeat_interleave(torch.tensor(clips))
    return torch.cat([torch.eye(len(clips) - 1), torch.zeros(1, len(clips) - 1)])[number] > 0


def batch_of(paper: FullSize, frames: int, samples: int, device: str) -> Batch:
    """Noise and labels: each clip is of one class, which half of its frames hold."""
    strong, weak, _ = paper.clips
    clips, classes = sum(paper.clips), len(paper.classes)
    label = torch.eye(classes)[torch.arange(clips) % classes]
    kind = torch.arange(clips)
    made = {
        "strong": (torch.rand(clips, frames, 1) > 0.5) * label[:, None] * (kind < strong)[:, None, None],
        "weak": label * (kind < strong + weak)[:, None],
        "has_strong": kind < strong,
        "has_weak": (kind >= strong) & (kind < strong + weak),
        "synthetic": kind < strong,
        "valid_frames": torch.full((clips,), frames),
        "index": kind,
    }
    if paper.about:
        made["annotated"] = label > 0
    if paper.rows:
        made["embedding"] = torch.randint(0, 256, (clips, 10, 128), dtype=torch.uint8)
    else:
        made["audio"] = torch.randn(clips, samples) * 0.1
    on_device: dict[str, Any] = {name: tensor.to(device) for name, tensor in made.items()}
    return Batch(clip_id=[str(number) for number in range(clips)], **on_device)


def flop_of(step: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions in one ``step``, by torch's own counter.

    It does not look into the libraries' recurrent layers, so for this one step torch's own take their place.
    """
    from torch.utils.flop_counter import FlopCounterMode

    torch.backends.mkldnn.set_flags(False)
    try:
        with torch.backends.cudnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            step()
    finally:
        torch.backends.mkldnn.set_flags(True)
    return int(counter.get_total_flops())
