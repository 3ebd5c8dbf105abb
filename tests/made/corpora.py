"""Small corpora in the published layouts, from noise and tones: ``python tests/made/corpora.py FOLDER [NAME...]``.

Names, folders and files are as the owners publish them, numbers are not: each corpus holds just enough to be checked,
trained on for an epoch and scored. The sounds of a class are a tone of its own, so that something can be learned.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
import yaml

from sed_lab.bank.recipe import Mixing, write_mixtures
from sed_lab.clip.annotation import write_durations, write_strong, write_unlabelled, write_weak
from sed_lab.clip.audio import write_audio
from sed_lab.clip.tfrecord import EmbeddingRecord, encode_embedding, write_records
from sed_lab.dataset.desed import CLASSES
from sed_lab.dataset.tut_rare import EVALTEST
from sed_lab.types import Event

RARE = ("babycry", "glassbreak", "gunshot")
# Index, machine id and name of the labels that the datasets name; the other rows of the list are made up.
LABELS = {
    0: ("/m/09x0r", "Speech"), 22: ("/m/0463cq4", "Crying, sobbing"), 23: ("/t/dd00002", "Baby cry, infant cry"),
    72: ("/m/0jbk", "Animal"), 74: ("/m/0bt9lr", "Dog"), 75: ("/m/05tny_", "Bark"), 76: ("/m/made_076", "Yip"),
    77: ("/m/made_077", "Howl"), 78: ("/m/made_078", "Bow-wow"), 79: ("/m/made_079", "Growling"),
    80: ("/m/made_080", "Whimper (dog)"), 137: ("/m/04rlf", "Music"), 300: ("/m/07yv9", "Vehicle"),
    427: ("/m/032s66", "Gunshot, gunfire"), 428: ("/m/made_428", "Machine gun"), 429: ("/m/made_429", "Fusillade"),
    430: ("/m/made_430", "Artillery fire"), 431: ("/m/made_431", "Cap gun"),
}  # fmt: skip
ESC10 = {
    "Dog bark": 2, "Rain": 1, "Sea waves": 1, "Baby cry": 2, "Clock tick": 1, "Person sneeze": 2, "Helicopter": 1,
    "Chainsaw": 1, "Rooster": 1, "Fire crackling": 1,
}  # fmt: skip
"""Classes of ESC-10 in their order, and how many takes the made recordings have of each fold's second source."""


def record(folder: Path, names: Sequence[str], seconds: float = 10.0, rate: int = 2000) -> None:
    """Recordings of noise."""
    for i, name in enumerate(names):
        audio = np.random.default_rng(i).uniform(-0.5, 0.5, round(seconds * rate))
        write_audio(folder / name, audio.astype(np.float32), rate)


def heard(events: Sequence[tuple[float, float, int]], seconds: float, rate: int, seed: int) -> np.ndarray:
    """Quiet noise with a tone for each (onset, offset, number of the class)."""
    audio = 0.01 * np.random.default_rng(seed).standard_normal(round(seconds * rate))
    for onset, offset, number in events:
        span = np.arange(round(onset * rate), min(round(offset * rate), len(audio)))
        audio[span] += 0.2 * np.sin(2 * np.pi * 300 * 1.3**number * span / rate)
    return audio.astype(np.float32)


def clips_of(names: Sequence[str], classes: Sequence[str], seed: int) -> dict[str, list[Event]]:
    """One or two events a clip, every class in turn."""
    rng, clips = np.random.default_rng(seed), {}
    for i, name in enumerate(names):
        onsets = np.sort(rng.uniform(0, 8, 1 + i % 2))
        clips[name] = [
            Event(float(onset), float(onset + 1.5), classes[(i + 3 * k) % len(classes)])
            for k, onset in enumerate(onsets)
        ]
    return clips


def write_clips(folder: Path, clips: Mapping[str, Sequence[Event]], classes: Sequence[str], rate: int) -> None:
    """The recordings of ``clips``."""
    for seed, (name, events) in enumerate(clips.items()):
        sounds = [(event.onset, event.offset, classes.index(event.event_label)) for event in events]
        write_audio(folder / name, heard(sounds, 10.0, rate, seed), rate)


def youtube(first: int, count: int) -> list[str]:
    """Names of real clips: ``Y<id>_<start>_<end>.wav``."""
    return [f"Y-made{i:06d}_{i % 90}.000_{i % 90 + 10}.000.wav" for i in range(first, first + count)]


def desed(root: Path, rate: int = 44100) -> Path:
    """DESED as DCASE 2021 task 4 lays it out; returns ``root``."""
    meta, audio = root / "metadata", root / "audio"
    for place, count in (("train/synthetic21_train", 12), ("validation/synthetic21_validation", 6)):
        clips = clips_of([f"{i}.wav" for i in range(count)], CLASSES, count)
        write_strong(meta / place / "soundscapes.tsv", clips)
        write_clips(audio / place / "soundscapes", clips, CLASSES, rate)
        if place.startswith("validation"):
            write_durations(meta / place / "durations.tsv", dict.fromkeys(clips, 10.0))
    _weak(root, "train/weak.tsv", 20, rate)
    names = youtube(200, 12)
    write_unlabelled(meta / "train/unlabel_in_domain.tsv", names)
    write_clips(audio / "train/unlabel_in_domain", clips_of(names, CLASSES, 3), CLASSES, rate)
    for path, names in (("validation/validation", youtube(300, 8)), ("eval/public", youtube(400, 4))):
        clips = {**clips_of(names, CLASSES, 4), names[-1]: []}
        write_strong(meta / f"{path}.tsv", clips)
        write_durations(meta / f"{path}_durations.tsv", dict.fromkeys(clips, 10.0))
        write_clips(audio / path, clips, CLASSES, rate)
    return root


def _weak(root: Path, annotation: str, count: int, rate: int) -> None:
    clips = clips_of(youtube(100, count), CLASSES, 2)
    labels = {name: [event.event_label for event in events] for name, events in clips.items()}
    write_weak(root / "metadata" / annotation, labels)
    write_clips(root / "audio/train/weak", clips, CLASSES, rate)


def dcase2018(root: Path, own: bool = True, rate: int = 44100, made_rate: int = 16000) -> Path:
    """DCASE 2018 task 4 with 2019's soundscapes: in 2018's own arrangement, training soundscapes of 2020 (16 kHz) and
    2021; or in DESED's, training soundscapes of 2021 below dcase_synth/, as from 2022 on."""
    meta, audio = root / "metadata", root / "audio"
    _weak(root, "train/weak.csv" if own else "train/weak.tsv", 20, rate)
    places = [("test/test.csv", "test", 300), ("eval/eval.csv", "eval", 400)]
    if not own:
        shared = "validation/validation"
        places = [
            ("validation/test_dcase2018.tsv", shared, 300),
            ("validation/eval_dcase2018.tsv", shared, 400),
        ]
    for annotation, place, first in places:
        clips = clips_of(youtube(first, 10), CLASSES, first)
        write_strong(meta / annotation, clips)
        write_clips(audio / place, clips, CLASSES, rate)
    clips = clips_of([f"{i}.wav" for i in range(10)], CLASSES, 5)
    write_strong(meta / "train/synthetic.tsv", clips)
    write_clips(audio / "train/synthetic", clips, CLASSES, rate)
    top, years = (root, {"synthetic20": made_rate, "synthetic21_train": rate}) if own else (root / "dcase_synth", {})
    for name, of_year in (years or {"synthetic21_train": rate}).items():
        clips = clips_of([f"{i}.wav" for i in range(20)], CLASSES, 6)
        write_strong(top / f"metadata/train/{name}/soundscapes.tsv", clips)
        write_clips(top / f"audio/train/{name}/soundscapes", clips, CLASSES, of_year)
    return root


def tut_rare(root: Path, mixtures: int = 2, rate: int = 44100) -> Path:
    """TUT Rare Sound Events 2017: source data, and sets of mixtures in the folders of the published ones.

    Like the published evaluation set, that of evaltest comes without its sources.
    """
    source = root / "data/source_data"
    for number, subset in enumerate(("devtrain", "devtest", "evaltest")):
        events: dict[str, list[dict[str, object]]] = {}
        for k, label in enumerate(RARE):
            for i in range(2):
                name = f"{subset}{i}.wav"
                write_audio(
                    source / "events" / label / name, heard([(0.1, 1.1, 3 * k)], 1.5, rate, 10 * number + i), rate
                )
                segment = [0.1, 1.1]
                events.setdefault(label, []).append({"audio_filename": name, "segment": segment})
        grounds = []
        for i, scene in enumerate(("bus", "home")):
            path = f"audio/{'abc'[number]}{i:03d}_0_30.wav"
            write_audio(source / "bgs" / path, heard([], 30.0, rate, 100 * number + i), rate, "PCM_24")
            grounds.append({"filepath": path, "classname": scene, "classid": i})
        for kind, found in (("events", events), ("bgs", grounds)):
            path = source / "cv_setup" / f"{kind}_{subset}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(yaml.safe_dump(found))
    screening = [f"{path},,,\n" for path in ("audio/a000_0_30.wav", "audio/b000_0_30.wav")]
    (source / "bgs/bg_screening.csv").write_text("file,babycry,glassbreak,gunshot\n" + "".join(screening))
    sets = root / "data/mixture_data"
    for subset, name in (("devtrain", Mixing().folder()), ("devtest", Mixing().folder()), ("evaltest", EVALTEST)):
        list(write_mixtures(source, sets / subset / name, subset, Mixing(mixtures_per_class=mixtures), RARE, rate))
    for path in (
        *source.glob("cv_setup/*_evaltest.yaml"),
        *source.glob("events/*/evaltest*"),
        *source.glob("bgs/*/c*"),
    ):
        path.unlink()
    return root


def audioset(root: Path, each: int = 20, rate: int = 16000) -> Path:
    """AudioSet's segment lists, and recordings in ``audio/bal_train`` and ``audio/eval`` in four styles of names."""
    kinds = [["/m/0bt9lr", "/m/05tny_"]] * each + [["/t/dd00002"]] * each + [["/m/032s66"]] * each
    kinds += [["/m/04rlf"]] * 2 * each + [["/m/0bt9lr", "/t/dd00002"]]  # the last one is of two classes: left out
    (root / "audio/bal_train").mkdir(parents=True)
    _labels(root)
    lists: dict[str, list[str]] = {"balanced_train": [], "eval": []}
    for i, mids in enumerate(kinds):
        video, start = f"-made{i:06d}", 10.0 * (i % 9)
        part, folder = ("eval", "eval") if i % 3 == 2 else ("balanced_train", "bal_train")
        lists[part].append(f'{video}, {start:.3f}, {start + 10:.3f}, "{",".join(mids)}"')
        styles = ("{}", "Y{}_{:.3f}_{:.3f}", "{}_{:.0f}_{:.0f}", "{}")
        name = styles[i % 4].format(video, start, start + 10)
        if i % 4 == 3:
            name = f"{video}_{start * 1000:.0f}_{(start + 10) * 1000:.0f}"
        number = min(i // each, 3)
        sound = heard([(2.0, 4.0, 2 * number)], 10.0, rate, i)
        write_audio(root / "audio" / folder / f"{name}.{'flac' if i % 2 else 'wav'}", sound, rate)
    for part, rows in lists.items():
        head = [
            "# Segments csv created Sun Mar  5 10:54:31 2017",
            f"# num_ytids={len(rows)}, num_segs={len(rows)}, num_unique_labels=5, num_positive_labels={len(rows)}",
            "# YTID, start_seconds, end_seconds, positive_labels",
        ]
        (root / f"{part}_segments.csv").write_text("\n".join((*head, *rows)) + "\n")
    return root


def audioset_embeddings(root: Path, each: int = 30) -> Path:
    """AudioSet's ``audioset_v1_embeddings``: a few clips a shard, one in eleven of nine rows; the labels."""
    for number, subset in enumerate(("bal_train", "eval")):
        shards: dict[str, list[EmbeddingRecord]] = {}
        rng = np.random.default_rng(number)
        for i in range(4 * each):
            label = (0, 72, 137, 300)[i % 4]
            rows = rng.integers(0, 200, (9 if i % 11 == 10 else 10, 128), dtype=np.uint8)
            rows[:, 10 * (i % 4) : 10 * (i % 4) + 10] += 50
            video = f"{'ab-_'[i % 3]}{'xyz'[i % 2]}made{1000 * number + i:05d}"
            given = tuple(row.tobytes() for row in rows)
            one = EmbeddingRecord(video, 30.0, 40.0, (label, 500), given)
            shards.setdefault(video[:2], []).append(one)
        for name, records in shards.items():
            write_records(root / subset / f"{name}.tfrecord", map(encode_embedding, records))
    _labels(root)
    return root


def _labels(root: Path) -> None:
    rows = [(i, *LABELS.get(i, (f"/m/made_{i:03d}", f"Made {i}"))) for i in range(527)]
    lines = [f'{i},{mid},"{name}"' if "," in name else f"{i},{mid},{name}" for i, mid, name in rows]
    (root / "class_labels_indices.csv").write_text("\n".join(("index,mid,display_name", *lines)) + "\n")


def esc10(folder: Path) -> Path:
    """Recordings as ESC-10 lays out its own: ``NNN - Name/fold-source-take.ogg``, 44.1 kHz, two sources a fold.

    Events end in digital silence, as ESC-10's short clips do; the steady classes fill their clips.
    """
    for k, (name, takes) in enumerate(ESC10.items()):
        steady = name in ("Rain", "Sea waves", "Helicopter", "Chainsaw", "Fire crackling")
        for fold in range(1, 5):
            for source, take in [(1, "A"), *((2, take) for take in "AB"[:takes])]:
                sound = 0.1 * np.random.default_rng((k, fold, source, ord(take))).standard_normal(44100)
                sound[len(sound) if steady else 20000 :] = 0
                path = folder / f"{k + 1:03d} - {name}" / f"{fold}-{fold}{k}{source}-{take}.ogg"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, sound, 44100, format="OGG", subtype="VORBIS")
    return folder


def esc50(folder: Path) -> Path:
    """The same recordings as ESC-50 lays out its own: ``audio/*`` with ``meta/esc50.csv``."""
    beside = esc10(folder.with_name(f".{folder.name}"))
    (folder / "audio").mkdir(parents=True)
    (folder / "meta").mkdir()
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for path in sorted(beside.glob("*/*.ogg")):
        number, _, name = path.parent.name.partition(" - ")
        fold, source, take = path.stem.split("-")
        new = f"{fold}-{source}-{take}-{int(number) - 1}.wav"
        audio, rate = soundfile.read(path)
        soundfile.write(folder / "audio" / new, audio, rate)
        rows.append(f"{new},{fold},{int(number) - 1},{name.lower().replace(' ', '_')},True,{source},{take}")
    (folder / "meta/esc50.csv").write_text("\n".join(rows) + "\n")
    shutil.rmtree(beside)
    return folder


MADE: dict[str, Callable[[Path], Path]] = {
    "desed": desed,
    "dcase2018": dcase2018,
    "dcase2018_as_desed": lambda folder: dcase2018(folder, own=False),
    "TUT-rare-sound-events-2017-development": tut_rare,
    "audioset": audioset,
    "audioset_v1_embeddings": audioset_embeddings,
    "ESC-10": esc10,
    "ESC-50": esc50,
}


def make(folder: Path, names: Sequence[str] = ()) -> Iterator[Path]:
    """Make the corpora of these names, or all, each in a folder of its name below ``folder``."""
    for name in names or MADE:
        yield MADE[name](folder / name)


if __name__ == "__main__":
    top, *given = sys.argv[1:] or ["--help"]
    if top.startswith("-") or not set(given) <= set(MADE):
        sys.exit(f"usage: python tests/made/corpora.py FOLDER [NAME...]; names: {', '.join(MADE)}")
    for path in make(Path(top), given):
        print(path)
