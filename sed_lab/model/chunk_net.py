"""Networks that judge every frame of a short chunk: the rare event detectors of Amiriparian et al. 2018, table 4."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed_lab.errors import InputError
from sed_lab.model.grid import SameFrames

DIRECTIONS = ("reverse", "forward", "both")


class ChunkNet(SameFrames):
    """Two convolutions, LSTM layers, a dense layer and one logit a frame; without LSTM layers, the paper's CNN.

    The first convolution is 3 x 3, the second along frequency only; both pool frequency and keep time (section 2.2).
    The LSTM layers all run from the last frame to the first (``reverse``, section 2.3): the chunk is flipped before and
    after, since stacked layers that return reversed sequences would run forward in the second one.

    Args:
        n_mels: M.
        filters, pooling: of the two convolutions; the pooling is of frequency. Without filters there is no convolution:
            the LSTM takes the mel bins.
        n_units, n_layers: of the LSTM; 0 layers leave it out.
        direction: ``reverse``, ``forward`` or ``both``.
        n_dense: units of the dense layer.
        dropout: after every layer.

    Raises:
        InputError: an unknown direction, or pooling that leaves no bin.
    """

    gives = ("a chunk's posterior",)
    normalises_batches = True

    def __init__(
        self,
        n_mels: int,
        filters: Sequence[int],
        pooling: Sequence[int],
        n_units: int,
        n_layers: int,
        direction: str,
        n_dense: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if direction not in DIRECTIONS:
            raise InputError(f"model.direction={direction!r} is unknown; use {', '.join(DIRECTIONS)}")
        bins = n_mels // pooling[0] // pooling[1] if filters else n_mels
        if bins < 1:
            raise InputError(f"model.pooling={list(pooling)} leaves none of {n_mels} mel bins; use smaller numbers")
        self.direction, self.convolves = direction, bool(filters)
        if self.convolves:
            self.conv1 = nn.Conv2d(1, filters[0], 3, padding=1)
            self.conv2 = nn.Conv2d(filters[0], filters[1], (1, 3), padding=(0, 1))
            self.norm1, self.norm2 = (nn.BatchNorm2d(n) for n in filters)
            for layer in (self.conv1, self.conv2):  # twice as fast on a CPU
                layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.pooling = tuple(pooling)
        self.drop = nn.Dropout(dropout)
        size = filters[1] * bins if self.convolves else bins
        self.lstm = None
        if n_layers:
            between = dropout if n_layers > 1 else 0.0
            self.lstm = nn.LSTM(
                size, n_units, n_layers, batch_first=True, dropout=between, bidirectional=direction == "both"
            )
            size = n_units * (1 + (direction == "both"))
        self.dense, self.norm = nn.Linear(size, n_dense), nn.BatchNorm1d(n_dense)
        self.out = nn.Linear(n_dense, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, tau]`` of chunks ``x [B, tau, M]``."""
        x = self._convolved(self.conv1(x[:, None])) if self.convolves else x
        if self.lstm is not None:
            x = x.flip(1) if self.direction == "reverse" else x
            x = self.drop(self.lstm(x)[0])
            x = x.flip(1) if self.direction == "reverse" else x
        return self._judged(x)

    def _convolved(self, x: Tensor) -> Tensor:
        """From the first convolution ``[B, K, T, M]`` to ``[B, T, size]``."""
        # The ReLU of the largest bin is the largest ReLU of the bins: behind the pooling it costs a share of it.
        x = self.drop(F.relu(F.max_pool2d(self.norm1(x), (1, self.pooling[0]))))
        x = self.drop(F.relu(F.max_pool2d(self.norm2(self.conv2(x)), (1, self.pooling[1]))))
        return x.transpose(1, 2).flatten(2)

    def _judged(self, x: Tensor) -> Tensor:
        """Logits ``[B, T]`` of ``x [B, T, size]``."""
        x = F.relu(self.norm(self.dense(x).flatten(0, -2))).unflatten(0, x.shape[:-1])
        return self.out(self.drop(x)).squeeze(-1)

    @torch.no_grad()
    def sliding(self, x: Tensor, timesteps: int) -> Tensor:
        """Sum of the probabilities of all chunks of ``timesteps`` frames, one at every frame: ``[T]`` of ``[T, M]``.

        A frame's convolutions depend on its chunk only at the chunk's ends, where a neighbour is missing: they are
        computed once for a first, an inner and a last frame instead of once for every chunk, and the LSTM then steps
        through all chunks at once.
        """
        chunks = len(x) - timesteps + 1
        if timesteps < 3 or (self.direction == "both" and self.lstm is not None):
            return _summed(self(x.unfold(0, timesteps, 1).transpose(1, 2)).sigmoid())
        kinds = self._kinds(x)  # three times [T, size]
        # As the LSTM runs: a chunk's last frame first, unless forward.
        order = range(timesteps) if self.direction == "forward" else range(timesteps - 1, -1, -1)
        walk = None if self.lstm is None else _Walk(self.lstm, chunks)
        # Per kind: [T, 4 H] the first layer's gates, or [T, size] without an LSTM.
        given = kinds if walk is None else {kind: walk.project(part) for kind, part in kinds.items()}
        judged = (  # per kind [T]: without an LSTM a frame's probability depends on its kind alone
            {} if walk is not None else {kind: self._judged(part[None])[0].sigmoid() for kind, part in kinds.items()}
        )
        total = x.new_zeros(len(x))
        for index in order:  # of all chunks at once, the frame at this index: [chunks] frames of the recording
            kind = "first" if index == 0 else "last" if index == timesteps - 1 else "inner"
            part = slice(index, index + chunks)
            total[part] += (
                judged[kind][part] if walk is None else self._judged(walk.step(given[kind][part])[None])[0].sigmoid()
            )
        return total

    def _kinds(self, x: Tensor) -> dict[str, Tensor]:
        """``[T, size]`` of every frame as a chunk's first (nothing before it), inner, and last one (nothing after)."""
        if not self.convolves:
            return dict.fromkeys(("first", "inner", "last"), x)
        around = F.pad(x, (0, 0, 1, 1)).unfold(0, 3, 1).transpose(1, 2)  # [T, 3, M]: each frame between its neighbours
        kinds = {}
        for kind, missing in (("first", 0), ("inner", None), ("last", 2)):
            three = around.clone()
            if missing is not None:
                three[:, missing] = 0  # as the convolution pads a chunk
            one = F.conv2d(three[:, None], self.conv1.weight, self.conv1.bias, padding=(0, 1))  # [T, K, 1, M]
            kinds[kind] = self._convolved(one)[:, 0]  # [T, 1, size] -> [T, size]
        return kinds


class _Walk:
    """The states of an LSTM's layers in many chunks at once, step by step (gates in torch's order i, f, g, o)."""

    def __init__(self, lstm: nn.LSTM, chunks: int) -> None:
        # Per layer: W [4 H, inputs], U [4 H, H] and two biases [4 H].
        self.layers = [[getattr(lstm, f"{part}_l{k}") for part in PARTS] for k in range(lstm.num_layers)]
        shape = (chunks, lstm.hidden_size)
        like = self.layers[0][0]
        # Per layer [chunks, H]: what it gave last, and its cells.
        self.h, self.c = ([like.new_zeros(shape) for _ in self.layers] for _ in range(2))

    def project(self, x: Tensor) -> Tensor:
        """The first layer's input part of the gates ``[T, 4 H]``."""
        w, _, b, b2 = self.layers[0]
        return torch.addmm(b + b2, x, w.T)

    def step(self, gates: Tensor) -> Tensor:
        """The last layer's output ``[chunks, H]`` after one more frame, given `project`'s part of it."""
        for k, (w, u, b, b2) in enumerate(self.layers):
            gates = gates if k == 0 else torch.addmm(b + b2, self.h[k - 1], w.T)  # [chunks, 4 H]
            i, f, g, o = torch.addmm(gates, self.h[k], u.T).chunk(4, dim=1)  # [chunks, H] each
            self.c[k] = f.sigmoid() * self.c[k] + i.sigmoid() * _tanh(g)
            self.h[k] = o.sigmoid() * _tanh(self.c[k])
        return self.h[-1]


PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class ContextNet(SameFrames):
    """DCASE 2017 task 2's baseline: each frame judged from it and its neighbours by two dense layers.

    Args:
        n_mels: M. context: frames it sees, an odd number; a clip's ends are repeated.
        n_units: of both layers. dropout: after each.

    Source: TUT-ARG/DCASE2017-baseline-system 0bdb885, task2.defaults.yaml.
    """

    gives = ("a chunk's posterior",)
    normalises_batches = False

    def __init__(self, n_mels: int, context: int, n_units: int, dropout: float) -> None:
        super().__init__()
        if context < 1 or context % 2 == 0:
            raise InputError(f"model.context={context} must be an odd number of frames")
        self.context = context
        layers = (n_mels * context, n_units), (n_units, n_units)
        parts = [[nn.Linear(*size), nn.ReLU(), nn.Dropout(dropout)] for size in layers]
        self.layers = nn.Sequential(*parts[0], *parts[1], nn.Linear(n_units, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, T]`` of ``x [B, T, M]``."""
        half = self.context // 2
        wide = torch.cat([x[:, :1].expand(-1, half, -1), x, x[:, -1:].expand(-1, half, -1)], dim=1)
        return self.layers(wide.unfold(1, self.context, 1).flatten(2)).squeeze(2)


def _tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent by the sigmoid, which torch computes faster on a CPU."""
    return 2 * (2 * x).sigmoid() - 1


def _summed(q: Tensor) -> Tensor:
    """``[T]``: over the chunks ``q [T - tau + 1, tau]`` that begin at every frame."""
    chunks, timesteps = q.shape
    total = q.new_zeros(chunks + timesteps - 1)
    for index in range(timesteps):
        total[index : index + chunks] += q[:, index]
    return total


def chunk_counts(n_frames: int, timesteps: int) -> Tensor:
    """How many chunks of ``timesteps`` frames, one at every frame, hold each of ``n_frames``: ``[T]``."""
    index = torch.arange(n_frames)
    return torch.minimum(
        torch.minimum(index + 1, n_frames - index), torch.tensor(min(timesteps, n_frames - timesteps + 1))
    )
