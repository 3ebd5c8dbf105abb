"""Runs, checkpoints and score files as somebody may send them who means harm.

An attack changes a harmless run's folder. It may name ``canary``, a file that no attack may make, and ``outside``, a
folder beside the run's in which nothing may change and that holds a secret. `ATTACKS` says by which command each comes.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sed_lab.files import read_json

SECRET = "correct-horse-battery-staple"


class Place(NamedTuple):
    """The run's folder, and what an attack is after."""

    run: Path
    canary: Path
    outside: Path


class Attack(NamedTuple):
    """By which ``command`` it comes (``predict``, ``evaluate``, ``page``, ``scores``), and what it does before."""

    name: str
    command: str
    prepare: Callable[[Place], None]


# Targets that once were let in, and their like: what they are called with makes the canary.
TARGETS: tuple[Any, ...] = (
    "os.system", "posix.system", "subprocess.run", "subprocess.Popen", "builtins.eval", "builtins.exec",
    "builtins.__import__", "importlib.import_module", "runpy.run_path", "functools.partial", "operator.methodcaller",
    "pickle.loads", "yaml.unsafe_load", "shutil.rmtree", "pathlib.Path.touch", "webbrowser.open", "ctypes.CDLL",
    "hydra.utils.instantiate", "hydra.utils.call", "omegaconf.OmegaConf.save", "torch.load", "torch.hub.load",
    "torch.optim.adam.torch.load", "torch.optim.lr_scheduler.partial", "torch.optim.Adam.__init__.__globals__",
    "torch.optim.adam.torch.fx.experimental.symbolic_shapes.sympy.sympify", "torch.optim.swa_utils.AveragedModel",
    "torch.optim.Adam.__class__", "torch.optim.optimizer.Optimizer", "torch.nn.Linear", "sed_lab.files.Path",
    "sed_lab.files.write_text", "sed_lab.scores.np.load", "sed_lab.scores.np.save", "sed_lab.sweep.run_process",
    "sed_lab.run.sweep.run_process", "sed_lab.run.sweep.subprocess.run", "sed_lab.run.record.import_module",
    "sed_lab.decoder.median.np.load", "sed_lab.decoder.base.Decoder", "sed_lab.model.crnn.torch.load",
    "sed_lab.model.crnn.CRNN.__init__", "sed_lab.model.crnn.CRNN.__init__.__globals__", "sed_lab.model.crnn.nn.Module",
    "sed_lab.model.pretrained_files.find", "sed_lab.feature.vggish.read_weights", "sed_lab.dataset.soundbank.soundbank",
    "sed_lab.dataset.mini_embeddings.stand_in", "sed_lab.dataset.mini_embeddings.mini_embeddings",
    "sed_lab.method.base.SedMethod", "sed_lab.run.imported.import_baseline", "sed_lab_evil.Net", "sed_lab.model.crnn",
    "sed_lab", "sed_lab..crnn", "os.system\n", "\x1b[2Jos.system", "<script>alert(1)</script>", "", 5, None,
    ["os.system"], {"_target_": "os.system"},
)  # fmt: skip
GROUPS = ("feature", "model", "loss", "method", "decoder")
INTERPOLATIONS = (
    "${oc.env:SED_LAB_SECRET}",
    "${oc.decode:${oc.env:SED_LAB_SECRET}}",
    "${seed}",
    "${run_name:}",
    "a${b",
)


def evil(place: Place) -> dict[str, Any]:
    """A node that makes the canary."""
    return {"_target_": "os.system", "command": f"touch {place.canary}"}


def put(*keys: str | int, value: Any) -> Callable[[Place], None]:
    """Put ``value``, or what it gives of a place, at ``keys`` of run.json."""

    def prepare(place: Place) -> None:
        record = read_json(place.run / "run.json")
        node = record
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value(place) if callable(value) else value
        (place.run / "run.json").write_text(json.dumps(record))

    return prepare


def target(name: Any) -> Callable[[Place], Any]:
    """A node with this target and whatever arguments such a callable takes."""
    words = ("command", "args", "path", "name", "f", "weights", "folder", "source", "file", "expr", "code", "encoder")
    return lambda place: {"_target_": name, **dict.fromkeys(words, f"touch {place.canary}")}


def text(content: str | bytes) -> Callable[[Place], None]:
    """Another text in the place of run.json's."""
    return lambda place: (
        (place.run / "run.json").write_bytes(content if isinstance(content, bytes) else content.encode()) and None
    )


def link(name: str, to: str = "") -> Callable[[Place], None]:
    """A part of the run as a link to outside."""

    def prepare(place: Place) -> None:
        part = place.run / name
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)
        part.parent.mkdir(exist_ok=True)
        part.symlink_to(place.outside / to)

    return prepare


def fifo(name: str) -> Callable[[Place], None]:
    """A pipe that nobody writes to: who opens it waits for ever."""

    def prepare(place: Place) -> None:
        (place.run / name).unlink(missing_ok=True)
        os.mkfifo(place.run / name)

    return prepare


class Trap:
    """Makes the canary where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


def checkpoint(make: Callable[[Place, dict[str, Any]], bytes]) -> Callable[[Place], None]:
    """Another detector.ckpt, made of the harmless one's content; the record says nothing of it."""

    def prepare(place: Place) -> None:
        put("detector", "sha256", value=None)(place)
        content = torch.load(place.run / "detector.ckpt", weights_only=True)
        (place.run / "detector.ckpt").write_bytes(make(place, content))

    return prepare


def packed(content: Any) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zipped(entries: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    """An archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def unzipped(archive: bytes) -> dict[str, bytes]:
    """Its entries."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def claiming(place: Place, content: dict[str, Any]) -> bytes:
    """A tensor of a thousand numbers that says it has a thousand million: what is read beyond lies in memory."""
    entries = unzipped(packed({**content, "state_dict": {"a": torch.zeros(1000)}}))
    grown = {
        name: data.replace(b"M\xe8\x03", b"J" + struct.pack("<i", 10**9)) if name.endswith("data.pkl") else data
        for name, data in entries.items()
    }
    assert grown != entries
    return zipped(grown)


def flipped(data: bytes) -> bytes:
    """One byte in the middle is another one."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


def scores(**changed: Any) -> Callable[[Place], None]:
    """The test's score file with other arrays, or as the bytes that ``whole`` makes of its own."""

    def prepare(place: Place) -> None:
        path = place.run / "scores" / "test" / "model.npz"
        if "whole" in changed:
            path.write_bytes(changed["whole"](place, path.read_bytes()))
            return
        with np.load(path) as file:
            arrays = {**dict(file), **{k: value(place) if callable(value) else value for k, value in changed.items()}}
        np.savez_compressed(path, allow_pickle=True, **arrays)

    return prepare


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    """A .npy with this header and a few bytes."""
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + size + text.encode() + bytes(64)


def with_header(text: str) -> Callable[[Place, bytes], bytes]:
    """The score file with ``frame`` as an array of another header."""
    return lambda place, data: zipped({**unzipped(data), "frame.npy": header(text)})


def table(name: str, content: str) -> Callable[[Place], None]:
    """Another text in a table of the test's annotation."""
    return lambda place: (place.run / "scores" / "test" / name).write_text(content) and None


def nested(depth: int) -> Any:
    """Lists within lists."""
    node: Any = 0
    for _ in range(depth):
        node = [node]
    return node


def attacks() -> list[Attack]:
    """All of them."""
    found = []
    for number, name in enumerate(TARGETS):
        group = GROUPS[number % len(GROUPS)]
        found.append(Attack(f"target {name!r} as {group}", "predict", put("config", group, value=target(name))))
        if number % 4 == 0:
            found.append(Attack(f"target {name!r}", "evaluate", put("config", "decoder", value=target(name))))
    inner = ("config", "method", "optimizer")
    for command, where in (
        ("predict", (*inner, "_target_")), ("predict", ("config", "model", "_target_")),
        ("evaluate", ("config", "rival_decoder", "_target_")), ("evaluate", ("config", "decoder", "_target_")),
    ):  # fmt: skip
        found.append(Attack(f"{where} is os.system", command, put(*where, value="os.system")))
    for command, where in (
        ("predict", ("config", "method", "weak_weight")), ("predict", (*inner, "lr")), ("predict", (*inner, "betas")),
        ("predict", ("config", "feature", "n_mels")), ("predict", ("config", "loss", "gamma")),
        ("predict", ("detector", "decided")), ("predict", ("detector", "decoder")),
        ("predict", ("detector", "tuned")), ("evaluate", ("config", "metric", "collar")),
        ("evaluate", ("config", "decoder", "threshold")), ("evaluate", ("config", "rival_decoder")),
    ):  # fmt: skip
        found.append(Attack(f"a node within {where}", command, put(*where, value=evil)))
        found.append(Attack(f"a node in a list of {where}", command, put(*where, value=lambda p: [[evil(p)]])))
    for key, value in (
        ("_args_", ["touch"]), ("_partial_", "yes"), ("_recursive_", 0), ("_convert_", ["all"]), ("_mode_", "x"),
        ("__class__", "x"), ("a${b}", 1), ("a\nb", 1),
    ):  # fmt: skip
        found.append(Attack(f"{key} in a node", "predict", put("config", "model", key, value=value)))
    for said in INTERPOLATIONS:
        found.append(Attack(f"{said} in a node", "predict", put("config", "model", "dropout", value=said)))
        found.append(Attack(f"{said} in an optimiser", "predict", put(*inner, "lr", value=said)))
        found.append(Attack(f"{said} in a decoder", "evaluate", put("config", "decoder", "threshold", value=said)))
        found.append(Attack(f"{said} in a metric", "evaluate", put("config", "metric", "collar", value=said)))
    for key, value in (
        ("classes", ["Dog\n\x1b[2JCat", "Cat"]), ("classes", ["Dog\u202egod", "Cat"]), ("classes", ["", "Cat"]),
        ("classes", []), ("classes", "Dog"), ("classes", [["Dog"], "Cat"]), ("classes", ["x" * 2000, "Cat"]),
        ("clip_seconds", 1e-300), ("clip_seconds", 1e300), ("clip_seconds", float("nan")), ("clip_seconds", "2"),
        ("clip_seconds", -1), ("decided", None), ("decided", {"n_classes": 9}), ("decoder", "MedianDecoder"),
        ("sha256", "0" * 64), ("sha256", 5), ("tuned", {"on": "x", "system": "y", "systems": {}}),
    ):  # fmt: skip
        found.append(Attack(f"detector.{key}={str(value)[:40]!r}", "predict", put("detector", key, value=value)))
    for where, value in (
        (("config",), []), (("config", "model"), None), (("config", "model"), "CRNN"), (("detector",), None),
        (("config", "feature", "n_fft"), 10**15), (("config", "feature", "n_fft"), "many"),
        (("config", "feature", "n_mels"), -5), (("config", "model"), {"_target_": "sed_lab.model.crnn.CRNN"}),
        (("config", "model", "filters"), nested(40)), (("config", "model", "unknown"), 1), (("name",), "a\x1b[31m"),
        (("systems",), [5]), (("metrics",), []),
    ):  # fmt: skip
        found.append(Attack(f"{where}={str(value)[:40]!r}", "predict", put(*where, value=value)))
    for where, value in (
        (("config", "tune_on"), "../../outside"), (("config", "tune_on"), ".."), (("config", "tune_on"), 5),
        (("config", "analysis"), ["os"]), (("config", "analysis"), ["sed_lab.analysis.park2022.evil"]),
        (("config", "analysis"), ["sed_lab.analysis.os"]), (("config", "analysis"), "os"),
        (("config", "metric"), []), (("config", "metric", "collar"), "wide"), (("config", "decoder"), None),
        (("config", "decoder", "median_seconds"), "long"), (("config", "decoder", "unknown"), 1),
    ):  # fmt: skip
        found.append(Attack(f"{where}={str(value)[:40]!r}", "evaluate", put(*where, value=value)))
    for content in ("[]", "5", '"x"', "{", "[" * 100_000, '{"a": ' + "1" * 5000 + "}", b"\xff\xfe\x00", ""):
        found += [Attack(f"run.json is {content[:9]!r}", command, text(content)) for command in ("predict", "evaluate")]
    found += [Attack("run.json is a pipe", "predict", fifo("run.json"))]
    found += [Attack("detector.ckpt is a pipe", "predict", fifo("detector.ckpt"))]
    found += [Attack("truth is a pipe", "evaluate", fifo("scores/test/ground_truth.tsv"))]
    found += [
        Attack(f"{name} is a link", "predict", link(name, "secret.txt")) for name in ("run.json", "detector.ckpt")
    ]
    for name, to in (
        ("run.json", "secret.txt"), ("scores", ""), ("scores/test", ""), ("scores/test/ground_truth.tsv", "secret.txt"),
        ("detections", ""), ("figures", ""), ("page.html", "secret.txt"), ("metrics.json", "secret.txt"),
    ):  # fmt: skip
        found.append(Attack(f"{name} is a link", "evaluate", link(name, to)))
        found.append(Attack(f"{name} is a link", "page", link(name, to)))
    found += [Attack(name, "predict", checkpoint(make)) for name, make in CHECKPOINTS.items()]
    found += [Attack(name, command, prepare) for name, prepare in SCORES.items() for command in ("evaluate", "scores")]
    found += [Attack(name, "evaluate", prepare) for name, prepare in TABLES.items()]
    found += [Attack(name, "page", prepare) for name, prepare in PAGES.items()]
    return found


CHECKPOINTS: dict[str, Callable[[Place, dict[str, Any]], bytes]] = {
    "a pickle in a checkpoint": lambda p, c: packed({**c, "encoder": Trap(p.canary)}),
    "a checkpoint is a trap": lambda p, c: packed(Trap(p.canary)),
    "a bare pickle": lambda p, c: pickle.dumps(Trap(p.canary)),
    "a trap among the weights": lambda p, c: packed({"state_dict": {**c["state_dict"], "x": Trap(p.canary)}}),
    "a whole module": lambda p, c: packed({"state_dict": torch.nn.Linear(2, 2)}),
    "a packed checkpoint": lambda p, c: zipped(unzipped(packed(c)), zipfile.ZIP_DEFLATED),
    "a bomb beside the weights": lambda p, c: zipped(
        {**unzipped(packed(c)), "archive/data/99": bytes(2**24)}, zipfile.ZIP_DEFLATED
    ),
    "half a checkpoint": lambda p, c: packed(c)[: len(packed(c)) // 2],
    "a flipped byte": lambda p, c: flipped(packed(c)),
    "an empty checkpoint": lambda p, c: b"",
    "a claimed length": claiming,
    "no weights": lambda p, c: packed({**c, "state_dict": {}}),
    "weights that are a list": lambda p, c: packed({**c, "state_dict": [1, 2]}),
    "weights that are texts": lambda p, c: packed({**c, "state_dict": {"a": "b"}}),
    "a sparse tensor": lambda p, c: packed({**c, "state_dict": {"a": torch.eye(3).to_sparse()}}),
    "a tensor of no device": lambda p, c: packed({**c, "state_dict": {"a": torch.zeros(3, device="meta")}}),
    "another network's weights": lambda p, c: packed({**c, "state_dict": {"a": torch.zeros(3)}}),
    "an encoder of another kind": lambda p, c: packed({**c, "encoder": {"config": 1}}),
    "a list": lambda p, c: packed([c]),
}

FRAME = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }\n"
SCORES: dict[str, Callable[[Place], None]] = {
    "objects as clips": scores(clip_id=lambda p: np.array([Trap(p.canary)], object)),
    "objects beside the scores": scores(more=lambda p: np.array([Trap(p.canary)], object)),
    "a pickle as scores": scores(whole=lambda p, data: pickle.dumps(Trap(p.canary))),
    "a pickle in the archive": scores(
        whole=lambda p, d: zipped({**unzipped(d), "x.npy": pickle.dumps(Trap(p.canary))})
    ),
    "a zip bomb": scores(frame=np.zeros((2**21, 2), np.float32)),
    "a zip bomb beside the scores": scores(
        whole=lambda p, d: zipped({**unzipped(d), "x": bytes(2**24)}, zipfile.ZIP_DEFLATED)
    ),
    "a header of a large array": scores(whole=with_header(FRAME % "(1000000000000, 2)")),
    "a header of a negative size": scores(whole=with_header(FRAME % "(-1, 2)")),
    "a header of a size without end": scores(whole=with_header(FRAME % ("(" + "9" * 400 + ", 2)"))),
    "a huge header": scores(whole=with_header("{" + " " * 60_000 + "}\n")),
    "a header that is code": scores(whole=with_header("__import__('os').system('touch canary')\n")),
    "a header that is deep": scores(whole=with_header("(" * 5000 + ")" * 5000 + "\n")),
    "half a score file": scores(whole=lambda p, data: data[: len(data) // 2]),
    "a score file with a flipped byte": scores(whole=lambda p, data: flipped(data)),
    "scores of texts": scores(frame=np.array([["a", "b"]])),
    "a name with a line break": scores(clip_id=np.array(["a\n\x1b[2Jb", *(f"test{i}" for i in range(1, 6))])),
    "a class with a line break": scores(classes=np.array(["Dog\x1b[31m", "Cat"])),
    "clips in two dimensions": scores(clip_id=np.array([["a"], ["b"]])),
    "frames below zero": scores(frames=np.array([-1, 241])),
    "a hop that is none": scores(frame_hop=np.array(float("nan"))),
    "scores that are none": scores(frame=np.full((240, 2), np.nan, np.float32)),
}
TABLES: dict[str, Callable[[Place], None]] = {
    "a truth with control characters": table(
        "ground_truth.tsv", "filename\tonset\toffset\tevent_label\ntest0.wav\t0\t1\tDog\x1b[2J\n"
    ),
    "a truth that is no text": lambda p: (p.run / "scores/test/ground_truth.tsv").write_bytes(b"\xff\xfe") and None,
    "durations of nothing": table("durations.tsv", "filename\tduration\n"),
    "durations without end": table("durations.tsv", "filename\tduration\ntest0.wav\tinf\n"),
}
PAGES: dict[str, Callable[[Place], None]] = {
    "metrics that are a list": lambda p: (p.run / "metrics.json").write_text("[1]") and None,
    "metrics without end": lambda p: (p.run / "metrics.json").write_text("[" * 100_000) and None,
    "a front end of the wrong values": put("config", "feature", value={"_target_": "x.LogMel", "n_fft": "many"}),
    "a record without code": put("code", value=5),
    "embeddings that are objects": lambda p: np.save(
        p.run / "scores/test/embedding.npy", np.array([Trap(p.canary)], object), allow_pickle=True
    ),
    "embeddings without end": lambda p: (
        (p.run / "scores/test/embedding.npy").write_bytes(
            header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 10, 128), }\n")
        )
        and None
    ),
    "a time that is none": put("started", value="<b>yesterday</b>"),
}
ATTACKS = attacks()
