"""Score files: one .npz without pickle a system, and sed_scores_eval's folder of one TSV a clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sed_lab.errors import InputError, plain, some, steers
from sed_lab.files import read_arrays, replacing, write_text
from sed_lab.types import Event, Scores, frame_times

FORM = {  # kind and dimensions of a score file's arrays
    "clip_id": ("U", 1), "classes": ("U", 1), "duration": ("f", 1), "frame_hop": ("f", 0), "frames": ("i", 1),
    "frame": ("f", 2), "clip": ("f", 2),
}  # fmt: skip
REGULAR = 0.02  # a frame may begin this share of a frame away from t * frame_hop (times in files are rounded)


def save_scores(path: Path, scores: Scores) -> None:
    """Write ``scores`` to ``path`` (.npz, float32, no pickle); frame scores of all clips lie behind one another."""
    arrays: dict[str, np.ndarray] = {
        "clip_id": np.array(scores.clip_id, dtype=np.str_),
        "classes": np.array(scores.classes, dtype=np.str_),
        "duration": scores.duration.astype(np.float64),
    }
    if scores.frame is not None:
        arrays["frame_hop"] = np.array(scores.frame_hop, dtype=np.float64)
        arrays["frames"] = np.array([len(array) for array in scores.frame], dtype=np.int64)
        empty = np.zeros((0, len(scores.classes)), np.float32)
        arrays["frame"] = np.concatenate([empty, *scores.frame]).astype(np.float32)
    if scores.clip is not None:
        arrays["clip"] = scores.clip.astype(np.float32)
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_scores(path: Path) -> Scores:
    """Read scores that `save_scores` wrote.

    Raises:
        InputError: the file is missing, broken, or its arrays do not fit together.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; name a score file that sed-train or sed-predict wrote")
    arrays = read_arrays(path)
    missing = [name for name in ("clip_id", "classes", "duration") if name not in arrays]
    if missing or ("frame" in arrays and not {"frames", "frame_hop"} <= set(arrays)):
        raise InputError(f"{path} is not a score file: it lacks {', '.join(missing) or 'frames or frame_hop'}")
    for name, array in arrays.items():
        if name in FORM and (array.dtype.kind, array.ndim) != FORM[name]:
            raise InputError(f"{path} is not a score file: its {name} is {array.dtype} with {array.ndim} dimensions")
    frame, hop = None, None
    if "frame" in arrays:
        hop, frames = float(arrays["frame_hop"]), arrays["frames"]
        if not np.isfinite(hop):
            raise InputError(f"{path} is not a score file: its frame_hop is {hop}")
        if frames.sum() != len(arrays["frame"]) or (frames < 0).any():
            raise InputError(f"{path}: its clips have {frames.sum()} frames, but {len(arrays['frame'])} are stored")
        frame = tuple(np.split(arrays["frame"], np.cumsum(frames)[:-1])) if len(frames) else ()
    clip_id, classes = (checked_names(arrays[name].tolist(), str(path)) for name in ("clip_id", "classes"))
    return Scores(clip_id, classes, arrays["duration"], hop, frame, arrays.get("clip"), str(path))


def checked_names(names: Sequence[str], where: str) -> tuple[str, ...]:
    """``names`` of clips or classes, if a table and a terminal show each of them as what it is.

    Raises:
        InputError: one holds a line break or another control character.
    """
    if unfit := [name for name in names if any(map(steers, name))]:
        raise InputError(f"{where}: the name {plain(unfit[0])!r} holds control characters; rename it")
    return tuple(names)


def durations_file(folder: Path) -> Path:
    """Where the durations of a score folder lie: beside it, for the folder itself may hold score files only."""
    return folder.with_name(f"{folder.name}_durations.tsv")


def write_scores_folder(folder: Path, scores: Scores, decimals: int = 7) -> None:
    """Write frame scores in sed_scores_eval's form: ``<clip_id>.tsv`` with onset, offset and a column a class.

    The durations go to `durations_file`. Clip scores have no place in this form.

    Raises:
        InputError: there are no frame scores, or a clip_id cannot be a file name.
    """
    if scores.frame is None:
        raise InputError(f"{scores.name}: a score folder needs frame scores, there are clip scores only")
    if unfit := [clip_id for clip_id in scores.clip_id if "/" in clip_id or clip_id in ("", ".", "..")]:
        raise InputError(f"{scores.name}: clip_id {unfit[0]!r} cannot be a file name; rename the clip")
    for row, clip_id in enumerate(scores.clip_id):
        write_scores_file(folder / f"{clip_id}.tsv", scores, row, decimals)
    ends = zip(scores.clip_id, scores.duration, strict=True)
    lines = [f"{clip_id}.wav\t{duration:.6f}" for clip_id, duration in ends]
    write_text(durations_file(folder), "\n".join(["filename\tduration", *lines]) + "\n")


def write_scores_file(path: Path, scores: Scores, clip: int, decimals: int) -> None:
    """Write the frame scores of one clip, by its number, in sed_scores_eval's form."""
    assert scores.frame is not None
    times = frame_times(len(scores.frame[clip]), scores.frame_hop or 0.0, float(scores.duration[clip]))
    lines = ["\t".join(["onset", "offset", *scores.classes])]
    for t, row in enumerate(scores.frame[clip][: len(times) - 1]):
        lines.append("\t".join([f"{times[t]:.6f}", f"{times[t + 1]:.6f}", *(f"{v:.{decimals}g}" for v in row)]))
    write_text(path, "\n".join(lines) + "\n")


def read_scores_folder(folder: Path) -> Scores:
    """Read a folder of sed_scores_eval score files, ours or another system's; clips in the order of their names.

    A clip's scores last as long as its frames say, also where the last one passes the recording's end: so
    sed_scores_eval takes them.

    Raises:
        InputError: no file is there, a file is not a regular table of scores, or classes or frame hops differ between
            files; every wrong file is named.
    """
    paths = sorted(path for path in folder.glob("*.tsv") if path.is_file())
    if not paths:
        raise InputError(f"{folder} holds no .tsv score file; name a folder with one score table a clip")
    tables: dict[str, tuple[list[str], np.ndarray]] = {}
    problems: list[str] = []
    for path in paths:
        try:
            tables[path.stem] = _read_table(path)
        except UnicodeDecodeError as error:
            problems.append(f"{path.name}: it is not UTF-8 text ({error.reason} at byte {error.start})")
        except ValueError as error:
            problems.append(f"{path.name}: {error}")
    hop = _frame_hop([table for _, table in tables.values()])
    classes = next(iter(tables.values()))[0] if tables else []
    for clip_id, (names, table) in tables.items():
        if names != classes:
            problems.append(f"{clip_id}.tsv: its classes {', '.join(names)} are not those of the first file")
        elif np.abs(table[:, 0] - np.arange(len(table)) * hop).max() > REGULAR * hop:
            problems.append(f"{clip_id}.tsv: its frames do not begin every {hop:g} s from 0 on")
    if problems:
        raise InputError(f"{folder}: {some(problems, '; ')}")
    ends = np.array([table[-1, 1] for _, table in tables.values()], float)
    frame = tuple(table[:, 2:].astype(np.float32) for _, table in tables.values())
    return Scores(tuple(tables), tuple(classes), ends, hop, frame, name=str(folder))


def _read_table(path: Path) -> tuple[list[str], np.ndarray]:
    lines = path.read_text(encoding="utf-8").splitlines()
    header = lines[0].split("\t") if lines else []
    if header[:2] != ["onset", "offset"] or len(header) < 3:
        raise ValueError("its header is not onset, offset and a column a class")
    if len(lines) == 1:
        raise ValueError("it has no frame")
    table = np.loadtxt(lines[1:], delimiter="\t", ndmin=2)
    if table.shape[1] != len(header):
        raise ValueError(f"rows of {table.shape[1]} numbers under {len(header)} column names")
    return list(checked_names(header[2:], path.name)), table


def _frame_hop(tables: list[np.ndarray]) -> float:
    """The common frame hop: from the longest clip, and as the rounder number where that one fits."""
    longest = max(tables, key=len, default=np.array([[0.0, 1.0]]))
    if len(longest) == 1:
        return float(longest[0, 1])
    hop = float(longest[-1, 0] / (len(longest) - 1))
    rounded = round(hop, 6)
    fits = rounded > 0 and np.abs(longest[:, 0] - np.arange(len(longest)) * rounded).max() < 2e-6
    return rounded if fits else hop


def whole_clips(scores: Scores, threshold: float) -> dict[str, tuple[Event, ...]]:
    """An event as long as the clip for each class whose clip score lies above the threshold, by clip_id."""
    assert scores.clip is not None
    found = zip(scores.clip_id, scores.duration, scores.clip > np.float32(threshold), strict=True)
    return {
        clip_id: tuple(Event(0.0, float(seconds), scores.classes[i]) for i in np.flatnonzero(row))
        for clip_id, seconds, row in found
    }


def joined(scores: Sequence[Scores]) -> Scores:
    """Scores of several recordings as one; clips are told apart by their names.

    Raises:
        InputError: two recordings have the same name.
    """
    frame = tuple(array for item in scores for array in item.frame or ())
    clip_id = tuple(name for item in scores for name in item.clip_id)
    duration = np.concatenate([item.duration for item in scores])
    return Scores(clip_id, scores[0].classes, duration, scores[0].frame_hop, frame, name="predicted scores")
