"""Allocator settings for training on a CPU."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt(3), from malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next tensor instead of returning it to the system; True where it applied.

    By default each large tensor is mapped when made and unmapped when freed, so every training step faults its
    gigabytes in again, page by page: about half of a CPU step's time. Costs some resident memory. Does nothing on
    other C libraries. Call it once, before the first large tensor.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  (absent in other C libraries, whose mallopt differs)
        mallopt = library.mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 256 * 2**20))
    applied = [mallopt(ctypes.c_int(name), ctypes.c_int(value)) for name, value in settings]
    return all(applied)
