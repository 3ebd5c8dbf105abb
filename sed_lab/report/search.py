"""What a study came to: its trials ranked, how the best grew, and which values mattered."""

from __future__ import annotations

import csv
import io
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sed_lab.errors import plain
from sed_lab.files import write_text
from sed_lab.report.style import COLOURS, INK, MUTED, new_figure, save, styled
from sed_lab.run.answer import print_grid
from sed_lab.run.ranking import grid_of, ranked, settings_of
from sed_lab.run.space import words_of
from sed_lab.run.study import accounted

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

FEWEST = 4  # trials with a number, for an importance
STATES = {"COMPLETE": "done", "PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "running"}


def write_search(study: Study, folder: Path, asked: int, command: Sequence[str]) -> FrozenTrial | None:
    """Print the trials, the best first, and write trials.csv and the pictures into ``folder``; the best trial, if any.

    ``command`` begins the command line that trains a trial.
    """
    trials = accounted(study)
    if trials:
        jobs = {_key(trial): _job(trial) for trial in trials}  # values that were tried twice stand once
        settings, how = ranked(settings_of([*jobs.values()]))
        if any(one.records for one in settings):
            head, lines = grid_of(settings)
            print_grid(head, lines, left=head.index("objective"))
            print(how)
    done = [trial for trial in trials if trial.value is not None and trial.state.name == "COMPLETE"]
    for trial in trials:
        if trial.state.name == "FAIL":
            said = f"trial {trial.number} failed: {trial.user_attrs.get('reason', 'unknown')}"
            print(plain(f"{said} ({' '.join(words_of(trial.params))})"), file=sys.stderr)
    counts = {words: sum(trial.state.name == state for trial in trials) for state, words in STATES.items()}
    said = ", ".join(f"{count} {words}" for words, count in counts.items() if count or words != "running")
    print(f"{len(trials)} of {asked} trials: {said}")
    _write_trials(trials, folder / "trials.csv")
    if not done:
        return None
    for suffix in ("png", "svg"):
        save(history(trials), folder / f"history.{suffix}")
    if found := importance(study):
        for suffix in ("png", "svg"):
            save(importances(found), folder / f"importance.{suffix}")
    best = max(done, key=lambda trial: (_value(trial), -trial.number))
    words = " ".join(f"'{word}'" for word in best.user_attrs["words"])
    print(f"best: trial {best.number}, objective {_value(best):.4f}: {best.user_attrs['folder']}")
    print(f"its command: {' '.join(command)} {words}")
    print(f"pictures and trials.csv: {folder}")
    return best


def _value(trial: FrozenTrial) -> float:
    return -math.inf if trial.value is None else trial.value


def _key(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("folder", trial.number))


def _job(trial: FrozenTrial) -> dict[str, Any]:
    """A trial as `settings_of` takes the job of a sweep."""
    return {
        "folder": str(trial.user_attrs.get("folder", "")),
        "status": STATES[trial.state.name],
        "reason": "",
        "overrides": words_of(trial.params),
    }


def _write_trials(trials: Sequence[FrozenTrial], path: Path) -> None:
    rows = [
        {
            "trial": trial.number,
            "status": STATES[trial.state.name],
            "objective": trial.value,
            **trial.params,
            "epochs_validated": len(trial.intermediate_values),
            "reason": trial.user_attrs.get("reason", ""),
            "folder": trial.user_attrs.get("folder", ""),
        }
        for trial in trials
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def importance(study: Study) -> dict[str, float]:
    """Which share of the objective's variance each key explains (fANOVA, Hutter et al. 2014), largest first.

    Nothing with fewer than `FEWEST` trials that have a number, or where all have the same.
    """
    import optuna
    from optuna.trial import TrialState

    values = [trial.value for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
    if len(values) < FEWEST or len(set(values)) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return {
            key: float(value)
            for key, value in optuna.importance.get_param_importances(study, evaluator=evaluator).items()
        }


@styled
def history(trials: Sequence[FrozenTrial]) -> Figure:
    """The objective of each trial in the order they began, and the best so far; where runs were stopped or failed."""
    figure = new_figure(7.2, 3.6)
    axes = figure.add_subplot()
    done = [(trial.number, _value(trial)) for trial in trials if trial.state.name == "COMPLETE"]
    stopped = [
        (trial.number, _value(trial)) for trial in trials if trial.state.name == "PRUNED" and trial.value is not None
    ]
    failed = [trial.number for trial in trials if trial.state.name == "FAIL"]
    best, so_far = -math.inf, []
    for _, value in done:
        best = max(best, value)
        so_far.append(best)
    axes.step([number for number, _ in done], so_far, where="post", color=INK, lw=1.4, label="best so far")
    axes.plot(*zip(*done, strict=True), "o", color=COLOURS[0], ms=5, label="trained to its end")
    if stopped:
        axes.plot(*zip(*stopped, strict=True), "o", mfc="none", color=COLOURS[1], ms=5, label="stopped early")
    for number in failed:
        axes.axvline(number, color=MUTED, lw=0.9, ls=":", label="failed" if number == failed[0] else None)
    axes.set(xlabel="trial", ylabel="objective", title="Trials")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


@styled
def importances(found: Mapping[str, float]) -> Figure:
    """Bars of the share of variance that each key explains, the largest at the top."""
    figure = new_figure(6.4, 1.1 + 0.36 * len(found))
    axes = figure.add_subplot()
    names = [*found][::-1]
    axes.barh(range(len(names)), [found[name] for name in names], 0.6, color=COLOURS[0])
    for place, name in enumerate(names):
        axes.text(found[name] + 0.01, place, f"{found[name]:.2f}", va="center", fontsize=8, color=MUTED)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(visible=False, axis="y")
    axes.set(title="What mattered", xlabel="share of the objective's variance (fANOVA)", xlim=(0, 1.08))
    return figure
