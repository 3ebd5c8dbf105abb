"""Classifying AudioSet's embeddings: Aziz, "Audio event classification using audio embeddings from the AudioSet data".

A clip is ten rows of 128 values in 0 ... 255, one row of VGGish's a second (section IV). They are divided by 255 or
taken as they are (section V), and a network tells which of four classes the clip is::

    z    = dense(network(e / 255))                       sections IV and V
    L    = binary, categorical or sparse categorical cross-entropy of z and the one-hot class y
    L_m  = sum_c binary cross-entropy of head c and y_c   with multiple outputs, one head a class

Scores are sigmoids with binary cross-entropy and a softmax with the others (section VI). There is no validation: the
weights of the last epoch are kept.

The paper leaves open, and here is: Adam at 1e-3 for 50 epochs; Keras's first weights; heads of one unit on a shared
network. What Keras called accuracy, before TensorFlow 2.2, changed with the loss; `sed_lab.metric.accuracy` measures
both kinds. Keras 2 clipped probabilities (`sed_lab.loss.ClippedBinary`), and so unscaled input stayed at chance.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sed_lab.errors import InputError
from sed_lab.loss import probability
from sed_lab.method.base import LossTerm, MakeOptimizer, Parts, Prediction, SedMethod
from sed_lab.model.embedding_net import keras_start
from sed_lab.types import Batch, Input, at_least_float32


class RowClassifier(SedMethod):
    """Clips of embeddings into classes.

    The front end gives embeddings ``[B, 10, 128]`` of audio, where a batch has no embeddings of its own; the network
    gives features of the clip ``[B, D]``, D in ``n_features``. The loss is on logits ``[B, C]``; with ``multi_output``
    on each head's ``[B, 1]``.

    Args:
        parts, optimizer: of the method.
        normalise: divide the embeddings by 255, the largest value there can be; not by a clip's own range.
        multi_output: a head for each class on the shared network, and the sum of their losses.

    Raises:
        InputError: a categorical loss with ``multi_output``.
    """

    takes = "features of embedding rows"
    trains_on = ("weak",)
    objective = ()  # there is no validation
    clips_only = True

    def __init__(self, parts: Parts, optimizer: MakeOptimizer, normalise: bool, multi_output: bool) -> None:
        super().__init__(parts, optimizer)
        if multi_output and getattr(parts.loss, "exclusive", False):
            raise InputError("method.multi_output=true has a head of one unit for each class; use it with loss=bce")
        self.model, self.normalise = parts.model, normalise
        # Modules' names have no dots, and none may hide a module's own.
        classes = parts.classes
        names = [f"is_{name.replace('.', '_')}" for name in classes] if multi_output else ["classes"]
        sizes = len(classes) // len(names)
        self.heads = nn.ModuleDict({name: nn.Linear(parts.model.n_features, sizes) for name in names})
        self.heads.apply(keras_start)

    def forward(self, x: Input) -> list[Tensor]:
        """Logits of each head: one of ``[B, C]``, or C of ``[B, 1]``."""
        e = at_least_float32(x.embedding if x.embedding is not None else self._embedded(x))
        features = self.model(e / 255 if self.normalise else e)
        return [head(features) for head in self.heads.values()]

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        logits = self(batch)
        targets = batch.weak.split(batch.weak.shape[1] // len(logits), dim=1)
        weights = [None] * len(logits) if self.class_weight is None else self.class_weight.split(targets[0].shape[1])
        heads = zip(logits, targets, weights, strict=True)
        return {"loss_weak": LossTerm(torch.stack([self.loss(z, y, class_weight=w) for z, y, w in heads]).sum(), "all")}

    def predict(self, x: Input) -> dict[str, Prediction]:
        return {"model": Prediction(clip=probability(self.loss, torch.cat(self(x), dim=1)))}

    def _embedded(self, x: Input) -> Tensor:
        if x.audio is None:
            raise InputError("this method works on rows of embeddings, but the dataset gives none; choose another")
        return self.feature(x.audio)
