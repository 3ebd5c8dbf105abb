"""Networks on a clip's rows of embeddings: ``[B, R, 128]`` to features of the clip ``[B, n_features]`` (Aziz, sec. V).

Layers start as Keras starts them, which the paper used: weights uniform after Glorot and Bengio 2010, biases 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from sed_lab.errors import InputError
from sed_lab.model.grid import SameFrames

PADDINGS = ("valid", "same")


class RowCNN(SameFrames):
    """Three convolutions of 1 row x 6 values with ReLU, the first two of them followed by max pooling.

    Rows are the heat map's y axis, values of an embedding its x axis. The first layer's stride of 2 also goes down the
    rows, one row high: every second row never reaches the network. The poolings are 2 x 2 with stride 1.

    Args:
        n_rows, n_values: R and the length of an embedding, 10 and 128.
        last_pooling: also pool after the third convolution (the paper's optional layer 6).
        padding: of the first convolution, ``valid`` or ``same``; the paper says *same* of the other two only.

    Raises:
        InputError: an unknown padding; too few rows.
    """

    gives = ("features of embedding rows",)
    normalises_batches = False

    def __init__(self, n_rows: int, n_values: int, last_pooling: bool, padding: str) -> None:
        super().__init__()
        if padding not in PADDINGS:
            raise InputError(f"model.padding={padding!r} is unknown; use {' or '.join(PADDINGS)}")
        if n_rows < 7:
            raise InputError(f"the CNN of rows needs at least 7 of them a clip, not {n_rows}; use longer clips")
        # TensorFlow's *same* with stride 2 over an even length: (6 - 2) / 2 on each side.
        first = nn.Conv2d(1, 16, (1, 6), stride=2, padding=(0, 2 if padding == "same" else 0))
        layers: list[nn.Module] = [first, nn.ReLU(), nn.MaxPool2d(2, stride=1)]
        same = nn.ZeroPad2d((2, 3, 0, 0))  # as TensorFlow pads for six values: the odd one on the right
        layers += [same, nn.Conv2d(16, 32, (1, 6)), nn.ReLU(), nn.MaxPool2d(2, stride=1)]
        layers += [same, nn.Conv2d(32, 32, (1, 6)), nn.ReLU()]
        layers += [nn.MaxPool2d(2, stride=1)] if last_pooling else []
        self.layers = nn.Sequential(*layers, nn.Flatten()).apply(keras_start)
        self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            self.n_features = self.layers(torch.zeros(1, 1, n_rows, n_values)).shape[1]

    def forward(self, rows: Tensor) -> Tensor:
        """``[B, R, 128]`` -> ``[B, n_features]``."""
        return self.layers(rows[:, None])


class RowFNN(SameFrames):
    """All rows one after the other through dense layers with ReLU: the paper's ONN, ``1280/10-100-1000``.

    Args:
        n_rows, n_values: R and the length of an embedding, 10 and 128.
        hidden: units of each layer. The paper's notation may mean three layers one after the other, or three networks
            of one layer each, ``[10]``, ``[100]`` and ``[1000]``.
    """

    gives = ("features of embedding rows",)
    normalises_batches = False

    def __init__(self, n_rows: int, n_values: int, hidden: Sequence[int]) -> None:
        super().__init__()
        sizes = (n_rows * n_values, *hidden)
        layers = [layer for sides in pairwise(sizes) for layer in (nn.Linear(*sides), nn.ReLU())]
        self.layers = nn.Sequential(nn.Flatten(), *layers).apply(keras_start)
        self.n_features = sizes[-1]

    def forward(self, rows: Tensor) -> Tensor:
        """``[B, R, 128]`` -> ``[B, n_features]``."""
        return self.layers(rows)


class MeanRow(SameFrames):
    """The mean of a clip's rows, from which the method's outputs are a logistic regression: what a network must beat.

    Args:
        n_values: length of an embedding, 128.
    """

    gives = ("features of embedding rows",)
    normalises_batches = False

    def __init__(self, n_values: int) -> None:
        super().__init__()
        self.n_features = n_values

    def forward(self, rows: Tensor) -> Tensor:
        """``[B, R, 128]`` -> ``[B, 128]``."""
        return rows.mean(1)


def keras_start(module: nn.Module) -> None:
    """Give a layer with weights Keras's initial ones."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
