"""requirements.lock: every package of constraints.txt with the SHA-256 of the file that pip chooses here.

``make lock`` writes it: it asks pip for a report of an installation that is not carried out, adds what that says to the
hashes that the file has of the same versions (another Python may take other files), and leaves addresses out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.made.licences import ROOT

LOCK = ROOT / "requirements.lock"
HEAD = """\
# Every package of constraints.txt with the SHA-256 of the files that pip may install: Linux on x86-64, Python 3.11.
# Made by `make lock`. docs/troubleshooting.md says how to install from it.
"""
PIN = re.compile(r"([A-Za-z0-9_.-]+)==([^\s;\\]+)(\s*;[^\\]*)?")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def pins(text: str) -> dict[str, tuple[str, set[str]]]:
    """Of constraints or a lock: by the line that pins a package, its normal name and its hashes."""
    found: dict[str, tuple[str, set[str]]] = {}
    for line in re.sub(r"\\\n", "", text).splitlines():
        if match := PIN.match(line):
            found[" ".join(match[0].split())] = normal(match[1]), set(HASH.findall(line))
    return found


def normal(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def report(folder: Path) -> dict[str, Any]:
    """What pip would install for this interpreter."""
    place = folder / "report.json"
    words = ["install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--report", str(place)]
    subprocess.run([sys.executable, "-m", "pip", *words, "-r", str(ROOT / "constraints.txt")], check=True)
    return dict(json.loads(place.read_text(encoding="utf-8")))


def hashes_of(found: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """From pip's report: the hash of each name and version."""
    return {
        (normal(one["metadata"]["name"]), one["metadata"]["version"]): one["download_info"]["archive_info"]["hashes"][
            "sha256"
        ]
        for one in found["install"]
    }


def text(found: Mapping[tuple[str, str], str]) -> str:
    """The whole file."""
    before = pins(LOCK.read_text(encoding="utf-8")) if LOCK.exists() else {}
    lines = []
    for line, (name, _) in pins((ROOT / "constraints.txt").read_text(encoding="utf-8")).items():
        version = line.split("==")[1].split()[0]
        known = {*before.get(line, (name, set()))[1], *([found[name, version]] if (name, version) in found else [])}
        if known:
            lines.append(" \\\n    ".join([line, *(f"--hash=sha256:{digits}" for digits in sorted(known))]))
    return HEAD + "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        LOCK.write_text(text(hashes_of(report(Path(scratch)))), encoding="utf-8")
