"""Labels of AudioSet by display name, machine id and number, and what is said where one is not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sed_lab.dataset.audioset_labels import numbered
from sed_lab.errors import InputError

LIST = """index,mid,display_name
0,/m/09x0r,Speech
23,/t/dd00002,"Baby cry, infant cry"
74,/m/0bt9lr,Dog
81,/m/01yrx,Cat
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of embeddings below one with the list."""
    (tmp_path / "class_labels_indices.csv").write_text(LIST, encoding="utf-8")
    (tmp_path / "audioset_v1_embeddings").mkdir()
    return tmp_path / "audioset_v1_embeddings"


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["Dog", "Cat"], {"Dog": 74, "Cat": 81}),
        (["Cat", "/m/0bt9lr", 0, "23"], {"Cat": 81, "Dog": 74, "Speech": 0, "Baby cry; infant cry": 23}),
        ([{"cry": "Baby cry, infant cry"}, {"a": 0, "b": "Cat"}], {"cry": 23, "a": 0, "b": 81}),
        ({"Cat": 81, "hound": "Dog"}, {"Cat": 81, "hound": 74}),
    ],
)
def test_labels_in_every_form(folder: Path, classes: Any, expected: dict[str, int]) -> None:
    assert list(numbered(classes, folder).items()) == list(expected.items())
    assert numbered(classes, folder.parent) == expected  # the list may lie in the folder itself


def test_without_a_list_numbers_do(tmp_path: Path) -> None:
    assert numbered([{"Dog": 74}, 81], tmp_path) == {"Dog": 74, "81": 81}
    said = rf"'Cat' is looked up in {tmp_path}/class_labels_indices\.csv, which is not there; put AudioSet's list"
    with pytest.raises(InputError, match=said):
        numbered([{"Dog": 74}, "Cat"], tmp_path)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["Dogg"], r"'Dogg' is no label of .*indices\.csv, did you mean 'Dog'\?; use a display name or machine id"),
        (["/m/0"], r"'/m/0' is no label of"),
        ([75], r"indices\.csv has no label 75; use a number up to 81"),
        ([-1], r"dataset\.classes: -1 is no label; use a display name, a machine id or a number"),
        ([True], r"True is no label"),
        ([1.5], r"1\.5 is no label"),
        ([["Dog"]], r"\['Dog'\] is no label"),
        ([40000], r"40000 is no label"),
        (["Dog", 74], r"dataset\.classes: Dog \(label 74\) stands twice; give each class once"),
        ([{"a": 74}, {"a": 81}], r"a \(label 81\) stands twice"),
        ([], r"dataset\.classes is empty; name at least one class"),
        ({}, r"dataset\.classes is empty"),
    ],
)
def test_what_is_no_label_is_said(folder: Path, classes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        numbered(classes, folder)


@pytest.mark.parametrize("text", ["", "index,mid\n0,/m/09x0r\n", "index,mid,display_name\nx,/m/0,Speech\n", "\xff"])
def test_another_file_is_no_list(tmp_path: Path, text: str) -> None:
    (tmp_path / "class_labels_indices.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"indices\.csv: cannot be read as columns index, mid and display_name"):
        numbered(["Speech"], tmp_path)
