"""README and docs/: every link and anchor resolves, every command composes, every option is documented."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from benchmarks.bench_quality import markdown
from sed_lab.files import read_json

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "results/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings: lower case, spaces as hyphens, other signs dropped."""
    headings = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_and_anchor_resolves(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        if not file.exists():
            broken.append(f"{target}: there is no such file")
        elif anchor and anchor not in anchors(file):
            broken.append(f"{target}: {file.name} has no such heading")
    assert not broken, "\n".join(broken)


def test_the_link_check_finds_anchors(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Logging: CSV, W&B\n```\n# no heading\n```\n## As part of sed_lab\n")
    assert anchors(page) == {"logging-csv-wb", "as-part-of-sed_lab"}


def test_the_tables_of_the_default_are_the_benchmark_s() -> None:
    text = (ROOT / "docs/default.md").read_text(encoding="utf-8")
    block = text.split("<!-- bench: quality -->\n")[1].split("<!-- end -->")[0]
    assert block == markdown(read_json(ROOT / "results/bench.json")["quality"]["result"])


def test_readme_is_short_and_names_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 250
    assert len(text.encode()) <= 20_000
    unnamed = [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in text]
    assert not unnamed, f"README does not link {unnamed}"


def test_pictures_are_small() -> None:
    large = [
        path.name
        for path in (ROOT / "docs").iterdir()
        if path.suffix in (".png", ".svg") and path.stat().st_size > 150_000
    ]
    assert not large, f"{large}: above 150 KB"


@pytest.mark.parametrize("group", sorted(path.name for path in (ROOT / "conf").iterdir() if path.is_dir()))
def test_every_option_is_documented(group: str) -> None:
    pages = (ROOT / "docs/configuration.md", ROOT / "docs/data.md")
    named = set(re.findall(r"`(\w+)`", "\n".join(page.read_text(encoding="utf-8") for page in pages)))
    options = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
    assert not options - named, f"docs/configuration.md does not name {group}={sorted(options - named)}"


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    targets |= {f"{path.parent.name}-{path.stem}" for path in (ROOT / "experiments").glob("*/*.yaml")}
    shown = {
        word
        for page in PAGES
        for word in re.findall(r"(?:^ {4}|`)make ([a-z][\w-]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert not shown - targets, f"make has no target {sorted(shown - targets)}"


def commands() -> list[tuple[str, ...]]:
    """The ``sed-train`` and ``sed-evaluate`` commands of code blocks, as words; placeholders and own files left out."""
    found = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^ {4}(?:srun .*? )?(sed-(?:train|evaluate) .*)$", text, re.MULTILINE):
            words = shlex.split(line, comments=True)
            if "--config-dir" not in words and not any("searchpath" in word for word in words):
                found.add(tuple(words))
    return sorted(found)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_composes(words: tuple[str, ...]) -> None:
    """As Hydra would compose it; of a sweep (``seed=0,1,2``) the first values."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config-name", default="evaluate" if words[0] == "sed-evaluate" else "config")
    parser.add_argument("--cfg")
    parser.add_argument("-m", action="store_true")
    options, overrides = parser.parse_known_args(words[1:])
    own = [word for word in overrides if not word.startswith("hydra")]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        parsed = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(own)
        first = [f"{one.get_key_element()}={next(one.sweep_string_iterator())}" if one.is_sweep_override()
                 else one.input_line for one in parsed]  # fmt: skip
        compose(options.config_name, overrides=first)
