"""Chunk networks: sliding over a clip against a loop over its chunks, the reversed LSTM against single steps."""

from __future__ import annotations

import pytest
import torch

from sed_lab.errors import InputError
from sed_lab.model.chunk_net import ChunkNet, ContextNet, _summed, chunk_counts
from tests.configured import configured


def net(n_layers: int = 2, direction: str = "reverse", n_mels: int = 16, convolves: bool = True) -> ChunkNet:
    torch.manual_seed(0)
    made = ChunkNet(n_mels, (3, 4) if convolves else (), (4, 2), 5, n_layers, direction, 6, 0.3)
    for module in made.modules():  # as after training: no statistics of 0 and 1
        if hasattr(module, "running_mean") and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return made.eval()


@pytest.mark.parametrize("direction", ["reverse", "forward", "both"])
@pytest.mark.parametrize("n_layers", [0, 1, 2])
@pytest.mark.parametrize("timesteps", [1, 2, 3, 5, 11])
def test_sliding_is_the_sum_over_all_chunks(direction: str, n_layers: int, timesteps: int) -> None:
    for convolves in (True, False):
        check_sliding(net(n_layers, direction, convolves=convolves), timesteps)


def check_sliding(network: ChunkNet, timesteps: int) -> None:
    x = torch.randn(11, 16)
    expected, counts = torch.zeros(11), torch.zeros(11)
    with torch.no_grad():
        for first in range(11 - timesteps + 1):
            q = network(x[None, first : first + timesteps]).sigmoid()[0]
            for place in range(timesteps):
                expected[first + place] += q[place]
                counts[first + place] += 1
    torch.testing.assert_close(network.sliding(x, timesteps), expected)
    assert torch.equal(chunk_counts(11, timesteps), counts.long())


def test_pooling_before_the_relu_gives_the_outputs_and_gradients_of_the_paper_s_order() -> None:
    network, x = net(0).train().double(), torch.randn(5, 7, 16).double()  # so that rounding hides nothing
    network.drop.p = 0.0

    def in_order(x: torch.Tensor) -> torch.Tensor:
        """Convolution, norm, ReLU, and the largest of every few bins."""
        for convolve, norm, size in ((network.conv1, network.norm1, 4), (network.conv2, network.norm2, 2)):
            x = convolve(x.contiguous()).contiguous()
            x = norm(x).relu().unflatten(-1, (-1, size)).amax(-1)
        return x.transpose(1, 2).flatten(2)

    weight, found = torch.randn(5, 7, 8).double(), []
    for y in (network._convolved(network.conv1(x[:, None])), in_order(x[:, None])):
        parameters = [p for name, p in network.named_parameters() if name.startswith(("conv", "norm1", "norm2"))]
        found.append([y, *torch.autograd.grad((y * weight).sum(), parameters)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_convolutions_of_the_assumed_filters_do_not_lower_the_number_of_parameters() -> None:
    """The paper concludes that they do; its filters are not stated."""
    number = {}
    for name in ("chunk_crnn", "chunk_rnn", "chunk_cnn"):
        network = configured(f"model/{name}")(n_mels=128)
        number[name] = sum(parameter.numel() for parameter in network.parameters())
    assert (number["chunk_crnn"], number["chunk_rnn"]) == (503425, 281089)
    assert number["chunk_cnn"] < number["chunk_rnn"]


def test_the_note_s_vector() -> None:
    q = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [0.2, 0.4, 0.6]])
    assert chunk_counts(6, 3).tolist() == [1, 2, 3, 3, 2, 1]
    torch.testing.assert_close(_summed(q) / chunk_counts(6, 3), torch.tensor([0.1, 0.3, 0.5, 0.53333333, 0.65, 0.6]))


def test_both_lstm_layers_run_from_the_last_frame() -> None:
    network, x = net(), torch.randn(1, 4, 16)
    assert network.lstm is not None
    cells = [torch.nn.LSTMCell(network.lstm.input_size, 5), torch.nn.LSTMCell(5, 5)]
    for k, cell in enumerate(cells):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).data = getattr(network.lstm, f"{name}_l{k}").data
    with torch.no_grad():
        frames = network._convolved(network.conv1(x[:, None]))[0]
        states = [(torch.zeros(1, 5), torch.zeros(1, 5)) for _ in cells]
        found: dict[int, torch.Tensor] = {}
        for t in (3, 2, 1, 0):
            given = frames[t][None]
            for k, cell in enumerate(cells):
                states[k] = cell(given, states[k])
                given = states[k][0]
            found[t] = given
        expected = network._judged(torch.stack([found[t] for t in range(4)], 1))
        torch.testing.assert_close(network(x), expected)


def test_a_frame_does_not_see_what_comes_before_it_but_for_its_neighbour() -> None:
    network, x = net(), torch.randn(1, 9, 16)
    other = x.clone()
    other[:, :4] += 1
    with torch.no_grad():
        a, b = network(x), network(other)
    torch.testing.assert_close(a[:, 5:], b[:, 5:])
    assert not torch.allclose(a[:, :5], b[:, :5])


def test_the_baseline_sees_five_frames_and_repeats_the_ends() -> None:
    torch.manual_seed(0)
    network = ContextNet(3, 5, 4, 0.2).eval()
    x = torch.randn(2, 7, 3)
    with torch.no_grad():
        found = network(x)
        for t in range(7):
            seen = [x[:, min(6, max(0, t + k))] for k in (-2, -1, 0, 1, 2)]
            expected = network.layers(torch.stack(seen, 1).unfold(1, 5, 1).flatten(2))[:, 0, 0]
            torch.testing.assert_close(found[:, t], expected)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match=r"model.direction='up' is unknown; use reverse, forward, both"):
        net(direction="up")
    with pytest.raises(InputError, match=r"model.pooling=\[4, 2\] leaves none of 7 mel bins"):
        net(n_mels=7)
    with pytest.raises(InputError, match=r"model.context=4 must be an odd number of frames"):
        ContextNet(3, 4, 4, 0.2)
