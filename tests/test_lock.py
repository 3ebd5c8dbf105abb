"""requirements.lock: every pinned package of Python 3.11 with a hash, nothing else, and no address."""

from __future__ import annotations

from packaging.requirements import Requirement

from tests.made.licences import ROOT
from tests.made.lock import HEAD, LOCK, hashes_of, pins, text

CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_the_lock_is_of_what_is_pinned() -> None:
    locked, pinned = pins(LOCK.read_text(encoding="utf-8")), pins(CONSTRAINTS)
    needed = {
        line for line in pinned if (m := Requirement(line).marker) is None or m.evaluate({"python_version": "3.11"})
    }
    assert set(locked) >= needed, "constraints.txt has changed; run make lock"
    assert set(locked) <= set(pinned), "constraints.txt has changed; run make lock"
    assert all(hashes for _, hashes in locked.values())
    assert "://" not in LOCK.read_text(encoding="utf-8")


def test_it_is_made_of_pip_s_report() -> None:
    some = list(pins(CONSTRAINTS).items())[:2]
    new = {(name, line.split("==")[1].split()[0]): f"{i}" * 64 for i, (line, (name, _)) in enumerate(some)}
    report = {
        "install": [
            {
                "metadata": {"name": name.replace("-", "_"), "version": version},
                "download_info": {"url": "https://elsewhere/x.whl", "archive_info": {"hashes": {"sha256": digits}}},
            }
            for (name, version), digits in new.items()
        ]
    }
    assert hashes_of(report) == new
    made = text(hashes_of(report))
    assert made.startswith(HEAD)
    before = pins(LOCK.read_text(encoding="utf-8"))
    for line, (name, hashes) in pins(made).items():
        added = {digits for (other, _), digits in new.items() if other == name}
        assert hashes == before[line][1] | added  # those of another Python stay
