"""What a user is told when something is bad: one sentence on stderr and an exit code, no traceback."""

from __future__ import annotations

import atexit
import errno
import gc
import logging
import os
import re
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterable


class InputError(Exception):
    """Bad input. The message is one sentence: what is wrong, in which file, line or key, and what to do."""


ENDING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # beside Ctrl-C: `kill`, and what clusters send
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # a full disk or quota, a limit, a read-only disk
asked: list[int] = []  # those that this process was sent

TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # Unicode's embeddings of a direction
SHOWN = 5  # of a long list in one message; the others are counted


def some(names: Iterable[object], mark: str = ", ") -> str:
    """The first few of ``names``, joined by ``mark``, and how many more there are: no message names thousands."""
    every = [str(name) for name in names]
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return mark.join(every[:SHOWN]) + more


def advice(error: OSError) -> str:
    """What to do where a file or folder cannot be written."""
    shut = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
    return f"{'make it writable' if shut else 'free some space'} or choose another folder"


def plain(text: str) -> str:
    """``text`` as one line for a terminal, see :func:`visible`."""
    return visible(" ".join(text.split()))


def visible(name: str) -> str:
    """A name for a table or a terminal: what would move its cursor, or turn what follows around, as ``?``.

    Names come with files, and files may be anybody's.
    """
    return name if name.isprintable() else "".join("?" if steers(sign) else sign for sign in name)


def steers(sign: str) -> bool:
    """Whether a character is none: a control character, an end of a line, or one that turns the writing around."""
    return unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(sign) in TURNING


def run_command(command: Callable[[], int | None]) -> None:
    """Run a command line's body and leave the process with its exit code.

    Bad input and a full disk give one sentence and exit code 2, Ctrl-C 130, SIGTERM and the like 128 and the signal's
    number, a defect of ours 1. With ``SED_LAB_DEBUG=1`` the traceback is shown as well.
    """
    for number in ENDING:
        signal.signal(number, _end)
    atexit.register(gc.freeze)  # or the interpreter's last search for rubbish, in all of PyTorch, takes over a second
    logging.raiseExceptions = False  # a log that finds no room would print a traceback for each line
    try:
        code = command() or 0
    except KeyboardInterrupt:
        _ignore()
        print("interrupted: finished files are kept, unfinished ones were not put in place", file=sys.stderr)
        code = 128 + (asked[0] if asked else signal.SIGINT)
    except BrokenPipeError:  # the reader of our output, such as head, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if os.environ.get("SED_LAB_DEBUG") == "1":
            raise
        print(f"error: {describe(error)}", file=sys.stderr)
        code = exit_code(error)
    sys.exit(code)


def _end(number: int, _: object) -> None:
    """End as Ctrl-C does, so that what is half done is tidied up; a second signal must not end that too early."""
    asked.append(number)
    _ignore()
    raise KeyboardInterrupt


def _ignore() -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def exit_code(error: Exception) -> int:
    """What a command that ends with ``error`` exits with: 2 for bad input and a full disk, 1 for a defect of ours."""
    return 2 if isinstance(error, (InputError, OSError)) else 1


def describe(error: BaseException) -> str:
    """The error as one line; a defect names its type and how to see the traceback.

    Of a loading process's error, which comes with that process's traceback around it, what it said itself.
    """
    text = str(error)
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        where = f"cannot write {error.filename}: " if error.filename else ""
        text = f"{where}{error.strerror}; {advice(error)}"
    elif isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}; restore it, or the permission to use it"
    if "Original Traceback" in text:
        text = re.split(r"\n[\w.]+: ", text)[-1]
    text = plain(text)
    if isinstance(error, (InputError, OSError)):
        return text
    return f"{type(error).__name__}: {text} (set SED_LAB_DEBUG=1 to see the traceback)"
