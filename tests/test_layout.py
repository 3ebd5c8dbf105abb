"""The house's rules, read from the syntax trees: which way imports go, how long things get, what must not appear."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sed_lab"
MODULES = sorted(PACKAGE.rglob("*.py"))
PYTHON = sorted(p for folder in ("sed_lab", "tests", "benchmarks") for p in (ROOT / folder).rglob("*.py"))
MAX_FILE, MAX_FUNCTION = 350, 60

# A part of the package may import itself, what everybody may import, and what is named here; nothing else of sed_lab.
EVERYBODY = {"types", "errors", "files", "waiting"}
ARROWS: dict[str, set[str]] = {
    "": {"api"},  # what `import sed_lab` gives
    "types": {"errors"},
    "errors": set(),
    "files": {"errors"},
    "waiting": set(),
    "scores": set(),
    "loss": set(),
    "clip": set(),
    "model": set(),
    "feature": {"clip"},  # VGGish's embeddings are written as AudioSet's records
    "decoder": set(),
    "metric": {"decoder", "scores"},  # a score is measured by way of a decoder, never the other way round
    "bank": {"clip"},
    "dataset": {"clip", "bank", "feature"},
    "method": {"feature", "model", "loss"},
    "parameter": set(),
    "run": {"clip", "feature", "decoder", "metric", "scores", "method", "parameter"},
    "experiment": {"metric", "run"},
    "detection": {"clip", "decoder", "feature", "scores", "run", "report"},  # sed-predict's: what becomes of its events
    "report": {"clip", "feature", "decoder", "metric", "scores", "run", "experiment"},
    "analysis": {"clip", "decoder", "metric", "scores", "run", "experiment", "report"},  # imported by name
}
# The commands and what they share: they bring the parts together, and nothing else imports them.
COMMANDS = {"app", "api", "train", "evaluate", "predict", "export", "prepare", "reproduce", "tables", "plan",
            "composed", "until", "explore", "compare", "search"}  # fmt: skip
HYDRA_ALLOWED = COMMANDS | {"run"}
# Commands answer --help without loading torch (3 s) or Lightning (5 s).
LIGHT = [*sorted(COMMANDS), "run.record", "run.sweep", "run.jobs"]
HEAVY = {"torch", "pytorch_lightning", "wandb", "matplotlib", "scipy", "pandas", "sklearn", "sed_scores_eval"}
# Of extras: only what needs them may ask for them.
OPTIONAL = {
    "transformers",
    "huggingface_hub",
    "safetensors",
    "onnx",
    "onnxruntime",
    "nicegui",
    "fastapi",
    "starlette",
    "optuna",
    "wandb_workspaces",
}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def dotted(path: Path) -> str:
    """``sed_lab/dataset/audio.py`` -> ``dataset.audio``; a package's __init__ is the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every imported module of a file with its line, at any depth; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def forbidden_import(module: str, target: str) -> bool:
    """Whether ``module`` of sed_lab (``method.park2022``) must not import ``target`` of sed_lab (``metric.event``)."""
    part, other = module.split(".")[0], target.split(".")[0]
    if part in COMMANDS or module == "run.jobs":  # which starts a Hydra app as they do
        return False
    if part not in ARROWS:
        return True
    allowed = ARROWS[part] | ({part} if "." in module else set())
    if part not in EVERYBODY:
        allowed |= EVERYBODY
    return other not in allowed and not any(target == a or target.startswith(a + ".") for a in allowed)


def report(broken: list[str]) -> None:
    assert not broken, "\n" + "\n".join(broken)


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_imports_go_one_way() -> None:
    report(
        [
            f"{where(path, line)}: {dotted(path)} must not import {name}"
            for path in MODULES
            for line, name in imports(path)
            if name.startswith("sed_lab.") and forbidden_import(dotted(path), name.removeprefix("sed_lab."))
        ]
    )


@pytest.mark.parametrize(
    ("module", "target", "forbidden"),
    [
        ("method.park2022", "loss.BinaryLoss", False),
        ("method.park2022", "feature.log_mel.LogMel", False),
        ("method.park2022", "clip.audio.load", True),
        ("method.park2022", "metric.event", True),
        ("method.park2022", "method.base.SedMethod", False),
        ("clip.module", "loss.BinaryLoss", True),
        ("clip.module", "clip.audio.load", False),
        ("metric.event", "run.collect.Evaluation", True),
        ("decoder.median", "metric.event", True),
        ("types", "files.write_json", True),
        ("loss", "types.Batch", False),
        ("loss", "model.crnn", True),
        ("train", "run.collect.Evaluation", False),
        ("utils", "types.Batch", True),
    ],
)
def test_the_import_rule_tells_arrows_apart(module: str, target: str, forbidden: bool) -> None:
    assert forbidden_import(module, target) is forbidden


def test_modules_import_in_no_circle() -> None:
    """Module by module, imports at the top of files only: those within functions break none."""
    modules = {dotted(path): path for path in MODULES}
    edges = {
        name: {
            target
            for node in tree_of(path).body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sed_lab.")
            for alias in node.names
            for target in (str(node.module)[8:], f"{str(node.module)[8:]}.{alias.name}")
            if target in modules and modules[target].name != "__init__.py"
        }
        for name, path in modules.items()
    }
    list(TopologicalSorter(edges).static_order())  # raises CycleError with the circle


def test_no_room_holds_more_than_a_fifth_of_the_lines() -> None:
    lines: Counter[str] = Counter()
    for path in MODULES:
        lines[path.relative_to(PACKAGE).parts[0]] += path.read_text(encoding="utf-8").count("\n")
    report([f"{room}: {n} of {lines.total()} lines" for room, n in lines.items() if n > lines.total() / 5])


def test_no_paper_is_named_in_shared_code() -> None:
    """Beside methods, their parameters, analyses and datasets, a paper's name stands in docstrings only."""
    papers = re.compile("park2022|arora2019|huang2021|amiriparian2018|aziz2020")
    broken = []
    for path in MODULES:
        if (
            path.relative_to(PACKAGE).parts[0] in {"method", "analysis", "dataset"}
            or dotted(path) == "parameter.method"
        ):
            continue
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        texts = [n.body[0].value for n in ast.walk(tree_of(path)) if isinstance(n, documented) and ast.get_docstring(n)]  # type: ignore[attr-defined]
        inside = {line for text in texts for line in range(text.lineno, text.end_lineno + 1)}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if number not in inside and papers.search(line):
                broken.append(f"{where(path, number)}: {line.strip()}")
    report(broken)


def test_every_module_has_a_place_in_the_arrows() -> None:
    places = {dotted(path).split(".")[0] for path in MODULES} - {""}
    unknown = places - set(ARROWS) - COMMANDS
    assert not unknown, f"say in ARROWS of {Path(__file__).name} what may be imported by: {sorted(unknown)}"


def test_only_commands_and_runs_know_hydra() -> None:
    report(
        [
            f"{where(path, line)}: imports {name}; only {', '.join(sorted(HYDRA_ALLOWED))} may"
            for path in MODULES
            for line, name in imports(path)
            if name.split(".")[0] in {"hydra", "omegaconf"} and dotted(path).split(".")[0] not in HYDRA_ALLOWED
        ]
    )


def test_libraries_of_extras_are_imported_by_what_needs_them() -> None:
    report(
        [
            f"{where(path, node.lineno)}: import it in the function that needs it"
            for path in MODULES
            for node in tree_of(path).body
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
            if name.split(".")[0] in OPTIONAL
        ]
    )


def test_no_relative_or_star_imports() -> None:
    report(
        [
            f"{where(path, node.lineno)}: write the module's full name and the names it gives"
            for path in PYTHON
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.ImportFrom) and (node.level or node.names[0].name == "*")
        ]
    )


def test_files_and_functions_stay_short() -> None:
    broken = []
    for path in MODULES:
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > MAX_FILE:
            broken.append(f"{where(path, 1)}: {lines} lines, at most {MAX_FILE}")
        for node in ast.walk(tree_of(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION:
                    broken.append(f"{where(path, node.lineno)}: {node.name} has {length} lines, at most {MAX_FUNCTION}")
    report(broken)


def test_public_names_are_documented() -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    broken = [f"{where(path, 1)}: no module docstring" for path in MODULES if not ast.get_docstring(tree_of(path))]
    broken += [
        f"{where(path, node.lineno)}: {node.name} has no docstring"
        for path in MODULES
        for node in tree_of(path).body
        if isinstance(node, kinds) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    report(broken)


def test_package_files_hold_a_docstring_only() -> None:
    report(
        [
            f"{where(path, node.lineno)}: an __init__.py holds its docstring only, import from the modules"
            for path in PACKAGE.rglob("__init__.py")
            if path.parent != PACKAGE  # which gives the names of api.py, and imports them when they are asked for
            for node in tree_of(path).body[1:]
        ]
    )


def test_importing_sed_lab_loads_none_of_its_modules() -> None:
    code = "import sys, sed_lab; print(*[m for m in sys.modules if m.startswith('sed_lab.') or m == 'numpy'])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (loaded.returncode, loaded.stderr, loaded.stdout.strip()) == (0, "", "")


def test_nothing_is_left_unfinished() -> None:
    unfinished = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|NotImplemented" r"Error)\b")
    broken = [
        f"{where(path, number)}: {match.group()}"
        for path in PYTHON
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (match := unfinished.search(line))
    ]
    report(broken)


def test_no_machine_path_and_no_registry_address() -> None:
    """Nothing may depend on one machine's folders or on one registry; documents may cite web pages, code may not."""
    machine = re.compile(r"""(?<![\w.$}/*-])/(?:home|root|Users|mnt|opt|srv|data|scratch|tmp|work)/""")
    registry = re.compile(r"--(?:extra-)?index-url|--find-links|--trusted-host|pypi\.|/simple\b|download\.pytorch")
    address = re.compile(r"https?://(?!127\.0\.0\.1)")
    names = ["Makefile", "pyproject.toml", "constraints.txt", ".ci/run", ".pre-commit-config.yaml"]
    scripts = [ROOT / name for name in names]
    data = [p for folder in ("conf", "experiments") for p in (ROOT / folder).rglob("*.yaml")]
    broken = []
    for path in [*PYTHON, *scripts, *data]:
        if path == Path(__file__).resolve():
            continue
        patterns = [machine, registry, *([address] if path.suffix == ".py" and PACKAGE in path.parents else [])]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if path.suffix == ".yaml":
                line = re.sub(r"(?:^|\s)#.*", "", line)  # a comment may give an example
            broken += [f"{where(path, number)}: {m.group()}" for p in patterns if (m := p.search(line))]
    report(broken)


def test_everything_ships_in_the_wheel() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    packages, data = set(setuptools["packages"]), setuptools["package-data"]
    there = {".".join(["sed_lab", *p.parent.relative_to(PACKAGE).parts]) for p in PACKAGE.rglob("__init__.py")}
    assert packages - {"sed_lab.conf", "sed_lab.experiments"} == there, "packages and folders of sed_lab differ"
    listed = {
        path
        for package, patterns in data.items()
        for pattern in patterns
        for path in (ROOT / setuptools["package-dir"].get(package, package.replace(".", "/"))).glob(pattern)
    }
    listed |= {ROOT / source for module in setuptools["ext-modules"] for source in module["sources"]}
    unlisted = {
        path.relative_to(ROOT).as_posix()
        for folder in (PACKAGE, ROOT / "conf", ROOT / "experiments")
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if path.suffix not in (".py", ".so") and path not in listed
    }
    assert not unlisted, "[tool.setuptools.package-data] of pyproject.toml leaves these out"


@pytest.mark.parametrize("name", LIGHT)
def test_commands_start_without_heavy_libraries(name: str) -> None:
    code = f"import sys, sed_lab.{name}; print(*sorted({HEAVY!r} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (loaded.returncode, loaded.stderr, loaded.stdout.strip()) == (0, "", ""), (
        f"importing sed_lab.{name} loads these"
    )
