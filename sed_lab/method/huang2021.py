"""Weakly supervised detection with an inter-frame distance loss and a detection branch: Huang et al., ICASSP 2021.

Frames of clips with the same labels are drawn together where they hold the same classes, and frames of clips without a
common label are pushed apart where they do not. Equation numbers are the paper's::

    dis(u, v) = u . v / D                                       a similarity, although called a distance     (1)
    L_norm    = |dis(z_it, z_it) - 1|                                                                       (2)
    L_IFD     = sum [dis_negative - dis_positive + a]_+ + sum L_norm,  a = 0.1                              (3)

Only frames at the same time are compared. A pair of clips is positive (identical label sets), negative (disjoint
ones) or neither, so the hinge joins two pairs that share an anchor frame (i, t): with G_ijt = dis(z_it, z_jt),

    P_it = {j != i : Y_j = Y_i and F_jt = F_it},   N_it = {l : Y_l & Y_i = 0 and F_lt != F_it}
    L_IFD = mean over anchors of mean over P x N of [G_ilt - G_ijt + a]_+  +  mean over frames of |G_iit - 1|

where an anchor has both a positive and a negative frame. The paper prints sums, whose balance depends on how triples
and pairs are counted; means keep both beside the other losses. `norm_weight` is the second one's factor, 1 as in (3):
the gradient of |G - 1| does not fade as lengths come near 1, and slows the clip loss down. Labels are compared as whole
vectors, and two silent frames are equal (with `active_only` no pair). All branches share an encoder::

    L = L_ATP + l1 L_IFD + l2 L_SEDB                                                                        (2.1)
    L_ATP   binary cross-entropy of clips, real and synthetic ones
    L_SEDB  binary cross-entropy of frames of synthetic clips, by a classifier of its own                   (4)

Frames of real clips are labelled by branch 1 itself: what lies above the threshold in a class that the clip holds
(section 2.2.2). Only branch 1 predicts. The paper leaves open, and here is: means in (4) too, l1 = l2 = 1, a linear
projection, and L_IFD from an epoch on, since at the start every frame's probability is 0.5.

Pairs are of the clips of all devices: a global batch has the same loss on one as on eight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sed_lab.errors import InputError
from sed_lab.files import replacing
from sed_lab.method.base import LossTerm, MakeOptimizer, Parts, Prediction, SedMethod
from sed_lab.model.attention_pool import AttentionPool
from sed_lab.types import Batch, Input, at_least_float32

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

PAIRS_AT_ONCE = 64  # positive pairs of clips, of which all triples are in memory together
FORMS = ("exact", "mean")
KEPT_FRAMES = 20  # of each class and domain, for pictures


def inter_frame_distance(
    z: Tensor, weak: Tensor, frame: Tensor, margin: float, form: str, active_only: bool
) -> tuple[Tensor, Tensor]:
    """The hinge of L_IFD in a batch, and its number of anchors.

    Args:
        z: ``[B, T, D]`` projected frames.
        weak: ``[B, C]`` labels of the clips in {0, 1}.
        frame: ``[B, T, C]`` labels of the frames in {0, 1}: true ones, or pseudo labels without a gradient.
        margin: a.
        form: ``exact``, or ``mean``: the hinge of an anchor's mean negative and mean positive similarity, cheaper.
        active_only: see `frame_pairs`.

    Without any anchor it is 0.
    """
    z = at_least_float32(z)
    g = torch.einsum("itd,jtd->ijt", z, z) / z.shape[2]  # (1)
    positive, negative = frame_pairs(weak, frame, active_only)
    n_positive, n_negative = positive.sum(1), negative.sum(1)  # [B, T]
    anchor = (n_positive > 0) & (n_negative > 0)
    anchors = anchor.sum()
    if form == "mean":
        near = (g * positive).sum(1) / n_positive.clamp(min=1)
        far = (g * negative).sum(1) / n_negative.clamp(min=1)
        return ((far - near + margin).clamp(min=0) * anchor).sum() / anchors.clamp(min=1), anchors
    weight = anchor / (n_positive * n_negative).clamp(min=1) / anchors.clamp(min=1)
    return _TripleHinge.apply(g, positive, negative, weight, margin), anchors


def frame_norm(z: Tensor) -> Tensor:
    """The mean of L_norm over the frames of ``z [B, T, D]``, 0 without any (2)."""
    z = at_least_float32(z)
    return (z.square().mean(2) - 1).abs().sum() / max(1, z.shape[0] * z.shape[1])


def frame_pairs(weak: Tensor, frame: Tensor, active_only: bool) -> tuple[Tensor, Tensor]:
    """Which frame pairs are positive and which negative: booleans ``[B, B, T]``, anchor first (section 2.2.1).

    With ``active_only`` a frame of a pair holds at least one event: two silent ones are not drawn together.
    """
    classes = 2 ** torch.arange(weak.shape[1], device=weak.device)
    clip_code = (weak.round().long() * classes).sum(1)
    frame_code = (frame.round().long() * classes).sum(2)
    same = clip_code[:, None] == clip_code
    disjoint = (clip_code[:, None] & clip_code) == 0
    equal = frame_code[:, None] == frame_code
    itself = torch.eye(len(weak), dtype=torch.bool, device=weak.device)
    alike = equal & (frame_code > 0) if active_only else equal
    return (same & ~itself)[..., None] & alike, (disjoint & ~same)[..., None] & ~equal


def middle_frames(x: Tensor, strong: Tensor) -> dict[tuple[int, int], Tensor]:
    """Of each clip and class the middle one of the frames that hold this class alone: ``{(clip, class): [H]}``.

    Args:
        x: ``[B, T, H]`` encoded frames. strong: ``[B, T, C]`` their true labels.
    """
    alone = (strong > 0.5) & (strong.sum(2, keepdim=True) == 1)
    found = {}
    for row, label in alone.any(1).nonzero().tolist():
        times = alone[row, :, label].nonzero().flatten()
        found[row, label] = x[row, times[len(times) // 2]]
    return found


def write_frames(folder: Path, frames: Mapping[tuple[int, int, int], tuple[bool, Mapping[str, np.ndarray]]]) -> None:
    """Write frames.npz: ``event_label [N]``, ``synthetic [N]`` and the frames' vectors in each space by its name.

    ``embedding [N, H]`` is the encoder's, ``projection [N, D]`` that of L_IFD where the model has it. Of each class and
    domain the first `KEPT_FRAMES` in the order of their keys (subset, clip, class): the same frames whatever the model.
    """
    count: Counter[tuple[int, bool]] = Counter()
    arrays: dict[str, list[Any]] = {}
    for (_, _, label), (synthetic, vectors) in sorted(frames.items(), key=lambda item: item[0]):
        count[label, synthetic] += 1
        if count[label, synthetic] <= KEPT_FRAMES:
            for name, value in {**vectors, "event_label": label, "synthetic": synthetic}.items():
                arrays.setdefault(name, []).append(value)
    folder.mkdir(exist_ok=True)
    with replacing(folder / "frames.npz") as beside, beside.open("wb") as file:
        np.savez_compressed(file, **{name: np.array(values) for name, values in arrays.items()})  # type: ignore[arg-type]


class WeakSynthetic(SedMethod):
    """Branch 1 with the two others switched on or off: the paper's four models.

    The network is encoder and branch 1. The loss is that of clips and of branch 3's frames; the paper's is binary
    cross-entropy.

    Args:
        parts: of the method; ``optimizer``: its rate falls by ``rate_decay`` every ``rate_epochs``.
        ifd, sedb: whether L_IFD and L_SEDB take part. ifd_weight, sedb_weight: l1 and l2; norm_weight: of L_norm in
            L_IFD.
        form, margin, active_only: of L_IFD, see `inter_frame_distance`.
        n_projection: D.
        pseudo_threshold: of the frames of real clips.
        ifd_from_epoch: the first epoch, from 0, with L_IFD.
        patience: training ends when ``val/objective`` has not risen in so many validations.

    Validation also counts how right pseudo labels of its clips would be. While testing, one frame a clip and class is
    kept for pictures of the encoder's space, see `middle_frames`.

    Raises:
        InputError: an unknown form.
    """

    model: AttentionPool
    takes = "encoded frames and their pooling"
    trains_on = ("synthetic", "weak")
    objective = ("validation/model/tagging_f1",)
    validation_losses = ("model/loss_weak", "model/pseudo_precision", "model/pseudo_recall")
    stops_early = True
    takes_features = True
    gathers = True  # pairs are of all devices' clips
    training_only = ("projection", "detection")

    def __init__(
        self,
        parts: Parts,
        optimizer: MakeOptimizer,
        ifd: bool,
        sedb: bool,
        ifd_weight: float,
        norm_weight: float,
        sedb_weight: float,
        form: str,
        margin: float,
        active_only: bool,
        n_projection: int,
        pseudo_threshold: float,
        ifd_from_epoch: int,
        rate_decay: float,
        rate_epochs: int,
        patience: int,
    ) -> None:
        super().__init__(parts, optimizer)
        if form not in FORMS:
            raise InputError(f"method.form={form!r} is unknown; use {' or '.join(FORMS)}")
        self.model = parts.model
        self.projection = nn.Linear(self.model.n_hidden, n_projection) if ifd else None
        self.detection = nn.Linear(self.model.n_hidden, self.model.n_classes) if sedb else None
        self.ifd_weight, self.norm_weight, self.sedb_weight = ifd_weight, norm_weight, sedb_weight
        self.form, self.margin, self.active_only = form, margin, active_only
        self.pseudo_threshold, self.ifd_from_epoch = pseudo_threshold, ifd_from_epoch
        self.rate_decay, self.rate_epochs, self.patience = rate_decay, rate_epochs, patience
        self._frames: dict[tuple[int, int, int], tuple[bool, dict[str, np.ndarray]]] = {}

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        x = self.model.encode(self.features(batch))
        g, clip = self.model.pool(x)
        labelled = batch.has_weak | batch.has_strong
        weak = self.loss(clip, batch.weak, class_weight=self.class_weight, mask=labelled)
        terms = {"loss_weak": LossTerm(weak, "all")}  # L_ATP
        if self.detection is not None:
            frame = self.loss(self.detection(x), batch.strong, class_weight=self.class_weight, mask=batch.has_strong)
            terms["loss_sedb"] = LossTerm(frame, "strong", self.sedb_weight)  # (4)
        if self.projection is not None:
            z = self.projection(x)[labelled]
            weight = self.ifd_weight * (self.current_epoch >= self.ifd_from_epoch)
            hinge, anchors = self._distance(z, g, batch, labelled)
            terms["loss_ifd"] = LossTerm(hinge, "gathered", weight)  # (3)
            terms["loss_norm"] = LossTerm(frame_norm(z), "all", weight * self.norm_weight)
            self.note("anchors", anchors.float(), batch)
        return terms

    def _distance(self, z: Tensor, g: Tensor, batch: Batch, labelled: Tensor) -> tuple[Tensor, Tensor]:
        frame = torch.where(batch.has_strong[:, None, None], batch.strong, self._pseudo_labels(g, batch))[labelled]
        z, weak, frame = (self.gather(rows) for rows in (z, batch.weak[labelled], frame))
        return inter_frame_distance(z, weak, frame, self.margin, self.form, self.active_only)

    def _pseudo_labels(self, g: Tensor, batch: Batch) -> Tensor:
        return (g.detach().sigmoid() >= self.pseudo_threshold) * batch.weak[:, None]  # section 2.2.2

    def predict(self, x: Input) -> dict[str, Prediction]:
        return _probabilities(*self.model(self.features(x)))

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Prediction]:
        frame, clip = self.model(self.features(batch))
        labelled = batch.has_weak | batch.has_strong
        mean = self.loss(clip, batch.weak, class_weight=self.class_weight, mask=labelled)
        self.add_validation_loss("model/loss_weak", mean, labelled.sum())
        pseudo, true = self._pseudo_labels(frame, batch)[batch.has_strong], batch.strong[batch.has_strong]
        right = (pseudo * true).sum()
        for name, said in (("precision", pseudo.sum()), ("recall", true.sum())):  # means over active frames and classes
            self.add_validation_loss(f"model/pseudo_{name}", right / said.clamp(min=1), said)
        return _probabilities(frame, clip)

    def on_test_epoch_start(self) -> None:
        self._frames = {}

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Prediction]:
        x = self.model.encode(self.features(batch))
        frame, clip = self.model.pool(x)
        spaces = {"embedding": x} if self.projection is None else {"embedding": x, "projection": self.projection(x)}
        vectors = {name: middle_frames(space, batch.strong) for name, space in spaces.items()}
        for row, label in vectors["embedding"]:
            key = (dataloader_idx, int(batch.index[row]), label)
            kept = {name: found[row, label].half().cpu().numpy() for name, found in vectors.items()}
            self._frames[key] = (bool(batch.synthetic[row]), kept)
        return _probabilities(frame, clip)

    def on_test_epoch_end(self) -> None:
        parts = [self._frames]
        if dist.is_available() and dist.is_initialized():
            parts = [{}] * dist.get_world_size()
            dist.all_gather_object(parts, self._frames)
        frames = {key: value for part in parts for key, value in part.items()}
        if self.trainer.is_global_zero and frames:
            write_frames(Path(self.trainer.default_root_dir) / "embeddings", frames)

    def configure_callbacks(self) -> list[Callback]:
        from pytorch_lightning.callbacks import EarlyStopping

        return [EarlyStopping("val/objective", mode="max", patience=self.patience, min_delta=0.0)]

    def on_fit_start(self) -> None:
        from pytorch_lightning.callbacks import EarlyStopping

        super().on_fit_start()
        stop = next(one for one in self.trainer.callbacks if isinstance(one, EarlyStopping))  # type: ignore[attr-defined]
        self.trainer.should_stop = stop.wait_count >= stop.patience  # killed after its last epoch, resumed

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, self.rate_epochs, self.rate_decay)]


def _probabilities(frame: Tensor, clip: Tensor) -> dict[str, Prediction]:
    return {"model": Prediction(at_least_float32(frame).sigmoid(), at_least_float32(clip).sigmoid())}


class _TripleHinge(torch.autograd.Function):
    """``sum_it w_it sum_{j in P, l in N} [G_ilt - G_ijt + a]_+`` with the gradient taken in the same pass.

    The loss is linear where its hinges are open, so its gradient in G is a count of them; nothing else is kept for the
    backward pass. Few pairs of clips hold the same classes, so triples are taken from these pairs, some at a time.
    """

    @staticmethod
    def forward(ctx: Any, g: Tensor, positive: Tensor, negative: Tensor, weight: Tensor, margin: float) -> Tensor:
        total, count = g.new_zeros(()), torch.zeros_like(g)
        anchor, near = positive.any(2).nonzero(as_tuple=True)
        for i, j in zip(anchor.split(PAIRS_AT_ONCE), near.split(PAIRS_AT_ONCE), strict=True):
            hinge = g[i] - g[i, j][:, None] + margin  # [(i, j), l, t]
            open_ = (hinge > 0) & positive[i, j][:, None] & negative[i]
            total += (hinge.mul_(open_).sum(1) * weight[i]).sum()
            count.index_add_(0, i, open_.to(g.dtype))
            count[i, j] -= open_.sum(1)
        gradient = weight[:, None] * count
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return outer[0] * gradient, None, None, None, None
