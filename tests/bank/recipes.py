"""Recipes read back from the file that `sed_lab.bank.soundscape.write_recipes` wrote."""

from __future__ import annotations

import json
from pathlib import Path

from sed_lab.bank.soundscape import Ingredient, Recipe


def read_recipes(path: Path) -> list[Recipe]:
    """One of each line."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Recipe(**{**one, "events": tuple(Ingredient(**event) for event in one["events"])}) for one in found]
