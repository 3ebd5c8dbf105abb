"""Parameters of a run and its evaluation: of the root, batches, trainer, loggers, decoders, metrics and reports."""

from __future__ import annotations

import re

from sed_lab.parameter.kind import (
    ANY_TEXT,
    NAMES,
    NULL,
    PATH,
    SEED,
    SHARE,
    TEXT,
    YES_NO,
    Kind,
    Parameter,
    Parameters,
    choice,
    either,
    keys,
    named,
    number,
    or_null,
    per_class,
    some_of,
    whole,
)

BATCH: Parameters = {
    "clips": Parameter(named(whole(0), "subset"), "clips of each subset in a global batch, on however many devices"),
    "epoch": Parameter(choice("smallest", "all"), "the subset that ends an epoch: the first used up, or the last"),
    "per_class": Parameter(YES_NO, "true: equally many clips of each class, where each is about one class"),
    "evaluation": Parameter(whole(1), "clips that a device scores at once"),
    "max_clips_per_device": Parameter(or_null(whole(1)), "above it, several passes make the batch; null: one does"),
    "workers": Parameter(whole(0), "loading processes of a device"),
    "cache_features": Parameter(or_null(YES_NO), "true: mel or embeddings are computed once and kept; null: can be"),
}
REPORT: Parameters = {
    "figures": Parameter(YES_NO, "draw figures"),
    "page": Parameter(YES_NO, "write page.html"),
    "page_clips": Parameter(whole(0), "test clips on the page"),
}
PATHS: Parameters = {
    "runs": Parameter(PATH, "where runs are written"),
    "cache": Parameter(PATH, "where made data is kept"),
}
TRAIN: Parameters = {
    "seed": Parameter(SEED, "initial weights, order of clips, dropout, mixup"),
    "batch": Parameter(keys(BATCH), "what a step sees"),
    "epochs": Parameter(whole(-1), "length of training; -1: until the method ends it"),
    "validate_every": Parameter(whole(1), "epochs between validations"),
    "objective": Parameter(or_null(NAMES), "<subset>/<system>/<metric>, summed; null: the method's own; []: nothing"),
    "tune_on": Parameter(or_null(TEXT), "subset on which decoders are tuned, never a test subset; null: none"),
    "also_score": Parameter(NAMES, "subsets whose scores are kept beside those of the tests and tune_on"),
    "analysis": Parameter(NAMES, "modules with what only one paper measures and draws"),
    "report": Parameter(keys(REPORT), "what is drawn"),
    "rerun": Parameter(YES_NO, "true: train a complete run again"),
    "paths": Parameter(keys(PATHS), "where things lie"),
}
EVALUATE: Parameters = {
    "run": Parameter(or_null(PATH), "a run's folder"),
    "scores": Parameter(or_null(PATH), "another system's scores, a folder of TSV or one .npz"),
    "detections": Parameter(or_null(PATH), "another system's events, a TSV"),
    "operating_points": Parameter(or_null(PATH), "folder of tables of events, one an operating point"),
    "truth": Parameter(or_null(PATH), "strong annotation, a TSV"),
    "durations": Parameter(or_null(PATH), "length of every clip measured, s: a TSV, or the folder of the recordings"),
    "classes": Parameter(either(NULL, TEXT, NAMES), "classes, a list or a file; null: of the scores or the truth"),
    "audio": Parameter(or_null(PATH), "folder of the recordings, for the page"),
    "output": Parameter(or_null(PATH), "where results are written; null: the run's folder, or evaluation"),
    "tune_on": Parameter(or_null(TEXT), "subset of the run on which decoders are tuned; null: as the run"),
    "device": Parameter(TEXT, "cpu, cuda or cuda:N, where a run's detector scores a dataset"),
    "analysis": Parameter(or_null(NAMES), "modules of analyses; null: those of the run"),
    "trust": Parameter(NAMES, "packages beside sed_lab whose code a run may name"),
    "report": Parameter(keys(REPORT), "what is drawn"),
    "paths": Parameter(keys(PATHS), "where things lie"),
}
METRIC: Parameters = {
    "collar": Parameter(number(0), "of an onset, and least of an offset, s"),
    "offset_share": Parameter(number(0), "of an event's length, where that is more than the collar"),
    "onset_only": Parameter(YES_NO, "true: offsets do not count"),
    "matching": Parameter(choice("optimal", "greedy"), "of detections to events"),
    "zero_score": Parameter(YES_NO, "true: a class with events and no true positive counts as 0"),
    "segment_seconds": Parameter(number(above=0), "length of a segment, s"),
    "dtc": Parameter(SHARE, "detection tolerance of intersection F1"),
    "gtc": Parameter(SHARE, "ground truth intersection of intersection F1"),
    "cttc": Parameter(SHARE, "cross-trigger tolerance of intersection F1"),
    "exact_psds": Parameter(YES_NO, "true: PSDS over all thresholds"),
    "operating_points": Parameter(whole(0), "thresholds of the approximate PSDS; 0: none"),
    "class_share": Parameter(SHARE, "weight of a class's own score in tuning class by class"),
    "tagging_threshold": Parameter(SHARE, "score from which a clip is tagged"),
    "eer_rule": Parameter(choice("interpolated", "nearest"), "where the two error rates meet"),
    "bootstrap": Parameter(whole(0), "draws for intervals of EER and DET; 0: none"),
    "accuracy": Parameter(either(choice("element_wise", "argmax", "precision"), NULL), "of clips; null: none"),
}
THRESHOLD = Parameter(per_class(SHARE), "score from which there is an event")
DECODERS: dict[str, Parameters] = {
    "sed_lab.decoder.median.MedianDecoder": {
        "threshold": THRESHOLD,
        "median_seconds": Parameter(per_class(number(0)), "length of the median window, s"),
        "median_share": Parameter(or_null(number(above=0)), "window as a share of a class's mean event; null: not so"),
        "median_passes": Parameter(whole(0), "how often the filter runs"),
        "clip_gate": Parameter(or_null(SHARE), "clip score below which a class is silent; null: none"),
        "min_event_seconds": Parameter(number(0), "shorter events are dropped, s"),
        "merge_gap_seconds": Parameter(number(0), "gaps up to this length are closed, s"),
    },
    "sed_lab.decoder.box.BoxDecoder": {
        "threshold": THRESHOLD,
        "step_seconds": Parameter(per_class(number(above=0)), "filter that finds where scores rise and fall, s"),
        "merge_abs": Parameter(per_class(number(0)), "two boxes are one where scores between fall by less than this"),
        "merge_rel": Parameter(per_class(number(0)), "and to more than this part of theirs"),
    },
    "sed_lab.decoder.onset.OnsetDecoder": {
        "threshold": THRESHOLD,
        "onset_threshold": Parameter(per_class(SHARE), "score from which an event has begun"),
        "lookback_seconds": Parameter(number(0), "how far before its peak an event may begin, s"),
        "gap_frames": Parameter(whole(0), "shorter gaps of an event in a long recording are noise"),
    },
}

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "bf16-true", "16-true", "64-true", "32", "16", "64", "bf16")
PRECISION = Kind(choice(*PRECISIONS).words, lambda value: value in PRECISIONS or value in (16, 32, 64))
DEVICES = Kind(
    "a whole number of at least 1, auto, a list of device numbers",
    lambda value: (
        value in ("auto", -1, "-1")
        or whole(1).fits(value)
        or some_of(whole(0), 1).fits(value)
        or (isinstance(value, str) and re.fullmatch(r"\d+(,\d+)*,?", value) is not None)
    ),
)
STRATEGY = Kind("auto, ddp, or a class with its keys", lambda value: isinstance(value, (str, dict)))
LIMIT = number(0)
TRAINER: Parameters = {
    "accelerator": Parameter(choice("cpu", "gpu", "cuda", "auto"), "kind of device"),
    "devices": Parameter(DEVICES, "how many, or which"),
    "num_nodes": Parameter(whole(1), "machines"),
    "strategy": Parameter(STRATEGY, "how devices share the work"),
    "precision": Parameter(PRECISION, "of the numbers"),
    "max_epochs": Parameter(whole(-1), "epochs; -1: until the method ends it"),
    "max_steps": Parameter(whole(-1), "steps; -1: no limit"),
    "check_val_every_n_epoch": Parameter(whole(1), "epochs between validations"),
    "checkpoint_minutes": Parameter(or_null(number(0)), "between checkpoints within an epoch, minutes; null: none"),
    "limit_train_batches": Parameter(LIMIT, "batches of a training epoch; a share if not whole"),
    "limit_val_batches": Parameter(LIMIT, "batches of a validation, likewise"),
    "limit_test_batches": Parameter(LIMIT, "batches of a test, likewise"),
    "gradient_clip_val": Parameter(or_null(number(0)), "largest norm of the gradient"),
    "profiler": Parameter(or_null(choice("simple", "advanced", "pytorch")), "what took how long is told at the end"),
    "detect_anomaly": Parameter(YES_NO, "true: the operation that made the first NaN is named; slow"),
    "deterministic": Parameter(either(YES_NO, choice("warn")), "only deterministic operations"),
    "sync_batchnorm": Parameter(YES_NO, "true: normalise over the parts of all devices; GPUs only"),
}
TRAINERS: dict[str, Parameters] = {
    "pytorch_lightning.Trainer": TRAINER,
    "sed_lab.run.ranks.ddp": {
        "timeout_minutes": Parameter(number(above=0), "after which a process that hangs ends the run, minutes"),
    },
}

SAVE = {
    "save_dir": Parameter(PATH, "folder"),
    "name": Parameter(ANY_TEXT, "folder within it"),
    "version": Parameter(either(TEXT, whole(0)), "folder within that"),
}
LOGGERS: dict[str, Parameters] = {
    "pytorch_lightning.loggers.CSVLogger": SAVE,
    "pytorch_lightning.loggers.TensorBoardLogger": SAVE,
    "sed_lab.run.track.wandb_logger": {
        "folder": Parameter(PATH, "the run's folder"),
        "project": Parameter(TEXT, "project of W&B's"),
        "entity": Parameter(or_null(TEXT), "its owner; null: WANDB_ENTITY"),
        "name": Parameter(or_null(TEXT), "name shown; null: WANDB_NAME, else the folder's"),
        "group": Parameter(or_null(TEXT), "group of runs; null: WANDB_RUN_GROUP, else the sweep, search or table"),
        "job_type": Parameter(or_null(TEXT), "kind of run; null: WANDB_JOB_TYPE"),
        "tags": Parameter(either(NULL, NAMES), "tags of the run; null: WANDB_TAGS"),
        "notes": Parameter(or_null(TEXT), "what is to be remembered of the run; null: WANDB_NOTES"),
        "mode": Parameter(choice("auto", "online", "offline"), "auto: online where `wandb login` was done"),
        "upload_audio": Parameter(YES_NO, "true: recordings of the first test clips too"),
        "upload_model": Parameter(YES_NO, "true: detector.ckpt and run.json as an artifact"),
    },
}
SEARCH: Parameters = {
    "study": Parameter(
        Kind(
            "letters, digits, . _ and -", lambda value: isinstance(value, str) and bool(re.fullmatch(r"[\w.-]+", value))
        ),
        "name of the study, whose folder is search-NAME beside the runs",
    ),
    "trials": Parameter(whole(1), "in all, those of earlier calls included"),
    "workers": Parameter(whole(1), "trials at once"),
    "space": Parameter(named(TEXT, "key"), "what is tried, as on the command line"),
    "sampler": Parameter(choice("tpe", "random"), "how values are chosen"),
    "seed": Parameter(SEED, "of the values tried, not of the runs"),
    "pruner": Parameter(choice("median", "none"), "median: runs below the median of others at an epoch are stopped"),
    "pruner_trials": Parameter(whole(0), "whole trials before any is stopped"),
    "pruner_epochs": Parameter(whole(0), "epochs before a run may be stopped"),
}
CALLBACKS: dict[str, Parameters] = {
    "pytorch_lightning.callbacks.EarlyStopping": {
        "monitor": Parameter(TEXT, "what must get better, as logged: val/objective"),
        "mode": Parameter(choice("max", "min"), "which way better is; the objective is best where it is highest"),
        "patience": Parameter(whole(1), "validations in a row that may be no better"),
        "min_delta": Parameter(number(0), "by how much it must be better"),
        "check_on_train_epoch_end": Parameter(YES_NO, "true: after each epoch, not after each validation"),
    },
    "pytorch_lightning.callbacks.LearningRateMonitor": {
        "logging_interval": Parameter(choice("step", "epoch"), "how often it is logged"),
    },
    "sed_lab.run.averaging.MovingAverage": {
        "decay": Parameter(
            number(0, below=1), "share that the average keeps in a step, once it has seen enough of them"
        ),
    },
}
SPREAD: dict[str, Parameters] = {"metric": METRIC, "batch": BATCH, "report": REPORT, "paths": PATHS, "search": SEARCH}
GROUPS = {"dataset", "feature", "model", "loss", "method", "decoder", "rival_decoder", "trainer", "logger", "metric",
          "callbacks"}  # fmt: skip
"""Keys of the root whose values an option of a group gives."""
NEEDED = {"sed-train": sorted(GROUPS - {"rival_decoder", "logger", "callbacks"}), "sed-evaluate": ["decoder", "metric"]}
ROOTS: dict[str, Parameters] = {"sed-train": TRAIN, "sed-evaluate": EVALUATE}
