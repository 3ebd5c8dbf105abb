"""The schedule at work on the toy: what each phase changes, what is kept as the best, resume at every epoch."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from sed_lab.clip.corpus import training_statistics, weak_labels
from sed_lab.clip.module import SedData
from sed_lab.errors import InputError
from sed_lab.loss import WeightedBinary
from sed_lab.method.arora2019 import EmbeddingClusters, WeightedDetector, clip_classes, triple_header
from sed_lab.method.base import Parts
from sed_lab.method.phased import PhasedMethod
from sed_lab.model.encoder import load_encoder
from tests.configured import configured

PointFeature = configured("feature/point")
toy_points = configured("dataset/toy_points")
LSTMEncoder = configured("model/clip_lstm")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*"),
]

COUNTS = {
    "weak": {"blue": 16, "green": 16, "red": 64},
    "weak_validation": {"blue": 4, "green": 4, "red": 8},
    "test": {"blue": 4, "green": 4, "red": 8},
}


def data_of(clips: int = 24) -> SedData:
    corpus = toy_points(COUNTS, {"blue": 1, "green": 1, "red": 4}, distance=4.0)
    batch = {"epoch": "smallest", "per_class": False, "evaluation": 40, "max_clips_per_device": None, "workers": 0}
    return SedData(corpus, {"weak": clips}, 1, 1.0, ["weak_validation"], ["test"], seed=0, **batch)


def parts_of(data: SedData, model: Any) -> Parts:
    labels, weight = (
        torch.from_numpy(weak_labels(data.corpus)),
        WeightedBinary().class_weight(training_statistics(data.corpus, 1.0, 1)),
    )
    return Parts(PointFeature(), model, WeightedBinary(), data.corpus.classes, weight, labels)


def method_of(data: SedData, baseline: bool = False, **settings: Any) -> Any:
    torch.manual_seed(0)
    given: dict[str, Any] = {"detector_epochs": 3, "patience": 5, "cluster_counts": None}
    if not baseline:
        given |= {"embedding_epochs": [2, 1], "centroid_epochs": 1}
        given |= {"alpha": 10.0, "same_margin": 5.0, "other_margin": 0.0}
        given |= {"pretrained": None, "balance": "greedy", "keep_embeddings": False}
    return (WeightedDetector if baseline else EmbeddingClusters)(
        parts_of(data, LSTMEncoder(20, 3)), functools.partial(torch.optim.Adam, lr=0.02), **{**given, **settings}
    )


class Watch(pl.Callback):
    """The network's state before each epoch, the phase, and the optimiser's number of states."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.seen: list[tuple[str, dict[str, torch.Tensor], int]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            state = copy.deepcopy(pl_module.network.state_dict())
            self.seen.append((pl_module.phase.trains, state, len(trainer.optimizers[0].state)))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 == self.stop_after:
            trainer.should_stop = True


def fit(method: Any, data: SedData, folder: Path, *more: pl.Callback, resume: str | None = None, **options: Any) -> Any:
    keep = pl.callbacks.ModelCheckpoint(folder, "epoch{epoch}", save_top_k=-1, auto_insert_metric_name=False,
                                        save_on_train_epoch_end=True)  # fmt: skip
    trainer = pl.Trainer(
        **{"max_epochs": 40, **options}, accelerator="cpu", logger=False, callbacks=[*more, keep],
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        use_distributed_sampler=False, default_root_dir=str(folder),
    )  # fmt: skip
    trainer.fit(method, data, ckpt_path=resume, weights_only=True)
    return trainer


def test_each_phase_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    data, watch = data_of(), Watch()
    method = method_of(data, keep_embeddings=True)
    fit(method, data, tmp_path, watch)
    phases = [phase for phase, _, _ in watch.seen]
    assert phases == [
        "centroids",
        "embedding",
        "embedding",
        "centroids",
        "embedding",
        *["output"] * 3,
        *["detector"] * 3,
    ]
    states = [state for _, state, _ in watch.seen] + [method.network.state_dict()]
    for (phase, before, _), after in zip(watch.seen, states[1:], strict=True):
        changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        expected = {
            "centroids": {"clusters"},
            "embedding": {"encoder", "clusters"},
            "output": {"output"},
            "detector": {"encoder", "clusters", "output"},
        }[phase]
        # Between two epochs stands the end of a phase, which starts W anew or goes back to the best output layer.
        assert changed - {"clusters", "output"} == expected - {"clusters", "output"}, phase
        assert expected <= changed, phase
    begins = [i for i in range(len(phases)) if i == 0 or phases[i] != phases[i - 1]]
    assert all((states_of == 0) == (i in begins) for i, (_, _, states_of) in enumerate(watch.seen))


def test_w_begins_at_the_centroids_of_the_clusters_times_alpha(tmp_path: Path) -> None:
    data, watch = data_of(), Watch()
    method = method_of(data, keep_embeddings=True, alpha=7.0)
    fit(method, data, tmp_path, watch)
    assert {path.name for path in (tmp_path / "embeddings").iterdir()} == {f"iteration_{i}.npz" for i in range(3)}
    with np.load(tmp_path / "embeddings" / "iteration_1.npz") as kept:
        e, cluster, w = (torch.from_numpy(kept[name]) for name in ("embedding", "cluster", "centroids"))
        clip_class, cluster_class = kept["clip_class"], kept["cluster_class"]
    torch.testing.assert_close(e.norm(dim=1), torch.ones(len(e)))
    assert (cluster_class[cluster] == clip_class).all()  # a cluster holds one class
    assert torch.bincount(cluster).tolist() == [16] * 6
    for k in range(6):
        torch.testing.assert_close(w[k], 7 * F.normalize(e[cluster == k].sum(0), dim=0), atol=1e-5, rtol=1e-5)
    first_of_the_second = [state for phase, state, _ in watch.seen if phase == "centroids"][1]
    torch.testing.assert_close(first_of_the_second["clusters.weight"], w)


def test_frozen_embeddings_are_those_of_the_encoder(tmp_path: Path) -> None:
    data = data_of()
    method = method_of(data)
    fit(method, data, tmp_path, Watch(stop_after=6))  # within the output layer's phase
    assert method.phase.trains == "output"
    ((batch, _),) = list(data._loader([next(iter(data.sampler()))]))
    with torch.no_grad():
        e = method.network.encoder(method.feature(batch.audio))
    torch.testing.assert_close(method.embedding[batch.index], e)


def test_p1_is_the_best_output_layer_and_p2_goes_on_from_it(tmp_path: Path) -> None:
    data, watch = data_of(), Watch()
    method = method_of(data, detector_epochs=6)
    losses: list[tuple[str, float, torch.Tensor]] = []

    class Losses(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            loss = float(trainer.callback_metrics.get("val/loss", np.inf))
            losses.append((pl_module.phase.trains, loss, pl_module.network.output.weight.detach().clone()))

    fit(method, data, tmp_path, watch, Losses())
    best = min((item for item in losses if item[0] == "output"), key=lambda item: item[1])
    torch.testing.assert_close(method.proposed1.output.weight, best[2])
    first_of_p2 = next(state for phase, state, _ in watch.seen if phase == "detector")
    torch.testing.assert_close(first_of_p2["output.weight"], best[2])
    torch.testing.assert_close(method.proposed1.clusters.weight, first_of_p2["clusters.weight"])


def test_a_phase_with_patience_ends_when_the_loss_rises(tmp_path: Path) -> None:
    data = data_of()
    method = method_of(data, baseline=True, detector_epochs=30, patience=1)
    values = iter([5.0, 4.0, 4.5, 3.0, 3.5, 3.6, 1.0])
    method.add_validation_loss = lambda name, mean, clips: PhasedMethod.add_validation_loss(
        method, name, torch.tensor(next(values)), clips
    )
    assert fit(method, data, tmp_path).current_epoch == 6  # 3.0 at epoch 4, then two epochs without a lower one
    assert method.finished


class Loads(pl.Callback):
    """How many clips of each subset were loaded in each phase, and which batches came without any."""

    def __init__(self, data: SedData) -> None:
        self.loaded: dict[tuple[str, str], int] = {}
        self.empty: dict[str, set[bool]] = {}
        for name, subset in data.corpus.subsets.items():
            subset.load = functools.partial(self.load, name, subset.load)  # type: ignore[method-assign]

    def load(self, name: str, load: Any, index: int, epoch: int) -> Any:
        key = (self.method.phase.trains, name)
        self.loaded[key] = self.loaded.get(key, 0) + 1
        return load(index, epoch)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.method = pl_module

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, part: Any, batch_idx: int) -> None:
        self.empty.setdefault(pl_module.phase.trains, set()).add(part[0].audio is None)


def test_nothing_is_loaded_that_a_phase_does_not_look_at(tmp_path: Path) -> None:
    data = data_of()
    method, loads = method_of(data), Loads(data)
    trainer = fit(method, data, tmp_path, loads)
    assert loads.empty == {"centroids": {True}, "embedding": {False}, "output": {True}, "detector": {False}}
    # Each centroids' and the output phase begin by embedding the 96 clips; steps take 4 x 24 of them.
    embedded = {("centroids", "weak"): 2 * 96, ("output", "weak"): 96}
    stepped = {("embedding", "weak"): 3 * 96, ("detector", "weak"): 3 * 96}
    validated = {("output", "weak_validation"): 3 * 16, ("detector", "weak_validation"): 3 * 16}
    assert loads.loaded == embedded | stepped | validated
    assert trainer.limit_val_batches == 1.0


def test_classes_are_clustered_by_the_first_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    method = method_of(data_of())
    found = {"cluster": torch.arange(96) % 6, "centroids": F.normalize(torch.randn(6, 3))}
    trainer = SimpleNamespace(
        is_global_zero=False, optimizers=[], strategy=SimpleNamespace(broadcast=lambda mine: found)
    )
    method.clusters = lambda: pytest.fail("clustered by another process too")
    method.embed = lambda: None
    monkeypatch.setattr(EmbeddingClusters, "trainer", trainer)
    method.begin_phase()
    assert torch.equal(method.cluster, found["cluster"])
    torch.testing.assert_close(method.network.clusters.weight.detach(), 10 * found["centroids"])


def test_the_loss_of_a_constant_embedding_is_the_mean_weight_times_ln_2(tmp_path: Path) -> None:
    data = data_of()
    trainer = fit(method_of(data, embedding_epochs=[1], centroid_epochs=1), data, tmp_path)
    # K_c is 1, 1 and 4, so weights are 4, 4 and 1; a sixth of the clips each is blue or green.
    noted = float(trainer.callback_metrics["train/loss_constant"])
    assert noted == pytest.approx((4 / 6 + 4 / 6 + 4 / 6) * np.log(2))
    h, cluster = torch.zeros(96, 6), torch.arange(96) % 6
    classes = torch.tensor([0, 1, 2, 2, 2, 2])
    assert float(triple_header(h, cluster, classes, same_margin=99.0)) == pytest.approx(noted)


def test_an_encoder_can_start_from_a_trained_one(tmp_path: Path) -> None:
    data, watch = data_of(), Watch()
    before = method_of(data, baseline=True)
    torch.nn.init.normal_(before.network.encoder.lstm.weight_ih_l0)
    torch.save({"state_dict": before.detector_state()}, tmp_path / "detector.ckpt")
    fit(method_of(data, pretrained=str(tmp_path / "detector.ckpt")), data, tmp_path, watch)
    first = {name.removeprefix("encoder."): one for name, one in watch.seen[0][1].items() if "encoder" in name}
    assert first.keys() == before.network.encoder.state_dict().keys()
    assert all(torch.equal(first[name], one) for name, one in before.network.encoder.state_dict().items())
    assert method_of(data).decided()["pretrained"] is None  # a trained detector does not look for it
    for path, message in (("none.ckpt", "No such file"), ("detector.ckpt", "it holds no such encoder")):
        with pytest.raises(InputError, match=message):
            load_encoder(LSTMEncoder(20, 4), tmp_path / path)


@pytest.mark.parametrize("stop", range(1, 11))
def test_a_run_resumed_after_any_epoch_ends_the_same(stop: int, tmp_path: Path, whole: dict[str, torch.Tensor]) -> None:
    data = data_of()
    fit(method_of(data), data, tmp_path, Watch(stop_after=stop))
    again = method_of(data)
    trainer = fit(again, data, tmp_path, resume=str(tmp_path / f"epoch{stop - 1}.ckpt"))
    assert trainer.current_epoch == 11
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, whole[name]), name


def test_a_run_resumed_after_its_last_epoch_trains_no_more(tmp_path: Path, whole: dict[str, torch.Tensor]) -> None:
    data, watch = data_of(), Watch()
    fit(method_of(data), data, tmp_path)
    again = method_of(data)
    fit(again, data, tmp_path, watch, resume=str(tmp_path / "epoch10.ckpt"))
    assert watch.seen == []
    assert all(torch.equal(tensor, whole[name]) for name, tensor in again.state_dict().items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The state at the end of a run that nothing stopped."""
    data = data_of()
    method = method_of(data)
    fit(method, data, tmp_path_factory.mktemp("whole"))
    return {name: tensor.clone() for name, tensor in method.state_dict().items()}


def test_every_distinct_row_of_labels_is_a_class() -> None:
    rows = [[0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]
    # In falling order: [1 1 0], [1 0 0], [0 1 0], [0 0 1], [0 0 0].
    assert clip_classes(torch.tensor(rows).bool()).tolist() == [4, 1, 3, 2, 0, 4, 3]


def test_the_baseline_has_the_same_network() -> None:
    data = data_of()
    names = [{name: p.shape for name, p in method_of(data, b).network.named_parameters()} for b in (True, False)]
    assert names[0] == names[1]
    assert names[0]["clusters.weight"] == (6, 3)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    data = data_of()
    with pytest.raises(InputError, match=r"at least one epoch of each"):
        method_of(data, embedding_epochs=[])
    with pytest.raises(InputError, match=r"cluster_counts=\[1, 1\] must give each of the 3 classes"):
        method_of(data, cluster_counts=[1, 1])
    with pytest.raises(InputError, match=r"detector_epochs=0"):
        method_of(data, detector_epochs=0)
    with pytest.raises(InputError, match=r"trainer.max_epochs=10 would end a schedule of up to 11 epochs too early"):
        fit(method_of(data), data, tmp_path, max_epochs=10)
    with pytest.raises(InputError, match=r"check_val_every_n_epoch=1"):
        fit(method_of(data), data, tmp_path, check_val_every_n_epoch=2)
    with pytest.raises(InputError, match=r"weak labels, of which the dataset has none"):
        WeightedDetector(
            replace(parts_of(data, LSTMEncoder(20, 3)), weak_labels=torch.zeros(0, 3)), torch.optim.Adam, 1, 1, None
        )
