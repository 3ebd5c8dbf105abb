"""sed-explore in a real browser: clips, sliders, classes and curves by mouse and keyboard, wide and narrow."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.report.browser import Browser, driver, needs_chromium
from tests.report.explore_run import explorable

__all__ = ["driver"]  # a fixture
pytestmark = [pytest.mark.slow, needs_chromium]
LEFT, DOWN = "\ue012", "\ue015"
NAME = "return document.querySelector('.explorer h1').textContent"
MACRO = "return document.querySelector('.macro-{}').textContent"
THUMB = "document.querySelector('.threshold-A [tabindex]')"


@pytest.fixture
def page(make_run: Callable[..., Path]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of the page of two runs, and its process."""
    pytest.importorskip("nicegui")
    runs = [str(explorable(make_run, seed=seed)) for seed in (0, 0)]
    command = [sys.executable, "-m", "sed_lab.explore", *runs, "--port", "0", "--no-browser"]
    bare = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST")
    }  # nicegui looks for them
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=bare)
    assert process.stdout is not None
    line = next(line for line in process.stdout if line.startswith("http://127.0.0.1:"))
    address = line.split()[0]
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=30)
            break
        except OSError:
            time.sleep(0.1)
    yield address, process
    if process.poll() is None:
        process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("width", [390, 1400])
def test_the_explorer_works(driver: int, tmp_path: Path, page: tuple[str, subprocess.Popen[str]], width: int) -> None:
    address, process = page
    browser = Browser(driver, tmp_path / "profile", width)
    try:
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.emulate("setDeviceMetricsOverride", screen)
        browser.call("POST", "/url", {"url": address})
        browser.until("return document.querySelectorAll('.lane').length")
        assert browser.run("return document.querySelectorAll('.clips button').length") == 8
        # a threshold by keyboard: events and F1 change at once, those of the other side stay
        before, other = browser.run(MACRO.format("A")), browser.run(MACRO.format("B"))
        browser.run(f"{THUMB}.focus()")
        for _ in range(20):
            browser.press(LEFT)
        browser.until(f"{MACRO.format('A')} !== {before!r}")
        assert browser.run(MACRO.format("B")) == other
        browser.run("document.activeElement.blur()")
        # next and previous clip, by keys and by mouse
        first = browser.run(NAME)
        browser.press(DOWN)
        browser.until(f"{NAME} !== {first!r}")
        second = browser.run(NAME)
        browser.press("p")
        browser.until(f"{NAME} === {first!r}")
        browser.run("document.querySelectorAll('.clips button')[1].click()")
        browser.until(f"{NAME} === {second!r}")
        assert browser.run("return document.querySelector('[aria-current]').textContent").startswith(second)
        # the sound plays and pauses by the space bar, and the cursor follows
        browser.until("return document.querySelector('audio').duration.toFixed(1) === '4.0'")
        browser.press(" ")
        browser.until("return document.querySelector('audio').currentTime > 0.3")
        browser.press(" ")
        browser.until("return document.querySelector('audio').paused")
        assert browser.until("return parseFloat(document.querySelector('.cursor').style.left)") > 5
        browser.run("document.querySelector('audio').currentTime = 3")
        browser.until("return document.querySelector('audio').currentTime === 3")
        # a class by key and by its name in the table; its curves
        browser.press("c")
        browser.until("return document.querySelector('.lane.chosen .label')?.textContent === 'Alarm_bell_ringing'")
        browser.run("document.querySelector('button[data-class=\"2\"]').click()")
        browser.until(
            "return document.querySelector('.lane.chosen .label')?.textContent?.startsWith('Speech </script>')"
        )
        browser.run("document.querySelector('.q-expansion-item .q-item').click()")
        browser.until("return document.querySelectorAll('.curves svg').length === 1")
        browser.press("0")
        browser.until("return !document.querySelector('.lane.chosen')")
        assert browser.run("return document.documentElement.scrollWidth - window.innerWidth") <= 0
        assert browser.errors() == []
    finally:
        browser.call("DELETE", "")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0


def test_it_answers_this_machine_alone(page: tuple[str, subprocess.Popen[str]]) -> None:
    address, _ = page
    port = int(address.rsplit(":", 1)[1])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)  # loopback too, and not the address it is bound to
    asked = urllib.request.Request(address, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(asked, timeout=30)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/sound/99", timeout=30)
