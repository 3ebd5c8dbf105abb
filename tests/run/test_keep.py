"""Which epochs are validated, whose weights are kept, and that a diverged run ends with a sentence that says so."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from sed_lab.errors import InputError
from sed_lab.method.base import LossTerm, Parts, Prediction, SedMethod
from sed_lab.run.collect import Evaluation
from sed_lab.run.keep import BestWeights, best_epoch
from sed_lab.run.progress import History, PlainProgress, quiet
from sed_lab.run.record import best_in_words
from sed_lab.types import Part, Shares
from tests.configured import configured

pytestmark = [
    pytest.mark.filterwarnings("ignore:The .* does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
]


class Clips(list):  # type: ignore[type-arg]
    """A batch of named clips."""

    clip_id = property(list)


class Tiny(SedMethod):
    """One weight, whose loss and objective are given for each epoch."""

    validation_losses = ("loss",)

    def __init__(self, objective: list[float], losses: list[float], rate: float = 0.1) -> None:
        parts = Parts(feature=None, model=None, loss=None, classes=("Dog",))  # type: ignore[arg-type]
        super().__init__(parts, partial(torch.optim.SGD, lr=rate))
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.objectives, self.values, self.validated = objective, losses, []

    def losses(self, batch: Any) -> dict[str, LossTerm]:
        self.note(f"only_{self.current_epoch}", 1.0, batch)
        return {"loss": LossTerm(self.weight**2 * self.values[self.current_epoch], "all")}

    def predict(self, x: Any) -> dict[str, Prediction]:
        return {}

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.validated.append(self.current_epoch + 1)
        self.log("val/objective", self.objectives[self.current_epoch], batch_size=1)
        self.add_validation_loss("loss", torch.tensor(self.objectives[self.current_epoch]), torch.tensor(1))


def fitted(method: Tiny, folder: Path, every: int, *more: pl.Callback, **settings: Any) -> pl.Trainer:
    quiet()
    trainer = pl.Trainer(
        check_val_every_n_epoch=every, num_sanity_val_steps=0, logger=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", default_root_dir=folder,
        callbacks=[BestWeights(folder, every), History(folder / "history.csv"), PlainProgress(), *more], **settings,
    )  # fmt: skip
    batches = [Part(Clips(["a", "b"]), Shares()), Part(Clips("cdefghi"), Shares())]  # type: ignore[arg-type]
    loader = torch.utils.data.DataLoader(batches, batch_size=None, collate_fn=lambda part: part)
    trainer.fit(method, loader, torch.utils.data.DataLoader(torch.zeros(1)))
    return trainer


class Stop(pl.Callback):
    """Ends training in the middle of an epoch, as a time limit does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, trainer: pl.Trainer, *given: Any) -> None:
        trainer.should_stop = trainer.current_epoch + 1 == self.epoch


@pytest.mark.parametrize(
    ("every", "settings", "more", "validated"),
    [
        (3, {"max_epochs": 5}, [], [3, 5]),
        (3, {"max_epochs": 6}, [], [3, 6]),
        (7, {"max_epochs": 5}, [], [5]),
        (3, {"max_epochs": 9, "max_steps": 7}, [], [3, 4]),
        (3, {"max_epochs": 9, "max_steps": 8}, [], [3, 4]),
        (3, {"max_epochs": 9}, [Stop(5)], [3, 5]),
    ],
)
def test_the_last_epoch_is_validated_however_training_ends(
    tmp_path: Path, every: int, settings: dict[str, Any], more: list[pl.Callback], validated: list[int]
) -> None:
    method = Tiny([0.1, 0.2, 0.6, 0.65, 0.7, 0.8, 0, 0, 0], [1.0] * 9)
    trainer = fitted(method, tmp_path, every, *more, **settings)
    assert method.validated == validated
    assert best_epoch(tmp_path / "best.ckpt") == validated[-1] == trainer.current_epoch
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [n for n, row in enumerate(rows, 1) if row["val/objective"]] == validated
    for name in (f"train/only_{n}" for n in range(len(rows))):  # what an epoch logs stands in its own row alone
        assert [row[name] for row in rows] == ["1.0" if name == f"train/only_{n}" else "" for n in range(len(rows))]


def test_the_kept_weights_are_the_best_validated_ones_and_said(tmp_path: Path) -> None:
    fitted(Tiny([0.9, 0.5, 0.9, 0.4, 0.3], [1.0] * 5), tmp_path, 2, max_epochs=5)
    assert best_epoch(tmp_path / "best.ckpt") == 2  # the epochs with .9 were not validated
    said = {"objective": 0.5, "epochs": 5}
    assert best_in_words({**said, "best_epoch": 2}) == "epoch 2 of 5"
    assert best_in_words({**said, "best_epoch": 5}) == "epoch 5 of 5: the last, still rising; more epochs may be better"
    assert best_in_words({"objective": None, "epochs": 5, "best_epoch": 5}).endswith("the last: nothing is validated")
    assert best_in_words({"epochs": 5}) == ""


nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("objective", "losses", "rate", "sentence"),
    [
        ([1.0, 1.0], [1.0, nan], 0.1, "diverged: the loss is nan after 2 steps, in epoch 2 at a learning rate of 0.1, "
         "the last batch of clips a, b; lower method.optimizer.lr"),
        ([1.0, nan], [1.0, 1.0], 0.1, "the validation loss loss is nan after 4 steps, in epoch 2 at"),
        ([1.0, inf], [1.0, 1.0], 0.1, "the validation loss loss is inf after 4 steps, in epoch 2 at"),
        ([1.0, 1.0], [1.0, 1e5], 0.1, r"the loss rose from 1 to \S+ after 4 steps, in epoch 2 at"),
        ([1.0, 1.0], [1.0, 1.0], 1e30, r"the loss is inf after 1 steps, in epoch 1 at a learning rate of 1e\+30"),
    ],
)  # fmt: skip
def test_a_diverged_run_ends_with_a_sentence(
    tmp_path: Path, objective: list[float], losses: list[float], rate: float, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        fitted(Tiny(objective, losses, rate), tmp_path, 1, max_epochs=2)


def test_weights_that_the_last_step_spoilt_are_noticed_without_a_validation() -> None:
    method = Tiny([], [])
    method.trained_on = ("a",)
    method._trainer = SimpleNamespace(  # type: ignore[assignment]
        callback_metrics={"train/loss": torch.tensor(0.5)}, optimizers=[], global_step=7, current_epoch=1, callbacks=[]
    )
    method.on_train_epoch_end()
    method.weight.data.fill_(nan)
    with pytest.raises(
        InputError, match=r"the weights weight are not finite after 7 steps, in epoch 2, the last batch"
    ):
        method.on_train_epoch_end()


@pytest.mark.parametrize("part", ["frame", "clip"])
def test_scores_that_are_no_numbers_end_a_run(tmp_path: Path, part: str) -> None:
    method = Tiny([], [])
    data = SimpleNamespace(test=("test",), validation=("validation",), loader=SimpleNamespace(n_frames=4))
    trainer: Any = SimpleNamespace(datamodule=data, testing=False, optimizers=[], global_step=7, current_epoch=1)
    method._trainer = trainer
    evaluation = Evaluation(tmp_path, (), configured("decoder/default")(), None, zero_score=True)
    scores = torch.full((3, 4, 1) if part == "frame" else (3, 1), 0.5)
    batch: Any = SimpleNamespace(clip_id=list("abc"), index=torch.arange(3), valid_frames=torch.full((3,), 4))
    evaluation.on_validation_batch_end(trainer, method, {"model": Prediction(**{part: scores})}, batch, 0)
    scores[1] = nan
    with pytest.raises(
        InputError, match=r"diverged: model's scores of validation clips b are not finite after 7 steps"
    ):
        evaluation.on_validation_batch_end(trainer, method, {"model": Prediction(**{part: scores})}, batch, 0)


@pytest.mark.parametrize(("testing", "finer", "frames", "fits"), [
    (False, 3, 4, True), (True, 3, 12, True), (True, 1, 4, True), (False, 3, 12, False), (True, 3, 4, False),
])  # fmt: skip
def test_a_method_that_forgets_how_fine_its_frames_are_is_refused(
    tmp_path: Path, testing: bool, finer: int, frames: int, fits: bool
) -> None:
    method = Tiny([], [])
    method.finer = finer
    subsets = {"test": ("test",), "validation": ("validation",)}
    data = SimpleNamespace(**subsets, loader=SimpleNamespace(n_frames=4))
    trainer: Any = SimpleNamespace(datamodule=data, testing=testing)
    evaluation = Evaluation(tmp_path, (), configured("decoder/default")(), None, zero_score=True)
    batch: Any = SimpleNamespace(clip_id=["a"], index=torch.arange(1), valid_frames=torch.full((1,), 3))
    outputs = {"model": Prediction(torch.full((1, frames, 1), 0.5))}
    if not fits:
        with pytest.raises(
            InputError, match=rf"Tiny gives {frames} frames a clip, not {4 * (finer if testing else 1)}"
        ):
            evaluation.on_validation_batch_end(trainer, method, outputs, batch, 0)
        return
    evaluation.on_validation_batch_end(trainer, method, outputs, batch, 0)
    kept, _ = evaluation.rows["test" if testing else "validation", "model"][0]
    assert kept is not None
    assert len(kept) == 3 * frames // 4
