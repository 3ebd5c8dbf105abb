"""How far it is from a recording to an update, and to events: the code files that are passed, counted by tracing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import pytorch_lightning as pl
from hydra import compose, initialize_config_dir

from sed_lab.app import conf_folder
from sed_lab.predict import detect, score_file
from sed_lab.run.detector import Detector
from sed_lab.run.identity import register_resolvers
from sed_lab.train import build

PACKAGE = conf_folder().parent / "sed_lab"
SIZES = "{synthetic: 12, weak: 6, unlabelled: 6, synthetic_validation: 2, weak_validation: 2, validation: 2, test: 2}"
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


@contextmanager
def traced(files: set[str]) -> Iterator[None]:
    """Collect the files of sed_lab of which a function, method or hook runs."""

    def called(frame: FrameType, event: str, argument: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and PACKAGE in path.parents:
            files.add(path.relative_to(PACKAGE).as_posix())

    sys.setprofile(called)
    try:
        yield
    finally:
        sys.setprofile(None)


class Trace(pl.Callback):
    """From the loading of the first batch to the end of the first step."""

    def __init__(self) -> None:
        self.files: set[str] = set()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.tracing = traced(self.files)
        self.tracing.__enter__()

    def on_train_batch_end(self, *given: Any) -> None:
        self.tracing.__exit__(None, None, None)


def test_a_training_step_passes_eight_files_and_a_prediction_six(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_resolvers()
    words = [f"dataset.sizes={SIZES}", "dataset.bank_share=0.05", f"paths.cache={tmp_path}", "logger=[]"]
    words += ["batch.cache_features=false"]  # what is kept stands in place of reading and computing
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        data, made = build(compose("park2022", overrides=words))
    trace = Trace()
    options: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "use_distributed_sampler"),
        False,
    )
    trainer = pl.Trainer(
        max_steps=1, accelerator="cpu", callbacks=[trace], limit_val_batches=0, default_root_dir=tmp_path, **options
    )
    trainer.fit(made.method, datamodule=data)
    print("a training step:", sorted(trace.files))

    clip = data.corpus.subsets["test"].clips[0]
    detector = Detector(
        made.method.eval(), made.decoder, made.frame_hop, made.n_frames, data.corpus.classes,
        data.corpus.sample_rate, data.corpus.clip_seconds, 0.5, "student", "",
    )  # fmt: skip
    predicted: set[str] = set()
    with traced(predicted):
        detect(detector, score_file(detector, clip.path))
    print("a prediction:", sorted(predicted))
    assert len(trace.files) <= 8
    assert len(predicted - {"types.py"}) <= 6  # and the words themselves: Input, Scores, Event
