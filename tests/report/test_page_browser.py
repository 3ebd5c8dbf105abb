"""The page in a real browser: no error, sounds that load, filter and order that work, a cursor that follows."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sed_lab.report.page import write_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")), reason="Chromium is not installed"
    ),
]
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
CHANGED = "s.dispatchEvent(new Event('change', {bubbles: true}))"


class Browser:
    """The few calls of the WebDriver protocol that are needed."""

    def __init__(self, port: int, profile: Path, width: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        options = {"args": [*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},900"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.base += f"/session/{session['sessionId']}"

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def run(self, script: str) -> Any:
        return self.call("POST", "/execute/sync", {"script": script, "args": []})


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=1)
            break
        except OSError:
            time.sleep(0.1)
    yield port
    process.terminate()
    process.wait()


@pytest.mark.parametrize("width", [360, 1400])
def test_page_works(driver: int, tmp_path: Path, make_run: Callable[..., Path], width: int) -> None:
    page = write_page(make_run())
    browser = Browser(driver, tmp_path / "profile", width)
    try:
        browser.call("POST", "/url", {"url": page.as_uri()})
        browser.run("document.querySelector('#clips').scrollIntoView()")
        shown = "return [...document.querySelectorAll('article.clip')].filter(c => c.offsetParent !== null).length"
        assert browser.run(shown) == 8
        assert browser.run("return document.documentElement.scrollWidth - window.innerWidth") <= 0
        # one class at a time
        choose = (
            "const s = document.querySelector('#by-class');"
            f"s.value = [...s.options].find(o => o.textContent.startsWith('Dog')).value; {CHANGED}"
        )
        browser.run(choose)
        fewer = browser.run(shown)
        assert 0 < fewer < 8
        browser.run(f"const s = document.querySelector('#by-class'); s.selectedIndex = 0; {CHANGED}")
        assert browser.run(shown) == 8
        # another order
        names = "return [...document.querySelectorAll('article.clip h3')].map(h => h.textContent)"
        worst = browser.run(names)
        browser.run(f"const s = document.querySelector('#order'); s.value = 'name'; {CHANGED}")
        by_name = browser.run(names)
        assert by_name != worst
        assert sorted(by_name) == sorted(worst)
        # the sound loads, and the cursor follows it
        browser.run("const a = document.querySelector('article.clip audio'); a.preload = 'auto'; a.load()")
        until, duration = time.monotonic() + 20, "return document.querySelector('article.clip audio').duration"
        while time.monotonic() < until and not browser.run(duration):
            time.sleep(0.1)
        assert browser.run(duration) == pytest.approx(4, abs=0.1)
        where = "return document.querySelector('article.clip .cursor').getBoundingClientRect().left"
        before = browser.run(where)
        browser.run("document.querySelector('article.clip audio').currentTime = 3")
        time.sleep(0.6)
        assert browser.run(where) > before + 20
        errors = [line for line in browser.call("POST", "/se/log", {"type": "browser"}) if line["level"] == "SEVERE"]
        assert errors == []
    finally:
        browser.call("DELETE", "")
