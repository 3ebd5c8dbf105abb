"""docs/parameters.md from the descriptions: ``python -m sed_lab.parameter.page > docs/parameters.md``."""

from __future__ import annotations

from collections.abc import Iterator

from sed_lab.parameter.data import DATASETS, FEATURES
from sed_lab.parameter.kind import Parameters
from sed_lab.parameter.method import METHODS
from sed_lab.parameter.network import LOSSES, MODELS, OPTIMIZERS
from sed_lab.parameter.run import CALLBACKS, DECODERS, LOGGERS, METRIC, ROOTS, SPREAD, TRAINERS

HEAD = """# Parameters

Every key of `conf/`, what it takes and what it means: made from the descriptions that `sed-train --help` shows and by
which values are checked before a run begins. `python -m sed_lab.parameter.page > docs/parameters.md` writes this page.
Values, and where they come from, are in the files of `conf/` ([configuration.md](configuration.md)).
"""


def page() -> str:
    """The page's Markdown."""
    parts = [HEAD, *(_section(command, {"": known}) for command, known in ROOTS.items())]
    parts += [_section(group, {"": known}) for group, known in SPREAD.items() if known is not METRIC]
    tables = {"dataset": DATASETS, "feature": FEATURES, "model": MODELS, "loss": LOSSES, "method": METHODS}
    more = {
        "optimizer": OPTIMIZERS,
        "decoder": DECODERS,
        "metric": {"": METRIC},
        "trainer": TRAINERS,
        "logger": LOGGERS,
        "callbacks": CALLBACKS,
    }
    return "\n".join([*parts, *(_section(name, classes) for name, classes in {**tables, **more}.items())])


def _section(title: str, classes: dict[str, Parameters]) -> str:
    return "\n".join([f"## {title}", "", *(line for name, known in classes.items() for line in _table(name, known))])


def _table(name: str, known: Parameters) -> Iterator[str]:
    if name:
        yield from (f"`{name.rpartition('.')[2]}`{'' if known else ': no keys'}", "")
    if known:
        yield from ("| key | takes | meaning |", "|---|---|---|")
        for key, (kind, meaning) in known.items():
            yield f"| `{key}` | {_cell(kind.words)} | {_cell(meaning)} |"
            for inner, one in (kind.parts or {}).items():
                if key not in SPREAD:  # which have sections of their own
                    yield f"| `{key}.{inner}` | {_cell(one.kind.words)} | {_cell(one.meaning)} |"
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(page(), end="")
