"""docs/licences.md names every pinned package in its version, and its licence as the package itself says it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from tests.made.licences import ROOT, licence, pinned


def test_the_list_of_licences_is_of_what_is_pinned() -> None:
    page = (ROOT / "docs/licences.md").read_text(encoding="utf-8").splitlines()
    start = page.index("|---|---|---|") + 1
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in page[start:]]
    again = "; run python -m tests.made.licences > docs/licences.md"
    assert [(name, pin) for name, pin, _ in rows] == list(pinned()), f"constraints.txt has changed{again}"
    checked = 0
    for name, pin, said in rows:
        try:
            installed = version(name) == pin
        except PackageNotFoundError:
            continue
        if installed:
            checked += 1
            assert said == licence(name).replace("|", "/"), f"{name}{again}"
    assert checked > len(rows) // 2
