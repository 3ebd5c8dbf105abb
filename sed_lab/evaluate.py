"""sed-evaluate: from stored scores to metrics, tables, figures and the page; no model in memory.

Works on a run's folder, on another system's score files (sed_scores_eval's TSV form or our .npz), or on detections.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from sed_lab.app import run_hydra
from sed_lab.errors import InputError, run_command
from sed_lab.files import write_json, write_text

if TYPE_CHECKING:
    from sed_lab.decoder.median import MedianDecoder
    from sed_lab.types import Event, Scores

    Events = Mapping[str, tuple[Event, ...]]


def main() -> None:
    """The console script."""
    run_command(lambda: run_hydra(task, "evaluate"))


def task(cfg: DictConfig) -> None:
    """What Hydra calls: find the scores, measure, write, print."""
    from hydra.utils import instantiate

    given = [name for name in ("run", "scores", "detections") if cfg[name]]
    if len(given) != 1:
        raise InputError("say what to evaluate: exactly one of run=FOLDER, scores=FOLDER or detections=FILE.tsv")
    target = Path(cfg.output or cfg.run or "evaluation")
    if cfg.run:
        decoder, metric = _of_run(cfg, Path(cfg.run))
        metrics = measure_run(Path(cfg.run), instantiate(decoder, _convert_="all"), metric, cfg.tune_on, target)
        if not cfg.output:
            report_run(target, **cfg.report)
    else:
        metrics = _measure_files(cfg, instantiate(cfg.decoder, _convert_="all"), target)
    print_metrics(metrics)
    print(f"written: {target / 'metrics.json'}")


def _of_run(cfg: DictConfig, folder: Path) -> tuple[DictConfig, dict[str, Any]]:
    """The decoder and metric settings of the run, changed by what the command line says."""
    from sed_lab.run.record import read_record

    record = read_record(folder)
    if record is None:
        raise InputError(f"{folder} holds no run.json; give a run's folder, as runs/NAME")
    merged = {group: OmegaConf.create(record["config"][group]) for group in ("decoder", "metric")}
    for override in HydraConfig.get().overrides.task:
        key = override.lstrip("+~").split("=", 1)[0]
        group, _, inner = key.partition(".")
        if group in merged and not inner:
            merged[group] = cfg[group]
        elif group in merged:
            OmegaConf.update(merged[group], inner, OmegaConf.select(cfg, key))
    return merged["decoder"], dict(OmegaConf.to_container(merged["metric"]))  # type: ignore[arg-type]


def measure_run(
    folder: Path, decoder: MedianDecoder, metric: Mapping[str, Any], tune_on: str | None, target: Path | None = None
) -> dict[str, Any]:
    """Measure every system of a run on its test subset and write the results into ``target`` (default: the folder).

    The tuned threshold is chosen on subset ``tune_on`` where the run has stored scores of it, never on test.

    Raises:
        InputError: the run has no stored scores, or ``tune_on`` is a test subset.
    """
    from sed_lab.decoder.median import MedianDecoder
    from sed_lab.metric.embedding import domain_similarity, frames_of_run
    from sed_lab.metric.measure import measure
    from sed_lab.metric.tune import tune_decoder, tune_threshold
    from sed_lab.scores import load_scores
    from sed_lab.types import BESIDE, TESTS

    if not list((folder / "scores" / "test").glob("*.npz")):
        raise InputError(f"{folder}/scores/test holds no scores; let the run finish, or give scores=FOLDER")
    if tune_on in TESTS:
        raise InputError(
            f"tune_on={tune_on} would choose the threshold on the clips it is judged on; use another subset"
        )
    test = _scored(folder, "test")
    decoder = fit_decoder(decoder, folder, tune_on)
    tuned, tuned_decoder = {}, {}
    rule = {name: metric[name] for name in ("collar", "offset_share", "onset_only") if name in metric}
    tuning = folder / "scores" / str(tune_on)
    if (tuning / "ground_truth.tsv").exists():
        truth = read_truth(tuning / "ground_truth.tsv")
        for name, scores in test["systems"].items():
            if scores.frame is not None:
                held_out = load_scores(tuning / f"{name}.npz")
                tuned[name] = tune_threshold(held_out, truth, decoder, **rule)
                if isinstance(decoder, MedianDecoder):
                    tuned_decoder[name] = tune_decoder(held_out, truth, decoder, **rule)
    chosen: dict[str, Any] = {"tuned_threshold": tuned, "tuned_decoder": tuned_decoder}
    others = {
        subset: measure(**_scored(folder, subset), decoder=decoder, subset=subset, **chosen, **metric)[0]
        for subset in BESIDE
        if (folder / "scores" / subset).is_dir()
    }
    labels = test.pop("labels")
    beside: dict[str, Any] = logits_of_run(folder, list(test["systems"]))
    if frames := frames_of_run(folder):
        (system,) = test["systems"]
        beside.setdefault(system, {})["embedding"] = domain_similarity(
            frames["embedding"], frames["event_label"], frames["synthetic"]
        )
    settings = {**metric, **chosen, "labels": labels}
    return measure_and_write(target or folder, decoder=decoder, metric=settings, beside=beside, others=others, **test)


def fit_decoder(decoder: MedianDecoder, folder: Path, tune_on: str | None) -> MedianDecoder:
    """``decoder`` with the median windows that the run's subset ``tune_on`` gives, where it asks for such.

    Raises:
        InputError: it does, and the subset has no strong labels.
    """
    from sed_lab.scores import load_scores

    truth = folder / "scores" / str(tune_on) / "ground_truth.tsv"
    if getattr(decoder, "median_share", None) is None:
        return decoder
    if not truth.exists():
        raise InputError(
            f"decoder.median_share needs events of tune_on={tune_on}, but {truth} does not exist; name a subset with"
            " strong labels, or give decoder.median_seconds and decoder.median_share=null"
        )
    found = [event for events in read_truth(truth).values() for event in events]
    return decoder.fitted(found, load_scores(next(truth.parent.glob("*.npz"))).classes)


def _scored(folder: Path, subset: str) -> dict[str, Any]:
    """What `sed_lab.metric.measure.measure` needs of a run's scored subset: systems, truth or labels, durations."""
    from sed_lab.clip.annotation import read_weak
    from sed_lab.scores import load_scores

    place = folder / "scores" / subset
    strong = (place / "ground_truth.tsv").exists()
    return {
        "systems": {path.stem: load_scores(path) for path in sorted(place.glob("*.npz"))},
        "truth": read_truth(place / "ground_truth.tsv") if strong else None,
        "labels": None if strong else _by_clip(read_weak(place / "weak_labels.tsv")),
        "durations": read_seconds(place / "durations.tsv"),
    }


def logits_of_run(folder: Path, systems: Sequence[str]) -> dict[str, Any]:
    """Histograms of the frame logits of scored subsets with weak labels: ``{system: {"logits": {subset: ...}}}``."""
    from sed_lab.clip.annotation import read_weak
    from sed_lab.metric.logit import logit_histograms
    from sed_lab.scores import load_scores

    found: dict[str, Any] = {}
    for path in sorted((folder / "scores").glob("*/weak_labels.tsv")):
        labels = _by_clip(read_weak(path))
        for name in systems:
            scores = load_scores(path.parent / f"{name}.npz")
            if scores.frame is not None:
                found.setdefault(name, {"logits": {}})["logits"][path.parent.name] = logit_histograms(scores, labels)
    return found


def _measure_files(cfg: DictConfig, decoder: MedianDecoder, target: Path) -> dict[str, Any]:
    """Measure another system's score files or detections against an annotation."""
    from sed_lab.clip.annotation import read_detections
    from sed_lab.scores import load_scores, read_scores_folder

    if not cfg.truth or not cfg.durations:
        raise InputError("scores and detections need truth=FILE.tsv and durations=FILE.tsv to be measured against")
    truth, durations = read_truth(Path(cfg.truth)), read_seconds(Path(cfg.durations))
    metric = dict(OmegaConf.to_container(cfg.metric))  # type: ignore[arg-type]
    if cfg.detections:
        nothing: dict[str, tuple[Event, ...]] = dict.fromkeys(truth, ())
        system = nothing | _by_clip(read_detections(Path(cfg.detections)))
        metric["classes"] = sorted({event.event_label for events in truth.values() for event in events})
        if cfg.operating_points:
            paths = sorted(Path(cfg.operating_points).glob("*.tsv"))
            metric["points"] = {"system": [nothing | _by_clip(read_detections(path)) for path in paths]}
        return measure_and_write(target, {"system": system}, truth, durations, decoder, metric)
    place = Path(cfg.scores)
    scores = load_scores(place) if place.suffix == ".npz" else read_scores_folder(place, durations)
    return measure_and_write(target, {"system": scores}, truth, durations, decoder, metric)


def measure_and_write(
    target: Path,
    systems: Mapping[str, Scores | Events],
    truth: Events | None,
    durations: Mapping[str, float],
    decoder: MedianDecoder,
    metric: Mapping[str, Any],
    beside: Mapping[str, Mapping[str, Any]] | None = None,
    others: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure ``systems``; ``beside`` are more values of each by name, ``others`` metrics of other subsets.

    Writes metrics.json, per_class.csv, curves.json and detections/test/<system>.tsv, where a system without frame
    scores gets events as long as their clips."""
    from sed_lab.decoder.onset import OnsetDecoder
    from sed_lab.metric.accuracy import add_gaps
    from sed_lab.metric.example import example
    from sed_lab.metric.measure import measure, per_class_rows
    from sed_lab.scores import whole_clips
    from sed_lab.types import Scores

    metrics, curves = measure(systems, truth, durations, decoder, **metric)
    for name, system in systems.items():
        if isinstance(system, Scores) and truth is not None and isinstance(decoder, OnsetDecoder):
            curves.setdefault(name, {})["example"] = example(system, truth, decoder)
    if others:
        metrics["others"] = others
        add_gaps(metrics, others)
    for name, values in (beside or {}).items():
        metrics["systems"][name] |= values
    for name, system in systems.items():
        if not isinstance(system, Scores):
            detected: Events = system
        elif system.frame is not None:
            detected = decoder.decode(system)
        else:
            detected = whole_clips(system, metric.get("tagging_threshold", 0.5))
        lines = [
            f"{clip_id}\t{event.onset:.6f}\t{event.offset:.6f}\t{event.event_label}\n"
            for clip_id, events in detected.items()
            for event in events
        ]
        path = target / "detections" / "test" / f"{name}.tsv"
        write_text(path, "filename\tonset\toffset\tevent_label\n" + "".join(lines))
    write_json(target / "curves.json", curves)
    rows = [row for one in (metrics, *(others or {}).values()) for row in per_class_rows(one)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(target / "per_class.csv", text.getvalue())
    write_json(target / "metrics.json", metrics)
    return metrics


def report_run(folder: Path, figures: bool, page: bool, page_clips: int) -> Path | None:
    """Draw the figures and write the page of the run in ``folder``; the page's place, None where it is not wanted."""
    from sed_lab.report.figure import write_figures
    from sed_lab.report.page import write_page

    if figures:
        write_figures(folder)
    return write_page(folder, max_clips=page_clips) if page else None


def print_metrics(metrics: dict[str, Any]) -> None:
    """The metrics as one table a test subset, a column a system."""
    from rich.console import Console
    from rich.table import Table

    from sed_lab.metric.measure import flatten

    for one in (metrics, *metrics.get("others", {}).values()):
        flat = flatten({"systems": one["systems"]})
        systems = list(one["systems"])
        table = Table(title=f"metrics on {one['subset']}")
        table.add_column("metric")
        for system in systems:
            table.add_column(system, justify="right")
        names = dict.fromkeys(name.split("/", 1)[1] for name in flat if "per_class" not in name)
        for name in names:
            values = [flat.get(f"{system}/{name}") for system in systems]
            table.add_row(name, *("" if value is None else f"{value:.4f}" for value in values))
        Console().print(table)


def read_truth(path: Path) -> dict[str, tuple[Event, ...]]:
    """A strong annotation by clip_id; clips without events are there with none."""
    from sed_lab.clip.annotation import read_strong

    return _by_clip(read_strong(path))


def read_seconds(path: Path) -> dict[str, float]:
    """Durations by clip_id."""
    from sed_lab.clip.annotation import read_durations

    return _by_clip(read_durations(path))


def _by_clip(rows: Mapping[str, Any]) -> dict[str, Any]:
    from sed_lab.clip.annotation import clip_id_of

    return {clip_id_of(filename): value for filename, value in rows.items()}


if __name__ == "__main__":
    main()
