"""The callables that options of conf/ name, with the option's values where the call gives none.

Signatures of sed_lab have no defaults of what conf/ gives, so a test takes ``LogMel = configured("feature/log_mel")``
and writes ``LogMel(n_mels=8)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from functools import cache, wraps
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import OmegaConf

CONF = Path(__file__).resolve().parents[1] / "conf"


@cache
def option(name: str) -> dict[str, Any]:
    """The values of ``group/option``, its defaults list followed; those a user or a run has to give are left out."""
    group = name.split("/")[0]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = compose(name)[group]
    given = OmegaConf.to_container(node, resolve=False)
    assert isinstance(given, dict)
    return {str(key): value for key, value in given.items() if "${" not in str(value) and value != "???"}


def configured(name: str, target: Callable[..., Any] | None = None, **changed: Any) -> Callable[..., Any]:
    """What ``group/option`` names (or ``target``, for a group without ``_target_``), with its values or ``changed``."""
    found = target or get_object(option(name)["_target_"])
    signature = inspect.signature(found)

    @wraps(found)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind_partial(*args, **kwargs).arguments
        values = {key: deepcopy(value) for key, value in option(name).items() if key != "_target_"}
        return found(**{**values, **changed, **given})

    return call
