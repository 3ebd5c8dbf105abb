"""Page and site in a real browser: no error, sounds that load, filter and order that work, links that resolve."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from sed_lab.experiment.reader import read_experiment
from sed_lab.experiment.table import build_table
from sed_lab.report.compare_page import write_compare_page
from sed_lab.report.compared import compare
from sed_lab.report.page import write_page
from sed_lab.report.site import write_site
from tests.report.browser import Browser, driver, needs_chromium
from tests.report.test_compare import make

__all__ = ["driver"]  # a fixture
pytestmark = [pytest.mark.slow, needs_chromium]
LINKS = "[...document.querySelectorAll('a[href]')].map(a => a.href).filter(h => h.startsWith('file:'))"
TAB = "\ue004"
EXPERIMENT = """\
paper: p
item: t
title: A table
place: table 1
scales:
  smoke: {config: park2022, seeds: [0, 1]}
  mini: {config: park2022, seeds: [0, 1], minutes: 3, hardware: one core}
columns: {f1: {metric: student/event_f1/macro}}
rows: {a: {label: A, overrides: []}, b: {label: B, overrides: []}}
claims: [{id: 1, say: B beats A, better: b, than: a, column: f1}]
figure: {kind: points, column: f1}
"""
# Values, scales and verdicts that are not wholly on the screen, whatever can be unfolded unfolded; none are to be.
HIDDEN = """
document.querySelectorAll('details').forEach(d => d.open = true);
const own = 'td, tbody th, .tiles b, .verdict, .hz, .level, .axis .field span';
return [...document.querySelectorAll(own)].filter(e => e.textContent.trim() && !e.closest('[hidden]')).filter(e => {
  const box = e.getBoundingClientRect();
  return box.width < 1 || box.left < 0 || box.right > document.documentElement.clientWidth + 1
    || (e.matches('td, th') && e.scrollWidth > e.clientWidth + 1);
}).map(e => e.className + ': ' + e.textContent)
"""
CHANGED = "s.dispatchEvent(new Event('change', {bubbles: true}))"


def screen(browser: Browser, width: int, scheme: str = "light") -> None:
    """Let the window be so wide, and its reader's colours be so; Chromium's own window is at least 500 wide."""
    browser.emulate(
        "setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.emulate("setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})


@pytest.mark.parametrize("width", [390, 1400])
def test_the_answer_stands_first_and_nothing_is_off_the_screen(
    driver: int, tmp_path: Path, make_run: Callable[..., Path], width: int
) -> None:
    page = write_page(make_run(n_clips=13))
    browser = Browser(driver, tmp_path / "profile", width)
    try:
        screen(browser, width)
        browser.call("POST", "/url", {"url": page.as_uri()})
        order = [".tiles", ".jump", "#figures", "#clips", "#classes", "#metrics", "#run"]
        tops = [browser.run(f"return document.querySelector('{one}').getBoundingClientRect().top") for one in order]
        assert tops == sorted(tops)
        assert tops[1] < 900  # the answer is on the first screen
        inside = "[...document.querySelectorAll('#metrics')].map(h => h.closest('section'))[0]"
        assert browser.run(f"return {inside}.querySelectorAll('details').length") >= 5
        assert browser.run(f"return {inside}.querySelectorAll('details[open]').length") == 0
        # ten clips, and then the others, where the keyboard goes on
        shown = "return [...document.querySelectorAll('article.clip')].filter(c => c.offsetParent !== null).length"
        assert browser.run(shown) == 10
        browser.run("document.querySelector('#more').click()")
        assert browser.run(shown) == 13
        assert browser.run(
            "return [...document.querySelectorAll('article.clip')].indexOf(document.activeElement.closest('.clip'))"
        ) == 10  # fmt: skip
        before = browser.run("return document.activeElement.getAttribute('aria-valuenow')")
        browser.press("\ue014")  # arrow right
        browser.until(f"return document.activeElement.getAttribute('aria-valuenow') !== '{before}'")
        for _ in range(3):  # cards are drawn as they come near
            browser.run("window.scrollBy(0, document.body.scrollHeight)")
            time.sleep(0.3)
        browser.run("document.querySelector('#clips').scrollIntoView()")
        browser.until("return document.querySelectorAll('.level').length >= 3")
        assert browser.run("return document.querySelectorAll('.clip .hz').length") >= 13
        assert browser.run(HIDDEN) == []
        assert browser.run("return document.documentElement.scrollWidth - window.innerWidth") <= 0
        ground = "return getComputedStyle(document.body).backgroundColor"
        light = browser.run(ground)
        browser.run("document.querySelector('#theme').click()")
        assert browser.run(ground) != light
        assert browser.errors() == []
    finally:
        browser.call("DELETE", "")


def test_compared_runs_are_read_on_a_telephone(driver: int, tmp_path: Path) -> None:
    runs = [make(tmp_path / f"{loss}{seed}", seed, 0.2, loss) for loss in ("Binary", "Focal") for seed in range(2)]
    write_compare_page(compare(runs, None), tmp_path / "compare.html")
    browser = Browser(driver, tmp_path / "profile", 390)
    try:
        for width in (390, 1400):
            screen(browser, width)
            browser.call("POST", "/url", {"url": (tmp_path / "compare.html").as_uri()})
            assert browser.run("return document.querySelectorAll('td').length") > 40
            assert browser.run(HIDDEN) == []
            assert browser.run("return document.documentElement.scrollWidth - window.innerWidth") <= 0
            figure = "document.querySelector('figure')"
            assert browser.run(f"return {figure}.scrollWidth - {figure}.clientWidth") <= 0
    finally:
        browser.call("DELETE", "")


@pytest.mark.parametrize("width", [360, 1400])
def test_page_works(driver: int, tmp_path: Path, make_run: Callable[..., Path], width: int) -> None:
    page = write_page(make_run())
    browser = Browser(driver, tmp_path / "profile", width)
    try:
        screen(browser, width)
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
        assert browser.errors() == []
    finally:
        browser.call("DELETE", "")


@pytest.fixture
def site(tmp_path: Path, make_run: Callable[..., Path]) -> Path:
    """The report site of one table with two rows of two runs, at two scales."""
    (tmp_path / "t.yaml").write_text(EXPERIMENT)
    experiment = read_experiment(tmp_path / "t.yaml")
    folders: dict[str, dict[int, Path]] = {"a": {}, "b": {}}
    for row in folders:
        for seed in (0, 1):
            folders[row][seed] = tmp_path / f"{row}{seed}"
            folders[row][seed].symlink_to(make_run())
    return write_site([build_table(experiment, scale, folders) for scale in ("smoke", "mini")], tmp_path / "report")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1400, "light")])
def test_site_works(driver: int, tmp_path: Path, site: Path, width: int, scheme: str) -> None:
    browser = Browser(driver, tmp_path / "profile", width)
    try:
        screen(browser, width, scheme)
        seen, waiting, sounds = set(), [site.as_uri()], 0
        while waiting:
            address = waiting.pop()
            seen.add(address)
            browser.call("POST", "/url", {"url": address})
            assert browser.run("return document.querySelectorAll('main table').length") > 0, address
            assert browser.run("return document.documentElement.scrollWidth - window.innerWidth") <= 0, address
            assert browser.run(HIDDEN) == [], address
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
        assert browser.errors() == []
        # by keyboard alone: the first stop is the link past the header, the next ones lead on
        browser.call("POST", "/url", {"url": site.as_uri()})
        smoke = "document.querySelector('main > details:last-child')"
        assert browser.run(f"return !{smoke}.open && {smoke}.textContent.startsWith('Smoke runs')")
        stops = []
        for _ in range(8):
            browser.press(TAB)
            stops.append(browser.run("return document.activeElement.textContent.trim().slice(0, 20)"))
        assert stops[0] == "Skip to the claims"
        assert "t: A table" in stops
    finally:
        browser.call("DELETE", "")
