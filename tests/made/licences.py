"""docs/licences.md, made of what is installed: ``python -m tests.made.licences > docs/licences.md`` after a change of
constraints.txt, in an environment that has its versions."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAD = """\
# Licences

What sed_lab and its development tools run on, transitive packages included, in the versions of constraints.txt, by what
each package says of itself. sed_lab's own licence is [MIT](../LICENSE). Made by `python -m tests.made.licences`.

| package | version | licence |
|---|---|---|
"""
ELSEWHERE = "not installed where this list was made"


def pinned() -> Iterator[tuple[str, str]]:
    """Names and versions of constraints.txt."""
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"([A-Za-z0-9_.-]+)==([^\s;]+)", line):
            yield found[1], found[2]


def licence(name: str) -> str:
    """What an installed package says that its licence is: its expression, else its classifiers, else its first line."""
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return ELSEWHERE
    if said.get("License-Expression"):
        return str(said["License-Expression"])
    classes = [one.rpartition(" :: ")[2] for one in said.get_all("Classifier") or () if one.startswith("License ::")]
    if named := [one for one in classes if one != "OSI Approved"]:
        return ", ".join(named)
    lines = str(said.get("License") or "").strip().splitlines()
    return lines[0][:80] if lines else "not said"


def text() -> str:
    """The whole page."""
    rows = (f"| {name} | {version} | {licence(name).replace('|', '/')} |\n" for name, version in pinned())
    return HEAD + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(text())
