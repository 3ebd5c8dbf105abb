"""sed-explore: a page on this machine to look at and listen to a run's worst clips, and to move its decoder.

Events and F1 follow threshold, median window or boxes at once; two runs are compared on the same test clips. The page
is served on 127.0.0.1 alone, to this machine's browsers.
"""

from __future__ import annotations

import argparse
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

from sed_lab.errors import InputError, plain, run_command

KEYS = """keys on the page: n or arrow down next clip, p or arrow up previous clip, space play and pause, c next class,
C previous class, 0 all classes
"""


def main() -> None:
    """The console script."""
    run_command(lambda: explore(sys.argv[1:]))


def explore(arguments: list[str]) -> int:
    """Serve the page until Ctrl-C.

    Raises:
        InputError: the extra is not installed, the port is taken, or the runs cannot be explored.
    """
    parser = argparse.ArgumentParser(prog="sed-explore", description=__doc__.split("\n\n")[0], epilog=KEYS)
    parser.add_argument("run", type=Path, help="a run's folder, as runs/NAME")
    parser.add_argument("other", type=Path, nargs="?", help="another one to compare it with, tested on the same clips")
    parser.add_argument("--port", type=int, default=8321, help="of the page on 127.0.0.1; 0: any free one (8321)")
    parser.add_argument("--no-browser", action="store_true", help="only say where the page is")
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="a package of yours that defines a run's decoder; code of no other is loaded",
    )
    options = parser.parse_args(arguments)
    if find_spec("nicegui") is None:
        raise InputError("sed-explore needs the extra explore; install sed_lab[explore]")
    port = _free(options.port)
    from sed_lab.report.explore_page import serve
    from sed_lab.report.explored import read_systems

    folders = [options.run] if options.other is None else [options.run, options.other]
    systems = read_systems(folders, options.trust)
    if not any(path.is_file() for system in systems for path in system.run.audio.values()):
        print(plain(f"{folders[0]}: the sounds of its test clips are not there, so only scores and events are shown"))
    print(f"http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    serve(systems, port, show=not options.no_browser)
    return 0


def _free(port: int) -> int:
    """``port``, or any free one for 0.

    Raises:
        InputError: it is none, or taken.
    """
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            raise InputError(f"--port {port} cannot be used; give another one, or 0 for any that is free") from None
        return int(trial.getsockname()[1])


if __name__ == "__main__":
    main()
