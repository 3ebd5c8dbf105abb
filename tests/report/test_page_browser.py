"""Page and site in a real browser: no error, sounds that load, filter and order that work, links that resolve."""

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

from sed_lab.experiment.reader import read_experiment
from sed_lab.experiment.table import build_table
from sed_lab.report.page import write_page
from sed_lab.report.site import write_site

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
LINKS = "[...document.querySelectorAll('a[href]')].map(a => a.href).filter(h => h.startsWith('file:'))"
TAB = "\ue004"
EXPERIMENT = """\
paper: p
item: t
title: A table
place: table 1
scales: {smoke: {config: park2022, seeds: [0, 1]}}
columns: {f1: {metric: student/event_f1/macro}}
rows: {a: {label: A, overrides: []}, b: {label: B, overrides: []}}
claims: [{id: 1, say: B beats A, better: b, than: a, column: f1}]
figure: {kind: points, column: f1}
"""
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


@pytest.fixture
def site(tmp_path: Path, make_run: Callable[..., Path]) -> Path:
    """The report site of one table with two rows of two runs."""
    (tmp_path / "t.yaml").write_text(EXPERIMENT)
    experiment = read_experiment(tmp_path / "t.yaml")
    folders: dict[str, dict[int, Path]] = {"a": {}, "b": {}}
    for row in folders:
        for seed in (0, 1):
            folders[row][seed] = tmp_path / f"{row}{seed}"
            folders[row][seed].symlink_to(make_run())
    return write_site([build_table(experiment, "smoke", folders)], tmp_path / "report")


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1400, "light")])
def test_site_works(driver: int, tmp_path: Path, site: Path, width: int, scheme: str) -> None:
    browser = Browser(driver, tmp_path / "profile", width)
    try:
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        for command, values in (("setDeviceMetricsOverride", screen), ("setEmulatedMedia", media)):
            browser.call("POST", "/goog/cdp/execute", {"cmd": f"Emulation.{command}", "params": values})
        seen, waiting, sounds = set(), [site.as_uri()], 0
        while waiting:
            address = waiting.pop()
            seen.add(address)
            browser.call("POST", "/url", {"url": address})
            assert browser.run("return document.querySelectorAll('main table').length") > 0, address
            assert browser.run("return document.documentElement.scrollWidth - window.innerWidth") <= 0, address
            ground = browser.run("return getComputedStyle(document.body).backgroundColor")
            assert (int(ground.split("(")[1].split(",")[0]) < 128) is (scheme == "dark")
            for target in browser.run(f"return {LINKS}"):
                plain, _, part = target.partition("#")
                path = Path(urllib.request.url2pathname(plain.removeprefix("file://")))
                assert path.exists(), f"{address} links to {target}"
                if path.suffix == ".html" and part:
                    assert f'id="{part}"' in path.read_text(), target
                if path.suffix == ".html" and plain not in seen and plain not in waiting:
                    waiting.append(plain)
            if "/runs/" in address:
                browser.run("const a = document.querySelector('audio'); a.preload = 'auto'; a.load()")
                until, length = time.monotonic() + 20, "return document.querySelector('audio').duration"
                while time.monotonic() < until and not browser.run(length):
                    time.sleep(0.1)
                sounds += browser.run(length) > 0
        assert len(seen) == 6  # index, paper, four runs
        assert sounds == 4
        errors = [line for line in browser.call("POST", "/se/log", {"type": "browser"}) if line["level"] == "SEVERE"]
        assert errors == []
        # by keyboard alone: the first stop is the link past the header, the next ones lead on
        browser.call("POST", "/url", {"url": site.as_uri()})
        keys = [{"type": kind, "value": TAB} for kind in ("keyDown", "keyUp")]
        stops = []
        for _ in range(4):
            browser.call("POST", "/actions", {"actions": [{"type": "key", "id": "k", "actions": keys}]})
            stops.append(browser.run("return document.activeElement.textContent.trim().slice(0, 20)"))
        assert stops[0] == "Skip to the tables"
        assert "t: A table" in stops
    finally:
        browser.call("DELETE", "")
