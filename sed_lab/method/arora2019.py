"""Embedding clusters with a triple-header cross-entropy: Arora et al., ICASSP 2019.

A class is a distinct value of the label vector, so clips of the background are a class of their own. Each class is
clustered in the embedding's space, a large class into several clusters, and the embedding learns to name the cluster of
a clip. Equation numbers are the paper's::

    K_c      = floor(I_c / min I_c')                                         clusters of class c (section 3)
    h_ik     = <e_i, W_k>                                                                                (4)
    v_ik     = e^{a h_ik} / (e^{a h_ik} + e^{a h_ik' - b'} + e^{a h_ik'' - b''})                         (5)
    k'       = the best other cluster of the same class, k'' = the best cluster of another class    (6), (7)
    L        = - sum_i max_k(w_k) / w_{k_i} log v_{i k_i},  w_k = K_{c_k}                           (8), (9)

The margins b' = 5 and b'' = 0 are subtracted inside the rivals' exponents as printed, so a rival of the same class is
discounted by e^-5 and one of another class counts whole. In (6) and (7) the paper's index j reads i.

The paper leaves open, and here is: alpha 10; the baseline's "dense output layers" are the detector's two; a frozen
encoder is in evaluation mode; P2 goes on from the best P1.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sed_lab.errors import InputError
from sed_lab.files import replacing
from sed_lab.method.base import LossTerm, MakeOptimizer, Parts, Prediction
from sed_lab.method.cluster import cluster_classes
from sed_lab.method.phased import Phase, PhasedMethod
from sed_lab.model.encoder import load_encoder
from sed_lab.types import Batch, Input, at_least_float32


def count_clusters(clips: Sequence[int], asked: Sequence[int] | None = None) -> list[int]:
    """K_c of each class from its number of clips: as often as the smallest class fits into it, or as ``asked``.

    Raises:
        InputError: a class has no clip; ``asked`` does not give each class between 1 and its number of clips.
    """
    if not clips or min(clips) < 1:
        raise InputError(f"classes of {', '.join(map(str, clips))} clips: every class needs one to be clustered")
    if asked is None:
        return [count // min(clips) for count in clips]
    if len(asked) != len(clips) or any(not 1 <= k <= n for k, n in zip(asked, clips, strict=False)):
        raise InputError(
            f"method.cluster_counts={list(asked)} must give each of the {len(clips)} classes between 1 and its number"
            f" of clips, {', '.join(map(str, clips))}"
        )
    return list(asked)


def clip_classes(weak_labels: Tensor) -> Tensor:
    """The class of each clip ``[I]`` from its labels ``[I, C]``: each distinct row is a class (section 3).

    Classes are in falling order of their rows, so that clips of one label come in the labels' order, the background,
    without any, last.
    """
    rows, number = torch.unique(weak_labels.to(torch.int8), dim=0, return_inverse=True)
    return len(rows) - 1 - number


def cluster_weight(cluster_class: Tensor) -> Tensor:
    """``max(w) / w_k`` of eq. 8 and 9 for each cluster ``[K]``: classes count alike with few or many."""
    w = (cluster_class[:, None] == cluster_class[None, :]).sum(1).float()
    return w.max() / w


def log_v(
    h: Tensor,
    cluster: Tensor,
    cluster_class: Tensor,
    alpha: float = 1.0,
    same_margin: float = 5.0,
    other_margin: float = 0.0,
) -> Tensor:
    """``log v_{i k_i}`` of eq. 5 for each clip ``[B]``, stable for any h.

    Args:
        h: ``[B, K]`` products with the centroids (eq. 4).
        cluster: ``[B]`` the clip's own cluster k_i.
        cluster_class: ``[K]`` the class of each cluster.
        alpha: scale of h; 1 where the centroids' lengths hold it, as in training.
        same_margin, other_margin: b' and b''.

    A class with one cluster has no same-class rival, and that term is left out.
    """
    h = at_least_float32(h) * alpha
    own = h.gather(1, cluster[:, None])
    same = cluster_class[cluster][:, None] == cluster_class[None, :]
    itself = torch.arange(h.shape[1], device=h.device)[None, :] == cluster[:, None]
    rival_same = h.masked_fill(~same | itself, -math.inf).amax(1, keepdim=True) - same_margin
    rival_other = h.masked_fill(same, -math.inf).amax(1, keepdim=True) - other_margin
    return (own - torch.logsumexp(torch.cat([own, rival_same, rival_other], 1), 1, keepdim=True)).squeeze(1)


def triple_header(
    h: Tensor,
    cluster: Tensor,
    cluster_class: Tensor,
    alpha: float = 1.0,
    same_margin: float = 5.0,
    other_margin: float = 0.0,
) -> Tensor:
    """Triple-header cross-entropy (eq. 8), mean over the batch; arguments as `log_v`. It costs ``B x K``."""
    weight = cluster_weight(cluster_class)[cluster]
    return -(weight * log_v(h, cluster, cluster_class, alpha, same_margin, other_margin)).mean()


class ClusterNetwork(nn.Module):
    """Encoder, the dense layer of eq. 4 without bias, and the output layer (section 3.2, fig. 2)."""

    def __init__(self, encoder: nn.Module, n_embedding: int, n_clusters: int, n_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.clusters = nn.Linear(n_embedding, n_clusters, bias=False)
        self.output = nn.Linear(n_clusters, n_classes)

    def forward(self, feature: Tensor) -> Tensor:
        """``[B, F, M]`` -> logits of clips ``[B, C]``."""
        return self.output(self.clusters(self.encoder(feature)))


class WeightedDetector(PhasedMethod):
    """The baseline B: the same network, trained end to end with class weights (eq. 2) from the start.

    The network is an encoder, ``[B, F, M]`` to unit vectors ``[B, E]``, E in ``n_embedding``; the loss is the
    detector's, on logits ``[B, C]``: eq. 2 is `sed_lab.loss.WeightedBinary`.

    Args:
        parts: of the method; the classes of clips come from its weak labels. ``optimizer`` begins anew with each phase.
        cluster_counts: K_c of each class, in the order of `clip_classes`; None: as section 3 counts them. The baseline
            has as many columns W, which it starts at random.
        detector_epochs, patience: of the detector's training; the paper gives a patience of 10 and no limit.

    Raises:
        InputError: a class without a clip, counts that do not fit, an epoch number that is not above 0.
    """

    takes = "one embedding a clip"
    trains_on = ("weak",)
    objective = ("weak_validation/loss",)
    clips_only = True
    takes_features = True
    network: ClusterNetwork
    cluster_class: Tensor

    def __init__(
        self,
        parts: Parts,
        optimizer: MakeOptimizer,
        detector_epochs: int,
        patience: int,
        cluster_counts: Sequence[int] | None,
    ) -> None:
        super().__init__(parts, optimizer)
        if parts.weak_labels is None:  # a trained detector: nothing is counted, and nothing clustered
            self.clip_class, self.counts = torch.zeros(0, dtype=torch.int64), list(cluster_counts or ())
        elif not len(parts.weak_labels):
            raise InputError("this method trains on clips with weak labels, of which the dataset has none; use another")
        else:
            self.clip_class = clip_classes(parts.weak_labels)
            self.counts = count_clusters(torch.bincount(self.clip_class).tolist(), cluster_counts)
        self.network = ClusterNetwork(parts.model, parts.model.n_embedding, sum(self.counts), len(parts.classes))
        cluster_class = torch.arange(len(self.counts)).repeat_interleave(torch.tensor(self.counts))
        self.register_buffer("cluster_class", cluster_class, persistent=False)
        if detector_epochs < 1:
            raise InputError(f"method.detector_epochs={detector_epochs} must be at least 1")
        self.schedule = [Phase("detector", detector_epochs, patience)]

    def decided(self) -> dict[str, Any]:
        return {"cluster_counts": self.counts}

    def trained(self, phase: Phase) -> Sequence[nn.Module]:
        return [self.network]

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        self.note("phase", float(self.progress["phase"]), batch)
        return {"loss_weak": LossTerm(self._detector_loss(self.network(self.features(batch)), batch), "all")}

    def predict(self, x: Input) -> dict[str, Prediction]:
        return {"model": Prediction(clip=self.network(self.features(x)).sigmoid())}

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Prediction]:
        logits = self.network(self.features(batch))
        loss = self._detector_loss(logits, batch)
        self.add_validation_loss("loss", loss, torch.tensor(len(batch), device=loss.device))
        system = "proposed1" if self.phase.trains == "output" else self.systems[0]
        return {system: Prediction(clip=logits.sigmoid())}

    def _detector_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return self.loss(logits, batch.weak, class_weight=self.class_weight)  # (2)


class EmbeddingClusters(WeightedDetector):
    """Algorithm 1: the embedding, the output layer alone (Proposed1, P1), everything end to end (Proposed2, P2).

    Each of ``embedding_epochs`` is one iteration: embed all training clips, cluster every class, start W at the
    centroids times ``alpha`` (W holds alpha, section 3.1), train W alone for ``centroid_epochs``, then encoder and W.
    While the encoder is frozen, its embeddings are taken from the table made when the phase began, and it is in
    evaluation mode. P1 is the best output layer by validation loss, and P2 goes on from it.

    Args:
        embedding_epochs: N_epoch of each iteration, the paper's 30, 30, 30, 30, 150; centroid_epochs: before, 2 each.
        pretrained: detector.ckpt of a run whose encoder is the first one ("randomly or from a pre-trained network").
        alpha: length of W's columns at the start of each iteration; the paper does not give it.
        same_margin, other_margin: b' and b'' of eq. 5.
        balance: of the clusters' sizes, see `sed_lab.method.cluster`.
        keep_embeddings: write embeddings/iteration_<n>.npz into the run's folder as each iteration begins, and after
            the last one.
        others: as `WeightedDetector`.
    """

    systems = ("proposed2", "proposed1")

    def __init__(
        self,
        parts: Parts,
        optimizer: MakeOptimizer,
        embedding_epochs: Sequence[int],
        centroid_epochs: int,
        pretrained: Path | str | None,
        alpha: float,
        same_margin: float,
        other_margin: float,
        detector_epochs: int,
        patience: int,
        balance: str,
        cluster_counts: Sequence[int] | None,
        keep_embeddings: bool,
    ) -> None:
        super().__init__(parts, optimizer, detector_epochs, patience, cluster_counts)
        if not embedding_epochs or min(*embedding_epochs, centroid_epochs) < 1:
            said = f"method.embedding_epochs={list(embedding_epochs)}, method.centroid_epochs={centroid_epochs}"
            raise InputError(f"{said}: every iteration needs at least one epoch of each")
        if pretrained is not None:
            load_encoder(self.network.encoder, Path(pretrained))
        self.alpha, self.margins, self.balance, self.keep = alpha, (same_margin, other_margin), balance, keep_embeddings
        iterations = [(Phase("centroids", centroid_epochs), Phase("embedding", epochs)) for epochs in embedding_epochs]
        output = Phase("output", detector_epochs, patience)
        self.schedule = [*itertools.chain(*iterations), output, *self.schedule]
        self.proposed1 = copy.deepcopy(self.network).requires_grad_(False)
        # No buffers, which processes that train together would send each other in every step.
        self.embedding = torch.zeros(len(self.clip_class), self.network.clusters.in_features)
        self.cluster = torch.zeros(len(self.clip_class), dtype=torch.int64)

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        self.note("phase", float(self.progress["phase"]), batch)
        frozen = not self.reads_clips(self.phase)
        e = self.embedding[batch.index] if frozen else self.network.encoder(self.features(batch))
        h = self.network.clusters(e)  # (4)
        if self.phase.trains in ("centroids", "embedding"):
            cluster = self.cluster[batch.index]
            loss = triple_header(h, cluster, self.cluster_class, 1.0, *self.margins)  # (8)
            self.note("loss_constant", cluster_weight(self.cluster_class)[cluster].mean() * math.log(2), batch)
        else:
            loss = self._detector_loss(self.network.output(h), batch)  # (2)
        return {f"loss_{self.phase.trains}": LossTerm(loss, "all")}

    def trained(self, phase: Phase) -> Sequence[nn.Module]:
        network = self.network
        parts: dict[str, list[nn.Module]] = {
            "centroids": [network.clusters],
            "embedding": [network.encoder, network.clusters],
            "output": [network.output],
            "detector": [network],
        }
        return parts[phase.trains]

    def decided(self) -> dict[str, Any]:
        return {**super().decided(), "pretrained": None}

    def reads_clips(self, phase: Phase) -> bool:
        return phase.trains not in ("centroids", "output")

    def predict(self, x: Input) -> dict[str, Prediction]:
        feature = self.features(x)
        networks = {"proposed2": self.network, "proposed1": self.proposed1}
        return {system: Prediction(clip=network(feature).sigmoid()) for system, network in networks.items()}

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.embedding, self.cluster = self.embedding.to(self.device), self.cluster.to(self.device)

    def begin_phase(self) -> None:
        super().begin_phase()
        if self.reads_clips(self.phase):
            return
        self.embed()
        if self.phase.trains == "centroids":
            found = self.from_first(self.clusters() if self.trainer.is_global_zero else {})
            self.cluster = found["cluster"].to(self.device)
            with torch.no_grad():
                self.network.clusters.weight.copy_(self.alpha * found["centroids"])
        if self.keep and self.trainer.is_global_zero:
            self.write_embeddings(Path(self.trainer.default_root_dir) / "embeddings")

    def clusters(self) -> dict[str, Tensor]:
        """The cluster of each training clip ``[I]``, and the unit centroids ``[K, E]``."""
        ids, centroids = cluster_classes(self.embedding, self.clip_class, self.counts, self.seed, self.balance)
        return {"cluster": ids, "centroids": centroids}

    @torch.no_grad()
    def embed(self) -> None:
        """Fill the table of all training clips' embeddings; each process embeds its share."""
        table = torch.zeros_like(self.embedding, device=self.device)
        encoder = self.network.encoder.eval()
        encoder.load_state_dict(self.from_first(encoder.state_dict()))  # batch norm has seen other clips elsewhere
        for batch in self.data.every_clip("weak", self.global_rank, self.trainer.world_size):
            table[batch.index] = encoder(self.features(self.transfer_batch_to_device(batch, self.device, 0)))
        self.embedding = self.trainer.strategy.reduce(table, reduce_op="sum")

    def keep_best(self) -> None:
        if self.phase.trains == "output":
            self.proposed1.load_state_dict(self.network.state_dict())

    def end_phase(self) -> None:
        if self.phase.trains == "output":
            self.network.load_state_dict(self.proposed1.state_dict())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint |= {"embedding": self.embedding, "cluster": self.cluster}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.embedding, self.cluster = checkpoint["embedding"], checkpoint["cluster"]

    def write_embeddings(self, folder: Path) -> None:
        """Write the table, clusters and centroids as iteration_<n>.npz."""
        arrays = {"embedding": self.embedding, "cluster": self.cluster, "clip_class": self.clip_class}
        arrays |= {"cluster_class": self.cluster_class, "centroids": self.network.clusters.weight.detach()}
        folder.mkdir(exist_ok=True)
        name = f"iteration_{int(self.progress['phase']) // 2}.npz"
        with replacing(folder / name) as beside, beside.open("wb") as file:
            np.savez_compressed(file, **{name: array.cpu().numpy() for name, array in arrays.items()})  # type: ignore[arg-type]
