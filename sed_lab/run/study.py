"""A study of Optuna's in a folder, which several processes may work on: its trials, and those that were killed.

Its journal is one file that grows. A trial that runs notes which process it is run by; where that one is no more, the
trial counts as killed: it does not count among those asked for, and its values are tried again, from the last epoch of
its run.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from sed_lab.errors import InputError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from sed_lab.run.space import Axis

KILLED = "killed"  # attribute of a trial whose process ended before it


def open_study(folder: Path, settings: Mapping[str, Any], base: Sequence[str], axes: Mapping[str, Axis]) -> Study:
    """The study in ``folder``, made where there is none; ``base`` are the words that all its trials share.

    Raises:
        InputError: it was made for other words or other values.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    with alone(folder):
        study = optuna.create_study(
            storage=storage, study_name=settings["study"], direction="maximize", load_if_exists=True
        )
        asked = {"base": [*base], "space": {key: repr(axis) for key, axis in sorted(axes.items())}}
        known = study.user_attrs.get("asked")
        if known is None:
            study.set_user_attr("asked", asked)
        elif known != asked:
            raise InputError(
                f"study {settings['study']} in {folder} was begun with other words ({_other(known, asked)});"
                " give them again, or another search.study=NAME"
            )
    seed = settings["seed"] + 1000 * len(study.get_trials(deepcopy=False))  # what is drawn next is not drawn again
    if settings["sampler"] == "random":
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
    else:
        study.sampler = optuna.samplers.TPESampler(seed=seed)
    study.pruner = (
        optuna.pruners.NopPruner()
        if settings["pruner"] == "none"
        else optuna.pruners.MedianPruner(settings["pruner_trials"], settings["pruner_epochs"])
    )
    return study


def _other(known: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """What differs between two askings, in words."""
    words = sorted({*known["base"]} ^ {*asked["base"]})
    keys = [key for key in known["space"] | asked["space"] if known["space"].get(key) != asked["space"].get(key)]
    return ", ".join([*words, *(f"values of {key}" for key in keys)]) or "their order"


def alone(folder: Path) -> FileLock:
    """Hold the study in ``folder``: nobody else, also not another thread, asks for a trial meanwhile."""
    return FileLock(folder / ".lock")


def me() -> str:
    """What tells this process from others: machine, number, and when it was started."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())}"


def _started(process: int) -> str:
    """When a process of this machine began, in ticks; empty where it is no more."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def accounted(study: Study) -> list[FrozenTrial]:
    """The trials that count: those that ended, or that a living process runs."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    return [one for one in trials if one.state != TrialState.WAITING and not one.user_attrs.get(KILLED)]


def give_up_killed(study: Study) -> int:
    """Note trials whose process is no more as killed, and let their values be tried again; how many they are.

    What another machine runs is left alone: from here it cannot be told from what was killed.
    """
    from optuna.trial import TrialState

    gone = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, number, started = [*trial.user_attrs.get("by", "").split(" "), "", "", ""][:3]
        if host == socket.gethostname() and _started(int(number)) != started:
            _give_up(study, trial)
            gone += 1
        elif host and host != socket.gethostname():
            print(f"trial {trial.number} is run by {host}, which is not looked at from here", file=sys.stderr)
    return gone


def _give_up(study: Study, trial: FrozenTrial) -> None:
    from optuna.trial import TrialState

    study._storage.set_trial_user_attr(trial._trial_id, KILLED, True)
    study.tell(trial.number, state=TrialState.FAIL)
    study.enqueue_trial(trial.params)
