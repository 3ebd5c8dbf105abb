"""The mean teacher against a plain training loop written from the baseline's description."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.loss import Binary
from sed_lab.method.base import Parts
from sed_lab.method.park2022 import MeanTeacher
from sed_lab.types import Batch, Part, Shares
from tests.configured import configured

LogMel = configured("feature/log_mel")
TimeBalancedFocal = configured("loss/tbfl")
CRNN = configured("model/crnn")

# Lightning's advice on loaders and logging, and its use of a torch function that is to be renamed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`"),
]

CLASSES, FRAMES = 3, 4
MIXUP = {"probability": 0.0, "alpha": 0.2, "labels": "soft"}


def batch_of(seed: int, clips: int = 6, samples: int = 2048) -> Batch:
    """A third each of strong, weak and unlabelled clips, in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randperm(clips, generator=generator) % 3
    strong = (torch.rand(clips, FRAMES, CLASSES, generator=generator) > 0.6).float()
    weak = (torch.rand(clips, CLASSES, generator=generator) > 0.5).float()
    return Batch(
        strong=strong * (kind == 0)[:, None, None],
        weak=weak * (kind == 1)[:, None],
        has_strong=kind == 0,
        has_weak=kind == 1,
        synthetic=kind == 0,
        valid_frames=torch.full((clips,), FRAMES),
        index=torch.arange(clips),
        clip_id=[f"clip{i}" for i in range(clips)],
        audio=torch.randn(clips, samples, generator=generator) * 0.1,
    )


def feature() -> LogMel:
    return LogMel(n_fft=256, win_length=256, hop_length=256, n_mels=8)


def crnn(dropout: float = 0.0) -> CRNN:
    torch.manual_seed(0)
    return CRNN(
        CLASSES, 8, filters=(4, 6), pooling=((2, 4), (1, 2)), gru_cells=4, conv_dropout=dropout, dropout=dropout
    )


def method(model: nn.Module | None = None, **changes: Any) -> MeanTeacher:
    arguments: dict[str, Any] = {
        "feature": feature(),
        "loss": TimeBalancedFocal(gamma=2, k=1000),
        "class_weight": torch.tensor([0.5, 1.0, 1.5]),
        "seed": 0,
        "optimizer": functools.partial(torch.optim.Adam, lr=1e-3),
        "mixup": MIXUP,
        "consistency_max": 2.0,
        "rampup_epochs": 2,
        "ema_decay": 0.999,
        "teacher_train_mode": True,
        "first_step_full_rate": True,
        **changes,
    }
    own = {name: arguments.pop(name) for name in ("feature", "loss", "class_weight", "seed")}
    return MeanTeacher(Parts(model=crnn() if model is None else model, classes=("a", "b", "c"), **own), **arguments)


class Record(pl.Callback):
    def __init__(self) -> None:
        self.loss: list[float] = []
        self.rate: list[float] = []
        self.student: list[list[torch.Tensor]] = []
        self.teacher: list[list[torch.Tensor]] = []
        self.before: list[torch.Tensor] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.rate.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.student.append([p.detach().clone() for p in pl_module.student.parameters()])
        self.teacher.append([p.detach().clone() for p in pl_module.teacher.parameters()])

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.loss.append(float(outputs["loss"]))


def trainer(folder: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        **{
            "max_epochs": 1,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": folder,
            "callbacks": list(callbacks),
            **options,
        }
    )


def fit(module: pl.LightningModule, batches: Sequence[Batch | Part], run: pl.Trainer, **options: Any) -> None:
    parts = [one if isinstance(one, Part) else Part(one, Shares()) for one in batches]
    run.fit(module, loader_of(parts), **options)


def loader_of(batches: Sequence[Any]) -> torch.utils.data.DataLoader[Any]:
    return torch.utils.data.DataLoader(list(batches), batch_size=None, collate_fn=_same)  # type: ignore[arg-type]


def _same(batch: Batch) -> Batch:
    return batch


def plain_losses(batches: Sequence[Batch], rampup_steps: int, epochs: int) -> list[float]:
    """The same training, written out: focal loss on probabilities, MSE, ramps, EMA with the student before its step."""
    student = crnn()
    teacher = copy.deepcopy(student)
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
    w, log_mel, losses, s = torch.tensor([0.5, 1.0, 1.5]), feature(), [], 1

    def focal(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -(w * (y * (1 - p) ** 2 * p.log() + (1 - y) * p**2 * (1 - p).log())).mean()

    for batch in [batch for _ in range(epochs) for batch in batches]:
        x = log_mel(batch.audio)
        p, weak = (output.sigmoid() for output in student(x))
        with torch.no_grad():
            q, teacher_weak = (output.sigmoid() for output in teacher(x))
        strong_rows = [i for i in range(6) if batch.has_strong[i]]
        weak_rows = [i for i in range(6) if batch.has_weak[i]]
        supervised = focal(p[strong_rows], batch.strong[strong_rows]) + focal(weak[weak_rows], batch.weak[weak_rows])
        ramp = math.exp(-5 * (1 - min(s, rampup_steps) / rampup_steps) ** 2)
        loss = supervised + 2 * ramp * (((p - q) ** 2).mean() + ((weak - teacher_weak) ** 2).mean())
        decay = min(1 - 1 / (s + 1), 0.999)
        for t, v in zip(teacher.parameters(), student.parameters(), strict=True):
            t.data = decay * t.data + (1 - decay) * v.data
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = 1e-3 if s == 1 else 1e-3 * ramp
        optimizer.step()
        losses.append(loss.item())
        s += 1
    return losses


def test_training_is_the_baseline_s_step_for_step(tmp_path: Path) -> None:
    batches = [batch_of(seed) for seed in range(4)]
    record = Record()
    fit(method(), batches, trainer(tmp_path, record, max_epochs=3))
    assert record.loss == pytest.approx(plain_losses(batches, rampup_steps=8, epochs=3), rel=1e-4)


def test_rates_and_teacher_follow_their_formulas(tmp_path: Path) -> None:
    record = Record()
    fit(method(), [batch_of(seed) for seed in range(4)], trainer(tmp_path, record, max_epochs=3))
    ramp = [math.exp(-5 * (1 - min(s, 8) / 8) ** 2) for s in range(1, 13)]
    assert record.rate == pytest.approx([1e-3, *(1e-3 * r for r in ramp[1:])])
    for i in range(11):  # step s = i + 1 averages the student that this step's forward pass used
        decay = 1 - 1 / (i + 2)
        expected = [decay * t + (1 - decay) * v for t, v in zip(record.teacher[i], record.student[i], strict=True)]
        for a, b in zip(record.teacher[i + 1], expected, strict=True):
            torch.testing.assert_close(a, b)
    assert not torch.equal(record.teacher[-1][0], record.teacher[0][0])


def test_first_step_may_start_on_the_ramp_and_no_ramp_is_full_rate(tmp_path: Path) -> None:
    ramped, flat = Record(), Record()
    fit(method(first_step_full_rate=False), [batch_of(0)] * 2, trainer(tmp_path, ramped))
    fit(method(rampup_epochs=0), [batch_of(0)] * 2, trainer(tmp_path, flat))
    assert ramped.rate == pytest.approx([1e-3 * math.exp(-5 * (1 - s / 4) ** 2) for s in (1, 2)])
    assert flat.rate == [1e-3, 1e-3]


def test_teacher_statistics_are_its_own(tmp_path: Path) -> None:
    # Batch norm's running statistics are not averaged: in train mode the teacher's come from its own pass.
    training, evaluating = method(), method(teacher_train_mode=False)
    for module in (training, evaluating):
        fit(module, [batch_of(0)], trainer(tmp_path))
    assert training.teacher.blocks[0].norm.num_batches_tracked == 1
    assert evaluating.teacher.blocks[0].norm.num_batches_tracked == 0
    assert not any(p.requires_grad for p in training.teacher.parameters())


class Linear(nn.Module):
    """Without batch statistics, so that a batch may be divided."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        frame = self.layer(x[:, : 2 * FRAMES : 2])
        return frame, frame.mean(1)


def part_of(batch: Batch, rows: list[int], parts: int) -> Part:
    fields = ("strong", "weak", "has_strong", "has_weak", "synthetic", "valid_frames", "index", "audio")
    part = Batch(**{name: getattr(batch, name)[rows] for name in fields}, clip_id=[batch.clip_id[i] for i in rows])
    strong = float(part.has_strong.sum() * parts / batch.has_strong.sum())
    weak = float(part.has_weak.sum() * parts / batch.has_weak.sum())
    return Part(part, Shares(strong, weak, len(rows) * parts / len(batch)))


def test_a_batch_accumulated_in_uneven_parts_trains_the_same(tmp_path: Path) -> None:
    batches = [batch_of(seed) for seed in range(3)]
    whole, parts = method(Linear()), method(Linear())
    fit(whole, batches, trainer(tmp_path, max_epochs=2))
    divided = [part_of(batch, rows, 2) for batch in batches for rows in ([0, 1], [2, 3, 4, 5])]
    fit(parts, divided, trainer(tmp_path, max_epochs=2, accumulate_grad_batches=2))
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_mixup_stays_within_strong_and_within_weak_clips_and_is_linear_in_mel() -> None:
    module = method(mixup={"probability": 1.0, "alpha": 1.0, "labels": "soft"})
    batch = batch_of(0, clips=12)
    mel = module.feature.mel(batch.audio)
    torch.manual_seed(0)
    x, strong, weak = module._mixed(batch)
    unlabelled = ~(batch.has_strong | batch.has_weak)
    assert torch.equal(x[unlabelled], mel[unlabelled])
    for mask in (batch.has_strong, batch.has_weak):
        assert not torch.allclose(x[mask], mel[mask])
        torch.testing.assert_close(x[mask].sum(0), mel[mask].sum(0))  # a permutation and one coefficient keep the sum
    torch.testing.assert_close(strong.sum(0), batch.strong.sum(0))
    torch.testing.assert_close(weak.sum(0), batch.weak.sum(0))
    assert strong[~batch.has_strong].count_nonzero() == 0
    assert weak[~batch.has_weak].count_nonzero() == 0


def test_mixup_happens_in_half_of_the_batches() -> None:
    module = method(mixup={"probability": 0.5, "alpha": 1.0, "labels": "hard"})
    batch = batch_of(0)
    mel = module.feature.mel(batch.audio)
    torch.manual_seed(0)
    mixed = sum(not torch.equal(module._mixed(batch)[0], mel) for _ in range(100))
    assert 25 < mixed < 70  # a permutation of two clips leaves both in place half of the time, for both kinds a quarter


def test_resumed_training_is_bit_identical(tmp_path: Path) -> None:
    batches = [batch_of(seed) for seed in range(3)]
    options: dict[str, Any] = {"mixup": {"probability": 0.5, "alpha": 0.2, "labels": "soft"}, "seed": 5}

    straight = method(crnn(dropout=0.5), **options)
    fit(straight, batches, trainer(tmp_path, max_epochs=4))

    first = method(crnn(dropout=0.5), **options)
    run = trainer(tmp_path, max_epochs=2)
    fit(first, batches, run)
    run.save_checkpoint(tmp_path / "half.ckpt")
    torch.rand(17)  # whatever else was drawn before the resume
    resumed = method(crnn(dropout=0.5), **options)
    fit(resumed, batches, trainer(tmp_path, max_epochs=4), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    for (name, a), b in zip(straight.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_mixed_precision_trains_nearly_the_same(tmp_path: Path) -> None:
    full, half = Record(), Record()
    for record, precision in ((full, "32-true"), (half, "bf16-mixed")):
        fit(method(), [batch_of(seed) for seed in range(3)], trainer(tmp_path, record, precision=precision))
    assert half.loss == pytest.approx(full.loss, rel=0.02)
    assert half.loss != full.loss


def test_every_step_draws_its_own_random_numbers(tmp_path: Path) -> None:
    seeds: list[int] = []

    class Collect(pl.Callback):
        def on_before_zero_grad(self, *args: Any) -> None:
            seeds.append(torch.initial_seed())

    for seed in (0, 1):
        fit(method(seed=seed), [batch_of(0)] * 2, trainer(tmp_path, Collect(), max_epochs=2))
    assert len(set(seeds)) == len(seeds) == 8


def test_checkpoint_holds_plain_containers_only(tmp_path: Path) -> None:
    module = method()
    run = trainer(tmp_path)
    fit(module, [batch_of(0)], run)
    run.save_checkpoint(tmp_path / "last.ckpt")
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    again = method(crnn().double().float())
    again.load_state_dict(state)
    for a, b in zip(module.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_validation_gives_both_systems_and_logs_their_losses(tmp_path: Path) -> None:
    module, batch = method(loss=Binary(), class_weight=None), batch_of(0)
    got: list[Any] = []

    class Collect(pl.Callback):
        def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *rest: Any) -> None:
            got.append(outputs)

    run = trainer(tmp_path, Collect())
    loaders = [loader_of([batch_of(0), batch_of(1)]), loader_of([batch_of(2)])]
    (logged, *_) = run.validate(module, loaders, verbose=False)
    assert list(got[0]) == list(module.systems) == ["student", "teacher"]
    module.eval()
    frames, targets = [], []
    for seed in range(3):
        batch = batch_of(seed)
        frame, clip = module.student(module.feature(batch.audio))
        frames.append(frame[batch.has_strong])
        targets.append(batch.strong[batch.has_strong])
        torch.testing.assert_close(got[seed]["student"].frame, frame.sigmoid())
        torch.testing.assert_close(got[seed]["student"].clip, clip.sigmoid())
    expected = F.binary_cross_entropy_with_logits(torch.cat(frames), torch.cat(targets))
    assert logged["val/student/loss_strong"] == pytest.approx(expected.item(), rel=1e-5)
    assert set(logged) == {f"val/{name}" for name in module.validation_losses}


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match=r"method.mixup: probability=1.5, alpha=0.2; use 0..1 and above 0"):
        method(mixup={**MIXUP, "probability": 1.5})
    with pytest.raises(InputError, match=r"method.mixup.labels='half' is unknown; use soft or hard"):
        method(mixup={**MIXUP, "labels": "half"})
    batch = batch_of(0)
    batch.audio = None
    with pytest.raises(InputError, match=r"this method works on audio, but the dataset gives none"):
        method().predict(batch)
