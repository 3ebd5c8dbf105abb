"""Decoders against naive references: a median by sorting, runs by a loop, the paper's onset rule by hand."""

from __future__ import annotations

import inspect
import json
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed_lab.decoder.median import median_frames
from sed_lab.errors import InputError
from sed_lab.types import Event, Scores
from tests.configured import configured

MedianDecoder = configured("decoder/default")
OnsetDecoder = configured("decoder/amiriparian2018", threshold=0.5)

HOP = 0.064
CLASSES = ("Dog", "Cat")


def scores_of(*frames: object, clip: object = None, duration: float | None = None, hop: float = HOP) -> Scores:
    arrays = tuple(np.asarray(frame, np.float32) for frame in frames)
    return Scores(
        clip_id=tuple(f"clip{i}" for i in range(len(arrays))),
        classes=CLASSES[: arrays[0].shape[1]],
        duration=np.array([len(array) * hop if duration is None else duration for array in arrays]),
        frame_hop=hop,
        frame=arrays,
        clip=None if clip is None else np.asarray(clip, np.float32),
    )


levels = st.integers(0, 10).map(lambda i: i / 10)  # few levels, so that ties and scores equal to a threshold happen


@st.composite
def small_scores(draw: st.DrawFn) -> Scores:
    lengths = draw(st.lists(st.integers(0, 12), min_size=1, max_size=3))
    return scores_of(*[np.array(draw(st.lists(levels, min_size=n * 2, max_size=n * 2))).reshape(n, 2) for n in lengths])


def naive_median(values: list[float], window: int) -> list[float]:
    """Middle of the sorted window; beyond the ends the sequence is mirrored, edge value repeated."""
    n, half = len(values), window // 2

    def at(i: int) -> float:
        i %= 2 * n
        return values[i] if i < n else values[2 * n - 1 - i]

    return [sorted(at(t + d) for d in range(-half, half + 1))[half] for t in range(n)]


def naive_events(scores: Scores, threshold: float) -> dict[str, tuple[Event, ...]]:
    found: dict[str, tuple[Event, ...]] = {}
    for clip_id, array, duration in zip(scores.clip_id, scores.frame or (), scores.duration, strict=True):
        events = []
        for k, label in enumerate(scores.classes):
            active = [bool(value > np.float32(threshold)) for value in array[:, k]]
            for on, group in groupby(range(len(active)), key=lambda t: active[t]):
                frames = list(group)
                if on and round(frames[0] * HOP, 6) < duration:
                    end = min(round((frames[-1] + 1) * HOP, 6), duration)
                    events.append(Event(round(frames[0] * HOP, 6), end, label))
        found[clip_id] = tuple(sorted(events))
    return found


@pytest.mark.parametrize(
    ("seconds", "frames"),
    [(0.45, 7), (0.448, 7), (0.0, 1), (0.05, 1), (0.1279, 1), (0.128, 3), (0.2, 3), (0.256, 5), (0.3, 5), (6 * HOP, 7)],
)
def test_the_window_is_the_nearest_odd_number_of_frames(seconds: float, frames: int) -> None:
    assert median_frames(seconds, HOP) == frames


@given(st.floats(0, 5), st.sampled_from([0.01, 0.02, 0.064, 0.1]))
def test_no_other_odd_number_is_nearer(seconds: float, hop: float) -> None:
    window = median_frames(seconds, hop)
    assert window % 2 == 1
    others = range(1, 1003, 2)
    assert abs(window - seconds / hop) <= min(abs(n - seconds / hop) for n in others) + 1e-6


@given(small_scores(), st.sampled_from([0.0, 0.2, 0.45, 1.2]))
def test_the_filter_is_a_median(scores: Scores, seconds: float) -> None:
    window = median_frames(seconds, HOP)
    smoothed = MedianDecoder(median_seconds=seconds).smooth(scores)
    assert smoothed.frame is not None
    assert scores.frame is not None
    for before, after in zip(scores.frame, smoothed.frame, strict=True):
        for k in range(2):
            assert after[:, k].tolist() == naive_median(before[:, k].tolist(), window)


@given(small_scores(), levels, st.sampled_from([0.2, 0.45]))
def test_filtering_scores_equals_filtering_decisions(scores: Scores, threshold: float, seconds: float) -> None:
    decisions = scores_of(*[(array > np.float32(threshold)) for array in scores.frame or ()])
    decoder = MedianDecoder(threshold, median_seconds=seconds)
    assert decoder.decode(scores) == decoder.decode(decisions, threshold=0.5)


@given(small_scores(), levels)
def test_events_are_runs_of_frames_above_the_threshold(scores: Scores, threshold: float) -> None:
    assert MedianDecoder(median_seconds=0).decode(scores, threshold) == naive_events(scores, threshold)


@given(small_scores(), st.lists(levels, min_size=1, max_size=4))
def test_points_are_the_events_of_each_threshold(scores: Scores, thresholds: list[float]) -> None:
    decoder = MedianDecoder(median_seconds=0.2)
    point, clip, label, onset, offset = decoder.points(scores, np.array(thresholds))
    for number, threshold in enumerate(thresholds):
        rows = np.flatnonzero(point == number)
        found: dict[str, list[Event]] = {clip_id: [] for clip_id in scores.clip_id}
        for row in rows:
            found[scores.clip_id[clip[row]]].append(Event(onset[row], offset[row], CLASSES[label[row]]))
        assert {k: tuple(sorted(v)) for k, v in found.items()} == decoder.decode(scores, threshold)


def test_a_score_equal_to_the_threshold_is_no_detection() -> None:
    scores = scores_of([[0.31], [0.3100001]])  # 0.31 as float32 is above 0.31 as double
    assert MedianDecoder(0.31, median_seconds=0).decode(scores) == {"clip0": (Event(0.064, 0.128, "Dog"),)}


def test_events_end_with_the_clip() -> None:
    scores = scores_of(np.ones((4, 1)), duration=0.15)
    assert MedianDecoder(median_seconds=0).decode(scores) == {"clip0": (Event(0.0, 0.15, "Dog"),)}
    late = scores_of(np.array([[0], [0], [0], [1]]), duration=0.15)
    assert MedianDecoder(median_seconds=0).decode(late) == {"clip0": ()}


def test_thresholds_and_windows_may_differ_by_class() -> None:
    scores = scores_of([[0.4, 0.4], [0.6, 0.6], [0.4, 0.4], [0.4, 0.4]])
    decoder = MedianDecoder({"Dog": 0.5, "Cat": 0.3}, median_seconds={"Cat": 0.2, "Dog": 0.0})
    end = round(4 * HOP, 6)
    assert decoder.decode(scores) == {"clip0": (Event(0.0, end, "Cat"), Event(0.064, 0.128, "Dog"))}
    assert decoder.decode(scores, {"Dog": 0.7, "Cat": 0.7}) == {"clip0": ()}
    for bad, words in [
        ({"Dog": 0.5}, "threshold per class: Cat missing"),
        ({"Dog": 1, "Cat": 1, "Bat": 1}, "Bat unknown"),
    ]:
        with pytest.raises(InputError, match=words):
            decoder.decode(scores, bad)


def test_the_clip_gate_silences_a_class_in_a_clip() -> None:
    ones = np.ones((2, 2))
    decoder = MedianDecoder(median_seconds=0, clip_gate=0.5)
    found = decoder.decode(scores_of(ones, ones, clip=[[0.5, 0.4], [0.0, 0.9]]))
    assert [[event.event_label for event in events] for events in found.values()] == [["Dog"], ["Cat"]]
    with pytest.raises(InputError, match=r"clip_gate 0\.5 needs clip scores"):
        decoder.decode(scores_of(ones))


def test_gaps_are_closed_before_short_events_are_dropped() -> None:
    track = np.array([1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1])[:, None]
    both = MedianDecoder(median_seconds=0, min_event_seconds=0.15, merge_gap_seconds=HOP)
    assert both.decode(scores_of(track)) == {"clip0": (Event(0.0, 0.192, "Dog"), Event(0.64, 0.832, "Dog"))}
    assert len(MedianDecoder(median_seconds=0, min_event_seconds=0.15).decode(scores_of(track))["clip0"]) == 1
    assert len(MedianDecoder(median_seconds=0, merge_gap_seconds=1.0).decode(scores_of(track))["clip0"]) == 1
    silent = scores_of(np.zeros((3, 1)))
    assert both.decode(silent) == {"clip0": ()}


def test_two_passes_filter_twice() -> None:
    track = np.array([0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1])[:, None]
    once = MedianDecoder(median_seconds=3 * HOP)
    twice = MedianDecoder(median_seconds=3 * HOP, median_passes=2).smooth(scores_of(track))
    assert np.array_equal(twice.frame, once.smooth(once.smooth(scores_of(track))).frame)  # type: ignore[arg-type]
    assert not np.array_equal(twice.frame, once.smooth(scores_of(track)).frame)  # type: ignore[arg-type]


def test_onset_decoder_follows_the_paper_by_hand() -> None:
    track = [0.1, 0.6, 0.3, 0.7, 0.95, 0.95, 0.6, 0.2, 0.8]  # first above .5 before the peak at frame 4: frame 1
    scores = scores_of(np.array([track, [0.4, 0.5, 0.5] + [0.0] * 6]).T)
    decoder = OnsetDecoder({"Dog": 0.8, "Cat": 0.45}, onset_threshold=0.5)
    assert decoder.decode(scores) == {"clip0": (Event(0.064, 0.128, "Cat"), Event(0.064, 0.448, "Dog"))}
    assert decoder.decode(scores, {"Dog": 0.95, "Cat": 0.5}) == {"clip0": ()}
    point, *_ = decoder.points(scores, np.array([0.2, 0.9, 0.99]))
    assert point.tolist() == [0, 0, 1]
    assert decoder.smooth(scores) is scores
    assert decoder.decode(scores_of(np.zeros((0, 2)))) == {"clip0": ()}


@given(small_scores(), levels)
def test_onset_decoder_gives_at_most_one_event_which_holds_the_peak(scores: Scores, threshold: float) -> None:
    found = OnsetDecoder(threshold, onset_threshold=0.3).decode(scores)
    for array, events in zip(scores.frame or (), found.values(), strict=True):
        for k, label in enumerate(CLASSES):
            own = [event for event in events if event.event_label == label]
            assert len(own) == bool(len(array) and array[:, k].max() > np.float32(threshold))
            assert all(event.onset <= array[:, k].argmax() * HOP + 1e-6 < event.offset for event in own)


@pytest.mark.parametrize("kind", [MedianDecoder, OnsetDecoder])
def test_settings_name_every_number_and_make_the_same_decoder(kind: type) -> None:
    """None of the values is a default: a setting left out, or one that is not the decoder's own, is found."""
    given: dict[str, Any] = {"threshold": {"Dog": 0.25, "Cat": 0.75}}
    names = [name for name in inspect.signature(kind).parameters if name != "threshold"]
    given |= {name: index + 2 for index, name in enumerate(names)}
    settings = kind(**given).settings()
    assert settings == {"decoder": kind.__name__, **given}
    stored = json.loads(json.dumps(settings))  # as run.json and metrics.json keep them
    assert kind(**{name: stored[name] for name in given}) == kind(**given)


def test_an_onset_lies_at_most_so_far_before_the_peak() -> None:
    track = np.full(60, 0.1, np.float32)
    track[[3, 20, 25, 40]] = 0.6, 0.7, 0.55, 0.9
    scores = Scores(("a",), ("Dog",), np.array([6.0]), 0.1, (track[:, None],))
    for seconds, first in ((10.0, 3), (2.5, 20), (1.5, 25), (1.4, 40)):
        (event,) = OnsetDecoder(0.8, 0.5, seconds).decode(scores)["a"]
        assert (event.onset, event.offset) == (pytest.approx(first / 10), pytest.approx(4.1))


def test_windows_are_a_share_of_the_mean_length_of_held_out_events() -> None:
    events = [Event(0, 1, "Dog"), Event(0, 3, "Dog"), Event(0, 9, "Bat")]
    decoder = MedianDecoder(median_seconds=0.45, median_share=0.5, median_passes=2)
    fitted = decoder.fit(events, CLASSES)
    assert fitted == MedianDecoder(median_seconds={"Dog": 1.0, "Cat": 0.45}, median_passes=2)
    assert fitted.fit([Event(0, 9, "Dog")], CLASSES) is fitted
    with pytest.raises(
        InputError, match=r"median_share needs events of held-out clips; name .* give decoder.median_seconds"
    ):
        decoder.decode(scores_of(np.zeros((4, 2), np.float32)))


def test_clip_scores_alone_cannot_be_decoded() -> None:
    scores = Scores(("a",), ("Dog",), np.array([1.0]), clip=np.array([[0.3]]))
    for decoder in (MedianDecoder(), OnsetDecoder()):
        with pytest.raises(InputError, match="events need frame scores"):
            decoder.decode(scores)
