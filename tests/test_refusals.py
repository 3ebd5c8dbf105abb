"""Bad input to every command: one sentence, exit code 2, nothing left behind, no code run.

Cases are made: each class of bad value for each described key, and each class of bad file for each reader.
"""

from __future__ import annotations

import itertools
import pickle
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sed_lab.parameter.check import described
from sed_lab.parameter.kind import Kind
from sed_lab.run.identity import register_resolvers
from tests.configured import CONF
from tests.typed import typed

Case = tuple[str, ...]  # a program and its words; FILE:name stands for a bad file of that name
VALUES: list[Any] = ["abc", -3, 1.5, True, [], None, {"a": -1}, ["x", 1], 1e400, "", 0]
TYPES = re.compile(
    r"\b\w*(Error|Exception|Warning)\b|Traceback|object has no|NoneType|<class '|NaN was|dtype|literal for|unhashable"
)


class _Touches:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("canary"),))


FILES: dict[str, bytes | None] = {  # None: a folder
    "empty": b"",
    "latin": "filename\tonset\toffset\tevent_label\nB\xfcro.wav\t0\t1\tDog\n".encode("latin-1"),
    "binary": bytes(range(256)) * 4,
    "words": b"these are only words\n",
    "zeros": b"\0" * 300,
    "folder": None,
    "list": b"[1, 2, 3]\n",
    "object": b"{}\n",
    "number": b"7",
    "deep": b"[" * 100_000,
    "tag": b"!!python/object/apply:pathlib.Path.touch [canary]\n",
    "pickle": pickle.dumps(_Touches()),
    "half": b"PK\x03\x04" + b"\x14\0" * 20,
    "header": b"filename\tonset\toffset\tevent_label\na.wav\tx\ty\tDog\n",
    "riff": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0",
    "flac": b"fLaC\0\0\0\x22" + b"\xff" * 40,
}


def words_of(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, str):
        return value or "''"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{words_of(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(words_of, value))}]"
    return "inf" if value == float("inf") else str(value)


def bad_values(kind: Kind, start: int) -> Iterator[Any]:
    """What is not of a kind, beginning somewhere else each time."""
    turned = VALUES[start % len(VALUES) :] + VALUES[: start % len(VALUES)]
    # An empty mapping changes nothing, and a mapping is merged into the one there is.
    return (value for value in turned if not kind.fits(value) and not (isinstance(value, dict) and kind.parts))


def keys_of(config: str, command: str) -> list[tuple[str, Kind]]:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = OmegaConf.to_container(compose(config), resolve=False)
    assert isinstance(cfg, dict)
    return [(key, one.kind) for key, _, one in described({str(key): value for key, value in cfg.items()}, command)]


def of_values(command: str, config: str, each: int, only: str = "") -> Iterator[Case]:
    named = () if config in ("config", "evaluate") else ("--config-name", config)
    run = ("run=nowhere",) if command == "sed-evaluate" else ()
    for number, (key, kind) in enumerate(keys_of(config, command)):
        if re.match(only, key):
            for value in itertools.islice(bad_values(kind, number), each):
                at = "decoder@rival_decoder" if key == "rival_decoder" else key
                yield (command, *named, *(word for word in run if key != "run"), f"{at}={words_of(value)}")


def of_words() -> Iterator[Case]:
    bad = """=3 | a | seed=[1 | seed=1,2 | loss= | loss=bec | los=bce | +loss=bce | +seed=1 | ++loss.k=3 | ~loss | ~seed
        ~nothing | loss@x=bce | logger=[nothing] | logger=null | epochs=${nothing} | batch=3 | report=3 | loss.gama=1
        epochs=${oc.env:SED_LAB_NOTHING} | +method.optimizer.nothing=1 | model._target_=no.such.Class | tune_on=test
        method.optimizer._target_=torch.optim.No | trainer.accelerator=gpu | trainer.strategy=no | analysis=[nothing]
        method=park2022 model=clip_lstm | dataset.sample_rate=8000 | feature.n_fft=100 | batch.clips={test:4}
        batch.clips={synthetic:0,weak:0,unlabelled:0} | objective=[test/x/tagging_f1] | objective=[nothing]
        dataset=desed | model=pretrained | trainer.max_epochs=0 | loss=tbfl loss.kk=3 | --config-name nothing
        --config-dir nothing | metric.tagging_threshold=2 | model.pooling=[[2,2]]"""
    for words in re.split(r" \| |\n\s*", bad):
        yield ("sed-train", *words.split(" "))
    for words in ["", "run=nowhere", "run=x scores=y", "scores=x", "detections=x", "metrc=default", "model=crnn", "a",
                  "scores=FILE:words truth=FILE:header", "decoder=nothing", "--config-name no", "+run=x"]:  # fmt: skip
        yield ("sed-evaluate", *words.split())


def of_files() -> Iterator[Case]:
    good = ("truth=FILE:truth", "durations=FILE:durations", "detections=FILE:truth")
    for name in FILES:
        for key in ("truth", "durations", "detections", "scores", "operating_points", "classes", "audio", "run"):
            words = {word.split("=")[0]: word for word in good}
            if key in ("scores", "run"):
                del words["detections"]
            if key == "classes" or (key == "audio" and name == "folder"):
                continue  # any text names classes
            words[key] = f"{key}=FILE:{name}"
            yield ("sed-evaluate", *words.values())
        yield ("sed-predict", f"FILE:{name}", "FILE:sound")
        yield ("sed-predict", f"RUN:{name}", "FILE:sound")
        yield ("sed-predict", f"CKPT:{name}", "FILE:sound")
        yield ("sed-evaluate", f"run=RUN:{name}")
        for command in ("stats", "resample", "embeddings"):
            yield ("sed-prepare", command, f"FILE:{name}", *([] if command == "stats" else ["target"]))
        yield ("sed-prepare", "checkpoint", "dcase2021", f"FILE:{name}", "-o", "target")
        yield ("sed-reproduce", "list", "--folder", f"EXP:{name}")
        yield ("sed-reproduce", "--dry-run", "--folder", f"EXP:{name}")
    for corpus in ("desed", "dcase2018", "tut_rare", "audioset_rare", "audioset_embeddings", "soundbank", "layout"):
        for name in ("nowhere", "FILE:words", "FILE:folder"):
            yield ("sed-prepare", "check", corpus, name)
            yield ("sed-prepare", "check", corpus, name, "--quick")


def of_options() -> Iterator[Case]:
    for words in ["", "x", "nowhere x.wav", "--threshold", "--nothing x y", "x y --vggish a", "FILE:folder FILE:sound",
                  "FILE:words FILE:sound", "nowhere nowhere", "nowhere FILE:folder"]:  # fmt: skip
        yield ("sed-predict", *words.split())
    for words in ["", "nothing", "check", "check nothing x", "check desed", "check desed nowhere --jobs 0", "stats",
                  "check desed nowhere --jobs abc", "stats nowhere --frame-hop 0", "stats nowhere --frame-hop abc",
                  "stats nowhere --clip-seconds 0", "resample nowhere target", "resample FILE:folder target --jobs 0",
                  "resample FILE:folder target --sample-rate 0", "resample FILE:folder target --sample-rate abc",
                  "embeddings nowhere target", "embeddings FILE:folder target --subsets x", "checkpoint",
                  "checkpoint nothing x -o y", "checkpoint dcase2021 x -o y", "checkpoint dcase2021 x"]:  # fmt: skip
        yield ("sed-prepare", *words.split())
    for words in ["nothing", "park2022/nothing", "--seeds 0", "--seeds -1", "--seeds abc", "--minutes 5", "--scale no",
                  "--until never", "--until decided --seeds 3", "--until decided --minutes -1", "seed=3",
                  "park2022/fig3 --dry-run los=bce", "park2022/fig3 --dry-run loss=bec", "--folder nowhere",
                  "park2022/fig3 --dry-run method.ema_decay=0.5", "list nothing", "keep nothing", "list --scale no",
                  "check nowhere.md", "write nowhere.md", "site --folder nowhere", "park2022/fig3 trainer=no",
                  "park2022/fig3 --dry-run a=b=c", "park2022/fig3 --dry-run =x", "nothing=", "--nothing"]:  # fmt: skip
        yield ("sed-reproduce", *words.split())


def cases() -> list[Case]:
    """All, in an order that is always the same."""
    made: list[Case] = [*of_words(), *of_options(), *of_files()]
    made += of_values("sed-train", "config", 1)
    for name in ("park2022", "arora2019", "huang2021", "amiriparian2018", "aziz2020"):
        made += itertools.islice(of_values("sed-train", name, 1, r"(model|loss|method|decoder)\."), 12)
    made += of_values("sed-evaluate", "evaluate", 1)
    return list(dict.fromkeys(made))


def laid_out(folder: Path, case: Case) -> list[str]:
    """The words of a case, with the bad files that it names in ``folder``."""
    (folder / "truth").write_text("filename\tonset\toffset\tevent_label\na.wav\t0\t1\tDog\n")
    (folder / "durations").write_text("filename\tduration\na.wav\t10\n")
    (folder / "sound").write_bytes(b"")
    words = []
    for word in case[1:]:
        before, mark, name = re.match(r"(.*?)(FILE:|RUN:|CKPT:|EXP:|$)(.*)", word).groups()  # type: ignore[union-attr]
        if name in ("truth", "durations", "sound") or not mark:
            words.append(before + name)
            continue
        place = {"FILE:": name, "RUN:": "made/run.json", "CKPT:": "made/detector.ckpt", "EXP:": "made/paper/item.yaml"}
        path = folder / place[mark]
        path.parent.mkdir(parents=True, exist_ok=True)
        if (content := FILES[name]) is None:
            path.mkdir()
        else:
            path.write_bytes(content)
        if mark == "CKPT:":
            (folder / "made" / "run.json").write_text('{"status": "complete", "config": {}, "name": "made"}')
        words.append(before + (name if mark == "FILE:" else "made"))
    return words


def there(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def fault(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is wrong with how a case is refused; nothing where it is as promised."""
    monkeypatch.setenv("SED_LAB_RUNS", str(folder / "runs"))
    monkeypatch.setenv("SED_LAB_CACHE", str(folder / "cache"))

    def began(*_: Any) -> None:
        raise AssertionError("a run began")

    monkeypatch.setattr("sed_lab.train.train", began)
    words = laid_out(folder, case)
    before = there(folder)
    try:
        said = typed(case[0], *words, folder=folder)
    except BaseException as error:  # nothing but the exit may come out
        return f"{type(error).__name__}: {error}"
    lines = said.err.strip().splitlines()
    checked = case[:2] == ("sed-prepare", "check") and not lines  # what it found wrong it prints as its findings
    last = lines[-1] if lines else said.out.strip().splitlines()[-1] if said.out.strip() else ""
    if said.code != 2:
        return f"exit code {said.code}: {last[:300]}"
    if not checked and not re.match(r"(error|sed-[\w -]+: error): .{8,}", last):
        return f"no sentence: {last[:300]}"
    if not checked and last.startswith("error: ") and len(lines) > 1:
        return f"more than a sentence: {lines[:3]}"
    if found := TYPES.search(said.err.replace(str(folder), "")):
        return f"names {found[0]}: {last[:300]}"
    if there(folder) != before:
        return f"leaves {sorted(there(folder).keys() - before.keys()) or 'a file changed'}"
    return ""


def run_all(chosen: Sequence[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = []
    for number, case in enumerate(chosen):
        folder = tmp_path / str(number)
        folder.mkdir()
        if found := fault(case, folder, monkeypatch):
            faults.append(f"{' '.join(case)}\n      {found}")
    assert not faults, f"{len(faults)} of {len(chosen)}:\n" + "\n".join(faults)


@pytest.mark.slow
def test_every_bad_input_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = cases()
    assert len(chosen) >= 600
    assert {case[0] for case in chosen} == {"sed-train", "sed-evaluate", "sed-predict", "sed-prepare", "sed-reproduce"}
    run_all(chosen, tmp_path, monkeypatch)


def test_some_bad_inputs_are_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [case for case in (*of_options(), *of_files()) if case[0] not in ("sed-train", "sed-evaluate")][::6]
    run_all([*chosen, ("sed-train", "seed=-1"), ("sed-evaluate", "metric.collar=abc")], tmp_path, monkeypatch)
