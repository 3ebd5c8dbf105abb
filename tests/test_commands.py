"""Every command that the documents, configurations and the Makefile show can be typed as it stands.

Words for Hydra are composed, words of the other commands are parsed, make's targets and variables exist.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

TOP = Path(__file__).resolve().parents[1]
CONF = TOP / "conf"
PROGRAMS: dict[str, str] = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
HYDRA_APPS = {"sed-train": "config", "sed-evaluate": "evaluate"}
MAKEFILE = (TOP / "Makefile").read_text(encoding="utf-8")
ITEMS = {f"{path.parent.name}/{path.stem}" for path in (TOP / "experiments").glob("*/*.yaml")}
# What stands for something of the reader's own.
STAND_INS = {"N": "1", "CORPUS": "desed", "PAPER/ITEM": "park2022/fig3", "PAPER": "park2022", "KEY=VALUE": "seed=1"}
MORE = "..."  # left out on purpose; a code span in a sentence may name a part of a command only
ENDS = {"|", "||", "&", "&&", ";", ">", ">>", "2>", "<"}


def spoken(word: str) -> str:
    """A word as it is typed: without the brackets of what is optional, something for `FOLDER` and `AUDIO...`."""
    if word.startswith("[") and not word.endswith("]]"):
        word = word[1:]
    if word.count("]") > word.count("["):
        word = word[:-1]
    word = word if word == MORE else word.removesuffix(MORE)
    return STAND_INS.get(word, "x" if re.fullmatch(r"[A-Z]{3,}", word) else word)


def commands(line: str) -> Iterator[tuple[str, ...]]:
    """The commands of one line of a shell, each as its words; what stands before one (`srun`, `X=1`) is left out.

    `FOLDER` and `<folder>` stand for something of the reader's.
    """
    line = re.sub(r"<(\w+)>", lambda found: found[1].upper(), line)
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split, lexer.commenters = True, ""
    words = [*lexer, ";"]
    start: int | None = None
    for place, word in enumerate(words):
        name = word.rsplit("/", 1)[-1]
        if start is None and (name == "make" or name in PROGRAMS):
            start = place
        elif word in ENDS and start is not None:
            yield (words[start].rsplit("/", 1)[-1], *map(spoken, words[start + 1 : place]))
            start = None


def shown_in_markdown(text: str) -> Iterator[str]:
    """Lines of code blocks that begin with a command, and code spans that do."""
    first = rf"(?:[A-Z_]+=\S+ +)*(?:\S*/)?(?:srun .*)?(?:make|{'|'.join(PROGRAMS)})(?= |$)"
    text = re.sub(r"\\\n\s*", " ", text)
    for line in re.findall(r"^(?: {4,}|\t)(.+)$", text, re.MULTILINE) + [
        line
        for block in re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for line in block.split("\n")
    ]:
        command = re.split(r"(?:^|\s)# ", line.strip().removeprefix("$ "))[0].strip()
        if re.match(first, command):
            yield command
    for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text):
        command = " ".join(span.split())
        if re.match(first, command) and " " in command:
            yield f"{command} {MORE}"


def shown_in_yaml(text: str) -> Iterator[str]:
    """A comment that is a command, or ends in one after a colon, up to two spaces; and its code spans."""
    for comment in re.findall(r"^\s*#(.*)$", text, re.MULTILINE):
        found = re.search(rf"(?:^\s*|: )((?:{'|'.join(PROGRAMS)}) .*?)(?=\s{{2}}|$)", comment)
        if found:
            yield found[1]
        yield from shown_in_markdown(comment.strip())


def shown_in_makefile(text: str) -> Iterator[str]:
    """Recipes, with make's variables filled in."""
    for recipe in re.findall(r"^\t@?(.*)$", text, re.MULTILINE):
        line = recipe.replace("$(BIN)/", "").replace("$(SCALE)", "mini")
        while line != (line := re.sub(r"\$\([^()]*\)", "", line)):
            pass
        if line.startswith("sed-"):
            yield line.replace("$", "")


def advertised() -> list[tuple[str, ...]]:
    pages = [*TOP.glob("*.md"), *(TOP / "docs").glob("*.md"), *(TOP / "results").glob("*.md")]
    lines = [line for page in pages for line in shown_in_markdown(page.read_text(encoding="utf-8"))]
    for folder in ("conf", "experiments"):
        for path in (TOP / folder).rglob("*.yaml"):
            lines += shown_in_yaml(path.read_text(encoding="utf-8"))
    lines += shown_in_makefile(MAKEFILE)
    found = {command for line in lines for command in commands(line)}
    return sorted(found - {(*command, MORE) for command in found})


COMMANDS = advertised()


Patch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]


class Parsed(BaseException):
    """The command line was understood; the command itself does not run."""


def check_hydra(program: str, words: list[str]) -> None:
    """Compose a Hydra app's words; of a sweep each value once, of seeds the first, beside the first of the others."""
    options = get_args_parser().parse_args(words)
    name, overrides = options.config_name or HYDRA_APPS[program], options.overrides
    if options.config_dir or any(word.startswith("hydra.searchpath") for word in overrides):  # the reader's own files
        name = name if (CONF / f"{name}.yaml").is_file() else HYDRA_APPS[program]
        overrides = [word for word in overrides if not word.startswith("hydra.searchpath") and not is_foreign(word)]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        parsed = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(overrides)
        values = [list(one.sweep_string_iterator()) if one.is_sweep_override() else [] for one in parsed]
        if not options.multirun:
            assert not any(values), "several values of a key need -m"
        values = [own[:1] if one.get_key_element() == "seed" else own for one, own in zip(parsed, values, strict=True)]
        for number in range(max(map(len, values), default=1) or 1):
            chosen = [
                f"{one.get_key_element()}={own[number % len(own)]}" if own else one.input_line
                for one, own in zip(parsed, values, strict=True)
            ]
            compose(name, overrides=chosen)


def is_foreign(word: str) -> bool:
    """Whether a word chooses an option that is not one of ours."""
    group, _, option = word.partition("=")
    return (CONF / group).is_dir() and not (CONF / group / f"{option}.yaml").is_file()


def check_parsed(program: str, words: list[str], partly: bool, monkeypatch: Patch, capsys: Capture) -> None:
    """Let a command parse its own words and go no further; the tables it names are there.

    ``partly``: words may be missing, none may be wrong.
    """
    for method in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, method, stopping(getattr(argparse.ArgumentParser, method)))
    monkeypatch.setattr(sys, "argv", [program, *words])
    module, function = PROGRAMS[program].split(":")
    with pytest.raises((Parsed, SystemExit)) as raised:
        getattr(import_module(module), function)()
    missing = re.search("arguments are required|expected .*one argument", capsys.readouterr().err)
    assert raised.type is Parsed or (partly and missing)
    if "--folder" not in words:
        named = {word for word in words if re.fullmatch(r"[a-z]+\d{4}/\w+", word)}
        assert named <= ITEMS, f"there is no table {', '.join(sorted(named - ITEMS))}"


def stopping(parse: Any) -> Any:
    def stopped(parser: argparse.ArgumentParser, args: list[str] | None = None) -> NoReturn:
        parse(parser, args)
        raise Parsed

    return stopped


def check_make(words: list[str]) -> None:
    targets = {*re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE), *(item.replace("/", "-") for item in ITEMS)}
    variables = {word.partition("=")[0] for word in words if "=" in word}
    assert {word for word in words if "=" not in word} <= targets
    assert variables <= set(re.findall(r"\$[({](\w+)", MAKEFILE)) | set(re.findall(r"^(\w+) *[?:]?=", MAKEFILE, re.M))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_advertised_command_can_be_typed(command: tuple[str, ...], monkeypatch: Patch, capsys: Capture) -> None:
    program, words = command[0], [word for word in command[1:] if word != MORE]
    if program == "make":
        check_make(words)
    elif program in HYDRA_APPS:
        check_hydra(program, words)
    else:
        check_parsed(program, words, MORE in command, monkeypatch, capsys)


def test_commands_are_found_in_every_form_they_are_shown_in() -> None:
    text = """\
Text with `sed-train loss=bce
seed=1`, `sed-train` alone, and `make demo BANK=folder`.

    sed-train --config-name arora2019 'dataset.classes=[dog, cat]' \\
        seed=0   # a remark
    X=1 srun -n 4 .venv/bin/sed-predict RUN AUDIO... | head

```sh
$ sed-prepare check CORPUS FOLDER && sed-reproduce PAPER/ITEM
```
"""
    assert [command for line in shown_in_markdown(text) for command in commands(line)] == [
        ("sed-train", "--config-name", "arora2019", "dataset.classes=[dog, cat]", "seed=0"),
        ("sed-predict", "x", "x"),
        ("sed-prepare", "check", "desed", "x"),
        ("sed-reproduce", "park2022/fig3"),
        ("sed-train", "loss=bce", "seed=1", MORE),
        ("make", "demo", "BANK=folder", MORE),
    ]
    lines = "# About it: sed-train --config-name huang2021 [method.ifd=false a.b=[1]]\n#  sed-evaluate run=x    prose\n"
    assert [command for line in shown_in_yaml(lines) for command in commands(line)] == [
        ("sed-train", "--config-name", "huang2021", "method.ifd=false", "a.b=[1]"),
        ("sed-evaluate", "run=x"),
    ]
    kinds = {command[0] for command in COMMANDS}
    assert {"make", "sed-train", "sed-evaluate", "sed-predict", "sed-prepare", "sed-reproduce"} <= kinds
    assert sum("--config-name" in command for command in COMMANDS) >= 10


@pytest.mark.parametrize(
    "command",
    [
        "sed-train loss=bc", "sed-train loss=bce,tbfl", "sed-train --config-name arora2020", "sed-train --name x",
        "sed-train -m loss=bce,tbf", "sed-predict", "sed-predict x y --embedings x", "sed-prepare check desd ...",
        "sed-reproduce --scale min", "sed-reproduce park2022/fig33", "make demmo", "make demo BNK=x",
    ],
)  # fmt: skip
def test_a_wrong_command_is_found(command: str, monkeypatch: Patch, capsys: Capture) -> None:
    (words,) = commands(command)
    with pytest.raises((Exception, SystemExit)):
        test_every_advertised_command_can_be_typed(words, monkeypatch, capsys)
