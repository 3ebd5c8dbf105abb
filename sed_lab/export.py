"""sed-export: a trained run as a folder for other machines and programs: safetensors, ONNX and a model card.

The folder is taken by ``sed-predict`` and `sed_lab.load` like a run's; ``model.onnx`` by any runtime of ONNX.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sed_lab.errors import run_command
from sed_lab.files import read_json, write_text


def main() -> None:
    """The console script."""
    run_command(lambda: export_command(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sed-export", description="Write a trained run as a folder for other machines and programs."
    )
    parser.add_argument("run", type=Path, help="a run's folder, as runs/NAME")
    parser.add_argument("folder", type=Path, help="a new folder, or that of an earlier export")
    parser.add_argument("--system", help="which of the run's systems (student, teacher); default: as sed-predict")
    parser.add_argument("--without-onnx", action="store_true", help="leave model.onnx out")
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="a package of yours whose method, network, ... the run uses; code of no other is loaded",
    )
    return parser.parse_args()


def export_command(arguments: argparse.Namespace) -> int:
    """Make and check model.onnx, then write the folder.

    Raises:
        InputError: what cannot be exported, an extra that is not installed, a folder with other files.
    """
    from sed_lab.report.card import card
    from sed_lab.run.detector import load_detector
    from sed_lab.run.exported import check_target, describe, write_detector
    from sed_lab.run.waveform_net import MODEL, write_onnx

    check_target(arguments.folder)
    detector = load_detector(arguments.run, arguments.system, trusted=arguments.trust, audio=False)
    onnx = None
    if not arguments.without_onnx:
        onnx = write_onnx(detector, arguments.folder / MODEL)
        print(f"model.onnx differs from the run by at most {onnx['largest_difference']:.1g}", file=sys.stderr)
    else:
        (arguments.folder / MODEL).unlink(missing_ok=True)  # of an earlier export
    record = write_detector(arguments.run, arguments.folder, detector, onnx)
    measured = arguments.run / "metrics.json"
    metrics = read_json(measured) if measured.exists() else None
    write_text(arguments.folder / "README.md", card(record, describe(detector, onnx), metrics))
    print(arguments.folder)
    return 0


if __name__ == "__main__":
    main()
