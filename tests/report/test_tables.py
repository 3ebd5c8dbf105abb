"""Tables from kept records: what README shows follows from them, a wrong number is found, the site hangs together."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sed_lab.errors import InputError
from sed_lab.experiment.comparison import Comparison, all_of
from sed_lab.experiment.reader import read_experiment
from sed_lab.files import read_json, write_json
from sed_lab.plan import expand
from sed_lab.report.claim_text import word_shown
from sed_lab.reproduce import reproduce
from sed_lab.run.content import content_key

ROOT = Path(__file__).resolve().parents[2]
FILE = """\
paper: p
item: t
title: A table
place: table 1
base: [trainer=smoke]
scales:
  mini: {config: park2022, seeds: [0, 1], minutes: 3, hardware: one core}
columns:
  f1: {label: F1, metric: student/event_f1/macro}
rows:
  a: {label: A, overrides: [loss=bce], paper: {f1: 0.5}}
  b: {label: B, overrides: [loss=tbfl]}
claims:
  - {id: 1, say: B beats A, better: b, than: a, column: f1}
figure: {kind: points, column: f1}
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one experiment."""
    (tmp_path / "experiments/p").mkdir(parents=True)
    (tmp_path / "experiments/p/t.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SED_LAB_RUNS", "runs")
    return tmp_path


@pytest.fixture
def complete(lab: Path, make_run: Callable[..., Path]) -> Path:
    """The same with its four runs complete; their numbers are 0.4, 0.5 and 0.6, 0.7."""
    toy = make_run()
    for number, job in enumerate(expand(read_experiment(lab / "experiments/p/t.yaml"), "mini")):
        shutil.copytree(toy, lab / job.folder)
        record: dict[str, Any] = read_json(lab / job.folder / "run.json")
        facts = {"name": job.folder.name, "config_hash": job.folder.name.rsplit("-", 1)[1], "seed": job.seed}
        record |= {
            **facts,
            "status": "complete",
            "metrics": {"student/event_f1/macro": round(0.4 + 0.1 * number + number // 3 / 100, 2)},
        }
        record |= {"started": "2026-01-01T23:45:00+00:00", "finished": "2026-01-02T00:00:00+00:00", "core_minutes": 30}
        record["config"]["paths"] = {"runs": "runs", "cache": str(lab / "cache")}
        record["config"]["dataset"]["folder"] = str(lab / "cache")
        record["command"] = f"train.py hydra.run.dir='{lab / job.folder}'"
        write_json(lab / job.folder / "run.json", record)
    return lab


@pytest.mark.slow  # composes every row there is; .ci/run has `make tables-check`
def test_readmes_tables_follow_from_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert reproduce(["check"]) == 0


def test_a_table_is_kept_written_and_checked(complete: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(["keep", "--scale", "mini"]) == 0
    kept = sorted((complete / "results/mini").iterdir())
    assert len(kept) == 4
    for folder in kept:  # no place of this machine
        for path in folder.iterdir():
            assert str(complete) not in path.read_text(), path
    assert read_json(kept[0] / "run.json")["config"]["dataset"]["folder"] == "~/.cache/sed_lab"
    shutil.rmtree(complete / "runs")
    page = complete / "PAGE.md"
    page.write_text("before\n\n<!-- table: p/t mini -->\n<!-- end -->\n\nafter\n")
    assert reproduce(["check", "PAGE.md"]) == 1
    assert reproduce(["write", "PAGE.md"]) == 0
    text = page.read_text()
    assert "| A | 0.450 ± 0.071 | 0.500 |" in text
    assert "1. B beats A | holds | b - a: +0.205" in text
    assert text.startswith("before\n")
    assert text.endswith("![A table](results/figures/p-t-mini.svg)\n<!-- end -->\n\nafter\n")
    assert (complete / "results/figures/p-t-mini.svg").stat().st_size > 1000
    assert reproduce(["check", "PAGE.md"]) == 0
    capsys.readouterr()
    page.write_text(text.replace("0.450 ± 0.071", "0.460 ± 0.071"))
    assert reproduce(["check", "PAGE.md"]) == 1
    out, err = capsys.readouterr()
    assert "-| A | 0.460 ± 0.071" in out
    assert "+| A | 0.450 ± 0.071" in out
    assert "PAGE.md is not what the records give" in err


def test_tables_of_recordings_that_are_not_here_follow_from_the_records(
    lab: Path, make_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A run is known by what its data held; in a clone only the records say that."""
    file = lab / "experiments/p/t.yaml"
    file.write_text(FILE.replace("base: [", "base: [dataset=soundbank, dataset.bank_folder=mine, "))
    (lab / "mine/Dog").mkdir(parents=True)
    (lab / "mine/Dog/a.wav").write_bytes(b"wow")
    toy = make_run()
    for job in expand(read_experiment(file), "mini"):
        shutil.copytree(toy, lab / job.folder)
        record: dict[str, Any] = read_json(lab / job.folder / "run.json")
        facts = {"status": "complete", "config_hash": job.folder.name.rsplit("-", 1)[1]}
        record["config"] |= {"paths": {"runs": "runs", "cache": "cache"}, "dataset": {"bank_folder": "mine"}}
        key = content_key(lab / "mine", lab / "cache", ())
        write_json(lab / job.folder / "run.json", {**record, **facts, "data": {"mine": key}})
    assert reproduce(["keep", "--scale", "mini"]) == 0
    assert read_json(lab / "results/mini/data.json") == {"mine": key}
    (lab / "PAGE.md").write_text("<!-- table: p/t mini -->\n<!-- end -->\n")
    assert reproduce(["write", "PAGE.md"]) == 0
    assert "not run" not in (lab / "PAGE.md").read_text()

    def complete() -> str:
        content_key.cache_clear()
        capsys.readouterr()
        assert reproduce(["list"]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if "p-t" in line).split()[2]

    assert complete() == "4"
    (lab / "mine/Dog/b.wav").touch()  # other data: the kept records stay those of the former
    assert complete() == "0"
    assert reproduce(["check", "PAGE.md"]) == 0
    shutil.rmtree(lab / "mine")
    assert complete() == "4"
    assert reproduce(["check", "PAGE.md"]) == 0


def test_verdicts_are_counted_by_paper_or_listed(complete: Path) -> None:
    assert reproduce(["keep", "--scale", "mini"]) == 0
    page = complete / "PAGE.md"
    page.write_text("<!-- verdicts: mini -->\n<!-- end -->\n\n<!-- verdicts: p mini -->\n<!-- end -->\n")
    (complete / "experiments/p/learned.md").write_text("# P & Q 2020\n")
    (complete / "results/README.md").write_text(
        "## Another\n\n## P & Q 2020\n\n<!-- table: p/t mini -->\n<!-- end -->\n"
    )
    assert reproduce(["write", "PAGE.md", "results/README.md"]) == 0
    counts, claims = page.read_text().split("<!-- end -->\n\n")
    link = "[tables and figures](results/README.md#p--q-2020)"
    assert f"| P & Q 2020 | 1 | 4 | 1 | 0 | 0 | 0 | 0 | 2.0 | 120.0 | {link} |\n" in counts
    assert counts.count("1 of 1 judged claims are decided.") == claims.count("1 of 1 judged claims are decided.") == 1
    assert "up to 0.1 of these words are expected to be wrong" in counts  # one claim in twenty
    assert "| t | 1. B beats A | holds | b - a: +0.205" in claims
    assert reproduce(["check", "PAGE.md"]) == 0
    page.write_text(page.read_text().replace("| holds |", "| fails |"))
    assert reproduce(["check", "PAGE.md"]) == 1
    page.write_text("<!-- verdicts: q mini -->\n<!-- end -->\n")
    with pytest.raises(InputError, match="verdicts: q mini --> names no paper and scale; write PAPER SCALE, or SCALE"):
        reproduce(["check", "PAGE.md"])


def test_the_page_says_what_was_learned_and_what_did_not_survive(complete: Path) -> None:
    claims = """  - {id: 2, say: A beats B, better: a, than: b, column: f1}
  - {id: 3, say: A beats B by our count, better: a, than: b, column: f1, ours: true}
  - {id: 4, say: B is above a half, above: b, value: 0.64, column: f1}
  - {id: 5, say: C beats A, better: c, than: a, column: f1}
"""
    file, row = complete / "experiments/p/t.yaml", "  c: {label: C, overrides: [loss=focal]}\n"  # which has no runs
    file.write_text(FILE.replace("claims:", f"{row}claims:").replace("figure:", f"{claims}figure:"))
    (complete / "experiments/p/u.yaml").write_text(
        FILE.replace("item: t", "item: u").replace("trainer=smoke", "trainer=smoke, trainer.max_epochs=7")
    )
    (complete / "experiments/p/learned.md").write_text(
        "# P & Q 2020\n\nThat B beats A {u/1} there and\n{t/1} here; that A beats B {t/2}, that B is above {t/4}.\n"
    )
    assert reproduce(["keep", "--scale", "mini"]) == 0
    page = complete / "PAGE.md"
    page.write_text("".join(f"<!-- {kind}: mini -->\n<!-- end -->\n" for kind in ("overview", "papers")))
    assert reproduce(["write", "PAGE.md"]) == 0
    overview, papers = page.read_text().split("<!-- end -->\n")[:2]
    assert "| P & Q 2020 | 2 | 4 | 1 | 2 | 0 | 1 | 2 | 2.0 | 40.0 |  |\n" in overview
    said = "That B beats A is not tested yet there and holds here; that A beats B fails, that B is above is undecided."
    assert f"- **P & Q 2020.** {said}\n" in overview
    gone = overview.partition("### Printed claims that did not survive\n\n")[2].splitlines()[2:]
    assert [line.split(" | ")[:4] for line in gone] == [["| P & Q 2020", "t", "2. A beats B", "fails"]]  # 3 is ours
    assert "**A table** (P & Q 2020, table 1; scale mini; 4 of 6 runs)\n\n|  | F1 |" in papers
    assert "3 of 4 judged claims are decided." in overview
    assert reproduce(["check", "PAGE.md"]) == 0
    assert reproduce(["site"]) == 0
    index = (complete / "report/index.html").read_text()
    assert '<a href="p.html">P &amp; Q 2020</a></h2><p>' in index
    assert f"<p>{said}</p>" in index
    lists = re.findall(r"<details( open)?><summary>.*?</span> ([^<]*)</summary><ul>(.*?)</ul>", index)
    assert [(bool(opened), title, re.findall(r"<li>(\d)\.", items)) for opened, title, items in lists] == [
        (False, "held", ["1"]), (True, "failed", ["2", "3"]), (False, "undecided so far", ["4"]),
    ]  # fmt: skip
    file.write_text(FILE)
    (complete / "experiments/p/learned.md").write_text("# P & Q 2020\n\nThat B beats A {t/2}.\n")
    with pytest.raises(InputError, match=r"learned\.md: \{t/2\} names no claim of p; write \{ITEM/ID\}"):
        reproduce(["check", "PAGE.md"])
    (complete / "experiments/p/learned.md").write_text("That B beats A {t/1}.\n")
    with pytest.raises(InputError, match=r"learned\.md:1: begins with no heading"):
        reproduce(["check", "PAGE.md"])
    shutil.rmtree(complete / "results/mini")
    (complete / "experiments/p/learned.md").unlink()
    assert reproduce(["write", "PAGE.md"]) == 0
    text = page.read_text()
    assert "None so far, of 0 decided printed claims." in text
    assert "**A table** (p, table 1; scale mini; 0 of 4 runs): to be run.\n" in text


def test_what_was_learned_has_no_numbers_of_runs() -> None:
    """Of each paper there are sentences with claims as placeholders, which the check of the READMEs resolves."""
    files = sorted((ROOT / "experiments").glob("*/learned.md"))
    assert [path.parent for path in files] == sorted(
        path.parent for path in (ROOT / "experiments").glob("*/scale.yaml")
    )
    for path in files:
        text = path.read_text().partition("\n")[2]
        assert len(re.findall(r"\{\w+/[^{}]+\}", text)) >= 3, path
        bare = re.sub(r"\{\w+/[^{}]+\}", "", text)
        assert not re.search(r"\d+\.\d|\d+ ?%|\d+ (points|seeds|runs)\b", bare), path
        assert not re.search(r"\b(holds|fails|undecided|no difference)\b", bare), path  # words are the records'


@pytest.mark.parametrize("word", ["list", "site", "keep", "write", "check"])
def test_help_says_what_the_commands_are(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        reproduce(["--help"])
    assert ended.value.code == 0
    assert f"  {word} " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        reproduce([word, "--help"])
    assert f"usage: sed-reproduce {word} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no table", r"PAGE\.md has no marked table"),
        ("<!-- table: p/x mini -->\n<!-- end -->\n", r"names no experiment; there are: p/t"),
        ("<!-- table: p/t full -->\n<!-- end -->\n", r"no scale 'full'; it has mini"),
    ],
)
def test_a_wrong_mark_is_refused(lab: Path, text: str, message: str) -> None:
    (lab / "PAGE.md").write_text(text)
    with pytest.raises(InputError, match=message):
        reproduce(["check", "PAGE.md"])
    with pytest.raises(InputError, match=r"nothing\.md: No such file"):
        reproduce(["check", "nothing.md"])


def test_the_list_says_what_is_there_and_what_it_takes(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(["list"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "p-t" in line)
    assert line.split()[:5] == ["p-t", "mini", "0", "of", "4"]
    assert "12 min, 3 min a run on one core" in line
    assert reproduce(["list", "--scale", "medium"]) == 0  # it has no such scale
    assert line.rstrip() in capsys.readouterr().out


def test_the_list_has_a_line_a_table_or_with_all_a_line_a_scale(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    smoke = "scales:\n  smoke: {config: park2022, seeds: [0], overrides: [trainer.max_epochs=2]}"
    (lab / "experiments/p/t.yaml").write_text(FILE.replace("scales:", smoke))

    def scales(*words: str) -> list[str]:
        assert reproduce(["list", *words]) == 0
        return [line.split()[1] for line in capsys.readouterr().out.splitlines() if "p-t" in line]

    assert scales() == ["mini"]
    assert scales("--scale", "smoke") == ["smoke"]
    assert scales("--all") == ["smoke", "mini"]


def test_the_list_counts_kept_records_and_their_verdicts(complete: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(["keep"]) == 0
    for name in ("README.md", "results/README.md"):
        (complete / name).write_text("<!-- verdicts: mini -->\n<!-- end -->\n")
    assert reproduce(["check"]) == 1
    assert reproduce(["write"]) == 0
    assert reproduce(["check"]) == 0
    counts = read_json(complete / "results/mini/counts.json")
    assert counts == {"p/t": {"runs": 4, "decided": 1, "judged": 1}}
    write_json(complete / "results/mini/counts.json", {"p/t": {"runs": 4, "decided": 0, "judged": 1}})
    capsys.readouterr()
    assert reproduce(["check"]) == 1
    assert "counts.json is not what the records give" in capsys.readouterr().err
    assert reproduce(["write"]) == 0
    shutil.rmtree(complete / "runs")
    capsys.readouterr()
    assert reproduce(["list"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "p-t" in line)
    assert line.split()[:9] == ["p-t", "mini", "0", "of", "4", "4", "1", "of", "1"]


def test_the_list_counts_complete_runs(complete: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(["list", "p/t"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "p-t" in line)
    assert line.split() == ["p-t", "mini", "4", "of", "4", "1", "of", "1"]


def test_the_list_of_what_was_never_run_composes_next_to_nothing(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sed_lab.tables.expand", None)
    assert reproduce(["list"]) == 0


def test_complete_runs_are_not_run_again(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sed_lab.reproduce.run_shown", None)  # nothing can be started
    assert reproduce(["p/t", "--scale", "mini"]) == 0
    place = complete / "runs/tables/mini/p/t"
    names = {"table.md", "table.csv", "table.json", "table.html", "figure.png", "figure.svg"}
    assert {path.name for path in place.iterdir()} == names
    assert "B beats A" in (place / "table.html").read_text()


def test_a_site_of_nothing_is_refused(lab: Path) -> None:
    with pytest.raises(InputError, match="no complete run of any experiment yet"):
        reproduce(["site"])


def test_every_link_of_the_site_resolves(complete: Path) -> None:
    (complete / "experiments/q").mkdir()  # a paper without a run has no page
    (complete / "experiments/q/t.yaml").write_text(
        FILE.replace("paper: p", "paper: q").replace("trainer=smoke", "trainer=smoke, trainer.max_epochs=7")
    )
    assert reproduce(["site"]) == 0
    pages = sorted((complete / "report").rglob("*.html"))
    assert {path.relative_to(complete / "report").parts[0] for path in pages} == {"index.html", "p.html", "runs"}
    assert len(pages) == 6
    for page in pages:
        text = page.read_text()
        anchors = set(re.findall(r'id="([^"]+)"', text))
        for link in re.findall(r'href="([^"]+)"', text):
            address, _, part = link.partition("#")
            if not link.startswith(("data:", "https:")):
                target = page.parent / address if address else page
                assert target.exists(), f"{page.name}: {link}"
                if part and target.suffix == ".html" and page.parts[-2] != "runs":
                    assert part in (anchors if not address else set(re.findall(r'id="([^"]+)"', target.read_text())))
    index = (complete / "report/index.html").read_text()
    assert '<span class="verdict holds">1 holds</span>' in index
    assert 'href="p.html#p-t-mini"' in index
    assert "To be run: 1 of 2 papers, 1 claims" in index
    assert "seed 1</a>" in (complete / "report/p.html").read_text()


def test_the_site_falls_back_on_kept_records(complete: Path) -> None:
    assert reproduce(["keep", "--scale", "mini"]) == 0
    shutil.rmtree(complete / "runs")
    assert reproduce(["site", "--output", "there"]) == 0
    page = next((complete / "there/runs").iterdir()).read_text()
    assert "This run kept no scores or detections of test clips" in page


def test_a_claim_without_a_run_is_to_be_run_and_not_undecided() -> None:
    nothing, something = Comparison("a", "b", None, None, 0), Comparison("a", "c", 0.1, (-0.1, 0.3), 5)
    assert word_shown(all_of([nothing])) == "to be run"
    assert word_shown(all_of([nothing, something])) == "undecided"
