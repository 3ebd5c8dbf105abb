"""sed-evaluate: from stored scores to metrics, tables, figures and the page; no model in memory.

Works on a run's folder, on another system's score files (sed_scores_eval's TSV form or our .npz), or on detections.
Given a dataset, a run's detector scores it first.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from sed_lab.app import run_hydra
from sed_lab.errors import InputError, plain, run_command
from sed_lab.files import write_json, write_text
from sed_lab.waiting import shown, track

if TYPE_CHECKING:
    from sed_lab.decoder.base import Decoder
    from sed_lab.report.run_folder import RunFolder
    from sed_lab.types import Event, Scores

    Events = Mapping[str, tuple[Event, ...]]


def main() -> None:
    """The console script."""
    run_command(lambda: run_hydra(task, "evaluate"))


def task(cfg: DictConfig) -> None:
    """What Hydra calls: find the scores, measure, write, print."""
    from hydra.utils import instantiate

    from sed_lab.run.refuse import refuse_values
    from sed_lab.run.trust import understood

    refuse_values(cfg, "sed-evaluate")
    given = [name for name in ("run", "scores", "detections") if cfg[name]]
    if len(given) != 1:
        raise InputError("say what to evaluate: exactly one of run=FOLDER, scores=FOLDER or detections=FILE.tsv")
    target = Path(cfg.output or cfg.run or "evaluation")
    if cfg.get("dataset") and not cfg.run:
        raise InputError("a dataset is scored by a run's detector; name it with run=FOLDER")
    if cfg.run:
        with understood(Path(cfg.run)):
            metrics = _measure_own(cfg, Path(cfg.run), target)
    else:
        metrics = _measure_files(cfg, instantiate(cfg.decoder, _convert_="all"), target)
    print_metrics(metrics)
    print(f"written: {target / 'metrics.json'}")


def _measure_own(cfg: DictConfig, folder: Path, target: Path) -> dict[str, Any]:
    """Measure a run again, where a dataset is given with what its detector scores there, and report it."""
    from sed_lab.run.assemble import build, rival_of
    from sed_lab.run.parts import links_stay
    from sed_lab.run.scoring import note_measured, note_tuned, score_run

    links_stay(target)
    groups, metric, named = _of_run(cfg, folder)
    decoder, rival, tune_on = build(groups["decoder"]), rival_of(groups), _tune_on(cfg)
    dataset = cfg.get("dataset")
    if dataset:
        score_run(folder, dataset, target, tune_on, cfg.device, cfg.trust)
    metrics = measure_run(target if dataset else folder, decoder, metric, tune_on, named, target, rival=rival)
    if dataset:
        note_measured(target, metrics)
    if dataset or not cfg.output:
        note_tuned(target, metrics)
        report_run(target, named, **cfg.report)
    return metrics


def _of_run(cfg: DictConfig, folder: Path) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Decoder and its rival, metric settings and analyses of the run, changed by what the command line says.

    Raises:
        InputError: there is no run, or its record names a decoder or an analysis that is not sed_lab's own.
    """
    from sed_lab.run.trust import check_node, foreign_record, own_analyses

    record = foreign_record(folder)
    if record is None:
        raise InputError(f"{folder} holds no run.json; give a run's folder, as runs/NAME")
    merged: dict[str, Any] = {}
    for group in ("decoder", "rival_decoder", "metric"):
        known = record.get("config", {}).get(group)
        check_node(known, "" if group == "metric" else "decoder", group, cfg.trust)
        merged[group] = None if known is None else OmegaConf.create(known)
    former = {key: merged["metric"].pop(key) for key in sorted(set(merged["metric"]) - set(cfg.metric))}
    if former:
        said = ", ".join(f"metric.{key}={value}" for key, value in former.items())
        print(plain(f"settings of an older version that are no more and left out: {said}"))
    newer = {key: value for key, value in cfg.metric.items() if key not in merged["metric"]}
    if newer:
        said = ", ".join(f"metric.{key}={value}" for key, value in newer.items())
        print(plain(f"settings that the run's version did not have yet: {said}"))
        merged["metric"] = OmegaConf.create({**merged["metric"], **newer})
    for override in HydraConfig.get().overrides.task:
        key = override.lstrip("+~").split("=", 1)[0].rpartition("@")[2]  # of decoder@rival_decoder, where it stands
        group, _, inner = key.partition(".")
        if group in merged and not (inner and merged[group]):
            merged[group] = cfg[group]
        elif group in merged:
            OmegaConf.update(merged[group], inner, OmegaConf.select(cfg, key))
    named = list(record["config"].get("analysis") or ()) if cfg.analysis is None else list(cfg.analysis)
    if cfg.analysis is None and named != own_analyses(record, cfg.trust):
        raise InputError(
            f"{folder}/run.json: analysis={named} names code that is not sed_lab's own, so it is not run; leave it out"
            " with analysis=[], or give trust=[PACKAGE] if you trust it"
        )
    return merged, dict(OmegaConf.to_container(merged["metric"])), named  # type: ignore[arg-type]


def _tune_on(cfg: DictConfig) -> str | None:
    """The subset on which the threshold is tuned: the run's own, or another one that it has, or will have, scores of.

    Raises:
        InputError: there are no scores of the one asked for.
    """
    from sed_lab.run.record import read_record

    if cfg.tune_on is None:
        return (read_record(Path(cfg.run)) or {})["config"].get("tune_on")
    stored = sorted(path.name for path in (Path(cfg.run) / "scores").glob("*") if path.is_dir())
    if cfg.tune_on not in stored and not cfg.get("dataset"):
        raise InputError(f"tune_on={cfg.tune_on}: {cfg.run} has no scores of it; it has {', '.join(stored)}")
    return str(cfg.tune_on)


def measure_run(
    folder: Path,
    decoder: Decoder,
    metric: Mapping[str, Any],
    tune_on: str | None,
    analysis: Iterable[str] = (),
    target: Path | None = None,
    rival: Decoder | None = None,
) -> dict[str, Any]:
    """Measure every system of a run on its test subset and write the results into ``target`` (default: the folder).

    The decoder is fitted, and it and its ``rival`` are tuned, on subset ``tune_on`` where the run has stored scores and
    events of it, never on test. Modules named by ``analysis`` add what only they measure.

    Raises:
        InputError: the run has no stored scores, or ``tune_on`` is a test subset.
    """
    from sed_lab.metric.measure import measure
    from sed_lab.run.record import analyses
    from sed_lab.run.stored import scored
    from sed_lab.run.tuned import note, tune_systems
    from sed_lab.types import BESIDE, TESTS

    if not list((folder / "scores" / "test").glob("*.npz")):
        raise InputError(f"{folder}/scores/test holds no scores; let the run finish, or give scores=FOLDER")
    if tune_on in TESTS:
        raise InputError(
            f"tune_on={tune_on} would choose the threshold on the clips it is judged on; use another subset"
        )
    test = scored(folder, "test")
    systems: dict[str, Scores] = test["systems"]
    decoder, tuned = tune_systems(folder, tune_on, systems, decoder, rival, metric)
    decoders = {name: choice.decoders for name, choice in tuned.items()}
    chosen: dict[str, Any] = {
        "tuned_threshold": {name: choice.threshold for name, choice in tuned.items()},
        "tuned_decoder": decoders,
    }
    others = {
        subset: measure(**scored(folder, subset), decoder=decoder, subset=subset, **chosen, **metric)[0]
        for subset in BESIDE
        if (folder / "scores" / subset).is_dir()
    }
    metrics, curves = measure(**test, decoder=decoder, **chosen, **metric)
    if others:
        metrics["others"] = others
    note(metrics, tune_on, tuned)
    measuring = [module for module in analyses(analysis) if hasattr(module, "measure")]
    for module in track(measuring, len(measuring), "measuring what analyses add"):
        for whole, more in zip((metrics["systems"], curves), module.measure(folder, metrics), strict=True):
            for system, blocks in more.items():
                for block, values in blocks.items():
                    whole.setdefault(system, {}).setdefault(block, {}).update(values)
    best = {name: own["event_f1"] for name, own in decoders.items() if own}
    write_measured(target or folder, systems, decoder, metrics, curves, best)
    return metrics


def _measure_files(cfg: DictConfig, decoder: Decoder, target: Path) -> dict[str, Any]:
    """Measure another system's score files or detections against an annotation, and report them."""
    from sed_lab.clip.audio_folder import list_audio
    from sed_lab.metric.measure import measure
    from sed_lab.report.run_folder import of_system
    from sed_lab.run.foreign import read_system
    from sed_lab.run.stored import by_clip

    if not cfg.truth or not cfg.durations:
        raise InputError(
            "scores and detections need truth=FILE.tsv, and durations=FILE.tsv or the folder of the recordings"
        )
    if cfg.operating_points and not cfg.detections:
        raise InputError("operating_points are of detections; scores have every threshold: leave it out")
    named = {name: Path(cfg[name]) if cfg[name] else None for name in ("scores", "detections", "operating_points")}
    classes = Path(cfg.classes) if isinstance(cfg.classes, str) else cfg.classes
    measured = read_system(**named, truth=Path(cfg.truth), durations=Path(cfg.durations), classes=classes)
    audio = by_clip({str(path): path for path in list_audio(Path(cfg.audio))}) if cfg.audio else {}
    metric = dict(OmegaConf.to_container(cfg.metric))  # type: ignore[arg-type]
    metrics, curves = measure(**measured, decoder=decoder, **metric)
    detected = write_measured(target, measured["systems"], decoder, metrics, curves)
    command = " ".join(["sed-evaluate", *HydraConfig.get().overrides.task])
    page = report(of_system(target, command, measured, detected, metrics, curves, audio), (), **cfg.report)
    if page:
        print(f"page: {page}")
    return metrics


def write_measured(
    target: Path,
    systems: Mapping[str, Scores | Events],
    decoder: Decoder,
    metrics: dict[str, Any],
    curves: dict[str, Any],
    best: Mapping[str, Decoder] | None = None,
) -> dict[str, Events]:
    """Write metrics.json, per_class.csv, curves.json and detections/test/<system>.tsv; the detections by system.

    They are those of a system's ``best`` decoder; where it has one, those of ``decoder`` as configured lie beside them
    in detections/test_fixed. A system without frame scores gets events as long as their clips.
    """
    from sed_lab.metric.measure import per_class_rows
    from sed_lab.scores import whole_clips
    from sed_lab.types import Scores

    found: dict[str, Events] = {}
    shutil.rmtree(target / "detections" / "test_fixed", ignore_errors=True)  # of an earlier evaluation
    for name, system in systems.items():
        if not isinstance(system, Scores):
            detected: Events = system
        elif system.frame is not None:
            detected = decoder.decode(system)
        else:
            detected = whole_clips(system, metrics["settings"]["tagging_f1"]["threshold"])
        if isinstance(system, Scores) and best and name in best:
            write_text(target / "detections" / "test_fixed" / f"{name}.tsv", _detections(detected))
            detected = best[name].decode(system)
        found[name] = detected
        write_text(target / "detections" / "test" / f"{name}.tsv", _detections(detected))
    write_json(target / "curves.json", curves)
    rows = [row for one in (metrics, *metrics.get("others", {}).values()) for row in per_class_rows(one)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(target / "per_class.csv", text.getvalue())
    write_json(target / "metrics.json", metrics)
    return found


def _detections(events: Events) -> str:
    lines = [
        f"{clip_id}\t{event.onset:.6f}\t{event.offset:.6f}\t{event.event_label}\n"
        for clip_id, found in events.items()
        for event in found
    ]
    return "filename\tonset\toffset\tevent_label\n" + "".join(lines)


def report_run(
    folder: Path,
    analysis: Sequence[str],
    figures: bool,
    page: bool,
    page_clips: int,
    record: dict[str, Any] | None = None,
) -> Path | None:
    """Draw the figures and write the page of the run in ``folder``, as `report` does.

    ``record`` is the one that will be written once that is done; None: the one that is there.
    """
    from sed_lab.report.run_folder import read_run

    run = read_run(folder)
    return report(replace(run, record=record or run.record), analysis, figures, page, page_clips)


def report(run: RunFolder, analysis: Sequence[str], figures: bool, page: bool, page_clips: int) -> Path | None:
    """Draw the figures and write the page of a run or of another system, with what the modules named by ``analysis``
    draw. Returns the page's path, None where it is not wanted.
    """
    from sed_lab.report.figure import write_figures
    from sed_lab.report.page import write_page

    if figures:
        with shown("drawing figures"):
            write_figures(run, analysis)
    return write_page(run, max_clips=page_clips, analysis=analysis) if page else None


def print_metrics(metrics: dict[str, Any]) -> None:
    """The metrics as one table a test subset, a column a system, those of the best decoder first; and which that is."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sed_lab.metric.measure import flatten
    from sed_lab.run.tuned import best_in_words

    for one in (metrics, *metrics.get("others", {}).values()):
        flat = flatten({"systems": one["systems"]})
        systems = list(one["systems"])
        table = Table(title=f"metrics on {one['subset']}")
        table.add_column("metric")
        for system in systems:
            table.add_column(Text(plain(system)), justify="right")  # a file's name, never markup
        names = dict.fromkeys(name.split("/", 1)[1] for name in flat if "per_class" not in name)
        for name in sorted(names, key=lambda name: "_class_tuned/" not in name):
            values = [flat.get(f"{system}/{name}") for system in systems]
            table.add_row(Text(plain(name)), *("" if value is None else f"{value:.4f}" for value in values))
        Console().print(table)
    if said := best_in_words(metrics.get("tuned")):
        print(plain(f"best: {said}"))


if __name__ == "__main__":
    main()
