"""Long recordings: a cut anywhere changes nothing a second away from it, and joins of windows change nothing at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sed_lab.decoder.base import Decoder
from sed_lab.predict import CROSSFADE, _share, detect, score_array, score_file
from sed_lab.types import Event, Scores
from tests.configured import configured
from tests.detection.made import CLASSES, HOP, RATE, STEP, detector, levels, predict, wave

DECODERS: dict[str, Decoder] = {
    "median": configured("decoder/default")(threshold=0.3),
    "box": configured("decoder/box")(threshold=0.3),
    "one event a clip": configured("decoder/amiriparian2018")(
        threshold=0.45, onset_threshold=0.3, lookback_seconds=2.5, gap_frames=2
    ),
}
FRAMES, MARGIN = 170, 1.0
SOUND = st.tuples(
    st.integers(0, 1), st.integers(10, 140), st.integers(6, 60), st.sampled_from((0.5, 0.6, 0.8))
)  # (class, first frame, frames, level): many last over a join, or come twice within a window


def found(decoder: Decoder, audio: np.ndarray, path: Path) -> list[Event]:
    soundfile.write(path, audio, RATE, subtype="FLOAT")
    made = detector(decoder)
    return list(detect(made, score_file(made, path)))


def apart(events: list[Event], cut: float) -> list[tuple[str, float, float]]:
    """Events of which nothing lies within a second of the cut."""
    return sorted(
        (e.event_label, round(e.onset, 4), round(e.offset, 4))
        for e in events
        if e.offset < cut - MARGIN + 1e-6 or e.onset > cut + MARGIN - 1e-6
    )


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sounds=st.lists(SOUND, min_size=1, max_size=7), cut=st.integers(25, 145))
@example(sounds=[(0, 51, 6, 0.5)], cut=41)  # a second away but for the last bit
def test_a_recording_cut_anywhere_has_the_same_events_a_second_away(
    name: str, sounds: list[tuple[int, int, int, float]], cut: int, tmp_path: Path
) -> None:
    # The network hears less at a window's end, and the recording's may be one: no sound lasts until there.
    sounds = [(label, first, min(length, FRAMES - 5 - first), level) for label, first, length, level in sounds]
    audio, decoder, path, seconds = wave(sounds, FRAMES), DECODERS[name], tmp_path / "a.wav", cut * HOP
    whole = found(decoder, audio, path)
    before = found(decoder, audio[: cut * STEP], path)
    behind = [
        Event(e.onset + seconds, e.offset + seconds, e.event_label) for e in found(decoder, audio[cut * STEP :], path)
    ]
    assert apart(whole, seconds) == apart([*before, *behind], seconds)


@pytest.mark.parametrize("name", DECODERS)
def test_events_over_joins_and_twice_in_a_window_are_those_of_the_scores_without_windows(
    name: str, tmp_path: Path
) -> None:
    # Joins at 4, 8, 12 and 16 s: one event over two of them, one up to one; three within a window, two close together.
    sounds = [(0, 30, 60, 0.6), (1, 20, 20, 0.8), (1, 44, 8, 0.6), (1, 58, 8, 0.8), (1, 70, 7, 0.6), (0, 110, 20, 0.5)]
    audio, decoder = wave(sounds, FRAMES), DECODERS[name]
    frame = levels(torch.from_numpy(audio)[None])[0].numpy()
    whole = Scores(("a",), CLASSES, np.array([FRAMES * HOP]), HOP, (frame,))
    expected = [event for event, _ in decoder.decode_recording(whole, decoder.threshold)]
    events = found(decoder, audio, tmp_path / "a.wav")
    assert len(events) == len(sounds)
    assert [e.event_label for e in events] == [e.event_label for e in expected]
    times, wanted = (np.array([(e.onset, e.offset) for e in each]) for each in (events, expected))
    np.testing.assert_allclose(times, wanted, atol=1e-6)
    truth = sorted((first * HOP, (first + length) * HOP) for _, first, length, _ in sounds)
    np.testing.assert_allclose(times, truth, atol=1e-6)


def test_windows_of_no_whole_number_of_frames_lie_alike_wherever_they_begin() -> None:
    hop, frames = 0.125, 40  # in binary exact
    rate, seconds = round(STEP / hop), 40.5 * hop  # cut behind two windows: 81 frames
    method: Any = SimpleNamespace(
        clips_only=False, finer=1, device="cpu",
        predict=lambda x: predict(SimpleNamespace(waveform=x.waveform[:, : frames * STEP])),
    )  # fmt: skip
    made = replace(
        detector(DECODERS["median"]),
        method=method, frame_hop=hop, clip_seconds=seconds, n_frames=frames, sample_rate=rate,
    )  # fmt: skip
    audio = np.random.default_rng(0).uniform(-1, 1, 400 * STEP).astype(np.float32)
    whole, behind = (score_array(made, each, rate, "a").frame[0] for each in (audio, audio[81 * STEP :]))
    near = round(MARGIN / hop)
    np.testing.assert_array_equal(whole[81 + near :], behind[near:])


@pytest.mark.parametrize(
    "seconds", [10.0, 0.96, 2.3]
)  # of a window; joins of the short ones are nearer than a crossfade
@pytest.mark.parametrize("windows", [1, 2, 37])
def test_a_frame_s_share_goes_by_the_nearest_of_all_joins(seconds: float, windows: int) -> None:
    times = np.sort(np.append(np.linspace(0, windows * seconds, 1001), np.arange(windows + 1) * seconds))
    joins = [k * seconds for k in range(1, windows)]
    for t, grid, centred in zip(
        times, _share(times, seconds, windows, False), _share(times, seconds, windows, True), strict=True
    ):
        distance = min((abs(t - join) for join in joins), default=CROSSFADE)
        own = min(max((distance - CROSSFADE / 2) / (CROSSFADE / 2), 0), 1)
        assert grid == np.float32(max(own, 1e-4))
        assert not joins or centred == np.float32(1 - own)
