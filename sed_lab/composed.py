"""Configurations composed as ``sed-train`` would, and what a table needs to know of a row's runs, kept between calls.

To compose a row's configuration and to name its runs takes a tenth of a second, and there are hundreds of rows. What
came out is kept in ``plans.json`` of the cache folder, for as long as configuration, code, environment and data are the
same.
"""

from __future__ import annotations

import atexit
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sed_lab.app import conf_folder, whole_mappings
from sed_lab.errors import InputError
from sed_lab.files import read_json, write_json
from sed_lab.run.content import content_key, digest
from sed_lab.run.gpu import gpu_pool, needed_gpus
from sed_lab.run.identity import data_of, register_resolvers, run_names
from sed_lab.waiting import shown

MANY, PROCESSES = 20, 8  # rows for which it pays to begin other processes; more of them gain nothing
Asked = tuple[str, tuple[str, ...], Sequence[int], Mapping[str, str] | None]  # the arguments of `row_runs`
VARIABLE = re.compile(r"oc\.env:([A-Za-z_]\w*)")


@dataclass(frozen=True)
class RowRuns:
    """A row's runs: the folder that holds them, their ``names`` by seed, and what their configuration names."""

    runs: str
    names: tuple[str, ...]
    dataset: str
    method: str
    analysis: tuple[str, ...]
    gpus: int


@cache
def composed(config: str, overrides: tuple[str, ...]) -> Any:
    """The configuration, once for all tables and seeds."""
    from hydra import compose, initialize_config_dir

    register_resolvers()
    whole_mappings()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose(config, overrides=list(overrides))


def runs_folder() -> Path:
    """Where runs are kept, by the configuration."""
    return Path(str(composed("config", ()).paths.runs))


def row_runs(
    config: str, overrides: tuple[str, ...], seeds: Sequence[int], kept: Mapping[str, str] | None = None
) -> RowRuns:
    """The runs of a row with ``overrides`` and each of ``seeds``; ``kept`` are content keys of data by its path.

    Raises:
        HydraException, InputError: as composing the configuration and naming its runs does.
    """
    store, key = _store(_cache_folder()), _key((config, overrides, seeds, kept))
    found = store["rows"].get(key)
    if found is None or not _same_data(found["data"], kept or {}):
        found = store["rows"][key] = _made((config, overrides, seeds, kept))
        store["changed"] = True
    row = found["row"]
    return RowRuns(**{**row, "names": tuple(row["names"]), "analysis": tuple(row["analysis"])})


def compose_ahead(asked: Iterable[Asked]) -> None:
    """Make what `row_runs` will be asked for, as its arguments, on all cores where there is much of it.

    What cannot be composed is left to `row_runs`, which says why.
    """
    from joblib import Parallel, cpu_count, delayed

    store = _store(_cache_folder())
    missing = {key: one for one in asked if (key := _key(one)) not in store["rows"]}
    if len(missing) < MANY or cpu_count() < 2:
        return
    with shown("composing configurations"):
        made = Parallel(n_jobs=min(cpu_count(), PROCESSES))(delayed(_tried)(one) for one in missing.values())
    store["rows"] |= {key: one for key, one in zip(missing, made, strict=True) if one}
    store["changed"] = True


def _tried(asked: Asked) -> dict[str, Any] | None:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        return _made(asked)
    except (HydraException, OmegaConfBaseException, InputError):
        return None


def _made(asked: Asked) -> dict[str, Any]:
    """What is kept of a row: the data behind it, and its `RowRuns`."""
    config, overrides, seeds, kept = asked
    cfg = composed(config, overrides)
    names = run_names(cfg, seeds, kept)
    parts = (str(cfg.dataset._target_), str(cfg.method._target_), tuple(cfg.analysis))
    made = RowRuns(str(cfg.paths.runs), tuple(names), *parts, gpus_of(cfg))
    return {"data": data_of(cfg, kept), "row": asdict(made)}


def _key(asked: Asked) -> str:
    config, overrides, seeds, kept = asked
    given = [config, *overrides, "", *map(str, seeds), json.dumps(kept, sort_keys=True), *_environment(overrides)]
    return digest(f"{part}\0" for part in given)


def gpus_of(cfg: Any) -> int:
    """GPUs that a run needs: one at least where it asks for all there are."""
    return max(needed_gpus(cfg), int(cfg.trainer.get("accelerator") in ("gpu", "cuda")))


def _same_data(known: Mapping[str, str], kept: Mapping[str, str]) -> bool:
    cache_folder = _cache_folder()
    own = (cache_folder, runs_folder().absolute())
    return all(
        (kept[path] if path in kept else content_key(Path(path).absolute(), cache_folder, own)) == key
        for path, key in known.items()
    )


@cache
def _store(cache_folder: Path) -> dict[str, Any]:
    """What is kept there, by a digest of the code that decides it; what other code decided is forgotten."""
    place, of = cache_folder / "plans.json", digest(_code())
    try:
        known = read_json(place) if place.is_file() else {}
    except (InputError, ValueError):
        known = {}
    rows = known["rows"] if isinstance(known, dict) and known.get("of") == of else {}
    store = {"of": of, "rows": rows, "changed": False}
    atexit.register(_keep, store, place)
    return store


def _keep(store: Mapping[str, Any], place: Path) -> None:
    if store["changed"]:
        with suppress(InputError, OSError):  # a cache that cannot be written to is no cache
            write_json(place, {"of": store["of"], "rows": store["rows"]})


def _code() -> Iterable[str | bytes]:
    """Configuration, modules and versions."""
    import hydra
    import omegaconf

    yield from (path.read_bytes() for path in sorted(conf_folder().rglob("*.yaml")))
    yield from (path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
    yield from (hydra.__version__, omegaconf.__version__)


def _environment(overrides: Sequence[str]) -> list[str]:
    """Where this is, on how many GPUs, and the variables that configuration and ``overrides`` read."""
    names = _variables() | {name for text in overrides for name in VARIABLE.findall(text)}
    return [str(Path.cwd()), str(len(gpu_pool())), *(f"{name}={os.environ.get(name)}" for name in sorted(names))]


@cache
def _variables() -> frozenset[str]:
    texts = (path.read_text(encoding="utf-8") for path in conf_folder().rglob("*.yaml"))
    return frozenset(name for text in texts for name in VARIABLE.findall(text))


def _cache_folder() -> Path:
    return Path(str(composed("config", ()).paths.cache)).absolute()
