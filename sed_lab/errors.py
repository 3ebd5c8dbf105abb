"""What a user is told when an input is bad: one sentence on stderr, exit code 2, no traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


class InputError(Exception):
    """Bad input. The message is one sentence: what is wrong, in which file, line or key, and what to do."""


def run_command(command: Callable[[], int | None]) -> None:
    """Run a command line's body and leave the process with its exit code.

    ``InputError`` and a full disk become one sentence and exit code 2, Ctrl-C becomes exit code 130; with
    ``SED_LAB_DEBUG=1`` the traceback is shown as well.
    """
    try:
        code = command() or 0
    except KeyboardInterrupt:
        print("interrupted: finished files are kept, unfinished ones were not put in place", file=sys.stderr)
        code = 130
    except (InputError, OSError) as error:
        if os.environ.get("SED_LAB_DEBUG") == "1":
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = 2
    sys.exit(code)
