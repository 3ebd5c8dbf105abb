"""sed-compare: runs side by side, from their records: numbers, differences with intervals, class by class.

Runs that differ in the seed only are one row, with mean and deviation. The first row is the one that others are
compared with. Runs that were tested on other clips or measured with other settings are refused.
"""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Sequence
from pathlib import Path

from sed_lab.errors import InputError, plain, run_command
from sed_lab.waiting import shown

FILES = "compare.md, compare.csv and compare.html"


def main() -> None:
    """The console script."""
    run_command(lambda: compare_runs(sys.argv[1:]))


def compare_runs(arguments: list[str]) -> int:
    """Print the comparison, and write it where that is asked for.

    Raises:
        InputError: there is no such run, or the runs cannot be compared.
    """
    summary, _, more = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(prog="sed-compare", description=summary, epilog=more)
    parser.add_argument("run", nargs="+", help="a run's folder, or a pattern of several in quotes, as 'runs/mini_*'")
    parser.add_argument("--baseline", type=Path, metavar="RUN", help="compare with this one's row (default: the first)")
    parser.add_argument("--system", metavar="NAME", help="of every run (default: each row's best on held-out clips)")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help=f"write {FILES} there")
    options = parser.parse_args(arguments)
    folders = run_folders(options.run, options.baseline)
    from sed_lab.report.compare_text import notes, pair_grid, rows_grid, title
    from sed_lab.report.compared import compare
    from sed_lab.run.answer import print_grid

    with shown("comparing runs"):
        found = compare(folders, options.system)
    print_grid(*rows_grid(found), left=3)
    for label in found.lines:
        print_grid(*pair_grid(found, label), title=title(found, label))
    print("\n".join(map(plain, notes(found))))
    if options.output:
        import pandas as pd

        from sed_lab.files import write_text
        from sed_lab.report.compare_page import write_compare_page
        from sed_lab.report.compare_text import csv_rows, markdown

        write_text(options.output / "compare.md", markdown(found))
        write_text(options.output / "compare.csv", pd.DataFrame(csv_rows(found), dtype=object).to_csv(index=False))
        write_compare_page(found, options.output / "compare.html")
        print(f"written: {FILES} in {options.output}")
    return 0


def run_folders(words: Sequence[str], baseline: Path | None) -> list[Path]:
    """The runs' folders that words name, each once, the ``baseline`` first; of several, those without numbers are left
    out, which is said.

    Raises:
        InputError: a word names no folder, or no run has any numbers.
    """
    from sed_lab.run.trust import foreign_record

    named = [Path(path) for word in words for path in (sorted(glob.glob(word)) or [word])]
    folders, kept = list(dict.fromkeys(([baseline] if baseline else []) + named)), []
    for folder in folders:
        if len(folders) > 1 and (folder.is_file() or folder.name.startswith(".")):
            continue  # such as multirun.yaml, beside the runs of a pattern
        record = foreign_record(folder)
        if record is None and not folder.is_dir():
            raise InputError(f"{folder} is no folder of a run; give runs/NAME, or a pattern in quotes")
        status = "no run.json" if record is None else f"{record.get('status')}: {record.get('reason') or 'no numbers'}"
        if record is None or record.get("status") in ("running", "failed") or not record.get("metrics"):
            print(plain(f"left out: {folder} ({status})"), file=sys.stderr)
        else:
            kept.append(folder)
    if not kept or (baseline and kept[0] != baseline):
        raise InputError(f"{baseline or 'none of the folders'} holds no run with numbers; name complete runs")
    return kept


if __name__ == "__main__":
    main()
