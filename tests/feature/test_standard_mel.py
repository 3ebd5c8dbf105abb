"""The normalised front end against numpy over all frames at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sed_lab.errors import InputError
from tests.configured import configured

StandardLogMel = configured("feature/standardised_mel")


def test_training_clips_get_mean_0_and_deviation_1_in_every_bin() -> None:
    torch.manual_seed(0)
    feature = StandardLogMel()
    audio = torch.randn(7, 16000) * torch.tensor([1e-3, 0.01, 0.1, 0.5, 1, 2, 3])[:, None]
    seconds = torch.full((7,), 1.0)
    mel = feature.mel(audio)
    feature.fit([(mel[:3], seconds[:3]), (mel[3:], seconds[3:])])
    logs = np.log(feature.mel(audio).double().numpy() + 0.01)[:, :100]  # 1 s is 100 frames, the 101st is the end's
    assert feature.mean.numpy() == pytest.approx(logs.mean((0, 1)), abs=1e-4)
    assert feature.deviation.numpy() == pytest.approx(logs.std((0, 1)), abs=1e-4)
    normal = feature(audio)[:, :100].double().numpy()
    assert normal.mean((0, 1)) == pytest.approx(0, abs=1e-4)
    assert normal.std((0, 1)) == pytest.approx(1, abs=1e-4)
    assert feature(audio).shape == (7, 101, 64)


def test_padding_does_not_count() -> None:
    torch.manual_seed(1)
    audio = torch.randn(2, 16000)
    padded = torch.cat([audio, torch.zeros(2, 16000)], 1)
    whole, longer = StandardLogMel(), StandardLogMel()
    # the frame at the end of the recording sees the padding: it is left out of both
    whole.fit([(whole.mel(audio), torch.tensor([0.9, 0.9]))])
    longer.fit([(longer.mel(padded), torch.tensor([0.9, 0.9]))])
    assert torch.allclose(whole.mean, longer.mean, atol=1e-5)
    assert torch.allclose(whole.deviation, longer.deviation, atol=1e-5)


def test_the_statistics_travel_with_the_state() -> None:
    feature, other = StandardLogMel(), StandardLogMel()
    feature.fit([(feature.mel(torch.randn(2, 8000)), torch.tensor([0.5, 0.5]))])
    other.load_state_dict(feature.state_dict())
    audio = torch.randn(1, 8000)
    assert torch.equal(feature(audio), other(audio))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match=r"feature\.log_offset=0 must be above 0"):
        StandardLogMel(log_offset=0)
    with pytest.raises(InputError, match="no training audio"):
        StandardLogMel().fit([])


def test_frames_of_half_a_minute() -> None:
    """The note's counts of Amiriparian et al. 2018: 30 s at 44.1 kHz, centred frames."""
    samples = 30 * 44100
    for hop, frames in ((1024, 1292), (512, 2584)):
        feature = StandardLogMel(44100, 2048, 2048, hop, 128, 0.0, 22050.0, 1e-10)
        assert feature.frames(samples) == frames
    assert feature.mel(torch.zeros(1, samples)).shape == (1, 2584, 128)
