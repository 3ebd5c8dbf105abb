"""Names that come with a run may be anybody's: pages made of hostile ones have the elements of those of plain ones."""

from __future__ import annotations

import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sed_lab.experiment.reader import read_experiment
from sed_lab.experiment.table import build_table
from sed_lab.files import read_json
from sed_lab.report.page import write_page
from sed_lab.report.site import write_site
from tests.report import conftest
from tests.report.test_page_browser import EXPERIMENT

END = "</script></style></title></textarea></svg>--><script>alert(1)</script><img src=x onerror=alert(1)>"
IN_NAMES = f"'\" onclick='alert(1)' {END} &lt;${{x}}$title #1b2026"  # no slash is left where it names a file
ANYWHERE = f"{IN_NAMES}\n\r\t\0\x1b[2J\x9b2J\u202e\u2028 ]]> javascript:alert(1)"
KEPT = {"started", "finished", "status", "config_hash", "seed", "name"}  # which have a form of their own
PLACES = {"action", "formaction", "href", "src", "srcdoc", "xlink:href"}


class Elements(HTMLParser):
    """What a page is made of, and what it says."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[tuple[str, ...]] = Counter()
        self.places: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag, *sorted(name for name, _ in attrs if name != "class")] += 1  # long values are wide
        self.places |= {(value or "")[:30] for name, value in attrs if name in PLACES}

    def handle_data(self, data: str) -> None:
        self.text += data

    def _other(self, data: str) -> None:
        self.elements[f"!{data[:20]}",] += 1

    handle_comment = handle_decl = unknown_decl = handle_pi = _other


def told(value: Any, word: str) -> Any:
    """``value`` with ``word`` behind every text in it, and behind every key of what is only listed."""
    if isinstance(value, dict):
        listed = "python" in value  # versions of packages
        return {
            f"{key}{word}" if listed else key: one if key in KEPT else told(one, word) for key, one in value.items()
        }
    if isinstance(value, list):
        return [told(one, word) for one in value]
    return f"{value}{word}" if isinstance(value, str) else value


def run_of(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, word: str) -> Path:
    """A run whose classes and clips are called by ``name``, and whose record says ``word`` everywhere."""
    with monkeypatch.context() as patch:
        patch.setattr(conftest, "CLASSES", tuple(f"{label} {name}" for label in ("Alarm", "Dog", "Speech")))
        conftest.fabricate_run(folder, n_clips=3, seconds=2.0)
    for path in [*folder.rglob("*.tsv")]:
        path.write_text(
            path.read_text(encoding="utf-8").replace("clip_", f"{name.replace('/', '|')}_"), encoding="utf-8"
        )
    record = {**read_json(folder / "run.json"), "reason": "none", "wandb": "https://x"}
    (folder / "run.json").write_text(json.dumps({**told(record, word), "name": name}))
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:constrained_layout not applied")  # the names leave a figure no room
def test_pages_have_the_same_elements_whatever_things_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.yaml").write_text(EXPERIMENT)
    found = {}
    for kind, name, word in (("plain", "x" * len(IN_NAMES), "x"), ("hostile", IN_NAMES, ANYWHERE)):
        run = run_of(tmp_path / kind / "run", monkeypatch, name, word)
        folders = {"a": {0: run}, "b": {0: run}}
        site = write_site(
            [build_table(read_experiment(tmp_path / "t.yaml"), "smoke", folders)], tmp_path / kind / "site"
        )
        pages = [write_page(run), *sorted(site.parent.rglob("*.html"))]
        found[kind] = {page.relative_to(tmp_path / kind): Elements(page.read_text(encoding="utf-8")) for page in pages}
    assert found["plain"].keys() == found["hostile"].keys()
    for page, plain in found["plain"].items():
        hostile = found["hostile"][page]
        assert hostile.elements == plain.elements, page
        assert not [place for place in hostile.places if place.strip().lower().startswith("javascript:")], page
    assert sum("alert(1)" in page.text for page in found["hostile"].values()) >= 2  # they are told, as text
