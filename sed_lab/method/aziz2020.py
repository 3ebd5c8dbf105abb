"""Classifying AudioSet's embeddings: Aziz, "Audio event classification using audio embeddings from the AudioSet data".

A clip is ten rows of 128 values in 0 ... 255, one row of VGGish's a second (section IV). They are divided by 255 or
taken as they are (section V), and a network tells which of four classes the clip is::

    z    = dense(network(e / 255))                       sections IV and V
    L    = binary, categorical or sparse categorical cross-entropy of z and the one-hot class y
    L_m  = sum_c binary cross-entropy of head c and y_c   with multiple outputs, one head a class

Scores are sigmoids with binary cross-entropy and a softmax with the others (section VI). There is no validation: the
weights of the last epoch are kept.

The paper leaves open, and here is: Adam at 1e-3 for 50 epochs; Keras's first weights; heads of one unit on a shared
network. What Keras calls accuracy changes with the loss; `sed_lab.metric.accuracy` measures both kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from sed_lab.errors import InputError
from sed_lab.feature.vggish import VggishEmbedding
from sed_lab.loss import Loss, probability
from sed_lab.method.base import Prediction, SedMethod
from sed_lab.model.embedding_net import RowCNN, RowFNN, keras_start
from sed_lab.types import Batch


class RowClassifier(SedMethod):
    """Clips of embeddings into classes.

    Args:
        feature: gives embeddings ``[B, 10, 128]`` of audio, where a batch has no embeddings of its own.
        model: rows ``[B, 10, 128]`` to features of the clip ``[B, D]``, D in ``n_features``.
        loss: on logits ``[B, C]``; with ``multi_output`` on each head's ``[B, 1]``.
        classes: names of the C classes.
        optimizer: makes the optimiser.
        normalise: divide the embeddings by 255, the largest value there can be; not by a clip's own range.
        multi_output: a head for each class on the shared network, and the sum of their losses.
        class_weight: ``[C]`` weights for the loss, or None.
        seed: of the random numbers drawn while training.

    Raises:
        InputError: a network that does not take rows of embeddings; a categorical loss with ``multi_output``.
    """

    clips_only = True
    class_weight: torch.Tensor | None

    def __init__(
        self,
        feature: VggishEmbedding,
        model: RowCNN | RowFNN,
        loss: Loss,
        classes: Sequence[str],
        optimizer: Callable[..., torch.optim.Optimizer],
        normalise: bool = True,
        multi_output: bool = False,
        class_weight: torch.Tensor | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, seed)
        if not hasattr(model, "n_features"):
            raise InputError(f"{type(model).__name__} takes no rows of embeddings; use model=row_cnn or model=row_fnn")
        if multi_output and getattr(loss, "exclusive", False):
            raise InputError("method.multi_output=true has a head of one unit for each class; use it with loss=bce")
        self.feature, self.model, self.loss = feature, model, loss
        self.normalise = normalise
        # Modules' names have no dots, and none may hide a module's own.
        names = [f"is_{name.replace('.', '_')}" for name in classes] if multi_output else ["classes"]
        self.heads = nn.ModuleDict({name: nn.Linear(model.n_features, len(classes) // len(names)) for name in names})
        self.heads.apply(keras_start)
        self.register_buffer("class_weight", class_weight)

    def forward(self, batch: Batch) -> list[torch.Tensor]:
        """Logits of each head: one of ``[B, C]``, or C of ``[B, 1]``."""
        e = batch.embedding if batch.embedding is not None else self._embedded(batch)
        x = e.float() / 255 if self.normalise else e.float()
        features = self.model(x)
        return [head(features) for head in self.heads.values()]

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        logits = self(batch)
        targets = batch.weak.split(batch.weak.shape[1] // len(logits), dim=1)
        weights = [None] * len(logits) if self.class_weight is None else self.class_weight.split(targets[0].shape[1])
        heads = zip(logits, targets, weights, strict=True)
        loss = torch.stack([self.loss(z, y, class_weight=w) for z, y, w in heads]).sum() * batch.share_all
        self.log("loss", loss, prog_bar=True, logger=False, batch_size=len(batch))
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch))
        return loss

    def predict(self, batch: Batch) -> dict[str, Prediction]:
        return {"model": Prediction(clip=probability(self.loss, torch.cat(self(batch), dim=1)))}

    def on_fit_start(self) -> None:
        self.refuse_all_but_weak()

    def _embedded(self, batch: Batch) -> torch.Tensor:
        if batch.audio is None:
            raise InputError("this method works on rows of embeddings, but the dataset gives none; choose another")
        return self.feature(batch.audio)
