"""The page: one file that needs nothing else, every clip in it, the worst first, names escaped."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sed_lab.clip.annotation import read_detections, read_strong
from sed_lab.files import read_json
from sed_lab.report.page import write_page


class Reader(HTMLParser):
    """Collects addresses, headings of clips, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.clips: list[str] = []
        self.text: list[str] = []
        self.policy = ""
        self._heading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [found[name] or "" for name in ("src", "href") if name in found]
        self._heading = tag == "h3" and str(found.get("id", "")).startswith("clip-")
        if tag == "meta" and found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._heading and data.strip():
            self.clips.append(data)
            self._heading = False


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Path]) -> Path:
    folder = make_run()
    write_page(folder)
    return folder


def test_nothing_is_fetched(run: Path) -> None:
    page = Reader((run / "page.html").read_text(encoding="utf-8"))
    outside = [address[:60] for address in page.addresses if not address.startswith(("data:", "#"))]
    assert outside == []
    assert "default-src 'none'" in page.policy
    assert page.addresses


def test_the_page_says_where_the_best_epoch_lay(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(make_run(), folder)
    record = read_json(folder / "run.json")
    for best, said in ((12, "epoch 12 of 18"), (18, "epoch 18 of 18: the last, still rising")):
        (folder / "run.json").write_text(json.dumps({**record, "objective": 0.5, "epochs": 18, "best_epoch": best}))
        words = " ".join(Reader(write_page(folder, max_clips=0).read_text(encoding="utf-8")).text)
        assert f"Kept weights {said}" in " ".join(words.split())


def test_every_clip_worst_first_and_escaped(run: Path) -> None:
    text = (run / "page.html").read_text(encoding="utf-8")
    page = Reader(text)
    truth, found = (
        read_strong(run / "scores/test/ground_truth.tsv"),
        read_detections(run / "detections/test/student.tsv"),
    )
    assert sorted(page.clips) == sorted(name.removesuffix(".wav") for name in truth)
    assert "nasty <i>'&\"$x" in page.clips
    assert "nasty <i>" not in re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert text.count("</script>") == text.count("<script")

    def f1(clip: str) -> float:
        """F1 of one clip, counted naively: an estimate is a hit when onset and offset lie within the collars."""
        reference, estimate = truth[f"{clip}.wav"], list(found.get(f"{clip}.wav", ()))
        n = len(reference) + len(estimate)
        hits = 0
        for event in reference:
            limit = max(0.2, 0.2 * (event.offset - event.onset))
            for other in estimate:
                near = abs(other.onset - event.onset) <= 0.2 and abs(other.offset - event.offset) <= limit
                if near and other.event_label == event.event_label:
                    hits += 1
                    estimate.remove(other)
                    break
        return 2 * hits / n if n else 1.0

    with_events = [f1(clip) for clip in page.clips if truth[f"{clip}.wav"]]
    assert with_events == sorted(with_events)


def test_metrics_of_both_systems_are_shown(run: Path) -> None:
    words = " ".join(Reader((run / "page.html").read_text(encoding="utf-8")).text)
    for name in ("student", "teacher", "Event F1", "Segment F1", "PSDS"):
        assert name in words


def test_a_run_on_wandb_links_there(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    record = json.loads((folder / "run.json").read_text())
    for address, shown in (("http://host/a?b=1&c=<2>", True), ("javascript:alert(1)", False), (None, False)):
        (folder / "run.json").write_text(json.dumps({**record, "wandb": address}))
        text = write_page(folder, max_clips=1).read_text(encoding="utf-8")
        assert ('<a href="http://host/a?b=1&amp;c=&lt;2&gt;">' in text) is shown
        assert "javascript:" not in text


def test_the_best_decoder_comes_first_with_its_settings(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    metrics = read_json(folder / "metrics.json")
    box = {"decoder": "BoxDecoder", "threshold": {"Dog": 0.123, "<i>": 0.5}, "step_seconds": {"Dog": 0.32, "<i>": 0.48},
           "merge_abs": {"Dog": 2.0, "<i>": 0.15}, "merge_rel": {"Dog": 1.5, "<i>": 10000.0}}  # fmt: skip
    median = {"decoder": "MedianDecoder", "threshold": {"Dog": 0.3, "<i>": 0.5}, "median_seconds": {"Dog": 1, "<i>": 2}}
    pair = {"configured": {"event_f1": 0.611, "decoder": median}, "rival": {"event_f1": 0.655, "decoder": box}}
    systems = {"student": {"best": "configured", **pair}, "teacher": {"best": "rival", **pair}}
    tuned = {"on": "validation", "system": "teacher", "systems": systems}
    per_class = {"Dog": {"f1": 0.777, "precision": 0.7, "recall": 0.8, "n_reference": 9, "n_detected": 10}}
    for name, value in (("student", 0.444), ("teacher", 0.555)):
        metrics["systems"][name]["event_f1_class_tuned"] = {"macro": value, "per_class": per_class, "decoder": box}
    (folder / "metrics.json").write_text(json.dumps({**metrics, "tuned": tuned}))
    text = write_page(folder, max_clips=2).read_text(encoding="utf-8")
    words = " ".join(" ".join(Reader(text).text).split())
    assert "Test clips, teacher, decoder: boxes 0.555 event F1" in words
    assert "student median filter 0.444" in words  # below it
    assert "Decoders tuned class by class on validation, where teacher was best" in words
    assert (
        "Detections of teacher are made by boxes, tuned class by class on validation; sed-predict uses the s" in words
    )
    assert "Event F1 on validation: student, median filter 0.611; student, boxes 0.655; teacher, median filter" in words
    assert "Dog 0.123 0.320 no limit 1.500" in words
    assert "<i> 0.500 0.480 0.150 no limit" in words
    assert "Dog 9 10 0.777" in words  # the class-wise table is of the same detections
    assert '"systems":["teacher","student"]' in text
    assert '"threshold":null' in text
    before = Reader((run / "page.html").read_text(encoding="utf-8"))
    assert "Detections of" not in " ".join(before.text)


@pytest.mark.parametrize("missing", ["curves.json", "history.csv", "audio", "scores/test/teacher.npz"])
def test_optional_parts_may_be_absent(run: Path, tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    (folder / "page.html").unlink()
    place = folder / missing
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    if missing == "audio":  # the listing names the original place
        listing = folder / "scores/test/audio.tsv"
        listing.write_text(listing.read_text().replace(str(run), str(folder)))
    page = Reader(write_page(folder, max_clips=3).read_text(encoding="utf-8"))
    assert len(page.clips) == 3


def test_an_error_leaves_the_old_page(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run / "page.html").read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(Exception, match="No space left on device"):
        write_page(run)
    assert (run / "page.html").read_bytes() == before
