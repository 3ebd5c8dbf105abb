"""sed-search: values that are best by the runs' objective, tried by Optuna: each trial is a run of sed-train.

Several values of a key are what is tried, all other words are sed-train's:

    sed-search search.study=rate search.trials=20 epochs=20 'method.optimizer.lr=tag(log, interval(1e-4, 1e-2))'

The same command goes on with a study that was stopped; search.trials is the number in all. The same command in another
terminal, or on another machine with the same folders, works on it too. search=random draws at random and stops no run;
search.KEY=VALUE sets what conf/search has.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sed_lab.app import conf_folder, sentence, whole_mappings
from sed_lab.composed import gpus_of
from sed_lab.errors import InputError, plain, run_command
from sed_lab.files import read_json, write_json
from sed_lab.parameter.check import check_config, unknown
from sed_lab.parameter.run import SEARCH
from sed_lab.run import sweep
from sed_lab.run.identity import is_complete, register_resolvers, run_name
from sed_lab.run.record import read_record
from sed_lab.run.refuse import objective_of, refuse_values
from sed_lab.run.space import Axis, split, words_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial


COMPOSING = threading.Lock()  # Hydra composes one configuration at a time


def main() -> None:
    """The console script."""
    run_command(lambda: search(sys.argv[1:]))


@dataclass(frozen=True)
class Plan:
    """What is searched: ``base`` words of all trials, ``axes`` to try, ``settings`` of conf/search, where ``runs`` lie.

    ``config`` are the words that choose the configuration ``name`` of ``folder_of_config``.
    """

    config: tuple[str, ...]
    folder_of_config: Path
    name: str
    base: tuple[str, ...]
    axes: dict[str, Axis]
    settings: dict[str, Any]
    runs: Path
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def folder(self) -> Path:
        return self.runs / f"search-{self.settings['study']}"


def search(arguments: list[str]) -> int:
    """Run trials until there are as many as asked for, then show what came of them; 1 where none has a number.

    Raises:
        InputError: the extra is not installed, or words cannot be read or do not fit.
    """
    summary, _, more = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="sed-search", description=summary, epilog=more, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-name", "-cn", default="config", help="another primary configuration")
    parser.add_argument("--config-dir", "-cd", type=Path, help="a folder with configurations of your own")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="words of sed-train, some with several values"
    )
    options = parser.parse_intermixed_args(arguments)
    if find_spec("optuna") is None:
        raise InputError("sed-search needs the extra search; install sed_lab[search]")
    from sed_lab.run.study import open_study

    plan = read_plan(options.config_name, options.config_dir, options.overrides)
    study = open_study(plan.folder, plan.settings, [*plan.config, *plan.base], plan.axes)
    os.environ.update(sweep.grouped(plan.folder.name))
    try:
        work(plan, study)
    finally:
        best = show(plan, study)
    return 0 if best else 1


def read_plan(name: str, config_dir: Path | None, words: list[str]) -> Plan:
    """What a command line searches.

    Raises:
        InputError: as `search`.
    """
    register_resolvers()
    whole_mappings()
    own = [word for word in words if word.startswith(("search=", "search."))]
    chosen = [f"+{word}" for word in own if word.startswith("search=")] or ["+search=tpe"]
    own = [word for word in own if word.startswith("search.")]
    for key in (word.partition("=")[0] for word in own):
        if key.partition(".")[2] not in SEARCH:
            raise InputError(unknown(key, SEARCH))
    words = [word for word in words if not word.startswith(("search=", "search."))]
    folder = config_dir.absolute() if config_dir else conf_folder()
    config = (*(("--config-dir", str(folder)) if config_dir else ()), "--config-name", name)
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            path = [f"hydra.searchpath=[file://{conf_folder()}]"] if config_dir else []
            settings: Any = OmegaConf.to_container(compose(name, [*path, *chosen, *own]).search)
            base, axes = split(words, settings["space"])
            cfg = compose(name, [*path, *base])
            tried = [compose(name, [*path, *base, *words]) for words in samples(axes)]
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(sentence(error, name)) from None
    plain_config: Any = OmegaConf.to_container(cfg, resolve=False)
    check_config({**plain_config, "search": settings}, "sed-train")
    for one in tried:
        refuse_values(one, "sed-train")
    if any(key.partition(".")[0] == "loss" for key in axes) and any(
        name.endswith("/loss") for name in objective_of(cfg)
    ):
        raise InputError(
            "loss: the objective is the loss itself, by which others cannot be compared; give objective=[...]"
        )
    return Plan(config, folder, name, tuple(base), axes, settings, Path(cfg.paths.runs).absolute())


def samples(axes: Mapping[str, Axis]) -> list[list[str]]:
    """The words of trials in which each choice, and each end of a range, is tried once, beside the others' first."""
    ends = {key: axis.choices or (axis.low, axis.high) for key, axis in axes.items()}
    longest = max(len(values) for values in ends.values())
    return [words_of({key: values[min(i, len(values) - 1)] for key, values in ends.items()}) for i in range(longest)]


def work(plan: Plan, study: Study) -> None:
    """Run trials, so many at once, until all that were asked for have ended; Ctrl-C stops those that run."""
    from sed_lab.run.study import alone, give_up_killed

    with alone(plan.folder):
        if gone := give_up_killed(study):
            print(f"{gone} trials were killed; their values are tried again")
    errors: list[BaseException] = []
    workers = [
        threading.Thread(target=_work, args=(plan, study, errors), daemon=True) for _ in range(plan.settings["workers"])
    ]
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers):
            for worker in workers:
                worker.join(0.2)  # so that Ctrl-C is heard
    finally:
        plan.stop.set()
        for worker in workers:
            worker.join()
    if errors:
        raise errors[0]


def _work(plan: Plan, study: Study, errors: list[BaseException]) -> None:
    """One worker: trial after trial."""
    try:
        while not plan.stop.is_set() and (trial := _next(plan, study)) is not None:
            run_trial(plan, study, trial)
    except BaseException as error:
        errors.append(error)
        plan.stop.set()


def _next(plan: Plan, study: Study) -> Trial | None:
    """The next trial; None where all that were asked for have begun."""
    from sed_lab.run.study import accounted, alone, me

    with alone(plan.folder):
        if len(accounted(study)) >= plan.settings["trials"]:
            return None
        trial = study.ask({key: axis.distribution() for key, axis in plan.axes.items()})
        trial.set_user_attr("by", me())
        return trial


def run_trial(plan: Plan, study: Study, trial: Trial) -> None:
    """Train a trial's run, and tell the study how it ended: with its objective, stopped, or failed and why."""
    from optuna.trial import TrialState

    words = [*plan.base, *words_of(trial.params)]
    trial.set_user_attr("words", words)
    try:
        with COMPOSING, initialize_config_dir(str(plan.folder_of_config), version_base="1.3"):
            path = [f"hydra.searchpath=[file://{conf_folder()}]"] if "--config-dir" in plan.config else []
            cfg = compose(plan.name, [*path, *words])
            run, gpus = plan.runs / run_name(cfg), gpus_of(cfg)
    except (HydraException, OmegaConfBaseException, InputError) as error:
        reason = str(error) if isinstance(error, InputError) else sentence(error, plan.name)
        trial.set_user_attr("reason", plain(reason))
        study.tell(trial, state=TrialState.FAIL)
        print(plain(f"trial {trial.number} failed: {reason}"), file=sys.stderr)
        return
    trial.set_user_attr("folder", str(run))
    print(f"trial {trial.number}: {' '.join(words_of(trial.params))}", flush=True)
    watch, reason = Watch(trial, run, cfg.trainer.max_epochs, plan.stop), ""
    if is_complete(run, cfg):
        value = (read_record(run) or {})["objective"]
    else:
        with sweep.shown_job(f"trial {trial.number}", run):
            value, reason = sweep.run_process([*plan.config, *words], run, trial.number, gpus, watch.ends)
    if plan.stop.is_set() and value is None and not watch.pruned:
        return  # stopped with this process, which the next one will see
    if value is not None:
        study.tell(trial, value)
        print(f"trial {trial.number} done: {value:.4f} ({run})", flush=True)
    elif watch.pruned:
        trial.set_user_attr("reason", watch.pruned)
        study.tell(trial, state=TrialState.PRUNED)
        write_json(run / "run.json", {**read_json(run / "run.json"), "reason": watch.pruned})
        print(f"trial {trial.number} {watch.pruned} ({run})", flush=True)
    else:
        reason = reason or "nothing is validated, so that it has no objective"
        trial.set_user_attr("reason", plain(reason))
        study.tell(trial, state=TrialState.FAIL)
        print(plain(f"trial {trial.number} failed: {reason} ({run}/output.log)"), file=sys.stderr)


class Watch:
    """Reports what a run of so many ``epochs`` has validated to its trial, and says whether the run is to end."""

    def __init__(self, trial: Trial, run: Path, epochs: int, stop: threading.Event) -> None:
        self.trial, self.run, self.epochs, self.stop = trial, run, epochs, stop
        self.reported: set[int] = set()
        self.pruned = ""

    def ends(self) -> bool:
        """Whether the run is to end now: it is worse than others were, or all trials are stopped."""
        for epoch, value in validated(self.run / "history.csv"):
            if epoch not in self.reported:
                self.reported.add(epoch)
                self.trial.report(value, epoch)
                if epoch != self.epochs and self.trial.should_prune():  # after the last one nothing is to be saved
                    self.pruned = f"stopped after epoch {epoch}: below the median of others there"
        return bool(self.pruned) or self.stop.is_set()


def validated(history: Path) -> list[tuple[int, float]]:
    """Epochs, counted from 1, and their objective, of a run's history.csv; nothing where there is none yet."""
    import csv

    if not history.exists():
        return []
    with history.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [(int(row["epoch"]) + 1, float(row["val/objective"])) for row in rows if row.get("val/objective")]


def show(plan: Plan, study: Study) -> FrozenTrial | None:
    """Print and write what the trials came to; the best of them."""
    from sed_lab.report.search import write_search

    return write_search(study, plan.folder, plan.settings["trials"], ["sed-train", *plan.config])


if __name__ == "__main__":
    main()
