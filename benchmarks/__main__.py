"""``make bench``: every benchmarks/bench_*.py in a process of its own, ours and the peer's side in the same run.

A benchmark is a module with ``run() -> dict``. Its ``rows`` are what is compared, each a mapping of

    what    one phrase
    ours    our number
    peer    the other side's number, measured in the same run (absent where there is none)
    name    who the peer is
    unit    of both numbers; "s" and "GB" are better when lower, rates ("1/s", "clips/s") when higher
    better  "lower" or "higher", where the unit does not say it
    limit   what our number has to keep to
    times   the least ratio to reach, where that is asked for

and whatever else it returns is stored with them. ``results/bench.json`` keeps the last measurement of each benchmark
with its date, hardware and code version, so that a part measured again does not disguise the age of the others;
docs/performance.md shows them, README those of HEADLINES. ``gpu`` is left out where there is none. With ``check``
nothing is stored: the ratios of both sides, which depend less on the machine than their times do, are compared with
those stored.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.sides import processor
from sed_lab.errors import InputError, run_command
from sed_lab.files import read_json, write_json, write_text
from sed_lab.run.record import code_version, hardware

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER.parent / "results" / "bench.json"
PAGE = FOLDER.parent / "docs" / "performance.md"
README = FOLDER.parent / "README.md"
BLOCK = ("<!-- bench: speed -->\n", "<!-- end -->")
HEADLINES = (
    "training step, 48 clips x 10 s, 2 threads",
    "the step with `trainer.precision=bf16-mixed`",
    "inference, one model, mel included, 2 threads",
    "decode, PSDS1 and PSDS2 of 200 clips x 10 classes, exact",
    "10 s soundscapes mixed and written, one core",
)
LOWER_IS_BETTER = {"s", "ms", "GB", "MB"}
NEEDS_GPU = {"gpu"}
# Measured on a processor without bfloat16, they are kept apart.
BY_PROCESSOR = {"step", "distance", "inference", "convolution"}
NOT_SPEED = {"quality"}  # docs/default.md shows it; seeds, not the machine, decide it
SPREAD = 0.25  # of a ratio from one measurement to the next: what `check` lets pass


def main() -> int:
    """Run the benchmarks named on the command line (all by default), print and store them; 1 when one failed."""
    known = sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="make bench", description="Measure sed_lab against its peers.")
    parser.add_argument("names", nargs="*", help=f"check, or some of {', '.join(known)} (default: all but quality)")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # the child: run one and leave its result here
    arguments = parser.parse_args()
    checking = "check" in arguments.names
    names = [name for name in arguments.names if name != "check"]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise InputError(f"no benchmark is called {', '.join(unknown)}; known: {', '.join(known)}")
    if arguments.into:
        write_json(arguments.into, measure(arguments.names[0]))
        return 0
    stored = read_json(RESULTS) if RESULTS.exists() else {}
    if not names:
        names = [name for name in known if name not in NOT_SPEED and (stored_as(name) in stored or not checking)]
    names = able(names)
    if checking:
        return check(stored, names)
    failed = []
    for name in names:
        measured = in_own_process(name)
        if measured is None:
            failed.append(name)
            continue
        stored[stored_as(name)] = measured
        write_json(RESULTS, stored)
        write_page(stored)
        print(f"\n{name}\n" + "\n".join(table(measured["result"].get("rows", []))), flush=True)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def stored_as(name: str) -> str:
    """The key of a benchmark's measurement on this machine."""
    return f"{name}{processor()}" if name in BY_PROCESSOR else name


def able(names: Sequence[str]) -> list[str]:
    """Those of ``names`` that this machine can measure; of the others a line says why not."""
    import torch

    without = [] if torch.cuda.is_available() else [name for name in names if name in NEEDS_GPU]
    for name in without:
        print(f"{name}: skipped, as PyTorch finds no GPU on this machine")
    return [name for name in names if name not in without]


def check(stored: Mapping[str, Any], names: Sequence[str]) -> int:
    """Measure again and compare ratios with the ``stored`` ones; 1 where one fell by more than its spread, twice."""
    fallen = []
    for name in names:
        if stored_as(name) not in stored:
            print(f"{name}: nothing is stored to compare with; make bench ARGS={name} measures it", flush=True)
            continue
        left = {row["what"]: before for row in stored[stored_as(name)]["result"]["rows"] if (before := ratio(row))}
        for _ in range(2):  # once more where another process may have had the machine
            measured = in_own_process(name)
            now = {row["what"]: ratio(row) for row in measured["result"]["rows"]} if measured else {}
            left = {what: before for what, before in left.items() if (now.get(what) or 0) < before * (1 - SPREAD)}
            if not left:
                break
        fallen += [f"{name}: {what}: {before:.2f} times before, now {now.get(what) or 0:.2f}"
                   for what, before in left.items()]  # fmt: skip
        print(f"{name}: {'fell behind' if left else 'as before'}", flush=True)
    print("\n".join(fallen), file=sys.stderr)
    return 1 if fallen else 0


def markdown(stored: Mapping[str, Any], only: Sequence[str] = ()) -> str:
    """The table of docs/performance.md, or its lines on what ``only`` names."""
    lines = ["| what | sed_lab | beside | ratio | to reach | measured |", "| --- | --- | --- | --- | --- | --- |"]
    for name, one in stored.items():
        if name in NOT_SPEED:
            continue
        on = one["hardware"]["gpus"][0] if name in NEEDS_GPU else f"{one['hardware']['cores']} cores"
        measured = f"{one['date'][:10]}, {(one['code'].get('commit') or '')[:7]}, {on}"
        for row in one["result"].get("rows", []):
            if only and row["what"] not in only:
                continue
            peer = "" if row.get("peer") is None else f"{_shown(row['peer'])} {row['unit']} ({row.get('name', 'peer')})"
            times = f"{better:.2f}" if (better := ratio(row)) else ""
            cells = (row["what"], f"{_shown(row['ours'])} {row['unit']}", peer, times, _asked(row), measured)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _asked(row: Mapping[str, Any]) -> str:
    """What a row has to reach, in words: nothing, a number or a ratio."""
    if "times" in row:
        return f"{row['times']:g} times"
    side = "at most" if _better(row) == "lower" else "at least"
    return f"{side} {_shown(row['limit'])} {row['unit']}" if "limit" in row else ""


def _shown(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def write_page(stored: Mapping[str, Any]) -> None:
    """Put the table into docs/performance.md, and its headlines into README."""
    for page, text in ((PAGE, markdown(stored)), (README, markdown(stored, HEADLINES))):
        before, rest = page.read_text(encoding="utf-8").split(BLOCK[0])
        write_text(page, before + BLOCK[0] + text + BLOCK[1] + rest.split(BLOCK[1], 1)[1])


def measure(name: str) -> dict[str, Any]:
    """One benchmark's result with date, hardware and code version."""
    result = importlib.import_module(f"benchmarks.bench_{name}").run()
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"date": date, "hardware": hardware(), "code": code_version(), "result": result}


def in_own_process(name: str) -> dict[str, Any] | None:
    """:func:`measure` in a fresh process: one benchmark's allocator and threads must not help or hurt the next."""
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks", name, "--into", str(into)]
        done = subprocess.run(command, cwd=FOLDER.parent, check=False)
        return read_json(into) if done.returncode == 0 else None


def ratio(row: dict[str, Any]) -> float | None:
    """How many times better than the peer we are: above 1 is better, whichever way the unit counts."""
    ours, peer = row["ours"], row.get("peer")
    if not ours or not peer:
        return None
    return peer / ours if _better(row) == "lower" else ours / peer


def _better(row: Mapping[str, Any]) -> str:
    return row.get("better") or ("lower" if row["unit"] in LOWER_IS_BETTER else "higher")


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as aligned lines: what, ours, the peer's, times better."""
    lines = []
    for row in rows:
        line = f"  {row['what']:<52} ours {row['ours']:>9.4g} {row['unit']}"
        if row.get("peer") is not None:
            times = ratio(row)
            line += f"   {row.get('name', 'peer')} {row['peer']:.4g} {row['unit']}"
            line += f"   {times:.2f} times better" if times else ""
        lines.append(line)
    return lines


if __name__ == "__main__":
    run_command(main)
