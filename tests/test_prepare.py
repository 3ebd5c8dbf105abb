from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sed_lab.clip.annotation import write_strong, write_weak
from sed_lab.clip.audio import write_audio
from sed_lab.clip.audio_folder import list_audio
from sed_lab.prepare import main, prepare
from sed_lab.types import Event

METADATA = Path(__file__).resolve().parent / "data" / "desed_metadata"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "small"
    write_strong(
        root / "metadata/validation/validation.tsv",
        {"a.wav": [Event(0.0, 0.64, "Dog"), Event(0.32, 1.28, "Dog"), Event(1.0, 3.0, "Cat")], "b.wav": []},
    )
    write_weak(root / "metadata/train/weak.tsv", {"c.wav": ["Cat"], "d.wav": ["Cat", "Dog"]})
    for place in ("validation/validation/a", "validation/validation/b", "train/weak/c", "train/weak/d"):
        write_audio(root / f"audio/{place}.wav", np.full(20000, 0.25, np.float32), 2000)
    return root


def sed_prepare(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = prepare([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_help_is_quick_and_needs_no_torch() -> None:
    code = (
        "import sys\nfrom sed_lab.prepare import prepare\ntry: prepare(['--help'])\n"
        "except SystemExit: pass\nassert not {'torch', 'numpy', 'rich'} & set(sys.modules)"
    )
    begun = time.perf_counter()
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert time.perf_counter() - begun < 3  # 0.1 s on a machine at rest
    assert all(command in said for command in ("check", "stats", "resample"))


def test_check_of_a_whole_corpus_says_no_errors(
    corpus: Path, capsys: pytest.CaptureFixture[str], work_shown: list[str]
) -> None:
    code, out, _ = sed_prepare("check", "layout", corpus, capsys=capsys)
    assert code == 0
    assert out.splitlines()[-1] == "no errors"
    assert "checking test: 2 of 2" in work_shown
    assert "effect" not in out


def test_check_of_missing_and_corrupt_recordings(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / "audio/validation/validation/b.wav").unlink()
    code, out, _ = sed_prepare("check", "layout", corpus, "--missing", tmp_path / "missing.tsv", capsys=capsys)
    assert code == 0
    assert "warning: test: 1 of 2 found; not b.wav" in out
    assert "effect: test: 1 of 2 clips can be scored, so scores are not comparable" in out
    assert (tmp_path / "missing.tsv").read_text() == "test\tb.wav\n"
    for name in ("c", "d"):
        (corpus / f"audio/train/weak/{name}.wav").write_bytes(b"")
    code, out, _ = sed_prepare("check", "layout", corpus, capsys=capsys)
    assert code == 2
    for name in ("c", "d"):
        assert f"error: weak: {corpus}/audio/train/weak/{name}.wav is empty (0 bytes)" in out
    assert out.splitlines()[-1] == "2 errors"


def test_check_shows_five_missing_names_and_counts_the_others(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_weak(corpus / "metadata/train/weak.tsv", {"c.wav": ["Cat"], **{f"{i}.wav": ["Cat"] for i in range(7)}})
    _, out, _ = sed_prepare("check", "layout", corpus, capsys=capsys)
    assert "not 0.wav, 1.wav, 2.wav, 3.wav, 4.wav and 2 more (--missing FILE lists them)" in out


def test_check_of_desed_is_against_its_published_counts(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = sed_prepare("check", "desed", corpus, "--json", "--quick", capsys=capsys)
    checks = {one["subset"]: one for one in json.loads(out)}
    assert code == 2  # most of DESED is absent
    assert (checks["weak"]["expected"], checks["weak"]["listed"], checks["weak"]["found"]) == (1578, 2, 2)
    assert "soundscapes.tsv and" in checks["synthetic"]["errors"][0]
    code, out, _ = sed_prepare("check", "desed", corpus, "--quick", capsys=capsys)
    assert "error: synthetic_validation: " in out
    assert out.splitlines()[-1] == "3 errors"


def test_wrong_annotation_is_an_error(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = corpus / "metadata/validation/validation.tsv"
    path.write_text("filename\tonset\toffset\tevent_label\na.wav\t2\t1\tDog\n")
    code, out, _ = sed_prepare("check", "layout", corpus, capsys=capsys)
    assert code == 2
    assert f"error: test: {path}, line 2: onset 2 s is not before offset 1 s" in out


def test_stats_by_hand(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = sed_prepare("stats", corpus, "--json", "--frame-hop", "0.64", capsys=capsys)
    assert code == 0
    # frames of 0.64 s: Dog in frames 0 and 1, Cat (1.0 to 3.0 s) in frames 1 to 4
    assert json.loads(out)["test"] == [
        {
            "event_label": "Cat",
            "clips": 1,
            "events": 1,
            "seconds": 2.0,
            "mean_seconds": 2.0,
            "m_c": 4,
            "r_c": 0.6667,
            "frame_share": 0.1333,  # of two clips of 15 frames
            "V_c": None,
            "source_clips": None,
            "source_seconds": None,
        },
        {
            "event_label": "Dog",
            "clips": 1,
            "events": 2,
            "seconds": 1.6,
            "mean_seconds": 0.8,
            "m_c": 2,
            "r_c": 0.3333,
            "frame_share": 0.0667,
            "V_c": None,
            "source_clips": None,
            "source_seconds": None,
        },
    ]
    (corpus / "metadata/soundbank.tsv").write_text("event_label\tsource_clips\nDog\t12\nCat\t34\n")
    code, out, _ = sed_prepare("stats", corpus, capsys=capsys)
    assert "test: 2 clips, 3 events, 312 frames" in out
    assert "weak: 2 clips, 0 events, 312 frames" in out
    assert "V_c" in out
    assert "34" in out


def test_stats_of_desed_need_its_annotations_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "metadata/validation/validation.tsv"
    target.parent.mkdir(parents=True)
    target.write_bytes((METADATA / "validation.tsv").read_bytes())
    _, out, _ = sed_prepare("stats", tmp_path, "--json", capsys=capsys)
    rows = json.loads(out)["test"]
    assert [row["V_c"] for row in rows] == [190, 98, 88, 109, 136, 56, 64, 68, 128, 72]
    assert [row["events"] for row in rows] == [420, 94, 341, 559, 570, 65, 94, 237, 1752, 92]
    assert sum(row["r_c"] for row in rows) == pytest.approx(1, abs=1e-3)


def test_resample(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], work_shown: list[str]) -> None:
    arguments = ("resample", corpus / "audio/train/weak", tmp_path / "out", "--sample-rate", "1000", "--jobs", "1")
    code, out, _ = sed_prepare(*arguments, capsys=capsys)
    assert (code, out) == (0, f"2 recordings written to {tmp_path / 'out'}, 0 were there\n")
    assert [said.endswith("to 1000 Hz: 2 of 2") for said in work_shown] == [True]
    assert len(list_audio(tmp_path / "out")) == 2
    assert sed_prepare(*arguments, capsys=capsys)[1].startswith("0 recordings written")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "desed", "nowhere"], "nowhere is not a folder"),
        (["stats", "nowhere"], "nowhere is not a folder"),
        (["stats", ".", "--frame-hop", "0"], "--frame-hop 0.0 needs to be above 0"),
        (["resample", "nowhere", "out"], "nowhere is not a folder"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sed-prepare", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert len(said.splitlines()) == 1


def test_names_are_whole_in_a_narrow_window(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    long = "Electric_shaver_toothbrush"
    write_weak(corpus / "metadata/train/weak.tsv", {"c.wav": [long]})
    _, out, _ = sed_prepare("stats", corpus, capsys=capsys)
    assert long in out
    assert "mean_seconds" in out
