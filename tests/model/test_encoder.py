"""Encoders: unit length, the sizes worked out from the paper, and what they must not mix up."""

from __future__ import annotations

import pytest
import torch

from sed_lab.errors import InputError
from tests.configured import configured

CNNEncoder = configured("model/clip_cnn")
LSTMEncoder = configured("model/clip_lstm")


@pytest.mark.parametrize("n_frames", [536, 996, 998, 1000, 1001, 1035])
def test_the_cnns_embedding_has_128_numbers_around_ten_seconds(n_frames: int) -> None:
    encoder = CNNEncoder(64, n_frames).eval()
    assert encoder.n_embedding == 128
    embedding = encoder(torch.randn(2, n_frames, 64))
    assert embedding.shape == (2, 128)
    assert embedding.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize(("n_frames", "size"), [(535, None), (1036, 256)])
def test_the_bounds_of_that(n_frames: int, size: int | None) -> None:
    if size is None:
        with pytest.raises(InputError, match="leaves nothing of 535 frames x 64 mel bins"):
            CNNEncoder(64, n_frames)
    else:
        assert CNNEncoder(64, n_frames).n_embedding == size


def test_parameters_by_hand() -> None:
    cnn = sum(p.numel() for p in CNNEncoder(64, 998).parameters())
    assert cnn == 32 * 49 + 32 + 2 * 32 + 64 * 32 * 49 + 64 + 2 * 64
    lstm = sum(p.numel() for p in LSTMEncoder(64).parameters())
    assert lstm == 4 * (128 * 64 + 128 * 128 + 2 * 128)


def test_the_lstm_is_its_last_state_of_unit_length() -> None:
    torch.manual_seed(0)
    encoder, feature = LSTMEncoder(8, 3), torch.randn(5, 20, 8)
    embedding = encoder(feature)
    output, _ = encoder.lstm(feature)
    assert torch.allclose(embedding, output[:, -1] / output[:, -1].norm(dim=1, keepdim=True), atol=1e-6)
    assert torch.allclose(encoder(feature[2:3]), embedding[2:3], atol=1e-6)  # clips do not see each other


def test_under_autocast_on_a_cpu_the_lstm_is_in_float32() -> None:
    encoder, feature = LSTMEncoder(8, 3), torch.randn(5, 20, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedding = encoder(feature)  # oneDNN, with AVX2 alone, has no LSTM in bfloat16
    assert torch.equal(embedding, encoder(feature))
